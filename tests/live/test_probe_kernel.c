/* SPDX-License-Identifier: MIT */
/*
 * The kernel backend of function probes, by itself: spots made by hand on functions whose
 * first instructions are of every sort, in a victim that knows how often it called them.
 * The victim is a fork of the test, so the addresses are ours. Skipped where bpf(2) is
 * not to be had.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "libproc.h"
#include "probe/probe.h"

enum {
	NTHREADS = 8,
	CALLS = 1000,  /* of each function by each thread, less the function's number */
	FEW = 200,     /* instead: so few that all their records find room */
	STACK = 32768, /* bytes that are wanted of it */
	DEPTH = 20,    /* of the recursion */
	SHORT_CALLS = 4000, /* with little stack */
};

/* --- functions ---------------------------------------------------------------------- */

/* Each is given its thread and the number of the call, and leaves all registers but rax
 * and r11 as they are. */
#define FUNCTION(name, body)                                                             \
	__asm__(".text\n.p2align 4\n.globl " #name "\n.type " #name                      \
		", @function\n" #name ":\n\t" body "\n.size " #name ", . - " #name       \
		"\n");                                                                   \
	void name(long thread, long call)

FUNCTION(f_endbr, "endbr64\n\tpush %rbp\n\tpop %rbp\n\tret");
FUNCTION(f_push, "push %r12\n\tpop %r12\n\tret");
FUNCTION(f_nop, "nop\n\tret");
FUNCTION(f_nop5, ".byte 0x0f, 0x1f, 0x44, 0, 0\n\tret");
FUNCTION(f_odd_nop, ".byte 0x0f, 0x1f, 0x04, 0\n\tnop\n\tret");
FUNCTION(f_sub, "sub $24, %rsp\n\tpush %rbx\n\tpop %rbx\n\tadd $24, %rsp\n\tret");
FUNCTION(f_sub_much, "sub $512, %rsp\n\tcall 1f\n1:\tadd $520, %rsp\n\tret");
FUNCTION(f_mov, "mov %rdi, %rax\n\tnop\n\tret");
FUNCTION(f_mov_argument,
	 "xchg %rdi, %r11\n\tmov $7, %edi\n\tnop\n\tmov %r11, %rdi\n\tret");
FUNCTION(f_xor, "xor %eax, %eax\n\tjmp 1f\n1:\tret");
/* its second instruction is executed twice a call */
FUNCTION(f_loop, "mov $2, %eax\n1:\tnop\n\tdec %eax\n\tjnz 1b\n\tret");
FUNCTION(f_jump, "jmp f_nop");
FUNCTION(f_ret, "ret");
FUNCTION(f_tail, "ret");
FUNCTION(f_locked, "lock incl -16(%rsp)\n\tret");
FUNCTION(f_vector, "vpor %xmm1, %xmm1, %xmm0\n\tret");
FUNCTION(f_both, "xor %eax, %eax\n\t.globl f_both_end\nf_both_end:\tjmp f_tail");
void f_both_end(void);
FUNCTION(f_cmp, "cmp %rsi, %rdi\n\tje 1f\n1:\tret");

/* Leave by a jump when the call's number is odd, and are done within else. */
FUNCTION(j_cond, "test $1, %sil\n\t.globl j_cond_at\nj_cond_at:\tjne f_tail\n\tret");
FUNCTION(j_reg,
	 "lea f_tail(%rip), %rax\n\ttest $1, %sil\n\tjne 1f\n\tlea 2f(%rip), %rax\n"
	 "1:\n\t.globl j_reg_at\nj_reg_at:\tjmp *%rax\n2:\tret");
/* … through the second or third word of a table */
FUNCTION(j_mem, "mov %rsi, %rax\n\tand $1, %eax\n\tlea j_table(%rip), %r11\n\t"
		".globl j_mem_at\nj_mem_at:\tjmp *8(%r11, %rax, 8)\n1:\tret\n\t"
		".pushsection .data.rel.local, \"aw\"\nj_table:\t.quad 0, 1b, f_tail\n\t"
		".popsection");
FUNCTION(j_rip, ".globl j_rip_at\nj_rip_at:\tjmp *j_word(%rip)\n\t"
		".pushsection .data.rel.local, \"aw\"\nj_word:\t.quad f_tail\n\t"
		".popsection");
