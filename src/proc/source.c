/* SPDX-License-Identifier: MIT */
/* Places in the source: src/image over the DWARF of an object's files. */
#include <errno.h>

#include "proc/handle.h"

int Psource_iter(struct ps_prochandle *P, uintptr_t addr, proc_source_f *fn, void *arg)
{
	return handle_fail(-ENOTSUP);
}
