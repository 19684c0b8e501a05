/* SPDX-License-Identifier: MIT */
/*
 * Creating a victim: a child of ours that the keeper seizes before it execs.
 *
 *	parent: sockets, every signal blocked, clone (CLONE_VFORK: waits for the exec)
 *	child:  handlers reset, asks the keeper to seize it, waits for its word, execve
 *	parent: waits for the event of the exec (the child now stands in its exec stop)
 *
 * The child shares our memory where it can: a fork of a large host costs milliseconds and
 * its locks would be copied as they happen to be. It then runs on a stack of its own,
 * writes nothing but that stack and `struct birth`, and makes bare system calls only;
 * other threads of the host run on meanwhile. A process that is not dumpable (it dropped
 * privileges, prctl(2)) cannot share: SEIZE looks at the dumpable flag of the *memory*,
 * and we may not set it for the host. Then it is a true fork whose child sets the flag
 * for itself; stack and `struct birth` lie in a shared mapping in this case, so that the
 * child's word comes back all the same.
 *
 * Signals stay blocked from before the clone until handlers are reset in the child: a
 * handler of the host must not run in shared memory. The child execs with the caller's
 * mask.
 *
 * On every failure the child is killed and reaped before we return: it must not run the
 * command, and nobody shall find a zombie.
 */
#include "hold/hold.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hold/hub.h"
#include "hold/state.h"
#include "os/procfs.h"
#include "os/rawcall.h"
#include "util/log.h"
#include "util/scope.h"

enum {
	STACK = 64 *
		1024, /* bytes of the mapping: struct birth at the bottom, then stack */
	CREATE_MS = 5000, /* until the keeper must have seized the child */
	EXEC_MS = 10000,  /* until the exec stop must have been told */
	REAP_MS = 5000,   /* until a killed child must be dead */
};

/* How far the child came. */
enum stage {
	STAGE_PREPARE, /* its own pidfd */
	STAGE_SEND,    /* the request */
	STAGE_REPLY,   /* the keeper's word */
	STAGE_EXEC,    /* execve */
};

/* Between parent and child; both see the same memory. */
struct birth {
	const struct hold_spawn *spawn; /* what to execute */
	int hub;                        /* to send the request */
	int control;                    /* our end: the reply comes here */
	int keeper_control;             /* of a new connection, to be sent; else -1 */
	int keeper_events;              /* likewise */
	pid_t keeper;                   /* its pid */
	bool undumpable;                /* a true fork: may and must become dumpable */
	uint64_t mask;                  /* signal mask of the caller */
	struct kp_attach req;           /* all but the pid filled in */
	volatile enum stage stage;      /* how far the child came */
	volatile long err;              /* negative errno of what failed there; 0 */
	struct kp_attached reply;       /* what the keeper said */
};

/* --- the child ---------------------------------------------------------------------- */

/* Handlers would run the host's code; ignored signals stay ignored, as over any exec. */
RAWCALL_CHILD static void reset_handlers(void)
{
	for (int sig = 1; sig <= 64; sig++) {
		long action[4] = {
			0
		}; /* struct kernel_sigaction: the handler comes first */
		long none[4] = { 0 };

		rawcall4(SYS_rt_sigaction, sig, 0, action, 8);
		if (action[0] != (long)SIG_DFL && action[0] != (long)SIG_IGN)
			rawcall4(SYS_rt_sigaction, sig, none, 0, 8);
	}
}

/* The request and our pidfd: over the hub, with the sockets of a new connection before
 * it, or over a connection that has served before. Built without the C library. */
