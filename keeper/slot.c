/* SPDX-License-Identifier: MIT */
/*
 * Getting past a breakpoint through a slot: a copy of the instruction elsewhere in the
 * victim, followed by a jump back behind the original. The trap stays in the text and no
 * other LWP notices.
 *
 * Slots live in pages that the victim maps for us (inject.c, by the LWP that has come to
 * the breakpoint first), readable and executable, written through /proc/PID/mem, not
 * inherited by forked children, and unmapped at a release, when every LWP stands. A page
 * is placed by a hint, since a RIP-relative operand reaches two gigabytes; the
 * kernel chooses another place if that one is taken, and we ask again elsewhere if it is
 * too far.
 *
 * Invariant: an LWP that stands never has its PC in a slot, but between slot_take_in()'s
 * verdict DEFERRED and the end of that one step. So registers that a client reads, a
 * detach, a signal frame and a slot's reuse need no thought of slots. Whatever stops an
 * LWP there, its PC is moved: before the copied instruction back onto the breakpoint (and
 * it owes no second hit, lwp.reported), behind it onto what follows.
 *
 * A signal that arrives before the copied instruction has been executed would have its
 * handler return onto the breakpoint, a hit that never was. So the signal waits: the LWP
 * is stepped over the instruction with signals blocked, then the signal is delivered with
 * its own siginfo. Where a step is not the whole instruction (rep) or has no end of its
 * own (a system call), the hit that the handler's return makes is passed over instead,
 * known by address and stack pointer (lwp.passed).
 *
 * A fault of the copied instruction is the program's: PC and si_addr are moved back. An
 * instruction that is executed again after a handler has mended its fault is hit again,
 * as it would be under a hardware breakpoint.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "keeper/keeper.h"
#include "util/log.h"

enum {
	PAGE = 4096,
	SLOT = 32, /* bytes; ARCH_SLOT_MAX fits */
	NSLOTS = PAGE / SLOT,
};

_Static_assert((int)ARCH_SLOT_MAX <= (int)SLOT,
	       "a slot holds a copied instruction and a jump");

/* One slot. */
struct slot {
	uint64_t owner;        /* address of its breakpoint; 0: free */
	struct arch_insn insn; /* what has been copied */
};

/* One page of slots in a victim. */
struct slot_page {
	struct slot_page *next; /* of the victim */
	uint64_t addr;          /* in the victim */
	struct slot slot[NSLOTS];
};

/* --- pages ------------------------------------------------------------------------- */

static struct slot_page *page_of(const struct victim *v, uint64_t pc)
{
	struct slot_page *p = v->slots;

	while (p && pc - p->addr >= PAGE)
		p = p->next;
	return p;
}

void slots_forget(struct victim *v)
{
	struct slot_page *p;

	while ((p = v->slots)) {
		v->slots = p->next;
		free(p);
	}
}

/* Every LWP stands, so none is in a slot: those of removed breakpoints are free. */
void slots_bury(struct victim *v)
{
	for (struct slot_page *p = v->slots; p; p = p->next)
		for (size_t i = 0; i < NSLOTS; i++) {
			struct bkpt *b =
				p->slot[i].owner ? bkpt_find(v, p->slot[i].owner) : NULL;

			if (!b || b->slot != p->addr + i * SLOT)
				p->slot[i].owner = 0;
		}
}

static bool fill(struct victim *v, struct slot_page *p, size_t i, struct bkpt *b)
{
	uint64_t at = p->addr + i * SLOT;
	uint8_t bytes[ARCH_SLOT_MAX];
	size_t len;

	if (arch_relocate(&b->insn, b->addr, at, bytes, &len) ||
	    bkpt_write_bytes(v, at, bytes, len))
		return false;
	p->slot[i].owner = b->addr;
	p->slot[i].insn = b->insn;
	b->slot = at;
	log_at(LOG_KEEP, 2, v->pid, 0, "slot 0x%llx for 0x%llx", (unsigned long long)at,
	       (unsigned long long)b->addr);
	return true;
}

/* A slot for b in the pages that there are. */
static bool find_room(struct victim *v, struct bkpt *b)
{
	for (struct slot_page *p = v->slots; p; p = p->next) {
		size_t i = 0;

		while (i < NSLOTS && p->slot[i].owner)
			i++;
		if (i < NSLOTS && fill(v, p, i, b))
			return true; /* else it is too far: another page */
	}
	return false;
}

/* --- mapping a page ---------------------------------------------------------------- */

/* Below the object first: above it a heap may want to grow. */
static uint64_t hint(uint64_t addr, unsigned attempt)
{
	static const int64_t away[] = { -(1ll << 24), -(1ll << 28), -(1ll << 30),
					1ll << 28, 1ll << 30 };
	uint64_t at = addr + (uint64_t)away[attempt];

	return at & ~(uint64_t)(PAGE - 1);
}

