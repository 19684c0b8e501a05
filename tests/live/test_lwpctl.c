/* SPDX-License-Identifier: MIT */
/*
 * One LWP under control while the others run: Lgrab to Lstack.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dtrace.h"
#include "harness/harness.h"

enum {
	SOON = 10000, /* ms */
	ROUNDS = 300,
};

static struct ps_prochandle *grab(struct victim *v, int flags)
{
	int err = 0;
	struct ps_prochandle *P = Pgrab(v->pid, flags, &err);

	if (!P)
		fail_msg("%s", Pgrab_error(err));
	return P;
}

static struct ps_lwphandle *take(struct ps_prochandle *P, pid_t tid)
{
	int err = 0;
	struct ps_lwphandle *L = Lgrab(P, tid, &err);

	if (!L)
		fail_msg("%s", Lgrab_error(err));
	return L;
}

/* The number behind `name`. */
static long fact(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	assert_non_null(at);
	return strtol(at + strlen(name), NULL, 0);
}

/* A victim of which one thread spins, and one answers. */
static pid_t start_spin(struct victim *v)
{
	victim_start(v, "spin", NULL);
	return (pid_t)fact(victim_expect(v, "ready"), "tid=");
}

static unsigned long count(struct victim *v)
{
	victim_send(v, "count");
	return strtoul(victim_expect(v, "count="), NULL, 10);
}

static bool runs(struct victim *v)
{
	unsigned long before = count(v);

	await(count(v) != before); /* its turn comes */
	return true;
}

static void stop(struct ps_lwphandle *L)
{
	assert_int_equal(Lstop(L, SOON), 0);
	assert_int_equal(Lstate(L), PS_STOP);
}

/* Breaks when the stop of one stops others, or leaves it running; when a run does
 * nothing; when its registers cannot be had while the process runs. */
