/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "target.h"
#include "task.h"

static void print_task(const struct task *t)
{
	char name[32];

	output("%7d %-15s %-16s", t->tid, task_state(t->state),
	       t->syscall >= 0 ? proc_sysname((int)t->syscall, name, sizeof(name)) : "-");
	output(" ");
	output_escaped(t->name);
	output("\n");
}

static int show_threads(struct ps_prochandle *P, pid_t pid, void *arg)
{
	struct task *tasks;
	size_t n;

	if (task_list(pid, &tasks, &n) < 0) {
		complain("cannot list the threads of pid %d: %s", pid, strerror(errno));
		return 1;
	}
	for (size_t i = 0; i < n && !output_failed(); i++)
		print_task(&tasks[i]);
	free(tasks);
	return 0;
}

static int run_threads(const struct command *self, int argc, char **argv)
{
	return target_command(self, argc, argv, show_threads);
}

const struct command command_threads = {
	.name = "threads",
	.summary = "the threads of processes",
	.synopsis = "[-q] PID...",
	.help = "Prints each thread: id, state, the system call that it is blocked in (- "
		"when it is in\n"
		"none, or we may not know), name. The process is not touched.\n"
		"\n"
		"Options:\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab threads 1234\n"
		"  pgrab threads 1234 | grep -c futex   how many wait for a lock\n",
	.run = run_threads,
};
