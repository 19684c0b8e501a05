/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "options.h"

/* One text. */
struct name {
	struct name *next; /* of the same hash */
	size_t len;        /* bytes, without the NUL */
	uint32_t index;    /* its number */
	char text[];       /* it */
};

struct names {
	struct name **bucket; /* owned */
	size_t nbuckets;      /* a power of two */
	struct name **by;     /* by number; owned */
	size_t n, room;       /* how many, for how many */
};

static uint64_t hash(const char *text, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a */

	while (len-- > 0)
		h = (h ^ (unsigned char)*text++) * 0x100000001b3ull;
	return h ^ h >> 29;
}

static void *enlarge(void *p, size_t n, size_t size)
{
	void *q = options_alloc(n * 2, size);

	if (n)
		memcpy(q, p, n * size);
	free(p);
	return q;
}

static void rehash(struct names *s)
{
	s->nbuckets *= 2;
	free(s->bucket);
	s->bucket = options_alloc(s->nbuckets, sizeof(*s->bucket));
	for (size_t i = 0; i < s->n; i++) {
		struct name *m = s->by[i];
		struct name **b = &s->bucket[hash(m->text, m->len) & (s->nbuckets - 1)];

		m->next = *b;
		*b = m;
	}
}

static struct names *obtain(struct names **set)
{
	if (!*set) {
		*set = options_alloc(1, sizeof(**set));
		(*set)->nbuckets = 64;
		(*set)->room = 64;
		(*set)->bucket = options_alloc(64, sizeof(*(*set)->bucket));
		(*set)->by = options_alloc(64, sizeof(*(*set)->by));
	}
	return *set;
}

const char *names_intern(struct names **set, const char *text, size_t len)
{
	struct names *s = obtain(set);
	uint64_t h = hash(text, len);
	struct name *m = s->bucket[h & (s->nbuckets - 1)];

	while (m && (m->len != len || memcmp(m->text, text, len) != 0))
		m = m->next;
	if (m)
		return m->text;
	m = options_alloc(1, sizeof(*m) + len + 1);
	memcpy(m->text, text, len);
	m->len = len;
	m->index = (uint32_t)s->n;
	m->next = s->bucket[h & (s->nbuckets - 1)];
	s->bucket[h & (s->nbuckets - 1)] = m;
	if (s->n == s->room) {
		s->by = enlarge(s->by, s->n, sizeof(*s->by));
		s->room *= 2;
	}
	s->by[s->n++] = m;
	if (s->n > s->nbuckets)
		rehash(s);
	return m->text;
}

static const struct name *name_of(const char *kept)
{
	return (const struct name *)(const void *)(kept - offsetof(struct name, text));
}

uint32_t names_index(const char *kept)
{
	return name_of(kept)->index;
}

size_t names_count(const struct names *set)
{
	return set ? set->n : 0;
}

const char *names_at(const struct names *set, size_t i)
{
	return set->by[i]->text;
}

void names_free(struct names *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->n; i++)
		free(set->by[i]);
	free(set->by);
	free(set->bucket);
	free(set);
}
