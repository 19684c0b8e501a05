/* SPDX-License-Identifier: MIT */
/*
 * Where control goes behind an instruction. Text is gone through by the megabyte, so no
 * operands are decoded: what is asked of them stands in the raw encoding.
 */
#include <errno.h>

#include <Zydis/Zydis.h>

#include "arch/arch.h"

enum {
	NOTRACK = 0x3e, /* before an indirect jump (Intel SDM vol. 1, 17, CET) */
	MOD_REGISTER = 3,
	RM_SIB = 4,
	RM_PC = 5,
	NO_BASE = 5,
	NO_INDEX = 4,
	SCALE_8 = 3,
	INDIRECT_JUMP = 4, /* FF /4 */
};

/* A register of the CPU's own number; only to be compared. */
static uint8_t number(unsigned low, unsigned high)
{
	return (uint8_t)(low | high << 3);
}

/* add r64, r/m64 and add r/m64, r64: what it adds to. */
static uint8_t find_sum(const ZydisDecodedInstruction *insn)
{
	if (insn->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || !insn->raw.rex.W)
		return ARCH_NOREG;
	if (insn->opcode == 0x03)
		return number(insn->raw.modrm.reg, insn->raw.rex.R);
	if (insn->opcode == 0x01 && insn->raw.modrm.mod == MOD_REGISTER)
		return number(insn->raw.modrm.rm, insn->raw.rex.B);
	return ARCH_NOREG;
}

/* jmp through a register or through memory. */
static void fill_indirect(const ZydisDecodedInstruction *insn, uint64_t next,
			  struct arch_flow *ret)
{
	ret->kind = ARCH_FLOW_INDIRECT;
	ret->is_tracked =
		insn->raw.prefix_count == 0 || insn->raw.prefixes[0].value != NOTRACK;
	if (insn->raw.modrm.mod == MOD_REGISTER) {
		ret->reg = number(insn->raw.modrm.rm, insn->raw.rex.B);
	} else if (insn->raw.modrm.mod == 0 && insn->raw.modrm.rm == RM_PC) {
		ret->kind = ARCH_FLOW_STUB;
		ret->target = next + (uint64_t)insn->raw.disp.value;
	} else if (insn->raw.modrm.mod == 0 && insn->raw.modrm.rm == RM_SIB &&
		   insn->raw.sib.base == NO_BASE && insn->raw.sib.scale == SCALE_8 &&
		   (insn->raw.sib.index != NO_INDEX || insn->raw.rex.X)) {
		ret->target = (uint64_t)insn->raw.disp.value;
	}
}

static void fill_relative(const ZydisDecodedInstruction *insn, uint64_t next,
			  enum arch_flow_kind kind, struct arch_flow *ret)
{
	if (!insn->raw.imm[0].is_relative)
		return;
	ret->kind = (uint8_t)kind;
	ret->target = next + (uint64_t)insn->raw.imm[0].value.s;
}

/* Not the far ones, nor xabort. */
static void fill_jump(const ZydisDecodedInstruction *insn, uint64_t next,
		      struct arch_flow *ret)
{
	if (insn->raw.imm[0].is_relative)
		fill_relative(insn, next, ARCH_FLOW_JUMP, ret);
	else if (insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && insn->opcode == 0xff &&
		 insn->raw.modrm.reg == INDIRECT_JUMP)
		fill_indirect(insn, next, ret);
}

/* ret and ret imm, whatever stands before them; not the far ones, nor iret. */
static bool is_near_return(const ZydisDecodedInstruction *insn)
{
	return insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
	       (insn->opcode & 0xfe) == 0xc2;
}

/* lea reg, [rip + x], or in programs at fixed addresses mov reg32, x. */
static uint64_t find_address(const ZydisDecodedInstruction *insn, uint64_t next)
{
	if (insn->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		return 0;
	if (insn->opcode == 0x8d && insn->raw.modrm.mod == 0 &&
	    insn->raw.modrm.rm == RM_PC)
		return next + (uint64_t)insn->raw.disp.value;
	if ((insn->opcode & 0xf8) == 0xb8)
		return insn->raw.imm[0].value.u;
	return 0;
}

int arch_flow(const uint8_t *bytes, size_t n, uint64_t addr, struct arch_flow *ret)
{
	struct arch_flow flow = { .reg = ARCH_NOREG, .sum = ARCH_NOREG };
	ZydisDecodedInstruction insn;
	ZydisDecoder decoder;
	uint64_t next;

	if (n > ZYDIS_MAX_INSTRUCTION_LENGTH)
		n = ZYDIS_MAX_INSTRUCTION_LENGTH;
	if (ZYAN_FAILED(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64,
					 ZYDIS_STACK_WIDTH_64)) ||
	    ZYAN_FAILED(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes, n, &insn)))
		return -EILSEQ;
	flow.len = insn.length;
	next = addr + insn.length;
	switch (insn.meta.category) {
	case ZYDIS_CATEGORY_RET:
		flow.kind = is_near_return(&insn) ? ARCH_FLOW_RET : ARCH_FLOW_NEXT;
		break;
	case ZYDIS_CATEGORY_UNCOND_BR:
		fill_jump(&insn, next, &flow);
		break;
	case ZYDIS_CATEGORY_COND_BR:
		fill_relative(&insn, next, ARCH_FLOW_COND, &flow);
		break;
	case ZYDIS_CATEGORY_CALL:
		fill_relative(&insn, next, ARCH_FLOW_CALL, &flow);
		break;
	default:
		flow.sum = find_sum(&insn);
		flow.target = find_address(&insn, next);
		break;
	}
	*ret = flow;
	return 0;
}
