/* SPDX-License-Identifier: MIT */
/*
 * The process's keeper (see hub.h): one global, `current`, under one lock.
 *
 * The hub belongs to the process that started it. A forked child shares the socket, but
 * must not use it: the keeper would take its requests for its parent's. fork(2) through
 * the C library runs child_forgets(), which also makes sure that the lock is not held by
 * a thread that the child does not have; a child made by a bare clone(2) is told by its
 * pid.
 *
 * Connections. A victim's two socket pairs cost a third of a grab and release to make and
 * close, so that a connection which the keeper has declared free (KP_RELEASE) is kept for
 * the next victim, HUB_IDLE of them at most. It belongs to its keeper and ends with it.
 *
 * A keeper that has died is noticed by whoever talks to it (hub_drop()); the next caller
 * starts another one. The lock is held over a start, so that two threads do not start
 * two.
 */
#include "hold/hub.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "hold/state.h"
#include "os/procfs.h"
#include "util/log.h"
#include "util/scope.h"

enum {
	START_MS = 5000, /* until a new keeper must have answered */
	MAX_FDS = 3,     /* descriptors of a new connection: control, events, pidfd */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct hub *current; /* guarded by lock; one reference */
static unsigned users;      /* guarded by lock; sessions that are open */

/* Lock held. */
static void close_all(struct hub *hub)
{
	for (unsigned i = 0; i < hub->nidle; i++)
		connection_close(&hub->idle[i]);
	hub->nidle = 0;
	scope_close(&hub->fd);
	hub->fd = -1;
}

/* Lock held. */
static void unref(struct hub *hub)
{
	if (--hub->refs)
		return;
	close_all(hub);
	free(hub);
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void parent_goes_on(void)
{
	pthread_mutex_unlock(&lock);
}

/* The process's own reference stays: those of threads that the child does not have are
 * never given back, so that the count means nothing there. Lock held. */
static void forget_inherited(void)
{
	if (!current || current->owner == getpid())
		return;
	close_all(current);
	current = NULL;
}

static void child_forgets(void)
{
	forget_inherited();
	pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, parent_goes_on, child_forgets);
}

/* --- connections -------------------------------------------------------------------- */

void connection_sent(struct connection *c)
{
	scope_close(&c->keeper_control);
	scope_close(&c->keeper_events);
	c->keeper_control = c->keeper_events = -1;
}

void connection_close(struct connection *c)
{
	connection_sent(c);
	scope_close(&c->control);
	scope_close(&c->events);
	c->control = c->events = -1;
}

static int connect_anew(struct connection *ret)
{
	const int type = SOCK_SEQPACKET | SOCK_CLOEXEC;
	const struct timeval patience = { .tv_sec = HOLD_REPLY_MS / 1000 };
	int control[2], events[2], err;

	if (socketpair(AF_UNIX, type, 0, control))
		return -errno;
	if (socketpair(AF_UNIX, type, 0, events)) {
		err = -errno;
		close(control[0]);
		close(control[1]);
		return err;
	}
	setsockopt(control[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	*ret = (struct connection){ control[0], events[0], control[1], events[1] };
	return 0;
}

int hub_connect(struct hub *hub, struct connection *ret)
{
	int reused = 0;

	pthread_mutex_lock(&lock);
	if (hub->nidle) {
		*ret = hub->idle[--hub->nidle];
		reused = 1;
	}
	pthread_mutex_unlock(&lock);
	return reused ? 0 : connect_anew(ret);
}

/* What nobody has read of the last victim is not for the next. */
static void drain(int events)
{
	char byte;

	while (recv(events, &byte, 1, MSG_DONTWAIT) > 0)
		;
}

void hub_keep(struct hub *hub, struct connection *c)
{
	drain(c->events);
	pthread_mutex_lock(&lock);
	if (hub->nidle < HUB_IDLE && hub == current) {
		hub->idle[hub->nidle++] = *c;
		c->control = c->events = -1;
	}
	pthread_mutex_unlock(&lock);
	connection_close(c);
}

static void add_fds(struct msghdr *msg, const int *fds, size_t nfds)
{
	struct cmsghdr *c;

	msg->msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
	memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
}

static int send_all(int fd, const struct msghdr *msg, int64_t end)
{
	int err = 0;

	while (!err && sendmsg(fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		if (errno == EAGAIN)
			err = hold_poll(fd, POLLOUT, end);
		else if (errno == EPIPE || errno == ECONNRESET)
			err = -EPIPE;
		else if (errno != EINTR)
			err = -errno;
	}
	return err;
}

/* A new connection goes over the hub with its sockets; a used one takes the request
 * itself. */
int connection_attach(const struct hub *hub, const struct connection *c,
		      const struct kp_attach *req, int pidfd, int64_t end)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(MAX_FDS * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)req, sizeof(*req) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room };
	const int all[MAX_FDS] = { c->keeper_control, c->keeper_events, pidfd };

	if (c->keeper_control < 0) {
		add_fds(&msg, &pidfd, 1);
		return send_all(c->control, &msg, end);
	}
	add_fds(&msg, all, MAX_FDS);
	return send_all(hub->fd, &msg, end);
}

/* --- starting ----------------------------------------------------------------------- */

/* Version check, and the keeper's pid. */
static int greet(struct hub *hub, const char *path, struct hold_fault *fault)
{
	struct kp_header req;
	struct kp_reply reply;
	int64_t end = hold_clock_ms() + START_MS;
	ssize_t got;

	hold_header(&req, KP_HELLO, sizeof(req), 0);
	if (send(hub->fd, &req, sizeof(req), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return fault_set(fault, -EPROTO, "keeper %s ended at its start", path);
	if (hold_poll(hub->fd, POLLIN, end))
		return fault_set(fault, -ETIMEDOUT, "keeper %s does not answer", path);
	got = recv(hub->fd, &reply, sizeof(reply), MSG_DONTWAIT);
	if (got >= (ssize_t)sizeof(req) && reply.h.version != KP_VERSION)
		return fault_set(fault, -EPROTO,
				 "keeper %s speaks protocol %u, this library %u", path,
				 reply.h.version, (unsigned)KP_VERSION);
	if (got != (ssize_t)sizeof(reply) || reply.h.type != KP_HELLO || reply.err)
		return fault_set(fault, -EPROTO,
				 "keeper %s ended at its start (another version?)", path);
	hub->keeper = reply.value;
	log_at(LOG_HOLD, 1, hub->keeper, 0, "keeper started: %s", path);
	return 0;
}

static int launch(struct hub *hub, const char *path, struct hold_fault *fault)
{
	_cleanup_close_ int theirs = -1;
	_cleanup_close_ int self = procfs_pidfd(getpid());
	int pair[2], err;

	if (self < 0)
		return fault_set(fault, self, "pidfd_open");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return fault_set(fault, -errno, "socketpair");
	hub->fd = pair[0];
	theirs = pair[1];
	err = keeper_launch(path, theirs, self);
	if (err)
		fault_set(fault, err, "cannot run the keeper %s: %m", path);
	return err;
}

/* A new keeper, with one reference. Lock held. */
static int start(struct hub **ret, struct hold_fault *fault)
{
	char path[PATH_MAX];
	struct hub *hub;
	int err;

	err = hold_keeper_path(path, sizeof(path));
	if (err == -ENOENT)
		return fault_set(fault, err, "no keeper at %.100s", path);
	if (err)
		return fault_set(fault, err, "looking for the keeper");
	hub = calloc(1, sizeof(*hub));
	if (!hub)
		return fault_set(fault, -ENOMEM, "%s", "");
	*hub = (struct hub){ .refs = 1, .owner = getpid(), .fd = -1 };
	err = launch(hub, path, fault);
	if (!err)
		err = greet(hub, path, fault);
	if (!err)
		*ret = hub;
	else
		unref(hub);
	return err;
}

int hub_get(struct hub **ret, struct hold_fault *fault)
{
	int err = 0;

	pthread_once(&once, watch_forks);
	pthread_mutex_lock(&lock);
	forget_inherited(); /* a bare clone(2) runs no child_forgets() */
	if (!current)
		err = start(&current, fault);
	if (!err) {
		current->refs++;
		*ret = current;
	}
	pthread_mutex_unlock(&lock);
	return err;
}

struct hub *hub_ref(struct hub *hub)
{
	pthread_mutex_lock(&lock);
	hub->refs++;
	pthread_mutex_unlock(&lock);
	return hub;
}

void hub_put(struct hub *hub)
{
	pthread_mutex_lock(&lock);
	unref(hub);
	pthread_mutex_unlock(&lock);
}

void hub_drop(struct hub *hub)
{
	pthread_mutex_lock(&lock);
	if (current == hub) {
		log_at(LOG_HOLD, 1, hub->keeper, 0, "keeper has gone");
		current = NULL;
		unref(hub);
	}
	pthread_mutex_unlock(&lock);
}

pid_t hold_keeper_pid(void)
{
	pid_t pid;

	pthread_mutex_lock(&lock);
	pid = current && current->owner == getpid() ? current->keeper : 0;
	pthread_mutex_unlock(&lock);
	return pid;
}

/* Holds have references of their own: one left is the process's. */
static void end_unused(void)
{
	if (current && current->owner == getpid() && current->refs == 1) {
		log_at(LOG_HOLD, 1, current->keeper, 0, "keeper is not needed any more");
		unref(current);
		current = NULL;
	}
}

void hold_keeper_use(void)
{
	pthread_mutex_lock(&lock);
	users++;
	pthread_mutex_unlock(&lock);
}

void hold_keeper_unuse(void)
{
	pthread_mutex_lock(&lock);
	if (--users == 0)
		end_unused();
	pthread_mutex_unlock(&lock);
}

void hold_forget_keeper(void)
{
	pthread_mutex_lock(&lock);
	end_unused();
	pthread_mutex_unlock(&lock);
}
