/* SPDX-License-Identifier: MIT */
/*
 * Makes children in every way and checks how each of them ended.
 *
 *	ready: child_work= (a function that every forked child calls) run_one=
 *	fork N       N children, one after the other: `children= good=`
 *	vfork N      by vfork(2), exec of this program as `exits 7`
 *	spawn N      by posix_spawn(3), the same
 *	threads T N  T threads fork N children each at once
 *	vthreads T N the same with vfork
 *	keep         one child that stands until stdin ends: `child=`
 * A child that does not exit with 7 is not good.
 */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "obey.h"

enum {
	GOOD = 7,
	MAX_THREADS = 64
};

extern char **environ;

static atomic_int children, good;
static char self[4096];

int child_work(int n);
void run_one(int how);

__attribute__((noinline)) int child_work(int n)
{
	return n - 1;
}

static char *child_argv[] = { self, (char *)"--exit", (char *)"7", NULL };

static pid_t start_fork(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(child_work(GOOD + 1));
	return pid;
}

static pid_t start_vfork(void)
{
	pid_t pid = vfork();

	if (!pid) {
		execv(self, child_argv);
		_exit(1);
	}
	return pid;
}

static pid_t start_spawn(void)
{
	pid_t pid;

	return posix_spawn(&pid, self, NULL, NULL, child_argv, environ) ? -1 : pid;
}

static pid_t (*const start[])(void) = { start_fork, start_vfork, start_spawn };

__attribute__((noinline)) void run_one(int how)
{
	pid_t pid = start[how]();
	int status = -1, saved;

	children++;
	do
		saved = waitpid(pid, &status, 0);
	while (saved < 0 && errno == EINTR);
	if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == GOOD)
		good++;
	else
		fprintf(stderr, "forker: child %d: wait status 0x%x\n", pid, status);
}

static void run_many(int how, const char *rest)
{
	children = good = 0;
	for (int n = atoi(rest); n > 0; n--)
		run_one(how);
	tell("children=%d good=%d", children, good);
}

static void by_fork(const char *rest)
{
	run_many(0, rest);
}

static void by_vfork(const char *rest)
{
	run_many(1, rest);
}

static void by_spawn(const char *rest)
{
	run_many(2, rest);
}

/* What one thread of a storm does. */
struct share {
	int how, n; /* way, number */
};

static void *storm_one(void *arg)
{
	const struct share *share = arg;

	for (int n = share->n; n > 0; n--)
		run_one(share->how);
	return NULL;
}

static void storm(int how, const char *rest)
{
	pthread_t thread[MAX_THREADS];
	struct share share = { how, 1 };
	int threads = 1;

	children = good = 0;
	sscanf(rest, "%d %d", &threads, &share.n);
	if (threads > MAX_THREADS)
		threads = MAX_THREADS;
	for (int i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, storm_one, &share);
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	tell("children=%d good=%d", children, good);
}

static void by_threads(const char *rest)
{
	storm(0, rest);
}

static void by_vthreads(const char *rest)
{
	storm(1, rest);
}

/* The child's stdin is a pipe of its own, closed with this process. */
static void keep(const char *rest)
{
	int fds[2];
	pid_t pid;

	(void)rest;
	if (pipe(fds))
		exit(1);
	pid = fork();
	if (!pid) {
		close(fds[1]);
		close(STDOUT_FILENO);
		(void)!read(fds[0], fds, 1);
		_exit(GOOD);
	}
	close(fds[0]);
	tell("child=%d", pid);
}

static const struct order orders[] = { { "fork", by_fork },
				       { "vfork", by_vfork },
				       { "spawn", by_spawn },
				       { "threads", by_threads },
				       { "vthreads", by_vthreads },
				       { "keep", keep },
				       { NULL, NULL } };

int main(int argc, char **argv)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (argc > 2 && !strcmp(argv[1], "--exit"))
		return atoi(argv[2]);
	self[n < 0 ? 0 : n] = '\0';
	ready("child_work=%p run_one=%p", (void *)child_work, (void *)run_one);
	obey(orders);
	return 0;
}
