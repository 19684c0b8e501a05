/* SPDX-License-Identifier: MIT */
/*
 * Makes families. With arguments it does one thing and exits with 0 when all was good;
 * without, it takes orders.
 *
 *	ready: work= (called by parents and children alike)
 *	tree DEPTH FAN   each member makes FAN children at once, down to DEPTH; each calls
 *	                 work() and exits with 10 + its depth
 *	both T N         T threads fork N children; parent's thread and child call work()
 *	queued N         N children at once, then reaps them
 *	share N          N children that share the memory but are no threads (CLONE_VM),
 *	                 of exit signal SIGCHLD and of none in turn; all call work()
 *	cparent N        N children by clone3(2) with CLONE_PARENT: told by a pipe
 *	newpid           a child that is number 1 of a pid namespace of its own
 *	reuse N          N threads one after the other, then N children: ids come again
 * Answers: good=, of work: work=. A child that does not end as it should is not good.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "obey.h"

enum {
	GOOD = 10,
	MAX = 1024,
	STACK = 65536
};

/* struct clone_args of clone3(2), first version; musl has none. */
struct args3 {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
};

int work(int n);

__attribute__((noinline)) int work(int n)
{
	__asm__ volatile(""); /* a call whose result is not used is made too */
	return n + GOOD;
}

static int reap(pid_t pid, int want)
{
	int status = -1;

	while (pid > 0 && waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == want)
		return 1;
	fprintf(stderr, "brood: child %d: wait status 0x%x\n", pid, (unsigned)status);
	return 0;
}

/* How many of the members below are good. */
static int descend(int depth, int max, int fan)
{
	pid_t pid[64];
	int good = 0;

	for (int i = 0; depth < max && i < fan && i < 64; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			int below = descend(depth + 1, max, fan);

			_exit(below ? work(depth + 1) : 1);
		}
	}
	for (int i = 0; depth < max && i < fan && i < 64; i++)
		good += reap(pid[i], GOOD + depth + 1);
	return depth == max || good == fan;
}

static void tree(const char *rest)
{
	int depth = 1, fan = 1;

	sscanf(rest, "%d %d", &depth, &fan);
	tell("good=%d", descend(0, depth, fan));
}

static void queued(const char *rest)
{
	static pid_t pid[MAX];
	int n = atoi(rest), good = 0;

	for (int i = 0; i < n && i < MAX; i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(work(0));
	}
	for (int i = 0; i < n && i < MAX; i++)
		good += reap(pid[i], GOOD);
	tell("good=%d", good);
}

static int per_thread;
static atomic_int good_both;

static void *both_one(void *arg)
{
	for (int i = 0; i < per_thread; i++) {
		pid_t pid;

		work(i);
		pid = fork();
		if (!pid)
			_exit(work(0));
		good_both += reap(pid, GOOD);
	}
	return arg;
}

static void both(const char *rest)
{
	pthread_t t[64];
	int n = 1;

	good_both = 0;
	sscanf(rest, "%d %d", &n, &per_thread);
	for (int i = 0; i < n && i < 64; i++)
		pthread_create(&t[i], NULL, both_one, NULL);
	for (int i = 0; i < n && i < 64; i++)
		pthread_join(t[i], NULL);
	tell("good=%d", good_both);
}

static int sharer(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++)
		work(i);
	return GOOD;
}

static void share(const char *rest)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int good = 0;

	for (int i = 0; i < atoi(rest); i++) {
		pid_t pid = clone(sharer, stack + STACK, CLONE_VM | (i % 2 ? 0 : SIGCHLD),
				  NULL);

		good += reap(pid, GOOD);
		work(i);
	}
	munmap(stack, STACK);
	tell("good=%d", good);
}

static void cparent(const char *rest)
{
	int good = 0;

	for (int i = 0; i < atoi(rest); i++) {
		struct args3 a = { .flags = CLONE_PARENT };
		int p[2];
		char c = 0;
		long pid;

		if (pipe(p))
			exit(1);
		pid = syscall(SYS_clone3, &a, sizeof(a));
		if (!pid) {
			c = (char)work(0);
			(void)!write(p[1], &c, 1);
			_exit(GOOD);
		}
		close(p[1]);
		good += pid > 0 && read(p[0], &c, 1) == 1 && c == GOOD;
		close(p[0]);
	}
	tell("good=%d", good);
}

static void newpid(const char *rest)
{
	struct args3 a = { .flags = CLONE_NEWPID, .exit_signal = SIGCHLD };
	long pid = syscall(SYS_clone3, &a, sizeof(a));

	(void)rest;
	if (!pid)
		_exit(getpid() == 1 ? work(0) : 1);
	tell("good=%d", pid > 0 ? reap((pid_t)pid, GOOD) : -errno);
}

static void *nothing(void *arg)
{
	return arg;
}

static void reuse(const char *rest)
{
	int good = 0;

	for (int i = 0; i < atoi(rest); i++) {
		pthread_t t;
		pid_t pid;

		if (pthread_create(&t, NULL, nothing, NULL) || pthread_join(t, NULL))
			exit(1);
		pid = fork();
		if (!pid)
			_exit(work(0));
		good += reap(pid, GOOD);
	}
	tell("good=%d", good);
}

/* Forks until it is killed; each child ends at once. */
static void forever(const char *rest)
{
	(void)rest;
	for (;;) {
		pid_t pid = fork();

		if (!pid)
			_exit(work(0));
		if (!reap(pid, GOOD))
			tell("bad");
		work(1);
	}
}

/* Four processes that fork for ever, and a file that grows while they do: for tests that
 * kill the client. */
static void family(const char *rest)
{
	for (int i = 0; i < 3; i++)
		if (!fork())
			break;
	(void)rest;
	forever(rest);
}

static const struct order orders[] = { { "tree", tree },       { "both", both },
				       { "queued", queued },   { "share", share },
				       { "cparent", cparent }, { "newpid", newpid },
				       { "reuse", reuse },     { "forever", forever },
				       { "family", family },   { NULL, NULL } };

int main(int argc, char **argv)
{
	char rest[64] = "";

	if (argc > 2)
		snprintf(rest, sizeof(rest), "%s %s", argv[2], argc > 3 ? argv[3] : "");
	for (size_t i = 0; argc > 1 && orders[i].name; i++)
		if (!strcmp(argv[1], orders[i].name))
			orders[i].obey(rest);
	if (argc > 1)
		return 0;
	ready("work=%p", (void *)work);
	obey(orders);
	return 0;
}
