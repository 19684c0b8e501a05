/* SPDX-License-Identifier: MIT */
/*
 * Where a jump would go. Those that can be emulated are, on a copy of the registers; the
 * others have their operands decoded (ARCH_INSN_JMP_MEM).
 */
#include <errno.h>

#include "arch/arch.h"

static bool is_jump(const struct arch_insn *insn)
{
	return insn->kind == ARCH_INSN_JMP_REL || insn->kind == ARCH_INSN_JMP_REG ||
	       insn->kind == ARCH_INSN_JCC || insn->kind == ARCH_INSN_LOOP;
}

/* A general register, or the PC behind the instruction; the fields may have come through
 * a socket. */
static bool is_address_part(unsigned index)
{
	return index < 15 || index == arch_native->reg_sp || index == arch_native->reg_pc;
}

static int find_word(const struct arch_insn *insn, const arch_regs_t *regs, uint64_t *ret)
{
	uint64_t addr = (uint64_t)insn->imm;

	if (insn->base != ARCH_NOREG) {
		if (!is_address_part(insn->base))
			return -ENOTSUP;
		addr += arch_reg_get(regs, insn->base);
	}
	if (insn->base == arch_native->reg_pc)
		addr += insn->len;
	if (insn->index != ARCH_NOREG) {
		if (!is_address_part(insn->index))
			return -ENOTSUP;
		addr += arch_reg_get(regs, insn->index) * insn->scale;
	}
	*ret = addr;
	return 0;
}

static int through_memory(const struct arch_insn *insn, const arch_regs_t *regs,
			  const struct mem *m, uint64_t *ret)
{
	uint64_t addr, word;
	int err;

	if (insn->src != ARCH_NOREG) {
		if (!is_address_part(insn->src))
			return -ENOTSUP;
		*ret = arch_reg_get(regs, insn->src);
		return 0;
	}
	err = find_word(insn, regs, &addr);
	if (err)
		return err;
	if (!m || m->ops->read(m->ctx, addr, &word, sizeof(word)) != sizeof(word))
		return -EFAULT;
	*ret = word;
	return 0;
}

int arch_jump_target(const struct arch_insn *insn, const arch_regs_t *regs,
		     const struct mem *m, uint64_t *ret)
{
	arch_regs_t next = *regs;
	int err;

	if (insn->kind == ARCH_INSN_JMP_MEM)
		return through_memory(insn, regs, m, ret);
	if (!is_jump(insn))
		return -ENOTSUP;
	next.eflags &= ~0x100ull; /* TF, which is of no interest here */
	err = arch_emulate(insn, &next, m);
	if (!err)
		*ret = next.rip;
	return err;
}
