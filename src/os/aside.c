/* SPDX-License-Identifier: MIT */
/*
 * A child that shares memory and descriptors (CLONE_VM, CLONE_FILES), makes one system
 * call and ends. It runs no code of the C library, has every signal blocked, since our
 * host's handlers would run in it, and a session of its own, since a process group is
 * killed as one. Its end is told by no signal, so that our host's wait(2) does not see
 * it: only __WCLONE does.
 */
#include "os/aside.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <sys/wait.h>

#include "os/rawcall.h"

RAWCALL_CHILD static int be_aside(void *arg)
{
	struct aside *a = arg;

	rawcall0(SYS_setsid);
	a->result = rawcall3(a->nr, a->args[0], a->args[1], a->args[2]);
	__atomic_store_n(&a->done, 1, __ATOMIC_RELEASE);
	return 0;
}

int aside_start(struct aside *a, long nr, long x, long y, long z)
{
	uint64_t all = UINT64_MAX, old;
	long pid;

	a->done = 0;
	a->nr = nr;
	a->args[0] = x;
	a->args[1] = y;
	a->args[2] = z;
	rawcall_sigmask(&all, &old);
	pid = rawcall_clone(CLONE_VM | CLONE_FILES | CLONE_FS,
			    a->stack + sizeof(a->stack), NULL, be_aside, a);
	rawcall_sigmask(&old, NULL);
	if (pid < 0)
		return (int)pid;
	a->pid = (pid_t)pid;
	return 0;
}

bool aside_done(const struct aside *a)
{
	return __atomic_load_n(&a->done, __ATOMIC_ACQUIRE);
}

long aside_wait(struct aside *a)
{
	long rc;

	do
		rc = rawcall4(SYS_wait4, a->pid, 0, __WCLONE, 0);
	while (rc == -EINTR);
	return aside_done(a) ? a->result : -EINTR;
}

long aside_call(long nr, long x, long y, long z)
{
	struct aside a;

	if (aside_start(&a, nr, x, y, z))
		return rawcall3(nr, x, y, z);
	return aside_wait(&a);
}
