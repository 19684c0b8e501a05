/* SPDX-License-Identifier: MIT */
/*
 * The client side of the keeper without a keeper: this program, started under the name
 * pgrab-keeper, plays one that answers as it is told by PGRAB_KEEPER_FAKE. No victim: the
 * process that is "grabbed" is a child that sleeps.
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
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "hold/hold.h"
#include "hold/traps.h"
#include "keeper/protocol.h"
#include "os/procfs.h"

/* --- the fake keeper ---------------------------------------------------------------- */

static const char *mode; /* what PGRAB_KEEPER_FAKE says */

static bool is(const char *word)
{
	return !strcmp(mode, word);
}

static void reply(int fd, const struct kp_header *req, void *packet, size_t len, int err,
		  int value)
{
	struct kp_reply *r = packet;

	r->h = *req;
	r->h.len = (uint32_t)len;
	r->err = err;
	r->value = value;
	send(fd, packet, len, MSG_NOSIGNAL);
}

/* Takes a request for an attach; its descriptors. */
static ssize_t receive(int fd, void *buf, size_t size, int *fds)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(3 * sizeof(int))];
	struct iovec iov = { buf, size };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = room,
			      .msg_controllen = sizeof(room) };
	ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = got > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	if (c)
		memcpy(fds, CMSG_DATA(c), 3 * sizeof(int));
	return got;
}

static void fake_lwps(int fd, const struct kp_page *req)
{
	static struct kp_lwps page;
	const unsigned total = 150;

	for (page.n = 0; page.n < KP_MAX_LWPS && req->start + page.n < total; page.n++)
		page.lwp[page.n] = (struct kp_lwp){ (int)(1000 + req->start + page.n),
						    KP_LWP_STOPPED, 0 };
	reply(fd, &req->h, &page, sizeof(page), 0, total);
}

static void fake_regs(int fd, const struct kp_page *req)
{
	static struct kp_regs_all page;
	const unsigned total = 70;

	for (page.n = 0; page.n < KP_MAX_REGS && req->start + page.n < total; page.n++) {
		unsigned i = req->start + page.n;

		page.lwp[page.n] = (struct kp_lwp){ (int)(1000 + i), i & 1, 0 };
		arch_set_pc(&page.regs[page.n], 0x1000 + i);
	}
	reply(fd, &req->h, &page, sizeof(page), 0, total);
}

static void send_events(int fd)
{
	struct kp_event ev = { .version = KP_VERSION, .kind = KP_EV_FORK, .child = 77 };

	ev.len = KP_EVENT_SHORT;
	send(fd, &ev, ev.len, MSG_NOSIGNAL);
	ev.kind = KP_EV_BKPT;
	ev.addr = 0x1234;
	ev.flags = KP_EVF_QUESTION;
	ev.len = sizeof(ev);
	arch_set_pc(&ev.regs, 0x1234);
	send(fd, &ev, ev.len, MSG_NOSIGNAL);
	if (is("bad-event"))
		send(fd, &ev, 10, MSG_NOSIGNAL);
}

/* Serves one victim until its client closes. */
static void serve(int control, int events)
{
	_Alignas(8) char buf[1024];
	struct kp_header *h = (struct kp_header *)(void *)buf;
	struct kp_reply r;

	while (recv(control, buf, sizeof(buf), 0) > 0) {
		memset(&r, 0, sizeof(r));
		if (h->type == KP_STOP && is("die"))
			_exit(0);
		if (h->type == KP_STOP && is("wrong-reply"))
			h->seq++;
		if (h->type == KP_LWPS)
			fake_lwps(control, (struct kp_page *)(void *)buf);
		else if (h->type == KP_REGS_ALL)
			fake_regs(control, (struct kp_page *)(void *)buf);
		else if (h->type == KP_GETREGS)
			reply(control, h, &r, sizeof(r), -EBUSY, 0);
		else if (h->type != KP_ANSWER)
			reply(control, h, &r, sizeof(r), 0, h->type == KP_STOP);
		if (h->type == KP_WANT)
			send_events(events);
	}
}

static void answer_attach(const struct kp_attach *req, const int *fds)
{
	struct kp_attached a = { 0 };
	struct kp_event *stop = &a.stop;

	stop->version = KP_VERSION;
	stop->kind = KP_EV_STOPPED;
	stop->len = sizeof(*stop);
	stop->pid = stop->tid = req->pid;
	if (is("refuse")) {
		strcpy(a.r.text, "thread 7 is in state D");
		reply(fds[0], &req->h, &a.r, sizeof(a.r), -ETIMEDOUT, 0);
		return;
	}
	reply(fds[0], &req->h, &a, sizeof(a), 0, 1);
	serve(fds[0], fds[1]);
}