FUNCTION(j_direct, ".globl j_direct_at\nj_direct_at:\tjmp f_tail");
FUNCTION(j_within, ".globl j_within_at\nj_within_at:\tjmp 1f\n1:\tret");
void j_cond_at(void), j_reg_at(void), j_direct_at(void), j_within_at(void);
void j_mem_at(void), j_rip_at(void);
/* the end of the last */
__asm__("j_end:\n");
void j_end(void);

static void (*const functions[])(long, long) = {
	f_endbr, f_push, f_nop,          f_nop5, f_sub, f_sub_much, f_mov,
	f_xor,   f_loop, f_mov_argument, f_ret,  f_cmp, f_odd_nop,
};

enum {
	NFUNCTIONS = sizeof(functions) / sizeof(*functions)
};

__attribute__((noinline, no_sanitize_thread, no_sanitize_address)) static long
recurse(long left)
{
	long below = left ? recurse(left - 1) : 0;

	__asm__ volatile("" : "+r"(below));
	return below + 1;
}

/* --- the victim --------------------------------------------------------------------- */

/* What test and victim share. */
struct board {
	atomic_int ready;     /* threads that wait */
	atomic_int go;        /* they may begin: how many rounds so far */
	atomic_int done;      /* threads that have ended a round */
	atomic_int quit;      /* no more rounds */
	atomic_int odd;       /* a child was not as it should be */
	long calls;           /* CALLS, or FEW */
	pid_t tids[NTHREADS]; /* by number */
	uint64_t stack_end;   /* of the thread that has little */
	uint64_t offset;      /* of f_push's page in the file */
	uint64_t second;      /* f_push in another mapping */
};

static struct board *board;

static void call_all(long thread)
{
	for (int f = 0; f < NFUNCTIONS; f++)
		for (long i = 0; i < board->calls - f; i++)
			functions[f](thread, i);
	for (long i = 0; i < board->calls; i++) {
		j_cond(thread, i);
		j_reg(thread, i);
		j_mem(thread, i);
		j_rip(thread, i);
		j_direct(thread, i);
		j_within(thread, i);
	}
	recurse(DEPTH);
}

static void *work(void *arg)
{
	long me = (long)arg;

	board->tids[me] = (pid_t)syscall(SYS_gettid);
	atomic_fetch_add(&board->ready, 1);
	for (int round = 1;; round++) {
		while (atomic_load(&board->go) < round)
			usleep(200);
		if (atomic_load(&board->quit))
			return NULL;
		call_all(me);
		atomic_fetch_add(&board->done, 1);
	}
}

static void be_threads(void)
{
	pthread_t t[NTHREADS];

	for (long i = 1; i < NTHREADS; i++)
		pthread_create(&t[i], NULL, work, (void *)i);
	work(NULL);
	for (int i = 1; i < NTHREADS; i++)
		pthread_join(t[i], NULL);
}

static void new_board(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(board != MAP_FAILED);
	board->calls = CALLS;
}

static pid_t start_on_board(void (*be)(void))
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	be();
	_exit(atomic_load(&board->odd) ? 43 : 42);
}

static pid_t start(void (*be)(void))
{
	new_board();
	return start_on_board(be);
}

static void play(int n)
{
	int want = atomic_load(&board->done) + n;

	atomic_fetch_add(&board->go, 1);
	await(atomic_load(&board->done) == want);
}

static void finish(pid_t pid)
{
	int status;

	atomic_store(&board->quit, 1);
	atomic_fetch_add(&board->go, 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 42 << 8);
}

/* --- the backend -------------------------------------------------------------------- */

/* A victim and its backend. */
struct watched {
	pid_t pid;               /* the victim */
	struct ps_prochandle *P; /* … */
	struct probe_backend *b; /* the backend */
	char err[256];           /* what it said last */
};

static uint64_t at(const void *fn)
{
	return (uint64_t)(uintptr_t)fn;
}

static void open_backend(struct watched *w, enum probe_want want)
{
	int err, rc;

	w->P = Pgrab(w->pid, PGRAB_RDONLY, &err);
	assert_non_null(w->P);
	rc = probe_kernel.open(w->P, want, STACK, &w->b, w->err, sizeof(w->err));
	if (!rc)
		return;
	Prelease(w->P, 0);
	kill(w->pid, SIGKILL);
	waitpid(w->pid, NULL, 0);
	if (rc != -EPERM && rc != -EOPNOTSUPP)
		fail_msg("open: %d, %s", rc, w->err);
	harness_skip("%s", w->err);
}

