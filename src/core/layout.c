/* SPDX-License-Identifier: MIT */
/*
 * CPUs, as far as their cores differ: struct elf_prstatus has the registers in its middle
 * (arch/x86/include/asm/user_64.h, arch/arm64/include/uapi/asm/ptrace.h). All the rest is
 * the same on every 64-bit CPU.
 */
#include <elf.h>

#include "core/core.h"

static const struct core_layout layouts[] = {
	{ .machine = EM_X86_64,
	  .name = "x86_64",
	  .nregs = 27,
	  .pc = 16,
	  .sp = 19,
	  .fp = 4,
	  .prstatus = 336,
	  .sets = { { NT_PRFPREG, "CORE" }, { NT_X86_XSTATE, "LINUX" } } },
	{ .machine = EM_AARCH64,
	  .name = "aarch64",
	  .nregs = 34,
	  .pc = 32,
	  .sp = 31,
	  .fp = 29,
	  .prstatus = 392,
	  .sets = { { NT_PRFPREG, "CORE" },
		    { NT_ARM_TLS, "LINUX" },
		    { NT_ARM_SVE, "LINUX" },
		    { NT_ARM_PAC_MASK, "LINUX" } } },
};

const struct core_layout *core_layout_for(unsigned elf_machine)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
		if (layouts[i].machine == elf_machine)
			return &layouts[i];
	}
	return NULL;
}
