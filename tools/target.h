/* SPDX-License-Identifier: MIT */
/* The processes that a command is about. */
#ifndef PGRAB_TOOLS_TARGET_H
#define PGRAB_TOOLS_TARGET_H

#include <stddef.h>

#include "command.h"
#include "libproc.h"

/* Looks at one process through a read-only handle: 0, or 1 after a sentence. */
typedef int target_fn(struct ps_prochandle *P, pid_t pid, void *arg);

/*
 * For commands that look without touching: has fn look at each pid, under a heading when
 * there are several; one that fails does not keep the others. Returns the exit status.
 */
int target_examine(const pid_t *pids, size_t n, target_fn *fn, void *arg);

/* The whole of such a command that has no options of its own. */
int target_command(const struct command *cmd, int argc, char **argv, target_fn *fn);

/* Grabs, or says why not (NULL). */
struct ps_prochandle *target_grab(pid_t pid, int flags);

/* A pidfd of a process that can be signalled and waited for, or -1 after a sentence. */
int target_pidfd(pid_t pid);

/* A line above a process's part of the output. */
void target_heading(struct ps_prochandle *P, pid_t pid);

#endif
