/* SPDX-License-Identifier: MIT */
/*
 * The DWARF expression machine (DWARF 5, 2.5), as far as call frame information may use
 * it (6.4.2): numbers, registers, memory, arithmetic, branches. Bounded in steps and
 * depth, since branches go backwards too.
 */
#include <string.h>

#include "stack/inside.h"

enum {
	MAX_DEPTH = 64,   /* values on the stack */
	MAX_STEPS = 1000, /* operations */
	MAX_LEB = 10,     /* bytes of a number */
};

/* DW_OP_*. */
enum {
	OP_ADDR = 0x03,
	OP_DEREF = 0x06,
	OP_CONST1U = 0x08,
	OP_CONST1S = 0x09,
	OP_CONST2U = 0x0a,
	OP_CONST2S = 0x0b,
	OP_CONST4U = 0x0c,
	OP_CONST4S = 0x0d,
	OP_CONST8U = 0x0e,
	OP_CONST8S = 0x0f,
	OP_CONSTU = 0x10,
	OP_CONSTS = 0x11,
	OP_DUP = 0x12,
	OP_DROP = 0x13,
	OP_OVER = 0x14,
	OP_PICK = 0x15,
	OP_SWAP = 0x16,
	OP_ROT = 0x17,
	OP_ABS = 0x19,
	OP_AND = 0x1a,
	OP_DIV = 0x1b,
	OP_MINUS = 0x1c,
	OP_MOD = 0x1d,
	OP_MUL = 0x1e,
	OP_NEG = 0x1f,
	OP_NOT = 0x20,
	OP_OR = 0x21,
	OP_PLUS = 0x22,
	OP_PLUS_UCONST = 0x23,
	OP_SHL = 0x24,
	OP_SHR = 0x25,
	OP_SHRA = 0x26,
	OP_XOR = 0x27,
	OP_BRA = 0x28,
	OP_EQ = 0x29,
	OP_GE = 0x2a,
	OP_GT = 0x2b,
	OP_LE = 0x2c,
	OP_LT = 0x2d,
	OP_NE = 0x2e,
	OP_SKIP = 0x2f,
	OP_LIT0 = 0x30,
	OP_LIT31 = 0x4f,
	OP_BREG0 = 0x70,
	OP_BREG31 = 0x8f,
	OP_BREGX = 0x92,
	OP_DEREF_SIZE = 0x94,
	OP_NOP = 0x96,
};

/* One evaluation. */
struct machine {
	struct stack_walk *w;          /* memory */
	const struct stack_regs *regs; /* the frame's */
	const uint8_t *bytes;          /* the expression */
	size_t len, at;                /* its length, where we are in it */
	uint64_t stack[MAX_DEPTH];     /* the values */
	unsigned depth;                /* how many */
	int err;                       /* 0 or STACK_ERR_*; ends it */
};

static void spoil(struct machine *m)
{
	m->err = STACK_ERR_BROKEN;
}

static void push(struct machine *m, uint64_t value)
{
	if (m->depth == MAX_DEPTH)
		spoil(m);
	else
		m->stack[m->depth++] = value;
}

static uint64_t pop(struct machine *m)
{
	if (!m->depth) {
		spoil(m);
		return 0;
	}
	return m->stack[--m->depth];
}

/* The value `n` below the top. */
static uint64_t peek(struct machine *m, unsigned n)
{
	if (n >= m->depth) {
		spoil(m);
		return 0;
	}
	return m->stack[m->depth - 1 - n];
}

static uint64_t take_fixed(struct machine *m, unsigned size)
{
	uint64_t value = 0;

	if (size > m->len - m->at) {
		spoil(m);
		return 0;
	}
	memcpy(&value, m->bytes + m->at, size);
	m->at += size;
	return value;
}

static int64_t take_signed(struct machine *m, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (int64_t)(take_fixed(m, size) << shift) >> shift;
}

static uint64_t take_leb(struct machine *m, uint64_t sign_bit)
{
	uint64_t value = 0, byte = 0x80;
	unsigned bits = 0;

	for (int i = 0; i < MAX_LEB && byte & 0x80; i++, bits += 7) {
		byte = take_fixed(m, 1);
		value |= (byte & 0x7f) << bits;
	}
	if (byte & 0x80)
		spoil(m);
	if (byte & sign_bit && bits < 64)
		value |= ~0ull << bits;
	return value;
}

static uint64_t take_uleb(struct machine *m)
{
	return take_leb(m, 0);
}

static uint64_t take_sleb(struct machine *m)
{
	return take_leb(m, 0x40);
}

static void push_register(struct machine *m, uint64_t reg)
{
	uint64_t offset = take_sleb(m);

	if (reg >= STACK_NREGS || !stack_knows(m->regs, (unsigned)reg))
		spoil(m);
	else
		push(m, m->regs->r[reg] + offset);
}

static void dereference(struct machine *m, uint64_t size)
{
	uint64_t addr = pop(m), value = 0;

	if (!size || size > sizeof(value))
		spoil(m);
	else if (!m->err && size == sizeof(value))
		m->err = stack_word(m->w, addr, &value);
	else if (!m->err)
		m->err = stack_text(m->w, addr, &value, size);
	push(m, value);
}

static void jump(struct machine *m, int64_t by)
{
	int64_t to = (int64_t)m->at + by;

	if (to < 0 || (uint64_t)to > m->len)
		spoil(m);
	else
		m->at = (size_t)to;
}

