/* SPDX-License-Identifier: MIT */
/*
 * x86-64: registers (psABI 3.6.2), signal frames, and what is done where no CFI covers
 * the PC.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "stack/inside.h"

enum {
	REG_RBP = 6,
	REG_RSP = 7,
	REG_RIP = 16,
	NREGS = 17,
	UC_GREGS = 40,       /* uc_mcontext.gregs in a ucontext (sys/ucontext.h) */
	BEFORE = 6,          /* bytes before the PC that a rule looks at */
	AFTER = 8,           /* and from it */
	CALL_LONGEST = 7,    /* bytes of a call with SIB and disp32 */
	GUESS_BYTES = 16384, /* of stack in which a frame pointer is looked for */
	WORD = 8,            /* bytes of a push */
};

/* The page of the three old system calls, at a fixed address (vsyscall(7) in the
 * kernel's Documentation/arch/x86/x86_64/mm.rst). */
#define VSYSCALL_START 0xffffffffff600000ull
#define VSYSCALL_END   0xffffffffff601000ull

/* --- signals ---------------------------------------------------------------------- */

/* mov $15, %rax (or %eax); syscall: rt_sigreturn, as libcs and kernels know it
 * (arch/x86/kernel/signal.c asks for a restorer). */
static bool is_trampoline(struct stack_walk *w, uint64_t pc)
{
	static const uint8_t wide[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };
	static const uint8_t narrow[] = { 0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05 };
	uint8_t text[sizeof(wide)];

	if (stack_text(w, pc, text, sizeof(narrow)))
		return false;
	if (!memcmp(text, narrow, sizeof(narrow)))
		return true;
	return !memcmp(text, wide, sizeof(narrow)) &&
	       !stack_text(w, pc, text, sizeof(wide)) &&
	       !memcmp(text, wide, sizeof(wide));
}

/* In the trampoline the ucontext lies at the stack pointer. */
static int leave_signal(struct stack_walk *w, const struct stack_frame *cur,
			struct stack_frame *next)
{
	/* Of gregs in their order, the DWARF numbers. */
	static const uint8_t order[NREGS] = { 8, 9, 10, 11, 12, 13, 14, 15,     5,
					      4, 6, 3,  1,  0,  2,  7,  REG_RIP };
	uint64_t at = cur->regs.sp + UC_GREGS, value;

	next->regs.known = 0;
	for (unsigned i = 0; i < NREGS; i++) {
		if (stack_word(w, at + i * sizeof(value), &value))
			return STACK_ERR_CUT;
		stack_set(&next->regs, order[i], value);
	}
	stack_finish(w, next->regs.r[REG_RIP], next->regs.r[REG_RSP], &next->regs);
	next->how = STACK_SIGNAL;
	return 0;
}

/* --- without CFI ------------------------------------------------------------------ */

/* The text around the PC; what cannot be read is 0. */
struct around {
	uint8_t text[BEFORE + AFTER]; /* the PC is at BEFORE */
};

static bool has(const struct around *a, int at, const char *bytes, size_t n)
{
	return !memcmp(a->text + BEFORE + at, bytes, n);
}

#define HAS(a, at, bytes) has(a, at, bytes, sizeof(bytes) - 1)

/* How many bytes have been pushed since the function was entered; -1: not known. */
static int pushed_here(const struct around *a)
{
	if (HAS(a, 0, "\xff\x25") && HAS(a, -6, "\xff\x35"))
		return 2 * WORD; /* PLT 0: jmp *, behind a push */
	if (HAS(a, 0, "\xff\x35"))
		return WORD; /* PLT 0: push, the entry has pushed its number */
	if (HAS(a, 0, "\xe9") && a->text[BEFORE - 5] == 0x68)
		return WORD; /* PLT entry: jmp, behind its push */
	if (HAS(a, 0, "\xff\x25") || HAS(a, 0, "\xf2\xff\x25") || HAS(a, 0, "\x68"))
		return 0; /* PLT entry: jmp *, push */
	if (HAS(a, 0, "\xf3\x0f\x1e\xfa") || HAS(a, 0, "\x55"))
		return 0; /* endbr64, push %rbp: the first instruction */
	if (HAS(a, 0, "\xc3") || HAS(a, 0, "\xc2") || HAS(a, 0, "\xf3\xc3"))
		return 0; /* ret */
	if (HAS(a, 0, "\x48\x89\xe5") && a->text[BEFORE - 1] == 0x55)
		return WORD; /* mov %rsp, %rbp, behind push %rbp */
	return -1;
}

