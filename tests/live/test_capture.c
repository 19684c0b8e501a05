/* SPDX-License-Identifier: MIT */
/*
 * Captures: the stacks of all threads of one instant, of victims that run on unharmed.
 */
#include "proc_test.h"

enum {
	MANY = 300,
	CROWD = 1000,
	DEPTH = 4000, /* frames of the deep victim: more than 64 KiB, less than 8 MiB */
	ROUNDS = 60,
};

/* --- walking ------------------------------------------------------------------------ */

/* What a walk found. */
struct found {
	struct ps_prochandle *P; /* for names */
	const char *name;        /* the function looked for */
	unsigned frames;         /* how many */
	unsigned hits;           /* … in that function */
	int end;                 /* PCAPTURE_* */
};

static int look_at(void *arg, const prframe_t *f)
{
	struct found *w = arg;
	uintptr_t at = f->pr_pc - !(f->pr_flags & PRFRAME_EXACT);
	char name[256];
	GElf_Sym sym;

	w->frames++;
	if (w->name && !Plookup_by_addr(w->P, at, name, sizeof(name), &sym))
		w->hits += !strcmp(name, w->name);
	return 0;
}

static struct found walk(const ps_capture_t *c, struct ps_prochandle *P, lwpid_t lwp,
			 const char *name)
{
	struct found w = { .P = P, .name = name, .end = -1 };

	assert_int_equal(Pcapture_stack_iter(c, lwp, look_at, &w, &w.end), 0);
	return w;
}

/* All LWPs of a capture. */
struct all {
	const ps_capture_t *c;   /* it */
	struct ps_prochandle *P; /* for names */
	const char *name;        /* a function */
	lwpid_t last;            /* of the LWP before */
	unsigned n;              /* LWPs */
	unsigned whole;          /* … whose stacks end well */
	unsigned hits;           /* … that are in that function, once */
	unsigned running, moved; /* … that NOSTOP could not have */
	unsigned stopped;        /* … that were stopped */
	int flags;               /* of all */
	lwpid_t lwp[CROWD + 10]; /* their ids */
};

static int add_lwp(void *arg, const prcaplwp_t *l)
{
	struct all *a = arg;
	struct found w;

	assert_int_above(l->pr_lwpid, a->last);
	a->last = l->pr_lwpid;
	a->lwp[a->n++] = l->pr_lwpid;
	a->flags |= l->pr_flags;
	a->running += !!(l->pr_flags & PCAP_RUNNING);
	a->moved += !!(l->pr_flags & PCAP_MOVED);
	a->stopped += l->pr_pause_ns > 0;
	if (!(l->pr_flags & PCAP_REGS) || (l->pr_flags & PCAP_MOVED))
		return 0;
	w = walk(a->c, a->P, l->pr_lwpid, a->name);
	a->whole += w.end == PCAPTURE_BASE;
	a->hits += w.hits == 1;
	return 0;
}

static struct all walk_all(const ps_capture_t *c, struct ps_prochandle *P,
			   const char *name)
{
	struct all a = { .c = c, .P = P, .name = name };

	assert_int_equal(Pcapture_iter(c, add_lwp, &a), 0);
	return a;
}

static ps_capture_t *capture(struct ps_prochandle *P, int flags, size_t limit)
{
	int err = 0;
	ps_capture_t *c = Pcapture(P, flags, limit, &err);

	if (!c)
		fail_msg("Pcapture: %s %s", Pgrab_error(err), Pgrab_detail());
	return c;
}

/* --- many threads ------------------------------------------------------------------- */

static unsigned waiting(pid_t pid)
{
	struct procfs_stat stat;
	unsigned waits = 0;
	pid_t *tids;
	size_t n;

	assert_int_equal(procfs_tids(pid, &tids, &n), 0);
	for (size_t i = 0; i < n; i++)
		waits += !procfs_stat(pid, tids[i], &stat) && stat.state == 'S';
	free(tids);
	return waits;
}

static void start_threads(struct victim *v, unsigned n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n - 1);
	victim_start(v, "threads", text, NULL);
	victim_expect(v, "ready");
	await(waiting(v->pid) == n);
}

/* The victim obeys still. */
static void check_unharmed(struct victim *v, unsigned n)
{
	char want[32];

	assert_int_equal(held_threads(v->pid), 0);
	victim_send(v, "more 1");
	snprintf(want, sizeof(want), "%u", n + 1);
	assert_string_equal(victim_expect(v, "threads="), want);
	assert_int_equal(victim_end(v), 0);
}

