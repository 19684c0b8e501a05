/* SPDX-License-Identifier: MIT */
/*
 * /proc as values: thin readers, no policy. Each returns 0 or a negative errno (-ESRCH
 * when the process is gone), leaves its outputs untouched on failure, may be called
 * from any thread, and does nothing to the process. proc(5).
 */
#ifndef PGRAB_OS_PROCFS_H
#define PGRAB_OS_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* What /proc/PID/stat (or task/TID/stat) says, as far as it is used. */
struct procfs_stat {
	pid_t pid;           /* the id in the first column */
	char comm[64];       /* name without its parentheses */
	char state;          /* R S D T t Z X I P */
	pid_t ppid;          /* parent */
	pid_t pgrp;          /* process group */
	pid_t session;       /* session */
	int tty;             /* controlling terminal, device number; 0 none */
	unsigned long flags; /* PF_*; 0x00200000 is PF_KTHREAD */
	uint64_t utime;      /* clock ticks in user mode */
	uint64_t stime;      /* clock ticks in the kernel */
	long nice;           /* nice value */
	long nlwp;           /* threads */
	uint64_t starttime;  /* clock ticks after boot: with the pid, the identity */
	uint64_t vsize;      /* bytes of address space */
	uint64_t rss;        /* resident pages */
	int processor;       /* CPU it last ran on */
	long exit_code;      /* wait(2) status of a zombie, where readable */
};

/* What /proc/PID/status says. */
struct procfs_status {
	pid_t tgid;        /* process */
	pid_t tracer;      /* TracerPid; 0 none */
	uid_t uid, euid;   /* real and effective user */
	gid_t gid, egid;   /* real and effective group */
	uint64_t sigpnd;   /* signals pending for the thread; bit n-1 is signal n */
	uint64_t shdpnd;   /* signals pending for the process */
	uint64_t sigblk;   /* blocked */
	uint64_t sigign;   /* ignored */
	uint64_t sigcgt;   /* handled */
	bool no_new_privs; /* NoNewPrivs */
	int seccomp;       /* 0 off, 1 strict, 2 filter */
	uint64_t cap_eff;  /* CapEff */
};

/* One line of /proc/PID/maps. */
struct procfs_map {
	uint64_t start, end; /* [start, end) */
	uint64_t offset;     /* in the file, bytes */
	unsigned prot;       /* PROT_READ | PROT_WRITE | PROT_EXEC */
	bool shared;         /* MAP_SHARED */
	bool deleted;        /* the file has been unlinked: the suffix is cut off path */
	unsigned dev_major, dev_minor; /* of the file */
	uint64_t inode;                /* 0: anonymous */
	const char *path; /* "", a path (octal escapes undone), or [heap], [vdso] … */
};

/* One mapping as /proc/PID/smaps shows it. */
struct procfs_smap {
	struct procfs_map m; /* as in maps */
	uint64_t anonymous;  /* resident bytes that are the process's own */
	uint64_t swap;       /* bytes swapped out */
	bool dont_dump;      /* MADV_DONTDUMP */
	bool io;             /* of a device */
	bool huge;           /* of hugetlbfs */
};

/* tid 0: the process (`/proc/PID/stat`); else one thread (`/proc/PID/task/TID/stat`). */
int procfs_stat(pid_t pid, pid_t tid, struct procfs_stat *ret);
int procfs_status(pid_t pid, pid_t tid, struct procfs_status *ret);

/*
 * Reads the maps of pid through task/tid (tid 0: the process itself; another live tid
 * when the leader is a zombie). *ret_maps is one block, paths included: the caller
 * frees it with free(). Lines in address order. -ENOMEM, -ESRCH, -EACCES.
 */
int procfs_maps(pid_t pid, pid_t tid, struct procfs_map **ret_maps, size_t *ret_n);

/*
 * The same with what smaps adds. Costs the kernel a walk over the page tables: some 10 ms
 * for a GiB that is resident.
 */
int procfs_smaps(pid_t pid, pid_t tid, struct procfs_smap **ret_maps, size_t *ret_n);

/*
 * The first pages at or above addr, and below end, that are in memory or swapped out,
 * into [*ret_start, *ret_end); both are `end` when there are none. fd: /proc/PID/pagemap
 * (procfs_pagemap()). Nothing is brought into memory. -errno.
 */
int procfs_next_pages(int fd, uint64_t addr, uint64_t end, uint64_t *ret_start,
		      uint64_t *ret_end);

/* /proc/PID/pagemap, open: a descriptor or -errno. */
int procfs_pagemap(pid_t pid);

/* All thread ids of pid, ascending as the kernel lists them; the caller frees
 * *ret_tids. */
int procfs_tids(pid_t pid, pid_t **ret_tids, size_t *ret_n);

/* Number of threads without listing them (link count of /proc/PID/task less 2), or
 * -errno. */
int procfs_nlwp(pid_t pid);

/* All process ids, as listed; the caller frees *ret_pids. */
int procfs_pids(pid_t **ret_pids, size_t *ret_n);

/*
 * The whole of /proc/PID/NAME (cmdline, environ, auxv, comm …) as bytes, followed by a
 * NUL that is not counted. The caller frees *ret_buf. At most 16 MiB (-E2BIG).
 */
int procfs_slurp(pid_t pid, const char *name, char **ret_buf, size_t *ret_len);

/* The target of the link /proc/PID/NAME, allocated; the caller frees *ret_path. */
int procfs_readlink(pid_t pid, const char *name, char **ret_path);

/*
 * What stat(2) says of the file that pid maps at [start, end), without opening it: 0; an
 * errno where that cannot be told, which procfs_open_mapped() may know better.
 */
int procfs_stat_mapped(pid_t pid, const struct procfs_map *m, struct stat *ret);

/*
 * Opens (O_RDONLY | O_CLOEXEC) the file that pid maps at [start, end): by map_files,
 * else by `path` resolved inside /proc/PID/root without leaving it, the inode compared
 * with m->inode. Works for deleted files where map_files is permitted. Returns a
 * descriptor or a negative errno; -ESTALE when the path now names another file.
 */
int procfs_open_mapped(pid_t pid, const struct procfs_map *m);

/* The root directory of pid as it sees it (O_PATH): a descriptor or -errno. */
int procfs_root(pid_t pid);

/*
 * Opens (O_RDONLY | O_CLOEXEC) the plain file `path` as whoever has that root directory
 * sees it: no link leads out of it. A descriptor; *ret_st (may be NULL) what it is.
 * -ENXIO: it is a device, a fifo, a directory …; -errno.
 */
struct stat;
int procfs_open_inside(int root, const char *path, struct stat *ret_st);

/* The same of a path whose last part is no link (-ENXIO). */
int procfs_open_itself(int root, const char *path, struct stat *ret_st);

/* A folder there (O_PATH), or -errno. */
int procfs_open_dir(int root, const char *path);

/*
 * The file that is mapped at addr: its path (the caller's to free), and where the
 * mappings of it that lie there without a gap begin and end. Costs a few µs however many
 * mappings there are. -ENOENT: nothing, or no file; -ENOTTY: before Linux 6.11.
 */
int procfs_mapped_file(pid_t pid, pid_t tid, uint64_t addr, uint64_t *ret_start,
		       uint64_t *ret_end, char **ret_path);

/* pidfd_open(2): a descriptor or a negative errno. */
int procfs_pidfd(pid_t pid);

/* 1 while the process behind pidfd exists and has not become a zombie, else 0. */
int procfs_pidfd_alive(int pidfd);

#endif
