/* SPDX-License-Identifier: MIT */
/*
 * Attach and release where it is hard: among threads that are born, exec, or are dead
 * already, and with ids that come again. What may not be had: test_attach_refused.c;
 * stops, signals and job control: test_attach_signals.c.
 */
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>

#include "dtrace.h"
#include "proc_test.h"

static atomic_long hits;

static void on_hit(dtrace_hdl_t *s, struct ps_prochandle *P, pid_t tid,
		   const prgregset_t regs, void *arg)
{
	(void)s, (void)P, (void)tid, (void)regs, (void)arg;
	atomic_fetch_add(&hits, 1);
}

static struct ps_prochandle *session_grab(dtrace_hdl_t *s, pid_t pid)
{
	struct ps_prochandle *P = dtrace_proc_grab(s, pid, 0);

	if (!P)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	return P;
}

/* --- threads without pause --------------------------------------------------------- */

static void breakpoint_round(dtrace_hdl_t *s, pid_t pid, uintptr_t brief)
{
	struct ps_prochandle *P = session_grab(s, pid);
	long from = atomic_load(&hits);

	assert_non_null(dt_proc_bpcreate(s, P, brief, on_hit, NULL));
	dtrace_proc_continue(s, P);
	await(atomic_load(&hits) >= from + 20);
	dtrace_proc_release(s, P);
}

/* Ten rounds of attach, breakpoint, detach. Breaks when a thread born during the attach
 * is missed (it would die at the trap), and when one of a round is left stopped or traced
 * at its end: each round looks, with the next not begun yet. */
static void ten_rounds_in_a_thread_storm(void)
{
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);
	unsigned long born = 0, lived = 1, before = 0;
	uintptr_t brief;
	struct victim v;

	victim_start(&v, "threadstorm", "4", NULL);
	assert_int_equal(sscanf(victim_expect(&v, "ready "), "%*d brief=%lx", &brief), 1);
	for (int i = 0; i < 10; i++) {
		breakpoint_round(s, v.pid, brief);
		assert_int_equal(held_threads(v.pid), 0);
		victim_send(&v, "count");
		born = victim_number(&v, "born=");
		assert_true(born >= before + 20);
		before = born;
	}
	dtrace_close(s);
	victim_send(&v, "enough");
	sscanf(victim_expect(&v, "born="), "%lu lived=%lu", &born, &lived);
	assert_int_equal(born, lived);
	assert_int_equal(victim_end(&v), 0);
}

/* --- a leader that has ended ------------------------------------------------------- */

/* As headless() of proc_test.h, with more threads. */
VICTIM static void many_headless(struct shared *s)
{
	pthread_t t;

	for (int i = 1; i < NTHREADS; i++)
		pthread_create(&t, NULL, outliving, s);
	syscall(SYS_exit, 0);
}

struct seen {
	struct ps_prochandle *P; /* whose */
	pid_t pid;               /* its leader */
	int lwps;                /* with registers */
	int leader;              /* the leader was among them */
};

static int look_at_lwp(void *arg, const lwpstatus_t *st)
{
	struct seen *seen = arg;
	prgregset_t regs;

	if (st->pr_lwpid == seen->pid) {
		seen->leader++;
		return 0;
	}
	assert_int_equal(Plwp_getregs(seen->P, st->pr_lwpid, regs), 0);
	assert_true(regs[R_PC] != 0 && regs[R_SP] != 0);
	seen->lwps++;
	return 0;
}

static void hit_in_a_worker(struct ps_prochandle *P)
{
	unsigned long saved;
	prgreg_t pc;

	assert_int_equal(Psetbkpt(P, (uintptr_t)beat, &saved), 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(Psetrun(P, 0, 0), 0);
		wait_stop(P, PR_FAULTED, FLTBPT);
		assert_int_equal(Pgetareg(P, R_PC, &pc), 0);
		assert_int_equal(pc, (uintptr_t)beat);
		assert_int_not_equal(Pstatus(P)->pr_lwp.pr_lwpid, Pgetpid(P));
	}
	assert_int_equal(Pdelbkpt(P, (uintptr_t)beat, saved), 0);
}

/* Breaks when the leader, which reports nothing, is waited for, when it is listed as an
 * LWP to be asked, and when what needs "the" LWP takes the leader. */