static void check_crowd(unsigned n, int flags)
{
	struct ps_prochandle *P;
	ps_capture_t *c;
	struct victim v;
	struct all a;

	start_threads(&v, n);
	P = grab(v.pid, PGRAB_RDONLY);
	c = capture(P, flags, 0);
	a = walk_all(c, P, "wait_here");
	while (a.running || a.moved) { /* woken once more by the last that began */
		Pcapture_free(c);
		await(waiting(v.pid) == n);
		c = capture(P, flags, 0);
		a = walk_all(c, P, "wait_here");
	}
	assert_int_equal(a.n, n);
	assert_int_equal(a.hits, n - 1);
	/* the main thread's caller of read(2) has a frame pointer, which /proc does not
	 * show: its stack may end there */
	assert_int_above((int)a.whole, (int)n - (flags & PCAPTURE_NOSTOP ? 2 : 1));
	assert_int_equal(Pcapture_notes(c), 0);
	assert_int_equal(a.stopped, flags & PCAPTURE_NOSTOP ? 0 : n);
	assert_int_equal(!Pcapture_pause(c), !!(flags & PCAPTURE_NOSTOP));
	check_unharmed(&v, n);
	Pcapture_free(c);
	Prelease(P, 0);
}

/* Fails when a thread is left out, or a batch of reads is laid out wrongly. */
static void test_threads(void)
{
	check_crowd(1, PCAPTURE_GRAB);
	check_crowd(MANY, PCAPTURE_GRAB);
}

/* More than a batch, and than are looked at for their waits. */
static void test_crowd(void)
{
	check_crowd(CROWD, PCAPTURE_GRAB);
}

static void test_nostop(void)
{
	check_crowd(1, PCAPTURE_NOSTOP);
	check_crowd(MANY, PCAPTURE_NOSTOP);
}

/* --- under control ------------------------------------------------------------------ */

static void test_running(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct ps_prochandle *P = grab(pid, PGRAB_NOSTOP);
	ps_capture_t *c;

	await(s->ready >= NTHREADS);
	for (int i = 0; i < ROUNDS; i++) {
		struct all a;

		c = capture(P, 0, 0);
		a = walk_all(c, P, NULL);
		assert_int_equal(a.n, NTHREADS + MORE_THREADS);
		assert_int_equal(a.stopped, NTHREADS + MORE_THREADS);
		Pcapture_free(c);
	}
	assert_beats(s);
	assert_int_equal(Pstate(P), PS_RUN);
	assert_int_equal(Pstop(P, SOON_MS), 0);
	Prelease(P, 0);
	end(pid);
}

