/* SPDX-License-Identifier: MIT */
/*
 * Calls functions of every shape, known numbers of times, from several threads, and says
 * how often: what probes count has to be the same.
 *
 * exact THREADS ROUNDS LIBRARY REPORT: each thread makes ROUNDS rounds; the library
 * (exact_lib.c) is loaded by dlopen and, into two more namespaces, by dlmopen, and
 * closed. Writes to REPORT: `sum CHECKSUM WRONG-RETURN-ADDRESSES`, then lines
 * `FUNCTION ENTRIES RETURNS`.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

/* clang-format off */
#define EACH(X)                                                                          \
	X(p_push) X(p_endbr) X(p_nop) X(p_sub) X(p_mov) X(p_ret) X(p_xor) X(p_jmp)       \
	X(p_rec) X(p_outer) X(p_jumper) X(p_tailer) X(p_tailed) X(p_cond) X(p_indirect)  \
	X(p_through)  \
	X(p_switch) X(p_handler) X(p_on_alt) X(p_exiter) X(p_many) X(p_caller) X(p_anew) \
	X(lib_ctor) X(lib_call)
/* clang-format on */

enum {
#define X(name) C_##name,
	EACH(X)
#undef X
	NCALLS
};

static const char *const names[] = {
#define X(name) #name,
	EACH(X)
#undef X
};

static atomic_ulong entries[NCALLS], returns[NCALLS];

#define ENTER(name) atomic_fetch_add_explicit(&entries[C_##name], 1, memory_order_relaxed)
#define LEFT(name)  atomic_fetch_add_explicit(&returns[C_##name], 1, memory_order_relaxed)
#define BOTH(name)  (ENTER(name), LEFT(name))

/* First instructions of every kind, and ways to leave. */
#define FUNCTION(name, body)                                                             \
	__asm__(".text\n.type " #name ", @function\n.globl " #name "\n" #name            \
		":\n.cfi_startproc\n" body ".cfi_endproc\n.size " #name ", . - " #name   \
		"\n.p2align 4\n");                                                       \
	long name(long)
FUNCTION(p_push, "push %rbx\nmov %rdi, %rbx\nlea 1(%rbx), %rax\npop %rbx\nret\n");
FUNCTION(p_endbr, "endbr64\nlea 2(%rdi), %rax\nret\n");
FUNCTION(p_nop, "nopl 0(%rax,%rax)\nlea 3(%rdi), %rax\nret\n");
FUNCTION(p_sub, "sub $24, %rsp\nlea 4(%rdi), %rax\nadd $24, %rsp\nret\n");
FUNCTION(p_mov, "mov %rdi, %rax\nadd $5, %rax\nret\n");
FUNCTION(p_ret, "ret\n");
FUNCTION(p_xor, "xor %eax, %eax\ntest %rdi, %rdi\nje 1f\nlea 6(%rdi), %rax\nret\n"
		"1: mov $7, %eax\nret\n");
FUNCTION(p_jmp, "jmp 1f\nud2\n1: lea 8(%rdi), %rax\nret\n");
FUNCTION(p_tailed, "lea 9(%rdi), %rax\nret\n");
FUNCTION(p_tailer, "inc %rdi\njmp p_tailed\n");
/* a tail call if odd */
FUNCTION(p_cond, "test $1, %dil\njne p_tailed\nmov %rdi, %rax\nret\n");
FUNCTION(p_indirect, "lea p_tailed(%rip), %rax\njmp *%rax\n");
/* a tail call as -fno-plt makes it */
FUNCTION(p_through, "inc %rdi\njmp *p_word(%rip)\n"
		    ".pushsection .data.rel.local, \"aw\"\np_word: .quad p_tailed\n"
		    ".popsection\n");

/* As functions of Go do: it may begin anew, for the same call. */
__asm__(".text\nmake_room: ret\n");
__asm__(".text\n.type p_anew, @function\n.globl p_anew\np_anew:\n.cfi_startproc\n"
	"test %rsi, %rsi\njne 1f\nlea 11(%rdi), %rax\nret\n"
	"1: xor %esi, %esi\ncall make_room\njmp p_anew\n"
	".cfi_endproc\n.size p_anew, . - p_anew\n.p2align 4\n");
long p_anew(long a, long again);

static long never_unwound; /* what a return address was seen as, if not ours */

NOINLINE long p_caller(long a)
{
	static char *here;
	char *ra = __builtin_return_address(0);

	/* unwinders, setjmp, Go: nobody may put another one there */
	if (!here)
		here = ra;
	never_unwound +=
		ra < (char *)names - (64 << 20) || ra > (char *)names + (64 << 20);
	return a + 10;
}

NOINLINE long p_rec(long n)
{
	__asm__ volatile("");
	return n > 0 ? p_rec(n - 1) + 1 : 0;
}

NOINLINE long p_many(long a, long b, long c, long d, long e, long f, long g, long h,
		     long i, long j)
{
	__asm__ volatile("");
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j;
}

