/* SPDX-License-Identifier: MIT */
/*
 * Reacting to one event of the keeper: what it does to the record, what is answered, and
 * what the session's clients are told of it. The control thread is here, with the record
 * its own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "dtrace/dt_impl.h"
#include "os/procfs.h"
#include "util/log.h"

void dt_tell(dt_proc_t *dpr, dtrace_procev_t ev)
{
	if (!dpr->evented)
		return;
	ev.time.tv_sec = (time_t)(dpr->now / 1000000000ull);
	ev.time.tv_nsec = (long)(dpr->now % 1000000000ull);
	ev.pid = dpr->pid;
	if (!ev.tid)
		ev.tid = dpr->pid;
	dt_queue_put_event(&dpr->dtp->queue, &dpr->src, &ev, dpr->now);
}

static void notify(dt_proc_t *dpr, const char *text)
{
	dt_queue_put_note(&dpr->dtp->queue, &dpr->src, text, dpr->now);
}

/* --- parks -------------------------------------------------------------------------- */

static unsigned points_after(unsigned bit)
{
	return DT_PROC_STOP_POINTS & ~DT_PROC_STOP_CREATE & ~((bit << 1) - 1);
}

void dt_parked(dt_proc_t *dpr, unsigned bit)
{
	log_at(LOG_CTL, 1, dpr->pid, 0, "parked at point 0x%x", bit);
	dpr->shown = true;
	dt_record_lock(dpr);
	dpr->stop = (dpr->stop & ~bit) | DT_PROC_STOP_IDLE;
	dpr->later = points_after(bit);
	pthread_cond_broadcast(&dpr->cond);
	dt_record_unlock(dpr);
}

/* Answers `ev`, if it is a question: to park for `bit`, or (0) to run on. */
static void answer(dt_proc_t *dpr, const struct hold_event *ev, unsigned bit)
{
	bool question = ev->flags & HOLD_EVF_QUESTION;

	if (bit)
		dpr->rdv.parking = bit;
	else
		dt_rdv_left(dpr);
	if (question)
		Panswer(dpr->P, ev, bit ? HOLD_PARK : HOLD_RESUME);
	else if (bit)
		Pdstop(dpr->P); /* too late for the very place, but a park it is */
}

static void on_stopped(dt_proc_t *dpr)
{
	unsigned bit = dpr->rdv.parking;

	/* Else a client's own stop: its Pwait() has been told by the handle. */
	dpr->rdv.parking = 0;
	if (bit)
		dt_parked(dpr, bit);
}

/* --- breakpoints -------------------------------------------------------------------- */

static void on_bkpt(dt_proc_t *dpr, const struct hold_event *ev)
{
	bool decide = false;

	if (ev->addr == dpr->links.watch)
		dt_probes_before(dpr);
	/* Probes for new objects are made in here, before the answer. */
	if (ev->addr == dpr->links.watch && dt_links_consistent(dpr)) {
		dt_links_refresh(dpr, ev->flags & HOLD_EVF_QUESTION ? DT_SEEN_IN_TIME
								    : DT_SEEN_LATE);
		decide = dt_rdv_consistent(dpr);
	}
	decide |= dt_rdv_hit(dpr, ev);
	dt_bkpts_hit(dpr, ev);
	answer(dpr, ev, decide ? dt_rdv_decide(dpr) : 0);
	dt_objects_answered(dpr, ev);
}

/* --- exec --------------------------------------------------------------------------- */

/*
 * execve(2), "the set-user-ID bit is not honoured if the process is being ptraced" by a
 * tracer without CAP_SYS_PTRACE: the file asks for another id than the process has got. A
 * mount without set-id, or no_new_privs, would have had the same effect without us.
 */
static bool lost_privileges(dt_proc_t *dpr)
{
	struct procfs_status ps;
	struct statvfs fs;
	struct stat st;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)dpr->pid);
	if (stat(path, &st) || !(st.st_mode & (S_ISUID | S_ISGID)) ||
	    procfs_status(dpr->pid, 0, &ps))
		return false;
	if (ps.no_new_privs || (!statvfs(path, &fs) && (fs.f_flag & ST_NOSUID)))
		return false;
	if ((st.st_mode & S_ISUID) && ps.euid != st.st_uid)
		return true;
	return (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
	       ps.egid != st.st_gid;
}

void dt_tell_privileges(dt_proc_t *dpr)
{
	char text[160];

	if (!lost_privileges(dpr))
		return;
	snprintf(text, sizeof(text),
		 "pid %d exec'd a set-id program, which runs without its privileges "
		 "because it is controlled",
		 (int)dpr->pid);
	notify(dpr, text);
}

static void tell_exec(dt_proc_t *dpr, const struct hold_event *ev)
{
	dtrace_procev_t e = { .kind = DT_PROC_EV_EXEC, .tid = ev->tid };
	char path[4096];

	e.object = Pexecname(dpr->P, path, sizeof(path));
	dt_tell(dpr, e);
	dt_tell_privileges(dpr);
}

static void on_exec(dt_proc_t *dpr, const struct hold_event *ev)
{
	unsigned bit;

	dt_links_flush(dpr);
	dt_bkpts_exec(dpr);
	dt_probes_exec(dpr);
	dt_links_forget(dpr);
	/* The handle has found that the new program may not be read: one more try. */
	if (Pstate(dpr->P) == PS_LOST && Preopen(dpr->P)) {
		dt_lost(dpr);
		answer(dpr, ev, 0);
		return;
	}
	tell_exec(dpr, ev);
	if (dt_links_matter(dpr))
		dt_links_early(dpr);
	dt_rdv_begin(dpr);
	bit = dt_rdv_decide(dpr);
	if (!bit)
		dt_links_watch(dpr);
	answer(dpr, ev, bit);
}

