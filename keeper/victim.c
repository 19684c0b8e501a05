/* SPDX-License-Identifier: MIT */
/*
 * A victim as a whole: stopping all of its LWPs, setting them running, deadlines.
 *
 *   ATTACHING --every LWP stands--> HELD --KP_RELEASE, last close--> RELEASING or KILLING
 *       |                            |                                   |
 *       +--deadline, refusal---------|----> RELEASING                    +--> IDLE, freed
 *                                    +--its end--> ended, until the client lets go
 *
 * An IDLE one is a connection without a victim, kept open by the client for its next
 * ATTACH: making and closing two socket pairs is a third of a grab and release.
 *
 * An all-stop asks every moving LWP and is reached when none moves. A thread that turns
 * out to be a zombie (a leader that called pthread_exit: it will report nothing before
 * all the others have ended) is found by /proc on a tick and no longer waited for.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "util/log.h"

enum {
	PATIENCE_NS = 5000000
};

struct victim *victim_new(int ctl, int ev)
{
	struct victim *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->ctl = ctl;
	v->ev = ev;
	v->pidfd = v->memfd = -1;
	v->phase = V_IDLE;
	v->qtail = &v->qhead;
	v->next = K.victims;
	if (v->next)
		v->next->prev = v;
	K.victims = v;
	return v;
}

static void let_go_of_all(struct victim *v)
{
	log_at(LOG_KEEP, 1, v->pid, 0, "forgotten");
	while (v->lwps)
		lwp_free(v->lwps);
	event_drop_queue(v);
	loop_want_room(v, ROOM_NOT_WANTED);
	loop_close(&v->pidfd);
	loop_close(&v->memfd);
	slots_forget(v);
	capture_free(v);
	bkpt_unshare_counters(v);
	record_unshare(v);
	up_drop_all(v);
	free(v->bkpts);
}

void victim_recycle(struct victim *v)
{
	struct victim fresh = {
		.next = v->next, .prev = v->prev, .ctl = v->ctl, .ev = v->ev
	};

	let_go_of_all(v);
	*v = fresh;
	v->pidfd = v->memfd = -1;
	v->phase = V_IDLE;
	v->qtail = &v->qhead;
}

void victim_free(struct victim *v)
{
	let_go_of_all(v);
	if (v->next)
		v->next->prev = v->prev;
	if (v->prev)
		v->prev->next = v->next;
	else
		K.victims = v->next;
	loop_close(&v->ctl);
	loop_close(&v->ev);
	free(v);
}

struct lwp *victim_lwp(struct victim *v, pid_t tid)
{
	struct lwp *l = lwp_find(tid);

	return l && l->v == v && l->role == LWP_MEMBER ? l : NULL;
}

bool victim_standing(const struct victim *v)
{
	for (const struct lwp *l = v->lwps; l; l = l->next)
		if (lwp_moving(l))
			return false;
	return true;
}

void victim_stop_lwp(struct lwp *l)
{
	if (!lwp_moving(l) || l->interrupted || l->stepping)
		return;
	restart_look(l);
	capture_halts(l);
	trace_interrupt(l);
}

void victim_stop(struct victim *v, int why, int what, pid_t tid, uint64_t addr)
{
	if (v->stopping)
		/* the first reason stands; what else is pending stays in its LWP */
		return;
	log_at(LOG_KEEP, 1, v->pid, tid, "stop all, why %d what %d", why, what);
	v->stopping = true;
	v->stopped = false;
	v->why = why;
	v->what = what;
	v->why_tid = tid;
	v->why_addr = addr;
	for (struct lwp *l = v->lwps; l; l = l->next) {
		l->holds |= HOLD_ALLSTOP;
		victim_stop_lwp(l);
	}
	victim_check_stopped(v);
}

static void tell_stopped(struct victim *v)
{
	struct lwp *l = victim_lwp(v, v->why_tid);
	struct kp_event ev;

	if (!l || l->state != LWP_STOPPED)
		l = victim_lwp(v, v->pid);
	for (struct lwp *m = v->lwps; m && (!l || l->state != LWP_STOPPED); m = m->next)
		l = m;
	ev = event_make(v, l, KP_EV_STOPPED);
	ev.len = sizeof(ev);
	ev.why = v->why;
	ev.what = v->what;
	ev.sig = v->outstop;
	ev.addr = v->why_addr;
	event_send(v, &ev);
}

void victim_check_stopped(struct victim *v)
{
	if (v->phase == V_HANGING) {
		release_standing(v);
		return;
	}
	if (!v->stopping || v->stopped || v->gathering || !victim_standing(v))
		return;
	v->stopped = true;
	v->stop_since = 0;
	bkpt_bury(v);
	switch (v->phase) {
	case V_ATTACHING:
		if (v->seized && attach_is_whole(v))
			attach_done(v);
		else
			v->stopped = false;
		break;
	case V_RELEASING:
		release_standing(v);
		break;
	case V_HELD:
		if (capture_take(v))
			break;
		if (v->why == KP_WHY_PARK) {
			bkpt_lift_all(v);
			v->lifted = true;
		}
		tell_stopped(v);
		break;
	default:
		break;
	}
}

/* The next member in the list may be freed by a resume's consequences: start over at
 * each. */
void victim_run(struct victim *v)
{
	v->stopping = v->stopped = false;
	for (struct lwp *l = v->lwps; l; l = l->next)
		l->holds &= ~HOLD_ALLSTOP;
	for (struct lwp *l = v->lwps; l && !v->stopping; l = l->next)
		if (l->state == LWP_STOPPED)
			stops_settle(l);
	if (v->stopping)
		victim_check_stopped(v);
}

/* Those that we wait for and that cannot stop any more. The first tick only starts the
 * clock: nearly every stop is there before the second, and a look at /proc costs 10 us
 * a thread. */
static void find_dying(struct victim *v, uint64_t now)
{
	if (!v->stop_since)
		v->stop_since = now;
	if (now - v->stop_since < PATIENCE_NS)
		return;
	if (v->phase == V_ATTACHING && !attach_is_whole(v))
		return;
	for (struct lwp *l = v->lwps; l; l = l->next) {
		char st;

		if (!lwp_moving(l))
			continue;
		st = lwp_proc_state(v->pid, l->tid);
		if (st == 'Z' || st == 'X' || !st)
			l->state = LWP_DYING;
	}
}

void victim_tick(struct victim *v, uint64_t now)
{
	if (v->phase == V_ATTACHING && !v->seized)
		attach_continue(v);
	else if (v->stopping && !v->stopped)
		find_dying(v, now);
	if (v->stopping && !v->stopped)
		victim_check_stopped(v);
	if (v->phase == V_ATTACHING && v->deadline && now > v->deadline)
		attach_late(v);
	else if (v->deadline && now > v->deadline && v->req.len) {
		reply_send(v, &v->req, -ETIMEDOUT, 0, "a thread does not stop");
		v->req.len = 0;
	}
	if (v->stepper)
		step_ready(v);
	if (v->ninject)
		inject_tick(v, now);
	release_look(v);
	call_tick(v, now);
	capture_tick(v, now);
}
