/* SPDX-License-Identifier: MIT */
/*
 * Theory: whether ptrace works here at all (a container's seccomp filter, a keeper that
 * is not installed, Yama 3) is found out by having the keeper attach to a child of our
 * own that does nothing else. It dies with us (PDEATHSIG), and allows any tracer, as
 * Yama's mode 1 asks. The child's TracerPid is the keeper, and its /proc/PID/exe the
 * program. perf_event_open and bpf are tried with requests that only look.
 */
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cred.h"
#include "libproc.h"
#include "machine.h"
#include "task.h"

/* --- the keeper --------------------------------------------------------------------- */

/* A child that waits to be killed: its pid, or -1. */
static pid_t fork_dummy(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	while (getppid() == parent)
		pause();
	_exit(0);
}

static void kill_dummy(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}

/* The word of pgrab_features() that names the keeper's protocol, into buf. */
static const char *keeper_version(char *buf, size_t size)
{
	const char *word = strstr(pgrab_features(), "keeper-");

	snprintf(buf, size, "%.*s", word ? (int)strcspn(word, " ") : 0, word ? word : "");
	return buf;
}

static void describe_keeper(struct findings *f, pid_t dummy, double ms)
{
	char exe[PATH_MAX] = "?", link[64], version[32];
	struct cred held;
	ssize_t n;

	if (cred_read(dummy, &held) < 0)
		held.tracer = 0;
	snprintf(link, sizeof(link), "/proc/%d/exe", held.tracer);
	n = readlink(link, exe, sizeof(exe) - 1);
	if (n > 0)
		exe[n] = '\0';
	finding_add(f, FINDING_GOOD, "keeper",
		    "%s, %s: held a child of ours after %.1f ms", exe,
		    keeper_version(version, sizeof(version)), ms);
}

static double elapsed_ms(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - since->tv_sec) * 1e3 +
	       (double)(now.tv_nsec - since->tv_nsec) / 1e6;
}

static void try_keeper(struct findings *f)
{
	struct ps_prochandle *P;
	struct timespec start;
	const char *detail;
	int err = 0;
	pid_t dummy = fork_dummy();

	if (dummy < 0) {
		finding_add(f, FINDING_BAD, "keeper", "cannot fork to try it: %s",
			    strerror(errno));
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	P = Pgrab(dummy, 0, &err);
	if (P) {
		describe_keeper(f, dummy, elapsed_ms(&start));
		Prelease(P, PRELEASE_KILL);
	} else {
		detail = Pgrab_detail();
		finding_add(f, FINDING_BAD, "keeper",
			    "it cannot hold even a child of ours: %s (a container may "
			    "lack SYS_PTRACE)",
			    detail && *detail ? detail : Pgrab_error(err));
	}
	kill_dummy(dummy);
}

/* --- the machine -------------------------------------------------------------------- */

static void describe_us(struct findings *f, const struct cred *us)
{
	struct utsname u;

	if (uname(&u) == 0)
		finding_add(f, FINDING_PLAIN, "kernel", "%s %s %s", u.sysname, u.release,
			    u.machine);
	finding_add(f, FINDING_PLAIN, "we are", "uid %u, CAP_SYS_PTRACE %s%s", us->uid[1],
		    cred_has(us->effective, CRED_SYS_PTRACE) ? "yes" : "no",
		    us->seccomp == 2
			    ? ", under a seccomp filter (a container or a sandbox)"
			    : "");
}

static void describe_yama(struct findings *f)
{
	static const char *const modes[] = {
		"no restriction",
		"only processes that allow it, or with CAP_SYS_PTRACE",
		"only with CAP_SYS_PTRACE",
		"no attach at all",
	};
	char text[32];
	int mode;

	if (task_file(text, sizeof(text), "/proc/sys/kernel/yama/ptrace_scope") <= 0) {
		finding_add(f, FINDING_PLAIN, "Yama",
			    "not in this kernel: no restriction");
		return;
	}
	mode = atoi(text);
	finding_add(f, mode >= 3 ? FINDING_BAD : FINDING_PLAIN, "Yama",
		    "ptrace_scope is %d: %s", mode,
		    mode >= 0 && mode <= 3 ? modes[mode] : "unknown");
}

static void describe_container(struct findings *f)
{
	static const char *const marks[] = { "/.dockerenv", "/run/.containerenv",
					     "/run/systemd/container" };

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		if (access(marks[i], F_OK) != 0)
			continue;
		finding_add(f, FINDING_PLAIN, "container", "we are in one (%s)",
			    marks[i]);
		return;
	}
}

