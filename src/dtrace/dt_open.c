/* SPDX-License-Identifier: MIT */
/*
 * Sessions: process control as a client of DTrace knows it.
 *
 * Objects. A *session* (dtrace_hdl) is a table of records, a cache of read-only ones, a
 * queue of news, options and the last error. A *record* (dt_proc) is one handle with its
 * bookkeeping. Three kinds: read-only (cacheable, never touches its victim), held
 * (stopped until its release), and controlled, which has a *control thread* that waits
 * for the keeper's events and reacts.
 *
 * Who does what.
 *   dt_proc.c        create, grab, release: the client's references
 *   dt_client.c      continue, stop bits, wait for a park, lock
 *   dt_record.c      making and ending a record; wake-ups; exclusive use
 *   dt_table.c       by handle, by pid, LRU: bookkeeping only
 *   dt_control.c     the control thread: wait, react
 *   dt_events.c      one event: what it does, what is answered, what is told
 *   dt_rendezvous.c  where to park a created victim, and the way there
 *   dt_linkmap.c     objects that come and go
 *   dt_bkpt.c        breakpoints with a callback
 *   dt_queue.c       news of all victims in one order of time
 *   dt_notify.c      handlers, dtrace_sleep()
 *   dt_options.c, dt_errors.c
 *
 * Ownership. The session owns its records, a record its handle. Clients hold counted
 * references; identity is the handle, never the pid, which after an upgrade two records
 * share. A create or grab puts its record into the table when it has succeeded, and not
 * before: one that fails leaves nothing behind, no news either, and a created victim is
 * killed and reaped.
 *
 * Threads and locks. Any client thread may call anything. Locks: session, breakpoints,
 * record, then the handle's or the queue's; all are short, none is held across a wait or
 * a handler. dt_proc_lock() is not one of them but a flag that the control thread
 * respects while it reacts. A parked victim is parked in the keeper, not in a thread: any
 * thread may read it, call into it, or set it running.
 *
 * The victim's death, at any line: whoever asks it something gets an error and gives up;
 * the EXIT event comes through the control thread, which wakes all who wait for a park
 * and queues the notice, in memory that was reserved when the record was made.
 *
 * The end. A session may end with records referenced, victims parked and threads waiting
 * in poll(); each record is ended as by its last release (dt_record_destroy), which joins
 * the thread.
 *
 * Probes (dt_probe*.c) come in where objects are told of, before a question about a new
 * one is answered.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "dtrace/dt_impl.h"

static TS_UNCHECKED int init(dtrace_hdl_t *dtp)
{
	int rc = dt_table_init(&dtp->table, DT_HASH_DEFAULT, DT_LRU_DEFAULT);

	if (rc)
		return EDT_NOMEM;
	rc = dt_queue_init(&dtp->queue);
	if (rc) {
		dt_table_fini(&dtp->table);
		return rc == -ENOMEM ? EDT_NOMEM : -rc;
	}
	dtp->owner = getpid();
	pthread_mutex_init(&dtp->lock, NULL);
	dt_cond_init(&dtp->cond);
	dt_options_init(dtp);
	return 0;
}

static dtrace_hdl_t *refuse(int err, int *errp)
{
	if (errp)
		*errp = err;
	return NULL;
}

dtrace_hdl_t *dtrace_open(int version, int flags, int *errp)
{
	dtrace_hdl_t *dtp;
	int err;

	if (version != DTRACE_VERSION)
		return refuse(EDT_VERSION, errp);
	if (flags)
		return refuse(EINVAL, errp);
	dtp = calloc(1, sizeof(*dtp));
	err = dtp ? init(dtp) : EDT_NOMEM;
	if (err) {
		free(dtp);
		return refuse(err, errp);
	}
	hold_keeper_use();
	return dtp;
}

TS_UNCHECKED void dtrace_close(dtrace_hdl_t *dtp)
{
	DT_NOCANCEL;

	/* A forked copy of the host has our locks as they were at the fork, perhaps
	 * held by threads that it does not have; and the victims are not its own. */
	if (!dtp || getpid() != dtp->owner)
		return;
	dt_destroy_all(dtp);
	dt_table_fini(&dtp->table);
	dt_queue_fini(&dtp->queue);
	pthread_cond_destroy(&dtp->cond);
	pthread_mutex_destroy(&dtp->lock);
	free(dtp);
	hold_keeper_unuse();
}

pid_t dtrace_target(dtrace_hdl_t *dtp)
{
	pid_t pid;

	dt_session_lock(dtp);
	pid = dtp->target;
	dt_session_unlock(dtp);
	return pid;
}
