/* SPDX-License-Identifier: MIT */
/*
 * System calls made by the victim, under fire: somebody else stops, continues or kills it
 * in the middle, the client is killed in the middle, a filter forbids the call, the
 * victim stands where a detour is noticed. Whatever happens, it goes on as itself.
 */
#include "proc_test.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <sys/rseq.h>

enum {
	ROUNDS = 60,
	WORKERS = 3,      /* further threads of a working victim */
	STEPS = 40000000, /* of its sum */
};

static int sysret(struct ps_prochandle *P, int nr, long *ret)
{
	argdes_t none;
	sysret_t r = { 0 };
	int rc = Psyscall(P, &r, nr, 0, &none);

	*ret = r.sys_rval1;
	return rc;
}

static void await_asleep(pid_t tid, int nr)
{
	int64_t end = harness_now_ms() + harness_ms(10000);
	char path[64], line[256] = "";
	int now = -1;

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	while (now != nr) {
		FILE *f = fopen(path, "r");

		now = -1;
		if (f && fgets(line, sizeof(line), f) && line[0] != 'r')
			sscanf(line, "%d", &now);
		if (f)
			fclose(f);
		if (now != nr && !harness_wait_a_little(end))
			fail_msg("not asleep in %d: %s", nr, line);
	}
}

/* --- a call that sleeps, in a thread of the test ------------------------------------ */

struct sleeping_call {
	struct ps_prochandle *P; /* by whom */
	int in, out;             /* a pipe that the victim has too */
	pthread_t thread;        /* that makes it */
	ssize_t ret;             /* what pr_read() returned */
	int err;                 /* its errno */
};

static void *read_there(void *arg)
{
	struct sleeping_call *c = arg;
	char byte;

	c->ret = pr_read(c->P, c->in, &byte, 1);
	c->err = c->ret < 0 ? errno : 0;
	return NULL;
}

static void open_pipe(struct sleeping_call *c)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	c->in = p[0];
	c->out = p[1];
}

static void begin_call(struct sleeping_call *c)
{
	assert_int_equal(pthread_create(&c->thread, NULL, read_there, c), 0);
	await_asleep(Pgetpid(c->P), SYS_read);
}

static void end_call(struct sleeping_call *c)
{
	assert_int_equal(write(c->out, "x", 1), 1);
	pthread_join(c->thread, NULL);
	assert_int_equal(c->ret, 1);
}

static void close_pipe(struct sleeping_call *c)
{
	close(c->in);
	close(c->out);
}

/* --- somebody else's stops ---------------------------------------------------------- */

static bool outstopped(pid_t pid)
{
	return state_of(pid) == 'T';
}

/* Stopped by somebody else before the grab: still so afterwards. Fails when an LWP is
 * resumed out of the group stop that it was taken from for the call. */
static void stopped_before(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);

	await(s->ready == NTHREADS);
	for (int i = 0; i < 20; i++) {
		struct ps_prochandle *P;

		kill(pid, SIGSTOP);
		await(outstopped(pid));
		P = grab(pid, 0);
		assert_int_equal(pr_getpid(P), pid);
		assert_int_equal(pr_getpid(P), pid);
		if (i & 1) {
			assert_int_equal(Psetrun(P, 0, 0), 0);
			assert_still(s); /* the other's stop holds */
			kill(pid, SIGCONT);
			assert_beats(s);
			Prelease(P, 0);
			continue;
		}
		Prelease(P, 0);
		await(outstopped(pid));
		assert_still(s);
		kill(pid, SIGCONT);
		assert_beats(s);
	}
	end(pid);
}

/* SIGSTOP in the middle of a call that sleeps: the call goes on, and when the victim is
 * set running it stands; SIGCONT in the middle: it runs. */
static void stopped_meanwhile(void)
{
	struct sleeping_call c;
	struct shared *s;
	pid_t pid;

	open_pipe(&c);
	pid = start(beating, &s);
	for (int i = 0; i < 20; i++) {
		c.P = grab(pid, 0);
		begin_call(&c);
		kill(pid, SIGSTOP);
		if (i & 1) {
			usleep((unsigned)i * 50);
			kill(pid, SIGCONT);
		}
		end_call(&c);
		assert_int_equal(pr_getpid(c.P), pid);
		Prelease(c.P, 0);
		if (!(i & 1)) {
			await(outstopped(pid));
			assert_still(s);
			kill(pid, SIGCONT);
		}
		assert_beats(s);
	}
	end(pid);
	close_pipe(&c);
}

