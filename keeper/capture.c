/* SPDX-License-Identifier: MIT */
/*
 * Captures: registers and stack bytes of every LWP, of one instant, in one request. What
 * costs time is done before the first LWP is interrupted (the mappings are read, the
 * memory is made) or after the last one runs on (the reply); in between there is nothing
 * but the stop, a read of registers an LWP, a few process_vm_readv(2) for all stacks
 * together, and the resume, or the detach, in the order of the interrupts.
 *
 * The memory is a memfd of the client's, sealed against shrinking, so that our mapping of
 * it stays good whatever the client does; it grows with what is copied. An LWP's stack is
 * copied from its stack pointer (less the red zone) up to the end of the mapping, or to
 * just behind the thread pointer, which a thread library puts at the end of the stack:
 * so a thread costs what it uses, at most the client's limit, and all of them TOTAL_MAX.
 * When the stack pointer is not in the mapping of the thread's own stack (an alternate
 * signal stack, a coroutine), the end of that stack is copied too.
 *
 * The mappings may have changed between our reading them and the stop. An address that
 * they do not hold is read as far as it goes; a read that ends early says how far.
 *
 * A victim that stands already is captured as it stands and left so. LWPs that do not
 * stop by the deadline are listed without registers and the others run on. A stop that
 * the client asks for meanwhile (capture_join()) follows without the LWPs running
 * between. After an exec there is one LWP; after the end nothing, and -ESRCH.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "os/procfs.h"
#include "util/log.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum {
	RED_ZONE = 128,        /* below the stack pointer, as the x86-64 ABI has it */
	BEHIND_TP = 4096,      /* what a thread library keeps behind the thread pointer */
	NBATCH = 512,          /* pieces in one read; IOV_MAX is 1024 */
	LIMIT_MAX = 8 << 20,   /* bytes of one stack */
	TOTAL_MAX = 512 << 20, /* bytes of a capture, and of address space for it */
	LIKELY = 8192,         /* bytes of stack of a thread that is not deep */
	MORE = 64,             /* LWPs that may be born until all stand */
	DEADLINE_MS = 1000,
};

/* One request. */
struct capture {
	struct kp_header req;         /* whose reply is owed; len 0 none */
	int fd;                       /* the memfd; owned */
	struct kp_capture_head *head; /* TOTAL_MAX bytes of it, mapped; NULL not yet */
	struct kp_captured *lwps;     /* behind head */
	uint64_t size;                /* of the memfd */
	uint64_t limit;               /* bytes of one stack */
	uint64_t began;               /* monotonic ns of the first interrupt; 0 none */
	uint64_t deadline;            /* monotonic ns */
	bool detach;                  /* let go instead of run on */
	bool stays;                   /* it stands when this is over */
	bool execed;                  /* meanwhile */
	bool taken;                   /* the copy is made: a stop now is another one */
	struct procfs_map *maps;      /* before the stop; owned */
	size_t nmaps;                 /* how many */
};

/* --- memory ------------------------------------------------------------------------ */

static int grow(struct capture *c, uint64_t size)
{
	if (size <= c->size)
		return 0;
	if (size > TOTAL_MAX)
		return -ENOSPC;
	if (ftruncate(c->fd, (off_t)size))
		return -errno;
	c->size = size;
	return 0;
}

static uint64_t table_size(uint64_t n)
{
	uint64_t size = sizeof(struct kp_capture_head) + n * sizeof(struct kp_captured);

	return (size + 4095) & ~4095ull;
}

/* The table's pages are there before they are written to, since a lack of memory would be
 * a SIGBUS. */
static int make_table(struct capture *c, uint64_t n)
{
	int rc = grow(c, table_size(n));

	if (!rc && fallocate(c->fd, 0, 0, (off_t)table_size(n)))
		rc = -errno;
	return rc;
}

static int map_memory(struct capture *c, uint64_t n)
{
	int seals = fcntl(c->fd, F_GET_SEALS), rc;
	struct stat st;
	void *p;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(c->fd, &st) || st.st_size)
		return -EINVAL;
	rc = make_table(c, n);
	if (rc)
		return rc;
	p = mmap(NULL, TOTAL_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		 c->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	c->head = p;
	c->lwps = (struct kp_captured *)(c->head + 1);
	/* pages that the copy will want: made now, nobody waits; if not, then then */
	if (!grow(c, table_size(n) + n * LIKELY))
		madvise(p, c->size, MADV_POPULATE_WRITE);
	return 0;
}

