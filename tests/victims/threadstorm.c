/* SPDX-License-Identifier: MIT */
/*
 * Short-lived threads without pause: T makers (argument, default 2) create and join them.
 *
 *	ready: brief= (the short-lived threads' function)
 *	count      `born=` so far
 *	enough     the makers end: `born=`, the same number having run
 */
#include <pthread.h>
#include <stdatomic.h>

#include "obey.h"

enum {
	MAX_MAKERS = 64
};

static atomic_long born, lived;
static atomic_int enough_now;
static pthread_t maker[MAX_MAKERS];
static int makers = 2;

void *brief(void *arg);

__attribute__((noinline)) void *brief(void *arg)
{
	lived++;
	return arg;
}

static void *make(void *arg)
{
	pthread_t thread;

	while (!enough_now) {
		if (pthread_create(&thread, NULL, brief, NULL))
			continue;
		born++;
		pthread_join(thread, NULL);
	}
	return arg;
}

static void count(const char *rest)
{
	(void)rest;
	tell("born=%ld", born);
}

static void enough(const char *rest)
{
	(void)rest;
	enough_now = 1;
	for (int i = 0; i < makers; i++)
		pthread_join(maker[i], NULL);
	tell("born=%ld lived=%ld", born, lived);
}

static const struct order orders[] = { { "count", count },
				       { "enough", enough },
				       { NULL, NULL } };

int main(int argc, char **argv)
{
	if (argc > 1)
		makers = atoi(argv[1]) < MAX_MAKERS ? atoi(argv[1]) : MAX_MAKERS;
	for (int i = 0; i < makers; i++)
		if (pthread_create(&maker[i], NULL, make, NULL))
			return 1;
	while (!born)
		usleep(100);
	ready("brief=%p", (void *)brief);
	obey(orders);
	_exit(0);
}
