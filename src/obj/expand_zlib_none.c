/* SPDX-License-Identifier: MIT */
/* Built without zlib. */
#include <errno.h>

#include "obj/expand.h"

int expand_zlib(const char *from, size_t n, char *to, size_t size)
{
	return -ENOTSUP;
}
