/* SPDX-License-Identifier: MIT */
/*
 * Function probes, as the pid provider has them: entries, returns and offsets of the
 * functions of a session's victims, in objects that are there, that are loaded later, and
 * of programs that are exec'd. Part of libpgrab (pkg-config: pgrab).
 *
 * A *set* of probes belongs to one session. Descriptions are added to it, then victims
 * are created or grabbed; whatever matches is made in them before they run on. Hits are
 * counted, or told as events.
 *
 * Any thread may call any function, unless it says otherwise. A function that fails
 * returns NULL or -1 and leaves its sentence with dtrace_errmsg().
 */
#ifndef PGRAB_DTPROBE_H
#define PGRAB_DTPROBE_H

#include "dtrace.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct dtrace_probes dtrace_probes_t; /* a set */

/* Who watches. */
enum {
	DTRACE_PROBE_AUTO,   /* the kernel where it may, else traps */
	DTRACE_PROBE_KERNEL, /* uprobes: nobody stops; needs CAP_BPF and CAP_PERFMON */
	DTRACE_PROBE_TRAP,   /* the keeper's breakpoints: no privilege */
};

/* What is wanted of each hit. */
enum {
	DTRACE_PROBE_COUNT,  /* how many */
	DTRACE_PROBE_EVENTS, /* each one */
	DTRACE_PROBE_STACKS, /* each one with its stack */
};

enum {
	DTRACE_PROBE_ENTRY,
	DTRACE_PROBE_RETURN,
	DTRACE_PROBE_OFFSET,
};

enum {
	DTRACE_PROBE_NARGS = 10,   /* arguments of an event */
	DTRACE_PROBE_FRAMES = 256, /* frames of its stack at most */
};

/* How a set is made; zeroed: the defaults. */
typedef struct dtrace_probe_opts {
	int backend; /* DTRACE_PROBE_AUTO … TRAP */
	int want;    /* DTRACE_PROBE_COUNT … STACKS */
	/* bytes of a stack copied at each hit; 0: 16 KiB; at most 1 MiB (EINVAL), of
	 * which the kernel's backend copies 64 KiB */
	size_t stack;
	int nargs; /* arguments of an event; 0: the 6 in registers; 7 to 10 cost more */
	int zdefs; /* 1: descriptions that match nothing are no error (-Z) */
} dtrace_probe_opts_t;

/* One probe of one victim. Lent: lives as long as the set. */
typedef struct dtrace_probe {
	unsigned id;          /* in the set, from 0, in the order of their making */
	int kind;             /* DTRACE_PROBE_ENTRY … OFFSET */
	pid_t pid;            /* process */
	long lmid;            /* namespace of its object */
	const char *path;     /* object, as the kernel shows it */
	const char *module;   /* its base name */
	const char *function; /* canonical name; `-` none */
	const char *name;     /* `entry`, `return`, or the offset in hex */
	uint64_t addr;        /* of the function and the offset: where an entry fires */
	uint64_t func;        /* the function */
} dtrace_probe_t;

/* One hit. Valid during the call. */
typedef struct dtrace_probe_event {
	const dtrace_probe_t *probe; /* whose */
	/* the victim, for its name only; NULL when its record has ended, and of hits that
	 * were put aside while objects came or went */
	struct ps_prochandle *P;
	pid_t pid, tid;   /* process and thread */
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	/* calls around it whose entry and return are watched */
	unsigned depth;
	/* entry and offset: the ABI's integer arguments, of which the first nargs could
	 * be read; return: args[0] is the offset of the return, args[1] the value */
	uint64_t args[DTRACE_PROBE_NARGS];
	unsigned nargs;
	/* return: 1 when its entry was seen; then duration_ns */
	int matched;
	uint64_t duration_ns; /* from entry to return */
	const uintptr_t
		*pcs;      /* STACKS: innermost first; return addresses but the first */
	unsigned npcs;     /* how many; 0 none */
	int stack_cut;     /* 1: there are more frames than could be had */
	const void *where; /* what was mapped then: for dtrace_probe_stack() */
} dtrace_probe_event_t;

/* Makes an empty set. opts NULL: the defaults. One a session (EALREADY). To be made
 * before victims are. Ends with dtrace_probes_close(), before dtrace_close(). */
dtrace_probes_t *dtrace_probes_open(dtrace_hdl_t *dtp, const dtrace_probe_opts_t *opts);

/* Ends it: every probe is out of every victim; takes as long as dtrace_probes_stop().
 * Nobody may be in a call with the set. NULL: nothing. */
void dtrace_probes_close(dtrace_probes_t *set);

/* Adds a description, before there are victims (EBUSY). -1: it makes no sense. */
int dtrace_probes_add(dtrace_probes_t *set, const char *description);

/*
 * Checks, when the victims are there and before they run on, that each description has
 * matched (but with zdefs), and that no probe failed to be made: 0, or -1 with
 * `probe description … does not match any probes`, `failed to lookup …` and the like.
 */
int dtrace_probes_check(dtrace_probes_t *set);

/* The name of the backend that watches pid (`kernel`, `trap`), or NULL; *ret_why (may be
 * NULL) gets why it is not the kernel's, or NULL. Lent. */
const char *dtrace_probes_backend(dtrace_probes_t *set, pid_t pid, const char **ret_why);

/* Stops watching, everywhere: what was hit till now can still be read. Waits for hooks
 * and breakpoint callbacks that are running, and for the kernel: 50 to 80 ms a victim.
 * Not to be called in a callback of the set's. */
void dtrace_probes_stop(dtrace_probes_t *set);

typedef int dtrace_probe_f(void *arg, const dtrace_probe_t *probe, uint64_t count);

/* Calls fn for each probe with its hits so far, victim by victim, by id; non-zero ends it
 * and is returned (-1 is also an error: no memory). Hits of a victim that has ended stay;
 * those that dtrace_probes_read() says are lost were counted, but for jumps that were to
 * be looked at (COUNT, traps). fn may call what it likes, but not end the set. */
int dtrace_probes_iter(dtrace_probes_t *set, dtrace_probe_f *fn, void *arg);

typedef void dtrace_probe_event_f(void *arg, const dtrace_probe_event_t *ev);

/* Tells the hits that came since the last call, each victim's in order of time. To be
 * called often (every 10 ms) while victims run; by one thread at a time. Returns how many
 * hits were lost for want of room since the last call.
 *
 * fn calls dtrace_probe_stack(), and nothing else of the session, its records or the set:
 * it would wait for itself. */
uint64_t dtrace_probes_read(dtrace_probes_t *set, dtrace_probe_event_f *fn, void *arg);

/* The frames of ev as text, one a line, as Pfmt_ustack(): by what was mapped at the hit,
 * whatever has become of the process. Like snprintf(3). During the event's call. */
size_t dtrace_probe_stack(const dtrace_probe_event_t *ev, char *buf, size_t size);

/* The probes of P (a live process, a core, an ELF file) that a description matches,
 * without making any. What fn returned, 0, or -1. */
int dtrace_probes_match(dtrace_hdl_t *dtp, struct ps_prochandle *P,
			const char *description, dtrace_probe_f *fn, void *arg);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
