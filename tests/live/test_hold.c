/* SPDX-License-Identifier: MIT */
/*
 * The client side of the keeper with the real one: what a host notices of it (nothing),
 * what a created child inherits, what a failed create leaves (nothing), and what becomes
 * of victims when the keeper is killed.
 *
 * The program is its own victim: `test_hold --be WHAT`.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "hold/hold.h"
#include "mem/mem.h"
#include "os/procfs.h"

enum {
	SOON_MS = 10000,
	MANY = 100
};

static char self[4096];

/* --- the victims -------------------------------------------------------------------- */

__attribute__((noinline)) void beat(volatile unsigned *count)
{
	++*count;
}

/* Calls beat() for ever; the counter is in memory that the parent shares. */
static pid_t start_beating(volatile unsigned **ret)
{
	volatile unsigned *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			beat(count);
			usleep(200);
		}
	}
	*ret = count;
	return pid;
}

static pid_t start_sleeper(void)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* What a created child sees of its start: exit status 0 when all is as it should be. */
static int check_start(void)
{
	struct sigaction usr1, usr2;
	sigset_t mask;
	int open_fds = 0;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	sigaction(SIGUSR1, NULL, &usr1);
	sigaction(SIGUSR2, NULL, &usr2);
	for (int fd = 3; fd < 256; fd++)
		open_fds += fcntl(fd, F_GETFD) >= 0;
	if (open_fds)
		return 1;
	if (!sigismember(&mask, SIGWINCH) || sigismember(&mask, SIGTERM))
		return 2;
	if (usr1.sa_handler != SIG_DFL || usr2.sa_handler != SIG_IGN)
		return 3;
	return getpgrp() == getpid() ? 4 : 0;
}

static int be(const char *what)
{
	if (!strcmp(what, "start"))
		return check_start();
	if (!strcmp(what, "nothing"))
		return 0;
	raise(atoi(what));
	return 9;
}

/* --- helpers ------------------------------------------------------------------------ */

static int grab(pid_t pid, struct hold **ret)
{
	struct hold_event first;
	struct hold_fault fault = { 0 };
	int pidfd = procfs_pidfd(pid);
	int err = hold_grab(pid, pidfd, 0, 0, ret, &first, &fault);

	close(pidfd);
	return err;
}

static int create_with(const char *what, struct hold **ret, pid_t *ret_pid,
		       int *ret_pidfd)
{
	char *argv[] = { self, (char *)"--be", (char *)(uintptr_t)what, NULL };
	struct hold_spawn spawn = { self, argv, environ, HOLD_KLC };
	struct hold_event first;
	struct hold_fault fault = { 0 };
	int err = hold_create(&spawn, ret, ret_pid, ret_pidfd, &first, &fault);

	if (err)
		fprintf(stderr, "hold_create: %d %s\n", err, fault.text);
	if (!err)
		assert_true(first.kind == HOLD_EV_STOPPED && first.why == HOLD_WHY_EXEC);
	return err;
}

/* The next event of `kind`, or -EPIPE. */
static int await(struct hold *h, enum hold_event_kind kind, struct hold_event *ret)
{
	struct pollfd p = { .fd = hold_event_fd(h), .events = POLLIN };
	int got;

	for (;;) {
		got = hold_next(h, ret);
		if (got < 0)
			return got;
		if (got && ret->kind == kind)
			return 0;
		if (!got && poll(&p, 1, SOON_MS) != 1)
			return -ETIMEDOUT;
	}
}

static void assert_beats(volatile unsigned *count)
{
	unsigned seen = *count;

	for (int ms = 0; *count < seen + 3; ms++) {
		assert_true(ms < SOON_MS);
		usleep(1000);
	}
}

static void assert_free(pid_t pid)
{
	struct procfs_status st;

	assert_int_equal(procfs_status(pid, 0, &st), 0);
	assert_int_equal(st.tracer, 0);
}

