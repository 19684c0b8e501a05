/* SPDX-License-Identifier: MIT */
/*
 * Events: packets of the keeper's as values. The kinds, whys and flags have the same
 * numbers on both sides.
 */
#include "hold/hold.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "hold/state.h"
#include "util/log.h"

#define SAME(a, b) _Static_assert((int)(a) == (int)(b), #a)

SAME(HOLD_EV_STOPPED, KP_EV_STOPPED);
SAME(HOLD_EV_BKPT, KP_EV_BKPT);
SAME(HOLD_EV_EXEC, KP_EV_EXEC);
SAME(HOLD_EV_FORK, KP_EV_FORK);
SAME(HOLD_EV_THREAD_START, KP_EV_THREAD_START);
SAME(HOLD_EV_THREAD_EXIT, KP_EV_THREAD_EXIT);
SAME(HOLD_EV_SIGNAL, KP_EV_SIGNAL);
SAME(HOLD_EV_OUTSTOP, KP_EV_OUTSTOP);
SAME(HOLD_EV_CONTINUE, KP_EV_CONTINUE);
SAME(HOLD_EV_EXIT, KP_EV_EXIT);
SAME(HOLD_EV_LOST, KP_EV_LOST);
SAME(HOLD_EV_BIRTH, KP_EV_BIRTH);
SAME(HOLD_EV_LWP_STOPPED, KP_EV_LWP_STOPPED);
SAME(HOLD_EV_LWP_GONE, KP_EV_LWP_GONE);
SAME(HOLD_LWP_GRAB, KP_LWP_GRAB);
SAME(HOLD_LWP_FREE, KP_LWP_FREE);
SAME(HOLD_LWP_STOP, KP_LWP_STOP);
SAME(HOLD_LWP_RUN, KP_LWP_RUN);
SAME(HOLD_LWP_RUN_CLEARSIG, KP_LWP_RUN_CLEARSIG);
SAME(HOLD_EV_NKINDS, KP_EV_NKINDS);
SAME(HOLD_WHY_REQUESTED, KP_WHY_REQUESTED);
SAME(HOLD_WHY_PARK, KP_WHY_PARK);
SAME(HOLD_WHY_EXEC, KP_WHY_EXEC);
SAME(HOLD_WHY_SIGNALLED, KP_WHY_SIGNALLED);
SAME(HOLD_WHY_FAULTED, KP_WHY_FAULTED);
SAME(HOLD_WHY_STEP, KP_WHY_STEP);
SAME(HOLD_WHY_NWHYS, KP_WHY_NWHYS);
SAME(HOLD_EVF_QUESTION, KP_EVF_QUESTION);
SAME(HOLD_EVF_DEFAULTED, KP_EVF_DEFAULTED);
SAME(HOLD_EVF_UNSEEN, KP_EVF_UNSEEN);

static const char *const kind_name[HOLD_EV_NKINDS] = {
	"stopped", "bkpt",     "exec", "fork", "thread-start", "thread-exit", "signal",
	"outstop", "continue", "exit", "lost", "birth",        "lwp-stopped", "lwp-gone",
};

int event_parse(const struct kp_event *ev, size_t len, struct hold_event *ret)
{
	if (len != sizeof(*ev) && len != KP_EVENT_SHORT)
		return -EPROTO;
	if (ev->version != KP_VERSION || ev->len != len || ev->kind >= KP_EV_NKINDS)
		return -EPROTO;
	if (ev->why < 0 || ev->why >= KP_WHY_NWHYS)
		return -EPROTO;
	memset(ret, 0, sizeof(*ret));
	ret->kind = (enum hold_event_kind)ev->kind;
	ret->why = (enum hold_why)ev->why;
	ret->pid = ev->pid;
	ret->tid = ev->tid;
	ret->child = ev->child;
	ret->what = ev->what;
	ret->sig = ev->sig;
	ret->status = ev->status;
	ret->seq = ev->seq;
	ret->flags = ev->flags;
	ret->lost = ev->lost;
	ret->addr = ev->addr;
	ret->time_ns = ev->time_ns;
	if (len == sizeof(*ev))
		ret->regs = ev->regs;
	return 0;
}

/* What the client's own book-keeping learns from an event. */
static void note(struct hold *h, const struct hold_event *ev)
{
	bool exec = ev->kind == HOLD_EV_EXEC ||
		    (ev->kind == HOLD_EV_STOPPED && ev->why == HOLD_WHY_EXEC);

	if (exec) {
		traps_forget(&h->traps);
		atomic_store(&h->syscall_insn, 0);
	}
	if (ev->kind == HOLD_EV_EXIT || ev->kind == HOLD_EV_LOST)
		atomic_store(&h->ended, true);
	log_at(LOG_HOLD, 1, ev->pid, ev->tid,
	       "%s why %d what %d sig %d status %#x child %d seq %u flags %u lost %u "
	       "addr %#llx",
	       kind_name[ev->kind], ev->why, ev->what, ev->sig, (unsigned)ev->status,
	       ev->child, ev->seq, ev->flags, ev->lost, (unsigned long long)ev->addr);
}

int hold_event_fd(const struct hold *h)
{
	return h->events;
}

int hold_next(struct hold *h, struct hold_event *ret)
{
	struct kp_event packet;
	struct hold_event ev;
	ssize_t got;

	if (h->owner != getpid())
		return -EPIPE;
	do {
		got = recv(h->events, &packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);
	} while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		return atomic_load(&h->gone) ? -EPIPE : 0;
	if (got > 0 && !event_parse(&packet, (size_t)got, &ev)) {
		note(h, &ev);
		*ret = ev;
		return 1;
	}
	hold_lose(h, -EPIPE);
	return -EPIPE;
}
