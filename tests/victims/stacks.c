/* SPDX-License-Identifier: MIT */
/*
 * A victim that says what its stack is: each function of the chain tells the address that
 * it will return to (`ret 0x…`, the outermost first), and the last one `bottom`. Then it
 * stays there.
 *
 *	stacks recurse      twelve levels of one function
 *	stacks handler      a signal handler, on the same stack
 *	stacks alt          … on an alternate one
 *	stacks nested       a handler within a handler, the inner one on another stack
 *	stacks leaf         a signal in a function that calls nobody
 *	stacks zero         a call through a null pointer, its SIGSEGV handled
 *	stacks vfork        a child of vfork
 *	stacks aligned      a frame that is aligned by hand (its CFA is an expression)
 *	stacks sort         a callback of qsort, within the libc
 *	stacks smashed      what called it is overwritten with nonsense
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "obey.h"

#define FRAME  __attribute__((noinline, noclone))
#define SAY()  say_return(__builtin_return_address(0))
#define KEEP() __asm__ volatile("" ::: "memory") /* no tail call */

static volatile int never, in_leaf;
void *volatile nothing; /* a null pointer that the compiler does not see */

static void say_return(const void *to)
{
	tell("ret %p", to);
}

FRAME static void stay(void)
{
	SAY();
	tell("bottom");
	while (!never)
		pause();
}

FRAME static void recurse(int n)
{
	SAY();
	if (n > 0)
		recurse(n - 1);
	else if (!never)
		stay();
	KEEP();
}

/* --- signals ---------------------------------------------------------------------- */

static void handle(int sig)
{
	tell("signal");
	stay();
	KEEP();
}

static void handle_first(int sig)
{
	tell("signal");
	raise(SIGUSR2);
	KEEP();
}

/* A clock's signals, of which the first in the leaf counts. */
static void handle_tick(int sig)
{
	if (in_leaf)
		handle(sig);
}

static void set_handler(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };
	stack_t alt = { .ss_size = 1 << 16 };

	if (flags & SA_ONSTACK) {
		alt.ss_sp = mmap(NULL, alt.ss_size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		sigaltstack(&alt, NULL);
	}
	sigaction(sig, &sa, NULL);
}

FRAME static void interrupted(void)
{
	SAY();
	raise(SIGUSR1);
	KEEP();
}

FRAME static void leaf(void)
{
	in_leaf = 1;
	while (!never)
		;
}

FRAME static void call_leaf(void)
{
	struct itimerval ms = { .it_interval.tv_usec = 1000, .it_value.tv_usec = 1000 };

	SAY();
	tell("leaf %p", leaf);
	set_handler(SIGALRM, handle_tick, 0);
	setitimer(ITIMER_REAL, &ms, NULL);
	leaf();
	KEEP();
}

FRAME static void call_nothing(void)
{
	SAY();
	((void (*)(void))nothing)();
	KEEP();
}

/* --- others ----------------------------------------------------------------------- */

FRAME static void fork_and_wait(void)
{
	pid_t pid;

	SAY();
	pid = vfork();
	if (!pid) {
		tell("child %d", getpid());
		for (;;)
			pause();
	}
	waitpid(pid, NULL, 0);
	KEEP();
}

FRAME static void aligned(size_t n)
{
	__attribute__((aligned(64))) char room[64];
	char *more = __builtin_alloca(n);

	SAY();
	memset(room, 0, sizeof(room));
	memset(more, 0, n);
	__asm__ volatile("" ::"r"(room), "r"(more) : "memory");
	stay();
	KEEP();
}

FRAME static int compare(const void *a, const void *b)
{
	SAY();
	stay();
	KEEP();
	return 0;
}

FRAME static void sort(void)
{
	int numbers[2] = { 2, 1 };

	SAY();
	qsort(numbers, 2, sizeof(numbers[0]), compare);
	KEEP();
}

FRAME static void smash(void)
{
	volatile uint64_t *frame = __builtin_frame_address(0);

	SAY();
	for (int i = 1; i < 48; i++)
		frame[i] = 0x4141414141414141;
	tell("bottom");
	while (!never)
		pause();
}

FRAME static void run(const char *what)
{
	SAY();
	if (!strcmp(what, "recurse"))
		recurse(12);
	set_handler(SIGUSR2, handle, SA_ONSTACK);
	set_handler(SIGUSR1, strcmp(what, "nested") ? handle : handle_first,
		    strcmp(what, "alt") ? 0 : SA_ONSTACK);
	set_handler(SIGSEGV, handle, 0);
	if (!strcmp(what, "leaf"))
		call_leaf();
	if (!strcmp(what, "zero"))
		call_nothing();
	if (!strcmp(what, "vfork"))
		fork_and_wait();
	if (!strcmp(what, "aligned"))
		aligned(strlen(what));
	if (!strcmp(what, "sort"))
		sort();
	if (!strcmp(what, "smashed"))
		smash();
	interrupted();
	KEEP();
}

int main(int argc, char **argv)
{
	SAY();
	run(argc > 1 ? argv[1] : "recurse");
	return 0;
}
