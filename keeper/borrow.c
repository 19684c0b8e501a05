/* SPDX-License-Identifier: MIT */
/*
 * Getting past a breakpoint on a system call: by another such instruction of the victim.
 *
 * In a slot the program would see where it came from (the kernel leaves the address
 * behind the instruction in a register), a forked child would begin its life in the slot,
 * and a step over one that sleeps would hold up the others. So the LWP enters the kernel
 * by any other system call instruction, is stopped once at the entry (PTRACE_SYSCALL),
 * and told there where it should have come from. From then on nothing is special: it may
 * sleep, fork, exec or exit, its child returns to the right place, and a restart by the
 * kernel comes back to the breakpoint.
 *
 * Such a restart is a hit like any other, as it would be under a hardware breakpoint;
 * one without a handler of the program's in between is not (slot_pass()): we have caused
 * it, by an interrupt, or by being there at all: an ignored signal wakes the sleepers of
 * a traced process, and a signal for the process one that then finds it taken by another.
 * The latter shows at the exit of the call only, which is reported for that.
 */
#include "keeper/keeper.h"
#include "os/procfs.h"

enum {
	SYSCALL_LEN = 2 /* of kind SYSCALL: x86-64's `syscall` */
};

bool borrow_enter(struct lwp *l, struct bkpt *b)
{
	struct victim *v = l->v;

	if (b->insn.kind != ARCH_INSN_SYSCALL || !v->syscall_insn || l->sig ||
	    bkpt_find(v, v->syscall_insn))
		return false;
	lwp_set_pc(l, v->syscall_insn);
	l->borrows = BORROW_ENTERS;
	l->syscall_at = b->addr;
	l->syscall_next = b->addr + b->insn.len;
	l->reported = 0;
	return true;
}

static void enter(struct lwp *l, arch_regs_t *regs)
{
	l->borrows = BORROW_INSIDE;
	arch_syscall_entered(regs, l->syscall_next);
	l->regs_dirty = true;
}

void borrow_syscall(struct lwp *l)
{
	arch_regs_t *regs;

	if (!l->borrows || lwp_regs(l, &regs))
		return;
	if (l->borrows == BORROW_ENTERS) {
		enter(l, regs);
		return;
	}
	l->borrows = BORROW_NONE;
	if (arch_syscall_restarts(regs))
		slot_pass(l, l->syscall_at);
}

void borrow_broken(struct lwp *l, int sig)
{
	enum borrowing was = l->borrows;
	arch_regs_t *regs;

	l->borrows = BORROW_NONE;
	if (was != BORROW_ENTERS || lwp_regs(l, &regs))
		return;
	lwp_set_pc(l, l->syscall_at);
	if (sig)
		slot_pass(l, l->syscall_at);
	else
		l->reported = l->syscall_at;
}

/* A signal that the program handles: whether the call is made again is then its own
 * affair. */
static bool handles(const struct lwp *l, int sig)
{
	struct procfs_status st;

	return sig &&
	       (procfs_status(l->v->pid, l->tid, &st) || (st.sigcgt & 1ull << (sig - 1)));
}

void borrow_restarts(struct lwp *l, int sig)
{
	struct victim *v = l->v;
	arch_regs_t *regs;
	struct bkpt *b;
	uint64_t pc;

	if (!v->nbkpts || lwp_pc(l, &pc))
		return;
	b = bkpt_find(v, pc - SYSCALL_LEN);
	if (!b || b->insn.kind != ARCH_INSN_SYSCALL || lwp_regs(l, &regs) ||
	    !arch_syscall_restarts(regs))
		return;
	if (!handles(l, sig))
		slot_pass(l, b->addr);
	else if (l->passed == b->addr)
		l->passed = 0;
}
