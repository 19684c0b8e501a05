/* SPDX-License-Identifier: MIT */
/* Sections compressed with zlib. */
#include <errno.h>
#include <zlib.h>

#include "obj/expand.h"

int expand_zlib(const char *from, size_t n, char *to, size_t size)
{
	uLongf len = size;
	int rc = uncompress((Bytef *)to, &len, (const Bytef *)from, n);

	if (rc == Z_MEM_ERROR)
		return -ENOMEM;
	return rc == Z_OK && len == size ? 0 : -ENOEXEC;
}
