/* SPDX-License-Identifier: MIT */
/*
 * What the session tests need: a runner (each test in a process of its own, under a
 * timeout, leaving no child, no thread and no descriptor) and
 * tests/victims/session_victim.c to play with.
 */
#ifndef PGRAB_TESTS_SESSION_TEST_H
#define PGRAB_TESTS_SESSION_TEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dtrace.h"

#ifdef __SANITIZE_THREAD__
#define THREAD_SANITIZER 1 /* which has threads of its own */
#else
#define THREAD_SANITIZER 0
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define ADDRESS_SANITIZER 1
#else
#define ADDRESS_SANITIZER                  0
#define __lsan_do_recoverable_leak_check() 0
#endif

/* --- checks ------------------------------------------------------------------------- */

enum {
	SKIPPED = 77
};

#define fail_test(...)                                                                   \
	do {                                                                             \
		fprintf(stderr, "# %s:%d: ", __FILE__, __LINE__);                        \
		fprintf(stderr, __VA_ARGS__);                                            \
		fputc('\n', stderr);                                                     \
		_exit(1);                                                                \
	} while (0)

#define skip_test(why)                                                                   \
	do {                                                                             \
		fprintf(stderr, "# skipped: %s\n", why);                                 \
		_exit(SKIPPED);                                                          \
	} while (0)

