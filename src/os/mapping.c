/* SPDX-License-Identifier: MIT */
/*
 * One mapping without all the others: PROCMAP_QUERY on /proc/PID/maps (Linux 6.11,
 * Documentation/filesystems/proc.rst). It costs half a microsecond where the file costs
 * one for each mapping that there is, which a process with a thousand libraries feels at
 * every one of them.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "os/procfs_read.h"
#include "util/scope.h"

/* struct procmap_query of <linux/fs.h>, which older headers do not have. */
struct query {
	uint64_t size;         /* of this */
	uint64_t flags;        /* 0: the mapping that holds addr */
	uint64_t addr;         /* asked for */
	uint64_t start, end;   /* from here on: the answer */
	uint64_t prot;         /* bits of protection */
	uint64_t page_size;    /* bytes */
	uint64_t offset;       /* in the file, bytes */
	uint64_t inode;        /* 0: anonymous */
	uint32_t major, minor; /* device of the file */
	uint32_t name_size;    /* of the buffer, then of the name with its NUL; 0: none */
	uint32_t build_id_size;  /* not asked for */
	uint64_t name, build_id; /* addresses of buffers */
};

enum {
	MAPPINGS_MAX = 64, /* of one file in a row; more are not followed */
};

static int ask(int fd, uint64_t addr, char *path, struct query *ret)
{
	struct query q = { .size = sizeof(q), .addr = addr };

	if (path) {
		q.name = (uint64_t)(uintptr_t)path;
		q.name_size = PATH_MAX;
	}
	if (ioctl(fd, _IOWR('f', 17, struct query), &q))
		return -errno;
	if (path && !q.name_size)
		path[0] = '\0';
	*ret = q;
	return 0;
}

static bool same_file(const struct query *a, const struct query *b)
{
	return a->inode && a->inode == b->inode && a->major == b->major &&
	       a->minor == b->minor;
}

/* Where the mappings of the file begin that stand before `q` without a gap. */
static uint64_t find_start(int fd, struct query q)
{
	struct query before;

	for (int i = 0; i < MAPPINGS_MAX && q.start && q.offset; i++) {
		if (ask(fd, q.start - 1, NULL, &before) || !same_file(&before, &q))
			break;
		q = before;
	}
	return q.start;
}

/* Where those end that stand behind it: a copy of the file begins at offset 0. */
static uint64_t find_end(int fd, struct query q)
{
	struct query next;

	for (int i = 0; i < MAPPINGS_MAX; i++) {
		if (ask(fd, q.end, NULL, &next) || !same_file(&next, &q) || !next.offset)
			break;
		q = next;
	}
	return q.end;
}

int procfs_mapped_file(pid_t pid, pid_t tid, uint64_t addr, uint64_t *ret_start,
		       uint64_t *ret_end, char **ret_path)
{
	_cleanup_close_ int fd = procfs_open(pid, tid, "maps");
	char path[PATH_MAX];
	struct query q;
	int err = fd < 0 ? fd : ask(fd, addr, path, &q);
	char *copy;

	if (err)
		return err;
	if (!q.inode)
		return -ENOENT;
	procfs_cut_deleted(path, q.inode);
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	*ret_start = find_start(fd, q);
	*ret_end = find_end(fd, q);
	*ret_path = copy;
	return 0;
}
