/* SPDX-License-Identifier: MIT */
/*
 * Not one breakpoint hit missed: 8 threads call a function as fast as they can, now one
 * that is emulated and now one that must be executed; the victim counts its calls, the
 * client its callbacks, and in the end both have the same number, exactly. A round is
 * one hit.
 *
 * Fails when of LWPs at a breakpoint at once one is lost or seen twice, when one runs by
 * while the trap is out of the text, when a callback is dropped, and when an instruction
 * is not done as the CPU would (the victim adds up what its calls return). The client
 * may take its time: an answer that is late, as on a busy machine, would be given by
 * default, the victim run on, and hits beyond a bound only be counted.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "dtrace.h"
#include "proc/control.h"
#include "stress/stress.h"

enum {
	THREADS = 8,
	BATCH = 1000 /* calls of each thread at a time */
};

static atomic_ulong hits[2]; /* of leaf(), of framed() */
static uint64_t calls[2];    /* the same */

static void on_hit(dtrace_hdl_t *s, struct ps_prochandle *P, pid_t tid,
		   const prgregset_t regs, void *arg)
{
	(void)s, (void)P, (void)tid, (void)regs;
	atomic_fetch_add((atomic_ulong *)arg, 1);
}

/* One batch of calls, `who` under a breakpoint. */
static void call_often(struct victim *v, dtrace_hdl_t *s, struct ps_prochandle *P,
		       int who)
{
	const char *name = who ? "framed" : "leaf";
	uint64_t made = 0, sum = 0;
	dt_bkpt_t *bp;
	GElf_Sym sym;

	assert_int_equal(Plookup_by_name(P, PR_OBJ_EXEC, name, &sym), 0);
	bp = dt_proc_bpcreate(s, P, (uintptr_t)sym.st_value, on_hit, &hits[who]);
	assert_non_null(bp);
	victim_send(v, "threads %s %d %d", name, THREADS, BATCH);
	sscanf(victim_expect(v, "calls="), "%" SCNu64 " sum=%" SCNu64, &made, &sum);
	assert_int_equal(made, THREADS * BATCH);
	assert_int_equal(sum, made * 3);
	calls[who] += made;
	await(atomic_load(&hits[who]) >= calls[who]); /* what is on its way is seen */
	dt_proc_bpdestroy(s, P, bp);
	assert_int_equal(atomic_load(&hits[who]), calls[who]);
}

static void no_hit_is_missed(void)
{
	int64_t begin = harness_now_ms();
	struct ps_prochandle *P;
	dtrace_hdl_t *s;
	struct victim v;

	victim_start(&v, "calls", NULL);
	victim_expect(&v, "ready");
	s = dtrace_open(DTRACE_VERSION, 0, NULL);
	P = dtrace_proc_grab(s, v.pid, 0);
	assert_non_null(P);
	assert_int_equal(Ppatience(P, 0), 0);
	dtrace_proc_continue(s, P);
	for (int who = 0; stress_wanted(); who = !who) {
		call_often(&v, s, P, who);
		stress_count(THREADS * BATCH);
	}
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
	begin = harness_now_ms() - begin;
	stress_say("%" PRIu64 " calls of an instruction that is executed, %lu"
		   " hits; %" PRIu64 " of one that is emulated, %lu"
		   " hits; 8 threads, %.1f us a hit",
		   calls[0], hits[0], calls[1], hits[1],
		   (double)begin * 1000 / (double)(calls[0] + calls[1]));
}

int main(int argc, char **argv)
{
	static const struct stress s = { "no_hit_is_missed", no_hit_is_missed, 32000,
					 1000000 };

	return stress_main(argc, argv, &s);
}
