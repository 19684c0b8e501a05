/* SPDX-License-Identifier: MIT */
/*
 * One LWP under control while the others run.
 *
 * The keeper holds it; here is what the client sees of it. `own` is a stop of its own,
 * learnt from the LWP_STOPPED event alone, so that each stop that was asked for has one
 * end. What the whole process does to it (a stop of all, job control, exec, the end) is
 * read off the process's handle, which is where those events go.
 *
 * An LWP may end at any line: the keeper then answers -ESRCH, and LWP_GONE is on its way.
 * Handles are in the list of their process's, under its lock; a process's handle that is
 * freed first leaves them behind as lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

struct ps_lwphandle {
	struct ps_prochandle *P;   /* of its process; NULL: that has been freed */
	struct ps_lwphandle *next; /* in P->lwps */
	lwpid_t tid;               /* thread id */
	bool gone;                 /* it has ended */
	bool own;                  /* stopped by itself */
	bool asked;                /* … is to be: its LWP_STOPPED is not seen yet */
	bool clearsig;             /* the next run delivers no signal */
	lwpstatus_t status;        /* lent by Lstatus() */
};

/* --- state -------------------------------------------------------------------------- */

static int state_of(const struct ps_lwphandle *L)
{
	const struct ps_prochandle *P = L->P;

	if (L->gone || P->state == PS_LOST || P->state == PS_UNDEAD)
		return PS_LOST;
	return L->own || P->allstop || P->outstop ? PS_STOP : PS_RUN;
}

static struct ps_lwphandle *find(const struct ps_prochandle *P, lwpid_t tid)
{
	struct ps_lwphandle *L = P->lwps;

	while (L && (L->tid != tid || L->gone))
		L = L->next;
	return L;
}

void lwpctl_apply(struct ps_prochandle *P, const struct hold_event *ev)
{
	struct ps_lwphandle *L = find(P, ev->tid);

	if (!L)
		return;
	if (ev->kind == HOLD_EV_LWP_GONE)
		L->gone = true;
	if (ev->kind == HOLD_EV_LWP_STOPPED && L->asked) {
		L->asked = false;
		L->own = true;
	}
}

void lwpctl_orphan(struct ps_prochandle *P)
{
	for (struct ps_lwphandle *L = P->lwps; L; L = L->next)
		L->P = NULL;
}

/* What an error of the keeper's means here. */
static int told(struct ps_lwphandle *L, int rc)
{
	if (rc == -EPIPE)
		drive_lost(L->P);
	if (rc == -ESRCH)
		L->gone = true;
	return rc == -EPIPE || rc == -ESRCH ? -ENOENT : rc;
}

/* Locks the process's handle, its events seen. -ENOENT, not locked: there is none. */
static int enter(struct ps_lwphandle *L)
{
	struct ps_prochandle *P = L->P;

	if (!P) {
		errno = ENOENT;
		return -1;
	}
	handle_lock(P);
	if (!P->driven && !P->polling)
		drive_poll(P);
	return 0;
}

static int leave(struct ps_lwphandle *L, int rc)
{
	handle_unlock(L->P);
	return handle_fail(rc);
}

/* --- begin and end ------------------------------------------------------------------ */

static int grab(struct ps_prochandle *P, struct ps_lwphandle *L)
{
	int rc = P->hold ? 0 : -EBADF;

	if (!rc && find(P, L->tid))
		rc = -EBUSY;
	if (!rc)
		rc = hold_lwp_ctl(P->hold, L->tid, HOLD_LWP_GRAB, 0);
	if (rc)
		return rc;
	L->next = P->lwps;
	P->lwps = L;
	return 0;
}

static int grab_code(int rc)
{
	switch (rc) {
	case -ESRCH:
	case -EPIPE:
		return G_NOPROC;
	case -EBUSY:
		return G_BUSY;
	case -EBADF:
		return G_PERM;
	default:
		return -rc;
	}
}

struct ps_lwphandle *Lgrab(struct ps_prochandle *P, lwpid_t lwp, int *perr)
{
	struct ps_lwphandle *L = calloc(1, sizeof(*L));
	int rc = -ENOMEM;

	if (L) {
		L->P = P;
		L->tid = lwp;
		handle_lock(P);
		rc = grab(P, L);
		handle_unlock(P);
	}
	if (!rc)
		return L;
	free(L);
	if (perr)
		*perr = grab_code(rc);
	return NULL;
}

