/* SPDX-License-Identifier: MIT */
/*
 * AArch64: the table, and emulation, which has nothing to emulate yet. The theory
 * stands in table_x86_64.c. Registers are words of user_regs_struct: x0 … x30 are 0 …
 * 30, then sp, pc, pstate.
 */
#include <elf.h>
#include <errno.h>

#include "arch/arch.h"

static const struct arch aarch64 = {
	.name = "aarch64",
	.elf_machine = EM_AARCH64,
	.trap = { 0x00, 0x00, 0x20, 0xd4 }, /* brk #0; the PC stays on it */
	.trap_len = 4,
	.trap_pc_adjust = 0,
	.nregs = 34,
	.reg_pc = 32,
	.reg_tp = ARCH_NOREG,
	.reg_sp = 31,
	.reg_fp = 29,
	.reg_ret = 0,
	.reg_arg = { 0, 1, 2, 3, 4, 5 },
	.sys_insn = { 0x01, 0x00, 0x00, 0xd4 }, /* svc #0 */
	.sys_len = 4,
	.insn_align = 4,
	.reg_sysnr = 8,
	.reg_sysret = 0,
	.reg_sysarg = { 0, 1, 2, 3, 4, 5 },
	.reg_sysorig = ARCH_NOREG, /* the PC tells (arch/arm64/kernel/signal.c) */
};

_Static_assert(sizeof(arch_regs_t) == 34 * 8, "user_regs_struct is 34 words");

const struct arch *const arch_native = &aarch64;

enum {
	PSTATE_32BIT = 1 << 4 /* PSR_MODE32_BIT */
};

bool arch_is_native(const arch_regs_t *regs)
{
	return !(regs->pstate & PSTATE_32BIT);
}

int arch_emulate(const struct arch_insn *insn, arch_regs_t *regs, const struct mem *m)
{
	return -ENOTSUP;
}
