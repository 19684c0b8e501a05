/* SPDX-License-Identifier: MIT */
/*
 * Inside of a `struct obj`, for the files of this folder. See obj.c for the theory.
 */
#ifndef PGRAB_OBJ_FILE_H
#define PGRAB_OBJ_FILE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "obj/cfi_inside.h"
#include "obj/lines.h"
#include "obj/obj.h"
#include "obj/read.h"

enum {
	OBJ_MAX_BUILD_ID = 64, /* bytes kept; linkers make 8 to 32 */
	OBJ_IDLE_LIMIT = 64,   /* objs in the cache that nobody refers to; see cache.c */
	OBJ_IDLE_BYTES = 64 << 20, /* that they may take together */
	OBJ_NTABLES = 2,           /* .symtab and .dynsym */
};

/* One symbol table, as it stands in the file but 64 bits wide and in our byte order. */
struct obj_raw {
	Elf64_Sym *sym;   /* n entries; owned */
	size_t n;         /* 0: no such table */
	char *str;        /* names: strsz bytes and a NUL; owned */
	size_t strsz;     /* bytes */
	uint16_t *versym; /* version of each entry, or NULL (.dynsym only); owned */
};

/* Where a section lies; sections that take no address have end == 0. */
struct obj_extent {
	uint64_t start, end; /* [start, end) in the file's own addresses */
};

/* Stretch of addresses that one symbol answers for; its start stands in a parallel
 * array. */
struct obj_span {
	uint64_t end; /* exclusive */
	uint32_t ref; /* symbol, see OBJ_REF */
};

/* Disjoint spans by address. */
struct obj_spans {
	uint64_t *start;       /* n starts, ascending: what the search runs over; owned */
	struct obj_span *span; /* n; owned */
	size_t n;              /* how many */
};

/* An entry of the name table. */
struct obj_name {
	uint32_t hash; /* of the name */
	uint32_t ref;  /* symbol, see OBJ_REF */
};

/* Both symbol tables prepared for look-ups; immutable once published. */
struct obj_index {
	struct obj_spans sized;  /* symbols with a size */
	struct obj_spans labels; /* those without: asked when no sized one answers */
	struct obj_name *name;   /* nname entries in bucket order, best first; owned */
	size_t nname;            /* how many */
	uint32_t *bucket; /* first entry of each bucket, 2^bits + 1 of them; owned */
	unsigned bits;    /* log2 of the number of buckets */
};

/* A symbol in 32 bits: the table in the highest, the index in the table in the others. */
#define OBJ_REF_DYNSYM    0x80000000u
#define OBJ_REF(table, i) ((uint32_t)(i) | ((table) == OBJ_DYNSYM ? OBJ_REF_DYNSYM : 0))

struct obj {
	atomic_uint refs; /* references of others; the cache has none */
	bool cached;      /* in the cache; under its lock */
	size_t weight;    /* bytes, while it is idle; under its lock */
	struct obj *newer,
		*older; /* neighbours among the cache's idle ones; under its lock */

	Elf64_Ehdr header;                  /* the ELF header */
	uint64_t size;                      /* bytes of the file */
	uint64_t dynamic;                   /* vaddr of PT_DYNAMIC, 0 none */
	char *interp;                       /* PT_INTERP, or NULL; owned */
	char *soname;                       /* DT_SONAME, or NULL; owned */
	struct obj_segment *seg;            /* PT_LOAD by vaddr; owned */
	size_t nseg;                        /* how many */
	uint8_t build_id[OBJ_MAX_BUILD_ID]; /* NT_GNU_BUILD_ID */
	size_t build_id_len;                /* 0: none */
	struct obj_extent *section;         /* by section index; owned */
	size_t nsection;                    /* how many */
	struct obj_raw raw[OBJ_NTABLES];    /* .symtab, .dynsym */
	uint32_t *version;  /* name of version i, an offset in .dynsym's strings; owned */
	size_t nversion;    /* how many */
	struct obj_cfi cfi; /* call frame information; see cfi.c */

	char *packed;       /* .gnu_debugdata as it stands, or NULL; owned */
	size_t packed_len;  /* bytes */
	char *debuglink;    /* .gnu_debuglink: a base name, or NULL; owned */
	uint32_t debug_crc; /* of the file that it names */

	struct obj_lines *lines; /* its DWARF, once asked for; under lock; owned */
	int lines_err;           /* why there is none, for good; under lock */

	pthread_mutex_t lock; /* whoever makes the index, or looks at lines */
	_Atomic(struct obj_index *) index; /* NULL until the first look-up; owned */
};

/* Reads everything but the index. -ENOEXEC, -ENOMEM, -errno. (load.c) */
int obj_load(struct obj_source *src, struct obj **ret);

/* Frees o, whose last reference and place in the cache are gone. (load.c) */
void obj_free(struct obj *o);

/* Of a section-less file: .dynsym as the dynamic section describes it. (dynamic.c) */
int obj_load_dynamic(const struct obj_source *src, struct obj *o, const Elf64_Dyn *dyn,
		     size_t n);

/* What the sections say of debug information elsewhere. (debugdata.c) */
int obj_load_debug(const struct obj_source *src, struct obj *o,
		   const struct obj_sections *s);

/* Expands .gnu_debugdata and reads its .symtab as ours; garbage has none. Under o->lock,
 * before there is an index. -ENOMEM. (debugdata.c) */
int obj_expand_debug(struct obj *o);

/* Reads .symtab (SHT_SYMTAB) or .dynsym of src; none when either is broken. (load.c) */
int obj_load_table(const struct obj_source *src, struct obj_raw *raw,
		   const Elf64_Shdr *sh, size_t n, uint32_t type);

/* File offset of vaddr, or UINT64_MAX where no segment holds it in the file. (load.c) */
uint64_t obj_offset_of(const struct obj *o, uint64_t vaddr);

/* Makes the index of o. -ENOMEM. (index.c) */
int obj_index_new(const struct obj *o, struct obj_index **ret);
void obj_index_free(struct obj_index *x); /* NULL: nothing */

/* The hash of a name's first len bytes. (index.c) */
uint32_t obj_hash(const char *name, size_t len);

/* The name of a raw symbol; "" when it lies outside of the strings. */
static inline const char *obj_raw_name(const struct obj_raw *raw, const Elf64_Sym *sym)
{
	return sym->st_name < raw->strsz ? raw->str + sym->st_name : "";
}

/* The table that a reference points into, and the symbol. */
static inline const struct obj_raw *obj_ref_raw(const struct obj *o, uint32_t ref)
{
	return &o->raw[ref & OBJ_REF_DYNSYM ? 1 : 0];
}

static inline const Elf64_Sym *obj_ref_sym(const struct obj *o, uint32_t ref)
{
	return &obj_ref_raw(o, ref)->sym[ref & ~OBJ_REF_DYNSYM];
}

/* Looks in the cache for the file that st describes: a new reference, or NULL.
 * (cache.c) */
struct obj *obj_cache_find(const struct stat *st);

/* Offers a fresh obj (one reference) to the cache: gives back it, or an equal one that
 * was there before, o then being freed. (cache.c) */
struct obj *obj_cache_add(struct obj *o, const struct stat *st);

/* The same of an obj of bytes that are in no file: known by its contents only.
 * (cache.c) */
struct obj *obj_cache_share(struct obj *o);

/* How many objs the cache keeps that nobody refers to. (cache.c) */
size_t obj_cache_idle(void);

/* Bytes that o takes. Takes its lock. (weight.c) */
size_t obj_weight(struct obj *o);

#endif
