/* SPDX-License-Identifier: MIT */
/*
 * The harness tested by itself: `test_harness --subjects NAME` runs a test that does
 * something wrong, and the tests proper look at what is reported of it.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"

/* --- the subjects ------------------------------------------------------------------- */

static void good(void)
{
	assert_true(1);
}

static void skipped(void)
{
	harness_skip("it is Monday");
}

static void wrong(void)
{
	assert_int_equal(1 + 1, 3);
}

static void wrong_in_child(void)
{
	pid_t pid = fork();

	if (!pid)
		assert_string_equal("one", "other");
	waitpid(pid, NULL, 0);
}

static void leaks_fd(void)
{
	if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
		abort();
}

static void closes_fd(void)
{
	close(STDIN_FILENO);
}

static void *sleep_on(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void leaks_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, sleep_on, NULL);
}

static pid_t fork_sleeper(void)
{
	pid_t pid = fork();

	if (!pid)
		sleep_on(NULL);
	return pid;
}

static void leaks_child(void)
{
	fork_sleeper();
}

static void leaks_zombie(void)
{
	siginfo_t info;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
}

static void hangs(void)
{
	sleep_on(NULL);
}

static void crashes(void)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* Forks twice: the orphan is nobody's child but the runner's. */
static void leave_orphan(void (*be)(void))
{
	int pair[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		if (!fork()) {
			close(pair[0]);
			be();
			(void)!write(pair[1], "", 1);
			sleep_on(NULL);
		}
		_exit(0);
	}
	close(pair[1]);
	waitpid(pid, NULL, 0);
	(void)!read(pair[0], &byte, 1); /* until the orphan is what it is to be */
	close(pair[0]);
}

static void be_stopped(void)
{
	pid_t pid = fork_sleeper();
	int status;

	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
}

static void be_keeper(void)
{
	prctl(PR_SET_NAME, "pgrab-keeper");
}

static void be_tracer(void)
{
	pid_t pid = fork_sleeper();
	int status;

	ptrace(PTRACE_SEIZE, pid, NULL, NULL);
	ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	waitpid(pid, &status, __WALL);
}

static void be_nothing(void)
{
}

static void leaves_orphan(void)
{
	leave_orphan(be_nothing);
}

static void leaves_stopped(void)
{
	leave_orphan(be_stopped);
}

static void leaves_traced(void)
{
	leave_orphan(be_tracer);
}

static void leaves_keeper(void)
{
	leave_orphan(be_keeper);
}

static const struct harness_test subjects[] = {
	TEST(good),           TEST(skipped),
	TEST(wrong),          TEST(wrong_in_child),
	TEST(leaks_fd),       TEST(closes_fd),
	TEST(leaks_thread),   TEST(leaks_child),
	TEST(leaks_zombie),   TEST_IN(hangs, 1),
	TEST(crashes),        TEST(leaves_orphan),
	TEST(leaves_stopped), TEST(leaves_traced),
	TEST(leaves_keeper),  TEST_END,
};

/* --- the tests ---------------------------------------------------------------------- */

/* Runs the subject and looks for `first` and `then` in its report; is its status
 * `status`? */
static void expect(const char *name, int status, const char *first, const char *then)
{
	char command[4200], self[4096], text[8192];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t have;
	FILE *file;

	self[len > 0 ? len : 0] = 0;
	snprintf(command, sizeof(command), "exec '%s' --subjects %s 2>&1", self, name);
	file = popen(command, "r");
	assert_non_null(file);
	have = fread(text, 1, sizeof(text) - 1, file);
	text[have] = 0;
	assert_int_equal(pclose(file), status << 8);
	if (!strstr(text, first) || !strstr(text, then))
		fail_msg("not '%s' and '%s' but:\n%s", first, then, text);
}

static void verdicts(void)
{
	expect("good", 0, "ok 1 - good\n1..1\n", "");
	expect("skipped", 0, "ok 1 - skipped # SKIP it is Monday\n", "");
	expect("wrong", 1, "not ok 1 - wrong\n", "1 + 1 == 3: 2 (0x2) and 3 (0x3)");
	expect("wrong_in_child", 1, "not ok 1", "'one' and 'other'");
	expect("no_such_test", 1, "1..0\n", "no such test");
	expect("good wrong good", 1, "ok 1 - good\nnot ok 2 - wrong\n", "1..2");
	expect("--list", 0, "good\nskipped\nwrong\n", "leaves_keeper\n");
}

static void own_leaks(void)
{
	expect("leaks_fd", 1, "not ok 1", "descriptors are not as they were");
	expect("closes_fd", 1, "not ok 1", "descriptor 0: was '");
	expect("leaks_thread", 1, "not ok 1", "2 threads left (1 at the start)");
	expect("leaks_child", 1, "not ok 1", "a child is left running or stopped");
	expect("leaks_zombie", 1, "not ok 1", "was not waited for");
}

static void bad_ends(void)
{
	expect("hangs", 1, "not ok 1", "timed out");
	expect("crashes", 1, "not ok 1", "killed by signal 6");
}

static void left_orphan(void)
{
	expect("leaves_orphan", 1, "not ok 1", "is left, state S");
}

static void left_stopped(void)
{
	expect("leaves_stopped", 1, "not ok 1", "is left, state T");
}

static void left_traced(void)
{
	expect("leaves_traced", 1, "not ok 1", "is left, state t, tracer ");
}

static void left_keeper(void)
{
	expect("leaves_keeper", 1, "not ok 1", "(pgrab-keeper) is left");
}

static const struct harness_test tests[] = {
	TEST(verdicts),     TEST(own_leaks),   TEST(bad_ends),    TEST(left_orphan),
	TEST(left_stopped), TEST(left_traced), TEST(left_keeper), TEST_END,
};

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--subjects")) {
		setenv("HARNESS_SWEEP_MS", "300", 1);
		return harness_main(argc - 1, argv + 1, subjects);
	}
	return harness_main(argc, argv, tests);
}
