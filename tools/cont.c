/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdlib.h>

#include "jobs.h"
#include "options.h"

static int run_cont(const struct command *self, int argc, char **argv)
{
	struct job *jobs;
	size_t n, failed;
	pid_t *pids;

	options_none(self, argc, argv);
	pids = options_pids(self, argc, argv, &n);
	failed = jobs_open(pids, n, JOB_SIGNAL, &jobs);
	failed += jobs_signal(jobs, n, SIGCONT);
	jobs_free(jobs, n);
	free(pids);
	return failed ? EXIT_FAILED : EXIT_DONE;
}

const struct command command_cont = {
	.name = "cont",
	.summary = "continue processes that are stopped",
	.synopsis = "[-q] PID...",
	.help = "Continues each process (SIGCONT). One that runs already is not "
		"disturbed.\n"
		"\n"
		"Options:\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab cont 1234\n"
		"  pgrab stop 1234; pgrab maps 1234; pgrab cont 1234\n",
	.run = run_cont,
};
