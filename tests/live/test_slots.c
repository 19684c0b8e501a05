/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints on instructions that must be executed: through a slot, by another system
 * call instruction, or with every other LWP standing. Whatever the way, the program
 * computes what it computes without us, no hit is missed and none is invented.
 *
 * The victims are forks of the test, so that the addresses of their functions are known;
 * each function begins with the instruction that it is named after. Totals are counted by
 * the victim in memory shared with the test.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "hold/hold.h"
#include "os/procfs.h"

enum {
	NTHREADS = 8,
};

/* --- the functions ------------------------------------------------------------------ */

static const uint64_t table[4] __attribute__((used)) = { 11, 22, 33, 44 };

typedef uint64_t fn_t(uint64_t a, const void *src, uint64_t b, uint64_t n);

#define FN(name, code)                                                                   \
	__attribute__((naked, noinline, used,                                            \
		       optimize("align-functions=16"))) static uint64_t                  \
	name(uint64_t a, const void *src, uint64_t b, uint64_t n)                        \
	{                                                                                \
		__asm__ volatile(code);                                                  \
	}

/* flags made by the first instruction are used by the third */
FN(f_cmp, "cmp $77, %rdi\n\tmov $1, %eax\n\tadc %rdi, %rax\n\tret")
FN(f_load, "mov table+8(%rip), %rax\n\tadd %rdi, %rax\n\tret")
FN(f_lea32, "lea 3(%rdi,%rdi,4), %eax\n\tret")
FN(f_imul, "imul $31, %rdi, %rax\n\tret")
FN(f_fs, "mov %fs:0, %rax\n\tmov %fs:0, %rdx\n\tsub %rdx, %rax\n\tadd %rdi, %rax\n\tret")
FN(f_sse, "movq %rdi, %xmm0\n\tpaddq %xmm0, %xmm0\n\tmovq %xmm0, %rax\n\tret")
FN(f_rep, "rep movsb\n\tmov %rdi, %rax\n\tret")
FN(f_jrcxz, "jrcxz 1f\n\tmov %rdi, %rax\n\tret\n1:\tlea 1(%rdi), %rax\n\tret")
FN(f_test,
   "test $1, %dil\n\tje 1f\n\tlea 5(%rdi), %rax\n\tret\n1:\tlea 9(%rdi), %rax\n\tret")
FN(f_push, "push %rbx\n\tlea (%rdi,%rdx), %rax\n\tpop %rbx\n\tret")
FN(f_endbr, "endbr64\n\txor %edx, %edx\n\tlea (%rdi,%rdx), %rax\n\tret")
static fn_t *const volatile to_imul __attribute__((used)) = f_imul;
static fn_t *const volatile to_load __attribute__((used)) = f_load;

FN(f_jmp, "jmp *to_imul(%rip)")
FN(f_call, "call *to_load(%rip)\n\tadd $2, %rax\n\tret")

static fn_t *const fns[] = { f_cmp,  f_load, f_lea32, f_imul,  f_fs,  f_sse,
			     f_test, f_push, f_endbr, f_jrcxz, f_jmp, f_call };

enum {
	NFNS = sizeof(fns) / sizeof(*fns),
	REP = NFNS, /* f_rep in tables of totals */
	NALL
};

static fn_t *fn_of(unsigned i)
{
	return i == REP ? f_rep : fns[i];
}

/* rax in, rax and rcx out */
FN(f_syscall, "syscall\n\tret")

static long by_syscall(long nr, long a, long b, long c, uint64_t *ret_rcx)
{
	long ret = nr;
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	uint64_t rcx;

	__asm__ volatile("call f_syscall"
			 : "+a"(ret), "=c"(rcx)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "r11", "memory");
	*ret_rcx = rcx;
	return ret;
}

/* --- the board ---------------------------------------------------------------------- */

/* Shared between test and victim. */
struct board {
	atomic_ulong calls[NALL];    /* of each function */
	atomic_ulong sums[NTHREADS]; /* checksums */
	atomic_ulong handled;        /* signals */
	atomic_ulong values;         /* sum of what they carried */
	atomic_ulong rounds;         /* of a victim that goes on until it is stopped */
	atomic_int wrong;            /* something that must not be */
	atomic_int ready;            /* the victim has its handlers */
	atomic_int go, stop;         /* the victim is to begin, to end */
};

static struct board *board;