#define check(cond)                                                                      \
	do {                                                                             \
		if (!(cond))                                                             \
			fail_test("not so: %s", #cond);                                  \
	} while (0)

#define check_eq(got, want)                                                              \
	do {                                                                             \
		long long got_ = (long long)(got), want_ = (long long)(want);            \
		if (got_ != want_)                                                       \
			fail_test("%s is %lld, not %s = %lld", #got, got_, #want,        \
				  want_);                                                \
	} while (0)

#define check_str(got, want)                                                             \
	do {                                                                             \
		const char *got_ = (got), *want_ = (want);                               \
		if (strcmp(got_, want_))                                                 \
			fail_test("%s is \"%s\", not \"%s\"", #got, got_, want_);        \
	} while (0)

#define check_soon(cond)                                                                 \
	do {                                                                             \
		long end_ = now_ms() + 10000;                                            \
		while (!(cond)) {                                                        \
			if (now_ms() > end_)                                             \
				fail_test("still not so: %s", #cond);                    \
			usleep(1000);                                                    \
		}                                                                        \
	} while (0)

static inline long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- the victim --------------------------------------------------------------------- */

/* A session_victim that we started ourselves: our child, to be grabbed. */
struct grabbee {
	pid_t pid; /* its pid */
	int in;    /* write end of its stdin */
	int out;   /* read end of its stdout */
};

static inline const char *victim_path(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s", getenv("VICTIMS") ?: "tests/victims", name);
	return path;
}

/* Starts it with up to three arguments, NULL-terminated. */
__attribute__((sentinel)) static inline struct grabbee grabbee_start(const char *what,
								     ...)
{
	char *argv[6] = { (char *)"session_victim", (char *)what };
	int in[2], out[2];
	struct grabbee g;
	va_list ap;

	va_start(ap, what);
	for (int i = 2; i < 5 && (argv[i] = va_arg(ap, char *)); i++)
		;
	va_end(ap);
	check(!pipe2(in, O_CLOEXEC) && !pipe2(out, O_CLOEXEC));
	g.pid = fork();
	check(g.pid >= 0);
	if (!g.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0); /* no orphaned group, in which SIGTSTP stops nobody */
		dup2(in[0], 0);
		dup2(out[1], 1);
		execv(victim_path("session_victim"), argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	g.in = in[1];
	g.out = out[0];
	return g;
}

/* Its next line, without the newline; "" at its end. Valid until the next call. */
static inline const char *grabbee_line(const struct grabbee *g)
{
	static char line[256];
	size_t n = 0;
	char c;

	while (n < sizeof(line) - 1 && read(g->out, &c, 1) == 1 && c != '\n')
		line[n++] = c;
	line[n] = '\0';
	return line;
}

static inline int grabbee_reap(struct grabbee *g)
{
	int status = -1;

	close(g->in);
	check_eq(waitpid(g->pid, &status, 0), g->pid);
	close(g->out);
	return status;
}

/* Closes its stdin, which ends `wait`; its wait(2) status. */
static inline int grabbee_wait(struct grabbee *g)
{
	return grabbee_reap(g);
}

static inline void grabbee_end(struct grabbee *g)
{
	kill(g->pid, SIGKILL);
	grabbee_reap(g);
}

/* --- /proc -------------------------------------------------------------------------- */

/* A field of /proc/PID/status as text; "" when the process is gone. */
static inline const char *status_field(pid_t pid, const char *name)
{
	static char line[256];
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name))) {
			fclose(f);
			return line + strlen(name) + 2;
		}
	if (f)
		fclose(f);
	return "";
}

static inline char process_state(pid_t pid)
{
	return *status_field(pid, "State");
}

static inline pid_t process_tracer(pid_t pid)
{
	return atoi(status_field(pid, "TracerPid"));
}

static inline int count_entries(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	check(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static inline int count_fds(void)
{
	return count_entries("/proc/self/fd");
}

static inline int count_threads(void)
{
	return count_entries("/proc/self/task");
}

/* --- sessions ----------------------------------------------------------------------- */

static int out = -1; /* what created victims say */

__attribute__((unused)) static dtrace_hdl_t *session(const char *evaltime)
{
	dtrace_hdl_t *dtp = dtrace_open(DTRACE_VERSION, 0, NULL);

	check(dtp);
	check_eq(dtrace_setopt(dtp, "evaltime", evaltime), 0);
	return dtp;
}

/* What created victims say goes to a pipe of ours. */
__attribute__((unused)) static void listen_to_victims(void)
{
	char fd[16];
	int p[2];

	check(!pipe(p));
	snprintf(fd, sizeof(fd), "%d", p[1]);
	setenv("SESSION_FD", fd, 1);
	fcntl(p[0], F_SETFD, FD_CLOEXEC);
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	out = p[0];
}

__attribute__((unused)) static void stop_listening(void)
{
	close(atoi(getenv("SESSION_FD")));
	close(out);
}

/* All that has been said since the last call. */
__attribute__((unused)) static const char *said(void)
{
	static char buf[256];
	ssize_t n = read(out, buf, sizeof(buf) - 1);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

/* It is said in all within 10 s. */
__attribute__((unused)) static void await_said(const char *what)
{
	char buf[256];
	size_t n = 0;

	check_soon((n += (size_t)snprintf(buf + n, sizeof(buf) - n, "%s", said())) >=
		   strlen(what));
	check_str(buf, what);
}

__attribute__((unused)) static struct ps_prochandle *create(dtrace_hdl_t *dtp,
							    const char *name, ...)
{
	static char path[4096];
	char *argv[8] = { path };
	va_list ap;

	snprintf(path, sizeof(path), "%s", victim_path(name));
	va_start(ap, name);
	for (int i = 1; i < 7 && (argv[i] = va_arg(ap, char *)); i++)
		;
	va_end(ap);
	return dtrace_proc_create(dtp, path, argv);
}

__attribute__((unused)) static struct ps_prochandle *must(dtrace_hdl_t *dtp,
							  struct ps_prochandle *P)
{
	if (!P)
		fail_test("%s", dtrace_errmsg(dtp, dtrace_errno(dtp)));
	return P;
}

__attribute__((unused)) static uintptr_t pc(struct ps_prochandle *P)
{
	prgreg_t v = 0;

	check_eq(Pgetareg(P, R_PC, &v), 0);
	return v;
}

__attribute__((unused)) static bool parked(dtrace_hdl_t *dtp, struct ps_prochandle *P)
{
	return dt_proc_stops(dtp, P) & DT_PROC_STOP_IDLE;
}

/* Notices, as a handler counts them. */
struct notices {
	int gone, texts;                 /* NULL and other ones */
	struct ps_prochandle *order[64]; /* whose, oldest first */
	char text[256];                  /* the last text */
	dtrace_hdl_t *release; /* the handler releases into this session; NULL: not */
};

__attribute__((unused)) static void note(struct ps_prochandle *P, const char *text,
					 void *arg)
{
	struct notices *n = arg;

	if (n->gone + n->texts < 64)
		n->order[n->gone + n->texts] = P;
	if (text) {
		n->texts++;
		snprintf(n->text, sizeof(n->text), "%s", text);
		return;
	}
	n->gone++;
	if (n->release)
		dtrace_proc_release(n->release, P);
}

/* Sleeps and delivers until so many have gone, 10 s at most. */
__attribute__((unused)) static void await_gone(dtrace_hdl_t *dtp, struct notices *n,
					       int gone)
{
	long end = now_ms() + 10000;

	while (n->gone < gone && now_ms() < end)
		dtrace_sleep(dtp);
	check_eq(n->gone, gone);
}

__attribute__((unused)) static bool readable(int fd, int ms)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, ms) == 1;
}

/* No child of ours is left. */
__attribute__((unused)) static void check_no_child(void)
{
	check_eq(waitpid(-1, NULL, WNOHANG), -1);
	check_eq(errno, ECHILD);
}

/* --- runner ------------------------------------------------------------------------- */

/* One test. */
struct test {
	const char *name; /* the function's */
	void (*fn)(void); /* returns, or ends by a check */
	unsigned seconds; /* timeout */
};

#define TEST(fn)                                                                         \
	{                                                                                \
#fn, fn, 60                                                              \
	}
#define TEST_SLOW(fn, sec)                                                               \
	{                                                                                \
#fn, fn, sec                                                             \
	}

/* In the test's process: nothing is left but the keeper's connection. */
static inline void check_left(int fds, int threads)
{
	enum {
		KEEPER_FDS = 17
	};

	check_soon(THREAD_SANITIZER || count_threads() == threads);
	check(count_fds() <= fds + KEEPER_FDS);
	check_eq(waitpid(-1, NULL, WNOHANG), -1);
	check_eq(__lsan_do_recoverable_leak_check(), 0);
}

static inline bool run_test(const struct test *t)
{
	int fds = count_fds(), threads = count_threads(), status = -1;
	pid_t pid = fork();

	if (!pid) {
		alarm(t->seconds);
		t->fn();
		check_left(fds, threads);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("%s - %s%s\n", status && status != SKIPPED << 8 ? "not ok" : "ok", t->name,
	       status == SKIPPED << 8 ? " # SKIP" : "");
	if (status && status != SKIPPED << 8)
		printf("# wait status 0x%x\n", (unsigned)status);
	fflush(stdout);
	return !status || status == SKIPPED << 8;
}

/* All tests, or those named; the exit status. */
static inline int run_tests(const struct test *tests, size_t n, int argc, char **argv)
{
	bool ok = true;

	for (size_t i = 0; i < n; i++) {
		bool wanted = argc < 2;

		for (int a = 1; a < argc; a++)
			wanted |= !strcmp(argv[a], tests[i].name);
		if (wanted)
			ok &= run_test(&tests[i]);
	}
	return ok ? 0 : 1;
}

#endif
