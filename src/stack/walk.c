/* SPDX-License-Identifier: MIT */
/*
 * What the ways out of a frame have in common: reading the target, registers.
 */
#include <errno.h>
#include <string.h>

#include "stack/inside.h"

enum {
	PROT_EXECUTE = 4,           /* PROT_EXEC, as in struct procfs_map */
	MAX_FRAME_BYTES = 64 << 20, /* a frame pointer further up is none */
};

/* --- reading ---------------------------------------------------------------------- */

/* From addr upward as much as there is: what is asked for next lies above. */
static int move_window(struct stack_walk *w, uint64_t addr)
{
	ssize_t n = mem_read(w->t->mem, addr, w->bytes, sizeof(w->bytes));

	w->window = addr;
	w->window_len = n > 0 ? (size_t)n : 0;
	return n >= (ssize_t)sizeof(uint64_t) ? 0 : STACK_ERR_CUT;
}

int stack_word(struct stack_walk *w, uint64_t addr, uint64_t *ret)
{
	uint64_t off = addr - w->window;

	if (off >= w->window_len || w->window_len - off < sizeof(*ret)) {
		if (move_window(w, addr))
			return STACK_ERR_CUT;
		off = 0;
	}
	memcpy(ret, w->bytes + off, sizeof(*ret));
	return 0;
}

int stack_text(struct stack_walk *w, uint64_t addr, void *buf, size_t len)
{
	return mem_read_all(w->t->mem, addr, buf, len) ? STACK_ERR_CUT : 0;
}

bool stack_is_code(const struct stack_walk *w, uint64_t pc)
{
	const struct image_map *map = image_map_at(w->t->image, pc);

	return map && map->m.prot & PROT_EXECUTE;
}

/* --- registers -------------------------------------------------------------------- */

void stack_inherit(const struct stack_walk *w, const struct stack_regs *cur,
		   struct stack_regs *next)
{
	memcpy(next->r, cur->r, sizeof(next->r));
	next->known = cur->known & w->arch->kept;
}

void stack_finish(const struct stack_walk *w, uint64_t pc, uint64_t sp,
		  struct stack_regs *next)
{
	const struct stack_arch *a = w->arch;

	next->pc = pc;
	next->sp = sp;
	stack_set(next, a->sp, sp);
	if (a->pc != STACK_NOREG)
		stack_set(next, a->pc, pc);
	next->fp = stack_knows(next, a->fp) ? next->r[a->fp] : 0;
}

int stack_regs_prstatus(const struct stack_arch *a, const uint64_t *words, size_t n,
			struct stack_regs *ret)
{
	if (n < a->nwords)
		return -EINVAL;
	memset(ret, 0, sizeof(*ret));
	for (unsigned i = 0; i < a->nregs; i++)
		stack_set(ret, i, words[a->word[i]]);
	ret->pc = words[a->word_pc];
	ret->sp = ret->r[a->sp];
	ret->fp = ret->r[a->fp];
	if (a->pc != STACK_NOREG)
		stack_set(ret, a->pc, ret->pc);
	return 0;
}

void stack_regs_native(const arch_regs_t *from, struct stack_regs *ret)
{
	uint64_t words[sizeof(*from) / sizeof(uint64_t)];

	memcpy(words, from, sizeof(words));
	stack_regs_prstatus(stack_arch_for(arch_native->elf_machine), words,
			    sizeof(words) / sizeof(words[0]), ret);
}

void stack_regs_syscall(const struct stack_arch *a, const uint64_t args[6], uint64_t sp,
			uint64_t pc, struct stack_regs *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (int i = 0; i < 6; i++)
		stack_set(ret, a->args[i], args[i]);
	ret->pc = pc;
	ret->sp = sp;
	stack_set(ret, a->sp, sp);
	if (a->pc != STACK_NOREG)
		stack_set(ret, a->pc, pc);
}

void stack_regs_words(const struct stack_arch *a, const struct stack_regs *from,
		      uint64_t *ret_words, size_t n)
{
	memset(ret_words, 0, n * sizeof(*ret_words));
	for (unsigned i = 0; i < a->nregs; i++) {
		if (stack_knows(from, i) && a->word[i] < n)
			ret_words[a->word[i]] = from->r[i];
	}
	if (a->word_pc < n)
		ret_words[a->word_pc] = from->pc;
}

const struct stack_arch *stack_arch_for(unsigned elf_machine)
{
	static const struct stack_arch *const all[] = { &stack_x86_64, &stack_aarch64 };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (all[i]->machine == elf_machine)
			return all[i];
	}
	return NULL;
}

/* --- ways that CPUs share --------------------------------------------------------- */

int stack_return_at(struct stack_walk *w, const struct stack_frame *cur, uint64_t above,
		    struct stack_frame *next)
{
	uint64_t at = cur->regs.sp + above, ra;
	int err = stack_word(w, at, &ra);

	if (err)
		return err;
	if (!stack_is_code(w, ra))
		return -ENOENT;
	stack_inherit(w, &cur->regs, &next->regs);
	stack_finish(w, ra, at + sizeof(ra), &next->regs);
	next->how = STACK_RULE;
	return 0;
}

/* It may stand below the stack pointer nowhere, and not where no frame can be. */
static bool is_sane_fp(const struct stack_frame *cur)
{
	uint64_t fp = cur->regs.fp;

	return fp % sizeof(fp) == 0 && fp >= cur->regs.sp &&
	       fp - cur->regs.sp < MAX_FRAME_BYTES;
}

int stack_by_fp(struct stack_walk *w, const struct stack_frame *cur,
		struct stack_frame *next)
{
	const struct stack_arch *a = w->arch;
	uint64_t fp, ra;

	if (!stack_knows(&cur->regs, a->fp))
		return STACK_ERR_BROKEN;
	if (!cur->regs.fp)
		return STACK_IS_BASE;
	if (!is_sane_fp(cur))
		return STACK_ERR_BROKEN;
	if (stack_word(w, cur->regs.fp, &fp) ||
	    stack_word(w, cur->regs.fp + sizeof(fp), &ra))
		return STACK_ERR_CUT;
	if (!ra)
		return STACK_IS_BASE;
	if (!stack_is_code(w, ra))
		ra &= a->code_mask;
	if (!stack_is_code(w, ra))
		return STACK_ERR_BROKEN;
	next->regs.known = 0;
	stack_set(&next->regs, a->fp, fp);
	stack_finish(w, ra, cur->regs.fp + 2 * sizeof(fp), &next->regs);
	next->how = STACK_FP;
	return 0;
}
