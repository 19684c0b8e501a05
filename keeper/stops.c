/* SPDX-License-Identifier: MIT */
/*
 * Reacting to what wait(2) said of one LWP.
 *
 * A stop is first *taken in* (react): bookkeeping that cannot wait is done (births,
 * exec, PC moved back from behind a trap), and what the client may want to know of is
 * noted in the LWP as pending. Then it is *settled*: while the victim is being stopped
 * the LWP just stays stopped, its pending matter with it, so that two LWPs at
 * breakpoints at once lose nothing; else stops_resume() looks at what is pending, asks
 * or tells the client, and resumes the LWP unless something holds it. So every stop is
 * acted upon exactly once, at a resume.
 *
 * A victim may be killed at every line: any ptrace request may then answer -ESRCH. That
 * is never an error here: the end of the LWP is on its way through wait(2), and react()
 * will see it.
 */
#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "os/procfs.h"
#include "util/log.h"

static bool stop_signal(int sig)
{
	return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

static void tell(struct lwp *l, int kind, unsigned want, int sig)
{
	struct kp_event ev;

	if (want && !(l->v->want & want))
		return;
	ev = event_make(l->v, l, kind);
	ev.sig = sig;
	event_send(l->v, &ev);
}

/* --- ends -------------------------------------------------------------------------- */

static void victim_ended(struct victim *v, pid_t tid, int status)
{
	struct kp_event ev = event_make(v, NULL, KP_EV_EXIT);

	if (v->ended)
		return;
	v->ended = true;
	capture_ended(v);
	ev.tid = tid;
	ev.status = status;
	log_at(LOG_KEEP, 1, v->pid, tid, "ended, status 0x%x", (unsigned)status);
	follow_ghost(v);
	share_drop_all(v);
	bkpt_forget_all(v);
	while (v->lwps)
		lwp_free(v->lwps);
	if (v->phase == V_ATTACHING)
		attach_fail(v, -ESRCH, v->creating ? "it ended before exec" : "");
	else if (v->phase == V_HELD)
		event_send(v, &ev);
	else
		release_gone(v);
}

/* The leader had been a zombie when we came: its end is not ours to wait for. */
static void last_member_ended(struct victim *v, int status)
{
	struct procfs_stat st;

	if (!procfs_stat(v->pid, 0, &st) && st.state == 'Z')
		status = (int)st.exit_code;
	victim_ended(v, v->pid, status);
}

/* It may have been the one that an all-stop, or a step, was waiting for. */
static void one_less(struct victim *v)
{
	victim_check_stopped(v);
	step_ready(v);
}

static void ended(struct lwp *l, int status)
{
	struct victim *v = l->v;
	pid_t tid = l->tid;
	bool member = l->role == LWP_MEMBER;

	if (l->in_vfork && v->vforks && --v->vforks == 0)
		bkpt_plant_all(v);
	share_end(l);
	lwpctl_gone(l);
	if (member && tid != v->pid)
		tell(l, KP_EV_THREAD_EXIT, KP_WANT_THREADS, 0);
	lwp_free(l);
	if (!member)
		return;
	if (tid == v->pid)
		victim_ended(v, tid, status);
	else if (!v->nlwps && v->phase == V_RELEASING)
		release_gone(v); /* the others were detached: they may well live */
	else if (!v->nlwps && v->phase == V_ATTACHING)
		v->seized = false; /* others may be left, or one that has exec'd */
	else if (!v->nlwps)
		last_member_ended(v, status);
	else
		one_less(v);
}

/* --- births ------------------------------------------------------------------------ */

static bool thread_of(pid_t pid, pid_t tid)
{
	return syscall(SYS_tgkill, pid, tid, 0) == 0;
}

static void claim_first_stop(struct lwp *l)
{
	struct wait_event ev;

	if (wait_claim(l->tid, &ev))
		stops_react(l, ev.status);
}

static void thread_born(struct lwp *parent, pid_t tid)
{
	struct lwp *l = lwp_find(tid);

	if (!l)
		l = lwp_new(parent->v, tid, LWP_MEMBER);
	if (!l)
		return;
	l->hw_fresh = HW_LOOKS;
	tell(l, KP_EV_THREAD_START, KP_WANT_THREADS, 0);
	claim_first_stop(l);
}

/* It has ended, and its end was waited for before its birth was told: nothing more will
 * come. */
static bool gone_already(pid_t tid)
{
	return syscall(SYS_tgkill, tid, tid, 0) < 0 && errno == ESRCH;
}

static void process_born(struct lwp *parent, pid_t tid, int event)
{
	struct victim *v = parent->v;
	struct kp_event ev = event_make(v, parent, KP_EV_FORK);
	bool ours = !gone_already(tid) && !follow_has_left(tid);
	struct lwp *l = ours ? lwp_new(v, tid, LWP_CHILD) : NULL;

	if (event == PTRACE_EVENT_VFORK) {
		parent->in_vfork = true;
		if (v->vforks++ == 0)
			bkpt_lift_all(v);
	}
	ev.child = tid;
	ev.what = event;
	/* Now, and not at its first stop: the victim may be let go, exec or end before
	 * that, and with it goes the list of what is to be cleaned. It has not executed
	 * anything yet. */
	if (l) {
		l->shares = share_same(parent->tid, tid, event);
		l->forked_copy = !l->shares && bkpt_clean_child(v, tid);
		if (l->shares && event != PTRACE_EVENT_VFORK)
			share_begin(l);
	}
	if (!(l && !l->sharer && follow_ask(l, &ev)) && (v->want & KP_WANT_FORKS))
		event_send(v, &ev);
	if (l)
		claim_first_stop(l);
}

/* A thread that is gone again: its two events are told all the same. */
static void thread_was(struct lwp *parent, pid_t tid)
{
	struct lwp ghost = { .v = parent->v, .tid = tid };

	tell(&ghost, KP_EV_THREAD_START, KP_WANT_THREADS, 0);
	tell(&ghost, KP_EV_THREAD_EXIT, KP_WANT_THREADS, 0);
}

static void on_birth(struct lwp *l, int event)
{
	unsigned long tid;

	if (trace_message(l, &tid))
		return;
	if (event == PTRACE_EVENT_CLONE && thread_of(l->v->pid, (pid_t)tid))
		thread_born(l, (pid_t)tid);
	else if (event == PTRACE_EVENT_CLONE && gone_already((pid_t)tid))
		thread_was(l, (pid_t)tid);
	else
		process_born(l, (pid_t)tid, event);
}

static void on_vfork_done(struct lwp *l)
{
	struct victim *v = l->v;

	if (!l->in_vfork)
		return;
	l->in_vfork = false;
	if (v->vforks && --v->vforks == 0)
		bkpt_plant_all(v);
}

/* --- exec -------------------------------------------------------------------------- */

/* The other threads are gone, and with them whatever they were about to tell. */
static void drop_others(struct lwp *l)
{
	struct lwp *next;

	for (struct lwp *m = l->v->lwps; m; m = next) {
		next = m->next;
		if (m == l)
			continue;
		lwpctl_gone(m);
		lwp_free(m);
	}
}

static void on_exec(struct lwp *l)
{
	struct victim *v = l->v;
	unsigned long former = 0;
	struct kp_event ev;

	trace_message(l, &former);
	step_abandon(l);
	drop_others(l);
	event_answered(l);
	share_drop_all(v);
	capture_exec(v);
	l->in_vfork = l->group = false;
	l->reported = 0;
	v->vforks = 0;
	v->lifted = v->borrows = false;
	bkpt_forget_all(v);
	v->syscall_insn = 0;
	if (v->creating) {
		v->creating = false;
		victim_stop(v, KP_WHY_EXEC, 0, l->tid, 0);
		return;
	}
	ev = event_make(v, l, KP_EV_EXEC);
	ev.child = (int32_t)former;
	event_ask(l, &ev);
}

/* --- group stops, interrupts ------------------------------------------------------- */

/*
 * An interrupt is reported before a signal that is pending (get_signal() looks at jobctl
 * first, measured on 6.18): the LWP may have executed our trap, its SIGTRAP still
 * queued and its PC behind the trap. Lifting the trap or detaching now would kill the
 * victim later, so such an LWP does not count as standing: it is let go on to report
 * its SIGTRAP.
 */
static bool trap_on_its_way(struct lwp *l)
{
	uint64_t pc;

	if (!l->v->nbkpts || lwp_pc(l, &pc))
		return false;
	if (!bkpt_find(l->v, pc - arch_native->trap_pc_adjust))
		return false;
	return trace_has_pending(l, SIGTRAP);
}

void stops_note_group(struct lwp *l, int sig)
{
	struct victim *v = l->v;
	bool was = l->group;

	l->group = stop_signal(sig);
	if (l->group && !v->outstop) {
		v->outstop = sig;
		if (v->phase == V_HELD)
			tell(l, KP_EV_OUTSTOP, 0, sig);
	} else if (was && !l->group && v->outstop) {
		v->outstop = 0;
		if (v->phase == V_HELD)
			tell(l, KP_EV_CONTINUE, 0, SIGCONT);
	}
	/* EXITKILL is off during an outside stop: it must survive our own death too. */
	if (v->klc && was != l->group)
		trace_options(l, trace_base_options(v));
}

static void on_stop(struct lwp *l, int sig)
{
	if (!l->born) {
		hw_born(l);
		up_born(l);
	}
	l->born = true;
	if (!stop_signal(sig) && trap_on_its_way(l)) {
		stops_note_group(l, sig);
		l->state = LWP_RUNNING;
		trace_cont(l, 0);
		return;
	}
	stops_note_group(l, sig);
}

/* --- signals and traps ------------------------------------------------------------- */

/* True when the SIGTRAP that l stopped on is of a trap of ours, now or lately: the PC
 * is then back on it. One that was removed while the hit was on its way is told by its
 * tombstone, unless the program has a trap of its own there. */
static bool trap_is_ours(struct lwp *l)
{
	const struct arch *a = arch_native;
	siginfo_t si;
	struct bkpt *b;
	uint64_t addr;

	if (!l->v->nbkpts || lwp_pc(l, &addr))
		return false;
	addr -= a->trap_pc_adjust;
	b = bkpt_find(l->v, addr);
	if (!b || trace_siginfo(l, &si) || si.si_code <= 0 ||
	    (b->dead && b->insn.bytes[0] == a->trap[0]))
		return false;
	lwp_set_pc(l, addr);
	if (hw_passing(l, addr)) {
		l->reported = addr;
		return true;
	}
	l->pend_pc = addr;
	l->pending = LWP_PEND_BKPT;
	return true;
}

static void on_signal(struct lwp *l, int sig)
{
	if (up_signal(l, sig) || hw_signal(l, sig) || step_trap(l, sig))
		return;
	if (sig == SIGTRAP && trap_is_ours(l))
		return;
	if (inject_told(l, sig))
		return;
	l->pending = LWP_PEND_SIGNAL;
	l->sig = sig;
	l->sig_reported = false;
}

static bool cpu_fault(struct lwp *l, int sig)
{
	siginfo_t si;
	bool may = sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE ||
		   sig == SIGTRAP;

	return may && !trace_siginfo(l, &si) && si.si_code > 0;
}

static void act_on_signal(struct lwp *l)
{
	struct victim *v = l->v;
	int sig = l->sig;
	bool traced = v->stop_mask & (1ull << (sig - 1));

	l->pending = LWP_PEND_NONE;
	if (traced && !l->sig_reported && v->phase == V_HELD) {
		l->sig_reported = true;
		victim_stop(v, cpu_fault(l, sig) ? KP_WHY_FAULTED : KP_WHY_SIGNALLED, sig,
			    l->tid, 0);
		return;
	}
	tell(l, KP_EV_SIGNAL, KP_WANT_SIGNALS, sig);
}

static void act_on_hit(struct lwp *l)
{
	struct victim *v = l->v;
	struct bkpt *b = bkpt_find(v, l->pend_pc);
	bool behind = l->pend_behind;
	struct kp_event ev;
	uint64_t pc;

	if (b && b->records && !b->dead && v->phase == V_HELD && record_waits(l))
		return;
	l->pending = l->pend_next;
	l->pend_next = LWP_PEND_NONE;
	l->pend_behind = false;
	if (!b || b->dead || v->phase != V_HELD || lwp_pc(l, &pc) ||
	    (pc != l->pend_pc && !behind))
		return;
	l->reported = behind ? 0 : b->addr;
	if (!behind && slot_passes(l, b->addr))
		return;
	log_at(LOG_KEEP, 3, v->pid, l->tid, "hit 0x%llx", (unsigned long long)b->addr);
	if (b->counts || b->records)
		__atomic_fetch_add(&v->counters[b->counter], 1, __ATOMIC_RELAXED);
	if (b->records)
		record_hit(l, b);
	if (b->counts) {
		K.hit = true;
		return;
	}
	if (b->stop) {
		victim_stop(v, KP_WHY_FAULTED, SIGTRAP, l->tid, b->addr);
		return;
	}
	ev = event_make(v, l, KP_EV_BKPT);
	ev.addr = b->addr;
	event_ask(l, &ev);
}

void stops_set_signal(struct lwp *l, int sig)
{
	bool at_delivery = !l->stop_event;

	if (l->pending == LWP_PEND_SIGNAL)
		l->pending = LWP_PEND_NONE;
	/* only the stop of a signal's delivery takes another with the restart
	 * (ptrace(2)) */
	l->sig = at_delivery ? sig : 0;
	l->sig_reported = sig;
	if (sig && !at_delivery)
		syscall(SYS_tgkill, l->v->pid, l->tid, sig);
}

/* --- settle and resume ------------------------------------------------------------- */

static void resume_now(struct lwp *l)
{
	int sig = l->sig;

	restart_resume(l, sig);
	lwp_flush(l);
	capture_resumed(l);
	if (!l->stop_event && sig != l->requeued)
		l->requeued = 0;
	l->sig = 0;
	l->reported = 0;
	lwp_forget(l);
	l->state = LWP_RUNNING;
	if (l->borrows || l->again_at)
		trace_syscall(l);
	else
		trace_cont(l, sig);
}

void stops_resume(struct lwp *l)
{
	struct bkpt *b;
	uint64_t pc;

	if (l->state != LWP_STOPPED || l->holds)
		return;
	if (l->hw_hits)
		watch_act(l);
	if (l->holds)
		return;
	if (l->pending == LWP_PEND_BKPT)
		act_on_hit(l);
	if (l->pending == LWP_PEND_SIGNAL && !l->holds)
		act_on_signal(l);
	if (l->state != LWP_STOPPED || l->holds)
		return;
	if (l->group) {
		lwp_flush(l);
		capture_resumed(l);
		l->state = LWP_LISTENING;
		trace_listen(l);
		return;
	}
	if (l->reported && !lwp_pc(l, &pc) && pc == l->reported) {
		b = bkpt_find(l->v, l->reported);
		if (b && b->in_text) {
			step_over(l, b);
			if (l->state != LWP_STOPPED || l->holds)
				return;
		}
		hw_pass(l);
	}
	resume_now(l);
}

void stops_settle(struct lwp *l)
{
	struct victim *v = l->v;

	if (release_one(l))
		return;
	lwpctl_stands(l);
	if (v->phase == V_HANGING) {
		if (l->group)
			victim_check_stopped(v);
		else
			stops_resume(l);
	} else if (v->stopping) {
		l->holds |= HOLD_ALLSTOP;
		victim_check_stopped(v);
	} else if (v->stepper && v->stepper != l) {
		l->holds |= HOLD_STEPPER;
		step_ready(v);
	} else {
		stops_resume(l);
	}
}

static void on_event(struct lwp *l, int event, int sig)
{
	switch (event) {
	case PTRACE_EVENT_STOP:
		on_stop(l, sig);
		break;
	case PTRACE_EVENT_CLONE:
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
		on_birth(l, event);
		break;
	case PTRACE_EVENT_VFORK_DONE:
		on_vfork_done(l);
		break;
	case PTRACE_EVENT_EXEC:
		on_exec(l);
		break;
	default:
		break;
	}
}

static void take_in(struct lwp *l, int event, int sig)
{
	enum slot_verdict slot = slot_take_in(l, event ? 0 : sig);
	pid_t tid = l->tid;

	if (slot == SLOT_RUNS)
		return;
	if (l->borrows)
		borrow_broken(l, event ? 0 : sig);
	if (l->again_at)
		restart_undo(l, event ? 0 : sig);
	if (!event || event == PTRACE_EVENT_STOP)
		borrow_restarts(l, event ? 0 : sig);
	if (event)
		on_event(l, event, sig);
	else if (slot == SLOT_STANDS)
		on_signal(l, sig);
	if (lwp_find(tid) == l && l->state == LWP_STOPPED &&
	    (!event || event == PTRACE_EVENT_STOP))
		restart_note(l, event ? 0 : sig);
}

/* A child stops at its birth only; but a sharer goes on being ours, and has children. */
static void child_stopped(struct lwp *l, int event, int sig)
{
	if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK ||
	    event == PTRACE_EVENT_VFORK)
		on_birth(l, event);
	else if (event == PTRACE_EVENT_VFORK_DONE)
		on_vfork_done(l);
	l->sig = event ? 0 : sig;
	if (!share_stop(l, event, sig))
		follow_stands(l);
}

void stops_react(struct lwp *l, int status)
{
	int event = status >> 16;
	pid_t tid = l->tid;

	if (!WIFSTOPPED(status)) {
		ended(l, status);
		return;
	}
	l->state = LWP_STOPPED;
	/* any trap takes a pending interrupt with it (ptrace_stop(), 6.18) */
	l->interrupted = false;
	lwp_forget(l);
	l->stop_event = event ? event : WSTOPSIG(status) & 0x80 ? SIGTRAP | 0x80 : 0;
	if (l->role == LWP_CHILD) {
		child_stopped(l, event, WSTOPSIG(status));
		return;
	}
	if (l->inject && inject_stop(l, event, WSTOPSIG(status)))
		return;
	if (WSTOPSIG(status) == (SIGTRAP | 0x80))
		l->again_at ? restart_entered(l) : borrow_syscall(l);
	else
		take_in(l, event, WSTOPSIG(status));
	if (lwp_find(tid) != l)
		return; /* a release waited for its newborn: it is over */
	if (l->state == LWP_STOPPED)
		hw_stood(l);
	if (l->state == LWP_STOPPED && !inject_again(l) && !step_again(l))
		stops_settle(l);
}
