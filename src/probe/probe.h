/* SPDX-License-Identifier: MIT */
/*
 * Function probes: from descriptions (`pid$target:module:function:name`) to instructions
 * of a victim, and to a backend that watches them there.
 *
 * A *description* matches *probes*: the entry of a function, its returns, an offset in
 * it. A probe has one *spot* or several (a function returns in many places): instructions
 * at which it fires. A *backend* watches spots: `trap` by the keeper's breakpoints,
 * `kernel` by uprobes. Each victim has a backend of its own. This layer knows handles,
 * not sessions; that probes are made in time, at each dlopen and exec, is its caller's
 * business (src/dtrace/dt_probe.c).
 */
#ifndef PGRAB_PROBE_PROBE_H
#define PGRAB_PROBE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/arch.h"
#include "libproc.h"

/* --- descriptions ------------------------------------------------------------------- */

/* Whose probes a description means. */
enum probe_whose {
	PROBE_ANYBODY, /* a short form: every victim's */
	PROBE_TARGET,  /* pid$target */
	PROBE_PID,     /* pid1234 */
};

/* One description, taken apart. In the full form an empty module or function has become
 * `*`, an empty name the glob over entry, return and every offset. */
struct probe_desc {
	enum probe_whose whose; /* of which processes */
	pid_t pid;              /* PROBE_PID */
	bool has_lmid;          /* LM1`…: only that link map */
	long lmid;              /* … this one */
	char *module;           /* glob, base name or prefix, `a.out`; owned */
	char *function;         /* glob, or `-`; owned */
	char *name; /* entry, return, hex offset, or a glob over them; owned */
	char *text; /* as it was given; owned */
};

/* Takes text apart. 0, or -EINVAL with a sentence in err[0..size), -ENOMEM. */
int probe_parse(const char *text, struct probe_desc *ret, char *err, size_t size);
void probe_desc_fini(struct probe_desc *d);

/* --- what they match ---------------------------------------------------------------- */

enum probe_kind {
	PROBE_ENTRY,
	PROBE_RETURN,
	PROBE_OFFSET,
	PROBE_NKINDS
};

/* One instruction at which a probe fires. */
struct probe_spot {
	uint64_t addr; /* of the instruction, in the victim */
	/* not 0: it is a jump, and fires only when it goes outside lo <= target < hi (a
	 * tail call); 0 at each execution */
	uint64_t lo, hi;
	/* the same function's other half (its cold code), where a jump that has lo and hi
	 * stays as well; 0 there is none */
	uint64_t lo2, hi2;
	uint32_t id;   /* of its probe: probe_ops.set() */
	uint32_t kind; /* enum probe_kind, of its probe */
};

/* One probe; valid during the call. */
struct probe {
	enum probe_kind kind;           /* which */
	long lmid;                      /* namespace of its object */
	const char *path;               /* object, as the kernel shows it */
	const char *module;             /* its base name */
	const char *function;           /* canonical name of the function; `-` none */
	char name[24];                  /* `entry`, `return`, or the offset in hex */
	uint64_t base;                  /* load bias of the object */
	uint64_t func, size;            /* the function, bytes; 0 for `-` */
	uint64_t offset;                /* of the probe, from func */
	const struct probe_spot *spots; /* where it fires (id 0) */
	size_t nspots;                  /* how many: 1, or a function's returns */
	bool cut; /* return: code that makes no sense was left out, with its spots */
};

/* Called for each; non-zero ends it. */
typedef int probe_fn(void *arg, const struct probe *p);

/*
 * Calls fn for each probe of P that d matches, ascending by address in an object; in
 * objects whose load bias is among bases[0..nbases) only, or in all (bases NULL).
 * Functions that are one by several names come once, by the canonical one. Text is taken
 * from the object's file, so traps of anybody's do not matter. How many matched;
 * what fn returned; or a negative errno with a sentence in err: -ENOENT with `failed to
 * lookup …` and the like when a name without wildcards is wrong. Reads the victim, does
 * not touch it. Any thread, the handle locked as for Pobject_iter().
 */
