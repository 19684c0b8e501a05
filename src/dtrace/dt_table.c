/* SPDX-License-Identifier: MIT */
/*
 * The table of a session's records and the LRU list of the cacheable ones. Pure
 * bookkeeping: no process, no handle is touched here, and the session's lock is held by
 * the caller.
 *
 * Identity is the handle: after an upgrade two records share a pid. The pid's bucket
 * holds at most one record of a pid, the *current* one, which answers the next grab; a
 * stale one stays only in the bucket of its handle, until its last release.
 *
 * The LRU list holds the cacheable records, referenced or not, the most recently used
 * first. `idle` counts those without references: these are the cache, and it is they that
 * `limit` bounds.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dtrace/dt_impl.h"

static unsigned power_of_two(unsigned n)
{
	unsigned p = 1;

	while (p < n && p < DT_HASH_MAX)
		p <<= 1;
	return p;
}

static unsigned handle_bucket(const struct dt_table *t, const struct ps_prochandle *P)
{
	uint64_t h = (uint64_t)(uintptr_t)P * 0x9e3779b97f4a7c15ull;

	return (unsigned)(h >> 40) & t->mask;
}

static unsigned pid_bucket(const struct dt_table *t, pid_t pid)
{
	return (unsigned)pid & t->mask;
}

int dt_table_init(struct dt_table *t, unsigned buckets, unsigned limit)
{
	unsigned n = power_of_two(buckets ? buckets : DT_HASH_DEFAULT);
	struct dt_proc **h = calloc(n, sizeof(struct dt_proc *));
	struct dt_proc **p = calloc(n, sizeof(struct dt_proc *));

	if (!h || !p) {
		free(h);
		free(p);
		return -ENOMEM;
	}
	memset(t, 0, sizeof(*t));
	t->by_handle = h;
	t->by_pid = p;
	t->mask = n - 1;
	t->limit = limit;
	return 0;
}

void dt_table_fini(struct dt_table *t)
{
	free(t->by_handle);
	free(t->by_pid);
	memset(t, 0, sizeof(*t));
}

dt_proc_t *dt_table_find(const struct dt_table *t, const struct ps_prochandle *P)
{
	dt_proc_t *dpr = t->by_handle ? t->by_handle[handle_bucket(t, P)] : NULL;

	while (dpr && dpr->P != P)
		dpr = dpr->hash_next;
	return dpr;
}

dt_proc_t *dt_table_find_pid(const struct dt_table *t, pid_t pid)
{
	dt_proc_t *dpr = t->by_pid ? t->by_pid[pid_bucket(t, pid)] : NULL;

	while (dpr && dpr->pid != pid)
		dpr = dpr->pid_next;
	return dpr;
}

void dt_table_insert(struct dt_table *t, dt_proc_t *dpr)
{
	dt_proc_t **b = &t->by_handle[handle_bucket(t, dpr->P)];

	dpr->hash_next = *b;
	*b = dpr;
	dpr->hashed = true;
	t->n++;
}

void dt_table_make_current(struct dt_table *t, dt_proc_t *dpr)
{
	dt_proc_t **b = &t->by_pid[pid_bucket(t, dpr->pid)];

	dpr->pid_next = *b;
	*b = dpr;
	dpr->current = true;
}

/* --- LRU ---------------------------------------------------------------------------- */

static void lru_push(struct dt_table *t, dt_proc_t *dpr)
{
	dpr->lru_prev = NULL;
	dpr->lru_next = t->lru_head;
	if (t->lru_head)
		t->lru_head->lru_prev = dpr;
	else
		t->lru_tail = dpr;
	t->lru_head = dpr;
}

static void lru_unlink(struct dt_table *t, dt_proc_t *dpr)
{
	if (dpr->lru_prev)
		dpr->lru_prev->lru_next = dpr->lru_next;
	else
		t->lru_head = dpr->lru_next;
	if (dpr->lru_next)
		dpr->lru_next->lru_prev = dpr->lru_prev;
	else
		t->lru_tail = dpr->lru_prev;
	dpr->lru_next = dpr->lru_prev = NULL;
}

void dt_table_make_cacheable(struct dt_table *t, dt_proc_t *dpr)
{
	dpr->cacheable = true;
	lru_push(t, dpr);
	if (!dpr->refs)
		t->idle++;
}

static void make_uncacheable(struct dt_table *t, dt_proc_t *dpr)
	TS_REQUIRES(dt_role_session)
{
	if (!dpr->cacheable)
		return;
	dpr->cacheable = false;
	lru_unlink(t, dpr);
	if (!dpr->refs)
		t->idle--;
}

void dt_table_ref(struct dt_table *t, dt_proc_t *dpr)
{
	if (dpr->cacheable) {
		if (!dpr->refs)
			t->idle--;
		lru_unlink(t, dpr);
		lru_push(t, dpr);
	}
	dpr->refs++;
}

bool dt_table_unref(struct dt_table *t, dt_proc_t *dpr)
{
	if (!dpr->refs || --dpr->refs)
		return false;
	if (!dpr->cacheable)
		return true;
	t->idle++;
	return t->idle > t->limit;
}

dt_proc_t *dt_table_victim(const struct dt_table *t, unsigned keep)
{
	dt_proc_t *dpr = t->lru_tail;

	if (t->idle <= keep)
		return NULL;
	while (dpr && dpr->refs)
		dpr = dpr->lru_prev;
	return dpr;
}

/* --- out ---------------------------------------------------------------------------- */

void dt_table_make_stale(struct dt_table *t, dt_proc_t *dpr)
{
	dt_proc_t **p;

	make_uncacheable(t, dpr);
	if (!dpr->current)
		return;
	for (p = &t->by_pid[pid_bucket(t, dpr->pid)]; *p != dpr;)
		p = &(*p)->pid_next;
	*p = dpr->pid_next;
	dpr->current = false;
}

void dt_table_remove(struct dt_table *t, dt_proc_t *dpr)
{
	dt_proc_t **p;

	dt_table_make_stale(t, dpr);
	if (!dpr->hashed)
		return;
	for (p = &t->by_handle[handle_bucket(t, dpr->P)]; *p != dpr;)
		p = &(*p)->hash_next;
	*p = dpr->hash_next;
	dpr->hashed = false;
	t->n--;
}
