/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints that the kernel keeps as uprobes, where perf events (hwbkpt.c) cannot be
 * had or would cost too much: victims of many threads, kernels that refuse
 * perf_event_open but not bpf. Setting one stands for some 10 ms, dropping it for 40,
 * however many threads there are, so they are for the breakpoints that process control
 * needs for itself, in victims that are to survive us.
 *
 * A hit is a signal, ignored by default, and a count of the thread that was hit. It is
 * seen *behind* the instruction, which has been executed: nothing is stepped over, and
 * the PC that is told is not the breakpoint's. One that is seen elsewhere was blocked: it
 * is told as late, and the breakpoints become traps.
 *
 * Our trap and a uprobe do not live on one address: the kernel takes the trap for its
 * own, and lifting it lifts both. So a uprobe is set only where no trap stands, and
 * dropped before one is planted; what was hit in between is unseen (hw_tell_unseen()). A
 * forked child has the uprobe's int3 in its text; the kernel passes it there by itself.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "os/procfs.h"
#include "os/uprobe.h"
#include "util/log.h"

/* Loaded at the first wish; err once it has been refused. */
static struct {
	bool tried;      /* the rest is known */
	int err;         /* why it cannot be; 0 it can */
	struct uprobe u; /* err 0: the program */
} U;

static int make_ready(void)
{
	if (!U.tried) {
		U.err = uprobe_open(&U.u);
		log_at(LOG_KEEP, 1, K.pid, 0, "uprobes: %s",
		       U.err ? strerror(-U.err) : "allowed");
	}
	U.tried = true;
	return U.err;
}

/* --- set and drop ------------------------------------------------------------------ */

/* The file that is mapped at addr, as a path that names it whatever becomes of its name,
 * and where in it addr is. */
static int locate(struct victim *v, uint64_t addr, char *ret_path, size_t size,
		  uint64_t *ret_offset)
{
	pid_t tid = v->lwps ? v->lwps->tid : v->pid;
	struct procfs_map *maps;
	size_t n;
	int rc = procfs_maps(v->pid, tid, &maps, &n);

	if (rc)
		return rc;
	rc = -ENOENT;
	for (size_t i = 0; i < n && rc; i++) {
		const struct procfs_map *m = &maps[i];

		if (addr < m->start || addr >= m->end || !m->inode)
			continue;
		snprintf(ret_path, size, "/proc/%d/task/%d/../../map_files/%llx-%llx",
			 v->pid, tid, (unsigned long long)m->start,
			 (unsigned long long)m->end);
		*ret_offset = addr - m->start + m->offset;
		rc = 0;
	}
	free(maps);
	return rc;
}

static int free_mark(const struct victim *v)
{
	for (int i = 0; i < UP_MAX; i++)
		if (!v->up[i].link)
			return i;
	return -EBUSY;
}

static int set(struct victim *v, uint64_t addr)
{
	char path[96];
	uint64_t offset;
	struct uprobe_hits old;
	int mark = free_mark(v), sig = hw_choose(v), link, rc;

	if (mark < 0 || !sig)
		return mark < 0 ? mark : -EOPNOTSUPP;
	rc = make_ready() ?: locate(v, addr, path, sizeof(path), &offset);
	if (rc)
		return rc;
	for (struct lwp *l = v->lwps; l; l = l->next)
		uprobe_take(&U.u, l->tid, mark,
			    &old); /* of an earlier owner of the tid */
	link = uprobe_set(&U.u, v->pid, path, offset, mark, sig);
	if (link < 0)
		return link;
	v->up[mark] = (struct up_mark){ link, sig, addr };
	return mark;
}

int up_arm(struct victim *v, struct bkpt *b)
{
	int mark;

	if (traps_will_do(v) || v->up_off || b->in_text || v->phase != V_HELD)
		return -EOPNOTSUPP;
	mark = set(v, b->addr);
	log_at(LOG_KEEP, 2, v->pid, 0, "uprobe 0x%llx: %s", (unsigned long long)b->addr,
	       mark < 0 ? strerror(-mark) : "done");
	if (mark < 0) {
		v->up_off = true; /* until the next exec */
		return mark;
	}
	b->up = (uint8_t)(mark + 1);
	return 0;
}

