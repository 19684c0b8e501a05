/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints with a callback. The record owns them, in the order of their making, under
 * a lock of its own, which is let go around each callback; `running` names the breakpoint
 * whose callback runs, and whoever wants to free that one waits for its end (or, in the
 * callback itself, leaves it to the control thread). While the victim is parked nothing
 * is planted: the control thread does it at the continue, so the text stays clean. What
 * could not be planted stays listed and is tried at the next continue.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dtrace/dt_impl.h"
#include "util/log.h"

static void lock(dt_proc_t *dpr) TS_ACQUIRE(dt_role_bkpts) TS_UNCHECKED
{
	pthread_mutex_lock(&dpr->bklock);
}

static void unlock(dt_proc_t *dpr) TS_RELEASE(dt_role_bkpts) TS_UNCHECKED
{
	pthread_mutex_unlock(&dpr->bklock);
}

static bool parked_or_gone(dt_proc_t *dpr)
{
	bool yes;

	dt_record_lock(dpr);
	yes = (dpr->stop & DT_PROC_STOP_IDLE) || dpr->end;
	dt_record_unlock(dpr);
	return yes;
}

static void plant(dt_proc_t *dpr, struct dt_bkpt *bp) TS_REQUIRES(dt_role_bkpts)
{
	int rc;

	if (!bp->enabled || bp->planted || bp->dead)
		return;
	rc = bp->fn ? Ptag_set(dpr->P, bp->addr)
		    : Pcount_set(dpr->P, bp->addr, &bp->counter, &bp->base);
	bp->planted = !rc;
	log_at(LOG_CTL, 2, dpr->pid, 0, "breakpoint 0x%lx: %d", (unsigned long)bp->addr,
	       rc);
}

/* Takes it out of the text. What the keeper has counted becomes its own. */
static void uproot(dt_proc_t *dpr, struct dt_bkpt *bp) TS_REQUIRES(dt_role_bkpts)
{
	bp->planted = false;
	if (bp->fn) {
		Ptag_clear(dpr->P, bp->addr);
		return;
	}
	atomic_fetch_add(&bp->hits, Pcount(dpr->P, bp->counter) - bp->base);
	Pcount_clear(dpr->P, bp->addr, bp->counter);
}

void dt_bkpts_plant(dt_proc_t *dpr)
{
	lock(dpr);
	for (struct dt_bkpt *bp = dpr->bkpts; bp; bp = bp->next)
		plant(dpr, bp);
	unlock(dpr);
}

void dt_bkpts_exec(dt_proc_t *dpr)
{
	lock(dpr);
	for (struct dt_bkpt *bp = dpr->bkpts; bp; bp = bp->next) {
		if (bp->planted && !bp->fn)
			uproot(dpr, bp);
		bp->enabled = bp->planted = false;
	}
	unlock(dpr);
}

void dt_bkpts_unmapped(dt_proc_t *dpr, uint64_t start, uint64_t end)
{
	lock(dpr);
	for (struct dt_bkpt *bp = dpr->bkpts; bp; bp = bp->next) {
		if (bp->addr < start || bp->addr >= end)
			continue;
		if (bp->planted)
			uproot(dpr, bp);
		bp->enabled = false;
	}
	unlock(dpr);
}

/* --- hits --------------------------------------------------------------------------- */

static void unlink_free(dt_proc_t *dpr, struct dt_bkpt *bp) TS_REQUIRES(dt_role_bkpts)
{
	struct dt_bkpt **p = &dpr->bkpts;

	while (*p && *p != bp)
		p = &(*p)->next;
	if (*p)
		*p = bp->next;
	free(bp);
}

static struct dt_bkpt *next_at(struct dt_bkpt *bp, uintptr_t addr)
{
	while (bp && (bp->addr != addr || bp->dead || !bp->planted))
		bp = bp->next;
	return bp;
}

static struct dt_bkpt *last(dt_proc_t *dpr) TS_REQUIRES(dt_role_bkpts)
{
	struct dt_bkpt *bp = dpr->bkpts;

	while (bp && bp->next)
		bp = bp->next;
	return bp;
}

/* Calls bp's callback without the lock; `running` keeps bp, and so its place in the
 * list. */
static void call(dt_proc_t *dpr, struct dt_bkpt *bp, const struct hold_event *ev,
		 const prgregset_t regs) TS_REQUIRES(dt_role_bkpts)
{
	atomic_fetch_add(&bp->hits, 1);
	if (!bp->fn)
		return;
	dpr->running = bp;
	unlock(dpr);
	bp->fn(dpr->dtp, dpr->P, ev->tid, regs, bp->arg);
	lock(dpr);
	dpr->running = NULL;
	pthread_cond_broadcast(&dpr->bkcond);
}

