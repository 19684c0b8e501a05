/* SPDX-License-Identifier: MIT */
/*
 * Compressed bytes, expanded: each by a library that the build may be without, in which
 * case it is -ENOTSUP. What a few bytes may become is bounded. 0; -ENOEXEC garbage, or
 * not of that size; -ENOMEM.
 */
#ifndef PGRAB_OBJ_EXPAND_H
#define PGRAB_OBJ_EXPAND_H

#include <stddef.h>
#include <stdint.h>

enum {
	EXPAND_ZSTD = 2,    /* ELFCOMPRESS_ZSTD, which older <elf.h> does not have */
	EXPAND_FACTOR = 64, /* times its size may anything become; symbols make 3 to 8 */
	EXPAND_SLACK = 1 << 20 /* bytes, and these */
};

/* What n compressed bytes may become at most. */
static inline uint64_t expand_limit(uint64_t n)
{
	return n * EXPAND_FACTOR + EXPAND_SLACK;
}

/* n bytes at from into exactly size bytes at to. */
int expand_zlib(const char *from, size_t n, char *to, size_t size);
int expand_zstd(const char *from, size_t n, char *to, size_t size);

/* The xz container of n bytes, which says nothing of its contents' size: allocated, of
 * `limit` bytes at most (-ENOEXEC: more). */
int expand_xz(const char *from, size_t n, size_t limit, char **ret, size_t *ret_n);

#endif
