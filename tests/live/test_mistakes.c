/* SPDX-License-Identifier: MIT */
/*
 * Mistakes that the other tests leave to be made: see docs/tests.md. The number at the
 * end of a name is the mistake's in the contract's list.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dtrace.h"
#include "harness/harness.h"

static dtrace_hdl_t *session(void)
{
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);

	assert_non_null(s);
	return s;
}

static struct ps_prochandle *grab(dtrace_hdl_t *s, pid_t pid, int flags)
{
	struct ps_prochandle *P = dtrace_proc_grab(s, pid, flags);

	if (!P)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	return P;
}

static void start(struct victim *v, const char *name)
{
	victim_start(v, name, NULL);
	victim_expect(v, "ready");
}

/* --- 2 ------------------------------------------------------------------------------ */

/* In a sanitizer's build address space is no limit that can be set. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_LIMIT 0
#else
#define CAN_LIMIT 1
#endif

static unsigned long address_space(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages * (unsigned long)sysconf(_SC_PAGESIZE);
}

/* With so many KiB of address space left: the session's errno, 0 when it succeeded. */
static int create_with(unsigned long kib)
{
	char *argv[] = { (char *)"session_victim", NULL };
	dtrace_hdl_t *s = session();
	struct rlimit all, few;
	int err = 0;

	assert_int_equal(getrlimit(RLIMIT_AS, &all), 0);
	few = all;
	few.rlim_cur = address_space() + kib * 1024;
	assert_int_equal(setrlimit(RLIMIT_AS, &few), 0);
	if (!dtrace_proc_create(s, victim_path("session_victim"), argv))
		err = dtrace_errno(s);
	assert_int_equal(setrlimit(RLIMIT_AS, &all), 0);
	dtrace_close(s);
	return err;
}

/* A thread's stack is what first finds no room: the victim stands at its exec then, and
 * is alive. Breaks when the failed create lets it go: it would say so. */
static void a_failed_create_lets_nothing_run_2(void)
{
	int said[2], threadless = 0, status;
	char fd[16], word[16];

	if (!CAN_LIMIT)
		harness_skip("a sanitizer needs its address space");
	assert_int_equal(pipe(said), 0);
	fcntl(said[0], F_SETFL, O_NONBLOCK);
	snprintf(fd, sizeof(fd), "%d", said[1]);
	setenv("SESSION_FD", fd, 1);
	for (unsigned long kib = 32; kib < 32768; kib += kib / 2) {
		threadless += create_with(kib) == EDT_CTLTHREAD;
		assert_int_equal(waitpid(-1, &status, __WALL), -1);
	}
	poll(NULL, 0, 100); /* for one that has been let go to speak */
	assert_int_equal(read(said[0], word, sizeof(word)), -1);
	assert_int_above(threadless, 0);
	close(said[0]);
	close(said[1]);
}

/* --- 5 ------------------------------------------------------------------------------ */

/* A child with that pid exactly; 0 where the kernel does not let us choose. */
static pid_t fork_as(pid_t wanted)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", wanted - 1);
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
	pid_t pid;

	if (fd < 0 || write(fd, text, (size_t)len) != len)
		harness_skip("no pid can be chosen here: %s", strerror(errno));
	close(fd);
	pid = fork();
	if (!pid)
		for (;;)
			pause();
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* In a pid namespace of its own, since elsewhere somebody else may take the pid. */
static void recycle_a_pid(void)
{
	dtrace_hdl_t *s;
	struct ps_prochandle *P, *fresh;
	unsigned char byte;
	pid_t old, pid;

	old = fork_as(500);
	s = session();
	P = grab(s, old, PGRAB_RDONLY);
	dtrace_proc_release(s, P); /* cached */
	assert_non_null(dt_proc_lookup(s, P, 0));
	end(old);
	pid = fork_as(old);
	assert_int_equal(pid, old);
	fresh = grab(s, pid, PGRAB_RDONLY);
	/* whether or not the old one's memory has been handed out again: of a process
	 * that has ended nothing can be read */
	assert_int_equal(Pread(fresh, &byte, 1, (uintptr_t)&fork_as), 1);
	if (fresh != P)
		assert_null(dt_proc_lookup(s, P, 0));
	dtrace_close(s);
	end(pid);
}

