/* SPDX-License-Identifier: MIT */
/*
 * Rows: the instructions of a CIE and an FDE executed up to an address (DWARF 5, 6.4.2).
 *
 * The table that they describe is never built: one row is, the one in force at the
 * address. Every instruction takes a byte at least, and MAX_STEPS of them are executed at
 * most; remembered states nest MAX_NEST deep. Registers that we do not follow (vectors)
 * have their operands read and their rules dropped.
 */
#include "obj/cfi_inside.h"

#include <errno.h>
#include <string.h>

enum {
	MAX_STEPS = 1 << 16, /* instructions for one row */
	MAX_NEST = 8,        /* compilers nest one or two */
	RULE_NONE = 0xff,    /* in a state: no rule; the CPU's default */
};

/* DW_CFA_*. The first three hold an operand in their low six bits. */
enum {
	OP_ADVANCE = 0x40,
	OP_OFFSET = 0x80,
	OP_RESTORE = 0xc0,
	OP_NOP = 0x00,
	OP_SET_LOC = 0x01,
	OP_ADVANCE1 = 0x02,
	OP_ADVANCE2 = 0x03,
	OP_ADVANCE4 = 0x04,
	OP_OFFSET_EXTENDED = 0x05,
	OP_RESTORE_EXTENDED = 0x06,
	OP_UNDEFINED = 0x07,
	OP_SAME_VALUE = 0x08,
	OP_REGISTER = 0x09,
	OP_REMEMBER = 0x0a,
	OP_RESTORE_STATE = 0x0b,
	OP_DEF_CFA = 0x0c,
	OP_DEF_CFA_REGISTER = 0x0d,
	OP_DEF_CFA_OFFSET = 0x0e,
	OP_DEF_CFA_EXPRESSION = 0x0f,
	OP_EXPRESSION = 0x10,
	OP_OFFSET_EXTENDED_SF = 0x11,
	OP_DEF_CFA_SF = 0x12,
	OP_DEF_CFA_OFFSET_SF = 0x13,
	OP_VAL_OFFSET = 0x14,
	OP_VAL_OFFSET_SF = 0x15,
	OP_VAL_EXPRESSION = 0x16,
	OP_ADVANCE8 = 0x1d,        /* MIPS */
	OP_NEGATE_RA_STATE = 0x2d, /* AArch64; SPARC's GNU_window_save */
	OP_GNU_ARGS_SIZE = 0x2e,
	OP_GNU_NEGATIVE_OFFSET = 0x2f,
};

/* The rules in force. */
struct state {
	struct cfi_rule cfa;             /* see struct cfi_row */
	struct cfi_rule rule[CFI_NREGS]; /* .how == RULE_NONE: none */
	bool is_signed;                  /* AArch64: the return address is */
};

/* One execution. */
struct run {
	const struct obj_cfi *f;     /* the file's CFI */
	enum cfi_form form;          /* which section */
	const struct cfi_entry *e;   /* the entry */
	uint64_t target;             /* the address whose row is wanted */
	uint64_t loc;                /* the address reached */
	struct cfi_cursor c;         /* the instructions */
	struct state now;            /* the row so far */
	struct state initial;        /* the CIE's */
	struct state kept[MAX_NEST]; /* remembered */
	unsigned nkept;              /* how many */
	unsigned steps;              /* instructions executed */
	bool is_aarch64;             /* EM_AARCH64 */
};

static void clear(struct state *s)
{
	memset(s, 0, sizeof(*s));
	s->cfa.how = RULE_NONE;
	for (unsigned i = 0; i < CFI_NREGS; i++) {
		s->rule[i].reg = (uint8_t)i;
		s->rule[i].how = RULE_NONE;
	}
}

/* A number that a rule has room for. */
static int32_t fit(struct run *r, int64_t n)
{
	if (n != (int32_t)n)
		r->c.bad = true;
	return (int32_t)n;
}

/* A factored offset. A product that does not fit is nonsense anyway. */
static int32_t scale(struct run *r, int64_t n)
{
	int64_t product;

	if (__builtin_mul_overflow(n, r->e->data_align, &product))
		r->c.bad = true;
	return fit(r, product);
}

static void set_rule(struct run *r, uint64_t reg, enum cfi_how how, int32_t n)
{
	if (reg >= CFI_NREGS)
		return;
	r->now.rule[reg].how = (uint8_t)how;
	r->now.rule[reg].n = n;
	r->now.rule[reg].len = 0;
}

