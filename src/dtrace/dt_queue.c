/* SPDX-License-Identifier: MIT */
/*
 * News of all victims of a session in one order of time.
 *
 * Each controlled victim is a *source*: its control thread takes events from its socket,
 * finds out what they mean (which may take a while: link maps are read) and puts items,
 * each with the keeper's time stamp of the event. Control threads run side by side, so
 * items come out of order; the queue is sorted, and its head is told only when nothing
 * older can still come.
 *
 * When is that? Let h be the head's time. The keeper is one loop: it stamps an event and
 * sends it before it stamps the next, whosever it is. So when the event behind the head
 * had been taken from its socket, every event of every victim with an earlier stamp had
 * been sent. For another source s such an event is then in one of four places:
 *  1. unread in s's socket: poll() on s->fd shows it;
 *  2. between socket and queue: s->busy is set, under our lock, before the socket is
 *     read, and reset after the items are put. While s is busy s->floor is the stamp of
 *     the event being handled, or while it is being read of the one before it; items to
 *     come are not older;
 *  3. in the queue: then it stands before the head, since the queue is sorted;
 *  4. told already.
 * We look at `busy` and poll while we hold the lock, and s cannot become busy without the
 * lock, so no event slips from 1 to 2 behind our back. Hence: the head may be told when h
 * <= floor of every source that is busy or has something unread. The least such floor is
 * the *horizon*; cut to the newest item then in the queue it stays true for later calls.
 * (One hole: what a full socket did not take waits in the keeper, and between the
 * draining of the socket and its refilling nothing shows. An item that comes late for
 * that is told late, as below.)
 *
 * One victim must not silence the others: its control thread may wait long for a client
 * that has locked the handle. After DT_QUEUE_LATE_MS in the queue an item is told in any
 * case, and what then comes late is told with the time of the item before it: times told
 * never decrease.
 *
 * The descriptor is a timerfd, for it can say "now", "then" and "not": it is readable
 * while the head may be told, or might (the next look decides), and is armed for the end
 * of the delay while the head is blocked by another source; whatever that source does
 * next makes it readable at once.
 *
 * Memory: items are allocated, but a death always has its two (in the source). A client
 * that never listens costs DT_QUEUE_MAX items, then it is told how many it missed.
 *
 * Handlers are called by dt_notify.c with nothing of this held.
 */
#include "dtrace/dt_queue.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static void lock(struct dt_queue *q) TS_ACQUIRE(dt_role_queue) TS_UNCHECKED
{
	pthread_mutex_lock(&q->lock);
}

