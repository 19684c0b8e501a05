/* SPDX-License-Identifier: MIT */
/*
 * Calls functions a known number of times, so that hits can be counted against the truth.
 *
 *	ready: framed= leaf= tail= (their addresses)
 *	call F N        F (framed, leaf or tail) N times: `calls= sum=`
 *	threads F T N   T threads, N times each: `calls= sum=`
 *	forever F       until `enough`; prints `calling`, then obeys on
 *	enough          `calls= sum=`
 * `sum` is what it must be when every call did its work: calls * 3.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "obey.h"

enum {
	MAX_THREADS = 256
};

/* framed pushes a frame, leaf does not, tail begins with a jump. */
long framed(long n);
long leaf(long n);
long tail(long n);

__attribute__((noinline, noclone)) long leaf(long n)
{
	__asm__ volatile("");
	return n + 3;
}

__attribute__((noinline, noclone)) long framed(long n)
{
	volatile char room[64];

	room[n & 63] = 1;
	return leaf(n) - 1 + room[n & 63];
}

__attribute__((noinline, noclone)) long tail(long n)
{
	return leaf(n);
}

typedef long call_f(long);

static const struct {
	const char *name; /* as in the commands */
	call_f *fn;       /* it */
} function[] = { { "framed", framed }, { "leaf", leaf }, { "tail", tail } };

static atomic_long calls, sum;
static atomic_int enough_now;
static pthread_t forever_thread;

static call_f *find(const char *name)
{
	for (size_t i = 0; i < sizeof(function) / sizeof(*function); i++)
		if (!strcmp(function[i].name, name))
			return function[i].fn;
	return leaf;
}

/* What one thread does. */
struct share {
	call_f *fn; /* called */
	long n;     /* how often; < 0 until enough */
};

static void *work(void *arg)
{
	const struct share *share = arg;
	call_f *volatile fn = share->fn;
	long total = 0, n;

	for (n = 0; share->n < 0 ? !enough_now : n < share->n; n++)
		total = fn(total);
	calls += n;
	sum += total;
	return NULL;
}

static void begin(void)
{
	calls = sum = 0;
	enough_now = 0;
}

static void report(void)
{
	tell("calls=%ld sum=%ld", calls, sum);
}

static void call(const char *rest)
{
	char name[32] = "";
	struct share share = { NULL, 1 };

	begin();
	sscanf(rest, "%31s %ld", name, &share.n);
	share.fn = find(name);
	work(&share);
	report();
}

static void threads(const char *rest)
{
	pthread_t thread[MAX_THREADS];
	struct share share = { NULL, 1 };
	char name[32] = "";
	int n = 1;

	begin();
	sscanf(rest, "%31s %d %ld", name, &n, &share.n);
	share.fn = find(name);
	if (n > MAX_THREADS)
		n = MAX_THREADS;
	for (int i = 0; i < n; i++)
		pthread_create(&thread[i], NULL, work, &share);
	for (int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	report();
}

static void forever(const char *rest)
{
	static struct share share;

	begin();
	share = (struct share){ find(rest), -1 };
	pthread_create(&forever_thread, NULL, work, &share);
	tell("calling");
}

static void enough(const char *rest)
{
	(void)rest;
	enough_now = 1;
	pthread_join(forever_thread, NULL);
	report();
}

static const struct order orders[] = { { "call", call },
				       { "threads", threads },
				       { "forever", forever },
				       { "enough", enough },
				       { NULL, NULL } };

int main(void)
{
	ready("framed=%p leaf=%p tail=%p", (void *)framed, (void *)leaf, (void *)tail);
	obey(orders);
	return 0;
}
