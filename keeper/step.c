/* SPDX-License-Identifier: MIT */
/*
 * Getting an LWP past a breakpoint.
 *
 * First choice: do to its registers and stack what the instruction would have done; no
 * other LWP notices. Second, and first for a breakpoint that is hit often: execute a
 * copy of it in a slot (slot.c), or, if it is a system call, another such instruction
 * (borrow.c). Last: the trap leaves the text while every other LWP of the victim stands
 * (one that ran by meanwhile would miss the breakpoint), the LWP is single-stepped, the
 * trap returns. One LWP of a victim steps at a time: victim.stepper; the others carry
 * HOLD_STEPPER until it is done.
 *
 * Signals are blocked meanwhile (but for the faults that the instruction itself may
 * raise: the kernel kills a thread whose blocked fault is forced), so that no handler
 * runs in between and the instruction is executed once. Other stops may still come
 * (interrupt, group stop, fork as the instruction): the step is then taken up again.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "keeper/keeper.h"
#include "util/log.h"

enum {
	/* hits after which a slot is worth its page: it needs the PC alone, where
	 * emulation reads and writes all registers and perhaps memory (2 to 4 us more) */
	OFTEN = 64
};

static uint64_t sigbit(int sig)
{
	return 1ull << (sig - 1);
}

/* Every signal but the faults of an instruction. */
uint64_t step_mask(uint64_t mask)
{
	return mask | ~(sigbit(SIGSEGV) | sigbit(SIGBUS) | sigbit(SIGILL) |
			sigbit(SIGFPE) | sigbit(SIGTRAP) | sigbit(SIGSYS));
}

static void block_signals(struct lwp *l, const struct bkpt *b)
{
	if (b->insn.is_syscall || trace_getmask(l, &l->saved_mask))
		return;
	l->masked = !trace_setmask(l, step_mask(l->saved_mask));
}

static void unblock_signals(struct lwp *l)
{
	if (l->masked)
		trace_setmask(l, l->saved_mask);
	l->masked = false;
}

/* True when no other LWP can execute: LISTENING ones do not either, and one that waits
 * for its vfork child cannot. */
static bool others_stand(struct victim *v, struct lwp *l)
{
	for (struct lwp *m = v->lwps; m; m = m->next)
		if (m != l && m->state == LWP_RUNNING && !m->in_vfork)
			return false;
	return true;
}

static void go(struct lwp *l, struct bkpt *b)
{
	arch_regs_t *regs;

	if (lwp_regs(l, &regs))
		return;
	l->step_pc = arch_pc(regs);
	hw_pass(l);
	lwp_flush(l);
	if (b) {
		block_signals(l, b);
		bkpt_write(l->v, b, false);
	}
	l->stepping = true;
	lwp_forget(l);
	l->state = LWP_RUNNING;
	trace_step(l, l->v->client_step ? l->sig : 0);
	if (l->v->client_step)
		l->sig = 0;
}

void step_ready(struct victim *v)
{
	struct lwp *l = v->stepper;

	if (!l || l->stepping || l->state != LWP_STOPPED ||
	    (l->holds & ~(HOLD_STEPPER | HOLD_OWN)))
		return;
	if (!others_stand(v, l))
		return;
	l->holds &= ~HOLD_STEPPER;
	go(l, bkpt_find(v, l->reported));
}

static void begin(struct lwp *l)
{
	struct victim *v = l->v;

	l->holds |= HOLD_STEPPER;
	if (v->stepper)
		return; /* its turn comes when the other is done */
	v->stepper = l;
	for (struct lwp *m = v->lwps; m; m = m->next)
		if (m != l && m->state == LWP_RUNNING && !m->interrupted &&
		    !m->in_vfork) {
			restart_look(m);
			trace_interrupt(m);
		}
	step_ready(v);
}

static bool emulate(struct lwp *l, struct bkpt *b)
{
	struct mem m = bkpt_memory(l->v);
	arch_regs_t *regs;

	if (arch_touches_shadow_stack(&b->insn) && trace_has_shadow_stack(l))
		return false;
	if (lwp_regs(l, &regs) || arch_emulate(&b->insn, regs, &m))
		return false;
	l->regs_dirty = true;
	l->reported = 0;
	return true;
}

