/* SPDX-License-Identifier: MIT */
/* A core in memory, and from there to a file. */
#ifndef PGRAB_TOOLS_COREFILE_H
#define PGRAB_TOOLS_COREFILE_H

#include <stdbool.h>
#include <stddef.h>

/* A file in memory for a core of a process with so many KiB resident, or -1 when that
 * would be too much of what there is. */
int corefile_memory(size_t kib);

/* A new file that is complete or not there. */
struct corefile {
	const char *path; /* borrowed */
	int fd;           /* where it is written */
	bool nameless;    /* it has no name until it is complete */
	bool saved;       /* it is complete */
};

/* Makes one, mode 0600: 0, or -1 with errno. */
int corefile_create(const char *path, struct corefile *ret);

/* Copies what is in memory to it: 0, or -1 with errno. */
int corefile_save(struct corefile *f, int memory);

/* Ends it; one that is not complete is removed. */
void corefile_close(struct corefile *f);

#endif
