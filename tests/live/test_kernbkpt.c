/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints that the kernel keeps (HOLD_BKPT_KERNEL): they hit as exactly as traps do,
 * leave the text alone, and a victim survives SIGKILL of the keeper under them.
 *
 * Where perf events are refused (doctor says so) every test but those of the fall-back is
 * skipped.
 */
#include <linux/perf_event.h>

#include "beat_test.h"

/* --- exact hits -------------------------------------------------------------------- */

/* Breaks when an LWP has no event, when the hit is reported twice (RF lost at the
 * resume), or when a trap stands in the text all the same. */
static void every_hit_of_every_thread(void)
{
	pid_t pid;
	struct seen seen;

	need_events();
	new_board();
	pid = start(be_beating);
	seen = let_go_and_watch(held(pid, THREADS, THREADS), pid);
	assert_int_equal(seen.hits, THREADS * CALLS);
	assert_int_equal(seen.late, 0);
}

/* Breaks when a thread runs before it has its event, or takes the mask that the C
 * library begins it with for its own. */
static void threads_born_under_it(void)
{
	pid_t pid;
	struct seen seen;

	need_events();
	new_board();
	pid = start(be_many);
	seen = let_go_and_watch(held(pid, 1, 1), pid);
	assert_int_equal(seen.hits, 1000);
	assert_int_equal(seen.late, 0);
}

/* Without bpf(2). Breaks when the trap that takes over is planted late, or both are
 * counted. */
static void too_many_threads_make_it_a_trap(void)
{
	struct hold *h;
	struct hold_event ev;
	struct seen seen = { .status = -1 };
	pid_t pid;

	need_events();
	new_board();
	pid = start(be_crowded);
	harness_refuse(SYS_bpf);
	h = held(pid, 1, 1);
	hold_set_patience(h, 0);
	atomic_store(&board->go, 1);
	while (seen.hits < 100) {
		assert_true(next(h, &ev, harness_ms(10000)));
		take(h, &ev, &seen);
	}
	assert_int_not_equal(text_byte(pid), *(const uint8_t *)beat);
	atomic_store(&board->stop, 1);
	seen = let_go_and_watch(h, pid);
	assert_int_equal(seen.hits, 100);
	assert_int_equal(seen.late, 0);
}

/* Breaks when SIGURG is used though the victim handles it, when a handler between stop
 * and resume has the hit reported again, or when our signal reaches the handler. */
static void a_victim_with_handlers(void)
{
	pid_t pid;
	struct seen seen;

	need_events();
	new_board();
	pid = start(be_signalled);
	seen = let_go_and_watch(held(pid, 1, 1), pid);
	assert_int_equal(seen.hits, CALLS);
	assert_int_equal(seen.late, 0);
	assert_int_equal(atomic_load(&board->handled), 2 * CALLS);
}

/* Breaks when a hit is known by its signal alone. */
static void merged_with_foreign_signals(void)
{
	pid_t pid;
	struct seen seen;

	need_events();
	new_board();
	pid = start(be_shot_at);
	seen = let_go_and_watch(held(pid, 1, 1), pid);
	assert_int_equal(seen.hits, CALLS);
	assert_int_equal(seen.late, 0);
}

/* Breaks when children inherit the events, or a vfork suspends them. */
static void children_run_free(void)
{
	pid_t pid;
	struct seen seen;

	need_events();
	new_board();
	pid = start(be_forking);
	seen = let_go_and_watch(held(pid, 1, 1), pid);
	assert_int_equal(seen.hits, 100);
	assert_int_equal(seen.late, 0);
}

/* --- blocked signals --------------------------------------------------------------- */

/* Three signals come late, once each, then the trap is exact. Breaks when a late hit
 * is taken for one at its place, is not told, or teaches nothing. */
static void late_hits_are_known(void)
{
	pid_t pid;
	struct seen seen;

	need_events();
	new_board();
	pid = start(be_deaf_at_times);
	seen = let_go_and_watch(held(pid, 1, 1), pid);
	assert_int_equal(seen.late, 3);
	assert_int_equal(seen.hits, 7);
}

/* Breaks when the masks are not looked at. */
static void blocked_from_the_first(void)
{
	struct hold *h;
	pid_t pid;
	struct seen seen;

	new_board();
	pid = start(be_deaf);
	await(atomic_load(&board->ready) == THREADS);
	h = grab(pid, HOLD_KLC);
	set(h, HOLD_BKPT_KERNEL);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	usleep(50000); /* in which it would be upgraded */
	seen = let_go_and_watch(h, pid);
	assert_int_equal(seen.hits, THREADS * CALLS);
	assert_int_equal(seen.late, 0);
}

/* --- two mechanisms at one address ------------------------------------------------- */

/* It may have ended meanwhile. */
static void change(struct hold *h, unsigned flags)
{
	struct arch_insn insn = decode_beat();
	int rc = hold_bkpt_set(h, beat_addr(), &insn, flags | HOLD_BKPT_REPLACE);

	assert_true(!rc || rc == -ESRCH);
}

