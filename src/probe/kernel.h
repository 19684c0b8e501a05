/* SPDX-License-Identifier: MIT */
/*
 * The kernel backend's parts, private to kernel*.c; the theory is in kernel.c.
 */
#ifndef PGRAB_PROBE_KERNEL_H
#define PGRAB_PROBE_KERNEL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "os/procfs.h"
#include "probe/probe.h"
#include "probe/record.h"

/* Where one asks for a sentence. */
struct kernel_said {
	char *err;   /* the sentence */
	size_t size; /* bytes there */
};

/* Writes the sentence; answers rc. */
int kernel_say(const struct kernel_said *said, int rc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* --- the programs (kernel_load.c) --------------------------------------------------- */

struct bpf_object;

/* The program, loaded, with counters for so many ids. */
struct kernel_program {
	struct bpf_object *obj; /* owned */
	int prog;               /* descriptors in obj: the program */
	int counts;             /* … hits by id */
	uint32_t ids;           /* counters there */
};

/* What programs of one victim share, the first one's. */
struct kernel_tables {
	int ring;  /* records */
	int lost;  /* count of those that found no room */
	int jumps; /* spots that are jumps */
	int bss;   /* ranges */
};

/* What to load. */
struct kernel_wanted {
	enum probe_want want;      /* which program */
	struct record_setup setup; /* constants of it */
	uint32_t ring;             /* bytes of the ring */
	uint32_t ids;              /* counters */
};

/*
 * Loads; the tables are made (*tables all -1) or taken from there. 0, or -errno with a
 * sentence: -EPERM not allowed, -EOPNOTSUPP not in this kernel.
 */
int kernel_load(const struct kernel_wanted *w, struct kernel_tables *tables,
		struct kernel_program *ret, const struct kernel_said *said);
void kernel_unload(struct kernel_program *p);

/* --- links (kernel_links.c) --------------------------------------------------------- */

/* Spots of one mapping of one file. */
struct kernel_link {
	int fd;          /* owned */
	uint32_t range;  /* its place in `ranges` */
	uint64_t lo, hi; /* where the file is mapped */
};

/* A link that is being closed. */
struct kernel_closing;

/* All of a victim's. */
struct kernel_links {
	struct kernel_link *v;          /* owned */
	size_t n, room;                 /* how many, for how many */
	struct record_range *ranges;    /* shared with the programs */
	uint8_t *taken;                 /* ranges in use; owned */
	struct kernel_closing *closing; /* owned */
};

/* bss: the table that holds the ranges. 0 or -errno. */
int kernel_links_init(struct kernel_links *l, int bss);
/* Drops all, waits, frees. Also of an l that is all zeros. */
void kernel_links_fini(struct kernel_links *l);

/* A range that nobody uses is made [lo, hi): 0; -ENOSPC; -ENOMEM. */
int kernel_range_take(struct kernel_links *l, uint64_t lo, uint64_t hi,
		      struct kernel_link *ret);

/* The link, whose fd is -1 or not, counts no more; it is closed elsewhere. */
void kernel_link_drop(struct kernel_links *l, const struct kernel_link *link);

/* Keeps the link. 0 or -ENOMEM. */
int kernel_link_keep(struct kernel_links *l, const struct kernel_link *link);

/* Drops all that are mapped in [lo, hi). */
void kernel_links_gone(struct kernel_links *l, uint64_t lo, uint64_t hi);

/* Waits until all that were dropped are closed: some 50 to 80 ms. */
void kernel_links_wait(struct kernel_links *l);

/* --- places (kernel_place.c) -------------------------------------------------------- */

/* A spot, and how it is watched. */
struct kernel_spot {
	struct probe_spot s; /* as it was given */
	uint64_t at;         /* where the uprobe stands: s.addr or some bytes behind */
	uint32_t sunk;       /* how far the stack pointer is below s.addr's by then */
	bool never;          /* a jump that cannot leave its function */
	bool looks;          /* it is a jump, tested by: */
	struct record_jump test; /* … */
};

/* Text of a mapped file. */
struct kernel_text {
	struct ps_prochandle *P; /* borrowed: its symbols */
	int fd;                  /* the file */
	uint64_t bias;           /* address less offset */
	uint64_t end;            /* of the mapping */
	enum probe_want want;    /* of each hit */
};

/* Fills *s, of which s->s is given. 0 or -errno with a sentence. */
int kernel_place(const struct kernel_text *t, struct kernel_spot *s,
		 const struct kernel_said *said);

#endif
