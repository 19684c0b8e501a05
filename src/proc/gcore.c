/* SPDX-License-Identifier: MIT */
/*
 * A core of a live victim. It is stopped already; what the keeper and /proc say of it is
 * gathered, then src/core writes it. The lock is taken for each piece of memory: the copy
 * may take seconds. Should the victim die in the middle, so does the core.
 *
 * The file. It has no name until it is complete (O_TMPFILE, open(2)), so whatever ends us
 * leaves nothing; linkat(2) then does not overwrite either. Where there is no O_TMPFILE
 * it is created under its name (O_EXCL) and removed on failure.
 *
 * What is dumped follows the kernel's vma_dump_size() (fs/coredump.c), by what smaps
 * tells: memory that was written has anonymous or swapped pages.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

enum {
	DEFAULT_CONTENT = 0x33, /* of the kernel, when the filter cannot be read */
	PATH_ROOM = 4096 + 64,
};

/* A core while it is gathered. */
struct dump {
	struct ps_prochandle *P;              /* of whom */
	struct core_source src;               /* what is written; points into the rest */
	struct core_thread *threads;          /* owned */
	struct hold_regset *sets[CORE_NSETS]; /* their registers by kind; owned */
	size_t nthreads;                      /* how many */
	struct procfs_smap *maps;             /* owned */
	struct core_area *areas;              /* owned, parallel to maps */
	char *auxv;                           /* owned */
	size_t page;                          /* bytes */
	int force;                            /* /proc/PID/mem; -1 not to be had */
};

/* --- threads ------------------------------------------------------------------------ */

/* One kind of registers, to the threads. Both lists are in the keeper's order, and a
 * thread may have no such registers. */
static void share_out(struct dump *d, size_t kind, const struct hold_regset *sets,
		      size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < d->nthreads && at < n; i++) {
		struct core_thread *t = &d->threads[i];

		if (t->lwp.tid != sets[at].tid)
			continue;
		t->sets[kind] = (struct core_regs_bytes){ sets[at].bytes, sets[at].len };
		at++;
	}
}

/* A kind that the CPU does not have is left out. */
static int gather_sets(struct dump *d)
{
	const struct core_regset *set = d->src.layout->sets;

	for (size_t kind = 0; set[kind].type; kind++) {
		size_t n;
		int rc = hold_regsets(d->P->hold, set[kind].type, &d->sets[kind], &n);

		if (rc)
			return rc;
		share_out(d, kind, d->sets[kind], n);
	}
	return 0;
}

/* CPU times are left out: they are worth no system calls while all stand. */
static void fill_thread(struct dump *d, const struct hold_lwp *l, const arch_regs_t *regs,
			struct core_thread *t)
{
	struct procfs_status status;

	t->lwp = (struct core_lwp){ .tid = l->tid, .cursig = l->cursig };
	memcpy(t->lwp.regs, regs, d->src.layout->nregs * sizeof(uint64_t));
	if (l->cursig)
		t->lwp.has_info = !hold_siginfo(d->P->hold, l->tid, &t->lwp.info);
	if (procfs_status(d->P->pid, l->tid, &status))
		return;
	t->lwp.sigpend = status.sigpnd;
	t->lwp.sighold = status.sigblk;
}

/* The one that an event stopped comes first. */
static void put_first(struct dump *d, pid_t tid)
{
	for (size_t i = 1; i < d->nthreads; i++) {
		struct core_thread t = d->threads[i];

		if (t.lwp.tid != tid)
			continue;
		memmove(&d->threads[1], &d->threads[0], i * sizeof(t));
		d->threads[0] = t;
	}
}

