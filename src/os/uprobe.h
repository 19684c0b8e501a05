/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints kept by the kernel as uprobes: a link of kind uprobe_multi (Linux 6.6) with
 * a BPF program that counts the hits of each thread and sends it a signal. Thin, no
 * policy. A hit is seen *behind* the instruction, which the kernel has executed by then.
 * What is made here goes when its descriptors are closed, whoever closes them and why.
 * Needs CAP_BPF and CAP_PERFMON, and the first pid namespace: the program knows no other
 * thread ids. Each returns 0, or a descriptor, or a negative errno, and may be called
 * from any thread.
 */
#ifndef PGRAB_OS_UPROBE_H
#define PGRAB_OS_UPROBE_H

#include <stdint.h>
#include <sys/types.h>

/* The program and its table of hits. */
struct uprobe {
	int map;  /* hits, by thread and mark */
	int prog; /* the program */
};

/* Hits of one thread since they were taken last. */
struct uprobe_hits {
	uint64_t n;  /* how many */
	uint64_t sp; /* the stack pointer at the last, before the instruction */
};

/* Loads it. -EPERM: not allowed (capabilities, seccomp, another pid namespace); -ENOSYS,
 * -EINVAL: not in this kernel; -EOPNOTSUPP: not on this CPU. */
int uprobe_open(struct uprobe *ret);
void uprobe_close(struct uprobe *u);

/*
 * Sets one for process pid alone, at the file's offset, in bytes; a thread that passes is
 * sent sig. `mark` (0 to 255) tells it from others of the process. Takes some 10 ms,
 * dropping the descriptor that is returned some 40: in both the kernel waits for every
 * CPU. -ESRCH: no such process; -ENOENT, -EINVAL: no such file or offset.
 *
 * Made by a process aside, and dropped by one: a SIGKILL that comes in the middle would
 * leave the uprobe in the kernel for good, where it swallows traps at that place.
 */
int uprobe_set(const struct uprobe *u, pid_t pid, const char *path, uint64_t offset,
	       int mark, int sig);
void uprobe_drop(int link);

/*
 * One link for many places of a file: program prog, of whatever content, is run at
 * offsets[0..n), with cookies[0..n), in process pid alone. path may be /proc/self/fd/N.
 * Made by a process aside too, and to be closed by one. Costs as uprobe_set(). -524
 * (ENOTSUPP): an instruction that uprobes do not know.
 */
int uprobe_link(int prog, pid_t pid, const char *path, const uint64_t *offsets,
		const uint64_t *cookies, uint32_t n);

/* The attach type that such a program is loaded with. */
#define UPROBE_ATTACH_TYPE 48

/* 0 and what thread tid has hit, which is forgotten; -ENOENT none. */
int uprobe_take(const struct uprobe *u, pid_t tid, int mark, struct uprobe_hits *ret);

#endif
