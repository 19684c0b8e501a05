/* SPDX-License-Identifier: MIT */
/*
 * Processes that may not be had, or not in time: each grab is refused with one clear
 * sentence, compared exactly, and leaves nothing attached.
 */
#include <pwd.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/ptrace.h>

#include "dtrace.h"
#include "hold/hold.h"
#include "proc_test.h"

static char thread_state(pid_t pid, pid_t tid)
{
	struct procfs_stat st;

	return procfs_stat(pid, tid, &st) ? '-' : st.state;
}

static int status_of(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* --- deadlines ---------------------------------------------------------------------- */

static int wait_to_be_killed(void *arg)
{
	struct shared *s = arg;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	s->got = (unsigned)syscall(SYS_getpid);
	for (;;)
		pause();
	return 0;
}

/* By clone(2), since sanitizers make a fork of vfork(). */
VICTIM static void in_vfork(struct shared *s)
{
	static char stack[65536] __attribute__((aligned(16)));
	pthread_t t;

	pthread_create(&t, NULL, beating_thread, s);
	clone(wait_to_be_killed, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
	      s);
	for (;;)
		pause();
}

static void refused_in_time(pid_t pid, const char *text)
{
	struct hold_fault fault = { 0 };
	struct hold_event first;
	int64_t begin = harness_now_ms();
	int pidfd = procfs_pidfd(pid);
	struct hold *h;

	assert_int_equal(hold_grab(pid, pidfd, 0, 300, &h, &first, &fault), -ETIMEDOUT);
	assert_int_below(harness_now_ms() - begin, harness_ms(2000));
	assert_string_equal(fault.text, text);
	close(pidfd);
}

/* Where pid's thread sleeps in the kernel, as /proc says it. */
static const char *wchan_now(pid_t pid)
{
	static char text[80];
	char *name;
	size_t len;

	assert_int_equal(procfs_slurp(pid, "wchan", &name, &len), 0);
	text[0] = '\0';
	if (strcmp(name, "0"))
		snprintf(text, sizeof(text), " in %s", name);
	free(name);
	return text;
}

/* A thread is in state D some instructions before it sleeps anywhere; where the kernel
 * does not say, it never does. */
static const char *wchan(pid_t pid)
{
	for (int i = 0; i < 200 && !*wchan_now(pid); i++)
		usleep(1000);
	return wchan_now(pid);
}

/* Breaks when an attach has no deadline, when the sentence names another thread than the
 * one that was waited for, and when a thread is left attached: it could then be grabbed
 * by nobody, and would stand for ever when its child has gone. */
static void uninterruptible_sleep(void)
{
	struct shared *s;
	char text[160];
	pid_t pid, child;

	if (HARNESS_TSAN)
		harness_skip("ThreadSanitizer makes the vfork a fork");
	pid = start(in_vfork, &s);
	await((child = (pid_t)s->got) && s->ready && state_of(pid) == 'D');
	snprintf(text, sizeof(text), "thread %d does not stop (state D%s)", pid,
		 wchan(pid));
	refused_in_time(pid, text);
	assert_beats(s); /* its other thread has been let go */
	kill(child, SIGKILL);
	await(!held_threads(pid) && state_of(pid) == 'S');
	Prelease(grab(pid, 0), 0);
	end(pid);
}

VICTIM static void *exec_when_told(void *arg)
{
	struct shared *s = arg;

	s->got = (unsigned)syscall(SYS_gettid);
	while (!s->go)
		usleep(200);
	execl("/bin/sh", "sh", "-c", "exit 23", NULL);
	_exit(8);
}

VICTIM static void *stand(void *arg)
{
	struct shared *s = arg;

	s->ready = (unsigned)syscall(SYS_gettid);
	for (;;)
		pause();
	return arg;
}

VICTIM static void execs_by_thread(struct shared *s)
{
	pthread_t t;

	pthread_create(&t, NULL, exec_when_told, s);
	while (!s->got)
		usleep(200);
	pthread_create(&t, NULL, stand, s);
	for (;;)
		pause();
}

/* Seizes tid and waits for nobody, until it is killed. */
static pid_t rival_of(pid_t tid)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "rival");
		c = syscall(SYS_ptrace, PTRACE_SEIZE, tid, 0, 0) ? 'n' : 'y';
		if (write(ready[1], &c, 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	assert_true(read(ready[0], &c, 1) == 1 && c == 'y');
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* The exec waits for a thread that its tracer does not reap, and every SEIZE for the
 * exec: as long as that takes. Breaks when the keeper waits with it, and when the
 * sentence names another thread than the one that execs. */
static void an_exec_that_does_not_end(void)
{
	pid_t pid, rival, tid;
	struct shared *s;
	char text[160];
	int status;

	if (HARNESS_TSAN)
		harness_skip(
			"ThreadSanitizer holds signals back: the keeper cannot leave "
			"a call that waits for ever");
	pid = start(execs_by_thread, &s);
	await(s->ready && s->got);
	tid = (pid_t)s->got;
	rival = rival_of(
		(pid_t)s->ready); /* not of the leader: nobody waits for its end */
	s->go = 1;
	await(thread_state(pid, tid) == 'D');
	snprintf(text, sizeof(text),
		 "the kernel does not let us attach while thread %d is in execve", tid);
	refused_in_time(pid, text);
	end(rival);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 23 << 8);
}

/* --- refusals ----------------------------------------------------------------------- */

/* The same sentence from the handle and, behind its own beginning, from the session. */
static void refuse(pid_t pid, int error, const char *fmt, ...)
{
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);
	char why[200], whole[256];
	int err = 0;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	snprintf(whole, sizeof(whole), "failed to grab pid %d: %s", pid, why);
	assert_null(Pgrab(pid, 0, &err));
	assert_int_equal(err, error);
	assert_string_equal(*Pgrab_detail() ? Pgrab_detail() : Pgrab_error(err), why);
	assert_null(dtrace_proc_grab(s, pid, 0));
	assert_int_equal(dtrace_errno(s), EDT_PROCESS);
	assert_string_equal(dtrace_errmsg(s, EDT_PROCESS), whole);
	dtrace_close(s);
}

