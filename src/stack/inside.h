/* SPDX-License-Identifier: MIT */
/*
 * Inside of a walk, for the files of this folder. See unwind.c for the theory.
 */
#ifndef PGRAB_STACK_INSIDE_H
#define PGRAB_STACK_INSIDE_H

#include "obj/cfi.h"
#include "stack/stack.h"

enum {
	STACK_NOREG = 0xff,    /* no such register */
	STACK_WINDOW = 4096,   /* bytes of stack that are read at once */
	STACK_ALT_STACKS = 16, /* signal frames whose stacks are told apart */
};

/* What a step came to, where it is not 0 (there is a caller) or -ENOENT (the way does
 * not apply). */
enum {
	STACK_IS_BASE = 1,      /* this frame is the outermost */
	STACK_ERR_CUT = -5,     /* -EIO: memory that is not there */
	STACK_ERR_BROKEN = -74, /* -EBADMSG: nonsense */
};

/* One walk. */
struct stack_walk {
	const struct stack_target *t;    /* what is unwound */
	const struct stack_arch *arch;   /* t->arch */
	const struct image_map *map;     /* mapping of the frame's PC, or NULL */
	struct obj *file;                /* the file there, or NULL; the image's */
	uint64_t vaddr;                  /* the looked-up address in the file */
	bool has_row;                    /* row is the frame's */
	struct cfi_row row;              /* its rules */
	uint64_t seen[STACK_ALT_STACKS]; /* stack pointers behind signal frames */
	unsigned nseen;                  /* how many */
	uint64_t window;                 /* address of what was read last */
	size_t window_len;               /* bytes of it */
	uint8_t bytes[STACK_WINDOW];     /* them */
};

typedef int stack_step_f(struct stack_walk *w, const struct stack_frame *cur,
			 struct stack_frame *next);

/* One CPU. */
struct stack_arch {
	const char *name; /* as uname -m */
	uint16_t machine; /* EM_* */
	uint8_t sp, fp;   /* DWARF numbers: stack and frame pointer */
	uint8_t link;     /* the register with a leaf's return address, or NOREG */
	uint8_t pc;       /* the number that stands for the PC, or NOREG */
	uint8_t nregs;    /* DWARF numbers below it have a word */
	uint8_t word[STACK_NREGS]; /* of NT_PRSTATUS, by DWARF number */
	uint8_t word_pc;           /* the PC's */
	uint8_t nwords;            /* how many there are */
	uint8_t args[6];           /* DWARF numbers: arguments of a system call */
	uint64_t kept;             /* registers that a function leaves as they were */
	uint64_t code_mask; /* bits of a code address; the others may be a signature */
	/* Does the signal trampoline of this CPU stand at pc? Reads text. */
	bool (*is_trampoline)(struct stack_walk *w, uint64_t pc);
	/* From a trampoline to what the signal interrupted. */
	stack_step_f *leave_signal;
	/* Without CFI, by what the instructions at the PC are. */
	stack_step_f *by_rule;
	/* Without CFI, by frame pointer. */
	stack_step_f *by_fp;
	/* The frame pointer, where it is not known; NULL: no way. */
	int (*guess_fp)(struct stack_walk *w, const struct stack_regs *cur,
			uint64_t *ret);
};

extern const struct stack_arch stack_x86_64;  /* x86_64.c */
extern const struct stack_arch stack_aarch64; /* aarch64.c */

/* --- walk.c: what the ways out of a frame have in common --- */

/* Reads a word of stack, through the window. 0 or STACK_ERR_CUT. */
int stack_word(struct stack_walk *w, uint64_t addr, uint64_t *ret);

/* Reads text. 0 or STACK_ERR_CUT. */
int stack_text(struct stack_walk *w, uint64_t addr, void *buf, size_t len);

/* Can the program execute what is at pc? */
bool stack_is_code(const struct stack_walk *w, uint64_t pc);

/* Knows the value of register reg. */
static inline bool stack_knows(const struct stack_regs *r, unsigned reg)
{
	return reg < STACK_NREGS && r->known >> reg & 1;
}

static inline void stack_set(struct stack_regs *r, unsigned reg, uint64_t value)
{
	r->r[reg] = value;
	r->known |= 1ull << reg;
}

/* Begins the registers of a caller: what every function leaves as it was. */
void stack_inherit(const struct stack_walk *w, const struct stack_regs *cur,
		   struct stack_regs *next);

/* Ends them: PC, SP and FP agree with the registers. */
void stack_finish(const struct stack_walk *w, uint64_t pc, uint64_t sp,
		  struct stack_regs *next);

/* The caller of a function that has pushed nothing but `above` bytes: its return address
 * stands there and must lead to code, else -ENOENT. */
int stack_return_at(struct stack_walk *w, const struct stack_frame *cur, uint64_t above,
		    struct stack_frame *next);

/* A pair of (frame pointer, return address) at the frame pointer. */
int stack_by_fp(struct stack_walk *w, const struct stack_frame *cur,
		struct stack_frame *next);

/* Does a call of x86-64's end at pc, and is it code? (x86_64.c) */
bool stack_is_behind_call(struct stack_walk *w, uint64_t pc);

/* --- scan_x86_64.c, scan_none.c --- */
/* x86-64 code followed to its return. -ENOENT: it leads to none that can be believed. */
int stack_scan(struct stack_walk *w, const struct stack_frame *cur,
	       struct stack_frame *next);

/* --- expr.c --- */
/* Evaluates a DWARF expression with *initial (NULL: nothing) on its stack. 0,
 * STACK_ERR_CUT, STACK_ERR_BROKEN. */
int stack_expr(struct stack_walk *w, const struct stack_regs *regs, const uint8_t *bytes,
	       size_t len, const uint64_t *initial, uint64_t *ret);

/* --- rules.c --- */
/* From *cur to its caller by w->row. */
int stack_by_cfi(struct stack_walk *w, const struct stack_frame *cur,
		 struct stack_frame *next);

#endif
