/* SPDX-License-Identifier: MIT */
/*
 * Execs without pause, a breakpoint in each of the programs: a victim becomes itself
 * again and again, by its leader and by another thread, and each life calls a function
 * three times that carries a breakpoint from its first instruction on. A round is an
 * exec.
 *
 * Fails when an exec is missed, told twice or not waited with; when a breakpoint of the
 * program before counts as planted in the next; when the victim is lost in the exec of
 * a thread that is not the leader; when a hit is lost.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hold/hold.h"
#include "libproc.h"
#include "stress/stress.h"

enum {
	CALLS = 3,  /* in each life */
	BATCH = 100 /* execs of one victim */
};

static uint64_t where;
static unsigned execs, others, hits;

/* The program lies at a fixed address. */
static uint64_t find_function(char *path, char **argv)
{
	struct ps_prochandle *P = Pcreate(path, argv, NULL, NULL, 0);
	GElf_Sym sym;

	assert_non_null(P);
	assert_int_equal(Plookup_by_name(P, PR_OBJ_EXEC, "again_call", &sym), 0);
	Prelease(P, PRELEASE_KILL);
	return sym.st_value;
}

static void plant(struct hold *h)
{
	static const uint8_t push[ARCH_INSN_MAX] = { 0x55, 0x5d, 0xc3 };
	struct arch_insn insn;

	assert_int_equal(arch_decode(push, sizeof(push), &insn), 0);
	assert_int_equal(hold_bkpt_set(h, where, &insn, 0), 0);
}

static void react(struct hold *h, const struct hold_event *ev)
{
	if (ev->kind == HOLD_EV_EXEC) {
		execs++;
		others += ev->child != ev->pid;
		plant(h);
	} else if (ev->kind == HOLD_EV_BKPT) {
		hits++;
		assert_int_equal(ev->addr, where);
	}
	if (ev->flags & HOLD_EVF_QUESTION)
		assert_int_equal(hold_answer(h, ev->tid, ev->seq, HOLD_RESUME), 0);
}

/* Until it has ended: its wait status. */
static int serve(struct hold *h)
{
	struct pollfd p = { .fd = hold_event_fd(h), .events = POLLIN };
	struct hold_event ev = { 0 };

	while (ev.kind != HOLD_EV_EXIT) {
		int got = hold_next(h, &ev);

		if (!got && poll(&p, 1, harness_ms(10000)) != 1)
			fail_msg("nothing comes after %u execs", execs);
		if (got == 1)
			react(h, &ev);
	}
	return ev.status;
}

static void exec_often(const struct hold_spawn *spawn)
{
	struct hold_event first;
	struct hold *h;
	int pidfd;
	pid_t pid;

	execs = others = hits = 0;
	assert_int_equal(hold_create(spawn, &h, &pid, &pidfd, &first, NULL), 0);
	plant(h);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	assert_int_equal(serve(h), 0);
	assert_int_equal(hold_release(h, HOLD_RELEASE_KILL), 0);
	assert_int_equal(hold_reap(pidfd), 0);
	close(pidfd);
	assert_int_equal(execs, BATCH);
	assert_int_equal(others, BATCH / 2);
	assert_int_equal(hits, CALLS * (BATCH + 1));
}

static void execs_with_breakpoints(void)
{
	char path[4096], count[16], *argv[] = { (char *)"stress_again", count, NULL };
	struct hold_spawn spawn = { path, argv, environ, HOLD_KLC };
	unsigned long total = 0;

	snprintf(path, sizeof(path), "%s", victim_path("stress_again"));
	snprintf(count, sizeof(count), "%d", BATCH);
	where = find_function(path, argv);
	while (stress_wanted()) {
		exec_often(&spawn);
		stress_count(BATCH);
		total += hits;
	}
	stress_say(
		"%u execs, half of them by a thread that is not the leader: %lu hits, as "
		"many as calls",
		stress_rounds(), total);
}

int main(int argc, char **argv)
{
	static const struct stress s = { "execs_with_breakpoints", execs_with_breakpoints,
					 200, 5000 };

	return stress_main(argc, argv, &s);
}
