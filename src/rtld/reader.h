/* SPDX-License-Identifier: MIT */
/*
 * Reading a victim's structures: a handful of 4 KiB blocks kept for the time of one
 * pass, so that link maps and names, which lie close together in the linker's heap,
 * cost one read a block and not two an object; and words of either class as uint64_t.
 */
#ifndef PGRAB_RTLD_READER_H
#define PGRAB_RTLD_READER_H

#include <stddef.h>
#include <stdint.h>

#include "mem/mem.h"

enum {
	READER_BLOCK = 4096, /* bytes; no page is smaller */
	READER_NBLOCKS = 16,
};

/* One block of the victim's memory. */
struct reader_block {
	uint64_t addr; /* a multiple of READER_BLOCK */
	size_t len;    /* bytes that could be read; 0: the block is not in use */
	uint8_t data[READER_BLOCK]; /* as read */
};

/* A reader; its owner's lock. */
struct reader {
	struct mem mem; /* the target */
	unsigned word;  /* bytes of a long and a pointer: 4 or 8 */
	/* direct-mapped by address; allocated when needed, NULL */
	struct reader_block *blocks[READER_NBLOCKS];
};

/* Forgets what was read, and frees it: call it before each pass, and behind the last. */
void reader_reset(struct reader *r);

/* Exactly len bytes: 0, -EFAULT, or what the target said. */
int reader_read(struct reader *r, uint64_t addr, void *buf, size_t len);

/* n words of r->word bytes at addr, widened. */
int reader_words(struct reader *r, uint64_t addr, uint64_t *ret_words, size_t n);

/* One unsigned 32-bit number. */
int reader_u32(struct reader *r, uint64_t addr, uint32_t *ret);

/* The string at addr into buf: its length, -ELOOP when no NUL lies within size,
 * -EFAULT. */
ssize_t reader_string(struct reader *r, uint64_t addr, char *buf, size_t size);

#endif
