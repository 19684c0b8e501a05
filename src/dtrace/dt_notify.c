/* SPDX-License-Identifier: MIT */
/*
 * Handlers and their calls.
 *
 * One thread at a time delivers (`dispatching`); it takes one item after the other from
 * the queue and calls the handler with no lock held. The handle of the item must not go
 * under the handler's feet, and the handler may release it. So item and record are taken
 * together under the session's lock, and the record is noted as `telling`: a last release
 * by the handler itself ends the record at once; one by another thread only marks it, and
 * it ends when the handler has returned. Nobody waits for a handler, so no lock of the
 * client's can close a circle with us.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "dtrace/dt_impl.h"

int dtrace_handle_proc(dtrace_hdl_t *dtp, dtrace_handle_proc_f *fn, void *arg)
{
	bool taken;

	dt_session_lock(dtp);
	taken = dtp->proc_fn;
	if (!taken) {
		dtp->proc_fn = fn;
		dtp->proc_arg = arg;
	}
	dt_session_unlock(dtp);
	return taken ? dt_fail(dtp, EALREADY, NULL) : 0;
}

int dtrace_handle_procev(dtrace_hdl_t *dtp, dtrace_procev_f *fn, void *arg)
{
	bool taken;

	dt_session_lock(dtp);
	taken = dtp->ev_fn;
	if (!taken) {
		dtp->ev_fn = fn;
		dtp->ev_arg = arg;
	}
	dt_session_unlock(dtp);
	return taken ? dt_fail(dtp, EALREADY, NULL) : 0;
}

int dtrace_notify_fd(dtrace_hdl_t *dtp)
{
	return dtp->queue.fd;
}

/* --- delivering --------------------------------------------------------------------- */

/* A handler call to be made. */
struct call {
	struct dt_item item;           /* what is told */
	dtrace_handle_proc_f *proc_fn; /* handlers as they were when it was taken */
	void *proc_arg;                /* for proc_fn */
	dtrace_procev_f *ev_fn;        /* for life events */
	void *ev_arg;                  /* for ev_fn */
};

/* The next item and its record, which then is being told of. False: none for now. */
static bool take(dtrace_hdl_t *dtp, struct call *ret)
{
	bool got;

	dt_session_lock(dtp);
	while ((got = dt_queue_next(&dtp->queue, &ret->item))) {
		dtp->telling = dt_record_find(dtp, ret->item.P);
		if (dtp->telling)
			break;
		free(ret->item.text); /* its record is being destroyed */
	}
	ret->proc_fn = dtp->proc_fn;
	ret->proc_arg = dtp->proc_arg;
	ret->ev_fn = dtp->ev_fn;
	ret->ev_arg = dtp->ev_arg;
	dt_session_unlock(dtp);
	return got;
}

static void told(dtrace_hdl_t *dtp, bool end)
{
	dt_proc_t *doomed;

	dt_session_lock(dtp);
	doomed = dtp->telling && dtp->telling->doomed ? dtp->telling : NULL;
	if (end && !doomed)
		doomed = dt_follow_told(dtp, dtp->telling);
	dtp->telling = NULL;
	dt_session_unlock(dtp);
	if (doomed)
		dt_record_destroy(doomed);
}

static void tell(struct call *c)
{
	struct dt_item *it = &c->item;

	if (it->kind == DT_ITEM_EVENT && c->ev_fn) {
		it->ev.object = it->text;
		it->ev.time.tv_sec = (time_t)(it->time / 1000000000ull);
		it->ev.time.tv_nsec = (long)(it->time % 1000000000ull);
		c->ev_fn(&it->ev, c->ev_arg);
	} else if (it->kind == DT_ITEM_NOTE && c->proc_fn) {
		c->proc_fn(it->P, it->text, c->proc_arg);
	}
	free(it->text);
}

/* Becomes the one that delivers; false: somebody does already. */
static bool begin(dtrace_hdl_t *dtp)
{
	bool ok;

	dt_session_lock(dtp);
	ok = !dtp->dispatching;
	if (ok) {
		dtp->dispatching = true;
		dtp->dispatcher = pthread_self();
	}
	dt_session_unlock(dtp);
	return ok;
}

static void end(dtrace_hdl_t *dtp)
{
	dt_session_lock(dtp);
	dtp->dispatching = false;
	pthread_cond_broadcast(&dtp->cond);
	dt_session_unlock(dtp);
}

int dtrace_dispatch(dtrace_hdl_t *dtp)
{
	struct call c;
	int n = 0;
	/* handlers too: one that does not return leaves the session dispatching */
	DT_NOCANCEL;

	if (!begin(dtp))
		return 0;
	for (; take(dtp, &c); n++) {
		bool end = c.item.kind == DT_ITEM_NOTE && !c.item.text;

		tell(&c);
		told(dtp, end);
	}
	end(dtp);
	return n;
}

/* --- sleeping ----------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* The earliest deadline of the rates; those that have passed begin anew. */
static uint64_t next_deadline(dtrace_hdl_t *dtp)
{
	uint64_t now = now_ns(), first = UINT64_MAX;

	dt_session_lock(dtp);
	for (int i = 0; i < DT_NRATES; i++) {
		struct dt_rate *r = &dtp->rates[i];

		if (r->next <= now)
			r->next = now + r->ns;
		if (r->next < first)
			first = r->next;
	}
	dt_session_unlock(dtp);
	return first;
}

/* While another thread delivers there is nothing for us to do: waits for its end. True
 * when the caller shall go on: nobody delivers. False: the time is up, or we are in a
 * handler. */
static bool await_dispatcher(dtrace_hdl_t *dtp, uint64_t end_ns)
{
	struct timespec t = { (time_t)(end_ns / 1000000000ull),
			      (long)(end_ns % 1000000000ull) };
	bool ours = false;
	int rc = 0;
	DT_NOCANCEL;

	dt_session_lock(dtp);
	while (dtp->dispatching && !ours && !rc) {
		ours = pthread_equal(dtp->dispatcher, pthread_self());
		if (!ours)
			rc = pthread_cond_timedwait(&dtp->cond, &dtp->lock, &t);
	}
	dt_session_unlock(dtp);
	return !ours && !rc;
}

static void wait_for_news(dtrace_hdl_t *dtp, uint64_t end_ns)
{
	struct pollfd pfd = { .fd = dtp->queue.fd, .events = POLLIN };
	uint64_t now = now_ns(), left = end_ns > now ? end_ns - now : 0;
	struct timespec t = { (time_t)(left / 1000000000ull),
			      (long)(left % 1000000000ull) };

	ppoll(&pfd, 1, &t, NULL);
}

void dtrace_sleep(dtrace_hdl_t *dtp)
{
	uint64_t end_ns = next_deadline(dtp);

	do {
		if (!await_dispatcher(dtp, end_ns) || dtrace_dispatch(dtp))
			return;
		wait_for_news(dtp, end_ns);
	} while (now_ns() < end_ns);
	dtrace_dispatch(dtp);
}