/* The breakpoint changes its kind all the time. Breaks when a hit is lost or doubled in
 * a change. */
static void changing_kind_loses_nothing(void)
{
	struct hold_event ev;
	struct seen seen = { .status = -1 };
	struct hold *h;
	pid_t pid;
	int status, changes = 0;

	need_events();
	new_board();
	pid = start(be_beating);
	h = held(pid, THREADS, THREADS);
	hold_set_patience(h, 0);
	atomic_store(&board->go, 1);
	while (seen.status < 0) {
		while (seen.status < 0 && next(h, &ev, 1))
			take(h, &ev, &seen);
		if (seen.status < 0)
			change(h, changes++ % 2 ? HOLD_BKPT_KERNEL : 0);
	}
	assert_int_equal(seen.hits, THREADS * CALLS);
	assert_int_equal(seen.late, 0);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
	hold_forget_keeper();
}

/* A victim that is killed with the keeper begins with a trap, which is upgraded while it
 * is being hit. Breaks when a hit is lost or doubled by that, or nothing is upgraded. */
static void a_trap_is_upgraded_under_fire(void)
{
	struct seen seen = { .status = -1 };
	int status, events = 0;
	struct hold_event ev;
	struct hold *h;
	pid_t pid;

	need_events();
	new_board();
	pid = start(be_beating);
	await(atomic_load(&board->ready) == THREADS);
	h = grab(pid, HOLD_KLC);
	set(h, HOLD_BKPT_KERNEL);
	assert_int_equal(text_byte(pid) == own_byte, 0);
	hold_set_patience(h, 0);
	atomic_store(&board->go, 1);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	while (seen.status < 0) {
		assert_true(next(h, &ev, harness_ms(10000)));
		take(h, &ev, &seen);
		if (events < THREADS + 1 && seen.hits < THREADS * CALLS - THREADS)
			events = perf_events(hold_keeper_pid());
	}
	assert_int_equal(events, THREADS + 1);
	assert_int_equal(seen.hits, THREADS * CALLS);
	assert_int_equal(seen.late, 0);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
	hold_forget_keeper();
}

/* --- somebody else's uprobe -------------------------------------------------------- */

