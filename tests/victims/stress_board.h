/* SPDX-License-Identifier: MIT */
/*
 * What a stress test and its victims share: a page of memory behind a descriptor that
 * every fork and exec keeps, and the arithmetic that both do, the victim under fire and
 * the test in peace.
 */
#ifndef PGRAB_VICTIMS_STRESS_BOARD_H
#define PGRAB_VICTIMS_STRESS_BOARD_H

#include <stdatomic.h>
#include <stdint.h>

enum {
	BOARD_THREADS = 8,  /* that compute */
	BOARD_UNITS = 12,   /* of work for each of them in one turn */
	BOARD_ALL_WELL = 42 /* exit status of a victim that has done its work */
};

/* The page. */
struct board {
	atomic_int end;     /* the victim is to end with its next turn */
	atomic_int tied;    /* the victim is to die with its parent */
	atomic_int settled; /* the victim is to stay what it is: no exec */
	atomic_int victim;  /* its pid, written by itself */
	atomic_long turns;  /* that it has begun */
	atomic_ulong sum;   /* its checksum at the end */
	atomic_long ended;  /* turns that went into it */
	atomic_int wrong;   /* children that ended otherwise than they should */
	atomic_int phase;   /* what the client is doing */
	atomic_int let_go;  /* the client is to let go for good and end */
	atomic_long hits;   /* that its callbacks saw */
	atomic_long events; /* that its handler saw */
	atomic_int gone;    /* the client has been told that the victim is dead or lost */
};

static inline uint64_t board_mix(uint64_t a, uint64_t b)
{
	uint64_t z = a + 0x9e3779b97f4a7c15ull * (b + 1);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* What `units` units of work make of a seed. */
static inline uint64_t board_work(uint64_t seed, int units)
{
	for (int i = 0; i < units; i++)
		seed = board_mix(board_mix(seed, (uint64_t)i), 7);
	return seed;
}

/* The workers of a turn: the threads, a forked child, a spawned one. */
enum {
	BOARD_FORKED = BOARD_THREADS,
	BOARD_SPAWNED,
	BOARD_WORKERS
};

static inline uint64_t board_seed(long turn, int worker)
{
	return board_mix((uint64_t)turn, (uint64_t)worker);
}

/* The checksum after one turn more, `done[i]` being what worker i computed. */
static inline uint64_t board_add(uint64_t sum, const uint64_t done[BOARD_WORKERS])
{
	for (int i = 0; i < BOARD_WORKERS; i++)
		sum = board_mix(sum, done[i]);
	return sum;
}

/* The checksum of so many turns, computed in peace. */
static inline uint64_t board_sum(long turns)
{
	uint64_t sum = 0, done[BOARD_WORKERS];

	for (long turn = 0; turn < turns; turn++) {
		for (int i = 0; i < BOARD_WORKERS; i++)
			done[i] = board_work(board_seed(turn, i), BOARD_UNITS);
		sum = board_add(sum, done);
	}
	return sum;
}

#endif