static void drop(struct victim *v, int mark)
{
	if (v->up[mark].link)
		uprobe_drop(v->up[mark].link);
	memset(&v->up[mark], 0, sizeof(v->up[mark]));
}

void up_disarm(struct victim *v, struct bkpt *b)
{
	if (b->up)
		drop(v, b->up - 1);
	b->up = 0;
}

void up_to_trap(struct victim *v, struct bkpt *b)
{
	up_disarm(v, b);
	b->kernel = false;
	if (!bkpt_plantable(v))
		return; /* at the next planting */
	bkpt_write(v, b, true);
	if (!v->stopped && v->lwps)
		hw_tell_unseen(v);
}

void up_drop_all(struct victim *v)
{
	for (int i = 0; i < UP_MAX; i++)
		drop(v, i);
	for (size_t i = 0; i < v->nbkpts; i++)
		v->bkpts[i].up = 0;
	v->up_off = false;
}

void up_born(struct lwp *l)
{
	struct uprobe_hits old;

	for (int i = 0; i < UP_MAX; i++)
		if (l->v->up[i].link)
			uprobe_take(&U.u, l->tid, i, &old);
}

/* --- hits -------------------------------------------------------------------------- */

/* Does l stand right behind the instruction? A return has gone where the stack said. */
static bool in_place(struct lwp *l, const struct bkpt *b, uint64_t sp)
{
	struct mem m = bkpt_memory(l->v);
	uint64_t pc, back;

	if (lwp_pc(l, &pc))
		return false;
	if (b->insn.kind != ARCH_INSN_RET)
		return pc == b->addr + b->insn.len;
	return m.ops->read(m.ctx, sp, &back, sizeof(back)) == sizeof(back) && back == pc;
}

static void retreat(struct victim *v)
{
	log_at(LOG_KEEP, 1, v->pid, 0, "uprobes become traps: signals are blocked");
	v->up_off = true;
	for (size_t i = 0; i < v->nbkpts; i++)
		if (v->bkpts[i].up)
			up_to_trap(v, &v->bkpts[i]);
}

/* What mark i of l has to say. */
static void note(struct lwp *l, int i, const struct uprobe_hits *h)
{
	struct victim *v = l->v;
	struct bkpt *b = bkpt_find(v, v->up[i].addr);
	uint64_t late = h->n;

	if (!b || b->dead || v->phase != V_HELD || v->lifted)
		return;
	if (l->pending == LWP_PEND_NONE && in_place(l, b, h->sp)) {
		l->pending = LWP_PEND_BKPT;
		l->pend_pc = b->addr;
		l->pend_behind = true;
		late--;
	}
	if (!late)
		return;
	retreat(v); /* first: who is told may look */
	hw_tell_late(l, b->addr);
}

static bool is_ours(struct lwp *l, int sig, int ours)
{
	siginfo_t si;

	return sig == ours && !trace_siginfo(l, &si) && si.si_code == SI_KERNEL;
}

/* True when l stopped on a signal of ours. Another one, taken before ours because its
 * number is lower, becomes pending behind the hit; ours is then dropped when it comes. */
bool up_signal(struct lwp *l, int sig)
{
	struct victim *v = l->v;
	struct uprobe_hits h;
	bool ours = false, any = false;

	if (sig == SIGTRAP)
		return false; /* a step's, or a trap's: ours comes next */
	for (int i = 0; i < UP_MAX; i++) {
		if (!v->up[i].link || uprobe_take(&U.u, l->tid, i, &h))
			continue;
		any = true;
		ours |= is_ours(l, sig, v->up[i].sig);
		note(l, i, &h);
	}
	if (any && !ours)
		l->up_echo = true;
	if (!any && l->up_echo && hw_is_signal(sig) && is_ours(l, sig, sig)) {
		l->up_echo = false;
		return true;
	}
	if (!any || ours)
		return ours;
	if (l->pending != LWP_PEND_BKPT)
		return false;
	l->sig = sig;
	l->sig_reported = false;
	l->pend_next = LWP_PEND_SIGNAL;
	return true;
}
