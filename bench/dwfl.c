/* SPDX-License-Identifier: MIT */
/*
 * libdwfl's rows: the same questions to elfutils, which caches what it has read as we do.
 * A cold measure runs in a process of its own (`bench --cold WHO PID ADDR`), since both
 * keep files that they have read.
 */
#include <elfutils/libdwfl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "bench.h"

enum {
	WARM = 20000, /* look-ups */
	WALKS = 300,  /* of one stack */
};

static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_linux_proc_find_elf,
	.find_debuginfo = dwfl_standard_find_debuginfo,
};

static Dwfl *report(pid_t pid)
{
	Dwfl *dwfl = dwfl_begin(&callbacks);

	if (dwfl && !dwfl_linux_proc_report(dwfl, pid) &&
	    !dwfl_report_end(dwfl, NULL, NULL))
		return dwfl;
	dwfl_end(dwfl);
	return NULL;
}

static const char *look(Dwfl *dwfl, uint64_t addr)
{
	Dwfl_Module *module = dwfl_addrmodule(dwfl, addr);
	GElf_Off offset;
	GElf_Sym sym;

	return module ? dwfl_module_addrinfo(module, addr, &offset, &sym, NULL, NULL,
					     NULL)
		      : NULL;
}

double dwfl_lookup_once(pid_t pid, uint64_t addr)
{
	double begin = bench_now();
	Dwfl *dwfl = report(pid);
	const char *name = dwfl ? look(dwfl, addr) : NULL;

	begin = bench_now() - begin;
	dwfl_end(dwfl);
	return name ? begin : -1;
}

double dwfl_lookup_warm(void)
{
	uint64_t base = bench_libc_addr();
	Dwfl *dwfl = report(bench_sleeper());
	double begin;
	int found = 0;

	if (!dwfl)
		return -1;
	look(dwfl, base);
	begin = bench_now();
	for (int i = 0; i < WARM; i++)
		found += look(dwfl, base + (uint64_t)(i % 64) * 37) != NULL;
	begin = bench_now() - begin;
	dwfl_end(dwfl);
	return found ? begin / WARM : -1;
}

static int count_frame(Dwfl_Frame *frame, void *arg)
{
	Dwarf_Addr pc;

	if (dwfl_frame_pc(frame, &pc, NULL))
		++*(uint64_t *)arg;
	return DWARF_CB_OK;
}

static double walk(Dwfl *dwfl, pid_t pid)
{
	uint64_t frames = 0;
	double begin;

	if (dwfl_linux_proc_attach(dwfl, pid, true))
		return -1;
	dwfl_getthread_frames(dwfl, pid, count_frame, &frames);
	frames = 0;
	begin = bench_now();
	for (int i = 0; i < WALKS; i++)
		dwfl_getthread_frames(dwfl, pid, count_frame, &frames);
	begin = bench_now() - begin;
	return frames ? begin / (double)frames : -1;
}

/* Stopped by us beforehand, so that what is measured is the walk. */
double dwfl_unwind_warm(void)
{
	pid_t pid = bench_deep();
	double us = -1;
	Dwfl *dwfl;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) ||
	    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
		return -1;
	waitpid(pid, NULL, __WALL);
	dwfl = report(pid);
	if (dwfl)
		us = walk(dwfl, pid);
	dwfl_end(dwfl);
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	return us;
}
