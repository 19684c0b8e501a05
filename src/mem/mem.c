/* SPDX-License-Identifier: MIT */
/*
 * The memory seam: calls that are the same for every kind of target.
 *
 * A target's memory is a `struct mem`: a table of two functions and their context,
 * passed by value. Whoever interprets a target (symbols, link maps, stacks, cores) sees
 * only this, and can therefore be tested on pieces of memory made by hand (pieces.c),
 * run on a live process (live.c), or on bytes captured during a short stop.
 *
 * What every kind promises, and what readers build on:
 *  - a read delivers a prefix: all bytes before the first one that cannot be read. The
 *    count is exact, so a short read *is* the statement "memory ends here";
 *  - it fails only when nothing can be read, with -EFAULT when the target is there and
 *    the address is not, and with -ESRCH when the target itself is gone. So a victim
 *    that dies between two reads is told from one that never had the page;
 *  - what is read may change between two reads, and may be garbage: the victim is not
 *    to be trusted. Nothing here interprets it.
 *
 * Ownership: a struct mem owns nothing; ops are constants, ctx belongs to whoever made
 * it. Threads: as its context allows; mem_pieces any, mem_live one at a time.
 * Deliberately absent: caching (a target changes), and reads that must not be short
 * across a gap (the caller knows what a gap means, we do not).
 */
#include "mem/mem.h"

#include <errno.h>
#include <string.h>

/*
 * Strings are read in pieces that end at such a boundary. Every page size that Linux
 * has is a multiple of it, so no piece crosses a page.
 */
enum {
	SMALLEST_PAGE = 4096
};

ssize_t mem_read(const struct mem *m, uint64_t addr, void *buf, size_t len)
{
	return m->ops->read(m->ctx, addr, buf, len);
}

ssize_t mem_write(const struct mem *m, uint64_t addr, const void *buf, size_t len)
{
	if (!m->ops->write)
		return -EROFS;
	return m->ops->write(m->ctx, addr, buf, len);
}

int mem_read_all(const struct mem *m, uint64_t addr, void *buf, size_t len)
{
	ssize_t got;

	if (!len)
		return 0;
	got = mem_read(m, addr, buf, len);
	if (got < 0)
		return (int)got;
	return (size_t)got == len ? 0 : -EFAULT;
}

/* Bytes from addr to the end of its page, `limit` at most. */
static size_t rest_of_page(uint64_t addr, size_t limit)
{
	size_t rest = SMALLEST_PAGE - (addr & (SMALLEST_PAGE - 1));

	return rest < limit ? rest : limit;
}

ssize_t mem_read_string(const struct mem *m, uint64_t addr, char *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		size_t want = rest_of_page(addr + done, size - done);
		ssize_t got = mem_read(m, addr + done, buf + done, want);
		char *nul;

		if (got <= 0) {
			buf[done] = '\0';
			return got < 0 ? got : -EFAULT;
		}
		nul = memchr(buf + done, '\0', (size_t)got);
		if (nul)
			return nul - buf;
		done += (size_t)got;
	}
	buf[size - 1] = '\0';
	return -ENAMETOOLONG;
}
