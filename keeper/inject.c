/* SPDX-License-Identifier: MIT */
/*
 * One system call, run by an LWP of the victim for us.
 *
 * No text is written: the LWP is sent to a `syscall` instruction that the victim has (of
 * the vDSO, say) and single-stepped over it, with our number and arguments in its
 * registers; its own come back afterwards. Nothing here waits: each function answers a
 * stop, and the call may sleep for as long as it likes.
 *
 *   ENTER --EVENT_STOP--> CALL --stop behind the instruction--> DRAIN --SIGTRAP--+
 *                          |                                                     |
 *                          +--SIGTRAP of the step--------------------------------+
 *                                                                                v
 *     done() <--EVENT_STOP-- REJOIN <--it was in a group stop--  registers as they were
 *       ^                                                                        |
 *       +------------------------------------------------------------------------+
 *
 * Where registers may be changed. In a signal-delivery stop or an EVENT_STOP the LWP
 * stands in get_signal(), at the door to its program: what is set there is what runs.
 * An event stop (clone, exec …) is inside a system call, whose result would be written
 * over our number, and so is a system call stop: such an LWP is first let on to the door
 * (ENTER). Measured on 6.18.
 *
 * The call that our stop had interrupted. The kernel restarts it on the way out of
 * get_signal(), when orig_rax says that there is one. For the injected call orig_rax is
 * -1; the SIGTRAP of the step stops the LWP in get_signal() again, where the saved
 * registers, orig_rax among them, come back: so that the restart, with the restart
 * block in the kernel, takes place at the LWP's own resume. Any number of calls may come
 * between. Only a call that itself leaves a restart block (a sleep) takes the place of
 * the other's, which then ends with EINTR.
 *
 * Signals. All but faults are blocked meanwhile, so that none is taken in an instruction
 * that is not the program's. The one that the LWP stood on is given up at the step and
 * comes back, its siginfo too, by the end: every call ends in a SIGTRAP's
 * signal-delivery stop, from which any signal can be delivered. SIGSTOP cannot be
 * blocked: it takes effect, the LWP is stepped on in the group stop, and goes back into
 * it (REJOIN) when the call is done.
 *
 * Restartable sequences are left as a preemption would have it (rseq.c).
 *
 * When the LWP dies right here: done() is called with -ESRCH, from lwp_free().
 *
 * When the keeper is killed right here, the LWP goes on behind the instruction with our
 * registers, and the victim will crash. The time is that of the call: microseconds for
 * those that the keeper makes for itself; a client that has a call sleep knows it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "os/procfs.h"
#include "util/log.h"

/* How far it has come: see the theory. */
enum phase {
	PHASE_ENTER,  /* on its way to where registers may be changed */
	PHASE_CALL,   /* sent to the instruction */
	PHASE_DRAIN,  /* has executed it; the SIGTRAP of the step is due */
	PHASE_REJOIN, /* is as it was, goes back into its group stop */
};

enum {
	/* the kernel's, never seen by a program (include/linux/errno.h) */
	ERESTARTSYS = 512,
	ERESTARTNOINTR = 513,
	ERESTARTNOHAND = 514,
	ERESTART_RESTARTBLOCK = 516,

	MAX_RESTARTS = 1000, /* of one call, by interrupts that are not meant for it */
	ZOMBIE_NS = 5000000, /* older ones are looked at in /proc */
};

/* One call under way. */
struct inject {
	enum phase phase;    /* see there */
	uint64_t insn;       /* where its instruction is */
	int64_t nr;          /* number of the call */
	uint64_t args[6];    /* its arguments */
	inject_done_f *done; /* told at the end */
	uint64_t begun;      /* CLOCK_MONOTONIC ns */
	arch_regs_t saved;   /* the LWP's own */
	bool masked;         /* `mask` is to be put back */
	uint64_t mask;       /* what it blocks */
	bool has_info;       /* `info` is to be put back */
	siginfo_t info;      /* of the signal that it stood on */
	bool aborted;        /* somebody wants it to end */
	unsigned restarts;   /* how often it was taken up again */
	uint64_t again;      /* faults that somebody sent meanwhile: bit n-1 */
	int err;             /* for done() */
	int64_t ret;         /* likewise */
};

static uint64_t sigbit(int sig)
{
	return 1ull << (sig - 1);
}

static const uint64_t faults = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) |
			       1ull << (SIGILL - 1) | 1ull << (SIGFPE - 1) |
			       1ull << (SIGTRAP - 1) | 1ull << (SIGSYS - 1);

/* --- may it ------------------------------------------------------------------------- */

