/* SPDX-License-Identifier: MIT */
/*
 * Becomes another program.
 *
 *	ready: tid= (a thread that stands)
 *	exec FILE ARG…    the main thread execs; FILE is looked up in PATH
 *	texec FILE ARG…   a thread that is not the leader does
 *	again N           execs itself N times over, then is `ready … left=0` anew
 * On failure `failed WHY`.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "obey.h"

enum {
	MAX_ARGS = 32
};

static atomic_int tid;

static void become(const char *rest)
{
	static char words[4096];
	char *argv[MAX_ARGS + 1], *next = words;
	int n = 0;

	snprintf(words, sizeof(words), "%s", rest);
	while (n < MAX_ARGS && (argv[n] = strsep(&next, " ")))
		n++;
	argv[n] = NULL;
	execvp(argv[0], argv);
	tell("failed %s", strerror(errno));
}

static void *become_in_thread(void *arg)
{
	become(arg);
	return NULL;
}

static void from_thread(const char *rest)
{
	static char copy[4096];
	pthread_t thread;

	snprintf(copy, sizeof(copy), "%s", rest);
	pthread_create(&thread, NULL, become_in_thread, copy);
	pthread_join(thread, NULL);
}

static void again(const char *rest)
{
	char *argv[] = { (char *)"execer", (char *)"--left", NULL, NULL };
	char left[16];

	snprintf(left, sizeof(left), "%d", atoi(rest) - 1);
	argv[2] = left;
	execv("/proc/self/exe", argv);
	tell("failed %s", strerror(errno));
}

static void *stand(void *arg)
{
	tid = syscall(SYS_gettid);
	for (;;)
		pause();
	return arg;
}

static const struct order orders[] = {
	{ "exec", become }, { "texec", from_thread }, { "again", again }, { NULL, NULL }
};

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc > 2 && atoi(argv[2]) > 0)
		again(argv[2]);
	if (pthread_create(&thread, NULL, stand, NULL))
		return 1;
	while (!tid)
		usleep(100);
	ready("tid=%d left=%s", tid, argc > 2 ? argv[2] : "0");
	obey(orders);
	return 0;
}
