/* SPDX-License-Identifier: MIT */
/*
 * What the bare system calls cost: the floor that the others are compared with.
 */
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/arch.h"
#include "bench.h"

extern char **environ;

enum {
	GRABS = 500,
	STOPS = 1000,
	SPAWNS = 30,
	HITS = 1000
};

double bare_grab(void)
{
	pid_t pid = bench_sleeper();
	double begin = bench_now();
	int status;

	for (int i = 0; i < GRABS; i++) {
		if (ptrace(PTRACE_SEIZE, pid, 0, 0))
			return -1;
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		waitpid(pid, &status, __WALL);
		ptrace(PTRACE_DETACH, pid, 0, 0);
	}
	return (bench_now() - begin) / GRABS;
}

double bare_stop_continue(void)
{
	pid_t pid = bench_sleeper();
	double begin, took;
	int status;

	if (ptrace(PTRACE_SEIZE, pid, 0, 0))
		return -1;
	begin = bench_now();
	for (int i = 0; i < STOPS; i++) {
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		waitpid(pid, &status, __WALL);
		ptrace(PTRACE_CONT, pid, 0, 0);
	}
	took = bench_now() - begin;
	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	waitpid(pid, &status, __WALL);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	return took / STOPS;
}

double bare_spawn(void)
{
	char *argv[] = { (char *)"true", NULL };
	double begin = bench_now();

	for (int i = 0; i < SPAWNS; i++) {
		pid_t pid;

		if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ))
			return -1;
		waitpid(pid, NULL, 0);
	}
	return (bench_now() - begin) / SPAWNS;
}

/* A child that asks to be traced, stopped at its exec, killed and reaped. */
double bare_exec_stop(void)
{
	double begin = bench_now();
	int status;

	for (int i = 0; i < SPAWNS; i++) {
		pid_t pid = vfork();

		if (pid < 0)
			return -1;
		if (!pid) {
			ptrace(PTRACE_TRACEME, 0, 0, 0);
			execl("/bin/true", "true", NULL);
			_exit(127);
		}
		waitpid(pid, &status, __WALL);
		kill(pid, SIGKILL);
		waitpid(pid, &status, __WALL);
	}
	return (bench_now() - begin) / SPAWNS;
}

static void poke(int mem, uint64_t addr, const uint8_t *bytes)
{
	if (pwrite(mem, bytes, arch_native->trap_len, (off_t)addr) < 0)
		perror("bench: /proc/PID/mem");
}

/* Past the trap as the simplest debugger does it: byte back, one step, trap again. */
static void step_over(pid_t pid, int mem, uint64_t addr, const uint8_t *own)
{
	arch_regs_t regs;
	struct iovec iov = { &regs, sizeof(regs) };
	int status;

	ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov);
	arch_set_pc(&regs, addr);
	ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &iov);
	poke(mem, addr, own);
	ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
	waitpid(pid, &status, __WALL);
	poke(mem, addr, arch_native->trap);
	ptrace(PTRACE_CONT, pid, 0, 0);
}

static void run_hits(pid_t pid, int mem, uint64_t addr)
{
	uint8_t own[ARCH_TRAP_MAX];
	int status;

	if (pread(mem, own, sizeof(own), (off_t)addr) != sizeof(own))
		return;
	poke(mem, addr, arch_native->trap);
	ptrace(PTRACE_CONT, pid, 0, 0);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
		if (WSTOPSIG(status) == SIGTRAP)
			step_over(pid, mem, addr, own);
		else
			ptrace(PTRACE_CONT, pid, 0, WSTOPSIG(status));
	}
}

/* A breakpoint in this thread, with nothing between the kernel and the hit:
 * in-process. */
double bare_step_over(void)
{
	char path[32], **argv = bench_hit_argv("--hit", HITS);
	int status, mem;
	pid_t pid = vfork();

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execv(bench_self, argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	run_hits(pid, mem, bench_addr_in(pid, bench_hit));
	close(mem);
	return bench_hit_result();
}

/* Traced from its exec on, stopped there; -1. */
static pid_t start_traced(char **argv)
{
	pid_t pid = vfork();
	int status;

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execv(bench_self, argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return -1;
	return pid;
}

/* A tracer that does nothing at a trap but let the program go on behind it. */
double bare_trap(void)
{
	pid_t pid = start_traced(bench_hit_argv("--trap", HITS));
	int status;

	if (pid < 0)
		return -1;
	do {
		ptrace(PTRACE_CONT, pid, 0, 0);
	} while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
	return bench_hit_result();
}

/* The same with 8 threads, whichever comes first. */
double bare_trap8(void)
{
	pid_t tid, pid = start_traced(bench_hit_argv("--trap8", HITS));
	int status;

	if (pid < 0 || ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE))
		return -1;
	ptrace(PTRACE_CONT, pid, 0, 0);
	while ((tid = waitpid(-1, &status, __WALL)) > 0) {
		if (WIFSTOPPED(status))
			ptrace(PTRACE_CONT, tid, 0, 0);
		else if (tid == pid)
			break;
	}
	return bench_hit_result();
}
