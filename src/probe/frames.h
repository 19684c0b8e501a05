/* SPDX-License-Identifier: MIT */
/*
 * Which return belongs to which entry. A call is told by its thread and by the stack
 * pointer at its first instruction, which stands at the return address: the same value
 * that it has at the function's `ret`, or at the jump of a tail call. So recursion is
 * told apart, and what longjmp(3) or an exception has skipped is noticed at the next
 * entry that lies outside. A plain value for one victim; the caller locks.
 */
#ifndef PGRAB_PROBE_FRAMES_H
#define PGRAB_PROBE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A call that has not returned. */
struct frame {
	uint64_t sp;      /* at its entry */
	uint64_t func;    /* address of its function */
	uint64_t time_ns; /* of its entry */
};

/* Those of one thread, outermost first. */
struct frame_thread {
	pid_t tid;       /* the thread */
	struct frame *v; /* owned */
	size_t n, room;  /* how many, for how many */
};

struct frames {
	struct frame_thread *threads; /* ascending by tid; owned */
	size_t n, room;               /* how many, for how many */
	/* Do two stack pointers lie in one stack? NULL: within 8 MiB. */
	bool (*same)(void *arg, uint64_t a, uint64_t b);
	void *arg; /* for it */
};

/* A call begins: how many traced ones are around it. Without memory it is not noted. */
unsigned frames_enter(struct frames *f, pid_t tid, const struct frame *call);

/* How many are around a place with this stack pointer. */
unsigned frames_depth(struct frames *f, pid_t tid, uint64_t sp);

/* The function at `func` returns, its stack pointer being sp: true with its entry in
 * *ret; false when that was not seen. *ret_depth in either case. */
bool frames_return(struct frames *f, pid_t tid, uint64_t func, uint64_t sp,
		   struct frame *ret, unsigned *ret_depth);

/* The program has gone. */
void frames_fini(struct frames *f);

#endif
