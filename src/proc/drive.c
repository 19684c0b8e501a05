/* SPDX-License-Identifier: MIT */
/*
 * Events become state. Taking an event and applying it are two functions; the first has
 * two callers, a control thread (Pevent_next) and whoever waits on a bare handle
 * (drive_wait).
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/log.h"

/* --- applying ----------------------------------------------------------------------- */

static int fault_of(int sig, int code)
{
	switch (sig) {
	case SIGILL:
		return FLTILL;
	case SIGTRAP:
		return FLTBPT;
	case SIGSEGV:
	case SIGBUS:
		return code == SEGV_ACCERR ? FLTACCESS : FLTBOUNDS;
	case SIGFPE:
		return code == FPE_INTDIV ? FLTIZDIV : FLTFPE;
	default:
		return 0;
	}
}

static void set_signalled(struct ps_prochandle *P, const struct hold_event *ev)
{
	lwpstatus_t *l = &P->status.pr_lwp;

	hold_siginfo(P->hold, ev->tid, &l->pr_info);
	l->pr_why = PR_SIGNALLED;
	l->pr_what = l->pr_cursig = (short)ev->what;
}

/*
 * A breakpoint, or a fault of the CPU's, which is a signal as well: the keeper stops for
 * either, and it is shown as what the client traces. One signal stands for several
 * faults: of those, the one that was not asked for is shown too.
 */
static void set_faulted(struct ps_prochandle *P, const struct hold_event *ev)
{
	lwpstatus_t *l = &P->status.pr_lwp;
	int fault = FLTBPT;

	if (!ev->addr) {
		set_signalled(P, ev);
		fault = fault_of(ev->what, l->pr_info.si_code);
		if (!(P->flts & (1u << fault)) && P->sigs & (1ull << (ev->what - 1)))
			return;
	}
	l->pr_why = PR_FAULTED;
	l->pr_what = (short)fault;
}

/* pr_why and pr_what of an all-stop. */
static void set_why(struct ps_prochandle *P, const struct hold_event *ev)
{
	lwpstatus_t *l = &P->status.pr_lwp;

	l->pr_what = 0;
	l->pr_cursig = 0;
	switch (ev->why) {
	case HOLD_WHY_EXEC:
		l->pr_why = PR_SYSEXIT;
		l->pr_what = SYS_execve;
		break;
	case HOLD_WHY_SIGNALLED:
		set_signalled(P, ev);
		break;
	case HOLD_WHY_FAULTED:
		set_faulted(P, ev);
		break;
	case HOLD_WHY_WATCH:
		l->pr_why = PR_FAULTED;
		l->pr_what = FLTWATCH;
		l->pr_info.si_signo = SIGTRAP;
		l->pr_info.si_code = TRAP_HWBKPT;
		l->pr_info.si_addr = (void *)(uintptr_t)ev->addr;
		break;
	case HOLD_WHY_STEP:
		l->pr_why = PR_FAULTED;
		l->pr_what = FLTTRACE;
		break;
	default:
		l->pr_why = (short)(P->outstop ? PR_JOBCONTROL : PR_REQUESTED);
		l->pr_what = (short)P->outstop;
	}
}

static void apply_stopped(struct ps_prochandle *P, const struct hold_event *ev)
{
	lwpstatus_t *l = &P->status.pr_lwp;

	P->allstop = true;
	P->asked = false;
	P->outstop = ev->sig;
	P->state = PS_STOP;
	memset(&l->pr_info, 0, sizeof(l->pr_info));
	set_why(P, ev);
	l->pr_lwpid = ev->tid;
	l->pr_flags = PR_STOPPED | PR_ISTOP;
	l->pr_tstamp.tv_sec = (time_t)(ev->time_ns / 1000000000u);
	l->pr_tstamp.tv_nsec = (long)(ev->time_ns % 1000000000u);
	memcpy(&l->pr_reg, &ev->regs, sizeof(l->pr_reg));
}

void drive_running(struct ps_prochandle *P)
{
	lwpstatus_t *l = &P->status.pr_lwp;

	P->allstop = P->clearsig = false;
	P->image_old = true;
	P->state = P->outstop ? PS_STOP : PS_RUN;
	l->pr_flags = P->outstop ? PR_STOPPED : 0;
	l->pr_why = (short)(P->outstop ? PR_JOBCONTROL : 0);
	l->pr_what = (short)P->outstop;
	l->pr_cursig = 0;
}

static void apply_outstop(struct ps_prochandle *P, int sig)
{
	P->outstop = sig;
	if (!P->allstop)
		drive_running(P);
}

/* The old address space is gone, and everything known of it. */
void drive_forget(struct ps_prochandle *P)
{
	maps_reset(P);
	mem_live_reset(&P->live);
	P->live.pid = P->pid;
	free(P->auxv);
	P->auxv = NULL;
	P->agent.consistent = false;
}

bool drive_readable(struct ps_prochandle *P)
{
	char byte;

	drive_forget(P);
	return memory_read(P, data_auxval(P, AT_ENTRY), &byte, 1) == 1;
}

/* The program that is there now may be one whose memory may not be read (mode 0711). */
static void apply_exec(struct ps_prochandle *P)
{
	bkpt_forget(P);
	if (!drive_readable(P))
		drive_lost(P);
}

