/* SPDX-License-Identifier: MIT */
/* A word on a terminal, when something takes longer than one likes to wait. */
#ifndef PGRAB_TOOLS_PROGRESS_H
#define PGRAB_TOOLS_PROGRESS_H

/* From now on `what` is being done: said on stderr, if that is a terminal, once it has
 * taken half a second. */
void progress_begin(const char *what);

/* It has been done: the word goes from the screen. */
void progress_end(void);

#endif
