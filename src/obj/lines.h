/* SPDX-License-Identifier: MIT */
/*
 * Places in the source, by a file's DWARF: see lines.c. Read on request only: it takes
 * what the debug sections have of bytes, and tens of milliseconds.
 */
#ifndef PGRAB_OBJ_LINES_H
#define PGRAB_OBJ_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct obj;
struct obj_lines; /* the DWARF of one file; belongs to the obj */

/* One place; strings are valid as long as the obj. */
struct obj_place {
	const char *function; /* linkage name, else the source's; NULL unknown */
	const char *file; /* as the compiler had it, with its directory; NULL unknown */
	unsigned line;    /* from 1; 0 unknown */
	unsigned column;  /* from 1; 0 unknown */
	bool inlined;     /* into the next one */
};

enum {
	OBJ_MAX_PLACES = 64, /* levels of inlining that are told */
};

/*
 * Reads the DWARF of o, whose file is open at fd (borrowed, not moved), unless that has
 * been done. 0; -ENOENT: it has none; -ENOTSUP: built without libdw; -E2BIG: more than a
 * gigabyte; -ENOMEM, -errno. Any thread.
 */
int obj_lines_load(struct obj *o, int fd);

/*
 * The places of the instruction at vaddr, innermost first, OBJ_MAX_PLACES at most.
 * -ENOENT: nothing is known of it; -EAGAIN: obj_lines_load() has not been called. Any
 * thread.
 */
int obj_lines_at(struct obj *o, uint64_t vaddr, struct obj_place *ret, size_t *ret_n);

/* --- inside ----------------------------------------------------------------------- */

struct obj_source;

/* An ELF file in memory with the debug sections of src and nothing else: allocated.
 * (lines_pack.c) */
int obj_lines_pack(const struct obj_source *src, char **ret, size_t *ret_len);

size_t obj_lines_bytes(const struct obj_lines *l); /* what it reads; NULL: 0 */
void obj_lines_free(struct obj_lines *l);          /* NULL: nothing (lines.c) */

#endif