int inject_allowed(struct lwp *l)
{
	struct procfs_status st;

	if (l->v->seccomp)
		return 0;
	if (procfs_status(l->v->pid, l->tid, &st))
		return 0;
	/* There is no way back, so a yes holds; a no may change at any time. */
	l->v->seccomp = st.seccomp != 0;
	return st.seccomp == 0;
}

/* The child of a fork, or a new thread, would go on behind the instruction with our
 * registers. */
static const int64_t births[] = {
#ifdef SYS_fork
	SYS_fork,
	SYS_vfork,
#endif
	SYS_clone,
	SYS_clone3,
};

static bool makes_another(int64_t nr)
{
	for (size_t i = 0; i < sizeof(births) / sizeof(*births); i++)
		if (nr == births[i])
			return true;
	return false;
}

/* An exec by another than the leader comes back as the leader: refused, since what is to
 * be put back would be lost on the way. */
static bool refused(const struct lwp *l, int64_t nr)
{
	bool exec = nr == SYS_execve || nr == SYS_execveat;

	return makes_another(nr) || nr == SYS_rt_sigreturn ||
	       (exec && l->tid != l->v->pid);
}

static bool trap_there(struct victim *v, uint64_t insn)
{
	unsigned back = arch_native->trap_len - 1u;

	for (uint64_t at = insn - back; at < insn + arch_native->sys_len; at++) {
		const struct bkpt *b = bkpt_find(v, at);

		if (b && b->in_text)
			return true;
	}
	return false;
}

/* Whoever told us may not have seen an exec yet. 0, -EFAULT; -ESRCH: it is dying. */
static int check_insn(const struct lwp *l, uint64_t insn)
{
	uint8_t bytes[ARCH_TRAP_MAX];
	size_t len = arch_native->sys_len;
	struct iovec local = { bytes, len }, remote = { (void *)(uintptr_t)insn, len };

	if (process_vm_readv(l->tid, &local, 1, &remote, 1, 0) != (ssize_t)len)
		return errno == ESRCH ? -ESRCH : -EFAULT;
	return memcmp(bytes, arch_native->sys_insn, len) ? -EFAULT : 0;
}

/* --- registers ---------------------------------------------------------------------- */

/* Sends it to the instruction, delivering sig (0 none). */
static void go(struct lwp *l, int64_t nr, int sig)
{
	const struct arch *a = arch_native;
	struct inject *i = l->inject;
	arch_regs_t regs = i->saved;

	arch_set_pc(&regs, i->insn);
	if (a->reg_sysorig != ARCH_NOREG)
		arch_reg_set(&regs, a->reg_sysorig, (uint64_t)-1);
	for (unsigned n = 0; n < 6; n++)
		arch_reg_set(&regs, a->reg_sysarg[n], i->args[n]);
	arch_reg_set(&regs, a->reg_sysnr, (uint64_t)nr);
	trace_setregs(l, &regs);
	i->phase = PHASE_CALL;
	lwp_forget(l);
	l->state = LWP_RUNNING;
	trace_step(l, sig);
}

static void step_on(struct lwp *l, int sig)
{
	lwp_forget(l);
	l->state = LWP_RUNNING;
	trace_step(l, sig);
}

/* To the next stop, which is due before the LWP executes anything. */
static void let_on(struct lwp *l)
{
	lwp_forget(l);
	l->state = LWP_RUNNING;
	trace_interrupt(l);
	trace_cont(l, 0);
}

/* --- the end ------------------------------------------------------------------------ */

static struct inject *take_off(struct lwp *l)
{
	struct inject *i = l->inject;

	l->inject = NULL;
	l->v->ninject--;
	return i;
}

static void tell(struct lwp *l)
{
	struct inject *i = take_off(l);

	log_at(LOG_KEEP, 1, l->v->pid, l->tid, "call %lld: err %d ret %lld",
	       (long long)i->nr, i->err, (long long)i->ret);
	i->done(l, i->err, i->ret);
	free(i);
}

static void complete(struct lwp *l)
{
	tell(l);
	if (l->state == LWP_STOPPED && !l->inject)
		stops_settle(l);
}

static void send_again(struct lwp *l, uint64_t sigs)
{
	for (int sig = 1; sig <= 64; sig++)
		if (sigs & sigbit(sig))
			syscall(SYS_tgkill, l->v->pid, l->tid, sig);
}

/*
 * It stands on a signal that its mask blocks: it was in sigsuspend(2) or the like, whose
 * own mask the kernel has taken back on the way to our call. So the signal is queued
 * again when it is delivered, and comes once more when that call is restarted.
 */
static bool waits_for(const struct inject *i, int sig)
{
	return sig && i->masked && i->mask & sigbit(sig);
}

