/* SPDX-License-Identifier: MIT */
/*
 * Watchpoints (Psetwapt): exact counts of hits, in every thread, at the right bytes; and
 * what is said when they cannot be had.
 *
 * The victims are forks of the test, so that the addresses of its data are known.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "hold/hold.h"
#include "libproc.h"
#include "os/perf.h"

enum {
	THREADS = 4,
	TIMES = 50
};

/* Shared between test and victim. */
struct board {
	_Alignas(64) volatile uint64_t cell; /* what is watched */
	volatile uint64_t other;             /* beside it */
	_Alignas(64) atomic_int ready;       /* threads that wait for `go` */
	atomic_int go;                       /* they may begin */
	atomic_int handled;                  /* signals that reached a handler */
};

static struct board *board;

__attribute__((naked, noinline, used)) static void called(void)
{
	__asm__ volatile("cmp %rax, %rax\n\tret");
}

static void new_board(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(board != MAP_FAILED);
}

/* --- victims ----------------------------------------------------------------------- */

static void wait_for_go(void)
{
	atomic_fetch_add(&board->ready, 1);
	while (!atomic_load(&board->go))
		usleep(200);
}

/* Threads write at once: that is what is watched, and no race of ours. */
__attribute__((no_sanitize("thread"))) static void *write_often(void *arg)
{
	if (!arg)
		wait_for_go();
	for (int i = 0; i < TIMES; i++) {
		board->cell = (uint64_t)i;
		board->other = (uint64_t)i;
	}
	return NULL;
}

static void be_writing(void)
{
	pthread_t t[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, write_often, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

static void be_reading(void)
{
	wait_for_go();
	for (int i = 0; i < TIMES; i++)
		board->other = board->cell + board->other;
}

static void be_calling(void)
{
	wait_for_go();
	for (int i = 0; i < TIMES; i++)
		called();
}

/* Its threads are born under the watchpoint. */
static void be_giving_birth(void)
{
	pthread_t t[THREADS];

	wait_for_go();
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, write_often, board);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&board->handled, 1);
}

/* A signal with a handler is queued at the very access. */
static void be_signalled(void)
{
	signal(SIGUSR1, on_signal);
	wait_for_go();
	for (int i = 0; i < TIMES; i++) {
		raise(SIGUSR1);
		board->cell = (uint64_t)i;
	}
}

static void be_execing(void)
{
	wait_for_go();
	execl(victim_path("sleeper"), "sleeper", NULL);
}

static void be_waiting(void)
{
	wait_for_go();
}

/* --- the holder -------------------------------------------------------------------- */

static bool allowed(void)
{
	struct perf_watch w = { (uintptr_t)&board->cell, 8, PERF_WRITE };
	int fd = perf_watch_open((pid_t)syscall(SYS_gettid), &w, SIGURG);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static pid_t start(void (*be)(void))
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	be();
	_exit(42);
}

static struct ps_prochandle *grab(void (*be)(void), int threads, pid_t *ret_pid)
{
	struct ps_prochandle *P;
	int err;

	new_board();
	if (!allowed())
		harness_skip("no perf events here");
	*ret_pid = start(be);
	await(atomic_load(&board->ready) == threads);
	P = Pgrab(*ret_pid, 0, &err);
	assert_non_null(P);
	return P;
}

static prwatch_t on_cell(size_t size, int flags)
{
	return (prwatch_t){ (uintptr_t)&board->cell, size, flags };
}

/* Lets it go on to its end: how many stops on a watchpoint at addr. Any other stop
 * fails. */