static void unlock(struct dt_queue *q) TS_RELEASE(dt_role_queue) TS_UNCHECKED
{
	pthread_mutex_unlock(&q->lock);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- the descriptor ----------------------------------------------------------------- */

/* Readable from `ms` (CLOCK_MONOTONIC; 1: now) on; 0: not. A timerfd that is set anew is
 * not readable until it expires again. timerfd_settime(2). */
static void set_timer(struct dt_queue *q, uint64_t ms) TS_REQUIRES(dt_role_queue)
{
	struct itimerspec t = { .it_value = { (time_t)(ms / 1000),
					      (long)(ms % 1000) * 1000000 } };

	if (ms == q->armed && ms <= 1)
		return;
	q->armed = ms;
	timerfd_settime(q->fd, TFD_TIMER_ABSTIME, &t, NULL);
}

/* Something changed that may free the head. */
static void stir(struct dt_queue *q) TS_REQUIRES(dt_role_queue)
{
	if (q->head && q->blocked) {
		q->blocked = false;
		set_timer(q, 1);
	}
}

/* --- list --------------------------------------------------------------------------- */

static void insert_sorted(struct dt_queue *q, struct dt_item *it)
	TS_REQUIRES(dt_role_queue)
{
	struct dt_item **p = &q->head;

	if (q->tail && q->tail->time <= it->time)
		p = &q->tail->next;
	while (*p && (*p)->time <= it->time)
		p = &(*p)->next;
	it->next = *p;
	*p = it;
	if (!it->next)
		q->tail = it;
	it->put_ms = now_ms();
	if (q->head == it) {
		q->blocked = false;
		set_timer(q, 1);
	}
}

static void drop(struct dt_queue *q, struct dt_item *it) TS_REQUIRES(dt_role_queue)
{
	q->n--;
	free(it->text);
	it->text = NULL;
	it->queued = false;
	if (!it->reserved)
		free(it);
}

static void append_held(struct dt_source *s, struct dt_item *it)
{
	struct dt_item **p = &s->held;

	while (*p && (*p)->time <= it->time)
		p = &(*p)->next;
	it->next = *p;
	*p = it;
}

static void enter(struct dt_queue *q, struct dt_source *s, struct dt_item *it)
	TS_REQUIRES(dt_role_queue)
{
	it->src = s;
	it->P = s->P;
	if (s->fresh)
		append_held(s, it);
	else
		insert_sorted(q, it);
}

static void drop_of(struct dt_queue *q, const struct dt_source *s)
	TS_REQUIRES(dt_role_queue)
{
	struct dt_item **p = &q->head, *it;

	q->tail = NULL;
	while ((it = *p)) {
		if (it->src == s) {
			*p = it->next;
			drop(q, it);
		} else {
			q->tail = it;
			p = &it->next;
		}
	}
}

static void drop_held(struct dt_queue *q, struct dt_source *s) TS_REQUIRES(dt_role_queue)
{
	struct dt_item *it;

	while ((it = s->held)) {
		s->held = it->next;
		drop(q, it);
	}
}

/* --- sources ------------------------------------------------------------------------ */

void dt_source_init(struct dt_source *s, struct ps_prochandle *P, int fd, uint64_t floor)
{
	memset(s, 0, sizeof(*s));
	s->P = P;
	s->fd = fd;
	s->floor = floor;
	s->fresh = true;
	s->last_event.reserved = s->last_note.reserved = true;
}

void dt_source_add(struct dt_queue *q, struct dt_source *s)
{
	lock(q);
	s->next = q->sources;
	s->prev = NULL;
	if (s->next)
		s->next->prev = s;
	q->sources = s;
	s->listed = true;
	unlock(q);
}

void dt_source_publish(struct dt_queue *q, struct dt_source *s)
{
	struct dt_item *it;

	lock(q);
	s->fresh = false;
	while ((it = s->held)) {
		s->held = it->next;
		insert_sorted(q, it);
	}
	unlock(q);
}

void dt_source_remove(struct dt_queue *q, struct dt_source *s)
{
	if (!s->listed)
		return;
	lock(q);
	drop_held(q, s);
	drop_of(q, s);
	if (s->prev)
		s->prev->next = s->next;
	else
		q->sources = s->next;
	if (s->next)
		s->next->prev = s->prev;
	s->listed = false;
	q->blocked = false;
	set_timer(q, q->head ? 1 : 0);
	unlock(q);
}

void dt_source_begin(struct dt_queue *q, struct dt_source *s)
{
	lock(q);
	s->busy = true;
	unlock(q);
}

void dt_source_taken(struct dt_queue *q, struct dt_source *s, uint64_t time)
{
	lock(q);
	if (time > s->floor)
		s->floor = time;
	stir(q);
	unlock(q);
}

void dt_source_done(struct dt_queue *q, struct dt_source *s)
{
	lock(q);
	s->busy = false;
	stir(q);
	unlock(q);
}

void dt_source_end(struct dt_queue *q, struct dt_source *s)
{
	lock(q);
	s->ended = true;
	s->busy = false;
	stir(q);
	unlock(q);
}

void dt_source_missed(struct dt_queue *q, struct dt_source *s, uint64_t n)
{
	lock(q);
	s->missed += n;
	unlock(q);
}

/* --- in ----------------------------------------------------------------------------- */

static struct dt_item *new_item(struct dt_queue *q, struct dt_item *reserved,
				const char *text) TS_REQUIRES(dt_role_queue)
{
	struct dt_item *it = reserved;

	if (reserved && reserved->queued)
		return NULL;
	if (!reserved && q->n < DT_QUEUE_MAX)
		it = calloc(1, sizeof(*it));
	if (!it)
		return NULL;
	it->text = text ? strdup(text) : NULL;
	if (text && !it->text && !reserved) {
		free(it);
		return NULL;
	}
	it->queued = true;
	q->n++;
	return it;
}

void dt_queue_put_event(struct dt_queue *q, struct dt_source *s,
			const dtrace_procev_t *ev, uint64_t time)
{
	bool last = ev->kind == DT_PROC_EV_EXIT || ev->kind == DT_PROC_EV_LOST;
	struct dt_item *it;

	lock(q);
	it = new_item(q, last ? &s->last_event : NULL, ev->object);
	if (it) {
		it->kind = DT_ITEM_EVENT;
		it->time = time;
		it->ev = *ev;
		it->ev.P = s->P;
		it->ev.missed = s->missed;
		s->missed = 0;
		enter(q, s, it);
	} else if (!last) {
		s->missed++;
	}
	unlock(q);
}

void dt_queue_put_note(struct dt_queue *q, struct dt_source *s, const char *text,
		       uint64_t time)
{
	struct dt_item *it;

	lock(q);
	it = new_item(q, text ? NULL : &s->last_note, text);
	if (it) {
		it->kind = DT_ITEM_NOTE;
		it->time = time;
		enter(q, s, it);
	}
	unlock(q);
}

/* --- out ---------------------------------------------------------------------------- */

enum {
	BATCH = 64
}; /* descriptors polled at once */

/* The least floor of those of n idle sources that have something unread; `least` if
 * smaller. */
static uint64_t poll_batch(struct pollfd *fds, struct dt_source **src, unsigned n,
			   uint64_t least)
{
	if (!n || poll(fds, n, 0) <= 0)
		return least;
	for (unsigned i = 0; i < n; i++)
		if (fds[i].revents && src[i]->floor < least)
			least = src[i]->floor;
	return least;
}

static void look(struct dt_queue *q) TS_REQUIRES(dt_role_queue)
{
	uint64_t least = q->tail->time;
	struct dt_source *src[BATCH];
	struct pollfd fds[BATCH];
	unsigned n = 0;

	for (struct dt_source *s = q->sources; s; s = s->next) {
		if (s->ended || s->fresh || s->floor >= least)
			continue;
		if (s->busy) {
			least = s->floor;
			continue;
		}
		src[n] = s;
		fds[n++] = (struct pollfd){ .fd = s->fd, .events = POLLIN };
		if (n == BATCH) {
			least = poll_batch(fds, src, n, least);
			n = 0;
		}
	}
	q->horizon = poll_batch(fds, src, n, least);
}

/* True when the head may be told; else the descriptor is armed for when to look again. */
static bool may_tell(struct dt_queue *q) TS_REQUIRES(dt_role_queue)
{
	uint64_t end;

	if (!q->head) {
		set_timer(q, 0);
		return false;
	}
	if (q->head->time <= q->horizon || q->head->time <= q->delivered)
		return true;
	look(q);
	end = q->head->put_ms + DT_QUEUE_LATE_MS;
	if (q->head->time <= q->horizon || now_ms() >= end)
		return true;
	q->blocked = true;
	set_timer(q, end);
	return false;
}

bool dt_queue_next(struct dt_queue *q, struct dt_item *ret)
{
	struct dt_item *it;

	lock(q);
	if (!may_tell(q)) {
		unlock(q);
		return false;
	}
	it = q->head;
	q->head = it->next;
	if (!q->head)
		q->tail = NULL;
	if (it->time < q->delivered)
		it->time = q->delivered;
	q->delivered = it->time;
	*ret = *it;
	it->text = NULL;
	drop(q, it);
	if (!q->head)
		set_timer(q, 0);
	unlock(q);
	return true;
}

/* --- begin and end ------------------------------------------------------------------ */

int dt_queue_init(struct dt_queue *q)
{
	memset(q, 0, sizeof(*q));
	q->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (q->fd < 0)
		return -errno;
	pthread_mutex_init(&q->lock, NULL);
	return 0;
}

void dt_queue_fini(struct dt_queue *q)
{
	close(q->fd);
	pthread_mutex_destroy(&q->lock);
}