static void watch_victim(struct watched *w, void (*be)(void), enum probe_want want)
{
	w->pid = start(be);
	open_backend(w, want);
}

static void close_backend(struct watched *w)
{
	probe_kernel.close(w->b);
	Prelease(w->P, 0);
}

static void set_spots(struct watched *w, const struct probe_spot *spots, size_t n)
{
	int rc = probe_kernel.set(w->b, spots, n, w->err, sizeof(w->err));

	if (rc)
		fail_msg("set: %d, %s", rc, w->err);
}

/* Entries of all functions (ids 0 and on) and of recurse(). */
static void set_entries(struct watched *w)
{
	struct probe_spot spots[NFUNCTIONS + 1] = { 0 };

	for (uint32_t i = 0; i < NFUNCTIONS; i++)
		spots[i] = (struct probe_spot){ .addr = at(functions[i]), .id = i };
	spots[NFUNCTIONS] = (struct probe_spot){ .addr = at(recurse), .id = NFUNCTIONS };
	set_spots(w, spots, NFUNCTIONS + 1);
}

static uint64_t count_of(struct watched *w, uint32_t id)
{
	uint64_t counts[8192] = { 0 };

	assert_int_below(id, 8192);
	probe_kernel.counts(w->b, counts, id + 1);
	return counts[id];
}

static void check_counts(struct watched *w, int rounds)
{
	for (uint32_t i = 0; i < NFUNCTIONS; i++)
		assert_int_equal(count_of(w, i), rounds * NTHREADS * (board->calls - i));
	assert_int_equal(count_of(w, NFUNCTIONS), rounds * NTHREADS * (DEPTH + 1));
}

static void be_both(void)
{
	atomic_fetch_add(&board->ready, 1);
	while (!atomic_load(&board->go))
		usleep(200);
	for (long i = 0; i < CALLS; i++)
		f_both(0, i);
	atomic_fetch_add(&board->done, 1);
	while (!atomic_load(&board->quit))
		usleep(200);
}

static int first_byte(pid_t pid, const void *fn)
{
	uint8_t byte;
	char path[32];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fseeko(f, (off_t)at(fn), SEEK_SET), 0);
	assert_int_equal(fread(&byte, 1, 1, f), 1);
	fclose(f);
	return byte;
}

/* --- counts ------------------------------------------------------------------------- */

/* Breaks when a counter is not added to atomically, a landing can be reached by another
 * way (f_loop) or is not reached, or a hit is counted that came after stop(). */
static void every_call_is_counted(void)
{
	struct watched w;

	watch_victim(&w, be_threads, PROBE_WANT_COUNT);
	set_entries(&w);
	play(NTHREADS);
	check_counts(&w, 1);
	play(NTHREADS);
	check_counts(&w, 2);
	probe_kernel.stop(w.b);
	assert_int_equal(first_byte(w.pid, f_push), 0x41);
	play(NTHREADS);
	check_counts(&w, 2);
	finish(w.pid);
	check_counts(&w, 2);
	close_backend(&w);
}

/* What the kernel emulates is where the uprobe stands. Breaks when nothing is moved, or
 * what must not be (f_loop). */
static void entries_land_where_it_is_cheap(void)
{
	struct watched w;

	watch_victim(&w, be_threads, PROBE_WANT_COUNT);
	set_entries(&w);
	assert_int_equal(first_byte(w.pid, f_endbr), 0xf3);
	assert_int_equal(first_byte(w.pid, (char *)f_endbr + 4), 0xcc);
	assert_int_equal(first_byte(w.pid, f_sub), 0x48);
	assert_int_equal(first_byte(w.pid, f_odd_nop), 0x0f);
	assert_int_equal(first_byte(w.pid, (char *)f_odd_nop + 4), 0xcc);
	assert_int_equal(first_byte(w.pid, f_push), 0xcc);
	assert_int_equal(first_byte(w.pid, f_loop), 0xcc);
	finish(w.pid);
	close_backend(&w);
}

/* xmm0 or'd from xmm1 by f_vector(): 5, if it is executed. */
static int use_vector(void)
{
	int got;

	__asm__ volatile("mov $5, %%eax\n\tvmovd %%eax, %%xmm1\n\t"
			 "vpxor %%xmm0, %%xmm0, %%xmm0\n\tcall f_vector\n\t"
			 "vmovd %%xmm0, %0"
			 : "=r"(got)
			 :
			 : "rax", "r11", "xmm0", "xmm1", "memory", "cc");
	return got;
}