static void restore_rule(struct run *r, uint64_t reg)
{
	if (reg < CFI_NREGS)
		r->now.rule[reg] = r->initial.rule[reg];
}

static void set_cfa_register(struct run *r, uint64_t reg)
{
	if (reg >= CFI_NREGS)
		r->c.bad = true;
	r->now.cfa.reg = (uint8_t)reg;
	r->now.cfa.how = CFI_VAL_OFFSET;
}

static void set_cfa_offset(struct run *r, int32_t n)
{
	if (r->now.cfa.how != CFI_VAL_OFFSET)
		r->c.bad = true;
	r->now.cfa.n = n;
}

/* The expression at the cursor, into rule. */
static void set_expression(struct run *r, struct cfi_rule *rule, enum cfi_how how)
{
	const uint8_t *base = (const uint8_t *)r->f->section[r->form].bytes;
	uint64_t len = cfi_uleb(&r->c);

	if (len > UINT16_MAX)
		r->c.bad = true;
	rule->how = (uint8_t)how;
	rule->len = (uint16_t)len;
	rule->n = fit(r, r->c.at - base);
	cfi_skip(&r->c, len);
}

static void set_rule_expression(struct run *r, enum cfi_how how)
{
	uint64_t reg = cfi_uleb(&r->c);
	struct cfi_rule dropped;

	set_expression(r, reg < CFI_NREGS ? &r->now.rule[reg] : &dropped, how);
}

static void remember(struct run *r)
{
	if (r->nkept == MAX_NEST)
		r->c.bad = true;
	else
		r->kept[r->nkept++] = r->now;
}

static void recall(struct run *r)
{
	if (!r->nkept)
		r->c.bad = true;
	else
		r->now = r->kept[--r->nkept];
}

static void advance(struct run *r, uint64_t n)
{
	r->loc += n * r->e->code_align;
}

/* Opcodes that move on or touch the whole state. False: another. */
static bool do_state(struct run *r, unsigned op)
{
	switch (op) {
	case OP_NOP:
		return true;
	case OP_SET_LOC:
		r->loc = cfi_address(r->f, r->form, &r->c, r->e->encoding);
		return true;
	case OP_ADVANCE1:
		advance(r, cfi_fixed(&r->c, 1));
		return true;
	case OP_ADVANCE2:
		advance(r, cfi_fixed(&r->c, 2));
		return true;
	case OP_ADVANCE4:
		advance(r, cfi_fixed(&r->c, 4));
		return true;
	case OP_ADVANCE8:
		advance(r, cfi_fixed(&r->c, 8));
		return true;
	case OP_REMEMBER:
		remember(r);
		return true;
	case OP_RESTORE_STATE:
		recall(r);
		return true;
	case OP_GNU_ARGS_SIZE: /* for landing pads only */
		cfi_uleb(&r->c);
		return true;
	case OP_NEGATE_RA_STATE:
		r->now.is_signed = r->is_aarch64 && !r->now.is_signed;
		return true;
	default:
		return false;
	}
}

/* Opcodes that define the CFA. False: another. */
static bool do_cfa(struct run *r, unsigned op)
{
	switch (op) {
	case OP_DEF_CFA:
		set_cfa_register(r, cfi_uleb(&r->c));
		set_cfa_offset(r, fit(r, (int64_t)cfi_uleb(&r->c)));
		return true;
	case OP_DEF_CFA_SF:
		set_cfa_register(r, cfi_uleb(&r->c));
		set_cfa_offset(r, scale(r, cfi_sleb(&r->c)));
		return true;
	case OP_DEF_CFA_REGISTER:
		if (r->now.cfa.how != CFI_VAL_OFFSET)
			r->c.bad = true;
		set_cfa_register(r, cfi_uleb(&r->c));
		return true;
	case OP_DEF_CFA_OFFSET:
		set_cfa_offset(r, fit(r, (int64_t)cfi_uleb(&r->c)));
		return true;
	case OP_DEF_CFA_OFFSET_SF:
		set_cfa_offset(r, scale(r, cfi_sleb(&r->c)));
		return true;
	case OP_DEF_CFA_EXPRESSION:
		set_expression(r, &r->now.cfa, CFI_VAL_EXPR);
		return true;
	default:
		return false;
	}
}

