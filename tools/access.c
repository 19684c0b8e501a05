/* SPDX-License-Identifier: MIT */
/*
 * Theory: whether an attach would be allowed can be asked without one. Opening
 * /proc/PID/mem makes the kernel check PTRACE_MODE_ATTACH, as PTRACE_SEIZE does, security
 * modules included (ptrace(2), "Ptrace access mode checking"; proc(5)), and does nothing
 * to the process. That answer is the verdict. The rules are then gone through one by one,
 * in the order of that page, only to say *why*. Three refusals of PTRACE_SEIZE are not in
 * that check: a kernel thread, somebody who traces it already, and what is dead; they are
 * looked at first.
 *
 * Yama's mode 1 allows ancestors. It is the keeper that attaches, and the keeper is
 * nobody's ancestor: only a process that called prctl(PR_SET_PTRACER) is open to it
 * without CAP_SYS_PTRACE.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access.h"
#include "cred.h"
#include "libproc.h"
#include "task.h"

/* The question. */
struct question {
	pid_t pid;           /* about whom */
	struct cred us;      /* who asks */
	struct cred them;    /* who is asked about */
	psinfo_t ps;         /* more of them */
	pid_t alive;         /* a thread of theirs that lives; pid as a rule */
	struct findings *to; /* where the answers go */
};

/* --- what is not a matter of permission --------------------------------------------- */

static void find_nobody(pid_t pid, struct findings *to)
{
	if (kill(pid, 0) == 0 || errno == EPERM)
		finding_add(to, FINDING_BAD, "process",
			    "/proc does not show it (mount option hidepid)");
	else
		finding_add(to, FINDING_BAD, "process", "no such process");
}

static void describe(const struct question *q)
{
	char exe[PATH_MAX], link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/exe", q->pid);
	n = readlink(link, exe, sizeof(exe) - 1);
	exe[n > 0 ? n : 0] = '\0';
	finding_add(q->to, FINDING_PLAIN, "process", "%s, %s, %d thread%s",
		    n > 0 ? exe : q->ps.pr_fname, task_state(q->ps.pr_sname),
		    q->ps.pr_nlwp, q->ps.pr_nlwp == 1 ? "" : "s");
}

/* A thread that is not dead into q->alive, or 0. */
static void find_alive(struct question *q)
{
	struct task *tasks;
	size_t n;

	q->alive = 0;
	if (task_list(q->pid, &tasks, &n) < 0)
		return;
	for (size_t i = 0; i < n && !q->alive; i++)
		if (tasks[i].state != 'Z' && tasks[i].state != 'X')
			q->alive = tasks[i].tid;
	free(tasks);
}

static void check_zombie(struct question *q)
{
	find_alive(q);
	if (!q->alive)
		finding_add(q->to, FINDING_BAD, "zombie",
			    "a zombie: it has ended, its parent %d has not waited for it",
			    q->ps.pr_ppid);
	else if (q->alive != q->pid)
		finding_add(q->to, FINDING_PLAIN, "zombie",
			    "its main thread has ended, others run on: they can be held");
}

static void check_tracer(struct question *q)
{
	struct cred tracer;

	if (!q->them.tracer) {
		finding_add(q->to, FINDING_GOOD, "tracer", "nobody traces it");
		return;
	}
	if (cred_read(q->them.tracer, &tracer) < 0)
		tracer.name[0] = '\0';
	finding_add(q->to, FINDING_BAD, "tracer", "already traced by pid %d%s%s%s",
		    q->them.tracer, tracer.name[0] ? " (" : "", tracer.name,
		    tracer.name[0] ? ")" : "");
}

/* Is it something that nobody may attach to, or not from here? */
static void check_kind(struct question *q)
{
	if (q->them.tgid && q->them.tgid != q->pid) {
		finding_add(q->to, FINDING_BAD, "process", "a thread; its process is %d",
			    q->them.tgid);
		return;
	}
	describe(q);
	if (q->pid == getpid())
		finding_add(q->to, FINDING_BAD, "self", "that is this pgrab itself");
	if (q->ps.pr_kthread)
		finding_add(q->to, FINDING_BAD, "kernel thread",
			    "a kernel thread: it has no user memory and cannot be held");
	else
		check_zombie(q);
	check_tracer(q);
}

/* --- the rules of ptrace(2) --------------------------------------------------------- */

static bool ids_match(const struct question *q)
{
	for (int i = 0; i < 3; i++)
		if (q->us.uid[0] != q->them.uid[i] || q->us.gid[0] != q->them.gid[i])
			return false;
	return true;
}

static bool privileged(const struct question *q)
{
	return cred_has(q->us.effective, CRED_SYS_PTRACE);
}

/* Would the rule that we fail matter? Not to whom CAP_SYS_PTRACE excuses. */
static enum weight against(const struct question *q, bool allowed)
{
	return allowed || privileged(q) ? FINDING_PLAIN : FINDING_BAD;
}

static void explain_ids(const struct question *q, bool allowed)
{
	const struct cred *t = &q->them;

	if (ids_match(q)) {
		finding_add(q->to, FINDING_GOOD, "user", "uid %u and gid %u, as ours",
			    t->uid[0], t->gid[0]);
		return;
	}
	finding_add(q->to, against(q, allowed), "user",
		    "somebody else's process: uid %u/%u/%u gid %u/%u/%u "
		    "(real/effective/saved), ours "
		    "are %u and %u%s",
		    t->uid[0], t->uid[1], t->uid[2], t->gid[0], t->gid[1], t->gid[2],
		    q->us.uid[0], q->us.gid[0],
		    privileged(q) ? "; CAP_SYS_PTRACE allows it" : "");
}

