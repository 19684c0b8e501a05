/* SPDX-License-Identifier: MIT */
/*
 * SIGKILL of the keeper at any instant, over the same victim as kill_client.c; its client
 * lives. Four times a round: with breakpoints on functions that the victim calls all the
 * time; with none but those that process control itself needs; and so over a victim that
 * does all but exec, where there is time for the kernel to take these over, as perf
 * events and, when these are refused, as uprobes. Whether it has, the text tells, or the
 * keeper's descriptors: then every victim must survive, its sum right.
 *
 * A trap in the text outlives the keeper for as long as the client needs to see that it
 * is gone and to write the text back; whoever runs into it then dies of it, and whoever
 * stood at it goes on behind it (docs/ptrace-notes.md), where it may crash or compute
 * nonsense. That is counted, and printed for what it is. What must hold of each: it is
 * not left stopped or traced, and no trap stays in its text.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/session.h"
#include "stress/stress.h"

/* What became of the victims of one kind of round. */
struct tally {
	const char *what;  /* which breakpoints there were */
	unsigned kills;    /* of the keeper */
	unsigned survived; /* victims that computed on, their sum right */
	unsigned died;     /* victims that died of a trap, or of what follows one */
	int last;          /* wait status of the last of these */
	unsigned wrong;    /* victims that went on with a wrong sum, or a dead child */
	unsigned met[PHASE_N]; /* kills that met the client in that phase */
};

/* Kinds of round; those that are settled are told apart when the keeper is killed. */
enum kind {
	EXECS_OWN,
	EXECS_UNDER_FIRE,
	SETTLED_TRAPS,
	SETTLED_EVENTS,
	SETTLED_UPROBES,
	NKINDS
};

static struct tally tallies[NKINDS] = {
	[EXECS_OWN] = { .what = "execs, process control's own breakpoints" },
	[EXECS_UNDER_FIRE] = { .what = "execs, breakpoints under fire as well" },
	[SETTLED_TRAPS] = { .what = "no exec, process control's own, as traps" },
	[SETTLED_EVENTS] = { .what = "no exec, process control's own, as perf events" },
	[SETTLED_UPROBES] = { .what = "no exec, process control's own, as uprobes" },
};

static struct board *board;
static int board_fd;

/* The keeper has been orphaned at its start, and so is ours; 0: not there yet. */
static pid_t find_keeper(void)
{
	FILE *f = fopen("/proc/thread-self/children", "re");
	pid_t pid = 0, keeper = 0;

	assert_non_null(f);
	while (!keeper && fscanf(f, "%d", &pid) == 1)
		if (!strcmp(harness_process(pid).comm, "pgrab-keeper"))
			keeper = pid;
	fclose(f);
	return keeper;
}

static void kill_it(pid_t keeper, struct tally *t)
{
	kill(keeper, SIGKILL);
	t->kills++;
	atomic_store(&board->let_go, 1);
}

static void kill_in_some_phase(struct tally *t)
{
	pid_t keeper;

	await((keeper = find_keeper()) != 0);
	client_await(board, (enum client_phase)(1 + stress_rounds() % (PHASE_N - 1)));
	stress_spin(stress_random(stress_random(2) ? 60 : 1500));
	t->met[atomic_load(&board->phase)]++;
	kill_it(keeper, t);
}

/* Waits for the kernel to take over, a little. A text is without traps for a moment also
 * while a spawned child shares it. */
static enum kind settle(pid_t victim, pid_t keeper)
{
	int64_t end = harness_now_ms() + harness_ms(300);
	int clean = 0;

	while (clean < 10 && harness_wait_a_little(end)) {
		if (harness_descriptors(keeper, "bpf_link"))
			return SETTLED_UPROBES;
		clean = stress_look_at_text(victim) == TEXT_CLEAN ? clean + 1 : 0;
	}
	return clean < 10 ? SETTLED_TRAPS : SETTLED_EVENTS;
}

static struct tally *kill_when_settled(pid_t victim)
{
	struct tally *t;
	pid_t keeper;

