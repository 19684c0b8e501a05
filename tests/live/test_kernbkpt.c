/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints that the kernel keeps (HOLD_BKPT_KERNEL): they hit as exactly as traps do,
 * leave the text alone, and a victim survives SIGKILL of the keeper under them.
 *
 * The victims are forks of the test, so that the addresses of their functions are
 * known; they count in memory shared with it. Where perf events are refused (doctor
 * says so) every test but those of the fall-back is skipped.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
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

/* Where the breakpoint stands. A `cmp`, which a trap would have to be lifted for. */
__attribute__((naked, noinline, used)) static void beat(void)
{
	__asm__ volatile("cmp %rax, %rax\n\tret");
}

static const uint8_t own_byte = 0x48; /* the first one of it */

static uint64_t beat_addr(void)
{
	return (uint64_t)(uintptr_t)beat;
}

static void call_beat(void)
{
	beat();
	atomic_fetch_add(&board->calls, 1);
}

static void new_board(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(board != MAP_FAILED);
}

static void wait_for_go(void)
{
	atomic_fetch_add(&board->ready, 1);
	while (!atomic_load(&board->go))
		usleep(200);
}

/* --- victims ----------------------------------------------------------------------- */

static void *beat_often(void *arg)
{
	wait_for_go();
	for (int i = 0; i < CALLS; i++)
		call_beat();
	return arg;
}

static void run_threads(void *(*fn)(void *), int n)
{
	pthread_t t[64];

	for (int i = 1; i < n; i++)
		pthread_create(&t[i], NULL, fn, NULL);
	fn(NULL);
	for (int i = 1; i < n; i++)
		pthread_join(t[i], NULL);
}

static void be_beating(void)
{
	run_threads(beat_often, THREADS);
}

static void *beat_once(void *arg)
{
	call_beat();
	return arg;
}

/* A thousand threads, each calls once. */
static void be_many(void)
{
	pthread_t t;

	wait_for_go();
	for (int i = 0; i < 1000; i++)
		if (pthread_create(&t, NULL, beat_once, NULL) || pthread_join(t, NULL))
			atomic_fetch_add(&board->wrong, 1);
}

/* More at once than there are events for. */
static void *beat_and_wait(void *arg)
{
	call_beat();
	while (!atomic_load(&board->stop))
		usleep(1000);
	call_beat();
	return arg;
}

static void be_crowded(void)
{
	pthread_t t[100];

	wait_for_go();
	for (int i = 0; i < 100; i++)
		pthread_create(&t[i], NULL, beat_and_wait, NULL);
	for (int i = 0; i < 100; i++)
		pthread_join(t[i], NULL);
}

static void set_blocked(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGCHLD);
	pthread_sigmask(how, &set, NULL);
}

/* Blocks what a hit could be signalled by, around each call. */
static void be_deaf_at_times(void)
{
	wait_for_go();
	for (int i = 0; i < 10; i++) {
		set_blocked(SIG_BLOCK);
		call_beat();
		set_blocked(SIG_UNBLOCK);
	}
}

static void be_deaf(void)
{
	set_blocked(SIG_BLOCK);
	be_beating();
}

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&board->handled, 1);
}

/* Sends itself signals with a handler, and the one that a hit is signalled by. */
static void be_signalled(void)
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

static void *shoot(void *arg)
{
	pid_t tid = *(pid_t *)arg;

	while (!atomic_load(&board->stop)) {
		syscall(SYS_tgkill, getpid(), tid, SIGURG);
		syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
	}
	return arg;
}

/* Somebody else's SIGURG comes at every instant: the kernel merges it with ours. */
static void be_shot_at(void)
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

static void one_child(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status != 17 << 8)
		atomic_fetch_add(&board->wrong, 1);
}

static pid_t vfork_beating(void)
{
	pid_t pid = vfork();

	if (!pid) {
		beat();
		_exit(17);
	}
	return pid;
}

/* Children of both kinds call it too: they are none of ours. */
static void be_forking(void)
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

static pid_t start(void (*be)(void))
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

/* Perf events among the descriptors of pid. */
static int perf_events(pid_t pid)
{
	char path[300], to[64];
	struct dirent *e;
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, e->d_name);
		len = readlink(path, to, sizeof(to) - 1);
		n += len > 0 && !strncmp(to, "anon_inode:[perf_event]", 23);
	}
	if (d)
		closedir(d);
	return n;
}

