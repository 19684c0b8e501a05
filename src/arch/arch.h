/* SPDX-License-Identifier: MIT */
/*
 * What a CPU is to the layers above: one const table, registers by role, first
 * instructions decoded and, where simple, emulated. Nothing generic names a register or
 * an opcode.
 */
#ifndef PGRAB_ARCH_ARCH_H
#define PGRAB_ARCH_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "mem/mem.h"

/* General registers of one LWP as PTRACE_GETREGSET(NT_PRSTATUS) gives them. */
typedef struct user_regs_struct arch_regs_t;

enum {
	ARCH_INSN_MAX = 16, /* longest instruction, bytes */
	ARCH_TRAP_MAX = 4,  /* longest breakpoint instruction, bytes */
	ARCH_SLOT_MAX = 32, /* a copied instruction and the jump back, bytes at most */
};

/* How an instruction under a breakpoint is got past. */
enum arch_insn_kind {
	ARCH_INSN_OTHER,    /* must be executed in its place: stepped, the trap lifted */
	ARCH_INSN_NOP,      /* nop, endbr64 …: only the PC moves */
	ARCH_INSN_PUSH_REG, /* push reg */
	ARCH_INSN_POP_REG,  /* pop reg */
	ARCH_INSN_MOV_REG,  /* mov reg, reg */
	ARCH_INSN_MOV_IMM,  /* mov reg, imm */
	ARCH_INSN_LEA,      /* lea reg, [base + index * scale + imm] */
	ARCH_INSN_ALU,      /* op dst, src (ARCH_NOREG: imm), with flags */
	ARCH_INSN_RET,      /* ret; imm: bytes popped beyond the address */
	ARCH_INSN_JMP_REL,  /* jmp to PC + len + imm */
	ARCH_INSN_CALL_REL, /* call to PC + len + imm */
	ARCH_INSN_COPY,     /* may be executed at another address: arch_relocate() */
	ARCH_INSN_SYSCALL,  /* may be executed by another such instruction */
	ARCH_INSN_PUSH_IMM, /* push imm */
	ARCH_INSN_LEAVE,    /* leave */
	ARCH_INSN_JCC,      /* jump to PC + len + imm when the condition `op` holds */
	ARCH_INSN_LOOP,     /* loop and jrcxz (`op`) to PC + len + imm */
	ARCH_INSN_JMP_REG,  /* jmp to the address in src */
	ARCH_INSN_CALL_REG, /* call the address in src */
	/* jmp to the word at base + index * scale + imm; or, with a prefix, to the
	 * address in src. Executed like COPY; arch_jump_target() tells where it goes */
	ARCH_INSN_JMP_MEM,
	ARCH_INSN_NKINDS
};

/* ARCH_INSN_ALU: what is done. */
enum arch_alu_op {
	ARCH_ALU_ADD,  /* dst += src */
	ARCH_ALU_SUB,  /* dst -= src */
	ARCH_ALU_CMP,  /* SUB that keeps dst */
	ARCH_ALU_AND,  /* dst &= src */
	ARCH_ALU_TEST, /* AND that keeps dst */
	ARCH_ALU_OR,   /* dst |= src */
	ARCH_ALU_XOR,  /* dst ^= src */
	ARCH_ALU_NOPS
};

/* ARCH_INSN_LOOP: when it jumps. `width` is that of the counter. */
enum arch_loop_op {
	ARCH_LOOP_NE,   /* --counter and not ZF */
	ARCH_LOOP_E,    /* --counter and ZF */
	ARCH_LOOP,      /* --counter */
	ARCH_LOOP_ZERO, /* counter is 0 (jrcxz, jecxz) */
	ARCH_LOOP_NOPS
};

