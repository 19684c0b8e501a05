/* SPDX-License-Identifier: MIT */
/*
 * Scenarios that break such programs, with exact totals; what there is elsewhere says
 * docs/tests.md.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dtrace.h"
#include "harness/harness.h"

static atomic_long hits;
static dtrace_hdl_t *s;

static void on_hit(dtrace_hdl_t *dtp, struct ps_prochandle *P, pid_t tid,
		   const prgregset_t regs, void *arg)
{
	(void)dtp, (void)P, (void)tid, (void)regs, (void)arg;
	atomic_fetch_add(&hits, 1);
}

static void plant(struct ps_prochandle *P, const char *name, dt_bkpt_f *fn)
{
	GElf_Sym sym;

	assert_int_equal(Plookup_by_name(P, PR_OBJ_EXEC, name, &sym), 0);
	assert_non_null(dt_proc_bpcreate(s, P, (uintptr_t)sym.st_value, fn, NULL));
}

static dtrace_procev_f on_event;

/* Grabbed and standing. */
static struct ps_prochandle *hold(struct victim *v, const char *name)
{
	struct ps_prochandle *P;

	victim_start(v, name, NULL);
	victim_expect(v, "ready");
	s = dtrace_open(DTRACE_VERSION, 0, NULL);
	dtrace_handle_procev(s, on_event, NULL);
	P = dtrace_proc_grab(s, v->pid, 0);
	if (!P)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	return P;
}

/* --- threads ------------------------------------------------------------------------ */

/* 100 threads end while others step over. Breaks when a thread that dies is waited for,
 * and when the end of the one that steps leaves the others standing. */