static bool begins_function(const struct stack_walk *w)
{
	struct obj_symbol s;

	return w->file && !obj_lookup_addr(w->file, w->vaddr, &s) &&
	       s.sym.st_value == w->vaddr;
}

/* Where a call, or nothing yet, has brought it. */
static int by_instruction(struct stack_walk *w, const struct stack_frame *cur,
			  struct stack_frame *next)
{
	uint64_t pc = cur->regs.pc;
	struct around a = { 0 };
	int pushed;

	/* A call through a bad pointer has done nothing but push. */
	if (pc >= VSYSCALL_START && pc < VSYSCALL_END)
		return stack_return_at(w, cur, 0, next);
	if (!stack_is_code(w, pc) || begins_function(w))
		return stack_return_at(w, cur, 0, next);
	if (stack_text(w, pc - BEFORE, a.text, sizeof(a.text)))
		return -ENOENT;
	pushed = pushed_here(&a);
	return pushed < 0 ? -ENOENT : stack_return_at(w, cur, (uint64_t)pushed, next);
}

/* Compilers at run time keep frame pointers; files without information need not. */
static int by_rule(struct stack_walk *w, const struct stack_frame *cur,
		   struct stack_frame *next)
{
	int rc = cur->exact ? by_instruction(w, cur, next) : -ENOENT;

	if (rc != -ENOENT || !w->file)
		return rc;
	return stack_scan(w, cur, next);
}

/* Does a call end at pc? call rel32, or call through a register or memory. */
bool stack_is_behind_call(struct stack_walk *w, uint64_t pc)
{
	uint8_t b[CALL_LONGEST];

	if (!stack_is_code(w, pc) || stack_text(w, pc - sizeof(b), b, sizeof(b)))
		return false;
	if (b[2] == 0xe8)
		return true;
	for (unsigned len = 2; len <= CALL_LONGEST; len++) {
		const uint8_t *at = b + CALL_LONGEST - len;

		if (at[0] == 0xff && (at[1] >> 3 & 7) == 2)
			return true;
	}
	return false;
}

/* --- a frame pointer that is not known -------------------------------------------- */

/* Is the call that returns to ra one of this row's function, by its name? */
static bool calls_this(struct stack_walk *w, uint64_t ra)
{
	uint8_t op;
	int32_t rel;

	return !stack_text(w, ra - 5, &op, 1) && op == 0xe8 &&
	       !stack_text(w, ra - 4, &rel, 4) &&
	       ra + (uint64_t)(int64_t)rel == w->map->object->base + w->row.start;
}

/* Does a frame record at `at` lead to another? */
static bool is_record(struct stack_walk *w, uint64_t at, uint64_t saved)
{
	uint64_t ra;

	return saved > at && saved - at < GUESS_BYTES && saved % WORD == 0 &&
	       !stack_word(w, saved + WORD, &ra) && stack_is_behind_call(w, ra);
}

/*
 * The frame pointer of a thread that was not stopped, in a function that counts from it:
 * the first pair above the stack pointer that is (saved frame pointer, address behind a
 * call) and either was made by a call of just this function or leads to another such
 * pair.
 */
static int guess_fp(struct stack_walk *w, const struct stack_regs *cur, uint64_t *ret)
{
	uint64_t saved, ra;

	for (uint64_t at = cur->sp; at < cur->sp + GUESS_BYTES; at += WORD) {
		if (stack_word(w, at, &saved) || stack_word(w, at + WORD, &ra))
			return STACK_ERR_CUT;
		if (!stack_is_behind_call(w, ra))
			continue;
		if (calls_this(w, ra) || is_record(w, at, saved)) {
			*ret = at;
			return 0;
		}
	}
	return STACK_ERR_BROKEN;
}

const struct stack_arch stack_x86_64 = {
	.name = "x86_64",
	.machine = EM_X86_64,
	.sp = REG_RSP,
	.fp = REG_RBP,
	.link = STACK_NOREG,
	.pc = REG_RIP,
	.nregs = NREGS,
	.word = { 10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16 },
	.word_pc = 16,
	.nwords = 27,
	.args = { 5, 4, 1, 10, 8, 9 },
	/* rbx, rbp, r12 to r15 */
	.kept = 1 << 3 | 1 << REG_RBP | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15,
	.code_mask = ~0ull,
	.is_trampoline = is_trampoline,
	.leave_signal = leave_signal,
	.by_rule = by_rule,
	.by_fp = stack_by_fp,
	.guess_fp = guess_fp,
};
