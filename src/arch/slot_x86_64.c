/* SPDX-License-Identifier: MIT */
/*
 * x86-64: an instruction away from its place. Copied as it is, but for the 32-bit
 * displacement of a RIP-relative operand, and followed by `jmp *0(%rip)` with the address
 * behind it: that jump needs no register and reaches everywhere, so that only a
 * RIP-relative operand has to be near.
 */
#include <errno.h>
#include <string.h>

#include "arch/arch.h"

enum {
	JUMP = 14, /* ff 25 disp32, then the address */

	/* the kernel's, never seen by a program (include/linux/errno.h) */
	ERESTARTSYS = 512,
	ERESTARTNOINTR = 513,
	ERESTARTNOHAND = 514,
	ERESTART_RESTARTBLOCK = 516,
};

static int move_displacement(const struct arch_insn *insn, uint64_t from, uint64_t to,
			     uint8_t *bytes)
{
	int32_t disp;
	int64_t moved;

	if (!insn->disp_off)
		return 0;
	memcpy(&disp, insn->bytes + insn->disp_off, sizeof(disp));
	moved = (int64_t)((uint64_t)(int64_t)disp + from - to);
	disp = (int32_t)moved;
	if (disp != moved)
		return -ERANGE;
	memcpy(bytes + insn->disp_off, &disp, sizeof(disp));
	return 0;
}

int arch_relocate(const struct arch_insn *insn, uint64_t from, uint64_t to,
		  uint8_t *ret_bytes, size_t *ret_len)
{
	static const uint8_t jump[JUMP - 8] = { 0xff, 0x25, 0, 0, 0, 0 };
	uint8_t bytes[ARCH_SLOT_MAX];
	uint64_t back = from + insn->len;
	int err;

	if (insn->kind != ARCH_INSN_COPY || insn->len > ARCH_INSN_MAX ||
	    (insn->disp_off && insn->disp_off + 4 > insn->len))
		return -ENOTSUP;
	memcpy(bytes, insn->bytes, insn->len);
	err = move_displacement(insn, from, to, bytes);
	if (err)
		return err;
	memcpy(bytes + insn->len, jump, sizeof(jump));
	memcpy(bytes + insn->len + sizeof(jump), &back, sizeof(back));
	memcpy(ret_bytes, bytes, insn->len + (size_t)JUMP);
	*ret_len = insn->len + (size_t)JUMP;
	return 0;
}

int arch_slot_pc(const struct arch_insn *insn, uint64_t from, uint64_t slot, uint64_t pc,
		 uint64_t *ret_pc)
{
	if (pc - slot >= (uint64_t)insn->len + JUMP)
		return -ERANGE;
	*ret_pc = pc == slot ? from : from + insn->len;
	return 0;
}

void arch_syscall_entered(arch_regs_t *regs, uint64_t next)
{
	/* syscall leaves the address behind it in rcx (Intel SDM, SYSCALL) */
	regs->rip = regs->rcx = next;
}

bool arch_syscall_restarts(const arch_regs_t *regs)
{
	long long ret = (long long)regs->rax;

	return (long long)regs->orig_rax >= 0 &&
	       (ret == -ERESTARTSYS || ret == -ERESTARTNOINTR || ret == -ERESTARTNOHAND ||
		ret == -ERESTART_RESTARTBLOCK);
}
