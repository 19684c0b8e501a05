/* SPDX-License-Identifier: MIT */
/*
 * Which pages there are, without touching them: reading memory that was never written
 * would map pages of zeros into the process. PAGEMAP_SCAN (Linux 6.7, pagemap.rst in the
 * kernel's documentation) skips what has no page tables; before that there is an entry of
 * 8 bytes for each page, bit 63 in memory, bit 62 swapped out.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "os/procfs_read.h"

enum {
	ENTRIES = 4096, /* of pagemap, read at a time */
};

/* struct pm_scan_arg of <linux/fs.h> since 6.7. */
struct scan {
	uint64_t size;                 /* of this structure */
	uint64_t flags;                /* PM_SCAN_*; 0 */
	uint64_t start, end, walk_end; /* where, and how far it came */
	uint64_t vec, vec_len;         /* struct region[] for the result */
	uint64_t max_pages;            /* 0 no limit */
	uint64_t category_inverted;    /* 0 */
	uint64_t category_mask;        /* all of these */
	uint64_t category_anyof_mask;  /* one of these */
	uint64_t return_mask;          /* told of each */
};

/* struct page_region */
struct region {
	uint64_t start, end; /* addresses */
	uint64_t categories; /* PAGE_IS_* */
};

#define SCAN       _IOWR('f', 16, struct scan)
#define IS_PRESENT (1u << 3) /* PAGE_IS_PRESENT */
#define IS_SWAPPED (1u << 4) /* PAGE_IS_SWAPPED */

#define THERE (3ull << 62)

int procfs_pagemap(pid_t pid)
{
	return procfs_open(pid, 0, "pagemap");
}

static int scan(int fd, uint64_t addr, uint64_t end, uint64_t *ret_start,
		uint64_t *ret_end)
{
	struct region found = { 0 };
	struct scan arg = { .size = sizeof(arg),
			    .start = addr,
			    .end = end,
			    .vec = (uint64_t)(uintptr_t)&found,
			    .vec_len = 1,
			    .category_anyof_mask = IS_PRESENT | IS_SWAPPED };
	int n = ioctl(fd, SCAN, &arg);

	if (n < 0)
		return -errno;
	*ret_start = n ? found.start : end;
	*ret_end = n ? found.end : end;
	return 0;
}

/* The first entry in which they are (or are not) there; n none. */
static size_t find(const uint64_t *entries, size_t from, size_t n, uint64_t there)
{
	while (from < n && !(entries[from] & THERE) != !there)
		from++;
	return from;
}

int procfs_read_pages(int fd, uint64_t addr, uint64_t end, uint64_t *ret_start,
		      uint64_t *ret_end)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), entries[ENTRIES];

	while (addr < end) {
		size_t n = (end - addr) / page < ENTRIES ? (end - addr) / page : ENTRIES;
		ssize_t got = pread(fd, entries, n * sizeof(*entries),
				    (off_t)(addr / page * sizeof(*entries)));
		size_t first, last;

		if (got < 0)
			return -errno;
		n = (size_t)got / sizeof(*entries);
		if (!n)
			break;
		first = find(entries, 0, n, 1);
		last = find(entries, first, n, 0);
		*ret_start = addr + first * page;
		*ret_end = addr + last * page;
		if (first < n)
			return 0;
		addr += n * page;
	}
	*ret_start = *ret_end = end;
	return 0;
}

int procfs_next_pages(int fd, uint64_t addr, uint64_t end, uint64_t *ret_start,
		      uint64_t *ret_end)
{
	int err = scan(fd, addr, end, ret_start, ret_end);

	if (err == -ENOTTY || err == -EINVAL || err == -EOPNOTSUPP)
		err = procfs_read_pages(fd, addr, end, ret_start, ret_end);
	return err;
}