	await(atomic_load(&board->phase) == PHASE_HITS);
	await((keeper = find_keeper()) != 0);
	t = &tallies[settle(victim, keeper)];
	stress_spin(stress_random(5000));
	kill_it(keeper, t);
	return t;
}

/* It ends when it has let go, which writes the text back. */
static void await_client(pid_t client)
{
	int status = -1;

	await(waitpid(client, &status, WNOHANG) == client);
	assert_int_equal(status, 0);
}

/* True when the victim has ended. */
static bool ended(pid_t victim, int *ret_status)
{
	return waitpid(victim, ret_status, WNOHANG) == victim;
}

static void await_turns(pid_t victim, long more, int *ret_status)
{
	long turns = atomic_load(&board->turns);

	await(ended(victim, ret_status) || atomic_load(&board->turns) > turns + more);
}

static void judge(int status, struct tally *t)
{
	bool well = !atomic_load(&board->wrong) &&
		    atomic_load(&board->sum) == board_sum(atomic_load(&board->ended));

	if (status != BOARD_ALL_WELL << 8) {
		t->died++;
		t->last = status;
	} else if (!well) {
		t->wrong++;
	} else {
		t->survived++;
	}
}

/* Keepers, and children of a victim that has died of a trap. */
static void whoever(pid_t pid, int status)
{
	(void)pid, (void)status;
}

/* The keeper has been killed: its client sees it, its victim goes on, or not. */
static void see_what_becomes(pid_t victim, pid_t client, struct tally *t)
{
	int status = -1;

	await_client(client);
	await_turns(victim, 1, &status);
	if (status == -1) {
		await(ended(victim, &status) || stress_text_is_clean(victim));
		atomic_store(&board->end, 1);
		await(status != -1 || ended(victim, &status));
	}
	judge(status, t);
	stress_reap(whoever);
	munmap(board, sizeof(*board));
	close(board_fd);
}

static pid_t new_victim(int settled)
{
	pid_t victim;

	board = stress_page(sizeof(*board), &board_fd);
	atomic_store(&board->settled, settled);
	victim = client_victim(board, board_fd);
	await(atomic_load(&board->turns) > 0);
	return victim;
}

static void kill_over_execs(enum client_bkpts bkpts)
{
	bool fire = bkpts == CLIENT_WITH_BKPTS;
	struct tally *t = &tallies[fire ? EXECS_UNDER_FIRE : EXECS_OWN];
	pid_t victim = new_victim(0), client = client_of(board, victim, bkpts);

	kill_in_some_phase(t);
	see_what_becomes(victim, client, t);
}

static void kill_over_settled(enum client_bkpts bkpts)
{
	pid_t victim = new_victim(1), client = client_that_stays(board, victim, bkpts);
	struct tally *t = kill_when_settled(victim);

	see_what_becomes(victim, client, t);
}

static void print(const struct tally *t)
{
	stress_say("keeper killed %u times; %s: %u right checksums, %u died (the last "
		   "0x%x), %u went on with a wrong sum or a dead child",
		   t->kills, t->what, t->survived, t->died, t->last, t->wrong);
	for (int p = 0; p < PHASE_N; p++)
		if (t->met[p])
			stress_say("  in phase %-8s %u", client_phase_name[p], t->met[p]);
}

static void keeper_killed_at_any_instant(void)
{
	stress_adopt();
	while (stress_next()) {
		kill_over_execs(CLIENT_WITHOUT_BKPTS);
		kill_over_execs(CLIENT_WITH_BKPTS);
		kill_over_settled(CLIENT_WITHOUT_BKPTS);
		kill_over_settled(CLIENT_WITHOUT_EVENTS);
	}
	for (int i = 0; i < NKINDS; i++)
		print(&tallies[i]);
	for (int i = SETTLED_EVENTS; i <= SETTLED_UPROBES; i++)
		assert_int_equal(tallies[i].survived, tallies[i].kills);
}

int main(int argc, char **argv)
{
	static const struct stress s = { "keeper_killed_at_any_instant",
					 keeper_killed_at_any_instant, 20, 1000 };

	return stress_main(argc, argv, &s);
}
