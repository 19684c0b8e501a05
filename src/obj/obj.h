/* SPDX-License-Identifier: MIT */
/*
 * ELF files as tables: loadable segments and symbols, immutable once made, shared by
 * every process that maps the file. A file is hostile until proven otherwise.
 */
#ifndef PGRAB_OBJ_OBJ_H
#define PGRAB_OBJ_OBJ_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "mem/mem.h"

struct obj; /* one ELF file; counted, immutable */

/* A loadable segment. */
struct obj_segment {
	uint64_t vaddr;         /* in the file's own addresses */
	uint64_t offset;        /* in the file */
	uint64_t filesz, memsz; /* bytes */
	unsigned prot;          /* PROT_* */
};

/* Which symbol table; also the values of PR_SYMTAB and PR_DYNSYM. */
enum obj_table {
	OBJ_SYMTAB = 1, /* .symtab */
	OBJ_DYNSYM = 2, /* .dynsym */
};

/* A symbol found. */
struct obj_symbol {
	Elf64_Sym sym;    /* st_value in the file's own addresses; 32-bit files widened */
	const char *name; /* in the obj's string table: valid as long as the obj */
	unsigned id;      /* index in its table */
	enum obj_table table; /* where it was found */
};

/*
 * The obj of the file open at fd, from the process-wide cache (key: device, inode,
 * size, mtime, ctime; files of one build-id and size share an obj when their contents
 * are equal) or read now. A new reference. fd is borrowed and not moved. -ENOEXEC not
 * ELF or garbage, -ENOMEM, -errno. Any thread; reads what it will ever need of the file
 * (about 0.1 ms for a libc) and keeps no descriptor. Symbol tables are indexed at the
 * first look-up, once.
 */
int obj_get_fd(int fd, struct obj **ret);

/* The obj of the file that stat(2) says this of, when the cache has it: a new reference,
 * or NULL. */
struct obj *obj_get_known(const struct stat *st);

/* The same for an ELF image at hand (copied). Not cached. */
int obj_get_bytes(const void *bytes, size_t len, struct obj **ret);

/* The same of one that every process has a copy of, as the vDSO: one obj for all. */
int obj_get_common(const void *bytes, size_t len, struct obj **ret);

struct obj *obj_ref(struct obj *o);
void obj_unref(struct obj *o); /* NULL: nothing */

unsigned obj_type(const struct obj *o);      /* ET_EXEC, ET_DYN … */
unsigned obj_machine(const struct obj *o);   /* EM_* */
unsigned obj_class(const struct obj *o);     /* ELFCLASS32 or ELFCLASS64 */
uint64_t obj_entry(const struct obj *o);     /* e_entry, in the file's own addresses */
uint64_t obj_dynamic(const struct obj *o);   /* vaddr of PT_DYNAMIC; 0 none */
bool obj_has_interp(const struct obj *o);    /* PT_INTERP: dynamically linked program */
const char *obj_interp(const struct obj *o); /* its path, or NULL; valid as long as o */
const char *obj_soname(const struct obj *o); /* DT_SONAME, or NULL; valid as long as o */
const struct obj_segment *obj_segments(const struct obj *o, size_t *ret_n); /* by vaddr */
const uint8_t *obj_build_id(const struct obj *o, size_t *ret_len); /* NULL: none */

/* Has the file a .symtab, its own or in .gnu_debugdata? Else a debug file may. */
bool obj_has_symtab(const struct obj *o);

/* What .gnu_debuglink names: a base name, and the CRC of that file. NULL: nothing. */
const char *obj_debuglink(const struct obj *o, uint32_t *ret_crc);

/* The CRC of everything that fd gives, by which .gnu_debuglink knows its file. -EFBIG:
 * more than 256 MiB; -errno. fd is borrowed and not moved. */
int obj_crc(int fd, uint32_t *ret);

/*
 * The symbol of this name: defined ones only; `.symtab` before `.dynsym`, global before
 * weak before local. `name` may bear a version (`memcpy@GLIBC_2.14`): then only
 * .dynsym. 0 or -ENOENT.
 */
int obj_lookup_name(struct obj *o, const char *name, struct obj_symbol *ret);

/*
 * The symbol whose [st_value, st_value + st_size) holds vaddr (a symbol of size 0
 * reaches to the next one in its section, and answers where no sized one does). Of
 * several that hold it the one that begins last; of several that begin there by
 * CONTRACT's preference: function before data, non-local before local, fewer leading
 * underscores, smaller size, strcmp. 0 or -ENOENT. O(log n), no lock, no allocation
 * when warm.
 */
int obj_lookup_addr(struct obj *o, uint64_t vaddr, struct obj_symbol *ret);

/* Called for one symbol; non-zero ends the iteration and is returned. */
typedef int obj_symbol_f(void *arg, const struct obj_symbol *sym);

/* Every symbol of one table with a name, in table order. 0, what fn returned, or
 * -errno. */
int obj_iter(struct obj *o, enum obj_table table, obj_symbol_f *fn, void *arg);

/* Bytes that the files in the cache take, whoever refers to them. */
size_t obj_cache_bytes(void);

/* Drops from the cache what nobody refers to. */
void obj_cache_trim(void);

#endif
