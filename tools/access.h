/* SPDX-License-Identifier: MIT */
/* May we attach to a process, and if not, which rule says so. Never attaches. */
#ifndef PGRAB_TOOLS_ACCESS_H
#define PGRAB_TOOLS_ACCESS_H

#include <sys/types.h>

#include "finding.h"

/* Adds what the rules say of pid; a bad finding among them: we may not. */
void access_check(pid_t pid, struct findings *ret);

#endif
