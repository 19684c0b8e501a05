/* SPDX-License-Identifier: MIT */
/*
 * SIGKILL of a tracer at any instant, by either backend: while it makes probes in every
 * function of a victim of 8 threads that computes, forks, spawns, opens libraries and
 * execs itself, while their hits are counted, told, told with stacks, and while the
 * probes come out again.
 *
 * The victim goes on as if nothing had been: another turn at least, then its checksum is
 * right. It fails when a trap or a uprobe stays in its text or in a child's, a thread
 * stays stopped or traced, or a result is not what the CPU would have computed.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dtprobe.h"
#include "stress/session.h"
#include "stress/stress.h"

/* How the tracer of a round traces. */
struct way {
	const char *name; /* for the figures */
	int backend;      /* DTRACE_PROBE_* */
	int want;         /* DTRACE_PROBE_* */
	bool refused;     /* not allowed here */
	unsigned kills;   /* so far */
};

static struct way ways[] = {
	{ "trap, counted", DTRACE_PROBE_TRAP, DTRACE_PROBE_COUNT, false, 0 },
	{ "kernel, counted", DTRACE_PROBE_KERNEL, DTRACE_PROBE_COUNT, false, 0 },
	{ "trap, told", DTRACE_PROBE_TRAP, DTRACE_PROBE_EVENTS, false, 0 },
	{ "kernel, told", DTRACE_PROBE_KERNEL, DTRACE_PROBE_EVENTS, false, 0 },
	{ "trap, stacks", DTRACE_PROBE_TRAP, DTRACE_PROBE_STACKS, false, 0 },
	{ "kernel, stacks", DTRACE_PROBE_KERNEL, DTRACE_PROBE_STACKS, false, 0 },
};

enum {
	NWAYS = sizeof(ways) / sizeof(*ways),
	REFUSED = 42, /* exit status of a tracer that may not */
	AT_WORK = 43, /* for board.phase: it reads hits */
};

static struct board *board;
static int board_fd;

/* --- the tracer --------------------------------------------------------------------- */

static void ignore(void *arg, const dtrace_probe_event_t *ev)
{
}

static int sum_up(void *arg, const dtrace_probe_t *probe, uint64_t hits)
{
	*(uint64_t *)arg += hits;
	return 0;
}

/* Takes hold, traces for a while, lets go. */
static void trace_once(pid_t victim, const struct way *w)
{
	dtrace_probe_opts_t opts = { .backend = w->backend, .want = w->want, .zdefs = 1 };
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);
	dtrace_probes_t *set = s ? dtrace_probes_open(s, &opts) : NULL;
	struct ps_prochandle *P;
	uint64_t hits = 0;

	if (!set || dtrace_probes_add(set, "a.out:*:entry") ||
	    dtrace_probes_add(set, "a.out:*:return") ||
	    dtrace_probes_add(set, "libvictim_one:*:entry"))
		_exit(3);
	P = dtrace_proc_grab(s, victim, 0);
	if (!P)
		_exit(4);
	if (dtrace_probes_check(set))
		_exit(REFUSED);
	dtrace_proc_continue(s, P);
	atomic_store(&board->phase, AT_WORK);
	for (int i = 0; i < 20; i++) {
		dtrace_probes_read(set, ignore, NULL);
		dtrace_probes_iter(set, sum_up, &hits);
		dtrace_dispatch(s);
		usleep(1000);
	}
	atomic_fetch_add(&board->hits, (long)hits);
	dtrace_probes_stop(set);
	dtrace_proc_release(s, P);
	dtrace_probes_close(set);
	dtrace_close(s);
}

static pid_t tracer_of(pid_t victim, const struct way *w)
{
	pid_t pid;

	atomic_store(&board->phase, 0);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		trace_once(victim, w);
}

/* --- a round ------------------------------------------------------------------------ */

static bool is_free(pid_t victim)
{
	int status;

	if (waitpid(victim, &status, WNOHANG) == victim)
		fail_msg("the victim ended, wait status 0x%x", status);
	return harness_process(victim).tracer == 0 &&
	       stress_look_at_text(victim) == TEXT_CLEAN;
}

static void ends_with_the_right_sum(pid_t victim)
{
	int status = -1;

	atomic_store(&board->end, 1);
	await(waitpid(victim, &status, WNOHANG) == victim);
	assert_int_equal(status, BOARD_ALL_WELL << 8);
	assert_int_equal(atomic_load(&board->wrong), 0);
	assert_int_equal(atomic_load(&board->sum), board_sum(atomic_load(&board->ended)));
}

static void no_more(pid_t pid, int status)
{
	(void)pid;
	assert_int_equal(status, 0); /* a keeper */
}

/* Half of them when it is at work, half at any time before. */
static void kill_at_some_time(pid_t tracer, struct way *w)
{
	int64_t end = harness_now_ms() + 100;
	int status;

	while (stress_rounds() % 2 && atomic_load(&board->phase) != AT_WORK &&
	       harness_wait_a_little(end))
		continue;
	usleep(stress_random(40000));
	kill(tracer, SIGKILL);
	assert_int_equal(waitpid(tracer, &status, 0), tracer);
	if (WIFEXITED(status) && WEXITSTATUS(status) == REFUSED)
		w->refused = true;
	else
		assert_int_equal(status, SIGKILL);
	w->kills += !w->refused;
}

static void kill_one(struct way *w)
{
	pid_t victim, tracer;
	long turns;

	board = stress_page(sizeof(*board), &board_fd);
	victim = client_victim(board, board_fd);
	await(atomic_load(&board->turns) > 0);
	tracer = tracer_of(victim, w);
	kill_at_some_time(tracer, w);
	await(is_free(victim)); /* traced by nobody, its text its own */
	turns = atomic_load(&board->turns);
	await(atomic_load(&board->turns) > turns + 1);
	ends_with_the_right_sum(victim);
	stress_reap(no_more);
	munmap(board, sizeof(*board));
	close(board_fd);
}

static void tracer_killed_at_any_instant(void)
{
	stress_adopt();
	while (stress_next())
		for (unsigned i = 0; i < NWAYS; i++)
			if (!ways[i].refused)
				kill_one(&ways[i]);
	for (unsigned i = 0; i < NWAYS; i++)
		stress_say("tracer killed %u times, %s: %u right checksums%s",
			   ways[i].kills, ways[i].name, ways[i].kills,
			   ways[i].refused ? " (not allowed here)" : "");
}

int main(int argc, char **argv)
{
	static const struct stress s = { "tracer_killed_at_any_instant",
					 tracer_killed_at_any_instant, 4, 334 };

	return stress_main(argc, argv, &s);
}
