/* SPDX-License-Identifier: MIT */
/*
 * Letting a victim go, in one of three ways, synchronously for whoever asked.
 *
 * Run: every LWP must stand to be detached; the text is clean before the first of them
 * may execute. An LWP in somebody else's group stop stays in it (the kernel keeps the
 * stop over a detach of a SEIZEd thread). Stop: SIGSTOP is sent while all stand, they
 * are let into the group stop, in which no instruction is executed, and are detached
 * there. Kill: SIGKILL takes threads out of a ptrace stop without an instruction more;
 * the end is awaited.
 *
 * The record stays until its LWPs and its forked children, which need its breakpoints to
 * be cleaned, are gone.
 */
#include <errno.h>
#include <signal.h>

#include "keeper/keeper.h"
#include "os/procfs.h"
#include "util/log.h"

enum {
	RELEASE_MS = 5000
};

/* value 1: nothing is left of the victim, the connection is free for another. */
static void answer(struct victim *v, int err)
{
	up_drop_all(v); /* it runs meanwhile: what it hits is a signal that it ignores */
	if (v->req.len)
		reply_send(v, &v->req, err, !v->nlwps && !v->nchildren, "");
	v->req.len = 0;
	v->deadline = 0;
}

static void close_questions(struct victim *v)
{
	for (struct lwp *l = v->lwps; l; l = l->next) {
		event_answered(l);
		lwpctl_drop(l);
	}
}

static void begin_kill(struct victim *v)
{
	v->phase = V_KILLING;
	follow_abandon(v);
	if (v->nlwps)
		kill(v->pid,
		     SIGKILL); /* ours and not reaped: the pid cannot be another's */
	else
		release_gone(v);
}

/* Run needs no LWP to wait for another: the text is clean. Stop does, unless somebody
 * else's stop is in force, which the kernel keeps. */
static bool one_by_one(const struct victim *v)
{
	return v->phase == V_RELEASING && !v->slots &&
	       (v->release_mode != KP_RELEASE_STOP || v->outstop);
}

static void detach(struct lwp *l)
{
	restart_resume(l, l->group ? 0 : l->sig);
	lwp_flush(l);
	capture_resumed(l);
	if (trace_detach(l, l->group ? 0 : l->sig))
		l->state = LWP_DYING; /* killed: its end will be reported */
	else
		lwp_free(l);
}

bool release_one(struct lwp *l)
{
	struct victim *v = l->v;

	if (!one_by_one(v))
		return false;
	detach(l);
	victim_check_stopped(v);
	return true;
}

static void detach_standing(struct victim *v)
{
	struct lwp *next;

	for (struct lwp *l = v->lwps; l; l = next) {
		next = l->next;
		if (l->state == LWP_STOPPED)
			detach(l);
	}
}

void release_begin(struct victim *v, int mode, const struct kp_header *req)
{
	log_at(LOG_KEEP, 1, v->pid, 0, "release, mode %d", mode);
	if (req)
		v->req = *req;
	v->release_mode = mode;
	v->deadline = clock_mono() + RELEASE_MS * 1000000ull;
	if (v->ended) {
		follow_abandon(v);
		release_gone(v);
		return;
	}
	if (mode == KP_RELEASE_KILL) {
		begin_kill(v);
		return;
	}
	v->phase = V_RELEASING;
	inject_abort(v);
	follow_abandon(v);
	close_questions(v);
	bkpt_lift_all(v);
	share_drop_all(v);
	hw_drop_all(v);
	if (one_by_one(v))
		detach_standing(v);
	v->stopped = false;
	if (v->stopping)
		victim_check_stopped(v);
	else
		victim_stop(v, KP_WHY_REQUESTED, 0, v->pid, 0);
}

void release_last_close(struct victim *v)
{
	bool kill_it = v->creating || (v->klc && !v->outstop);

	if (v->phase == V_IDLE)
		return;
	if (v->phase == V_RELEASING || v->phase == V_KILLING || v->phase == V_HANGING) {
		v->req.len = 0;
		return;
	}
	release_begin(v, kill_it ? KP_RELEASE_KILL : KP_RELEASE_RUN, NULL);
}

static void detach_all(struct victim *v)
{
	v->phase = V_RELEASING;
	detach_standing(v);
	answer(v, 0);
}

static void begin_hang(struct victim *v)
{
	v->phase = V_HANGING;
	kill(v->pid, SIGSTOP);
	victim_run(v);
}

static bool in_group_stop(const struct victim *v)
{
	for (const struct lwp *l = v->lwps; l; l = l->next)
		if (l->state != LWP_DYING && !(l->state == LWP_STOPPED && l->group))
			return false;
	return true;
}

void release_standing(struct victim *v)
{
	bkpt_lift_all(v);
	if (slots_unmap(v)) {
		v->stopped = false; /* once more when that is done */
		return;
	}
	if (v->phase == V_HANGING) {
		if (in_group_stop(v))
			detach_all(v);
	} else if (v->release_mode == KP_RELEASE_STOP && !v->outstop) {
		begin_hang(v);
	} else {
		detach_all(v);
	}
}

/*
 * An LWP that was killed before it could be detached has its end told by wait(2); but
 * not the leader that another thread's exec killed when that thread was detached first:
 * the kernel gives its tid to the other and unlinks it from us without a word
 * (de_thread(), release_task(), 6.18).
 */
void release_look(struct victim *v)
{
	struct procfs_status st;
	struct lwp *next;

	if (v->phase != V_RELEASING)
		return;
	for (struct lwp *l = v->lwps; l; l = next) {
		next = l->next;
		if (l->state == LWP_DYING &&
		    (procfs_status(v->pid, l->tid, &st) || st.tracer != K.pid))
			lwp_free(l);
	}
}

void release_gone(struct victim *v)
{
	if (v->phase == V_HELD)
		v->phase = V_RELEASING;
	answer(v, 0);
}
