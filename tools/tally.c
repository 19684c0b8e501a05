/* SPDX-License-Identifier: MIT */
/*
 * Theory: most hits come by a few ways, and giving names to a stack costs more than
 * walking it. So a row is looked up by probe and program counters; only one that is new
 * gets names, while the process still has what they name. The row is found again by its
 * counters as long as the objects stay where they are: after a dlclose, or an exec, the
 * probe is another one too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "options.h"
#include "output.h"
#include "tally.h"

enum {
	TEXT_MAX = 256 * 1024 /* of a stack */
};

static uint64_t mix(uint64_t h, uint64_t v)
{
	h ^= v;
	h *= 0x9e3779b97f4a7c15ull;
	return h ^ h >> 31;
}

static uint64_t hash(const dtrace_probe_t *probe, const uintptr_t *pcs, unsigned n)
{
	uint64_t h = mix(0, (uintptr_t)probe);

	for (unsigned i = 0; i < n; i++)
		h = mix(h, pcs[i]);
	return h;
}

static void rehash(struct tally *t)
{
	free(t->bucket);
	t->nbuckets = t->nbuckets ? t->nbuckets * 2 : 256;
	t->bucket = options_alloc(t->nbuckets, sizeof(*t->bucket));
	for (size_t i = 0; i < t->n; i++) {
		struct tally_row *r = &t->v[i];
		uint32_t *b = &t->bucket[hash(r->probe, r->pcs, r->nframes) &
					 (t->nbuckets - 1)];

		r->next = *b;
		*b = (uint32_t)i + 1;
	}
}

static struct tally_row *add_row(struct tally *t)
{
	if (t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 256;
		struct tally_row *v = options_alloc(room, sizeof(*v));

		if (t->n)
			memcpy(v, t->v, t->n * sizeof(*v));
		free(t->v);
		t->v = v;
		t->room = room;
	}
	memset(&t->v[t->n], 0, sizeof(*t->v));
	return &t->v[t->n++];
}

/* Names for the frames, a line each. */
static void name_frames(struct tally *t, struct tally_row *r,
			const dtrace_probe_event_t *ev)
{
	static char text[TEXT_MAX];
	char *at = text;

	dtrace_probe_stack(ev, text, sizeof(text));
	r->frames = options_alloc(r->nframes, sizeof(*r->frames));
	for (unsigned i = 0; i < r->nframes; i++) {
		char *end = strchrnul(at, '\n'), raw[24];

		if (end == at)
			r->frames[i] =
				names_intern(&t->names, raw,
					     (size_t)snprintf(raw, sizeof(raw), "0x%lx",
							      (unsigned long)r->pcs[i]));
		else
			r->frames[i] = names_intern(&t->names, at, (size_t)(end - at));
		at = *end ? end + 1 : end;
	}
}

static struct tally_row *find(struct tally *t, const dtrace_probe_t *probe,
			      const uintptr_t *pcs, unsigned n)
{
	uint32_t i;

	if (!t->nbuckets)
		return NULL;
	i = t->bucket[hash(probe, pcs, n) & (t->nbuckets - 1)];
	for (; i; i = t->v[i - 1].next) {
		struct tally_row *r = &t->v[i - 1];

		if (r->probe == probe && r->nframes == n &&
		    (!n || !memcmp(r->pcs, pcs, n * sizeof(*pcs))))
			return r;
	}
	return NULL;
}

static void enter(struct tally *t)
{
	struct tally_row *r = &t->v[t->n - 1];
	uint32_t *b;

	if (t->n > t->nbuckets) {
		rehash(t);
		return;
	}
	b = &t->bucket[hash(r->probe, r->pcs, r->nframes) & (t->nbuckets - 1)];
	r->next = *b;
	*b = (uint32_t)t->n;
}

void tally_event(struct tally *t, const dtrace_probe_event_t *ev)
{
	struct tally_row *r = find(t, ev->probe, ev->pcs, ev->npcs);
	uintptr_t *pcs;

	if (!r) {
		pcs = options_alloc(ev->npcs, sizeof(*pcs));
		if (ev->npcs)
			memcpy(pcs, ev->pcs, ev->npcs * sizeof(*pcs));
		r = add_row(t);
		r->probe = ev->probe;
		r->pcs = pcs;
		r->nframes = ev->npcs;
		r->cut = ev->stack_cut;
		name_frames(t, r, ev);
		enter(t);
	}
	r->hits++;
}

void tally_count(struct tally *t, const dtrace_probe_t *probe, uint64_t hits)
{
	struct tally_row *r = add_row(t); /* in no bucket: it is the last of its kind */

	r->probe = probe;
	r->hits = hits;
}

static int by_name(const dtrace_probe_t *a, const dtrace_probe_t *b)
{
	int d = strcmp(a->module, b->module);

	d = d ? d : strcmp(a->function, b->function);
	d = d ? d : strcmp(a->name, b->name);
	return d ? d : (a->id > b->id) - (a->id < b->id);
}

static int by_hits(const void *a, const void *b)
{
	const struct tally_row *x = a, *y = b;

	if (x->hits != y->hits)
		return x->hits > y->hits ? -1 : 1;
	return by_name(x->probe, y->probe);
}

static int by_frames(const struct tally_row *a, const struct tally_row *b)
{
	if (a->nframes != b->nframes)
		return a->nframes < b->nframes ? -1 : 1;
	for (unsigned i = 0; i < a->nframes; i++)
		if (a->frames[i] != b->frames[i])
			return a->frames[i] < b->frames[i] ? -1 : 1;
	return 0;
}

/* One function, one way: in whichever namespace, or after whichever reload, it was. */
static int by_what(const void *a, const void *b)
{
	const struct tally_row *x = a, *y = b;
	int d = by_frames(x, y);

	d = d ? d : strcmp(x->probe->module, y->probe->module);
	d = d ? d : strcmp(x->probe->function, y->probe->function);
	d = d ? d : strcmp(x->probe->name, y->probe->name);
	return d ? d : (x->probe->pid > y->probe->pid) - (x->probe->pid < y->probe->pid);
}

static void free_row(struct tally_row *r)
{
	free(r->frames);
	free((void *)(uintptr_t)r->pcs);
}

static void merge(struct tally *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		if (n && !by_what(&t->v[n - 1], &t->v[i])) {
			t->v[n - 1].hits += t->v[i].hits;
			free_row(&t->v[i]);
		} else {
			t->v[n++] = t->v[i];
		}
	}
	t->n = n;
}

/* The buckets make no sense any more: rows are only read from now on. */
void tally_sort(struct tally *t)
{
	if (t->n)
		qsort(t->v, t->n, sizeof(*t->v), by_what);
	merge(t);
	if (t->n)
		qsort(t->v, t->n, sizeof(*t->v), by_hits);
	free(t->bucket);
	t->bucket = NULL;
	t->nbuckets = 0;
}

void tally_clear(struct tally *t)
{
	for (size_t i = 0; i < t->n; i++)
		free_row(&t->v[i]);
	free(t->v);
	free(t->bucket);
	names_free(t->names);
	memset(t, 0, sizeof(*t));
}
