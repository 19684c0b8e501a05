/* SPDX-License-Identifier: MIT */
/*
 * Hits of functions, with the stacks that they had: counted by probe and by the text of
 * the stack, so that one row is one way of getting there, whatever was unmapped since.
 */
#ifndef PGRAB_TOOLS_TALLY_H
#define PGRAB_TOOLS_TALLY_H

#include <stddef.h>
#include <stdint.h>

#include "dtprobe.h"

/* One row. */
struct tally_row {
	const dtrace_probe_t *probe; /* whose; lent */
	uint64_t hits;               /* how many */
	const char **frames;         /* innermost first, interned; owned array */
	const uintptr_t *pcs;        /* their addresses; owned */
	unsigned nframes;            /* 0: without a stack */
	int cut;                     /* there are more frames */
	uint32_t next;               /* of the same hash, index + 1 */
};

struct tally {
	struct tally_row *v; /* owned */
	size_t n, room;      /* how many, for how many */
	uint32_t *bucket;    /* index + 1 of a first; owned */
	size_t nbuckets;     /* a power of two, or 0 */
	struct names *names; /* texts, each once; owned */
};

/* One hit more, with the stack of the event. Ends the program without memory. */
void tally_event(struct tally *t, const dtrace_probe_event_t *ev);

/* A row of so many hits, without a stack. */
void tally_count(struct tally *t, const dtrace_probe_t *probe, uint64_t hits);

/* Rows that say the same become one; most hits first. */
void tally_sort(struct tally *t);

void tally_clear(struct tally *t);

#endif