RAWCALL_CHILD static long send_self(struct birth *b, int pidfd)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(3 * sizeof(int))];
	struct cmsghdr *c = (struct cmsghdr *)(void *)room;
	int *fd = (int *)(void *)CMSG_DATA(c);
	int n = 0, to = b->control;
	struct iovec iov;
	struct msghdr msg;

	if (b->keeper_control >= 0) {
		fd[n++] = b->keeper_control;
		fd[n++] = b->keeper_events;
		to = b->hub;
	}
	fd[n++] = pidfd;
	c->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	iov.iov_base = &b->req;
	iov.iov_len = sizeof(b->req);
	msg.msg_name = NULL;
	msg.msg_namelen = 0;
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	msg.msg_control = room;
	msg.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
	msg.msg_flags = 0;
	return rawcall3(SYS_sendmsg, to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Waits until the keeper has seized us. Its end shows on the hub only: of a new control
 * socket its own end is open in us and in our parent. */
RAWCALL_CHILD static long await_keeper(struct birth *b)
{
	struct pollfd p[2];
	struct timespec limit;
	long n;

	p[0].fd = b->control;
	p[0].events = POLLIN;
	p[0].revents = 0;
	p[1].fd = b->hub;
	p[1].events = 0;
	p[1].revents = 0;
	limit.tv_sec = CREATE_MS / 1000;
	limit.tv_nsec = 0;
	n = rawcall5(SYS_ppoll, p, 2, &limit, 0, 0);
	if (n <= 0)
		return n ? n : -ETIMEDOUT;
	if (!p[0].revents)
		return -EPIPE;
	n = rawcall6(SYS_recvfrom, b->control, (long)&b->reply, sizeof(b->reply),
		     MSG_DONTWAIT, 0, 0);
	if (n < (long)sizeof(b->reply.r))
		return n < 0 ? n : -EPIPE;
	return b->reply.r.err;
}

/* What must be before the exec; 0 or a negative errno. */
RAWCALL_CHILD static long be_seized(struct birth *b)
{
	long pid = rawcall0(SYS_getpid), pidfd, err;

	rawcall5(SYS_prctl, PR_SET_PTRACER, b->keeper, 0, 0, 0); /* EINVAL without Yama */
	pidfd = rawcall2(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return pidfd;
	b->req.pid = (int)pid;
	b->stage = STAGE_SEND;
	err = send_self(b, (int)pidfd);
	rawcall1(SYS_close, pidfd);
	if (err < 0)
		return err;
	b->stage = STAGE_REPLY;
	return await_keeper(b);
}

RAWCALL_CHILD static int be_child(void *arg)
{
	struct birth *b = arg;
	const struct hold_spawn *s = b->spawn;

	reset_handlers();
	if (b->undumpable)
		rawcall5(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
	b->err = be_seized(b);
	if (b->err)
		return 127;
	rawcall_sigmask(&b->mask, NULL);
	b->stage = STAGE_EXEC;
	b->err = rawcall3(SYS_execve, s->path, s->argv, s->envp);
	return (int)(-b->err & 0xff);
}

/* --- the parent --------------------------------------------------------------------- */

/* Runs the child up to its exec or its end. 0 or a negative errno of clone. */
static int give_birth(struct birth *b, pid_t *ret_pid, int *ret_pidfd)
{
	unsigned long flags = CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
	uint64_t all = ~0ull;
	int pidfd = -1;
	long pid;

	if (!b->undumpable)
		flags |= CLONE_VM;
	rawcall_sigmask(&all, &b->mask);
	pid = rawcall_clone(flags, (char *)b + STACK, &pidfd, be_child, b);
	rawcall_sigmask(&b->mask, NULL);
	if (pid < 0)
		return (int)pid;
	*ret_pid = (pid_t)pid;
	*ret_pidfd = pidfd;
	return 0;
}

/* No zombie shall be left of a child that has been killed. */
static void reap(int pidfd)
{
	const struct timespec nap = { .tv_nsec = 200000 };
	int64_t end = hold_clock_ms() + REAP_MS;

	hold_poll(pidfd, POLLIN, end);
	/* Dead; but the keeper waits for it first. -ECHILD is also what a host that
	 * reaped it leaves. */
	while (hold_reap(pidfd) && hold_clock_ms() < end) {
		siginfo_t info;

		if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info,
			   WEXITED | WNOHANG | WNOWAIT) &&
		    errno == ECHILD)
			return;
		nanosleep(&nap, NULL);
	}
}

static int tell_failure(const struct birth *b, struct hold_fault *fault)
{
	static const char *const text[] = {
		[STAGE_PREPARE] = "preparing the child",
		[STAGE_SEND] = "asking the keeper for the child",
		[STAGE_REPLY] = "the keeper did not take the child",
	};
	int err = (int)b->err;

	if (b->stage == STAGE_EXEC)
		return fault_set(fault, err, "execve");
	if (b->stage == STAGE_REPLY && b->reply.r.err && b->reply.r.text[0])
		return fault_set(fault, err, "%.*s", KP_TEXT - 1, b->reply.r.text);
	return fault_set(fault, err, "%s: %m", text[b->stage]);
}

/* Takes events until the exec stop. 0; -ECHILD the child ended; -ETIMEDOUT, -EPIPE. */
static int await_exec(struct hold *h, struct hold_event *ret, struct hold_fault *fault)
{
	int64_t end = hold_clock_ms() + EXEC_MS;
	int got;

	for (;;) {
		if (hold_poll(h->events, POLLIN, end))
			return fault_set(fault, -ETIMEDOUT, "no word of the exec");
		got = hold_next(h, ret);
		if (got < 0)
			return fault_set(fault, -EPIPE,
					 "the keeper ended during the exec");
		if (got && ret->kind == HOLD_EV_STOPPED && ret->why == HOLD_WHY_EXEC)
			return 0;
		if (got && ret->kind == HOLD_EV_EXIT)
			return fault_set(fault, -ECHILD, "ended before its exec");
		if (got && ret->kind == HOLD_EV_LOST)
			return fault_set(fault, ret->what ? -abs(ret->what) : -EPERM,
					 "lost at its exec");
	}
}

/* A mapping for the child: private where memory is shared anyway. */
static struct birth *map_birth(bool undumpable)
{
	int how = undumpable ? MAP_SHARED : MAP_PRIVATE;
	struct birth *b =
		mmap(NULL, STACK, PROT_READ | PROT_WRITE, how | MAP_ANONYMOUS, -1, 0);

	if (b == MAP_FAILED)
		return NULL;
	b->undumpable = undumpable;
	return b;
}

/* What hold_create() has in its hands. */
struct making {
	struct hub *hub;     /* one reference */
	struct birth *b;     /* the mapping */
	struct connection c; /* the victim's */
	struct hold *h;      /* made last */
	pid_t pid;           /* the child */
	int pidfd;           /* of it; -1 */
	unsigned flags;      /* HOLD_BORROW */
};

/* Killed before the sockets close: without kill-on-last-close the keeper would let it
 * run. */
static void drop(struct making *m)
{
	if (m->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, m->pidfd, SIGKILL, NULL, 0);
	connection_close(&m->c);
	hold_free(m->h);
	if (m->pidfd >= 0) {
		reap(m->pidfd);
		close(m->pidfd);
	}
	if (m->b)
		munmap(m->b, STACK);
	if (m->hub)
		hub_put(m->hub);
}

static int prepare(struct making *m, const struct hold_spawn *spawn,
		   struct hold_fault *fault)
{
	int err = hub_get(&m->hub, fault);

	if (err)
		return err;
	err = hub_connect(m->hub, &m->c);
	if (err)
		return fault_set(fault, err, "%s", "");
	m->b = map_birth(prctl(PR_GET_DUMPABLE) != 1);
	if (!m->b)
		return fault_set(fault, -ENOMEM, "%s", "");
	m->b->spawn = spawn;
	m->b->hub = m->hub->fd;
	m->b->control = m->c.control;
	m->b->keeper_control = m->c.keeper_control;
	m->b->keeper_events = m->c.keeper_events;
	m->b->keeper = m->hub->keeper;
	hold_header(&m->b->req.h, KP_ATTACH, sizeof(m->b->req), 0);
	m->b->req.flags = KP_ATTACH_CHILD | (spawn->flags & HOLD_KLC ? KP_ATTACH_KLC : 0);
	m->b->req.deadline_ms = CREATE_MS;
	return 0;
}

/* Child, hold, exec stop. */
static int make(struct making *m, struct hold_event *ret_first, struct hold_fault *fault)
{
	int err = give_birth(m->b, &m->pid, &m->pidfd);

	connection_sent(&m->c);
	if (err)
		return fault_set(fault, err, "clone: %m");
	log_at(LOG_HOLD, 1, m->pid, 0, "created: stage %d, err %ld", m->b->stage,
	       m->b->err);
	if (m->b->err)
		return tell_failure(m->b, fault);
	err = hold_new(m->pid, m->pidfd, m->flags, m->hub, &m->c, &m->h);
	if (err)
		return fault_set(fault, err, "%s", "");
	return await_exec(m->h, ret_first, fault);
}

/* The keeper had died before the child asked it, or did so before its answer. */
static bool found_dead(const struct birth *b)
{
	return b && b->stage < STAGE_EXEC && (b->err == -EPIPE || b->err == -ECONNRESET);
}

/* One attempt; *again: the keeper was dead and the command has not run, another one may
 * do. */
static int create_once(struct making *m, const struct hold_spawn *spawn,
		       struct hold_event *ret_first, struct hold_fault *fault,
		       bool *again)
{
	int err = prepare(m, spawn, fault);

	if (!err)
		err = make(m, ret_first, fault);
	if (!err)
		return 0;
	*again = found_dead(m->b);
	if (*again)
		hub_drop(m->hub);
	drop(m);
	return err == -ECONNRESET ? -EPIPE : err;
}

int hold_create(const struct hold_spawn *spawn, struct hold **ret, pid_t *ret_pid,
		int *ret_pidfd, struct hold_event *ret_first, struct hold_fault *fault)
{
	HOLD_NOCANCEL;
	struct hold_event first;
	struct making m;
	bool again = true;
	int err = 0;

	for (int tries = 0; tries < 2 && again; tries++) {
		m = (struct making){ .c = { -1, -1, -1, -1 },
				     .pidfd = -1,
				     .flags = spawn->flags };
		memset(&first, 0, sizeof(first));
		again = false;
		err = create_once(&m, spawn, &first, fault, &again);
	}
	if (err == -ECHILD)
		*ret_first = first;
	if (err)
		return err;
	munmap(m.b, STACK);
	hub_put(m.hub);
	*ret = m.h;
	*ret_pid = m.pid;
	*ret_pidfd = m.pidfd;
	*ret_first = first;
	return 0;
}
