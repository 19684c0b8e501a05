/* SPDX-License-Identifier: MIT */
/*
 * `peak FILE COMMAND…` runs the command and writes its peak of resident memory, KiB, to
 * FILE. From a process this small: what the parent of an exec had counts as the child's
 * (getrusage(2), ru_maxrss).
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct rusage use;
	int status = 1;
	pid_t pid = argc > 2 ? fork() : -1;
	FILE *f;

	if (!pid) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &use) != pid)
		return 126;
	f = fopen(argv[1], "w");
	if (f) {
		fprintf(f, "%ld\n", use.ru_maxrss);
		fclose(f);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
