/* SPDX-License-Identifier: MIT */
/*
 * Becomes itself again and again, at a fixed address: `stress_again N` calls again_call()
 * three times and execs itself with N - 1, by its main thread and by another in turn,
 * while a third stands by; at 0 it ends with status 0.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	CALLS = 3
};

void again_call(void);

__asm__(".text\n"
	".globl again_call\n.type again_call, @function\n"
	"again_call: push %rbp\n\tpop %rbp\n\tret\n.size again_call, .-again_call\n");

static void *become_myself(void *arg)
{
	int left = *(int *)arg;
	char text[16], *argv[] = { (char *)"stress_again", text, NULL };

	snprintf(text, sizeof(text), "%d", left - 1);
	execv("/proc/self/exe", argv);
	exit(4);
}

static void *stand(void *arg)
{
	for (;;)
		pause();
	return arg;
}

int main(int argc, char **argv)
{
	int left = argc > 1 ? atoi(argv[1]) : 0;
	pthread_t by, other;

	for (int i = 0; i < CALLS; i++)
		again_call();
	if (!left)
		return 0;
	pthread_create(&by, NULL, stand, NULL);
	if (left % 2)
		become_myself(&left);
	pthread_create(&other, NULL, become_myself, &left);
	pthread_join(other, NULL);
	return 5;
}
