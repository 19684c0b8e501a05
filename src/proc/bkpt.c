/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints by address. Several owners may want one address (glibc reports every event
 * of the dynamic linker at one): Ptag_set() is counted, Psetbkpt() is a flag, and the
 * keeper has one breakpoint for both. The flag wins: such a hit stops the victim
 * (PR_FAULTED), and the event carries the address for the owners of tags. It is
 * kernel-managed while all of its owners are content with that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proc/handle.h"

/* Index of the first at or above addr. */
static size_t lower(const struct ps_prochandle *P, uint64_t addr)
{
	size_t lo = 0, hi = P->nbkpts;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (P->bkpts[mid].addr < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct bkpt_want *find(struct ps_prochandle *P, uint64_t addr)
{
	size_t i = lower(P, addr);

	return i < P->nbkpts && P->bkpts[i].addr == addr ? &P->bkpts[i] : NULL;
}

void bkpt_forget(struct ps_prochandle *P)
{
	P->nbkpts = 0;
}

static void drop(struct ps_prochandle *P, struct bkpt_want *b)
{
	P->nbkpts--;
	memmove(b, b + 1, (size_t)(P->bkpts + P->nbkpts - b) * sizeof(*b));
}

/* Reads and decodes what stands at addr. */
static int decode(struct ps_prochandle *P, uint64_t addr, struct arch_insn *ret)
{
	uint8_t bytes[ARCH_INSN_MAX];
	ssize_t n = memory_read(P, addr, bytes, sizeof(bytes));

	if (n <= 0)
		return n ? (int)n : -EFAULT;
	text_original(P, addr, bytes, (size_t)n);
	return arch_decode(bytes, (size_t)n, ret);
}

static int add(struct ps_prochandle *P, uint64_t addr, struct bkpt_want **ret)
{
	struct bkpt_want *all, fresh = { .addr = addr };
	int rc = decode(P, addr, &fresh.insn);

	if (rc)
		return rc;
	all = realloc(P->bkpts, (P->nbkpts + 1) * sizeof(*all));
	if (!all)
		return -ENOMEM;
	P->bkpts = all;
	all += lower(P, addr);
	memmove(all + 1, all, (size_t)(P->bkpts + P->nbkpts - all) * sizeof(*all));
	P->nbkpts++;
	*all = fresh;
	*ret = all;
	return 0;
}

static bool wanted(const struct bkpt_want *b)
{
	return b->stop || b->tags || b->counts || b->records;
}

/* Makes the keeper's breakpoint what its owners want now. */
static int settle(struct ps_prochandle *P, struct bkpt_want *b)
{
	unsigned how = b->plain || b->records ? 0 : HOLD_BKPT_KERNEL;
	int rc = 0;

	if (b->stop)
		how = HOLD_BKPT_STOP;
	else if (!b->tags)
		how = HOLD_BKPT_COUNTER(b->counter);
	if (b->records)
		how |= HOLD_BKPT_RECORDER(b->counter);
	if (wanted(b)) {
		rc = hold_bkpt_set(P->hold, b->addr, &b->insn, how | HOLD_BKPT_REPLACE);
		b->planted |= !rc;
	} else if (b->planted) {
		rc = hold_bkpt_clear(P->hold, b->addr);
		b->planted = false;
	}
	return rc;
}

static int want(struct ps_prochandle *P, uint64_t addr, struct bkpt_want **ret)
{
	if (!P->hold)
		return -EBADF;
	*ret = find(P, addr);
	return *ret ? 0 : add(P, addr, ret);
}

static uint64_t saved_of(const struct arch_insn *insn)
{
	uint64_t saved;

	memcpy(&saved, insn->bytes, sizeof(saved));
	return saved;
}

int Psetbkpt(struct ps_prochandle *P, uintptr_t addr, unsigned long *saved)
{
	struct bkpt_want *b;
	int rc;

	handle_lock(P);
	rc = want(P, addr, &b);
	if (!rc && b->stop)
		rc = -EEXIST;
	if (!rc) {
		b->stop = true;
		rc = settle(P, b);
		b->stop = !rc;
		*saved = rc ? *saved : saved_of(&b->insn);
		if (rc && !wanted(b))
			drop(P, b);
	}
	handle_unlock(P);
	return handle_fail(rc);
}

int Pdelbkpt(struct ps_prochandle *P, uintptr_t addr, unsigned long saved)
{
	struct bkpt_want *b;
	int rc = 0;

	(void)saved; /* kept by the handle */
	handle_lock(P);
	b = find(P, addr);
	if (!b || !b->stop) {
		rc = P->hold ? -ENOENT : -EBADF;
	} else {
		b->stop = false;
		rc = settle(P, b);
		if (!wanted(b))
			drop(P, b);
	}
	handle_unlock(P);
	return handle_fail(rc == -ESRCH ? 0 : rc);
}

static bool step_over(struct ps_prochandle *P, void *arg)
{
	(void)arg;
	return P->state != PS_RUN && !(P->state == PS_STOP && !P->allstop);
}

int Pxecbkpt(struct ps_prochandle *P, unsigned long saved)
{
	int rc;

	(void)saved;
	rc = Psetrun(P, 0, PRCFAULT | PRSTEP);
	if (rc)
		return rc;
	handle_lock(P);
	rc = drive_wait(P, step_over, NULL, 0);
	if (!rc && !P->allstop)
		rc = -ENOENT;
	handle_unlock(P);
	return handle_fail(rc);
}

static int tag(struct ps_prochandle *P, uintptr_t addr, unsigned plain)
{
	struct bkpt_want *b;
	int rc;

	handle_lock(P);
	rc = want(P, addr, &b);
	if (!rc) {
		b->tags++;
		b->plain += plain;
		if (!b->stop && (b->tags == 1 || (plain && b->plain == 1)))
			rc = settle(P, b);
		if (rc) {
			b->plain -= plain;
			b->tags--;
			if (!wanted(b))
				drop(P, b);
		}
	}
	handle_unlock(P);
	return rc;
}

static void untag(struct ps_prochandle *P, uintptr_t addr, unsigned plain)
{
	struct bkpt_want *b;

	handle_lock(P);
	b = find(P, addr);
	if (b && b->tags && b->plain >= plain) {
		b->tags--;
		b->plain -= plain;
		if (!b->stop && (!b->tags || (plain && !b->plain)))
			settle(P, b);
		if (!wanted(b))
			drop(P, b);
	}
	handle_unlock(P);
}

int Ptag_set(struct ps_prochandle *P, uintptr_t addr)
{
	return tag(P, addr, 1);
}

void Ptag_clear(struct ps_prochandle *P, uintptr_t addr)
{
	untag(P, addr, 1);
}

int Ptag_set_kernel(struct ps_prochandle *P, uintptr_t addr)
{
	return tag(P, addr, 0);
}

void Ptag_clear_kernel(struct ps_prochandle *P, uintptr_t addr)
{
	untag(P, addr, 0);
}

/* --- hits that are only counted ----------------------------------------------------- */

/* Who is told of a hit by a number alone. */
enum use {
	USE_COUNT, /* Pcount_set() */
	USE_RECORD /* Precord_set() */
};

static unsigned *users(struct bkpt_want *b, enum use use)
{
	return use == USE_RECORD ? &b->records : &b->counts;
}

/* Each owner has a reference on the counter: it may outlive the breakpoint (exec). */
static int begin_use(struct ps_prochandle *P, struct bkpt_want *b, enum use use,
		     uint64_t *ret_base)
{
	bool first = !b->counts && !b->records;
	int rc = 0;

	*ret_base = 0;
	if (first) {
		rc = hold_counter_new(P->hold, &b->counter);
	} else {
		hold_counter_ref(P->hold, b->counter);
		*ret_base = hold_counter(P->hold, b->counter);
	}
	if (rc)
		return rc;
	if (!(*users(b, use))++ && (use == USE_RECORD || (first && !b->stop && !b->tags)))
		rc = settle(P, b);
	if (rc) {
		--*users(b, use);
		hold_counter_free(P->hold, b->counter);
	}
	return rc;
}

static int use_set(struct ps_prochandle *P, uintptr_t addr, enum use use,
		   uint32_t *ret_counter, uint64_t *ret_base)
{
	struct bkpt_want *b;
	int rc;

	handle_lock(P);
	rc = want(P, addr, &b);
	if (!rc) {
		rc = begin_use(P, b, use, ret_base);
		*ret_counter = rc ? 0 : b->counter;
		if (rc && !wanted(b))
			drop(P, b);
	}
	handle_unlock(P);
	return rc;
}

static void use_clear(struct ps_prochandle *P, uintptr_t addr, enum use use,
		      uint32_t counter)
{
	struct bkpt_want *b;

	handle_lock(P);
	b = find(P, addr);
	if (b && b->counter == counter && *users(b, use) && !--*users(b, use)) {
		if (use == USE_RECORD || (!b->records && !b->stop && !b->tags))
			settle(P, b);
		if (!wanted(b))
			drop(P, b);
	}
	if (P->hold)
		hold_counter_free(P->hold, counter);
	handle_unlock(P);
}

int Pcount_set(struct ps_prochandle *P, uintptr_t addr, uint32_t *ret_counter,
	       uint64_t *ret_base)
{
	return use_set(P, addr, USE_COUNT, ret_counter, ret_base);
}

void Pcount_clear(struct ps_prochandle *P, uintptr_t addr, uint32_t counter)
{
	use_clear(P, addr, USE_COUNT, counter);
}

uint64_t Pcount(struct ps_prochandle *P, uint32_t counter)
{
	return P->hold ? hold_counter(P->hold, counter) : 0;
}

void Pcounter_keep(struct ps_prochandle *P, uint32_t counter)
{
	if (P->hold)
		hold_counter_ref(P->hold, counter);
}

void Pcounter_drop(struct ps_prochandle *P, uint32_t counter)
{
	if (P->hold)
		hold_counter_free(P->hold, counter);
}

int Precord_begin(struct ps_prochandle *P, size_t size, size_t stack, size_t below)
{
	return P->hold ? hold_records_begin(P->hold, size, stack, below) : -EBADF;
}

int Precord_set(struct ps_prochandle *P, uintptr_t addr, uint32_t *ret_counter,
		uint64_t *ret_base)
{
	return use_set(P, addr, USE_RECORD, ret_counter, ret_base);
}

void Precord_clear(struct ps_prochandle *P, uintptr_t addr, uint32_t counter)
{
	use_clear(P, addr, USE_RECORD, counter);
}

void Precord_take(struct ps_prochandle *P, hold_record_f *fn, void *arg,
		  uint64_t *ret_lost)
{
	*ret_lost = 0;
	if (P->hold)
		hold_records_take(P->hold, fn, arg, ret_lost);
}
