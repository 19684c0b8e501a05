/* SPDX-License-Identifier: MIT */
/*
 * Inside of a `struct image`, for the files of this folder. See image.c for the theory.
 */
#ifndef PGRAB_IMAGE_INSIDE_H
#define PGRAB_IMAGE_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "image/image.h"
#include "image/jit.h"

/* What an object keeps besides what its users see. */
struct image_slot {
	_Atomic(struct obj *) file;  /* its obj once opened; holds a reference */
	atomic_int err;              /* why it cannot be opened, for good; 0: not tried */
	const char *link_name;       /* l_name, or ""; in image.names */
	_Atomic(struct obj *) debug; /* its separate debug file; holds a reference */
	atomic_bool debug_known;     /* it has been looked for, or is not needed */
	struct obj *lines; /* file or debug, whichever has DWARF; borrowed; under lock */
	int lines_err;     /* why neither has, for good; under lock */
};

struct image {
	atomic_uint refs;                  /* references */
	const struct image_origin *origin; /* where files come from; NULL: /proc */
	void *origin_arg;                  /* of it; holds a reference */
	pid_t pid;                         /* whose /proc leads to the files */
	struct procfs_map *raw; /* what procfs_maps() gave; holds the paths; owned */
	struct image_map *maps; /* nmaps, by address; owned */
	uint64_t *starts;       /* their starts, which a search runs over; owned */
	size_t nmaps;           /* how many */
	struct image_object *objects; /* nobjects, in order; owned */
	struct image_slot *slots;     /* nobjects, parallel; owned */
	size_t nobjects;              /* how many */
	char *names;                  /* link-map names, one after the other; owned */
	char *vdso;                   /* contents of the vDSO, or NULL; owned */
	size_t vdso_len;              /* bytes */
	int debug_root; /* is there DEBUG_ROOT: 1 yes, -1 no, 0 not known; under lock */
	_Atomic(struct jit_map *) jit; /* names of compiled code, once asked for; owned */
	atomic_bool jit_known;         /* they have been looked for */
	pthread_mutex_t lock;          /* whoever opens a file */
};

/* Mappings of one file that were mapped together: an object, or a file mapped as data. */
struct image_run {
	size_t first, last;    /* its first and last mapping that show the file */
	uint64_t start, end;   /* addresses, trailing anonymous memory (bss) included */
	struct obj *head;      /* headers at its start, see image_run_head(); owned */
	int head_err;          /* why there are none: -ENOEXEC no ELF file … */
	bool head_tried;       /* head or head_err are set */
	bool is_file;          /* of a file; else the vDSO */
	bool has_exec;         /* a mapping of it can be executed */
	bool is_object;        /* it is one: base, dynamic and order are set */
	bool is_exec, is_ldso; /* as in image_object */
	const struct rtld_object *link; /* its link map, or NULL; borrowed */
	uint64_t base;                  /* load bias */
	uint64_t dynamic;               /* address of its dynamic section; 0 unknown */
};

/* Runs of a snapshot while it is being built. */
struct image_runs {
	const struct image_source *src; /* what it is built from */
	const struct procfs_map *maps;  /* mappings; borrowed */
	size_t nmaps;                   /* how many */
	struct image_run *run;          /* nrun, by address; owned */
	size_t nrun;                    /* how many */
	uint32_t *of_map;               /* run of each mapping, or IMAGE_NO_RUN; owned */
	int err;          /* -ENOMEM on the way, which spoils the whole; or 0 */
	unsigned nopened; /* files opened to see their headers */
};

#define IMAGE_NO_RUN UINT32_MAX

/* Groups the mappings. -ENOMEM. Give it to image_runs_fini() in any case. (runs.c) */
int image_runs_make(struct image_runs *r);
void image_runs_fini(struct image_runs *r);

/* The ELF headers of a run, or NULL: read at the first call. (runs.c) */
const struct obj *image_run_head(struct image_runs *r, struct image_run *run);

/* The load bias by its headers and first mapping; false: not known. (runs.c) */
bool image_run_bias(struct image_runs *r, struct image_run *run, uint64_t *ret);

/* The run that holds addr, or NULL. (runs.c) */
struct image_run *image_run_at(const struct image_runs *r, uint64_t addr);

/* Says which runs are objects, and which object each is. (objects.c) */
void image_runs_name(struct image_runs *r);

/* Opens a file of a snapshot: a descriptor or -errno. (files.c) */
int image_open_file(const struct image_origin *origin, void *arg, pid_t pid,
		    const struct procfs_map *m);

/*
 * Looks for the debug file of o, whose own file is `file`: a new reference, and a
 * descriptor. -ENOENT: there is none, or none that fits. Under im->lock. (debug.c)
 */
int image_find_debug(struct image *im, const struct image_object *o, struct obj *file,
		     int root, int *ret_fd, struct obj **ret);

/* The directory that debug files are looked for in: a descriptor or -errno. (debug.c) */
int image_open_root(const struct image *im);

/* Looks for the debug file of o unless that has been done; root: image_open_root().
 * (debug.c) */
void image_open_debug(struct image *im, const struct image_object *o, struct obj *file,
		      int root);

/* Reads the perf map now, where there may be code that it names. (jit.c) */
void image_open_jit(struct image *im);

/* Do both say a build-id, and the same? (debug.c) */
bool image_same_id(const struct obj *a, const struct obj *b);

/* The symbols of o that are elsewhere, or NULL; the image holds the reference. Looked for
 * at the first call. (debug.c) */
struct obj *image_object_debug(struct image *im, const struct image_object *o,
			       struct obj *file);

#endif
