/* SPDX-License-Identifier: MIT */
/*
 * Walking a stack of which a copy was made at a moment that has passed: registers and the
 * bytes from the stack pointer on. Text is read from the process, if it is still there.
 */
#include "proc/handle.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "proc/control.h"
#include "stack/stack.h"

/* What is read from. */
struct copied {
	struct ps_prochandle *P; /* text */
	const struct image *im;  /* tells text from data */
	uint64_t at;             /* of the copy, in the process */
	const uint8_t *bytes;    /* the copy */
	size_t n;                /* bytes of it */
};

static ssize_t read_copied(void *ctx, uint64_t addr, void *buf, size_t len)
{
	const struct copied *c = ctx;
	const struct image_map *m;
	ssize_t n;

	if (addr >= c->at && addr - c->at < c->n) {
		if (len > c->n - (addr - c->at))
			len = c->n - (addr - c->at);
		memcpy(buf, c->bytes + (addr - c->at), len);
		return (ssize_t)len;
	}
	/* what can be written to may not be any more what it was */
	m = image_map_at(c->im, addr);
	if (!m || (m->m.prot & PROT_WRITE))
		return -EFAULT;
	if (len > m->m.end - addr)
		len = m->m.end - addr;
	handle_lock(c->P);
	n = memory_read(c->P, addr, buf, len);
	handle_unlock(c->P);
	return n;
}

/* The frames so far. */
struct gathered {
	uintptr_t *pcs; /* the caller's */
	unsigned max;   /* how many fit */
	unsigned n;     /* how many there are */
};

static int gather(void *arg, const struct stack_frame *f)
{
	struct gathered *g = arg;

	if (g->n == g->max)
		return 1;
	g->pcs[g->n++] = f->regs.pc;
	return 0;
}

unsigned Pstack_copied(struct ps_prochandle *P, struct image *im,
		       const struct Pcopy *from, uintptr_t *pcs, unsigned max,
		       int *ret_cut)
{
	static const struct mem_ops ops = { .read = read_copied };
	struct copied c = { P, im, from->at, from->bytes, from->n };
	struct mem mem = { &ops, &c };
	struct stack_target t = {
		.arch = stack_arch_for(arch_native->elf_machine),
		.image = im,
		.mem = &mem,
		.max = max,
	};
	struct gathered g = { pcs, max, 0 };
	enum stack_end end = STACK_END_CUT;
	struct stack_regs regs;

	if (t.arch) {
		stack_regs_native(from->regs, &regs);
		stack_unwind(&t, &regs, gather, &g, &end);
	}
	*ret_cut = end != STACK_END_BASE;
	return g.n;
}
