/* SPDX-License-Identifier: MIT */
/*
 * Stacks through the handle: src/stack over its memory and its snapshot. The lock is
 * held for single reads only, never while the caller's function runs.
 */
#include <errno.h>
#include <string.h>

#include "proc/handle.h"
#include "stack/stack.h"

enum {
	NWORDS = sizeof(prgregset_t) / sizeof(uint64_t)
};

static ssize_t read_locked(void *ctx, uint64_t addr, void *buf, size_t len)
{
	struct ps_prochandle *P = ctx;
	ssize_t n;

	handle_lock(P);
	n = memory_read(P, addr, buf, len);
	handle_unlock(P);
	return n;
}

static const struct mem_ops locked_ops = { .read = read_locked };

/* One Pstack_iter(). */
struct iteration {
	const struct stack_arch *arch; /* the CPU */
	proc_stack_f *fn;              /* the caller's function */
	void *arg;                     /* its argument */
	const void
		*first; /* the registers of the first frame, as given; NULL: not ours */
	unsigned shown; /* frames that it has seen */
	unsigned skip;  /* of a second walk: frames to pass over */
};

/* Registers of another CPU have no places of their own. */
static void show_foreign(const struct stack_regs *from, prgregset_t regs)
{
	memset(regs, 0, sizeof(prgregset_t));
	regs[R_PC] = from->pc;
	regs[R_SP] = from->sp;
	regs[R_FP] = from->fp;
}

static int show(void *arg, const struct stack_frame *frame)
{
	struct iteration *it = arg;
	uint64_t words[NWORDS];
	prgregset_t regs;

	if (it->skip) {
		it->skip--;
		return 0;
	}
	if (it->first) {
		stack_regs_words(it->arch, &frame->regs, words, NWORDS);
		memcpy(regs, frame->how == STACK_START ? it->first : words, sizeof(regs));
	} else {
		show_foreign(&frame->regs, regs);
	}
	it->shown++;
	return it->fn(it->arg, regs, 0, NULL);
}

/* What the snapshot does not know yet, code that was loaded or compiled since, is looked
 * for in a newer one; the frames shown already are the same there. */
static int walk_again(struct ps_prochandle *P, struct image *stale,
		      struct stack_target *t, const struct stack_regs *regs,
		      struct iteration *it)
{
	struct image *im = maps_take_fresh(P, stale);
	enum stack_end end;
	int rc;

	if (!im)
		return 0;
	t->image = im;
	it->skip = it->shown;
	rc = stack_unwind(t, regs, show, it, &end);
	image_unref(im);
	return rc;
}

static int walk(struct ps_prochandle *P, const struct stack_regs *first,
		struct iteration *it)
{
	struct image *im = maps_take(P);
	struct mem mem = { &locked_ops, P };
	struct stack_target t = { .arch = it->arch, .image = im, .mem = &mem };
	enum stack_end end;
	int rc;

	if (!im)
		return -1;
	rc = stack_unwind(&t, first, show, it, &end);
	if (!rc && end == STACK_END_BROKEN)
		rc = walk_again(P, im, &t, first, it);
	image_unref(im);
	return rc;
}

int Pstack_iter(struct ps_prochandle *P, const prgregset_t regs, proc_stack_f *fn,
		void *arg)
{
	struct iteration it = { .fn = fn, .arg = arg, .first = regs };
	uint64_t words[NWORDS];
	struct stack_regs first;

	it.arch = stack_arch_for(arch_native->elf_machine);
	memcpy(words, regs, sizeof(words));
	stack_regs_prstatus(it.arch, words, NWORDS, &first);
	return walk(P, &first, &it);
}

/* The registers of an LWP in a core of another CPU. */
static int foreign_regs(struct ps_prochandle *P, lwpid_t lwp, struct iteration *it,
			struct stack_regs *ret)
{
	const struct core_layout *layout = core_layout(P->core);
	const struct core_lwp *l = dead_lwp(P, lwp);

	it->arch = layout ? stack_arch_for(layout->machine) : NULL;
	if (!l || !it->arch)
		return l ? -ENOTSUP : -ESRCH;
	return stack_regs_prstatus(it->arch, l->regs, layout->nregs, ret);
}

int Pstack_lwp(struct ps_prochandle *P, lwpid_t lwp, proc_stack_f *fn, void *arg)
{
	struct iteration it = { .fn = fn, .arg = arg };
	struct stack_regs first;
	prgregset_t regs;
	int rc;

	if (!Plwp_getregs(P, lwp, regs))
		return Pstack_iter(P, regs, fn, arg);
	if (errno != ENOTSUP || !P->core)
		return -1;
	rc = foreign_regs(P, lwp, &it, &first);
	return rc ? handle_fail(rc) : walk(P, &first, &it);
}
