/* SPDX-License-Identifier: MIT */
/* Built without libdw: its rows are not measured. */
#include "bench.h"

double dwfl_lookup_once(pid_t pid, uint64_t addr)
{
	return -1;
}

double dwfl_lookup_warm(void)
{
	return -1;
}

double dwfl_unwind_warm(void)
{
	return -1;
}
