/* SPDX-License-Identifier: MIT */
/*
 * Attach and detach while threads are born and die without pause, every other time with
 * a breakpoint in what each of them calls, until the victim is let go in the middle of
 * it.
 *
 * Fails when a thread is missed at the attach (it would run into a trap that nobody
 * handles), is left stopped or traced at the detach, when a thread's first stop arrives
 * before its birth is known and is lost, and when an attach takes longer than its
 * deadline. The victim counts the births and the lives, which must be as many.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>

#include "dtrace.h"
#include "stress/stress.h"

static atomic_ulong hits;

static void on_hit(dtrace_hdl_t *s, struct ps_prochandle *P, pid_t tid,
		   const prgregset_t regs, void *arg)
{
	(void)s, (void)P, (void)tid, (void)regs, (void)arg;
	atomic_fetch_add(&hits, 1);
}

/* Held, a few hits waited for, released. */
static void hold_a_little(dtrace_hdl_t *s, pid_t pid, uintptr_t brief)
{
	struct ps_prochandle *P = dtrace_proc_grab(s, pid, 0);
	unsigned long from = atomic_load(&hits);

	if (!P)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	if (stress_rounds() % 2) {
		assert_non_null(dt_proc_bpcreate(s, P, brief, on_hit, NULL));
		dtrace_proc_continue(s, P);
		await(atomic_load(&hits) > from + stress_random(4));
	}
	dtrace_proc_release(s, P);
}

/* How long the longest grab took, ms. */
static int64_t timed(dtrace_hdl_t *s, pid_t pid, uintptr_t brief, int64_t longest)
{
	int64_t begin = harness_now_ms(), took;

	hold_a_little(s, pid, brief);
	took = harness_now_ms() - begin;
	return took > longest ? took : longest;
}

static void attached_in_a_thread_storm(void)
{
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);
	unsigned long born = 0, lived = 1;
	int64_t longest = 0;
	uintptr_t brief;
	struct victim v;

	victim_start(&v, "threadstorm", "4", NULL);
	sscanf(victim_expect(&v, "ready "), "%*d brief=%lx", &brief);
	while (stress_next())
		longest = timed(s, v.pid, brief, longest);
	dtrace_close(s);
	await(harness_process(v.pid).tracer == 0);
	victim_send(&v, "enough");
	sscanf(victim_expect(&v, "born="), "%lu lived=%lu", &born, &lived);
	assert_int_equal(born, lived);
	assert_int_equal(victim_end(&v), 0);
	stress_say(
		"attached and detached %u times; %lu threads born and lived; %lu hits; "
		"the longest round %lld ms",
		stress_rounds(), born, atomic_load(&hits), (long long)longest);
}

int main(int argc, char **argv)
{
	static const struct stress s = { "attached_in_a_thread_storm",
					 attached_in_a_thread_storm, 300, 10000 };

	return stress_main(argc, argv, &s);
}
