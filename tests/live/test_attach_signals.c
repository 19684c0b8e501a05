/* SPDX-License-Identifier: MIT */
/*
 * What an attach must not change: somebody else's stops and what is reported of them,
 * signals that are pending, and the jobs of a shell.
 */
#include <stdatomic.h>
#include <termios.h>

#include "dtrace.h"
#include "proc_test.h"

/* --- stopped by somebody else ------------------------------------------------------- */

/* Beats, counts SIGCONT; in a group of its own, since SIGTSTP stops no orphaned one. */
VICTIM static void with_sigcont(struct shared *s)
{
	setpgid(0, 0);
	signalled = s;
	signal(SIGCONT, count_signal);
	beating(s);
}

/* What the parent is told, without waiting: CLD_*, or 0. *ret_sig is the signal. */
static int report_of(pid_t pid, int *ret_sig)
{
	siginfo_t info = { 0 };

	assert_int_equal(waitid(P_PID, (id_t)pid, &info,
				WSTOPPED | WCONTINUED | WEXITED | WNOHANG),
			 0);
	*ret_sig = info.si_pid ? info.si_status : 0;
	return info.si_pid ? info.si_code : 0;
}

static void told(pid_t pid, int code, int sig)
{
	int got = 0, status = 0;

	await((got = report_of(pid, &status)) != 0);
	assert_int_equal(got, code);
	assert_int_equal(status, sig);
	assert_int_equal(report_of(pid, &status), 0);
}

static void told_nothing(pid_t pid)
{
	int sig;

	assert_int_equal(report_of(pid, &sig), 0);
}

static void goes_on(struct shared *s, pid_t pid)
{
	told(pid, CLD_CONTINUED, SIGCONT);
	await(s->got == SIGCONT);
	assert_beats(s);
	assert_int_equal(s->got, SIGCONT); /* one */
	s->got = 0;
}

/* Grabs and releases in each way: it stands all the time, and nobody hears of it. */
static void stays_stopped(struct shared *s, pid_t pid)
{
	static const int flags[] = { 0, PGRAB_NOSTOP, PGRAB_RDONLY };
	unsigned was = s->beats;

	for (int i = 0; i < 30; i++) {
		struct ps_prochandle *P = grab(pid, flags[i % 3]);

		if (!flags[i % 3])
			assert_int_equal(Pstate(P), PS_STOP);
		told_nothing(pid);
		if (i % 2)
			Psetrun(P, 0, 0); /* a stop of somebody else's stands */
		Prelease(P, 0);
		/* Of one that we had not stopped the handle may not know it yet: then
		 * /proc shows it running for some microseconds more (grab.c). */
		if (flags[i % 3] == PGRAB_NOSTOP)
			await(state_of(pid) == 'T');
		assert_int_equal(state_of(pid), 'T');
		told_nothing(pid);
	}
	assert_int_equal(s->beats, was);
	assert_int_equal(s->got, 0);
}

/* Breaks when a release sets running what somebody else had stopped, when it does so by
 * SIGCONT and stops it again (its handler and its parent would notice), and when the stop
 * is reported once more. */
static void a_stop_before_the_grab_is_kept(void)
{
	static const int sigs[] = { SIGSTOP, SIGTSTP, SIGTTIN };
	struct shared *s;
	pid_t pid = start(with_sigcont, &s);

	for (size_t i = 0; i < sizeof(sigs) / sizeof(*sigs); i++) {
		kill(pid, sigs[i]);
		told(pid, CLD_STOPPED, sigs[i]);
		stays_stopped(s, pid);
		kill(pid, SIGCONT);
		goes_on(s, pid);
	}
	end(pid);
}

/* Stopped by somebody, then by us, then continued by somebody: it runs on at the release,
 * not before. Breaks when the stop that there was at the grab is remembered for ever, and
 * when SIGCONT runs it under our hands. */
static void continued_while_grabbed(void)
{
	struct shared *s;
	pid_t pid = start(with_sigcont, &s);

	for (int i = 0; i < 30; i++) {
		struct ps_prochandle *P;

		kill(pid, SIGSTOP);
		told(pid, CLD_STOPPED, SIGSTOP);
		P = grab(pid, 0);
		kill(pid, SIGCONT);
		if (i == 0)
			assert_still(s);
		Prelease(P, 0);
		goes_on(s, pid);
	}
	end(pid);
}

/* Running, grabbed, stopped by somebody in our stop: stopped after the release, and
 * reported once. Breaks when a stop signal that is pending is dropped with our stop. */
