/* SPDX-License-Identifier: MIT */
/*
 * Stress tests: one scenario a program, repeated for a chosen time or number of rounds,
 * with figures on stderr. On the harness, so that nothing is left behind.
 *
 *	stress_NAME                 the short form, as in `make check`
 *	stress_NAME --rounds N      so many
 *	stress_NAME --full          as many as the scenario is meant for
 *	stress_NAME --seconds S     as many as there is time for
 *	… --seed N                  the random choices of a former run
 */
#ifndef PGRAB_TESTS_STRESS_H
#define PGRAB_TESTS_STRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness/harness.h"

/* A scenario. */
struct stress {
	const char *name;  /* of the test */
	void (*run)(void); /* all rounds, by stress_next(); then the figures */
	unsigned few;      /* rounds of the short form */
	unsigned full;     /* rounds that it is meant for */
};

/* main(): its exit status. */
int stress_main(int argc, char **argv, const struct stress *s);

/* Is another round due? Counts it. */
bool stress_next(void);

/* Counts n rounds, where the scenario counts something else than stress_next(). */
void stress_count(unsigned n);

/* Rounds begun. */
unsigned stress_rounds(void);

/* How many rounds are still wanted; by time: UINT64_MAX until the time is up, then 0. */
uint64_t stress_wanted(void);

/* A line of figures. */
void stress_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A number below n. */
unsigned stress_random(unsigned n);

/* Spins for so many microseconds: shorter and more exact than a sleep. */
void stress_spin(unsigned us);

/* A page of memory behind a descriptor that children and their execs keep; ends with
 * the process. */
void *stress_page(size_t size, int *ret_fd);

/* Becomes the parent of every orphan below. To be undone by nothing: the test's process
 * ends. */
void stress_adopt(void);

/* Reaps until there is no child left, 10 s at most. Calls fn for each. */
void stress_reap(void (*fn)(pid_t pid, int status));

/* How the text of a process compares with the files that it has mapped executable. */
enum stress_text {
	TEXT_GONE,   /* it exec'd or ended meanwhile */
	TEXT_CLEAN,  /* every byte is the file's */
	TEXT_CHANGED /* there is a trap, or what one has left */
};

enum stress_text stress_look_at_text(pid_t pid);

/* True when it is clean; fails the test when it has been changed. */
bool stress_text_is_clean(pid_t pid);

#endif
