/* SPDX-License-Identifier: MIT */
/*
 * The client side of the keeper alone: what the keeper's being another process costs.
 */
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "hold/hold.h"
#include "mem/mem.h"
#include "os/procfs.h"

enum {
	GRABS = 500,
	TRIPS = 5000,
	CREATES = 30,
	RING = 1 << 20, /* bytes: room for every record */
	HITS = 3000
};

double hold_grab_release(void)
{
	pid_t pid = bench_sleeper();
	int pidfd = procfs_pidfd(pid);
	struct hold_event first;
	struct hold *h;
	double begin = bench_now();

	for (int i = 0; i < GRABS; i++) {
		if (hold_grab(pid, pidfd, 0, 0, &h, &first, NULL))
			return -1;
		hold_release(h, HOLD_RELEASE_RUN);
	}
	close(pidfd);
	return (bench_now() - begin) / GRABS;
}

double hold_round_trip(void)
{
	pid_t pid = bench_sleeper();
	int pidfd = procfs_pidfd(pid);
	struct hold_event first;
	arch_regs_t regs;
	struct hold *h;
	double begin;

	if (hold_grab(pid, pidfd, 0, 0, &h, &first, NULL))
		return -1;
	begin = bench_now();
	for (int i = 0; i < TRIPS; i++)
		hold_getregs(h, pid, &regs);
	begin = bench_now() - begin;
	hold_release(h, HOLD_RELEASE_RUN);
	close(pidfd);
	return begin / TRIPS;
}

double hold_create_kill(void)
{
	char *argv[] = { (char *)"true", NULL };
	struct hold_spawn spawn = { "/bin/true", argv, environ, HOLD_KLC };
	double begin = bench_now();

	for (int i = 0; i < CREATES; i++) {
		struct hold_event first;
		struct hold *h;
		int pidfd;
		pid_t pid;

		if (hold_create(&spawn, &h, &pid, &pidfd, &first, NULL))
			return -1;
		hold_release(h, HOLD_RELEASE_KILL);
		hold_reap(pidfd);
		close(pidfd);
	}
	return (bench_now() - begin) / CREATES;
}

/* Answers every hit until the victim has ended. */
static void serve(struct hold *h)
{
	struct pollfd p = { .fd = hold_event_fd(h), .events = POLLIN };
	struct hold_event ev;
	int got;

	for (;;) {
		got = hold_next(h, &ev);
		if (got < 0 || (got && ev.kind == HOLD_EV_EXIT))
			return;
		if (got && (ev.flags & HOLD_EVF_QUESTION))
			hold_answer(h, ev.tid, ev.seq, HOLD_RESUME);
		if (!got)
			poll(&p, 1, 5000);
	}
}

/* flags: of the breakpoint; COUNT: a counter is made for it. */
static int plant(struct hold *h, pid_t pid, void (*fn)(void), unsigned flags)
{
	uint64_t addr = bench_addr_in(pid, fn);
	uint8_t bytes[ARCH_INSN_MAX];
	struct arch_insn insn;
	struct mem_live live;
	struct mem m;
	uint32_t counter;
	int err;

	mem_live_init(&live, pid);
	m = mem_live(&live);
	err = mem_read_all(&m, addr, bytes, sizeof(bytes));
	mem_live_fini(&live);
	if (!err)
		err = arch_decode(bytes, sizeof(bytes), &insn);
	if (!err && (flags & HOLD_BKPT_COUNT)) {
		err = hold_counter_new(h, &counter);
		flags |= HOLD_BKPT_COUNTER(counter);
	}
	if (!err && (flags & HOLD_BKPT_RECORD))
		err = hold_records_begin(h, RING, 0, 0);
	return err ? err : hold_bkpt_set(h, addr, &insn, flags);
}

static double hit(const char *mode, void (*fn)(void), unsigned flags)
{
	struct hold_spawn spawn = { bench_self, bench_hit_argv(mode, HITS), environ,
				    HOLD_KLC };
	struct hold_event first;
	struct hold *h;
	int pidfd;
	pid_t pid;

	if (hold_create(&spawn, &h, &pid, &pidfd, &first, NULL))
		return -1;
	if (!plant(h, pid, fn, flags) && !hold_run(h, 0, 0, 0))
		serve(h);
	hold_release(h, HOLD_RELEASE_KILL);
	waitpid(pid, NULL, 0);
	close(pidfd);
	return bench_hit_result();
}

double hold_hit(void)
{
	return hit("--hit", bench_hit, 0);
}

double hold_leaf(void)
{
	return hit("--leaf", bench_leaf, 0);
}

double hold_count(void)
{
	return hit("--hit", bench_hit, HOLD_BKPT_COUNT);
}

double hold_record(void)
{
	return hit("--hit", bench_hit, HOLD_BKPT_COUNT | HOLD_BKPT_RECORD);
}

double hold_record_leaf(void)
{
	return hit("--leaf", bench_leaf, HOLD_BKPT_COUNT | HOLD_BKPT_RECORD);
}

double hold_count_leaf(void)
{
	return hit("--leaf", bench_leaf, HOLD_BKPT_COUNT);
}