/* l stands in the SIGTRAP's stop: everything as it was. */
static void finish(struct lwp *l)
{
	struct inject *i = l->inject;

	trace_setregs(l, &i->saved);
	l->regs = i->saved;
	lwp_forget(l);
	l->regs_valid = true;
	if (i->masked)
		trace_setmask(l, i->mask);
	if (i->has_info)
		trace_setinfo(l, &i->info);
	send_again(l, i->again);
	l->requeued = waits_for(i, l->sig) ? l->sig : 0;
	if (!l->group) {
		complete(l);
	} else if (l->sig) {
		/* The signal first, which only this stop can deliver; the interrupt
		 * finds the group stop before it has done anything. */
		l->group = false;
		trace_interrupt(l);
		complete(l);
	} else {
		i->phase = PHASE_REJOIN;
		let_on(l);
	}
}

/* --- the call ----------------------------------------------------------------------- */

static void save(struct lwp *l, const arch_regs_t *regs)
{
	struct inject *i = l->inject;

	i->saved = *regs;
	rseq_leave(l, &i->saved);
	if (l->sig && !l->stop_event)
		i->has_info = !trace_siginfo(l, &i->info);
	if (!trace_getmask(l, &i->mask))
		i->masked = !trace_setmask(l, ~faults);
}

/* l stands where its registers may be changed. */
static int start(struct lwp *l)
{
	arch_regs_t *regs;
	int rc = lwp_regs(l, &regs);

	if (!rc && !arch_is_native(regs))
		rc = -ENOTSUP;
	if (rc)
		return rc;
	save(l, regs);
	go(l, l->inject->nr, 0);
	return 0;
}

/* An event's stop, or one at the entry or exit of a system call. */
static bool inside_a_call(const struct lwp *l)
{
	return l->stop_event && l->stop_event != PTRACE_EVENT_STOP;
}

static int begin(struct lwp *l)
{
	int rc;

	if (inside_a_call(l)) {
		rc = lwp_flush(l);
		if (!rc)
			let_on(l);
		return rc;
	}
	l->inject->phase = PHASE_CALL;
	return start(l);
}

int inject_begin(struct lwp *l, uint64_t insn, long nr, const uint64_t args[6],
		 inject_done_f *done)
{
	struct inject *i;
	int rc;

	if (l->state != LWP_STOPPED || l->role != LWP_MEMBER || l->inject ||
	    l->stepping || l->in_vfork)
		return -EBUSY;
	if (refused(l, nr))
		return -ENOTSUP;
	if (trap_there(l->v, insn))
		return -EADDRINUSE;
	rc = check_insn(l, insn);
	if (rc)
		return rc;
	i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	*i = (struct inject){ .insn = insn, .nr = nr, .done = done };
	memcpy(i->args, args, sizeof(i->args));
	i->begun = clock_mono();
	l->inject = i;
	l->v->ninject++;
	rc = begin(l);
	if (rc)
		free(take_off(l));
	return rc;
}

/* The call shall end without having been made: an innocent one is made in its place, so
 * that it ends as every call does. */
static void make_none(struct lwp *l, int sig)
{
	l->inject->err = -EINTR;
	go(l, SYS_getpid, sig);
}

/* It has been interrupted: the call goes on, or is over. */
static void interrupted(struct lwp *l, int64_t ret)
{
	struct inject *i = l->inject;
	bool block = ret == -ERESTART_RESTARTBLOCK;
	unsigned r = arch_native->reg_sysret;

	/* The kernel keeps one restart block a thread: the program's is lost. */
	if (block && (int64_t)arch_reg_get(&i->saved, r) == -ERESTART_RESTARTBLOCK)
		arch_reg_set(&i->saved, r, (uint64_t)-EINTR);
	if (!i->aborted && i->restarts++ < MAX_RESTARTS) {
		go(l, block ? SYS_restart_syscall : i->nr, 0);
		return;
	}
	i->ret = -EINTR;
	finish(l);
}

/* The SIGTRAP of the step has come. */
static void executed(struct lwp *l)
{
	struct inject *i = l->inject;
	arch_regs_t *regs;
	int64_t ret;

	if (lwp_regs(l, &regs))
		return; /* killed */
	ret = (int64_t)arch_reg_get(regs, arch_native->reg_sysret);
	if (i->err) {
		finish(l);
		return;
	}
	switch (-ret) {
	case ERESTARTSYS:
	case ERESTARTNOINTR:
	case ERESTARTNOHAND:
	case ERESTART_RESTARTBLOCK:
		interrupted(l, ret);
		break;
	default:
		i->ret = ret;
		finish(l);
	}
}

/* True while the LWP has the instruction before it. */
static bool before_it(struct lwp *l)
{
	arch_regs_t *regs;

	return !lwp_regs(l, &regs) && arch_pc(regs) == l->inject->insn;
}

static void take_up(struct lwp *l, int sig)
{
	if (l->inject->aborted && !l->inject->err && before_it(l))
		make_none(l, sig);
	else
		step_on(l, sig);
}

