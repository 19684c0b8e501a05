/* SPDX-License-Identifier: MIT */
/*
 * What a command-line argument names, and a walk over all processes.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

/* `123`, `/proc/123` or `/proc/123/`; 0 for anything else. */
static pid_t pid_of(const char *arg)
{
	char *end;
	long n;

	if (!strncmp(arg, "/proc/", 6))
		arg += 6;
	if (*arg < '0' || *arg > '9')
		return 0;
	errno = 0;
	n = strtol(arg, &end, 10);
	if (*end == '/' && !end[1])
		end++;
	return errno || *end || n <= 0 || n > INT_MAX ? 0 : (pid_t)n;
}

struct ps_prochandle *proc_arg_grab(const char *arg, int oflag, int gflag, int *perr)
{
	pid_t pid = oflag & PR_ARG_PIDS ? pid_of(arg) : 0;

	errors_clear();
	if (!pid) {
		*perr = G_NOARG;
		return NULL;
	}
	return Pgrab(pid, gflag, perr);
}

pid_t proc_arg_psinfo(const char *arg, int oflag, psinfo_t *psp, int *perr)
{
	pid_t pid = oflag & PR_ARG_PIDS ? pid_of(arg) : 0;

	if (!pid)
		*perr = G_NOARG;
	else if (!proc_get_psinfo(pid, psp))
		return pid;
	else
		*perr = errno == ESRCH ? G_NOPROC : errno;
	return -1;
}

int proc_walk(proc_walk_f *fn, void *arg)
{
	_cleanup_free_ pid_t *pids = NULL;
	psinfo_t ps;
	size_t n;
	int rc = procfs_pids(&pids, &n);

	if (rc)
		return handle_fail(rc);
	for (size_t i = 0; i < n && !rc; i++)
		if (!proc_get_psinfo(pids[i], &ps))
			rc = fn(&ps, arg);
	return rc;
}
