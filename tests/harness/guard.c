/* SPDX-License-Identifier: MIT */
/*
 * Runs a test that brings its own main(), or a script, and proves what the harness
 * proves of its own tests once they have ended: nothing is left running, stopped,
 * traced.
 *
 *	guard COMMAND [ARG…]
 *
 * stdout and the exit status are the command's own; 1 when something was left.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/leaks.h"

int main(int argc, char **argv)
{
	char left[4000];
	int status;
	pid_t pid;

	if (argc < 2 || prctl(PR_SET_CHILD_SUBREAPER, 1))
		return 2;
	pid = fork();
	if (!pid) {
		setpgid(0, 0); /* see harness.c: not an orphaned group */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execvp(argv[1], argv + 1);
		perror(argv[1]);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 99;
	leaks_sweep(left, sizeof(left));
	if (left[0])
		fprintf(stderr, "guard: %s\n", left);
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status) ? WEXITSTATUS(status) : !!left[0];
}
