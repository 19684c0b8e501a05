/* SPDX-License-Identifier: MIT */
/*
 * Names of compiled code that no file holds, as its compiler wrote them down
 * (/tmp/perf-PID.map; linux/tools/perf/Documentation/jit-interface.txt). See jit.c.
 */
#ifndef PGRAB_IMAGE_JIT_H
#define PGRAB_IMAGE_JIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct jit_map; /* one map, immutable */

/* One piece of code; the name is valid as long as the map. */
struct jit_code {
	uint64_t start;   /* first address */
	uint64_t size;    /* bytes */
	const char *name; /* as the compiler calls it */
};

/*
 * Reads the map of pid: in its root directory, by the pid that it knows itself by.
 * -ENOENT: there is none; -EPERM: neither the process's user nor root owns it, or others
 * may write to it; -errno. Does nothing to the process.
 */
int jit_map_read(pid_t pid, struct jit_map **ret);

/* The same of a text of len bytes and a NUL, which is taken: free()d with the map, or on
 * failure. */
int jit_map_parse(char *text, size_t len, struct jit_map **ret);

void jit_map_free(struct jit_map *map); /* NULL: nothing */

/* The code at addr; of several the one that was written down last. 0, -ENOENT. */
int jit_map_find(const struct jit_map *map, uint64_t addr, struct jit_code *ret);

#endif
