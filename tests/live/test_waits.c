/* SPDX-License-Identifier: MIT */
/*
 * Waits are not noticed to have been stopped: a thread sleeps in a call that the kernel
 * does not restart after an interrupt, is grabbed and released over and over, and gets
 * the result that it would have got, when it would have got it.
 *
 * Each case runs in a process of its own: it makes one call and reports result, errno and
 * duration. `margin` is what a busy machine may add; the failures that are looked for
 * take a multiple of it (a wait that begins anew lasts half again as long, one that is
 * cut short ends at the first stop).
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness/harness.h"
#include "hold/hold.h"
#include "os/procfs.h"

enum {
	WAIT_MS = 1500,
	MARGIN_MS = 300,
	ROUNDS = 40, /* stops during the first two thirds of the wait */
};

/* What a case has to say, shared with the test. */
struct report {
	atomic_int begun;  /* about to make the call */
	atomic_int ended;  /* it has returned */
	long ret;          /* its result */
	int error;         /* its errno */
	int64_t ms;        /* how long it took */
	atomic_int caught; /* signals that its handler has seen */
};

static struct report *report;

static const struct timespec wait_time = { WAIT_MS / 1000, WAIT_MS % 1000 * 1000000 };

/* --- the calls ---------------------------------------------------------------------- */

static long in_epoll_wait(void)
{
	struct epoll_event ev;

	return epoll_wait(epoll_create1(0), &ev, 1, WAIT_MS);
}

static long in_epoll_pwait2(void)
{
	struct epoll_event ev;

	return syscall(SYS_epoll_pwait2, epoll_create1(0), &ev, 1, &wait_time, NULL, 0);
}

static long in_sigtimedwait(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return sigtimedwait(&set, NULL, &wait_time);
}

static long in_semtimedop(void)
{
	struct sembuf op = { 0, -1, 0 };
	int id = semget(IPC_PRIVATE, 1, 0600);
	long ret = semtimedop(id, &op, 1, &wait_time);
	int saved = errno;

	semctl(id, 0, IPC_RMID);
	errno = saved;
	return ret;
}

static long in_nanosleep(void)
{
	return nanosleep(&wait_time, NULL);
}

static long in_poll(void)
{
	return poll(NULL, 0, WAIT_MS);
}

static long in_select(void)
{
	struct timeval tv = { WAIT_MS / 1000, WAIT_MS % 1000 * 1000 };

	return select(0, NULL, NULL, NULL, &tv);
}

static long in_condition(void)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += WAIT_MS / 1000;
	end.tv_nsec += WAIT_MS % 1000 * 1000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	pthread_mutex_lock(&m);
	return pthread_cond_timedwait(&c, &m, &end);
}

/* No time-out of the call's own: a byte ends it, sent by the test at the right time. */
static int pair[2];

static long in_recv(void)
{
	struct timeval tv = { 30, 0 };
	char byte;

	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return recv(pair[0], &byte, 1, 0);
}

static long in_epoll_for_ever(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int fd = epoll_create1(0);

	epoll_ctl(fd, EPOLL_CTL_ADD, pair[0], &ev);
	return epoll_wait(fd, &ev, 1, -1);
}

/* --- one case ----------------------------------------------------------------------- */

static void caught(int sig)
{
	(void)sig;
	atomic_fetch_add(&report->caught, 1);
}

static pid_t begin(long (*call)(void))
{
	struct sigaction sa = { .sa_handler = caught };
	pid_t pid;
	int64_t from;

	if (!report)
		report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset((void *)report, 0, sizeof(*report));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigaction(SIGUSR1, &sa, NULL);
		from = harness_now_ms();
		atomic_store(&report->begun, 1);
		report->ret = call();
		report->error = report->ret < 0 ? errno : 0;
		report->ms = harness_now_ms() - from;
		atomic_store(&report->ended, 1);
		_exit(0);
	}
	while (!atomic_load(&report->begun) || harness_state(pid) != 'S')
		usleep(1000);
	return pid;
}

static void grab_and_release(pid_t pid)
{
	int pidfd = procfs_pidfd(pid);
	struct hold_event first;
	struct hold *h;

	assert_int_equal(hold_grab(pid, pidfd, 0, 0, &h, &first, NULL), 0);
	close(pidfd);
	usleep(1000);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
}

/* Held all the time, stopped and set running. */
static void stop_and_run(pid_t pid, unsigned rounds)
{
	int pidfd = procfs_pidfd(pid);
	struct hold_event ev;
	struct hold *h;

	assert_int_equal(hold_grab(pid, pidfd, 0, 0, &h, &ev, NULL), 0);
	close(pidfd);
	for (unsigned i = 0; i < rounds; i++) {
		struct pollfd p = { .fd = hold_event_fd(h), .events = POLLIN };

		assert_int_equal(hold_run(h, 0, 0, 0), 0);
		usleep(WAIT_MS * 1000 / 3 / ROUNDS);
		assert_int_equal(hold_stop(h), 0);
		while (hold_next(h, &ev) != 1)
			poll(&p, 1, 5000);
		assert_int_equal(ev.kind, HOLD_EV_STOPPED);
	}
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
}

