/* SPDX-License-Identifier: MIT */
/*
 * Memory that is made of bytes at hand: a fake target in a test, or what was captured
 * during a stop. See mem.c for what a read promises.
 */
#include "mem/mem.h"

#include <errno.h>
#include <string.h>

/* The piece that holds addr, or NULL. */
static const struct mem_piece *piece_at(const struct mem_pieces *p, uint64_t addr)
{
	for (size_t i = 0; i < p->n; i++) {
		if (addr >= p->pieces[i].addr &&
		    addr - p->pieces[i].addr < p->pieces[i].len)
			return &p->pieces[i];
	}
	return NULL;
}

static ssize_t read_pieces(void *ctx, uint64_t addr, void *buf, size_t len)
{
	const struct mem_pieces *pieces = ctx;
	size_t done = 0;

	while (done < len) {
		const struct mem_piece *piece = piece_at(pieces, addr + done);
		size_t at, n;

		if (!piece)
			break;
		at = (size_t)(addr + done - piece->addr);
		n = piece->len - at;
		if (n > len - done)
			n = len - done;
		memcpy((char *)buf + done, (const char *)piece->data + at, n);
		done += n;
	}
	return done || !len ? (ssize_t)done : -EFAULT;
}

static const struct mem_ops pieces_ops = { .read = read_pieces, .write = NULL };

struct mem mem_pieces(struct mem_pieces *pieces)
{
	return (struct mem){ .ops = &pieces_ops, .ctx = pieces };
}