void machine_check(struct findings *ret)
{
	struct cred us;

	if (cred_read(0, &us) < 0) {
		finding_add(ret, FINDING_BAD, "/proc", "cannot be read: %s",
			    strerror(errno));
		return;
	}
	describe_us(ret, &us);
	describe_yama(ret);
	describe_container(ret);
	try_keeper(ret);
}

/* --- breakpoints -------------------------------------------------------------------- */

/* Opens a disabled breakpoint on ourselves: 0, or an errno. */
static int try_perf(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_X,
		.bp_addr = (uintptr_t)kill_dummy,
		.bp_len = sizeof(long),
		.disabled = 1,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	int fd =
		(int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

/* Loads a program of the kind that the keeper's uprobes have, and drops it. */
static int try_bpf(void)
{
	static const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K }, /* r0 = 0 */
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_KPROBE,
				.expected_attach_type = 48, /* UPROBE_MULTI, 6.6 */
				.insn_cnt = sizeof(code) / sizeof(*code),
				.insns = (uintptr_t)code,
				.license = (uintptr_t) "MIT" };
	long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));

	if (fd < 0)
		return errno;
	close((int)fd);
	return 0;
}

/* The keeper's uprobes know threads by the ids of the first pid namespace only, which has
 * this inode (PROC_PID_INIT_INO). */
static bool in_first_pid_namespace(void)
{
	struct stat st;

	return !stat("/proc/self/ns/pid", &st) && st.st_ino == 0xeffffffc;
}

static const char *try_text(int err)
{
	return err == ENOSPC ? "the debug registers are taken" : strerror(err);
}

static void describe_try(struct findings *f, const char *label, int err, const char *use)
{
	if (err)
		finding_add(f, FINDING_PLAIN, label, "not allowed (%s); %s",
			    try_text(err), use);
	else
		finding_add(f, FINDING_PLAIN, label, "allowed; %s", use);
}

/* perf_event_open(2): which rule refuses, as far as it can be told. */
static const char *perf_rule(int err)
{
	switch (err) {
	case EACCES:
		return "; see /proc/sys/kernel/perf_event_paranoid";
	case EPERM:
		return "; a seccomp filter, or /proc/sys/kernel/perf_event_paranoid";
	case ENOSYS:
		return "; the kernel has none, or a seccomp filter says so";
	default:
		return "";
	}
}

/* Of the breakpoints that process control sets for itself: the keeper uses what the
 * kernel keeps on x86-64 only. */
static void describe_own(struct findings *f, int perf, int bpf)
{
	struct utsname un;
	bool here = !uname(&un) && !strcmp(un.machine, "x86_64");
	const char *by = !perf && !bpf ? "perf events, or uprobes beyond 64 threads"
			 : !perf       ? "perf events (up to 64 threads)"
				       : "uprobes";

	if (here && (!perf || !bpf))
		finding_add(f, FINDING_PLAIN, "pgrab's own",
			    "(link maps, main) kept by the kernel, by %s: no trap; the "
			    "process survives whatever is killed",
			    by);
	else
		finding_add(f, FINDING_PLAIN, "pgrab's own",
			    "(link maps, main) traps as well: %s%s",
			    here ? try_text(perf) : "not done on this CPU",
			    here ? perf_rule(perf) : "");
}

void machine_protection(struct findings *ret)
{
	int perf = try_perf(), bpf = in_first_pid_namespace() ? try_bpf() : EPERM;

	finding_add(ret, FINDING_PLAIN, "breakpoints",
		    "traps in the text, planted by the keeper");
	finding_add(ret, FINDING_PLAIN, "  pgrab dies",
		    "the keeper lifts them, the process runs on");
	finding_add(ret, FINDING_PLAIN, "  keeper dies", "pgrab writes the text back");
	finding_add(
		ret, FINDING_PLAIN, "  both killed",
		"at one moment, while one is planted: the process would die at the trap");
	describe_own(ret, perf, bpf);
	describe_try(ret, "perf events", perf, "for pgrab's own, and for watchpoints");
	describe_try(ret, "BPF", bpf,
		     "for pgrab's own: more than 64 threads, or no perf events");
}