/* 1: the descriptors at the start are as promised. */
static int start_is_right(void)
{
	int right = fcntl(KP_HUB_FD, F_GETFD) == 0 && fcntl(KP_CLIENT_FD, F_GETFD) == 0;
	sigset_t mask;
	struct sigaction chld;

	for (int fd = KP_CLIENT_FD + 1; fd < 64; fd++)
		right &= fcntl(fd, F_GETFD) < 0;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	sigaction(SIGCHLD, NULL, &chld);
	for (int sig = 1; sig < 32; sig++)
		right &= !sigismember(&mask, sig);
	return right && chld.sa_handler == SIG_DFL && !getenv("HOME");
}

static int be_keeper(void)
{
	struct kp_attach req;
	struct kp_reply r = { 0 };
	int fds[3] = { -1, -1, -1 };

	if (recv(KP_HUB_FD, &req, sizeof(req), 0) != sizeof(req.h) || is("deaf"))
		return 1;
	if (is("other"))
		req.h.version++;
	r.h = req.h;
	reply(KP_HUB_FD, &req.h, &r, sizeof(r), 0, start_is_right() ? getpid() : -1);
	while (receive(KP_HUB_FD, &req, sizeof(req), fds) == sizeof(req)) {
		if (is("die-at-attach"))
			return 0;
		answer_attach(&req, fds);
		for (int i = 0; i < 3; i++)
			close(fds[i]);
	}
	return 0;
}

/* --- the tests ---------------------------------------------------------------------- */

/* Each test runs in a child of its own: the keeper belongs to the process. */
static void in_child(const char *fake, void (*test)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		setenv("PGRAB_KEEPER_FAKE", fake, 1);
		alarm(20);
		test();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#define MUST(cond)                                                                       \
	do {                                                                             \
		if (!(cond)) {                                                           \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);       \
			_exit(1);                                                        \
		}                                                                        \
	} while (0)

/* A sleeping child to be "held". */
static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody */
		for (;;)
			pause();
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int grab(pid_t pid, struct hold **ret, struct hold_fault *fault)
{
	struct hold_event first;
	int pidfd = procfs_pidfd(pid);
	int err = hold_grab(pid, pidfd, 0, 500, ret, &first, fault);

	close(pidfd);
	if (!err)
		MUST(first.kind == HOLD_EV_STOPPED && first.why == HOLD_WHY_REQUESTED);
	if (!err)
		MUST(first.pid == pid);
	return err;
}

static void check_start(void)
{
	struct hold_fault fault = { 0 };
	struct hold *h;
	pid_t pid;

	signal(SIGCHLD, SIG_IGN);
	MUST(hold_keeper_pid() == 0);
	MUST(open("/dev/null", O_RDONLY) >=
	     0); /* not close-on-exec: must not reach the keeper */
	pid = sleeper();
	MUST(grab(pid, &h, &fault) == 0);
	MUST(hold_keeper_pid() > 0); /* -1: start_is_right() said no */
	MUST(waitpid(hold_keeper_pid(), NULL, WNOHANG) < 0 && errno == ECHILD);
	MUST(hold_stop(h) == 1);
	MUST(hold_run(h, 0, 0, 0) == 0);
	MUST(hold_release(h, HOLD_RELEASE_RUN) == 0);
	end(pid);
}

static void test_start(void **state)
{
	in_child("plain", check_start);
}

static void check_refusals(void)
{
	struct hold_fault fault = { 0 };
	struct hold *h = NULL;
	pid_t pid = sleeper();
	int err = grab(pid, &h, &fault);
	char other[32];

	snprintf(other, sizeof(other), "protocol %d", KP_VERSION + 1);
	if (!strcmp(getenv("PGRAB_KEEPER_FAKE"), "other"))
		MUST(err == -EPROTO && strstr(fault.text, other));
	else if (!strcmp(getenv("PGRAB_KEEPER_FAKE"), "deaf"))
		MUST(err == -EPROTO && strstr(fault.text, "ended at its start"));
	else if (!strcmp(getenv("PGRAB_KEEPER_FAKE"), "refuse"))
		MUST(err == -ETIMEDOUT && !strcmp(fault.text, "thread 7 is in state D"));
	else
		MUST(err == -EPIPE && strstr(fault.text, "ended during"));
	MUST(!h && fault.err == err);
	end(pid);
}

static void test_refusals(void **state)
{
	in_child("other", check_refusals);
	in_child("deaf", check_refusals);
	in_child("refuse", check_refusals);
	in_child("die-at-attach", check_refusals);
}

