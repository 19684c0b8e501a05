/* SPDX-License-Identifier: MIT */
/*
 * The backend that needs no privilege: breakpoints of the keeper. A hit that is only to
 * be counted is counted by it; one that is to be told, or that is a jump of which it
 * matters where it goes, is recorded by it, in shared memory. Nobody waits for us.
 *
 * One breakpoint may serve several spots (the entry of a function, and offset 0 in it):
 * each has a reference on it, and a record is told once for each.
 *
 * A spot that goes leaves records behind that are still to be read. Its counter is kept,
 * so that no other spot gets the same number, until a drain() that began later has ended.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe/probe.h"
#include "proc/control.h"
#include "util/log.h"

enum {
	RING_EVENTS = 4 << 20,  /* bytes: 15,000 hits */
	RING_STACKS = 32 << 20, /* bytes: 2,000 stacks of 16 KiB */
	SHARE_MAX = 16          /* spots at one address that are told of a hit */
};

/* A spot that is, or was, watched. */
struct trap_spot {
	struct probe_spot s;
	uint32_t counter; /* the keeper's */
	uint64_t base;    /* its value when this spot began */
	uint32_t next;    /* of the same counter, index + 1; 0 none */
	uint8_t live;     /* in the text */
	uint8_t recorded; /* told by records, not only counted */
	/* gone, by the drain() of this number its records have been read */
	uint64_t gone_at;
	struct arch_insn insn; /* with lo, hi: the jump */
};

struct probe_backend {
	struct ps_prochandle *P; /* the victim; borrowed */
	enum probe_want want;    /* of each hit */
	pthread_mutex_t lock;    /* guards what follows */
	struct trap_spot *v;     /* owned */
	size_t n, room;          /* how many, for how many */
	uint32_t *head;          /* by counter: index + 1 of its first spot; owned */
	size_t nhead;            /* counters there */
	uint64_t *kept;          /* by id: hits of spots that have gone; owned */
	size_t nkept;            /* ids there */
	uint64_t drains;         /* begun so far */
	uint64_t lost;           /* told so far */
};

static int grow(void *array, size_t *room, size_t want, size_t size)
{
	void **p = array;
	size_t n = *room ? *room : 64;
	char *q;

	while (n < want)
		n *= 2;
	if (n == *room)
		return 0;
	q = realloc(*p, n * size);
	if (!q)
		return -ENOMEM;
	memset(q + *room * size, 0, (n - *room) * size);
	*p = q;
	*room = n;
	return 0;
}

/* --- making and ending -------------------------------------------------------------- */

static int trap_open(struct ps_prochandle *P, enum probe_want want, size_t stack,
		     struct probe_backend **ret, char *err, size_t size)
{
	size_t words = 5 * sizeof(uint64_t);
	size_t ring = want == PROBE_WANT_STACKS ? RING_STACKS : RING_EVENTS;
	struct probe_backend *b = calloc(1, sizeof(*b));
	int rc = b ? 0 : -ENOMEM;

	if (!rc && want != PROBE_WANT_COUNT)
		rc = Precord_begin(P, ring, want == PROBE_WANT_STACKS ? stack : words);
	if (rc) {
		snprintf(err, size, "no room for its hits: %s", strerror(-rc));
		free(b);
		return rc;
	}
	b->P = P;
	b->want = want;
	pthread_mutex_init(&b->lock, NULL);
	*ret = b;
	return 0;
}

/* Its hits so far, as the keeper counted them. */
static uint64_t counted(const struct probe_backend *b, const struct trap_spot *t)
{
	return t->s.hi ? 0 : Pcount(b->P, t->counter) - t->base;
}

static void unset(struct probe_backend *b, struct trap_spot *t)
{
	t->live = false;
	t->gone_at = b->drains + 1;
	Pcounter_keep(b->P, t->counter);
	b->kept[t->s.id] += counted(b, t);
	if (t->recorded)
		Precord_clear(b->P, t->s.addr, t->counter);
	else
		Pcount_clear(b->P, t->s.addr, t->counter);
}

/* One that has not been told of. */
static void take_back(struct probe_backend *b, struct trap_spot *t)
{
	unset(b, t);
	Pcounter_drop(b->P, t->counter);
}

