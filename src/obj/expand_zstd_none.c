/* SPDX-License-Identifier: MIT */
/* Built without libzstd. */
#include <errno.h>

#include "obj/expand.h"

int expand_zstd(const char *from, size_t n, char *to, size_t size)
{
	return -ENOTSUP;
}
