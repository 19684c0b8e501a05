/* SPDX-License-Identifier: MIT */
/*
 * Where the library decodes another CPU's instructions than x86-64's, x86-64 code is not
 * followed.
 */
#include <errno.h>

#include "stack/inside.h"

int stack_scan(struct stack_walk *w, const struct stack_frame *cur,
	       struct stack_frame *next)
{
	return -ENOENT;
}
