/* SPDX-License-Identifier: MIT */
/*
 * The requests about a held victim, one function each: see hold.h for what they promise
 * and hold.c for what they have in common.
 */
#include "hold/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hold/state.h"
#include "os/procfs.h"
#include "util/scope.h"

_Static_assert((int)KP_VERSION == PGRAB_KEEPER_PROTOCOL, "src/meson.build tells users");
_Static_assert((int)HOLD_RUN_STEP == (int)KP_RUN_STEP &&
		       (int)HOLD_RUN_CLEARSIG == (int)KP_RUN_CLEARSIG &&
		       (int)HOLD_RUN_LIFTED == (int)KP_RUN_LIFTED,
	       "run flags");
_Static_assert((int)HOLD_WANT_THREADS == (int)KP_WANT_THREADS &&
		       (int)HOLD_WANT_SIGNALS == (int)KP_WANT_SIGNALS &&
		       (int)HOLD_WANT_FORKS == (int)KP_WANT_FORKS &&
		       (int)HOLD_WANT_FOLLOW == (int)KP_WANT_FOLLOW,
	       "wanted events");
_Static_assert((int)HOLD_RESUME == (int)KP_VERDICT_RESUME &&
		       (int)HOLD_PARK == (int)KP_VERDICT_PARK,
	       "verdicts");
_Static_assert((int)HOLD_BKPT_STOP == (int)KP_BKPT_STOP &&
		       (int)HOLD_BKPT_KERNEL == (int)KP_BKPT_KERNEL &&
		       (int)HOLD_BKPT_REPLACE == (int)KP_BKPT_REPLACE &&
		       (int)HOLD_BKPT_COUNT == (int)KP_BKPT_COUNT &&
		       (int)HOLD_BKPT_RECORD == (int)KP_BKPT_RECORD,
	       "breakpoint flags");

/* --- run control -------------------------------------------------------------------- */

int hold_stop(struct hold *h)
{
	struct kp_header req;
	struct kp_reply reply;
	int err;

	hold_header(&req, KP_STOP, sizeof(req), 0);
	err = hold_call(h, &req, &reply, sizeof(reply));
	return err ? err : reply.value != 0;
}

int hold_run(struct hold *h, pid_t tid, unsigned flags, int sig)
{
	struct kp_run req = { .flags = flags, .sig = sig };
	struct kp_reply reply;

	hold_header(&req.h, KP_RUN, sizeof(req), tid);
	return hold_call(h, &req, &reply, sizeof(reply));
}

static int call_mask(struct hold *h, enum kp_type type, uint64_t mask)
{
	struct kp_mask req = { .mask = mask };
	struct kp_reply reply;

	hold_header(&req.h, type, sizeof(req), 0);
	return hold_call(h, &req, &reply, sizeof(reply));
}

int hold_trace_signals(struct hold *h, uint64_t stop_mask)
{
	return call_mask(h, KP_TRACE, stop_mask);
}

int hold_want(struct hold *h, unsigned mask)
{
	return call_mask(h, KP_WANT, mask);
}

int hold_set_klc(struct hold *h, bool klc)
{
	return call_mask(h, KP_SET_KLC, klc);
}

int hold_set_patience(struct hold *h, unsigned ms)
{
	return call_mask(h, KP_SET_PATIENCE, ms);
}

int hold_uprobes(struct hold *h)
{
	struct kp_header req;
	struct kp_reply reply;

	hold_header(&req, KP_UPROBES, sizeof(req), 0);
	return hold_call(h, &req, &reply, sizeof(reply));
}

int hold_lwp_ctl(struct hold *h, pid_t tid, enum hold_lwp_op op, int sig)
{
	struct kp_mask req = { .mask = (uint64_t)op | (uint64_t)sig << KP_LWP_SIGNAL };
	struct kp_reply reply;

	hold_header(&req.h, KP_LWP, sizeof(req), tid);
	return hold_call(h, &req, &reply, sizeof(reply));
}

/* --- breakpoints -------------------------------------------------------------------- */

/* In the table before it is in the text, so that nobody ever reads a trap of ours. Lock
 * held. */
static int plant(struct hold *h, uint64_t addr, const struct arch_insn *insn,
		 unsigned flags)
{
	struct kp_bkpt req = { .addr = addr,
			       .flags = flags & 0xffff,
			       .counter = flags >> 16,
			       .insn = *insn };
	struct kp_reply reply;
	unsigned kept = flags & ~(unsigned)HOLD_BKPT_REPLACE;
	int err = traps_add(&h->traps, addr, insn, kept);
	bool there = err == -EEXIST && (flags & HOLD_BKPT_REPLACE);

	if (err && !there)
		return err;
	hold_header(&req.h, KP_BKPT_SET, sizeof(req), 0);
	err = hold_call_locked(h, &req, &reply, sizeof(reply));
	if (!err && there)
		traps_mark(&h->traps, addr, kept);
	else if (err && !there)
		traps_remove(&h->traps, addr);
	return err;
}

