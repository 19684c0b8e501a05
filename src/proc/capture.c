/* SPDX-License-Identifier: MIT */
/*
 * Captures: what the keeper copied in one go (src/hold/capture.c), or was read of waiting
 * threads (capnostop.c), or stands in a core, with all that is needed to walk it later.
 *
 * Before the stop: names and states, and a snapshot of the address space, so that there
 * is one should the victim end. After it: the snapshot is renewed, since an object may
 * have been loaded since. A walk reads the copied bytes; text, which the unwinder wants
 * now and then, comes from the victim itself while it is there, and only from mappings
 * that it cannot write: a stack that was not copied is never taken from a process that
 * has run on since.
 */
#include "proc/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/procfs.h"
#include "util/scope.h"

enum {
	LIMIT_DEFAULT = 64 << 10,
	LIMIT_MAX = 8 << 20,
	DEADLINE_MS = 1000, /* until all must stand */
};

/* --- walking ------------------------------------------------------------------------ */

/* The memory of one LWP. */
struct view {
	const ps_capture_t *c;  /* the capture */
	const struct caplwp *l; /* whose stack */
};

static ssize_t read_text(const ps_capture_t *c, uint64_t addr, void *buf, size_t len)
{
	const struct image_map *m = image_map_at(c->image, addr);
	struct mem_live live = c->live;
	struct mem mem = mem_live(&live);
	ssize_t n;

	if (!m || (m->m.prot & PROT_WRITE))
		return -EFAULT;
	if (len > m->m.end - addr)
		len = m->m.end - addr;
	n = mem_read(&mem, addr, buf, len);
	mem_live_fini(&live);
	return n > 0 && !procfs_pidfd_alive(c->pidfd) ? -ESRCH : n;
}

static ssize_t read_view(void *ctx, uint64_t addr, void *buf, size_t len)
{
	const struct view *v = ctx;
	struct mem core;

	for (unsigned i = 0; i < HOLD_CAPTURE_PIECES; i++) {
		const struct hold_piece *p = &v->l->piece[i];
		uint64_t at = addr - p->addr;

		if (addr < p->addr || at >= p->len)
			continue;
		if (len > p->len - at)
			len = p->len - at;
		memcpy(buf, (const char *)p->bytes + at, len);
		return (ssize_t)len;
	}
	if (!v->c->core)
		return read_text(v->c, addr, buf, len);
	core = core_mem(v->c->core);
	return mem_read(&core, addr, buf, len);
}

/* A walk under way. */
struct walk {
	proc_frame_f *fn; /* the caller's function */
	void *arg;        /* its argument */
};

static int show(void *arg, const struct stack_frame *f)
{
	struct walk *w = arg;
	prframe_t out = { .pr_pc = f->regs.pc, .pr_sp = f->regs.sp };

	out.pr_flags |= f->exact ? PRFRAME_EXACT : 0;
	out.pr_flags |= f->signal ? PRFRAME_SIGNAL : 0;
	if (f->how == STACK_FP || f->how == STACK_RULE)
		out.pr_flags |= PRFRAME_GUESS;
	return w->fn(w->arg, &out);
}

static int by_tid(const void *a, const void *b)
{
	const struct caplwp *x = a, *y = b;

	return (x->pub.pr_lwpid > y->pub.pr_lwpid) - (x->pub.pr_lwpid < y->pub.pr_lwpid);
}

static struct caplwp *find_lwp(const ps_capture_t *c, lwpid_t lwp)
{
	struct caplwp key = { .pub.pr_lwpid = lwp };

	return c->n ? bsearch(&key, c->lwps, c->n, sizeof(*c->lwps), by_tid) : NULL;
}

_Static_assert((int)STACK_END_BASE == PCAPTURE_BASE &&
		       (int)STACK_END_CUT == PCAPTURE_CUT &&
		       (int)STACK_END_LIMIT == PCAPTURE_LIMIT &&
		       (int)STACK_END_BROKEN == PCAPTURE_BROKEN &&
		       (int)STACK_END_CALLER == PCAPTURE_CALLER,
	       "ends of a walk");

int Pcapture_stack_iter(const ps_capture_t *c, lwpid_t lwp, proc_frame_f *fn, void *arg,
			int *ret_end)
{
	static const struct mem_ops ops = { .read = read_view };
	const struct caplwp *l = find_lwp(c, lwp);
	struct view view = { c, l };
	struct mem mem = { &ops, &view };
	struct stack_target t = { .arch = c->arch, .image = c->image, .mem = &mem };
	struct walk w = { fn, arg };
	enum stack_end end;
	int rc;

	if (!l)
		return handle_fail(-ESRCH);
	if (!(l->pub.pr_flags & PCAP_REGS))
		return handle_fail(-EAGAIN);
	if (!c->arch)
		return handle_fail(-ENOTSUP);
	rc = stack_unwind(&t, &l->regs, show, &w, &end);
	if (ret_end)
		*ret_end = (int)end;
	return rc;
}

