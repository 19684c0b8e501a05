/* SPDX-License-Identifier: MIT */
/*
 * Whether the kernel lets us have perf events.
 *
 * The first perf event of a task, in a system that has none, takes 5 to 12 ms: the kernel
 * patches its scheduler and waits for every CPU (account_event(), perf_sched_events,
 * 6.18); a second after the last is closed it is patched back. Those after it take 3 us,
 * and an event of our own, on ourselves, keeps it so.
 *
 * Who pays. For a victim that is to survive us the first wish is answered at once: the
 * loop stands for those milliseconds, once in a keeper's life, since a trap would be
 * deadly if we were killed meanwhile. A victim that is killed with us (KLC) can do with
 * traps: there a child opens the first event, when somebody has wanted one for some
 * milliseconds, so that a command that is over by then never pays; its exit status is
 * the errno, and the traps are then upgraded.
 *
 * The child owns nothing of ours: it closes every descriptor first, so that our end is
 * seen though it lives. It attaches to nothing and ends by itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "os/perf.h"
#include "util/log.h"

enum {
	WAIT_NS = 5000000, /* from the first wish to the child */
	RETRY_NS = 2000000,
};

/* How far we are. */
enum ready {
	UNWANTED, /* nobody has asked */
	WANTED,   /* somebody has; `at` is when the child is made */
	TRYING,   /* the child is under way */
	READY,    /* events may be had; ours is open */
	REFUSED,  /* never, in this keeper */
};

static struct {
	enum ready state; /* see there */
	uint64_t at;      /* WANTED: monotonic ns */
	pid_t child;      /* TRYING: its pid */
	bool everyone;    /* READY: we may signal any process (fcntl(2), F_SETOWN) */
	uint64_t due;     /* monotonic ns at which traps are upgraded; 0 never */
} R;

/* The kernel compares our effective user with the receiver's, and lets the super-user
 * of the first user namespace pass (sigio_perm(), 6.18): a refused signal is lost
 * silently. */
bool hw_may_signal(uid_t uid)
{
	return R.everyone || uid == geteuid();
}

/* On ourselves, where nothing is ever written, by a signal that we ignore. */
static int open_own(void)
{
	static const uint64_t nothing = 0;
	struct perf_watch w = { .addr = (uintptr_t)&nothing,
				.len = 8,
				.access = PERF_WRITE };

	return perf_watch_open(getpid(), &w, SIGURG);
}

static int try_in_child(void)
{
	int fd;

	syscall(SYS_close_range, 3u, ~0u, 0u); /* 5.9; else our end is seen later */
	fd = open_own();
	return fd < 0 ? -fd : 0;
}

/* user_namespaces(7): the first one maps every id to itself. */
static bool in_first_namespace(void)
{
	char line[64] = "";
	unsigned long inside, outside, n;
	int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

	if (fd >= 0)
		close(fd);
	return got > 0 && sscanf(line, "%lu %lu %lu", &inside, &outside, &n) == 3 &&
	       !inside && !outside && n == UINT32_MAX;
}

/* The state is known: err of the child, or 0, and then of our own event. */
static void ready(int err)
{
	int fd = err ? -err : open_own();

	err = fd < 0 ? -fd : 0;
	log_at(LOG_KEEP, 1, K.pid, 0, "perf events: %s", err ? strerror(err) : "allowed");
	R.state = err ? REFUSED : READY;
	R.everyone = !geteuid() && in_first_namespace();
	R.due = !err;
}

static void try(void)
{
	R.child = fork();
	if (!R.child)
		_exit(try_in_child());
	R.state = TRYING;
	if (R.child < 0)
		ready(EAGAIN);
}

void hw_child(pid_t tid, int status)
{
	if (R.state == TRYING && tid == R.child)
		ready(WIFEXITED(status) ? WEXITSTATUS(status) : EIO);
}

static void await_child(void)
{
	int status = 0;

	while (waitpid(R.child, &status, 0) < 0 && errno == EINTR)
		;
	hw_child(R.child, status);
}

bool hw_ready(const struct victim *v)
{
	if (traps_will_do(v) && R.state == UNWANTED) {
		R.state = WANTED;
		R.at = clock_mono() + WAIT_NS;
	} else if (!traps_will_do(v) && R.state == TRYING) {
		await_child();
	} else if (!traps_will_do(v) && (R.state == UNWANTED || R.state == WANTED)) {
		ready(0);
	}
	return R.state == READY;
}

void hw_retry(void)
{
	R.due = clock_mono() + RETRY_NS;
}

static void upgrade(void)
{
	R.due = 0;
	for (struct victim *v = K.victims; v; v = v->next)
		if (v->phase == V_HELD)
			hw_upgrade(v);
}

uint64_t hw_next_deadline(void)
{
	uint64_t first = R.state == WANTED ? R.at : UINT64_MAX;

	if (R.due && R.due < first)
		first = R.due;
	for (struct victim *v = K.victims; v; v = v->next)
		if (v->hw_look && v->hw_look < first)
			first = v->hw_look;
	return first;
}

void hw_ticks(uint64_t now)
{
	if (R.state == WANTED && R.at <= now)
		try();
	if (R.due && R.due <= now)
		upgrade();
	for (struct victim *v = K.victims; v; v = v->next)
		hw_tick(v, now);
}
