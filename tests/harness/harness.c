/* SPDX-License-Identifier: MIT */
/*
 * The runner (see harness.h). Two processes a test: the runner, which is a child
 * subreaper, so that every orphan of the test (a keeper, a double-forked victim)
 * becomes its child and can be seen, waited for and killed; and the test's own, which
 * dies with the runner.
 *
 * The verdict travels in the exit status (0 good, 1 failed, 77 skipped, else a crash),
 * its words in a page that both share, so that the failure of a process that the test
 * forked is reported too. What the test prints goes to stderr: stdout belongs to TAP.
 */
#include "harness/harness.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness/leaks.h"

enum {
	FAILED = 1,
	SKIPPED = 77, /* exit statuses of a test's process */
	SECONDS = 30  /* timeout of a test that names none */
};

/* What a test says of itself, shared between it and the runner. */
struct verdict {
	char text[2000]; /* of the first failure, or why skipped */
};

static struct verdict *verdict;

/* --- time --------------------------------------------------------------------------- */

int64_t harness_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

int harness_ms(int ms)
{
	const char *slow = getenv("HARNESS_SLOW");
	int factor = slow ? atoi(slow) : 1;

	return factor > 1 ? ms * factor : ms;
}

bool harness_wait_a_little(int64_t end)
{
	poll(NULL, 0, 1);
	return harness_now_ms() < end;
}

/* --- inside the test ---------------------------------------------------------------- */

static void say(const char *fmt, va_list args)
{
	if (verdict && !verdict->text[0])
		vsnprintf(verdict->text, sizeof(verdict->text), fmt, args);
}

_Noreturn void harness_fail(const char *file, int line, const char *fmt, ...)
{
	char where[1900];
	va_list args;

	snprintf(where, sizeof(where), "%s:%d: %s", file, line, fmt);
	va_start(args, fmt);
	say(where, args);
	va_end(args);
	fflush(NULL);
	_exit(FAILED);
}

_Noreturn void harness_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(fmt, args);
	va_end(args);
	fflush(NULL);
	_exit(SKIPPED);
}

void harness_check(const char *file, int line, const char *what, bool good)
{
	if (!good)
		harness_fail(file, line, "%s: it is not so", what);
}

void harness_check_int(const char *file, int line, const char *what, bool good,
		       long long a, long long b)
{
	if (!good)
		harness_fail(file, line, "%s: %lld (0x%llx) and %lld (0x%llx)", what, a,
			     (unsigned long long)a, b, (unsigned long long)b);
}

void harness_check_string(const char *file, int line, const char *what, const char *a,
			  const char *b)
{
	if (!a || !b || strcmp(a, b))
		harness_fail(file, line, "%s: '%s' and '%s'", what, a ? a : "(null)",
			     b ? b : "(null)");
}

static _Noreturn void be_the_test(const struct harness_test *test, pid_t runner)
{
	static struct leaks_own before;

	/* A group of its own, whose parent is in another of the session: in an orphaned
	 * group, as a runner that is a session leader is in, the kernel discards
	 * SIGTSTP. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != runner)
		_exit(FAILED);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	leaks_note(&before);
	test->run();
	leaks_check(&before);
	exit(0); /* not _exit: sanitizers report there */
}

/* --- the runner --------------------------------------------------------------------- */

/* Waits for the test's process and reaps it: its wait status, or -1 after the timeout. */
static int await_test(pid_t pid, unsigned seconds)
{
	struct pollfd p = { .events = POLLIN };
	int status, ready;

	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	do
		ready = poll(&p, 1,
			     harness_ms((int)(seconds ? seconds : SECONDS) * 1000));
	while (ready < 0 && errno == EINTR);
	close(p.fd);
	if (ready != 1)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return ready == 1 ? status : -1;
}

static void print_lines(const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		printf("# %.*s\n", (int)len, text);
		text += len + (text[len] == '\n');
	}
}

static void describe(int status, char *text, size_t size)
{
	if (status == -1)
		snprintf(text, size, "timed out");
	else if (WIFSIGNALED(status))
		snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != FAILED || !verdict->text[0])
		snprintf(text, size, "ended with exit status %d", WEXITSTATUS(status));
	else
		text[0] = 0;
}

/* Prints the TAP of one test: 1 when it has failed. */
static int report(int n, const char *name, int status, const char *left)
{
	char end[200];

	if (status == 0 && !left[0] && !verdict->text[0]) {
		printf("ok %d - %s\n", n, name);
		return 0;
	}
	if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED &&
	    !left[0]) {
		printf("ok %d - %s # SKIP %s\n", n, name, verdict->text);
		return 0;
	}
	printf("not ok %d - %s\n", n, name);
	print_lines(verdict->text);
	describe(status, end, sizeof(end));
	if (status)
		print_lines(end);
	print_lines(left);
	return 1;
}

static int run_one(int n, const struct harness_test *test)
{
	char left[4000];
	pid_t runner = getpid(), pid;
	int status;

	memset(verdict, 0, sizeof(*verdict));
	fflush(NULL);
	pid = fork();
	if (!pid)
		be_the_test(test, runner);
	status = pid < 0 ? -1 : await_test(pid, test->seconds);
	leaks_sweep(left, sizeof(left));
	return report(n, test->name, status, left);
}

static bool is_wanted(const struct harness_test *test, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], test->name))
			return true;
	return argc < 2;
}

static int list(const struct harness_test *tests)
{
	for (; tests->name; tests++)
		puts(tests->name);
	return 0;
}

static void *do_nothing(void *arg)
{
	return arg;
}

/* ThreadSanitizer starts a thread of its own with the first one, and again in each forked
 * child: done here, it is no test's. */
static void start_first_thread(void)
{
	pthread_t thread;

	if (HARNESS_TSAN && !pthread_create(&thread, NULL, do_nothing, NULL))
		pthread_join(thread, NULL);
}

static int prepare(void)
{
	verdict = mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (verdict == MAP_FAILED || prctl(PR_SET_CHILD_SUBREAPER, 1)) {
		printf("Bail out! cannot prepare: %s\n", strerror(errno));
		return -1;
	}
	start_first_thread();
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	return 0;
}

int harness_main(int argc, char **argv, const struct harness_test *tests)
{
	int n = 0, failed = 0;

	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list(tests);
	if (prepare())
		return 99;
	for (; tests->name; tests++)
		if (is_wanted(tests, argc, argv))
			failed += run_one(++n, tests);
	printf("1..%d\n", n);
	if (!n)
		printf("# no such test\n");
	return failed || !n;
}
