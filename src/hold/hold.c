/* SPDX-License-Identifier: MIT */
/*
 * Client side of the keeper: the common part of every request.
 *
 * Objects. `struct hub` (hub.c) is this process's keeper; `struct hold` (state.h) is one
 * victim in its hands: a control socket, an event socket, a pidfd, a table of breakpoints
 * (traps.c). grab.c and create.c make one, requests.c asks for things, event.c reads what
 * happens. launch.c starts the keeper's program, path.c finds it.
 *
 * Threads and locks. Any thread may call anything. hold.lock is held over a request and
 * its reply, and orders them; traps.lock is a leaf below it; the hub's lock is never held
 * together with either. Events have a socket of their own and no lock: one thread at a
 * time reads them. No lock of ours is held across a wait for the victim; a request waits
 * for the keeper's event loop, which waits for nobody.
 *
 * When the victim dies here: the keeper answers -ESRCH; the EXIT event says how. Nothing
 * is freed but by hold_release().
 *
 * When the keeper dies, or stands still for HOLD_REPLY_MS, or talks nonsense:
 * hold_lose(). The kernel has detached (or will, when it lets go) every LWP; its traps
 * are still in the victim's text and the next hit would be a deadly SIGTRAP, so the
 * thread that notices writes the program's own bytes back through /proc/PID/mem. All
 * later calls return the first error; hold_next() returns -EPIPE, which wakes whoever
 * polls.
 *
 * When this process forks: the copy's holds are dead (hold_usable() compares pids); the
 * copy may only free them. The keeper watches the client itself (a pidfd), so that a
 * copied descriptor does not keep a victim held when the client has died.
 *
 * Not done: several requests under way at once. A round trip costs some ten microseconds,
 * and what must be quicker is one request that the keeper carries out alone.
 */
#include "hold/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "hold/state.h"
#include "os/procfs.h"
#include "util/log.h"
#include "util/scope.h"

/* --- small things ------------------------------------------------------------------- */

int nocancel_begin(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return state;
}

void nocancel_end(int *state)
{
	pthread_setcancelstate(*state, NULL);
}

