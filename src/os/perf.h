/* SPDX-License-Identifier: MIT */
/*
 * Hardware breakpoints and watchpoints of one thread, kept by the kernel:
 * perf_event_open(2) with PERF_TYPE_BREAKPOINT. Thin, no policy. When one is hit the
 * kernel sends a signal to that thread alone (fcntl(2), F_SETSIG and F_OWNER_TID); with
 * the descriptor's close, whoever closes it and why, all is undone. Nothing is written to
 * the process. Each returns 0, or a descriptor, or a negative errno, and may be called
 * from any thread.
 */
#ifndef PGRAB_OS_PERF_H
#define PGRAB_OS_PERF_H

#include <stdint.h>
#include <sys/types.h>

/* Accesses that hit; user mode only. */
enum perf_access {
	PERF_EXEC = 1,  /* the instruction at the address is about to be executed */
	PERF_WRITE = 2, /* the bytes have been written */
	PERF_READ = 4,  /* … read; x86 knows READ | WRITE, not READ alone */
};

/* What is watched. */
struct perf_watch {
	uint64_t addr;   /* of the first byte, a multiple of len unless EXEC */
	uint32_t len;    /* bytes: 1, 2, 4, 8; without meaning for EXEC */
	uint32_t access; /* enum perf_access, a set; EXEC stands alone */
};

/*
 * Arms w in thread tid, which is sent `sig` at each hit with si_code POLL_IN and si_fd
 * this descriptor. -ENOSPC: every register of the thread is taken; -EACCES, -EPERM: not
 * allowed (perf_event_paranoid, seccomp, another user's thread); -ESRCH: no such thread;
 * -EINVAL, -EOPNOTSUPP: not that length, alignment or access; -EMFILE, -ENFILE.
 */
int perf_watch_open(pid_t tid, const struct perf_watch *w, int sig);

/* Has another signal sent from now on. */
int perf_watch_signal(int fd, int sig);

/* How often it has been hit since it was armed. */
int perf_watch_count(int fd, uint64_t *ret);

#endif