/* The same while it stands on a signal of its own, which comes all the same, once. */
static void stopped_on_a_signal(void)
{
	struct sleeping_call c;
	struct shared *s;
	pid_t pid;

	open_pipe(&c);
	pid = start(with_handler, &s);
	c.P = grab(pid, 0);
	assert_int_equal(Psignal(c.P, SIGUSR1, 1), 0);
	assert_int_equal(Psetrun(c.P, 0, 0), 0);
	kill(pid, SIGUSR1);
	wait_stop(c.P, PR_SIGNALLED, SIGUSR1);
	begin_call(&c);
	kill(pid, SIGSTOP);
	usleep(2000);
	end_call(&c);
	assert_int_equal(s->got, 0);
	assert_int_equal(Psetrun(c.P, 0, 0), 0);
	await(outstopped(pid) || Pstate(c.P) == PS_STOP);
	assert_still(s);
	kill(pid, SIGCONT);
	await(s->got == SIGUSR1);
	assert_beats(s);
	assert_int_equal(s->got, SIGUSR1);
	Prelease(c.P, 0);
	end(pid);
	close_pipe(&c);
}

/* A fault's signal that somebody sends in the middle comes when the victim runs. */
static void faults_sent(void)
{
	struct sleeping_call c;
	struct shared *s;
	pid_t pid;

	open_pipe(&c);
	pid = start(with_handler, &s);
	c.P = grab(pid, 0);
	begin_call(&c);
	for (int i = 0; i < 5; i++) {
		kill(pid, SIGSEGV);
		usleep(1000);
		await_asleep(pid, SYS_read); /* again */
	}
	end_call(&c);
	assert_int_equal(Psignal(c.P, SIGSEGV, 1), 0);
	assert_int_equal(Psetrun(c.P, 0, 0), 0);
	wait_stop(c.P, PR_SIGNALLED, SIGSEGV);
	assert_int_equal(Psetrun(c.P, 0, PRCSIG), 0);
	assert_beats(s);
	Prelease(c.P, 0);
	end(pid);
	close_pipe(&c);
}

/* --- where a detour is noticed ------------------------------------------------------ */

static struct suspended {
	struct shared s;          /* first: ready */
	volatile unsigned caught; /* signals */
	volatile unsigned rounds; /* of sigsuspend */
	volatile unsigned other;  /* it returned something else, or with another mask */
} * suspended;

static void count_caught(int sig)
{
	(void)sig;
	suspended->caught++;
}

/* SIGUSR1 is blocked but in sigsuspend(2). */
VICTIM static void suspending(struct shared *s)
{
	sigset_t set, none, now;

	suspended = (struct suspended *)(void *)s;
	signal(SIGUSR1, count_caught);
	sigemptyset(&set);
	sigemptyset(&none);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->ready = 1;
	for (;;) {
		if (sigsuspend(&none) != -1 || errno != EINTR)
			suspended->other++;
		sigprocmask(SIG_BLOCK, NULL, &now);
		if (!sigismember(&now, SIGUSR1))
			suspended->other++;
		suspended->rounds++;
	}
}

/* Fails when the mask of sigsuspend(2) is taken for the LWP's own, or the signal that it
 * stands on is dequeued a second time. */
static void in_sigsuspend(void)
{
	struct shared *s;
	pid_t pid = start(suspending, &s);
	struct ps_prochandle *P = grab(pid, 0);

	suspended = (struct suspended *)(void *)s;
	assert_int_equal(Psignal(P, SIGUSR1, 1), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(Psetrun(P, 0, 0), 0);
		await_asleep(pid, SYS_rt_sigsuspend);
		if (i & 1) { /* asleep, the signal comes after the call */
			assert_int_equal(Pstop(P, SOON_MS), 0);
			assert_int_equal(pr_getpid(P), pid);
			kill(pid, SIGUSR1);
			assert_int_equal(pr_getpid(P), pid);
			assert_int_equal(Psetrun(P, 0, 0), 0);
		} else {
			kill(pid, SIGUSR1);
		}
		wait_stop(P, PR_SIGNALLED, SIGUSR1);
		assert_int_equal(pr_getpid(P), pid);
		assert_int_equal(Psetrun(P, 0, 0), 0);
		await(suspended->rounds == i + 1);
		assert_int_equal(Pstop(P, SOON_MS), 0);
		assert_int_equal(suspended->caught, i + 1);
		assert_int_equal(suspended->other, 0);
	}
	Prelease(P, 0);
	end(pid);
}

