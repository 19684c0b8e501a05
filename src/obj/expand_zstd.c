/* SPDX-License-Identifier: MIT */
/* Sections compressed with zstd. */
#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "obj/expand.h"

int expand_zstd(const char *from, size_t n, char *to, size_t size)
{
	size_t len = ZSTD_decompress(to, size, from, n);

	if (ZSTD_isError(len))
		return ZSTD_getErrorCode(len) == ZSTD_error_memory_allocation ? -ENOMEM
									      : -ENOEXEC;
	return len == size ? 0 : -ENOEXEC;
}