/* A jump table: an indirect jump that stays inside. */
NOINLINE long p_switch(long a)
{
	switch (a & 7) {
	case 0:
		return a * 3;
	case 1:
		return a - 17;
	case 2:
		return a ^ 5;
	case 3:
		return a / 3;
	case 4:
		return a << 2;
	case 5:
		return ~a;
	case 6:
		return a % 11;
	default:
		return a * a;
	}
}

static __thread jmp_buf jump;

NOINLINE void p_jumper(void)
{
	longjmp(jump, 1);
}

NOINLINE void p_outer(void)
{
	ENTER(p_jumper);
	p_jumper();
	__asm__ volatile("");
}

static __thread volatile long on_signal;

NOINLINE void p_on_alt(void)
{
	on_signal++;
}

NOINLINE void p_handler(int sig)
{
	BOTH(p_on_alt);
	p_on_alt();
	on_signal += sig;
}

static void (*volatile leave_by)(void *) = (void (*)(void *))pthread_exit;

static void leave(long result)
{
	leave_by(
		(void *)result); /* the compiler is not to know that it does not return */
}

/* Leaves the thread from three calls below: frames that are unwound, and never return. */
NOINLINE void p_exiter(long depth, long result)
{
	if (depth == 0) {
		leave(result);
		return;
	}
	ENTER(p_exiter);
	p_exiter(depth - 1, result);
	__asm__ volatile("");
}

static long one_round(long i)
{
	long s = 0;

	BOTH(p_push), s += p_push(i);
	BOTH(p_endbr), s += p_endbr(i);
	BOTH(p_nop), s += p_nop(i);
	BOTH(p_sub), s += p_sub(i);
	BOTH(p_mov), s += p_mov(i);
	BOTH(p_ret), p_ret(i);
	BOTH(p_xor), s += p_xor(i & 3);
	BOTH(p_jmp), s += p_jmp(i);
	BOTH(p_caller), s += p_caller(i);
	BOTH(p_anew), s += p_anew(i, i & 1);
	for (long k = 0; k <= (i & 3); k++)
		BOTH(p_rec);
	s += p_rec(i & 3);
	BOTH(p_tailer), BOTH(p_tailed), s += p_tailer(i);
	BOTH(p_indirect), BOTH(p_tailed), s += p_indirect(i);
	BOTH(p_through), BOTH(p_tailed), s += p_through(i);
	BOTH(p_cond), s += p_cond(i);
	if (i & 1)
		BOTH(p_tailed);
	BOTH(p_switch), s += p_switch(i);
	BOTH(p_many), s += p_many(i, 1, 2, 3, 4, 5, 6, 7, 8, 9);
	ENTER(p_outer);
	if (!setjmp(jump))
		p_outer();
	if (i % 16 == 0) {
		BOTH(p_handler);
		raise(SIGUSR1);
	}
	return s + on_signal;
}

static long rounds;

static void *thread(void *arg)
{
	stack_t alt = { .ss_size = 64 << 10 }, off = { .ss_flags = SS_DISABLE };
	long s = 0;

	alt.ss_sp = malloc(alt.ss_size);
	sigaltstack(&alt, NULL);
	for (long i = 0; i < rounds; i++)
		s += one_round(i + (long)arg);
	sigaltstack(&off, NULL);
	free(alt.ss_sp);
	ENTER(p_exiter);
	p_exiter(3, s);
	return NULL;
}

static long use(void *lib)
{
	long (*fn)(long) = (long (*)(long))dlsym(lib, "lib_call");
	long s = 0;

	for (long i = 0; i < rounds; i++) {
		BOTH(lib_call);
		s += fn(i);
	}
	dlclose(lib);
	return s;
}

static long use_library(const char *path)
{
	long s = 0;
	void *lib;

	for (int i = 0; i < 3; i++) {
		/* counted before: its constructor runs in dlopen */
		BOTH(lib_ctor);
		lib = i < 1 ? dlopen(path, RTLD_NOW)
			    : dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
		if (!lib) {
			fprintf(stderr, "%s\n", dlerror());
			exit(1);
		}
		s += use(lib);
	}
	return s;
}

int main(int argc, char **argv)
{
	int n = argc > 4 ? atoi(argv[1]) : 1;
	struct sigaction sa = { .sa_handler = p_handler, .sa_flags = SA_ONSTACK };
	pthread_t t[64];
	void *result;
	long sum = 0;
	FILE *f;

	if (argc < 5 || n > 64)
		return 2;
	rounds = atol(argv[2]);
	sigaction(SIGUSR1, &sa, NULL);
	for (long i = 0; i < n; i++)
		pthread_create(&t[i], NULL, thread, (void *)i);
	sum += use_library(argv[3]);
	for (int i = 0; i < n; i++) {
		pthread_join(t[i], &result);
		sum += (long)result;
	}
	f = fopen(argv[4], "w");
	if (f)
		fprintf(f, "sum %ld %ld\n", sum, never_unwound);
	for (int i = 0; f && i < NCALLS; i++)
		fprintf(f, "%s %lu %lu\n", names[i], atomic_load(&entries[i]),
			atomic_load(&returns[i]));
	return f && !fclose(f) ? 0 : 1;
}