/* Who stands goes on standing, with no pause of ours. */
static void test_standing(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct ps_prochandle *P = grab(pid, 0);
	ps_capture_t *c = capture(P, 0, 0);

	assert_int_equal(Pcapture_notes(c), PCAPTURE_STOOD);
	assert_int_equal(Pcapture_pause(c), 0);
	assert_still(s);
	assert_int_equal(Pstate(P), PS_STOP);
	Pcapture_free(c);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

/* Somebody else's stop stays. */
static void test_outside_stop(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct ps_prochandle *P = grab(pid, PGRAB_RDONLY);
	ps_capture_t *c;
	struct all a;

	await(s->ready >= NTHREADS);
	kill(pid, SIGSTOP);
	await(state_of(pid) == 'T');
	c = capture(P, PCAPTURE_GRAB, 0);
	a = walk_all(c, P, NULL);
	assert_int_equal(a.n, NTHREADS + MORE_THREADS);
	assert_true(a.flags & PCAP_OUTSTOP);
	await(state_of(pid) == 'T');
	assert_int_equal(held_threads(pid), 0);
	kill(pid, SIGCONT);
	assert_beats(s);
	Pcapture_free(c);
	Prelease(P, 0);
	end(pid);
}

static void test_refused(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct ps_prochandle *P = grab(pid, PGRAB_RDONLY);
	int err = 0;

	assert_null(Pcapture(P, 0, 0, &err));
	assert_int_equal(err, EBADF);
	assert_null(Pcapture(P, 64, 0, &err));
	assert_int_equal(err, EINVAL);
	assert_null(Pcapture(P, PCAPTURE_GRAB, (8 << 20) + 1, &err));
	assert_int_equal(err, EINVAL);
	end(pid);
	assert_null(Pcapture(P, PCAPTURE_GRAB, 0, &err));
	Prelease(P, 0);
}

/* --- one instant -------------------------------------------------------------------- */

void first_inside(struct shared *s);
void second_inside(struct shared *s);

/* Long enough inside to be met there, though the keeper takes a CPU from one of the two
 * while the other goes on. */
VICTIM static void linger(struct shared *s)
{
	for (int i = 0; i < 5000000; i++)
		s->beats++;
}

VICTIM __attribute__((noclone)) void first_inside(struct shared *s)
{
	linger(s);
	__asm__ volatile("" ::: "memory");
}

VICTIM __attribute__((noclone)) void second_inside(struct shared *s)
{
	linger(s);
	__asm__ volatile("" ::: "memory");
}

VICTIM static void take_turns(struct shared *s, unsigned me,
			      void (*inside)(struct shared *))
{
	for (;;) {
		while (__atomic_load_n(&s->go, __ATOMIC_ACQUIRE) != me)
			;
		inside(s);
		__atomic_store_n(&s->go, !me, __ATOMIC_RELEASE);
	}
}

VICTIM static void *second_thread(void *arg)
{
	take_turns(arg, 1, second_inside);
	return NULL;
}

VICTIM static void two_turns(struct shared *s)
{
	pthread_t t;

	pthread_create(&t, NULL, second_thread, s);
	s->ready = 1;
	take_turns(s, 0, first_inside);
}

/* Two threads have a lock in turn. Fails when stacks are copied one after the other while
 * the threads run. */
static void test_consistent(void)
{
	struct shared *s;
	pid_t pid = start(two_turns, &s);
	struct ps_prochandle *P = grab(pid, PGRAB_RDONLY);
	unsigned met = 0;

	/* until enough of them were met inside: on a busy machine few are */
	for (int i = 0; i < ROUNDS || (met <= ROUNDS / 10 && i < 50 * ROUNDS); i++) {
		ps_capture_t *c = capture(P, PCAPTURE_GRAB, 0);
		unsigned first = walk_all(c, P, "first_inside").hits;
		unsigned second = walk_all(c, P, "second_inside").hits;

		assert_int_below(first + second, 2);
		met += first + second;
		Pcapture_free(c);
	}
	assert_int_above(met, ROUNDS / 10);
	Prelease(P, 0);
	end(pid);
}

/* --- deep, and elsewhere ------------------------------------------------------------ */

void go_down(struct shared *s, unsigned n);

VICTIM __attribute__((noclone)) void go_down(struct shared *s, unsigned n)
{
	volatile char room[200];

	room[0] = (char)n;
	s->got += room[0] == 1;
	if (n)
		go_down(s, n - 1);
	else
		s->ready = 1;
	while (!n)
		pause();
	__asm__ volatile("" ::: "memory");
}

VICTIM static void deep(struct shared *s)
{
	go_down(s, DEPTH);
}

/* Fails when a cut is not told of. (A walk ends at 2,048 frames.) */
static void test_deep(void)
{
	struct shared *s;
	pid_t pid = start(deep, &s);
	struct ps_prochandle *P = grab(pid, PGRAB_RDONLY);
	static const int how[] = { PCAPTURE_GRAB, PCAPTURE_NOSTOP };

	await(state_of(pid) == 'S');
	for (int i = 0; i < 2; i++) {
		ps_capture_t *c = capture(P, how[i], 0);
		struct all a = walk_all(c, P, NULL);
		struct found w = walk(c, P, pid, NULL);

		assert_true(a.flags & PCAP_CUT);
		assert_int_equal(w.end, PCAPTURE_CUT);
		assert_int_above(w.frames, 100);
		Pcapture_free(c);
		c = capture(P, how[i], 4 << 20);
		w = walk(c, P, pid, NULL);
		assert_int_equal(w.end, PCAPTURE_LIMIT);
		assert_int_equal(w.frames, 2048);
		Pcapture_free(c);
	}
	Prelease(P, 0);
	end(pid);
}

/* A handler on another stack: what it interrupted is on the thread's own. Fails when only
 * the bytes above the stack pointer are copied. */
static void test_alternate(void)
{
	struct ps_prochandle *P;
	struct victim v;
	ps_capture_t *c;
	struct found w;

	victim_start(&v, "stacks", "alt", NULL);
	while (strcmp(victim_line(&v), "bottom"))
		;
	await(harness_state(v.pid) == 'S');
	P = grab(v.pid, PGRAB_RDONLY);
	c = capture(P, PCAPTURE_GRAB, 0);
	w = walk(c, P, v.pid, "interrupted");
	assert_int_equal(w.end, PCAPTURE_BASE);
	assert_int_equal(w.hits, 1);
	Pcapture_free(c);
	Prelease(P, 0);
	victim_kill(&v);
}

VICTIM static void spinning(struct shared *s)
{
	for (;;)
		s->ready = 1;
}

/* Fails when the PC that /proc last knew is taken for that of a thread that runs. */
static void test_nostop_running(void)
{
	struct shared *s;
	pid_t pid = start(spinning, &s);
	struct ps_prochandle *P = grab(pid, PGRAB_RDONLY);
	ps_capture_t *c = capture(P, PCAPTURE_NOSTOP, 0);
	struct all a = walk_all(c, P, NULL);

	assert_int_equal(a.n, 1 + MORE_THREADS);
	assert_int_equal(a.running, 1);
	assert_int_equal(Pcapture_stack_iter(c, pid, look_at, &a, NULL), -1);
	assert_int_equal(errno, EAGAIN);
	Pcapture_free(c);
	Prelease(P, 0);
	end(pid);
}

/* --- ends --------------------------------------------------------------------------- */

/* The stack of who has gone, named. Fails when unwinding reads the process. */
static void test_outlives(void)
{
	struct ps_prochandle *P;
	struct victim v;
	ps_capture_t *c;
	struct all a;

	start_threads(&v, 20);
	P = grab(v.pid, PGRAB_RDONLY);
	c = capture(P, PCAPTURE_GRAB, 0);
	victim_kill(&v);
	a = walk_all(c, P, "wait_here");
	assert_int_equal(a.n, 20);
	assert_int_equal(a.hits, 19);
	assert_int_equal(a.whole, 20);
	Prelease(P, 0);
	Pcapture_free(c);
}

VICTIM static void *beating_shortly(void *arg)
{
	struct shared *s = arg;

	s->beats++;
	return NULL;
}

/* Threads come and go until the test says so, then the process ends or execs. */
VICTIM static void churn(struct shared *s)
{
	pthread_t t;

	s->ready = 1;
	while (!s->go)
		if (!pthread_create(&t, NULL, beating_shortly, s))
			pthread_join(t, NULL);
	if (s->go == 1)
		_exit(0);
	execl("/bin/sleep", "sleep", "100", NULL);
}

static void *say_go(void *arg)
{
	struct shared *s = arg;

	usleep(s->got);
	s->go |= 4;
	return NULL;
}

VICTIM static void churn_until(struct shared *s)
{
	unsigned how = s->go;

	s->go = 0;
	while (!(s->go & 4)) {
		s->ready = 1;
		beating_shortly(s);
	}
	s->go = how;
	churn(s);
}

/* The victim ends or execs (how 2) while it is captured: a capture, or an error, at once;
 * nobody is left stopped. */
static void check_end_meanwhile(unsigned how)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct shared *s = map_shared();
		struct ps_prochandle *P;
		ps_capture_t *c;
		pthread_t t;
		int err = 0;
		pid_t pid;

		s->go = how;
		pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			churn_until(s);
		}
		while (!s->ready)
			usleep(100);
		P = grab(pid, PGRAB_RDONLY);
		s->got = i * 50;
		pthread_create(&t, NULL, say_go, s);
		c = Pcapture(P, PCAPTURE_GRAB, 0, &err);
		assert_true(c || err);
		if (c)
			walk_all(c, P, NULL);
		pthread_join(t, NULL);
		await(held_threads(pid) <= 0);
		Pcapture_free(c);
		Prelease(P, 0);
		end(pid);
		munmap(s, 4096);
	}
}

