/* SPDX-License-Identifier: MIT */
/*
 * The CPU's own arithmetic, asked for its own flags: lahf gives SF ZF AF PF CF as they
 * lie in eflags, seto gives OF. (pushf would write below the stack pointer, where the
 * compiler may keep data.) lahf in 64-bit mode is lacking on the first x86-64 CPUs only,
 * those of 2003 to 2005.
 */
#include "arch/alu_x86_64.h"

enum {
	FLAGS_LAHF = 0xd5, /* SF ZF AF PF CF */
	FLAG_OF_BIT = 11,
	FLAG_OF = 1 << FLAG_OF_BIT,
};

/* ax as lahf and seto left it. */
static void store_flags(uint16_t ax, uint64_t *flags)
{
	*flags &= ~(uint64_t)(FLAGS_LAHF | FLAG_OF);
	*flags |= (ax >> 8 & FLAGS_LAHF) | (uint64_t)(ax & 1) << FLAG_OF_BIT;
}

/* One instruction, a and b in registers of the type's width. */
#define EXECUTE(insn, a, b, ax)                                                          \
	__asm__(insn " %[from], %[to]\n\tlahf\n\tseto %%al"                              \
		: [to] "+r"(a), "=a"(ax)                                                 \
		: [from] "r"(b)                                                          \
		: "cc")

#define DEFINE(name, type)                                                               \
	type name(enum arch_alu_op op, type a, type b, uint64_t *flags)                  \
	{                                                                                \
		uint16_t ax = 0;                                                         \
                                                                                         \
		switch (op) {                                                            \
		case ARCH_ALU_ADD:                                                       \
			EXECUTE("add", a, b, ax);                                        \
			break;                                                           \
		case ARCH_ALU_SUB:                                                       \
		case ARCH_ALU_CMP:                                                       \
			EXECUTE("sub", a, b, ax);                                        \
			break;                                                           \
		case ARCH_ALU_AND:                                                       \
		case ARCH_ALU_TEST:                                                      \
			EXECUTE("and", a, b, ax);                                        \
			break;                                                           \
		case ARCH_ALU_OR:                                                        \
			EXECUTE("or", a, b, ax);                                         \
			break;                                                           \
		case ARCH_ALU_XOR:                                                       \
			EXECUTE("xor", a, b, ax);                                        \
			break;                                                           \
		default:                                                                 \
			return a;                                                        \
		}                                                                        \
		store_flags(ax, flags);                                                  \
		return a;                                                                \
	}

/* clang-format off */
DEFINE(alu_64, uint64_t)
DEFINE(alu_32, uint32_t)
