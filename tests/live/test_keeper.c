/* SPDX-License-Identifier: MIT */
/*
 * What the keeper promises whoever the client is: a decider that does not answer never
 * freezes a victim, one victim or client that stands still delays no other, every
 * attach has a deadline and leaves nothing, and a victim survives whatever becomes of
 * the client while breakpoints are being hit.
 *
 * The victims are forks of the test, so that the addresses of their functions are
 * known; they count in memory shared with it.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "hold/hold.h"
#include "os/procfs.h"

/* Shared between test, client and victim. */
struct board {
	atomic_long calls;  /* of beat() */
	atomic_long forks;  /* children that ended as they should */
	atomic_int grabbed; /* the client holds the victim and has set it running */
	atomic_int unseen;  /* events with HOLD_EVF_UNSEEN that the client has read */
	atomic_int wrong;   /* a child ended otherwise */
	atomic_int stop;    /* the victim is to end */
};

static struct board *board;

/* Must be executed under a breakpoint: every other LWP stands meanwhile. */
__attribute__((naked, noinline, used)) static void stepped(void)
{
	__asm__ volatile("cmp %rax, %rax\n\tret");
}

/* Its first instruction is emulated. Counts at its end. */
__attribute__((naked, noinline, used)) static void emulated(void)
{
	__asm__ volatile("push %rbp\n\tpop %rbp\n\tret");
}

static void beat(void)
{
	emulated();
	stepped();
	atomic_fetch_add(&board->calls, 1);
}

static void new_board(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(board != MAP_FAILED);
}

static void die_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* --- victims ----------------------------------------------------------------------- */

static void *beat_for_ever(void *arg)
{
	while (!atomic_load(&board->stop))
		beat();
	return arg;
}

static pid_t start_beating(int threads)
{
	pthread_t t[16];
	pid_t pid = fork();

	if (pid)
		return pid;
	die_with_parent();
	for (int i = 1; i < threads; i++)
		pthread_create(&t[i], NULL, beat_for_ever, NULL);
	beat_for_ever(NULL);
	for (int i = 1; i < threads; i++)
		pthread_join(t[i], NULL);
	_exit(42);
}

/* A child that calls what carries the breakpoint: a trap left in its text would kill
 * it. */
static void fork_one(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		beat();
		_exit(17);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    WEXITSTATUS(status) != 17)
		atomic_fetch_add(&board->wrong, 1);
	atomic_fetch_add(&board->forks, 1);
}

static void *fork_for_ever(void *arg)
{
	while (!atomic_load(&board->stop))
		fork_one();
	return arg;
}

static void vfork_one(void)
{
	pid_t pid = vfork();
	int status;

	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		atomic_fetch_add(&board->wrong, 1);
	atomic_fetch_add(&board->forks, 1);
}

static pid_t start_forking(void)
{
	pthread_t t[3];
	pid_t pid = fork();

	if (pid)
		return pid;
	die_with_parent();
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, fork_for_ever, NULL);
	pthread_create(&t[2], NULL, beat_for_ever, NULL);
	while (!atomic_load(&board->stop))
		vfork_one();
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	_exit(42);
}

static int wait_to_be_killed(void *arg)
{
	(void)arg;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	atomic_store(&board->forks, getpid());
	while (pause())
		;
	return 0;
}

/* Stands in vfork(2), where the kernel lets nobody stop it, until its child is killed;
 * its other thread runs. By clone(2), since sanitizers make a fork of vfork(). */
static pid_t start_in_vfork(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	pthread_t t;
	pid_t pid = fork();

	if (pid)
		return pid;
	die_with_parent();
	pthread_create(&t, NULL, beat_for_ever, NULL);
	clone(wait_to_be_killed, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
	      NULL);
	for (;;)
		pause();
}

/* --- the client -------------------------------------------------------------------- */

static struct arch_insn decode(void (*fn)(void))
{
	struct arch_insn insn;

	assert_int_equal(
		arch_decode((const uint8_t *)(uintptr_t)fn, ARCH_INSN_MAX, &insn), 0);
	return insn;
}

