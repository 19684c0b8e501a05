/* SPDX-License-Identifier: MIT */
/* aarch64: no instruction is executed away from its place yet; each is stepped. */
#include <errno.h>

#include "arch/arch.h"

int arch_relocate(const struct arch_insn *insn, uint64_t from, uint64_t to,
		  uint8_t *ret_bytes, size_t *ret_len)
{
	(void)insn, (void)from, (void)to, (void)ret_bytes, (void)ret_len;
	return -ENOTSUP;
}

int arch_slot_pc(const struct arch_insn *insn, uint64_t from, uint64_t slot, uint64_t pc,
		 uint64_t *ret_pc)
{
	(void)insn, (void)from, (void)slot, (void)pc, (void)ret_pc;
	return -ERANGE;
}

void arch_syscall_entered(arch_regs_t *regs, uint64_t next)
{
	arch_set_pc(regs, next);
}

bool arch_syscall_restarts(const arch_regs_t *regs)
{
	(void)regs;
	return false;
}
