/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "jobs.h"
#include "options.h"
#include "output.h"
#include "target.h"

/* A reason not to touch it, or NULL. The pidfd is open: what proc(5) says is about it, or
 * about nobody. */
static const char *refuse(const struct job *job, const psinfo_t *ps, enum job_use use)
{
	if (job->pid == getpid())
		return "that is this pgrab itself";
	if (ps->pr_kthread)
		return "a kernel thread, which knows no signals and no end";
	if (ps->pr_sname == 'Z' && ps->pr_nlwp <= 1 && use == JOB_SIGNAL)
		return "a zombie: it has ended already";
	return NULL;
}

/* 0, or 1 after a sentence. */
static size_t open_job(struct job *job, pid_t pid, enum job_use use)
{
	const char *why;
	psinfo_t ps;

	*job = (struct job){ .pid = pid, .pidfd = target_pidfd(pid) };
	job->settled = job->pidfd < 0;
	if (job->pidfd < 0)
		return 1;
	if (proc_get_psinfo(pid, &ps) < 0)
		return 0; /* it has just ended, or /proc hides it: the signal will tell */
	why = refuse(job, &ps, use);
	if (!why)
		return 0;
	complain("pid %d: %s", pid, why);
	job->settled = true;
	return 1;
}

size_t jobs_open(const pid_t *pids, size_t n, enum job_use use, struct job **ret)
{
	struct job *jobs = options_alloc(n, sizeof(*jobs));
	size_t failed = 0;

	for (size_t i = 0; i < n; i++)
		failed += open_job(&jobs[i], pids[i], use);
	*ret = jobs;
	return failed;
}

size_t jobs_signal(struct job *jobs, size_t n, int sig)
{
	size_t failed = 0;

	for (size_t i = 0; i < n; i++) {
		if (jobs[i].settled)
			continue;
		if (syscall(SYS_pidfd_send_signal, jobs[i].pidfd, sig, NULL, 0) == 0)
			continue;
		complain("pid %d: %s", jobs[i].pid,
			 errno == EPERM
				 ? "somebody else's process: no permission to signal it"
			 : errno == ESRCH ? "no such process"
					  : strerror(errno));
		jobs[i].settled = true;
		failed++;
	}
	return failed;
}

void jobs_free(struct job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (jobs[i].pidfd >= 0)
			close(jobs[i].pidfd);
	free(jobs);
}

long long jobs_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}