static void end(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(pair[0]);
	close(pair[1]);
}

static void expect(const char *name, long ret, int error)
{
	if (report->ret != ret || report->error != error)
		fail_msg("%s: %ld, %s after %d ms", name, report->ret,
			 strerror(report->error), (int)report->ms);
	if (report->ms < WAIT_MS - 20 || report->ms > WAIT_MS + harness_ms(MARGIN_MS))
		fail_msg("%s: %d ms instead of %d", name, (int)report->ms, WAIT_MS);
}

static void disturb(pid_t pid)
{
	int64_t last = harness_now_ms() + WAIT_MS / 3;

	for (unsigned i = 0; i < ROUNDS && harness_now_ms() < last; i++) {
		grab_and_release(pid);
		usleep(WAIT_MS * 1000 / 3 / ROUNDS);
	}
	stop_and_run(pid, ROUNDS / 4);
}

static void case_of(const char *name, long (*call)(void), long ret, int error)
{
	pid_t pid = begin(call);

	disturb(pid);
	end(pid);
	expect(name, ret, error);
}

/* Fails when a broken wait is not made again, or with its whole time. */
static void waits_with_a_time(void)
{
	case_of("epoll_wait", in_epoll_wait, 0, 0);
	case_of("epoll_pwait2", in_epoll_pwait2, 0, 0);
	case_of("sigtimedwait", in_sigtimedwait, -1, EAGAIN);
	case_of("semtimedop", in_semtimedop, -1, EAGAIN);
}

/* What the kernel restarts is not spoilt by us. */
static void waits_of_the_kernel(void)
{
	case_of("nanosleep", in_nanosleep, 0, 0);
	case_of("poll", in_poll, 0, 0);
	case_of("select", in_select, 0, 0);
	case_of("pthread_cond_timedwait", in_condition, ETIMEDOUT, 0);
}

/* Fails when one without an end in sight is ended by us. */
static void waits_for_something(void)
{
	long (*const calls[])(void) = { in_recv, in_epoll_for_ever };

	for (size_t i = 0; i < 2; i++) {
		pid_t pid = begin(calls[i]);

		disturb(pid);
		assert_int_equal(atomic_load(&report->ended), 0);
		assert_int_equal(write(pair[1], "x", 1), 1);
		end(pid);
		assert_int_equal(report->ret, 1);
	}
}

/* A signal with a handler ends the wait with EINTR, stops or not: fails when the call is
 * made again over it. Sent while the victim stands and while it runs. */
static void handlers_end_waits(void)
{
	for (unsigned i = 0; i < 20; i++) {
		pid_t pid = begin(in_epoll_wait);
		int pidfd = procfs_pidfd(pid);
		struct hold_event first;
		struct hold *h;

		grab_and_release(pid);
		await(harness_state(pid) == 'S'); /* in the call again */
		assert_int_equal(hold_grab(pid, pidfd, 0, 0, &h, &first, NULL), 0);
		close(pidfd);
		if (i % 2)
			kill(pid, SIGUSR1);
		hold_run(h, 0, 0, 0);
		if (!(i % 2))
			kill(pid, SIGUSR1);
		assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
		end(pid);
		if (report->ret != -1 || report->error != EINTR || report->caught != 1)
			fail_msg("round %u: %ld, %s after %d ms, %d signals", i,
				 report->ret, strerror(report->error), (int)report->ms,
				 atomic_load(&report->caught));
		assert_int_below(report->ms, WAIT_MS);
	}
}

/* A signal that the process ignores would not wake it if it were not traced: fails when
 * it ends the wait of a held victim. */
static void ignored_signals_end_none(void)
{
	pid_t pid = begin(in_epoll_wait);
	int pidfd = procfs_pidfd(pid);
	struct hold_event first;
	struct hold *h;

	assert_int_equal(hold_grab(pid, pidfd, 0, 0, &h, &first, NULL), 0);
	close(pidfd);
	hold_run(h, 0, 0, 0);
	for (unsigned i = 0; i < 30; i++) {
		kill(pid, i % 2 ? SIGCHLD : SIGWINCH);
		usleep(10000);
	}
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	end(pid);
	expect("epoll_wait", 0, 0);
}

static const struct harness_test tests[] = {
	TEST_IN(waits_with_a_time, 60),        TEST_IN(waits_of_the_kernel, 60),
	TEST_IN(waits_for_something, 60),      TEST_IN(handlers_end_waits, 60),
	TEST_IN(ignored_signals_end_none, 60), TEST_END
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
