/* SPDX-License-Identifier: MIT */
/* Which processes: operands, names, trees. */
#ifndef PGRAB_TOOLS_SELECT_H
#define PGRAB_TOOLS_SELECT_H

#include <stdbool.h>
#include <stddef.h>

#include "command.h"
#include "target.h"

/* What is wanted, and what that comes to. */
struct selection {
	const char *name;    /* glob(7) over names of processes, or NULL */
	bool tree;           /* descendants too */
	struct target *list; /* the result; allocated */
	size_t n;            /* how many */
};

/* Fills s->list from the operands from optind on, s->name and s->tree; nobody twice.
 * EXIT_DONE; EXIT_FAILED after a sentence when there is no such process. Ends the program
 * when nothing is asked for. Never this process itself. */
int select_targets(const struct command *cmd, int argc, char **argv, struct selection *s);

#endif