/* Opcodes that begin with a register. */
static void do_register(struct run *r, unsigned op)
{
	uint64_t reg = cfi_uleb(&r->c);

	switch (op) {
	case OP_OFFSET_EXTENDED:
		set_rule(r, reg, CFI_OFFSET, scale(r, (int64_t)cfi_uleb(&r->c)));
		break;
	case OP_OFFSET_EXTENDED_SF:
		set_rule(r, reg, CFI_OFFSET, scale(r, cfi_sleb(&r->c)));
		break;
	case OP_GNU_NEGATIVE_OFFSET:
		set_rule(r, reg, CFI_OFFSET, scale(r, -(int64_t)cfi_uleb(&r->c)));
		break;
	case OP_VAL_OFFSET:
		set_rule(r, reg, CFI_VAL_OFFSET, scale(r, (int64_t)cfi_uleb(&r->c)));
		break;
	case OP_VAL_OFFSET_SF:
		set_rule(r, reg, CFI_VAL_OFFSET, scale(r, cfi_sleb(&r->c)));
		break;
	case OP_REGISTER:
		set_rule(r, reg, CFI_REGISTER, fit(r, (int64_t)cfi_uleb(&r->c)));
		break;
	case OP_RESTORE_EXTENDED:
		restore_rule(r, reg);
		break;
	case OP_UNDEFINED:
		set_rule(r, reg, CFI_UNDEFINED, 0);
		break;
	case OP_SAME_VALUE:
		set_rule(r, reg, CFI_SAME, 0);
		break;
	default:
		r->c.bad = true;
	}
}

static void do_other(struct run *r, unsigned op)
{
	if (do_state(r, op) || do_cfa(r, op))
		return;
	if (op == OP_EXPRESSION)
		set_rule_expression(r, CFI_EXPR);
	else if (op == OP_VAL_EXPRESSION)
		set_rule_expression(r, CFI_VAL_EXPR);
	else
		do_register(r, op);
}

static void do_instruction(struct run *r)
{
	unsigned op = (unsigned)cfi_fixed(&r->c, 1), low = op & 0x3f;

	switch (op & 0xc0) {
	case OP_ADVANCE:
		advance(r, low);
		break;
	case OP_OFFSET:
		set_rule(r, low, CFI_OFFSET, scale(r, (int64_t)cfi_uleb(&r->c)));
		break;
	case OP_RESTORE:
		restore_rule(r, low);
		break;
	default:
		do_other(r, op);
	}
}

/* Until the instructions end or have gone beyond the target; what moves there is the
 * last that is executed and changes no rule. */
static int execute(struct run *r, const struct cfi_cursor *program)
{
	r->c = *program;
	while (r->c.at < r->c.end && r->loc <= r->target) {
		if (++r->steps > MAX_STEPS)
			return -ENOEXEC;
		do_instruction(r);
		if (r->c.bad)
			return -ENOEXEC;
	}
	return 0;
}

static void fill_row(const struct run *r, struct cfi_row *ret)
{
	ret->start = r->e->start;
	ret->end = r->e->end;
	ret->cfa = r->now.cfa;
	ret->section = (uint8_t)r->form;
	ret->flags =
		(r->e->signal ? CFI_SIGNAL : 0) | (r->now.is_signed ? CFI_SIGNED : 0);
	ret->ra = (uint8_t)r->e->ra;
	ret->nrules = 0;
	for (unsigned i = 0; i < CFI_NREGS; i++) {
		if (r->now.rule[i].how != RULE_NONE)
			ret->rule[ret->nrules++] = r->now.rule[i];
	}
}

int cfi_run(const struct obj_cfi *f, enum cfi_form form, const struct cfi_entry *e,
	    unsigned machine, uint64_t vaddr, struct cfi_row *ret)
{
	struct run r;
	int err;

	r.f = f;
	r.form = form;
	r.e = e;
	r.target = vaddr;
	r.loc = e->start;
	r.nkept = r.steps = 0;
	r.is_aarch64 = machine == EM_AARCH64;
	clear(&r.now);
	clear(&r.initial);
	err = execute(&r, &e->initial);
	if (err)
		return err;
	r.initial = r.now;
	r.loc = e->start;
	err = execute(&r, &e->program);
	if (err || r.now.cfa.how == RULE_NONE)
		return -ENOEXEC;
	fill_row(&r, ret);
	return 0;
}
