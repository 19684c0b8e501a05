/* SPDX-License-Identifier: MIT */
/* The stacks in a core: through its handle, since there is nothing to stop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "output.h"
#include "target.h"

/* One thread's frames on their way out. */
struct printing {
	struct ps_prochandle *P; /* the core */
	unsigned n;              /* frames so far */
};

/* Threads as they were listed: what a call shows while it lists may not list again. */
struct listed {
	lwpstatus_t *lwps; /* allocated */
	size_t n;          /* how many */
	bool nomem;        /* not all */
};

static int print_frame(void *arg, prgregset_t regs, unsigned argc, const long *argv)
{
	struct printing *p = arg;
	uintptr_t pc = (uintptr_t)regs[R_PC];
	char line[FRAME_MAX];

	frame_text(p->P, pc, p->n++ ? FRAME_RETURN : FRAME_EXACT, line, sizeof(line));
	output("  0x%016lx ", (unsigned long)pc);
	output_escaped(line);
	output("\n");
	return output_failed();
}

static int keep_lwp(void *arg, const lwpstatus_t *st)
{
	struct listed *l = arg;
	lwpstatus_t *bigger = reallocarray(l->lwps, l->n + 1, sizeof(*bigger));

	l->nomem = !bigger;
	if (!bigger)
		return 1;
	l->lwps = bigger;
	l->lwps[l->n++] = *st;
	return 0;
}

static void print_thread(struct ps_prochandle *P, const lwpstatus_t *st)
{
	struct printing p = { .P = P };
	char name[32];

	output("%sthread %d", colour(COLOUR_HEAD), st->pr_lwpid);
	if (st->pr_cursig)
		output(" %s", proc_signame(st->pr_cursig, name, sizeof(name)));
	output("%s\n", colour(COLOUR_NONE));
	if (Pstack_lwp(P, st->pr_lwpid, print_frame, &p) < 0 && p.n == 0)
		output("  (its registers are not known)\n");
}

int target_dead_stack(struct ps_prochandle *P)
{
	struct listed l = { 0 };

	Plwp_iter(P, keep_lwp, &l);
	for (size_t i = 0; i < l.n && !output_failed(); i++)
		print_thread(P, &l.lwps[i]);
	free(l.lwps);
	if (l.nomem)
		complain("out of memory");
	else if (l.n == 0)
		complain("there are no threads in the file");
	return l.nomem || l.n == 0;
}
