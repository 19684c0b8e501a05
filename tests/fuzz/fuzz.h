/* SPDX-License-Identifier: MIT */
/*
 * Fuzz targets: each a function over bytes, NAME.c. The same function runs under
 * libFuzzer (`make fuzz`) and over the committed corpus (replay.c, suite fuzz). A target
 * aborts when an answer breaks a promise of its header; the sanitizers see the rest.
 */
#ifndef PGRAB_TESTS_FUZZ_H
#define PGRAB_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mem/mem.h"

/* One input. 0: always. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise: aborts where it is broken. */
#define PROMISE(cond)                                                                    \
	do {                                                                             \
		if (!(cond))                                                             \
			abort();                                                         \
	} while (0)

/* Takes sizeof(*ret) bytes from the front of the input; zeros when there are less. */
#define FUZZ_TAKE(data, size, ret) fuzz_take(&(data), &(size), (ret), sizeof(*(ret)))

static inline void fuzz_take(const uint8_t **data, size_t *size, void *ret, size_t len)
{
	size_t n = *size < len ? *size : len;

	memset(ret, 0, len);
	memcpy(ret, *data, n);
	*data += n;
	*size -= n;
}

/* A descriptor of an unnamed file with these bytes. Aborts where there is none. */
int fuzz_file(const uint8_t *data, size_t size);

/* Memory that is the input over and over again, at every address: without an end. */
struct mem fuzz_endless(struct mem_piece *piece);

#endif
