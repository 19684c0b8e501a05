/* SPDX-License-Identifier: MIT */
/* The processes that are traced: -p PID, -c 'COMMAND', -- COMMAND. */
#ifndef PGRAB_TOOLS_TARGETS_H
#define PGRAB_TOOLS_TARGETS_H

#include <stdbool.h>
#include <stddef.h>

#include "command.h"
#include "dtrace.h"

/* One. Compared by handle, not by pid: a pid given twice is one handle with two
 * references, and its one end ends both. */
struct traced {
	pid_t pid;               /* -p: this one; 0: create `argv` */
	char **argv;             /* -c or --: the command */
	char *text;              /* -c: what argv points into; allocated, with argv */
	struct ps_prochandle *P; /* its handle */
	int pidfd;               /* what was created, to send signals to; -1 */
	bool gone;               /* dead or lost */
	int status;              /* gone: wait(2) status, -1 not known */
};

struct targets {
	struct traced *v; /* in the order of the command line; owned */
	size_t n;         /* how many */
};

void targets_add_pid(struct targets *t, pid_t pid);

/* Splits on white space: no shell, no quoting. */
void targets_add_text(const struct command *cmd, struct targets *t, const char *command);
void targets_add_argv(struct targets *t, char **argv);

/* Creates and grabs them all, parked; false after a sentence. */
bool targets_take(struct targets *t, dtrace_hdl_t *dtp);
void targets_continue(struct targets *t, dtrace_hdl_t *dtp);

/* Notes the end of P; false when it is none of them. */
bool targets_ended(struct targets *t, struct ps_prochandle *P);
bool targets_all_gone(const struct targets *t);

/* Is one of them our own child, and still there? */
bool targets_created_left(const struct targets *t);

/* Sends sig to those that were created. */
void targets_signal(const struct targets *t, int sig);

/* Exit status for a shell: of the first that was created, 0 when none was. */
int targets_status(const struct targets *t);

void targets_free(struct targets *t);

#endif
