/* SPDX-License-Identifier: MIT */
/*
 * Starting the keeper's program out of an arbitrary host process, which may have any
 * number of threads, handlers, children and limits, without disturbing it:
 *
 *	host thread --clone--> middle --clone--> keeper (execve)
 *
 * Both clones have exit signal 0, so no SIGCHLD is sent and a host that waits for -1
 * never sees the middle one, which we reap by its pid with __WCLONE. The keeper itself is
 * orphaned when the middle one ends (execve(2) sets a process's exit signal back to
 * SIGCHLD, so that a direct child would be seen). CLONE_VFORK makes each wait for the
 * next: when keeper_launch() returns, execve has succeeded or its errno is known.
 *
 * The children share our memory (no copy of a large host's page tables, and no stale
 * locks: they take none). They run on stacks of their own with every signal blocked, call
 * nothing but system calls, and write nothing but their stacks and `struct launch`.
 */
#include "hold/hub.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/protocol.h"
#include "os/rawcall.h"
#include "util/scope.h"

enum {
	STACK = 32 * 1024, /* bytes of stack for each of the two children */
	FIRST_FREE = 5, /* descriptors below are the keeper's own: 0, 1, 2, hub, client */
};

/* What the children need; lies in our memory, which they share. */
struct launch {
	const char *path;  /* the program */
	char *const *argv; /* of it */
	char **envp;       /* of it */
	int hub, client;   /* descriptors for it, none below FIRST_FREE */
	int null;          /* /dev/null */
	int err_out;       /* its stderr */
	char *stack;       /* 2 * STACK bytes */
	volatile long err; /* negative errno of what failed, else 0 */
};

RAWCALL_CHILD static void default_signals(void)
{
	long action[4] = {
		0
	}; /* struct kernel_sigaction: SIG_DFL, no flags, empty mask */
	uint64_t none = 0;

	for (int sig = 1; sig <= 64; sig++)
		rawcall4(SYS_rt_sigaction, sig, action, 0, sizeof(none));
	rawcall_sigmask(&none, NULL);
}

/* dup3(2), the flags being none: the copy stays open over execve. */
RAWCALL_CHILD static void place(struct launch *l, int fd, int at)
{
	long ret = rawcall3(SYS_dup3, fd, at, 0);

	if (ret < 0)
		l->err = ret;
}

RAWCALL_CHILD static int be_keeper(void *arg)
{
	struct launch *l = arg;

	place(l, l->null, 0);
	place(l, l->null, 1);
	place(l, l->err_out, 2);
	place(l, l->hub, KP_HUB_FD);
	place(l, l->client, KP_CLIENT_FD);
	rawcall3(SYS_close_range, FIRST_FREE, ~0u, 0);
	rawcall0(SYS_setsid);
	default_signals();
	if (!l->err)
		l->err = rawcall3(SYS_execve, l->path, l->argv, l->envp);
	return 127;
}

RAWCALL_CHILD static int be_middle(void *arg)
{
	struct launch *l = arg;
	long pid = rawcall_clone(CLONE_VM | CLONE_VFORK, l->stack + STACK, NULL,
				 be_keeper, l);

	if (pid < 0)
		l->err = pid;
	return 0;
}

/* Runs the two children; returns when the keeper has exec'd or failed. */
static int run(struct launch *l)
{
	unsigned long flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_FS;
	uint64_t all = ~0ull, old = 0;
	long pid, got;

	rawcall_sigmask(&all, &old);
	pid = rawcall_clone(flags, l->stack + 2 * STACK, NULL, be_middle, l);
	do {
		got = pid < 0 ? 0 : rawcall4(SYS_wait4, pid, 0, __WCLONE, 0);
	} while (got == -EINTR);
	rawcall_sigmask(&old, NULL);
	return pid < 0 ? (int)pid : (int)l->err;
}

static bool wanted(const char *var)
{
	static const char *const prefix[] = { "PGRAB_", "ASAN_OPTIONS=", "TSAN_OPTIONS=",
					      "UBSAN_OPTIONS=", "LSAN_OPTIONS=" };

	for (size_t i = 0; i < sizeof(prefix) / sizeof(*prefix); i++) {
		if (!strncmp(var, prefix[i], strlen(prefix[i])))
			return true;
	}
	return false;
}

/* The few variables that the keeper is to see; the strings stay the host's. NULL: no
 * memory. */
static char **make_env(void)
{
	char **env;
	size_t n = 0, kept = 0;

	while (environ && environ[n])
		n++;
	env = calloc(n + 1, sizeof(*env));
	if (!env || getauxval(AT_SECURE))
		return env;
	for (size_t i = 0; i < n && environ[i]; i++) {
		if (wanted(environ[i]))
			env[kept++] = environ[i];
	}
	return env;
}

/* A copy of fd that is in nobody's way. */
static int raise_fd(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE);

	return copy < 0 ? -errno : copy;
}

/* The keeper's stderr: ours while it is asked to log and there is no log file. */
static int log_target(int null)
{
	const char *on = secure_getenv("PGRAB_DEBUG");

	if (!on || secure_getenv("PGRAB_DEBUG_FILE") || fcntl(STDERR_FILENO, F_GETFD) < 0)
		return raise_fd(null);
	return raise_fd(STDERR_FILENO);
}

int keeper_launch(const char *path, int hub, int client)
{
	char *const argv[] = { (char *)"pgrab-keeper", NULL };
	_cleanup_close_ int devnull = open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int null = devnull < 0 ? -errno : raise_fd(devnull);
	_cleanup_close_ int err_out = null < 0 ? null : log_target(null);
	_cleanup_close_ int high_hub = raise_fd(hub);
	_cleanup_close_ int high_client = raise_fd(client);
	_cleanup_free_ char **env = make_env();
	struct launch l = {
		path, argv, env, high_hub, high_client, null, err_out, NULL, 0
	};
	int err;

	if (err_out < 0 || high_hub < 0 || high_client < 0)
		return err_out < 0 ? err_out : high_hub < 0 ? high_hub : high_client;
	if (!env)
		return -ENOMEM;
	l.stack = mmap(NULL, 2 * STACK, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (l.stack == MAP_FAILED)
		return -errno;
	err = run(&l);
	munmap(l.stack, 2 * STACK);
	return err;
}