/* Lock held. */
static int uproot(struct hold *h, uint64_t addr)
{
	struct kp_bkpt req = { .addr = addr };
	struct kp_reply reply;
	int err;

	hold_header(&req.h, KP_BKPT_CLEAR, sizeof(req), 0);
	err = hold_call_locked(h, &req, &reply, sizeof(reply));
	if (!err || err == -ENOENT)
		traps_remove(&h->traps, addr);
	return err;
}

int hold_bkpt_set(struct hold *h, uint64_t addr, const struct arch_insn *insn,
		  unsigned flags)
{
	HOLD_NOCANCEL;
	uint64_t unused;
	int err;

	if (h->owner != getpid())
		return -EPIPE;
	/* The keeper may want to have the victim map a page (its slot.c): without an
	 * instruction for that it does with less. */
	if ((insn->may_move || insn->kind == ARCH_INSN_SYSCALL) &&
	    insn->kind != ARCH_INSN_NOP && !(flags & HOLD_BKPT_KERNEL))
		hold_syscall_insn(h, &unused);
	pthread_mutex_lock(&h->lock);
	err = hold_usable(h);
	if (!err)
		err = plant(h, addr, insn, flags);
	pthread_mutex_unlock(&h->lock);
	return err;
}

int hold_bkpt_clear(struct hold *h, uint64_t addr)
{
	HOLD_NOCANCEL;
	int err;

	if (h->owner != getpid())
		return -EPIPE;
	pthread_mutex_lock(&h->lock);
	err = uproot(h, addr);
	pthread_mutex_unlock(&h->lock);
	return err;
}

void hold_hide_traps(struct hold *h, uint64_t addr, void *buf, size_t len)
{
	traps_hide(&h->traps, addr, buf, len);
}

/* --- text that the client has written over breakpoints ------------------------------ */

/* A piece of text just written. */
struct written {
	uint64_t addr;   /* where */
	const void *buf; /* what */
	size_t len;      /* how much */
	int mem;         /* /proc/PID/mem, read and write */
};

/* Writes again those bytes at [addr, addr + len) that belong to the piece: the keeper,
 * clearing a breakpoint, puts back what it found when it was set. */
static int write_again(const struct written *w, uint64_t addr, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t at = addr + i - w->addr;

		if (at < w->len &&
		    pwrite(w->mem, (const char *)w->buf + at, 1, (off_t)(addr + i)) != 1)
			return -EFAULT;
	}
	return 0;
}

/* Decodes what stands at addr now and plants the breakpoint there. Lock held. */
static int replant(struct hold *h, const struct written *w, const struct trap *trap)
{
	uint8_t bytes[ARCH_INSN_MAX];
	struct arch_insn insn;
	ssize_t got = pread(w->mem, bytes, sizeof(bytes), (off_t)trap->addr);
	int err;

	if (got <= 0)
		return -EFAULT;
	traps_hide(&h->traps, trap->addr, bytes, (size_t)got);
	err = arch_decode(bytes, (size_t)got, &insn);
	return err ? err : plant(h, trap->addr, &insn, trap->flags);
}

/* All out first, then all in again: each is decoded from text without traps. Lock
 * held. */
static int replant_all(struct hold *h, const struct written *w, const struct trap *traps,
		       size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		err = uproot(h, traps[i].addr);
		if (!err || err == -ENOENT)
			err = write_again(w, traps[i].addr, arch_native->trap_len);
	}
	for (size_t i = 0; i < n && !err; i++)
		err = replant(h, w, &traps[i]);
	return err;
}

static int open_mem(const struct hold *h)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", h->pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	if (!procfs_pidfd_alive(h->pidfd)) {
		close(fd);
		return -ESRCH;
	}
	return fd;
}

int hold_text_written(struct hold *h, uint64_t addr, const void *buf, size_t len)
{
	HOLD_NOCANCEL;
	_cleanup_free_ struct trap *traps = NULL;
	_cleanup_close_ int mem = -1;
	size_t n = 0;
	int err;

	if (h->owner != getpid())
		return -EPIPE;
	pthread_mutex_lock(&h->lock);
	err = traps_touching(&h->traps, addr, len, &traps, &n);
	if (!err && n) {
		mem = open_mem(h);
		err = mem < 0 ? mem : 0;
	}
	if (!err && n)
		err = replant_all(h, &(struct written){ addr, buf, len, mem }, traps, n);
	pthread_mutex_unlock(&h->lock);
	return err;
}

/* --- LWPs and registers ------------------------------------------------------------- */