static int grab(pid_t pid, unsigned ms, struct hold **ret, struct hold_fault *fault)
{
	struct hold_event first;
	int pidfd = procfs_pidfd(pid);
	int err = hold_grab(pid, pidfd, 0, ms, ret, &first, fault);

	close(pidfd);
	return err;
}

/* Grabbed, with a breakpoint, and standing still. */
static struct hold *plant_bkpt(pid_t pid, void (*fn)(void))
{
	struct hold_fault fault = { 0 };
	struct arch_insn insn = decode(fn);
	struct hold *h;

	assert_int_equal(grab(pid, 0, &h, &fault), 0);
	assert_int_equal(hold_bkpt_set(h, (uint64_t)(uintptr_t)fn, &insn, 0), 0);
	return h;
}

static struct hold *hold_with_bkpt(pid_t pid, void (*fn)(void))
{
	struct hold *h = plant_bkpt(pid, fn);

	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	return h;
}

/* Takes the next event within ms; false when there is none. */
static bool next(struct hold *h, struct hold_event *ev, int ms)
{
	struct pollfd p = { .fd = hold_event_fd(h), .events = POLLIN };
	int got = hold_next(h, ev);

	if (!got && poll(&p, 1, ms) == 1)
		got = hold_next(h, ev);
	return got == 1;
}

static void answer(struct hold *h, const struct hold_event *ev)
{
	if (ev->flags & HOLD_EVF_QUESTION)
		hold_answer(h, ev->tid, ev->seq, HOLD_RESUME);
}

/* Holds pid, answers every question, tells the board; until killed. */
static pid_t start_client(pid_t pid, void (*fn)(void))
{
	struct hold_event ev;
	struct hold *h;
	pid_t client = fork();

	if (client)
		return client;
	h = hold_with_bkpt(pid, fn);
	atomic_store(&board->grabbed, 1);
	for (;;) {
		if (!next(h, &ev, 1000))
			continue;
		if (ev.flags & HOLD_EVF_UNSEEN)
			atomic_fetch_add(&board->unseen, 1);
		answer(h, &ev);
	}
}

static int end_of(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void kill_and_reap(pid_t pid)
{
	kill(pid, SIGKILL);
	end_of(pid);
}

/* Has beat() been called n times more, whatever stands in the way? */
static void progresses(long n)
{
	long from = atomic_load(&board->calls);

	await(atomic_load(&board->calls) >= from + n);
}

/* --- tests ------------------------------------------------------------------------- */

/* Breaks when a question has no default, or when an unattended victim is made to wait
 * each time: 200 calls would then take 20 s. */
static void a_stopped_client_freezes_no_victim(void)
{
	pid_t victim, client;
	int64_t begin;

	new_board();
	victim = start_beating(2);
	client = start_client(victim, emulated);
	await(atomic_load(&board->grabbed));
	progresses(50);
	kill(client, SIGSTOP);
	await(harness_state(client) == 'T');
	begin = harness_now_ms();
	progresses(200);
	assert_int_below(harness_now_ms() - begin, harness_ms(3000));
	kill(client, SIGCONT);
	await(atomic_load(&board->unseen) >
	      0); /* it is told that it has missed something */
	progresses(50);
	kill_and_reap(client);
	progresses(1000);
	atomic_store(&board->stop, 1);
	assert_int_equal(end_of(victim), 42 << 8);
}

/* Breaks when the keeper waits for one victim, or for one answer, before it serves the
 * next. */
static void a_standing_victim_delays_no_other(void)
{
	struct hold_event ev;
	struct hold *a, *b;
	pid_t first, second;
	int hits = 0;

	new_board();
	first = start_beating(1);
	second = start_beating(1);
	a = plant_bkpt(first, emulated);
	assert_int_equal(hold_set_patience(a, 0), 0); /* before the first question */
	assert_int_equal(hold_run(a, 0, 0, 0), 0);
	assert_true(next(a, &ev, harness_ms(5000))); /* never answered: it stands there */
	b = hold_with_bkpt(second, stepped);
	while (hits < 500) {
		assert_true(next(b, &ev, harness_ms(5000)));
		answer(b, &ev);
		hits += ev.kind == HOLD_EV_BKPT;
	}
	assert_int_equal(harness_state(first), 't');
	hold_release(a, HOLD_RELEASE_RUN);
	hold_release(b, HOLD_RELEASE_RUN);
	atomic_store(&board->stop, 1);
	assert_int_equal(end_of(first), 42 << 8);
	assert_int_equal(end_of(second), 42 << 8);
}

static void *grab_in_vain(void *arg)
{
	struct hold_fault *fault = arg;
	struct hold *h;

	fault->err = grab((pid_t)fault->err, 600, &h, fault);
	return NULL;
}

/* Mistake 28. Breaks when an attach has no deadline, or blocks the keeper meanwhile. */
static void an_attach_has_a_deadline_and_blocks_nobody(void)
{
	struct hold_fault vain = { 0 }, fault = { 0 };
	struct hold *h;
	pthread_t t;
	pid_t stuck, other, child;

	if (HARNESS_TSAN)
		harness_skip("ThreadSanitizer makes the vfork a fork");
	new_board();
	stuck = start_in_vfork();
	await((child = (pid_t)atomic_load(&board->forks)) != 0 &&
	      harness_state(stuck) == 'D');
	other = start_beating(1);
	vain.err = stuck;
	pthread_create(&t, NULL, grab_in_vain, &vain);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(grab(other, 0, &h, &fault), 0);
		assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	}
	pthread_join(t, NULL);
	assert_int_equal(vain.err, -ETIMEDOUT);
	assert_non_null(strstr(vain.text, "does not stop"));
	progresses(1000); /* its other thread has been let go */
	kill(child, SIGKILL);
	await(harness_process(stuck).tracer == 0); /* nothing is left attached */
	await(harness_state(stuck) == 'S');        /* and it is not left stopped */
	kill_and_reap(stuck);
	kill_and_reap(other);
}

