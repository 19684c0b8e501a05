/* SPDX-License-Identifier: MIT */
/*
 * The victim of the comparison of pauses: N threads, of which all but the first wait
 * DEPTH calls deep; the first never sleeps and notes the longest time in which it did
 * not run. For a pair of threads that have something in turn see `pair`.
 *
 *	crowd N DEPTH BOARD CPU [LIBRARY…]	loads the libraries first
 *	crowd pair BOARD
 *
 * BOARD is a file of two 64-bit words, shared: `reset`, which the reader sets to 1 and
 * the victim to 0 when it begins anew; `gap`, ns. CPU is where the first thread stays.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct board {
	_Atomic uint64_t reset; /* 1: begin anew */
	_Atomic uint64_t gap;   /* ns, the longest since */
};

static struct board *board;
static atomic_int turn, arrived;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((noinline)) void go_down(int n)
{
	if (n > 1) {
		go_down(n - 1);
	} else {
		atomic_fetch_add(&arrived, 1);
		for (;;)
			pause();
	}
	__asm__ volatile("");
}

static void *wait_below(void *depth)
{
	go_down((int)(intptr_t)depth);
	return NULL;
}

static _Noreturn void tick(void)
{
	uint64_t last = now(), gap = 0;

	for (;;) {
		uint64_t t = now();

		if (t - last > gap) {
			gap = t - last;
			atomic_store(&board->gap, gap);
		}
		if (atomic_load_explicit(&board->reset, memory_order_relaxed)) {
			atomic_store(&board->gap, gap = 0);
			atomic_store(&board->reset, 0);
			t = now();
		}
		last = t;
	}
}

__attribute__((noinline)) void first_inside(void)
{
	for (volatile int i = 0; i < 600000; i++)
		;
}

__attribute__((noinline)) void second_inside(void)
{
	for (volatile unsigned i = 0; i < 600000; i++)
		;
}

static void *take_turns(void *arg)
{
	int me = (int)(intptr_t)arg;

	for (;;) {
		while (atomic_load(&turn) != me)
			sched_yield();
		if (me)
			second_inside();
		else
			first_inside();
		atomic_store(&turn, !me);
	}
	return NULL;
}

static void map_board(const char *path)
{
	int fd = open(path, O_RDWR);

	board = fd < 0 ? MAP_FAILED
		       : mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED,
			      fd, 0);
	if (board == MAP_FAILED)
		_exit(2);
}

static void start_threads(int n, int depth)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	for (int i = 0; i < n; i++)
		if (pthread_create(&t, &attr, wait_below, (void *)(intptr_t)depth))
			_exit(3);
	while (atomic_load(&arrived) < n)
		usleep(1000);
}

int main(int argc, char **argv)
{
	cpu_set_t cpus;
	pthread_t t;

	CPU_ZERO(&cpus);
	if (argc == 3 && !strcmp(argv[1], "pair")) {
		for (int i = 0; i < CPU_SETSIZE; i++)
			CPU_SET(i, &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus); /* each its own */
		map_board(argv[2]);
		pthread_create(&t, NULL, take_turns, (void *)(intptr_t)1);
		take_turns(NULL);
	}
	if (argc < 5)
		return 2;
	map_board(argv[3]);
	for (int i = 5; i < argc; i++)
		if (!dlopen(argv[i], RTLD_NOW))
			return 4;
	start_threads(atoi(argv[1]) - 1, atoi(argv[2]));
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[4]), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	tick();
}
