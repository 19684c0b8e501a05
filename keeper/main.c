/* SPDX-License-Identifier: MIT */
/*
 * pgrab-keeper: the process that ptraces for one client process.
 *
 * Purpose. ptrace is bound to one thread, waited for with waitpid, and deadly when its
 * owner dies with a trap in the text. The keeper takes all of that away from the
 * client: it is started by the library (src/hold), in a session of its own, holds no
 * descriptor but its sockets, and gives each victim back in order whenever the client
 * lets go of it, however the client ends.
 *
 * Objects. struct victim is a process, struct lwp one of its threads (or a child that
 * it has forked, until that is set free), struct bkpt a breakpoint. All in one thread;
 * no lock.
 *
 * The loop. epoll over signalfd(SIGCHLD), the hub, the client's pidfd and two sockets a
 * victim. A turn: what the kernel has to say of threads (wait.c yields values, stops.c
 * reacts), what the client asks (request.c), deadlines (tick). No turn waits for a
 * victim or for the client: requests and events are sent without blocking, a stop that
 * takes long is awaited by the loop, and an attach that the kernel would block is
 * broken off (attach.c). So a victim in uninterruptible sleep, or a stalled client,
 * delays nobody else.
 *
 * Ownership. A victim's record is freed at the end of a turn only (sweep), so that every
 * pointer to it that the turn holds stays good. The record owns its sockets and LWPs.
 *
 * The end. The client's pidfd turns readable, or the hub closes, or a packet is
 * malformed: every victim is released by its last-close rule, and when the last one is
 * gone, so are we. TERM, HUP, INT and the like are meant for the client's terminal and
 * are ignored. A crash of ours lifts the traps and detaches on the way out (crash.c).
 *
 * Not done here: ELF, DWARF, link maps, symbols, decoding of instructions. A hostile
 * victim meets only this folder.
 */
#include <errno.h>
#include <sched.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "util/log.h"

enum {
	LINGER_NS = 50000,       /* after a hit */
	LINGER_MAX_NS = 1000000, /* then the client's requests have their turn */
	TICK_MS = 10,
	NEVENTS = 64,
	MANY = 8
};

/* What an epoll event is about: the low bits of its data, the victim in the others. */
enum source {
	SRC_CTL,
	SRC_EV,
	SRC_HUB,
	SRC_CLIENT,
	SRC_SIGNAL,
	SRC_MASK = 7
};

struct keeper K;

/* --- epoll ------------------------------------------------------------------------- */

static int watch(int op, int fd, uint32_t events, void *v, enum source src)
{
	struct epoll_event e = { .events = events, .data.u64 = (uintptr_t)v | src };

	return epoll_ctl(K.epoll, op, fd, &e) ? -errno : 0;
}

int loop_add(struct victim *v)
{
	return watch(EPOLL_CTL_ADD, v->ctl, EPOLLIN, v, SRC_CTL);
}

/* The event socket is in epoll only while it is full. */
void loop_want_room(struct victim *v, enum loop_room room)
{
	bool wanted = room == ROOM_WANTED;

	if (v->ev < 0 || v->ev_watched == wanted)
		return;
	watch(wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, v->ev, EPOLLOUT, v, SRC_EV);
	v->ev_watched = wanted;
}

void loop_close(int *fd)
{
	if (*fd < 0)
		return;
	/* A forked child of the client may share the open file: it would stay in
	 * epoll. */
	epoll_ctl(K.epoll, EPOLL_CTL_DEL, *fd, NULL);
	close(*fd);
	*fd = -1;
}

/* --- threads ----------------------------------------------------------------------- */

static void react_to(pid_t tid)
{
	struct wait_event ev;

	if (wait_for(tid, &ev))
		wait_dispatch(&ev);
}

/* By tid: waitpid(-1) looks at every thread each time (2.4 times dearer for 1,000). The
 * tids are copied first, since reacting may free LWPs. */
static void wait_many(struct victim *v)
{
	pid_t *tids = calloc(v->nlwps, sizeof(*tids));
	size_t n = 0;

	if (!tids)
		return;
	for (struct lwp *l = v->lwps; l; l = l->next)
		if (l->state == LWP_RUNNING)
			tids[n++] = l->tid;
	v->gathering = true;
	for (size_t i = 0; i < n; i++)
		react_to(tids[i]);
	v->gathering = false;
	free(tids);
	victim_check_stopped(v);
}

/*
 * A hit is two wake-ups, and where keeper and victim are on two CPUs each costs as long
 * as a sleeping CPU takes to wake: 35 µs in a virtual machine (6.18). Threads that were
 * hit just now are likely to be hit again: so we do not sleep for as long as that would
 * take, but look, and let others run between.
 */
static void linger(void)
{
	uint64_t now = clock_mono(), end = now + LINGER_NS, last = now + LINGER_MAX_NS;
	struct wait_event ev;

	while (K.hit && now < end && now < last) {
		K.hit = false;
		while (now < end && !wait_next(&ev)) {
			sched_yield();
			now = clock_mono();
		}
		if (now >= end)
			return;
		wait_dispatch(&ev);
		while (wait_next(&ev))
			wait_dispatch(&ev);
		now = clock_mono();
		end = now + LINGER_NS;
	}
	K.hit = false;
}

static void wait_all(pid_t first)
{
	struct wait_event ev;

	if (first > 0)
		react_to(first);
	for (struct victim *v = K.victims; v; v = v->next)
		if (v->stopping && !v->stopped && v->nlwps > MANY)
			wait_many(v);
	while (wait_next(&ev))
		wait_dispatch(&ev);
	linger();
}

