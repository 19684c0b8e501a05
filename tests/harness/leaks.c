/* SPDX-License-Identifier: MIT */
/*
 * The proofs after a test. A thread or a process that is on its way out has a moment to
 * finish; one that stays is a leak. A zombie is not alive, but in the test's own
 * process it is a child that nobody waited for.
 *
 * Descriptors are compared in a forked child, since the library's own connection to its
 * keeper, kept for the next victim, is closed there by its fork handler: what is left
 * is the test's.
 */
#include "harness/leaks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	SWEEP_MS = 5000 /* until the last descendant must be gone */
};

/* --- one process -------------------------------------------------------------------- */

static void read_status(FILE *file, struct harness_process *p)
{
	char line[256];

	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "State:\t%c", &p->state);
		sscanf(line, "PPid:\t%d", &p->parent);
		sscanf(line, "TracerPid:\t%d", &p->tracer);
		sscanf(line, "Name:\t%31[^\n]", p->comm);
	}
}

struct harness_process harness_process(pid_t pid)
{
	struct harness_process p = { .pid = pid };
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		return p;
	read_status(file, &p);
	fclose(file);
	return p;
}

char harness_state(pid_t pid)
{
	return harness_process(pid).state;
}

static bool is_alive(const struct harness_process *p)
{
	return p->state && p->state != 'Z' && p->state != 'X';
}

/* --- descriptors -------------------------------------------------------------------- */

static void note_fds(char fds[LEAKS_FDS][LEAKS_TARGET])
{
	char path[32];
	ssize_t len;

	for (int fd = 0; fd < LEAKS_FDS; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		len = readlink(path, fds[fd], LEAKS_TARGET - 1);
		fds[fd][len > 0 ? len : 0] = 0;
	}
}

static int compare_fds(const struct leaks_own *before)
{
	static char now[LEAKS_FDS][LEAKS_TARGET];
	int different = 0;

	note_fds(now);
	for (int fd = 0; fd < LEAKS_FDS; fd++) {
		if (!strcmp(before->fds[fd], now[fd]))
			continue;
		fprintf(stderr, "descriptor %d: was '%s', is '%s'\n", fd, before->fds[fd],
			now[fd]);
		different++;
	}
	return different;
}

static void check_fds(const struct leaks_own *before)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(!!compare_fds(before));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		harness_fail("leaks", 0, "cannot look at the descriptors: %s",
			     strerror(errno));
	if (status)
		harness_fail("leaks", 0, "descriptors are not as they were");
}

/* --- threads ------------------------------------------------------------------------ */

static int count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *entry;
	int n = 0;

	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* A joined thread may be seen for a moment more. */
static void check_threads(const struct leaks_own *before)
{
	int64_t end = harness_now_ms() + harness_ms(2000);
	int n = count_threads();

	while (n > before->threads && harness_wait_a_little(end))
		n = count_threads();
	if (n > before->threads)
		harness_fail("leaks", 0, "%d threads left (%d at the start)", n,
			     before->threads);
}

/* --- children ----------------------------------------------------------------------- */

static void check_children(void)
{
	siginfo_t info = { 0 };
	struct harness_process p;

	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) &&
	    errno == ECHILD)
		return;
	if (!info.si_pid)
		harness_fail("leaks", 0, "a child is left running or stopped");
	p = harness_process(info.si_pid);
	harness_fail("leaks", 0, "child %d (%s) was not waited for", p.pid, p.comm);
}

void leaks_note(struct leaks_own *ret)
{
	note_fds(ret->fds);
	ret->threads = count_threads();
}

void leaks_check(const struct leaks_own *before)
{
	check_children();
	check_threads(before);
	check_fds(before);
}

/* --- descendants -------------------------------------------------------------------- */

static bool is_known(const struct harness_process *known, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++)
		if (known[i].pid == pid)
			return true;
	return false;
}

/* One pass over /proc: adds whose parent is this process or known already. */
static size_t add_children(struct harness_process *known, size_t n, pid_t self)
{
	DIR *dir = opendir("/proc");
	const struct dirent *entry;

	while (dir && n < LEAKS_PROCESSES && (entry = readdir(dir))) {
		pid_t pid = atoi(entry->d_name);

		if (pid <= 0 || is_known(known, n, pid))
			continue;
		known[n] = harness_process(pid);
		n += (known[n].parent == self || is_known(known, n, known[n].parent)) &&
		     is_alive(&known[n]);
	}
	if (dir)
		closedir(dir);
	return n;
}

/* The living descendants of this process, LEAKS_PROCESSES at most; the first is a
 * child. */
static size_t list_descendants(struct harness_process ret[LEAKS_PROCESSES])
{
	size_t n = 0, more = add_children(ret, 0, getpid());

	while (more > n) {
		n = more;
		more = add_children(ret, n, getpid());
	}
	return n;
}

static void reap_all(void)
{
	while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
		;
}

/* Until this process ends, or `end`. */
static void await_end(pid_t pid, int64_t end)
{
	struct pollfd p = { .events = POLLIN };
	int64_t left = end - harness_now_ms();

	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0)
		return;
	poll(&p, 1, left > 0 ? (int)left : 0);
	close(p.fd);
}

static void describe(const struct harness_process *left, size_t n, char *text,
		     size_t size)
{
	size_t used = 0;

	text[0] = 0;
	for (size_t i = 0; i < n && used < size; i++)
		used += (size_t)snprintf(text + used, size - used,
					 "process %d (%s) is left, state %c, tracer %d; ",
					 left[i].pid, left[i].comm, left[i].state,
					 left[i].tracer);
}

/* Their children become ours in turn. */
static void kill_all(void)
{
	struct harness_process left[LEAKS_PROCESSES];
	int64_t end = harness_now_ms() + harness_ms(5000);
	size_t n;

	for (n = list_descendants(left); n && harness_now_ms() < end;
	     n = list_descendants(left)) {
		for (size_t i = 0; i < n; i++)
			kill(left[i].pid, SIGKILL);
		await_end(left[0].pid, end);
		reap_all();
	}
	reap_all();
}

void leaks_sweep(char *ret_text, size_t size)
{
	struct harness_process left[LEAKS_PROCESSES];
	const char *ms = getenv("HARNESS_SWEEP_MS");
	int64_t end = harness_now_ms() + (ms ? atoi(ms) : harness_ms(SWEEP_MS));
	size_t n;

	reap_all();
	while ((n = list_descendants(left)) && harness_now_ms() < end) {
		await_end(left[0].pid, end);
		reap_all();
	}
	describe(left, n, ret_text, size);
	kill_all();
}
