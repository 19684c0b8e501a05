/* SPDX-License-Identifier: MIT */
/*
 * What the tests of kernel-managed breakpoints share: victims that call one function,
 * and a holder that counts what it is told of that. The victims are forks of the test, so
 * that the addresses of their functions are known; they count in memory shared with it.
 */
#ifndef PGRAB_TESTS_BEAT_TEST_H
#define PGRAB_TESTS_BEAT_TEST_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dtrace.h"
#include "harness/harness.h"
#include "hold/hold.h"
#include "os/perf.h"
#include "os/procfs.h"

enum {
	THREADS = 4,
	CALLS = 1500, /* of one thread */
	ROUNDS = 60,
};

/* Shared between test, client and victim. */
struct board {
	atomic_long calls;   /* of beat() */
	atomic_int ready;    /* threads that wait for `go` */
	atomic_int go;       /* they may begin */
	atomic_int stop;     /* they are to end */
	atomic_long handled; /* signals that reached the victim's handler */
	atomic_int keeper;   /* pid of the client's keeper, once all is in force */
	atomic_int wrong;    /* what should not have happened, did */
};

static struct board *board;

/* How far behind the breakpoint a hit is told: bytes. */
static uint64_t told_behind;

/* Where the breakpoint stands. A `cmp`, which a trap would have to be lifted for. */
__attribute__((naked, noinline, used)) static void beat(void)
{
	__asm__ volatile("cmp %rax, %rax\n\tret");
}

#define own_byte 0x48 /* the first one of it */

static inline uint64_t beat_addr(void)
{
	return (uint64_t)(uintptr_t)beat;
}

static inline void call_beat(void)
{
	beat();
	atomic_fetch_add(&board->calls, 1);
}

static inline void new_board(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(board != MAP_FAILED);
}

static inline void wait_for_go(void)
{
	atomic_fetch_add(&board->ready, 1);
	while (!atomic_load(&board->go))
		usleep(200);
}

/* --- victims ----------------------------------------------------------------------- */

static inline void *beat_often(void *arg)
{
	wait_for_go();
	for (int i = 0; i < CALLS; i++)
		call_beat();
	return arg;
}

static inline void run_threads(void *(*fn)(void *), int n)
{
	pthread_t t[64];

	for (int i = 1; i < n; i++)
		pthread_create(&t[i], NULL, fn, NULL);
	fn(NULL);
	for (int i = 1; i < n; i++)
		pthread_join(t[i], NULL);
}

static inline void be_beating(void)
{
	run_threads(beat_often, THREADS);
}

static inline void *beat_once(void *arg)
{
	call_beat();
	return arg;
}

/* A thousand threads, each calls once. */
static inline void be_many(void)
{
	pthread_t t;

	wait_for_go();
	for (int i = 0; i < 1000; i++)
		if (pthread_create(&t, NULL, beat_once, NULL) || pthread_join(t, NULL))
			atomic_fetch_add(&board->wrong, 1);
}

/* More at once than there are events for. */
static inline void *beat_and_wait(void *arg)
{
	call_beat();
	while (!atomic_load(&board->stop))
		usleep(1000);
	call_beat();
	return arg;
}

static inline void be_crowded(void)
{
	pthread_t t[100];

	wait_for_go();
	for (int i = 0; i < 100; i++)
		pthread_create(&t[i], NULL, beat_and_wait, NULL);
	for (int i = 0; i < 100; i++)
		pthread_join(t[i], NULL);
}

static inline void set_blocked(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGCHLD);
	pthread_sigmask(how, &set, NULL);
}

/* Blocks what a hit could be signalled by, around each call. */
static inline void be_deaf_at_times(void)
{
	wait_for_go();
	for (int i = 0; i < 10; i++) {
		set_blocked(SIG_BLOCK);
		call_beat();
		set_blocked(SIG_UNBLOCK);
	}
}

static inline void be_deaf(void)
{
	set_blocked(SIG_BLOCK);
	be_beating();
}

static inline void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&board->handled, 1);
}

/* Sends itself signals with a handler, and the one that a hit is signalled by. */
static inline void be_signalled(void)
{
	signal(SIGURG, on_signal);
	signal(SIGUSR1, on_signal);
	wait_for_go();
	for (int i = 0; i < CALLS; i++) {
		raise(SIGUSR1);
		raise(SIGURG);
		call_beat();
	}
}