void dt_bkpts_hit(dt_proc_t *dpr, const struct hold_event *ev)
{
	struct dt_bkpt *bp, *next, *end;
	prgregset_t regs;

	for (unsigned i = 0; i < sizeof(regs) / sizeof(regs[0]); i++)
		regs[i] = arch_reg_get(&ev->regs, i);
	lock(dpr);
	end = last(dpr); /* one that a callback makes is for the next hit */
	for (bp = next_at(dpr->bkpts, ev->addr); bp; bp = next) {
		bool at_end = bp == end;

		call(dpr, bp, ev, regs);
		next = at_end ? NULL : next_at(bp->next, ev->addr);
		if (bp->orphan)
			unlink_free(dpr, bp);
	}
	unlock(dpr);
}

/* --- the client's calls ------------------------------------------------------------- */

static struct dt_bkpt *new_bkpt(dt_proc_t *dpr, uintptr_t addr, dt_bkpt_f *fn, void *arg)
{
	struct dt_bkpt *bp = calloc(1, sizeof(*bp));

	if (!bp)
		return NULL;
	bp->dpr = dpr;
	bp->addr = addr;
	bp->fn = fn;
	bp->arg = arg;
	bp->enabled = true;
	return bp;
}

/* 0 when an instruction can be read there. */
static int check(dt_proc_t *dpr, uintptr_t addr)
{
	struct arch_insn insn;
	uint8_t bytes[ARCH_INSN_MAX];
	ssize_t n = Pread(dpr->P, bytes, sizeof(bytes), addr);

	return n <= 0 ? -EFAULT : arch_decode(bytes, (size_t)n, &insn);
}

/*
 * Whether the victim is parked is asked with the breakpoints' lock held: if it is, the
 * continue that ends the park has yet to come, and it plants all that is listed, under
 * this lock.
 */
static int add(dt_proc_t *dpr, struct dt_bkpt *bp)
{
	struct dt_bkpt *at_end;
	bool parked;
	int rc = 0;

	lock(dpr);
	parked = parked_or_gone(dpr);
	if (!parked)
		plant(dpr, bp);
	at_end = last(dpr);
	if (!parked && !bp->planted)
		rc = -EFAULT;
	else if (at_end)
		at_end->next = bp;
	else
		dpr->bkpts = bp;
	unlock(dpr);
	return rc;
}

dt_bkpt_t *dt_proc_bpcreate(dtrace_hdl_t *dtp, struct ps_prochandle *P, uintptr_t addr,
			    dt_bkpt_f *fn, void *arg)
{
	dt_proc_t *dpr = dt_record_use(dtp, P);
	struct dt_bkpt *bp = NULL;
	int rc = -EBADF;
	DT_NOCANCEL;

	if (!dpr) {
		dt_fail(dtp, EDT_BADPROC, NULL);
		return NULL;
	}
	if (dpr->kind == DT_KIND_CONTROLLED) {
		bp = new_bkpt(dpr, addr, fn, arg);
		rc = bp ? check(dpr, addr) : -ENOMEM;
		if (!rc)
			rc = add(dpr, bp);
	}
	if (rc) {
		free(bp);
		bp = NULL;
		dt_fail(dtp, EDT_BKPT,
			"failed to create breakpoint at 0x%lx in pid %d: %s",
			(unsigned long)addr, (int)dpr->pid, strerror(-rc));
	}
	dt_record_unuse(dpr);
	return bp;
}

static bool in_own_callback(dt_proc_t *dpr, const struct dt_bkpt *bp)
	TS_REQUIRES(dt_role_bkpts)
{
	return dpr->running == bp && pthread_equal(pthread_self(), dpr->thread);
}

void dt_proc_bpdestroy(dtrace_hdl_t *dtp, struct ps_prochandle *P, dt_bkpt_t *bp)
{
	dt_proc_t *dpr = bp ? dt_record_use(dtp, P) : NULL;
	DT_NOCANCEL;

	if (!dpr)
		return;
	lock(dpr);
	bp->dead = true;
	bp->orphan = in_own_callback(dpr, bp);
	while (dpr->running == bp && !bp->orphan)
		pthread_cond_wait(&dpr->bkcond, &dpr->bklock);
	if (bp->planted)
		uproot(dpr, bp);
	if (!bp->orphan)
		unlink_free(dpr, bp);
	unlock(dpr);
	dt_record_unuse(dpr);
}

uint64_t dt_proc_bphits(const dt_bkpt_t *bp)
{
	uint64_t hits;
	dt_proc_t *dpr = bp->dpr;

	/* What the keeper has counted moves into hits under the same lock. */
	lock(dpr);
	hits = atomic_load(&bp->hits);
	if (bp->planted && !bp->fn)
		hits += Pcount(dpr->P, bp->counter) - bp->base;
	unlock(dpr);
	return hits;
}

TS_UNCHECKED void dt_bkpts_fini(dt_proc_t *dpr)
{
	struct dt_bkpt *bp;

	while ((bp = dpr->bkpts)) {
		dpr->bkpts = bp->next;
		free(bp);
	}
}