enum {
	NHINTS = 5
};

/* The page is there, or will not be. `maker` is settled by whoever calls. */
static void wake_waiting(struct lwp *maker)
{
	struct victim *v = maker->v;
	struct lwp *next;

	v->slot_maker = NULL;
	maker->holds &= ~HOLD_SLOT;
	for (struct lwp *l = v->lwps; l; l = next) {
		next = l->next;
		if (!(l->holds & HOLD_SLOT))
			continue;
		l->holds &= ~HOLD_SLOT;
		if (l->state == LWP_STOPPED)
			stops_settle(l);
	}
}

static void refuse(struct lwp *l, const char *why)
{
	struct bkpt *b = bkpt_find(l->v, l->reported);

	log_at(LOG_KEEP, 1, l->v->pid, l->tid, "no slot: %s", why);
	if (b)
		b->no_slot = true;
	wake_waiting(l);
}

static void try_map(struct lwp *l);

static void unmapped_far(struct lwp *l, int err, int64_t ret)
{
	(void)ret;
	if (err != -ESRCH)
		try_map(l);
}

static void marked(struct lwp *l, int err, int64_t ret)
{
	(void)ret; /* without it a forked child merely has one page more */
	if (err != -ESRCH)
		wake_waiting(l);
}

static bool in_reach(const struct bkpt *b, uint64_t page)
{
	uint8_t bytes[ARCH_SLOT_MAX];
	size_t len;

	return !arch_relocate(&b->insn, b->addr, page, bytes, &len) &&
	       !arch_relocate(&b->insn, b->addr, page + PAGE - SLOT, bytes, &len);
}

static void mapped(struct lwp *l, int err, int64_t ret)
{
	struct victim *v = l->v;
	struct bkpt *b = bkpt_find(v, l->reported);
	uint64_t args[6] = { (uint64_t)ret, PAGE, MADV_DONTFORK };
	struct slot_page *p;

	if (err == -ESRCH)
		return; /* slot_abandon() follows */
	if (err || ret < 0 || !b) {
		refuse(l, "the victim cannot map a page");
		return;
	}
	p = in_reach(b, (uint64_t)ret) ? calloc(1, sizeof(*p)) : NULL;
	if (!p) {
		if (inject_begin(l, v->syscall_insn, SYS_munmap, args, unmapped_far))
			refuse(l, "no room within reach");
		return;
	}
	p->addr = (uint64_t)ret;
	p->next = v->slots;
	v->slots = p;
	if (inject_begin(l, v->syscall_insn, SYS_madvise, args, marked))
		wake_waiting(l);
}

static void try_map(struct lwp *l)
{
	struct victim *v = l->v;
	uint64_t args[6] = {
		0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1,
		0
	};

	if (v->slot_attempt >= NHINTS) {
		refuse(l, "no room within reach");
		return;
	}
	args[0] = hint(l->reported, v->slot_attempt++);
	if (inject_begin(l, v->syscall_insn, SYS_mmap, args, mapped))
		refuse(l, "the call cannot be made");
}

/* l stands at a breakpoint that needs a page: it maps one, the others that need one
 * wait. */
static bool map_page(struct lwp *l)
{
	struct victim *v = l->v;

	if (!v->syscall_insn || !inject_allowed(l) ||
	    bkpt_find(v, v->syscall_insn)) /* would be a hit */
		return false;
	l->holds |= HOLD_SLOT;
	if (v->slot_maker)
		return true;
	v->slot_maker = l;
	v->slot_attempt = 0;
	try_map(l);
	return l->holds & HOLD_SLOT;
}

void slot_abandon(struct lwp *l)
{
	if (l->v->slot_maker == l)
		wake_waiting(l);
}

/* --- in and out -------------------------------------------------------------------- */

bool slot_enter(struct lwp *l, struct bkpt *b)
{
	struct victim *v = l->v;

	if (!b->insn.may_move || b->no_slot || l->sig)
		return false;
	if (!b->slot && !find_room(v, b))
		return map_page(l);
	lwp_set_pc(l, b->slot);
	l->reported = 0;
	return true;
}

/* The CPU names the instruction as the place of some faults. */
static void mend_siginfo(struct lwp *l, uint64_t slot, uint64_t addr)
{
	siginfo_t si;

	if (trace_siginfo(l, &si) || si.si_code <= 0 ||
	    (uint64_t)(uintptr_t)si.si_addr != slot)
		return;
	si.si_addr = (void *)(uintptr_t)addr;
	trace_setinfo(l, &si);
}

