/* SPDX-License-Identifier: MIT */
/*
 * The least that a consistent look costs: `floor PID` attaches to every thread, stops
 * them all, waits for each by its id, lets them all go. Nothing is read.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

enum {
	MAX = 20000
};

static int tid[MAX];

static int list(const char *pid)
{
	char path[64];
	struct dirent *e;
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	d = opendir(path);
	while (d && (e = readdir(d)) && n < MAX)
		if (atoi(e->d_name))
			tid[n++] = atoi(e->d_name);
	if (d)
		closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	int n = argc == 2 ? list(argv[1]) : 0, status;

	for (int i = 0; i < n; i++)
		if (ptrace(PTRACE_SEIZE, tid[i], 0, 0))
			return 1;
	for (int i = 0; i < n; i++)
		ptrace(PTRACE_INTERRUPT, tid[i], 0, 0);
	for (int i = 0; i < n; i++)
		waitpid(tid[i], &status, __WALL);
	for (int i = 0; i < n; i++)
		ptrace(PTRACE_DETACH, tid[i], 0, 0);
	return !n;
}