static void traced_by_another(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s), rival = rival_of(pid);

	refuse(pid, G_BUSY, "process %d is being traced by rival (pid %d)", pid, rival);
	end(rival);
	await(!held_threads(pid));
	Prelease(grab(pid, 0), 0);
	end(pid);
}

static void nobody_and_ourselves(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	refuse(pid, G_ZOMB, "it is a zombie");
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	refuse(pid, G_NOPROC, "no such process");
	refuse(4194305, G_NOPROC, "no such process"); /* above any pid_max */
	refuse(0, G_NOPROC, "no such process");
	refuse(-1, G_NOPROC, "no such process");
	refuse(getpid(), G_SELF,
	       "a process can grab itself, or its keeper, read-only only");
}

static void a_kernel_thread(void)
{
	struct procfs_stat st;

	if (procfs_stat(2, 0, &st) || strcmp(st.comm, "kthreadd"))
		harness_skip("process 2 is none here");
	refuse(2, G_SYS, "it is a kernel thread");
}

static void somebody_elses(void)
{
	struct procfs_status st;

	if (!geteuid())
		harness_skip("root may");
	assert_int_equal(procfs_status(1, 0, &st), 0);
	if (st.uid)
		harness_skip("process 1 is not root's");
	refuse(1, G_PERM, "process 1 belongs to root, and we are %s",
	       getpwuid(geteuid())->pw_name);
}

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return good;
}

/* Root of a user namespace, with each capability there, and none outside. */
static void outside_of_the_namespace(void)
{
	uid_t uid = geteuid();
	pid_t pid = fork();
	char map[32];

	if (!pid) {
		if (unshare(CLONE_NEWUSER))
			_exit(77);
		snprintf(map, sizeof(map), "0 %u 1", uid);
		if (!write_text("/proc/self/uid_map", map))
			_exit(77); /* root of a container may lack what that takes */
		refuse(getppid(), G_PERM,
		       "the kernel refuses: process %d is outside of our user namespace, "
		       "or has more privileges than we have there",
		       getppid());
		_exit(0);
	}
	uid = (uid_t)status_of(pid) >> 8;
	if (uid == 77)
		harness_skip("no user namespace");
	assert_int_equal(uid, 0);
}

static void forbidden_by_yama(void)
{
	int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
	struct shared *s;
	char scope = '0';
	pid_t pid;

	if (fd < 0)
		harness_skip("no Yama here");
	assert_int_equal(read(fd, &scope, 1), 1);
	close(fd);
	if (scope == '0' || !geteuid())
		harness_skip("Yama forbids nothing here");
	pid = start(beating, &s);
	refuse(pid, G_PERM, "Yama's ptrace_scope %c forbids attaching to process %d",
	       scope, pid);
	end(pid);
}

static const struct harness_test tests[] = {
	TEST(uninterruptible_sleep),
	TEST(an_exec_that_does_not_end),
	TEST(traced_by_another),
	TEST(nobody_and_ourselves),
	TEST(a_kernel_thread),
	TEST(somebody_elses),
	TEST(outside_of_the_namespace),
	TEST(forbidden_by_yama),
	TEST_END,
};

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
