/* SPDX-License-Identifier: MIT */
/* The processes that a command is about. */
#ifndef PGRAB_TOOLS_TARGET_H
#define PGRAB_TOOLS_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "command.h"
#include "libproc.h"

/* Looks at one process through a read-only handle: 0, or 1 after a sentence. */
typedef int target_fn(struct ps_prochandle *P, pid_t pid, void *arg);

/* What an operand names. */
struct target {
	pid_t pid;        /* the process; 0 a file */
	const char *file; /* core or ELF file, or NULL */
};

/* A process id, or the path of a file (`./12` is one); ends the program when it is
 * neither. */
struct target target_operand(const struct command *cmd, const char *text);

/* A read-only handle on it, or NULL after a sentence. A core that is cut short gets a
 * notice. */
struct ps_prochandle *target_open(const struct target *t);

/* Does a line above say whose part of the output it is? */
enum target_headings {
	TARGET_HEADINGS, /* when there are several */
	TARGET_PLAIN     /* never */
};

/*
 * For commands that look without touching: has fn look at each; one that fails does not
 * keep the others. Returns the exit status.
 */
int target_examine(const struct target *list, size_t n, enum target_headings headings,
		   target_fn *fn, void *arg);

/* The whole of such a command that has no options of its own. Operands are processes. */
int target_command(const struct command *cmd, int argc, char **argv, target_fn *fn);

/* The same, for one that looks through the handle only: a core or an ELF file will do as
 * well. fn gets the pid that the core's process had. */
int target_command_file(const struct command *cmd, int argc, char **argv, target_fn *fn);

/* Is it a file, not a process? */
bool target_is_file(struct ps_prochandle *P);

/* Grabs, or says why not (NULL). */
struct ps_prochandle *target_grab(pid_t pid, int flags);

/* A pidfd of a process that can be signalled and waited for, or -1 after a sentence. */
int target_pidfd(pid_t pid);

/* A line above a process's part of the output. */
void target_heading(struct ps_prochandle *P, pid_t pid);

#endif
