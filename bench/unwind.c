/* SPDX-License-Identifier: MIT */
/*
 * Unwinding a stopped process through the public interface: its memory is read live.
 * (The place for a peer's row beside it is peer.c.)
 */
#include <stdint.h>

#include "bench.h"
#include "libproc.h"

enum {
	WALKS = 2000, /* of one stack */
};

static int count_frame(void *arg, prgregset_t regs, unsigned argc, const long *argv)
{
	++*(uint64_t *)arg;
	return 0;
}

double unwind_warm(void)
{
	uint64_t frames = 0;
	double begin;
	int err;
	struct ps_prochandle *P = Pgrab(bench_sleeper(), 0, &err);

	if (!P)
		return -1;
	Pstack_iter(P, Pstatus(P)->pr_lwp.pr_reg, count_frame, &frames);
	frames = 0;
	begin = bench_now();
	for (int i = 0; i < WALKS; i++)
		Pstack_iter(P, Pstatus(P)->pr_lwp.pr_reg, count_frame, &frames);
	begin = bench_now() - begin;
	Prelease(P, 0);
	return frames ? begin / (double)frames : -1;
}
