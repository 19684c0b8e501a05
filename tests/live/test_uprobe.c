/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints that the kernel keeps as uprobes (keeper/upbkpt.c): where perf events are
 * refused, and in processes of many threads. They hit as exactly, leave nothing that
 * could kill, and are gone with their keeper. Skipped where bpf(2) is refused.
 */
#include "beat_test.h"
#include "os/uprobe.h"

enum {
	BEHIND = 3, /* bytes of beat()'s first instruction */
	CROWD = 80, /* more threads than events are for */
};

static void need_uprobes(void)
{
	struct uprobe u;
	int rc = uprobe_open(&u);

	if (rc)
		harness_skip("no uprobes of ours here: %s", strerror(-rc));
	uprobe_close(&u);
	if (HARNESS_TSAN)
		harness_skip("the sanitizer's own thread blocks every signal");
	told_behind = BEHIND;
}

static int links(void)
{
	return harness_descriptors(hold_keeper_pid(), "bpf_link");
}

/* A victim under a uprobe, for want of perf events. */
static struct hold *held_so(pid_t pid, int threads)
{
	struct hold *h;

	harness_refuse(SYS_perf_event_open);
	h = held(pid, threads, 0);
	assert_int_equal(links(), 1);
	assert_int_not_equal(text_byte(pid), own_byte);
	return h;
}

/* --- exact hits -------------------------------------------------------------------- */

/* Breaks when a hit's signal is taken for somebody else's, the instruction is executed
 * twice, or a hit is told twice. */
static void every_hit_of_every_thread(void)
{
	pid_t pid;
	struct seen seen;

	need_uprobes();
	new_board();
	pid = start(be_beating);
	seen = let_go_and_watch(held_so(pid, THREADS), pid);
	assert_int_equal(seen.hits, THREADS * CALLS);
	assert_int_equal(seen.late, 0);
}

/* Breaks when what an earlier owner of a thread id has hit is counted. */
static void threads_born_under_it(void)
{
	pid_t pid;
	struct seen seen;

	need_uprobes();
	new_board();
	pid = start(be_many);
	seen = let_go_and_watch(held_so(pid, 1), pid);
	assert_int_equal(seen.hits, 1000);
	assert_int_equal(seen.late, 0);
}

/* Breaks when SIGURG is used though the victim handles it, or another signal, which
 * stops the thread first, swallows the hit or is lost. */
static void a_victim_with_handlers(void)
{
	pid_t pid;
	struct seen seen;

	need_uprobes();
	new_board();
	pid = start(be_signalled);
	seen = let_go_and_watch(held_so(pid, 1), pid);
	assert_int_equal(seen.hits, CALLS);
	assert_int_equal(seen.late, 0);
	assert_int_equal(atomic_load(&board->handled), 2 * CALLS);
}

/* Breaks when a hit is known by its signal alone. */
static void merged_with_foreign_signals(void)
{
	pid_t pid;
	struct seen seen;

	need_uprobes();
	new_board();
	pid = start(be_shot_at);
	seen = let_go_and_watch(held_so(pid, 1), pid);
	assert_int_equal(seen.hits, CALLS);
	assert_int_equal(seen.late, 0);
}

/* Breaks when children are signalled, or die of what they have copied. */
static void children_run_free(void)
{
	pid_t pid;
	struct seen seen;

	need_uprobes();
	new_board();
	pid = start(be_forking);
	seen = let_go_and_watch(held_so(pid, 1), pid);
	assert_int_equal(seen.hits, 100);
	assert_int_equal(seen.late, 0);
}

/* The first comes late, then there is a trap, which is exact. Breaks when a late hit is
 * taken for one in its place, is not told, or teaches nothing. */
static void late_hits_are_known(void)
{
	pid_t pid;
	struct seen seen = { .status = -1 };
	struct hold_event ev;
	struct hold *h;

	need_uprobes();
	new_board();
	pid = start(be_deaf_at_times);
	h = held_so(pid, 1);
	hold_set_patience(h, 0);
	atomic_store(&board->go, 1);
	while (!seen.late) {
		assert_true(next(h, &ev, harness_ms(10000)));
		take(h, &ev, &seen);
	}
	told_behind = 0;
	assert_int_equal(links(), 0);
	seen = let_go_and_watch(h, pid);
	assert_int_equal(seen.hits, 9);
}

/* --- what the text shows ----------------------------------------------------------- */

/* Breaks when the uprobe's trap is read as the program's, or stays after the release. */
static void the_text_is_the_programs_own(void)
{
	struct hold *h;
	uint8_t byte;
	pid_t pid;

	need_uprobes();
	new_board();
	pid = start(be_beating);
	h = held_so(pid, THREADS);
	byte = text_byte(pid);
	hold_hide_traps(h, beat_addr(), &byte, 1);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_int_equal(byte, own_byte);
	assert_int_equal(text_byte(pid), own_byte);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	hold_forget_keeper();
}

