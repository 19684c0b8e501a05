/* SPDX-License-Identifier: MIT */
/* Processes that get a signal, through their pidfds: stop, cont and wait. */
#ifndef PGRAB_TOOLS_JOBS_H
#define PGRAB_TOOLS_JOBS_H

#include <stdbool.h>
#include <stddef.h>

#include "libproc.h"

/* One process. */
struct job {
	pid_t pid;    /* its id */
	int pidfd;    /* holds its identity; -1 when it cannot be had */
	bool ended;   /* it had ended when we came, or has since */
	bool settled; /* no more to be done about it */
};

/* What the command means to do. */
enum job_use {
	JOB_SIGNAL, /* a zombie is a failure */
	JOB_WAIT    /* a zombie has ended: good */
};

/* Opens each process; what cannot be had gets a sentence and is settled. *ret is
 * allocated. Returns how many failed. */
size_t jobs_open(const pid_t *pids, size_t n, enum job_use use, struct job **ret);

/* Sends sig to each that is not settled; one that fails gets a sentence. How many
 * failed. */
size_t jobs_signal(struct job *jobs, size_t n, int sig);

/* Closes and frees. */
void jobs_free(struct job *jobs, size_t n);

/* Milliseconds of the monotonic clock. */
long long jobs_now(void);

#endif