/* --- create ------------------------------------------------------------------------- */

static void test_create_and_exit(void **state)
{
	struct hold_event ev;
	struct hold *h;
	pid_t pid;
	int pidfd;

	assert_int_equal(create_with("nothing", &h, &pid, &pidfd), 0);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	assert_int_equal(await(h, HOLD_EV_EXIT, &ev), 0);
	assert_int_equal(ev.status, 0);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_int_equal(hold_reap(pidfd), 0);
	assert_int_equal(hold_reap(pidfd), -ECHILD);
	close(pidfd);
}

static void on_signal(int sig)
{
}

static void test_create_inherits(void **state)
{
	struct sigaction handled = { .sa_handler = on_signal },
			 ignored = { .sa_handler = SIG_IGN };
	struct sigaction old1, old2;
	sigset_t winch, before, after;
	struct hold_event ev;
	struct hold *h;
	pid_t pid;
	int pidfd;

	sigaction(SIGUSR1, &handled, &old1);
	sigaction(SIGUSR2, &ignored, &old2);
	sigemptyset(&winch);
	sigaddset(&winch, SIGWINCH);
	sigprocmask(SIG_BLOCK, &winch, &before);
	assert_int_equal(create_with("start", &h, &pid, &pidfd), 0);
	sigprocmask(SIG_SETMASK, &before, &after);
	assert_true(sigismember(&after, SIGWINCH) && !sigismember(&after, SIGTERM));
	assert_int_equal(getpgid(pid), getpgrp());
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	assert_int_equal(await(h, HOLD_EV_EXIT, &ev), 0);
	assert_int_equal(ev.status, 0);
	hold_release(h, HOLD_RELEASE_RUN);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(pidfd);
	sigaction(SIGUSR1, &old1, NULL);
	sigaction(SIGUSR2, &old2, NULL);
}

