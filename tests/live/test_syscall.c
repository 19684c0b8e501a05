/* SPDX-License-Identifier: MIT */
/*
 * System calls made by the victim: each wrapper, the errors, and that the victim is
 * afterwards what it was: the call that the stop had interrupted ends when and as it
 * would have, signals come as they were sent, nobody dies of a client that dies.
 */
#include "proc_test.h"

#include "dtrace.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <time.h>

static long psyscall(struct ps_prochandle *P, int nr, long a, long b, long c)
{
	argdes_t args[3] = { { .arg_value = a, .arg_type = AT_BYVAL },
			     { .arg_value = b, .arg_type = AT_BYVAL },
			     { .arg_value = c, .arg_type = AT_BYVAL } };
	sysret_t ret;
	int rc = Psyscall(P, &ret, nr, 3, args);

	if (rc > 0)
		return -rc;
	if (rc < 0)
		fail_msg("Psyscall(%d): %s", nr, strerror(errno));
	return ret.sys_rval1;
}

static int exit_status(struct ps_prochandle *P)
{
	assert_int_equal(Pwait(P, SOON_MS), -1);
	assert_int_equal(Pstate(P), PS_UNDEAD);
	return Pstatus(P)->pr_exitstatus;
}

static void await_asleep(pid_t pid, int nr)
{
	char path[64], line[256];
	int now = -1;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	for (int64_t end = harness_now_ms() + harness_ms(10000); now != nr;) {
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

/* --- every wrapper ------------------------------------------------------------------ */

static char *fd_target(pid_t pid, int fd)
{
	static char to[4096];
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	n = readlink(path, to, sizeof(to) - 1);
	to[n < 0 ? 0 : n] = '\0';
	return to;
}

static void try_files(struct ps_prochandle *P, pid_t pid, const char *path)
{
	char buf[64] = "", to[4096];
	struct stat st, mine;
	int fd = pr_open(P, path, O_CREAT | O_RDWR | O_EXCL, 0600);

	assert_int_above(fd, 2);
	assert_string_equal(fd_target(pid, fd), path);
	assert_int_equal(pr_write(P, fd, "hello, victim", 13), 13);
	assert_int_equal(pr_lseek(P, fd, 7, SEEK_SET), 7);
	assert_int_equal(pr_read(P, fd, buf, sizeof(buf)), 6);
	assert_string_equal(buf, "victim");
	assert_int_equal(pr_read(P, fd, buf, 0), 0);
	assert_int_equal(pr_fstat(P, fd, &st), 0);
	assert_int_equal(stat(path, &mine), 0);
	assert_int_equal(st.st_ino, mine.st_ino);
	assert_int_equal(st.st_size, 13);
	assert_int_equal(pr_stat(P, path, &st), 0);
	assert_int_equal(st.st_ino, mine.st_ino);
	assert_int_equal(pr_lstat(P, "/proc/self", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(pr_access(P, path, R_OK), 0);
	snprintf(to, sizeof(to), "%s.2", path);
	assert_int_equal(pr_link(P, path, to), 0);
	assert_int_equal(pr_rename(P, to, path), 0); /* the same file: nothing */
	assert_int_equal(pr_unlink(P, to), 0);
	assert_int_equal(pr_unlink(P, path), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(pr_close(P, fd), 0);
	assert_string_equal(fd_target(pid, fd), "");
}

static void try_descriptors(struct ps_prochandle *P, const char *path)
{
	int fd = pr_creat(P, path, 0600), left = -1;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	assert_int_above(fd, 2);
	assert_int_equal(pr_fcntl(P, fd, F_SETFD, (void *)FD_CLOEXEC), 0);
	assert_int_equal(pr_fcntl(P, fd, F_GETFD, NULL), FD_CLOEXEC);
	assert_int_equal(pr_fcntl(P, fd, F_GETLK, &lock), 0);
	assert_int_equal(lock.l_type, F_UNLCK);
	assert_int_equal(pr_write(P, fd, "12345", 5), 5);
	assert_int_equal(pr_lseek(P, fd, 2, SEEK_SET), 2);
	assert_int_equal(pr_ioctl(P, fd, FIONREAD, &left, sizeof(left)), 0);
	assert_int_equal(left, 3);
	assert_int_equal(pr_ioctl(P, fd, FIOCLEX, NULL, 0), 0);
	assert_int_equal(pr_close(P, fd), 0);
	assert_int_equal(pr_unlink(P, path), 0);
}

static void try_memory(struct ps_prochandle *P)
{
	char *at = pr_mmap(P, NULL, 8192, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char back[6] = "";

	assert_true(at != MAP_FAILED);
	assert_int_equal(Pwrite(P, "hello", 6, (uintptr_t)at), 6);
	assert_int_equal(Pread(P, back, 6, (uintptr_t)at), 6);
	assert_string_equal(back, "hello");
	assert_true(Paddr_to_map(P, (uintptr_t)at)); /* the maps are read anew */
	assert_int_equal(pr_mprotect(P, at, 8192, PROT_NONE), 0);
	assert_int_equal(pr_munmap(P, at, 8192), 0);
	assert_int_equal(Pread(P, back, 6, (uintptr_t)at), -1);
	at = pr_mmap(P, NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(at == MAP_FAILED && errno == EINVAL);
}

static void try_limits(struct ps_prochandle *P, pid_t pid)
{
	struct rlimit limit, mine;

	assert_int_equal(pr_getrlimit(P, RLIMIT_CORE, &limit), 0);
	limit.rlim_cur = 0;
	assert_int_equal(pr_setrlimit(P, RLIMIT_CORE, &limit), 0);
	assert_int_equal(prlimit(pid, RLIMIT_CORE, NULL, &mine), 0);
	assert_int_equal(mine.rlim_cur, 0);
	assert_int_equal(mine.rlim_max, limit.rlim_max);
}

static void wrappers(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	char path[64];
	siginfo_t si;

	snprintf(path, sizeof(path), "/tmp/pgrab-test-syscall-%d", pid);
	assert_int_equal(pr_getpid(P), pid);
	try_files(P, pid, path);
	try_descriptors(P, path);
	try_memory(P);
	try_limits(P, pid);
	assert_int_equal(pr_waitid(P, P_ALL, 0, &si, WEXITED | WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_still(s);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_beats(s);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

/* Objects that do not fit below the stack go into memory mapped for the time. */
static void large_objects(void)
{
	enum {
		SIZE = 3 << 20
	};
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	char *out = malloc(SIZE), *back = calloc(1, SIZE);
	int fd = pr_open(P, "/tmp", O_TMPFILE | O_RDWR, 0600);
	struct procfs_map *maps;
	size_t before, after;

	assert_int_above(fd, 2);
	for (int i = 0; i < SIZE; i++)
		out[i] = (char)(i * 7 + i / 4099);
	assert_int_equal(procfs_maps(pid, 0, &maps, &before), 0);
	free(maps);
	assert_int_equal(pr_write(P, fd, out, SIZE), SIZE);
	assert_int_equal(pr_lseek(P, fd, 0, SEEK_SET), 0);
	assert_int_equal(pr_read(P, fd, back, SIZE), SIZE);
	assert_memory_equal(out, back, SIZE);
	assert_int_equal(procfs_maps(pid, 0, &maps, &after), 0);
	free(maps);
	assert_int_equal(before, after); /* nothing stays mapped */
	free(out);
	free(back);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

/* --- errors ------------------------------------------------------------------------- */

static void errors(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0), *reader = grab(pid, PGRAB_RDONLY);
	argdes_t bad[7] = { { .arg_type = AT_BYREF, .arg_size = 8, .arg_inout = 1 } };
	sysret_t ret;

	assert_int_equal(pr_close(P, 99999), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(pr_open(P, "/no/such/file", O_RDONLY, 0), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(pr_open(P, NULL, O_RDONLY, 0), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(Psyscall(P, &ret, SYS_close, 7, bad), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(Psyscall(P, &ret, SYS_write, 1, bad), -1); /* no object */
	assert_int_equal(errno, EINVAL);
	assert_int_equal(Psyscall(P, &ret, SYS_fork, 0, NULL), -1);
	assert_int_equal(errno, ENOTSUP);
	assert_int_equal(Psyscall(P, &ret, 99999, 0, NULL), ENOSYS);
	assert_int_equal(Psyscall(reader, &ret, SYS_getpid, 0, NULL), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_int_equal(pr_getpid(P), -1);
	assert_int_equal(errno, EBUSY);
	assert_beats(s);
	Prelease(reader, 0);
	Prelease(P, 0);
	end(pid);
}

static void instructions(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	uintptr_t at = 0;
	uint64_t insn;

	assert_int_equal(hold_syscall_insn(Phold(P), &insn), 0);
	assert_int_equal(Pissyscall(P, insn), 1);
	assert_int_equal(Pissyscall(P, insn + 1), 0);
	assert_int_equal(Pissyscall_prev(P, insn + arch_native->sys_len, &at), 1);
	assert_int_equal(at, insn);
	assert_int_equal(Pissyscall_prev(P, insn, NULL), 0);
	assert_int_equal(Pissyscall(P, 8), 0);
	Prelease(P, 0);
	end(pid);
}

/* Fails when the keeper steps onto a trap of ours, or the client does not look for
 * another instruction. */
static void breakpoint_on_the_instruction(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	unsigned long saved;
	uint64_t insn, other;

	assert_int_equal(hold_syscall_insn(Phold(P), &insn), 0);
	assert_int_equal(Psetbkpt(P, insn, &saved), 0);
	assert_int_equal(pr_getpid(P), pid);
	assert_int_equal(hold_syscall_insn(Phold(P), &other), 0);
	assert_int_not_equal(insn, other);
	assert_int_equal(Pdelbkpt(P, insn, saved), 0);
	assert_int_equal(pr_getpid(P), pid);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

/* Fails when the hit that is being looked at is lost or counted twice. */
static void at_a_breakpoint(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	uintptr_t addr = address_of(P, "beat");
	unsigned long saved;
	prgreg_t pc;

	assert_int_equal(Psetbkpt(P, addr, &saved), 0);
	for (unsigned i = 0; i < 50; i++) {
		unsigned was = s->beats;

		assert_int_equal(Psetrun(P, 0, 0), 0);
		wait_stop(P, PR_FAULTED, FLTBPT);
		assert_int_equal(pr_getpid(P), pid);
		assert_int_equal(Pgetareg(P, R_PC, &pc), 0);
		assert_int_equal(pc, addr);
		assert_int_equal(s->beats, was + (i > 0));
	}
	assert_int_equal(Pdelbkpt(P, addr, saved), 0);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

/* --- the call that the stop had interrupted ----------------------------------------- */

enum {
	LAST_MS = 1200, /* how long they sleep */
	LATE_MS = 700,  /* they are grabbed so long after */
};

/* What a sleeper reports, in memory shared with the test. */
struct slept {
	struct shared s; /* first: ready */
	long ret;        /* of the call */
	int err;         /* errno */
	long ms;         /* how long it took */
	int pipe[2];     /* that nobody writes to before the test does */
};

static struct timespec last = { LAST_MS / 1000, LAST_MS % 1000 * 1000000 };

static long sleep_nanosleep(struct slept *s)
{
	(void)s;
	return nanosleep(&last, NULL);
}

static long sleep_clock(struct slept *s)
{
	(void)s;
	return clock_nanosleep(CLOCK_MONOTONIC, 0, &last, NULL);
}

static long sleep_read(struct slept *s)
{
	char c;

	return read(s->pipe[0], &c, 1);
}

static long sleep_futex(struct slept *s)
{
	int word = 0;

	(void)s;
	return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &last, NULL, 0);
}

static long sleep_poll(struct slept *s)
{
	struct pollfd p = { .fd = s->pipe[0], .events = POLLIN };

	return poll(&p, 1, LAST_MS);
}

static long sleep_ppoll(struct slept *s)
{
	struct pollfd p = { .fd = s->pipe[0], .events = POLLIN };
	sigset_t none;

	sigemptyset(&none);
	return ppoll(&p, 1, &last, &none);
}

static long sleep_select(struct slept *s)
{
	struct timeval t = { LAST_MS / 1000, LAST_MS % 1000 * 1000 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(s->pipe[0], &set);
	return select(s->pipe[0] + 1, &set, NULL, NULL, &t);
}

static long sleep_epoll(struct slept *s)
{
	struct epoll_event ev;

	(void)s;
	return epoll_wait(epoll_create1(EPOLL_CLOEXEC), &ev, 1, LAST_MS);
}

static long sleep_wait(struct slept *s)
{
	(void)s;
	if (!fork()) {
		nanosleep(&last, NULL);
		_exit(3);
	}
	return wait(NULL) > 0;
}

static const struct {
	const char *name;              /* for the log */
	long (*sleep)(struct slept *); /* what it sleeps in */
	long ret;                      /* what that returns */
	int err;                       /* errno */
	bool may_eintr; /* the kernel does not restart it: EINTR at the stop, signal(7) */
} sleepers[] = {
	{ "nanosleep", sleep_nanosleep, 0, 0, false },
	{ "clock_nanosleep", sleep_clock, 0, 0, false },
	{ "read", sleep_read, 1, 0, false },
	{ "futex", sleep_futex, -1, ETIMEDOUT, false },
	{ "poll", sleep_poll, 0, 0, false },
	{ "ppoll", sleep_ppoll, 0, 0, false },
	{ "select", sleep_select, 0, 0, false },
	{ "epoll_wait", sleep_epoll, 0, 0, true },
	{ "wait", sleep_wait, 1, 0, false },
};

enum {
	NSLEEPERS = sizeof(sleepers) / sizeof(*sleepers)
};

static long since_ms(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - t->tv_sec) * 1000 + (now.tv_nsec - t->tv_nsec) / 1000000;
}

static pid_t start_sleeper(struct slept *s, int which)
{
	struct timespec begin;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	s->s.ready = 1;
	errno = 0;
	s->ret = sleepers[which].sleep(s);
	s->err = s->ret < 0 ? errno : 0;
	s->ms = since_ms(&begin);
	_exit(0);
}

static void call_in_sleeper(pid_t pid, int round)
{
	struct ps_prochandle *P = grab(pid, 0);
	struct stat st;

	assert_int_equal(pr_getpid(P), pid);
	if (round) {
		assert_int_equal(pr_stat(P, "/", &st), 0);
		assert_int_equal(psyscall(P, SYS_sched_yield, 0, 0, 0), 0);
	}
	Prelease(P, 0);
}

static void check_sleeper(const struct slept *s, int which)
{
	const char *name = sleepers[which].name;

	if (sleepers[which].may_eintr && s->ret == -1 && s->err == EINTR)
		return;
	if (s->ret != sleepers[which].ret || s->err != sleepers[which].err)
		fail_msg("%s: %ld, %s", name, s->ret, strerror(s->err));
	/* Begun anew at the last stop it would take that much longer. */
	if (s->ms < LAST_MS - 1 || s->ms >= LAST_MS + LATE_MS)
		fail_msg("%s: %ld ms of %d", name, s->ms, LAST_MS);
}

/*
 * Nine victims, asleep in as many ways, make calls of ours in the middle, twice; each
 * sleep ends when it would have, as it would have. Fails when any register, orig_rax too,
 * is not put back: it ends with an error that no program should see.
 */
static void restarts(void)
{
	struct slept *s = mmap(NULL, NSLEEPERS * sizeof(*s), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct timespec begin;
	pid_t pid[NSLEEPERS];

	assert_true(s != MAP_FAILED);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int i = 0; i < NSLEEPERS; i++) {
		assert_int_equal(pipe2(s[i].pipe, O_CLOEXEC), 0);
		pid[i] = start_sleeper(&s[i], i);
	}
	for (int i = 0; i < NSLEEPERS; i++)
		await(s[i].s.ready && state_of(pid[i]) == 'S');
	for (int round = 0; round < 2; round++) {
		while (since_ms(&begin) < LATE_MS * (round + 1) / 2)
			usleep(1000);
		for (int i = 0; i < NSLEEPERS; i++)
			if (!sleepers[i].may_eintr || !round)
				call_in_sleeper(pid[i], round);
	}
	while (since_ms(&begin) < LAST_MS + 50) /* they began a little later */
		usleep(1000);
	assert_int_equal(write(s[2].pipe[1], "x", 1), 1); /* what read() waits for */
	for (int i = 0; i < NSLEEPERS; i++) {
		assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
		check_sleeper(&s[i], i);
		close(s[i].pipe[0]);
		close(s[i].pipe[1]);
	}
	munmap(s, NSLEEPERS * sizeof(*s));
}

/* The one promise that cannot be kept is known: the kernel has one restart block a
 * thread, and a sleep of ours takes it. Ends early, with EINTR; not never, not wrong. */
static void a_sleep_takes_the_place_of_a_sleep(void)
{
	struct slept *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct timespec nap = { 0, 1000000 };
	argdes_t args[2] = { { .arg_type = AT_BYREF,
			       .arg_inout = AI_INPUT,
			       .arg_object = &nap,
			       .arg_size = sizeof(nap) },
			     { .arg_type = AT_BYVAL } };
	struct ps_prochandle *P;
	sysret_t ret;
	pid_t pid;

	assert_true(s != MAP_FAILED);
	pid = start_sleeper(s, 0);
	await_asleep(pid, SYS_clock_nanosleep);
	P = grab(pid, 0);
	assert_int_equal(Psyscall(P, &ret, SYS_nanosleep, 2, args), 0);
	Prelease(P, 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(s->ret, -1);
	assert_int_equal(s->err, EINTR);
	munmap(s, sizeof(*s));
}

/* --- signals ------------------------------------------------------------------------ */

enum {
	NQUEUED = 20
};

static struct caught {
	struct shared s;             /* first: ready */
	volatile int n;              /* signals caught */
	volatile int value[NQUEUED]; /* what came with them */
	volatile int sender;         /* of SIGUSR1 */
	volatile int usr1;           /* how many of those */
	volatile uintptr_t lowest;   /* the handler's stack, to tell ours from theirs */
} * caught;

static void on_signal(int sig, siginfo_t *si, void *context)
{
	(void)context;
	if (sig == SIGUSR1) {
		caught->sender = si->si_pid;
		caught->usr1++;
	} else if (caught->n < NQUEUED) {
		caught->value[caught->n++] = si->si_value.sival_int;
	}
}

VICTIM static void catching(struct shared *s)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	caught = (struct caught *)(void *)s;
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGRTMIN, &sa, NULL);
	beating(s);
}

static uint64_t blocked_of(pid_t pid)
{
	struct procfs_status st;

	assert_int_equal(procfs_status(pid, pid, &st), 0);
	return st.sigblk;
}

static void queue(pid_t pid, int from, int to)
{
	for (int i = from; i < to; i++)
		assert_int_equal(
			sigqueue(pid, SIGRTMIN, (union sigval){ .sival_int = i }), 0);
}

/*
 * Stopped on a signal, with others pending: each is handled once, in order, with its
 * siginfo. Fails when a handler runs inside our call, when the signal that the LWP
 * stood on is lost with the step, or comes without its siginfo, when the mask stays.
 */
static void signals(void)
{
	struct shared *s;
	pid_t pid = start(catching, &s);
	struct ps_prochandle *P = grab(pid, 0);
	uint64_t blocked = blocked_of(pid);

	caught = (struct caught *)(void *)s;
	assert_int_equal(Psignal(P, SIGUSR1, 1), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	kill(pid, SIGUSR1);
	wait_stop(P, PR_SIGNALLED, SIGUSR1);
	queue(pid, 0, NQUEUED / 2);
	assert_int_equal(pr_getpid(P), pid);
	queue(pid, NQUEUED / 2, NQUEUED);
	assert_int_equal(pr_close(P, 99999), -1);
	assert_int_equal(blocked_of(pid), blocked);
	assert_int_equal(caught->n + caught->usr1, 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	await(caught->n == NQUEUED && caught->usr1 == 1);
	assert_int_equal(caught->sender, getpid());
	for (int i = 0; i < NQUEUED; i++)
		assert_int_equal(caught->value[i], i);
	assert_int_equal(Pstop(P, SOON_MS), 0);
	/* and one that the client clears after the call stays away */
	assert_int_equal(Psetrun(P, 0, 0), 0);
	kill(pid, SIGUSR1);
	wait_stop(P, PR_SIGNALLED, SIGUSR1);
	assert_int_equal(pr_getpid(P), pid);
	assert_int_equal(Psetrun(P, 0, PRCSIG), 0);
	assert_beats(s);
	assert_int_equal(caught->usr1, 1);
	Prelease(P, 0);
	end(pid);
}

/* A handler set from outside runs and returns. */
static void handlers(void)
{
	struct sigaction act = { .sa_flags = SA_RESTART }, old;
	struct ps_prochandle *P;
	struct shared *s;
	pid_t pid;

	if (HARNESS_TSAN)
		harness_skip("the sanitizer has handlers of its own in front");
	pid = start(with_handler, &s);
	P = grab(pid, 0);

	assert_int_equal(pr_sigaction(P, SIGUSR1, NULL, &old), 0);
	assert_true(old.sa_handler == count_signal); /* a fork has our addresses */
	act.sa_handler = count_signal;
	sigaddset(&act.sa_mask, SIGUSR1);
	assert_int_equal(pr_sigaction(P, SIGUSR2, &act, &old), 0);
	assert_true(old.sa_handler == SIG_DFL);
	assert_int_equal(pr_sigaction(P, SIGUSR2, NULL, &old), 0);
	assert_true(old.sa_handler == count_signal && sigismember(&old.sa_mask, SIGUSR1));
	assert_int_equal(Psetrun(P, 0, 0), 0);
	kill(pid, SIGUSR2);
	await(s->got == SIGUSR2);
	assert_beats(s);
	assert_int_equal(pr_sigaction(P, SIGUSR2, &act, NULL), -1); /* it runs */
	assert_int_equal(errno, EBUSY);
	Prelease(P, 0);
	end(pid);
}

/* --- calls that sleep --------------------------------------------------------------- */

/* A call that another thread of the test makes. */
struct sleeping_call {
	struct ps_prochandle *P; /* by whom */
	int fd;                  /* descriptor of the victim's to read from */
	ssize_t ret;             /* what pr_read() returned */
	int err;                 /* its errno */
};

static void *read_there(void *arg)
{
	struct sleeping_call *c = arg;
	char byte;

	c->ret = pr_read(c->P, c->fd, &byte, 1);
	c->err = c->ret < 0 ? errno : 0;
	return NULL;
}

static void read_link(int *ret_in, int *ret_out)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	*ret_in = p[0];
	*ret_out = p[1];
}

/* Fails when a stop waits for the call, or the registers are not put back. */
static void stop_ends_it(void)
{
	struct sleeping_call c = { NULL };
	prgregset_t before, after;
	struct shared *s;
	pthread_t t;
	int out;
	pid_t pid;

	read_link(&c.fd, &out);
	pid = start(beating, &s);
	c.P = grab(pid, 0);
	assert_int_equal(Plwp_getregs(c.P, pid, before), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(pthread_create(&t, NULL, read_there, &c), 0);
		await_asleep(pid, SYS_read);
		assert_int_equal(Psetrun(c.P, 0, 0), -1);
		assert_int_equal(errno, EBUSY);
		assert_int_equal(Pstop(c.P, SOON_MS), 0);
		pthread_join(t, NULL);
		assert_int_equal(c.ret, -1);
		assert_int_equal(c.err, EINTR);
	}
	/* and one that gets what it waits for */
	assert_int_equal(pthread_create(&t, NULL, read_there, &c), 0);
	await_asleep(pid, SYS_read);
	assert_int_equal(write(out, "x", 1), 1);
	pthread_join(t, NULL);
	assert_int_equal(c.ret, 1);
	assert_int_equal(Plwp_getregs(c.P, pid, after), 0);
	assert_memory_equal(before, after, sizeof(before));
	Prelease(c.P, 0);
	assert_beats(s);
	end(pid);
	close(c.fd);
	close(out);
}

/* --- other LWPs --------------------------------------------------------------------- */

static void many_lwps(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct ps_prochandle *P;
	unsigned was;

	await(s->ready == NTHREADS);
	P = grab(pid, 0);
	was = s->beats;
	for (int i = 0; i < 500; i++)
		assert_int_equal(pr_getpid(P), pid);
	assert_int_equal(s->beats, was); /* nobody else ran */
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_beats(s);
	assert_int_equal(Pstop(P, SOON_MS), 0);
	assert_int_equal(psyscall(P, SYS_gettid, 0, 0, 0), Pstatus(P)->pr_lwp.pr_lwpid);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

/* The leader is made to end: a zombie, that reports nothing. Fails when the keeper waits
 * for its end for ever, or nobody else can be asked afterwards. */
static void lwp_exit(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct ps_prochandle *P;

	await(s->ready == NTHREADS);
	P = grab(pid, 0);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_lwpid, pid);
	assert_int_equal(pr_lwp_exit(P), 0);
	await(state_of(pid) == 'Z');
	assert_int_equal(pr_getpid(P), pid);
	assert_int_not_equal(psyscall(P, SYS_gettid, 0, 0, 0), pid);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

static void process_exit(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct ps_prochandle *P = grab(pid, 0);
	int status;

	assert_int_equal(pr_exit(P, 42), 0);
	status = exit_status(P);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	assert_int_equal(pr_getpid(P), -1);
	assert_int_equal(errno, ENOENT);
	Prelease(P, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* --- where it stands ---------------------------------------------------------------- */

/* A created victim stands inside its execve. Fails when the call is begun there: the
 * kernel writes the result of execve over its number. */
static void at_the_exec(void)
{
	for (int i = 0; i < 20; i++) {
		struct ps_prochandle *P = create("exit");
		int status;

		assert_int_equal(pr_getpid(P), Pgetpid(P));
		assert_int_equal(pr_close(P, 99999), -1);
		assert_int_equal(errno, EBADF);
		assert_int_equal(Psetrun(P, 0, 0), 0);
		status = exit_status(P);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
		Prelease(P, 0);
	}
}

/* Stopped anywhere, inside clone(2) too: whatever the victim was doing is done. */
static void in_a_storm(const char *name, const char *order, const char *prefix)
{
	struct victim v;
	struct ps_prochandle *P;

	victim_start(&v, name, "4", NULL);
	victim_expect(&v, "ready");
	if (order)
		victim_send(&v, "%s", order);
	P = grab(v.pid, 0);
	for (int i = 0; i < 150; i++) {
		argdes_t none;
		sysret_t ret;
		int rc = Psyscall(P, &ret, SYS_getpid, 0, &none);

		if (!rc)
			assert_int_equal(ret.sys_rval1, v.pid);
		else if (rc > 0 || errno != EBUSY) /* all of them in vfork */
			fail_msg("%d, %s", rc, strerror(errno));
		assert_int_equal(Psetrun(P, 0, 0), 0);
		usleep((unsigned)i * 7);
		assert_int_equal(Pstop(P, SOON_MS), 0);
	}
	Prelease(P, 0);
	if (!order)
		victim_send(&v, "enough");
	victim_expect(&v, prefix);
	assert_int_equal(victim_end(&v), 0);
}

static void thread_storm(void)
{
	in_a_storm("threadstorm", NULL, "born=");
}

#if defined(__x86_64__)
void own_call(void);

/* Its second instruction is a system call. */
VICTIM __attribute__((naked)) void own_call(void)
{
	__asm__ volatile("mov %edi, %eax\n\tsyscall\n\tret");
}

enum {
	TO_THE_CALL = 2 /* bytes of `mov %edi, %eax` */
};

VICTIM static void *calling_thread(void *arg)
{
	long (*volatile call)(long) = (long (*)(long))(uintptr_t)own_call;
	struct shared *s = arg;
	long pid = getpid();

	for (;;) {
		if (call(SYS_getpid) != pid)
			s->got++;
		s->beats++;
	}
	return NULL;
}

VICTIM static void calling(struct shared *s)
{
	pthread_t t;

	for (int i = 1; i < 3; i++)
		pthread_create(&t, NULL, calling_thread, s);
	s->ready = 1;
	calling_thread(s);
}

/*
 * A breakpoint stands on a system call that three threads make without end, so stops
 * find them on the way into it and out of it. Fails when a call is begun where the
 * kernel has still to write the result of the program's own, or when that is lost.
 */
static void in_its_own_calls(void)
{
	struct shared *s;
	pid_t pid = start(calling, &s);
	struct ps_prochandle *P = grab(pid, 0);
	uintptr_t addr = (uintptr_t)own_call + TO_THE_CALL;

	assert_int_equal(Pissyscall(P, addr), 1);
	assert_int_equal(Ptag_set(P, addr), 0);
	for (int i = 0; i < 300; i++) {
		assert_int_equal(pr_getpid(P), pid);
		assert_int_equal(psyscall(P, SYS_getuid, 0, 0, 0), getuid());
		assert_int_equal(Psetrun(P, 0, 0), 0);
		assert_int_equal(Pwait(P, 1), 0);
		assert_int_equal(Pstop(P, SOON_MS), 0);
	}
	Ptag_clear(P, addr);
	Prelease(P, 0);
	assert_beats(s);
	assert_int_equal(s->got, 0);
	end(pid);
}
#else
static void in_its_own_calls(void)
{
	harness_skip("x86-64 only");
}
#endif

static void fork_storm(void)
{
	in_a_storm("forker", "threads 4 40", "children=160 good=160");
}

static void vfork_storm(void)
{
	in_a_storm("forker", "vthreads 4 40", "children=160 good=160");
}

/* The handle of a session, whose control thread takes the events. */
static void in_a_session(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);
	int err = 0;
	dtrace_hdl_t *dtp = dtrace_open(DTRACE_VERSION, 0, &err);
	struct ps_prochandle *P;

	assert_non_null(dtp);
	P = dtrace_proc_grab(dtp, pid, 0);
	assert_non_null(P);
	assert_int_equal(pr_getpid(P), pid);
	assert_int_equal(pr_access(P, "/no/such/file", R_OK), -1);
	assert_int_equal(errno, ENOENT);
	dtrace_proc_continue(dtp, P);
	assert_beats(s);
	assert_int_equal(pr_getpid(P), -1);
	assert_int_equal(errno, EBUSY);
	dtrace_proc_release(dtp, P);
	P = dtrace_proc_grab(dtp, pid, 0);
	assert_non_null(P);
	assert_int_equal(pr_exit(P, 9), 0);
	assert_int_equal(Pstate(P), PS_UNDEAD);
	assert_int_equal(WEXITSTATUS(Pstatus(P)->pr_exitstatus), 9);
	dtrace_proc_release(dtp, P);
	dtrace_close(dtp);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static const struct harness_test tests[] = {
	TEST(in_a_session),
	TEST(wrappers),
	TEST(large_objects),
	TEST(errors),
	TEST(instructions),
	TEST(breakpoint_on_the_instruction),
	TEST(at_a_breakpoint),
	TEST(restarts),
	TEST(a_sleep_takes_the_place_of_a_sleep),
	TEST(signals),
	TEST(handlers),
	TEST(stop_ends_it),
	TEST(many_lwps),
	TEST(lwp_exit),
	TEST(process_exit),
	TEST(at_the_exec),
	TEST_IN(thread_storm, 60),
	TEST_IN(in_its_own_calls, 60),
	TEST_IN(fork_storm, 60),
	TEST_IN(vfork_storm, 60),
	TEST_END,
};

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