void step_over(struct lwp *l, struct bkpt *b)
{
	if (b->insn.kind == ARCH_INSN_NOP) {
		lwp_set_pc(l, b->addr + b->insn.len);
		l->reported = 0;
		return; /* the caller resumes it */
	}
	if (b->often >= OFTEN && slot_enter(l, b))
		return;
	b->often += b->often < OFTEN;
	if (emulate(l, b) || slot_enter(l, b) || borrow_enter(l, b))
		return;
	begin(l);
}

void step_client(struct lwp *l, int sig)
{
	struct victim *v = l->v;
	arch_regs_t *regs;
	struct bkpt *b;

	if (lwp_regs(l, &regs))
		return;
	b = bkpt_find(v, arch_pc(regs));
	l->sig = sig;
	v->client_step = true;
	v->stepper = l;
	go(l, b && b->in_text ? b : NULL);
}

/* The step is over, or broken off: text and mask as they were. */
static void restore(struct lwp *l)
{
	struct bkpt *b = bkpt_find(l->v, l->step_pc);

	unblock_signals(l);
	l->stepping = false;
	if (b && !b->dead && !b->in_text && !b->hw && !b->up && bkpt_plantable(l->v))
		bkpt_write(l->v, b, true);
}

/* Those who wait at a breakpoint of their own: while all stand, the next one steps at
 * once. */
static bool next_stepper(struct victim *v)
{
	for (struct lwp *m = v->lwps; m; m = m->next) {
		if (!(m->holds & HOLD_STEPPER) || !m->reported)
			continue;
		m->holds &= ~HOLD_STEPPER;
		stops_resume(m);
		if (v->stepper)
			return true;
	}
	return false;
}

/* Lets those go who waited. One that is resumed may come to a step in its turn (an
 * unseen hit of a stopped LWP): the rest then wait on. */
static void release_others(struct victim *v)
{
	struct lwp *next;

	v->stepper = NULL;
	v->client_step = false;
	if (next_stepper(v))
		return;
	for (struct lwp *m = v->lwps; m && !v->stepper; m = next) {
		next = m->next;
		if (!(m->holds & HOLD_STEPPER))
			continue;
		m->holds &= ~HOLD_STEPPER;
		stops_resume(m);
	}
}

static void finish(struct lwp *l)
{
	struct victim *v = l->v;
	bool client = v->client_step;

	restore(l);
	l->reported = 0;
	if (client) {
		v->stepper = NULL;
		v->client_step = false;
		victim_stop(v, KP_WHY_STEP, SIGTRAP, l->tid, 0);
		return;
	}
	release_others(v);
}

/* A SIGTRAP of the single step, not of a trap instruction, not sent by anybody. */
static bool step_done(struct lwp *l)
{
	siginfo_t si;

	return !trace_siginfo(l, &si) &&
	       (si.si_code == TRAP_TRACE || si.si_code == TRAP_BRKPT);
}

/* A repeated instruction stops after each of its turns, the PC on itself: it is one
 * execution, and one hit. */
static bool half_done(struct lwp *l)
{
	struct bkpt *b = l->v->client_step ? NULL : bkpt_find(l->v, l->step_pc);
	uint64_t pc;

	return b && b->insn.is_rep && !lwp_pc(l, &pc) && pc == l->step_pc;
}

bool step_trap(struct lwp *l, int sig)
{
	bool done = sig == SIGTRAP && (l->stepping || l->swallow_trace) && step_done(l);

	if (!l->stepping) {
		if (done)
			l->swallow_trace = false;
		return done;
	}
	if (done && half_done(l)) {
		lwp_forget(l);
		l->state = LWP_RUNNING;
		trace_step(l, 0);
		return true;
	}
	finish(l); /* also when the instruction raised a fault: that is delivered */
	return done;
}

bool step_again(struct lwp *l)
{
	arch_regs_t *regs;

	if (!l->stepping)
		return false;
	if (l->group) {
		l->swallow_trace = !lwp_regs(l, &regs) && arch_pc(regs) != l->step_pc;
		restore(l);
		if (!l->v->client_step)
			release_others(l->v);
		return false;
	}
	lwp_forget(l);
	l->state = LWP_RUNNING;
	trace_step(l, 0);
	return true;
}

void step_abandon(struct lwp *l)
{
	if (l->v->stepper != l)
		return;
	if (l->stepping)
		restore(l);
	release_others(l->v);
}