static void the_leader_has_ended(void)
{
	struct shared *s;
	pid_t pid = start(many_headless, &s);
	struct seen seen;

	await(state_of(pid) == 'Z');
	for (int i = 0; i < 10; i++) {
		seen = (struct seen){ .P = grab(pid, 0), .pid = pid };
		assert_int_equal(Plwp_iter(seen.P, look_at_lwp, &seen), 0);
		assert_int_equal(seen.lwps, NTHREADS - 1 + MORE_THREADS);
		assert_int_equal(seen.leader, 0);
		hit_in_a_worker(seen.P);
		Prelease(seen.P, 0);
		assert_int_equal(held_threads(pid), 0);
		assert_beats(s);
		Prelease(grab(pid, PGRAB_RDONLY), 0);
	}
	end(pid);
}

/* --- exec by a thread that is not the leader ---------------------------------------- */

static int64_t longest;

static void hold_and_let_go(pid_t pid, int round)
{
	int64_t begin = harness_now_ms(), took;
	struct ps_prochandle *P = grab(pid, round % 3 ? 0 : PGRAB_NOSTOP);

	took = harness_now_ms() - begin;
	longest = took > longest ? took : longest;
	for (volatile int i = 0; i < round * 37 % 20000; i++)
		;
	Prelease(P, 0);
}

static void exec_under_attaches(const char *how)
{
	struct victim v;
	long execs;

	if (HARNESS_TSAN)
		harness_skip(
			"ThreadSanitizer holds signals back: the keeper cannot leave "
			"a call that waits for ever");
	victim_start(&v, "reborn", "1000000", how, NULL);
	for (int i = 0; i < 300; i++)
		hold_and_let_go(v.pid, i);
	await(held_threads(v.pid) == 0); /* an exec on its way may show the old tid */
	victim_send(&v, "enough");
	execs = (long)victim_number(&v, "execs=");
	assert_int_above(execs, 20);
	assert_int_below(longest, 2000);
	assert_int_equal(victim_end(&v), 0);
}

/* SEIZE waits for the exec, and the exec for us to reap a thread. Breaks when nothing
 * jumps out of the call: the first meeting of the two stands for ever; and when what took
 * the leader's id is missed: the grab would wait for its stop until the deadline. */
static void attach_against_exec(void)
{
	exec_under_attaches("stays");
}

/* Breaks when an empty list of threads is taken for the end of the process. */
static void a_list_is_never_empty(void)
{
	struct victim v;
	pid_t *tids;
	size_t n;

	victim_start(&v, "reborn", "1000000", "gone", NULL);
	for (int i = 0; i < 200000; i++) {
		assert_int_equal(procfs_tids(v.pid, &tids, &n), 0);
		free(tids);
	}
	victim_send(&v, "enough");
	assert_int_above(victim_number(&v, "execs="), 20);
	assert_int_equal(victim_end(&v), 0);
}

static void attach_against_exec_without_leader(void)
{
	exec_under_attaches("gone");
}

struct told {
	pid_t pid;  /* of the victim */
	int execs;  /* events */
	int others; /* of others than the victim */
};

static void on_event(const dtrace_procev_t *ev, void *arg)
{
	struct told *told = arg;

	if (ev->kind == DT_PROC_EV_EXEC) {
		told->execs++;
		told->others += ev->pid != told->pid || ev->tid != told->pid;
	}
}

static long execs_said(dtrace_hdl_t *s, struct victim *v)
{
	struct pollfd p = { .fd = v->out, .events = POLLIN };

	while (!poll(&p, 1, 10))
		dtrace_dispatch(s);
	return (long)victim_number(v, "execs=");
}

/* Every exec is told once, with the pid for its tid, and the same record goes on. Breaks
 * when the thread's old id is kept, when the ends of the other threads are waited for,
 * and when an exec after the leader's end is lost. */
static void execs_of_another_thread_are_told(void)
{
	static const char *const how[] = { "stays", "gone" };

	for (int i = 0; i < 2; i++) {
		dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);
		struct ps_prochandle *P;
		struct told told = { 0 };
		struct victim v;

		victim_start(&v, "reborn", NULL);
		victim_expect(&v, "ready");
		told.pid = v.pid;
		dtrace_handle_procev(s, on_event, &told);
		P = session_grab(s, v.pid);
		dtrace_proc_continue(s, P);
		victim_send(&v, "go 40 %s", how[i]);
		assert_int_equal(execs_said(s, &v), 40);
		while (dtrace_dispatch(s) > 0)
			;
		assert_int_equal(told.execs, 40);
		assert_int_equal(told.others, 0);
		assert_ptr_equal(session_grab(s, v.pid), P);
		dtrace_close(s);
		assert_int_equal(held_threads(v.pid), 0);
		assert_int_equal(victim_end(&v), 0);
	}
}