int hold_getregs(struct hold *h, pid_t tid, arch_regs_t *ret)
{
	struct kp_header req;
	struct kp_regs reply;
	int err;

	hold_header(&req, KP_GETREGS, sizeof(req), tid);
	err = hold_call(h, &req, &reply, sizeof(reply));
	if (!err)
		*ret = reply.regs;
	return err;
}

int hold_setregs(struct hold *h, pid_t tid, const arch_regs_t *regs)
{
	struct kp_setregs req = { .regs = *regs };
	struct kp_reply reply;

	hold_header(&req.h, KP_SETREGS, sizeof(req), tid);
	return hold_call(h, &req, &reply, sizeof(reply));
}

int hold_siginfo(struct hold *h, pid_t tid, siginfo_t *ret)
{
	struct kp_header req;
	struct kp_siginfo reply;
	int err;

	hold_header(&req, KP_SIGINFO, sizeof(req), tid);
	err = hold_call(h, &req, &reply, sizeof(reply));
	if (!err)
		*ret = reply.info;
	return err;
}

/* LWPs gathered page by page. They come in ascending order of tid, by index: when one
 * ends between two pages another may be missed, when one is born one may come twice. */
struct gathered {
	struct hold_lwp *lwps; /* owned */
	arch_regs_t *regs;     /* owned; NULL when not asked for */
	size_t n, room;        /* how many; how many fit */
	pid_t last;            /* highest tid so far */
};

static int make_room(struct gathered *g, size_t more, bool regs)
{
	size_t room = g->n + more;
	void *p;

	if (room <= g->room)
		return 0;
	p = realloc(g->lwps, room * sizeof(*g->lwps));
	if (!p)
		return -ENOMEM;
	g->lwps = p;
	if (regs) {
		p = realloc(g->regs, room * sizeof(*g->regs));
		if (!p)
			return -ENOMEM;
		g->regs = p;
	}
	g->room = room;
	return 0;
}

static struct hold_lwp as_lwp(const struct kp_lwp *from)
{
	return (struct hold_lwp){
		.tid = from->tid,
		.stopped = from->flags & KP_LWP_STOPPED,
		.outstop = from->flags & KP_LWP_OUTSTOP,
		.cursig = from->cursig,
	};
}

/* Asks for one page; -EPIPE when the keeper's counts make no sense. */
static int call_page(struct hold *h, enum kp_type type, size_t start,
		     struct kp_reply *reply, size_t size)
{
	struct kp_page req = { .start = (uint32_t)start };

	hold_header(&req.h, type, sizeof(req), 0);
	return hold_call(h, &req, reply, size);
}

int hold_lwps(struct hold *h, struct hold_lwp **ret, size_t *ret_n)
{
	struct gathered g = { 0 };
	struct kp_lwps page;
	size_t start = 0;
	int err;

	do {
		err = call_page(h, KP_LWPS, start, &page.r, sizeof(page));
		if (!err && page.n > KP_MAX_LWPS)
			err = hold_lose(h, -EPIPE);
		if (!err)
			err = make_room(&g, KP_MAX_LWPS, false);
		for (uint32_t i = 0; !err && i < page.n; i++) {
			if (page.lwp[i].tid <= g.last)
				continue;
			g.last = page.lwp[i].tid;
			g.lwps[g.n++] = as_lwp(&page.lwp[i]);
		}
		start += page.n;
	} while (!err && page.n && start < (size_t)page.r.value);
	if (err) {
		free(g.lwps);
		return err;
	}
	*ret = g.lwps;
	*ret_n = g.n;
	return 0;
}

static void gather_regs(struct gathered *g, const struct kp_regs_all *page)
{
	for (uint32_t i = 0; i < page->n; i++) {
		const struct kp_lwp *lwp = &page->lwp[i];

		if (lwp->tid <= g->last || !(lwp->flags & KP_LWP_STOPPED))
			continue;
		g->last = lwp->tid;
		g->lwps[g->n] = as_lwp(lwp);
		g->regs[g->n++] = page->regs[i];
	}
}

int hold_getregs_all(struct hold *h, struct hold_lwp **ret_lwps, arch_regs_t **ret_regs,
		     size_t *ret_n)
{
	struct gathered g = { 0 };
	struct kp_regs_all page;
	size_t start = 0;
	int err;

	do {
		err = call_page(h, KP_REGS_ALL, start, &page.r, sizeof(page));
		if (!err && page.n > KP_MAX_REGS)
			err = hold_lose(h, -EPIPE);
		if (!err)
			err = make_room(&g, KP_MAX_REGS, true);
		if (!err)
			gather_regs(&g, &page);
		start += page.n;
	} while (!err && page.n && start < (size_t)page.r.value);
	if (err) {
		free(g.lwps);
		free(g.regs);
		return err;
	}
	*ret_lwps = g.lwps;
	*ret_regs = g.regs;
	*ret_n = g.n;
	return 0;
}
