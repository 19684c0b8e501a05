/* SPDX-License-Identifier: MIT */
/*
 * Unwinding a stopped process through the public interface: its memory is read live, or
 * has been copied. (libdwfl's row beside it is in dwfl.c.)
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

static double walk_live(pid_t pid)
{
	uint64_t frames = 0;
	double begin;
	int err;
	struct ps_prochandle *P = Pgrab(pid, 0, &err);

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

double unwind_warm(void)
{
	return walk_live(bench_sleeper());
}

double unwind_deep(void)
{
	return walk_live(bench_deep());
}

static int count_captured(void *arg, const prframe_t *frame)
{
	++*(uint64_t *)arg;
	return 0;
}

static double walk_captured(const ps_capture_t *c, pid_t pid)
{
	uint64_t frames = 0;
	double begin;

	Pcapture_stack_iter(c, pid, count_captured, &frames, NULL);
	frames = 0;
	begin = bench_now();
	for (int i = 0; i < WALKS; i++)
		Pcapture_stack_iter(c, pid, count_captured, &frames, NULL);
	begin = bench_now() - begin;
	return frames ? begin / (double)frames : -1;
}

double unwind_captured(void)
{
	pid_t pid = bench_deep();
	ps_capture_t *c;
	double us = -1;
	int err;
	struct ps_prochandle *P = Pgrab(pid, PGRAB_RDONLY, &err);

	if (!P)
		return -1;
	c = Pcapture(P, PCAPTURE_GRAB, 0, &err);
	if (c)
		us = walk_captured(c, pid);
	Pcapture_free(c);
	Prelease(P, 0);
	return us;
}