/* Somebody else wants every hit to be exact there: a trap takes over. */
static void a_client_takes_the_address(void)
{
	struct arch_insn insn = decode_beat();
	struct hold_event ev;
	struct hold *h;
	pid_t pid;
	struct seen seen;

	need_uprobes();
	new_board();
	pid = start(be_beating);
	h = held_so(pid, THREADS);
	assert_int_equal(hold_bkpt_set(h, beat_addr(), &insn, HOLD_BKPT_REPLACE), 0);
	assert_int_equal(links(), 0);
	assert_true(next(h, &ev, harness_ms(10000)));
	assert_int_equal(ev.kind, HOLD_EV_BKPT); /* "compare": one may have been missed */
	assert_true(ev.flags & HOLD_EVF_DEFAULTED);
	told_behind = 0;
	seen = let_go_and_watch(h, pid);
	assert_int_equal(seen.hits, THREADS * CALLS);
}

/* --- many threads ------------------------------------------------------------------ */

static void *wait_then_beat(void *arg)
{
	wait_for_go();
	for (int i = 0; i < 10; i++)
		call_beat();
	return arg;
}

static void be_a_crowd(void)
{
	pthread_t t[CROWD];

	for (int i = 0; i < CROWD; i++)
		pthread_create(&t[i], NULL, wait_then_beat, NULL);
	for (int i = 0; i < CROWD; i++)
		pthread_join(t[i], NULL);
}

/* Perf events are allowed. Breaks when they are armed all the same, or it is a trap. */
static void a_crowd_has_one_link(void)
{
	struct hold *h;
	pid_t pid;
	struct seen seen;

	need_uprobes();
	new_board();
	pid = start(be_a_crowd);
	h = held(pid, CROWD, 0);
	assert_int_equal(links(), 1);
	assert_int_below(perf_events(hold_keeper_pid()), 2);
	seen = let_go_and_watch(h, pid);
	assert_int_equal(seen.hits, CROWD * 10);
	assert_int_equal(seen.late, 0);
}

/* The events of few threads give way when they are many. Breaks when a hit is missed
 * meanwhile; one that stands at its hit then is told twice. */
static void a_crowd_that_grows(void)
{
	struct seen seen = { .status = -1 };
	struct hold_event ev;
	struct hold *h;
	pid_t pid;

	need_uprobes();
	if (!allowed())
		harness_skip("no perf events here");
	new_board();
	pid = start(be_crowded);
	h = held(pid, 1, 1);
	hold_set_patience(h, 0);
	atomic_store(&board->go, 1);
	while (!links() || seen.hits < 100) {
		assert_true(next(h, &ev, harness_ms(10000)));
		told_behind = arch_pc(&ev.regs) == ev.addr ? 0 : BEHIND;
		take(h, &ev, &seen);
	}
	assert_int_equal(perf_events(hold_keeper_pid()), 1);
	told_behind = BEHIND;
	atomic_store(&board->stop, 1);
	seen = let_go_and_watch(h, pid);
	assert_int_above(seen.hits, 99);
	assert_int_below(seen.hits, 100 + 65);
	assert_int_equal(seen.late, 0);
}

/* --- the keeper is killed ---------------------------------------------------------- */

enum {
	UNDER_FIRE = 17 /* exit status of a round */
};

/* Breaks when anything of ours is in the text that the kernel does not keep, or the
 * signal of a hit is deadly. */
static void keeper_killed_at_any_instant(void)
{
	unsigned seed = (unsigned)harness_now_ms();
	int under_fire = 0;

	need_uprobes();
	for (int round = 0; round < ROUNDS; round++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			harness_refuse(SYS_perf_event_open);
			_exit(kill_keeper_after(rand_r(&seed) % 20000, "bpf_link", 1)
				      ? UNDER_FIRE
				      : 0);
		}
		rand_r(&seed);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(status == 0 || status == UNDER_FIRE << 8);
		under_fire += status != 0;
	}
	assert_int_above(under_fire, ROUNDS / 2);
}

static const struct harness_test tests[] = {
	TEST(every_hit_of_every_thread),
	TEST(threads_born_under_it),
	TEST(a_victim_with_handlers),
	TEST(merged_with_foreign_signals),
	TEST(children_run_free),
	TEST(late_hits_are_known),
	TEST(the_text_is_the_programs_own),
	TEST(a_client_takes_the_address),
	TEST(a_crowd_has_one_link),
	TEST(a_crowd_that_grows),
	TEST_IN(keeper_killed_at_any_instant, 120),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