/* --- ends --------------------------------------------------------------------------- */

/* Before the news: who hears it finds the park ended. */
static void ended(dt_proc_t *dpr, enum dt_end end, int status)
{
	dt_record_lock(dpr);
	dpr->end = end;
	dpr->status = status;
	dpr->stop &= ~(unsigned)DT_PROC_STOP_IDLE;
	pthread_cond_broadcast(&dpr->cond);
	dt_record_unlock(dpr);
}

static bool lost_before(dt_proc_t *dpr)
{
	bool lost;

	dt_record_lock(dpr);
	lost = dpr->end == DT_END_LOST;
	dt_record_unlock(dpr);
	return lost;
}

void dt_lost(dt_proc_t *dpr)
{
	dtrace_procev_t e = { .kind = DT_PROC_EV_LOST };

	if (lost_before(dpr))
		return;
	log_at(LOG_CTL, 1, dpr->pid, 0, "lost");
	ended(dpr, DT_END_LOST, -1);
	dt_links_flush(dpr);
	dt_tell(dpr, e);
	notify(dpr, NULL);
	dt_source_end(&dpr->dtp->queue, &dpr->src);
}

static void on_end(dt_proc_t *dpr, const struct hold_event *ev)
{
	dtrace_procev_t e = { .kind = DT_PROC_EV_EXIT,
			      .tid = ev->tid,
			      .status = ev->status };

	log_at(LOG_CTL, 1, dpr->pid, 0, "dead, status 0x%x", (unsigned)ev->status);
	ended(dpr, DT_END_DEAD, ev->status);
	dt_links_flush(dpr);
	dt_tell(dpr, e);
	notify(dpr, NULL);
}

/* --- the rest is news only ---------------------------------------------------------- */

static const int procev_kinds[HOLD_EV_NKINDS] = {
	[HOLD_EV_STOPPED] = -1,
	[HOLD_EV_BKPT] = -1,
	[HOLD_EV_EXEC] = -1,
	[HOLD_EV_FORK] = DT_PROC_EV_FORK,
	[HOLD_EV_THREAD_START] = DT_PROC_EV_THREAD_START,
	[HOLD_EV_THREAD_EXIT] = DT_PROC_EV_THREAD_EXIT,
	[HOLD_EV_SIGNAL] = DT_PROC_EV_SIGNAL,
	[HOLD_EV_OUTSTOP] = DT_PROC_EV_STOP,
	[HOLD_EV_CONTINUE] = DT_PROC_EV_CONTINUE,
	[HOLD_EV_EXIT] = -1,
	[HOLD_EV_LOST] = -1,
	[HOLD_EV_BIRTH] = -1,
	[HOLD_EV_LWP_STOPPED] = -1, /* whoever has the LWP knows by the handle */
	[HOLD_EV_LWP_GONE] = -1,
};

static void on_news(dt_proc_t *dpr, const struct hold_event *ev)
{
	dtrace_procev_t e = { .tid = ev->tid, .child = ev->child, .sig = ev->sig };

	if (procev_kinds[ev->kind] < 0)
		return;
	e.kind = (dtrace_procev_kind_t)procev_kinds[ev->kind];
	dt_tell(dpr, e);
}

/* Questions were answered without us, or news was dropped: the lists may have changed
 * unseen. */
static void catch_up(dt_proc_t *dpr, const struct hold_event *ev)
{
	bool unseen = ev->flags & (HOLD_EVF_UNSEEN | HOLD_EVF_DEFAULTED);

	if (ev->lost)
		dt_source_missed(&dpr->dtp->queue, &dpr->src, ev->lost);
	if (unseen && dpr->links.watch && ev->kind != HOLD_EV_EXEC &&
	    dt_links_consistent(dpr))
		dt_links_refresh(dpr, DT_SEEN_LATE);
}

static bool lost_event(dt_proc_t *dpr, const struct hold_event *ev)
{
	if (ev->flags & HOLD_EVF_QUESTION)
		Panswer(dpr->P, ev, HOLD_RESUME);
	return ev->kind != HOLD_EV_EXIT && ev->kind != HOLD_EV_LOST;
}

bool dt_event(dt_proc_t *dpr, const struct hold_event *ev)
{
	if (lost_before(dpr))
		return lost_event(dpr, ev);
	if (ev->kind != HOLD_EV_EXIT && ev->kind != HOLD_EV_LOST)
		catch_up(dpr, ev);
	switch (ev->kind) {
	case HOLD_EV_STOPPED:
		on_stopped(dpr);
		break;
	case HOLD_EV_BKPT:
		on_bkpt(dpr, ev);
		break;
	case HOLD_EV_EXEC:
		on_exec(dpr, ev);
		break;
	case HOLD_EV_BIRTH:
		/* All that its beginning needed has been done: dt_control.c. */
		answer(dpr, ev, 0);
		break;
	case HOLD_EV_FORK:
		on_news(dpr, ev);
		dt_follow_child(dpr, ev);
		break;
	case HOLD_EV_EXIT:
		on_end(dpr, ev);
		return false;
	case HOLD_EV_LOST:
		dt_lost(dpr);
		return false;
	default:
		on_news(dpr, ev);
	}
	return true;
}
