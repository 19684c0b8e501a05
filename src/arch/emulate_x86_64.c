/* SPDX-License-Identifier: MIT */
/*
 * Simple first instructions done by hand: what the CPU would do to the registers and the
 * stack, so that a breakpoint need not be lifted to get past it. See table_x86_64.c.
 *
 * Works on a copy of the registers and hands it back at the end: whatever fails,
 * nothing has changed. The stack is written last for the same reason.
 */
#include <errno.h>
#include <string.h>

#include "arch/arch.h"

enum {
	FLAG_CF = 1 << 0,
	FLAG_PF = 1 << 2,
	FLAG_AF = 1 << 4,
	FLAG_ZF = 1 << 6,
	FLAG_SF = 1 << 7,
	FLAG_TF = 1 << 8,
	FLAG_OF = 1 << 11,
	FLAG_RF = 1 << 16,
	FLAGS_ARITH = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF,

	CS_32BIT = 0x23, /* __USER32_CS: compatibility mode */
	ADDR_BITS = 47,  /* user addresses without a request for 5-level paging */
	PAGE = 4096,
};

/* True for the sixteen general registers: 0 r15 … 14 rdi (15 is orig_rax), and rsp. */
static bool is_gpr(unsigned index)
{
	return index < 15 || index == arch_native->reg_sp;
}

/* True when a jump to pc can be done by setting it. Elsewhere (non-canonical, vsyscall)
 * the CPU faults in its own way: let it. */
static bool is_user_address(uint64_t pc)
{
	return pc >> ADDR_BITS == 0;
}

/* Flags of a - b = r (Intel SDM vol. 1, 3.4.3.1), bit by bit. */
static uint64_t subtract_flags(uint64_t a, uint64_t b, uint64_t r)
{
	uint64_t flags = 0;

	if (a < b)
		flags |= FLAG_CF;
	if (!__builtin_parity((unsigned)(r & 0xff)))
		flags |= FLAG_PF;
	if ((a ^ b ^ r) & 0x10)
		flags |= FLAG_AF;
	if (r == 0)
		flags |= FLAG_ZF;
	if (r >> 63)
		flags |= FLAG_SF;
	if (((a ^ b) & (a ^ r)) >> 63)
		flags |= FLAG_OF;
	return flags;
}

static int subtract(const struct arch_insn *insn, arch_regs_t *regs)
{
	uint64_t a, r;

	if (!is_gpr(insn->dst))
		return -ENOTSUP;
	a = arch_reg_get(regs, insn->dst);
	r = a - (uint64_t)insn->imm;
	arch_reg_set(regs, insn->dst, r);
	regs->eflags &= ~(unsigned long long)FLAGS_ARITH;
	regs->eflags |= subtract_flags(a, (uint64_t)insn->imm, r);
	return 0;
}

static int move(const struct arch_insn *insn, arch_regs_t *regs)
{
	if (!is_gpr(insn->dst) || !is_gpr(insn->src))
		return -ENOTSUP;
	arch_reg_set(regs, insn->dst, arch_reg_get(regs, insn->src));
	return 0;
}

static int move_immediate(const struct arch_insn *insn, arch_regs_t *regs)
{
	if (!is_gpr(insn->dst))
		return -ENOTSUP;
	arch_reg_set(regs, insn->dst, (uint64_t)insn->imm);
	return 0;
}

/* A base of RIP means the address of the next instruction; the PC stands there
 * already. */
static int load_address(const struct arch_insn *insn, arch_regs_t *regs)
{
	uint64_t addr = (uint64_t)insn->imm;

	if (!is_gpr(insn->dst))
		return -ENOTSUP;
	if (insn->base != ARCH_NOREG) {
		if (!is_gpr(insn->base) && insn->base != arch_native->reg_pc)
			return -ENOTSUP;
		addr += arch_reg_get(regs, insn->base);
	}
	if (insn->index != ARCH_NOREG) {
		if (!is_gpr(insn->index) || insn->index == arch_native->reg_sp)
			return -ENOTSUP;
		if (insn->scale != 1 && insn->scale != 2 && insn->scale != 4 &&
		    insn->scale != 8)
			return -ENOTSUP;
		addr += arch_reg_get(regs, insn->index) * insn->scale;
	}
	arch_reg_set(regs, insn->dst, addr);
	return 0;
}

static int read_word(const struct mem *m, uint64_t addr, uint64_t *ret)
{
	uint64_t word;
	ssize_t n = m->ops->read(m->ctx, addr, &word, sizeof(word));

	if (n != (ssize_t)sizeof(word))
		return -EFAULT;
	*ret = word;
	return 0;
}

/* Writes one word whole or not at all: one that lies across two pages is put back when
 * the second cannot be written. */
