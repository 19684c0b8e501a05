/* SPDX-License-Identifier: MIT */
/*
 * Is it still the process that was grabbed, and the same program image? The pidfd tells the
 * first. The second: every exec places the auxiliary vector's AT_RANDOM and AT_EXECFN bytes
 * on a new stack whose place is randomised, so a hash of /proc/PID/auxv changes with the
 * exec, and of the same file too (where randomisation is off, it may not: then an exec of the same
 * file in the same environment goes unnoticed, and its address space is laid out the same).
 */
#include <poll.h>
#include <stdlib.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

uint64_t identity_exec(struct ps_prochandle *P)
{
	_cleanup_free_ char *bytes = NULL;
	uint64_t h = 0xcbf29ce484222325ull;
	size_t len;

	if (procfs_slurp(P->pid, "auxv", &bytes, &len))
		return 0;
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3ull;
	return h;
}

int Pcurrent(struct ps_prochandle *P)
{
	int current;

	handle_lock(P);
	current = P->state != PS_UNDEAD && P->state != PS_LOST &&
		  procfs_pidfd_alive(P->pidfd) &&
		  (P->hold || identity_exec(P) == P->exec_id);
	handle_unlock(P);
	return current;
}
