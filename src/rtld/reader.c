/* SPDX-License-Identifier: MIT */
/* Blocks, words and strings of a target; see reader.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rtld/reader.h"

void reader_reset(struct reader *r)
{
	for (unsigned i = 0; i < READER_NBLOCKS; i++) {
		free(r->blocks[i]);
		r->blocks[i] = NULL;
	}
}

/* The block that holds addr, read if need be; NULL when it has not got that byte, or
 * there is no memory. */
static const struct reader_block *find_block(struct reader *r, uint64_t addr)
{
	uint64_t start = addr & ~(uint64_t)(READER_BLOCK - 1);
	struct reader_block **slot = &r->blocks[start / READER_BLOCK % READER_NBLOCKS],
			    *b;
	ssize_t n;

	if (!*slot)
		*slot = calloc(1, sizeof(**slot));
	b = *slot;
	if (!b)
		return NULL;
	if (!b->len || b->addr != start) {
		n = mem_read(&r->mem, start, b->data, READER_BLOCK);
		b->addr = start;
		b->len = n > 0 ? (size_t)n : 0;
	}
	return addr - start < b->len ? b : NULL;
}

/* The bytes at hand at addr, at least one: how many, or -errno. A target made of pieces
 * may have them though it has not the beginning of their block: then they come from
 * `spare`. */
static ssize_t borrow(struct reader *r, uint64_t addr, const uint8_t **ret,
		      uint8_t *spare)
{
	const struct reader_block *b = find_block(r, addr);
	ssize_t n;

	if (b) {
		*ret = b->data + (addr - b->addr);
		return (ssize_t)(b->len - (addr - b->addr));
	}
	n = mem_read(&r->mem, addr, spare, READER_BLOCK - addr % READER_BLOCK);
	if (n == 0)
		return -EFAULT;
	*ret = spare;
	return n;
}

int reader_read(struct reader *r, uint64_t addr, void *buf, size_t len)
{
	uint8_t spare[READER_BLOCK];
	const uint8_t *from;

	while (len) {
		ssize_t n = borrow(r, addr, &from, spare);

		if (n < 0)
			return (int)n;
		if ((size_t)n > len)
			n = (ssize_t)len;
		memcpy(buf, from, (size_t)n);
		buf = (uint8_t *)buf + n;
		addr += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int reader_words(struct reader *r, uint64_t addr, uint64_t *ret_words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t word =
			0; /* both CPUs are little-endian: a short word is widened */
		int err = reader_read(r, addr + i * r->word, &word, r->word);

		if (err)
			return err;
		ret_words[i] = word;
	}
	return 0;
}

int reader_u32(struct reader *r, uint64_t addr, uint32_t *ret)
{
	return reader_read(r, addr, ret, sizeof(*ret));
}

ssize_t reader_string(struct reader *r, uint64_t addr, char *buf, size_t size)
{
	uint8_t spare[READER_BLOCK];
	const uint8_t *from;
	size_t len = 0;

	while (len < size) {
		ssize_t n = borrow(r, addr + len, &from, spare);
		const uint8_t *nul;

		if (n < 0)
			return n;
		if ((size_t)n > size - len)
			n = (ssize_t)(size - len);
		memcpy(buf + len, from, (size_t)n);
		nul = memchr(from, 0, (size_t)n);
		if (nul)
			return (ssize_t)(len + (size_t)(nul - from));
		len += (size_t)n;
	}
	return -ELOOP;
}
