/* SPDX-License-Identifier: MIT */
/*
 * A record from its making to its end.
 *
 * The end (dt_record_destroy) has one order for all: the thread is asked to quit and
 * joined, so nobody drives the victim any more; calls that still use the record have
 * left; its news is taken back from the queue; only then is the way of the release
 * chosen, from the state that the thread left behind, and the victim let go. Breakpoints
 * are lifted by that release before the first instruction runs. A victim that is killed
 * while parked executes nothing more.
 *
 * Exclusive use (dt_proc_lock) is a flag under the record's mutex, not the mutex itself:
 * a control thread that waits for it can still be told to quit, so a client may release
 * the very handle that it has locked.
 *
 * No wake-up is lost: whoever wants something of the control thread sets a flag under the
 * record's mutex and then writes the eventfd; the thread reads the eventfd *before* it
 * looks at the flags. If the write comes before that read, the thread sees the flag, set
 * earlier; if it comes after, the eventfd stays readable and the next poll() returns at
 * once.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "dtrace/dt_impl.h"
#include "util/log.h"

enum {
	STACK_SIZE = 512 * 1024
}; /* a client's callbacks run on it */

void dt_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

TS_UNCHECKED dt_proc_t *dt_record_new(dtrace_hdl_t *dtp, enum dt_kind kind)
{
	dt_proc_t *dpr = calloc(1, sizeof(*dpr));

	if (!dpr)
		return NULL;
	dpr->dtp = dtp;
	dpr->kind = kind;
	dpr->wake = -1;
	dpr->status = -1;
	dpr->pos = DT_POS_FREE;
	if (kind == DT_KIND_CONTROLLED) {
		dpr->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (dpr->wake < 0) {
			free(dpr);
			return NULL;
		}
	}
	pthread_mutex_init(&dpr->lock, NULL);
	pthread_mutex_init(&dpr->bklock, NULL);
	dt_cond_init(&dpr->cond);
	dt_cond_init(&dpr->bkcond);
	return dpr;
}

static uint64_t real_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void dt_record_take(dt_proc_t *dpr, struct ps_prochandle *P)
{
	struct hold_event first = { .time_ns = 0 };

	dpr->P = P;
	dpr->pid = Pgetpid(P);
	if (dpr->kind != DT_KIND_CONTROLLED)
		return;
	/* On behalf of the thread to come: nobody may take its events meanwhile. */
	Pdrive(P);
	Pevent_first(P, &first);
	dpr->now =
		first.time_ns ? first.time_ns : real_now(); /* grabbed without a stop */
	dt_source_init(&dpr->src, P, Pctlfd(P), dpr->now);
	dt_source_add(&dpr->dtp->queue, &dpr->src);
}

/* --- the thread --------------------------------------------------------------------- */

static int create_thread(dt_proc_t *dpr)
{
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	rc = pthread_attr_setstacksize(&attr, STACK_SIZE);
	if (!rc)
		rc = pthread_create(&dpr->thread, &attr, dt_control, dpr);
	if (rc == EINVAL) /* a host with much thread-local storage needs more stack */
		rc = pthread_create(&dpr->thread, NULL, dt_control, dpr);
	pthread_attr_destroy(&attr);
	return -rc;
}

