/* SPDX-License-Identifier: MIT */
/*
 * Becomes itself by a thread that is not the leader, over and over: each life has the
 * leader, three threads that stand by and the one that execs.
 *
 *	reborn LEFT HOW DONE   LEFT execs to come; HOW `stays` or `gone`: the leader exits
 *	                       first; DONE execs so far (0)
 * A line on stdin ends it early. Then `execs=` (how many), and it obeys until the end of
 * stdin: `go LEFT HOW` begins anew.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "obey.h"

enum {
	BYSTANDERS = 3
};

static int left, done;
static const char *how = "stays";

static int leader_is_gone(void)
{
	char path[64], state = '?';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/thread-self/../%d/stat", getpid());
	f = fopen(path, "r");
	if (f && fscanf(f, "%*d %*s %c", &state) != 1)
		state = '?';
	if (f)
		fclose(f);
	return state == 'Z';
}

static int enough(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void become(void)
{
	char l[16], d[16],
		*argv[] = { (char *)"reborn", l, (char *)(uintptr_t)how, d, NULL };

	snprintf(l, sizeof(l), "%d", enough() ? 0 : left - 1);
	snprintf(d, sizeof(d), "%d", done + 1);
	execv("/proc/thread-self/exe", argv); /* the leader may be gone, and its exe */
	tell("failed %s", strerror(errno));
	_exit(1);
}

static void *become_in_thread(void *arg)
{
	if (!strcmp(how, "gone"))
		while (!leader_is_gone())
			sched_yield();
	become();
	return arg;
}

static void *stand(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void live(void)
{
	pthread_t t;

	for (int i = 0; i < BYSTANDERS; i++)
		if (pthread_create(&t, NULL, stand, NULL))
			_exit(2);
	if (pthread_create(&t, NULL, become_in_thread, NULL))
		_exit(2);
	if (!strcmp(how, "gone"))
		syscall(SYS_exit, 0);
	stand(NULL);
}

static void go(const char *rest)
{
	static char word[16];

	if (sscanf(rest, "%d %15s", &left, word) != 2)
		_exit(3);
	how = word;
	done = 0;
	live();
}

static const struct order orders[] = { { "go", go }, { NULL, NULL } };

int main(int argc, char **argv)
{
	left = argc > 1 ? atoi(argv[1]) : 0;
	if (argc > 2)
		how = argv[2];
	done = argc > 3 ? atoi(argv[3]) : 0;
	if (left > 0)
		live();
	if (done)
		tell("execs=%d", done);
	else
		ready("%s", "");
	obey(orders);
	return 0;
}
