/* SPDX-License-Identifier: MIT */
/*
 * Theory: SIGSTOP, as job control would: the process stays stopped after pgrab has ended,
 * and SIGCONT continues it. No ptrace. The signal is sent to all first, then each is
 * looked at until every one of its threads stands. A thread that sleeps uninterruptibly
 * stands only when it wakes: there is a deadline, and a sentence that names it.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "jobs.h"
#include "options.h"
#include "output.h"
#include "task.h"

enum {
	STOP_DEADLINE = 5000, /* ms until all threads must stand */
};

/* Stopped, traced by somebody, or about to be gone: it runs no more. */
static bool stands(const struct task *t)
{
	return t->state == 'T' || t->state == 't' || t->state == 'Z' || t->state == 'X';
}

/* The first thread that does not stand into *ret: 1; 0 when all do; -1 when it is
 * gone. */
static int find_running(pid_t pid, struct task *ret)
{
	struct task *tasks;
	size_t n;
	int found = 0;

	if (task_list(pid, &tasks, &n) < 0)
		return -1;
	for (size_t i = 0; i < n && !found; i++) {
		if (stands(&tasks[i]))
			continue;
		*ret = tasks[i];
		found = 1;
	}
	free(tasks);
	return found;
}

/* 0, or 1 after a sentence. */
static size_t wait_stop(struct job *job, long long deadline)
{
	struct task t;
	int running;

	while ((running = find_running(job->pid, &t)) > 0 && jobs_now() < deadline)
		usleep(500);
	if (running == 0)
		return 0;
	if (running < 0)
		complain("pid %d ended before it stopped", job->pid);
	else
		complain("pid %d: thread %d is still %s (%c); it will stop when it wakes",
			 job->pid, t.tid, task_state(t.state), t.state);
	return 1;
}

static int run_stop(const struct command *self, int argc, char **argv)
{
	long long deadline;
	struct job *jobs;
	size_t n, failed;
	pid_t *pids;

	options_none(self, argc, argv);
	pids = options_pids(self, argc, argv, &n);
	failed = jobs_open(pids, n, JOB_SIGNAL, &jobs);
	failed += jobs_signal(jobs, n, SIGSTOP);
	deadline = jobs_now() + STOP_DEADLINE;
	for (size_t i = 0; i < n; i++)
		if (!jobs[i].settled)
			failed += wait_stop(&jobs[i], deadline);
	jobs_free(jobs, n);
	free(pids);
	return failed ? EXIT_FAILED : EXIT_DONE;
}

const struct command command_stop = {
	.name = "stop",
	.summary = "stop processes, as job control does",
	.synopsis = "[-q] PID...",
	.help = "Stops each process (SIGSTOP) and returns when all its threads stand, or "
		"after 5 s.\n"
		"It stays stopped until `pgrab cont`, `kill -CONT` or a shell continues "
		"it.\n"
		"\n"
		"Options:\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab stop 1234 && cp -a /var/lib/thing /backup; pgrab cont 1234\n"
		"  pgrab stop $(pidof make)\n",
	.run = run_stop,
};