static void threads_exit_while_one_steps_over(void)
{
	struct victim v;
	struct ps_prochandle *P = hold(&v, "calls");
	long calls, want = 0;

	plant(P, "leaf", on_hit);
	dtrace_proc_continue(s, P);
	for (int i = 1; i <= 5; i++) {
		victim_send(&v, "threads leaf 100 %d", i);
		calls = (long)victim_number(&v, "calls=");
		assert_int_equal(calls, 100 * i);
		want += calls;
	}
	await(atomic_load(&hits) >= want);
	assert_int_equal(atomic_load(&hits), want);
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

/* --- signals and breakpoints at once ------------------------------------------------ */

static long total(struct victim *v)
{
	victim_send(v, "sums");
	return (long)victim_number(v, "total=");
}

/* Not those that cannot be handled, the libc's own two, those that drop SIGCONT; and not
 * SIGTRAP: a trap where that is blocked, as in these handlers, makes the kernel forget
 * the program's handler for it (docs/ptrace-notes.md). */
static bool is_sent(int sig)
{
	return sig != SIGKILL && sig != SIGSTOP && sig != 32 && sig != 33 &&
	       sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU && sig != SIGTRAP;
}

static int send_all(pid_t pid)
{
	int sent = 0;

	for (int sig = 1; sig <= 64; sig++)
		sent += is_sent(sig) && !kill(pid, sig);
	return sent;
}

/* While it stands it gets one of each signal, whose handler carries a breakpoint; all
 * come at once when it runs. Breaks when one of those pending is lost, or delivered
 * twice, in the stop of another, and when a hit in a handler is. */
static void queued_signals_and_breakpoints_at_once(void)
{
	struct victim v;
	struct ps_prochandle *P = hold(&v, "signals");
	long sent = 0;

	for (int round = 0; round < 40; round++) {
		plant(P, "on_signal", on_hit);
		sent += send_all(v.pid);
		dtrace_proc_continue(s, P);
		await(total(&v) == sent);
		await(atomic_load(&hits) >= sent);
		assert_int_equal(atomic_load(&hits), sent);
		dtrace_proc_release(s, P);
		P = dtrace_proc_grab(s, v.pid, 0);
		assert_non_null(P);
	}
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

/* --- death -------------------------------------------------------------------------- */

static int gone;

static void on_notice(struct ps_prochandle *P, const char *text, void *arg)
{
	(void)P, (void)arg;
	gone += !text;
}

static int told; /* status */

static void on_event(const dtrace_procev_t *ev, void *arg)
{
	(void)arg;
	if (ev->kind == DT_PROC_EV_EXIT)
		told = ev->status;
}

static void kill_it(dtrace_hdl_t *dtp, struct ps_prochandle *P, pid_t tid,
		    const prgregset_t regs, void *arg)
{
	prgreg_t pc;

	(void)dtp, (void)tid, (void)regs, (void)arg;
	if (atomic_fetch_add(&hits, 1) % 2)
		usleep(500);
	kill(Pgetpid(P), SIGKILL);
	Pgetareg(P, R_PC, &pc); /* of the dead, or of one about to die */
}

/* The process dies while a breakpoint of its is handled. Breaks when the answer to a dead
 * LWP is an error, and when the death is not told, or told as an exit (mistake 17). */
static void death_while_a_breakpoint_is_handled(void)
{
	for (int i = 1; i <= 60; i++) {
		struct victim v;
		struct ps_prochandle *P = hold(&v, "calls");

		dtrace_handle_proc(s, on_notice, NULL);
		gone = told = 0;
		plant(P, "leaf", kill_it);
		dtrace_proc_continue(s, P);
		victim_send(&v, "threads leaf %d 100", i % 4 + 1);
		while (!gone) /* each thread's birth and end wakes us too */
			dtrace_sleep(s);
		assert_int_equal(gone, 1);
		assert_int_equal(told, SIGKILL);
		dtrace_close(s);
		assert_int_equal(victim_end(&v), SIGKILL);
	}
}

/* --- forks -------------------------------------------------------------------------- */

static void children_are_good(struct victim *v, int n)
{
	int children = 0, good = 0;

	sscanf(victim_expect(v, "children="), "%d good=%d", &children, &good);
	assert_int_equal(children, n);
	assert_int_equal(good, n);
}

/* Every child calls what carries a breakpoint: forked ones a function of their own,
 * vforked ones execve(2). Breaks when one inherits the trap, or when the end of one of
 * several vforks plants it again under the others. */
static void vfork_from_several_threads(void)
{
	struct victim v;
	struct ps_prochandle *P = hold(&v, "forker");
	GElf_Sym sym;

	plant(P, "child_work", on_hit);
	assert_int_equal(Plookup_by_name(P, "libc", "execve", &sym), 0);
	assert_non_null(dt_proc_bpcreate(s, P, (uintptr_t)sym.st_value, on_hit, NULL));
	dtrace_proc_continue(s, P);
	victim_send(&v, "vthreads 4 40");
	children_are_good(&v, 160);
	victim_send(&v, "threads 4 40");
	children_are_good(&v, 160);
	assert_int_equal(atomic_load(&hits), 0); /* they run free */
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

/* Held and let go without pause while it forks. Breaks when a fork whose event is unread
 * at the detach leaves its child stopped, traced, or with a trap in its text: that child
 * would not be good, or never end. */
static void let_go_with_forks_unread(void)
{
	struct victim v;
	struct ps_prochandle *P = hold(&v, "forker");
	struct pollfd p = { .fd = v.out, .events = POLLIN };
	int rounds = 0;

	dtrace_proc_release(s, P);
	victim_send(&v, "threads 4 250");
	while (!poll(&p, 1, 0)) {
		P = dtrace_proc_grab(s, v.pid, 0);
		assert_non_null(P);
		plant(P, "child_work", on_hit);
		dtrace_proc_continue(s, P);
		poll(&p, 1, rounds++ % 3);
		dtrace_proc_release(s, P);
	}
	children_are_good(&v, 1000);
	assert_int_above(rounds, 5);
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

/* --- a host of its own mind --------------------------------------------------------- */

/* The host reaps its own children by waitpid(-1) all the time. Breaks when it sees a
 * stop, or the keeper, or eats what we wait for. */
static void a_host_that_waits_for_any_child(void)
{
	struct victim v;
	struct ps_prochandle *P = hold(&v, "calls");
	int own = 0, status;
	pid_t pid;

	plant(P, "leaf", on_hit);
	dtrace_proc_continue(s, P);
	for (int i = 0; i < 100; i++) {
		pid_t child = fork();

		if (!child)
			_exit(i & 0x7f);
		victim_send(&v, "call leaf 10");
		pid = waitpid(-1, &status, __WALL);
		assert_int_equal(pid, child);
		assert_int_equal(status, (i & 0x7f) << 8);
		own++;
		assert_int_equal(victim_number(&v, "calls="), 10);
		assert_int_equal(waitpid(-1, &status, WNOHANG | __WALL), 0);
	}
	assert_int_equal(own, 100);
	await(atomic_load(&hits) >= 1000);
	assert_int_equal(atomic_load(&hits), 1000);
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

static const struct harness_test tests[] = {
	TEST(threads_exit_while_one_steps_over),
	TEST(queued_signals_and_breakpoints_at_once),
	TEST_IN(death_while_a_breakpoint_is_handled, 60),
	TEST(vfork_from_several_threads),
	TEST(let_go_with_forks_unread),
	TEST(a_host_that_waits_for_any_child),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
