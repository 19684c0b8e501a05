/* SPDX-License-Identifier: MIT */
/*
 * Bytes into struct arch_insn, with Zydis. See table_x86_64.c.
 *
 * Zydis tells lengths, operands and branch targets of everything; a kind that is
 * emulated is named only after the raw encoding was looked at too: the one-byte opcodes
 * below, a REX prefix with W where the operand size hangs on it, and no other prefix at
 * all. `bnd ret`, `notrack jmp`, `rep ret`, `data16 call` and their like mean what each
 * CPU makes of them, so they are OTHER. Nops touch neither memory nor segments: there
 * prefixes 66 and 2E, with which assemblers fill, are let pass.
 */
#include <errno.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "arch/arch.h"

/* An instruction with the operands that its encoding shows. */
struct decoded {
	ZydisDecodedInstruction insn; /* lengths, raw encoding */
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT_VISIBLE]; /* visible operands */
};

static int decode(const uint8_t *bytes, size_t n, struct decoded *ret)
{
	ZydisDecoder decoder;
	ZydisDecoderContext context;

	if (n > ZYDIS_MAX_INSTRUCTION_LENGTH)
		n = ZYDIS_MAX_INSTRUCTION_LENGTH;
	if (ZYAN_FAILED(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64,
					 ZYDIS_STACK_WIDTH_64)))
		return -EILSEQ;
	if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&decoder, &context, bytes, n,
						      &ret->insn)))
		return -EILSEQ;
	if (ZYAN_FAILED(ZydisDecoderDecodeOperands(&decoder, &context, &ret->insn,
						   ret->ops,
						   ret->insn.operand_count_visible)))
		return -EILSEQ;
	return 0;
}

/* Index in user_regs_struct of a 64-bit general register or RIP; ARCH_NOREG for
 * others. */
static uint8_t register_index(ZydisRegister reg)
{
	/* In the order of Zydis (and of the CPU): rax rcx rdx rbx rsp rbp rsi rdi r8 …
	 * r15. */
	static const uint8_t gpr[16] = { 10, 11, 12, 5, 19, 4, 13, 14,
					 9,  8,  7,  6, 3,  2, 1,  0 };

	if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15)
		return gpr[reg - ZYDIS_REGISTER_RAX];
	return reg == ZYDIS_REGISTER_RIP ? arch_native->reg_pc : ARCH_NOREG;
}

static bool is_register(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       register_index(op->reg.value) != ARCH_NOREG;
}

static bool has_rex(const ZydisDecodedInstruction *insn)
{
	return insn->attributes & ZYDIS_ATTRIB_HAS_REX;
}

/* No prefix but, perhaps, one REX. */
static bool is_plain(const ZydisDecodedInstruction *insn)
{
	return insn->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       insn->raw.prefix_count == (has_rex(insn) ? 1 : 0);
}

/* True for 90, 0F 1F /r and their fillers. F3 90 is pause, F2 and F0 are left alone. */
static bool is_nop(const ZydisDecodedInstruction *insn)
{
	if (insn->mnemonic == ZYDIS_MNEMONIC_ENDBR64)
		return insn->length == 4;
	if (insn->mnemonic != ZYDIS_MNEMONIC_NOP)
		return false;
	if (insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? insn->opcode != 0x90
							 : insn->opcode != 0x1f)
		return false;
	for (unsigned i = 0; i < insn->raw.prefix_count; i++) {
		uint8_t p = insn->raw.prefixes[i].value;

		if (p != 0x66 && p != 0x2e && (p & 0xf0) != 0x40)
			return false;
	}
	return true;
}

static bool is_syscall(const struct decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSENTER:
		return true;
	case ZYDIS_MNEMONIC_INT:
		return (d->ops[0].imm.value.u & 0xff) == 0x80;
	default:
		return false;
	}
}

static enum arch_insn_kind classify_push_pop(const struct decoded *d,
					     struct arch_insn *ret)
{
	if (!is_register(&d->ops[0]))
		return ARCH_INSN_OTHER;
	if ((d->insn.opcode & 8) == 0) {
		ret->src = register_index(d->ops[0].reg.value);
		return ARCH_INSN_PUSH_REG;
	}
	ret->dst = register_index(d->ops[0].reg.value);
	return ARCH_INSN_POP_REG;
}