void capture_free(struct victim *v)
{
	struct capture *c = v->capture;

	if (!c)
		return;
	if (c->head)
		munmap(c->head, TOTAL_MAX);
	if (c->fd >= 0)
		close(c->fd);
	free(c->maps);
	free(c);
	v->capture = NULL;
	for (struct lwp *l = v->lwps; l; l = l->next) {
		l->captured = 0;
		l->halted = 0;
	}
}

/* --- which bytes ------------------------------------------------------------------- */

/* By address, or NULL. */
static const struct procfs_map *find_map(const struct capture *c, uint64_t addr)
{
	size_t low = 0, high = c->nmaps;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (addr >= c->maps[mid].end)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->nmaps && addr >= c->maps[low].start ? &c->maps[low] : NULL;
}

/* Where the thread's own stack ends, if its thread pointer tells. */
static uint64_t own_end(const struct procfs_map *m, uint64_t tp)
{
	uint64_t end = (tp + BEHIND_TP) & ~4095ull;

	return end > m->start && end < m->end ? end : m->end;
}

static uint64_t thread_pointer(const arch_regs_t *regs)
{
	unsigned reg = arch_native->reg_tp;

	return reg == ARCH_NOREG ? 0 : arch_reg_get(regs, reg);
}

/* From sp upward. True: there is more than the limit. */
static bool plan_top(const struct capture *c, uint64_t sp, uint64_t tp,
		     struct kp_piece *ret)
{
	const struct procfs_map *m = find_map(c, sp);
	uint64_t end = m ? m->end : sp + c->limit, start = sp - RED_ZONE;

	if (m && start < m->start)
		start = m->start;
	if (m && tp > sp && tp < m->end)
		end = own_end(m, tp);
	ret->addr = start;
	ret->len = end - start < c->limit ? end - start : c->limit;
	return ret->len < end - start;
}

/* The mapping of the thread's own stack, or NULL. */
static const struct procfs_map *find_own(const struct capture *c, const struct lwp *l,
					 uint64_t tp)
{
	size_t i = c->nmaps;

	if (l->tid != l->v->pid)
		return find_map(c, tp);
	while (i && strcmp(c->maps[i - 1].path, "[stack]"))
		i--;
	return i ? &c->maps[i - 1] : NULL;
}

/* The end of the thread's own stack, when sp is elsewhere. */
static void plan_own(const struct capture *c, const struct lwp *l, uint64_t sp,
		     uint64_t tp, struct kp_piece *ret)
{
	const struct procfs_map *m = find_own(c, l, tp);
	uint64_t end;

	if (!m || (sp >= m->start && sp < m->end) || !(m->prot & PROT_WRITE))
		return;
	end = l->tid == l->v->pid ? m->end : own_end(m, tp);
	ret->len = end - m->start < c->limit ? end - m->start : c->limit;
	ret->addr = end - ret->len;
}

static void plan(struct capture *c, struct lwp *l, const arch_regs_t *regs,
		 struct kp_captured *e)
{
	uint64_t sp = arch_reg_get(regs, arch_native->reg_sp);
	uint64_t tp = thread_pointer(regs);

	if (sp < RED_ZONE)
		return;
	if (plan_top(c, sp, tp, &e->piece[0]))
		e->flags |= KP_CAPTURED_CUT;
	plan_own(c, l, sp, tp, &e->piece[1]);
}

/* --- the copy ---------------------------------------------------------------------- */

/* Pieces to be read, one behind the other in the memfd. */
struct batch {
	struct iovec remote[NBATCH];
	struct kp_captured *owner[NBATCH]; /* of each */
	struct kp_piece *piece[NBATCH];    /* of each */
	unsigned n;                        /* how many */
};

/* What is left of piece i after got bytes of it; the rest stays zero. */
static void shorten(struct batch *b, unsigned i, uint64_t got)
{
	b->piece[i]->len = got;
	b->owner[i]->flags |= KP_CAPTURED_CUT;
}

/* One read from piece `from` on: the first that was not read; it ends at the first page
 * that cannot be. */
static unsigned read_from(struct capture *c, pid_t pid, struct batch *b, unsigned from)
{
	struct iovec local = { (char *)c->head + b->piece[from]->at, 0 };
	ssize_t got;

	for (unsigned i = from; i < b->n; i++)
		local.iov_len += b->remote[i].iov_len;
	got = process_vm_readv(pid, &local, 1, b->remote + from, b->n - from, 0);
	for (; from < b->n; from++) {
		size_t len = b->remote[from].iov_len;

		if (got < (ssize_t)len)
			break;
		got -= (ssize_t)len;
	}
	if (from < b->n)
		shorten(b, from++, got > 0 ? (uint64_t)got : 0);
	return from;
}

