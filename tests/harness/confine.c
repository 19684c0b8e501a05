/* SPDX-License-Identifier: MIT */
/*
 * Runs a test with less: as an ordinary user, or as in a container.
 *
 *	confine [--tap] user COMMAND [ARG…]
 *	confine [--tap] container COMMAND [ARG…]
 *
 * user: uid and gid 65534, no further group, no capability. container: user, pid and
 * mount namespaces of its own, /proc of the pid namespace; root there is nobody outside
 * and has no capability but CAP_SYS_PTRACE; perf_event_open and bpf are refused by
 * seccomp(2). In both TMPDIR and HOME are a new folder, removed afterwards when it is
 * empty.
 *
 * To be started as root. The exit status is the command's own. Where it cannot be done
 * the test is skipped with the reason: status 77, or with --tap a plan that says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	NOBODY = 65534,
	SKIPPED = 77 /* as meson has it */
};

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

static bool tap;

/* Says why it cannot be done here, and ends. */
__attribute__((format(printf, 1, 2))) static _Noreturn void skip(const char *fmt, ...)
{
	char why[300];
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	fprintf(tap ? stdout : stderr, "%s%s\n", tap ? "1..0 # SKIP " : "skipped: ", why);
	fflush(NULL);
	_exit(tap ? 0 : SKIPPED);
}

static void must(bool good, const char *what)
{
	if (!good)
		skip("%s: %s", what, strerror(errno));
}

/* --- privileges --------------------------------------------------------------------- */

/* Whatever is execed from now on has none but `keep`; -1: none at all. */
static void bound_capabilities(int keep)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (cap != keep)
			must(!prctl(PR_CAPBSET_DROP, cap, 0, 0, 0), "capabilities");
}

static void become(unsigned id)
{
	must(!setresgid(id, id, id), "setgid");
	must(!setresuid(id, id, id), "setuid");
}

static void refuse_perf_and_bpf(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_perf_event_open, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(*code), code };

	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges");
	must(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), "seccomp");
}

/* --- namespaces --------------------------------------------------------------------- */

static void write_map(pid_t pid, const char *name)
{
	char path[64], line[32];
	int fd, len = snprintf(line, sizeof(line), "0 %d 1\n", NOBODY);

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	must(fd >= 0 && write(fd, line, (size_t)len) == len, name);
	close(fd);
}

/* Unshares, then waits until its parent, which alone may, has written the maps. */
static void enter_namespaces(int ready, int go)
{
	char byte = 0;

	must(!unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS), "namespaces");
	must(write(ready, &byte, 1) == 1 && read(go, &byte, 1) == 1, "maps");
	become(0);
}

static void mount_proc(void)
{
	must(!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
	must(!mount("proc", "/proc", "proc", 0, NULL), "a /proc of its own");
}

/* --- running ------------------------------------------------------------------------ */

static _Noreturn void execute(char **argv)
{
	const char *keeper = getenv("PGRAB_KEEPER");

	if (access(argv[0], X_OK) || (keeper && access(keeper, X_OK)))
		skip("the build is not open to others: %s", strerror(errno));
	execv(argv[0], argv);
	perror(argv[0]);
	_exit(127);
}

static int status_of(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 99;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void die_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static int run_as_user(char **argv)
{
	pid_t pid = fork();

	if (pid)
		return status_of(pid);
	bound_capabilities(-1);
	must(!setgroups(0, NULL), "groups");
	become(NOBODY);
	die_with_parent(); /* a change of uid takes it away */
	execute(argv);
}

/* The first process of the namespace: reaps what is orphaned; with its end all end. */
static _Noreturn void be_init(char **argv)
{
	pid_t pid, child;
	int status = 99 << 8;

	die_with_parent();
	mount_proc();
	child = fork();
	if (!child) {
		bound_capabilities(CAP_SYS_PTRACE);
		refuse_perf_and_bpf();
		execute(argv);
	}
	do
		pid = wait(&status);
	while (pid != child && (pid > 0 || errno == EINTR));
	_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

static int be_between(char **argv, int ready, int go)
{
	pid_t pid;

	die_with_parent();
	enter_namespaces(ready, go);
	die_with_parent();
	pid = fork();
	if (!pid)
		be_init(argv);
	return status_of(pid);
}

static int run_in_container(char **argv)
{
	int ready[2], go[2];
	char byte = 0;
	pid_t pid;

	must(!pipe2(ready, O_CLOEXEC) && !pipe2(go, O_CLOEXEC), "pipes");
	must(!setgroups(0, NULL), "groups");
	pid = fork();
	if (!pid)
		_exit(be_between(argv, ready[1], go[0]));
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1) {
		write_map(pid, "uid_map");
		write_map(pid, "gid_map");
		must(write(go[1], &byte, 1) == 1, "maps");
	}
	return status_of(pid);
}

/* --- main --------------------------------------------------------------------------- */

static const char *make_folder(void)
{
	static char path[] = "/tmp/pgrab-confine-XXXXXX";

	must(mkdtemp(path), "a folder in /tmp");
	must(!chown(path, NOBODY, NOBODY), "a folder for nobody");
	setenv("TMPDIR", path, 1);
	setenv("HOME", path, 1);
	return path;
}

int main(int argc, char **argv)
{
	int (*run)(char **argv) = NULL;
	const char *folder;
	int status;

	tap = argc > 1 && !strcmp(argv[1], "--tap");
	argv += tap;
	argc -= tap;
	if (argc > 2 && !strcmp(argv[1], "user"))
		run = run_as_user;
	else if (argc > 2 && !strcmp(argv[1], "container"))
		run = run_in_container;
	if (!run) {
		fprintf(stderr,
			"usage: confine [--tap] user|container COMMAND [ARG...]\n");
		return 2;
	}
	if (geteuid())
		skip("only root can become less");
	folder = make_folder();
	status = run(argv + 2);
	rmdir(folder);
	return status;
}
