/* SPDX-License-Identifier: MIT */
/* AArch64: not told yet. */
#include <errno.h>

#include "arch/arch.h"

int arch_flow(const uint8_t *bytes, size_t n, uint64_t addr, struct arch_flow *ret)
{
	(void)bytes;
	(void)n;
	(void)addr;
	(void)ret;
	return -ENOTSUP;
}