/* Numbers that stand in the expression. False: another operation. */
static bool do_constant(struct machine *m, unsigned op)
{
	if (op >= OP_LIT0 && op <= OP_LIT31)
		push(m, op - OP_LIT0);
	else if (op >= OP_BREG0 && op <= OP_BREG31)
		push_register(m, op - OP_BREG0);
	else if (op == OP_BREGX)
		push_register(m, take_uleb(m));
	else if (op == OP_ADDR)
		push(m, take_fixed(m, 8));
	else if (op == OP_CONSTU)
		push(m, take_uleb(m));
	else if (op == OP_CONSTS)
		push(m, take_sleb(m));
	else if (op < OP_CONST1U || op > OP_CONST8S)
		return false;
	else if (op & 1)
		push(m, (uint64_t)take_signed(m, 1u << ((op - OP_CONST1U) / 2)));
	else
		push(m, take_fixed(m, 1u << ((op - OP_CONST1U) / 2)));
	return true;
}

static void rotate(struct machine *m)
{
	uint64_t a = pop(m), b = pop(m), c = pop(m);

	push(m, a);
	push(m, c);
	push(m, b);
}

static void swap(struct machine *m)
{
	uint64_t a = pop(m), b = pop(m);

	push(m, a);
	push(m, b);
}

/* What moves values about, memory, control. False: another operation. */
static bool do_plumbing(struct machine *m, unsigned op)
{
	int64_t by;

	switch (op) {
	case OP_NOP:
		return true;
	case OP_DUP:
		push(m, peek(m, 0));
		return true;
	case OP_DROP:
		pop(m);
		return true;
	case OP_OVER:
		push(m, peek(m, 1));
		return true;
	case OP_PICK:
		push(m, peek(m, (unsigned)take_fixed(m, 1)));
		return true;
	case OP_SWAP:
		swap(m);
		return true;
	case OP_ROT:
		rotate(m);
		return true;
	case OP_DEREF:
		dereference(m, 8);
		return true;
	case OP_DEREF_SIZE:
		dereference(m, take_fixed(m, 1));
		return true;
	case OP_SKIP:
		jump(m, take_signed(m, 2));
		return true;
	case OP_BRA:
		by = take_signed(m, 2);
		jump(m, pop(m) ? by : 0);
		return true;
	default:
		return false;
	}
}

/* One operand. False: another operation. */
static bool do_unary(struct machine *m, unsigned op)
{
	uint64_t a;

	switch (op) {
	case OP_ABS:
		a = pop(m);
		push(m, (int64_t)a < 0 ? -a : a);
		return true;
	case OP_NEG:
		push(m, -pop(m));
		return true;
	case OP_NOT:
		push(m, ~pop(m));
		return true;
	case OP_PLUS_UCONST:
		a = pop(m);
		push(m, a + take_uleb(m));
		return true;
	default:
		return false;
	}
}

/* a / b, both signed; what would trap is nonsense. */
static uint64_t divide(struct machine *m, uint64_t a, uint64_t b)
{
	if (!b || (b == UINT64_MAX && a == 1ull << 63)) {
		spoil(m);
		return 0;
	}
	return (uint64_t)((int64_t)a / (int64_t)b);
}

static uint64_t remainder_of(struct machine *m, uint64_t a, uint64_t b)
{
	if (!b) {
		spoil(m);
		return 0;
	}
	return a % b;
}

static uint64_t calculate(struct machine *m, unsigned op, uint64_t a, uint64_t b)
{
	int64_t sa = (int64_t)a, sb = (int64_t)b;

	switch (op) {
	case OP_AND:
		return a & b;
	case OP_DIV:
		return divide(m, a, b);
	case OP_MINUS:
		return a - b;
	case OP_MOD:
		return remainder_of(m, a, b);
	case OP_MUL:
		return a * b;
	case OP_OR:
		return a | b;
	case OP_PLUS:
		return a + b;
	case OP_SHL:
		return b < 64 ? a << b : 0;
	case OP_SHR:
		return b < 64 ? a >> b : 0;
	case OP_SHRA:
		return (uint64_t)(sa >> (b < 64 ? b : 63));
	case OP_XOR:
		return a ^ b;
	case OP_EQ:
		return a == b;
	case OP_GE:
		return sa >= sb;
	case OP_GT:
		return sa > sb;
	case OP_LE:
		return sa <= sb;
	case OP_LT:
		return sa < sb;
	case OP_NE:
		return a != b;
	default:
		spoil(m);
		return 0;
	}
}

static void do_operation(struct machine *m)
{
	unsigned op = (unsigned)take_fixed(m, 1);
	uint64_t a, b;

	if (do_constant(m, op) || do_plumbing(m, op) || do_unary(m, op))
		return;
	b = pop(m);
	a = pop(m);
	push(m, calculate(m, op, a, b));
}

int stack_expr(struct stack_walk *w, const struct stack_regs *regs, const uint8_t *bytes,
	       size_t len, const uint64_t *initial, uint64_t *ret)
{
	struct machine m;

	m.w = w;
	m.regs = regs;
	m.bytes = bytes;
	m.len = len;
	m.at = 0;
	m.depth = 0;
	m.err = 0;
	if (initial)
		push(&m, *initial);
	for (int i = 0; !m.err && m.at < m.len; i++) {
		if (i == MAX_STEPS)
			return STACK_ERR_BROKEN;
		do_operation(&m);
	}
	if (!m.err)
		*ret = pop(&m);
	return m.err;
}