/* Breaks when the death of the client leaves a trap in the text, a PC behind one, or a
 * tracer. */
static void victims_survive_a_killed_client(void)
{
	for (int round = 0; round < 40; round++) {
		pid_t victim, client;

		new_board();
		victim = start_beating(4);
		client = start_client(victim, round % 2 ? emulated : stepped);
		await(atomic_load(&board->grabbed));
		progresses(round * 7); /* another instant each time */
		kill_and_reap(client);
		await(harness_process(victim).tracer == 0);
		progresses(1000);
		atomic_store(&board->stop, 1);
		assert_int_equal(end_of(victim), 42 << 8);
	}
}

/* Mistakes 9 and 13. Breaks when a child inherits a trap, or when the first of several
 * forks that ends plants them again under a vfork child. */
static void forked_children_run_free(void)
{
	struct hold_event ev;
	struct hold *h;
	pid_t victim;

	new_board();
	victim = start_forking();
	h = hold_with_bkpt(victim, emulated);
	while (atomic_load(&board->forks) < 300) {
		assert_true(next(h, &ev, harness_ms(10000)));
		answer(h, &ev);
	}
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	atomic_store(&board->stop, 1);
	assert_int_equal(end_of(victim), 42 << 8);
	assert_int_equal(atomic_load(&board->wrong), 0);
}

/* Mistake 22. Breaks when two LWPs at a breakpoint at once lose one, when a removal
 * races with a hit on its way, or when a release detaches a thread whose SIGTRAP is
 * still to come. */
static void set_and_cleared_under_fire(void)
{
	struct arch_insn insn = decode(emulated);
	uint64_t addr = (uint64_t)(uintptr_t)emulated;
	struct hold_fault fault = { 0 };
	struct hold_event ev;
	struct hold *h;
	pid_t victim;

	new_board();
	victim = start_beating(4);
	for (int round = 0; round < 60; round++) {
		assert_int_equal(grab(victim, 0, &h, &fault), 0);
		assert_int_equal(hold_run(h, 0, 0, 0), 0);
		for (int i = 0; i < 10; i++) {
			assert_int_equal(hold_bkpt_set(h, addr, &insn, 0), 0);
			assert_true(next(h, &ev, harness_ms(5000)));
			answer(h, &ev);
			assert_int_equal(hold_bkpt_clear(h, addr), 0);
		}
		assert_int_equal(hold_bkpt_set(h, addr, &insn, 0), 0);
		assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
		assert_int_equal(*(const uint8_t *)(uintptr_t)addr, insn.bytes[0]);
	}
	progresses(1000);
	atomic_store(&board->stop, 1);
	assert_int_equal(end_of(victim), 42 << 8);
}

