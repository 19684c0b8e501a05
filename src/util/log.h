/* SPDX-License-Identifier: MIT */
/*
 * The debug log: silent unless PGRAB_DEBUG names layers, as in PGRAB_DEBUG=ctl,rtld:2
 * (a level of 1 to 9 behind the colon; `all` is every layer). Lines go to stderr, or to
 * the file PGRAB_DEBUG_FILE, each with the time and the pid/tid that it is about, one
 * write a line.
 */
#ifndef PGRAB_UTIL_LOG_H
#define PGRAB_UTIL_LOG_H

#include <stdbool.h>
#include <sys/types.h>

/* A layer that logs: one value a folder. */
enum log_layer {
	LOG_OS,    /* system calls worth a line */
	LOG_HOLD,  /* client side of the keeper: requests, events */
	LOG_TRACE, /* keeper: every ptrace request */
	LOG_KEEP,  /* keeper: every state change of a victim or an LWP */
	LOG_OBJ,   /* ELF files */
	LOG_IMAGE, /* address-space snapshots */
	LOG_RTLD,  /* link maps */
	LOG_PROC,  /* handle: every state change */
	LOG_CTL,   /* control threads, sessions */
	LOG_NLAYERS
};

/* True when `layer` logs at `level` (1 to 9). Any thread; does not block. */
bool log_on(enum log_layer layer, int level);

/* Writes one line about pid/tid (0: not about one). Call through log_at(). */
void log_line(enum log_layer layer, pid_t pid, pid_t tid, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#define log_at(layer, level, pid, tid, ...)                                              \
	do {                                                                             \
		if (__builtin_expect(log_on(layer, level), 0))                           \
			log_line(layer, pid, tid, __VA_ARGS__);                          \
	} while (0)

#endif