static int count(struct ps_prochandle *P, pid_t pid, uintptr_t addr)
{
	int hits = 0, status;

	atomic_store(&board->go, 1);
	for (;;) {
		const lwpstatus_t *l = &Pstatus(P)->pr_lwp;

		assert_int_equal(Psetrun(P, 0, 0), 0);
		if (Pwait(P, 10000))
			break;
		assert_int_equal(l->pr_why, PR_FAULTED);
		assert_int_equal(l->pr_what, FLTWATCH);
		assert_ptr_equal(l->pr_info.si_addr, addr);
		hits++;
	}
	assert_int_equal(Pstate(P), PS_UNDEAD);
	Prelease(P, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
	hold_forget_keeper();
	return hits;
}

static int count_on_cell(void (*be)(void), int threads, size_t size, int flags)
{
	pid_t pid;
	struct ps_prochandle *P = grab(be, threads, &pid);
	prwatch_t w = on_cell(size, flags);

	assert_int_equal(Psetwapt(P, &w), 0);
	return count(P, pid, w.pr_vaddr);
}

/* --- tests ------------------------------------------------------------------------- */

/* Breaks when an LWP is not watched, or two that hit at once are told as one. */
static void writes_of_every_thread(void)
{
	assert_int_equal(count_on_cell(be_writing, THREADS, 8, WA_WRITE),
			 THREADS * TIMES);
}

/* Breaks when a new thread is not watched from its first instruction. */
static void writes_of_new_threads(void)
{
	assert_int_equal(count_on_cell(be_giving_birth, 1, 8, WA_WRITE), THREADS * TIMES);
}

/* Breaks when reads hit a watchpoint for writes, or the other way round. */
static void reads_and_writes_are_told_apart(void)
{
	assert_int_equal(count_on_cell(be_reading, 1, 8, WA_READ | WA_WRITE), TIMES);
	assert_int_equal(count_on_cell(be_reading, 1, 8, WA_WRITE), 0);
}

/* Each length, at the first byte of eight that are written as one. */
static void every_length(void)
{
	for (size_t size = 1; size <= 8; size *= 2)
		assert_int_equal(count_on_cell(be_writing, THREADS, size, WA_WRITE),
				 THREADS * TIMES);
}

/* Breaks when the PC is not at the instruction, or the resume hits again. */
static void execution(void)
{
	pid_t pid;
	struct ps_prochandle *P = grab(be_calling, 1, &pid);
	prwatch_t w = { (uintptr_t)called, 0, WA_EXEC };
	prgreg_t pc;

	assert_int_equal(Psetwapt(P, &w), 0);
	atomic_store(&board->go, 1);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_int_equal(Pwait(P, 10000), 0);
	assert_int_equal(Pgetareg(P, R_PC, &pc), 0);
	assert_int_equal(pc, w.pr_vaddr);
	assert_int_equal(Pxecwapt(P, &w), 0);
	assert_int_equal(Pgetareg(P, R_PC, &pc), 0);
	assert_int_equal(pc, w.pr_vaddr + 3);
	assert_int_equal(count(P, pid, w.pr_vaddr), TIMES - 1);
}

/* Breaks when a hit whose signal is queued behind another is lost. */
static void beside_signals(void)
{
	assert_int_equal(count_on_cell(be_signalled, 1, 8, WA_WRITE), TIMES);
	assert_int_equal(atomic_load(&board->handled), TIMES);
}

/* Breaks when a removed one hits, or its register stays taken. */
static void removed_ones_do_not_hit(void)
{
	pid_t pid;
	struct ps_prochandle *P = grab(be_writing, THREADS, &pid);
	prwatch_t w = on_cell(8, WA_WRITE);

	for (int i = 0; i < 10; i++) {
		assert_int_equal(Psetwapt(P, &w), 0);
		assert_int_equal(Psetwapt(P, &w), -1);
		assert_int_equal(errno, EEXIST);
		assert_int_equal(Pdelwapt(P, &w), 0);
		assert_int_equal(Pdelwapt(P, &w), -1);
		assert_int_equal(errno, ENOENT);
	}
	assert_int_equal(count(P, pid, 0), 0);
}

static void must_fail(struct ps_prochandle *P, prwatch_t w, int err)
{
	errno = 0;
	assert_int_equal(Psetwapt(P, &w), -1);
	assert_int_equal(errno, err);
}

static void impossible_ones_are_refused(void)
{
	pid_t pid;
	struct ps_prochandle *P = grab(be_waiting, 1, &pid);
	prwatch_t odd = on_cell(8, WA_WRITE);

	odd.pr_vaddr++;
	must_fail(P, odd, EINVAL);
	must_fail(P, on_cell(3, WA_WRITE), EINVAL);
	must_fail(P, on_cell(16, WA_WRITE), EINVAL);
	must_fail(P, on_cell(8, 0), EINVAL);
	must_fail(P, on_cell(8, WA_EXEC | WA_WRITE), EINVAL);
	assert_int_equal(count(P, pid, 0), 0);
}

/* Four registers: by us, or by somebody else. Breaks when a watchpoint stands in some
 * threads only. */
static void taken_registers_are_said(void)
{
	struct perf_watch foreign = { (uintptr_t)called, 1, PERF_EXEC };
	struct ps_prochandle *P;
	prwatch_t w;
	pid_t pid;
	int fd;

	P = grab(be_waiting, 1, &pid);
	w = on_cell(8, WA_WRITE);
	fd = perf_watch_open(pid, &foreign, SIGURG);
	assert_int_above(fd, -1);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(Psetwapt(P, &w), 0);
		w.pr_vaddr += 8;
	}
	must_fail(P, w, EBUSY);
	assert_string_equal(Pwapt_error(EBUSY),
			    "every debug register of a thread is taken");
	close(fd);
	assert_int_equal(Psetwapt(P, &w), 0);
	w.pr_vaddr += 8;
	must_fail(P, w, EBUSY);
	assert_int_equal(count(P, pid, 0), 0);
}

/* Where the kernel refuses: what is said, and that the victim is none the worse. */
static void refusals_are_said(void)
{
	struct ps_prochandle *P;
	prwatch_t w;
	pid_t pid;
	int err;

	new_board();
	if (allowed())
		harness_skip("perf events are allowed here");
	pid = start(be_waiting);
	await(atomic_load(&board->ready) == 1);
	P = Pgrab(pid, 0, &err);
	assert_non_null(P);
	w = on_cell(8, WA_WRITE);
	assert_int_equal(Psetwapt(P, &w), -1);
	assert_true(errno == EPERM || errno == EACCES || errno == ENOSYS);
	assert_non_null(strstr(Pwapt_error(errno), "perf events"));
	assert_int_equal(count(P, pid, 0), 0);
}

/* Breaks when an exec leaves a slot in use. */
static void an_exec_drops_them(void)
{
	prwatch_t w;
	struct ps_prochandle *P;
	pid_t pid;
	int status;

	P = grab(be_execing, 1, &pid);
	w = on_cell(8, WA_WRITE);
	assert_int_equal(Psetwapt(P, &w), 0);
	atomic_store(&board->go, 1);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	await(Pdelwapt(P, &w) == -1 && errno == ENOENT);
	Prelease(P, PRELEASE_KILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	hold_forget_keeper();
}

static const struct harness_test tests[] = {
	TEST(writes_of_every_thread),
	TEST(writes_of_new_threads),
	TEST(reads_and_writes_are_told_apart),
	TEST(every_length),
	TEST(execution),
	TEST(beside_signals),
	TEST(removed_ones_do_not_hit),
	TEST(impossible_ones_are_refused),
	TEST(taken_registers_are_said),
	TEST(an_exec_drops_them),
	TEST(refusals_are_said),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
