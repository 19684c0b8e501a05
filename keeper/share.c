/* SPDX-License-Identifier: MIT */
/*
 * Processes that share a victim's memory without being its threads: clone(2) with
 * CLONE_VM and without CLONE_THREAD. (Those of vfork do so until they exec, and have the
 * parent wait: stops.c.)
 *
 * Such a sharer meets every trap in the text, and would die of it untraced; to clean the
 * text for it, as for a copy, would take the traps from the victim behind our back. So it
 * stays traced, runs as it likes, and while one is there the traps are out, as during a
 * vfork: hits of the victim are missed for that time, and nobody is hurt. It is let go
 * when it execs, and when the victim does, ends or is released; a sharer is not followed.
 *
 * Whether memory is shared kcmp(2) says; where the kernel has none, a child of vfork is
 * taken to share and every other to have a copy. A sharer that is a CLONE_UNTRACED one is
 * not told of by the kernel at all, and not known here.
 */
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "util/log.h"

bool share_same(pid_t parent, pid_t child, int event)
{
	long rc = syscall(SYS_kcmp, parent, child, KCMP_VM, 0, 0);

	return rc < 0 ? event == PTRACE_EVENT_VFORK : rc == 0;
}

void share_begin(struct lwp *l)
{
	struct victim *v = l->v;

	log_at(LOG_KEEP, 1, v->pid, l->tid, "shares the memory: traps are out");
	l->sharer = true;
	l->prev = NULL;
	l->next = v->sharers;
	if (l->next)
		l->next->prev = l;
	v->sharers = l;
	if (v->vforks++ == 0)
		bkpt_lift_all(v);
}

static void unlink_sharer(struct lwp *l)
{
	if (l->next)
		l->next->prev = l->prev;
	if (l->prev)
		l->prev->next = l->next;
	else
		l->v->sharers = l->next;
	l->sharer = false;
}

void share_end(struct lwp *l)
{
	struct victim *v = l->v;

	if (!l->sharer)
		return;
	unlink_sharer(l);
	if (v->vforks && --v->vforks == 0)
		bkpt_plant_all(v);
}

void share_drop_all(struct victim *v)
{
	while (v->sharers) {
		struct lwp *l = v->sharers;

		unlink_sharer(l);
		if (v->vforks)
			v->vforks--;
		if (l->state == LWP_STOPPED)
			follow_free(l);
		else
			trace_interrupt(l); /* its next stop lets it go */
	}
}

bool share_stop(struct lwp *l, int event, int sig)
{
	if (!l->sharer)
		return false;
	if (event == PTRACE_EVENT_EXEC) {
		share_end(l);
		return false;
	}
	l->sig = 0;
	if (event == PTRACE_EVENT_STOP && sig != SIGTRAP) {
		l->state = LWP_LISTENING;
		trace_listen(l);
		return true;
	}
	l->state = LWP_RUNNING;
	trace_cont(l, event ? 0 : sig);
	return true;
}
