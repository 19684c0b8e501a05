/* SPDX-License-Identifier: MIT */
/*
 * Unwinding: from registers, memory and an address-space snapshot to frames. Knows no
 * process: the same code runs over a stopped LWP, captured bytes, a core and a fake.
 */
#ifndef PGRAB_STACK_STACK_H
#define PGRAB_STACK_STACK_H

#include "arch/arch.h"
#include "image/image.h"
#include "mem/mem.h"

enum {
	STACK_NREGS = 40, /* DWARF register numbers below this are followed */
};

struct stack_arch; /* one CPU's rules, of others than ours too */

/* The rules for an ELF machine, or NULL. */
const struct stack_arch *stack_arch_for(unsigned elf_machine);

/* Registers by DWARF number; the PC and SP besides. A plain value. */
struct stack_regs {
	uint64_t r[STACK_NREGS]; /* value of register i, where known */
	uint64_t known;          /* bit i: r[i] is known */
	uint64_t pc;             /* address of the instruction (see stack_frame.exact) */
	uint64_t sp;             /* stack pointer at it */
	uint64_t fp;             /* frame pointer, 0 where not known */
};

/* From a live LWP's registers on this CPU, and from the words of NT_PRSTATUS of any:
 * -EINVAL when they are too few. */
void stack_regs_native(const arch_regs_t *from, struct stack_regs *ret);
int stack_regs_prstatus(const struct stack_arch *a, const uint64_t *words, size_t n,
			struct stack_regs *ret);

/*
 * From what /proc/PID/task/TID/syscall says of a thread that waits in the kernel: SP, PC
 * and the arguments' registers (vfork's return address is in one). The others are not
 * known until a caller's frame gives them back; a frame pointer that is needed before is
 * looked for in the stack, and a walk that finds none is broken there.
 */
void stack_regs_syscall(const struct stack_arch *a, const uint64_t args[6], uint64_t sp,
			uint64_t pc, struct stack_regs *ret);

/* The other way: n words as NT_PRSTATUS has them, 0 where a register is not known. */
void stack_regs_words(const struct stack_arch *a, const struct stack_regs *from,
		      uint64_t *ret_words, size_t n);

/* How a frame was found. */
enum stack_how {
	STACK_START,  /* the registers that were given */
	STACK_CFI,    /* by call frame information */
	STACK_SIGNAL, /* the frame that a signal interrupted */
	STACK_FP,     /* by frame pointer: no information covers the callee */
	STACK_RULE,   /* by a rule of the CPU's: PLT entry, first instruction, vsyscall */
};

/* One frame. */
struct stack_frame {
	struct stack_regs regs; /* as they were in it */
	enum stack_how how;     /* how it was found */
	/* pc is the instruction at which it stands (the first frame, one that a signal
	 * interrupted); else a return address: its call ends there, look up pc - 1 */
	bool exact;
	bool signal; /* it is a signal trampoline */
};

/* Why it ended. */
enum stack_end {
	STACK_END_BASE,  /* the outermost frame, as information or a rule says */
	STACK_END_CUT,   /* memory that was not captured or cannot be read */
	STACK_END_LIMIT, /* max frames, and there may be more */
	/* a frame that does not lie above the last, a PC in no code, information that
	 * makes no sense */
	STACK_END_BROKEN,
	STACK_END_CALLER, /* fn said so */
};

/* What to unwind. All borrowed. */
struct stack_target {
	const struct stack_arch *arch; /* the CPU */
	struct image *image;           /* objects and their CFI */
	const struct mem *mem;         /* stack (and, where needed, text and data) */
	unsigned max;                  /* frames at most; 0: 2048 */
};

/* Called for each frame, innermost first; non-zero ends the walk. */
typedef int stack_frame_f(void *arg, const struct stack_frame *frame);

/*
 * Walks from *regs outward. 0 or what fn returned; *ret_end tells why it ended. In
 * bounded time, whatever memory and files hold. Any thread.
 */
int stack_unwind(const struct stack_target *t, const struct stack_regs *regs,
		 stack_frame_f *fn, void *arg, enum stack_end *ret_end);

#endif