static void read_signal(void)
{
	struct signalfd_siginfo si;

	if (read(K.sigfd, &si, sizeof(si)) == sizeof(si))
		wait_all((pid_t)si.ssi_pid);
}

/* --- the client -------------------------------------------------------------------- */

void client_gone(const char *why)
{
	if (K.closing)
		return;
	log_at(LOG_KEEP, 1, K.pid, 0, "client gone: %s", why);
	K.closing = true;
	loop_close(&K.hub);
	loop_close(&K.client);
	for (struct victim *v = K.victims; v; v = v->next) {
		loop_close(&v->ctl);
		loop_close(&v->ev);
		release_last_close(v);
	}
}

/* --- the loop ---------------------------------------------------------------------- */

static bool busy(const struct victim *v)
{
	return (v->phase != V_HELD && v->phase != V_IDLE) ||
	       (v->stopping && !v->stopped) || (v->stepper && !v->stepper->stepping) ||
	       v->ninject;
}

static int timeout_ms(void)
{
	uint64_t now, end = event_next_deadline(), other = hw_next_deadline();

	for (struct victim *v = K.victims; v; v = v->next)
		if (v->ring.waiting)
			return 1;
	for (struct victim *v = K.victims; v; v = v->next)
		if (busy(v))
			return TICK_MS;
	if (K.closing || wait_unsettled())
		return TICK_MS;
	if (other < end)
		end = other;
	if (end == UINT64_MAX)
		return -1;
	now = clock_mono();
	return end <= now ? 0 : (int)((end - now) / 1000000) + 1;
}

static void tick(void)
{
	uint64_t now = clock_mono();

	for (struct victim *v = K.victims; v; v = v->next) {
		record_tick(v, now);
		if (busy(v))
			victim_tick(v, now);
	}
	event_defaults(now);
	follow_orphans(now);
	hw_ticks(now);
}

static bool finished(const struct victim *v)
{
	return !v->nlwps && !v->nchildren && !v->req.len && v->phase != V_HELD &&
	       v->phase != V_ATTACHING;
}

static void sweep(void)
{
	struct victim *next;

	for (struct victim *v = K.victims; v; v = next) {
		next = v->next;
		if (!finished(v))
			continue;
		if (v->ctl < 0)
			victim_free(v);
		else if (v->phase != V_IDLE)
			victim_recycle(v);
	}
}

static void react(const struct epoll_event *e)
{
	struct victim *v =
		(struct victim *)(uintptr_t)(e->data.u64 & ~(uint64_t)SRC_MASK);

	switch ((enum source)(e->data.u64 & SRC_MASK)) {
	case SRC_CTL:
		if (v->ctl >= 0)
			request_control(v);
		break;
	case SRC_EV:
		if (v->ev >= 0)
			event_flush(v);
		break;
	case SRC_HUB:
		if (K.hub >= 0)
			request_hub();
		break;
	case SRC_CLIENT:
		client_gone("it has ended");
		break;
	case SRC_SIGNAL:
		read_signal();
		break;
	default:
		break;
	}
}

/* Of a victim that has been killed a newborn may still be on its way to its first
 * stop: as long as the kernel knows of somebody that we trace. */
static bool orphans_to_come(void)
{
	siginfo_t si;

	return wait_unsettled() ||
	       !waitid(P_ALL, 0, &si, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL);
}

static void loop(void)
{
	struct epoll_event events[NEVENTS];

	while (!K.closing || K.victims || orphans_to_come()) {
		int n = epoll_wait(K.epoll, events, NEVENTS, timeout_ms());

		if (K.fatal)
			client_gone("a fatal signal was sent");
		for (int i = 0; i < n; i++)
			react(&events[i]);
		tick();
		sweep();
	}
}

void loop_drain(unsigned ms)
{
	uint64_t end = clock_mono() + ms * 1000000ull;

	while (K.victims && clock_mono() < end) {
		wait_all(0);
		tick();
		sweep();
		usleep(1000);
	}
}

/* --- start ------------------------------------------------------------------------- */

static void ignore_signals(void)
{
	static const int ignored[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGPIPE,
				       SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2 };

	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		signal(ignored[i], SIG_IGN);
}

static int open_signalfd(void)
{
	sigset_t set;

	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_SETMASK, &set, NULL))
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void raise_fd_limit(void)
{
	struct rlimit rl;

	if (!getrlimit(RLIMIT_NOFILE, &rl)) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static int start(void)
{
	K.hub = KP_HUB_FD;
	K.client = KP_CLIENT_FD;
	K.pid = getpid();
	setsid();
	if (chdir("/"))
		return -1;
	ignore_signals();
	raise_fd_limit();
	fcntl(K.hub, F_SETFD, FD_CLOEXEC);
	fcntl(K.client, F_SETFD, FD_CLOEXEC);
	K.sigfd = open_signalfd();
	K.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (K.sigfd < 0 || K.epoll < 0)
		return -1;
	attach_init();
	crash_init();
	return watch(EPOLL_CTL_ADD, K.hub, EPOLLIN, NULL, SRC_HUB) ||
	       watch(EPOLL_CTL_ADD, K.client, EPOLLIN, NULL, SRC_CLIENT) ||
	       watch(EPOLL_CTL_ADD, K.sigfd, EPOLLIN, NULL, SRC_SIGNAL);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("pgrab-keeper %s, protocol %d\n", PGRAB_VERSION, KP_VERSION);
		return 0;
	}
	if (start()) {
		fprintf(stderr, "pgrab-keeper: to be started by libpgrab only\n");
		return 2;
	}
	loop();
	crash_end();
	return 0;
}