static void test_create_undumpable(void **state)
{
	struct hold *h;
	pid_t pid;
	int pidfd;

	prctl(PR_SET_DUMPABLE, 0);
	assert_int_equal(create_with("nothing", &h, &pid, &pidfd), 0);
	assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
	prctl(PR_SET_DUMPABLE, 1);
	assert_int_equal(hold_release(h, HOLD_RELEASE_KILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(pidfd);
}

static void test_create_fails(void **state)
{
	static const struct {
		const char *path; /* to execute */
		int err;          /* expected */
	} cases[] = { { "/nonexistent", -ENOENT },
		      { "/etc/passwd", -EACCES },
		      { "/", -EACCES },
		      { "/etc/passwd/x", -ENOTDIR } };
	char *argv[] = { (char *)"x", NULL };

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct hold_spawn spawn = { cases[i].path, argv, environ, HOLD_KLC };
		struct hold_fault fault = { 0 };
		struct hold_event first;
		struct hold *h = NULL;
		int pidfd = -2;
		pid_t pid = -2;

		assert_int_equal(hold_create(&spawn, &h, &pid, &pidfd, &first, &fault),
				 cases[i].err);
		assert_string_equal(fault.text, "execve");
		assert_null(h);
		assert_true(pid == -2 && pidfd == -2);
		assert_true(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	}
}

/* --- the host ----------------------------------------------------------------------- */

/* A host that waits for anything sees its own children only: no keeper, no stop. */
static void test_host_waits(void **state)
{
	pid_t own = start_sleeper(), seen;
	struct hold_event ev;
	struct hold *grabbed, *created;
	pid_t pid;
	int pidfd, status;

	assert_int_equal(grab(own, &grabbed), 0);
	assert_int_equal(create_with("nothing", &created, &pid, &pidfd), 0);
	assert_int_equal(waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED), 0);
	assert_int_equal(hold_run(created, 0, 0, 0), 0);
	assert_int_equal(await(created, HOLD_EV_EXIT, &ev), 0);
	seen = waitpid(-1, &status, WUNTRACED);
	assert_int_equal(seen, pid);
	assert_int_equal(hold_reap(pidfd), -ECHILD);
	assert_int_equal(hold_release(grabbed, HOLD_RELEASE_RUN), 0);
	assert_int_equal(hold_release(created, HOLD_RELEASE_RUN), 0);
	assert_int_equal(waitpid(-1, &status, WNOHANG | WUNTRACED), 0);
	close(pidfd);
	end(own);
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* The sockets of a released victim serve the next: nothing is left in them of the
 * first. */
static void test_connection_reused(void **state)
{
	struct hold *created, *grabbed;
	struct hold_event ev;
	pid_t pid, own = start_sleeper();
	struct pollfd p;
	int pidfd, fds = 0;

	for (int round = 0; round < 20; round++) {
		assert_int_equal(create_with("nothing", &created, &pid, &pidfd), 0);
		assert_int_equal(hold_want(created, HOLD_WANT_SIGNALS), 0);
		assert_int_equal(hold_trace_signals(created, ~0ull), 0);
		assert_int_equal(hold_run(created, 0, 0, 0), 0);
		p = (struct pollfd){ .fd = pidfd, .events = POLLIN };
		assert_int_equal(poll(&p, 1, SOON_MS), 1);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		close(pidfd);
		assert_int_equal(hold_release(created, HOLD_RELEASE_RUN),
				 0); /* EXIT unread */
		assert_int_equal(grab(own, &grabbed), 0);
		assert_int_equal(hold_next(grabbed, &ev), 0);
		assert_int_equal(kill(own, SIGWINCH),
				 0); /* neither wanted nor traced now */
		assert_int_equal(hold_run(grabbed, 0, 0, 0), 0);
		assert_int_equal(hold_stop(grabbed), 0);
		assert_int_equal(await(grabbed, HOLD_EV_STOPPED, &ev), 0);
		assert_int_equal(ev.why, HOLD_WHY_REQUESTED);
		assert_int_equal(hold_release(grabbed, HOLD_RELEASE_RUN), 0);
		if (!round)
			fds = open_fds();
	}
	assert_int_equal(open_fds(), fds);
	end(own);
}

static void test_many_at_once(void **state)
{
	struct hold *holds[MANY];
	pid_t pids[MANY];

	for (int i = 0; i < MANY; i++) {
		pids[i] = start_sleeper();
		assert_int_equal(grab(pids[i], &holds[i]), 0);
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(hold_stop(holds[i]), 1);
		assert_int_equal(hold_release(holds[i], HOLD_RELEASE_RUN), 0);
		assert_free(pids[i]);
		end(pids[i]);
	}
}

/* Returns 0, or step * 1000 - error. */
static intptr_t grab_once(pid_t pid)
{
	struct hold *h;
	arch_regs_t regs;
	int err = grab(pid, &h);

	if (err)
		return 1000 - err;
	err = hold_getregs(h, pid, &regs);
	if (err)
		return 2000 - err;
	err = hold_run(h, 0, 0, 0);
	if (err)
		return 3000 - err;
	err = hold_release(h, HOLD_RELEASE_RUN);
	return err ? 4000 - err : 0;
}

static void *grab_often(void *arg)
{
	intptr_t failed = 0;

	for (int i = 0; i < 200 && !failed; i++)
		failed = grab_once(*(pid_t *)arg);
	return (void *)failed;
}

/* Threads of one host grab their victims while another thread creates and forks. */
static void test_threads(void **state)
{
	pthread_t threads[4];
	pid_t pids[4], pid;
	struct hold *h;
	void *failed;
	int pidfd;

	for (int i = 0; i < 4; i++)
		pids[i] = start_sleeper();
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, grab_often, &pids[i]);
	for (int i = 0; i < 30; i++) {
		assert_int_equal(create_with("nothing", &h, &pid, &pidfd), 0);
		assert_int_equal(hold_release(h, HOLD_RELEASE_KILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		close(pidfd);
		pid = fork();
		if (!pid)
			/* Not _exit(): a sanitizer would count the parent's threads as
			 * leaks. */
			syscall(SYS_exit_group, hold_keeper_pid() != 0);
		assert_int_equal(waitpid(pid, &pidfd, 0), pid);
		assert_int_equal(pidfd, 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		assert_int_equal((intptr_t)failed, 0);
		end(pids[i]);
	}
}

/* --- release ------------------------------------------------------------------------ */

static void test_release_modes(void **state)
{
	volatile unsigned *count;
	pid_t pid = start_beating(&count);
	struct hold *h;
	int status;

	assert_int_equal(grab(pid, &h), 0);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_beats(count);
	assert_int_equal(grab(pid, &h), 0);
	assert_int_equal(hold_release(h, HOLD_RELEASE_STOP), 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_free(pid);
	kill(pid, SIGCONT);
	assert_beats(count);
	assert_int_equal(grab(pid, &h), 0);
	assert_int_equal(hold_release(h, HOLD_RELEASE_KILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* --- the keeper's death ------------------------------------------------------------- */

static int plant(struct hold *h, pid_t pid, uint64_t addr)
{
	uint8_t bytes[ARCH_INSN_MAX];
	struct arch_insn insn;
	struct mem_live live;
	struct mem m;
	int err;

	mem_live_init(&live, pid);
	m = mem_live(&live);
	err = mem_read_all(&m, addr, bytes, sizeof(bytes));
	mem_live_fini(&live);
	if (!err)
		err = arch_decode(bytes, sizeof(bytes), &insn);
	return err ? err : hold_bkpt_set(h, addr, &insn, 0);
}

static uint8_t byte_of(pid_t pid, uint64_t addr)
{
	struct mem_live live;
	struct mem m;
	uint8_t byte = 0;

	mem_live_init(&live, pid);
	m = mem_live(&live);
	assert_int_equal(mem_read_all(&m, addr, &byte, 1), 0);
	mem_live_fini(&live);
	return byte;
}

/* A trap stands in the text when the keeper is killed; whoever polls writes the text
 * back, and the victim, which would have died of its next hit, runs on. */
static void test_keeper_killed(void **state)
{
	volatile unsigned *count;
	pid_t pid = start_beating(&count), keeper;
	uint64_t addr = (uint64_t)(uintptr_t)&beat;
	uint8_t own = *(uint8_t *)(uintptr_t)addr, buf;
	struct hold_event ev;
	struct hold *h;

	kill(pid, SIGSTOP); /* no hit from now on: one between the keeper's end and ours
			       is deadly */
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	assert_int_equal(grab(pid, &h), 0);
	assert_int_equal(plant(h, pid, addr), 0);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	assert_int_equal(byte_of(pid, addr), arch_native->trap[0]);
	buf = arch_native->trap[0];
	hold_hide_traps(h, addr, &buf, 1);
	assert_int_equal(buf, own);
	keeper = hold_keeper_pid();
	kill(keeper, SIGKILL);
	assert_int_equal(await(h, HOLD_EV_EXIT, &ev), -EPIPE);
	assert_int_equal(byte_of(pid, addr), own);
	assert_int_equal(hold_stop(h), -EPIPE);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), -EPIPE);
	kill(pid, SIGCONT);
	assert_beats(count);
	assert_int_equal(grab(pid, &h), 0); /* by a new keeper */
	assert_int_not_equal(hold_keeper_pid(), keeper);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_beats(count);
	end(pid);
}

static void test_keeper_killed_before_create(void **state)
{
	struct hold *h;
	pid_t pid;
	int pidfd;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(create_with("nothing", &h, &pid, &pidfd), 0);
		assert_int_equal(hold_release(h, HOLD_RELEASE_KILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		close(pidfd);
		kill(hold_keeper_pid(), SIGKILL);
	}
	assert_int_equal(create_with("nothing", &h, &pid, &pidfd), 0);
	assert_int_equal(hold_release(h, HOLD_RELEASE_KILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(pidfd);
}

/* A keeper that does not answer: the grab ends in time, and what it asked for is undone
 * when the keeper comes to it. */
static void test_keeper_stopped(void **state)
{
	volatile unsigned *count;
	pid_t pid = start_beating(&count), other = start_sleeper();
	int pidfd = procfs_pidfd(pid);
	struct hold_fault fault = { 0 };
	struct hold_event first;
	struct hold *h, *late = NULL;
	struct timespec begin, now;

	assert_int_equal(grab(other, &h), 0); /* so that there is a keeper */
	kill(hold_keeper_pid(), SIGSTOP);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_equal(hold_grab(pid, pidfd, 0, 100, &late, &first, &fault),
			 -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &now);
	assert_true(now.tv_sec - begin.tv_sec <= 4);
	assert_string_equal(fault.text, "the keeper does not answer");
	assert_null(late);
	assert_beats(count);
	kill(hold_keeper_pid(), SIGCONT);
	assert_int_equal(hold_stop(h), 1); /* behind the other request */
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_beats(count);
	for (int ms = 0; hold_grab(pid, pidfd, 0, 0, &h, &first, &fault) == -EBUSY;
	     ms++) {
		assert_true(ms < SOON_MS); /* it is being undone */
		usleep(1000);
	}
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_beats(count);
	close(pidfd);
	end(pid);
	end(other);
}

/* A write over a breakpoint: the new text is what the program has, and the trap is
 * back. */
static void test_text_written(void **state)
{
	volatile unsigned *count;
	pid_t pid = start_beating(&count);
	uint64_t addr = (uint64_t)(uintptr_t)&beat;
	uint8_t nops[4], was[4], shown[4];
	struct mem_live live;
	struct mem m;
	struct hold *h;

	memset(nops, 0x90, sizeof(nops));
	memcpy(was, (void *)(uintptr_t)addr, sizeof(was));
	mem_live_init(&live, pid);
	m = mem_live(&live);
	assert_int_equal(grab(pid, &h), 0);
	assert_int_equal(plant(h, pid, addr), 0);
	assert_true(mem_write(&m, addr, nops, sizeof(nops)) == sizeof(nops));
	assert_int_equal(hold_text_written(h, addr, nops, sizeof(nops)), 0);
	assert_int_equal(byte_of(pid, addr), arch_native->trap[0]);
	assert_int_equal(mem_read_all(&m, addr, shown, sizeof(shown)), 0);
	hold_hide_traps(h, addr, shown, sizeof(shown));
	assert_memory_equal(shown, nops, sizeof(nops));
	assert_int_equal(hold_bkpt_clear(h, addr), 0);
	assert_int_equal(byte_of(pid, addr), 0x90);
	assert_true(mem_write(&m, addr, was, sizeof(was)) == sizeof(was));
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	mem_live_fini(&live);
	assert_beats(count);
	end(pid);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create_and_exit),
		cmocka_unit_test(test_create_inherits),
		cmocka_unit_test(test_create_undumpable),
		cmocka_unit_test(test_create_fails),
		cmocka_unit_test(test_host_waits),
		cmocka_unit_test(test_connection_reused),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_release_modes),
		cmocka_unit_test(test_keeper_killed),
		cmocka_unit_test(test_keeper_killed_before_create),
		cmocka_unit_test(test_keeper_stopped),
		cmocka_unit_test(test_text_written),
	};
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (argc == 3 && !strcmp(argv[1], "--be"))
		_exit(be(argv[2])); /* LeakSanitizer cannot run under ptrace */
	for (int fd = 3; fd < 256;
	     fd++) /* the runner's own: not to be seen by our victims */
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return len > 0 ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