static void one_stands_the_others_run(void)
{
	struct ps_prochandle *P;
	struct ps_lwphandle *L;
	unsigned long before;
	struct victim v;
	prgregset_t regs;
	prgreg_t pc, bx;
	pid_t tid = start_spin(&v);

	P = grab(&v, PGRAB_NOSTOP);
	L = take(P, tid);
	assert_ptr_equal(Lprochandle(L), P);
	assert_int_equal(Lstate(L), PS_RUN);
	assert_int_equal(Lgetareg(L, R_PC, &pc), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(Lsetrun(L, 0, 0), -1);
	assert_int_equal(errno, EBUSY);
	for (int i = 0; i < 50; i++) {
		stop(L);
		before = count(&v);
		assert_int_equal(Lgetareg(L, R_PC, &pc), 0);
		assert_int_equal(count(&v), before);
		assert_int_equal(Pstate(P), PS_RUN);
		assert_int_equal(Lstatus(L)->pr_why, PR_REQUESTED);
		assert_int_equal(Lstatus(L)->pr_reg[R_PC], pc);
		assert_int_equal(Plwp_getregs(P, tid, regs), 0);
		assert_int_equal(regs[R_PC], pc);
		assert_int_equal(Plwp_getregs(P, v.pid, regs), -1);
		assert_int_equal(Lsetrun(L, 0, 0), 0);
		assert_true(runs(&v));
	}
	stop(L);
	assert_int_equal(Lgetareg(L, 5, &bx), 0); /* rbx: not used by the loop */
	assert_int_equal(Lputareg(L, 5, bx + 1), 0);
	assert_int_equal(Lgetareg(L, 5, &pc), 0);
	assert_int_equal(pc, bx + 1);
	assert_int_equal(Lputareg(L, 5, bx), 0);
	Lfree(L); /* it runs on */
	assert_true(runs(&v));
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

/* Breaks when a run of the process takes an LWP with it that was stopped alone, and when
 * a run of that, while all stand, is lost. */
static void a_run_of_all_leaves_it(void)
{
	struct ps_prochandle *P;
	struct ps_lwphandle *L;
	unsigned long before;
	struct victim v;
	pid_t tid = start_spin(&v);

	P = grab(&v, 0);
	L = take(P, tid);
	assert_int_equal(Lstate(L), PS_STOP); /* with all */
	stop(L);                              /* and now alone, too */
	assert_int_equal(Psetrun(P, 0, 0), 0);
	before = count(&v);
	assert_int_equal(count(&v), before);
	assert_int_equal(Pstop(P, SOON), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_int_equal(count(&v), before);
	assert_int_equal(Pstop(P, SOON), 0);
	assert_int_equal(Lsetrun(L, 0, 0), 0);
	assert_int_equal(Lstate(L), PS_STOP);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_int_equal(Lstate(L), PS_RUN);
	assert_true(runs(&v));
	assert_int_equal(Ldstop(L), 0);
	assert_int_equal(Lwait(L, SOON), 0);
	assert_int_equal(Lstate(L), PS_STOP);
	Prelease(P, 0); /* whoever stands alone goes too */
	assert_int_equal(Lstate(L), PS_LOST);
	Lfree(L);
	assert_true(runs(&v));
	assert_int_equal(victim_end(&v), 0);
}

static void step_one(void)
{
	struct ps_prochandle *P;
	struct ps_lwphandle *L;
	struct victim v;
	prgreg_t before, pc;
	pid_t tid = start_spin(&v);

	P = grab(&v, 0);
	L = take(P, tid);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(Lgetareg(L, R_PC, &before), 0);
		assert_int_equal(Lsetrun(L, 0, PRSTEP), 0);
		assert_int_equal(Pwait(P, SOON), 0);
		assert_int_equal(Pstatus(P)->pr_lwp.pr_lwpid, tid);
		assert_int_equal(Pstatus(P)->pr_lwp.pr_what, FLTTRACE);
		assert_int_equal(Lgetareg(L, R_PC, &pc), 0);
		assert_true(pc != before);
	}
	Psetrun(P, 0, 0);
	assert_int_equal(Lsetrun(L, 0, PRSTEP), -1);
	assert_int_equal(errno, EBUSY);
	Lfree(L);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

static void refused(struct ps_prochandle *P, pid_t tid, int code, const char *text)
{
	int err = 0;

	assert_null(Lgrab(P, tid, &err));
	assert_int_equal(err, code);
	assert_string_equal(Lgrab_error(err), text);
}

static void refusals(void)
{
	struct ps_prochandle *P;
	struct ps_lwphandle *L;
	struct victim v;
	pid_t tid = start_spin(&v);

	P = grab(&v, PGRAB_RDONLY);
	refused(P, tid, G_PERM, "process is not under control");
	Prelease(P, 0);
	P = grab(&v, PGRAB_NOSTOP);
	refused(P, getpid(), G_NOPROC, "no such LWP");
	L = take(P, tid);
	refused(P, tid, G_BUSY, "LWP is already grabbed");
	assert_int_equal(Lsetrun(L, 65, 0), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(Lclearsig(L), -1);
	assert_int_equal(errno, EBUSY);
	Lfree(L);
	Lfree(take(P, tid)); /* free again */
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

/* --- ends --------------------------------------------------------------------------- */

static pid_t last_thread(struct victim *v)
{
	pid_t tid = 0;
	const char *line;

	victim_send(v, "tids");
	while (strcmp(line = victim_line(v), "."))
		sscanf(line, "tid=%d", &tid);
	return tid;
}

/* Breaks when somebody waits for ever on an LWP that has ended, or the wait is not told
 * so. */
static void it_ends(void)
{
	struct ps_prochandle *P;
	struct ps_lwphandle *L, *main_one;
	struct victim v;

	victim_start(&v, "threads", "3", NULL);
	victim_expect(&v, "ready");
	P = grab(&v, PGRAB_NOSTOP);
	L = take(P, last_thread(&v));
	main_one = take(P, v.pid);
	victim_send(&v, "fewer 1");
	assert_int_equal(Lwait(L, 0), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(Lstate(L), PS_LOST);
	assert_null(Lstatus(L));
	assert_int_equal(Lstop(L, 0), -1);
	victim_expect(&v, "threads=3");
	Lfree(L);
	stop(main_one);
	kill(v.pid, SIGKILL);
	while (Lstate(main_one) != PS_LOST)
		Lwait(main_one, 100);
	Lfree(main_one);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), SIGKILL);
}

/* An exec by another thread ends an LWP that stands. */
static void it_ends_by_an_exec(void)
{
	struct ps_prochandle *P;
	struct ps_lwphandle *L;
	struct victim v;
	pid_t tid;

	victim_start(&v, "execer", NULL);
	tid = (pid_t)fact(victim_expect(&v, "ready"), "tid=");
	P = grab(&v, PGRAB_NOSTOP);
	L = take(P, tid);
	stop(L);
	victim_send(&v, "exec sleep 0");
	while (Lstate(L) != PS_LOST)
		Lwait(L, 100);
	Lfree(L);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

/* --- signals ------------------------------------------------------------------------ */

static int counted(struct victim *v, int sig)
{
	int n = 0, k, times;
	const char *line;

	victim_send(v, "counts");
	while (strcmp(line = victim_line(v), "."))
		if (sscanf(line, "%d=%d", &k, &times) == 2 && k == sig)
			n = times;
	return n;
}

/* A signal that is given at the run is delivered once; one that came while it stood is
 * not lost. */
static void signals_of_one(void)
{
	struct ps_prochandle *P;
	struct ps_lwphandle *L;
	struct victim v;

	victim_start(&v, "signals", NULL);
	victim_expect(&v, "ready");
	P = grab(&v, PGRAB_NOSTOP);
	L = take(P, v.pid);
	stop(L);
	assert_int_equal(Lsetrun(L, SIGUSR1, 0), 0);
	assert_int_equal(counted(&v, SIGUSR1), 1);
	stop(L);
	syscall(SYS_tgkill, v.pid, v.pid, SIGUSR2);
	assert_int_equal(Lsetrun(L, 0, 0), 0);
	assert_int_equal(counted(&v, SIGUSR2), 1);
	assert_int_equal(Pstop(P, SOON), 0); /* and of the process, stopped on none */
	assert_int_equal(Psetrun(P, SIGUSR1, 0), 0);
	assert_int_equal(counted(&v, SIGUSR1), 2);
	Lfree(L);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

/* Job control stops and goes on while one stands alone. */
static void outside_stop(void)
{
	struct ps_prochandle *P;
	struct ps_lwphandle *L;
	unsigned long before;
	struct victim v;
	pid_t tid = start_spin(&v);

	P = grab(&v, PGRAB_NOSTOP);
	L = take(P, tid);
	stop(L);
	kill(v.pid, SIGSTOP);
	await(Pstate(P) == PS_STOP);
	kill(v.pid, SIGCONT);
	await(Pstate(P) == PS_RUN);
	before = count(&v);
	assert_int_equal(count(&v), before);
	assert_int_equal(Lsetrun(L, 0, 0), 0);
	assert_true(runs(&v));
	Lfree(L);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

/* --- under fire --------------------------------------------------------------------- */

struct tids {
	pid_t tid[64];
	int n;
};

static int note(void *arg, const lwpstatus_t *st)
{
	struct tids *t = arg;

	if (t->n < 64)
		t->tid[t->n++] = st->pr_lwpid;
	return 0;
}

/* LWPs are stopped and set running one by one, at random, while all hit breakpoints, of
 * which one is emulated and one executed. Breaks when a hit is lost or seen twice, when
 * an LWP that was to step over is stopped before the step and all the others wait for
 * it, when one that is in a slot is shown there or left there. */
static void stopped_at_breakpoints(const char *name)
{
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);
	long calls = 0, sum = 0;
	struct ps_prochandle *P;
	unsigned seed = 1;
	struct victim v;
	dt_bkpt_t *bp;
	GElf_Sym sym;

	victim_start(&v, "calls", NULL);
	victim_expect(&v, "ready");
	P = dtrace_proc_grab(s, v.pid, 0);
	assert_non_null(P);
	assert_int_equal(Plookup_by_name(P, PR_OBJ_EXEC, name, &sym), 0);
	bp = dt_proc_bpcreate(s, P, (uintptr_t)sym.st_value, NULL, NULL);
	assert_non_null(bp);
	dtrace_proc_continue(s, P);
	victim_send(&v, "threads %s 4 6000", name);
	for (int i = 0; i < ROUNDS; i++) {
		struct tids t = { .n = 0 };
		struct ps_lwphandle *L;

		Plwp_iter(P, note, &t);
		L = Lgrab(P, t.tid[rand_r(&seed) % (unsigned)t.n], NULL);
		if (!L)
			continue; /* has ended */
		Lstop(L, SOON);
		Lsetrun(L, 0, i % 3 ? 0 : PRSTOP);
		Lfree(L);
	}
	sscanf(victim_expect(&v, "calls="), "%ld sum=%ld", &calls, &sum);
	assert_int_equal(calls, 24000);
	assert_int_equal(sum, calls * 3);
	assert_int_equal(dt_proc_bphits(bp), calls);
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

static void emulated_ones(void)
{
	stopped_at_breakpoints("leaf");
}

static void executed_ones(void)
{
	stopped_at_breakpoints("framed");
}

/* --- stacks ------------------------------------------------------------------------- */

static void stacks(void)
{
	struct ps_prochandle *P;
	struct ps_lwphandle *L;
	struct victim v;
	stack_t st;
	prgreg_t sp;
	pid_t tid = start_spin(&v);

	P = grab(&v, PGRAB_NOSTOP);
	L = take(P, tid);
	assert_int_equal(Lstack(L, &st), -1);
	assert_int_equal(errno, EBUSY);
	stop(L);
	assert_int_equal(Lstack(L, &st), 0);
	assert_int_equal(Lgetareg(L, R_SP, &sp), 0);
	assert_true(sp >= (uintptr_t)st.ss_sp && sp < (uintptr_t)st.ss_sp + st.ss_size);
	assert_int_equal(st.ss_flags, 0);
	Lsync(L);
	Lfree(L);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

static const struct harness_test tests[] = {
	TEST(one_stands_the_others_run),
	TEST(a_run_of_all_leaves_it),
	TEST(step_one),
	TEST(refusals),
	TEST(it_ends),
	TEST(it_ends_by_an_exec),
	TEST(signals_of_one),
	TEST(outside_stop),
	TEST_IN(emulated_ones, 60),
	TEST_IN(executed_ones, 60),
	TEST(stacks),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