#if defined(__x86_64__)
/* In a restartable sequence (rseq(2)) but for a few instructions; got counts aborts. */
VICTIM static void sequencing(struct shared *s)
{
	char *area = (char *)__builtin_thread_pointer() + __rseq_offset;

	s->ready = 1;
	for (;;)
		__asm__ volatile(".pushsection __rseq_cs, \"aw\"\n"
				 "	.balign 32\n"
				 "3:	.long 0, 0\n"
				 "	.quad 1f, 2f - 1f, 4f\n"
				 "	.popsection\n"
				 "	leaq 3b(%%rip), %%rax\n"
				 "	movq %%rax, 8(%0)\n"
				 "1:	incq %%rcx\n"
				 "	jmp 1b\n"
				 "2:	jmp 5f\n"
				 "	.long 0x53053053\n" /* glibc's RSEQ_SIG */
				 "4:	lock incl (%1)\n"
				 "5:\n"
				 :
				 : "r"(area), "r"(&s->got)
				 : "rax", "rcx", "memory");
}

/* Fails when the victim goes on in its sequence after our detour. */
static void in_a_sequence(void)
{
	struct shared *s;
	struct ps_prochandle *P;
	unsigned was;
	pid_t pid;

	if (!__rseq_size)
		harness_skip("no rseq");
	pid = start(sequencing, &s);
	for (int i = 0; i < 20; i++) {
		P = grab(pid, 0);
		was = s->got;
		assert_int_equal(pr_getpid(P), pid);
		Prelease(P, 0);
		await(s->got > was);
	}
	end(pid);
}
#else
static void in_a_sequence(void)
{
	harness_skip("x86-64 only");
}
#endif

/* --- filters ------------------------------------------------------------------------ */

static volatile sig_atomic_t trapped;

static void count_trapped(int sig)
{
	(void)sig;
	trapped++;
}

/* getppid: an errno; getpgid: SIGSYS; getsid: death. */
VICTIM static void filtered(struct shared *s)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(*code), code };

	signal(SIGSYS, count_trapped);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		_exit(1);
	while (!trapped)
		beat(s), s->ready = 1, usleep(200);
	_exit(2); /* a SIGSYS of a call that it did not make */
}

