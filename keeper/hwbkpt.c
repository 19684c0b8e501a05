/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints and watchpoints that the kernel keeps: nothing of ours stands in the text.
 *
 * A trap in the text is deadly once its keeper has been killed. A perf event is closed
 * with its keeper, and its hit is a signal that the thread ignores by default, seen by a
 * tracer alone. So the breakpoints that process control itself needs are set with
 * KP_BKPT_KERNEL: kernel-managed where that can be, else (and until hwready.c says that
 * it can be) traps as any other. Watchpoints are always this.
 *
 * A *slot* is one address watched in a victim, an event (a descriptor) of it stands in
 * every LWP: perf events are a thread's. An LWP gets its events at its first stop, which
 * it reports before its first instruction; they go with it, with an exec, a release. A
 * vfork child shares the memory and has no events: no slot is lifted for it.
 *
 * A hit of a breakpoint stops *before* the instruction with RF set in the flags: resumed,
 * it passes, also when a handler runs in between (6.18 saves and restores RF). The same
 * event, seen through two windows: the signal says "look", the event's counter says how
 * often it was hit. So a hit whose signal was merged with one of somebody else's is not
 * lost, and that one is passed on; one of ours that finds nothing new is dropped.
 *
 * The signal is one that the victim neither handles nor blocks. A thread that blocks it
 * all the same is hit *late*: the PC has left the address. The client is told so (a
 * breakpoint answered by default: it compares whole lists), and another signal is taken;
 * when none is left, the breakpoints become traps. Masks that block everything are looked
 * at again before they are believed: C libraries begin a thread so, and fork so.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "os/perf.h"
#include "os/procfs.h"
#include "util/log.h"

/* Ignored by default, in the order of preference: of a program that handles none of
 * them, the first is the one that nobody sends. SIGCONT is none: it has other effects. */
static const int candidates[] = { SIGURG, SIGWINCH, SIGCHLD };

enum {
	/* An event costs 6 us to arm, 3 to close, 1 at each switch to its thread: beyond
	 * this a trap is the lesser evil. */
	MAX_LWPS = 64,
	LOOK_NS = 20000000, /* between looks */
};

static uint64_t sigbit(int sig)
{
	return 1ull << (sig - 1);
}

/* --- the signal -------------------------------------------------------------------- */

static uint64_t blocked(struct lwp *l)
{
	struct procfs_status st;
	uint64_t mask;

	if (l->masked)
		return l->saved_mask;
	if (l->state == LWP_STOPPED && !trace_getmask(l, &mask))
		return mask;
	return procfs_status(l->v->pid, l->tid, &st) ? 0 : st.sigblk;
}

static uint64_t all_candidates(void)
{
	uint64_t set = 0;

	for (size_t i = 0; i < sizeof(candidates) / sizeof(*candidates); i++)
		set |= sigbit(candidates[i]);
	return set;
}

bool hw_is_signal(int sig)
{
	return all_candidates() & sigbit(sig);
}

static bool deaf(uint64_t mask)
{
	return (mask & all_candidates()) == all_candidates();
}

/* The signals of l that will not do. C libraries block all of them for moments, in fork
 * and around the birth of a thread: in a victim that is to survive us that is not taken
 * for its mask before some looks have found it so. One that dies with us has a trap. */
static uint64_t heeded(struct lwp *l)
{
	uint64_t mask;

	if (l->hw_fresh)
		return 0;
	mask = blocked(l);
	if (!deaf(mask) || l->hw_deaf || traps_will_do(l->v))
		return mask;
	l->hw_fresh = HW_LOOKS;
	return 0;
}

/* An unhandled signal that no LWP blocks and none was late with; 0 none. */
int hw_choose(struct victim *v)
{
	struct procfs_status st;
	uint64_t no = v->hw_late;

	if (!v->lwps || procfs_status(v->pid, v->lwps->tid, &st) ||
	    !hw_may_signal(st.uid))
		return 0;
	no |= st.sigcgt;
	for (struct lwp *l = v->lwps; l; l = l->next)
		no |= heeded(l);
	for (size_t i = 0; i < sizeof(candidates) / sizeof(*candidates); i++)
		if (!(no & sigbit(candidates[i])))
			return candidates[i];
	return 0;
}