static inline void *shoot(void *arg)
{
	pid_t tid = *(pid_t *)arg;

	while (!atomic_load(&board->stop)) {
		syscall(SYS_tgkill, getpid(), tid, SIGURG);
		syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
	}
	return arg;
}

/* Somebody else's SIGURG comes at every instant: the kernel merges it with ours. */
static inline void be_shot_at(void)
{
	pid_t tid = (pid_t)syscall(SYS_gettid);
	pthread_t t;

	signal(SIGUSR1, on_signal);
	wait_for_go();
	pthread_create(&t, NULL, shoot, &tid);
	for (int i = 0; i < CALLS; i++)
		call_beat();
	atomic_store(&board->stop, 1);
	pthread_join(t, NULL);
}

static inline void one_child(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status != 17 << 8)
		atomic_fetch_add(&board->wrong, 1);
}

static inline pid_t vfork_beating(void)
{
	pid_t pid = vfork();

	if (!pid) {
		beat();
		_exit(17);
	}
	return pid;
}

/* Children of both kinds call it too: they are none of ours. */
static inline void be_forking(void)
{
	wait_for_go();
	for (int i = 0; i < 100; i++) {
		pid_t pid = fork();

		if (!pid) {
			beat();
			_exit(17);
		}
		one_child(pid);
		one_child(vfork_beating());
		call_beat();
	}
}

static inline pid_t start(void (*be)(void))
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	be();
	_exit(atomic_load(&board->wrong) ? 43 : 42);
}

/* --- the holder -------------------------------------------------------------------- */

/* What has been seen of a victim. */
struct seen {
	long hits;  /* questions */
	long late;  /* BKPT events that were answered before they were sent */
	int status; /* of its end */
};

static inline int perf_events(pid_t pid)
{
	return harness_descriptors(pid, "[perf_event]");
}

static inline bool allowed(void)
{
	static const uint64_t nothing;
	struct perf_watch w = { (uintptr_t)&nothing, 8, PERF_WRITE };
	int fd = perf_watch_open((pid_t)syscall(SYS_gettid), &w, SIGURG);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static inline void need_events(void)
{
	if (!allowed())
		harness_skip("no perf events here");
	if (HARNESS_TSAN)
		harness_skip("the sanitizer's own thread blocks every signal, so that "
			     "nothing is kept by the kernel");
}

static inline struct arch_insn decode_beat(void)
{
	struct arch_insn insn;

	assert_int_equal(arch_decode((const uint8_t *)beat, ARCH_INSN_MAX, &insn), 0);
	return insn;
}

static inline struct hold *grab(pid_t pid, unsigned flags)
{
	struct hold_event first;
	int pidfd = procfs_pidfd(pid);
	struct hold *h;

	assert_int_equal(hold_grab(pid, pidfd, flags, 0, &h, &first, NULL), 0);
	close(pidfd);
	return h;
}

static inline void set(struct hold *h, unsigned flags)
{
	struct arch_insn insn = decode_beat();

	assert_int_equal(hold_bkpt_set(h, beat_addr(), &insn, flags), 0);
}

static inline uint8_t text_byte(pid_t pid)
{
	char path[32];
	uint8_t byte = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, &byte, 1, (off_t)beat_addr()), 1);
	close(fd);
	return byte;
}

/* A victim of `threads` threads that are ready, under a breakpoint. The keeper has one
 * event of its own. */
static inline struct hold *held(pid_t pid, int threads, int events)
{
	struct hold *h;

	await(atomic_load(&board->ready) == threads);
	h = grab(pid, 0);
	set(h, HOLD_BKPT_KERNEL);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	if (events)
		await(perf_events(hold_keeper_pid()) == events + 1 &&
		      text_byte(pid) == *(const uint8_t *)beat);
	return h;
}

static inline bool next(struct hold *h, struct hold_event *ev, int ms)
{
	struct pollfd p = { .fd = hold_event_fd(h), .events = POLLIN };
	int got = hold_next(h, ev);

	if (!got && poll(&p, 1, ms) == 1)
		got = hold_next(h, ev);
	return got == 1;
}