static int status_of(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Forks the first process of a pid namespace, which can fork no more when that ends. */
static _Noreturn void enter_namespace(void)
{
	pid_t pid;

	if (unshare(CLONE_NEWPID | CLONE_NEWNS))
		harness_skip("no pid namespace: %s", strerror(errno));
	pid = fork();
	if (pid)
		_exit(status_of(pid) >> 8);
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL))
		harness_skip("no /proc of its own: %s", strerror(errno));
	recycle_a_pid();
	_exit(0);
}

/* Breaks when a cached record is told by its pid alone: the second process would get the
 * handle of the first. */
static void a_recycled_pid_is_another_process_5(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		enter_namespace();
	status = status_of(pid);
	if (status == 77 << 8)
		_exit(77); /* it has said why */
	assert_int_equal(status, 0);
}

/* --- 6, 7, 9 ------------------------------------------------------------------------ */

static void spin(int n)
{
	for (volatile int i = 0; i < n; i++)
		;
}

/* Breaks when a poke between the control thread's look at its flags and its wait is lost:
 * one of the closes would hang. */
static void no_poke_is_lost_6(void)
{
	struct victim v;

	start(&v, "sleeper");
	for (int i = 0; i < 200; i++) {
		dtrace_hdl_t *s = session();
		struct ps_prochandle *P = grab(s, v.pid, 0);

		spin(i * 7 % 4000);
		if (i % 3)
			dtrace_proc_continue(s, P);
		spin(i * 13 % 4000);
		if (i % 2)
			dtrace_proc_release(s, P);
		dtrace_close(s);
	}
	assert_int_equal(victim_end(&v), 0);
}

static atomic_long hits;

static void on_hit(dtrace_hdl_t *s, struct ps_prochandle *P, pid_t tid,
		   const prgregset_t regs, void *arg)
{
	(void)s, (void)P, (void)tid, (void)regs, (void)arg;
	atomic_fetch_add(&hits, 1);
}

static void plant(dtrace_hdl_t *s, struct ps_prochandle *P, const char *name)
{
	GElf_Sym sym;

	assert_int_equal(Plookup_by_name(P, PR_OBJ_EXEC, name, &sym), 0);
	assert_non_null(dt_proc_bpcreate(s, P, (uintptr_t)sym.st_value, on_hit, NULL));
}

/* Breaks when the way of the release is chosen before the victim stands: one that
 * somebody stops in that moment would be set running, or a created one be killed in
 * spite of the stop. */
static void a_stop_during_the_release_is_kept_7(void)
{
	for (int i = 0; i < 60; i++) {
		dtrace_hdl_t *s = session();
		struct ps_prochandle *P;
		struct victim v;

		start(&v, "sleeper");
		P = grab(s, v.pid, 0);
		dtrace_proc_continue(s, P);
		spin(i * 50);
		kill(v.pid, SIGSTOP);
		spin(i * 500);
		dtrace_proc_release(s, P);
		await(harness_state(v.pid) == 'T');
		kill(v.pid, SIGCONT);
		dtrace_close(s);
		assert_int_equal(victim_end(&v), 0);
	}
}

/* Breaks when the victim runs before its text is its own again: a thread would run into
 * a trap of which nobody knows any more. */
static void no_trap_survives_a_release_9(void)
{
	dtrace_hdl_t *s = session();
	struct victim v;

	start(&v, "calls");
	victim_send(&v, "forever leaf");
	victim_expect(&v, "calling");
	for (int i = 0; i < 200; i++) {
		struct ps_prochandle *P = grab(s, v.pid, 0);
		long from = atomic_load(&hits);

		plant(s, P, i % 2 ? "leaf" : "framed");
		dtrace_proc_continue(s, P);
		await(i % 2 == 0 || atomic_load(&hits) > from + i % 5);
		dtrace_proc_release(s, P);
	}
	dtrace_close(s);
	victim_send(&v, "enough");
	victim_expect(&v, "calls=");
	assert_int_equal(victim_end(&v), 0);
}

/* --- 16, 20 ------------------------------------------------------------------------- */

static int stops, continues, ends;

static void on_event(const dtrace_procev_t *ev, void *arg)
{
	(void)arg;
	stops += ev->kind == DT_PROC_EV_STOP;
	continues += ev->kind == DT_PROC_EV_CONTINUE;
	ends += ev->kind == DT_PROC_EV_EXIT || ev->kind == DT_PROC_EV_LOST;
}

