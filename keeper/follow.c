/* SPDX-License-Identifier: MIT */
/*
 * Children of a victim: set free, or held until the client has decided.
 *
 * A process that a victim makes is traced from its birth (PTRACE_O_TRACEFORK and its
 * like) and stands before its first instruction. Its copy of our traps is cleaned there.
 * Without KP_WANT_FOLLOW it is then detached. With it the FORK event is a *question*
 * whose LWP is the child: the parent runs on, the child waits. The client answers in
 * one of three ways. KP_ATTACH with KP_ATTACH_ADOPT: the LWP moves into a victim of its
 * own, with sockets of its own, and was never detached on the way; its first event is
 * the question BIRTH, so that breakpoints can be set before it executes anything.
 * KP_ANSWER: set free. Nothing within the patience: set free. Both questions have the
 * defaults of every other, so a client that stands still freezes nobody. (When many are
 * born at once a client may be at work all the time and yet late: the question of a
 * birth is postponed while the client sends requests, for two seconds at most.)
 *
 * A vfork child *borrows* its parent's memory until it execs: while it does, traps stay
 * out of it (victim.borrows), its own as well as, since the parent waits, the parent's.
 *
 * The parent is killed at last close: so are children that nobody has adopted yet,
 * those that are born at that instant too (the client was promised that the family goes
 * with it). A parent that is released, or ends by itself, sets them free.
 *
 * Orphans. A parent that is killed in the middle of a fork never tells of its child: the
 * kernel drops the event with it, but the child is ours, stopped, and has our traps. So
 * of each victim that ends a *ghost* is kept for a second: what was planted where, and
 * whether its children were to die. A newborn that nobody claims within 30 ms is cleaned
 * by the ghosts (only where a trap stands at an address of theirs) and let go, or killed,
 * by the youngest.
 *
 * While its parent lives there is no hurry: the child runs before its parent has told of
 * it, and on a busy machine the parent may wait for a CPU for long (kernel_clone(),
 * 6.18). It never tells, though, when another of its threads has exec'd meanwhile. So
 * after two seconds the newborn is cleaned as the parent's child and set free too; should
 * its birth be told after all, it is no longer ours (follow_has_left()).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "os/procfs.h"
#include "util/log.h"
#include "util/scope.h"

enum {
	CHILD_MS = 100, /* patience where the victim's own questions wait for ever */
	BUSY_MS = 2000, /* … and of a client that is at work */
	ORPHAN_NS = 30000000,
	MAX_LEFT = 16, /* newborns set free before they were told of */
	GHOST_NS = 1000000000,
};

/* What is left of a victim that has ended. */
struct ghost {
	struct ghost *next; /* younger ones first */
	uint64_t end;       /* monotonic ns: to be forgotten then */
	bool kill;          /* its children were to die with it */
	size_t n;           /* traps */
	struct {
		uint64_t addr;                /* where */
		uint8_t bytes[ARCH_INSN_MAX]; /* the program's own */
	} trap[];                             /* that may be in the text of a child */
};

static struct ghost *ghosts;

/* --- held children ----------------------------------------------------------------- */

void follow_free(struct lwp *l)
{
	if (l->forked_copy)
		bkpt_clean_child(l->v, l->tid);
	trace_detach(l, l->sig);
	lwp_free(l);
}

void follow_stands(struct lwp *l)
{
	if (!l->holds)
		follow_free(l);
}

bool follow_ask(struct lwp *child, struct kp_event *ev)
{
	struct victim *v = child->v;

	if (!(v->want & KP_WANT_FOLLOW))
		return false;
	if (v->phase == V_KILLING)
		kill(child->tid, SIGKILL);
	if (v->phase != V_HELD)
		return false;
	event_ask(child, ev);
	if (!child->question)
		return true;
	if (!v->patience_ms)
		child->question_end = clock_mono() + CHILD_MS * 1000000ull;
	child->birth_end = clock_mono() + BUSY_MS * 1000000ull;
	return true;
}

bool follow_postponed(struct lwp *l, uint64_t now)
{
	uint64_t patience = (l->v->patience_ms ?: CHILD_MS) * 1000000ull;

	if (now >= l->birth_end || now >= K.life_ns + patience)
		return false;
	l->question_end = K.life_ns + patience;
	return true;
}

/* A question of l's, a child, is over without adoption. */
void follow_default(struct lwp *l)
{
	if (l->state == LWP_STOPPED)
		follow_free(l);
}

void follow_answer(struct victim *v, const struct kp_answer *a)
{
	struct lwp *l = lwp_find(a->h.tid);

	if (!l || l->v != v || l->role != LWP_CHILD || l->question != a->question ||
	    !l->question)
		return;
	event_answered(l);
	follow_default(l);
}

void follow_abandon(struct victim *v)
{
	bool kill_them = v->release_mode == KP_RELEASE_KILL;
	struct lwp *next;

	for (struct lwp *l = K.questions; l; l = next) {
		next = l->qnext;
		if (l->v != v || l->role != LWP_CHILD)
			continue;
		event_answered(l);
		if (kill_them)
			kill(l->tid, SIGKILL); /* its end will be waited for */
		else
			follow_default(l);
	}
}

