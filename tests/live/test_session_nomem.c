/* SPDX-License-Identifier: MIT */
/*
 * Memory runs out at the n-th allocation, for every n, while a session creates a victim,
 * watches it to its end, and grabs another: each call works or fails with an error, no
 * victim is left, a death is told all the same, and the next round works.
 *
 * The allocator is interposed: this program's malloc is everybody's.
 */
#include <stdatomic.h>

#include "live/session_test.h"

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

static atomic_long countdown; /* the allocation that fails; 0: none */

static bool fails(void)
{
	return countdown > 0 && atomic_fetch_sub(&countdown, 1) == 1;
}

#pragma GCC visibility push(default)
#if !ADDRESS_SANITIZER && !THREAD_SANITIZER
void *malloc(size_t size)
{
	return fails() ? (errno = ENOMEM, NULL) : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? (errno = ENOMEM, NULL) : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return fails() ? (errno = ENOMEM, NULL) : __libc_realloc(p, size);
}
#endif
#pragma GCC visibility pop

static int told; /* life events */

static void count_event(const dtrace_procev_t *ev, void *arg)
{
	told++;
}

static void have_created(dtrace_hdl_t *dtp, struct notices *n)
{
	struct ps_prochandle *P = create(dtp, "session_victim", NULL);

	if (!P) {
		check(dtrace_errno(dtp) != 0);
		check(*dtrace_errmsg(dtp, dtrace_errno(dtp)));
		return;
	}
	check(parked(dtp, P));
	dtrace_proc_continue(dtp, P);
	await_gone(dtp, n, 1);
	dtrace_proc_release(dtp, P);
}

static void have_grabbed(dtrace_hdl_t *dtp, pid_t pid)
{
	struct ps_prochandle *P = dtrace_proc_grab(dtp, pid, 0);

	if (!P) {
		check(dtrace_errno(dtp) != 0);
		return;
	}
	dtrace_proc_continue(dtp, P);
	dtrace_proc_release(dtp, dtrace_proc_grab(dtp, pid, PGRAB_RDONLY));
	dtrace_proc_release(dtp, P);
}

/* One round in which the n-th allocation fails. True when it had fewer. */
static bool go_round(long n, pid_t pid)
{
	struct notices gone = { 0 };
	dtrace_hdl_t *dtp;

	countdown = n;
	dtp = dtrace_open(DTRACE_VERSION, 0, NULL);
	if (dtp) {
		check_eq(dtrace_handle_proc(dtp, note, &gone), 0);
		check_eq(dtrace_handle_procev(dtp, count_event, NULL), 0);
		have_created(dtp, &gone);
		have_grabbed(dtp, pid);
		dtrace_close(dtp);
	}
	n = countdown;
	countdown = 0;
	check_eq(process_tracer(pid), 0);
	return n > 0;
}

static void memory_runs_out(void)
{
	struct grabbee v = grabbee_start("wait", NULL);
	long n = 1;

	if (ADDRESS_SANITIZER || THREAD_SANITIZER)
		skip_test("the sanitizer has its own allocator");
	listen_to_victims();
	grabbee_line(&v);
	grabbee_line(&v);
	while (!go_round(n, v.pid))
		n++;
	check(n > 100);
	check(told > 100);
	check_eq(grabbee_wait(&v), 0);
	stop_listening();
}

static const struct test tests[] = {
	TEST_SLOW(memory_runs_out, 240),
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