static void use_signal(struct victim *v, int sig)
{
	log_at(LOG_KEEP, 2, v->pid, 0, "kernel breakpoints signal by %d", sig);
	v->hw_sig = sig;
	v->hw_sigs |= sigbit(sig);
	for (struct lwp *l = v->lwps; l; l = l->next)
		for (int i = 0; i < HW_MAX; i++)
			if (l->hw[i].fd)
				perf_watch_signal(l->hw[i].fd, sig);
}

/* --- events ------------------------------------------------------------------------ */

static int arm_one(struct lwp *l, int i)
{
	const struct hw_slot *s = &l->v->hw[i];
	struct perf_watch w = { .addr = s->addr, .len = s->len, .access = s->access };
	int fd;

	if (l->hw[i].fd || l->state == LWP_DYING)
		return 0;
	fd = perf_watch_open(l->tid, &w, l->v->hw_sig);
	log_at(LOG_KEEP, 2, l->v->pid, l->tid, "event 0x%llx: %d",
	       (unsigned long long)s->addr, fd);
	if (fd == -ESRCH)
		return 0; /* it has ended */
	if (fd < 0)
		return fd;
	l->hw[i].fd = fd;
	l->hw[i].seen = 0;
	l->hw[i].met = false;
	return 0;
}

/* A hit that has not been looked at yet leaves its signal on the way. */
static void close_one(struct lwp *l, int i)
{
	struct hw_event *e = &l->hw[i];
	uint64_t n;

	if (!e->fd)
		return;
	if (!perf_watch_count(e->fd, &n) && n != e->seen)
		e->stale = e->fd;
	close(e->fd);
	e->fd = 0;
}

void hw_empty(struct victim *v, int i)
{
	for (struct lwp *l = v->lwps; l; l = l->next)
		close_one(l, i);
	memset(&v->hw[i], 0, sizeof(v->hw[i]));
}

static int fill_slot(struct victim *v, int i)
{
	int rc = 0;

	for (struct lwp *l = v->lwps; l && !rc; l = l->next)
		rc = arm_one(l, i);
	if (rc)
		hw_empty(v, i);
	return rc;
}

/* One of the same that is retiring is taken again. */
static int free_slot(const struct victim *v, const struct hw_slot *what)
{
	for (int i = 0; i < HW_MAX; i++)
		if (v->hw[i].retiring && !what->watch && v->hw[i].addr == what->addr &&
		    v->hw[i].access == what->access)
			return i;
	for (int i = 0; i < HW_MAX; i++)
		if (!v->hw[i].access)
			return i;
	return -EBUSY;
}

/* In every LWP, or in none: 0 and the slot in *ret, -EBUSY, -EACCES, -EOPNOTSUPP … */
int hw_take(struct victim *v, const struct hw_slot *what, int *ret_slot)
{
	int i = free_slot(v, what), rc;

	if (i < 0)
		return i;
	if (!v->hw_sig) {
		int sig = hw_choose(v);

		if (!sig && !what->watch)
			return -EOPNOTSUPP;
		v->hw_off |= !sig; /* a watchpoint's hit may come late */
		use_signal(v, sig ? sig : SIGURG);
	}
	v->hw[i] = *what;
	rc = fill_slot(v, i);
	if (!rc)
		*ret_slot = i;
	return rc;
}

/* --- breakpoints ------------------------------------------------------------------- */

static void look_soon(struct victim *v)
{
	bool any = false;

	for (struct lwp *l = v->lwps; l && !any; l = l->next)
		any = l->hw_fresh;
	if (any && !v->hw_look)
		v->hw_look = clock_mono() + LOOK_NS;
}

int hw_arm(struct victim *v, struct bkpt *b)
{
	return hw_ready(v) ? hw_arm_at_once(v, b) : -EOPNOTSUPP;
}