static void new_board(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(board != MAP_FAILED);
}

static void clear_board(void)
{
	memset((void *)board, 0, sizeof(*board));
}

/* --- what victims do ---------------------------------------------------------------- */

static uint64_t one_round(uint64_t sum)
{
	char from[64], to[64];

	for (unsigned i = 0; i < NFNS; i++) {
		sum = sum * 3 + fns[i](sum, NULL, i, sum & 1);
		atomic_fetch_add(&board->calls[i], 1);
	}
	/* f_jmp ends in f_imul, f_call calls f_load: through their breakpoints */
	atomic_fetch_add(&board->calls[3], 1);
	atomic_fetch_add(&board->calls[1], 1);
	memset(from, (int)(sum & 0xff), sizeof(from));
	memset(to, 0, sizeof(to));
	f_rep((uint64_t)(uintptr_t)to, from, 0, 40);
	atomic_fetch_add(&board->calls[REP], 1);
	for (unsigned i = 0; i < sizeof(to); i++)
		sum = sum * 31 + (uint8_t)to[i];
	return sum;
}

/* One thread of a victim. */
struct work {
	unsigned index, rounds; /* which; how much */
};

static void *compute(void *arg)
{
	const struct work *w = arg;
	uint64_t sum = w->index + 1;

	for (unsigned i = 0; i < w->rounds; i++)
		sum = one_round(sum);
	atomic_store(&board->sums[w->index], sum);
	return NULL;
}

static void handle(int sig, siginfo_t *si, void *ctx)
{
	(void)sig, (void)ctx;
	atomic_fetch_add(&board->handled, 1);
	atomic_fetch_add(&board->values, (unsigned long)si->si_value.sival_int);
	if (si->si_code != SI_QUEUE)
		atomic_fetch_add(&board->wrong, 1);
	fns[1](1, NULL, 0, 0);
	atomic_fetch_add(&board->calls[1], 1);
}

static void ignore_alarm(int sig)
{
	(void)sig;
}

static void handle_signals(void)
{
	struct sigaction sa = { .sa_sigaction = handle,
				.sa_flags = SA_SIGINFO | SA_RESTART };

	/* whose siginfo looks like that of a fault (SI_KERNEL) */
	signal(SIGALRM, ignore_alarm);
	for (int sig = SIGRTMIN; sig < SIGRTMIN + 4; sig++)
		sigaction(sig, &sa, NULL);
}

static void wait_to_go(void)
{
	while (!atomic_load(&board->go))
		usleep(500);
}

static void compute_in_threads(unsigned rounds)
{
	struct itimerval often = { { 0, 300 }, { 0, 300 } };
	struct work work[NTHREADS];
	pthread_t thread[NTHREADS];

	setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned i = 0; i < NTHREADS; i++) {
		work[i] = (struct work){ i, rounds };
		pthread_create(&thread[i], NULL, compute, &work[i]);
	}
	for (unsigned i = 0; i < NTHREADS; i++)
		pthread_join(thread[i], NULL);
}

