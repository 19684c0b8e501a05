/* SPDX-License-Identifier: MIT */
/*
 * The client that the tests kill, or whose keeper they kill: a session that holds
 * victims/stress_work with breakpoints and callbacks, and is told of its libraries and
 * execs. It says on the board what it is doing, so that a kill can be aimed.
 */
#ifndef PGRAB_TESTS_STRESS_SESSION_H
#define PGRAB_TESTS_STRESS_SESSION_H

#include <sys/types.h>

#include "victims/stress_board.h"

/* What the client is doing. */
enum client_phase {
	PHASE_OPEN,    /* dtrace_open */
	PHASE_TAKE,    /* create or grab: attach, park */
	PHASE_PLANT,   /* breakpoints */
	PHASE_GO,      /* the park ends */
	PHASE_HITS,    /* callbacks and news */
	PHASE_STOP,    /* all threads stopped again, then run */
	PHASE_CLEAR,   /* a breakpoint removed */
	PHASE_RELEASE, /* let go */
	PHASE_N
};

/* For a table. */
extern const char *const client_phase_name[PHASE_N];

/* What the client plants beside what process control itself needs. */
enum client_bkpts {
	CLIENT_WITHOUT_BKPTS,
	CLIENT_WITH_BKPTS,
	CLIENT_WITHOUT_EVENTS /* none, and perf events are refused to its keeper */
};

/* Forks the client of the grabbed process `victim`. It takes hold, lets go, and begins
 * again, until it is killed or its keeper is. */
pid_t client_of(struct board *b, pid_t victim, enum client_bkpts bkpts);

/* Forks a client that takes hold of `victim` and keeps it until it is told to let go. */
pid_t client_that_stays(struct board *b, pid_t victim, enum client_bkpts bkpts);

/* Forks a client that creates its victim, on the board behind `fd`; else the same. */
pid_t client_with_child(struct board *b, int fd, enum client_bkpts bkpts);

/* The same, but one victim only, which is to run on when the client dies. */
pid_t client_that_keeps(struct board *b, int fd);

/* Forks and execs a victim on the board behind `fd`, tied to this process. */
pid_t client_victim(struct board *b, int fd);

/* Waits until the client has come to `phase`; not longer than 0.1 s, since it
 * may never come there again. */
void client_await(const struct board *b, enum client_phase phase);

#endif
