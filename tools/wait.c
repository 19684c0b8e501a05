/* SPDX-License-Identifier: MIT */
/* Theory: a pidfd polls readable when its process has ended (pidfd_open(2)), whoever
 * its parent is, and cannot mean another that got the number later. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "jobs.h"
#include "options.h"
#include "output.h"

enum {
	WAIT_FOREVER = -1, /* no deadline */
};

static int time_left(long long deadline)
{
	long long left;

	if (deadline == WAIT_FOREVER)
		return -1;
	left = deadline - jobs_now();
	return left > 0 ? (int)left : 0;
}

static void mark_ended(struct job *jobs, struct pollfd *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!fds[i].revents)
			continue;
		notice("pid %d has exited", jobs[i].pid);
		jobs[i].settled = true;
		fds[i].fd = -1;
	}
}

static size_t count_open(const struct job *jobs, size_t n)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++)
		left += !jobs[i].settled;
	return left;
}

/* Waits for all; how many are left when the time is up. */
static size_t wait_jobs(struct job *jobs, size_t n, long long deadline)
{
	struct pollfd *fds = options_alloc(n, sizeof(*fds));
	int got = 1;

	for (size_t i = 0; i < n; i++)
		fds[i] = (struct pollfd){ .fd = jobs[i].settled ? -1 : jobs[i].pidfd,
					  .events = POLLIN };
	while (count_open(jobs, n) > 0 && got != 0) {
		got = poll(fds, n, time_left(deadline));
		if (got < 0 && errno != EINTR) {
			complain("cannot wait: %s", strerror(errno));
			break;
		}
		if (got > 0)
			mark_ended(jobs, fds, n);
	}
	free(fds);
	return count_open(jobs, n);
}

static size_t complain_left(const struct job *jobs, size_t n, const char *seconds)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++) {
		if (jobs[i].settled)
			continue;
		complain("pid %d has not ended after %s s", jobs[i].pid, seconds);
		left++;
	}
	return left;
}

static int run_wait(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		OPTIONS_LONG,
		{ "timeout", required_argument, NULL, 't' },
		{ 0 },
	};
	long long deadline = WAIT_FOREVER;
	const char *seconds = "";
	struct job *jobs;
	size_t n, failed;
	pid_t *pids;
	int c;

	while ((c = options_next(self, argc, argv, ":t:" OPTIONS_SHORT, longs)) != -1) {
		deadline = jobs_now() + options_seconds(self, optarg);
		seconds = optarg;
	}
	pids = options_pids(self, argc, argv, &n);
	failed = jobs_open(pids, n, JOB_WAIT, &jobs);
	if (wait_jobs(jobs, n, deadline) > 0)
		failed += complain_left(jobs, n, seconds);
	jobs_free(jobs, n);
	free(pids);
	return failed ? EXIT_FAILED : EXIT_DONE;
}

const struct command command_wait = {
	.name = "wait",
	.summary = "wait for the end of processes",
	.synopsis = "[-q] [-t SECONDS] PID...",
	.help = "Returns when every process has ended; they need not be children. A "
		"zombie has ended.\n"
		"\n"
		"Options:\n"
		"  -t, --timeout=SECONDS   wait no longer; exit status 1 when one is "
		"still there\n"
		"  -q, --quiet             no notices\n"
		"  -h, --help              this text\n"
		"\n"
		"Examples:\n"
		"  pgrab wait 1234 5678 && echo all gone\n"
		"  pgrab wait -t 2.5 1234 || kill -9 1234\n",
	.run = run_wait,
};