static void listen_until(dtrace_hdl_t *s, const int *count, int wanted)
{
	int64_t until = harness_now_ms() + harness_ms(10000);

	while (*count < wanted && harness_now_ms() < until) {
		struct pollfd p = { .fd = dtrace_notify_fd(s), .events = POLLIN };

		poll(&p, 1, 100);
		dtrace_dispatch(s);
	}
	assert_int_equal(*count, wanted);
}

/* Breaks when the end of an outside stop is looked for by polling: the median of nine
 * would be half a period. */
static void an_outside_continue_is_told_at_once_16(void)
{
	dtrace_hdl_t *s = session();
	struct ps_prochandle *P;
	int quick = 0;
	struct victim v;

	start(&v, "sleeper");
	dtrace_handle_procev(s, on_event, NULL);
	P = grab(s, v.pid, 0);
	dtrace_proc_continue(s, P);
	for (int i = 1; i <= 9; i++) {
		int64_t begin;

		kill(v.pid, SIGSTOP);
		listen_until(s, &stops, i);
		begin = harness_now_ms();
		kill(v.pid, SIGCONT);
		listen_until(s, &continues, i);
		quick += harness_now_ms() - begin < harness_ms(50);
	}
	assert_int_above(quick, 4);
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

static long cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Breaks when an error that stays (the keeper is gone, the descriptor at its end) is
 * waited for again and again: half a second would cost half a second of CPU. */
static void a_dead_keeper_makes_nobody_spin_20(void)
{
	dtrace_hdl_t *s = session();
	struct ps_prochandle *P;
	struct victim v;
	long cpu;

	start(&v, "sleeper");
	dtrace_handle_procev(s, on_event, NULL);
	ends = 0;
	P = grab(s, v.pid, 0);
	dtrace_proc_continue(s, P);
	await(harness_process(v.pid).tracer && Pstate(P) == PS_RUN);
	kill(harness_process(v.pid).tracer, SIGKILL);
	listen_until(s, &ends, 1);
	cpu = cpu_ms();
	poll(NULL, 0, 500);
	assert_int_below(cpu_ms() - cpu, 100);
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

/* --- 21, 26 ------------------------------------------------------------------------- */

static struct ps_prochandle *told[8];
static int ntold;

static void on_notice(struct ps_prochandle *P, const char *text, void *arg)
{
	(void)arg;
	if (!text && ntold < 8)
		told[ntold++] = P;
}

static void await_notices(dtrace_hdl_t *s, int n)
{
	int64_t until = harness_now_ms() + harness_ms(10000);

	while (ntold < n && harness_now_ms() < until)
		dtrace_sleep(s);
	dtrace_dispatch(s);
	assert_int_equal(ntold, n);
}

/* Breaks when a second grab of one pid makes a second record, or its release discards
 * the notice of the first: whoever waits for two ends, or for one, would wait for ever.
 * The cached read-only handle of a process that nobody controls tells nothing. */
static void a_pid_grabbed_twice_ends_once_21_26(void)
{
	dtrace_hdl_t *s = session();
	struct ps_prochandle *P, *again, *looked;
	struct victim v, other;

	start(&v, "sleeper");
	start(&other, "sleeper");
	dtrace_handle_proc(s, on_notice, NULL);
	P = grab(s, v.pid, 0);
	again = grab(s, v.pid, 0);
	assert_ptr_equal(P, again);
	looked = grab(s, other.pid, PGRAB_RDONLY);
	dtrace_proc_release(s, looked);
	dtrace_proc_continue(s, P);
	dtrace_proc_release(s, again);
	victim_kill(&other);
	victim_kill(&v);
	await_notices(s, 1);
	assert_ptr_equal(told[0], P);
	dtrace_close(s);
}

static const struct harness_test tests[] = {
	TEST(a_failed_create_lets_nothing_run_2),
	TEST(a_recycled_pid_is_another_process_5),
	TEST(no_poke_is_lost_6),
	TEST(a_stop_during_the_release_is_kept_7),
	TEST(no_trap_survives_a_release_9),
	TEST(an_outside_continue_is_told_at_once_16),
	TEST(a_dead_keeper_makes_nobody_spin_20),
	TEST(a_pid_grabbed_twice_ends_once_21_26),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
