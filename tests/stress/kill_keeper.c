/* SPDX-License-Identifier: MIT */
/*
 * SIGKILL of the keeper at any instant, over the same victim as kill_client.c; its client
 * lives. Twice a round: with breakpoints on functions that the victim calls all the
 * time, and with none but those that process control itself needs.
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
	unsigned wrong;    /* victims that went on with a wrong sum, or a dead child */
	unsigned met[PHASE_N]; /* kills that met the client in that phase */
};

static struct tally tallies[] = {
	[CLIENT_WITHOUT_BKPTS] = { .what = "process control's own breakpoints" },
	[CLIENT_WITH_BKPTS] = { .what = "breakpoints under fire as well" },
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

static void kill_in_some_phase(struct tally *t)
{
	pid_t keeper;

	await((keeper = find_keeper()) != 0);
	client_await(board, (enum client_phase)(1 + stress_rounds() % (PHASE_N - 1)));
	stress_spin(stress_random(stress_random(2) ? 60 : 1500));
	t->met[atomic_load(&board->phase)]++;
	kill(keeper, SIGKILL);
	atomic_store(&board->let_go, 1);
	t->kills++;
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

	if (status != BOARD_ALL_WELL << 8)
		t->died++;
	else if (!well)
		t->wrong++;
	else
		t->survived++;
}

/* Keepers, and children of a victim that has died of a trap. */
static void whoever(pid_t pid, int status)
{
	(void)pid, (void)status;
}

static void kill_one(enum client_bkpts bkpts)
{
	struct tally *t = &tallies[bkpts];
	int status = -1;
	pid_t victim, client;

	board = stress_page(sizeof(*board), &board_fd);
	victim = client_victim(board, board_fd);
	await(atomic_load(&board->turns) > 0);
	client = client_of(board, victim, bkpts);
	kill_in_some_phase(t);
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

static void keeper_killed_at_any_instant(void)
{
	stress_adopt();
	while (stress_next()) {
		kill_one(CLIENT_WITHOUT_BKPTS);
		kill_one(CLIENT_WITH_BKPTS);
	}
	for (int i = 0; i < 2; i++) {
		const struct tally *t = &tallies[i];

		stress_say("keeper killed %u times, %s: %u right checksums, %u died, %u "
			   "went on with a wrong sum or a dead child",
			   t->kills, t->what, t->survived, t->died, t->wrong);
		for (int p = 0; p < PHASE_N; p++)
			stress_say("  in phase %-8s %u", client_phase_name[p], t->met[p]);
	}
}

int main(int argc, char **argv)
{
	static const struct stress s = { "keeper_killed_at_any_instant",
					 keeper_killed_at_any_instant, 30, 1000 };

	return stress_main(argc, argv, &s);
}
