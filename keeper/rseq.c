/* SPDX-License-Identifier: MIT */
/*
 * Restartable sequences (rseq(2)) of an LWP that is sent elsewhere for a while.
 *
 * A stop preempts the LWP, so at its resume the kernel would send it from inside a
 * sequence to the sequence's abort address. After a detour it does not: it has seen a PC
 * outside, taken rseq_cs for a left-over and cleared it, and the sequence would go on as
 * if nothing had come between (measured on 6.18). So the PC that it comes back to is the
 * abort address: what it would have gone to.
 *
 * What is read was written by the victim; a lie harms itself alone.
 */
#include <sys/uio.h>

#include "keeper/keeper.h"

enum {
	RSEQ_CS = 8 /* offset of rseq_cs in struct rseq (linux/rseq.h) */
};

/* struct rseq_cs of linux/rseq.h. */
struct sequence {
	uint32_t version;     /* 0 */
	uint32_t flags;       /* 0; others are obsolete */
	uint64_t start;       /* address of its first instruction */
	uint64_t post_commit; /* bytes up to behind its last */
	uint64_t abort;       /* where to go instead */
};

static bool take(const struct lwp *l, uint64_t addr, void *buf, size_t len)
{
	struct iovec local = { buf, len }, remote = { (void *)(uintptr_t)addr, len };

	return process_vm_readv(l->tid, &local, 1, &remote, 1, 0) == (ssize_t)len;
}

void rseq_leave(struct lwp *l, arch_regs_t *regs)
{
	uint64_t area, at;
	struct sequence cs;

	if (trace_rseq(l, &area) || !area || !take(l, area + RSEQ_CS, &at, sizeof(at)) ||
	    !at || !take(l, at, &cs, sizeof(cs)))
		return;
	if (!cs.version && arch_pc(regs) - cs.start < cs.post_commit)
		arch_set_pc(regs, cs.abort);
}