static void be_vectors(void)
{
	atomic_fetch_add(&board->ready, 1);
	while (!atomic_load(&board->go))
		usleep(200);
	for (int i = 0; i < 100; i++) {
		f_locked(0, i);
		if (use_vector() != 5)
			atomic_store(&board->odd, 1);
	}
	atomic_fetch_add(&board->done, 1);
	while (!atomic_load(&board->quit))
		usleep(200);
}

/* The kernel takes vpor for a jmp, and refuses the other. Breaks when the victim's vpor
 * is not executed, or their calls are not counted. */
static void what_uprobes_are_not_made_for(void)
{
	const struct probe_spot spots[] = { { .addr = at(f_vector), .id = 0 },
					    { .addr = at(f_locked), .id = 1 } };
	struct watched w;

	if (!__builtin_cpu_supports("avx"))
		harness_skip("no AVX");
	watch_victim(&w, be_vectors, PROBE_WANT_COUNT);
	set_spots(&w, spots, 2);
	play(1);
	assert_int_equal(count_of(&w, 0), 100);
	assert_int_equal(count_of(&w, 1), 100);
	finish(w.pid);
	close_backend(&w);
}

/* Breaks when ids that outgrow the counters are not counted, or earlier ones are lost. */
static void ids_outgrow_the_counters(void)
{
	const struct probe_spot high = { .addr = at(f_nop), .id = 8000 };
	const struct probe_spot low = { .addr = at(f_push), .id = 2 };
	struct watched w;

	watch_victim(&w, be_threads, PROBE_WANT_COUNT);
	set_spots(&w, &low, 1);
	play(NTHREADS);
	set_spots(&w, &high, 1);
	set_spots(&w, &low, 1); /* a second spot of the same id */
	play(NTHREADS);
	assert_int_equal(count_of(&w, 2), 3 * NTHREADS * (CALLS - 1));
	/* f_jump is not called, but f_nop is, by its own name */
	assert_int_equal(count_of(&w, 8000), NTHREADS * (CALLS - 2));
	finish(w.pid);
	close_backend(&w);
}