static void read_batch(struct capture *c, pid_t pid, struct batch *b)
{
	for (unsigned i = 0; i < b->n;)
		i = read_from(c, pid, b, i);
	b->n = 0;
}

static void add_piece(struct capture *c, pid_t pid, struct batch *b,
		      struct kp_captured *e, struct kp_piece *p, uint64_t *at)
{
	if (!p->len)
		return;
	if (grow(c, *at + p->len)) {
		p->len = 0;
		e->flags |= KP_CAPTURED_CUT;
		return;
	}
	p->at = *at;
	*at += p->len;
	b->remote[b->n] = (struct iovec){ (void *)(uintptr_t)p->addr, p->len };
	b->owner[b->n] = e;
	b->piece[b->n] = p;
	if (++b->n == NBATCH)
		read_batch(c, pid, b);
}

/* A leader that has ended has no memory any more: by another that stands. */
static pid_t readable_tid(const struct victim *v)
{
	for (const struct lwp *l = v->lwps; l; l = l->next)
		if (l->state == LWP_STOPPED)
			return l->tid;
	return v->pid;
}

static void copy_stacks(struct victim *v, struct capture *c)
{
	static struct batch b; /* large; the keeper has one thread */
	uint64_t at = table_size(c->head->n), total = at;
	pid_t pid = readable_tid(v);

	for (uint64_t i = 0; i < c->head->n; i++)
		total += c->lwps[i].piece[0].len + c->lwps[i].piece[1].len;
	grow(c, total < TOTAL_MAX ? total : TOTAL_MAX);
	for (uint64_t i = 0; i < c->head->n; i++)
		for (unsigned k = 0; k < 2; k++)
			add_piece(c, pid, &b, &c->lwps[i], &c->lwps[i].piece[k], &at);
	read_batch(c, pid, &b);
	c->head->size = at;
}

static void copy_lwp(struct capture *c, struct lwp *l, struct kp_captured *e)
{
	arch_regs_t *regs;

	*e = (struct kp_captured){ .tid = l->tid, .cursig = l->sig };
	if (l->group)
		e->flags |= KP_CAPTURED_OUTSTOP;
	if (l->cut)
		e->flags |= KP_CAPTURED_WAIT;
	if (l->state == LWP_DYING)
		return;
	if (lwp_regs(l, &regs)) {
		c->head->flags |= KP_CAPTURED_PARTIAL;
		return;
	}
	e->regs = *regs;
	e->flags |= KP_CAPTURED_REGS;
	plan(c, l, regs, e);
}

/* All that can be had now. */
static int copy_all(struct victim *v)
{
	struct capture *c = v->capture;
	uint32_t n = 0;
	int rc = make_table(c, v->nlwps);

	if (rc)
		return rc;
	if (c->execed) { /* what we know of the mappings was of the other program */
		free(c->maps);
		c->nmaps = 0;
		if (procfs_maps(v->pid, 0, &c->maps, &c->nmaps))
			c->maps = NULL;
	}
	c->head->flags = c->execed ? KP_CAPTURED_EXEC : 0;
	for (struct lwp *l = v->lwps; l; l = l->next) {
		copy_lwp(c, l, &c->lwps[n]);
		l->captured = ++n;
	}
	c->head->n = n;
	copy_stacks(v, c);
	log_at(LOG_KEEP, 1, v->pid, 0, "captured %u LWPs, %llu bytes", n,
	       (unsigned long long)c->head->size);
	return 0;
}

/* --- the stop ---------------------------------------------------------------------- */

static void answer(struct victim *v, int err)
{
	if (v->capture->req.len)
		reply_send(v, &v->capture->req, err, 0, "");
	v->capture->req.len = 0;
	capture_free(v);
}

void capture_halts(struct lwp *l)
{
	struct capture *c = l->v->capture;

	if (!c || l->halted)
		return;
	l->halted = clock_mono();
	if (!c->began)
		c->began = l->halted;
}

void capture_resumed(struct lwp *l)
{
	struct capture *c = l->v->capture;
	uint64_t now;

	if (!c || !l->captured || !c->began)
		return;
	now = clock_mono();
	if (l->halted)
		c->lwps[l->captured - 1].pause_ns = now - l->halted;
	c->head->pause_ns = now - c->began;
	l->captured = 0;
	l->halted = 0;
}

