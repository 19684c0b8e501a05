/* SPDX-License-Identifier: MIT */
/*
 * Waiting yields a value; reacting is stops.c. A stop of a thread that is not known yet
 * (born before its parent's clone event was read) is kept until somebody claims it.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "keeper/keeper.h"
#include "util/log.h"

/* A stop whose LWP is not known yet. */
struct early {
	struct early *next;   /* singly linked */
	struct wait_event ev; /* what wait(2) said */
	uint64_t since;       /* monotonic ns */
};

static struct early *early;

static bool wait_one(pid_t which, struct wait_event *ret)
{
	int status;
	pid_t tid;

	do {
		tid = waitpid(which, &status, WNOHANG | __WALL);
	} while (tid < 0 && errno == EINTR);
	if (tid <= 0)
		return false;
	log_at(LOG_TRACE, 2, tid, tid, "wait: status 0x%x", (unsigned)status);
	ret->tid = tid;
	ret->status = status;
	return true;
}

bool wait_next(struct wait_event *ret)
{
	return wait_one(-1, ret);
}

bool wait_for(pid_t tid, struct wait_event *ret)
{
	return wait_one(tid, ret);
}

static void forget_early(pid_t tid)
{
	struct wait_event drop;

	while (wait_claim(tid, &drop))
		;
}

static void keep_early(const struct wait_event *ev)
{
	struct early *e = malloc(sizeof(*e));

	if (!e)
		return;
	e->ev = *ev;
	e->since = clock_mono();
	e->next = early;
	early = e;
}

bool wait_claim(pid_t tid, struct wait_event *ret)
{
	for (struct early **p = &early; *p; p = &(*p)->next) {
		struct early *e = *p;

		if (e->ev.tid != tid)
			continue;
		*ret = e->ev;
		*p = e->next;
		free(e);
		return true;
	}
	return false;
}

bool wait_unclaimed(wait_pick *pick, uint64_t now, struct wait_event *ret)
{
	for (struct early *e = early; e; e = e->next)
		if (pick(e->ev.tid, now - e->since))
			return wait_claim(e->ev.tid, ret);
	return false;
}

bool wait_unsettled(void)
{
	return early;
}

/* The victim whose leader tid is: its LWP may have been dropped as a zombie before an
 * exec. */
static struct victim *victim_of_leader(pid_t tid)
{
	struct victim *v = K.victims;

	while (v && (v->pid != tid || v->ended))
		v = v->next;
	return v;
}

void wait_dispatch(const struct wait_event *ev)
{
	struct lwp *l = lwp_find(ev->tid);

	if (!l && WIFSTOPPED(ev->status)) {
		struct victim *v = victim_of_leader(ev->tid);

		if (v)
			l = lwp_new(v, ev->tid, LWP_MEMBER);
	}
	if (l)
		stops_react(l, ev->status);
	else if (WIFSTOPPED(ev->status))
		keep_early(ev);
	else {
		forget_early(ev->tid);
		hw_child(ev->tid, ev->status);
	}
}
