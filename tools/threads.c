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

/* Of a core: the signal that ended it stands for the state. */
static int print_lwp(void *arg, const lwpstatus_t *st)
{
	char name[32] = "-";

	if (st->pr_cursig)
		proc_signame(st->pr_cursig, name, sizeof(name));
	output("%7d %-15s %-16s ", st->pr_lwpid, name, "-");
	output_escaped(arg);
	output("\n");
	return output_failed();
}

static int show_dead(struct ps_prochandle *P)
{
	const psinfo_t *ps = Ppsinfo(P);
	char name[PRFNSZ] = "";

	if (ps)
		memcpy(name, ps->pr_fname, sizeof(name));
	if (Plwp_iter(P, print_lwp, name) >= 0 && Pstatus(P)->pr_nlwp > 0)
		return 0;
	complain("there are no threads in the file");
	return 1;
}

static int show_threads(struct ps_prochandle *P, pid_t pid, void *arg)
{
	struct task *tasks;
	size_t n;

	if (target_is_file(P))
		return show_dead(P);
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
	return target_command_file(self, argc, argv, show_threads);
}

const struct command command_threads = {
	.name = "threads",
	.summary = "the threads of processes",
	.synopsis = "[-q] PID|CORE...",
	.help = "Prints each thread: id, state, the system call that it is blocked in (- "
		"when it is in\n"
		"none, or we may not know), name. The process is not touched. Of a core: "
		"id, "
		"the signal,\n"
		"the name of the process.\n"
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