int probe_match(struct ps_prochandle *P, const struct probe_desc *d,
		const uint64_t *bases, size_t nbases, probe_fn *fn, void *arg, char *err,
		size_t size);

/* --- backends ----------------------------------------------------------------------- */

/* What is wanted of each hit. */
enum probe_want {
	PROBE_WANT_COUNT,  /* how many */
	PROBE_WANT_EVENTS, /* each, with registers */
	PROBE_WANT_STACKS, /* each, with bytes of its stack too */
};

enum {
	/* bytes below the stack pointer that belong to a stack: a leaf function's own,
	 * and registers that its end has just popped, where call frame information may
	 * still look for them */
	PROBE_RED_ZONE = 128
};

/* One hit, as a backend tells it. Borrowed during the call. */
struct probe_hit {
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint32_t id;      /* whose */
	uint32_t kind;    /* enum probe_kind */
	pid_t tid;        /* thread, in our pid namespace */
	uint64_t addr;    /* spot */
	arch_regs_t regs; /* as they are at the spot's first instruction */
	/* of stack[0]: the stack pointer, or, with STACKS, PROBE_RED_ZONE below it */
	uint64_t stack_at;
	const uint8_t *stack; /* as many as were asked for and can be read */
	size_t nstack;        /* bytes */
};

typedef void probe_hit_f(void *arg, const struct probe_hit *hit);

struct probe_backend; /* one victim's; the backend's own */

/* A kind of backend. Calls on one backend are never concurrent, but for counts() and
 * drain(), which may come from another thread than the rest. */
struct probe_ops {
	const char *name; /* `kernel`, `trap` */

	/*
	 * Makes ready for a victim. stack: bytes of it wanted with each event, a multiple
	 * of 8: 0 none, up to 5 words for arguments, many with STACKS. 0 or -errno,
	 * with one sentence in err why not (what would have to be allowed).
	 */
	int (*open)(struct ps_prochandle *P, enum probe_want want, size_t stack,
		    struct probe_backend **ret, char *err, size_t size);
	/*
	 * Watches spots[0..n) besides those that are watched, before the victim runs on.
	 * Ids are small numbers that the caller chose; several spots may have one.
	 * 0, or -errno with a sentence, and then none of them is watched.
	 */
	int (*set)(struct probe_backend *b, const struct probe_spot *spots, size_t n,
		   char *err, size_t size);
	/*
	 * Addresses of spots for which the last set() failed, though it would watch the
	 * others: how many in *ret_n; lent until the next. NULL: there are none ever.
	 */
	const uint64_t *(*refused)(struct probe_backend *b, size_t *ret_n);
	/* Objects have gone from lo to hi: what is watched there is so no longer. Counts
	 * are kept. */
	void (*gone)(struct probe_backend *b, uint64_t lo, uint64_t hi);
	/* All of it has gone: the victim has exec'd. Counts are kept. */
	void (*reset)(struct probe_backend *b);
	/* Adds to counts[id] the hits of each id below n so far; also after reset() and
	 * the victim's end. */
	void (*counts)(struct probe_backend *b, uint64_t *counts, size_t n);
	/* Tells hits that have come since, each thread's in order; *ret_lost gets the
	 * number that was lost since the last call. */
	void (*drain)(struct probe_backend *b, probe_hit_f *fn, void *arg,
		      uint64_t *ret_lost);
	/* Ends watching: nothing is left in the victim. What was hit before can still be
	 * drained and counted. */
	void (*stop)(struct probe_backend *b);
	/* Frees it, stopped or not. NULL: nothing. */
	void (*close)(struct probe_backend *b);
};

extern const struct probe_ops probe_trap;
extern const struct probe_ops probe_kernel;

#endif
