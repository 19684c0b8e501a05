/* SPDX-License-Identifier: MIT */
/*
 * An ELF object as it lies in the victim's memory: as much of it as finding r_debug
 * needs. Of either class; every count has a bound.
 */
#ifndef PGRAB_RTLD_ELFMEM_H
#define PGRAB_RTLD_ELFMEM_H

#include <stdint.h>

#include "rtld/reader.h"

/* What the program headers and the dynamic section say. Addresses are the victim's; 0:
 * none. */
struct elfmem {
	uint64_t bias;       /* address in memory less address in the file */
	uint64_t dynamic;    /* the dynamic section */
	uint64_t debug_slot; /* where the value of DT_DEBUG is kept */
	uint64_t symtab;     /* DT_SYMTAB */
	uint64_t strtab;     /* DT_STRTAB */
	uint64_t hash;       /* DT_HASH */
	uint64_t gnu_hash;   /* DT_GNU_HASH */
};

/* Bytes of a word (4 or 8) of the object whose ELF header stands at addr; -ENOEXEC:
 * none. */
int elfmem_word(const struct mem *m, uint64_t addr);

/* The object whose ELF header stands at addr, which is its bias too (a dynamic
 * linker). */
int elfmem_at_header(struct reader *r, uint64_t addr, struct elfmem *ret);

/*
 * The object with `phnum` program headers at phdr and its entry point at `entry` (an
 * executable, as the auxiliary vector tells). 0 without a dynamic section too;
 * -ENOEXEC, or as reader_read().
 */
int elfmem_at_phdr(struct reader *r, uint64_t phdr, uint64_t phnum, uint64_t entry,
		   struct elfmem *ret);

/* Address of a symbol defined in the object's dynamic table, or 0. */
uint64_t elfmem_symbol(struct reader *r, const struct elfmem *e, const char *name);

#endif
