/* SPDX-License-Identifier: MIT */
/* AArch64: no instruction is executed away from its place yet; each is stepped. */
#include <errno.h>

#include "arch/arch.h"

int arch_relocate(const struct arch_insn *insn, uint64_t from, uint64_t to,
		  uint8_t *ret_bytes, size_t *ret_len)
{
	return -ENOTSUP;
}

int arch_slot_pc(const struct arch_insn *insn, uint64_t from, uint64_t slot, uint64_t pc,
		 uint64_t *ret_pc)
{
	return -ERANGE;
}

uint64_t arch_slot_reach(const struct arch_insn *insn)
{
	return 0;
}

bool arch_touches_shadow_stack(const struct arch_insn *insn)
{
	return false;
}

void arch_syscall_entered(arch_regs_t *regs, uint64_t next)
{
	arch_set_pc(regs, next);
}

bool arch_syscall_restarts(const arch_regs_t *regs)
{
	return false;
}
