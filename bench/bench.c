/* SPDX-License-Identifier: MIT */
/*
 * `make bench`: what pgrab costs beside the bare system calls and beside gdb.
 *
 * Everything runs on one CPU (sched_setaffinity before the keeper starts, so that keeper,
 * victims and gdb inherit it): a round trip between two CPUs of a virtual machine
 * measures its wake-ups, not us. The measures of a group take turns, ROUNDS times; each
 * row shows the median of its rounds, and the median of the ratios to the group's
 * reference *in the same round*. Absolute figures of different runs are not comparable,
 * ratios nearly are.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "os/procfs.h"

enum {
	ROUNDS = 9,
	MAX_ROWS = 8,
	THREADS = 8 /* of a victim that has many */
};

/* One line of the table. */
struct row {
	const char *name; /* what is measured */
	measure_f *fn;    /* how */
	double most;      /* aim: at most so many times the reference; 0 none */
	double most_us;   /* aim: at most so many microseconds; 0 none */
};

/* Rows measured in turn; the first is the reference of the others. */
struct group {
	const char *title;         /* above the rows */
	int rounds;                /* how many */
	struct row rows[MAX_ROWS]; /* up to the first without a name */
};

static const struct group groups[] = {
	{ "take hold of a process of one thread and let it go",
	  ROUNDS,
	  { { "bare SEIZE, INTERRUPT, wait, DETACH", bare_grab, 0, 0 },
	    { "keeper round trip (registers)", hold_round_trip, 0, 0 },
	    { "hold_grab + hold_release", hold_grab_release, 0, 0 },
	    { "Pgrab + Prelease", client_grab, 6, 0 },
	    { "dtrace_proc_grab + release", client_session_grab, 10, 0 } } },
	{ "sessions",
	  ROUNDS,
	  { { "dtrace_open + dtrace_close", client_session, 0, 0 } } },
	{ "create /bin/true, park, kill",
	  ROUNDS,
	  { { "posix_spawn + wait, to its end", bare_spawn, 0, 0 },
	    { "bare TRACEME to the exec stop, kill", bare_exec_stop, 0, 0 },
	    { "hold_create, kill", hold_create_kill, 0, 0 },
	    { "dtrace_proc_create, park at exec", client_create_exec, 0, 0 },
	    { "... at preinit", client_create_preinit, 0, 0 },
	    { "... at main", client_create_main, 0, 0 } } },
	{ "symbol of an address",
	  ROUNDS,
	  { { "Plookup_by_addr, warm", client_lookup_warm, 0, 0.1 },
	    { "Pgrab read-only, first lookup, release", client_lookup_cold, 0, 0 } } },
	{ "lookups: an address in libc, warm",
	  ROUNDS,
	  { { "libdwfl: module, addrinfo", dwfl_lookup_warm, 0, 0 },
	    { "Plookup_by_addr", lookup_warm, 0, 0.1 } } },
	{ "lookups: the first of a new process, in libc",
	  ROUNDS,
	  { { "libdwfl: report, module, addrinfo", dwfl_lookup_cold, 0, 0 },
	    { "Pgrab read-only, Plookup_by_addr", lookup_cold, 0, 5000 } } },
	{ "lookups: a frame of a stopped process, warm",
	  ROUNDS,
	  { { "libdwfl, 50 frames", dwfl_unwind_warm, 0, 0 },
	    { "Pstack_iter, few frames, memory live", unwind_warm, 0, 0 },
	    { "Pstack_iter, 50 frames, memory live", unwind_deep, 0, 0 },
	    { "Pcapture_stack_iter, 50 frames", unwind_captured, 0, 0.3 } } },
	{ "breakpoint hit, one thread (gdb: its aim is a third)",
	  5,
	  { { "gdb, ignore count", gdb_hit, 0, 0 },
	    { "bare stop and continue", bare_stop_continue, 0, 0 },
	    { "bare trap, restore, step, plant", bare_step_over, 0, 0 },
	    { "hold: question and answer", hold_hit, 0, 0 },
	    { "... in a slot", hold_leaf, 0, 0 },
	    { "dt_proc_bpcreate, callback", client_hit, 1.0 / 3, 0 } } },
	{ "breakpoint hit, one thread, beside the floor",
	  ROUNDS,
	  { { "a trap of the program's own, wait, CONT", bare_trap, 0, 0 },
	    { "counted by the keeper, emulated", hold_count, 1.3, 0 },
	    { "... in a slot", hold_count_leaf, 2, 0 },
	    { "recorded with registers, emulated", hold_record, 1.5, 0 },
	    { "... in a slot", hold_record_leaf, 0, 0 },
	    { "dt_proc_bpcreate, callback", client_hit, 3, 0 } } },
	{ "breakpoint hit, 8 threads, beside the floor",
	  5,
	  { { "a trap of the program's own, wait, CONT", bare_trap8, 0, 0 },
	    { "gdb, ignore count", gdb_hit8, 0, 0 },
	    { "dt_proc_bpcreate, callback", client_hit8, 4, 0 } } },
};