/* Let go: release.c answers. Who does not stand cannot be detached yet: nobody waits for
 * that; it is done when he stands, by and by. */
static void let_go(struct victim *v)
{
	bool partial = v->capture->head->flags & KP_CAPTURED_PARTIAL;
	struct kp_header req = v->capture->req;

	v->capture->req.len = 0;
	release_begin(v, KP_RELEASE_RUN, partial ? NULL : &req);
	if (partial)
		reply_send(v, &req, 0, 0, "");
}

/* Those that run, or never stopped, and those that go on standing. */
static void run_on(struct victim *v, int err)
{
	victim_run(v);
	if (v->capture && v->capture->req.len)
		answer(v, err);
}

/* False: it stands on, with its reason. */
static bool finish(struct victim *v)
{
	struct capture *c = v->capture;
	bool stays = c->stays, detach = c->detach;
	int rc = copy_all(v);

	c->taken = true;
	if (!rc && detach)
		let_go(v);
	else if (stays)
		answer(v, rc);
	else
		run_on(v, rc);
	return (!rc && detach) || !stays;
}

bool capture_take(struct victim *v)
{
	struct capture *c = v->capture;

	return c && c->req.len && !c->taken && finish(v);
}

bool capture_join(struct victim *v)
{
	struct capture *c = v->capture;

	if (!c || !c->req.len || c->taken || c->detach)
		return false;
	c->stays = true;
	return true;
}

void capture_exec(struct victim *v)
{
	if (v->capture)
		v->capture->execed = true;
}

void capture_ended(struct victim *v)
{
	if (v->capture && v->capture->req.len)
		answer(v, -ESRCH);
}

void capture_tick(struct victim *v, uint64_t now)
{
	struct capture *c = v->capture;

	if (!c || !c->req.len || now < c->deadline)
		return;
	if (v->phase != V_HELD) {
		answer(v, -ESRCH);
	} else if (v->stopping && !v->stopped) {
		bool stays = c->stays;

		c->stays = false;
		log_at(LOG_KEEP, 1, v->pid, 0, "captured in part: not all stand");
		if (!stays) {
			finish(v);
			return;
		}
		copy_all(v); /* the stop itself goes on */
		answer(v, 0);
	}
}

/* It stands: as it is. */
static void capture_standing(struct victim *v)
{
	struct capture *c = v->capture;
	int rc = copy_all(v);

	c->head->flags |= KP_CAPTURED_STOOD;
	if (!rc && c->detach)
		let_go(v);
	else
		answer(v, rc);
}

static int prepare(struct victim *v, const struct kp_capture *req, struct capture *c)
{
	uint32_t ms = req->deadline_ms ? req->deadline_ms : DEADLINE_MS;
	int rc;

	if (!req->limit || req->limit > LIMIT_MAX || ms > 5 * DEADLINE_MS ||
	    (req->flags & ~(uint32_t)KP_CAPTURE_DETACH))
		return -EINVAL;
	c->limit = req->limit;
	c->detach = req->flags & KP_CAPTURE_DETACH;
	rc = map_memory(c, v->nlwps + MORE);
	if (rc)
		return rc;
	/* without them (another memory limit, a leader that has ended) it goes on */
	if (procfs_maps(v->pid, 0, &c->maps, &c->nmaps))
		c->nmaps = 0;
	if (!c->nmaps && v->lwps &&
	    procfs_maps(v->pid, v->lwps->tid, &c->maps, &c->nmaps))
		c->nmaps = 0;
	c->deadline = clock_mono() + ms * 1000000ull;
	return 0;
}

void capture_begin(struct victim *v, const struct kp_capture *req, int fd)
{
	struct capture *c = calloc(1, sizeof(*c));
	int rc = c ? 0 : -ENOMEM;

	if (!c && fd >= 0)
		close(fd);
	capture_free(v); /* one that is over */
	if (c) {
		c->fd = fd;
		v->capture = c;
		rc = prepare(v, req, c);
	}
	if (rc) {
		capture_free(v);
		reply_send(v, &req->h, rc, 0, "");
		return;
	}
	c->req = req->h;
	c->stays = v->stopping;
	if (v->stopped)
		capture_standing(v);
	else if (!v->stopping)
		victim_stop(v, KP_WHY_REQUESTED, 0, v->pid, 0);
}
