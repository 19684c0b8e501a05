/* SPDX-License-Identifier: MIT */
/*
 * A keeper whose client is broken: packets short, long, unknown, of another version,
 * random; descriptors too many, too few, of the wrong kind; requests before the attach;
 * closes in every order. Each ends that client's connection at most: the keeper exits,
 * the victim runs on untraced, whole and not stopped.
 *
 * The keeper is started by hand, as this process's child, so that its exit is seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "hold/hold.h"
#include "keeper/protocol.h"
#include "os/procfs.h"

enum {
	SOON_MS = 5000, /* until what must happen has happened */
	MANY_FDS = 60,  /* far more than any request has */
};

/* One keeper, one victim, and the client's ends of everything. */
struct scene {
	pid_t victim, keeper;         /* our children */
	int hub, control, events;     /* our ends; -1 closed */
	int theirs[3];                /* control, events, pidfd: what an attach sends */
	volatile unsigned *heartbeat; /* counted up by the victim, shared */
};

/* --- the actors --------------------------------------------------------------------- */

static pid_t start_victim(volatile unsigned *heartbeat)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		++*heartbeat;
		usleep(500);
	}
}

static void exec_keeper(int hub, int client)
{
	char path[PATH_MAX];
	int null = open("/dev/null", O_RDWR);

	hub = fcntl(hub, F_DUPFD, 10);
	client = fcntl(client, F_DUPFD, 10);
	dup2(null, 0);
	dup2(null, 1);
	dup2(hub, KP_HUB_FD);
	dup2(client, KP_CLIENT_FD);
	for (int fd = KP_CLIENT_FD + 1; fd < 256; fd++)
		close(fd);
	if (!hold_keeper_path(path, sizeof(path)))
		execl(path, "pgrab-keeper", NULL);
	_exit(126);
}

static pid_t start_keeper(int *ret_hub, pid_t client)
{
	int pair[2], pidfd = procfs_pidfd(client);
	pid_t pid;

	assert_true(pidfd >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (!pid)
		exec_keeper(pair[1], pidfd);
	close(pair[1]);
	close(pidfd);
	*ret_hub = pair[0];
	return pid;
}

static void begin(struct scene *s)
{
	int control[2], events[2];

	s->heartbeat = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(s->heartbeat, MAP_FAILED);
	s->victim = start_victim(s->heartbeat);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control),
			 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, events),
			 0);
	s->control = control[0];
	s->events = events[0];
	s->theirs[0] = control[1];
	s->theirs[1] = events[1];
	s->theirs[2] = procfs_pidfd(s->victim);
	s->keeper = start_keeper(&s->hub, getpid());
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void shut_theirs(struct scene *s)
{
	for (int i = 0; i < 3; i++)
		shut(&s->theirs[i]);
}

/* --- what must be at the end -------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static void assert_keeper_ends(struct scene *s)
{
	int64_t end = now_ms() + SOON_MS;
	int status = -1;

	while (waitpid(s->keeper, &status, WNOHANG) != s->keeper) {
		assert_true(now_ms() < end);
		usleep(500);
	}
	assert_int_equal(status, 0); /* its own exit, no crash */
	s->keeper = 0;
}

static void assert_beats(struct scene *s)
{
	int64_t end = now_ms() + SOON_MS;
	unsigned seen = *s->heartbeat;

	while (*s->heartbeat < seen + 2) {
		assert_true(now_ms() < end);
		usleep(500);
	}
}

static void assert_unharmed(struct scene *s)
{
	struct procfs_status st;

	assert_beats(s);
	assert_int_equal(procfs_status(s->victim, 0, &st), 0);
	assert_int_equal(st.tracer, 0);
	assert_int_equal(waitpid(s->victim, NULL, WNOHANG | WUNTRACED), 0);
}

static void finish(struct scene *s)
{
	shut(&s->hub);
	shut(&s->control);
	shut(&s->events);
	shut_theirs(s);
	if (s->keeper)
		assert_keeper_ends(s);
	assert_unharmed(s);
	kill(s->victim, SIGKILL);
	assert_int_equal(waitpid(s->victim, NULL, 0), s->victim);
	munmap((void *)s->heartbeat, 4096);
}

/* The keeper has had enough of us. */
static void assert_hung_up(int fd)
{
	struct pollfd p = { .fd = fd, .events = 0 };

	assert_int_equal(poll(&p, 1, SOON_MS), 1);
	assert_true(p.revents & POLLHUP);
}

/* --- packets ------------------------------------------------------------------------ */

