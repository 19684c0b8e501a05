/* SPDX-License-Identifier: MIT */
/* AArch64: not told yet. */
#include <errno.h>

#include "arch/arch.h"

int arch_jump_target(const struct arch_insn *insn, const arch_regs_t *regs,
		     const struct mem *m, uint64_t *ret)
{
	(void)insn;
	(void)regs;
	(void)m;
	(void)ret;
	return -ENOTSUP;
}
