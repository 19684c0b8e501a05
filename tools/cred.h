/* SPDX-License-Identifier: MIT */
/* A process's credentials as /proc/PID/status tells them. proc(5), capabilities(7). */
#ifndef PGRAB_TOOLS_CRED_H
#define PGRAB_TOOLS_CRED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Capabilities that matter here (capabilities(7)). */
enum {
	CRED_SYS_PTRACE = 19, /* hold processes that are not ours */
};

/* Who somebody is. */
struct cred {
	char name[64];       /* comm */
	pid_t tgid;          /* process that it belongs to */
	pid_t tracer;        /* who traces it, 0 nobody */
	uid_t uid[4];        /* real, effective, saved, file system */
	gid_t gid[4];        /* the same */
	uint64_t permitted;  /* CapPrm */
	uint64_t effective;  /* CapEff */
	int seccomp;         /* 0 none, 1 strict, 2 filter */
	unsigned namespaces; /* pid namespaces from ours down to its own, 1 at least */
};

/* Of pid (0: ourselves): 0, or -1 with errno. */
int cred_read(pid_t pid, struct cred *ret);

/* Is the capability in the set? */
bool cred_has(uint64_t set, unsigned capability);

#endif
