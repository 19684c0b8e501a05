/* SPDX-License-Identifier: MIT */
/*
 * Theory: stop briefly, think later. Before the grab a read-only handle reads the
 * mappings and opens every object's file. The grab itself (start of the keeper, attach to
 * each thread) stops nothing; then all threads are stopped at once, registers and return
 * addresses copied, and it runs on. Only then addresses become names, through the
 * read-only handle. The pause that is told is from the request to stop to the end of the
 * release: what any thread stood at most. A thread that sleeps uninterruptibly cannot be
 * stopped; the others do not stand still for it longer than a second, and are printed.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frame.h"
#include "options.h"
#include "output.h"
#include "target.h"
#include "task.h"

enum {
	STACK_DEPTH = 512,     /* frames of one thread, as Pstack_iter() */
	STACK_DEADLINE = 1000, /* ms until all threads must stand */
};

/* One thread. */
struct thread {
	pid_t tid;        /* thread id */
	bool known;       /* its registers could be read */
	prgregset_t regs; /* registers at the stop */
	unsigned n;       /* frames */
	uintptr_t *pcs;   /* their addresses, innermost first; allocated */
};

/* One process's threads. */
struct dump {
	struct thread *threads; /* allocated */
	size_t n, room;         /* used and allocated */
	bool nomem;             /* an allocation failed */
};

/* --- while it is stopped ------------------------------------------------------------ */

static int copy_thread(void *arg, const lwpstatus_t *st)
{
	struct dump *dump = arg;
	struct thread *t;

	if (dump->n == dump->room) {
		size_t room = dump->room ? dump->room * 2 : 64;

		t = reallocarray(dump->threads, room, sizeof(*t));
		dump->nomem = !t;
		if (!t)
			return 1;
		dump->threads = t;
		dump->room = room;
	}
	t = &dump->threads[dump->n++];
	*t = (struct thread){ .tid = st->pr_lwpid };
	/* One that stands while others do not may have none. */
	t->known = (st->pr_flags & PR_STOPPED) && st->pr_reg[R_PC];
	memcpy(t->regs, st->pr_reg, sizeof(t->regs));
	return 0;
}

static int copy_frame(void *arg, prgregset_t regs, unsigned argc, const long *argv)
{
	struct thread *t = arg;

	t->pcs[t->n++] = (uintptr_t)regs[R_PC];
	return t->n == STACK_DEPTH;
}

static void copy_stack(struct ps_prochandle *P, struct dump *dump, struct thread *t)
{
	if (!t->known)
		return;
	t->pcs = malloc(STACK_DEPTH * sizeof(*t->pcs));
	dump->nomem = dump->nomem || !t->pcs;
	if (t->pcs)
		Pstack_iter(P, t->regs, copy_frame, t);
}

static double elapsed_ms(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - since->tv_sec) * 1e3 +
	       (double)(now.tv_nsec - since->tv_nsec) / 1e6;
}

/* How many were copied. */
static size_t count_known(const struct dump *dump)
{
	size_t n = 0;

	for (size_t i = 0; i < dump->n; i++)
		n += dump->threads[i].known;
	return n;
}

/* What could be copied, told: 0, or 1 after a sentence. */
static int tell(pid_t pid, const struct dump *dump, double ms)
{
	size_t known = count_known(dump);

	if (dump->n == 0) {
		complain("pid %d ended before it could be looked at", pid);
		return 1;
	}
	notice("%zu thread%s stopped %.1f ms", known, known == 1 ? "" : "s", ms);
	if (known == dump->n)
		return 0;
	complain("pid %d did not stop within 1 s: %zu of its threads are not known", pid,
		 dump->n - known);
	return 1;
}

/* Stops the process, copies, releases it, which ends P: 0, or 1 after a sentence. */
static int copy_stopped(struct ps_prochandle *P, pid_t pid, struct dump *dump)
{
	struct timespec start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (Pstop(P, STACK_DEADLINE) == 0)
		Plwp_iter(P, copy_thread, dump);
	for (size_t i = 0; i < dump->n; i++)
		copy_stack(P, dump, &dump->threads[i]);
	Prelease(P, 0);
	return tell(pid, dump, elapsed_ms(&start));
}

static int take_dump(pid_t pid, struct dump *dump)
{
	struct ps_prochandle *P = target_grab(pid, PGRAB_NOSTOP);

	if (!P || copy_stopped(P, pid, dump) != 0)
		return 1;
	if (dump->nomem)
		complain("pid %d: out of memory: its stacks are not complete", pid);
	return dump->nomem;
}

/* --- afterwards --------------------------------------------------------------------- */

static void print_thread(struct ps_prochandle *P, const struct thread *t,
			 const struct task *task)
{
	char line[FRAME_MAX];

	output("%sthread %d", colour(COLOUR_HEAD), t->tid);
	if (task) {
		output(" \"");
		output_escaped(task->name);
		output("\" %s", task_state(task->state));
	}
	output("%s\n", colour(COLOUR_NONE));
	for (unsigned i = 0; i < t->n && !output_failed(); i++) {
		frame_text(P, t->pcs[i], i ? FRAME_RETURN : FRAME_EXACT, line,
			   sizeof(line));
		output("  0x%016lx ", (unsigned long)t->pcs[i]);
		output_escaped(line);
		output("\n");
	}
	if (t->n == 0)
		output("  (not stopped: its registers are not known)\n");
}

/* An object loaded just before the stop is not in the maps yet. */
static void refresh_maps(struct ps_prochandle *P, const struct dump *dump)
{
	for (size_t i = 0; i < dump->n; i++)
		for (unsigned k = 0; k < dump->threads[i].n; k++)
			if (!Paddr_to_map(P, dump->threads[i].pcs[k])) {
				Pupdate_syms(P);
				return;
			}
}

static void free_dump(struct dump *dump)
{
	for (size_t i = 0; i < dump->n; i++)
		free(dump->threads[i].pcs);
	free(dump->threads);
}

static int show_stack(struct ps_prochandle *P, pid_t pid, void *arg)
{
	struct dump dump = { 0 };
	struct task *tasks = NULL;
	size_t ntasks = 0;
	int status;

	Pupdate_syms(P);
	task_list(pid, &tasks, &ntasks); /* states as they are before we stop it */
	status = take_dump(pid, &dump);
	refresh_maps(P, &dump);
	for (size_t i = 0; i < dump.n && !output_failed(); i++)
		print_thread(P, &dump.threads[i],
			     task_find(tasks, ntasks, dump.threads[i].tid));
	free(tasks);
	free_dump(&dump);
	return status;
}

static int run_stack(const struct command *self, int argc, char **argv)
{
	return target_command(self, argc, argv, show_stack);
}

const struct command command_stack = {
	.name = "stack",
	.summary = "the stacks of all threads of processes",
	.synopsis = "[-q] PID...",
	.help = "Prints each thread: id, name, state before the stop; then a frame a "
		"line, innermost first:\n"
		"address and module`function+0xoffset. The process is stopped while "
		"registers and stack\n"
		"are copied, which stderr tells; names are looked up while it runs on. "
		"Frames are\n"
		"found by frame pointer.\n"
		"\n"
		"Options:\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab stack 1234\n"
		"  pgrab stack -q $(pidof nginx) | grep -c epoll_wait\n",
	.run = run_stack,
};
