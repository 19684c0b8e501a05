/* SPDX-License-Identifier: MIT */
/* What this machine allows its tracers in general, found out by trying on ourselves. */
#ifndef PGRAB_TOOLS_MACHINE_H
#define PGRAB_TOOLS_MACHINE_H

#include "finding.h"

/* Adds the findings; a bad one: we may attach to nothing at all. */
void machine_check(struct findings *ret);

/* How victims are protected from our own death, and what the kernel would offer
 * instead. */
void machine_protection(struct findings *ret);

#endif
