/* SPDX-License-Identifier: MIT */
/*
 * Bytes into struct arch_insn, with Zydis. See table_x86_64.c.
 *
 * Zydis tells lengths, operands and branch targets of everything; a kind that is
 * emulated is named only after the raw encoding was looked at too: the one-byte opcodes
 * below, a REX prefix with W where the operand size hangs on it, and no other prefix at
 * all. `bnd ret`, `notrack jmp`, `rep ret`, `data16 call` and their like mean what each
 * CPU makes of them, so the CPU executes them. Nops touch neither memory nor segments:
 * there prefixes 66 and 2E, with which assemblers fill, are let pass.
 *
 * What is not emulated may be executed elsewhere (COPY) if its own address shows
 * nowhere but in a RIP-relative operand. That excludes, and leaves to be stepped in place
 * (OTHER): what pushes or saves the PC or jumps relative to it (call, jcc, syscall, int,
 * xbegin), what shows it to a handler by intent (int3, ud2), every x87 instruction (each
 * leaves its address where fnstenv finds it: Intel SDM vol. 1, 8.1.8), what sets TF,
 * stops interrupts for one instruction or changes what a segment is (popf, mov and pop to
 * a segment register, lss), and what reads or writes its own bytes, in which a trap
 * stands.
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

/* Index in user_regs_struct of a general register of 32 or 64 bits, or RIP; ARCH_NOREG
 * for others. */
static uint8_t register_index(ZydisRegister reg)
{
	/* In the order of Zydis (and of the CPU): rax rcx rdx rbx rsp rbp rsi rdi r8 …
	 * r15. */
	static const uint8_t gpr[16] = { 10, 11, 12, 5, 19, 4, 13, 14,
					 9,  8,  7,  6, 3,  2, 1,  0 };

	if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15)
		return gpr[reg - ZYDIS_REGISTER_RAX];
	if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D)
		return gpr[reg - ZYDIS_REGISTER_EAX];
	return reg == ZYDIS_REGISTER_RIP ? arch_native->reg_pc : ARCH_NOREG;
}

