/* SPDX-License-Identifier: MIT */
/*
 * Ends in a burst: `stress_burst HOW N` has 16 threads call burst_call() N times each,
 * then all end at once: `exit` every thread calls exit_group(2), `threads` every thread
 * ends by itself and the leader returns from main, `leader` the leader ends first. The
 * status is 42 in each case.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	THREADS = 16,
	WELL = 42
};

static const char *how;
static int calls;
static pthread_barrier_t together;

void burst_call(void);

/* One that must be executed. */
__asm__(".text\n"
	".globl burst_call\n.type burst_call, @function\n"
	"burst_call: cmp %rax, %rax\n\tret\n.size burst_call, .-burst_call\n");

static void *burst(void *arg)
{
	for (int i = 0; i < calls; i++)
		burst_call();
	pthread_barrier_wait(&together);
	burst_call();
	if (!strcmp(how, "exit"))
		syscall(SYS_exit_group, WELL);
	return arg;
}

/* The last of the process to end, when the leader has gone before it. */
static void *end_last(void *arg)
{
	pthread_t *t = arg;

	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	_exit(WELL);
}

int main(int argc, char **argv)
{
	static pthread_t t[THREADS], last;

	if (argc < 3)
		return 1;
	how = argv[1];
	calls = atoi(argv[2]);
	pthread_barrier_init(&together, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, burst, NULL))
			return 2;
	if (!strcmp(how, "leader")) {
		pthread_create(&last, NULL, end_last, t);
		syscall(SYS_exit, 0);
	}
	end_last(t);
}