/* Where addr is in the file of this program: for the kernel. */
static uint64_t file_offset(uint64_t addr)
{
	struct procfs_map *maps;
	uint64_t at = 0;
	size_t n;

	assert_int_equal(procfs_maps(getpid(), 0, &maps, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (addr >= maps[i].start && addr < maps[i].end)
			at = addr - maps[i].start + maps[i].offset;
	free(maps);
	return at;
}

static int uprobe_type(void)
{
	FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	int type = -1;

	if (f && fscanf(f, "%d", &type) != 1)
		type = -1;
	if (f)
		fclose(f);
	return type;
}

/* A kernel uprobe at addr in pid, which counts the hits of the first thread; -1. */
static int foreign_uprobe_at(pid_t pid, uint64_t addr)
{
	static const char path[] = "/proc/self/exe";
	struct perf_event_attr attr = { .size = sizeof(attr),
					.config1 = (uintptr_t)path,
					.config2 = file_offset(addr) };
	int type = uprobe_type(), fd = -1;

	attr.type = (uint32_t)type;
	if (type >= 0)
		fd = (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1,
				  PERF_FLAG_FD_CLOEXEC);
	return fd;
}

static int foreign_uprobe(pid_t pid)
{
	return foreign_uprobe_at(pid, beat_addr());
}

static uint64_t counted(int fd)
{
	uint64_t n = 0;

	assert_int_equal(perf_watch_count(fd, &n), 0);
	return n;
}

static void need_uprobes(void)
{
	int fd = foreign_uprobe(getpid());

	if (fd < 0)
		harness_skip("no uprobes here");
	close(fd);
}

static void answer_hits(struct hold *h, struct seen *seen, long until)
{
	struct hold_event ev;

	while (seen->hits < until) {
		assert_true(next(h, &ev, harness_ms(10000)));
		take(h, &ev, seen);
	}
}

static void stop(struct hold *h, struct seen *seen)
{
	struct hold_event ev = { .kind = HOLD_EV_BKPT };

	if (hold_stop(h))
		return;
	while (ev.kind != HOLD_EV_STOPPED) {
		assert_true(next(h, &ev, harness_ms(10000)));
		take(h, &ev, seen);
	}
}

/* Ours comes while theirs is there, theirs goes first. Breaks when its trap is saved as
 * the program's, or written back. */
static void a_uprobe_leaves_first(void)
{
	struct seen seen = { .status = -1 };
	struct hold *h;
	pid_t pid;
	int fd;

	need_events();
	need_uprobes();
	new_board();
	pid = start(be_beating);
	await(atomic_load(&board->ready) == THREADS);
	fd = foreign_uprobe(pid);
	h = grab(pid, 0);
	set(h, 0); /* not even asked for by its owner: a trap cannot be had */
	hold_set_patience(h, 0);
	assert_int_not_equal(text_byte(pid), own_byte);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	atomic_store(&board->go, 1);
	answer_hits(h, &seen, 500);
	assert_int_above(counted(fd), 0);
	close(fd);
	await(text_byte(pid) == own_byte);
	answer_hits(h, &seen, 1000);
	stop(h, &seen);
	assert_int_equal(hold_bkpt_clear(h, beat_addr()), 0);
	assert_int_equal(text_byte(pid), own_byte);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_int_equal(waitpid(pid, &seen.status, 0), pid);
	assert_int_equal(seen.status, 42 << 8);
	hold_forget_keeper();
}

/* The same through the handle, which reads the text: it must not take the uprobe's trap
 * for the program's instruction. */
static void a_uprobe_is_no_instruction(void)
{
	struct ps_prochandle *P;
	unsigned long saved = 0;
	int fd, err, status;
	pid_t pid;

	need_events();
	need_uprobes();
	new_board();
	pid = start(be_beating);
	await(atomic_load(&board->ready) == THREADS);
	fd = foreign_uprobe(pid);
	P = Pgrab(pid, 0, &err);
	assert_non_null(P);
	assert_int_equal(Psetbkpt(P, beat_addr(), &saved), 0);
	assert_memory_equal(&saved, (const void *)beat, 3);
	atomic_store(&board->go, 1);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(Psetrun(P, 0, 0), 0);
		assert_int_equal(Pwait(P, 10000), 0);
		assert_int_equal(Pstatus(P)->pr_lwp.pr_what, FLTBPT);
	}
	close(fd);
	await(text_byte(pid) == own_byte);
	assert_int_equal(Pdelbkpt(P, beat_addr(), saved), 0);
	assert_int_equal(text_byte(pid), own_byte);
	Prelease(P, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
	hold_forget_keeper();
}

/* Theirs comes while ours is there, ours goes first. Breaks when the program's byte is
 * written over its trap. */
static void a_uprobe_stays(void)
{
	struct seen seen = { .status = -1 };
	struct hold *h;
	pid_t pid;
	int fd;

	need_events();
	need_uprobes();
	new_board();
	pid = start(be_beating);
	h = held(pid, THREADS, THREADS);
	hold_set_patience(h, 0);
	fd = foreign_uprobe(pid);
	atomic_store(&board->go, 1);
	answer_hits(h, &seen, 500);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_int_equal(waitpid(pid, &seen.status, 0), pid);
	assert_int_equal(seen.status, 42 << 8);
	assert_int_equal(counted(fd), CALLS); /* it has missed none */
	close(fd);
	hold_forget_keeper();
}

/* In a victim that has uprobes a trap is nobody's business but the kernel's wherever
 * another process has one. Breaks when a trap stays in the text of such a victim because
 * it would be killed with us: none of its hits would be told. */
static void a_uprobe_in_another_process(void)
{
	struct seen seen;
	struct hold *h;
	pid_t pid, other;
	int there, here;

	need_events();
	need_uprobes();
	new_board();
	pid = start(be_beating);
	other = start((void (*)(void))pause);
	there = foreign_uprobe(other);
	here = foreign_uprobe_at(pid, (uint64_t)(uintptr_t)beat_once);
	assert_true(there >= 0 && here >= 0);
	await(atomic_load(&board->ready) == THREADS);
	h = grab(pid, HOLD_KLC);
	set(h, HOLD_BKPT_KERNEL);
	assert_int_not_equal(text_byte(pid), own_byte);
	assert_int_equal(hold_uprobes(h), 0);
	assert_int_equal(text_byte(pid), own_byte);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	seen = let_go_and_watch(h, pid);
	assert_int_equal(seen.hits, THREADS * CALLS);
	assert_int_equal(seen.late, 0);
	close(there);
	close(here);
	kill(other, SIGKILL);
	assert_int_equal(waitpid(other, NULL, 0), other);
}

/* --- the keeper is killed ---------------------------------------------------------- */

/* Breaks when anything of ours is in the text, or the signal of a hit is deadly. */
static void keeper_killed_at_any_instant(void)
{
	unsigned seed = (unsigned)harness_now_ms();
	int under_fire = 0;

	need_events();
	for (int round = 0; round < ROUNDS; round++)
		under_fire += kill_keeper_after(rand_r(&seed) % 20000, "[perf_event]",
						THREADS + 2);
	assert_int_above(under_fire, ROUNDS / 2);
}

static const struct harness_test tests[] = {
	TEST(every_hit_of_every_thread),
	TEST(threads_born_under_it),
	TEST(too_many_threads_make_it_a_trap),
	TEST(a_victim_with_handlers),
	TEST(merged_with_foreign_signals),
	TEST(children_run_free),
	TEST(late_hits_are_known),
	TEST(blocked_from_the_first),
	TEST(changing_kind_loses_nothing),
	TEST(a_trap_is_upgraded_under_fire),
	TEST(a_uprobe_leaves_first),
	TEST(a_uprobe_is_no_instruction),
	TEST(a_uprobe_stays),
	TEST(a_uprobe_in_another_process),
	TEST_IN(keeper_killed_at_any_instant, 120),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
