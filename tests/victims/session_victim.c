/* SPDX-License-Identifier: MIT */
/*
 * The victim of the session tests: says where it is, to descriptor SESSION_FD (or
 * stdout).
 *
 * session_victim [WHAT [ARG [ARG]]]
 *
 * Its constructor says `ctor`, main says `main`, then it does WHAT: nothing (exit 3),
 * `pause`, `beat COUNT THREADS` (calls beat() so often in each thread, exit 0), `exec
 * PATH`, `spam COUNT` (so many SIGURG to itself), `threads COUNT` (threads that end at
 * once), `wait` (for a byte on stdin, then exit 0), `dlopen LIBRARY COUNT`.
 * SESSION_CTOR=exit ends it in its constructor with status 7, =abort by SIGSEGV.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *what)
{
	const char *fd = getenv("SESSION_FD");

	if (write(fd ? atoi(fd) : 1, what, strlen(what)) < 0)
		_exit(99);
}

__attribute__((constructor)) static void constructor(void)
{
	const char *how = getenv("SESSION_CTOR");

	say("ctor\n");
	if (how && !strcmp(how, "exit"))
		_exit(7);
	if (how && !strcmp(how, "abort")) {
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
	}
}

__attribute__((noinline, noclone)) void beat(volatile long *count)
{
	++*count;
}

static void *beat_often(void *arg)
{
	volatile long count = 0;

	while (count < (long)arg)
		beat(&count);
	return NULL;
}

static void *end_at_once(void *arg)
{
	return arg;
}

static int run_threads(void *(*fn)(void *), long arg, int n)
{
	pthread_t t[64];

	for (int i = 0; i < n && i < 64; i++)
		if (pthread_create(&t[i], NULL, fn, (void *)arg))
			return 1;
	for (int i = 0; i < n && i < 64; i++)
		pthread_join(t[i], NULL);
	return 0;
}

static int open_often(const char *library, int n)
{
	for (int i = 0; i < n; i++) {
		void *h = dlopen(library, RTLD_NOW);

		if (!h || dlclose(h))
			return 1;
	}
	return 0;
}

static int spam(int n)
{
	for (int i = 0; i < n; i++)
		raise(SIGURG);
	return 0;
}

static int act(char **argv)
{
	char byte;

	if (!strcmp(argv[1], "pause"))
		for (;;)
			pause();
	if (!strcmp(argv[1], "beat"))
		return run_threads(beat_often, atol(argv[2]), atoi(argv[3]));
	if (!strcmp(argv[1], "threads"))
		return run_threads(end_at_once, 0, atoi(argv[2]));
	if (!strcmp(argv[1], "spam"))
		return spam(atoi(argv[2]));
	if (!strcmp(argv[1], "dlopen"))
		return open_often(argv[2], atoi(argv[3]));
	if (!strcmp(argv[1], "wait"))
		return read(0, &byte, 1) < 0;
	if (!strcmp(argv[1], "exec"))
		execv(argv[2], argv + 2);
	return 98;
}

int main(int argc, char **argv)
{
	say("main\n");
	return argc > 1 ? act(argv) : 3;
}