/* Breaks when a jump's condition or target is read wrongly, or not at all. */
static void jumps_count_when_they_leave(void)
{
#define JUMP(fn, end, number)                                                            \
	{                                                                                \
		.addr = at(fn##_at), .lo = at(fn), .hi = at(end), .id = number,          \
		.kind = PROBE_RETURN                                                     \
	}
	const struct probe_spot spots[] = {
		JUMP(j_cond, j_reg, 0),      JUMP(j_reg, j_mem, 1),
		JUMP(j_mem, j_rip, 4),       JUMP(j_rip, j_direct, 5),
		JUMP(j_direct, j_within, 2), JUMP(j_within, j_end, 3),
	};
	struct watched w;

	watch_victim(&w, be_threads, PROBE_WANT_COUNT);
	set_spots(&w, spots, 6);
	play(NTHREADS);
	assert_int_equal(count_of(&w, 0), NTHREADS * CALLS / 2);
	assert_int_equal(count_of(&w, 1), NTHREADS * CALLS / 2);
	assert_int_equal(count_of(&w, 2), NTHREADS * CALLS);
	assert_int_equal(count_of(&w, 3), 0);
	assert_int_equal(count_of(&w, 4), NTHREADS * CALLS / 2);
	assert_int_equal(count_of(&w, 5), NTHREADS * CALLS);
	finish(w.pid);
	close_backend(&w);
}

/* --- events ------------------------------------------------------------------------- */

/* What is told of a victim. */
struct told {
	uint64_t hits[NFUNCTIONS + 1];   /* by id */
	long next[NTHREADS][NFUNCTIONS]; /* call that is to come */
	uint64_t last[NTHREADS];         /* time of the last */
	size_t least;                    /* bytes of stack, at least */
	int wrong;                       /* line of a check that failed */
};

static int thread_of(pid_t tid)
{
	for (int i = 0; i < NTHREADS; i++)
		if (board->tids[i] == tid)
			return i;
	return -1;
}

#define expect(cond)                                                                     \
	do {                                                                             \
		if (!(cond) && !told->wrong)                                             \
			told->wrong = __LINE__;                                          \
	} while (0)

static void check_hit(struct told *told, const struct probe_hit *h, int thread)
{
	uint64_t ret;

	expect(h->regs.rip == h->addr && h->addr == at(functions[h->id]));
	expect(h->regs.rdi == (uint64_t)thread);
	expect((long)h->regs.rsi == told->next[thread][h->id]++);
	expect(h->stack_at <= h->regs.rsp && h->regs.rsp - h->stack_at < 512);
	expect(h->nstack >= told->least);
	memcpy(&ret, h->stack + (h->regs.rsp - h->stack_at), sizeof(ret));
	expect(ret > at(call_all) && ret < at(call_all) + 4096);
}

static void hear(void *arg, const struct probe_hit *h)
{
	struct told *told = arg;
	int thread = thread_of(h->tid);

	expect(thread >= 0 && h->id <= NFUNCTIONS && h->kind == PROBE_ENTRY);
	if (told->wrong)
		return;
	expect(h->time_ns >= told->last[thread]);
	told->last[thread] = h->time_ns;
	told->hits[h->id]++;
	if (h->id < NFUNCTIONS)
		check_hit(told, h, thread);
}

static void play_and_listen(struct watched *w, struct told *told, uint64_t *ret_lost)
{
	int64_t end = harness_now_ms() + harness_ms(20000);
	uint64_t lost;

	*ret_lost = 0;
	await(atomic_load(&board->ready) == NTHREADS);
	atomic_fetch_add(&board->go, 1);
	do {
		probe_kernel.drain(w->b, hear, told, &lost);
		*ret_lost += lost;
		if (told->wrong)
			fail_msg("line %d of this file was not so", told->wrong);
	} while (atomic_load(&board->done) < NTHREADS && harness_wait_a_little(end));
	assert_int_equal(atomic_load(&board->done), NTHREADS);
	probe_kernel.stop(w->b);
	probe_kernel.drain(w->b, hear, told, &lost);
	*ret_lost += lost;
}

static void listen_to(enum probe_want want, struct told *told)
{
	struct watched w;
	uint64_t lost;

	watch_victim(&w, be_threads, want);
	board->calls = FEW;
	set_entries(&w);
	play_and_listen(&w, told, &lost);
	check_counts(&w, 1);
	assert_int_equal(lost, 0);
	for (uint32_t i = 0; i <= NFUNCTIONS; i++)
		assert_int_equal(told->hits[i], count_of(&w, i));
	finish(w.pid);
	close_backend(&w);
}

/* Breaks when registers are not those at the function's first instruction, whatever was
 * skipped (f_sub, f_mov_argument), or a thread's order is not kept. */
static void every_call_is_told(void)
{
	struct told told = { .least = 5 * sizeof(uint64_t) };

	listen_to(PROBE_WANT_EVENTS, &told);
}

/* Entries and ends of f_both, told by turns. */
static void hear_both(void *arg, const struct probe_hit *h)
{
	struct told *told = arg;

	expect(h->kind == (told->hits[0]++ & 1 ? PROBE_RETURN : PROBE_ENTRY));
}

/* The entry is watched where the function ends. Breaks when the end is told first. */
static void entries_come_before_ends(void)
{
	const struct probe_spot spots[] = {
		{ .addr = at(f_both_end), .id = 1, .kind = PROBE_RETURN },
		{ .addr = at(f_both), .id = 0 },
	};
	struct told told = { 0 };
	struct watched w;
	uint64_t lost;

	watch_victim(&w, be_both, PROBE_WANT_EVENTS);
	set_spots(&w, spots, 2);
	assert_int_equal(first_byte(w.pid, f_both), *(const uint8_t *)f_both);
	play(1);
	probe_kernel.drain(w.b, hear_both, &told, &lost);
	if (told.wrong)
		fail_msg("line %d of this file was not so", told.wrong);
	assert_int_equal(told.hits[0], 2 * CALLS);
	finish(w.pid);
	close_backend(&w);
}

/* Calls f_cmp() with `left` bytes of a stack behind its return address, and nothing
 * mapped behind them. */
static void call_at_the_end(const char *end, long left)
{
	__asm__ volatile("mov %%rsp, %%rbx\n\tmov %0, %%rsp\n\tcall f_cmp\n\t"
			 "mov %%rbx, %%rsp"
			 :
			 : "r"(end - left)
			 : "rbx", "rax", "r11", "memory", "cc");
}

static void be_short_of_stack(void)
{
	size_t size = 64 * 4096;
	char *stack = mmap(NULL, size + 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(stack + size, 4096);
	board->stack_end = at(stack + size);
	atomic_fetch_add(&board->ready, 1);
	while (!atomic_load(&board->go))
		usleep(200);
	for (long i = 0; i < SHORT_CALLS; i++)
		call_at_the_end(stack + size, 16 * (i % 1024));
	atomic_fetch_add(&board->done, 1);
	while (!atomic_load(&board->quit))
		usleep(200);
}

static void hear_stack(void *arg, const struct probe_hit *h)
{
	struct told *told = arg;
	uint64_t below = h->regs.rsp - h->stack_at;

	/* a page below that was never touched cannot be read */
	expect(below == 0 || below == PROBE_RED_ZONE);
	expect(h->nstack < STACK);
	expect(h->stack_at + h->nstack == board->stack_end);
	told->hits[0]++;
}

/* Breaks when the end of a stack makes all of it unreadable, and when records that found
 * no room are not counted. */
static void stacks_are_cut_at_their_end(void)
{
	const struct probe_spot spot = { .addr = at(f_cmp) };
	struct told told = { 0 };
	struct watched w;
	uint64_t lost;

	watch_victim(&w, be_short_of_stack, PROBE_WANT_STACKS);
	set_spots(&w, &spot, 1);
	play(1);
	probe_kernel.stop(w.b);
	probe_kernel.drain(w.b, hear_stack, &told, &lost);
	if (told.wrong)
		fail_msg("line %d of this file was not so", told.wrong);
	assert_int_equal(told.hits[0] + lost, count_of(&w, 0));
	assert_int_equal(count_of(&w, 0), SHORT_CALLS);
	assert_int_above(lost, 0);
	assert_int_above(told.hits[0], 500);
	finish(w.pid);
	close_backend(&w);
}

/* --- what else maps the file -------------------------------------------------------- */

/* Calls f_push where it is, and in a second mapping of the file. */
static void be_mapped_twice(void)
{
	uint64_t page = at(f_push) & ~4095ull;
	int fd = open("/proc/self/exe", O_RDONLY);
	char *copy = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd,
			  (off_t)board->offset);
	void (*second)(long, long) = (void (*)(long, long))(copy + (at(f_push) - page));

	close(fd);
	board->second = at(second);
	atomic_fetch_add(&board->ready, 1);
	for (int round = 1;; round++) {
		while (atomic_load(&board->go) < round)
			usleep(200);
		if (atomic_load(&board->quit))
			return;
		for (int i = 0; i < 30; i++)
			(i < 10 ? f_push : second)(0, i);
		if (round == 2)
			munmap(copy, 8192);
		atomic_fetch_add(&board->done, 1);
		second = f_nop;
	}
}

static int note_offset(void *arg, const prmap_t *m, const char *name)
{
	uint64_t addr = at(f_push);

	if (addr < m->pr_vaddr || addr >= m->pr_vaddr + m->pr_size)
		return 0;
	*(uint64_t *)arg = (uint64_t)m->pr_offset + (addr & ~4095ull) - m->pr_vaddr;
	return 1;
}

static uint64_t find_offset(void)
{
	uint64_t offset = 0;
	struct ps_prochandle *P;
	int err;

	P = Pgrab(getpid(), PGRAB_RDONLY, &err);
	assert_non_null(P);
	Pmapping_iter(P, note_offset, &offset);
	Prelease(P, 0);
	return offset;
}

/* A uprobe is in the file: breaks when a hit in one mapping counts for the other, or for
 * both, or a mapping that has gone still counts. */
static void each_mapping_has_its_own(void)
{
	struct probe_spot spots[2] = { { .addr = at(f_push), .id = 0 } };
	uint64_t offset = find_offset();
	struct watched w;

	new_board();
	board->offset = offset;
	w.pid = start_on_board(be_mapped_twice);
	open_backend(&w, PROBE_WANT_COUNT);
	await(atomic_load(&board->ready));
	spots[1] = (struct probe_spot){ .addr = board->second, .id = 1 };
	set_spots(&w, spots, 2);
	play(1);
	assert_int_equal(count_of(&w, 0), 10);
	assert_int_equal(count_of(&w, 1), 20);
	probe_kernel.gone(w.b, at(f_push), at(f_push) + 1);
	play(1);
	assert_int_equal(count_of(&w, 0), 10);
	finish(w.pid);
	close_backend(&w);
}

static void be_forking(void)
{
	int status;
	pid_t pid;

	atomic_fetch_add(&board->ready, 1);
	while (!atomic_load(&board->go))
		usleep(200);
	for (int i = 0; i < 100; i++) {
		pid = fork();
		if (!pid) {
			f_push(0, 0);
			_exit(17);
		}
		if (waitpid(pid, &status, 0) != pid || status != 17 << 8)
			atomic_store(&board->odd, 1);
		pid = vfork();
		if (!pid) {
			f_push(0, 0);
			_exit(17);
		}
		if (waitpid(pid, &status, 0) != pid || status != 17 << 8)
			atomic_store(&board->odd, 1);
		f_push(0, 0);
	}
	atomic_fetch_add(&board->done, 1);
	while (!atomic_load(&board->quit))
		usleep(200);
}

/* Children have the trap in their text. Breaks when they are counted, or die of it. */
static void children_are_not_counted(void)
{
	const struct probe_spot spot = { .addr = at(f_push) };
	struct watched w;

	if (HARNESS_TSAN)
		harness_skip("a vfork would be a fork");
	watch_victim(&w, be_forking, PROBE_WANT_COUNT);
	set_spots(&w, &spot, 1);
	play(1);
	assert_int_equal(count_of(&w, 0), 100);
	finish(w.pid);
	close_backend(&w);
}

/* The victim becomes this program again (main()), and calls f_push there. */
static char *again[] = { (char *)"test_probe_kernel", (char *)"--again", NULL };

static void be_execing(void)
{
	atomic_fetch_add(&board->ready, 1);
	while (!atomic_load(&board->go))
		usleep(200);
	f_push(0, 0);
	execv("/proc/self/exe", again);
}

static void run_again(void)
{
	char line[8];

	for (int i = 0; i < 1000; i++)
		f_push(0, i);
	_exit(read(0, line, 1) < 0 ? 43 : 42);
}

/* The same file in the same process, perhaps at the same address. Breaks when links
 * that were reset still count. */
static void nothing_counts_after_an_exec(void)
{
	const struct probe_spot spot = { .addr = at(f_push) };
	struct watched w;
	int status;

	watch_victim(&w, be_execing, PROBE_WANT_COUNT);
	set_spots(&w, &spot, 1);
	await(atomic_load(&board->ready));
	probe_kernel.reset(w.b);
	set_spots(&w, &spot, 1);
	probe_kernel.reset(w.b);
	atomic_fetch_add(&board->go, 1);
	assert_int_equal(waitpid(w.pid, &status, 0), w.pid);
	assert_int_equal(status, 42 << 8);
	assert_int_equal(count_of(&w, 0), 0);
	close_backend(&w);
}

/* --- the holder dies ---------------------------------------------------------------- */

/* Watches the victim, says so, and waits for its end. */
_Noreturn static void hold_until_killed(pid_t pid, unsigned us)
{
	struct watched w = { .pid = pid };
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	w.P = Pgrab(w.pid, PGRAB_RDONLY, &err);
	if (!w.P || probe_kernel.open(w.P, us & 1, STACK, &w.b, w.err, sizeof(w.err)))
		_exit(1);

	set_entries(&w);
	if (us & 2)
		probe_kernel.stop(w.b);
	for (;;)
		pause();
}

static void kill_a_holder(pid_t victim, unsigned us)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		hold_until_killed(victim, us);
	usleep(us);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static bool is_clean(pid_t pid)
{
	for (int i = 0; i < NFUNCTIONS; i++)
		if (first_byte(pid, functions[i]) != *(const uint8_t *)functions[i] ||
		    first_byte(pid, (char *)functions[i] + 4) !=
			    ((const uint8_t *)functions[i])[4])
			return false;
	return true;
}

/* Breaks when anything of ours outlives its holder, or harms the victim: also in the
 * middle of making and closing links, which then is ended by somebody else. */
static void nothing_outlives_its_holder(void)
{
	unsigned seed = (unsigned)harness_now_ms();
	struct watched w;

	watch_victim(&w, be_threads, PROBE_WANT_COUNT);
	await(atomic_load(&board->ready) == NTHREADS);
	for (int i = 0; i < 100; i++) {
		atomic_fetch_add(&board->go, i == 50);
		kill_a_holder(w.pid, (unsigned)rand_r(&seed) % 60000);
		await(is_clean(w.pid));
	}
	await(atomic_load(&board->done) == NTHREADS);
	set_entries(&w);
	play(NTHREADS);
	check_counts(&w, 1);
	finish(w.pid);
	close_backend(&w);
}

/* --- refusals ----------------------------------------------------------------------- */

static void refused_by_the_system(void)
{
	char err[256] = "";
	struct probe_backend *b;
	struct ps_prochandle *P;
	int rc;

	harness_refuse(SYS_bpf);
	P = Pgrab(getpid(), PGRAB_RDONLY, &rc);
	assert_non_null(P);
	rc = probe_kernel.open(P, PROBE_WANT_COUNT, 0, &b, err, sizeof(err));
	Prelease(P, 0);
	assert_true(rc == -EPERM || rc == -EOPNOTSUPP);
	printf("# %s\n", err);
	assert_true(strstr(err, "CAP_BPF") || strstr(err, "seccomp") ||
		    strstr(err, "without"));
}

/* Sets two spots, of which the second is no good: neither is watched. */
static void refuse_second(struct watched *w, uint64_t addr, const char *why)
{
	const struct probe_spot spots[2] = { { .addr = at(f_push) }, { .addr = addr } };

	assert_int_below(probe_kernel.set(w->b, spots, 2, w->err, sizeof(w->err)), 0);
	printf("# %s\n", w->err);
	assert_non_null(strstr(w->err, why));
}

static void refuse_offset(struct watched *w, uint64_t addr)
{
	const struct probe_spot spots[2] = { { .addr = at(f_push) },
					     { .addr = addr, .kind = PROBE_OFFSET } };

	assert_int_equal(probe_kernel.set(w->b, spots, 2, w->err, sizeof(w->err)),
			 -EOPNOTSUPP);
	assert_non_null(strstr(w->err, "no uprobe"));
}

/* Breaks when a spot that cannot be watched is taken, or others are watched though the
 * call failed. */
static void what_cannot_be_watched(void)
{
	struct watched w;

	watch_victim(&w, be_threads, PROBE_WANT_COUNT);
	refuse_second(&w, at(board), "mapped shared");
	refuse_second(&w, 16, "in no file");
	refuse_offset(&w, at(f_locked));
	refuse_offset(&w, at(f_vector));
	play(NTHREADS);
	assert_int_equal(count_of(&w, 0), 0);
	finish(w.pid);
	close_backend(&w);
}

/* Breaks when a uprobe is put where a trap of ours is: it would swallow the trap's hits,
 * and lift it in the end. */
static void a_breakpoint_is_in_the_way(void)
{
	const struct probe_spot spot = { .addr = at(f_push) };
	struct watched w = { .pid = start(be_threads) };
	unsigned long saved;
	int err;

	w.P = Pgrab(w.pid, 0, &err);
	assert_non_null(w.P);
	if (probe_kernel.open(w.P, PROBE_WANT_COUNT, 0, &w.b, w.err, sizeof(w.err))) {
		Prelease(w.P, PRELEASE_KILL);
		waitpid(w.pid, NULL, 0);
		harness_skip("%s", w.err);
	}
	assert_int_equal(Psetbkpt(w.P, at(f_push), &saved), 0);
	assert_int_equal(probe_kernel.set(w.b, &spot, 1, w.err, sizeof(w.err)), -EBUSY);
	printf("# %s\n", w.err);
	assert_int_equal(first_byte(w.pid, f_push), 0xcc);
	assert_int_equal(Pdelbkpt(w.P, at(f_push), saved), 0);
	set_spots(&w, &spot, 1);
	probe_kernel.close(w.b);
	Prelease(w.P, 0);
	finish(w.pid);
}

static const struct harness_test tests[] = {
	TEST(every_call_is_counted),         TEST(entries_land_where_it_is_cheap),
	TEST(what_uprobes_are_not_made_for), TEST(ids_outgrow_the_counters),
	TEST(jumps_count_when_they_leave),   TEST_IN(every_call_is_told, 60),
	TEST(entries_come_before_ends),      TEST(stacks_are_cut_at_their_end),
	TEST(each_mapping_has_its_own),      TEST(children_are_not_counted),
	TEST(nothing_counts_after_an_exec),  TEST_IN(nothing_outlives_its_holder, 120),
	TEST(refused_by_the_system),         TEST(what_cannot_be_watched),
	TEST(a_breakpoint_is_in_the_way),    TEST_END,
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--again"))
		run_again();
	return harness_main(argc, argv, tests);
}
