/* SPDX-License-Identifier: MIT */
/*
 * /proc as values (proc(5)).
 *
 * Each function opens one file, reads it whole, closes it and hands back a plain value:
 * nothing is kept, nothing is cached, no policy is applied. So there is no state to
 * protect and any thread may call anything. maps has a file of its own (maps.c).
 *
 * What /proc does to its readers, and what is done about it:
 *  - a file is made up while it is read. One read(2) gives what one buffer of the
 *    kernel holds, often a page, so every reader loops until 0; a record is never torn
 *    within one line, but the process moves on between two reads;
 *  - a process that is gone shows as ENOENT at the open and as ESRCH at the read. Both
 *    become -ESRCH here, unless the process is there and merely has no such file;
 *  - names chosen by the process come raw: the comm in `stat` may hold spaces,
 *    parentheses and newlines, so it ends at the *last* `)`, the numbers behind it
 *    being the kernel's own. In `status` the kernel escapes it (newline as \n), so a
 *    line that begins with a key is the kernel's;
 *  - a file may be as long as the process cares to make it (cmdline, environ): 16 MiB
 *    is where we stop.
 *
 * When the victim dies right here, the answer is -ESRCH, an empty list, or what it was
 * a moment ago; a caller that must know holds a pidfd and asks procfs_pidfd_alive()
 * last. Identity (pid and start time) is the caller's business.
 */
#include "os/procfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/procfs_read.h"
#include "util/scope.h"

enum {
	LOOKS = 100,       /* at a list of threads that is empty */
	PATH_SIZE = 320,   /* "/proc/N/task/N/" and a name of NAME_MAX */
	STAT_SIZE = 4096,  /* some 52 numbers of 20 digits and a name of 64 fit twice */
	FIRST_SIZE = 4096, /* what most files of /proc fit in */
	LINK_LIMIT = 1 << 20, /* longest link target asked for */
};

int procfs_open(pid_t pid, pid_t tid, const char *name)
{
	char path[PATH_SIZE];
	int n, fd;

	n = tid ? snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name)
		: snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : procfs_errno(pid, tid);
}

int procfs_errno(pid_t pid, pid_t tid)
{
	char path[PATH_SIZE];

	if (errno != ENOENT)
		return -errno;
	if (tid)
		snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, tid);
	else
		snprintf(path, sizeof(path), "/proc/%d", pid);
	return access(path, F_OK) ? -ESRCH : -ENOENT;
}

