/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the handle share: victims that are copies of the test program and
 * tell the truth in memory that both see, and the programs `test_proc… --be WHAT` to
 * create.
 */
#ifndef PGRAB_TESTS_PROC_TEST_H
#define PGRAB_TESTS_PROC_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "libproc.h"
#include "os/procfs.h"
#include "proc/control.h"

/* ThreadSanitizer loses sight of a mutex that is taken in a cancelled thread's
 * clean-up. */
#if defined(__SANITIZE_THREAD__)
#define SEES_CANCELLED 0
#elif defined(__has_feature)
#define SEES_CANCELLED (!__has_feature(thread_sanitizer))
#else
#define SEES_CANCELLED 1
#endif

enum {
	SOON_MS = 10000,
	NTHREADS = 8,
	/* threads that nobody asked for: ThreadSanitizer has one in every process */
	MORE_THREADS = HARNESS_TSAN
};

static char self[4096];

/* --- the victims ---------------------------------------------------- */

/* A victim's code is what is looked at: as it is, without a sanitizer's additions. */
#define VICTIM __attribute__((noinline, no_sanitize_thread, no_sanitize_address, unused))

/* What a forked victim shares with the test. */
struct shared {
	volatile unsigned beats; /* calls of beat() */
	volatile unsigned ready; /* threads that have started */
	volatile unsigned go;    /* the test says so */
	volatile unsigned got;   /* what the victim saw */
};

void beat(struct shared *s);
void never(struct shared *s);
void deeper(struct shared *s);

VICTIM __attribute__((noclone)) void beat(struct shared *s)
{
	(void)*(volatile char *)__builtin_frame_address(0); /* have a frame */
	s->beats++;
}

VICTIM __attribute__((noclone)) void never(struct shared *s)
{
	s->beats--;
}

VICTIM __attribute__((noclone)) void deeper(struct shared *s)
{
	beat(s);
	if (s->got == 12345)
		never(s);
	__asm__ volatile("" ::: "memory"); /* no tail call */
}

VICTIM static void beating(struct shared *s)
{
	__atomic_add_fetch(&s->ready, 1, __ATOMIC_RELAXED);
	for (;;) {
		deeper(s);
		usleep(200);
	}
}

VICTIM static void *beating_thread(void *arg)
{
	beating(arg);
	return NULL;
}

VICTIM static void threads(struct shared *s)
{
	pthread_t t;

	for (int i = 1; i < NTHREADS; i++)
		pthread_create(&t, NULL, beating_thread, s);
	beating(s);
}

VICTIM static void *outliving(void *arg)
{
	struct shared *s = arg;

	while (s->got == 0) {
		char path[64], state = '?';
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
		f = fopen(path, "r");
		if (f && fscanf(f, "%*d %*s %c", &state) == 1 && state == 'Z')
			s->got = 1;
		if (f)
			fclose(f);
	}
	for (;;) {
		deeper(s);
		usleep(200);
	}
	return NULL;
}

/* The leader ends, another thread goes on. */
VICTIM static void headless(struct shared *s)
{
	pthread_t t;

	pthread_create(&t, NULL, outliving, s);
	syscall(SYS_exit, 0);
}

static struct shared *signalled;

VICTIM static void count_signal(int sig)
{
	signalled->got += (unsigned)sig;
}

VICTIM static void with_handler(struct shared *s)
{
	signalled = s;
	signal(SIGUSR1, count_signal);
	beating(s);
}

VICTIM static void faulting(struct shared *s)
{
	signal(SIGSEGV, SIG_DFL); /* a sanitizer has one */
	s->ready = 1;
	while (!s->go)
		usleep(200);
	*(volatile int *)(uintptr_t)(s->go * 8) = 1;
}

VICTIM static void execing(struct shared *s)
{
	s->ready = 1;
	while (!s->go)
		usleep(200);
	execl("/bin/sleep", "sleep", "100", NULL);
}

