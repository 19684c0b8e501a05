/* SPDX-License-Identifier: MIT */
/*
 * What came and what left between two lists. Lists mostly grow at their end, so the
 * part that both begin with is passed over; the rest of each is sorted by identity and
 * searched for every object of the other. Without memory for that, the rest is searched
 * one by one.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "rtld/rtld.h"

/* A stretch of a list, and its objects in order of identity. */
struct side {
	const struct rtld_object *objs;    /* borrowed */
	size_t n;                          /* how many */
	const struct rtld_object **sorted; /* owned; NULL when there was no memory */
};

static int order(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare(const struct rtld_object *a, const struct rtld_object *b)
{
	int c = order(a->link_map, b->link_map);

	if (!c)
		c = order(a->base, b->base);
	if (!c)
		c = order(a->dynamic, b->dynamic);
	if (!c)
		c = order((uint64_t)a->lmid, (uint64_t)b->lmid);
	return c ? c : strcmp(a->name, b->name);
}

static int compare_places(const void *a, const void *b)
{
	return compare(*(const struct rtld_object *const *)a,
		       *(const struct rtld_object *const *)b);
}

static struct side sort(const struct rtld_list *l, size_t from)
{
	struct side s = { .objs = l->objs + from, .n = l->n - from };

	if (s.n)
		s.sorted = malloc(s.n * sizeof(const struct rtld_object *));
	if (!s.sorted)
		return s;
	for (size_t i = 0; i < s.n; i++)
		s.sorted[i] = &s.objs[i];
	qsort(s.sorted, s.n, sizeof(const struct rtld_object *), compare_places);
	return s;
}

static bool has(const struct side *s, const struct rtld_object *obj)
{
	if (s->sorted)
		return bsearch(&obj, s->sorted, s->n, sizeof(const struct rtld_object *),
			       compare_places);
	for (size_t i = 0; i < s->n; i++)
		if (compare(&s->objs[i], obj) == 0)
			return true;
	return false;
}

/* Calls fn for each object of `a` that `b` has not. */
static void report(const struct side *a, const struct side *b, rtld_diff_f *fn, void *arg)
{
	for (size_t i = 0; fn && i < a->n; i++)
		if (!has(b, &a->objs[i]))
			fn(arg, &a->objs[i]);
}

void rtld_diff(const struct rtld_list *from, const struct rtld_list *to,
	       rtld_diff_f *gone, rtld_diff_f *came, void *arg)
{
	struct side old, new;
	size_t same = 0;

	while (same < from->n && same < to->n &&
	       compare(&from->objs[same], &to->objs[same]) == 0)
		same++;
	old = sort(from, same);
	new = sort(to, same);
	report(&old, &new, gone, arg);
	report(&new, &old, came, arg);
	free(old.sorted);
	free(new.sorted);
}
