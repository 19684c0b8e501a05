/* SPDX-License-Identifier: MIT */
/*
 * The memory seam: every layer that interprets a target (symbols, link maps, stacks,
 * cores) reads it through a `struct mem`, so that it can be tested without a process.
 */
#ifndef PGRAB_MEM_MEM_H
#define PGRAB_MEM_MEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* How one kind of target is read and written. */
struct mem_ops {
	/* Reads up to len bytes at addr; returns how many were read before the first that
	 * cannot be (short at an unmapped page), or -errno when none can. */
	ssize_t (*read)(void *ctx, uint64_t addr, void *buf, size_t len);
	/* Writes likewise. NULL: the target cannot be written. */
	ssize_t (*write)(void *ctx, uint64_t addr, const void *buf, size_t len);
};

/* A target's memory; a plain value, copied freely. */
struct mem {
	const struct mem_ops *ops; /* never NULL */
	void *ctx;                 /* handed to ops; borrowed */
};

/* As mem_ops.read. */
ssize_t mem_read(const struct mem *m, uint64_t addr, void *buf, size_t len);

/* As mem_ops.write; -EROFS when the target cannot be written. */
ssize_t mem_write(const struct mem *m, uint64_t addr, const void *buf, size_t len);

/* Reads exactly len bytes: 0, or a negative errno (-EFAULT for a short read). */
int mem_read_all(const struct mem *m, uint64_t addr, void *buf, size_t len);

/*
 * Reads a NUL-terminated string into buf (size > 0), never reading past the page that
 * holds its end. Returns its length; -ENAMETOOLONG when no NUL lies within size bytes,
 * -EFAULT when the string runs into memory that cannot be read. buf is always
 * terminated.
 */
ssize_t mem_read_string(const struct mem *m, uint64_t addr, char *buf, size_t size);

/* --- a live process --------------------------------------------------------------- */

/* Context of a live target; embed it, fill it with mem_live_init(). */
struct mem_live {
	pid_t pid; /* thread-group id, or any tid when the leader is a zombie */
	int fd;    /* /proc/PID/mem, opened when process_vm_* is refused; -1 until then */
};

/* Makes *live read the process `pid`; opens nothing yet. */
void mem_live_init(struct mem_live *live, pid_t pid);

/* Forgets the descriptor, as after an exec (it would go on to read the old address
 * space). */
void mem_live_reset(struct mem_live *live);

/* Closes what was opened. */
void mem_live_fini(struct mem_live *live);

/*
 * The seam of *live, valid as long as it is. Reads by process_vm_readv and falls back
 * to /proc/PID/mem; writes by /proc/PID/mem (which also writes read-only text,
 * privately). -ESRCH when the process is gone, -EPERM when it may not be read. Never
 * stops the victim. Calls on one mem_live must not run at the same time.
 */
struct mem mem_live(struct mem_live *live);

/* --- bytes at hand ---------------------------------------------------------------- */

/* One piece of memory at an address; an array of them makes a fake target. */
struct mem_piece {
	uint64_t addr;    /* where it stands in the target */
	size_t len;       /* bytes */
	const void *data; /* borrowed */
};

/* Context of a fake or captured target. */
struct mem_pieces {
	const struct mem_piece
		*pieces; /* borrowed; need not be sorted, must not overlap */
	size_t n;        /* how many */
};

/* The seam of *pieces, valid as long as it is; read-only. */
struct mem mem_pieces(struct mem_pieces *pieces);

#endif