static inline void take(struct hold *h, const struct hold_event *ev, struct seen *seen)
{
	if (ev->kind == HOLD_EV_EXIT)
		seen->status = ev->status;
	if (ev->kind != HOLD_EV_BKPT)
		return;
	if (!(ev->flags & HOLD_EVF_QUESTION)) {
		seen->late++;
		return;
	}
	seen->hits++;
	if (ev->addr != beat_addr() || arch_pc(&ev->regs) != ev->addr + told_behind)
		atomic_fetch_add(&board->wrong, 1);
	hold_answer(h, ev->tid, ev->seq, HOLD_RESUME);
}

/* Answers until its end. */
static inline struct seen watch(struct hold *h)
{
	struct seen seen = { .status = -1 };
	struct hold_event ev;

	while (seen.status < 0) {
		assert_true(next(h, &ev, harness_ms(10000)));
		take(h, &ev, &seen);
	}
	return seen;
}

static inline struct seen let_go_and_watch(struct hold *h, pid_t pid)
{
	struct seen seen;
	int status;

	hold_set_patience(h, 0);
	atomic_store(&board->go, 1);
	seen = watch(h);
	assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
	assert_int_equal(atomic_load(&board->wrong), 0);
	hold_forget_keeper();
	return seen;
}

/* --- the keeper is killed ---------------------------------------------------------- */

enum {
	STEPS = 3000 /* of one thread's sum */
};

/* In the victims' directory. */
static inline void library(char *buf, size_t size)
{
	const char *spin = victim_path("spin");

	snprintf(buf, size, "%.*slibvictim_one.so", (int)(strrchr(spin, '/') + 1 - spin),
		 spin);
}

/* Loads and unloads, and computes what the test knows. */
static inline void *load_and_sum(void *arg)
{
	uint32_t sum = 1;
	char path[4096];

	library(path, sizeof(path));
	wait_for_go();
	for (int i = 0; i < STEPS; i++) {
		void *h = i % 4 ? NULL : dlopen(path, RTLD_NOW);

		sum = sum * 1664525u + 1013904223u;
		call_beat();
		if (i % 4 == 0 && (!h || dlclose(h)))
			atomic_fetch_add(&board->wrong, 1);
	}
	if (sum != *(uint32_t *)arg)
		atomic_fetch_add(&board->wrong, 1);
	return arg;
}

static inline void be_loading(void)
{
	pthread_t t[THREADS];
	uint32_t right = 1;

	for (int i = 0; i < STEPS; i++)
		right = right * 1664525u + 1013904223u;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, load_and_sum, &right);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

/* A session that holds pid, until killed. Tells its keeper when that has n descriptors
 * of that kind. */
static inline pid_t start_session(pid_t pid, const char *kind, int n)
{
	struct ps_prochandle *P;
	dtrace_hdl_t *dtp;
	int err;
	pid_t client = fork();

	if (client)
		return client;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dtp = dtrace_open(DTRACE_VERSION, 0, &err);
	P = dtp ? dtrace_proc_grab(dtp, pid, 0) : NULL;
	if (!P)
		_exit(1);
	dtrace_proc_continue(dtp, P);
	while (harness_descriptors(hold_keeper_pid(), kind) < n)
		usleep(100);
	atomic_store(&board->keeper, hold_keeper_pid());
	for (;;)
		dtrace_sleep(dtp);
}

/* Was it killed before the victim was through? Not when we had to wait for a CPU. */
static inline bool kill_keeper_after(unsigned us, const char *kind, int n)
{
	pid_t pid, client;
	long before;
	int status;

	new_board();
	pid = start(be_loading);
	await(atomic_load(&board->ready) == THREADS);
	client = start_session(pid, kind, n);
	await(atomic_load(&board->keeper));
	atomic_store(&board->go, 1);
	usleep(us);
	before = atomic_load(&board->calls);
	assert_int_equal(kill(atomic_load(&board->keeper), SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
	assert_int_equal(atomic_load(&board->calls), THREADS * STEPS);
	kill(client, SIGKILL);
	assert_int_equal(waitpid(client, &status, 0), client);
	munmap(board, sizeof(*board));
	return before < THREADS * STEPS;
}

#endif