const char *Lgrab_error(int err)
{
	switch (err) {
	case G_NOPROC:
		return "no such LWP";
	case G_BUSY:
		return "LWP is already grabbed";
	case G_PERM:
		return "process is not under control";
	default:
		return err > 0 ? strerror(err) : "unanticipated system error";
	}
}

void Lfree(struct ps_lwphandle *L)
{
	struct ps_prochandle *P = L ? L->P : NULL;
	struct ps_lwphandle **p;

	if (P) {
		handle_lock(P);
		for (p = &P->lwps; *p != L; p = &(*p)->next)
			;
		*p = L->next;
		if (P->hold && state_of(L) != PS_LOST)
			hold_lwp_ctl(P->hold, L->tid, HOLD_LWP_FREE, 0);
		handle_unlock(P);
	}
	free(L);
}

struct ps_prochandle *Lprochandle(struct ps_lwphandle *L)
{
	return L->P;
}

/* --- run control -------------------------------------------------------------------- */

int Lstate(struct ps_lwphandle *L)
{
	int state;

	if (enter(L))
		return PS_LOST;
	state = state_of(L);
	handle_unlock(L->P);
	return state;
}

static int ask(struct ps_lwphandle *L)
{
	int rc;

	if (L->own || L->asked || state_of(L) == PS_LOST)
		return 0;
	L->asked = true; /* the event may be read before the reply */
	rc = told(L, hold_lwp_ctl(L->P->hold, L->tid, HOLD_LWP_STOP, 0));
	if (rc)
		L->asked = false;
	return rc == -ENOENT ? 0 : rc;
}

static bool stands_or_gone(struct ps_prochandle *P, void *arg)
{
	struct ps_lwphandle *L = arg;

	(void)P;
	return state_of(L) != PS_RUN && !(L->asked && state_of(L) == PS_STOP);
}

static int await(struct ps_lwphandle *L, unsigned msec)
{
	int rc = drive_wait(L->P, stands_or_gone, L, msec);

	if (rc && rc != -ETIMEDOUT)
		return rc;
	return state_of(L) == PS_LOST ? -ENOENT : 0;
}

int Ldstop(struct ps_lwphandle *L)
{
	int rc;

	if (enter(L))
		return -1;
	rc = ask(L);
	if (!rc && state_of(L) == PS_LOST)
		rc = -ENOENT;
	return leave(L, rc);
}

int Lstop(struct ps_lwphandle *L, unsigned msec)
{
	int rc;

	if (enter(L))
		return -1;
	rc = ask(L);
	return leave(L, rc ? rc : await(L, msec));
}

int Lwait(struct ps_lwphandle *L, unsigned msec)
{
	if (enter(L))
		return -1;
	return leave(L, await(L, msec));
}

/* One instruction, while all stand. */
static int step(struct ps_lwphandle *L, int sig, int flags)
{
	bool clear = L->clearsig || flags & PRCSIG;
	int rc;

	if (!L->P->allstop)
		return -EBUSY;
	rc = told(L, hold_run(L->P->hold, L->tid,
			      HOLD_RUN_STEP | (clear ? HOLD_RUN_CLEARSIG : 0), sig));
	if (rc)
		return rc;
	L->clearsig = false;
	drive_running(L->P);
	return 0;
}

static int set_running(struct ps_lwphandle *L, int sig, int flags)
{
	bool clear = !sig && (L->clearsig || flags & PRCSIG);
	int rc;

	if (state_of(L) == PS_LOST)
		return -ENOENT;
	if (flags & PRSTEP)
		return step(L, sig, flags);
	if (!L->own)
		return -EBUSY;
	rc = told(L, hold_lwp_ctl(L->P->hold, L->tid,
				  clear ? HOLD_LWP_RUN_CLEARSIG : HOLD_LWP_RUN, sig));
	if (rc)
		return rc;
	L->own = L->clearsig = false;
	return flags & PRSTOP ? ask(L) : 0;
}

int Lsetrun(struct ps_lwphandle *L, int sig, int flags)
{
	int rc;

	if (sig < 0 || sig > 64)
		return handle_fail(-EINVAL);
	if (enter(L))
		return -1;
	rc = set_running(L, sig, flags);
	pthread_cond_broadcast(&L->P->cond);
	return leave(L, rc);
}

int Lclearsig(struct ps_lwphandle *L)
{
	int rc = 0;

	if (enter(L))
		return -1;
	if (state_of(L) == PS_LOST)
		rc = -ENOENT;
	else if (!L->own && !L->P->allstop)
		rc = -EBUSY;
	L->clearsig = L->clearsig || !rc;
	return leave(L, rc);
}