static void check_no_program(void)
{
	struct hold_fault fault = { 0 };
	struct hold *h = NULL;

	setenv("PGRAB_KEEPER", "/nonexistent/keeper", 1);
	MUST(grab(getpid(), &h, &fault) == -ENOENT);
	MUST(strstr(fault.text, "/nonexistent/keeper"));
	setenv("PGRAB_KEEPER", "/etc/passwd", 1);
	MUST(grab(getpid(), &h, &fault) == -ENOENT || fault.err == -EACCES);
	setenv("PGRAB_KEEPER", "/", 1); /* a folder passes access(2), not execve(2) */
	MUST(grab(getpid(), &h, &fault) == -EACCES);
	MUST(strstr(fault.text, "cannot run"));
}

static void test_no_program(void **state)
{
	in_child("plain", check_no_program);
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void check_full_table(void)
{
	struct hold_fault fault = { 0 };
	struct hold *h = NULL;
	int before = open_fds(), pidfd = procfs_pidfd(getpid()), last = -1, fd;
	struct rlimit limit = { 64, 64 };
	struct hold_event first;

	setrlimit(RLIMIT_NOFILE, &limit);
	while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		last = fd;
	/* One descriptor more each round: every step fails once, none may leak. */
	for (int room = 0; room < 20; room++) {
		int err = hold_grab(getpid(), pidfd, 0, 500, &h, &first, &fault);

		if (!err)
			break;
		MUST(err == -EMFILE);
		close(last--);
	}
	MUST(h);
	MUST(hold_release(h, HOLD_RELEASE_RUN) == 0);
	for (fd = last; fd > pidfd; fd--)
		close(fd);
	close(pidfd);
	MUST(open_fds() <= before + 1); /* the hub */
}

static void test_full_table(void **state)
{
	in_child("plain", check_full_table);
}

static void check_events(void)
{
	struct hold_fault fault = { 0 };
	struct hold_event ev;
	struct hold *h;
	pid_t pid = sleeper();
	struct pollfd p;

	MUST(grab(pid, &h, &fault) == 0);
	MUST(hold_next(h, &ev) == 0);
	MUST(hold_want(h, HOLD_WANT_FORKS) == 0);
	p = (struct pollfd){ hold_event_fd(h), POLLIN, 0 };
	MUST(poll(&p, 1, 1000) == 1);
	MUST(hold_next(h, &ev) == 1 && ev.kind == HOLD_EV_FORK && ev.child == 77);
	MUST(arch_pc(&ev.regs) == 0);
	MUST(poll(&p, 1, 1000) == 1);
	MUST(hold_next(h, &ev) == 1 && ev.kind == HOLD_EV_BKPT && ev.addr == 0x1234);
	MUST(ev.flags == HOLD_EVF_QUESTION && arch_pc(&ev.regs) == 0x1234);
	if (!strcmp(getenv("PGRAB_KEEPER_FAKE"), "bad-event")) {
		MUST(poll(&p, 1, 1000) == 1);
		MUST(hold_next(h, &ev) == -EPIPE);
		MUST(hold_stop(h) == -EPIPE);
	} else {
		MUST(hold_next(h, &ev) == 0);
	}
	hold_release(h, HOLD_RELEASE_RUN);
	end(pid);
}

static void test_events(void **state)
{
	in_child("plain", check_events);
	in_child("bad-event", check_events);
}

static void check_pages(void)
{
	struct hold_fault fault = { 0 };
	struct hold_lwp *lwps;
	arch_regs_t *regs, one;
	struct hold *h;
	size_t n;
	pid_t pid = sleeper();

	MUST(grab(pid, &h, &fault) == 0);
	MUST(hold_lwps(h, &lwps, &n) == 0 && n == 150);
	MUST(lwps[0].tid == 1000 && lwps[149].tid == 1149 && lwps[64].stopped);
	free(lwps);
	MUST(hold_getregs_all(h, &lwps, &regs, &n) == 0 && n == 35);
	MUST(lwps[34].tid == 1069 && arch_pc(&regs[34]) == 0x1000 + 69);
	free(lwps);
	free(regs);
	MUST(hold_getregs(h, 1000, &one) == -EBUSY);
	MUST(hold_release(h, HOLD_RELEASE_RUN) == 0);
	end(pid);
}

static void test_pages(void **state)
{
	in_child("plain", check_pages);
}

/* A copy of the process may not talk to its parent's keeper, but gets one of its own. */
static void check_fork(void)
{
	struct hold_fault fault = { 0 };
	struct hold *h, *own;
	struct hold_event ev;
	pid_t victim = sleeper(), keeper, copy;
	int status;

	MUST(grab(victim, &h, &fault) == 0);
	keeper = hold_keeper_pid();
	copy = fork();
	if (!copy) {
		MUST(hold_keeper_pid() == 0);
		MUST(hold_stop(h) == -EPIPE && hold_next(h, &ev) == -EPIPE);
		MUST(hold_release(h, HOLD_RELEASE_KILL) == -EPIPE);
		MUST(grab(victim, &own, &fault) == 0);
		MUST(hold_keeper_pid() > 0 && hold_keeper_pid() != keeper);
		MUST(hold_release(own, HOLD_RELEASE_RUN) == 0);
		_exit(0);
	}
	MUST(waitpid(copy, &status, 0) == copy && !status);
	MUST(hold_keeper_pid() == keeper && hold_stop(h) == 1);
	MUST(hold_release(h, HOLD_RELEASE_RUN) == 0);
	MUST(!waitpid(victim, &status, WNOHANG)); /* nobody has killed it */
	end(victim);
}

static void test_fork(void **state)
{
	in_child("plain", check_fork);
}

/* The keeper dies: the planted byte is written back into the process, later calls
 * fail. */
static void check_death(void)
{
	static uint8_t text[4096];
	struct arch_insn insn = { .len = 4, .bytes = { 0x48, 0x83, 0xec, 0x18 } };
	struct hold_fault fault = { 0 };
	struct hold *h;
	uint8_t buf[4];
	uint64_t addr = (uint64_t)(uintptr_t)text + 8;

	memcpy(text + 8, insn.bytes, 4);
	memcpy(text + 32, insn.bytes, 4);
	MUST(grab(getpid(), &h, &fault) == 0);
	MUST(hold_bkpt_set(h, addr, &insn, 0) == 0);
	MUST(hold_bkpt_set(h, addr, &insn, 0) == -EEXIST);
	MUST(hold_bkpt_set(h, addr + 24, &insn, 0) == 0);
	text[8] = arch_native->trap[0]; /* as a keeper would */
	text[32] = arch_native->trap[0];
	text[33]++; /* … but here other text stands by now */
	memcpy(buf, text + 8, 4);
	hold_hide_traps(h, addr, buf, 4);
	MUST(!memcmp(buf, insn.bytes, 4));
	MUST(hold_stop(h) == -EPIPE);
	MUST(text[8] == 0x48 && text[32] == arch_native->trap[0]);
	MUST(hold_stop(h) == -EPIPE && hold_answer(h, 1, 1, HOLD_PARK) == -EPIPE);
	MUST(hold_bkpt_set(h, addr, &insn, 0) == -EPIPE);
	MUST(hold_release(h, HOLD_RELEASE_RUN) == -EPIPE);
	setenv("PGRAB_KEEPER_FAKE", "plain", 1);
	MUST(grab(getpid(), &h, &fault) == 0); /* another keeper */
	MUST(hold_release(h, HOLD_RELEASE_RUN) == 0);
}

static void test_death(void **state)
{
	in_child("die", check_death);
	in_child("wrong-reply", check_death);
}

/* --- the table of breakpoints ------------------------------------------------------- */

static void test_traps(void **state)
{
	const struct arch_insn insn = { .len = 5,
					.bytes = { 0x11, 0x22, 0x33, 0x44, 0x55 } };
	const uint8_t cc = arch_native->trap[0];
	struct trap *found;
	struct traps t;
	uint8_t buf[64];
	size_t n;

	traps_init(&t);
	for (uint64_t i = 0; i < 100; i++) /* in a scattered order */
		assert_int_equal(traps_add(&t, 0x1000 + (i * 37 % 100) * 8, &insn, 0), 0);
	assert_int_equal(traps_add(&t, 0x1000, &insn, 0), -EEXIST);
	memset(buf, cc, sizeof(buf));
	traps_hide(&t, 0x1010, buf, sizeof(buf));
	for (size_t i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], i % 8 ? cc : 0x11);
	buf[0] = 0x99; /* not a trap: lifted, or changed by the program */
	traps_hide(&t, 0x1010, buf, 1);
	assert_int_equal(buf[0], 0x99);
	assert_int_equal(traps_touching(&t, 0x1014, 5, &found, &n), 0);
	assert_int_equal(n, 2); /* the one whose tail is at 0x1014, and 0x1018 */
	assert_int_equal(found[0].addr, 0x1010);
	free(found);
	traps_remove(&t, 0x1010);
	assert_int_equal(traps_touching(&t, 0x1010, 8, &found, &n), 0);
	assert_int_equal(n, 0);
	free(found);
	traps_forget(&t);
	assert_int_equal(t.n, 0);
	traps_fini(&t);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start),      cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_no_program), cmocka_unit_test(test_full_table),
		cmocka_unit_test(test_events),     cmocka_unit_test(test_pages),
		cmocka_unit_test(test_fork),       cmocka_unit_test(test_death),
		cmocka_unit_test(test_traps),
	};
	static char self[4096];
	ssize_t len;

	mode = getenv("PGRAB_KEEPER_FAKE");
	if (mode && !strcmp(argv[0], "pgrab-keeper"))
		return be_keeper();
	len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (len <= 0)
		return 1;
	setenv("PGRAB_KEEPER", self, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