/* The files in /proc/PID of a process that is not dumpable belong to root (proc(5)). */
static void explain_dumpable(const struct question *q, bool allowed)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/stat", q->pid);
	if (stat(path, &st) < 0 || st.st_uid == q->them.uid[1])
		return;
	finding_add(q->to, against(q, allowed), "dumpable",
		    "not dumpable (it changed its user, runs a set-id or unreadable "
		    "program, or "
		    "asked for it): only CAP_SYS_PTRACE helps");
}

static void explain_capabilities(const struct question *q, bool allowed)
{
	uint64_t more = q->them.permitted & ~q->us.permitted;

	finding_add(q->to, FINDING_PLAIN, "our rights", "CAP_SYS_PTRACE %s",
		    privileged(q) ? "yes" : "no");
	if (more)
		finding_add(q->to, against(q, allowed), "capabilities",
			    "it has capabilities that we lack (0x%llx)",
			    (unsigned long long)more);
}

static void explain_namespace(const struct question *q)
{
	char ours[64], theirs[64], path[64];
	ssize_t a = readlink("/proc/self/ns/user", ours, sizeof(ours) - 1), b;

	snprintf(path, sizeof(path), "/proc/%d/ns/user", q->pid);
	b = readlink(path, theirs, sizeof(theirs) - 1);
	if (a > 0 && b > 0 && (a != b || memcmp(ours, theirs, (size_t)a) != 0))
		finding_add(q->to, FINDING_PLAIN, "namespace",
			    "another user namespace: CAP_SYS_PTRACE counts only if we "
			    "hold it there");
	if (q->them.namespaces > 1)
		finding_add(q->to, FINDING_PLAIN, "namespace",
			    "in a pid namespace below ours (a container)");
}

static void explain_yama(const struct question *q, bool allowed)
{
	char text[32];
	int mode;

	if (task_file(text, sizeof(text), "/proc/sys/kernel/yama/ptrace_scope") <= 0)
		return;
	mode = atoi(text);
	if (mode >= 3)
		finding_add(q->to, FINDING_BAD, "Yama",
			    "ptrace_scope is %d: nobody may attach", mode);
	else if (mode == 2 && !privileged(q))
		finding_add(q->to, FINDING_BAD, "Yama",
			    "ptrace_scope is 2: only with CAP_SYS_PTRACE");
	else if (mode == 1 && !privileged(q))
		finding_add(q->to, against(q, allowed), "Yama",
			    "ptrace_scope is 1: without CAP_SYS_PTRACE only to a process "
			    "that allows "
			    "it with prctl(PR_SET_PTRACER)%s",
			    allowed ? ", as this one does" : "");
	else
		finding_add(q->to, FINDING_GOOD, "Yama",
			    "ptrace_scope is %d: no hindrance", mode);
}

static void explain_seccomp(const struct question *q)
{
	if (q->them.seccomp == 2)
		finding_add(
			q->to, FINDING_PLAIN, "seccomp",
			"it runs under a seccomp filter, which is no hindrance to us");
}

/* 0, or the errno of the kernel's refusal. */
static int ask_kernel(const struct question *q)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/mem", q->pid, q->alive);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static void give_verdict(const struct question *q, int refused)
{
	char lsm[256] = "";

	if (!refused) {
		finding_add(q->to, FINDING_GOOD, "kernel",
			    "its access check (attach) allows it");
		return;
	}
	if (finding_bad(q->to)) { /* the rules above have said why */
		finding_add(q->to, FINDING_BAD, "kernel",
			    "its access check (attach) refuses: %s", strerror(refused));
		return;
	}
	task_file(lsm, sizeof(lsm), "/sys/kernel/security/lsm");
	finding_add(q->to, FINDING_BAD, "kernel",
		    "its access check refuses (%s) though no rule of ptrace(2) does: a "
		    "security "
		    "module%s%s%s, a seccomp filter or another user namespace",
		    strerror(refused), lsm[0] ? " (" : "", lsm, lsm[0] ? ")" : "");
}

static void check_rules(struct question *q)
{
	int refused = ask_kernel(q);

	explain_ids(q, !refused);
	explain_capabilities(q, !refused);
	explain_dumpable(q, !refused);
	explain_namespace(q);
	explain_yama(q, !refused);
	explain_seccomp(q);
	give_verdict(q, refused);
}

void access_check(pid_t pid, struct findings *ret)
{
	struct question q = { .pid = pid, .alive = pid, .to = ret };

	if (cred_read(0, &q.us) < 0) {
		finding_add(ret, FINDING_BAD, "/proc", "cannot be read: %s",
			    strerror(errno));
		return;
	}
	if (cred_read(pid, &q.them) < 0 || proc_get_psinfo(pid, &q.ps) < 0) {
		find_nobody(pid, ret);
		return;
	}
	check_kind(&q);
	if (q.alive && !q.ps.pr_kthread && q.them.tgid == pid)
		check_rules(&q);
}