int dt_record_start(dt_proc_t *dpr)
{
	sigset_t all, old;
	int rc;

	/* Blocked here and inherited: the thread has no moment in which it could take
	 * a signal. */
	sigfillset(&all);
	sigdelset(&all, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = create_thread(dpr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!rc)
		dpr->threaded = true;
	return rc;
}

void dt_record_poke(dt_proc_t *dpr)
{
	uint64_t one = 1;

	/* EAGAIN: 2^64 - 1 pokes unread, and so readable. */
	if (dpr->wake >= 0 && write(dpr->wake, &one, sizeof(one)) < 0)
		log_at(LOG_CTL, 2, dpr->pid, 0, "eventfd: errno %d", errno);
}

bool dt_record_own(dt_proc_t *dpr)
{
	bool quit;

	dt_record_lock(dpr);
	while (dpr->owned && !dpr->quit)
		dt_record_wait(dpr, 0);
	quit = dpr->quit;
	if (!quit)
		dpr->owned = true;
	dt_record_unlock(dpr);
	return !quit;
}

void dt_record_disown(dt_proc_t *dpr)
{
	dt_record_lock(dpr);
	dpr->owned = false;
	pthread_cond_broadcast(&dpr->cond);
	dt_record_unlock(dpr);
}

/* --- waiting ------------------------------------------------------------------------ */

uint64_t dt_deadline(unsigned msec)
{
	struct timespec t;

	if (!msec)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec +
	       msec * 1000000ull;
}

int dt_record_wait(dt_proc_t *dpr, uint64_t end_ns)
{
	struct timespec t = { (time_t)(end_ns / 1000000000ull),
			      (long)(end_ns % 1000000000ull) };

	if (!end_ns)
		return -pthread_cond_wait(&dpr->cond, &dpr->lock);
	return -pthread_cond_timedwait(&dpr->cond, &dpr->lock, &t);
}

/* --- finding, using ----------------------------------------------------------------- */

dt_proc_t *dt_record_find(dtrace_hdl_t *dtp, const struct ps_prochandle *P)
{
	dt_proc_t *dpr = dt_table_find(&dtp->table, P);

	/* Taken out by dt_proc_lookup(): rare, and few. */
	for (dpr = dpr ?: dtp->all; dpr && dpr->P != P;)
		dpr = dpr->all_next;
	return dpr;
}

dt_proc_t *dt_record_use(dtrace_hdl_t *dtp, struct ps_prochandle *P)
{
	dt_proc_t *dpr;

	dt_session_lock(dtp);
	dpr = dt_record_find(dtp, P);
	if (dpr) {
		dt_record_lock(dpr);
		dpr->users++;
		dt_record_unlock(dpr);
	}
	dt_session_unlock(dtp);
	return dpr;
}

void dt_record_unuse(dt_proc_t *dpr)
{
	dt_record_lock(dpr);
	if (--dpr->users == 0)
		pthread_cond_broadcast(&dpr->cond);
	dt_record_unlock(dpr);
}

/* --- end ---------------------------------------------------------------------------- */

static void stop_thread(dt_proc_t *dpr)
{
	dt_record_lock(dpr);
	dpr->quit = true;
	pthread_cond_broadcast(&dpr->cond);
	dt_record_unlock(dpr);
	if (!dpr->threaded)
		return;
	dt_record_poke(dpr);
	pthread_join(dpr->thread, NULL);
}

static void await_users(dt_proc_t *dpr)
{
	dt_record_lock(dpr);
	while (dpr->users)
		dt_record_wait(dpr, 0);
	dt_record_unlock(dpr);
}

/* A grab of the same process may go on. */
static void has_left(dt_proc_t *dpr)
{
	dt_session_lock(dpr->dtp);
	if (dpr->leaving.pid)
		dt_making_end(dpr->dtp, &dpr->leaving);
	dt_session_unlock(dpr->dtp);
}

void dt_record_destroy(dt_proc_t *dpr)
{
	int mode;
	DT_NOCANCEL;

	stop_thread(dpr);
	dt_probes_leave(dpr);
	await_users(dpr);
	dt_probes_part(dpr);
	dt_source_remove(&dpr->dtp->queue, &dpr->src);
	dt_links_fini(dpr);
	dt_bkpts_fini(dpr);
	if (dpr->P) {
		mode = dpr->failed ? PRELEASE_KILL : Prelease_mode(dpr->P);
		log_at(LOG_CTL, 1, dpr->pid, 0, "release, flags 0x%x", (unsigned)mode);
		Prelease(dpr->P, mode);
	}
	if (dpr->wake >= 0)
		close(dpr->wake);
	has_left(dpr);
	pthread_cond_destroy(&dpr->cond);
	pthread_cond_destroy(&dpr->bkcond);
	pthread_mutex_destroy(&dpr->lock);
	pthread_mutex_destroy(&dpr->bklock);
	dt_probes_unref(dpr->probes);
	free(dpr);
}
