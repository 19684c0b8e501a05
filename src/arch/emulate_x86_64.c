/* SPDX-License-Identifier: MIT */
/*
 * Simple first instructions done by hand: what the CPU would do to the registers and the
 * stack, so that a breakpoint need not be lifted to get past it. See table_x86_64.c.
 *
 * Works on a copy of the registers and hands it back at the end: whatever fails,
 * nothing has changed. The stack is written last for the same reason.
 *
 * Flags are not worked out: the CPU that we run on executes the same operation on the
 * same operands (alu_x86_64.c) and is asked for them, so that those which the manual
 * calls undefined (AF after and, or, xor) are the machine's own too.
 *
 * Memory is touched on the stack only. The kernel promises no atomicity for
 * process_vm_readv() and process_vm_writev(): x86's copy is `rep movsb` where the CPU
 * calls that fast (arch/x86/lib/copy_user_64.S), whose stores other CPUs may see one by
 * one (Intel SDM vol. 3, 9.2.4), where a mov of an aligned word is one access. An LWP's
 * own stack next to its pointer is read by nobody else meanwhile; any other operand may
 * be shared, so such instructions are executed: COPY. It costs less, too: an emulated
 * access is a system call of 0.5 µs and more.
 */
#include <errno.h>
#include <string.h>

#include "arch/alu_x86_64.h"
#include "arch/arch.h"

enum {
	FLAG_CF = 1 << 0,
	FLAG_PF = 1 << 2,
	FLAG_ZF = 1 << 6,
	FLAG_SF = 1 << 7,
	FLAG_TF = 1 << 8,
	FLAG_OF = 1 << 11,
	FLAG_RF = 1 << 16,

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

/* Writes of 32 bits clear the upper half (Intel SDM vol. 1, 3.4.1.1). */
static int set_operand(const struct arch_insn *insn, arch_regs_t *regs, uint64_t value)
{
	if (!is_gpr(insn->dst) || (insn->width != 4 && insn->width != 8))
		return -ENOTSUP;
	arch_reg_set(regs, insn->dst, insn->width == 4 ? (uint32_t)value : value);
	return 0;
}

/* A compare of 32 bits leaves the upper half alone: nothing is written. */
static int calculate(const struct arch_insn *insn, arch_regs_t *regs)
{
	uint64_t a, b = (uint64_t)insn->imm, flags = regs->eflags;
	bool keep = insn->op == ARCH_ALU_CMP || insn->op == ARCH_ALU_TEST;

	if (!is_gpr(insn->dst) || insn->op >= ARCH_ALU_NOPS)
		return -ENOTSUP;
	if (insn->src != ARCH_NOREG) {
		if (!is_gpr(insn->src))
			return -ENOTSUP;
		b = arch_reg_get(regs, insn->src);
	}
	a = arch_reg_get(regs, insn->dst);
	if (insn->width == 4)
		a = alu_32(insn->op, (uint32_t)a, (uint32_t)b, &flags);
	else
		a = alu_64(insn->op, a, b, &flags);
	regs->eflags = flags;
	return keep ? 0 : set_operand(insn, regs, a);
}

static int move(const struct arch_insn *insn, arch_regs_t *regs)
{
	if (!is_gpr(insn->src))
		return -ENOTSUP;
	return set_operand(insn, regs, arch_reg_get(regs, insn->src));
}

static int move_immediate(const struct arch_insn *insn, arch_regs_t *regs)
{
	return set_operand(insn, regs, (uint64_t)insn->imm);
}

/* A base of RIP means the address of the next instruction; the PC stands there
 * already. */
static int load_address(const struct arch_insn *insn, arch_regs_t *regs)
{
	uint64_t addr = (uint64_t)insn->imm;

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
	return set_operand(insn, regs, addr);
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

/* `mov rsp, rbp`, then `pop rbp` */
static int leave(arch_regs_t *regs, const struct mem *m)
{
	uint64_t value;
	int err;

	regs->rsp = regs->rbp;
	err = pop_value(regs, m, &value);
	if (err)
		return err;
	regs->rbp = value;
	return 0;
}

static int go_to(arch_regs_t *regs, uint64_t pc)
{
	if (!is_user_address(pc))
		return -ENOTSUP;
	regs->rip = pc;
	return 0;
}

static int jump(const struct arch_insn *insn, arch_regs_t *regs)
{
	return go_to(regs, regs->rip + (uint64_t)insn->imm);
}

static int jump_register(const struct arch_insn *insn, arch_regs_t *regs)
{
	return is_gpr(insn->src) ? go_to(regs, arch_reg_get(regs, insn->src)) : -ENOTSUP;
}

static int call(const struct arch_insn *insn, arch_regs_t *regs, const struct mem *m)
{
	uint64_t back = regs->rip;
	int err = insn->kind == ARCH_INSN_CALL_REG ? jump_register(insn, regs)
						   : jump(insn, regs);

	if (err)
		return err;
	return push_value(regs, m, back);
}

/* Conditions in pairs, the odd one of each negated (Intel SDM vol. 2, B.1.4.7). */
static bool holds(uint8_t condition, uint64_t flags)
{
	static const uint16_t any[8] = {
		FLAG_OF, FLAG_CF, FLAG_ZF, FLAG_CF | FLAG_ZF,
		FLAG_SF, FLAG_PF, 0,       FLAG_ZF,
	};
	bool less = !(flags & FLAG_SF) != !(flags & FLAG_OF);
	bool yes = flags & any[condition >> 1];

	if (condition >> 1 >= 6)
		yes = yes || less;
	return yes != (condition & 1);
}

static int jump_if(const struct arch_insn *insn, arch_regs_t *regs)
{
	if (insn->op > 15)
		return -ENOTSUP;
	return holds(insn->op, regs->eflags) ? jump(insn, regs) : 0;
}

/* No flag changes. A counter of 32 bits clears the upper half, when it is written. */
static int loop(const struct arch_insn *insn, arch_regs_t *regs)
{
	uint64_t mask = insn->width == 4 ? UINT32_MAX : UINT64_MAX;
	bool zero = regs->eflags & FLAG_ZF, yes;

	if (insn->op >= ARCH_LOOP_NOPS)
		return -ENOTSUP;
	if (insn->op != ARCH_LOOP_ZERO)
		regs->rcx = (regs->rcx - 1) & mask;
	yes = (regs->rcx & mask) != 0;
	if (insn->op == ARCH_LOOP_ZERO)
		yes = !yes;
	else if (insn->op != ARCH_LOOP)
		yes = yes && zero == (insn->op == ARCH_LOOP_E);
	return yes ? jump(insn, regs) : 0;
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
	case ARCH_INSN_ALU:
		return calculate(insn, regs);
	case ARCH_INSN_RET:
		return return_near(insn, regs, m);
	case ARCH_INSN_JMP_REL:
		return jump(insn, regs);
	case ARCH_INSN_JMP_REG:
		return jump_register(insn, regs);
	case ARCH_INSN_JCC:
		return jump_if(insn, regs);
	case ARCH_INSN_LOOP:
		return loop(insn, regs);
	case ARCH_INSN_PUSH_IMM:
		return push_value(regs, m, (uint64_t)insn->imm);
	case ARCH_INSN_LEAVE:
		return leave(regs, m);
	case ARCH_INSN_CALL_REL:
	case ARCH_INSN_CALL_REG:
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
