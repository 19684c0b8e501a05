/* SPDX-License-Identifier: MIT */
/* Built without libiberty: C++ names stay as they are. */
#include "obj/demangle.h"

bool demangle_cxx(struct demangle *d)
{
	return false;
}