/* A general register of 32 or 64 bits. */
static bool is_register(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_REGISTER && op->size >= 32 &&
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

/* A string instruction that repeats; elsewhere these prefixes mean other things. */
static bool is_rep(const ZydisDecodedInstruction *insn)
{
	return insn->attributes &
	       (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
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

/* dst and width; src or imm. False when one of the operands is in memory. */
static bool take_operands(const struct decoded *d, struct arch_insn *ret)
{
	if (!is_register(&d->ops[0]))
		return false;
	ret->dst = register_index(d->ops[0].reg.value);
	ret->width = d->ops[0].size / 8;
	if (d->ops[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		ret->imm = d->ops[1].imm.value.s;
		return true;
	}
	if (!is_register(&d->ops[1]))
		return false;
	ret->src = register_index(d->ops[1].reg.value);
	return true;
}

static enum arch_insn_kind classify_move(const struct decoded *d, struct arch_insn *ret)
{
	if (!take_operands(d, ret))
		return ARCH_INSN_OTHER;
	return ret->src == ARCH_NOREG ? ARCH_INSN_MOV_IMM : ARCH_INSN_MOV_REG;
}

static enum arch_insn_kind classify_alu(const struct decoded *d, enum arch_alu_op op,
					struct arch_insn *ret)
{
	ret->op = op;
	return take_operands(d, ret) ? ARCH_INSN_ALU : ARCH_INSN_OTHER;
}

static void take_address(const ZydisDecodedOperand *op, struct arch_insn *ret)
{
	ret->base = register_index(op->mem.base);
	ret->index = register_index(op->mem.index);
	ret->scale = ret->index == ARCH_NOREG ? 1 : op->mem.scale;
	ret->imm = op->mem.disp.has_displacement ? op->mem.disp.value : 0;
}

static enum arch_insn_kind classify_lea(const struct decoded *d, struct arch_insn *ret)
{
	const ZydisDecodedOperand *from = &d->ops[1];

	if (!is_register(&d->ops[0]) || from->type != ZYDIS_OPERAND_TYPE_MEMORY)
		return ARCH_INSN_OTHER;
	ret->dst = register_index(d->ops[0].reg.value);
	ret->width = d->ops[0].size / 8;
	take_address(from, ret);
	return ARCH_INSN_LEA;
}

/* Registers and immediates only. */
static enum arch_insn_kind classify_arithmetic(const struct decoded *d,
					       struct arch_insn *ret)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		return classify_move(d, ret);
	case ZYDIS_MNEMONIC_LEA:
		return classify_lea(d, ret);
	case ZYDIS_MNEMONIC_ADD:
		return classify_alu(d, ARCH_ALU_ADD, ret);
	case ZYDIS_MNEMONIC_SUB:
		return classify_alu(d, ARCH_ALU_SUB, ret);
	case ZYDIS_MNEMONIC_CMP:
		return classify_alu(d, ARCH_ALU_CMP, ret);
	case ZYDIS_MNEMONIC_AND:
		return classify_alu(d, ARCH_ALU_AND, ret);
	case ZYDIS_MNEMONIC_TEST:
		return classify_alu(d, ARCH_ALU_TEST, ret);
	case ZYDIS_MNEMONIC_OR:
		return classify_alu(d, ARCH_ALU_OR, ret);
	case ZYDIS_MNEMONIC_XOR:
		return classify_alu(d, ARCH_ALU_XOR, ret);
	default:
		return ARCH_INSN_OTHER;
	}
}

/* FF: call and jmp through a register. Neither looks at REX.W. */
static enum arch_insn_kind classify_indirect(const struct decoded *d,
					     struct arch_insn *ret)
{
	if (!is_register(&d->ops[0]))
		return ARCH_INSN_OTHER;
	ret->src = register_index(d->ops[0].reg.value);
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_JMP)
		return ARCH_INSN_JMP_REG;
	return d->insn.mnemonic == ZYDIS_MNEMONIC_CALL ? ARCH_INSN_CALL_REG
						       : ARCH_INSN_OTHER;
}

/* One-byte opcodes with nothing but an immediate. */
static enum arch_insn_kind kind_of_opcode(uint8_t opcode)
{
	static const struct {
		uint8_t first, last; /* opcodes */
		uint8_t kind;        /* enum arch_insn_kind */
	} table[] = {
		{ 0x68, 0x68, ARCH_INSN_PUSH_IMM }, { 0x6a, 0x6a, ARCH_INSN_PUSH_IMM },
		{ 0x70, 0x7f, ARCH_INSN_JCC },      { 0xc2, 0xc3, ARCH_INSN_RET },
		{ 0xc9, 0xc9, ARCH_INSN_LEAVE },    { 0xe0, 0xe3, ARCH_INSN_LOOP },
		{ 0xe8, 0xe8, ARCH_INSN_CALL_REL }, { 0xe9, 0xe9, ARCH_INSN_JMP_REL },
		{ 0xeb, 0xeb, ARCH_INSN_JMP_REL },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (opcode >= table[i].first && opcode <= table[i].last)
			return table[i].kind;
	return ARCH_INSN_OTHER;
}

/* Without any prefix. The low bits of an opcode are a condition or a kind of loop. */
static enum arch_insn_kind classify_bare(const struct decoded *d, struct arch_insn *ret)
{
	enum arch_insn_kind kind = kind_of_opcode(d->insn.opcode);

	if (kind == ARCH_INSN_OTHER)
		return kind;
	if (d->insn.raw.imm[0].size)
		ret->imm = d->insn.raw.imm[0].value.s;
	if (kind == ARCH_INSN_RET)
		ret->imm &= UINT16_MAX;
	ret->op = d->insn.opcode & (kind == ARCH_INSN_LOOP ? 3 : 15);
	ret->width = 8;
	return kind;
}

static enum arch_insn_kind classify_two_byte(const struct decoded *d,
					     struct arch_insn *ret)
{
	if ((d->insn.opcode & 0xf0) != 0x80 || has_rex(&d->insn))
		return ARCH_INSN_OTHER;
	ret->op = d->insn.opcode & 15;
	ret->imm = d->insn.raw.imm[0].value.s;
	return ARCH_INSN_JCC;
}

/* loop and jecxz with prefix 67 count in ecx; they have no other way past. */
static bool is_short_loop(const ZydisDecodedInstruction *insn)
{
	return insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
	       (insn->opcode & 0xfc) == 0xe0 && insn->length == 3 &&
	       insn->raw.prefixes[0].value == 0x67;
}

static enum arch_insn_kind classify_short_loop(const struct decoded *d,
					       struct arch_insn *ret)
{
	enum arch_insn_kind kind = classify_bare(d, ret);

	ret->width = 4;
	return kind;
}

static enum arch_insn_kind classify(const struct decoded *d, struct arch_insn *ret)
{
	enum arch_insn_kind kind = ARCH_INSN_OTHER;

	if (is_nop(&d->insn))
		return ARCH_INSN_NOP;
	if (is_short_loop(&d->insn))
		return classify_short_loop(d, ret);
	if (!is_plain(&d->insn))
		return ARCH_INSN_OTHER;
	if (d->insn.opcode_map == ZYDIS_OPCODE_MAP_0F)
		return classify_two_byte(d, ret);
	if (d->insn.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		return ARCH_INSN_OTHER;
	if ((d->insn.opcode & 0xf0) == 0x50)
		return classify_push_pop(d, ret);
	if (d->insn.opcode == 0xff)
		return classify_indirect(d, ret);
	if (!has_rex(&d->insn))
		kind = classify_bare(d, ret);
	return kind != ARCH_INSN_OTHER ? kind : classify_arithmetic(d, ret);
}

/* --- elsewhere ---------------------------------------------------------------------- */

/* What shows or uses its own address by its nature: see above. Near ret and indirect jmp
 * do not, and go where they would have gone. */
static bool is_bound_by_category(const struct decoded *d)
{
	switch (d->insn.meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_INVALID:
	case ZYDIS_CATEGORY_IO:
	case ZYDIS_CATEGORY_IOSTRINGOP:
	case ZYDIS_CATEGORY_PT:
	case ZYDIS_CATEGORY_SEGOP:
	case ZYDIS_CATEGORY_SGX:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_UINTR:
	case ZYDIS_CATEGORY_VTX:
		return true;
	case ZYDIS_CATEGORY_RET:
		return (d->insn.opcode & 0xfe) != 0xc2;
	case ZYDIS_CATEGORY_SYSTEM:
		return d->insn.mnemonic != ZYDIS_MNEMONIC_RDTSC &&
		       d->insn.mnemonic != ZYDIS_MNEMONIC_RDTSCP;
	case ZYDIS_CATEGORY_UNCOND_BR:
		return d->insn.opcode != 0xff ||
		       d->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
	default:
		return false;
	}
}

static bool is_bound_by_mnemonic(const struct decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_XBEGIN:
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		return true;
	default:
		return false;
	}
}

/* fwait and the escape opcodes. */
static bool is_x87(const ZydisDecodedInstruction *insn)
{
	return insn->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
	       (insn->opcode == 0x9b || (insn->opcode & 0xf8) == 0xd8);
}

static bool loads_segment(const struct decoded *d)
{
	const ZydisDecodedOperand *op = &d->ops[0];

	return d->insn.operand_count_visible > 0 &&
	       op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_SEGMENT &&
	       (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
}

/* The operand that is reached from the PC, if there is one. */
static const ZydisDecodedOperand *find_relative(const struct decoded *d)
{
	for (unsigned i = 0; i < d->insn.operand_count_visible; i++) {
		const ZydisDecodedOperand *op = &d->ops[i];

		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (op->mem.base == ZYDIS_REGISTER_RIP ||
		     op->mem.base == ZYDIS_REGISTER_EIP))
			return op;
	}
	return NULL;
}

/* Does the operand, or what may be behind it, lie on the instruction's own bytes? Sizes
 * that hang on the CPU's state (xsave, fxsave) are told as 0 or short. */
static bool is_self(const struct decoded *d, const ZydisDecodedOperand *op)
{
	int64_t size = op->size > 512 || op->size == 0 ? 65536 : op->size / 8;
	int64_t begin = d->insn.length + op->mem.disp.value;

	return op->mem.type == ZYDIS_MEMOP_TYPE_MEM && begin < d->insn.length &&
	       begin + size > 0;
}

static bool may_move(const struct decoded *d, struct arch_insn *ret)
{
	const ZydisDecodedOperand *op = find_relative(d);

	if (is_bound_by_category(d) || is_bound_by_mnemonic(d) || is_x87(&d->insn) ||
	    loads_segment(d) || d->insn.raw.imm[0].is_relative)
		return false;
	if (!op)
		return true;
	if (op->mem.base != ZYDIS_REGISTER_RIP || d->insn.raw.disp.size != 32 ||
	    is_self(d, op))
		return false;
	ret->disp_off = d->insn.raw.disp.offset;
	return true;
}

/* FF /4, near, of 64 bits, by flat addresses: its operands are told, and it is executed.
 * `notrack` and `bnd` change nothing of where it goes. */
static bool is_known_jump(const struct decoded *d)
{
	const ZydisDecodedOperand *op = &d->ops[0];

	if (d->insn.mnemonic != ZYDIS_MNEMONIC_JMP || d->insn.opcode != 0xff ||
	    d->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || op->size != 64)
		return false;
	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
		return is_register(op);
	return op->type == ZYDIS_OPERAND_TYPE_MEMORY && d->insn.address_width == 64 &&
	       op->mem.segment != ZYDIS_REGISTER_FS &&
	       op->mem.segment != ZYDIS_REGISTER_GS;
}

static enum arch_insn_kind classify_jump(const struct decoded *d, struct arch_insn *insn)
{
	if (!insn->may_move)
		return ARCH_INSN_OTHER;
	if (d->ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
		insn->src = register_index(d->ops[0].reg.value);
	else
		take_address(&d->ops[0], insn);
	return ARCH_INSN_JMP_MEM;
}

/* What is not simple enough to be done without the CPU. */
static enum arch_insn_kind classify_other(const struct decoded *d, struct arch_insn *insn)
{
	if (is_known_jump(d))
		return classify_jump(d, insn);
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_SYSCALL && d->insn.length == 2)
		return ARCH_INSN_SYSCALL;
	return insn->may_move ? ARCH_INSN_COPY : ARCH_INSN_OTHER;
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
	insn.is_rep = is_rep(&d.insn);
	insn.may_move = may_move(&d, &insn);
	insn.kind = classify(&d, &insn);
	if (insn.kind == ARCH_INSN_OTHER)
		insn.kind = classify_other(&d, &insn);
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

/* True for what ends straight-line code without a branch that can be named. */
static bool is_end(const ZydisDecodedInstruction *insn)
{
	return insn->meta.category == ZYDIS_CATEGORY_RET ||
	       insn->mnemonic == ZYDIS_MNEMONIC_HLT ||
	       insn->mnemonic == ZYDIS_MNEMONIC_UD2;
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