int hw_arm_at_once(struct victim *v, struct bkpt *b)
{
	struct hw_slot s = { .addr = b->addr, .len = 1, .access = PERF_EXEC };
	int rc, i;

	if (!arch_native->resume_flag || v->hw_off)
		return -EOPNOTSUPP;
	if (v->stepper) {
		hw_retry(); /* a step takes a trap for lifted while it is */
		return -EAGAIN;
	}
	rc = v->nlwps > MAX_LWPS ? -E2BIG : hw_take(v, &s, &i);
	log_at(LOG_KEEP, 2, v->pid, 0, "kernel breakpoint 0x%llx: %s",
	       (unsigned long long)b->addr, rc ? strerror(-rc) : "done");
	if (rc)
		v->hw_off = true; /* until the next exec */
	else
		b->hw = (uint8_t)(i + 1);
	look_soon(v);
	return rc;
}

void hw_disarm(struct victim *v, struct bkpt *b)
{
	if (b->hw)
		hw_empty(v, b->hw - 1);
	b->hw = 0;
}

void hw_drop_all(struct victim *v)
{
	for (int i = 0; i < HW_MAX; i++)
		if (v->hw[i].access)
			hw_empty(v, i);
	for (size_t i = 0; i < v->nbkpts; i++)
		v->bkpts[i].hw = 0;
	v->hw_off = false;
	v->hw_sig = 0;
	v->hw_late = v->hw_look = 0;
}

void hw_ended(struct lwp *l)
{
	for (int i = 0; i < HW_MAX; i++)
		if (l->hw[i].fd)
			close(l->hw[i].fd);
}

/* --- from event to trap ------------------------------------------------------------ */

static bool resuming(struct lwp *l, uint64_t addr)
{
	const struct arch *a = arch_native;
	arch_regs_t *regs;

	return !lwp_regs(l, &regs) && arch_pc(regs) == addr &&
	       (arch_reg_get(regs, a->reg_flags) & a->resume_flag);
}

static bool unseen_hit(const struct hw_event *e)
{
	uint64_t n;

	return !perf_watch_count(e->fd, &n) && n != e->seen;
}

/* One that stands at the address to pass its hit must now be got past the trap; one
 * whose hit has not been looked at yet will run into it. */
static void retire_one(struct lwp *l, int i)
{
	uint64_t addr = l->v->hw[i].addr;

	if (!unseen_hit(&l->hw[i]) && resuming(l, addr) && !l->reported &&
	    l->pending == LWP_PEND_NONE)
		l->reported = addr;
	close_one(l, i);
}

static void free_if_retired(struct victim *v, int i)
{
	for (struct lwp *l = v->lwps; l; l = l->next)
		if (l->hw[i].fd)
			return;
	memset(&v->hw[i], 0, sizeof(v->hw[i]));
}

/*
 * A trap has been planted where the events of slot i stand. An LWP that has just been
 * resumed from its hit may not have executed the instruction yet, and meets the trap
 * instead: a hit that was told already. So the event of an LWP that runs stays until
 * it stops: while it is there each arrival counts, and a trap met without one is this
 * case, unless it was met before the event was there.
 */
static void retire_slot(struct victim *v, int i)
{
	v->hw[i].retiring = true;
	for (struct lwp *l = v->lwps; l; l = l->next)
		if (l->hw[i].fd && l->state != LWP_RUNNING)
			retire_one(l, i);
	free_if_retired(v, i);
}

void hw_stood(struct lwp *l)
{
	for (int i = 0; i < HW_MAX; i++) {
		if (!l->v->hw[i].retiring || !l->hw[i].fd)
			continue;
		retire_one(l, i);
		free_if_retired(l->v, i);
	}
}

bool hw_passing(struct lwp *l, uint64_t addr)
{
	for (int i = 0; i < HW_MAX; i++)
		if (l->hw[i].met && l->hw[i].fd && l->v->hw[i].addr == addr)
			return !unseen_hit(&l->hw[i]);
	return false;
}

void hw_retire(struct victim *v, struct bkpt *b)
{
	if (b->hw)
		retire_slot(v, b->hw - 1);
	b->hw = 0;
}