static ssize_t read_victim(void *ctx, uint64_t addr, void *buf, size_t len)
{
	ssize_t n = Pread(ctx, buf, len, addr);

	return n < 0 ? -errno : n;
}

static bool is_outside(uint64_t pc, uint64_t lo, uint64_t hi)
{
	return pc < lo || pc >= hi;
}

/* Does the jump leave its function? Where it goes through memory that is read now, a
 * little later than the jump: tables of pointers do not change. */
static bool leaves(struct probe_backend *b, const struct trap_spot *t,
		   const arch_regs_t *regs)
{
	static const struct mem_ops ops = { .read = read_victim };
	struct mem m = { &ops, b->P };
	uint64_t pc;

	if (!t->s.hi)
		return true;
	if (arch_jump_target(&t->insn, regs, &m, &pc))
		return false;
	return is_outside(pc, t->s.lo, t->s.hi) && is_outside(pc, t->s.lo2, t->s.hi2);
}

/* --- watching ----------------------------------------------------------------------- */

static int decode(struct probe_backend *b, struct trap_spot *t)
{
	uint8_t bytes[ARCH_INSN_MAX];
	ssize_t n = Pread(b->P, bytes, sizeof(bytes), t->s.addr);

	return n <= 0 ? -EFAULT : arch_decode(bytes, (size_t)n, &t->insn);
}

static int link_counter(struct probe_backend *b, uint32_t i)
{
	struct trap_spot *t = &b->v[i];
	int rc = grow(&b->head, &b->nhead, t->counter + 1, sizeof(*b->head));

	if (rc)
		return rc;
	t->next = b->head[t->counter];
	b->head[t->counter] = i + 1;
	return 0;
}

static void unlink_counter(struct probe_backend *b, uint32_t i)
{
	uint32_t *p = &b->head[b->v[i].counter];

	while (*p && *p != i + 1)
		p = &b->v[*p - 1].next;
	if (*p)
		*p = b->v[i].next;
}

/* Index i is to be used: makes room there. */
static int place(struct probe_backend *b, const struct probe_spot *s)
{
	struct trap_spot *t;
	int rc = grow(&b->v, &b->room, b->n + 1, sizeof(*b->v));

	if (!rc)
		rc = grow(&b->kept, &b->nkept, s->id + 1, sizeof(*b->kept));
	if (rc)
		return rc;
	t = &b->v[b->n];
	*t = (struct trap_spot){ .s = *s };
	t->recorded = b->want != PROBE_WANT_COUNT || s->hi;
	return s->hi ? decode(b, t) : 0;
}

static int set_one(struct probe_backend *b, const struct probe_spot *s)
{
	struct trap_spot *t;
	int rc = place(b, s);

	t = &b->v[b->n];
	if (!rc && t->recorded)
		rc = Precord_begin(b->P, RING_EVENTS, 0)
			     ?: Precord_set(b->P, s->addr, &t->counter);
	else if (!rc)
		rc = Pcount_set(b->P, s->addr, &t->counter);
	if (rc)
		return rc;
	t->base = Pcount(b->P, t->counter);
	t->live = true;
	rc = link_counter(b, (uint32_t)b->n);
	if (rc) {
		take_back(b, t);
		return rc;
	}
	b->n++;
	return 0;
}

static int trap_set(struct probe_backend *b, const struct probe_spot *spots, size_t n,
		    char *err, size_t size)
{
	size_t had;
	int rc = 0;

	pthread_mutex_lock(&b->lock);
	had = b->n;
	for (size_t i = 0; i < n && !rc; i++) {
		rc = set_one(b, &spots[i]);
		if (rc)
			snprintf(err, size, "no breakpoint at 0x%llx: %s",
				 (unsigned long long)spots[i].addr, strerror(-rc));
	}
	while (rc && b->n > had) {
		b->n--;
		unlink_counter(b, (uint32_t)b->n);
		take_back(b, &b->v[b->n]);
	}
	pthread_mutex_unlock(&b->lock);
	return rc;
}

