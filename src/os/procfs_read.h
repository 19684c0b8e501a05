/* SPDX-License-Identifier: MIT */
/*
 * How the files of this folder read /proc; and its parsers, apart from the reading, so
 * that they can be tested on text made by hand.
 */
#ifndef PGRAB_OS_PROCFS_READ_H
#define PGRAB_OS_PROCFS_READ_H

#include "os/procfs.h"

enum {
	PROCFS_LIMIT =
		16 << 20, /* bytes of one file of /proc that we are willing to hold */
};

/* Opens /proc/PID/NAME, with a tid /proc/PID/task/TID/NAME: a descriptor or -errno. */
int procfs_open(pid_t pid, pid_t tid, const char *name);

/* The negative errno of a failed open there: -ESRCH when the process or thread is
 * gone. */
int procfs_errno(pid_t pid, pid_t tid);

/* O_PATH descriptor of a path inside the directory `root` (procfs_root()), never through
 * a magic link; or -errno. flags: O_NOFOLLOW or 0. */
int procfs_rooted(int root, const char *path, int flags);

/*
 * The readable form of an O_PATH descriptor of a plain file, or -errno. The two steps are
 * there because opening has side effects on anything else: a device may act, a fifo may
 * block for ever.
 */
int procfs_reopen(int path_fd);

/* Everything that fd gives, NUL behind it; `first` bytes assumed, -E2BIG over
 * `limit` (about). */
int procfs_read_all(int fd, size_t first, size_t limit, char **ret_buf, size_t *ret_len);

/* The text of stat, and of status, as a value. -EINVAL: not such a text. */
int procfs_parse_stat(const char *text, struct procfs_stat *ret);
int procfs_parse_status(const char *text, struct procfs_status *ret);

/* A line of maps, NUL-terminated (changed on the way); the path stays in it. False: it is
 * none. */
bool procfs_parse_map(char *line, struct procfs_map *ret);

/* Cuts the kernel's mark of an unlinked file off: true when it was there. */
bool procfs_cut_deleted(char *path, uint64_t inode);

/* procfs_next_pages() without PAGEMAP_SCAN. */
int procfs_read_pages(int fd, uint64_t addr, uint64_t end, uint64_t *ret_start,
		      uint64_t *ret_end);

/* The text of smaps likewise. */
int procfs_parse_smaps(char *text, size_t len, struct procfs_smap **ret_maps,
		       size_t *ret_n);

/* The text of maps (changed on the way) as for procfs_maps(). Lines that make no sense,
 * or that go back in address, are left out. */
int procfs_parse_maps(char *text, size_t len, struct procfs_map **ret_maps,
		      size_t *ret_n);

#endif