static void retreat(struct victim *v, const char *why)
{
	log_at(LOG_KEEP, 1, v->pid, 0, "kernel breakpoints become traps: %s", why);
	v->hw_off = true;
	for (size_t i = 0; i < v->nbkpts; i++) {
		struct bkpt *b = &v->bkpts[i];

		b->kernel = false;
		if (!b->hw || !bkpt_plantable(v))
			continue; /* at the next planting */
		bkpt_write(v, b, true);
		hw_retire(v, b);
	}
}

static bool has_bkpts(const struct victim *v)
{
	for (size_t i = 0; i < v->nbkpts; i++)
		if (v->bkpts[i].hw)
			return true;
	return false;
}

void hw_upgrade(struct victim *v)
{
	for (size_t i = 0; i < v->nbkpts; i++) {
		struct bkpt *b = &v->bkpts[i];

		if (b->kernel && b->in_text && !b->dead && !b->hw && !hw_arm(v, b))
			bkpt_write(v, b, false);
	}
}

/* Too many threads for events: uprobes take over, if they may. Who stands at a hit now
 * meets the uprobe as well, and is told twice. */
static bool hand_over(struct victim *v)
{
	int rc = 0;

	if (!bkpt_plantable(v))
		return true; /* at the next birth: every LWP has its events */
	v->hw_off = true;
	for (size_t i = 0; i < v->nbkpts && !rc; i++) {
		struct bkpt *b = &v->bkpts[i];

		if (b->hw)
			rc = up_arm(v, b);
		if (b->hw && !rc)
			hw_disarm(v, b);
	}
	return !rc;
}

/* --- LWPs -------------------------------------------------------------------------- */

void hw_born(struct lwp *l)
{
	struct victim *v = l->v;
	int rc = 0;

	if (!v->hw_sig)
		return;
	for (int i = 0; i < HW_MAX; i++) {
		int one = 0;

		if (v->hw[i].access && !v->hw[i].retiring)
			one = arm_one(l, i);
		rc = v->hw[i].watch ? rc : one ?: rc;
	}
	if (!has_bkpts(v))
		return;
	if (rc)
		retreat(v, strerror(-rc));
	else if (v->nlwps > MAX_LWPS && !hand_over(v))
		retreat(v, "too many threads");
	else
		look_soon(v);
}

/* Its mask, if that can be told by now. */
static uint64_t look_at(struct lwp *l)
{
	uint64_t mask = blocked(l);

	if (!deaf(mask))
		l->hw_fresh = 0;
	else if (--l->hw_fresh)
		return 0;
	l->hw_deaf = deaf(mask);
	return mask;
}

/* The address is nobody's. */
void hw_tell_unseen(struct victim *v)
{
	struct kp_event ev = event_make(v, v->lwps, KP_EV_BKPT);

	ev.addr = UINT64_MAX;
	ev.flags |= KP_EVF_DEFAULTED;
	v->unseen = true;
	event_send(v, &ev);
}

/* LWPs whose mask could not be told yet: does one block the signal? */
static void look(struct victim *v)
{
	uint64_t no = 0;
	int sig;

	for (struct lwp *l = v->lwps; l; l = l->next)
		no |= l->hw_fresh ? look_at(l) : 0;
	v->hw_look = 0;
	look_soon(v);
	if (!v->hw_sig || !(no & sigbit(v->hw_sig)))
		return;
	sig = hw_choose(v);
	if (sig) {
		use_signal(v, sig);
		return;
	}
	retreat(v, "a thread blocks every signal that would do");
	if (v->lwps && v->phase == V_HELD)
		hw_tell_unseen(v);
}

void hw_tick(struct victim *v, uint64_t now)
{
	if (v->hw_look && v->hw_look <= now)
		look(v);
}

/* --- hits -------------------------------------------------------------------------- */

/* The event that stops l before the instruction at pc, or NULL. */
static struct hw_event *stands(struct lwp *l, uint64_t pc)
{
	for (int i = 0; i < HW_MAX; i++)
		if (l->hw[i].fd && l->v->hw[i].access == PERF_EXEC &&
		    l->v->hw[i].addr == pc)
			return &l->hw[i];
	return NULL;
}

