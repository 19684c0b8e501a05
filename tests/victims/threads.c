/* SPDX-License-Identifier: MIT */
/*
 * N threads (argument, default 4) that stand in a futex wait below wait_here().
 *
 *	ready: threads= (with the main one) wait_here=
 *	tids       a line `tid=` for each thread, the main one first, then `.`
 *	more N     N more: `threads=`
 *	fewer N    N end: `threads=`
 *	leave      the main thread ends, the others stand on; no answer
 */
#include <pthread.h>
#include <sys/syscall.h>

#include "obey.h"

enum {
	MAX_THREADS = 20000
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_t thread[MAX_THREADS];
static pid_t tid[MAX_THREADS]; /* guarded by lock; 0 until the thread has begun */
static int wanted;             /* threads [0, wanted) may live */
static int begun;              /* how many have said who they are */

void *wait_here(void *arg);

__attribute__((noinline)) void *wait_here(void *arg)
{
	int me = (int)(intptr_t)arg;

	pthread_mutex_lock(&lock);
	tid[me] = syscall(SYS_gettid);
	begun++;
	pthread_cond_broadcast(&changed);
	while (me < wanted)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void grow(int to)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	pthread_mutex_lock(&lock);
	while (wanted < to && wanted < MAX_THREADS) {
		if (pthread_create(&thread[wanted], &attr, wait_here,
				   (void *)(intptr_t)wanted))
			break;
		wanted++;
	}
	while (begun < wanted)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	pthread_attr_destroy(&attr);
}

static void shrink(int to)
{
	int from = wanted;

	pthread_mutex_lock(&lock);
	wanted = to < 0 ? 0 : to;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (int i = wanted; i < from; i++)
		pthread_join(thread[i], NULL);
	begun = wanted;
}

static void tell_tids(const char *rest)
{
	(void)rest;
	tell("tid=%d", getpid());
	for (int i = 0; i < wanted; i++)
		tell("tid=%d", tid[i]);
	tell(".");
}

static void more(const char *rest)
{
	grow(wanted + atoi(rest));
	tell("threads=%d", wanted + 1);
}

static void fewer(const char *rest)
{
	shrink(wanted - atoi(rest));
	tell("threads=%d", wanted + 1);
}

static void leave(const char *rest)
{
	(void)rest;
	pthread_exit(NULL);
}

static const struct order orders[] = { { "tids", tell_tids },
				       { "more", more },
				       { "fewer", fewer },
				       { "leave", leave },
				       { NULL, NULL } };

int main(int argc, char **argv)
{
	grow(argc > 1 ? atoi(argv[1]) : 4);
	ready("threads=%d wait_here=%p", wanted + 1, (void *)wait_here);
	obey(orders);
	_exit(0);
}
