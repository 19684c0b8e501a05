/* SPDX-License-Identifier: MIT */
/*
 * What users have today: gdb, with a breakpoint that it is told to ignore (it handles
 * each hit inside, without its command interpreter: its fastest way).
 */
#include <fcntl.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

extern char **environ;

enum {
	HITS = 1000
};

static double hit(const char *mode)
{
	char **victim = bench_hit_argv(mode, HITS);
	char *argv[] = { (char *)"gdb",
			 (char *)"-nx",
			 (char *)"-batch",
			 (char *)"-iex",
			 (char *)"set debuginfod enabled off",
			 (char *)"-ex",
			 (char *)"break *bench_hit",
			 (char *)"-ex",
			 (char *)"ignore 1 1000000",
			 (char *)"-ex",
			 (char *)"run",
			 (char *)"--args",
			 (char *)(uintptr_t)bench_self,
			 victim[1],
			 victim[2],
			 victim[3],
			 NULL };
	posix_spawn_file_actions_t quiet;
	int status = -1;
	pid_t pid;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!posix_spawnp(&pid, "gdb", &quiet, NULL, argv, environ))
		waitpid(pid, &status, 0);
	posix_spawn_file_actions_destroy(&quiet);
	return status ? -1 : bench_hit_result();
}

double gdb_hit(void)
{
	return hit("--hit");
}

double gdb_hit8(void)
{
	return hit("--hit8");
}