static void stopped_while_grabbed(void)
{
	struct shared *s;
	pid_t pid = start(with_sigcont, &s);

	for (int i = 0; i < 30; i++) {
		struct ps_prochandle *P = grab(pid, 0);

		kill(pid, i % 2 ? SIGTSTP : SIGSTOP);
		Prelease(P, 0);
		told(pid, CLD_STOPPED, i % 2 ? SIGTSTP : SIGSTOP);
		await(state_of(pid) == 'T');
		kill(pid, SIGCONT);
		goes_on(s, pid);
	}
	end(pid);
}

/* --- pending signals ---------------------------------------------------------------- */

enum {
	QUEUED = 20, /* of each RT signal in a round */
	RT_KINDS = 4,
	LOG_MAX = 4096
};

/* What the victim has got; shared with it. */
struct signal_log {
	struct shared s;           /* go: shall block all signals; got: does so */
	volatile unsigned total;   /* handlers run */
	unsigned count[65];        /* by signal */
	unsigned rt_n[RT_KINDS];   /* values of each RT signal … */
	int rt[RT_KINDS][LOG_MAX]; /* … in order */
};

static struct signal_log *sig_log;

VICTIM static void on_any(int sig, siginfo_t *info, void *context)
{
	int kind = sig - SIGRTMIN;

	(void)context;
	if (kind >= 0 && kind < RT_KINDS && sig_log->rt_n[kind] < LOG_MAX)
		sig_log->rt[kind][sig_log->rt_n[kind]++] = info->si_value.sival_int;
	sig_log->count[sig]++;
	beat(&sig_log->s);
	sig_log->total++;
}

/* Not SIGTRAP in the handlers: a trap where that is blocked makes the kernel forget the
 * program's handler for it (docs/ptrace-notes.md). */
VICTIM static void handle_all(void)
{
	struct sigaction sa = { .sa_sigaction = on_any, .sa_flags = SA_SIGINFO };

	sigfillset(&sa.sa_mask);
	sigdelset(&sa.sa_mask, SIGTRAP);
	for (int sig = 1; sig <= 64; sig++) {
		sa.sa_flags = SA_SIGINFO | (sig == SIGTRAP ? SA_NODEFER : 0);
		sigaction(sig, &sa, NULL);
	}
}

VICTIM static void taking_signals(struct shared *unused)
{
	sigset_t all, none;

	sigfillset(&all);
	sigemptyset(&none);
	handle_all();
	unused->ready = 1;
	for (;;) {
		if (sig_log->s.got != sig_log->s.go) {
			sigprocmask(SIG_SETMASK, sig_log->s.go ? &all : &none, NULL);
			sig_log->s.got = sig_log->s.go;
		}
		usleep(100);
	}
}

static void block(unsigned how)
{
	sig_log->s.go = how;
	await(sig_log->s.got == how);
}

/* 1 to 31 in order, so that SIGCONT and the stop signals drop each other in the same way
 * each time (signal(7)); then the RT signals, with values. */
