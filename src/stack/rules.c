/* SPDX-License-Identifier: MIT */
/*
 * From a frame to its caller by the rules that the file gives for the address (DWARF 5,
 * 6.4.3). A register without a rule keeps its value when functions of this CPU do;
 * the stack pointer without one is the CFA.
 */
#include <errno.h>

#include "stack/inside.h"

/* An expression of the row. */
static int evaluate(struct stack_walk *w, const struct stack_regs *cur,
		    const struct cfi_rule *rule, const uint64_t *initial, uint64_t *ret)
{
	const uint8_t *bytes;

	if (obj_cfi_expr(w->file, &w->row, rule, &bytes))
		return STACK_ERR_BROKEN;
	return stack_expr(w, cur, bytes, rule->len, initial, ret);
}

/* The CFA counts from a register that is not known. */
static int guess_cfa(struct stack_walk *w, const struct stack_regs *cur, uint64_t *ret)
{
	uint64_t fp;
	int err;

	if (w->row.cfa.reg != w->arch->fp || !w->arch->guess_fp)
		return STACK_ERR_BROKEN;
	err = w->arch->guess_fp(w, cur, &fp);
	if (!err)
		*ret = fp + (uint64_t)(int64_t)w->row.cfa.n;
	return err;
}

static int find_cfa(struct stack_walk *w, const struct stack_regs *cur, uint64_t *ret)
{
	const struct cfi_rule *rule = &w->row.cfa;

	if (rule->how == CFI_VAL_EXPR)
		return evaluate(w, cur, rule, NULL, ret);
	if (!stack_knows(cur, rule->reg))
		return guess_cfa(w, cur, ret);
	*ret = cur->r[rule->reg] + (uint64_t)(int64_t)rule->n;
	return 0;
}

/* The caller's value of a register. 0; -ENOENT: it is lost. */
static int find_value(struct stack_walk *w, const struct stack_regs *cur, uint64_t cfa,
		      const struct cfi_rule *rule, uint64_t *ret)
{
	unsigned from = rule->how == CFI_SAME ? rule->reg : (unsigned)rule->n;
	uint64_t at = cfa + (uint64_t)(int64_t)rule->n;
	int err;

	switch (rule->how) {
	case CFI_SAME:
	case CFI_REGISTER:
		if (!stack_knows(cur, from))
			return -ENOENT;
		*ret = cur->r[from];
		return 0;
	case CFI_OFFSET:
		return stack_word(w, at, ret);
	case CFI_VAL_OFFSET:
		*ret = at;
		return 0;
	case CFI_EXPR:
		err = evaluate(w, cur, rule, &cfa, &at);
		return err ? err : stack_word(w, at, ret);
	case CFI_VAL_EXPR:
		return evaluate(w, cur, rule, &cfa, ret);
	default:
		return -ENOENT;
	}
}

/* What came of the return address's rule. */
struct returned {
	uint64_t pc; /* where it leads */
	int err;     /* 0, STACK_IS_BASE, STACK_ERR_* */
};

/* Without a rule it is still in the link register, if the CPU has one. */
static struct returned default_return(const struct stack_walk *w,
				      const struct stack_regs *cur)
{
	if (w->row.ra != w->arch->link || !stack_knows(cur, w->arch->link))
		return (struct returned){ .err = STACK_ERR_BROKEN };
	return (struct returned){ .pc = cur->r[w->arch->link] };
}

static void apply(struct stack_walk *w, const struct stack_regs *cur, uint64_t cfa,
		  const struct cfi_rule *rule, struct stack_regs *next,
		  struct returned *back)
{
	uint64_t value = 0;
	int err = find_value(w, cur, cfa, rule, &value);

	if (err)
		next->known &= ~(1ull << rule->reg);
	else
		stack_set(next, rule->reg, value);
	if (rule->reg != w->row.ra)
		return;
	back->pc = value;
	back->err = err == -ENOENT && rule->how == CFI_UNDEFINED ? STACK_IS_BASE : err;
	if (back->err == -ENOENT)
		back->err = STACK_ERR_BROKEN;
}

int stack_by_cfi(struct stack_walk *w, const struct stack_frame *cur,
		 struct stack_frame *next)
{
	struct returned back = default_return(w, &cur->regs);
	uint64_t cfa, sp;
	int err = find_cfa(w, &cur->regs, &cfa);

	/* An outermost frame needs no CFA that makes sense. */
	for (unsigned i = 0; err && i < w->row.nrules; i++) {
		if (w->row.rule[i].reg == w->row.ra &&
		    w->row.rule[i].how == CFI_UNDEFINED)
			return STACK_IS_BASE;
	}
	if (err)
		return err;
	stack_inherit(w, &cur->regs, &next->regs);
	next->regs.known &= ~(1ull << w->arch->sp);
	for (unsigned i = 0; i < w->row.nrules; i++)
		apply(w, &cur->regs, cfa, &w->row.rule[i], &next->regs, &back);
	if (back.err)
		return back.err;
	if (w->row.flags & CFI_SIGNED)
		back.pc &= w->arch->code_mask;
	sp = stack_knows(&next->regs, w->arch->sp) ? next->regs.r[w->arch->sp] : cfa;
	stack_finish(w, back.pc, sp, &next->regs);
	next->how = cur->signal ? STACK_SIGNAL : STACK_CFI;
	return 0;
}