/* Every hit is seen exactly once: the victim counts its calls, the client its
 * questions. */
static void count_hits(void (*fn)(void), long enough)
{
	struct arch_insn insn = decode(fn);
	struct hold_fault fault = { 0 };
	struct hold_event ev = { 0 };
	long hits = 0, calls;
	struct hold *h;
	pid_t victim;

	new_board();
	victim = start_beating(4);
	assert_int_equal(grab(victim, 0, &h, &fault), 0);
	assert_int_equal(hold_set_patience(h, 0), 0);
	assert_int_equal(hold_bkpt_set(h, (uint64_t)(uintptr_t)fn, &insn, 0), 0);
	calls = atomic_load(&board->calls);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	while (ev.kind != HOLD_EV_EXIT) {
		assert_true(next(h, &ev, harness_ms(5000)));
		hits += ev.kind == HOLD_EV_BKPT;
		if (hits == enough)
			atomic_store(&board->stop, 1);
		answer(h, &ev);
	}
	assert_int_equal(ev.status, 42 << 8);
	hold_release(h, HOLD_RELEASE_RUN);
	end_of(victim);
	calls = atomic_load(&board->calls) - calls;
	/* A thread that stood behind fn when the trap came counts a call without a
	 * hit. */
	assert_true(calls >= hits && calls <= hits + 4);
}

/* Mistake 22. Breaks when of two LWPs at a breakpoint one is lost, or one is seen
 * twice. */
static void hits_are_exact_when_emulated(void)
{
	count_hits(emulated, 20000);
}

/* The same; breaks also when another LWP runs by while the trap is lifted for a step. */
static void hits_are_exact_when_stepped(void)
{
	count_hits(stepped, 3000);
}

/* What is meant for the client's terminal is not for the keeper; what a bug of its own
 * sends it ends it, but not its victim. */
static void signals_to_the_keeper_harm_nobody(void)
{
	static const int meant_for_others[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	static const int fatal[] = { SIGSEGV, SIGABRT, SIGBUS, SIGILL };

	for (int round = 0; round < 16; round++) {
		struct hold *h;
		pid_t victim, keeper;

		new_board();
		victim = start_beating(4);
		h = hold_with_bkpt(victim, round % 2 ? emulated : stepped);
		keeper = hold_keeper_pid();
		for (size_t i = 0; i < 4; i++)
			kill(keeper, meant_for_others[i]);
		for (int i = 0; i < 20 * round; i++) {
			struct hold_event ev;

			assert_true(next(h, &ev, harness_ms(5000)));
			answer(h, &ev);
		}
		assert_int_not_equal(harness_state(keeper), 'Z');
		kill(keeper, fatal[round % 4]);
		await(harness_process(victim).tracer == 0);
		progresses(1000);
		hold_release(h, HOLD_RELEASE_RUN);
		atomic_store(&board->stop, 1);
		assert_int_equal(end_of(victim), 42 << 8);
	}
}

static const struct harness_test tests[] = {
	TEST(a_stopped_client_freezes_no_victim),
	TEST(a_standing_victim_delays_no_other),
	TEST(an_attach_has_a_deadline_and_blocks_nobody),
	TEST_IN(victims_survive_a_killed_client, 60),
	TEST_IN(signals_to_the_keeper_harm_nobody, 60),
	TEST_IN(forked_children_run_free, 60),
	TEST_IN(set_and_cleared_under_fire, 60),
	TEST_IN(hits_are_exact_when_emulated, 60),
	TEST_IN(hits_are_exact_when_stepped, 60),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