/* read(2) until len bytes or the end: bytes, or -errno. */
static ssize_t read_full(int fd, char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = read(fd, buf + done, len - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int procfs_read_all(int fd, size_t first, size_t limit, char **ret_buf, size_t *ret_len)
{
	_cleanup_free_ char *buf = NULL;
	size_t size = first, len = 0;

	for (;;) {
		char *bigger = realloc(buf, size + 1);
		ssize_t got;

		if (!bigger)
			return -ENOMEM;
		buf = bigger;
		got = read_full(fd, buf + len, size - len);
		if (got < 0)
			return (int)got;
		len += (size_t)got;
		if (len < size)
			break;
		if (size >= limit)
			return -E2BIG;
		size *= 2;
	}
	buf[len] = '\0';
	*ret_buf = scope_take(buf);
	*ret_len = len;
	return 0;
}

int procfs_slurp(pid_t pid, const char *name, char **ret_buf, size_t *ret_len)
{
	_cleanup_close_ int fd = procfs_open(pid, 0, name);

	if (fd < 0)
		return fd;
	return procfs_read_all(fd, FIRST_SIZE, PROCFS_LIMIT, ret_buf, ret_len);
}

/* The next number of *s, which moves behind it; 0 where there is none. */
static long long take_number(const char **s)
{
	char *end;
	long long value =
		**s == '-' ? strtoll(*s, &end, 10) : (long long)strtoull(*s, &end, 10);

	*s = end + (*end == ' ');
	return value;
}

/* Skips n fields. */
static void skip_fields(const char **s, int n)
{
	while (n-- > 0) {
		*s += strcspn(*s, " ");
		*s += **s == ' ';
	}
}

/* The fields behind the name; numbers in the comments are those of proc(5). */
static void parse_stat_fields(const char *s, struct procfs_stat *st)
{
	st->state = *s;
	skip_fields(&s, 1);
	st->ppid = (pid_t)take_number(&s);          /* 4 */
	st->pgrp = (pid_t)take_number(&s);          /* 5 */
	st->session = (pid_t)take_number(&s);       /* 6 */
	st->tty = (int)take_number(&s);             /* 7 */
	skip_fields(&s, 1);                         /* 8 tpgid */
	st->flags = (unsigned long)take_number(&s); /* 9 */
	skip_fields(&s, 4);                         /* 10 to 13 page faults */
	st->utime = (uint64_t)take_number(&s);      /* 14 */
	st->stime = (uint64_t)take_number(&s);      /* 15 */
	skip_fields(&s, 3);               /* 16 to 18 children's times, priority */
	st->nice = (long)take_number(&s); /* 19 */
	st->nlwp = (long)take_number(&s); /* 20 */
	skip_fields(&s, 1);               /* 21 itrealvalue */
	st->starttime = (uint64_t)take_number(&s); /* 22 */
	st->vsize = (uint64_t)take_number(&s);     /* 23 */
	st->rss = (uint64_t)take_number(&s);       /* 24 */
	skip_fields(&s, 14);                       /* 25 to 38 */
	st->processor = (int)take_number(&s);      /* 39 */
	skip_fields(&s, 12);                       /* 40 to 51 */
	st->exit_code = (long)take_number(&s);     /* 52 */
}

int procfs_parse_stat(const char *text, struct procfs_stat *ret)
{
	struct procfs_stat st = { 0 };
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	size_t len;

	if (!open || !close || close < open || close[1] != ' ' || !close[2])
		return -EINVAL;
	len = (size_t)(close - open - 1);
	if (len >= sizeof(st.comm))
		len = sizeof(st.comm) - 1;
	st.pid = (pid_t)strtol(text, NULL, 10);
	memcpy(st.comm, open + 1, len);
	parse_stat_fields(close + 2, &st);
	*ret = st;
	return 0;
}

int procfs_stat(pid_t pid, pid_t tid, struct procfs_stat *ret)
{
	char text[STAT_SIZE];
	_cleanup_close_ int fd = procfs_open(pid, tid, "stat");
	ssize_t len;

	if (fd < 0)
		return fd;
	len = read_full(fd, text, sizeof(text) - 1);
	if (len <= 0)
		return len < 0 ? (int)len : -ESRCH;
	text[len] = '\0';
	return procfs_parse_stat(text, ret);
}

/* What follows "\nKEY:" and its white space, or "". */
static const char *find_key(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *s = strchr(text, '\n'); s; s = strchr(s + 1, '\n')) {
		if (!strncmp(s + 1, key, len) && s[1 + len] == ':')
			return s + 2 + len + strspn(s + 2 + len, " \t");
	}
	return "";
}

static uint64_t find_mask(const char *text, const char *key)
{
	return strtoull(find_key(text, key), NULL, 16);
}

static long find_number(const char *text, const char *key)
{
	return strtol(find_key(text, key), NULL, 10);
}

/* The real and effective ids in a line "Uid: real effective saved fs". */
static void find_ids(const char *text, const char *key, unsigned *real,
		     unsigned *effective)
{
	char *end;

	*real = (unsigned)strtoul(find_key(text, key), &end, 10);
	*effective = (unsigned)strtoul(end, NULL, 10);
}

int procfs_parse_status(const char *text, struct procfs_status *ret)
{
	struct procfs_status st = { 0 };

	if (!*find_key(text, "Tgid"))
		return -EINVAL;
	st.tgid = (pid_t)find_number(text, "Tgid");
	st.tracer = (pid_t)find_number(text, "TracerPid");
	find_ids(text, "Uid", &st.uid, &st.euid);
	find_ids(text, "Gid", &st.gid, &st.egid);
	st.sigpnd = find_mask(text, "SigPnd");
	st.shdpnd = find_mask(text, "ShdPnd");
	st.sigblk = find_mask(text, "SigBlk");
	st.sigign = find_mask(text, "SigIgn");
	st.sigcgt = find_mask(text, "SigCgt");
	st.no_new_privs = find_number(text, "NoNewPrivs") != 0;
	st.seccomp = (int)find_number(text, "Seccomp");
	st.cap_eff = find_mask(text, "CapEff");
	*ret = st;
	return 0;
}

int procfs_status(pid_t pid, pid_t tid, struct procfs_status *ret)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = procfs_open(pid, tid, "status");
	size_t len;
	int err;

	if (fd < 0)
		return fd;
	err = procfs_read_all(fd, FIRST_SIZE, PROCFS_LIMIT, &text, &len);
	return err ? err : procfs_parse_status(text, ret);
}

