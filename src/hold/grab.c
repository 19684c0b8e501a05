/* SPDX-License-Identifier: MIT */
/*
 * Taking hold of a running process, and letting go of any.
 */
#include "hold/hold.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hold/hub.h"
#include "hold/state.h"
#include "util/log.h"

enum {
	DEADLINE_MS = 5000, /* of a grab, when the caller names none */
	MARGIN_MS = 2000,   /* the keeper watches the deadline; we wait a little longer */
	PATIENCE_MS = 100,  /* of a grabbed victim's questions */
};

_Static_assert((int)HOLD_RELEASE_RUN == (int)KP_RELEASE_RUN &&
		       (int)HOLD_RELEASE_STOP == (int)KP_RELEASE_STOP &&
		       (int)HOLD_RELEASE_KILL == (int)KP_RELEASE_KILL,
	       "release modes");
_Static_assert((int)HOLD_NOSTOP == (int)KP_ATTACH_NOSTOP &&
		       (int)HOLD_KLC == (int)KP_ATTACH_KLC,
	       "attach flags");

/* --- grab ------------------------------------------------------------------------------ */

/* Sends the request to the keeper; to another one when the first is found to be dead. */
static int send_attach(const struct kp_attach *req, const struct hold_sockets *s,
		       int pidfd, int64_t end, struct hold_fault *fault)
{
	const int fds[] = { s->keeper_control, s->keeper_events, pidfd };
	struct hub *hub;
	int err = -EPIPE;

	for (int tries = 0; tries < 2 && err == -EPIPE; tries++) {
		err = hub_get(&hub, fault);
		if (err)
			return err;
		err = hub_send(hub, req, sizeof(*req), fds, 3, end);
		if (err == -EPIPE)
			hub_drop(hub);
		hub_put(hub);
	}
	return err ? fault_set(fault, err, "the keeper does not take requests") : 0;
}

/* Waits for the reply on the control socket and takes it apart. */
static int take_reply(int control, unsigned flags, int64_t end,
		      struct hold_event *ret_first, struct hold_fault *fault)
{
	struct kp_attached a;
	struct kp_event *stop = &a.stop;
	ssize_t got;

	if (hold_poll(control, POLLIN, end))
		return fault_set(fault, -ETIMEDOUT, "the keeper does not answer");
	got = recv(control, &a, sizeof(a), MSG_DONTWAIT | MSG_TRUNC);
	if (got <= 0)
		return fault_set(fault, -EPIPE, "the keeper ended during the attach");
	if (got < (ssize_t)sizeof(a.r) || a.r.h.version != KP_VERSION ||
	    a.r.h.type != KP_ATTACH)
		return fault_set(fault, -EPIPE, "the keeper's answer makes no sense");
	if (a.r.err)
		return fault_set(fault, a.r.err, "%.*s", KP_TEXT - 1, a.r.text);
	if (flags & HOLD_NOSTOP)
		return 0;
	if (got != (ssize_t)sizeof(a) || event_parse(stop, stop->len, ret_first))
		return fault_set(fault, -EPIPE, "the keeper's answer makes no sense");
	return 0;
}

static int attach(pid_t pid, int pidfd, unsigned flags, unsigned deadline_ms,
		  struct hold_sockets *s, struct hold_event *ret_first,
		  struct hold_fault *fault)
{
	struct kp_attach req = { .pid = pid,
				 .flags = flags & (HOLD_NOSTOP | HOLD_KLC),
				 .deadline_ms = deadline_ms ? deadline_ms : DEADLINE_MS,
				 .question_ms = PATIENCE_MS };
	int64_t end = hold_clock_ms() + req.deadline_ms + MARGIN_MS;
	int err;

	hold_header(&req.h, KP_ATTACH, sizeof(req), 0);
	err = send_attach(&req, s, pidfd, end, fault);
	sockets_sent(s);
	if (!err)
		err = take_reply(s->control, flags, end, ret_first, fault);
	log_at(LOG_HOLD, 1, pid, 0, "attach flags %u: err %d", flags, err);
	return err;
}

int hold_grab(pid_t pid, int pidfd, unsigned flags, unsigned deadline_ms,
	      struct hold **ret, struct hold_event *ret_first, struct hold_fault *fault)
{
	HOLD_NOCANCEL;
	struct hold_event first = { 0 };
	struct hold_sockets s;
	struct hold *h;
	int err = sockets_open(&s);

	if (err)
		return fault_set(fault, err, "%s", "");
	/* All of our own before anything happens to the victim. */
	err = hold_new(pid, pidfd, &s, &h);
	if (err) {
		sockets_close(&s);
		return fault_set(fault, err, "%s", "");
	}
	s.control = h->control;
	err = attach(pid, pidfd, flags, deadline_ms, &s, &first, fault);
	if (err) {
		hold_free(h);
		return err;
	}
	if (!(flags & HOLD_NOSTOP))
		*ret_first = first;
	*ret = h;
	return 0;
}

/* --- release --------------------------------------------------------------------------- */

int hold_reap(int pidfd)
{
	siginfo_t info = { 0 };
	int ret;

	do {
		ret = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
	} while (ret && errno == EINTR);
	return ret || !info.si_pid ? -ECHILD : 0;
}

/* The keeper is gone and with it every ptrace stop; the text is restored: what is left to do. */
static void settle(const struct hold *h, enum hold_release_mode mode)
{
	int sig = mode == HOLD_RELEASE_KILL   ? SIGKILL
		  : mode == HOLD_RELEASE_STOP ? SIGSTOP
					      : 0;

	if (sig)
		syscall(SYS_pidfd_send_signal, h->pidfd, sig, NULL, 0);
}

int hold_release(struct hold *h, enum hold_release_mode mode)
{
	HOLD_NOCANCEL;
	struct kp_mask req = { .mask = mode };
	struct kp_reply reply;
	int err;

	hold_header(&req.h, KP_RELEASE, sizeof(req), 0);
	err = hold_call(h, &req, &reply, sizeof(reply));
	if (h->owner == getpid() && atomic_load(&h->gone))
		settle(h, mode);
	hold_free(h);
	return err == -ESRCH ? 0 : err;
}
