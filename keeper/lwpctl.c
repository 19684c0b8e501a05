/* SPDX-License-Identifier: MIT */
/*
 * One LWP stopped while the others run.
 *
 * It stands for a reason of its own (HOLD_OWN), beside whatever holds all of them: a run
 * of the victim leaves it where it is, and a run of it alone waits until the victim as a
 * whole runs. What it stood on (a hit, a signal) stays pending, as in an all-stop, and is
 * acted upon when it runs on. One that is about to step over a lifted trap finishes the
 * step first: all others wait for it.
 *
 * A client that has grabbed an LWP is told of its end, however that comes.
 */
#include "keeper/keeper.h"

static void tell(struct lwp *l, int kind)
{
	struct kp_event ev = event_make(l->v, l, kind);

	ev.addr = l->pending == LWP_PEND_BKPT ? l->pend_pc : 0;
	ev.sig = l->pending == LWP_PEND_SIGNAL ? l->sig : 0;
	event_send(l->v, &ev);
}

void lwpctl_stands(struct lwp *l)
{
	if (!(l->holds & HOLD_OWN) || l->own_told || l->state != LWP_STOPPED ||
	    l->stepping)
		return;
	l->own_told = true;
	tell(l, KP_EV_LWP_STOPPED);
}

void lwpctl_gone(struct lwp *l)
{
	if (l->grabbed && l->v->phase == V_HELD)
		tell(l, KP_EV_LWP_GONE);
	l->grabbed = false;
}

static void stop(struct lwp *l)
{
	if (!(l->holds & HOLD_OWN))
		l->own_told = false;
	l->holds |= HOLD_OWN;
	if (lwp_moving(l))
		victim_stop_lwp(l);
	lwpctl_stands(l);
}

static void run(struct lwp *l)
{
	if (!(l->holds & HOLD_OWN))
		return;
	l->holds &= ~HOLD_OWN;
	if (!l->v->stopping && l->state == LWP_STOPPED)
		stops_settle(l);
}

static void run_with(struct lwp *l, int sig)
{
	if (l->state == LWP_STOPPED)
		stops_set_signal(l, sig);
	run(l);
}

void lwpctl_drop(struct lwp *l)
{
	l->grabbed = false;
	l->holds &= ~HOLD_OWN;
}

void lwpctl(struct lwp *l, enum kp_lwp_op op, int sig)
{
	switch (op) {
	case KP_LWP_GRAB:
		l->grabbed = true;
		break;
	case KP_LWP_FREE:
		l->grabbed = false;
		run(l);
		break;
	case KP_LWP_STOP:
		stop(l);
		break;
	case KP_LWP_RUN_CLEARSIG:
		run_with(l, 0);
		break;
	case KP_LWP_RUN:
		sig ? run_with(l, sig) : run(l);
		break;
	default:
		break;
	}
}
