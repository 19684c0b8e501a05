/* SPDX-License-Identifier: MIT */
/*
 * Is it still the process that was grabbed, and the same program image? The pidfd tells
 * the first. The second: a descriptor of /proc/PID/pagemap is bound to the address space
 * that was there at its opening and reads nothing once that has no user left, as after an
 * exec, of the same file too (measured on 6.18; 0.7 us). What it cannot see is an exec
 * whose old address space lives on in another process, a parent in vfork(2).
 *
 * Where there is no pagemap (CONFIG_PROC_PAGE_MONITOR), a hash of /proc/PID/auxv serves:
 * every exec places AT_RANDOM and AT_EXECFN on a new stack whose place is randomised.
 * Where that is off, an exec of the same file in the same environment goes unnoticed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

static uint64_t hash_auxv(pid_t pid)
{
	_cleanup_free_ char *bytes = NULL;
	uint64_t h = 0xcbf29ce484222325ull;
	size_t len;

	if (procfs_slurp(pid, "auxv", &bytes, &len))
		return 0;
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3ull;
	return h;
}

/* One entry of the page at 0: which, is of no interest. */
static bool has_users(int fd)
{
	uint64_t entry;

	return pread(fd, &entry, sizeof(entry), 0) == sizeof(entry);
}

/* A descriptor that tells, or -1. */
static int open_pagemap(pid_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || has_users(fd))
		return fd;
	close(fd);
	return -1;
}

void identity_note(struct ps_prochandle *P)
{
	scope_close(&P->exec_fd);
	P->exec_fd = open_pagemap(P->live.pid);
	if (P->exec_fd < 0 && !memory_rehome(P)) /* the leader has ended? */
		P->exec_fd = open_pagemap(P->live.pid);
	if (P->exec_fd < 0)
		P->exec_id = hash_auxv(P->live.pid);
}

/* A controlled handle sees each exec as an event; a file does none. */
static bool same_exec(const struct ps_prochandle *P)
{
	if (P->hold || P->core)
		return true;
	if (P->exec_fd >= 0)
		return has_users(P->exec_fd);
	return hash_auxv(P->live.pid) == P->exec_id;
}

/* Nobody tells a read-only handle of an exec: asked before anything is read anew. */
void identity_renew(struct ps_prochandle *P)
{
	if (same_exec(P))
		return;
	P->execed = true;
	drive_forget(P);
	identity_note(P);
}

int Pcurrent(struct ps_prochandle *P)
{
	int current;

	handle_lock(P);
	current = !P->execed && P->state != PS_UNDEAD && P->state != PS_LOST &&
		  P->ops->alive(P) && same_exec(P);
	handle_unlock(P);
	return current;
}
