/* SPDX-License-Identifier: MIT */
/*
 * Inside of a capture, for capture.c and capnostop.c.
 */
#ifndef PGRAB_PROC_CAPTURE_H
#define PGRAB_PROC_CAPTURE_H

#include "hold/hold.h"
#include "libproc.h"
#include "proc/handle.h"
#include "stack/stack.h"

/* One LWP. */
struct caplwp {
	prcaplwp_t pub;         /* what the caller sees */
	struct stack_regs regs; /* with PCAP_REGS */
	/* of its stack; in the keeper's memory, or `owned` */
	struct hold_piece piece[HOLD_CAPTURE_PIECES];
	void *owned; /* freed with the capture; NULL none */
};

struct ps_capture {
	const struct stack_arch *arch; /* NULL: we have no rules for it */
	struct image *image;           /* of the program; one reference */
	struct core *core;             /* it is of a core: one reference; else NULL */
	struct mem_live live;          /* text of the victim, while it lives */
	int pidfd;                     /* … which this tells; -1 a core */
	struct hold_capture *held;     /* the keeper's copy, or NULL */
	struct caplwp *lwps;           /* ascending; owned */
	size_t n;                      /* how many */
	uint64_t pause_ns;             /* see Pcapture_pause() */
	int notes;                     /* see Pcapture_notes() */
};

/* Copies of the stacks of LWPs that wait, into c->lwps, which are there: 0 or -errno. */
int capnostop_copy(ps_capture_t *c, pid_t pid, size_t limit);

#endif