static int gather_threads(struct dump *d)
{
	_cleanup_free_ struct hold_lwp *lwps = NULL;
	_cleanup_free_ arch_regs_t *regs = NULL;
	size_t n;
	int rc = hold_getregs_all(d->P->hold, &lwps, &regs, &n);

	if (rc)
		return rc;
	d->threads = calloc(n ? n : 1, sizeof(*d->threads));
	if (!d->threads)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (lwps[i].stopped)
			fill_thread(d, &lwps[i], &regs[i], &d->threads[d->nthreads++]);
	rc = gather_sets(d);
	put_first(d, d->P->status.pr_lwp.pr_lwpid);
	return rc || d->nthreads ? rc : -ESRCH;
}

/* --- the process -------------------------------------------------------------------- */

static void gather_process(struct dump *d)
{
	struct core_process *ps = &d->src.process;
	psinfo_t info;

	if (d->P->ops->psinfo(d->P, &info))
		return;
	*ps = (struct core_process){
		.known = true,
		.state = info.pr_sname,
		.nice = info.pr_nice,
		.uid = info.pr_uid,
		.gid = info.pr_gid,
		.pid = info.pr_pid,
		.ppid = info.pr_ppid,
		.pgrp = info.pr_pgid,
		.sid = info.pr_sid,
	};
	memcpy(ps->fname, info.pr_fname, sizeof(info.pr_fname));
	memcpy(ps->args, info.pr_psargs, sizeof(info.pr_psargs));
}

/* --- memory ------------------------------------------------------------------------- */

/* What the process wants dumped; its choice outlives exec (core(5)). */
static unsigned read_filter(const struct ps_prochandle *P)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	if (procfs_slurp(P->live.pid, "coredump_filter", &text, &len) || !len)
		return DEFAULT_CONTENT;
	return (unsigned)strtoul(text, NULL, 16);
}

static bool begins_elf(struct dump *d, const struct procfs_map *m)
{
	char magic[SELFMAG];

	return !m->offset && (m->prot & PROT_READ) && m->inode &&
	       memory_read(d->P, m->start, magic, SELFMAG) == SELFMAG &&
	       !memcmp(magic, ELFMAG, SELFMAG);
}

/* A shared mapping of no file has one all the same, without a name. */
static unsigned kind_of(const struct procfs_smap *s)
{
	bool unnamed = !s->m.inode || s->m.deleted;

	if (s->huge)
		return s->m.shared ? PGCORE_HUGE_SHARED : PGCORE_HUGE;
	if (s->m.shared)
		return unnamed ? PGCORE_ANON_SHARED : PGCORE_FILE_SHARED;
	return s->anonymous || s->swap || !s->m.inode ? PGCORE_ANON : PGCORE_FILE;
}

static uint64_t dump_size(struct dump *d, const struct procfs_smap *s, unsigned filter)
{
	const struct procfs_map *m = &s->m;
	uint64_t size = m->end - m->start;

	if (!strcmp(m->path, "[vdso]"))
		return size;
	if (s->dont_dump || s->io || !strncmp(m->path, "[v", 2))
		return 0;
	if (filter & kind_of(s))
		return s->anonymous || s->swap || m->inode || s->huge ? size : 0;
	if ((filter & PGCORE_FILE) && !m->shared && m->inode)
		return size;
	return (filter & PGCORE_HEADERS) && begins_elf(d, m) ? d->page : 0;
}

static int gather_areas(struct dump *d, unsigned filter)
{
	size_t n;
	int rc = procfs_smaps(d->P->live.pid, 0, &d->maps, &n);

	if (rc)
		return rc;
	d->areas = calloc(n + 1, sizeof(*d->areas));
	if (!d->areas)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct procfs_map *m = &d->maps[i].m;

		d->areas[i] = (struct core_area){
			.m = m,
			.dumped = dump_size(d, &d->maps[i], filter),
			.sparse =
				!m->inode && !m->shared && strcmp(m->path, "[vdso]") != 0,
		};
	}
	d->src.areas = d->areas;
	d->src.nareas = n;
	return 0;
}

/* Memory that the process itself may not read now (mprotect(2)) is read as a debugger
 * does, where the kernel allows it (PROC_MEM_* of Linux 6.12). */
