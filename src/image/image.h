/* SPDX-License-Identifier: MIT */
/*
 * An address space as it was at one moment: mappings, the objects in them, their link
 * maps. Immutable and counted: a reader takes a reference and looks up without a lock;
 * whoever refreshes builds the next snapshot beside it.
 */
#ifndef PGRAB_IMAGE_IMAGE_H
#define PGRAB_IMAGE_IMAGE_H

#include "image/jit.h"
#include "obj/lines.h"
#include "obj/obj.h"
#include "os/procfs.h"
#include "rtld/rtld.h"

struct image; /* counted, immutable (objects open their files at first need, once) */

/* One mapped ELF object (or the vDSO). */
struct image_object {
	const char *path; /* as the kernel shows it in maps; "[vdso]" */
	const char
		*name; /* base name of path; the executable too (`a.out` also names it) */
	uint64_t base; /* load bias: what is added to the file's own addresses */
	uint64_t start, end; /* first and last mapped byte + 1 */
	uint64_t dynamic;    /* address of its dynamic section; 0 unknown */
	long lmid; /* link map namespace; 0 LM_ID_BASE (also when there is no link map) */
	bool is_exec;     /* the program */
	bool is_ldso;     /* the dynamic linker (AT_BASE) */
	bool in_linkmap;  /* a link map names it */
	bool deleted;     /* its file has been unlinked */
	size_t first_map; /* index of its first mapping */
};

/* One mapping with what it belongs to. */
struct image_map {
	struct procfs_map m;               /* path valid as long as the image */
	const struct image_object *object; /* NULL: none */
};

/* Where mappings and files come from when there is no process in /proc. */
struct image_origin {
	/* As procfs_maps(); paths must live as long as the reference. */
	int (*maps)(void *arg, struct procfs_map **ret, size_t *ret_n);
	/* As procfs_open_mapped(); any thread. */
	int (*open)(void *arg, const struct procfs_map *m);
	void (*ref)(void *arg);   /* one more user: the image */
	void (*unref)(void *arg); /* one less */
};

/* What to build from. All borrowed, copied as needed. */
struct image_source {
	const struct image_origin *origin; /* NULL: /proc of the process */
	void *origin_arg;                  /* handed to it */
	pid_t pid;                         /* the process */
	pid_t tid;        /* a thread to read through when the leader is a zombie, or 0 */
	uint64_t at_base; /* AT_BASE; 0 none */
	uint64_t at_phdr; /* AT_PHDR; 0 unknown */
	uint64_t at_vdso; /* AT_SYSINFO_EHDR; 0 none */
	const struct rtld_object *link; /* link maps, or NULL */
	size_t nlink;                   /* how many */
	const struct mem *mem;          /* to read the vDSO; used during the call only */
};

/*
 * Reads the maps of src and makes a snapshot. One file mapped at two biases
 * (dlmopen) makes two objects; the order is: the program, then link-map order by
 * namespace, then the rest by address. A new reference. -ESRCH, -EACCES, -ENOMEM. Does
 * nothing to the victim.
 */
int image_build(const struct image_source *src, struct image **ret);

struct image *image_ref(struct image *im);
void image_unref(struct image *im); /* NULL: nothing */

const struct image_map *image_maps(const struct image *im,
				   size_t *ret_n); /* by address */
const struct image_object *image_objects(const struct image *im,
					 size_t *ret_n); /* in order */

/* The mapping or object that holds addr, or NULL. O(log n). Borrowed from the image. */
const struct image_map *image_map_at(const struct image *im, uint64_t addr);
const struct image_object *image_object_at(const struct image *im, uint64_t addr);

enum {
	IMAGE_ANY_LMID = -1, /* every namespace */
};

#define IMAGE_EXEC "a.out" /* as an object name: the program */
#define IMAGE_LDSO "ld.so" /* as an object name: the dynamic linker */

/*
 * The object of this name in namespace lmid (IMAGE_ANY_LMID: the first): full path, base
 * name, base name up to a '.', DT_SONAME-like link-map name; `a.out` is the program,
 * IMAGE_EXEC and IMAGE_LDSO as names likewise. NULL: none.
 */
const struct image_object *image_object_named(const struct image *im, long lmid,
					      const char *name);

/* The obj of an object: opened through the victim's own files at first need and kept;
 * the image holds the reference. 0; -ENOENT, -EACCES, -ENOEXEC … remembered as well.
 * Any thread. */
int image_object_obj(struct image *im, const struct image_object *o, struct obj **ret);

/* Opens the file of an object, as image_object_obj() did: a descriptor, the caller's, or
 * -errno. -ENOENT: it has none (the vDSO). Any thread. */
int image_object_open(struct image *im, const struct image_object *o);

/* All bytes of an object that has no file, borrowed from the image; NULL: it has one. */
const uint8_t *image_object_bytes(const struct image *im, const struct image_object *o,
				  size_t *ret_n);

/* Takes over the open files of an earlier snapshot of the same program: those of objects
 * that are where they were. `im` is the caller's alone. */
void image_adopt(struct image *im, struct image *old);

/* Opens the files of every object now, so that symbols outlive the process. */
void image_open_all(struct image *im);

/*
 * Every symbol of one table of an object, .symtab wherever it is. 0, what fn returned, or
 * -errno. Values are the file's own addresses.
 */
int image_object_iter(struct image *im, const struct image_object *o,
		      enum obj_table table, obj_symbol_f *fn, void *arg);

/*
 * Where the instruction at addr comes from, innermost inlined function first: at most
 * OBJ_MAX_PLACES. Strings are valid as long as the image. -ENOENT: not known; -ENOTSUP.
 */
int image_places(struct image *im, uint64_t addr, struct obj_place *ret, size_t *ret_n);

/*
 * Asks debuginfod's servers (DEBUGINFOD_URLS) for the debug file of every object that has
 * no .symtab, for msec at most (and the second that the library takes to notice): how
 * many have come. -ENOTSUP: libdebuginfod is not there. Any thread; look-ups go on
 * meanwhile.
 */
int image_fetch_debug(struct image *im, unsigned msec);

/* A symbol and where it stands. */
struct image_symbol {
	struct obj_symbol s; /* s.sym.st_value is an address in the process */
	const struct image_object *object; /* borrowed from the image */
};

/* The symbol that holds addr. 0, -ENOENT. */
int image_lookup_addr(struct image *im, uint64_t addr, struct image_symbol *ret);

/* Is addr in executable memory that belongs to no object? Then a perf map may name it. */
bool image_is_code(const struct image *im, uint64_t addr);

/* The compiled code there, by the perf map as it was at the first such question. 0,
 * -ENOENT. */
int image_lookup_jit(struct image *im, uint64_t addr, struct jit_code *ret);

/* The symbol `name` in the object o. 0; -ENOENT. */
int image_object_symbol(struct image *im, const struct image_object *o, const char *name,
			struct image_symbol *ret);

/*
 * The symbol `name` in the object `oname` (NULL: every object in order, the program
 * first) of namespace lmid. 0; -ENOENT no such symbol; -ENXIO no such object.
 */
int image_lookup_name(struct image *im, long lmid, const char *oname, const char *name,
		      struct image_symbol *ret);

#endif
