/* SPDX-License-Identifier: MIT */
/*
 * AArch64: registers (AADWARF64 4.1), signal frames, and what is done where no CFI covers
 * the PC. Return addresses may be signed (pointer authentication): user addresses have
 * 48 bits, what is above is the signature.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "stack/inside.h"

enum {
	REG_FP = 29,
	REG_LINK = 30,
	REG_SP = 31,
	NREGS = 32,
	WORD_PC = 32,
	NWORDS = 34,
	UC_IN_FRAME = 128, /* struct rt_sigframe: the siginfo comes first … */
	REGS_IN_UC = 184,  /* … then the ucontext, x0 behind the fault address */
};

/* mov x8, #139; svc #0: rt_sigreturn. The vDSO has no CFI for it since Linux 5.8
 * (arch/arm64/kernel/vdso/sigreturn.S says why). */
static bool is_trampoline(struct stack_walk *w, uint64_t pc)
{
	static const uint8_t code[] = { 0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4 };
	uint8_t text[sizeof(code)];

	return !stack_text(w, pc, text, sizeof(text)) &&
	       !memcmp(text, code, sizeof(code));
}

/* In the trampoline the signal frame begins at the stack pointer. */
static int leave_signal(struct stack_walk *w, const struct stack_frame *cur,
			struct stack_frame *next)
{
	uint64_t at = cur->regs.sp + UC_IN_FRAME + REGS_IN_UC, value;

	next->regs.known = 0;
	for (unsigned i = 0; i < NREGS; i++) {
		if (stack_word(w, at + i * sizeof(value), &value))
			return STACK_ERR_CUT;
		stack_set(&next->regs, i, value);
	}
	if (stack_word(w, at + WORD_PC * sizeof(value), &value))
		return STACK_ERR_CUT;
	stack_finish(w, value, next->regs.r[REG_SP], &next->regs);
	next->how = STACK_SIGNAL;
	return 0;
}

/* The caller of a function that has done nothing yet. */
static int by_link(struct stack_walk *w, const struct stack_frame *cur,
		   struct stack_frame *next)
{
	uint64_t ra = cur->regs.r[REG_LINK] & w->arch->code_mask;

	if (!stack_knows(&cur->regs, REG_LINK) || !stack_is_code(w, ra))
		return -ENOENT;
	stack_inherit(w, &cur->regs, &next->regs);
	stack_finish(w, ra, cur->regs.sp, &next->regs);
	next->how = STACK_RULE;
	return 0;
}

/* Instructions before which the link register holds the return address still: paciasp,
 * bti c, stp x29, x30, [sp, …]!; adrp x16 (a PLT entry begins so); ret. */
static bool is_first(uint32_t insn)
{
	return insn == 0xd503233f || insn == 0xd503245f ||
	       (insn & 0xffc07fff) == 0xa9807bfd || (insn & 0x9f00001f) == 0x90000010 ||
	       insn == 0xd65f03c0;
}

static int by_rule(struct stack_walk *w, const struct stack_frame *cur,
		   struct stack_frame *next)
{
	uint32_t insn;

	if (!cur->exact)
		return -ENOENT;
	/* A call through a bad pointer has set the link register, and that is all. */
	if (!stack_is_code(w, cur->regs.pc))
		return by_link(w, cur, next);
	if (stack_text(w, cur->regs.pc, &insn, sizeof(insn)) || !is_first(insn))
		return -ENOENT;
	return by_link(w, cur, next);
}

const struct stack_arch stack_aarch64 = {
	.name = "aarch64",
	.machine = EM_AARCH64,
	.sp = REG_SP,
	.fp = REG_FP,
	.link = REG_LINK,
	.pc = STACK_NOREG,
	.nregs = NREGS,
	.word = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
		  16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 },
	.word_pc = WORD_PC,
	.nwords = NWORDS,
	.args = { 0, 1, 2, 3, 4, 5 },
	.kept = 0x3ff80000, /* x19 to x29 */
	.code_mask = (1ull << 48) - 1,
	.is_trampoline = is_trampoline,
	.leave_signal = leave_signal,
	.by_rule = by_rule,
	.by_fp = stack_by_fp,
};
