/* SPDX-License-Identifier: MIT */
/*
 * Run control of the victim as a whole.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "os/procfs.h"
#include "proc/handle.h"

static bool standing_or_over(struct ps_prochandle *P, void *arg)
{
	(void)arg;
	return P->state != PS_RUN && (P->state != PS_STOP || P->allstop || !P->asked);
}

/* What a wait ends with: 0, or why there is nothing to wait for any more. */
static int over(const struct ps_prochandle *P)
{
	if (P->state == PS_UNDEAD)
		return -ENOENT;
	return P->state == PS_LOST ? -EAGAIN : 0;
}

static int ask_to_stop(struct ps_prochandle *P)
{
	int rc;

	if (P->calling)
		hold_stop(P->hold); /* ends the call; the victim stands already */
	if (P->allstop || P->asked || over(P))
		return 0;
	rc = hold_stop(P->hold);
	if (rc == -EPIPE)
		drive_lost(P);
	if (rc < 0)
		return rc == -ESRCH || rc == -EPIPE ? 0 : rc; /* the end will be seen */
	P->asked = rc == 0;
	return 0;
}

int Pstopstatus(struct ps_prochandle *P, long request, unsigned msec)
{
	int rc = 0;

	if (request < PCNULL || request > PCWSTOP)
		return handle_fail(-EINVAL);
	if (request == PCNULL)
		Pstatus(P);
	handle_lock(P);
	if (!P->hold && request != PCNULL)
		rc = -EBADF;
	if (!rc && (request == PCSTOP || request == PCDSTOP))
		rc = ask_to_stop(P);
	if (!rc && (request == PCSTOP || request == PCWSTOP))
		rc = drive_wait(P, standing_or_over, NULL, msec);
	if (rc == -ETIMEDOUT)
		rc = 0;
	if (!rc)
		rc = over(P);
	handle_unlock(P);
	return handle_fail(rc);
}

int Pwait(struct ps_prochandle *P, unsigned msec)
{
	return Pstopstatus(P, PCWSTOP, msec);
}

int Pstop(struct ps_prochandle *P, unsigned msec)
{
	return Pstopstatus(P, PCSTOP, msec);
}

int Pdstop(struct ps_prochandle *P)
{
	return Pstopstatus(P, PCDSTOP, 0);
}

/* A traced signal or fault is delivered unless the client clears it. */
static unsigned run_flags(struct ps_prochandle *P, int flags)
{
	unsigned how = flags & PRSTEP ? HOLD_RUN_STEP : 0;
	const lwpstatus_t *l = &P->status.pr_lwp;
	bool fault = l->pr_why == PR_FAULTED && l->pr_what != FLTWATCH;

	if (P->clearsig || flags & PRCSIG || (fault && flags & PRCFAULT))
		how |= HOLD_RUN_CLEARSIG;
	return how;
}

static int set_running(struct ps_prochandle *P, int sig, int flags)
{
	unsigned how = run_flags(P, flags);
	pid_t tid = how || sig ? P->status.pr_lwp.pr_lwpid : 0;
	int rc;

	if (!P->hold)
		return -EBADF;
	if (!P->allstop)
		return -EBUSY;
	rc = hold_run(P->hold, tid, how, sig);
	if (rc == -EPIPE)
		drive_lost(P);
	if (rc)
		return rc;
	drive_running(P);
	return flags & PRSTOP ? ask_to_stop(P) : 0;
}

int Psetrun(struct ps_prochandle *P, int sig, int flags)
{
	int rc;

	handle_lock(P);
	rc = set_running(P, sig, flags);
	pthread_cond_broadcast(&P->cond);
	handle_unlock(P);
	return handle_fail(rc);
}

/* Registers are written at once here; what remains is to look again. */
void Psync(struct ps_prochandle *P)
{
	Pstatus(P);
}

/* Remembered until the next run, which then does not deliver the signal. */
static int clear(struct ps_prochandle *P)
{
	int rc = 0;

	handle_lock(P);
	if (!P->allstop) {
		rc = P->hold ? -EBUSY : -EBADF;
	} else {
		P->clearsig = true;
		P->status.pr_lwp.pr_cursig = 0;
	}
	handle_unlock(P);
	return handle_fail(rc);
}

int Pclearsig(struct ps_prochandle *P)
{
	return clear(P);
}

int Pclearfault(struct ps_prochandle *P)
{
	return clear(P);
}

/* --- what to trace ------------------------------------------------------------------ */

static const struct {
	int fault, sig;
} fault_signals[] = {
	{ FLTILL, SIGILL },    { FLTACCESS, SIGSEGV }, { FLTBOUNDS, SIGSEGV },
	{ FLTACCESS, SIGBUS }, { FLTIZDIV, SIGFPE },   { FLTFPE, SIGFPE },
};

/* Breakpoints and steps stop by themselves: FLTBPT and FLTTRACE need no signal. */
static uint64_t wanted_signals(const struct ps_prochandle *P)
{
	uint64_t mask = P->sigs;

	for (size_t i = 0; i < sizeof(fault_signals) / sizeof(*fault_signals); i++)
		if (P->flts & (1u << fault_signals[i].fault))
			mask |= 1ull << (fault_signals[i].sig - 1);
	return mask & ~(1ull << (SIGKILL - 1));
}

static int tell_keeper(struct ps_prochandle *P)
{
	return P->hold ? hold_trace_signals(P->hold, wanted_signals(P)) : -EBADF;
}

int Psignal(struct ps_prochandle *P, int sig, int stop)
{
	uint64_t bits = sig ? 1ull << (sig - 1) : ~0ull, before;
	int rc;

	if (sig < 0 || sig > 64)
		return handle_fail(-EINVAL);
	handle_lock(P);
	before = P->sigs;
	P->sigs = stop ? P->sigs | bits : P->sigs & ~bits;
	rc = tell_keeper(P);
	if (rc)
		P->sigs = before;
	handle_unlock(P);
	return rc ? handle_fail(rc) : (before & bits) == bits;
}

int Pfault(struct ps_prochandle *P, int fault, int stop)
{
	unsigned bits = fault ? 1u << fault : (1u << FLTMAX) - 1, before;
	int rc;

	if (fault < 0 || fault >= FLTMAX)
		return handle_fail(-EINVAL);
	handle_lock(P);
	before = P->flts;
	P->flts = stop ? P->flts | bits : P->flts & ~bits;
	rc = tell_keeper(P);
	if (rc)
		P->flts = before;
	handle_unlock(P);
	return rc ? handle_fail(rc) : (before & bits) == bits;
}