/* --- stops -------------------------------------------------------------------------- */

static void enter(struct lwp *l)
{
	struct inject *i = l->inject;

	i->err = i->aborted ? -EINTR : check_insn(l, i->insn);
	if (!i->err)
		i->err = start(l);
	if (i->err)
		complete(l);
}

static void on_event_stop(struct lwp *l, int sig)
{
	struct inject *i = l->inject;

	stops_note_group(l, sig);
	if (before_it(l)) {
		take_up(l, 0);
	} else if (l->state == LWP_STOPPED && trace_has_pending(l, SIGTRAP)) {
		i->phase = PHASE_DRAIN;
		step_on(l, 0);
	} else {
		executed(l);
	}
}

/* A fault that the instruction raised, or the way to it. */
static void on_fault(struct lwp *l, int sig)
{
	struct inject *i = l->inject;

	if (sig == SIGSYS) { /* a filter; seccomp(2): the SIGTRAP is still to come */
		i->err = -EPERM;
		i->phase = PHASE_DRAIN;
		if (trace_has_pending(l, SIGTRAP)) {
			step_on(l, 0);
			return;
		}
	} else {
		i->err = -EFAULT;
	}
	finish(l);
}

static void on_trap(struct lwp *l)
{
	if (l->inject->phase != PHASE_DRAIN && before_it(l)) {
		l->swallow_trace = false; /* of a step that was broken off before */
		take_up(l, 0);
	} else {
		executed(l);
	}
}

static void on_signal(struct lwp *l, int sig)
{
	siginfo_t si = { 0 };

	if (trace_siginfo(l, &si))
		return; /* killed */
	if (sig == SIGTRAP && si.si_code > 0 && si.si_code != SI_KERNEL)
		on_trap(l); /* of the step, or a watchpoint's in its place */
	else if (faults & sigbit(sig) && si.si_code > 0)
		on_fault(l, sig);
	else if (sig == SIGSTOP)
		take_up(l, sig);
	else {
		l->inject->again |= sigbit(sig);
		take_up(l, 0);
	}
}

/* The new program has nothing of the old one's but the mask, which is put back. */
static void on_exec(struct lwp *l)
{
	if (l->inject->masked)
		trace_setmask(l, l->inject->mask);
	tell(l);
}

bool inject_stop(struct lwp *l, int event, int sig)
{
	enum phase phase = l->inject->phase;

	if (phase == PHASE_ENTER || phase == PHASE_REJOIN)
		return false; /* it is the LWP's own */
	if (event == PTRACE_EVENT_EXEC) {
		on_exec(l);
		return false;
	}
	if (event == PTRACE_EVENT_STOP)
		on_event_stop(l, sig);
	else if (!event)
		on_signal(l, sig);
	return !event || event == PTRACE_EVENT_STOP;
}

/* A stop that was not the call's has been taken in. */
bool inject_again(struct lwp *l)
{
	struct inject *i = l->inject;

	if (!i)
		return false;
	if (i->phase == PHASE_REJOIN) {
		tell(l);
		return l->inject;
	}
	if (i->phase == PHASE_ENTER && !inside_a_call(l))
		enter(l);
	else if (i->phase == PHASE_ENTER)
		let_on(l);
	else
		step_on(l, 0);
	return true;
}

bool inject_told(struct lwp *l, int sig)
{
	if (sig != l->requeued)
		return false;
	l->requeued = 0;
	l->sig = sig;
	l->sig_reported = true;
	return true;
}

/* --- broken off --------------------------------------------------------------------- */

void inject_abort(struct victim *v)
{
	for (struct lwp *l = v->lwps; l && v->ninject; l = l->next) {
		if (!l->inject || l->inject->aborted)
			continue;
		l->inject->aborted = true;
		if (l->state == LWP_RUNNING && l->inject->phase != PHASE_REJOIN)
			trace_interrupt(l);
	}
}

void inject_forget(struct lwp *l)
{
	if (!l->inject)
		return;
	l->inject->err = -ESRCH;
	tell(l);
}

static bool zombie(const struct lwp *l, uint64_t now)
{
	char st;

	if (!l->inject || l->state != LWP_RUNNING || now - l->inject->begun < ZOMBIE_NS)
		return false;
	st = lwp_proc_state(l->v->pid, l->tid);
	return st == 'Z' || st == 'X' || !st;
}

/* A leader that was made to exit(2) reports nothing before the others have ended. */
void inject_tick(struct victim *v, uint64_t now)
{
	for (struct lwp *l = v->lwps; l; l = l->next) {
		if (!zombie(l, now))
			continue;
		l->state = LWP_DYING;
		inject_forget(l);
	}
}