static enum arch_insn_kind classify_move(const struct decoded *d, struct arch_insn *ret)
{
	if (!is_register(&d->ops[0]))
		return ARCH_INSN_OTHER;
	ret->dst = register_index(d->ops[0].reg.value);
	if (is_register(&d->ops[1])) {
		ret->src = register_index(d->ops[1].reg.value);
		return ARCH_INSN_MOV_REG;
	}
	if (d->ops[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return ARCH_INSN_OTHER;
	ret->imm = d->ops[1].imm.value.s;
	return ARCH_INSN_MOV_IMM;
}

static enum arch_insn_kind classify_subtract(const struct decoded *d,
					     struct arch_insn *ret)
{
	if (!is_register(&d->ops[0]) || d->ops[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return ARCH_INSN_OTHER;
	ret->dst = register_index(d->ops[0].reg.value);
	ret->imm = d->ops[1].imm.value.s;
	return ARCH_INSN_SUB_IMM;
}

static enum arch_insn_kind classify_lea(const struct decoded *d, struct arch_insn *ret)
{
	const ZydisDecodedOperand *from = &d->ops[1];

	if (!is_register(&d->ops[0]) || from->type != ZYDIS_OPERAND_TYPE_MEMORY)
		return ARCH_INSN_OTHER;
	ret->dst = register_index(d->ops[0].reg.value);
	ret->base = register_index(from->mem.base);
	ret->index = register_index(from->mem.index);
	ret->scale = ret->index == ARCH_NOREG ? 1 : from->mem.scale;
	ret->imm = from->mem.disp.has_displacement ? from->mem.disp.value : 0;
	return ARCH_INSN_LEA;
}

/* With REX.W and no other prefix. */
static enum arch_insn_kind classify_wide(const struct decoded *d, struct arch_insn *ret)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		return classify_move(d, ret);
	case ZYDIS_MNEMONIC_SUB:
		return classify_subtract(d, ret);
	case ZYDIS_MNEMONIC_LEA:
		return classify_lea(d, ret);
	default:
		return ARCH_INSN_OTHER;
	}
}

/* Without any prefix. */
static enum arch_insn_kind classify_bare(const struct decoded *d, struct arch_insn *ret)
{
	switch (d->insn.opcode) {
	case 0xc3:
		return ARCH_INSN_RET;
	case 0xc2:
		ret->imm = d->ops[0].imm.value.u & UINT16_MAX;
		return ARCH_INSN_RET;
	case 0xeb:
	case 0xe9:
		ret->imm = d->ops[0].imm.value.s;
		return ARCH_INSN_JMP_REL;
	case 0xe8:
		ret->imm = d->ops[0].imm.value.s;
		return ARCH_INSN_CALL_REL;
	default:
		return ARCH_INSN_OTHER;
	}
}

static enum arch_insn_kind classify(const struct decoded *d, struct arch_insn *ret)
{
	enum arch_insn_kind kind = ARCH_INSN_OTHER;

	if (is_nop(&d->insn))
		return ARCH_INSN_NOP;
	if (!is_plain(&d->insn) || d->insn.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		return ARCH_INSN_OTHER;
	if ((d->insn.opcode & 0xf0) == 0x50)
		return classify_push_pop(d, ret);
	if (!has_rex(&d->insn))
		kind = classify_bare(d, ret);
	else if (d->insn.raw.rex.W)
		kind = classify_wide(d, ret);
	return kind;
}

/* True for what ends straight-line code without a branch that can be named. */
static bool is_end(const ZydisDecodedInstruction *insn)
{
	return insn->meta.category == ZYDIS_CATEGORY_RET ||
	       insn->mnemonic == ZYDIS_MNEMONIC_HLT ||
	       insn->mnemonic == ZYDIS_MNEMONIC_UD2;
}

/* May it be executed elsewhere: it neither shows nor takes from its own address anything
 * but through a RIP-relative operand, and goes on to the next one. */
static bool may_move(const struct decoded *d)
{
	switch (d->insn.meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_CET:
	case ZYDIS_CATEGORY_INVALID:
		return false;
	default:
		break;
	}
	/* A transaction's abort address, an exception on purpose, and what saves the
	 * address of the last x87 instruction. */
	return d->insn.mnemonic != ZYDIS_MNEMONIC_XBEGIN && !is_end(&d->insn) &&
	       d->insn.meta.category != ZYDIS_CATEGORY_X87_ALU &&
	       d->insn.address_width == 64 && !d->insn.raw.imm[0].is_relative;
}

/* What has not been found simple enough to be done without. */
static void classify_other(const struct decoded *d, struct arch_insn *ret)
{
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_SYSCALL && d->insn.length == 2) {
		ret->kind = ARCH_INSN_SYSCALL;
		return;
	}
	if (!may_move(d))
		return;
	ret->kind = ARCH_INSN_COPY;
	if (d->insn.attributes & ZYDIS_ATTRIB_IS_RELATIVE)
		ret->disp_off = d->insn.raw.disp.offset;
}

int arch_decode(const uint8_t *bytes, size_t n, struct arch_insn *ret)
{
	struct arch_insn insn = {
		.dst = ARCH_NOREG,
		.src = ARCH_NOREG,
		.base = ARCH_NOREG,
		.index = ARCH_NOREG,
		.scale = 1,
	};
	struct decoded d;
	int err = decode(bytes, n, &d);

	if (err)
		return err;
	insn.len = d.insn.length;
	insn.is_syscall = is_syscall(&d);
	insn.kind = classify(&d, &insn);
	if (insn.kind == ARCH_INSN_OTHER)
		classify_other(&d, &insn);
	memcpy(insn.bytes, bytes, insn.len);
	*ret = insn;
	return 0;
}

/* --- the first branch --------------------------------------------------------------- */

enum {
	WINDOW = 256, /* bytes read at once */
};

/* A stretch of code, read a window at a time. */
struct window {
	const struct mem *m;   /* the target */
	uint64_t addr;         /* of the next instruction */
	size_t left;           /* bytes that may still be looked at, from addr */
	size_t pos, len;       /* next and last byte of what was read */
	uint8_t bytes[WINDOW]; /* read, not yet consumed from pos on */
};

/* Has an instruction's worth of bytes at pos, or all that can be read of it. */
static int fill(struct window *w)
{
	size_t have = w->len - w->pos, want = w->left < WINDOW ? w->left : WINDOW;
	ssize_t n;

	if (have >= ZYDIS_MAX_INSTRUCTION_LENGTH || have >= want)
		return 0;
	memmove(w->bytes, w->bytes + w->pos, have);
	w->pos = 0;
	w->len = have;
	n = mem_read(w->m, w->addr + have, w->bytes + have, want - have);
	if (n > 0)
		w->len += (size_t)n;
	if (w->len == 0)
		return n < 0 ? (int)n : -EFAULT;
	return 0;
}

/* Decodes the instruction at the window's place. */
static int peek(struct window *w, struct decoded *ret)
{
	int err;

	if (w->left == 0)
		return -ENOENT;
	err = fill(w);
	if (err)
		return err;
	err = decode(w->bytes + w->pos, w->len - w->pos, ret);
	if (!err || w->len - w->pos >= ZYDIS_MAX_INSTRUCTION_LENGTH)
		return err;
	/* Cut off, or bad: by the caller's bound, or by memory that ends. */
	return w->len - w->pos >= w->left ? -ENOENT : -EFAULT;
}

static void skip(struct window *w, size_t len)
{
	w->pos += len;
	w->addr += len;
	w->left -= len;
}

static bool is_branch(const ZydisDecodedInstruction *insn)
{
	return insn->meta.category == ZYDIS_CATEGORY_CALL ||
	       insn->meta.category == ZYDIS_CATEGORY_UNCOND_BR;
}

static struct arch_branch branch_of(const struct decoded *d, uint64_t addr)
{
	const ZydisDecodedOperand *op = &d->ops[0];
	struct arch_branch b = {
		.addr = addr,
		.call = d->insn.meta.category == ZYDIS_CATEGORY_CALL,
	};

	if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && op->imm.is_relative)
		b.target = addr + d->insn.length + (uint64_t)op->imm.value.s;
	return b;
}

int arch_next_branch(const struct mem *m, uint64_t addr, size_t max,
		     struct arch_branch *ret)
{
	struct window w = { .m = m, .addr = addr, .left = max };
	struct decoded d;
	int err;

	while ((err = peek(&w, &d)) == 0) {
		if (is_branch(&d.insn)) {
			*ret = branch_of(&d, w.addr);
			return 0;
		}
		if (is_end(&d.insn))
			return -ENOENT;
		skip(&w, d.insn.length);
	}
	return err;
}
