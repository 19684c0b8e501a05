/* SPDX-License-Identifier: MIT */
/*
 * Sentences. A failed grab is looked into only after it has failed; what was found (who
 * traces the process, whose it is, what was waited for) is kept for the thread that
 * asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

enum {
	KTHREAD = 0x00200000
};

static __thread char detail[256];

void errors_clear(void)
{
	detail[0] = '\0';
}

void errors_detail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
}

const char *Pgrab_detail(void)
{
	return detail;
}

/* --- why a grab was refused ---------------------------------------------------- */

static int yama_scope(void)
{
	_cleanup_close_ int fd =
		open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
	char c = '0';

	return fd >= 0 && read(fd, &c, 1) == 1 ? c - '0' : 0;
}

static const char *user_name(uid_t uid, char *buf, size_t size)
{
	struct passwd pw, *found = NULL;
	char space[1024];

	if (!getpwuid_r(uid, &pw, space, sizeof(space), &found) && found)
		snprintf(buf, size, "%s", found->pw_name);
	else
		snprintf(buf, size, "user %u", uid);
	return buf;
}

/* The first user namespace maps every id to itself (user_namespaces(7)). */
static bool in_user_namespace(void)
{
	unsigned long first = 0, outside = 0, count = 0xffffffff;
	FILE *f = fopen("/proc/self/uid_map", "re");
	bool whole = true;

	if (f && fscanf(f, "%lu %lu %lu", &first, &outside, &count) == 3)
		whole = !first && !outside && count == 0xffffffff;
	if (f)
		fclose(f);
	return !whole;
}

static int refused(pid_t pid)
{
	struct procfs_status st;
	char whose[64], ours[64];

	if (procfs_status(pid, 0, &st))
		return G_PERM;
	if (st.uid != geteuid() && geteuid())
		errors_detail("process %d belongs to %s, and we are %s", pid,
			      user_name(st.uid, whose, sizeof(whose)),
			      user_name(geteuid(), ours, sizeof(ours)));
	else if (yama_scope())
		errors_detail("Yama's ptrace_scope %d forbids attaching to process %d",
			      yama_scope(), pid);
	else if (in_user_namespace())
		errors_detail("the kernel refuses: process %d is outside of our user "
			      "namespace, or has more privileges than we have there",
			      pid);
	else
		errors_detail(
			"the kernel refuses: process %d may have more privileges than we "
			"have, or ptrace is filtered (seccomp)",
			pid);
	return G_PERM;
}

static int traced(pid_t pid, const char *text)
{
	struct procfs_status st;
	struct procfs_stat who;

	if (procfs_status(pid, 0, &st))
		st.tracer = 0;
	if (st.tracer && st.tracer == hold_keeper_pid())
		errors_detail("this process holds process %d already", pid);
	else if (st.tracer && !procfs_stat(st.tracer, 0, &who))
		errors_detail("process %d is being traced by %s (pid %d)", pid, who.comm,
			      st.tracer);
	else
		errors_detail("process %d: %s", pid, *text ? text : "it is being traced");
	return G_BUSY;
}

/* /proc answers for any thread's id; a process is what has the id of its leader. */
static bool is_thread(pid_t pid)
{
	struct procfs_status st;

	if (procfs_status(pid, 0, &st) || st.tgid == pid)
		return false;
	errors_detail("%d is a thread of process %d", pid, st.tgid);
	return true;
}

/* What the process is, as far as that alone forbids a grab; 0 when it does not. */
static int nature(pid_t pid)
{
	struct procfs_stat st;

	int rc = pid > 0 ? procfs_stat(pid, 0, &st) : -ESRCH;

	if (rc)
		return rc == -ESRCH ? G_NOPROC : 0;
	if (pid == getpid() || pid == hold_keeper_pid())
		return G_SELF;
	if (is_thread(pid))
		return G_NOPROC;
	if ((st.state == 'Z' || st.state == 'X') && procfs_nlwp(pid) <= 1)
		return G_ZOMB;
	return st.flags & KTHREAD ? G_SYS : 0;
}

int errors_grab(pid_t pid, int err, const struct hold_fault *fault)
{
	const char *text = fault ? fault->text : "";
	int kind = nature(pid);

	if (kind)
		return kind;
	switch (err) {
	case -EPERM:
	case -EACCES:
		return refused(pid);
	case -EBUSY:
		return traced(pid, text);
	case -ETIMEDOUT:
		errors_detail("process %d did not stop in time: %s", pid, text);
		return G_INTR;
	case -ENOENT:
	case -EPIPE:
	case -EPROTO:
		errors_detail("the keeper is not there%s%s", *text ? ": " : "", text);
		return G_KEEPER;
	case -EMFILE:
	case -ENFILE:
		return G_NOFD;
	case -ESRCH:
		return G_NOPROC;
	default:
		if (*text)
			errors_detail("%s: %s", strerror(-err), text);
		return -err;
	}
}

/* --- texts -------------------------------------------------------------------------- */

static const char *const texts[] = {
	[-G_STRANGE] = "unknown reason",
	[-G_NOPROC] = "no such process",
	[-G_ZOMB] = "it is a zombie",
	[-G_PERM] = "permission denied",
	[-G_BUSY] = "it is being traced by another process",
	[-G_SYS] = "it is a kernel thread",
	[-G_SELF] = "a process can grab itself, or its keeper, read-only only",
	[-G_INTR] = "it did not stop in time",
	[-G_KEEPER] = "the keeper is not there",
	[-G_NOFD] = "the descriptor table is full",
	[-G_NOEXEC] = "not executable",
	[-G_DIED] = "it ended before it could be held",
	[-G_NOARG] = "not a process id",
	[-G_NOCORE] = "no such file",
	[-G_ELF] = "not a core or ELF file, or a damaged one",
	[-G_AOUT] = "not the program that the core is of",
};

const char *Pgrab_error(int err)
{
	if (err > 0)
		return strerror(err);
	if (err < 0 && (size_t)-err < sizeof(texts) / sizeof(*texts) && texts[-err])
		return texts[-err];
	return texts[-G_STRANGE];
}
