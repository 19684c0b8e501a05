/* SPDX-License-Identifier: MIT */
/* Readable names: see src/obj/demangle.c. */
#include <stdio.h>

#include "libproc.h"
#include "obj/demangle.h"

int pgrab_demangle(const char *name, char *buf, size_t size)
{
	char text[DEMANGLE_OUTPUT];
	int good = obj_demangle(name, text);

	snprintf(buf, size, "%s", good ? text : name);
	return good;
}