void drive_lost(struct ps_prochandle *P)
{
	if (P->state == PS_UNDEAD)
		return;
	P->state = PS_LOST;
	P->allstop = P->asked = false;
	P->status.pr_lwp.pr_flags = 0;
}

void drive_apply(struct ps_prochandle *P, const struct hold_event *ev)
{
	lwpctl_apply(P, ev);
	switch (ev->kind) {
	case HOLD_EV_STOPPED:
		apply_stopped(P, ev);
		break;
	case HOLD_EV_EXEC:
		apply_exec(P);
		break;
	case HOLD_EV_OUTSTOP:
		apply_outstop(P, ev->sig);
		break;
	case HOLD_EV_CONTINUE:
		apply_outstop(P, 0);
		break;
	case HOLD_EV_EXIT:
		drive_lost(P);
		P->state = PS_UNDEAD;
		P->status.pr_exitstatus = ev->status;
		break;
	case HOLD_EV_LOST:
		drive_lost(P);
		break;
	case HOLD_EV_LWP_STOPPED:
	case HOLD_EV_LWP_GONE:
		break;
	default:
		return;
	}
	log_at(LOG_PROC, 1, P->pid, ev->tid, "event %d: state %d", (int)ev->kind,
	       P->state);
	pthread_cond_broadcast(&P->cond);
}

/* --- taking ------------------------------------------------------------------------- */

static int take(struct ps_prochandle *P, struct hold_event *ret)
{
	int rc = P->hold ? hold_next(P->hold, ret) : -EBADF;

	if (rc == 1) {
		drive_apply(P, ret);
	} else if (rc < 0) {
		drive_lost(P);
		pthread_cond_broadcast(&P->cond);
	}
	return rc;
}

int Pdrive(struct ps_prochandle *P)
{
	int rc = 0;

	handle_lock(P);
	if (!P->hold)
		rc = -EBADF;
	else
		P->driven = true;
	handle_unlock(P);
	return rc;
}

int Pevent_next(struct ps_prochandle *P, struct hold_event *ret)
{
	int rc;

	handle_lock(P);
	rc = take(P, ret);
	handle_unlock(P);
	return rc;
}

void Pevent_first(struct ps_prochandle *P, struct hold_event *ret)
{
	handle_lock(P);
	*ret = P->first;
	handle_unlock(P);
}

/* Nobody else would answer: a bare handle's questions are resumed at once. */
static int take_all(struct ps_prochandle *P)
{
	struct hold_event ev;
	int rc;

	while ((rc = take(P, &ev)) == 1)
		if (ev.flags & HOLD_EVF_QUESTION)
			hold_answer(P->hold, ev.tid, ev.seq, HOLD_RESUME);
	return rc;
}

void drive_poll(struct ps_prochandle *P)
{
	take_all(P);
}

/* --- waiting ------------------------------------------------------------------------ */

static struct timespec deadline_in(unsigned msec)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += msec / 1000;
	t.tv_nsec += (long)(msec % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* ms left, rounded up; 0: it is over. */
static int left_ms(const struct timespec *end)
{
	struct timespec now;
	long ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (end->tv_sec - now.tv_sec) * 1000 +
	     (end->tv_nsec - now.tv_nsec + 999999) / 1000000;
	if (ms > INT_MAX)
		return INT_MAX;
	return ms > 0 ? (int)ms : 0;
}

/* Leaves the wheel to another waiter. */
static void leave_wheel(struct ps_prochandle *P)
{
	P->polling = false;
	pthread_cond_broadcast(&P->cond);
}

/* The host has cancelled the thread that was polling. */
static void cancelled(void *arg)
{
	struct ps_prochandle *P = arg;

	handle_lock(P);
	leave_wheel(P);
	handle_unlock(P);
}

/* One turn at the wheel: polls without the lock. */
static int poll_once(struct ps_prochandle *P, int ms)
{
	struct pollfd pfd = { .fd = hold_event_fd(P->hold), .events = POLLIN };
	int rc;

	P->polling = true;
	handle_unlock(P);
	pthread_cleanup_push(cancelled, P);
	rc = poll(&pfd, 1, ms);
	if (rc < 0)
		rc = errno == EINTR ? 0 : -errno;
	pthread_cleanup_pop(0);
	handle_lock(P);
	leave_wheel(P);
	return rc < 0 ? rc : 0;
}

static int wait_once(struct ps_prochandle *P, const struct timespec *end)
{
	int ms = end ? left_ms(end) : -1;

	if (!ms)
		return -ETIMEDOUT;
	if (!P->driven && !P->polling)
		return poll_once(P, ms);
	handle_sleep(P, end);
	return 0;
}

/* Waits until done(P, arg), with the lock held on entry and return. 0, -ETIMEDOUT,
 * -EBADF. */
int drive_wait(struct ps_prochandle *P, bool (*done)(struct ps_prochandle *, void *),
	       void *arg, unsigned msec)
{
	struct timespec end = deadline_in(msec);
	int rc = 0;

	if (!P->hold)
		return -EBADF;
	while (!rc) {
		if (!P->driven && !P->polling)
			take_all(P);
		if (done(P, arg))
			return 0;
		rc = wait_once(P, msec ? &end : NULL);
	}
	return rc;
}