int64_t hold_clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int hold_poll(int fd, short events, int64_t end)
{
	struct pollfd p = { .fd = fd, .events = events };
	int64_t left;
	int n;

	do {
		left = end - hold_clock_ms();
		n = poll(&p, 1, left < 0 ? 0 : (int)left);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

int fault_set(struct hold_fault *fault, int err, const char *fmt, ...)
{
	va_list ap;

	if (!fault)
		return err;
	errno = -err; /* for %m */
	va_start(ap, fmt);
	vsnprintf(fault->text, sizeof(fault->text), fmt, ap);
	va_end(ap);
	fault->err = err;
	return err;
}

/* --- begin and end ------------------------------------------------------------------ */

int hold_new(pid_t pid, int pidfd, unsigned flags, struct hub *hub, struct connection *c,
	     struct hold **ret)
{
	struct hold *h = calloc(1, sizeof(*h));
	int mine = flags & HOLD_BORROW ? pidfd : fcntl(pidfd, F_DUPFD_CLOEXEC, 0);

	if (!h || mine < 0) {
		int err = h ? -errno : -ENOMEM;

		if (!(flags & HOLD_BORROW))
			scope_close(&mine);
		free(h);
		return err;
	}
	h->borrowed = flags & HOLD_BORROW;
	h->owner = hub->owner;
	h->pid = pid;
	h->pidfd = mine;
	h->handing = -1;
	h->hub = hub_ref(hub);
	h->control = scope_take_fd(&c->control);
	h->events = scope_take_fd(&c->events);
	pthread_mutex_init(&h->lock, NULL);
	traps_init(&h->traps);
	*ret = h;
	return 0;
}

void hold_free(struct hold *h)
{
	if (!h)
		return;
	scope_close(&h->control);
	scope_close(&h->events);
	if (!h->borrowed)
		scope_close(&h->pidfd);
	hub_put(h->hub);
	traps_fini(&h->traps);
	counters_fini(&h->counters);
	recorder_fini(&h->records);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* --- a request and its reply -------------------------------------------------------- */

static const char *const type_name[KP_NTYPES] = {
	[KP_HELLO] = "hello",
	[KP_ATTACH] = "attach",
	[KP_STOP] = "stop",
	[KP_RUN] = "run",
	[KP_ANSWER] = "answer",
	[KP_TRACE] = "trace",
	[KP_WANT] = "want",
	[KP_SET_KLC] = "set-klc",
	[KP_SET_PATIENCE] = "set-patience",
	[KP_BKPT_SET] = "bkpt-set",
	[KP_BKPT_CLEAR] = "bkpt-clear",
	[KP_LWPS] = "lwps",
	[KP_GETREGS] = "getregs",
	[KP_SETREGS] = "setregs",
	[KP_REGS_ALL] = "regs-all",
	[KP_SIGINFO] = "siginfo",
	[KP_RELEASE] = "release",
	[KP_COUNTERS] = "counters",
	[KP_SYSCALL] = "syscall",
	[KP_SYSCALL_WAIT] = "syscall-wait",
	[KP_SYSCALL_INSN] = "syscall-insn",
	[KP_REGSET] = "regset",
	[KP_CAPTURE] = "capture",
	[KP_RECORDS] = "records",
	[KP_UPROBES] = "uprobes",
};

void hold_header(struct kp_header *h, enum kp_type type, size_t len, pid_t tid)
{
	memset(h, 0, sizeof(*h));
	h->version = KP_VERSION;
	h->type = (uint16_t)type;
	h->len = (uint32_t)len;
	h->tid = tid;
}

int hold_usable(const struct hold *h)
{
	int gone = atomic_load(&h->gone);

	if (gone)
		return gone;
	return h->owner == getpid() ? 0 : -EPIPE;
}

int hold_lose(struct hold *h, int err)
{
	int none = 0;

	if (err == -EPIPE)
		hub_drop(h->hub); /* it closes its sockets in any order: the hub may still
				     be open */
	if (err == -EPIPE && !procfs_pidfd_alive(h->pidfd))
		err = -ESRCH;
	if (!atomic_compare_exchange_strong(&h->gone, &none, err))
		return none;
	log_at(LOG_HOLD, 1, h->pid, 0, "hold lost: error %d", err);
	traps_restore(&h->traps, h->pid, h->pidfd);
	return err;
}

/* One packet, with h->handing if that is a descriptor. */
static ssize_t send_packet(struct hold *h, const struct kp_header *req)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { (void *)req, req->len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (h->handing >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &h->handing, sizeof(int));
	}
	return sendmsg(h->control, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Does not wait long: what does not fit in a socket of requests never read is a lost
 * keeper. */
static int send_request(struct hold *h, const struct kp_header *req)
{
	int64_t end = 0;
	int err = 0;

	while (!err && send_packet(h, req) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return hold_lose(h, -EPIPE);
		if (!end)
			end = hold_clock_ms() + HOLD_REPLY_MS;
		err = hold_poll(h->control, POLLOUT, end);
	}
	return err ? hold_lose(h, err) : 0;
}

/* One packet of `size` bytes at most: its length, or a negative errno. */
static ssize_t receive(struct hold *h, void *buf, size_t size)
{
	int64_t begin = 0;
	ssize_t got;

	for (;;) {
		got = recv(h->control, buf, size, MSG_TRUNC);
		if (got >= 0 || errno != EINTR)
			break;
		/* A handler of the host's ran: the socket's own time-out begins anew. */
		if (!begin)
			begin = hold_clock_ms();
		if (hold_clock_ms() - begin > HOLD_REPLY_MS)
			return -ETIMEDOUT;
	}
	if (got < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
	return got ? got : -EPIPE;
}

static int check_reply(const struct kp_header *req, const struct kp_reply *r, size_t got,
		       size_t want)
{
	if (got < sizeof(*r) || r->h.version != KP_VERSION || r->h.type != req->type ||
	    r->h.seq != req->seq)
		return -EPROTO;
	if (got != want && !(r->err && got == sizeof(*r)))
		return -EPROTO;
	return 0;
}

int hold_call_locked(struct hold *h, void *req, void *reply, size_t reply_size)
{
	struct kp_header *hdr = req;
	struct kp_reply *r = reply;
	int err = atomic_load(&h->gone);
	ssize_t got;

	if (err)
		return err;
	hdr->seq = ++h->seq;
	err = send_request(h, hdr);
	if (err)
		return err;
	got = receive(h, reply, reply_size);
	if (got < 0)
		return hold_lose(h, (int)got);
	if (check_reply(hdr, r, (size_t)got, reply_size))
		return hold_lose(h, -EPIPE);
	log_at(LOG_HOLD, 2, h->pid, hdr->tid, "%s #%u: err %d value %d %.*s",
	       type_name[hdr->type], hdr->seq, r->err, r->value, KP_TEXT, r->text);
	return r->err;
}

int hold_hand_over(struct hold *h, void *req, int fd, struct kp_reply *reply)
{
	int err;

	h->handing = fd;
	err = hold_call_locked(h, req, reply, sizeof(*reply));
	h->handing = -1;
	return err;
}

int hold_call(struct hold *h, void *req, void *reply, size_t reply_size)
{
	HOLD_NOCANCEL;
	int err;

	if (h->owner != getpid())
		return -EPIPE;
	pthread_mutex_lock(&h->lock);
	err = hold_call_locked(h, req, reply, reply_size);
	pthread_mutex_unlock(&h->lock);
	return err;
}

int hold_answer(struct hold *h, pid_t tid, uint32_t seq, enum hold_verdict verdict)
{
	HOLD_NOCANCEL;
	struct kp_answer req = { .question = seq, .verdict = (uint32_t)verdict };
	int err = hold_usable(h);

	if (err)
		return err;
	hold_header(&req.h, KP_ANSWER, sizeof(req), tid);
	pthread_mutex_lock(&h->lock);
	req.h.seq = ++h->seq;
	err = send_request(h, &req.h);
	pthread_mutex_unlock(&h->lock);
	log_at(LOG_HOLD, 2, h->pid, tid, "answer %u: %s", seq,
	       verdict ? "park" : "resume");
	return err;
}