static void test_exit_meanwhile(void)
{
	check_end_meanwhile(1);
}

static void test_exec_meanwhile(void)
{
	check_end_meanwhile(2);
}

/* Threads are born and end all the time. */
static void test_churn(void)
{
	struct shared *s;
	pid_t pid = start(churn, &s);
	struct ps_prochandle *P = grab(pid, PGRAB_RDONLY);

	for (int i = 0; i < ROUNDS; i++) {
		ps_capture_t *c = capture(P, PCAPTURE_GRAB, 0);

		assert_int_above(walk_all(c, P, NULL).n, 0);
		Pcapture_free(c);
	}
	assert_beats(s);
	assert_int_equal(held_threads(pid), 0);
	Prelease(P, 0);
	end(pid);
}

int main(int argc, char **argv)
{
	static const struct harness_test tests[] = {
		TEST(test_threads),        TEST(test_crowd),
		TEST(test_nostop),         TEST(test_running),
		TEST(test_standing),       TEST(test_outside_stop),
		TEST(test_refused),        TEST(test_consistent),
		TEST(test_deep),           TEST(test_alternate),
		TEST(test_nostop_running), TEST(test_outlives),
		TEST(test_exit_meanwhile), TEST(test_exec_meanwhile),
		TEST(test_churn),          TEST_END,
	};

	return proc_test_main(argc, argv, tests);
}
