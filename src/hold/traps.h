/* SPDX-License-Identifier: MIT */
/*
 * The client's own table of the breakpoints in one victim: what reads of the victim's
 * text must hide, and what must be written back should the keeper die. Has its own lock,
 * a leaf.
 */
#ifndef PGRAB_HOLD_TRAPS_H
#define PGRAB_HOLD_TRAPS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/arch.h"

/* One breakpoint. */
struct trap {
	uint64_t addr;         /* of the instruction */
	uint32_t flags;        /* HOLD_BKPT_* it was made with */
	struct arch_insn insn; /* what the program has there */
};

/* The table of one victim. */
struct traps {
	pthread_mutex_t lock; /* guards all below */
	struct trap **v;      /* ascending by addr, no two equal; owned */
	size_t n;             /* how many */
	size_t room;          /* how many fit */
};

void traps_init(struct traps *t);
void traps_fini(struct traps *t);

/* 0, -EEXIST, -ENOMEM. */
int traps_add(struct traps *t, uint64_t addr, const struct arch_insn *insn,
	      uint32_t flags);
/* Nothing when there is none at addr. */
void traps_mark(struct traps *t, uint64_t addr, uint32_t flags);
void traps_remove(struct traps *t, uint64_t addr);
/* Forgets all, as after an exec. */
void traps_forget(struct traps *t);

/* Replaces trap instructions of ours in buf = [addr, addr + len) by the program's own
 * bytes. */
void traps_hide(struct traps *t, uint64_t addr, void *buf, size_t len);

/* Copies of the breakpoints whose instruction touches [addr, addr + len), in order; the
 * caller frees *ret. 0 or -ENOMEM. */
int traps_touching(struct traps *t, uint64_t addr, size_t len, struct trap **ret,
		   size_t *ret_n);

/*
 * Writes the program's own bytes back over every trap that still stands in the process
 * `pid`, if pidfd says that it lives: for the case that the keeper is gone. Forgets all.
 */
void traps_restore(struct traps *t, pid_t pid, int pidfd);

#endif
