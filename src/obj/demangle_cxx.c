/* SPDX-License-Identifier: MIT */
/*
 * C++ names (Itanium C++ ABI, "External Names"), by libiberty's demangler in the form
 * that hands out text piece by piece and takes nothing from the heap. It has no bound on
 * text, and none on time: 150 bytes of nested conversions take half a second, each six
 * more twice that; a parameter pack behind references that fan out, likewise. So:
 *
 *  - text: what exceeds the room ends the call, by a jump out of the function that it is
 *    handed to, over frames that hold nothing;
 *  - time and stack: a name that may do harm is read by a thread of its own, with a
 *    stack for the deepest name, and a deadline at which the thread is cancelled. That
 *    may happen anywhere in it, which is safe where nothing is held: no lock, no heap,
 *    no descriptor. 50 µs for each of those, once in a few hundred of real names.
 *
 * Which names those are: long ones, since the parser's depth follows their length and a
 * host's thread may have a small stack; and those that have more conversions, or more
 * references beside something that expands packs, than can be tried in a moment.
 */
#include <errno.h>
#include <libiberty/demangle.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "obj/demangle.h"

enum {
	SHORT = 400,           /* bytes of a name that is read right here */
	CONVERSIONS = 4,       /* `cv` of one */
	REFERENCES = 12,       /* S_, T_ of one that expands packs */
	STACK_SIZE = 24 << 20, /* bytes for the deepest: touched as far as needed */
	NS_OF_MS = 1000000,    /* ns */
	NS_OF_S = 1000000000,  /* ns */
	OPTIONS = DMGL_PARAMS | DMGL_ANSI | DMGL_NO_RECURSE_LIMIT,
};

/* One name being read. */
struct job {
	struct demangle *d;   /* where the text goes */
	jmp_buf full;         /* the way out when there is no more room */
	bool good;            /* it is a name, and the text is whole */
	pthread_mutex_t lock; /* guards done */
	pthread_cond_t cond;  /* done has changed */
	bool done;            /* the thread has finished */
};

static void take_text(const char *s, size_t n, void *arg)
{
	struct job *job = arg;

	demangle_put(job->d, s, n);
	if (job->d->bad)
		longjmp(job->full, 1);
}

static void run(struct job *job)
{
	if (!setjmp(job->full))
		job->good = cplus_demangle_v3_callback(job->d->name, OPTIONS, take_text,
						       job) != 0;
}

/* --- which are harmless ----------------------------------------------------------- */

/* How often the two letters stand in s, overlaps included. */
static unsigned count_pair(const char *s, const char *pair)
{
	unsigned n = 0;

	for (; (s = strstr(s, pair)); s++)
		n++;
	return n;
}

static unsigned count_references(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += (*s == 'S' || *s == 'T') &&
		     (s[1] == '_' || (s[1] >= '0' && s[1] <= 'Z'));
	return n;
}

static bool expands_packs(const char *s)
{
	static const char *const pairs[] = { "Dp", "sp", "sP", "sZ",
					     "fl", "fr", "fL", "fR" };

	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		if (strstr(s, pairs[i]))
			return true;
	}
	return false;
}

static bool is_harmless(const struct demangle *d)
{
	if (d->len > SHORT || count_pair(d->name, "cv") > CONVERSIONS)
		return false;
	return !expands_packs(d->name) || count_references(d->name) <= REFERENCES;
}

/* --- the others ------------------------------------------------------------------- */

/* Without variables of its own on the stack: a sanitizer would not see them go when the
 * thread is cancelled. The old types are of no interest (Linux takes NULL). */
static void *work(void *arg)
{
	struct job *job = arg;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	run(job);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_mutex_lock(&job->lock);
	job->done = true;
	pthread_cond_signal(&job->cond);
	pthread_mutex_unlock(&job->lock);
	return NULL;
}

/* Waits until it has done, at most until the deadline: has it? */
static bool wait_done(struct job *job)
{
	struct timespec end;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += DEMANGLE_DEADLINE * NS_OF_MS;
	end.tv_sec += end.tv_nsec / NS_OF_S;
	end.tv_nsec %= NS_OF_S;
	pthread_mutex_lock(&job->lock);
	while (!job->done && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&job->cond, &job->lock, &end);
	pthread_mutex_unlock(&job->lock);
	return rc != ETIMEDOUT;
}

/* With every signal blocked: they are the host's. */
static int start(struct job *job, pthread_t *ret)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int rc;

	rc = pthread_attr_init(&attr);
	if (rc)
		return rc;
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(ret, &attr, work, job);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return rc;
}

/* A thread that has been cancelled once it was done finds cancelling disabled. */
static void run_apart(struct job *job)
{
	int state, rc;
	pthread_t thread;

	/* The waiter itself may not be cancelled while the job is on its stack. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	rc = start(job, &thread);
	if (!rc) {
		if (!wait_done(job))
			pthread_cancel(thread);
		pthread_join(thread, NULL);
		job->good = job->good && job->done;
	}
	pthread_setcancelstate(state, &state);
}

bool demangle_cxx(struct demangle *d)
{
	struct job job = { .d = d };
	pthread_condattr_t clock;

	if (is_harmless(d)) {
		run(&job);
		return job.good;
	}
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_mutex_init(&job.lock, NULL);
	pthread_cond_init(&job.cond, &clock);
	run_apart(&job);
	pthread_cond_destroy(&job.cond);
	pthread_mutex_destroy(&job.lock);
	pthread_condattr_destroy(&clock);
	return job.good;
}
