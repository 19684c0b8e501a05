/* SPDX-License-Identifier: MIT */
/* Signals as something to poll. */
#ifndef PGRAB_TOOLS_SIGNALS_H
#define PGRAB_TOOLS_SIGNALS_H

#include <stdbool.h>

/* A signal that arrived. */
struct caught {
	int sig;  /* which */
	int code; /* si_code: SI_KERNEL when the terminal sent it to the whole group */
};

enum signals_mode {
	SIGNALS_ALWAYS, /* every time */
	SIGNALS_ONCE /* the next one has its default effect: a second ^C always ends us */
};

/*
 * From now on the signals of the list (ended by 0) are caught; one that the caller had
 * ignored (nohup, a background job) stays ignored. Handlers, not a mask: exec resets
 * them, so a created command has its signals as the caller meant. 0, or -1 with errno.
 */
int signals_catch(const int *sigs, enum signals_mode mode);

/* Polls readable when one has arrived. */
int signals_fd(void);

/* Takes the next one. */
bool signals_take(struct caught *ret);

/* Ends this program by sig, so that the caller sees why. */
void signals_die(int sig) __attribute__((noreturn));

#endif
