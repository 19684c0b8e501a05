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
	SHORT_MS = 5000,    /* what is left of a wait that must be exact */
	MARGIN_MS = 2000,   /* the keeper watches the deadline; we wait a little longer */
	PATIENCE_MS = 100,  /* of a grabbed victim's questions */
};

_Static_assert((int)HOLD_RELEASE_RUN == (int)KP_RELEASE_RUN &&
		       (int)HOLD_RELEASE_STOP == (int)KP_RELEASE_STOP &&
		       (int)HOLD_RELEASE_KILL == (int)KP_RELEASE_KILL,
	       "release modes");
_Static_assert((int)HOLD_NOSTOP == (int)KP_ATTACH_NOSTOP &&
		       (int)HOLD_KLC == (int)KP_ATTACH_KLC &&
		       (int)HOLD_ADOPT == (int)KP_ATTACH_ADOPT,
	       "attach flags");

/* --- grab --------------------------------------------------------------------------- */

/*
 * The packet that answers: its length, 0 at the keeper's end, or a negative errno. The
 * socket's own time-out (HOLD_REPLY_MS) spares the common grab a poll; a shorter one must
 * ask.
 */
static ssize_t await_reply(int control, struct kp_attached *a, int64_t end)
{
	ssize_t got;

	do {
		if (end - hold_clock_ms() < SHORT_MS && hold_poll(control, POLLIN, end))
			return -ETIMEDOUT;
		got = recv(control, a, sizeof(*a), MSG_TRUNC);
	} while (got < 0 && (errno == EINTR || errno == EAGAIN));
	return got < 0 ? -errno : got;
}

/* Waits for the reply on the control socket and takes it apart. */
static int take_reply(int control, unsigned flags, int64_t end,
		      struct hold_event *ret_first, struct hold_fault *fault)
{
	struct kp_attached a;
	struct kp_event *stop = &a.stop;
	ssize_t got = await_reply(control, &a, end);

	if (got == -ETIMEDOUT)
		return fault_set(fault, -ETIMEDOUT, "the keeper does not answer");
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

/* What a grab is asked for. */
struct wish {
	pid_t pid;            /* the victim */
	int pidfd;            /* of it; borrowed */
	unsigned flags;       /* HOLD_* */
	unsigned deadline_ms; /* never 0 */
	bool again;           /* found: the keeper had died before it was asked */
};

static int attach(struct wish *w, struct hold *h, struct connection *c,
		  struct hold_event *ret_first, struct hold_fault *fault)
{
	struct kp_attach req = { .pid = w->pid,
				 .flags =
					 w->flags & (HOLD_NOSTOP | HOLD_KLC | HOLD_ADOPT),
				 .deadline_ms = w->deadline_ms,
				 .question_ms = PATIENCE_MS };
	int64_t end = hold_clock_ms() + w->deadline_ms + MARGIN_MS;
	struct connection ours = *c;
	int err;

	hold_header(&req.h, KP_ATTACH, sizeof(req), 0);
	ours.control = h->control;
	err = connection_attach(h->hub, &ours, &req, w->pidfd, end);
	connection_sent(c);
	if (err == -EPIPE) {
		hub_drop(h->hub);
		w->again = true;
		return fault_set(fault, err, "the keeper has gone");
	}
	if (err)
		return fault_set(fault, err, "the keeper does not take requests");
	err = take_reply(h->control, w->flags, end, ret_first, fault);
	if (err == -EPIPE)
		hub_drop(h->hub);
	log_at(LOG_HOLD, 1, w->pid, 0, "attach flags %u: err %d", w->flags, err);
	return err;
}

/* One attempt. All of our own is made before anything happens to the victim. */
static int grab_once(struct wish *w, struct hold **ret, struct hold_event *ret_first,
		     struct hold_fault *fault)
{
	struct connection c = { -1, -1, -1, -1 };
	struct hub *hub;
	int err = hub_get(&hub, fault);

	if (err)
		return err;
	err = hub_connect(hub, &c);
	if (!err)
		err = hold_new(w->pid, w->pidfd, w->flags, hub, &c, ret);
	hub_put(hub);
	if (err)
		connection_close(&c);
	if (err)
		return fault_set(fault, err, "%s", "");
	err = attach(w, *ret, &c, ret_first, fault);
	if (err)
		hold_free(*ret);
	return err;
}

int hold_grab(pid_t pid, int pidfd, unsigned flags, unsigned deadline_ms,
	      struct hold **ret, struct hold_event *ret_first, struct hold_fault *fault)
{
	HOLD_NOCANCEL;
	struct wish w = { pid, pidfd, flags, deadline_ms ? deadline_ms : DEADLINE_MS,
			  false };
	struct hold_event first = { 0 };
	struct hold *h;
	int err = grab_once(&w, &h, &first, fault);

	if (w.again)
		err = grab_once(&w, &h, &first, fault);
	if (err)
		return err;
	if (!(flags & HOLD_NOSTOP))
		*ret_first = first;
	*ret = h;
	return 0;
}

/* --- release ------------------------------------------------------------------------ */

int hold_reap(int pidfd)
{
	siginfo_t info = { 0 };
	int ret;

	do {
		ret = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
	} while (ret && errno == EINTR);
	return ret || !info.si_pid ? -ECHILD : 0;
}

/* The keeper is gone and with it every ptrace stop; the text is restored: what is left to
 * do. */
static void settle(const struct hold *h, enum hold_release_mode mode)
{
	int sig = mode == HOLD_RELEASE_KILL   ? SIGKILL
		  : mode == HOLD_RELEASE_STOP ? SIGSTOP
					      : 0;

	if (sig)
		syscall(SYS_pidfd_send_signal, h->pidfd, sig, NULL, 0);
}

void hold_give_back(struct hold *h)
{
	struct connection c = { h->control, h->events, -1, -1 };

	h->control = h->events = -1;
	hub_keep(h->hub, &c);
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
	if (!err && reply.value == 1)
		hold_give_back(h);
	hold_free(h);
	return err == -ESRCH ? 0 : err;
}