/* --- adoption ---------------------------------------------------------------------- */

static void ask_birth(struct victim *v, struct lwp *l, pid_t parent)
{
	struct kp_event ev = event_make(v, l, KP_EV_BIRTH);

	ev.child = parent;
	ev.what = v->borrows;
	event_ask(l, &ev);
}

void follow_adopt(struct victim *v)
{
	struct lwp *l = lwp_find(v->pid);
	uint64_t end;
	pid_t parent;

	if (!l || l->role != LWP_CHILD || !l->question) {
		attach_fail(v, -ESRCH, "it was not adopted in time");
		return;
	}
	parent = l->v->pid;
	end = l->birth_end;
	event_answered(l);
	lwp_adopt(l, v);
	v->borrows = l->shares;
	l->sig = 0;
	v->nostop = true;
	l->born = true;
	l->hw_fresh = HW_LOOKS;
	if (l->state == LWP_STOPPED)
		trace_options(l, trace_base_options(v));
	attach_done(v);
	ask_birth(v, l, parent);
	l->birth_end = end;
}

/* --- orphans ----------------------------------------------------------------------- */

void follow_ghost(struct victim *v)
{
	struct ghost *g = calloc(1, sizeof(*g) + v->nbkpts * sizeof(g->trap[0]));

	if (!g)
		return;
	g->end = clock_mono() + GHOST_NS;
	g->kill = v->phase == V_KILLING && (v->want & KP_WANT_FOLLOW);
	for (size_t i = 0; i < v->nbkpts; i++, g->n++) {
		g->trap[i].addr = v->bkpts[i].addr;
		memcpy(g->trap[i].bytes, v->bkpts[i].insn.bytes, ARCH_INSN_MAX);
	}
	g->next = ghosts;
	ghosts = g;
}

static void forget_ghosts(uint64_t now)
{
	struct ghost **p = &ghosts;

	while (*p) {
		struct ghost *g = *p;

		if (g->end > now) {
			p = &g->next;
			continue;
		}
		*p = g->next;
		free(g);
	}
}

static void clean_by(const struct ghost *g, int mem)
{
	const struct arch *a = arch_native;
	uint8_t now[ARCH_INSN_MAX];

	for (size_t i = 0; i < g->n; i++) {
		off_t at = (off_t)g->trap[i].addr;

		if (pread(mem, now, a->trap_len, at) != a->trap_len ||
		    memcmp(now, a->trap, a->trap_len))
			continue;
		if (pwrite(mem, g->trap[i].bytes, a->trap_len, at) < 0)
			return;
	}
}

static bool lives(const struct victim *v)
{
	return !v->ended && v->phase != V_IDLE;
}

/* The victim whose child it is, if that lives. */
static struct victim *parent_of(pid_t pid)
{
	struct victim *v = K.victims;
	struct procfs_stat st;

	if (procfs_stat(pid, 0, &st))
		return NULL;
	while (v && (v->pid != st.ppid || !lives(v)))
		v = v->next;
	return v;
}

/* A thread of a victim that lives is told of, or dies by the exec that keeps its maker
 * from telling. */
static bool is_thread(pid_t tid)
{
	for (const struct victim *v = K.victims; v; v = v->next)
		if (lives(v) && !syscall(SYS_tgkill, v->pid, tid, 0))
			return true;
	return false;
}

static pid_t left[MAX_LEFT]; /* the last ones; a ring */
static unsigned nleft;       /* how many there have been */

/* Nobody will tell of it any more, or too late. */
static void settle_orphan(pid_t pid)
{
	struct victim *v = parent_of(pid);
	bool kill_it = v ? v->phase == V_KILLING && (v->want & KP_WANT_FOLLOW)
			 : ghosts && ghosts->kill;
	char path[32];
	int mem;

	if (v)
		bkpt_clean_child(v, pid);
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	for (struct ghost *g = ghosts; g && mem >= 0; g = g->next)
		clean_by(g, mem);
	scope_close(&mem);
	if (kill_it)
		kill(pid, SIGKILL);
	trace_detach_tid(pid);
	left[nleft++ % MAX_LEFT] = pid;
	log_at(LOG_KEEP, 1, pid, pid, "orphan %s", kill_it ? "killed" : "set free");
}

bool follow_has_left(pid_t tid)
{
	struct procfs_status st;

	for (unsigned i = 0; i < MAX_LEFT; i++)
		if (left[i] == tid) /* or another of that number */
			return procfs_status(tid, 0, &st) || st.tracer != K.pid;
	return false;
}

static bool is_orphan(pid_t tid, uint64_t age_ns)
{
	if (age_ns < ORPHAN_NS || is_thread(tid))
		return false;
	return age_ns >= BUSY_MS * 1000000ull || !parent_of(tid);
}

void follow_orphans(uint64_t now)
{
	struct wait_event ev;

	while (wait_unclaimed(is_orphan, now, &ev))
		settle_orphan(ev.tid);
	forget_ghosts(now);
}