static void seccomp(void)
{
	struct shared *s;
	pid_t pid = start(filtered, &s);
	struct ps_prochandle *P = grab(pid, 0);
	long ret;
	int status;

	assert_int_equal(pr_getpid(P), pid);
	assert_int_equal(sysret(P, SYS_getppid, &ret), ENOTTY);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(sysret(P, SYS_getpgid, &ret), -1);
		assert_int_equal(errno, EPERM);
	}
	assert_int_equal(pr_getpid(P), pid);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_beats(s); /* it has not been told */
	assert_int_equal(Pstop(P, SOON_MS), 0);
	assert_int_equal(sysret(P, SYS_getsid, &ret), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(Pwait(P, SOON_MS), -1);
	status = Pstatus(P)->pr_exitstatus;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	Prelease(P, 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* --- exec --------------------------------------------------------------------------- */

/* The victim is made to exec another program, with its signal mask. */
static void made_to_exec(void)
{
	char *const argv[] = { (char *)"sleep", (char *)"1000", NULL };
	struct procfs_status before, after;
	struct procfs_stat st;
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct ps_prochandle *P;
	char *block;
	uintptr_t at[2];
	argdes_t args[3] = { { .arg_type = AT_BYVAL },
			     { .arg_type = AT_BYVAL },
			     { .arg_type = AT_BYVAL } };
	sysret_t ret;

	await(s->ready == NTHREADS);
	P = grab(pid, 0);
	assert_int_equal(procfs_status(pid, pid, &before), 0);
	block = pr_mmap(P, NULL, 4096, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(block != MAP_FAILED);
	at[0] = (uintptr_t)block + 64;
	at[1] = (uintptr_t)block + 96;
	assert_int_equal(Pwrite(P, "/bin/sleep", 11, (uintptr_t)block), 11);
	assert_int_equal(Pwrite(P, argv[0], 6, at[0]), 6);
	assert_int_equal(Pwrite(P, argv[1], 5, at[1]), 5);
	assert_int_equal(Pwrite(P, at, sizeof(at), (uintptr_t)block + 128), sizeof(at));
	args[0].arg_value = (long)(uintptr_t)block;
	args[1].arg_value = (long)(uintptr_t)block + 128;
	assert_int_equal(Psyscall(P, &ret, SYS_execve, 3, args), 0);
	assert_int_equal(procfs_stat(pid, 0, &st), 0);
	assert_string_equal(st.comm, "sleep");
	assert_int_equal(procfs_status(pid, pid, &after), 0);
	assert_int_equal(before.sigblk, after.sigblk);
	assert_int_equal(pr_getpid(P), pid); /* and the instruction is found anew */
	Prelease(P, 0);
	await_asleep(pid, SYS_clock_nanosleep);
	end(pid);
}

/* --- death -------------------------------------------------------------------------- */

static void *kill_soon(void *arg)
{
	const int *who = arg;

	usleep((unsigned)who[1]);
	kill(who[0], SIGKILL);
	return NULL;
}

/* Killed at some instant between two calls or inside one; half of them sleep. Fails when
 * anybody waits for ever, or takes the death for something else. */
static void killed_meanwhile(void)
{
	for (int i = 0; i < 2 * ROUNDS; i++) {
		struct sleeping_call c;
		struct shared *s;
		pthread_t killer;
		int who[2] = { 0, i * 37 % 3000 };
		char byte;

		open_pipe(&c);
		who[0] = start(i & 2 ? threads : beating, &s);
		c.P = grab(who[0], 0);
		assert_int_equal(pthread_create(&killer, NULL, kill_soon, who), 0);
		if (i & 1)
			assert_int_equal(pr_read(c.P, c.in, &byte, 1), -1);
		else
			while (pr_getpid(c.P) == who[0])
				;
		assert_int_equal(errno, ENOENT);
		pthread_join(killer, NULL);
		assert_int_equal(Pwait(c.P, SOON_MS), -1);
		assert_int_equal(Pstate(c.P), PS_UNDEAD);
		Prelease(c.P, 0);
		assert_int_equal(waitpid(who[0], NULL, 0), who[0]);
		munmap(s, 4096);
		close_pipe(&c);
	}
}

/* --- a victim that works, and a client that dies ------------------------------------ */

static struct board {
	struct shared s;             /* first: ready */
	atomic_ulong sum[WORKERS];   /* of each thread, when done */
	atomic_int done;             /* threads that are */
	atomic_int calling;          /* the client has begun */
	volatile unsigned long seed; /* of the sums */
	int steps;                   /* of each */
} * board;

VICTIM static unsigned long work(unsigned long x, int steps)
{
	for (int i = 0; i < steps; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

VICTIM static void *worker(void *arg)
{
	unsigned long n = (unsigned long)arg;

	atomic_store(&board->sum[n], work(board->seed + n, board->steps));
	atomic_fetch_add(&board->done, 1);
	return NULL;
}

/* Its leader sleeps, its other threads compute; ends when told to, with 0 when no sleep
 * was cut short or failed. */
VICTIM static void working(struct shared *s)
{
	pthread_t t[WORKERS];
	struct timespec nap = { 0, 30000000 };
	int rc;

	board = (struct board *)(void *)s;
	for (unsigned long i = 0; i < WORKERS; i++)
		pthread_create(&t[i], NULL, worker, (void *)i);
	s->ready = 1;
	do {
		rc = nanosleep(&nap, NULL);
	} while (!rc && (!s->go || atomic_load(&board->done) < WORKERS));
	for (int i = 0; i < WORKERS; i++)
		pthread_join(t[i], NULL);
	_exit(rc ? 1 : 0);
}

/* The client: grabs, and calls without end; every other one sleeps in its call. */
static void client(pid_t pid, int in, int how)
{
	struct ps_prochandle *P;
	char byte;
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	P = Pgrab(pid, 0, &err);
	if (!P)
		_exit(1);
	atomic_store(&board->calling, 1);
	if (how & 1)
		pr_read(P, in, &byte, 1);
	for (;;)
		pr_getpid(P);
}

static pid_t start_working(int steps, unsigned long seed)
{
	struct board *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	assert_true(b != MAP_FAILED);
	board = b;
	b->seed = seed;
	b->steps = steps;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		working(&b->s);
	}
	while (!b->s.ready)
		usleep(1000);
	return pid;
}

static void check_worked(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (unsigned long n = 0; n < WORKERS; n++)
		assert_int_equal(board->sum[n], work(board->seed + n, board->steps));
	munmap(board, 4096);
}

/*
 * SIGKILL of the client between and inside its calls, those that sleep too: the victim,
 * grabbed, computes what it would have and sleeps as long. Fails when a call under way is
 * not ended at the last close, or an LWP is let go with our registers.
 */
static void client_killed(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct sleeping_call c;
		pid_t pid, who;

		open_pipe(&c);
		pid = start_working(STEPS / 200, (unsigned long)i * 7919 + 1);
		who = fork();
		if (!who)
			client(pid, c.in, i);
		await(atomic_load(&board->calling));
		usleep((unsigned)(i * 131 % 4000));
		if (i & 1 && i & 2)
			await_asleep(pid, SYS_read);
		kill(who, SIGKILL);
		assert_int_equal(waitpid(who, NULL, 0), who);
		board->s.go = 1;
		check_worked(pid);
		close_pipe(&c);
	}
}

/* The same as an ordinary user. */
static void ordinary_user(void)
{
	struct ps_prochandle *P;
	struct shared *s;
	struct stat st;
	pid_t pid, helper = fork();
	int status;

	if (!helper) {
		if (getuid() == 0 && (setgid(65534) || setuid(65534)))
			_exit(77);
		if (access(getenv("PGRAB_KEEPER"), X_OK))
			_exit(77); /* in a folder of root's own */
		prctl(PR_SET_DUMPABLE, 1);
		pid = start(beating, &s);
		P = Pgrab(pid, 0, &status);
		if (!P)
			_exit(2);
		if (pr_getpid(P) != pid || pr_stat(P, "/", &st) ||
		    pr_open(P, "/etc/shadow", O_RDONLY, 0) != -1 || errno != EACCES)
			_exit(3);
		Prelease(P, 0);
		kill(pid, SIGKILL);
		_exit(waitpid(pid, NULL, 0) == pid ? 0 : 4);
	}
	assert_int_equal(waitpid(helper, &status, 0), helper);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		harness_skip("no other user here, or none that may run the keeper");
	assert_int_equal(status, 0);
}

/* Released in the middle of a call: that is the client's mistake, but a bare hold may. */
static void released_meanwhile(void)
{
	struct sleeping_call c;
	struct shared *s;
	pid_t pid;
	int mode;

	open_pipe(&c);
	for (int i = 0; i < 30; i++) {
		pid_t who;

		pid = start(beating, &s);
		who = fork();
		if (!who) { /* ends in order, its call under way */
			pthread_t t;

			c.P = grab(pid, 0);
			pthread_create(&t, NULL, read_there, &c);
			await_asleep(pid, SYS_read);
			_exit(0);
		}
		assert_int_equal(waitpid(who, &mode, 0), who);
		assert_int_equal(mode, 0);
		assert_beats(s);
		await(tracer_of(pid) == 0);
		end(pid);
	}
	close_pipe(&c);
}

static const struct harness_test tests[] = {
	TEST(stopped_before),
	TEST(stopped_meanwhile),
	TEST(stopped_on_a_signal),
	TEST(faults_sent),
	TEST(in_sigsuspend),
	TEST(in_a_sequence),
	TEST(seccomp),
	TEST(made_to_exec),
	TEST_IN(killed_meanwhile, 60),
	TEST_IN(client_killed, 120),
	TEST_IN(released_meanwhile, 60),
	TEST(ordinary_user),
	TEST_END,
};

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
