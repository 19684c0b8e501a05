/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "options.h"
#include "output.h"
#include "target.h"
#include "task.h"

struct ps_prochandle *target_grab(pid_t pid, int flags)
{
	struct ps_prochandle *P;
	const char *detail;
	int err = 0;

	P = Pgrab(pid, flags, &err);
	if (P)
		return P;
	detail = Pgrab_detail();
	complain("failed to grab pid %d: %s", pid,
		 detail && *detail ? detail : Pgrab_error(err));
	return NULL;
}

void target_heading(struct ps_prochandle *P, pid_t pid)
{
	const psinfo_t *ps = Ppsinfo(P);

	output("%s%d:%s ", colour(COLOUR_HEAD), pid, colour(COLOUR_NONE));
	output_escaped(!ps ? "" : ps->pr_psargs[0] ? ps->pr_psargs : ps->pr_fname);
	output("\n");
}

int target_examine(const pid_t *pids, size_t n, target_fn *fn, void *arg)
{
	int status = EXIT_DONE;

	for (size_t i = 0; i < n && !output_failed(); i++) {
		struct ps_prochandle *P = target_grab(pids[i], PGRAB_RDONLY);

		if (!P) {
			status = EXIT_FAILED;
			continue;
		}
		if (n > 1)
			target_heading(P, pids[i]);
		if (fn(P, pids[i], arg) != 0)
			status = EXIT_FAILED;
		Prelease(P, 0);
	}
	return status;
}

int target_command(const struct command *cmd, int argc, char **argv, target_fn *fn)
{
	pid_t *pids;
	size_t n;
	int status;

	options_none(cmd, argc, argv);
	pids = options_pids(cmd, argc, argv, &n);
	status = target_examine(pids, n, fn, NULL);
	free(pids);
	return status;
}

/* pidfd_open(2) of a thread that leads no group is EINVAL, since Linux 6.9 ENOENT. */
static const char *pidfd_reason(int err)
{
	if (err == ESRCH)
		return "no such process";
	if (err == EINVAL || err == ENOENT)
		return "that is a thread, not a process";
	return strerror(err);
}

int target_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0) {
		complain("pid %d: %s", pid, pidfd_reason(errno));
		return -1;
	}
	return fd;
}