static void send_all(pid_t pid, int round)
{
	for (int sig = 1; sig < 32; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			assert_int_equal(kill(pid, sig), 0);
	for (int i = 0; i < QUEUED * RT_KINDS; i++) {
		union sigval value = { .sival_int = round * 1000 + i };

		assert_int_equal(sigqueue(pid, SIGRTMIN + i % RT_KINDS, value), 0);
	}
}

static atomic_long hits;

static void on_hit(dtrace_hdl_t *s, struct ps_prochandle *P, pid_t tid,
		   const prgregset_t regs, void *arg)
{
	(void)s, (void)P, (void)tid, (void)regs, (void)arg;
	atomic_fetch_add(&hits, 1);
}

static struct ps_prochandle *grab_with_breakpoint(dtrace_hdl_t *s, pid_t pid)
{
	struct ps_prochandle *P = dtrace_proc_grab(s, pid, 0);

	if (!P)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	assert_non_null(dt_proc_bpcreate(s, P, (uintptr_t)beat, on_hit, NULL));
	return P;
}

enum {
	ROUNDS = 24
};

/* With all of it pending and blocked: attached to and let go, with a breakpoint in the
 * handler in every other round, which is hit when they are unblocked. s NULL: alone. */
static void round_blocked(dtrace_hdl_t *s, pid_t pid, int round)
{
	struct ps_prochandle *P = NULL;

	block(1);
	send_all(pid, round);
	for (int i = 0; s && i < 3; i++) {
		P = grab_with_breakpoint(s, pid);
		if (i != 1)
			dtrace_proc_continue(s, P);
		if (i < 2 || round % 2)
			dtrace_proc_release(s, P);
	}
	block(0);
	if (s && !(round % 2))
		dtrace_proc_release(s, P); /* in the middle of them */
}

/* Sent while it stands: they come at the release, or when it is continued. */
static void round_standing(dtrace_hdl_t *s, pid_t pid, int round)
{
	struct ps_prochandle *P;

	if (!s) {
		round_blocked(s, pid, round);
		return;
	}
	P = grab_with_breakpoint(s, pid);
	send_all(pid, round);
	if (round % 4 < 2)
		dtrace_proc_continue(s, P);
	dtrace_proc_release(s, P);
	for (int i = 0; i < 10; i++)
		dtrace_proc_release(s, grab_with_breakpoint(s, pid));
}

static unsigned pending_of(pid_t pid)
{
	struct procfs_status st;

	assert_int_equal(procfs_status(pid, 0, &st), 0);
	return (st.sigpnd | st.shdpnd) != 0;
}

/* Many rounds of both: what was delivered. */
static void deliver(dtrace_hdl_t *s, struct signal_log *ret)
{
	struct shared *shared;
	pid_t pid;

	sig_log = mmap(NULL, sizeof(*sig_log), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(sig_log != MAP_FAILED);
	pid = start(taking_signals, &shared);
	for (int round = 0; round < ROUNDS; round++) {
		if (round % 3)
			round_blocked(s, pid, round);
		else
			round_standing(s, pid, round);
		await(!pending_of(pid));
	}
	block(1); /* the last handler has returned */
	end(pid);
	*ret = *sig_log;
	munmap(sig_log, sizeof(*sig_log));
}

/* Each is delivered as often, in the same order and with the same values, as without us.
 * Breaks when a signal in whose stop the victim is let go is lost or comes twice, when
 * one is taken from the queue and put back at its end, and when its value is lost with a
 * breakpoint hit in between. */
static void pending_signals_are_kept(void)
{
	static struct signal_log alone, with_us;
	dtrace_hdl_t *s;

	if (HARNESS_TSAN)
		harness_skip("ThreadSanitizer holds the victim's signals back");
	s = dtrace_open(DTRACE_VERSION, 0, NULL);
	deliver(NULL, &alone);
	deliver(s, &with_us);
	dtrace_close(s);
	for (int sig = 1; sig < 65; sig++)
		if (alone.count[sig] != with_us.count[sig])
			fail_msg("signal %d: %u times, alone %u", sig, with_us.count[sig],
				 alone.count[sig]);
	for (int kind = 0; kind < RT_KINDS; kind++)
		assert_memory_equal(alone.rt[kind], with_us.rt[kind],
				    sizeof(alone.rt[kind]));
	assert_int_equal(alone.rt_n[0], QUEUED * ROUNDS);
	assert_int_equal(alone.count[SIGUSR1], ROUNDS);
	assert_int_equal(with_us.total, alone.total);
	assert_int_equal(with_us.s.beats, alone.s.beats);
	assert_int_above(atomic_load(&hits), 100);
}

/* --- the jobs of a shell ------------------------------------------------------------ */

/* A shell in a terminal of its own, and one job. */
struct shell {
	int master;      /* the terminal's other end */
	pid_t pid, job;  /* shell and job */
	char said[8192]; /* all that has been said */
	size_t n;        /* bytes of it */
	size_t heard;    /* how far it has been listened to */
};

static _Noreturn void be_the_shell(const char *name)
{
	static const char *const bash[] = { "bash",        "--norc", "--noprofile",
					    "--noediting", "-i",     NULL };
	struct termios t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	close(0);
	assert_int_equal(open(name, O_RDWR), 0);
	dup2(0, 1);
	dup2(0, 2);
	tcgetattr(0, &t);
	t.c_lflag &= ~(tcflag_t)ECHO;
	t.c_oflag &= ~(tcflag_t)OPOST;
	tcsetattr(0, TCSANOW, &t);
	setenv("PS1", "$ ", 1);
	setenv("LC_ALL", "C", 1);
	execvp("bash", (char **)(uintptr_t)bash);
	_exit(127);
}

/* Everything until `what` has been said anew. */
static void hear(struct shell *sh, const char *what)
{
	int64_t end = harness_now_ms() + harness_ms(10000);
	struct pollfd p = { .fd = sh->master, .events = POLLIN };

	const char *found;

	while (!(found = strstr(sh->said + sh->heard, what))) {
		ssize_t got;

		if (harness_now_ms() > end)
			fail_msg("not said: '%s', but '%s'", what, sh->said + sh->heard);
		if (poll(&p, 1, 100) != 1)
			continue;
		got = read(sh->master, sh->said + sh->n, sizeof(sh->said) - 1 - sh->n);
		assert_true(got > 0);
		sh->n += (size_t)got;
		sh->said[sh->n] = '\0';
	}
	sh->heard = (size_t)(found - sh->said) + strlen(what);
}

static void type(struct shell *sh, const char *keys)
{
	assert_int_equal(write(sh->master, keys, strlen(keys)), strlen(keys));
}

static void shell_start(struct shell *sh)
{
	*sh = (struct shell){ .master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC) };
	assert_true(sh->master >= 0 && !grantpt(sh->master) && !unlockpt(sh->master));
	sh->pid = fork();
	if (!sh->pid)
		be_the_shell(ptsname(sh->master));
	hear(sh, "$ ");
	type(sh, "sleep 1000\n");
	await((sh->job = tcgetpgrp(sh->master)) > 0 && sh->job != sh->pid &&
	      !strcmp(harness_process(sh->job).comm, "sleep"));
}

/* How the job is held meanwhile. */
enum holding {
	ALONE,    /* not at all */
	BETWEEN,  /* grabbed and released between two keys */
	RUNNING,  /* held and running all the time */
	STANDING, /* grabbed before a key, released after it */
	NHOLDINGS
};

/* Types `keys` with the job held in that way. */
static void press(struct shell *sh, enum holding how, const char *keys)
{
	struct ps_prochandle *P = NULL;

	if (how == BETWEEN)
		Prelease(grab(sh->job, 0), 0);
	if (how == STANDING)
		P = grab(sh->job, 0);
	type(sh, keys);
	if (P)
		Prelease(P, 0);
}

static void ctrl_z(struct shell *sh, enum holding how)
{
	await(tcgetpgrp(sh->master) == sh->job && state_of(sh->job) != 'T');
	press(sh, how, "\x1a");
	hear(sh, "Stopped");
	hear(sh, "$ ");
	if (how != RUNNING) /* which stands in its group stop as a tracee: t */
		assert_int_equal(state_of(sh->job), 'T');
}

static void resume(struct shell *sh, enum holding how, const char *keys, const char *said)
{
	press(sh, how, keys);
	hear(sh, said);
	await(strchr("SR", state_of(sh->job)));
}

static void use_jobs(struct shell *sh, enum holding how)
{
	for (int i = 0; i < 3; i++) {
		ctrl_z(sh, how);
		press(sh, how, "jobs\n");
		hear(sh, "Stopped");
		resume(sh, how, "fg\n", "sleep 1000");
		ctrl_z(sh, how);
		resume(sh, how, "bg\n", "sleep 1000 &");
		hear(sh, "$ ");
		press(sh, how, "jobs\n");
		hear(sh, "Running");
		hear(sh, "$ ");
		resume(sh, how, "fg\n", "sleep 1000");
	}
	ctrl_z(sh, how);
	resume(sh, how, "bg\n", "sleep 1000 &");
	hear(sh, "$ ");
}

/* Reads until the shell has gone. */
static void shell_end(struct shell *sh)
{
	type(sh, "kill %1; wait %1; echo $?\n");
	hear(sh, "143");
	hear(sh, "$ ");
	type(sh, "exit 0\n");
	assert_int_equal(waitpid(sh->pid, NULL, 0), sh->pid);
	close(sh->master);
}

/* Without process ids and what readline adds. */
static void normalise(struct shell *sh)
{
	for (size_t i = 0; i < sh->n; i++)
		if (sh->said[i] == '\r')
			sh->said[i] = ' ';
}

static void job_control(struct shell *sh, enum holding how)
{
	struct ps_prochandle *P = NULL;

	shell_start(sh);
	if (how == RUNNING)
		P = grab(sh->job, PGRAB_NOSTOP);
	use_jobs(sh, how);
	Prelease(P, 0);
	shell_end(sh);
	normalise(sh);
}

/* Ctrl-Z, fg, bg and jobs do and say the same whether we hold the job or not. Breaks when
 * a stop of the terminal's does not stop what we hold, is not reported to the shell, is
 * reported twice, or is ended by a release; and when its SIGCONT runs nothing. */
static void a_shell_notices_nothing(void)
{
	static struct shell alone, with_us;

	if (system("command -v bash >/dev/null"))
		harness_skip("no bash");
	job_control(&alone, ALONE);
	for (enum holding how = BETWEEN; how < NHOLDINGS; how++) {
		job_control(&with_us, how);
		assert_string_equal(with_us.said, alone.said);
	}
}

static const struct harness_test tests[] = {
	TEST(a_stop_before_the_grab_is_kept), TEST(continued_while_grabbed),
	TEST(stopped_while_grabbed),          TEST_IN(pending_signals_are_kept, 60),
	TEST_IN(a_shell_notices_nothing, 60), TEST_END,
};

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
