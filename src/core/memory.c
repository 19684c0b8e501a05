/* SPDX-License-Identifier: MIT */
/*
 * Memory out of a core, and where the kernel left the arguments in it.
 *
 * A byte is the core's own where it was dumped; a mapped file's where it was not: text
 * and read-only data are rarely dumped. Memory that was writable and of which something
 * was dumped has no second source: what a file cut short has lost of it is lost. In a
 * program file, what a segment has beyond its bytes is zero (its bss).
 */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/inside.h"

enum {
	MAX_STRINGS = 1 << 20,  /* pointers to arguments, and to the environment */
	MAX_AUXV = 128,         /* entries; the kernel has some twenty */
	STACK_ABOVE = 64 << 10, /* between the vector and AT_RANDOM's bytes */
};

static uint64_t lower(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* pread(2) as far as it goes. */
static ssize_t read_fd(int fd, uint64_t off, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got =
			pread(fd, (char *)buf + done, len - done, (off_t)(off + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done ? (ssize_t)done : -EFAULT;
}

static ssize_t read_segment(const struct core *c, const struct core_segment *s,
			    uint64_t addr, void *buf, size_t len)
{
	uint64_t in = addr - s->start;

	if (in < s->filesz)
		return read_fd(c->fd, s->offset + in, buf,
			       (size_t)lower(len, s->filesz - in));
	if (c->is_dump)
		return -EFAULT;
	len = (size_t)lower(len, s->end - addr);
	memset(buf, 0, len);
	return (ssize_t)len;
}

ssize_t core_read_dumped(struct core *c, uint64_t addr, void *buf, size_t len)
{
	uint64_t next;
	const struct core_segment *s = core_segment_at(c, addr, &next);

	return s ? read_segment(c, s, addr, buf, len) : -EFAULT;
}

/* From the file that was mapped there. */
static ssize_t read_mapped(struct core *c, uint64_t addr, void *buf, size_t len)
{
	const struct core_range *r = core_range_at(c, addr);
	ssize_t got = -EFAULT;
	int fd;

	if (!r)
		return -EFAULT;
	len = (size_t)lower(len, r->end - addr);
	pthread_mutex_lock(&c->lock);
	fd = core_file_fd(c, r->file);
	if (fd >= 0)
		got = read_fd(fd, r->offset + (addr - r->start), buf, len);
	pthread_mutex_unlock(&c->lock);
	return got;
}

/* A piece that has one source. */
static ssize_t read_piece(struct core *c, uint64_t addr, void *buf, size_t len)
{
	uint64_t next;
	const struct core_segment *s = core_segment_at(c, addr, &next);
	ssize_t got = s ? read_segment(c, s, addr, buf, len) : -EFAULT;

	if (got > 0)
		return got;
	if (s && s->dumped && (s->prot & PROT_WRITE))
		return -EFAULT;
	/* What the next segment has comes from there. */
	return read_mapped(c, addr, buf, (size_t)lower(len, (s ? s->end : next) - addr));
}

static ssize_t read_core(void *ctx, uint64_t addr, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got =
			read_piece(ctx, addr + done, (char *)buf + done, len - done);

		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done || !len ? (ssize_t)done : -EFAULT;
}

static const struct mem_ops core_ops = { .read = read_core };

struct mem core_mem(struct core *c)
{
	return (struct mem){ .ops = &core_ops, .ctx = c };
}

/* --- arguments ---------------------------------------------------------------------- */

/*
 * execve(2) leaves on the stack, upwards: argc, the pointers to the arguments, 0, those
 * to the environment, 0, the auxiliary vector, then what they point to, AT_RANDOM's bytes
 * first. The vector is known by its contents, and looked for downwards from there.
 */
static int find_auxv(const struct mem *m, const struct core *c, uint64_t *ret)
{
	uint64_t at = core_auxval(c, AT_RANDOM) & ~(uint64_t)7;
	size_t len = c->auxv_len < MAX_AUXV * sizeof(Elf64_auxv_t)
			     ? c->auxv_len
			     : MAX_AUXV * sizeof(Elf64_auxv_t);
	char bytes[MAX_AUXV * sizeof(Elf64_auxv_t)];

	if (!at || len < sizeof(Elf64_auxv_t))
		return -ENOENT;
	for (uint64_t low = at - STACK_ABOVE; at > low; at -= sizeof(uint64_t)) {
		if (mem_read_all(m, at, bytes, 2 * sizeof(uint64_t)) ||
		    memcmp(bytes, c->auxv, 2 * sizeof(uint64_t)) != 0)
			continue;
		if (mem_read_all(m, at, bytes, len) || memcmp(bytes, c->auxv, len) != 0)
			continue;
		*ret = at;
		return 0;
	}
	return -ENOENT;
}

/* Pointers that end below `end` (where their 0 is): the first one's address. */
static int find_pointers(const struct mem *m, uint64_t end, uint64_t stop, uint64_t *ret)
{
	uint64_t at = end, word;

	for (size_t i = 0; i < MAX_STRINGS; i++) {
		if (mem_read_all(m, at - sizeof(word), &word, sizeof(word)))
			return -ENOENT;
		/* 0 ends the list above; the number of arguments stands before them. */
		if (!word || (stop && word == (end - at) / sizeof(word))) {
			*ret = at;
			return 0;
		}
		at -= sizeof(word);
	}
	return -ENOENT;
}

int core_find_strings(struct core *c, struct core_strings *ret)
{
	struct core_strings s;
	struct mem m = core_mem(c);
	uint64_t auxv, end;
	int err = find_auxv(&m, c, &auxv);

	if (err)
		return err;
	end = auxv - sizeof(uint64_t); /* the 0 of the environment */
	err = find_pointers(&m, end, 0, &s.envp);
	if (err)
		return err;
	s.envc = (end - s.envp) / sizeof(uint64_t);
	end = s.envp - sizeof(uint64_t);
	err = find_pointers(&m, end, 1, &s.argv);
	if (err)
		return err;
	s.argc = (end - s.argv) / sizeof(uint64_t);
	*ret = s;
	return 0;
}
