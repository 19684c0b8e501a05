/* SPDX-License-Identifier: MIT */
/* What a test must leave as it found it. */
#ifndef PGRAB_TESTS_LEAKS_H
#define PGRAB_TESTS_LEAKS_H

#include "harness/harness.h"

enum {
	LEAKS_FDS = 1024,    /* descriptors looked at */
	LEAKS_TARGET = 64,   /* bytes kept of what one stands for */
	LEAKS_PROCESSES = 64 /* processes named */
};

/* A process's own things, at one moment. */
struct leaks_own {
	char fds[LEAKS_FDS][LEAKS_TARGET]; /* "" closed */
	int threads;                       /* how many */
};

void leaks_note(struct leaks_own *ret);

/* Fails the test where this process has more, or less, than it had. */
void leaks_check(const struct leaks_own *before);

/*
 * Called by the runner, who adopts orphans, when the test's process is gone. Waits, 5 s
 * at most (HARNESS_SWEEP_MS), until no descendant lives, reaping; then writes who is
 * left ("" nobody) and kills them.
 */
void leaks_sweep(char *ret_text, size_t size);

#endif
