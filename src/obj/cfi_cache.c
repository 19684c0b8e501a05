/* SPDX-License-Identifier: MIT */
/*
 * Rows that have been found before, by address: the same return addresses come again
 * with every thread and every sample.
 *
 * One direct-mapped table a file, made at the first row, as large as the file's number
 * of functions suggests and 512 slots (64 KB) at most. A slot is 16 words: a sequence
 * number, odd while it is being written; the address; the row packed. A reader copies
 * the words and looks whether the number has stayed (a seqlock: Linux
 * Documentation/locking/seqlock.rst); it waits for nobody. A writer that meets another
 * writer leaves the slot to it. A row with more rules than fit (a signal frame) is not
 * kept, and costs its execution each time.
 */
#include "obj/cfi_inside.h"

#include <stdlib.h>
#include <string.h>

enum {
	MIN_BITS = 5, /* log2 of the slots of the smallest cache */
	MAX_BITS = 9, /* … and of the largest */
	WORDS = 15,   /* of a slot, behind its number */
	NRULES = 9,   /* that fit in them */
};

/* A row and its address, packed. */
struct packed {
	uint64_t addr;                /* the address + 1; 0: empty */
	uint64_t start, end;          /* as in the row */
	struct cfi_rule cfa;          /* likewise */
	uint8_t section, flags;       /* likewise */
	uint8_t ra, nrules;           /* likewise */
	uint8_t pad[4];               /* 0 */
	struct cfi_rule rule[NRULES]; /* nrules of them */
	uint64_t spare;               /* 0 */
};

_Static_assert(sizeof(struct packed) == WORDS * sizeof(uint64_t), "a slot is 128 bytes");

/* One place for a row. */
struct slot {
	_Atomic(uint64_t) number;      /* odd: being written */
	_Atomic(uint64_t) word[WORDS]; /* a struct packed */
};

struct cfi_cache {
	unsigned shift;     /* 64 less log2 of the number of slots */
	struct slot slot[]; /* the slots */
};

static struct slot *slot_of(struct cfi_cache *cache, uint64_t vaddr)
{
	return &cache->slot[(vaddr * 0x9e3779b97f4a7c15ull) >> cache->shift];
}

static void unpack(const struct packed *p, struct cfi_row *ret)
{
	ret->start = p->start;
	ret->end = p->end;
	ret->cfa = p->cfa;
	ret->section = p->section;
	ret->flags = p->flags;
	ret->ra = p->ra;
	ret->nrules = p->nrules;
	memcpy(ret->rule, p->rule, p->nrules * sizeof(p->rule[0]));
}

bool cfi_cache_get(struct obj_cfi *f, uint64_t vaddr, struct cfi_row *ret)
{
	struct cfi_cache *cache = atomic_load_explicit(&f->cache, memory_order_acquire);
	uint64_t words[WORDS], number;
	struct packed p;
	struct slot *s;

	if (!cache || vaddr == UINT64_MAX) /* whose mark is that of an empty slot */
		return false;
	s = slot_of(cache, vaddr);
	number = atomic_load_explicit(&s->number, memory_order_acquire);
	if (number & 1 ||
	    atomic_load_explicit(&s->word[0], memory_order_relaxed) != vaddr + 1)
		return false;
	/* Acquire, each: none of them sinks below the second look at the number. */
	for (int i = 0; i < WORDS; i++)
		words[i] = atomic_load_explicit(&s->word[i], memory_order_acquire);
	if (atomic_load_explicit(&s->number, memory_order_relaxed) != number)
		return false;
	memcpy(&p, words, sizeof(p));
	if (p.addr != vaddr + 1)
		return false;
	unpack(&p, ret);
	return true;
}

/* Slots for a file with this much CFI: some 40 bytes are a function. */
static unsigned bits_for(const struct obj_cfi *f)
{
	size_t functions = (f->section[CFI_EH].len + f->section[CFI_DEBUG].len) / 40;
	unsigned bits = MIN_BITS;

	while (bits < MAX_BITS && 1u << bits < functions)
		bits++;
	return bits;
}

/* The cache; NULL: no memory, and it does without. */
static struct cfi_cache *need_cache(struct obj_cfi *f)
{
	struct cfi_cache *there = atomic_load_explicit(&f->cache, memory_order_acquire);
	unsigned bits = bits_for(f);
	struct cfi_cache *fresh;

	if (there)
		return there;
	fresh = calloc(1, sizeof(*fresh) + ((size_t)1 << bits) * sizeof(fresh->slot[0]));
	if (!fresh)
		return NULL;
	fresh->shift = 64 - bits;
	if (atomic_compare_exchange_strong(&f->cache, &there, fresh))
		return fresh;
	free(fresh);
	return there;
}

void cfi_cache_put(struct obj_cfi *f, uint64_t vaddr, const struct cfi_row *row)
{
	struct cfi_cache *cache = row->nrules <= NRULES ? need_cache(f) : NULL;
	uint64_t words[WORDS], number;
	struct packed p = { .addr = vaddr + 1, .start = row->start, .end = row->end };
	struct slot *s;

	if (!cache)
		return;
	p.cfa = row->cfa;
	p.section = row->section;
	p.flags = row->flags;
	p.ra = row->ra;
	p.nrules = row->nrules;
	memcpy(p.rule, row->rule, row->nrules * sizeof(p.rule[0]));
	memcpy(words, &p, sizeof(p));
	s = slot_of(cache, vaddr);
	number = atomic_load_explicit(&s->number, memory_order_relaxed);
	if (number & 1 ||
	    !atomic_compare_exchange_strong(&s->number, &number, number + 1))
		return;
	/* Release, each: none of them rises above the odd number. */
	for (int i = 0; i < WORDS; i++)
		atomic_store_explicit(&s->word[i], words[i], memory_order_release);
	atomic_store_explicit(&s->number, number + 2, memory_order_release);
}

void cfi_cache_free(struct cfi_cache *c)
{
	free(c);
}

size_t cfi_cache_bytes(const struct cfi_cache *c)
{
	return c ? sizeof(*c) + ((size_t)1 << (64 - c->shift)) * sizeof(*c->slot) : 0;
}