static ssize_t read_locked(void *ctx, uint64_t addr, void *buf, size_t len)
{
	struct dump *d = ctx;
	struct ps_prochandle *P = d->P;
	ssize_t n;

	handle_lock(P);
	n = P->allstop ? memory_read(P, addr, buf, len) : -ESRCH;
	handle_unlock(P);
	if (n == -EFAULT && d->force >= 0)
		n = pread(d->force, buf, len, (off_t)addr);
	return n > 0 || n == -ESRCH ? n : -EFAULT;
}

static int open_memory(const struct ps_prochandle *P)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/mem", P->live.pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static const struct mem_ops locked_ops = { .read = read_locked };

/* --- all together ------------------------------------------------------------------- */

/* With the lock. */
static int gather(struct dump *d, int content)
{
	struct ps_prochandle *P = d->P;
	int rc;

	if (!P->hold)
		return -EBADF;
	if (!P->allstop)
		return -EBUSY;
	d->src.layout = core_layout_for(arch_native->elf_machine);
	rc = gather_threads(d);
	if (rc)
		return rc;
	gather_process(d);
	if (P->ops->slurp(P, "auxv", &d->auxv, &d->src.auxv_len))
		d->auxv = NULL;
	d->src.auxv = d->auxv;
	d->src.threads = d->threads;
	d->src.nthreads = d->nthreads;
	d->src.mem = (struct mem){ &locked_ops, d };
	d->force = open_memory(P);
	d->src.pagemap = procfs_pagemap(P->live.pid);
	return gather_areas(d, content ? (unsigned)content : read_filter(P));
}

static void free_dump(struct dump *d)
{
	for (size_t i = 0; i < CORE_NSETS; i++)
		free(d->sets[i]);
	scope_close(&d->src.pagemap);
	scope_close(&d->force);
	free(d->threads);
	free(d->areas);
	free(d->maps);
	free(d->auxv);
}

static int write_core(struct ps_prochandle *P, int fd, int content)
{
	struct dump d = { .P = P, .page = (size_t)sysconf(_SC_PAGESIZE), .force = -1 };
	int rc;

	if (content & ~PGCORE_ALL)
		return -EINVAL;
	d.src.pagemap = -1;
	handle_lock(P);
	rc = gather(&d, content);
	handle_unlock(P);
	if (!rc)
		rc = core_write(fd, &d.src, NULL);
	free_dump(&d);
	return rc;
}

int Pfgcore(struct ps_prochandle *P, int fd, int content)
{
	return handle_fail(write_core(P, fd, content));
}

/* --- the file ----------------------------------------------------------------------- */

/* A new file that has no name yet; -EOPNOTSUPP: not on that file system. */
static int open_nameless(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_ROOM] = ".";
	int fd;

	if (slash && (size_t)(slash - path) + 2 > sizeof(dir))
		return -ENAMETOOLONG;
	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path) + 1, path);
	fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	return errno == EISDIR || errno == EINVAL ? -EOPNOTSUPP : -errno;
}

static int give_name(int fd, const char *path)
{
	char name[32];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

static int write_named(struct ps_prochandle *P, const char *path, int content)
{
	_cleanup_close_ int fd = -1;
	int rc;

	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	rc = write_core(P, fd, content);
	if (rc)
		unlink(path);
	return rc;
}

static int write_nameless(struct ps_prochandle *P, int fd, const char *path, int content)
{
	struct stat st;
	int rc;

	if (!lstat(path, &st)) /* before the work, not after it */
		return -EEXIST;
	rc = write_core(P, fd, content);
	return rc ? rc : give_name(fd, path);
}

int Pgcore(struct ps_prochandle *P, const char *path, int content)
{
	_cleanup_close_ int fd = open_nameless(path);
	int rc = fd;

	if (fd >= 0)
		rc = write_nameless(P, fd, path, content);
	else if (fd == -EOPNOTSUPP)
		rc = write_named(P, path, content);
	return handle_fail(rc);
}