__attribute__((unused)) static struct shared *map_shared(void)
{
	struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(s != MAP_FAILED);
	return s;
}

__attribute__((unused)) static pid_t start(void (*fn)(struct shared *),
					   struct shared **ret)
{
	struct shared *s = *ret = map_shared();
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn(s);
		_exit(7);
	}
	while (!s->ready && !s->got)
		usleep(1000);
	return pid;
}

__attribute__((unused)) static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

__attribute__((unused)) static int be(const char *what)
{
	if (!strcmp(what, "exit"))
		_exit(3); /* and no leak check of a sanitizer, which needs ptrace */
	if (!strcmp(what, "env"))
		_exit(strcmp(getenv("PROC_TEST") ?: "", "yes") ? 4 : 0);
	pause();
	return 5;
}

/* --- helpers ---------------------------------------------------- */

__attribute__((unused)) static struct ps_prochandle *grab(pid_t pid, int flags)
{
	int err = 0;
	struct ps_prochandle *P = Pgrab(pid, flags, &err);

	if (!P)
		fail_msg("Pgrab: %s: %s", Pgrab_error(err), Pgrab_detail());
	return P;
}

__attribute__((unused)) static struct ps_prochandle *create(const char *what)
{
	char flag[] = "--be", *argv[] = { self, flag, (char *)what, NULL };
	char path[4096];
	int err = 0;
	struct ps_prochandle *P = Pcreate(self, argv, &err, path, sizeof(path));

	if (!P)
		fail_msg("Pcreate: %s", Pcreate_error(err));
	assert_string_equal(path, self);
	return P;
}

__attribute__((unused)) static char state_of(pid_t pid)
{
	struct procfs_stat st;

	return procfs_stat(pid, 0, &st) ? '-' : st.state;
}

__attribute__((unused)) static pid_t tracer_of(pid_t pid)
{
	struct procfs_status st;

	return procfs_status(pid, 0, &st) ? -1 : st.tracer;
}

/* Threads of pid that somebody traces, or that a tracer keeps stopped. */
__attribute__((unused)) static int held_threads(pid_t pid)
{
	struct procfs_status st;
	struct procfs_stat stat;
	int held = 0;
	pid_t *tids;
	size_t n;

	if (procfs_tids(pid, &tids, &n))
		return -1;
	for (size_t i = 0; i < n; i++)
		held += (!procfs_status(pid, tids[i], &st) && st.tracer) ||
			(!procfs_stat(pid, tids[i], &stat) && stat.state == 't');
	free(tids);
	return held;
}

__attribute__((unused)) static void assert_beats(struct shared *s)
{
	unsigned was = s->beats;

	await(s->beats >= was + 3);
}

__attribute__((unused)) static void assert_still(struct shared *s)
{
	unsigned was = s->beats;

	usleep(20000);
	assert_int_equal(s->beats, was);
}

__attribute__((unused)) static uintptr_t address_of(struct ps_prochandle *P,
						    const char *name)
{
	GElf_Sym sym;

	assert_int_equal(Plookup_by_name(P, PR_OBJ_EXEC, name, &sym), 0);
	return sym.st_value;
}

__attribute__((unused)) static void wait_stop(struct ps_prochandle *P, int why, int what)
{
	const lwpstatus_t *l;

	assert_int_equal(Pwait(P, SOON_MS), 0);
	assert_int_equal(Pstate(P), PS_STOP);
	l = &Pstatus(P)->pr_lwp;
	assert_int_equal(l->pr_why, why);
	assert_int_equal(l->pr_what, what);
	assert_true(l->pr_flags & PR_ISTOP);
}

static int proc_test_main(int argc, char **argv, const struct harness_test *tests)
{
	if (argc == 3 && !strcmp(argv[1], "--be"))
		return be(argv[2]);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	return harness_main(argc, argv, tests);
}

#endif