static ssize_t send_fds(int fd, const void *packet, size_t len, const int *fds,
			size_t nfds)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(MANY_FDS * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)packet, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (nfds) {
		msg.msg_control = room;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static struct kp_header header(unsigned type, size_t len)
{
	return (struct kp_header){ KP_VERSION, (uint16_t)type, (uint32_t)len, 1, 0 };
}

static struct kp_attach attach_of(const struct scene *s)
{
	struct kp_attach a = { .pid = s->victim,
			       .deadline_ms = 2000,
			       .question_ms = 100 };

	a.h = header(KP_ATTACH, sizeof(a));
	return a;
}

static int reply_err(int fd)
{
	struct kp_attached r;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, SOON_MS), 1);
	assert_true(recv(fd, &r, sizeof(r), MSG_DONTWAIT) >= (ssize_t)sizeof(r.r));
	return r.r.err;
}

/* A victim stopped in the keeper's hands. */
static void attach(struct scene *s)
{
	struct kp_attach a = attach_of(s);

	assert_int_equal(send_fds(s->hub, &a, sizeof(a), s->theirs, 3), sizeof(a));
	shut_theirs(s);
	assert_int_equal(reply_err(s->control), 0);
}

/* --- malformed packets -------------------------------------------------------------- */

/* A packet that no client sends. */
struct bad {
	const char *name;
	struct kp_header h; /* its beginning */
	size_t len;         /* bytes sent: the header, then zeroes */
};

#define HDR(version, type, len)                                                          \
	{                                                                                \
		version, type, len, 1, 0                                                 \
	}

static const struct bad bads[] = {
	{ "one byte", HDR(KP_VERSION, KP_STOP, 1), 1 },
	{ "half a header", HDR(KP_VERSION, KP_STOP, 8), 8 },
	{ "header cut by a byte", HDR(KP_VERSION, KP_STOP, 15), 15 },
	{ "length too small", HDR(KP_VERSION, KP_STOP, 8), 16 },
	{ "length too great", HDR(KP_VERSION, KP_STOP, 4000), 16 },
	{ "length huge", HDR(KP_VERSION, KP_STOP, 0xffffffff), 16 },
	{ "body too long", HDR(KP_VERSION, KP_STOP, 17), 17 },
	{ "body missing", HDR(KP_VERSION, KP_RUN, 16), 16 },
	{ "body cut", HDR(KP_VERSION, KP_BKPT_SET, sizeof(struct kp_bkpt) - 1),
	  sizeof(struct kp_bkpt) - 1 },
	{ "packet huge", HDR(KP_VERSION, KP_SETREGS, 60000), 60000 },
	{ "type 0", HDR(KP_VERSION, 0, 16), 16 },
	{ "type unknown", HDR(KP_VERSION, KP_NTYPES, 16), 16 },
	{ "type far off", HDR(KP_VERSION, 0xffff, 16), 16 },
	{ "version 0", HDR(0, KP_STOP, 16), 16 },
	{ "next version", HDR(KP_VERSION + 1, KP_STOP, 16), 16 },
	{ "attach cut", HDR(KP_VERSION, KP_ATTACH, sizeof(struct kp_attach) - 4),
	  sizeof(struct kp_attach) - 4 },
};

static void send_bad(int fd, const struct bad *b)
{
	static char packet[65536];

	memset(packet, 0, sizeof(packet));
	memcpy(packet, &b->h, sizeof(b->h));
	assert_int_equal(send(fd, packet, b->len, MSG_NOSIGNAL), b->len);
}

static void test_malformed(void **state)
{
	for (size_t i = 0; i < sizeof(bads) / sizeof(*bads); i++) {
		for (int where = 0; where < 2; where++) {
			struct scene s;

			begin(&s);
			attach(&s);
			send_bad(where ? s.control : s.hub, &bads[i]);
			assert_hung_up(s.hub);
			assert_hung_up(s.control);
			assert_keeper_ends(&s);
			finish(&s);
		}
	}
}

/* Right packets in the wrong place. */
static void test_misplaced(void **state)
{
	struct kp_header hello = header(KP_HELLO, sizeof(hello));
	struct kp_header stop = header(KP_STOP, sizeof(stop));
	struct scene s;

	begin(&s);
	attach(&s);
	assert_int_equal(send(s.control, &hello, sizeof(hello), 0), sizeof(hello));
	assert_hung_up(s.hub);
	finish(&s);

	begin(&s);
	attach(&s);
	assert_int_equal(send(s.hub, &stop, sizeof(stop), 0), sizeof(stop));
	assert_hung_up(s.hub);
	finish(&s);
}