static int write_word(const struct mem *m, uint64_t addr, uint64_t word)
{
	uint64_t old = 0;
	ssize_t n;

	if (!m->ops->write)
		return -EFAULT;
	if (addr % PAGE > PAGE - sizeof(word) && read_word(m, addr, &old))
		return -EFAULT;
	n = m->ops->write(m->ctx, addr, &word, sizeof(word));
	if (n == (ssize_t)sizeof(word))
		return 0;
	if (n > 0)
		(void)m->ops->write(m->ctx, addr, &old, (size_t)n);
	return -EFAULT;
}

static int push_value(arch_regs_t *regs, const struct mem *m, uint64_t value)
{
	int err;

	if (!is_user_address(regs->rsp - 8))
		return -ENOTSUP;
	err = write_word(m, regs->rsp - 8, value);
	if (err)
		return err;
	regs->rsp -= 8;
	return 0;
}

static int pop_value(arch_regs_t *regs, const struct mem *m, uint64_t *ret)
{
	uint64_t value;
	int err;

	if (!is_user_address(regs->rsp))
		return -ENOTSUP;
	err = read_word(m, regs->rsp, &value);
	if (err)
		return err;
	regs->rsp += 8;
	*ret = value;
	return 0;
}

/* `push rsp` stores rsp as it was before (Intel SDM vol. 2, PUSH). */
static int push_register(const struct arch_insn *insn, arch_regs_t *regs,
			 const struct mem *m)
{
	if (!is_gpr(insn->src))
		return -ENOTSUP;
	return push_value(regs, m, arch_reg_get(regs, insn->src));
}

/* `pop rsp` keeps the value read, not the increment. */
static int pop_register(const struct arch_insn *insn, arch_regs_t *regs,
			const struct mem *m)
{
	uint64_t value;
	int err;

	if (!is_gpr(insn->dst))
		return -ENOTSUP;
	err = pop_value(regs, m, &value);
	if (err)
		return err;
	arch_reg_set(regs, insn->dst, value);
	return 0;
}

static int return_near(const struct arch_insn *insn, arch_regs_t *regs,
		       const struct mem *m)
{
	uint64_t pc;
	int err;

	if (insn->imm < 0 || insn->imm > UINT16_MAX)
		return -ENOTSUP;
	err = pop_value(regs, m, &pc);
	if (err)
		return err;
	if (!is_user_address(pc))
		return -ENOTSUP;
	regs->rsp += (uint64_t)insn->imm;
	regs->rip = pc;
	return 0;
}

static int jump(const struct arch_insn *insn, arch_regs_t *regs)
{
	uint64_t pc = regs->rip + (uint64_t)insn->imm;

	if (!is_user_address(pc))
		return -ENOTSUP;
	regs->rip = pc;
	return 0;
}

static int call(const struct arch_insn *insn, arch_regs_t *regs, const struct mem *m)
{
	uint64_t back = regs->rip;
	int err = jump(insn, regs);

	if (err)
		return err;
	return push_value(regs, m, back);
}

/* With the PC behind the instruction already. */
static int perform(const struct arch_insn *insn, arch_regs_t *regs, const struct mem *m)
{
	switch (insn->kind) {
	case ARCH_INSN_NOP:
		return 0;
	case ARCH_INSN_PUSH_REG:
		return push_register(insn, regs, m);
	case ARCH_INSN_POP_REG:
		return pop_register(insn, regs, m);
	case ARCH_INSN_MOV_REG:
		return move(insn, regs);
	case ARCH_INSN_MOV_IMM:
		return move_immediate(insn, regs);
	case ARCH_INSN_LEA:
		return load_address(insn, regs);
	case ARCH_INSN_SUB_IMM:
		return subtract(insn, regs);
	case ARCH_INSN_RET:
		return return_near(insn, regs, m);
	case ARCH_INSN_JMP_REL:
		return jump(insn, regs);
	case ARCH_INSN_CALL_REL:
		return call(insn, regs, m);
	default:
		return -ENOTSUP;
	}
}

/*
 * A program that single-steps itself (TF) is owed a SIGTRAP behind the instruction, and
 * only the CPU gives it; a debugger's own TF is not in the flags that ptrace shows
 * (Linux, arch/x86/kernel/step.c). RF lasts for one instruction (Intel SDM vol. 3,
 * 17.3.1.1).
 */
int arch_emulate(const struct arch_insn *insn, arch_regs_t *regs, const struct mem *m)
{
	arch_regs_t next = *regs;
	int err;

	if (insn->len == 0 || insn->len > ARCH_INSN_MAX || insn->is_syscall)
		return -ENOTSUP;
	if (regs->cs == CS_32BIT || (regs->eflags & FLAG_TF))
		return -ENOTSUP;
	next.rip += insn->len;
	if (!is_user_address(next.rip))
		return -ENOTSUP;
	err = perform(insn, &next, m);
	if (err)
		return err;
	next.eflags &= ~(unsigned long long)FLAG_RF;
	*regs = next;
	return 0;
}