const char *bench_self;

/* --- time and victims ------------------------------------------------------------- */

double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static pid_t sleeper, deep;

__attribute__((noinline)) static int sleep_below(int calls)
{
	static volatile bool awake;
	int below = 0;

	if (calls > 0)
		below = sleep_below(calls - 1);
	else
		while (!awake)
			pause();
	__asm__ volatile(""); /* no tail call */
	return below + 1;
}

static pid_t start_sleeper(int calls)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(sleep_below(calls));
	}
	usleep(10000);
	return pid;
}

pid_t bench_sleeper(void)
{
	if (!sleeper)
		sleeper = start_sleeper(0);
	return sleeper;
}

pid_t bench_deep(void)
{
	if (!deep)
		deep = start_sleeper(50);
	return deep;
}

static void end_sleeper(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

void bench_sleeper_end(void)
{
	end_sleeper(sleeper);
	end_sleeper(deep);
}

/* --- the victim of the breakpoints ------------------------------------------------ */

static volatile unsigned hits;

#if defined(__clang__)
#define FRAMED __attribute__((noinline, optnone))
#else
#define FRAMED __attribute__((noinline, noclone, optimize("O0")))
#endif

FRAMED void bench_hit(void)
{
	hits++;
}

__attribute__((noinline)) void bench_leaf(void)
{
	hits++;
}

#if defined(__x86_64__)
#define TRAP "int3"
#else
#define TRAP "brk #0"
#endif

/* Nothing to be got past: the least that a hit can cost. */
static void trap(void)
{
	__asm__ volatile(TRAP);
}

/* What one thread of the victim calls, and how often. */
static void (*called)(void);
static unsigned often;

static void *call_often(void *arg)
{
	for (unsigned i = 0; i < often; i++)
		called();
	return arg;
}

static int be_hit(void (*fn)(void), unsigned n, const char *file, int threads)
{
	pthread_t t[THREADS];
	double begin = bench_now();
	FILE *f;

	called = fn;
	often = n / (unsigned)threads;
	for (int i = 1; i < threads; i++)
		if (pthread_create(&t[i], NULL, call_often, NULL))
			return 1;
	call_often(NULL);
	for (int i = 1; i < threads; i++)
		pthread_join(t[i], NULL);
	begin = bench_now() - begin;
	f = fopen(file, "w");
	if (!f)
		return 1;
	fprintf(f, "%.4f\n", begin / n);
	return fclose(f) ? 1 : 0;
}

/* How it is started as a victim. */
static const struct {
	const char *mode; /* first argument */
	void (*fn)(void); /* what it calls */
	int threads;      /* in how many */
} victims[] = {
	{ "--hit", bench_hit, 1 },    { "--leaf", bench_leaf, 1 },
	{ "--trap", trap, 1 },        { "--hit8", bench_hit, THREADS },
	{ "--trap8", trap, THREADS },
};

/* -1: this is no victim. */
static int be_victim(char **argv)
{
	for (size_t i = 0; i < sizeof(victims) / sizeof(*victims); i++)
		if (!strcmp(argv[1], victims[i].mode))
			return be_hit(victims[i].fn, (unsigned)strtoul(argv[2], NULL, 10),
				      argv[3], victims[i].threads);
	return -1;
}

static const char *hit_file(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "/tmp/pgrab-bench.%d", getpid());
	return path;
}

