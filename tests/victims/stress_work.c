/* SPDX-License-Identifier: MIT */
/*
 * Does everything at once, and can prove that none of it was disturbed.
 *
 *	stress_work FD [TURN SUM]
 *
 * In each turn 8 threads compute, a forked child and a spawned one do so too, a library
 * is opened and closed again; then the process becomes itself by exec, now by its main
 * thread and now by another, with the sum of all results in its arguments. FD is the
 * page of stress_board.h: `end` there ends it, status 42, with the sum in the page;
 * `settled`: without an exec from then on.
 *
 *	stress_work FD child SEED    is the spawned child: its result to stdout
 *
 * unit() begins with an instruction that a keeper can do in the victim's stead, leaf()
 * with one that must be executed.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress_board.h"

extern char **environ;

enum {
	FORKED_WELL = 17 /* exit status of the children */
};

static struct board *board;
static char *board_fd; /* as an argument */
static uint64_t done[BOARD_WORKERS];
static long turn;

/* --- work --------------------------------------------------------------------------- */

/* Names to put breakpoints on; registers and flags pass through them unharmed. */
void unit(void);
void leaf(void);

__asm__(".text\n"
	".globl unit\n.type unit, @function\n"
	"unit: push %rbp\n\tpop %rbp\n\tret\n.size unit, .-unit\n"
	".globl leaf\n.type leaf, @function\n"
	"leaf: cmp %rax, %rax\n\tret\n.size leaf, .-leaf\n");

static uint64_t work(uint64_t seed)
{
	for (int i = 0; i < BOARD_UNITS; i++) {
		uint64_t half = board_mix(seed, (uint64_t)i);

		unit();
		seed = board_mix(half, 7);
		leaf();
	}
	return seed;
}

static void *work_in_thread(void *arg)
{
	int worker = (int)(intptr_t)arg;

	done[worker] = work(board_seed(turn, worker));
	return NULL;
}

static void *stand(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* --- children ----------------------------------------------------------------------- */

static void answer(int fd, uint64_t result)
{
	_exit(write(fd, &result, sizeof(result)) == sizeof(result) ? FORKED_WELL : 1);
}

static uint64_t take_answer(pid_t pid, int fd[2])
{
	uint64_t result = 0;
	int status = -1;

	close(fd[1]);
	if (read(fd[0], &result, sizeof(result)) != sizeof(result))
		result = 0;
	close(fd[0]);
	if (waitpid(pid, &status, 0) != pid || status != FORKED_WELL << 8)
		atomic_fetch_add(&board->wrong, 1);
	return result;
}

static uint64_t work_in_fork(void)
{
	int fd[2];
	pid_t pid;

	if (pipe(fd))
		return 0;
	pid = fork();
	if (!pid)
		answer(fd[1], work(board_seed(turn, BOARD_FORKED)));
	return take_answer(pid, fd);
}

static uint64_t work_in_spawn(void)
{
	char seed[24], *argv[] = { (char *)"stress_work", board_fd, (char *)"child", seed,
				   NULL };
	posix_spawn_file_actions_t to_pipe;
	int fd[2];
	pid_t pid;

	if (pipe(fd))
		return 0;
	snprintf(seed, sizeof(seed), "%lu", board_seed(turn, BOARD_SPAWNED));
	posix_spawn_file_actions_init(&to_pipe);
	posix_spawn_file_actions_adddup2(&to_pipe, fd[1], STDOUT_FILENO);
	if (posix_spawn(&pid, "/proc/self/exe", &to_pipe, NULL, argv, environ))
		return 0;
	posix_spawn_file_actions_destroy(&to_pipe);
	return take_answer(pid, fd);
}

/* --- a turn ------------------------------------------------------------------------- */

static void open_and_close(void)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
	void *h;

	path[n < 0 ? 0 : n] = '\0';
	strcpy(strrchr(path, '/') + 1, "libvictim_one.so");
	h = dlopen(path, RTLD_NOW);
	if (!h || dlclose(h))
		atomic_fetch_add(&board->wrong, 1);
}

static uint64_t take_turn(uint64_t sum)
{
	pthread_t t[BOARD_THREADS];

	atomic_fetch_add(&board->turns, 1);
	for (int i = 0; i < BOARD_THREADS; i++)
		if (pthread_create(&t[i], NULL, work_in_thread, (void *)(intptr_t)i))
			exit(3);
	done[BOARD_FORKED] = work_in_fork();
	open_and_close();
	done[BOARD_SPAWNED] = work_in_spawn();
	for (int i = 0; i < BOARD_THREADS; i++)
		pthread_join(t[i], NULL);
	return board_add(sum, done);
}

static void *become_myself(void *arg)
{
	char next[24], sum[24],
		*argv[] = { (char *)"stress_work", board_fd, next, sum, NULL };

	snprintf(next, sizeof(next), "%ld", turn + 1);
	snprintf(sum, sizeof(sum), "%lu", *(uint64_t *)arg);
	execv("/proc/self/exe", argv);
	exit(4);
}

/* Another thread stands by, to be ended by the exec. */
static void go_on(uint64_t sum)
{
	pthread_t t, other;

	pthread_create(&t, NULL, stand, NULL);
	if (turn % 2)
		become_myself(&sum);
	pthread_create(&other, NULL, become_myself, &sum);
	pthread_join(other, NULL);
}

static int open_board(const char *fd)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, atoi(fd),
		     0);
	return board == MAP_FAILED;
}

int main(int argc, char **argv)
{
	uint64_t sum = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;

	if (argc < 2 || open_board(board_fd = argv[1]))
		return 2;
	if (argc > 3 && !strcmp(argv[2], "child"))
		answer(STDOUT_FILENO, work(sum));
	turn = argc > 3 ? atol(argv[2]) : 0;
	if (atomic_load(
		    &board->tied)) /* anew: it is a thread's, and any may have exec'd */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	atomic_store(&board->victim, getpid());
	sum = take_turn(sum);
	while (!atomic_load(&board->end) && atomic_load(&board->settled)) {
		turn++;
		sum = take_turn(sum);
	}
	if (!atomic_load(&board->end))
		go_on(sum);
	atomic_store(&board->sum, sum);
	atomic_store(&board->ended, turn + 1);
	return BOARD_ALL_WELL;
}
