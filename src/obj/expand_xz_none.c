/* SPDX-License-Identifier: MIT */
/* Built without liblzma. */
#include <errno.h>

#include "obj/expand.h"

int expand_xz(const char *from, size_t n, size_t limit, char **ret, size_t *ret_n)
{
	return -ENOTSUP;
}