int Pcapture_iter(const ps_capture_t *c, proc_caplwp_f *fn, void *arg)
{
	int rc = 0;

	for (size_t i = 0; i < c->n && !rc; i++)
		rc = fn(arg, &c->lwps[i].pub);
	return rc;
}

uint64_t Pcapture_pause(const ps_capture_t *c)
{
	return c->pause_ns;
}

int Pcapture_notes(const ps_capture_t *c)
{
	return c->notes;
}

void Pcapture_free(ps_capture_t *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		free(c->lwps[i].owned);
	free(c->lwps);
	hold_capture_free(c->held);
	image_unref(c->image);
	if (c->core)
		core_unref(c->core);
	scope_close(&c->pidfd);
	free(c);
}

/* --- what is read before ------------------------------------------------------------ */

static void read_name(pid_t pid, prcaplwp_t *l)
{
	struct procfs_stat st;

	l->pr_sname = '?';
	l->pr_syscall = -1;
	if (procfs_stat(pid, l->pr_lwpid, &st))
		return;
	l->pr_sname = st.state;
	memcpy(l->pr_name, st.comm, strnlen(st.comm, sizeof(l->pr_name) - 1));
}

static int list_lwps(ps_capture_t *c, pid_t pid)
{
	_cleanup_free_ pid_t *tids = NULL;
	size_t n;
	int rc = procfs_tids(pid, &tids, &n);

	if (rc)
		return rc;
	c->lwps = calloc(n + 1, sizeof(*c->lwps));
	if (!c->lwps)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		c->lwps[i].pub.pr_lwpid = tids[i];
		read_name(pid, &c->lwps[i].pub);
	}
	c->n = n;
	qsort(c->lwps, n, sizeof(*c->lwps), by_tid);
	return 0;
}

/* --- what the keeper has copied ----------------------------------------------------- */

static void take_flags(prcaplwp_t *l, unsigned flags)
{
	l->pr_flags |= flags & HOLD_CAPTURE_REGS ? PCAP_REGS : 0;
	l->pr_flags |= flags & HOLD_CAPTURE_CUT ? PCAP_CUT : 0;
	l->pr_flags |= flags & HOLD_CAPTURE_OUTSTOP ? PCAP_OUTSTOP : 0;
	l->pr_flags |= flags & HOLD_CAPTURE_WAIT ? PCAP_WAIT : 0;
}

static void take_one(struct caplwp *to, const struct hold_captured *from)
{
	unsigned nr = arch_native->reg_sysorig;

	to->pub.pr_lwpid = from->tid;
	to->pub.pr_cursig = (short)from->cursig;
	to->pub.pr_pause_ns = from->pause_ns;
	take_flags(&to->pub, from->flags);
	memcpy(to->piece, from->piece, sizeof(to->piece));
	if (!(from->flags & HOLD_CAPTURE_REGS))
		return;
	memcpy(to->pub.pr_reg, &from->regs, sizeof(to->pub.pr_reg));
	stack_regs_native(&from->regs, &to->regs);
	if (nr != ARCH_NOREG)
		to->pub.pr_syscall = (int)arch_reg_get(&from->regs, nr);
}

/* Those that were listed before and are not in the copy have ended, or come too late. */
static int take_held(ps_capture_t *c)
{
	size_t n = hold_capture_count(c->held), listed = c->n;
	unsigned flags = hold_capture_flags(c->held);
	struct caplwp *all = calloc(n + 1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct hold_captured one;
		const struct caplwp *known;

		hold_capture_get(c->held, i, &one);
		known = find_lwp(c, one.tid);
		all[i].pub.pr_syscall = -1;
		all[i].pub.pr_sname = '?';
		if (listed && known)
			all[i].pub = known->pub;
		take_one(&all[i], &one);
	}
	free(c->lwps);
	c->lwps = all;
	c->n = n;
	qsort(all, n, sizeof(*all), by_tid);
	c->pause_ns = hold_capture_pause(c->held);
	c->notes |= flags & HOLD_CAPTURE_PARTIAL ? PCAPTURE_PARTIAL : 0;
	c->notes |= flags & HOLD_CAPTURE_EXEC ? PCAPTURE_EXEC : 0;
	c->notes |= flags & HOLD_CAPTURE_STOOD ? PCAPTURE_STOOD : 0;
	return 0;
}

/* --- a core ------------------------------------------------------------------------- */

