/* SPDX-License-Identifier: MIT */
/*
 * A thread that never enters the kernel, beside one that obeys.
 *
 *	ready: spin= (address of the busy function) tid= (of its thread)
 *	count      `count=` of rounds so far: it grows exactly while the thread runs
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "obey.h"

static atomic_ulong rounds;
static atomic_int spinner;

void *spin(void *arg);

__attribute__((noinline)) void *spin(void *arg)
{
	spinner = syscall(SYS_gettid);
	for (;;)
		rounds++;
	return arg;
}

static void count(const char *rest)
{
	(void)rest;
	tell("count=%lu", rounds);
}

static const struct order orders[] = { { "count", count }, { NULL, NULL } };

int main(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, spin, NULL))
		return 1;
	while (!rounds)
		usleep(100);
	ready("spin=%p tid=%d", (void *)spin, spinner);
	obey(orders);
	return 0;
}