/* Whatever stands in front of the event socket is not read; the victim is not
 * disturbed. */
static void test_chatter_on_events(void **state)
{
	struct kp_header stop = header(KP_STOP, sizeof(stop));
	struct scene s;

	begin(&s);
	attach(&s);
	for (int i = 0; i < 100; i++)
		send(s.events, "nonsense", 8, MSG_NOSIGNAL | MSG_DONTWAIT);
	assert_int_equal(send(s.control, &stop, sizeof(stop), 0), sizeof(stop));
	assert_int_equal(reply_err(s.control), 0);
	finish(&s);
}

static void test_random(void **state)
{
	uint32_t seed = 20250101;
	struct scene s;

	for (int round = 0; round < 60; round++) {
		uint8_t packet[300];
		size_t len;

		begin(&s);
		attach(&s);
		for (size_t i = 0; i < sizeof(packet); i++) {
			seed = seed * 1664525 + 1013904223;
			packet[i] = (uint8_t)(seed >> 24);
		}
		len = 1 + (seed >> 8) % sizeof(packet);
		if (round & 1) /* past the first checks */
			memcpy(packet, &(uint16_t){ KP_VERSION }, 2);
		assert_int_equal(send(round & 2 ? s.hub : s.control, packet, len, 0),
				 len);
		assert_hung_up(s.hub);
		finish(&s);
	}
}

/* --- descriptors -------------------------------------------------------------------- */

static void attach_with(int *fds, size_t nfds)
{
	struct scene s;
	struct kp_attach a;

	begin(&s);
	a = attach_of(&s);
	memcpy(fds, s.theirs, (nfds < 3 ? nfds : 3) * sizeof(int));
	assert_int_equal(send_fds(s.hub, &a, sizeof(a), fds, nfds), sizeof(a));
	assert_hung_up(s.hub);
	finish(&s);
}

static void test_descriptor_counts(void **state)
{
	int fds[MANY_FDS];

	for (int i = 0; i < MANY_FDS; i++)
		fds[i] = STDERR_FILENO;
	attach_with(fds, 0);
	attach_with(fds, 1);
	attach_with(fds, 2);
	attach_with(fds, 4);
	attach_with(fds, MANY_FDS);
}

/* Descriptors with a hello, or with a request that has none. */
static void test_uninvited_descriptors(void **state)
{
	struct kp_header hello = header(KP_HELLO, sizeof(hello));
	struct kp_header stop = header(KP_STOP, sizeof(stop));
	struct scene s;

	begin(&s);
	assert_int_equal(send_fds(s.hub, &hello, sizeof(hello), s.theirs, 1),
			 sizeof(hello));
	assert_hung_up(s.hub);
	finish(&s);

	/* On a control socket they vanish: the keeper takes none there. */
	begin(&s);
	attach(&s);
	s.theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(send_fds(s.control, &stop, sizeof(stop), s.theirs, 1),
			 sizeof(stop));
	assert_int_equal(reply_err(s.control), 0);
	finish(&s);
}

/* Each of the three replaced by something that it is not. */
static void test_descriptor_kinds(void **state)
{
	for (int which = 0; which < 3; which++) {
		for (int kind = 0; kind < 2; kind++) {
			struct kp_attach a;
			struct scene s;
			int pipe_fds[2];

			begin(&s);
			a = attach_of(&s);
			assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
			close(s.theirs[which]);
			s.theirs[which] = kind ? pipe_fds[0]
					       : open("/dev/null", O_RDWR | O_CLOEXEC);
			if (!kind)
				close(pipe_fds[0]);
			assert_int_equal(send_fds(s.hub, &a, sizeof(a), s.theirs, 3),
					 sizeof(a));
			shut_theirs(&s);
			close(pipe_fds[1]);
			finish(&s);
		}
	}
}

/* --- who is attached to ------------------------------------------------------------- */

static void test_pids(void **state)
{
	const pid_t pids[] = { 0, -1, INT_MIN, INT_MAX };
	struct scene s;

	for (size_t i = 0; i < sizeof(pids) / sizeof(*pids); i++) {
		struct kp_attach a;

		begin(&s);
		a = attach_of(&s);
		a.pid = pids[i];
		assert_int_equal(send_fds(s.hub, &a, sizeof(a), s.theirs, 3), sizeof(a));
		shut_theirs(&s);
		if (pids[i] == INT_MAX)
			assert_int_equal(reply_err(s.control), -ESRCH);
		else
			assert_hung_up(s.hub);
		finish(&s);
	}
}

