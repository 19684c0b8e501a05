/* SPDX-License-Identifier: MIT */
/* Built without libdw: nothing is known of the source. */
#include <errno.h>

#include "obj/lines.h"

int obj_lines_load(struct obj *o, int fd)
{
	return -ENOTSUP;
}

int obj_lines_at(struct obj *o, uint64_t vaddr, struct obj_place *ret, size_t *ret_n)
{
	return -ENOTSUP;
}

void obj_lines_free(struct obj_lines *l)
{
}

size_t obj_lines_bytes(const struct obj_lines *l)
{
	return 0;
}