void hw_pass(struct lwp *l)
{
	const struct arch *a = arch_native;
	struct hw_event *e = NULL;
	arch_regs_t *regs;
	uint64_t flags, pc;

	if (l->v->hw_sig && !lwp_pc(l, &pc))
		e = stands(l, pc);
	if (!e || lwp_regs(l, &regs))
		return;
	e->met = true;
	flags = arch_reg_get(regs, a->reg_flags);
	if (flags & a->resume_flag)
		return;
	arch_reg_set(regs, a->reg_flags, flags | a->resume_flag);
	l->regs_dirty = true;
}

void hw_tell_late(struct lwp *l, uint64_t addr)
{
	struct victim *v = l->v;
	struct kp_event ev = event_make(v, l, KP_EV_BKPT);

	log_at(LOG_KEEP, 1, v->pid, l->tid, "late hit of 0x%llx",
	       (unsigned long long)addr);
	ev.addr = addr;
	ev.flags |= KP_EVF_DEFAULTED;
	v->unseen = true;
	event_send(v, &ev);
}

/* The hit was not seen at its place: told, and not likely to happen with this signal
 * again. */
static void late(struct lwp *l, uint64_t addr)
{
	struct victim *v = l->v;
	int sig;

	hw_tell_late(l, addr);
	if (!v->hw_sig || v->hw_off)
		return;
	v->hw_late |= sigbit(v->hw_sig);
	sig = hw_choose(v);
	if (sig)
		use_signal(v, sig);
	else
		retreat(v, "signals are blocked");
}

/* What slot i has to say after n new hits. */
static void note(struct lwp *l, int i, uint64_t n)
{
	uint64_t addr = l->v->hw[i].addr;
	arch_regs_t *regs;

	if (l->v->hw[i].watch)
		l->hw_hits |= (uint8_t)(1u << i);
	if (l->v->hw[i].watch || l->v->phase != V_HELD || lwp_regs(l, &regs))
		return;
	if (arch_pc(regs) == addr) {
		l->pending = LWP_PEND_BKPT;
		l->pend_pc = addr;
		n--;
	}
	if (n && !l->v->lifted)
		late(l, addr);
}

/* True when a counter has moved. */
static bool take_hits(struct lwp *l)
{
	bool any = false;

	for (int i = 0; i < HW_MAX; i++) {
		struct hw_event *e = &l->hw[i];
		uint64_t n, before = e->seen;

		if (!e->fd || perf_watch_count(e->fd, &n) || n == before)
			continue;
		e->seen = n;
		e->met = true;
		any = true;
		note(l, i, n - before);
	}
	return any;
}

/* Sent by an event of ours, of now or lately? */
static bool sent_by_us(struct lwp *l, const siginfo_t *si)
{
	bool ours = false;

	if (si->si_code != POLL_IN)
		return false;
	for (int i = 0; i < HW_MAX; i++) {
		struct hw_event *e = &l->hw[i];

		ours |= e->fd && e->fd == si->si_fd;
		if (e->stale && e->stale == si->si_fd) {
			e->stale = 0;
			ours = true;
		}
	}
	return ours;
}

static bool has_watch(const struct victim *v)
{
	for (int i = 0; i < HW_MAX; i++)
		if (v->hw[i].watch)
			return true;
	return false;
}

/* Does the stop by sig say anything of an event? Signals are taken in the order of their
 * numbers: with ours still queued, another stops the LWP first, and its handler would
 * move the PC away from the hit. */
static bool concerns(struct lwp *l, int sig, bool *ret_ours)
{
	struct victim *v = l->v;
	siginfo_t si;
	uint64_t pc;

	*ret_ours = false;
	if (!(v->hw_sigs & sigbit(sig)))
		return v->hw_sig && (has_watch(v) || (!lwp_pc(l, &pc) && stands(l, pc)));
	if (trace_siginfo(l, &si))
		return false;
	*ret_ours = sent_by_us(l, &si);
	return true;
}

bool hw_signal(struct lwp *l, int sig)
{
	bool ours, hit;

	if (!concerns(l, sig, &ours))
		return false;
	hit = take_hits(l);
	if (ours)
		return true;
	if (!hit || l->pending != LWP_PEND_BKPT)
		return false;
	l->sig = sig;
	l->sig_reported = false;
	l->pend_next = LWP_PEND_SIGNAL;
	return true;
}