/* The signal waits until the copied instruction has been executed. */
static bool defer(struct lwp *l, int sig)
{
	if (trace_siginfo(l, &l->deferred_info) || trace_getmask(l, &l->saved_mask) ||
	    trace_setmask(l, step_mask(l->saved_mask)))
		return false;
	l->masked = true;
	l->deferred = sig;
	lwp_forget(l);
	l->state = LWP_RUNNING;
	trace_step(l, 0);
	return true;
}

/* Moves a standing LWP's PC out of the slot. */
static void leave(struct lwp *l, const struct slot *s, uint64_t at, int sig)
{
	uint64_t pc = 0, to;
	bool before;

	if (lwp_pc(l, &pc) || arch_slot_pc(&s->insn, s->owner, at, pc, &to))
		return;
	before = pc == at;
	lwp_set_pc(l, to);
	if (!before)
		return;
	if (!sig)
		l->reported = s->owner;
	else if (s->insn.is_rep || l->deferred)
		slot_pass(l, s->owner);
	if (sig)
		mend_siginfo(l, at, to);
}

static uint64_t stack_of(struct lwp *l)
{
	arch_regs_t *regs;

	return lwp_regs(l, &regs) ? 0 : arch_reg_get(regs, arch_native->reg_sp);
}

void slot_pass(struct lwp *l, uint64_t addr)
{
	l->passed = addr;
	l->passed_sp = stack_of(l);
}

bool slot_passes(struct lwp *l, uint64_t addr)
{
	bool yes = l->passed && l->passed == addr && l->passed_sp == stack_of(l);

	if (yes)
		l->passed = 0;
	return yes;
}

/* Not a fault of the instruction. (si_code tells nothing of other signals: the kernel
 * sends SIGCHLD and SIGALRM with a positive one.) */
static bool was_sent(struct lwp *l, int sig)
{
	bool may = sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE ||
		   sig == SIGTRAP || sig == SIGSYS;
	siginfo_t si;

	return !may || trace_siginfo(l, &si) ||
	       (si.si_code <= 0 && si.si_signo != SIGTRAP);
}

/* The deferred signal is what l stops on now. */
static void deliver_deferred(struct lwp *l)
{
	l->pending = LWP_PEND_SIGNAL;
	l->sig = l->deferred;
	l->sig_reported = false;
	trace_setinfo(l, &l->deferred_info);
	l->deferred = 0;
}

static void unmask(struct lwp *l)
{
	if (l->masked)
		trace_setmask(l, l->saved_mask);
	l->masked = false;
}

/* A stop in the step over the copied instruction. A fault of it is not delivered: it
 * comes again, after the signal, which was there first. */
static enum slot_verdict step_ended(struct lwp *l, int sig)
{
	if (!sig) {
		l->deferred_group |= l->group;
		lwp_forget(l);
		l->state = LWP_RUNNING;
		trace_step(l, 0);
		return SLOT_RUNS;
	}
	unmask(l);
	deliver_deferred(l);
	if (l->deferred_group)
		trace_interrupt(l); /* into the group stop, after the signal */
	l->deferred_group = l->group = false;
	return SLOT_TAKEN;
}

enum slot_verdict slot_take_in(struct lwp *l, int sig)
{
	const struct slot *s = NULL;
	struct slot_page *p;
	uint64_t at = 0, pc;
	bool stepped = l->deferred;

	if (!l->v->slots || lwp_pc(l, &pc))
		return SLOT_STANDS;
	p = page_of(l->v, pc);
	if (p) {
		at = pc - (pc - p->addr) % SLOT;
		s = &p->slot[(pc - p->addr) / SLOT];
	}
	if (stepped && !sig)
		return step_ended(l, 0);
	if (s && !stepped && sig && pc == at && !s->insn.is_rep && was_sent(l, sig) &&
	    defer(l, sig))
		return SLOT_RUNS;
	if (s)
		leave(l, s, at, sig);
	return stepped ? step_ended(l, sig) : SLOT_STANDS;
}

/* --- the end ----------------------------------------------------------------------- */

static void page_gone(struct lwp *l, int err, int64_t ret)
{
	(void)l, (void)err, (void)ret; /* it is settled, and so the release goes on */
}

/* Every LWP stands, so none is in a slot. One in a group stop is not let out of it. */
bool slots_unmap(struct victim *v)
{
	struct slot_page *p = v->slots;
	uint64_t args[6] = { p ? p->addr : 0, PAGE };

	for (struct lwp *l = v->lwps; p && l; l = l->next) {
		if (l->state != LWP_STOPPED || l->group ||
		    inject_begin(l, v->syscall_insn, SYS_munmap, args, page_gone))
			continue;
		v->slots = p->next;
		free(p);
		return true;
	}
	slots_forget(v);
	return false;
}
