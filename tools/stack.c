/* SPDX-License-Identifier: MIT */
/*
 * Theory: stop briefly, think later. Before the grab a read-only handle reads the mappings and opens
 * every object's file; with the process stopped only registers and return addresses are copied;
 * it runs on, and then addresses become names through the read-only handle. The pause that
 * is told is the time from the first thread's stop to the end of the release.
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
	STACK_DEPTH = 512
}; /* frames of one thread, as Pstack_iter() */

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
	struct thread *threads;  /* allocated */
	size_t n, room;          /* used and allocated */
	struct timespec stopped; /* CLOCK_REALTIME of the first stop; 0 not known */
	bool nomem;              /* an allocation failed */
};

/* --- while it is stopped --------------------------------------------------------------- */

static bool earlier(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

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
	*t = (struct thread){ .tid = st->pr_lwpid,
			      .known = (st->pr_flags & PR_STOPPED) != 0 };
	memcpy(t->regs, st->pr_reg, sizeof(t->regs));
	if (!dump->stopped.tv_sec || earlier(&st->pr_tstamp, &dump->stopped))
		dump->stopped = st->pr_tstamp;
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

/* From the first stop, or from the grab (it stood before, or its stop has no time), until now. */
static double pause_ms(const struct dump *dump, const struct timespec *grab)
{
	const struct timespec *from = &dump->stopped;
	struct timespec now;

	if (earlier(from, grab))
		from = grab;
	clock_gettime(CLOCK_REALTIME, &now);
	return (double)(now.tv_sec - from->tv_sec) * 1e3 +
	       (double)(now.tv_nsec - from->tv_nsec) / 1e6;
}

/* Stops the process, copies, lets it run: 0, or 1 after a sentence. */
static int take_dump(pid_t pid, struct dump *dump)
{
	struct ps_prochandle *P;
	struct timespec grab;
	double ms;

	clock_gettime(CLOCK_REALTIME, &grab);
	P = target_grab(pid, 0);
	if (!P)
		return 1;
	Plwp_iter(P, copy_thread, dump);
	for (size_t i = 0; i < dump->n; i++)
		copy_stack(P, dump, &dump->threads[i]);
	Prelease(P, 0);
	ms = pause_ms(dump, &grab);
	if (dump->nomem)
		complain("pid %d: out of memory: its stacks are not complete", pid);
	if (dump->n == 0) {
		complain("pid %d: no thread could be looked at", pid);
		return 1;
	}
	notice("%zu thread%s stopped %.1f ms", dump->n, dump->n == 1 ? "" : "s", ms);
	return dump->nomem;
}

/* --- afterwards --------------------------------------------------------------------------- */

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
		output("  (no registers: it ended, or it could not be stopped)\n");
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