static bool allowed(void)
{
	static const uint64_t nothing;
	struct perf_watch w = { (uintptr_t)&nothing, 8, PERF_WRITE };
	int fd = perf_watch_open((pid_t)syscall(SYS_gettid), &w, SIGURG);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void need_events(void)
{
	if (!allowed())
		harness_skip("no perf events here");
	if (HARNESS_TSAN)
		harness_skip("the sanitizer's own thread blocks every signal, so that "
			     "nothing is kept by the kernel");
}

static struct arch_insn decode_beat(void)
{
	struct arch_insn insn;

	assert_int_equal(arch_decode((const uint8_t *)beat, ARCH_INSN_MAX, &insn), 0);
	return insn;
}

static struct hold *grab(pid_t pid, unsigned flags)
{
	struct hold_event first;
	int pidfd = procfs_pidfd(pid);
	struct hold *h;

	assert_int_equal(hold_grab(pid, pidfd, flags, 0, &h, &first, NULL), 0);
	close(pidfd);
	return h;
}

static void set(struct hold *h, unsigned flags)
{
	struct arch_insn insn = decode_beat();

	assert_int_equal(hold_bkpt_set(h, beat_addr(), &insn, flags), 0);
}

static uint8_t text_byte(pid_t pid)
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
static struct hold *held(pid_t pid, int threads, int events)
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

static bool next(struct hold *h, struct hold_event *ev, int ms)
{
	struct pollfd p = { .fd = hold_event_fd(h), .events = POLLIN };
	int got = hold_next(h, ev);

	if (!got && poll(&p, 1, ms) == 1)
		got = hold_next(h, ev);
	return got == 1;
}

static void take(struct hold *h, const struct hold_event *ev, struct seen *seen)
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
	if (ev->addr != beat_addr() || arch_pc(&ev->regs) != ev->addr)
		atomic_fetch_add(&board->wrong, 1);
	hold_answer(h, ev->tid, ev->seq, HOLD_RESUME);
}

/* Answers until its end. */
static struct seen watch(struct hold *h)
{
	struct seen seen = { .status = -1 };
	struct hold_event ev;

	while (seen.status < 0) {
		assert_true(next(h, &ev, harness_ms(10000)));
		take(h, &ev, &seen);
	}
	return seen;
}

static struct seen let_go_and_watch(struct hold *h, pid_t pid)
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

/* Breaks when the trap that takes over is planted late, or both are counted. */
static void too_many_threads_make_it_a_trap(void)
{
	struct hold *h;
	struct hold_event ev;
	struct seen seen = { .status = -1 };
	pid_t pid;

	need_events();
	new_board();
	pid = start(be_crowded);
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

/* Where beat() is in the file of this program: for the kernel. */
static uint64_t file_offset(void)
{
	struct procfs_map *maps;
	uint64_t at = 0;
	size_t n;

	assert_int_equal(procfs_maps(getpid(), 0, &maps, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (beat_addr() >= maps[i].start && beat_addr() < maps[i].end)
			at = beat_addr() - maps[i].start + maps[i].offset;
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

/* A kernel uprobe at beat() in pid, which counts the hits of the first thread; -1. */
static int foreign_uprobe(pid_t pid)
{
	static const char path[] = "/proc/self/exe";
	struct perf_event_attr attr = { .size = sizeof(attr),
					.config1 = (uintptr_t)path,
					.config2 = file_offset() };
	int type = uprobe_type(), fd = -1;

	attr.type = (uint32_t)type;
	if (type >= 0)
		fd = (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1,
				  PERF_FLAG_FD_CLOEXEC);
	return fd;
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

/* --- the keeper is killed ---------------------------------------------------------- */

enum {
	STEPS = 3000 /* of one thread's sum */
};

/* In the victims' directory. */
static void library(char *buf, size_t size)
{
	const char *spin = victim_path("spin");

	snprintf(buf, size, "%.*slibvictim_one.so", (int)(strrchr(spin, '/') + 1 - spin),
		 spin);
}

/* Loads and unloads, and computes what the test knows. */
static void *load_and_sum(void *arg)
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

static void be_loading(void)
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

/* A session that holds pid, until killed. Tells its keeper when every thread has its
 * event. */
static pid_t start_session(pid_t pid)
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
	while (perf_events(hold_keeper_pid()) < THREADS + 2)
		usleep(100);
	atomic_store(&board->keeper, hold_keeper_pid());
	for (;;)
		dtrace_sleep(dtp);
}

static void kill_keeper_after(unsigned us)
{
	pid_t pid, client;
	long before;
	int status;

	new_board();
	pid = start(be_loading);
	await(atomic_load(&board->ready) == THREADS);
	client = start_session(pid);
	await(atomic_load(&board->keeper));
	atomic_store(&board->go, 1);
	usleep(us);
	before = atomic_load(&board->calls);
	assert_int_equal(kill(atomic_load(&board->keeper), SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
	assert_int_equal(atomic_load(&board->calls), THREADS * STEPS);
	assert_int_below(before, THREADS * STEPS); /* it was killed under fire */
	kill(client, SIGKILL);
	assert_int_equal(waitpid(client, &status, 0), client);
	munmap(board, sizeof(*board));
}

/* Breaks when anything of ours is in the text, or the signal of a hit is deadly. */
static void keeper_killed_at_any_instant(void)
{
	unsigned seed = (unsigned)harness_now_ms();

	need_events();
	for (int round = 0; round < ROUNDS; round++)
		kill_keeper_after(rand_r(&seed) % 20000);
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
	TEST_IN(keeper_killed_at_any_instant, 120),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
