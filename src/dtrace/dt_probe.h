/* SPDX-License-Identifier: MIT */
/*
 * Inside of a set of probes. Locks: a victim's `reading`, then the set's `lock`, then
 * what a backend has; the record's ownership, where it is needed, comes before them all.
 */
#ifndef PGRAB_DTRACE_DT_PROBE_H
#define PGRAB_DTRACE_DT_PROBE_H

#include "dtprobe.h"
#include "dtrace/dt_impl.h"
#include "probe/frames.h"
#include "probe/probe.h"

enum {
	DT_PROBE_WHY = 256,     /* bytes of a sentence */
	DT_PROBE_BACKENDS = 2,  /* of a victim: one, and traps for what it cannot watch */
	DT_PROBE_STACK = 16384, /* bytes of a stack, unless asked for otherwise */
};

/* A description and what has become of it. */
struct dt_desc {
	struct probe_desc d;      /* taken apart; owned */
	_Atomic uint64_t matched; /* probes so far */
	char why[DT_PROBE_WHY];   /* why not, when it is known */
};

/* An event of a record that has ended, to be told yet. */
struct dt_saved {
	struct dt_saved *next;   /* in the order of time */
	dtrace_probe_event_t ev; /* pcs point behind this */
	struct image *image;     /* a reference: ev.where */
	uintptr_t pcs[];         /* ev.npcs */
};

/* Probes of the program at hand, by address and kind: an open hash of addresses with the
 * kind in the top bits; 0 free. */
struct dt_keys {
	uint64_t *v;  /* owned */
	size_t n;     /* how many */
	size_t slots; /* a power of two, or 0 */
};

/* One backend at work. */
struct dt_backend {
	const struct probe_ops *ops; /* NULL: not in use */
	struct probe_backend *b;     /* theirs */
};

/* One victim. */
struct dt_pvictim {
	struct dt_pvictim *next; /* in the set */
	dtrace_probes_t *set;    /* whose */
	pid_t pid;               /* the victim */
	pid_t root;              /* whose child, and child's child, it is followed as */
	dt_proc_t *dpr;          /* its record; NULL: has ended. set->lock */
	struct ps_prochandle *P; /* its handle, while `dpr` is there */
	bool parted;             /* the record has no use for it any more. set->lock */
	struct dt_backend by[DT_PROBE_BACKENDS]; /* the first that serves is [0] */
	char why[DT_PROBE_WHY];  /* why it is not the kernel; "" it is. set->lock */
	struct image *image;     /* as it was when objects last came or went. set->lock */
	struct dt_keys keys;     /* the control thread's */
	dtrace_probe_t **probes; /* by local id; the array is owned. set->lock */
	size_t nprobes, room;    /* how many, for how many. set->lock */
	uint64_t *counts;        /* dpr NULL: by local id; owned. set->lock */
	pthread_mutex_t reading; /* one reads; it does not end meanwhile */
	struct frames frames;    /* calls under way. `reading` */
	struct dt_keys returns;  /* functions whose return is watched … `reading` */
	size_t looked;           /* … of the first so many probes. `reading` */
	struct dt_saved *saved, **tail; /* its last events. `reading` */
	uint64_t lost;                  /* hits, not told yet. `reading` */
};

struct dtrace_probes {
	dtrace_hdl_t *dtp;                  /* its session */
	_Atomic unsigned refs;              /* the client's, and each record's */
	dtrace_probe_opts_t opts;           /* constant */
	pthread_mutex_t lock;               /* guards what follows */
	pthread_cond_t cond;                /* a record has parted */
	struct dt_desc *descs;              /* owned; made before victims are */
	size_t ndescs;                      /* how many */
	dtrace_probe_t **probes;            /* by id; owned, their strings too */
	size_t nprobes, room;               /* how many, for how many */
	struct dt_pvictim *victims, **tail; /* in the order of their coming */
	bool stopped;                       /* no more probes are made */
	char failure[DT_PROBE_WHY]; /* the first that could not be made; "" none */
};

/* --- dt_probe.c -------------------------------------------------------------------- */

/* Grows *array to hold `want` elements. 0 or -ENOMEM. */
int dt_probe_grow(void *array, size_t *room, size_t want, size_t size);

/* --- dt_probe_make.c: probes in a victim -------------------------------------------- */

/* 1: it is new; 0: known; -ENOMEM. */
int dt_keys_note(struct dt_keys *k, uint64_t key);
bool dt_keys_has(const struct dt_keys *k, uint64_t key);
void dt_keys_clear(struct dt_keys *k);

/* Hits so far, by local id, added to counts[0..n). `reading` held. */
void dt_pvictim_counts(struct dt_pvictim *pv, uint64_t *counts, size_t n);
void dt_pvictim_stop(struct dt_pvictim *pv); /* the record is owned, or has ended */
void dt_pvictim_free(struct dt_pvictim *pv);

/* --- dt_probe_read.c: hits ---------------------------------------------------------- */

/* Tells the hits that have come, or, fn NULL, keeps them for later. `reading` held. */
void dt_pvictim_drain(struct dt_pvictim *pv, dtrace_probe_event_f *fn, void *arg);

#endif