/* --- thread ids that come again ----------------------------------------------------- */

static int last_pid = -1; /* descriptor of ns_last_pid */

/* The next task of this pid namespace gets this id. */
static bool next_id(pid_t id)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", id - 1);

	return pwrite(last_pid, text, (size_t)len, 0) == len;
}

VICTIM static void *beat_once(void *arg)
{
	struct shared *s = arg;

	s->got = (unsigned)syscall(SYS_gettid);
	beat(s);
	return NULL;
}

enum {
	AGAIN = 700 /* the id */
};

/* A thread and a child of that id in turn; `ready` counts those that were as they should
 * be. */
VICTIM static void reuse_one_id(struct shared *s)
{
	s->ready = 1;
	for (int i = 0; s->go < 2; i++) {
		pthread_t t;
		int status = 0;
		pid_t pid;

		while (s->go == 0)
			usleep(200);
		if (!next_id(AGAIN))
			_exit(1);
		if (i % 2) {
			pthread_create(&t, NULL, beat_once, s);
			pthread_join(t, NULL);
			s->ready += s->got == AGAIN;
			continue;
		}
		pid = fork();
		if (!pid) {
			beat(s);
			_exit(17);
		}
		waitpid(pid, &status, 0);
		s->ready += pid == AGAIN; /* or a stranger has it */
		if (status != 17 << 8)
			_exit(2);
	}
	_exit(42);
}

/* A stranger of that id: a child of the test's. */
static void be_a_stranger(void)
{
	int status = 0;
	pid_t pid;

	next_id(AGAIN);
	pid = fork();
	if (!pid)
		_exit(18);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 18 << 8);
}

/* A control thread of the session has got that id: nobody else will in this round. */
static bool is_ours(pid_t id)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", id);
	return !access(path, F_OK);
}

static void ids_again(void)
{
	struct shared *s;
	dtrace_hdl_t *session = dtrace_open(DTRACE_VERSION, 0, NULL);
	struct ps_prochandle *P;
	int status = 0, rounds = 0;
	pid_t pid = start(reuse_one_id, &s);

	Prelease(grab(pid, 0), 0); /* there is a keeper, and it is not of that id */
	s->go = 1;
	for (; s->ready < 600; rounds++) {
		unsigned was = s->ready;

		P = session_grab(session, pid);
		assert_non_null(
			dt_proc_bpcreate(session, P, (uintptr_t)beat, on_hit, NULL));
		dtrace_proc_continue(session, P);
		await(s->ready > was + 6 || is_ours(AGAIN));
		be_a_stranger();
		dtrace_proc_release(session, P);
	}
	s->go = 2;
	dtrace_close(session);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
	assert_int_above(rounds, 20);
	assert_int_above(atomic_load(&hits), 40);
}

static int status_of(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Runs fn as the first process of a pid namespace, with its own /proc. */
static void in_pid_namespace(void (*fn)(void))
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
	last_pid = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
	if (last_pid < 0)
		harness_skip("no pid can be chosen here: %s", strerror(errno));
	fn();
	_exit(0);
}

/* While the victim is held, one id is now a thread of its, now a child, now a stranger's.
 * Breaks when the record of a dead LWP is found for the next bearer of its id: a child
 * would be taken for a thread, a stop be kept for the wrong one, and somebody stand for
 * ever. */
static void thread_ids_come_again(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		in_pid_namespace(ids_again);
	status = status_of(pid);
	if (status == 77 << 8)
		_exit(77); /* it has said why */
	assert_int_equal(status, 0);
}

static const struct harness_test tests[] = {
	TEST(ten_rounds_in_a_thread_storm),
	TEST(the_leader_has_ended),
	TEST_IN(attach_against_exec, 60),
	TEST_IN(a_list_is_never_empty, 60),
	TEST_IN(attach_against_exec_without_leader, 60),
	TEST_IN(execs_of_another_thread_are_told, 60),
	TEST_IN(thread_ids_come_again, 60),
	TEST_END,
};

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
