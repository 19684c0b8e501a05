/* SPDX-License-Identifier: MIT */
/* The stacks of one process or core, named, and the ways to print them. */
#ifndef PGRAB_TOOLS_DUMP_H
#define PGRAB_TOOLS_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libproc.h"
#include "places.h"

/* How stacks are printed. */
enum dump_form {
	DUMP_GROUPS, /* for people: identical stacks once */
	DUMP_RAW,    /* thread by thread, with addresses */
	DUMP_FOLDED, /* a line a stack, the outermost function first, and how many */
	DUMP_JSON    /* an object a process */
};

/* What the command line asks for. */
struct dump_options {
	enum dump_form form; /* see there */
	unsigned frames;     /* of a stack at most; 0 all */
	bool no_stop;        /* touch nobody: only what waits in the kernel */
	bool mangled;        /* names as the symbol tables have them */
	bool lines;          /* file and line */
	bool inlines;        /* and calls that were inlined */
	bool debuginfod;     /* servers may be asked for debug files */
};

/* One frame. */
struct dump_frame {
	uintptr_t pc;   /* its address */
	uint32_t place; /* index of what it is called; of a call's, not of its return */
	int flags;      /* PRFRAME_* */
};

/* One thread. */
struct dump_thread {
	prcaplwp_t lwp; /* as captured */
	size_t first;   /* index of its innermost frame in dump.frames */
	size_t n;       /* frames */
	bool truncated; /* there are more, or it makes no sense any further */
	int end;        /* PCAPTURE_*: why the walk ended */
};

/* One process. */
struct dump {
	struct ps_prochandle *P;     /* read-only handle; lent */
	pid_t pid;                   /* of the process, or that the core's had */
	char comm[16];               /* its name */
	uint64_t pause_ns;           /* that it was stopped; 0 not at all */
	int notes;                   /* PCAPTURE_PARTIAL … */
	struct dump_thread *threads; /* by tid; allocated */
	size_t nthreads;             /* how many */
	struct dump_frame *frames;   /* of all threads; allocated */
	size_t nframes, room;        /* used and allocated */
	struct places places;        /* what their addresses are called */
	bool nomem;                  /* something is missing */
};

/* Captures and walks: 0, or 1 after a sentence; then there may be something all the
 * same. Ends with dump_free(). */
int dump_take(struct ps_prochandle *P, pid_t pid, const struct dump_options *o,
	      struct dump *ret);
void dump_free(struct dump *d);

/* Prints it. */
void dump_print(const struct dump *d, const struct dump_options *o);
void dump_print_groups(const struct dump *d, const struct dump_options *o);
void dump_print_json(const struct dump *d, const struct dump_options *o);

/* The part of thread t that is to be printed: frames. */
size_t dump_shown(const struct dump_thread *t, const struct dump_options *o);

/* What is to be said of a thread without frames, or behind them; "" nothing. */
const char *dump_remark(const struct dump_thread *t);

#endif
