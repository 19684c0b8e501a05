/* SPDX-License-Identifier: MIT */
/* Durations of one function: a histogram fine enough for percentiles. */
#ifndef PGRAB_TOOLS_HISTOGRAM_H
#define PGRAB_TOOLS_HISTOGRAM_H

#include <stdint.h>

enum {
	HISTOGRAM_PARTS = 16,                  /* of a power of two */
	HISTOGRAM_SIZE = 64 * HISTOGRAM_PARTS, /* cells */
};

struct histogram {
	uint64_t cell[HISTOGRAM_SIZE]; /* hits */
	uint64_t n;                    /* all */
	uint64_t sum, min, max;        /* ns */
};

void histogram_add(struct histogram *h, uint64_t ns);

/* The value below which `share` (0 to 1) of the hits lie, ns: right to a sixteenth. */
uint64_t histogram_at(const struct histogram *h, double share);

/* Hits from 2^i to below 2^(i+1) ns; 0 counts as 1. */
uint64_t histogram_power(const struct histogram *h, unsigned i);

/* Rows of `value  distribution  count`, a power of two each, as DTrace prints them. */
void histogram_print(const struct histogram *h);

#endif