static pid_t start_victim(void (*run)(unsigned), unsigned arg)
{
	pid_t pid = fork();

	if (pid) {
		assert_true(pid > 0);
		await(atomic_load(&board->ready));
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	handle_signals();
	atomic_store(&board->ready, 1);
	wait_to_go();
	run(arg);
	_exit(7);
}

/* --- the client --------------------------------------------------------------------- */

static struct hold *grab(pid_t pid)
{
	int pidfd = procfs_pidfd(pid);
	struct hold_fault fault = { 0 };
	struct hold_event first;
	struct hold *h = NULL;
	int err = hold_grab(pid, pidfd, 0, 0, &h, &first, &fault);

	close(pidfd);
	if (err)
		fail_msg("grab: %s %s", strerror(-err), fault.text);
	return h;
}

static int plant(struct hold *h, fn_t *fn, unsigned flags)
{
	struct arch_insn insn;
	uint64_t addr = (uint64_t)(uintptr_t)fn;

	assert_int_equal(arch_decode((const void *)addr, ARCH_INSN_MAX, &insn), 0);
	return hold_bkpt_set(h, addr, &insn, flags);
}

static unsigned index_of(uint64_t addr)
{
	for (unsigned i = 0; i < NALL; i++)
		if ((uint64_t)(uintptr_t)fn_of(i) == addr)
			return i;
	fail_msg("a hit at 0x%llx", (unsigned long long)addr);
}

/* Answers what comes until the victim ends, counting: its wait status. */
static int follow(struct hold *h, unsigned long hits[NALL])
{
	struct pollfd p = { .fd = hold_event_fd(h), .events = POLLIN };
	struct hold_event ev;

	for (;;) {
		int got = hold_next(h, &ev);

		assert_int_not_equal(got, -EPIPE);
		if (!got) {
			poll(&p, 1, -1);
			continue;
		}
		if (ev.kind == HOLD_EV_BKPT)
			hits[index_of(ev.addr)]++;
		if (ev.flags & HOLD_EVF_QUESTION)
			hold_answer(h, ev.tid, ev.seq, HOLD_RESUME);
		assert_int_equal(ev.lost, 0);
		if (ev.kind == HOLD_EV_EXIT)
			return ev.status;
	}
}

static void end_hold(struct hold *h, pid_t pid)
{
	int pidfd = procfs_pidfd(pid);

	hold_release(h, HOLD_RELEASE_RUN);
	close(pidfd);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void undisturbed(unsigned rounds, unsigned long sums[NTHREADS])
{
	pid_t pid = start_victim(compute_in_threads, rounds);

	atomic_store(&board->go, 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	for (unsigned i = 0; i < NTHREADS; i++)
		sums[i] = atomic_load(&board->sums[i]);
	clear_board();
}

static void same_sums(const unsigned long sums[NTHREADS])
{
	for (unsigned i = 0; i < NTHREADS; i++)
		assert_true(sums[i] == atomic_load(&board->sums[i]));
}

static void send_signals(pid_t pid, unsigned *sent, unsigned *total)
{
	union sigval v = { .sival_int = (int)(*sent % 100) + 1 };

	if (sigqueue(pid, SIGRTMIN + (int)(*sent % 4), v))
		return;
	*total += (unsigned)v.sival_int;
	++*sent;
}

/* Counted by the keeper alone, while signals rain: fails when an instruction is executed
 * twice or not at all, when a signal in a slot makes a second hit, loses its siginfo or
 * is lost, when flags or operands of a copy differ. */
static void counted_hits_are_exact(void)
{
	enum {
		ROUNDS = 400,
		SIGNALS = 4000
	};
	unsigned long sums[NTHREADS];
	uint32_t counter[NALL];
	unsigned sent = 0, total = 0;
	struct hold *h;
	pid_t pid;

	new_board();
	undisturbed(ROUNDS, sums);
	pid = start_victim(compute_in_threads, ROUNDS);
	h = grab(pid);
	for (unsigned i = 0; i < NALL; i++) {
		assert_int_equal(hold_counter_new(h, &counter[i]), 0);
		assert_int_equal(plant(h, fn_of(i), HOLD_BKPT_COUNTER(counter[i])), 0);
	}
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	atomic_store(&board->go, 1);
	while (sent < SIGNALS && harness_state(pid) != 'Z' &&
	       !atomic_load(&board->sums[0])) {
		send_signals(pid, &sent, &total);
		usleep(20);
	}
	assert_int_equal(follow(h, (unsigned long[NALL]){ 0 }), 7 << 8);
	same_sums(sums);
	for (unsigned i = 0; i < NALL; i++)
		assert_int_equal(hold_counter(h, counter[i]), board->calls[i]);
	/* The sanitizer keeps signals back, and some for good at a thread's end. */
	assert_true(HARNESS_TSAN || board->handled == sent);
	assert_true(HARNESS_TSAN || board->values == total);
	assert_int_equal(board->wrong, 0);
	end_hold(h, pid);
}

/* The same with each hit a question to the client. */
static void asked_hits_are_exact(void)
{
	enum {
		ROUNDS = 60
	};
	unsigned long sums[NTHREADS], hits[NALL] = { 0 };
	struct hold *h;
	pid_t pid;

	new_board();
	undisturbed(ROUNDS, sums);
	pid = start_victim(compute_in_threads, ROUNDS);
	h = grab(pid);
	hold_set_patience(h, 0);
	for (unsigned i = 0; i < NALL; i++)
		assert_int_equal(plant(h, fn_of(i), 0), 0);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	atomic_store(&board->go, 1);
	assert_int_equal(follow(h, hits), 7 << 8);
	same_sums(sums);
	for (unsigned i = 0; i < NALL; i++)
		assert_int_equal(hits[i], board->calls[i]);
	end_hold(h, pid);
}

/* --- signals that never return ------------------------------------------------------ */

static sigjmp_buf back;

static void jump_out(int sig)
{
	siglongjmp(back, sig);
}

/* A function called at one depth of the stack over and over, left by a jump whenever the
 * timer strikes. */
static void jump_often(unsigned jumps)
{
	static volatile unsigned jumped; /* kept over the jumps */
	struct itimerval often = { { 0, 300 }, { 0, 300 } },
			 none = { { 0, 0 }, { 0, 0 } };

	signal(SIGALRM, jump_out);
	if (sigsetjmp(back, 1))
		jumped++;
	if (jumped < jumps) {
		setitimer(ITIMER_REAL, &often, NULL);
		for (;;) {
			/* counted before: a jump may take place at any time after */
			atomic_fetch_add(&board->calls[0], 1);
			f_cmp(1, NULL, 0, 0);
		}
	}
	setitimer(ITIMER_REAL, &none, NULL);
}

/* Fails when a signal in the slot leaves something behind that hides a later hit. A call
 * that the jump came before is counted by the victim and not hit: one a jump at most. */
static void handlers_may_jump_away(void)
{
	enum {
		JUMPS = 300
	};
	uint32_t counter;
	struct hold *h;
	pid_t pid;

	new_board();
	pid = start_victim(jump_often, JUMPS);
	h = grab(pid);
	assert_int_equal(hold_counter_new(h, &counter), 0);
	assert_int_equal(plant(h, f_cmp, HOLD_BKPT_COUNTER(counter)), 0);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	atomic_store(&board->go, 1);
	assert_int_equal(follow(h, (unsigned long[NALL]){ 0 }), 7 << 8);
	assert_true(hold_counter(h, counter) <= board->calls[0]);
	assert_true(hold_counter(h, counter) + JUMPS >= board->calls[0]);
	end_hold(h, pid);
}

/* --- release, removal, death -------------------------------------------------------- */

static void compute_for_ever(unsigned rounds)
{
	while (!atomic_load(&board->stop)) {
		compute_in_threads(rounds);
		atomic_fetch_add(&board->rounds, 1);
	}
}

static unsigned count_maps(pid_t pid)
{
	struct procfs_map *maps;
	size_t n, exec = 0;

	assert_int_equal(procfs_maps(pid, 0, &maps, &n), 0);
	for (size_t i = 0; i < n; i++)
		exec += maps[i].prot & PROT_EXEC && !maps[i].path[0];
	free(maps);
	return (unsigned)exec;
}

static void text_is_clean(pid_t pid)
{
	for (unsigned i = 0; i < NALL; i++) {
		uint8_t theirs[4];
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/mem", pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_int_equal(pread(fd, theirs, 4, (off_t)(uintptr_t)fn_of(i)), 4);
		assert_memory_equal(theirs, (const void *)fn_of(i), 4);
		close(fd);
	}
}

/* Fails when a thread is let go with its PC in a slot, a page of slots stays behind or
 * goes while a thread is in it. */
static void released_in_the_slot(void)
{
	struct hold *h;
	pid_t pid;
	int status;

	new_board();
	pid = start_victim(compute_for_ever, 20);
	atomic_store(&board->go, 1);
	for (unsigned i = 0; i < 60; i++) {
		uint32_t counter;

		h = grab(pid);
		assert_int_equal(hold_counter_new(h, &counter), 0);
		for (unsigned f = 0; f < NALL; f++)
			assert_int_equal(plant(h, fn_of(f), HOLD_BKPT_COUNTER(counter)),
					 0);
		assert_int_equal(hold_run(h, 0, 0, 0), 0);
		usleep(i % 7 * 1500);
		if (i % 3 == 0)
			for (unsigned f = 0; f < NALL; f += 2)
				hold_bkpt_clear(h, (uint64_t)(uintptr_t)fn_of(f));
		assert_int_equal(hold_release(h, HOLD_RELEASE_RUN), 0);
		text_is_clean(pid);
		assert_int_equal(count_maps(pid), 0);
	}
	atomic_store(&board->stop, 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 7 << 8);
}

/* Fails when the keeper waits for, or resumes, an LWP that has died in its slot. */
static void killed_in_the_slot(void)
{
	new_board();
	for (unsigned i = 0; i < 40; i++) {
		pid_t pid = start_victim(compute_for_ever, 20);
		struct hold *h = grab(pid);
		uint32_t counter;
		int status;

		assert_int_equal(hold_counter_new(h, &counter), 0);
		for (unsigned f = 0; f < NALL; f++)
			plant(h, fn_of(f), HOLD_BKPT_COUNTER(counter));
		atomic_store(&board->go, 1);
		hold_run(h, 0, 0, 0);
		usleep(500 + i * 211 % 3000);
		kill(pid, SIGKILL);
		status = follow(h, (unsigned long[NALL]){ 0 });
		assert_int_equal(status, SIGKILL);
		end_hold(h, pid);
		clear_board();
	}
}

/* --- system calls ------------------------------------------------------------------- */

static void *sleep_in_it(void *arg)
{
	uint64_t rcx;
	char byte;

	if (by_syscall(SYS_read, (long)(intptr_t)arg, (long)&byte, 1, &rcx) != 1)
		atomic_fetch_add(&board->wrong, 1);
	return NULL;
}

static void make_system_calls(unsigned rounds)
{
	uint64_t after = (uint64_t)(uintptr_t)f_syscall + 2, rcx;
	int fds[2], status;
	pthread_t t;

	if (pipe(fds))
		_exit(1);
	pthread_create(&t, NULL, sleep_in_it, (void *)(intptr_t)fds[0]);
	for (unsigned i = 0; i < rounds; i++) {
		long pid = by_syscall(i % 2 ? SYS_fork : SYS_getppid, 0, 0, 0, &rcx);

		if (rcx != after)
			atomic_fetch_add(&board->wrong, 1);
		if (i % 2 && !pid) {
			by_syscall(SYS_exit_group, 9, 0, 0, &rcx);
		} else if (i % 2 &&
			   (waitpid((pid_t)pid, &status, 0) != pid || status != 9 << 8)) {
			atomic_fetch_add(&board->wrong, 1);
		}
		atomic_fetch_add(&board->rounds, 1);
	}
	if (write(fds[1], "", 1) != 1)
		_exit(1);
	pthread_join(t, NULL);
	by_syscall(SYS_exit_group, 7, 0, 0, &rcx);
}

/* One thread sleeps in the call under the breakpoint, others make theirs, children are
 * forked by it and end by it, the victim is stopped and set running meanwhile. Fails when
 * a sleeper holds up the others, when the program sees another return address, when a
 * child begins elsewhere, and when a stop of ours that restarts the sleeper's call is
 * counted as a hit. */
static void system_call_is_the_instruction(void)
{
	enum {
		ROUNDS = 200
	};
	uint32_t counter;
	struct hold *h;
	pid_t pid;

	new_board();
	pid = start_victim(make_system_calls, ROUNDS);
	h = grab(pid);
	assert_int_equal(hold_counter_new(h, &counter), 0);
	assert_int_equal(plant(h, f_syscall, HOLD_BKPT_COUNTER(counter)), 0);
	assert_int_equal(hold_run(h, 0, 0, 0), 0);
	atomic_store(&board->go, 1);
	for (unsigned i = 0; i < 50 && atomic_load(&board->rounds) < ROUNDS; i++) {
		struct pollfd p = { .fd = hold_event_fd(h), .events = POLLIN };
		struct hold_event ev = { 0 };

		if (hold_stop(h) == 0)
			while (hold_next(h, &ev) == 0)
				poll(&p, 1, 1000);
		hold_run(h, 0, 0, 0);
		usleep(300);
	}
	assert_int_equal(follow(h, (unsigned long[NALL]){ 0 }), 7 << 8);
	assert_int_equal(board->wrong, 0);
	/* the sleeper's, the rounds', the last; the children's are their own */
	assert_int_equal(hold_counter(h, counter), 1 + ROUNDS + 1);
	end_hold(h, pid);
}

static const struct harness_test tests[] = { TEST_IN(counted_hits_are_exact, 60),
					     TEST_IN(asked_hits_are_exact, 60),
					     TEST_IN(handlers_may_jump_away, 60),
					     TEST_IN(released_in_the_slot, 60),
					     TEST_IN(killed_in_the_slot, 60),
					     TEST_IN(system_call_is_the_instruction, 60),
					     TEST_END };

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
