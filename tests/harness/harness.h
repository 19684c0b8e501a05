/* SPDX-License-Identifier: MIT */
/*
 * The test harness. A test program is a table of named tests:
 *
 *	static const struct harness_test tests[] = { TEST(grab), TEST_END };
 *	int main(int argc, char **argv) { return harness_main(argc, argv, tests); }
 *
 *	prog            runs all, TAP on stdout
 *	prog NAME…      runs these
 *	prog --list     prints the names
 *
 * Each test runs in a process of its own, under a timeout. When it has returned, that
 * process proves that it has the descriptors, threads and children that it began with;
 * then the runner, which adopts every orphan, proves that no process is left: no victim
 * running, stopped or traced, no keeper. What is left is named, killed and reaped, and
 * the test has failed.
 *
 * A failed assertion ends the process that made it, with its place and values in the
 * output. HARNESS_SLOW=N in the environment multiplies every deadline (sanitizers).
 */
#ifndef PGRAB_TESTS_HARNESS_H
#define PGRAB_TESTS_HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

/* One test. */
struct harness_test {
	const char *name;  /* NULL ends the table */
	void (*run)(void); /* returns when all is well */
	unsigned seconds;  /* timeout; 0: 30 s */
};

/* clang-format off */
#define TEST(fn) { #fn, fn, 0 }
#define TEST_IN(fn, seconds) { #fn, fn, seconds }
#define TEST_END { NULL, NULL, 0 }
/* clang-format on */

/* Runs what the command line names: the exit status of the program. */
int harness_main(int argc, char **argv, const struct harness_test *tests);

/* Is this a build with ThreadSanitizer? It makes a vfork a fork. */
#ifdef __SANITIZE_THREAD__
#define HARNESS_TSAN 1
#else
#define HARNESS_TSAN 0
#endif

/* --- verdicts ----------------------------------------------------------------------- */

_Noreturn void harness_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Ends the test as skipped. Leave nothing behind first. */
_Noreturn void harness_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void harness_check(const char *file, int line, const char *what, bool good);
void harness_check_int(const char *file, int line, const char *what, bool good,
		       long long a, long long b);
void harness_check_string(const char *file, int line, const char *what, const char *a,
			  const char *b);

/* The names are cmocka's, so that a test can move from one to the other. */
#define fail_msg(...)      harness_fail(__FILE__, __LINE__, __VA_ARGS__)
#define assert_true(a)     harness_check(__FILE__, __LINE__, #a, !!(a))
#define assert_false(a)    harness_check(__FILE__, __LINE__, "not " #a, !(a))
#define assert_null(a)     harness_check(__FILE__, __LINE__, #a " is NULL", !(a))
#define assert_non_null(a) harness_check(__FILE__, __LINE__, #a " is not NULL", !!(a))
#define HARNESS_COMPARE(a, op, b)                                                        \
	do {                                                                             \
		long long harness_a = (long long)(intptr_t)(a);                          \
		long long harness_b = (long long)(intptr_t)(b);                          \
		harness_check_int(__FILE__, __LINE__, #a " " #op " " #b,                 \
				  harness_a op harness_b, harness_a, harness_b);         \
	} while (0)
#define assert_int_equal(a, b)     HARNESS_COMPARE(a, ==, b)
#define assert_int_not_equal(a, b) HARNESS_COMPARE(a, !=, b)
#define assert_int_below(a, b)     HARNESS_COMPARE(a, <, b)
#define assert_int_above(a, b)     HARNESS_COMPARE(a, >, b)
#define assert_ptr_equal(a, b)     HARNESS_COMPARE(a, ==, b)
#define assert_ptr_not_equal(a, b) HARNESS_COMPARE(a, !=, b)
#define assert_string_equal(a, b)                                                        \
	harness_check_string(__FILE__, __LINE__, #a " == " #b, a, b)
#define assert_memory_equal(a, b, n)                                                     \
	harness_check(__FILE__, __LINE__, #a " == " #b, !memcmp(a, b, n))

/* --- waiting ------------------------------------------------------------------------ */

/* Milliseconds, CLOCK_MONOTONIC. */
int64_t harness_now_ms(void);

/* `ms` times HARNESS_SLOW. */
int harness_ms(int ms);

/* For what the kernel announces by no descriptor: one step of a bounded wait. False
 * after `end`. */
bool harness_wait_a_little(int64_t end);

/* Waits until `cond` holds, 10 s at most. Where there is a descriptor to poll, poll it
 * instead. */
#define await(cond)                                                                      \
	do {                                                                             \
		int64_t harness_end = harness_now_ms() + harness_ms(10000);              \
		bool harness_more = true;                                                \
		while (!(cond) && harness_more)                                          \
			harness_more = harness_wait_a_little(harness_end);               \
		harness_check(__FILE__, __LINE__, "await " #cond, harness_more);         \
	} while (0)

/* --- processes ---------------------------------------------------------------------- */

/* What /proc says of one process. */
struct harness_process {
	pid_t pid;     /* itself */
	pid_t parent;  /* its parent */
	pid_t tracer;  /* its tracer, 0 none */
	char state;    /* R, S, D, T, t, Z, X; 0: there is none */
	char comm[32]; /* its name */
};

/* Never fails: .state is 0 when there is no such process. */
struct harness_process harness_process(pid_t pid);

/* State letter, 0 when there is none. */
char harness_state(pid_t pid);

/* How many descriptors of pid are of that kind: "[perf_event]", "bpf_link" … */
int harness_descriptors(pid_t pid, const char *kind);

/* Has a system call refused (EPERM), to this process and what it starts from now on. */
void harness_refuse(long nr);

/* A victim: a process from the victims' directory, with pipes on its stdin and stdout. */
struct victim {
	pid_t pid;       /* our child */
	int pidfd;       /* O_CLOEXEC */
	int in;          /* its stdin, to write commands; -1 closed */
	int out;         /* its stdout */
	size_t have;     /* bytes in buf */
	char buf[16384]; /* read from out, not yet taken */
	char line[8192]; /* the line taken last */
};

/* Path of the victim `name`: $VICTIMS, else the build's directory. Static storage, of
 * one thread. */
const char *victim_path(const char *name);

/* Is there such a victim (musl's are built where musl-gcc is)? */
bool victim_exists(const char *name);

/* Starts `name` with the further arguments, up to NULL. */
void victim_start(struct victim *v, const char *name, ...) __attribute__((sentinel));

/* The next line without its end, or NULL at the end of output. Fails the test after 10
 * s. Valid until the next call. */
const char *victim_line(struct victim *v);

/* Takes the next line, which must begin with `prefix`: what follows it. */
const char *victim_expect(struct victim *v, const char *prefix);

/* The next line's number after `prefix` (hex with 0x, or decimal). */
uint64_t victim_number(struct victim *v, const char *prefix);

/* Sends a command line. */
void victim_send(struct victim *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Closes its stdin, at which every victim ends, and reaps it: its wait status. Fails
 * the test after 10 s. */
int victim_end(struct victim *v);

/* Kills and reaps it. */
void victim_kill(struct victim *v);

/* Frees what we have of it when somebody else has reaped it. */
void victim_forget(struct victim *v);

#endif
