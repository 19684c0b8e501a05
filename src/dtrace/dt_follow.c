/* SPDX-License-Identifier: MIT */
/*
 * Following children.
 *
 * A record has a mode (option `follow` of the session at its making, dt_proc_follow()
 * later). In the mode `children` the keeper holds each new process of the victim's at
 * its birth and asks: the FORK event is then a question. The parent's control thread is
 * here; it decides by the mode, and either lets the child go or adopts it: the child
 * becomes a record of its own, with a handle, a control thread, and the mode and the
 * last-close rule of the parent. The client's function may look at it, set breakpoints
 * in it or refuse it; then its thread begins as for a process that is grabbed without a
 * stop. The child waits at the question BIRTH until that is done,
 * so nothing that it does is missed. Both questions have a default: a client that
 * stands still loses the child, and is told so, but freezes nobody.
 *
 * The first reference on such a record is the session's own: it is given back when the
 * end of the child has been told (the handlers have returned), so a client that is not
 * interested has nothing to do, and one that wants the handle for longer grabs the pid.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dtrace/dt_impl.h"
#include "util/log.h"

int dt_parse_follow(const char *text, int *ret_mode)
{
	if (!strcmp(text, "none"))
		*ret_mode = DT_FOLLOW_NONE;
	else if (!strcmp(text, "children"))
		*ret_mode = DT_FOLLOW_CHILDREN;
	else
		return -EINVAL;
	return 0;
}

static int mode_of(dt_proc_t *dpr)
{
	int mode;

	dt_record_lock(dpr);
	mode = dpr->follow;
	dt_record_unlock(dpr);
	return mode;
}

bool dt_follows(dt_proc_t *dpr)
{
	return mode_of(dpr) != DT_FOLLOW_NONE;
}

int dt_follow_want(dt_proc_t *dpr)
{
	unsigned mask = 0;

	if (dpr->evented)
		mask = HOLD_WANT_THREADS | HOLD_WANT_SIGNALS | HOLD_WANT_FORKS;
	if (dt_follows(dpr))
		mask |= HOLD_WANT_FOLLOW;
	return mask ? Pwant(dpr->P, mask) : 0;
}

static int set_mode(dt_proc_t *dpr, int mode)
{
	if (dpr->kind != DT_KIND_CONTROLLED)
		return EBADF;
	if (mode != DT_FOLLOW_NONE && mode != DT_FOLLOW_CHILDREN)
		return EINVAL;
	dt_record_lock(dpr);
	dpr->follow = mode;
	dt_record_unlock(dpr);
	/* A victim that has gone makes no children. */
	dt_follow_want(dpr);
	return 0;
}

int dt_proc_follow(dtrace_hdl_t *dtp, struct ps_prochandle *P, int mode)
{
	dt_proc_t *dpr = dt_record_use(dtp, P);
	int err;
	DT_NOCANCEL;

	if (!dpr)
		return dt_fail(dtp, EDT_BADPROC, NULL);
	err = set_mode(dpr, mode);
	dt_record_unuse(dpr);
	return err ? dt_fail(dtp, err, NULL) : 0;
}

int dtrace_handle_follow(dtrace_hdl_t *dtp, dtrace_follow_f *fn, void *arg)
{
	bool taken;

	dt_session_lock(dtp);
	taken = dtp->follow_fn;
	if (!taken) {
		dtp->follow_fn = fn;
		dtp->follow_arg = arg;
	}
	dt_session_unlock(dtp);
	return taken ? dt_fail(dtp, EALREADY, NULL) : 0;
}

/* --- one child ---------------------------------------------------------------------- */

/* The client's word, with the child at its birth. */
static bool welcome(dt_proc_t *dpr)
{
	dtrace_follow_f *fn;
	void *arg;

	dt_session_lock(dpr->dtp);
	fn = dpr->dtp->follow_fn;
	arg = dpr->dtp->follow_arg;
	dt_session_unlock(dpr->dtp);
	return !fn || fn(dpr->P, dpr->parent, arg);
}

static int adopt(dt_proc_t *parent, dt_proc_t *dpr, const struct hold_event *ev)
{
	struct ps_prochandle *P;
	int err = 0;

	P = Padopt(parent->P, ev, &err);
	if (!P)
		return err;
	dt_record_take(dpr, P);
	dpr->evented = parent->evented;
	dpr->objects_fn = parent->objects_fn;
	dpr->objects_arg = parent->objects_arg;
	dpr->probes = dt_probes_ref(parent->probes);
	dpr->patience = parent->patience;
	dpr->unstopped = true;
	dpr->parent = parent->pid;
	dt_record_lock(dpr);
	dpr->follow = DT_FOLLOW_CHILDREN;
	dt_record_unlock(dpr);
	return 0;
}

/* It is the session's before the client sees it: every call works on it then. */
static int begin(dt_proc_t *dpr)
{
	int err = 0;

	dt_follow_enter(dpr);
	if (welcome(dpr))
		err = dt_record_start(dpr);
	else
		dt_follow_leave(dpr);
	if (err)
		dt_follow_leave(dpr);
	return err;
}

static int follow(dt_proc_t *parent, const struct hold_event *ev)
{
	dt_proc_t *dpr = dt_record_new(parent->dtp, DT_KIND_CONTROLLED);
	int err = dpr ? adopt(parent, dpr, ev) : -errno;

	if (!err)
		return begin(dpr);
	if (dpr)
		dt_record_destroy(dpr);
	return err;
}

static void tell_missed(dt_proc_t *dpr, pid_t child, const char *why)
{
	char text[160];

	snprintf(text, sizeof(text), "child %d of pid %d is not followed: %s", (int)child,
		 (int)dpr->pid, why);
	dt_queue_put_note(&dpr->dtp->queue, &dpr->src, text, dpr->now);
}

void dt_follow_child(dt_proc_t *dpr, const struct hold_event *ev)
{
	int err;

	if (ev->flags & HOLD_EVF_DEFAULTED && dt_follows(dpr))
		tell_missed(dpr, ev->child, "the session did not answer in time");
	if (!(ev->flags & HOLD_EVF_QUESTION))
		return;
	if (!dt_follows(dpr)) {
		Panswer(dpr->P, ev, HOLD_RESUME);
		return;
	}
	err = -ECANCELED;
	if (dt_follow_begin(dpr->dtp)) {
		err = follow(dpr, ev);
		dt_follow_end(dpr->dtp);
	}
	if (!err)
		return;
	tell_missed(dpr, ev->child,
		    err == -ESRCH ? "it was not adopted in time, or has been killed"
				  : strerror(-err));
	Panswer(dpr->P, ev, HOLD_RESUME);
}