char **bench_hit_argv(const char *mode, unsigned n)
{
	static char count[16];
	static char *argv[5];

	snprintf(count, sizeof(count), "%u", n);
	argv[0] = (char *)(uintptr_t)bench_self;
	argv[1] = (char *)(uintptr_t)mode;
	argv[2] = count;
	argv[3] = (char *)(uintptr_t)hit_file();
	return argv;
}

double bench_hit_result(void)
{
	FILE *f = fopen(hit_file(), "r");
	double us = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%lf", &us) != 1)
		us = -1;
	fclose(f);
	unlink(hit_file());
	return us;
}

/* Lowest address of this program in a process that runs it. */
static uint64_t base_of(pid_t pid)
{
	struct procfs_map *maps;
	uint64_t base = 0;
	size_t n;

	if (procfs_maps(pid, 0, &maps, &n))
		return 0;
	for (size_t i = 0; i < n && !base; i++)
		if (!strcmp(maps[i].path, bench_self))
			base = maps[i].start;
	free(maps);
	return base;
}

uint64_t bench_addr_in(pid_t pid, void (*fn)(void))
{
	return (uint64_t)(uintptr_t)fn - base_of(getpid()) + base_of(pid);
}

/* --- the table -------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Median of those that are not negative; -1 when there are none. */
static double median(const double *v, int n)
{
	double sorted[ROUNDS];
	int kept = 0;

	for (int i = 0; i < n; i++)
		if (v[i] >= 0)
			sorted[kept++] = v[i];
	qsort(sorted, (size_t)kept, sizeof(*sorted), by_value);
	return kept ? sorted[kept / 2] : -1;
}

static const char *verdict(const struct row *r, double us, double ratio)
{
	if (r->most)
		return ratio < 0 ? "?" : ratio <= r->most ? "met" : "NOT MET";
	if (r->most_us)
		return us <= r->most_us ? "met" : "NOT MET";
	return "";
}

static void print_row(const struct row *r, const double *us, const double *ref, int n)
{
	double ratios[ROUNDS], m = median(us, n), ratio;

	if (m < 0) {
		printf("  %-40s not measured\n", r->name);
		return;
	}
	for (int i = 0; i < n; i++)
		ratios[i] = us[i] >= 0 && ref[i] > 0 ? us[i] / ref[i] : -1;
	ratio = median(ratios, n);
	printf("  %-40s %10.2f us", r->name, m);
	if (ratio >= 0)
		printf(" %8.2f x", ratio);
	if (r->most)
		printf("  aim %.2f x: %s", r->most, verdict(r, m, ratio));
	if (r->most_us)
		printf("  aim %.2f us: %s", r->most_us, verdict(r, m, ratio));
	printf("\n");
	fflush(stdout);
}

static void run_group(const struct group *g)
{
	double us[MAX_ROWS][ROUNDS];
	int nrows = 0;

	while (nrows < MAX_ROWS && g->rows[nrows].name)
		nrows++;
	for (int round = 0; round < g->rounds; round++)
		for (int i = 0; i < nrows; i++)
			us[i][round] = round && us[i][0] < 0 ? -1 : g->rows[i].fn();
	printf("\n%s\n", g->title);
	for (int i = 0; i < nrows; i++)
		print_row(&g->rows[i], us[i], us[0], g->rounds);
}

static void pin(void)
{
	cpu_set_t allowed, one;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

int main(int argc, char **argv)
{
	static char self[4096];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int status;

	if (argc == 4 && (status = be_victim(argv)) >= 0)
		return status;
	if (argc == 5 && !strcmp(argv[1], "--cold"))
		return bench_cold(argv);
	if (argc > 2 || len <= 0) {
		fprintf(stderr, "usage: bench [WORD]   (groups whose title has WORD)\n");
		return 2;
	}
	bench_self = self;
	pin();
	printf("one CPU; medians of %d rounds taken in turn; x: ratio to the group's "
	       "first row\n",
	       ROUNDS);
	for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++)
		if (argc < 2 || strstr(groups[i].title, argv[1]))
			run_group(&groups[i]);
	bench_sleeper_end();
	return 0;
}
