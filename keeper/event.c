/* SPDX-License-Identifier: MIT */
/*
 * Events out, questions and their defaults.
 *
 * The event socket is written without ever waiting. What it does not take is queued, up
 * to a bound; beyond it information is dropped and counted, never an end or an
 * all-stop. A question that nobody answers in time gets its default, so a slow client
 * cannot freeze its victim; after one such default the victim is *unattended* and is
 * not made to wait again until the client shows life. Open questions stand in one list,
 * oldest first; patience differs by victim, so the list is searched: it is as long as
 * LWPs stand at questions, a handful.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "keeper/keeper.h"
#include "util/log.h"

enum {
	QUEUE_MAX = 1024
};

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

uint64_t clock_mono(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t stamp(void)
{
	uint64_t now = clock_ns(CLOCK_REALTIME);

	if (now < K.last_time_ns)
		now = K.last_time_ns;
	K.last_time_ns = now;
	return now;
}

struct kp_event event_make(struct victim *v, struct lwp *l, int kind)
{
	struct kp_event ev = { .version = KP_VERSION,
			       .kind = (uint16_t)kind,
			       .pid = v->pid };
	arch_regs_t *regs;

	ev.len = KP_EVENT_SHORT;
	ev.time_ns = stamp();
	if (!l)
		return ev;
	ev.tid = l->tid;
	if (kind == KP_EV_BKPT || kind == KP_EV_EXEC || kind == KP_EV_STOPPED) {
		ev.len = sizeof(ev);
		if (!lwp_regs(l, &regs))
			ev.regs = *regs;
	}
	return ev;
}

static bool droppable(const struct kp_event *ev)
{
	return ev->kind != KP_EV_STOPPED && ev->kind != KP_EV_EXIT &&
	       ev->kind != KP_EV_LOST && ev->kind != KP_EV_LWP_STOPPED &&
	       ev->kind != KP_EV_LWP_GONE && !(ev->flags & KP_EVF_QUESTION);
}

/* 1 sent, 0 no room. A dead client counts as sent: nobody is there to miss it. */
static int push(struct victim *v, struct kp_event *ev)
{
	ssize_t n;

	if (v->ev < 0)
		return 1;
	ev->lost = v->lost;
	if (v->unseen || v->lost)
		ev->flags |= KP_EVF_UNSEEN;
	n = send(v->ev, ev, ev->len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return 0;
	v->lost = 0;
	v->unseen = false;
	return 1;
}

static void enqueue(struct victim *v, const struct kp_event *ev)
{
	struct queued *q = NULL;

	if (v->nqueued < QUEUE_MAX || !droppable(ev))
		q = malloc(sizeof(*q));
	if (!q) {
		v->lost++;
		return;
	}
	q->ev = *ev;
	q->next = NULL;
	*v->qtail = q;
	v->qtail = &q->next;
	if (v->nqueued++ == 0)
		loop_want_room(v, ROOM_WANTED);
}

void event_send(struct victim *v, struct kp_event *ev)
{
	log_at(LOG_KEEP, 1, v->pid, ev->tid,
	       "event %u why %d what %d sig %d addr 0x%llx flags %x", ev->kind, ev->why,
	       ev->what, ev->sig, (unsigned long long)ev->addr, ev->flags);
	if (v->nqueued || !push(v, ev))
		enqueue(v, ev);
}

void event_flush(struct victim *v)
{
	while (v->qhead) {
		struct queued *q = v->qhead;

		if (!push(v, &q->ev))
			return;
		v->qhead = q->next;
		if (!v->qhead)
			v->qtail = &v->qhead;
		v->nqueued--;
		free(q);
	}
	loop_want_room(v, ROOM_NOT_WANTED);
}

void event_drop_queue(struct victim *v)
{
	while (v->qhead) {
		struct queued *q = v->qhead;

		v->qhead = q->next;
		free(q);
	}
	v->qtail = &v->qhead;
	v->nqueued = 0;
}

/* --- questions --------------------------------------------------------------------- */

static void open_question(struct lwp *l)
{
	l->qnext = NULL;
	l->qprev = K.questions_tail;
	if (K.questions_tail)
		K.questions_tail->qnext = l;
	else
		K.questions = l;
	K.questions_tail = l;
}

void event_answered(struct lwp *l)
{
	if (!l->question)
		return;
	l->question = 0;
	l->birth_end = 0;
	l->holds &= ~HOLD_QUESTION;
	if (l->qprev)
		l->qprev->qnext = l->qnext;
	else
		K.questions = l->qnext;
	if (l->qnext)
		l->qnext->qprev = l->qprev;
	else
		K.questions_tail = l->qprev;
}

void event_ask(struct lwp *l, struct kp_event *ev)
{
	struct victim *v = l->v;

	if (v->phase != V_HELD)
		return;
	if (v->unattended) {
		ev->flags |= KP_EVF_DEFAULTED;
		event_send(v, ev);
		v->unseen = true;
		return;
	}
	if (!++v->seq)
		v->seq = 1;
	l->question = ev->seq = v->seq;
	l->holds |= HOLD_QUESTION;
	l->question_end =
		v->patience_ms ? clock_mono() + v->patience_ms * 1000000ull : UINT64_MAX;
	ev->flags |= KP_EVF_QUESTION;
	open_question(l);
	event_send(v, ev);
}

/* While its victim is stopped as a whole, a question waits: the stop was asked for. */
static bool waits(const struct lwp *l)
{
	return (l->role == LWP_MEMBER && l->v->stopping) || l->question_end == UINT64_MAX;
}

void event_defaults(uint64_t now)
{
	struct lwp *next;

	for (struct lwp *l = K.questions; l; l = next) {
		next = l->qnext;
		if (waits(l) || l->question_end > now || follow_postponed(l, now))
			continue;
		log_at(LOG_KEEP, 1, l->v->pid, l->tid, "question %u: default",
		       l->question);
		l->v->unattended = l->v->unseen = true;
		event_answered(l);
		if (l->role == LWP_CHILD)
			follow_default(l);
		else
			stops_settle(l);
		next = K.questions; /* the resume may have closed others */
	}
}

uint64_t event_next_deadline(void)
{
	uint64_t first = UINT64_MAX;

	for (struct lwp *l = K.questions; l; l = l->qnext)
		if (!waits(l) && l->question_end < first)
			first = l->question_end;
	return first;
}