/* --- what it shows ------------------------------------------------------------------ */

static short signal_of(struct ps_lwphandle *L)
{
	_cleanup_free_ struct hold_lwp *lwps = NULL;
	size_t n = 0;

	if (L->clearsig || hold_lwps(L->P->hold, &lwps, &n))
		return 0;
	for (size_t i = 0; i < n; i++)
		if (lwps[i].tid == L->tid)
			return (short)lwps[i].cursig;
	return 0;
}

static void fill(struct ps_lwphandle *L)
{
	const struct ps_prochandle *P = L->P;
	lwpstatus_t *st = &L->status;
	arch_regs_t regs;

	memset(st, 0, sizeof(*st));
	if (P->allstop && P->status.pr_lwp.pr_lwpid == L->tid)
		*st = P->status.pr_lwp;
	st->pr_lwpid = L->tid;
	if (state_of(L) != PS_STOP)
		return;
	st->pr_flags |= PR_STOPPED;
	if (!st->pr_why)
		st->pr_why = L->own || P->allstop ? PR_REQUESTED : PR_JOBCONTROL;
	if (st->pr_why == PR_JOBCONTROL && !st->pr_what)
		st->pr_what = (short)P->outstop;
	st->pr_cursig = signal_of(L);
	if ((L->own || P->allstop) && !told(L, hold_getregs(P->hold, L->tid, &regs)))
		memcpy(&st->pr_reg, &regs, sizeof(st->pr_reg));
}

const lwpstatus_t *Lstatus(struct ps_lwphandle *L)
{
	bool lost;

	if (enter(L))
		return NULL;
	fill(L);
	lost = state_of(L) == PS_LOST;
	leave(L, lost ? -ENOENT : 0);
	return lost ? NULL : &L->status;
}

static int registers(struct ps_lwphandle *L, arch_regs_t *ret)
{
	if (state_of(L) == PS_LOST)
		return -ENOENT;
	if (!L->own && !L->P->allstop)
		return -EBUSY;
	return told(L, hold_getregs(L->P->hold, L->tid, ret));
}

int Lgetareg(struct ps_lwphandle *L, int reg, prgreg_t *value)
{
	arch_regs_t regs;
	int rc;

	if (reg < 0 || reg >= arch_native->nregs)
		return handle_fail(-EINVAL);
	if (enter(L))
		return -1;
	rc = registers(L, &regs);
	if (!rc)
		*value = arch_reg_get(&regs, (unsigned)reg);
	return leave(L, rc);
}

int Lputareg(struct ps_lwphandle *L, int reg, prgreg_t value)
{
	lwpstatus_t *rep;
	arch_regs_t regs;
	int rc;

	if (reg < 0 || reg >= arch_native->nregs)
		return handle_fail(-EINVAL);
	if (enter(L))
		return -1;
	rc = registers(L, &regs);
	if (!rc) {
		arch_reg_set(&regs, (unsigned)reg, value);
		rc = told(L, hold_setregs(L->P->hold, L->tid, &regs));
	}
	rep = &L->P->status.pr_lwp;
	if (!rc && rep->pr_lwpid == L->tid)
		rep->pr_reg[reg] = value;
	return leave(L, rc);
}

void Lsync(struct ps_lwphandle *L)
{
	Lstatus(L);
}

/* --- its stack ---------------------------------------------------------------------- */

static int find_stack(struct ps_lwphandle *L, stack_t *ret)
{
	_cleanup_free_ struct procfs_map *maps = NULL;
	arch_regs_t regs;
	uint64_t sp;
	size_t n = 0;
	int rc = registers(L, &regs);

	if (!rc)
		rc = procfs_maps(L->P->pid, L->tid, &maps, &n);
	if (rc)
		return rc == -ESRCH ? -ENOENT : rc;
	sp = arch_reg_get(&regs, arch_native->reg_sp);
	for (size_t i = 0; i < n; i++) {
		if (sp < maps[i].start || sp >= maps[i].end)
			continue;
		ret->ss_sp = (void *)(uintptr_t)maps[i].start;
		ret->ss_size = (size_t)(maps[i].end - maps[i].start);
		ret->ss_flags = 0;
		return 0;
	}
	return -EFAULT;
}

int Lstack(struct ps_lwphandle *L, stack_t *stkp)
{
	if (enter(L))
		return -1;
	return leave(L, find_stack(L, stkp));
}