static void trap_gone(struct probe_backend *b, uint64_t lo, uint64_t hi)
{
	pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < b->n; i++)
		if (b->v[i].live && b->v[i].s.addr >= lo && b->v[i].s.addr < hi)
			unset(b, &b->v[i]);
	pthread_mutex_unlock(&b->lock);
}

static void trap_stop(struct probe_backend *b)
{
	trap_gone(b, 0, UINT64_MAX);
}

/* --- hits --------------------------------------------------------------------------- */

static void trap_counts(struct probe_backend *b, uint64_t *counts, size_t n)
{
	pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < n && i < b->nkept; i++)
		counts[i] += b->kept[i];
	for (size_t i = 0; i < b->n; i++)
		if (b->v[i].live && b->v[i].s.id < n)
			counts[b->v[i].s.id] += counted(b, &b->v[i]);
	pthread_mutex_unlock(&b->lock);
}

/* A drain() under way. */
struct draining {
	struct probe_backend *b; /* whose */
	probe_hit_f *fn;         /* the caller's */
	void *arg;               /* for it */
};

/* The spots that are told of the record, their number; the jumps that leave counted. */
static unsigned find_spots(struct probe_backend *b, const struct hold_record *r,
			   struct probe_spot *ret)
{
	unsigned n = 0;

	pthread_mutex_lock(&b->lock);
	for (uint32_t i = r->id < b->nhead ? b->head[r->id] : 0; i && n < SHARE_MAX;) {
		struct trap_spot *t = &b->v[i - 1];

		i = t->next;
		if (t->s.addr != r->addr || !t->recorded || !leaves(b, t, &r->regs))
			continue;
		b->kept[t->s.id] += t->s.hi != 0;
		ret[n++] = t->s;
	}
	pthread_mutex_unlock(&b->lock);
	return n;
}

static void take(void *arg, const struct hold_record *r)
{
	struct draining *d = arg;
	struct probe_spot spots[SHARE_MAX];
	unsigned n = find_spots(d->b, r, spots);
	struct probe_hit hit = {
		.time_ns = r->time_ns,
		.tid = r->tid,
		.addr = r->addr,
		.regs = r->regs,
		.stack_at = arch_reg_get(&r->regs, arch_native->reg_sp),
		.stack = r->stack,
		.nstack = r->nstack,
	};

	for (unsigned i = n; i-- > 0 && d->b->want != PROBE_WANT_COUNT;) {
		hit.id = spots[i].id;
		hit.kind = spots[i].kind;
		d->fn(d->arg, &hit);
	}
}

/* Spots that went before this drain() began are forgotten. Lock held. */
static void forget(struct probe_backend *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		if (b->v[i].live || b->v[i].gone_at > b->drains)
			b->v[n++] = b->v[i];
		else
			Pcounter_drop(b->P, b->v[i].counter);
	if (n == b->n)
		return;
	b->n = n;
	memset(b->head, 0, b->nhead * sizeof(*b->head));
	for (uint32_t i = 0; i < n; i++)
		link_counter(b, i);
}

static void trap_drain(struct probe_backend *b, probe_hit_f *fn, void *arg,
		       uint64_t *ret_lost)
{
	struct draining d = { b, fn, arg };
	uint64_t lost;

	pthread_mutex_lock(&b->lock);
	b->drains++;
	pthread_mutex_unlock(&b->lock);
	Precord_take(b->P, take, &d, &lost);
	pthread_mutex_lock(&b->lock);
	forget(b);
	*ret_lost = lost - b->lost;
	b->lost = lost;
	pthread_mutex_unlock(&b->lock);
}

static void trap_close(struct probe_backend *b)
{
	if (!b)
		return;
	trap_stop(b);
	for (size_t i = 0; i < b->n; i++)
		Pcounter_drop(b->P, b->v[i].counter);
	pthread_mutex_destroy(&b->lock);
	free(b->v);
	free(b->head);
	free(b->kept);
	free(b);
}

const struct probe_ops probe_trap = {
	.name = "trap",
	.open = trap_open,
	.set = trap_set,
	.gone = trap_gone,
	.reset = trap_stop,
	.counts = trap_counts,
	.drain = trap_drain,
	.stop = trap_stop,
	.close = trap_close,
};
