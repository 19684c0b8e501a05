/* SPDX-License-Identifier: MIT */
/* Victims: processes that print the truth and obey commands on their stdin. */
#include "harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	SOON_MS = 10000, /* until a victim must have said what it has to */
	MAX_ARGS = 30
};

const char *victim_path(const char *name)
{
	static _Thread_local char path[4096];
	const char *dir = getenv("VICTIMS");

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : HARNESS_VICTIMS, name);
	return path;
}

bool victim_exists(const char *name)
{
	return !access(victim_path(name), X_OK);
}

static _Noreturn void exec_victim(const char *path, char **argv, int in, int out)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	execv(path, argv);
	_exit(127);
}

void victim_start(struct victim *v, const char *name, ...)
{
	const char *path = victim_path(name);
	char *argv[MAX_ARGS + 2] = { (char *)(uintptr_t)path };
	int in[2], out[2], n = 1;
	va_list args;

	va_start(args, name);
	while (n <= MAX_ARGS && (argv[n] = va_arg(args, char *)))
		n++;
	va_end(args);
	if (access(path, X_OK))
		fail_msg("no victim %s: %s", path, strerror(errno));
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	v->pid = fork();
	if (!v->pid)
		exec_victim(path, argv, in[0], out[1]);
	assert_int_above(v->pid, 0);
	close(in[0]);
	close(out[1]);
	v->in = in[1];
	v->out = out[0];
	v->have = 0;
	v->pidfd = (int)syscall(SYS_pidfd_open, v->pid, 0);
	assert_int_above(v->pidfd, -1);
}

/* --- its output --------------------------------------------------------------------- */

/* Moves the first line of buf to line: false when there is no whole one. */
static bool take(struct victim *v)
{
	char *end = memchr(v->buf, '\n', v->have);
	size_t len = end ? (size_t)(end - v->buf) : 0;

	if (!end)
		return false;
	if (len >= sizeof(v->line))
		fail_msg("the victim's line is too long: %zu bytes", len);
	memcpy(v->line, v->buf, len);
	v->line[len] = 0;
	v->have -= len + 1;
	memmove(v->buf, end + 1, v->have);
	return true;
}

/* Reads more: false at the end of output. */
static bool fill(struct victim *v, int64_t end)
{
	struct pollfd p = { .fd = v->out, .events = POLLIN };
	int64_t left = end - harness_now_ms();
	ssize_t n;

	if (poll(&p, 1, left > 0 ? (int)left : 0) == 0)
		fail_msg("victim %d (state %c) says nothing; so far '%.*s'", v->pid,
			 harness_state(v->pid), (int)v->have, v->buf);
	n = read(v->out, v->buf + v->have, sizeof(v->buf) - v->have);
	if (n < 0 && errno == EINTR)
		return true;
	if (n > 0)
		v->have += (size_t)n;
	return n > 0;
}

const char *victim_line(struct victim *v)
{
	int64_t end = harness_now_ms() + harness_ms(SOON_MS);

	while (!take(v))
		if (!fill(v, end))
			return NULL;
	return v->line;
}

const char *victim_expect(struct victim *v, const char *prefix)
{
	const char *line = victim_line(v);
	size_t len = strlen(prefix);

	if (!line || strncmp(line, prefix, len))
		fail_msg("the victim says '%s', not '%s…'", line ? line : "(end)",
			 prefix);
	return line + len;
}

uint64_t victim_number(struct victim *v, const char *prefix)
{
	return strtoull(victim_expect(v, prefix), NULL, 0);
}

/* --- commands and end --------------------------------------------------------------- */

void victim_send(struct victim *v, const char *fmt, ...)
{
	char line[4096];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line) - 1, fmt, args);
	va_end(args);
	assert_int_below(len, sizeof(line) - 1);
	line[len++] = '\n';
	assert_int_equal(write(v->in, line, (size_t)len), len);
}

void victim_forget(struct victim *v)
{
	if (v->in >= 0)
		close(v->in);
	v->in = -1;
	close(v->out);
	close(v->pidfd);
}

int victim_end(struct victim *v)
{
	struct pollfd p = { .fd = v->pidfd, .events = POLLIN };
	int status;

	close(v->in);
	v->in = -1;
	if (poll(&p, 1, harness_ms(SOON_MS)) != 1)
		fail_msg("victim %d does not end, state %c", v->pid,
			 harness_state(v->pid));
	assert_int_equal(waitpid(v->pid, &status, 0), v->pid);
	victim_forget(v);
	return status;
}

void victim_kill(struct victim *v)
{
	kill(v->pid, SIGKILL);
	victim_end(v);
}
