/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "task.h"

static ssize_t read_all(int fd, char *buf, size_t size)
{
	size_t at = 0;

	while (at < size) {
		ssize_t n = read(fd, buf + at, size - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		at += (size_t)n;
	}
	return (ssize_t)at;
}

ssize_t task_file(char *buf, size_t size, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;
	ssize_t n;
	int fd, err;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -1;
	n = read_all(fd, buf, size - 1);
	err = errno;
	close(fd);
	errno = err;
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

/* "TID (NAME) S …", where NAME may hold anything, brackets too. */
static void parse_stat(struct task *t, const char *stat)
{
	const char *open = strchr(stat, '('), *close = strrchr(stat, ')');

	if (!open || !close || close < open)
		return;
	snprintf(t->name, sizeof(t->name), "%.*s", (int)(close - open - 1), open + 1);
	if (close[1] == ' ' && close[2])
		t->state = close[2];
}

/* "running", "-1 SP PC", or "NR ARGS… SP PC". */
static long parse_syscall(const char *text)
{
	char *end;
	long nr;

	if (strncmp(text, "running", 7) == 0)
		return TASK_RUNNING;
	nr = strtol(text, &end, 10);
	if (end == text)
		return TASK_UNKNOWN;
	return nr < 0 ? TASK_OUTSIDE : nr;
}

static void read_task(struct task *t, pid_t pid, pid_t tid)
{
	char buf[1024];

	*t = (struct task){ .tid = tid, .state = '?', .syscall = TASK_UNKNOWN };
	if (task_file(buf, sizeof(buf), "/proc/%d/task/%d/stat", pid, tid) > 0)
		parse_stat(t, buf);
	if (task_file(buf, sizeof(buf), "/proc/%d/task/%d/syscall", pid, tid) > 0)
		t->syscall = parse_syscall(buf);
}

static int by_tid(const void *a, const void *b)
{
	const struct task *x = a, *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

/* Appends; 0 or -1. */
static int add_task(struct task **tasks, size_t *n, size_t *room, pid_t pid, pid_t tid)
{
	if (*n == *room) {
		size_t more = *room ? *room * 2 : 16;
		struct task *t = reallocarray(*tasks, more, sizeof(**tasks));

		if (!t)
			return -1;
		*tasks = t;
		*room = more;
	}
	read_task(&(*tasks)[(*n)++], pid, tid);
	return 0;
}

int task_list(pid_t pid, struct task **ret, size_t *ret_n)
{
	struct task *tasks = NULL;
	size_t n = 0, room = 0;
	struct dirent *de;
	char path[64];
	int bad = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	while (!bad && (de = readdir(dir)))
		if (isdigit((unsigned char)de->d_name[0]))
			bad = add_task(&tasks, &n, &room, pid, (pid_t)atoi(de->d_name));
	closedir(dir);
	if (bad || n == 0) {
		free(tasks);
		errno = bad ? ENOMEM : ESRCH;
		return -1;
	}
	qsort(tasks, n, sizeof(*tasks), by_tid);
	*ret = tasks;
	*ret_n = n;
	return 0;
}

const struct task *task_find(const struct task *tasks, size_t n, pid_t tid)
{
	struct task key = { .tid = tid };

	return n ? bsearch(&key, tasks, n, sizeof(*tasks), by_tid) : NULL;
}

const char *task_state(char state)
{
	switch (state) {
	case 'R':
		return "running";
	case 'S':
		return "sleeping";
	case 'D':
		return "uninterruptible";
	case 'T':
		return "stopped";
	case 't':
		return "traced";
	case 'Z':
		return "zombie";
	case 'X':
		return "dead";
	case 'I':
		return "idle";
	case 'P':
		return "parked";
	default:
		return "unknown";
	}
}
