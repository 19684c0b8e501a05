/* SPDX-License-Identifier: MIT */
/*
 * Taking hold of a process and letting it go. The way in does as little as it can, two
 * system calls and one round trip; why something was refused is found out afterwards.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/log.h"

/* PF_KTHREAD in the flags of /proc/PID/stat (include/linux/sched.h). */
enum {
	KTHREAD = 0x00200000,
	STOPPED_NAPS = 200, /* of 50 us */
};

/* A read-only handle on what has no memory to read is refused as a control grab would
 * be. */
static int check_readable(pid_t pid)
{
	struct procfs_stat st;
	int rc = procfs_stat(pid, 0, &st);

	if (rc)
		return rc;
	if ((st.state == 'Z' || st.state == 'X') && procfs_nlwp(pid) <= 1)
		return -ECHILD;
	return st.flags & KTHREAD ? -EINVAL : 0;
}

static int take_control(struct ps_prochandle *P, int flags, struct hold_fault *fault)
{
	unsigned how = HOLD_BORROW | (flags & PGRAB_NOSTOP ? HOLD_NOSTOP : 0);
	int rc;

	if (P->pid == getpid() || P->pid == hold_keeper_pid())
		return -EDEADLK;
	rc = hold_grab(P->pid, P->pidfd, how, 0, &P->hold, &P->first, fault);
	if (rc)
		return rc;
	P->rlc = true;
	P->outstop = P->first.sig;
	if (flags & PGRAB_NOSTOP)
		P->state = P->outstop ? PS_STOP : PS_RUN;
	else
		drive_apply(P, &P->first);
	return 0;
}

struct ps_prochandle *Pgrab(pid_t pid, int flags, int *perr)
{
	struct hold_fault fault = { 0 };
	struct ps_prochandle *P;
	int pidfd, rc;

	errors_clear();
	pidfd = pid > 0 ? procfs_pidfd(pid) : -ESRCH;
	if (pidfd < 0) {
		*perr = errors_grab(pid, pidfd, NULL);
		return NULL;
	}
	P = handle_new(pid, pidfd);
	if (!P) {
		close(pidfd);
		*perr = ENOMEM;
		return NULL;
	}
	rc = flags & PGRAB_RDONLY ? check_readable(pid) : take_control(P, flags, &fault);
	if (rc) {
		handle_free(P);
		*perr = errors_grab(pid, rc, &fault);
		return NULL;
	}
	if (flags & PGRAB_RDONLY)
		identity_note(P);
	log_at(LOG_PROC, 1, pid, 0, "grabbed, flags 0x%x", (unsigned)flags);
	return P;
}

static enum hold_release_mode release_mode(const struct ps_prochandle *P, int flags)
{
	if (flags & PRELEASE_KILL)
		return HOLD_RELEASE_KILL;
	if (flags & PRELEASE_HANG)
		return HOLD_RELEASE_STOP;
	if (!(flags & (PRELEASE_CLEAR | PRELEASE_RETAIN)) && P->klc && !P->outstop)
		return HOLD_RELEASE_KILL;
	return HOLD_RELEASE_RUN;
}

/*
 * An LWP that is detached within a group stop wakes up in the kernel and goes to sleep
 * again: for some microseconds /proc shows it running (6.18), though it executes nothing
 * of the program. The final state is waited for: whoever looks next may be a script.
 */
static void await_stopped(const struct ps_prochandle *P)
{
	struct timespec nap = { 0, 50000 };
	struct procfs_stat st;

	for (int i = 0; i < STOPPED_NAPS; i++) {
		if (procfs_stat(P->live.pid, 0, &st) || strchr("TtZX", st.state))
			return;
		nanosleep(&nap, NULL);
	}
}

/* A release delivers the signal that an LWP stopped on, unless it was cleared: then the
 * victim is run without it and released from there. */
static void let_go(struct ps_prochandle *P, enum hold_release_mode mode)
{
	bool kill = mode == HOLD_RELEASE_KILL;

	if (P->clearsig && !kill)
		Psetrun(P, 0, mode == HOLD_RELEASE_STOP ? PRSTOP : 0);
	hold_release(P->hold, mode);
	P->hold = NULL;
	if (!kill && (P->outstop || mode == HOLD_RELEASE_STOP))
		await_stopped(P);
}

static void finish(struct ps_prochandle *P, enum hold_release_mode mode)
{
	if (P->hold)
		let_go(P, mode);
	if (P->child)
		hold_reap(P->pidfd);
	log_at(LOG_PROC, 1, P->pid, 0, "released, mode %d", (int)mode);
	handle_free(P);
}

void Prelease(struct ps_prochandle *P, int flags)
{
	if (P)
		finish(P, release_mode(P, flags));
}

void Pfree(struct ps_prochandle *P)
{
	if (P)
		finish(P, release_mode(P, 0));
}

int Prelease_mode(struct ps_prochandle *P)
{
	int mode;

	handle_lock(P);
	mode = P->klc && !P->outstop ? PRELEASE_KILL : 0;
	handle_unlock(P);
	return mode;
}

static int set_klc(struct ps_prochandle *P, bool on)
{
	int rc = P->hold ? hold_set_klc(P->hold, on) : -EBADF;

	return rc == -ESRCH ? 0 : rc;
}

int Psetflags(struct ps_prochandle *P, long flags)
{
	int rc = 0;

	if (flags & ~(PR_KLC | PR_RLC) || flags == (PR_KLC | PR_RLC))
		return handle_fail(-EINVAL);
	handle_lock(P);
	if (flags)
		rc = set_klc(P, flags == PR_KLC);
	if (!rc && flags) {
		P->klc = flags == PR_KLC;
		P->rlc = !P->klc;
	}
	handle_unlock(P);
	return handle_fail(rc);
}

int Punsetflags(struct ps_prochandle *P, long flags)
{
	int rc = 0;

	if (flags & ~(PR_KLC | PR_RLC))
		return handle_fail(-EINVAL);
	handle_lock(P);
	if (flags & PR_KLC && P->klc)
		rc = set_klc(P, false);
	if (!rc && flags & PR_KLC)
		P->klc = false;
	if (!rc && flags & PR_RLC)
		P->rlc = false;
	handle_unlock(P);
	return handle_fail(rc);
}
