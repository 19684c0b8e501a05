/* SPDX-License-Identifier: MIT */
/*
 * x86-64: an instruction away from its place. Copied as it is, but for the 32-bit
 * displacement of a RIP-relative operand, and followed by a jump back: `jmp rel32` where
 * that reaches, else `jmp *0(%rip)` with the address behind it, which needs no register
 * and reaches everywhere. So only a RIP-relative operand has to be near. Either way
 * there and back costs less than 2 ns in a warm slot.
 *
 * The short form is taken where it can be as it reads no data: a program may close its
 * data to itself (wrpkru) and still execute.
 *
 * What may stand here was decided by the decoder (insn->may_move). What a slot cannot
 * hide: the PC in a signal frame, in si_addr of SIGILL and SIGFPE, in a sample. The
 * keeper moves those that it sees with arch_slot_pc(). A restartable sequence (rseq(2))
 * that is entered in its middle through a slot is not aborted by the kernel.
 */
#include <errno.h>
#include <string.h>

#include "arch/arch.h"

enum {
	JUMP_NEAR = 5, /* e9 disp32 */
	JUMP_FAR = 14, /* ff 25 00000000, then the address */

	/* the kernel's, never seen by a program (include/linux/errno.h) */
	ERESTARTSYS = 512,
	ERESTARTNOINTR = 513,
	ERESTARTNOHAND = 514,
	ERESTART_RESTARTBLOCK = 516,
};

_Static_assert((int)ARCH_INSN_MAX + (int)JUMP_FAR <= (int)ARCH_SLOT_MAX,
	       "a slot holds both");

/* The fields came through a socket. */
static bool is_movable(const struct arch_insn *insn)
{
	return insn->may_move == 1 && insn->len >= 1 && insn->len <= ARCH_INSN_MAX &&
	       insn->disp_off + (insn->disp_off ? 4 : 0) <= insn->len;
}

static int32_t displacement(const struct arch_insn *insn)
{
	int32_t disp;

	memcpy(&disp, insn->bytes + insn->disp_off, sizeof(disp));
	return disp;
}

/* Writes the way from the end of the field at `at` to `target`. */
static int write_distance(uint8_t *field, uint64_t end, uint64_t target)
{
	int64_t far = (int64_t)(target - end);
	int32_t near = (int32_t)far;

	if (near != far)
		return -ERANGE;
	memcpy(field, &near, sizeof(near));
	return 0;
}

/* Writes a jump that is to stand at `at`; returns its length. */
static size_t write_jump(uint8_t *bytes, uint64_t at, uint64_t target)
{
	static const uint8_t indirect[JUMP_FAR - 8] = { 0xff, 0x25 };

	bytes[0] = 0xe9;
	if (!write_distance(bytes + 1, at + JUMP_NEAR, target))
		return JUMP_NEAR;
	memcpy(bytes, indirect, sizeof(indirect));
	memcpy(bytes + sizeof(indirect), &target, sizeof(target));
	return JUMP_FAR;
}

int arch_relocate(const struct arch_insn *insn, uint64_t from, uint64_t to,
		  uint8_t *ret_bytes, size_t *ret_len)
{
	uint8_t bytes[ARCH_SLOT_MAX];
	uint64_t next = from + insn->len;
	size_t len = insn->len;

	if (!is_movable(insn))
		return -ENOTSUP;
	memcpy(bytes, insn->bytes, len);
	if (insn->disp_off &&
	    write_distance(bytes + insn->disp_off, to + len,
			   next + (uint64_t)(int64_t)displacement(insn)))
		return -ERANGE;
	len += write_jump(bytes + len, to + len, next);
	memcpy(ret_bytes, bytes, len);
	*ret_len = len;
	return 0;
}

uint64_t arch_slot_reach(const struct arch_insn *insn)
{
	int64_t disp;

	if (!is_movable(insn))
		return 0;
	if (!insn->disp_off)
		return UINT64_MAX;
	disp = displacement(insn);
	return (uint64_t)(INT32_MAX - (disp < 0 ? -disp - 1 : disp));
}

int arch_slot_pc(const struct arch_insn *insn, uint64_t from, uint64_t slot, uint64_t pc,
		 uint64_t *ret_pc)
{
	if (pc - slot >= (uint64_t)insn->len + JUMP_FAR)
		return -ERANGE;
	*ret_pc = pc == slot ? from : from + insn->len;
	return 0;
}

bool arch_touches_shadow_stack(const struct arch_insn *insn)
{
	return insn->kind == ARCH_INSN_RET || insn->kind == ARCH_INSN_CALL_REL ||
	       insn->kind == ARCH_INSN_CALL_REG;
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
