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
 *
 * The lock is not held over a request: the keeper may be waiting for whoever reads the
 * records to make room, and he for the lock.
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
	SHARE_MAX = 16,         /* spots at one address that are told of a hit */
	MAX_COUNTERS = 65536    /* of a hold: hold_counter_new() */
};

enum state {
	COMES, /* asked for: the last one of all, its counter is not known yet */
	LIVES, /* in the text */
	GOES,  /* asked to go */
	GONE   /* … and out of it */
};

/* A spot that is, or was, watched. */
struct trap_spot {
	struct probe_spot s;
	uint32_t counter; /* the keeper's */
	uint64_t base;    /* its value when this spot began */
	uint32_t next;    /* of the same counter, index + 1; 0 none */
	uint8_t state;    /* enum state */
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
	uint64_t moves;          /* spots have other indexes than before */
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
	size_t ring = want == PROBE_WANT_STACKS ? RING_STACKS : RING_EVENTS;
	struct probe_backend *b = calloc(1, sizeof(*b));
	int rc;

	if (b)
		b->head = calloc(MAX_COUNTERS, sizeof(*b->head));
	rc = b && b->head ? 0 : -ENOMEM;

	if (!rc && want != PROBE_WANT_COUNT)
		rc = Precord_begin(P, ring, stack,
				   want == PROBE_WANT_STACKS ? PROBE_RED_ZONE : 0);
	if (rc) {
		snprintf(err, size, "no room for its hits: %s", strerror(-rc));
		if (b)
			free(b->head);
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

/* Out of the text. The index may change meanwhile, the counter does not. No lock. */
static void clear(struct probe_backend *b, const struct trap_spot *t)
{
	if (t->recorded)
		Precord_clear(b->P, t->s.addr, t->counter);
	else
		Pcount_clear(b->P, t->s.addr, t->counter);
}

static bool is_outside(uint64_t pc, uint64_t lo, uint64_t hi)
{
	return pc < lo || pc >= hi;
}

/* Does the jump leave its function? */
static bool leaves(const struct trap_spot *t, const struct hold_record *r)
{
	uint64_t pc = r->goes;

	if (!t->s.hi)
		return true;
	if (!pc && arch_jump_target(&t->insn, &r->regs, NULL, &pc))
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

static void link_counter(struct probe_backend *b, uint32_t i)
{
	struct trap_spot *t = &b->v[i];

	t->next = b->head[t->counter];
	b->head[t->counter] = i + 1;
}

/* A new last spot, still without a counter. Lock held. */
static int place(struct probe_backend *b, const struct probe_spot *s)
{
	struct trap_spot *t;
	int rc = grow(&b->v, &b->room, b->n + 1, sizeof(*b->v));

	if (!rc)
		rc = grow(&b->kept, &b->nkept, s->id + 1, sizeof(*b->kept));
	if (rc)
		return rc;
	t = &b->v[b->n];
	*t = (struct trap_spot){ .s = *s, .state = COMES };
	t->recorded = b->want != PROBE_WANT_COUNT || s->hi;
	rc = s->hi ? decode(b, t) : 0;
	b->n += !rc;
	return rc;
}

/* It has its counter, and is found by it. Lock held. */
static void settle(struct probe_backend *b, uint32_t counter, uint64_t base)
{
	struct trap_spot *t = &b->v[b->n - 1];

	t->counter = counter;
	t->base = base;
	t->state = LIVES;
	link_counter(b, (uint32_t)b->n - 1);
}

static int plant(struct probe_backend *b, uint64_t addr, bool recorded, uint32_t *ret,
		 uint64_t *ret_base)
{
	int rc = recorded ? Precord_begin(b->P, RING_EVENTS, 0, 0) : 0;

	if (rc)
		return rc;
	return recorded ? Precord_set(b->P, addr, ret, ret_base)
			: Pcount_set(b->P, addr, ret, ret_base);
}

static int set_one(struct probe_backend *b, const struct probe_spot *s)
{
	bool recorded = b->want != PROBE_WANT_COUNT || s->hi;
	uint32_t counter;
	uint64_t base;
	int rc;

	pthread_mutex_lock(&b->lock);
	rc = place(b, s);
	pthread_mutex_unlock(&b->lock);
	if (rc)
		return rc;
	rc = plant(b, s->addr, recorded, &counter, &base);
	pthread_mutex_lock(&b->lock);
	if (rc)
		b->n--;
	else
		settle(b, counter, base);
	pthread_mutex_unlock(&b->lock);
	return rc;
}

/* Where a search has got to. */
struct cursor {
	size_t at;      /* index to look at next */
	uint64_t moves; /* … as the indexes were */
};

/* The next one that lives between lo and hi; its copy. */
static bool find_living(struct probe_backend *b, uint64_t lo, uint64_t hi,
			struct cursor *c, struct trap_spot *ret)
{
	bool found = false;

	pthread_mutex_lock(&b->lock);
	if (c->moves != b->moves)
		*c = (struct cursor){ .moves = b->moves };
	for (; c->at < b->n && !found; c->at++) {
		struct trap_spot *t = &b->v[c->at];

		if (t->state != LIVES || t->s.addr < lo || t->s.addr >= hi)
			continue;
		t->state = GOES;
		Pcounter_keep(b->P, t->counter);
		*ret = *t;
		found = true;
	}
	pthread_mutex_unlock(&b->lock);
	return found;
}

/* It is out of the text: what it has counted is kept. */
static void bury(struct probe_backend *b, const struct trap_spot *copy)
{
	pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < b->n; i++) {
		struct trap_spot *t = &b->v[i];

		if (t->state != GOES || t->counter != copy->counter)
			continue;
		b->kept[t->s.id] += counted(b, t);
		t->state = GONE;
		t->gone_at = b->drains + 1;
		break;
	}
	pthread_mutex_unlock(&b->lock);
}

static void trap_gone(struct probe_backend *b, uint64_t lo, uint64_t hi)
{
	struct cursor c = { 0 };
	struct trap_spot t;

	while (find_living(b, lo, hi, &c, &t)) {
		clear(b, &t);
		bury(b, &t);
	}
}

/* It is the first of its chain: the others came before it. */
static void unlink_last(struct probe_backend *b, const struct trap_spot *t)
{
	b->head[t->counter] = t->next;
}

/* The last n spots are not to be. */
static void take_back(struct probe_backend *b, size_t n)
{
	struct trap_spot t;

	while (n-- > 0) {
		pthread_mutex_lock(&b->lock);
		t = b->v[--b->n];
		unlink_last(b, &t);
		pthread_mutex_unlock(&b->lock);
		clear(b, &t);
	}
}

static int trap_set(struct probe_backend *b, const struct probe_spot *spots, size_t n,
		    char *err, size_t size)
{
	size_t done = 0;
	int rc = 0;

	while (done < n && !rc) {
		rc = set_one(b, &spots[done]);
		done += !rc;
	}
	if (rc) {
		snprintf(err, size, "no breakpoint at 0x%llx: %s",
			 (unsigned long long)spots[done].addr, strerror(-rc));
		take_back(b, done);
	}
	return rc;
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
		if ((b->v[i].state == LIVES || b->v[i].state == GOES) && b->v[i].s.id < n)
			counts[b->v[i].s.id] += counted(b, &b->v[i]);
	pthread_mutex_unlock(&b->lock);
}

/* A drain() under way. */
struct draining {
	struct probe_backend *b; /* whose */
	probe_hit_f *fn;         /* the caller's */
	void *arg;               /* for it */
};

/* Is the record one of t's? Lock held. */
static unsigned accept(struct probe_backend *b, struct trap_spot *t,
		       const struct hold_record *r, struct probe_spot *ret)
{
	if (t->s.addr != r->addr || !t->recorded || !leaves(t, r))
		return 0;
	b->kept[t->s.id] += t->s.hi != 0;
	*ret = t->s;
	return 1;
}

/* The spots that are told of the record, their number; the jumps that leave counted. */
static unsigned find_spots(struct probe_backend *b, const struct hold_record *r,
			   struct probe_spot *ret)
{
	struct trap_spot *last;
	unsigned n = 0;
	uint32_t i;

	pthread_mutex_lock(&b->lock);
	last = b->n ? &b->v[b->n - 1] : NULL;
	i = r->id < MAX_COUNTERS ? b->head[r->id] : 0;
	if (!i && last && last->state == COMES)
		n = accept(b, last, r, ret);
	while (i && n < SHARE_MAX) {
		struct trap_spot *t = &b->v[i - 1];

		i = t->next;
		n += accept(b, t, r, ret + n);
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
		.stack_at = r->stack_at,
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
		if (b->v[i].state != GONE || b->v[i].gone_at > b->drains)
			b->v[n++] = b->v[i];
		else
			Pcounter_drop(b->P, b->v[i].counter);
	if (n == b->n)
		return;
	b->n = n;
	b->moves++;
	memset(b->head, 0, MAX_COUNTERS * sizeof(*b->head));
	for (uint32_t i = 0; i < n; i++)
		if (b->v[i].state != COMES)
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
