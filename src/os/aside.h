/* SPDX-License-Identifier: MIT */
/*
 * One system call in a process aside: of our memory and our descriptors, but not of our
 * process, so that SIGKILL of ours does not cut the call short; what it has made lives
 * in the descriptors, which then end with it. Costs some 50 µs.
 */
#ifndef PGRAB_OS_ASIDE_H
#define PGRAB_OS_ASIDE_H

#include <stdbool.h>
#include <sys/types.h>

/* A call that is under way; not to be moved. */
struct aside {
	pid_t pid;                     /* who makes it */
	int done;                      /* atomic: `result` is there */
	long nr;                       /* the system call */
	long args[3];                  /* its arguments */
	long result;                   /* what it returned */
	_Alignas(16) char stack[4096]; /* of who makes it */
};

/* Begins it. 0 or -errno. What is pointed to must stay until aside_wait(). */
int aside_start(struct aside *a, long nr, long x, long y, long z);

/* Has it returned? Does not block. */
bool aside_done(const struct aside *a);

/* Waits for its end: what it returned, or -errno. */
long aside_wait(struct aside *a);

/* All of it at once; when nobody can be had for it, by ourselves. */
long aside_call(long nr, long x, long y, long z);

#endif
