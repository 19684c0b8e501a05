/* SPDX-License-Identifier: MIT */
/*
 * One thread, blocked in read(2) below three functions of known addresses.
 *
 *	ready: outer= middle= inner= (their addresses) sp= (inner's frame)
 *	nap MS     sleeps MS with nanosleep(2): `napped ms= error=`
 *	exit N     ends with that status
 *	die SIG    ends by that signal
 */
#include <signal.h>
#include <time.h>

#include "obey.h"

static void nap(const char *rest)
{
	long ms = atol(rest);
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 }, a, b;
	int err;

	clock_gettime(CLOCK_MONOTONIC, &a);
	err = nanosleep(&t, NULL) ? errno : 0;
	clock_gettime(CLOCK_MONOTONIC, &b);
	tell("napped ms=%ld error=%d",
	     (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000, err);
}

static void leave(const char *rest)
{
	exit(atoi(rest));
}

static void die(const char *rest)
{
	raise(atoi(rest));
	tell("alive");
}

static const struct order orders[] = {
	{ "nap", nap }, { "exit", leave }, { "die", die }, { NULL, NULL }
};

int outer(int depth);
int middle(int depth);
int inner(int depth);

__attribute__((noinline)) int inner(int depth)
{
	ready("outer=%p middle=%p inner=%p sp=%p", (void *)outer, (void *)middle,
	      (void *)inner, __builtin_frame_address(0));
	obey(orders);
	return depth + 1;
}

__attribute__((noinline)) int middle(int depth)
{
	return inner(depth + 1) + 1;
}

__attribute__((noinline)) int outer(int depth)
{
	return middle(depth + 1) + 1;
}

int main(void)
{
	return outer(0) == 5 ? 0 : 1;
}
