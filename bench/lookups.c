/* SPDX-License-Identifier: MIT */
/*
 * Look-ups in libc, cold and warm, and the process that they are about. Cold is a process
 * that has never looked: this program started anew.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "libproc.h"

enum {
	WARM = 20000, /* look-ups */
};

uint64_t bench_libc_addr(void)
{
	return (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, "qsort");
}

static double lookup_once(pid_t pid, uint64_t addr)
{
	double begin = bench_now();
	struct ps_prochandle *P;
	char name[256];
	GElf_Sym sym;
	int err, rc;

	P = Pgrab(pid, PGRAB_RDONLY, &err);
	if (!P)
		return -1;
	rc = Plookup_by_addr(P, (uintptr_t)addr, name, sizeof(name), &sym);
	begin = bench_now() - begin;
	Prelease(P, 0);
	return rc ? -1 : begin;
}

int bench_cold(char **argv)
{
	pid_t pid = atoi(argv[3]);
	uint64_t addr = strtoull(argv[4], NULL, 0);

	printf("%f\n", strcmp(argv[2], "dwfl") ? lookup_once(pid, addr)
					       : dwfl_lookup_once(pid, addr));
	return 0;
}

static double run_cold(const char *who)
{
	char command[4200];
	double us = -1;
	FILE *f;

	snprintf(command, sizeof(command), "%s --cold %s %d 0x%" PRIx64, bench_self, who,
		 bench_sleeper(), bench_libc_addr());
	f = popen(command, "re");
	if (!f || fscanf(f, "%lf", &us) != 1)
		us = -1;
	if (f)
		pclose(f);
	return us;
}

double lookup_cold(void)
{
	return run_cold("pgrab");
}

double dwfl_lookup_cold(void)
{
	return run_cold("dwfl");
}

double lookup_warm(void)
{
	uint64_t base = bench_libc_addr();
	struct ps_prochandle *P;
	char name[256];
	int err, found = 0;
	GElf_Sym sym;
	double begin;

	P = Pgrab(bench_sleeper(), PGRAB_RDONLY, &err);
	if (!P)
		return -1;
	Plookup_by_addr(P, (uintptr_t)base, name, sizeof(name), &sym);
	begin = bench_now();
	for (int i = 0; i < WARM; i++)
		found += !Plookup_by_addr(P, (uintptr_t)base + (uintptr_t)(i % 64) * 37,
					  name, sizeof(name), &sym);
	begin = bench_now() - begin;
	Prelease(P, 0);
	return found ? begin / WARM : -1;
}
