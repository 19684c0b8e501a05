/* SPDX-License-Identifier: MIT */
/*
 * Two-operand integer operations of x86-64 with their flags. Of src/arch only.
 */
#ifndef PGRAB_ARCH_ALU_X86_64_H
#define PGRAB_ARCH_ALU_X86_64_H

#include <stdint.h>

#include "arch/arch.h"

/*
 * a op b, and what the operation makes of CF, PF, AF, ZF, SF and OF in *flags; its other
 * bits stay. For CMP and TEST the value returned is to be dropped. Pure.
 */
uint64_t alu_64(enum arch_alu_op op, uint64_t a, uint64_t b, uint64_t *flags);
uint32_t alu_32(enum arch_alu_op op, uint32_t a, uint32_t b, uint64_t *flags);

#endif
