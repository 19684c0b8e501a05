/* SPDX-License-Identifier: MIT */
/* Theory: a cell is a sixteenth of a power of two, so a value is known to 6 %, and both
 * percentiles and the rows of a log2 histogram come from one array. */
#include <string.h>

#include "histogram.h"
#include "output.h"

static unsigned log2_of(uint64_t v)
{
	return v ? 63 - (unsigned)__builtin_clzll(v) : 0;
}

static unsigned cell_of(uint64_t v)
{
	unsigned p = log2_of(v);
	uint64_t rest = p >= 4 ? v >> (p - 4) : v << (4 - p);

	return p * HISTOGRAM_PARTS + (unsigned)(rest & (HISTOGRAM_PARTS - 1));
}

/* The middle of a cell. */
static uint64_t value_of(unsigned cell)
{
	unsigned p = cell / HISTOGRAM_PARTS;
	double base = (double)(1ull << p);

	return (uint64_t)(base + base * (cell % HISTOGRAM_PARTS + 0.5) / HISTOGRAM_PARTS);
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	h->cell[cell_of(ns ? ns : 1)]++;
	if (!h->n || ns < h->min)
		h->min = ns;
	if (ns > h->max)
		h->max = ns;
	h->sum += ns;
	h->n++;
}

uint64_t histogram_at(const struct histogram *h, double share)
{
	uint64_t want = (uint64_t)((double)h->n * share), seen = 0;
	uint64_t v = h->max;

	for (unsigned i = 0; i < HISTOGRAM_SIZE; i++) {
		seen += h->cell[i];
		if (seen > want || (seen == h->n && seen)) {
			v = value_of(i);
			break;
		}
	}
	return v < h->min ? h->min : v > h->max ? h->max : v;
}

uint64_t histogram_power(const struct histogram *h, unsigned i)
{
	uint64_t n = 0;

	for (unsigned k = 0; k < HISTOGRAM_PARTS; k++)
		n += h->cell[i * HISTOGRAM_PARTS + k];
	return n;
}

static void print_row(const struct histogram *h, unsigned i)
{
	static const char full[] = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@";
	uint64_t n = histogram_power(h, i);
	int width = (int)((double)n * 40 / (double)h->n + 0.5);

	output("%16llu |%-40.*s %llu\n", 1ull << i, width, full, (unsigned long long)n);
}

/* An empty row before and behind, as DTrace has it. */
void histogram_print(const struct histogram *h)
{
	unsigned first = log2_of(h->min ? h->min : 1),
		 last = log2_of(h->max ? h->max : 1);

	if (!h->n)
		return;
	first -= first > 0;
	last += last < 63;
	output("%16s  %s %s\n", "ns", "------------- Distribution -------------",
	       "count");
	for (unsigned i = first; i <= last; i++)
		print_row(h, i);
}