/* The keeper itself: a request that it must refuse and live. */
static void test_keeper_as_victim(void **state)
{
	struct kp_attach a;
	struct scene s;

	begin(&s);
	a = attach_of(&s);
	a.pid = s.keeper;
	assert_int_equal(send_fds(s.hub, &a, sizeof(a), s.theirs, 3), sizeof(a));
	shut_theirs(&s);
	assert_true(reply_err(s.control) < 0);
	finish(&s);
}

/* --- order -------------------------------------------------------------------------- */

/* Requests that lie in the control socket before the keeper has it. */
static void test_requests_before_attach(void **state)
{
	struct kp_header stop = header(KP_STOP, sizeof(stop));
	struct kp_run run = { .h = header(KP_RUN, sizeof(run)) };
	struct kp_attach a;
	struct scene s;

	begin(&s);
	a = attach_of(&s);
	assert_int_equal(send(s.control, &stop, sizeof(stop), 0), sizeof(stop));
	assert_int_equal(send(s.control, &run, sizeof(run), 0), sizeof(run));
	assert_int_equal(send_fds(s.hub, &a, sizeof(a), s.theirs, 3), sizeof(a));
	shut_theirs(&s);
	for (int replies = 0; replies < 3; replies++)
		reply_err(s.control); /* in whichever order, each is answered */
	finish(&s);
}

static void test_second_attach(void **state)
{
	struct kp_attach a;
	struct scene s;
	int control[2], events[2], fds[3];

	begin(&s);
	attach(&s);
	a = attach_of(&s);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control),
			 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, events),
			 0);
	fds[0] = control[1];
	fds[1] = events[1];
	fds[2] = procfs_pidfd(s.victim);
	assert_int_equal(send_fds(s.hub, &a, sizeof(a), fds, 3), sizeof(a));
	assert_int_equal(reply_err(control[0]), -EBUSY);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	close(control[0]);
	close(events[0]);
	/* The first hold is as it was. */
	assert_int_equal(send(s.control,
			      &(struct kp_header){ KP_VERSION, KP_STOP, 16, 9, 0 }, 16,
			      0),
			 16);
	assert_int_equal(reply_err(s.control), 0);
	finish(&s);
}

/* Hub, control, events: every order of closing, attached or with the attach under way. */
static void test_close_orders(void **state)
{
	static const uint8_t order[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
					     { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

	for (int i = 0; i < 12; i++) {
		struct scene s;
		struct kp_attach a;

		begin(&s);
		a = attach_of(&s);
		if (i < 6)
			attach(&s);
		else
			send_fds(s.hub, &a, sizeof(a), s.theirs, 3);
		shut_theirs(&s);
		for (int k = 0; k < 3; k++) {
			int *fds[] = { &s.hub, &s.control, &s.events };

			shut(fds[order[i % 6][k]]);
			usleep(k * 500);
		}
		finish(&s);
	}
}

/* The last close of one victim leaves the others alone. */
static void test_control_close_runs(void **state)
{
	struct kp_header hello = header(KP_HELLO, sizeof(hello));
	struct scene s;

	begin(&s);
	attach(&s);
	shut(&s.control);
	assert_unharmed(&s);
	assert_int_equal(send(s.hub, &hello, sizeof(hello), 0), sizeof(hello));
	assert_int_equal(reply_err(s.hub), 0);
	finish(&s);
}

/* The client dies while a copy of its descriptors lives on elsewhere. */
static void test_client_dies(void **state)
{
	struct scene s;
	pid_t client;

	begin(&s);
	shut(&s.hub);
	assert_keeper_ends(&s);
	client = fork();
	if (!client)
		for (;;)
			pause();
	s.keeper = start_keeper(&s.hub, client);
	attach(&s);
	kill(client, SIGKILL);
	waitpid(client, NULL, 0);
	assert_hung_up(s.hub);
	assert_keeper_ends(&s); /* though we hold all of its sockets */
	finish(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_misplaced),
		cmocka_unit_test(test_chatter_on_events),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_descriptor_counts),
		cmocka_unit_test(test_uninvited_descriptors),
		cmocka_unit_test(test_descriptor_kinds),
		cmocka_unit_test(test_pids),
		cmocka_unit_test(test_keeper_as_victim),
		cmocka_unit_test(test_requests_before_attach),
		cmocka_unit_test(test_second_attach),
		cmocka_unit_test(test_close_orders),
		cmocka_unit_test(test_control_close_runs),
		cmocka_unit_test(test_client_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