/* One decoded instruction: a plain value that can cross the keeper's socket. */
struct arch_insn {
	uint8_t kind;     /* enum arch_insn_kind */
	uint8_t len;      /* bytes, 1 to ARCH_INSN_MAX */
	uint8_t dst, src; /* register indexes in arch_regs_t (8-byte words) */
	/* LEA, JMP_MEM: indexes (ARCH_NOREG none), scale 1 2 4 8 */
	uint8_t base, index, scale;
	uint8_t is_syscall; /* 1: enters the kernel (syscall, int 0x80, sysenter) */
	int64_t imm;        /* immediate or displacement */
	uint8_t bytes[ARCH_INSN_MAX]; /* the program's own bytes at the address */
	uint8_t may_move; /* 1: arch_relocate() is right for it; always so for COPY */
	uint8_t disp_off; /* where in bytes a PC-relative disp32 is; 0 none */
	uint8_t op;       /* ALU: enum arch_alu_op; LOOP: arch_loop_op; JCC: 0 to 15 */
	uint8_t width;    /* MOV, LEA, ALU, LOOP: operand bytes, 4 or 8 */
	uint8_t is_rep;   /* 1: may stop half done, the PC on itself (rep movs …) */
	uint8_t pad[3];   /* 0 */
};

#define ARCH_NOREG 0xff

/* One CPU. */
struct arch {
	const char *name;               /* "x86_64" */
	uint16_t elf_machine;           /* EM_* */
	uint8_t trap[ARCH_TRAP_MAX];    /* the breakpoint instruction */
	uint8_t trap_len;               /* its bytes */
	uint8_t trap_pc_adjust;         /* PC at the stop less the address of the trap */
	uint8_t nregs;                  /* words in arch_regs_t */
	uint8_t reg_pc, reg_sp, reg_fp; /* their indexes */
	uint8_t reg_ret;                /* return value */
	uint8_t reg_arg[6];             /* first integer arguments of a function */
	uint8_t has_user; /* 1: PTRACE_PEEKUSER gives one register by its index */
	uint8_t sys_insn[ARCH_TRAP_MAX]; /* the instruction that makes a system call */
	uint8_t sys_len;                 /* its bytes */
	uint8_t insn_align;              /* instructions begin at multiples of it */
	uint8_t reg_sysnr;               /* number of the system call */
	uint8_t reg_sysret;              /* its result */
	uint8_t reg_sysarg[6];           /* its arguments */
	/* >= 0: of a call, which the kernel may restart; ARCH_NOREG none */
	uint8_t reg_sysorig;
	uint8_t reg_flags; /* the flags */
	/* thread pointer, which lies in the thread's own stack; ARCH_NOREG not here */
	uint8_t reg_tp;
	/* bit of them that passes a hardware breakpoint at the PC once; 0: there is no
	 * such bit, and no use of hardware breakpoints */
	uint32_t resume_flag;
};

/* The CPU that this library was built for. */
extern const struct arch *const arch_native;

static inline uint64_t arch_reg_get(const arch_regs_t *r, unsigned index)
{
	return ((const unsigned long long *)(const void *)r)[index];
}

static inline void arch_reg_set(arch_regs_t *r, unsigned index, uint64_t value)
{
	((unsigned long long *)(void *)r)[index] = value;
}

static inline uint64_t arch_pc(const arch_regs_t *r)
{
	return arch_reg_get(r, arch_native->reg_pc);
}

static inline void arch_set_pc(arch_regs_t *r, uint64_t pc)
{
	arch_reg_set(r, arch_native->reg_pc, pc);
}

/* True when the LWP executes this CPU's own code, not that of its 32-bit predecessor. */
bool arch_is_native(const arch_regs_t *regs);

/*
 * Decodes the instruction in bytes[0..n). 0, or -EILSEQ when it is none or is cut off.
 * Pure; any thread. (In the library; the keeper is told the result.)
 */
int arch_decode(const uint8_t *bytes, size_t n, struct arch_insn *ret);

/* One control transfer found in straight-line code. */
struct arch_branch {
	uint64_t addr;   /* of the instruction */
	uint64_t target; /* where it goes; 0 when it is indirect */
	bool call;       /* a call, else a jump */
};

/*
 * The first call or unconditional jump at or after addr in straight-line code of at most
 * `max` bytes, read through m. 0; -ENOENT when there is none; -EILSEQ, -EFAULT.
 */
int arch_next_branch(const struct mem *m, uint64_t addr, size_t max,
		     struct arch_branch *ret);

