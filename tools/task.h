/* SPDX-License-Identifier: MIT */
/* What /proc says of a process's threads, without touching them. proc(5). */
#ifndef PGRAB_TOOLS_TASK_H
#define PGRAB_TOOLS_TASK_H

#include <stddef.h>
#include <sys/types.h>

/* task.syscall when there is no number. */
enum {
	TASK_RUNNING = -1, /* it runs, in user space or in the kernel */
	TASK_OUTSIDE = -2, /* blocked, but not in a system call */
	TASK_UNKNOWN = -3  /* we may not know */
};

/* One thread. */
struct task {
	pid_t tid;     /* thread id */
	char state;    /* as ps(1) prints it; '?' when not known */
	char name[64]; /* its comm */
	long syscall;  /* number of the call that it is blocked in, or TASK_* */
};

/* The threads of pid, by tid: 0, or -1 with errno. *ret is allocated. */
int task_list(pid_t pid, struct task **ret, size_t *ret_n);

/* One of a list, or NULL. */
const struct task *task_find(const struct task *tasks, size_t n, pid_t tid);

/* Reads a small file of /proc into buf, terminated: its length, or -1 with errno. */
ssize_t task_file(char *buf, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The state in words. */
const char *task_state(char state);

#endif
