/* SPDX-License-Identifier: MIT */
/*
 * Inside of a file's call frame information, for the files of this folder. See cfi.c.
 */
#ifndef PGRAB_OBJ_CFI_INSIDE_H
#define PGRAB_OBJ_CFI_INSIDE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "obj/cfi.h"
#include "obj/read.h"

enum {
	CFI_MAX_BYTES = 256 << 20, /* of one section that are read */
};

/* The two forms, in the order in which they are asked. */
enum cfi_form {
	CFI_EH,    /* .eh_frame */
	CFI_DEBUG, /* .debug_frame */
	CFI_NFORMS
};

/* FDEs by address, for a section without a search table of its own. */
struct cfi_index {
	size_t n;        /* how many */
	uint64_t *start; /* first address of each, ascending; owned */
	uint32_t *fde;   /* where in the section each stands, parallel; owned */
};

/* One section with CFI. */
struct cfi_section {
	char *bytes;                       /* len of them and a NUL; owned */
	size_t len;                        /* 0: there is none */
	uint64_t vaddr;                    /* where it is mapped; .debug_frame: 0 */
	_Atomic(struct cfi_index *) index; /* NULL until it is needed; owned */
};

struct cfi_cache; /* rows found before */

/* What an obj has of CFI. */
struct obj_cfi {
	struct cfi_section section[CFI_NFORMS]; /* by form */
	char *header;         /* .eh_frame_hdr, or NULL; owned; 4-byte entries only */
	size_t header_len;    /* bytes */
	uint64_t header_addr; /* its vaddr */
	size_t table;         /* where in it the search table begins */
	size_t ntable;        /* entries of 8 bytes; 0: there is none to be used */
	unsigned addr_size;   /* bytes of an address, 4 or 8 */
	_Atomic(struct cfi_cache *) cache; /* NULL until the first row; owned */
};

/* Where in some bytes a parser stands. Reading beyond the end reads 0 and sets bad. */
struct cfi_cursor {
	const uint8_t *at, *end; /* what is left */
	bool bad;                /* something was not there, or made no sense */
};

/* An FDE with what its CIE says. Pointers into the section. */
struct cfi_entry {
	uint64_t start, end;       /* the addresses that it covers */
	struct cfi_cursor initial; /* instructions of the CIE */
	struct cfi_cursor program; /* those of the FDE */
	uint64_t code_align;       /* factor of advances */
	int64_t data_align;        /* factor of offsets */
	uint64_t ra;               /* register with the return address */
	uint8_t encoding;          /* of addresses, DW_EH_PE_* */
	uint8_t addr_size;         /* bytes of an address */
	bool signal;               /* 'S' */
	bool sized;                /* 'z': augmentation data has a length */
};

/* --- cfi_entry.c ------------------------------------------------------------------ */
uint64_t cfi_fixed(struct cfi_cursor *c, unsigned size); /* 1, 2, 4, 8 bytes */
uint64_t cfi_uleb(struct cfi_cursor *c);
int64_t cfi_sleb(struct cfi_cursor *c);
void cfi_skip(struct cfi_cursor *c, uint64_t n);

/* An address in encoding `encoding` (DW_EH_PE_*). */
uint64_t cfi_address(const struct obj_cfi *f, enum cfi_form form, struct cfi_cursor *c,
		     unsigned encoding);

/*
 * The entry at `off` of a section: 0 and the FDE; 1: it is a CIE or a terminator;
 * -ENOEXEC. *ret_next is where the next one begins (also after -ENOEXEC, when that is
 * known; else the section's length).
 */
int cfi_parse(const struct obj_cfi *f, enum cfi_form form, size_t off,
	      struct cfi_entry *ret, size_t *ret_next);

/* --- cfi_rows.c ------------------------------------------------------------------- */
/* Executes e's instructions up to vaddr. -ENOEXEC. */
int cfi_run(const struct obj_cfi *f, enum cfi_form form, const struct cfi_entry *e,
	    unsigned machine, uint64_t vaddr, struct cfi_row *ret);

/* --- cfi_cache.c ------------------------------------------------------------------ */
bool cfi_cache_get(struct obj_cfi *f, uint64_t vaddr, struct cfi_row *ret);
void cfi_cache_put(struct obj_cfi *f, uint64_t vaddr, const struct cfi_row *row);
void cfi_cache_free(struct cfi_cache *c);          /* NULL: nothing */
size_t cfi_cache_bytes(const struct cfi_cache *c); /* that it takes; NULL: 0 */

/* --- cfi_load.c ------------------------------------------------------------------- */
struct obj;
/* What the section headers lead to: .eh_frame, .debug_frame. -ENOMEM, -errno. */
int cfi_load_sections(const struct obj_source *src, struct obj *o,
		      const struct obj_sections *s);
/* What PT_GNU_EH_FRAME leads to, after the sections. -ENOMEM, -errno. */
int cfi_load_header(const struct obj_source *src, struct obj *o, const Elf64_Phdr *ph);
/* Takes `bytes` (malloc'ed) as a section's contents, where there are none yet: for who
 * inflates a compressed .debug_frame or finds one in a separate file. */
void cfi_take(struct obj_cfi *f, enum cfi_form form, char *bytes, size_t len,
	      uint64_t vaddr);
bool cfi_same(const struct obj_cfi *a, const struct obj_cfi *b);
void cfi_fini(struct obj_cfi *f);

#endif