/* Where control goes behind an instruction. */
enum arch_flow_kind {
	ARCH_FLOW_NEXT,     /* to the next one (or nowhere: hlt, ud2) */
	ARCH_FLOW_RET,      /* to the caller */
	ARCH_FLOW_JUMP,     /* to target */
	ARCH_FLOW_COND,     /* to target, or to the next one */
	ARCH_FLOW_CALL,     /* to target, and back */
	ARCH_FLOW_STUB,     /* to where the word at target says, as PLTs do */
	ARCH_FLOW_INDIRECT, /* to where a register or another word says */
};

/* One instruction, for whoever looks for the ways out of a function. */
struct arch_flow {
	uint8_t kind;       /* enum arch_flow_kind */
	uint8_t len;        /* bytes */
	uint8_t sum;        /* register that it adds to; ARCH_NOREG none */
	uint8_t reg;        /* INDIRECT: register that it goes through; likewise */
	uint8_t is_tracked; /* INDIRECT: 0 it is said to stay in its function */
	/* address; INDIRECT: of a table that is indexed, or 0; NEXT: what a register is
	 * loaded with, or 0 */
	uint64_t target;
};

/*
 * The instruction at addr, of which bytes[0..n) are at hand. 0; -EILSEQ it is none, or
 * cut off; -ENOTSUP on this CPU. Registers are numbered for comparing only. Pure.
 */
int arch_flow(const uint8_t *bytes, size_t n, uint64_t addr, struct arch_flow *ret);

/*
 * Where the program would go from the jump *insn at the PC of *regs: its target, or
 * behind it when its condition does not hold. m: for a jump through memory. 0; -ENOTSUP:
 * it is no jump, or of a kind that is not known; -EFAULT: memory cannot be read. Pure
 * but for m.
 */
int arch_jump_target(const struct arch_insn *insn, const arch_regs_t *regs,
		     const struct mem *m, uint64_t *ret);

/*
 * Does in *regs and the stack what *insn at PC would have done, PC included. Returns 0;
 * -ENOTSUP when the kind must be executed (nothing changed); -EFAULT when the stack could
 * not be read or written (nothing changed: the program would fault there itself).
 * Pure but for m. Used by the keeper with a writer of the stopped victim.
 */
int arch_emulate(const struct arch_insn *insn, arch_regs_t *regs, const struct mem *m);

/*
 * What is to stand at `to` so that *insn (which belongs at `from`) is executed there and
 * the program goes on behind the original: the instruction, its PC-relative operand
 * mended, then a jump. ret_bytes has ARCH_SLOT_MAX bytes. 0; -ENOTSUP: it must not be
 * executed elsewhere; -ERANGE: `to` is too far away for its PC-relative operand (one
 * without such an operand may go anywhere). Pure.
 */
int arch_relocate(const struct arch_insn *insn, uint64_t from, uint64_t to,
		  uint8_t *ret_bytes, size_t *ret_len);

/*
 * How far from the instruction its copy may stand, bytes: UINT64_MAX anywhere, 0 nowhere
 * at all. Pure.
 */
uint64_t arch_slot_reach(const struct arch_insn *insn);

/*
 * Where the program would be that is at `pc` in the slot at `slot`: at `from` while the
 * instruction has not been executed (or, with rep, not to its end), else behind it. 0, or
 * -ERANGE when pc is not in the slot. Pure.
 */
int arch_slot_pc(const struct arch_insn *insn, uint64_t from, uint64_t slot, uint64_t pc,
		 uint64_t *ret_pc);

/*
 * Would emulation leave a user shadow stack behind (x86, Linux 6.6)? In an LWP that has
 * one enabled these must be executed: arch_relocate() where it can, else stepped. Pure.
 */
bool arch_touches_shadow_stack(const struct arch_insn *insn);

/* At the entry of a system call: makes it look as if it came from the instruction before
 * `next`. */
void arch_syscall_entered(arch_regs_t *regs, uint64_t next);

/* The LWP stands where a stop has interrupted a system call that the kernel will restart
 * (or end with EINTR, if a handler is due). */
bool arch_syscall_restarts(const arch_regs_t *regs);

#endif
