/* SPDX-License-Identifier: MIT */
/*
 * x86-64, seen from above: one const table.
 *
 * Purpose. The layers above (keeper, handle, unwinder) know registers by role and
 * instructions by kind; this folder holds what a CPU makes of that. `arch_native` is
 * the one CPU that this build is for, chosen by meson.build by file, never by #ifdef:
 *
 *	table_CPU.c	the table                          library and keeper
 *	emulate_CPU.c	simple first instructions, done    library and keeper
 *			by hand on registers and stack
 *	slot_CPU.c	instructions put elsewhere         library and keeper
 *	decode_CPU.c	bytes -> struct arch_insn          library only
 *
 * The keeper decodes nothing. The client decodes the instruction under a breakpoint once
 * (with Zydis) and sends a plain struct arch_insn; the keeper emulates it at each hit.
 * So the keeper links neither Zydis nor src/mem: emulation calls the seam's operations
 * directly.
 *
 * Invariants. A kind that is emulated is a promise: registers, flags and stack after
 * arch_emulate() are bit for bit those after the CPU itself (tests/unit/test_arch.c
 * runs both and compares, random bytes included). So decode names one only for plain
 * encodings with operands of 32 or 64 bits; whatever else a byte string may mean is
 * executed: elsewhere (COPY, in a slot) where that cannot be told from its own place,
 * which tests/unit/test_arch_slot.c compares likewise, else in its place (OTHER).
 * Emulation and relocation trust no field of the value: it came through a socket.
 *
 * Registers are 8-byte words of user_regs_struct (<sys/user.h>), numbered in the order of
 * PTRACE_GETREGSET(NT_PRSTATUS): r15 is 0, gs is 26.
 *
 * Threads. No state at all; any thread, at any time.
 *
 * When the victim dies right here: reads and writes of its stack fail, -EFAULT or
 * -ESRCH is handed up and *regs is untouched.
 *
 * Deliberately not done: 8- and 16-bit operands (COPY), `call` through memory (OTHER: it
 * pushes its PC, and its operand may be shared), 32-bit code (emulation refuses CS 0x23),
 * user shadow stacks (x86, Linux 6.6: a thread with ARCH_SHSTK_SHSTK on must execute
 * call and ret itself; who has the thread can ask by PTRACE_GETREGSET(NT_X86_SHSTK), and
 * arch_touches_shadow_stack() says of what).
 */
#include <elf.h>

#include "arch/arch.h"

/* Indexes in user_regs_struct, in its order. */
enum {
	X86_RBP = 4,
	X86_R10 = 7,
	X86_R9 = 8,
	X86_R8 = 9,
	X86_RAX = 10,
	X86_RCX = 11,
	X86_RDX = 12,
	X86_RSI = 13,
	X86_RDI = 14,
	X86_ORIG_RAX = 15,
	X86_RIP = 16,
	X86_EFLAGS = 18,
	X86_RSP = 19,
	X86_FS_BASE = 21,
	X86_NREGS = 27,

	CS_64BIT = 0x33, /* __USER_CS */
};

_Static_assert(sizeof(arch_regs_t) == X86_NREGS * 8, "user_regs_struct is 27 words");
_Static_assert(offsetof(arch_regs_t, rip) == X86_RIP * 8, "rip");
_Static_assert(offsetof(arch_regs_t, rsp) == X86_RSP * 8, "rsp");
_Static_assert(offsetof(arch_regs_t, eflags) == X86_EFLAGS * 8, "eflags");

static const struct arch x86_64 = {
	.name = "x86_64",
	.elf_machine = EM_X86_64,
	.trap = { 0xcc }, /* int3; the CPU reports the address behind it */
	.trap_len = 1,
	.trap_pc_adjust = 1,
	.nregs = X86_NREGS,
	.reg_pc = X86_RIP,
	.reg_sp = X86_RSP,
	.reg_fp = X86_RBP,
	.reg_ret = X86_RAX,
	.has_user = 1,
	.reg_arg = { X86_RDI, X86_RSI, X86_RDX, X86_RCX, X86_R8, X86_R9 },
	.sys_insn = { 0x0f, 0x05 }, /* syscall */
	.sys_len = 2,
	.insn_align = 1,
	.reg_sysnr = X86_RAX,
	.reg_sysret = X86_RAX,
	.reg_sysarg = { X86_RDI, X86_RSI, X86_RDX, X86_R10, X86_R8, X86_R9 },
	.reg_sysorig = X86_ORIG_RAX,
	.reg_flags = X86_EFLAGS,
	.reg_tp = X86_FS_BASE,
	.resume_flag = 1u << 16, /* RF: set by the CPU in the flags of such a hit */
};

const struct arch *const arch_native = &x86_64;

bool arch_is_native(const arch_regs_t *regs)
{
	return regs->cs == CS_64BIT;
}