static int take_core(struct ps_prochandle *P, ps_capture_t *c)
{
	const struct core_layout *layout = core_layout(P->core);
	size_t n;
	const struct core_lwp *from = core_lwps(P->core, &n);

	c->core = core_ref(P->core);
	c->arch = layout ? stack_arch_for(layout->machine) : NULL;
	c->lwps = calloc(n + 1, sizeof(*c->lwps));
	if (!c->lwps)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct caplwp *l = &c->lwps[i];

		l->pub.pr_lwpid = from[i].tid;
		l->pub.pr_cursig = (short)from[i].cursig;
		l->pub.pr_sname = '?';
		l->pub.pr_syscall = -1;
		if (!c->arch ||
		    stack_regs_prstatus(c->arch, from[i].regs, layout->nregs, &l->regs))
			continue;
		l->pub.pr_flags = PCAP_REGS;
		l->pub.pr_reg[R_PC] = l->regs.pc;
		l->pub.pr_reg[R_SP] = l->regs.sp;
	}
	c->n = n;
	qsort(c->lwps, n, sizeof(*c->lwps), by_tid);
	return 0;
}

/* --- a process ---------------------------------------------------------------------- */

/* The hold that the handle has, or NULL. */
static struct hold *find_hold(struct ps_prochandle *P)
{
	struct hold *h;

	handle_lock(P);
	h = P->hold;
	handle_unlock(P);
	return h;
}

static int stop_and_copy(struct ps_prochandle *P, ps_capture_t *c, size_t limit,
			 struct hold_fault *fault)
{
	struct hold *h = find_hold(P);
	int rc;

	if (h) {
		rc = hold_capture(h, limit, DEADLINE_MS, &c->held);
	} else {
		rc = hold_grab(P->pid, P->pidfd, HOLD_NOSTOP | HOLD_BORROW, 0, &h, NULL,
			       fault);
		if (!rc)
			rc = hold_capture_release(h, limit, DEADLINE_MS, &c->held);
	}
	return rc ? rc : take_held(c);
}

static int take_process(struct ps_prochandle *P, ps_capture_t *c, int flags, size_t limit,
			struct hold_fault *fault)
{
	int rc;

	c->arch = stack_arch_for(arch_native->elf_machine);
	c->pidfd = dup(P->pidfd);
	if (c->pidfd < 0)
		return -errno;
	mem_live_init(&c->live, P->pid);
	rc = list_lwps(c, P->pid);
	if (rc)
		return rc;
	rc = flags & PCAPTURE_NOSTOP ? capnostop_copy(c, P->pid, limit)
				     : stop_and_copy(P, c, limit, fault);
	for (size_t i = 0; i < c->n && !rc; i++)
		if (c->lwps[i].pub.pr_flags & PCAP_REGS) {
			c->live.pid = c->lwps[i].pub.pr_lwpid;
			break;
		}
	return rc ? rc : procfs_pidfd_alive(c->pidfd) || c->n ? 0 : -ESRCH;
}

static int check(struct ps_prochandle *P, int flags, size_t limit)
{
	if ((flags & ~(PCAPTURE_NOSTOP | PCAPTURE_GRAB)) || limit > LIMIT_MAX)
		return -EINVAL;
	if (P->core)
		return P->state == PS_DEAD ? 0 : -ESRCH;
	if (P->pidfd < 0 || P->state == PS_UNDEAD || P->state == PS_LOST)
		return -ESRCH;
	return flags || find_hold(P) ? 0 : -EBADF;
}

/* The snapshot by now, with its files open. */
static int take_image(struct ps_prochandle *P, ps_capture_t *c)
{
	c->image = maps_take_recent(P);
	if (!c->image)
		return -errno;
	image_open_all(c->image);
	return 0;
}

static int make(struct ps_prochandle *P, int flags, size_t limit, ps_capture_t *c,
		struct hold_fault *fault)
{
	struct image *before;
	int rc = check(P, flags, limit);

	if (rc)
		return rc;
	before = maps_take(P);
	if (before)
		image_open_all(before);
	if (P->core)
		rc = take_core(P, c);
	else
		rc = take_process(P, c, flags, limit ? limit : LIMIT_DEFAULT, fault);
	if (!rc)
		rc = take_image(P, c);
	image_unref(before);
	return rc;
}

ps_capture_t *Pcapture(struct ps_prochandle *P, int flags, size_t limit, int *perr)
{
	ps_capture_t *c = calloc(1, sizeof(*c));
	struct hold_fault fault = { 0 };
	int rc = c ? 0 : -ENOMEM;

	errors_clear();
	if (c) {
		c->pidfd = -1;
		rc = make(P, flags, limit, c, &fault);
	}
	if (!rc)
		return c;
	Pcapture_free(c);
	if (perr && (rc == -EBADF || rc == -EINVAL))
		*perr = -rc;
	else if (perr)
		*perr = errors_grab(P->pid, rc, &fault);
	return NULL;
}