/* The id that a directory entry names, or 0. */
static pid_t entry_id(const struct dirent *entry)
{
	return isdigit((unsigned char)entry->d_name[0]) ? (pid_t)atol(entry->d_name) : 0;
}

/* Appends id to a list that grows by doubling. */
static int append_id(pid_t **ids, size_t *n, size_t *size, pid_t id)
{
	if (*n == *size) {
		size_t bigger = *size ? *size * 2 : 64;
		pid_t *moved = realloc(*ids, bigger * sizeof(**ids));

		if (!moved)
			return -ENOMEM;
		*ids = moved;
		*size = bigger;
	}
	(*ids)[(*n)++] = id;
	return 0;
}

/* The numbers among the names in the directory; -ESRCH when there is none. */
static int list_ids(const char *path, pid_t **ret_ids, size_t *ret_n)
{
	_cleanup_free_ pid_t *ids = NULL;
	_cleanup_closedir_ DIR *dir = NULL;
	size_t n = 0, size = 0;
	struct dirent *entry;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	dir = fdopendir(fd);
	if (!dir) {
		int err = -errno;

		close(fd);
		return err;
	}
	while (errno = 0, (entry = readdir(dir))) {
		pid_t id = entry_id(entry);

		if (id && append_id(&ids, &n, &size, id))
			return -ENOMEM;
	}
	if (errno && errno != ENOENT)
		return -errno;
	if (!n)
		return -ESRCH;
	*ret_ids = scope_take(ids);
	*ret_n = n;
	return 0;
}

/* While a thread that is not the leader execs, the list of a process that lives is empty
 * for a moment (one look in 10,000 of a process that does nothing else, 6.18). */
int procfs_tids(pid_t pid, pid_t **ret_tids, size_t *ret_n)
{
	char path[PATH_SIZE];
	int rc = -ESRCH;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	for (int i = 0; i < LOOKS && rc == -ESRCH && !access(path, F_OK); i++)
		rc = list_ids(path, ret_tids, ret_n);
	return rc;
}

int procfs_pids(pid_t **ret_pids, size_t *ret_n)
{
	return list_ids("/proc", ret_pids, ret_n);
}

int procfs_nlwp(pid_t pid)
{
	char path[PATH_SIZE];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	if (stat(path, &st))
		return errno == ENOENT ? -ESRCH : -errno;
	/* A process that is being released has no task left, and no link for one. */
	return st.st_nlink > 2 ? (int)st.st_nlink - 2 : -ESRCH;
}

int procfs_readlink(pid_t pid, const char *name, char **ret_path)
{
	_cleanup_free_ char *target = NULL;
	char path[PATH_SIZE];

	if (snprintf(path, sizeof(path), "/proc/%d/%s", pid, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	for (size_t size = 256; size <= LINK_LIMIT; size *= 2) {
		char *bigger = realloc(target, size);
		ssize_t len;

		if (!bigger)
			return -ENOMEM;
		target = bigger;
		len = readlink(path, target, size);
		if (len < 0)
			return procfs_errno(pid, 0);
		if ((size_t)len == size)
			continue;
		target[len] = '\0';
		*ret_path = scope_take(target);
		return 0;
	}
	return -ENAMETOOLONG;
}

int procfs_pidfd(pid_t pid)
{
	/* By number: glibc has a wrapper since 2.36 only. */
	long fd = syscall(SYS_pidfd_open, pid, 0);

	return fd >= 0 ? (int)fd : -errno;
}

int procfs_pidfd_alive(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int n;

	do {
		n = poll(&p, 1, 0);
	} while (n < 0 && errno == EINTR);
	return n == 0;
}
