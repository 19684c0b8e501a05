/* SPDX-License-Identifier: MIT */
/*
 * SIGKILL of the client at any instant while it controls a victim of 8 threads that
 * computes, forks, spawns, opens libraries and execs itself.
 *
 * The kill is aimed: at each phase of the client's in turn, and there after a random
 * fraction of a millisecond, so that attach, plant, hit, step, park and release are all
 * hit, in the client and in the keeper, which follows it.
 *
 * A grabbed victim goes on as if nothing had been: another turn at least, then its
 * checksum is right. It fails when a trap stays in its text or in a child's, a PC behind
 * one, a signal of ours undelivered, a thread stopped or traced, or when a result is not
 * what the CPU would have computed. Of a created victim nothing is left, and its
 * children end as they should; one that is to be kept running goes on as a grabbed one
 * does.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/session.h"
#include "stress/stress.h"

static unsigned aimed[PHASE_N]; /* kills that met the client in that phase */
static struct board *board;
static int board_fd;

static void new_board(void)
{
	board = stress_page(sizeof(*board), &board_fd);
}

static void drop_board(void)
{
	munmap(board, sizeof(*board));
	close(board_fd);
}

static void kill_in_some_phase(pid_t client)
{
	client_await(board, (enum client_phase)(stress_rounds() % PHASE_N));
	stress_spin(stress_random(stress_random(2) ? 60 : 1500));
	aimed[atomic_load(&board->phase)]++;
	kill(client, SIGKILL);
	assert_int_equal(waitpid(client, NULL, 0), client);
}

/* --- grabbed ------------------------------------------------------------------------ */

static bool is_free(pid_t victim)
{
	int status;

	if (waitpid(victim, &status, WNOHANG) == victim)
		fail_msg("the victim ended, wait status 0x%x", status);
	return harness_process(victim).tracer == 0 && stress_text_is_clean(victim);
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

static void kill_one_who_grabs(void)
{
	pid_t victim, client;
	long turns;

	new_board();
	victim = client_victim(board, board_fd);
	await(atomic_load(&board->turns) > 0);
	client = client_of(board, victim, CLIENT_WITH_BKPTS);
	kill_in_some_phase(client);
	await(is_free(victim)); /* traced by nobody, its text its own */
	turns = atomic_load(&board->turns);
	await(atomic_load(&board->turns) > turns + 1);
	ends_with_the_right_sum(victim);
	stress_reap(no_more);
	drop_board();
}

/* --- created ------------------------------------------------------------------------ */

/* The victim itself is killed, or ends before its exec (127); keepers end well; what the
 * victim had forked or spawned does too, though nobody may be left to read its answer. */
static void as_it_should(pid_t pid, int status)
{
	bool killed = WIFSIGNALED(status) &&
		      (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGPIPE);

	if (!killed && status != 0 && status != 17 << 8 && status != 1 << 8 &&
	    status != 127 << 8)
		fail_msg("process %d ended with wait status 0x%x", pid, status);
}

static void kill_one_who_creates(void)
{
	pid_t client;

	new_board();
	client = client_with_child(board, board_fd, CLIENT_WITH_BKPTS);
	kill_in_some_phase(client);
	stress_reap(as_it_should); /* else the harness names what is left */
	drop_board();
}

/* --- created, to be kept running ---------------------------------------------------- */

static int kept;        /* victims that came to their own end */
static unsigned unmade; /* clients killed before they had one */

/* Keepers end well; a client that is killed before it has its victim leaves none, or one
 * that runs. */
static void kept_or_never_made(pid_t pid, int status)
{
	if (status == BOARD_ALL_WELL << 8)
		kept++;
	else if (status != 0 && (atomic_load(&board->phase) > PHASE_TAKE ||
				 (status != SIGKILL && status != 127 << 8)))
		fail_msg("process %d ended with wait status 0x%x", pid, status);
}

static void kill_one_who_keeps(void)
{
	pid_t client;

	new_board();
	kept = 0;
	client = client_that_keeps(board, board_fd);
	kill_in_some_phase(client);
	atomic_store(&board->end, 1);
	stress_reap(kept_or_never_made);
	if (kept || atomic_load(&board->phase) > PHASE_TAKE) {
		assert_int_equal(kept, 1);
		assert_int_equal(atomic_load(&board->wrong), 0);
		assert_int_equal(atomic_load(&board->sum),
				 board_sum(atomic_load(&board->ended)));
	} else {
		unmade++;
	}
	drop_board();
}

/* --- all in turn ------------------------------------------------------------------- */

static void client_killed_at_any_instant(void)
{
	unsigned kills = 0;

	stress_adopt();
	while (stress_next()) {
		kill_one_who_grabs();
		kill_one_who_creates();
		kill_one_who_keeps();
		kills++;
	}
	stress_say("client killed %u times over a grabbed victim: %u right checksums",
		   kills, kills);
	stress_say("client killed %u times over a created victim: %u gone", kills, kills);
	stress_say(
		"client killed %u times that keeps what it creates: %u right checksums, "
		"%u before there was one",
		kills, kills - unmade, unmade);
	for (int i = 0; i < PHASE_N; i++)
		stress_say("  in phase %-8s %u", client_phase_name[i], aimed[i]);
}

int main(int argc, char **argv)
{
	static const struct stress s = { "client_killed_at_any_instant",
					 client_killed_at_any_instant, 40, 1000 };

	return stress_main(argc, argv, &s);
}
