/* SPDX-License-Identifier: MIT */
/*
 * Code of a file that has neither call frame information nor frame pointers, as musl's:
 * what the function would do on its way out tells where its return address is.
 *
 * From the PC the instructions are followed to a return, and of each only what it does
 * to the stack pointer and to registers that are popped. Of a branch both ways are
 * tried, the straight one first; calls are stepped over; what cannot come back (ud2, a
 * jump to where nobody knows) ends a way. Nothing is believed that does not end at an
 * address behind a call. Bounded in instructions, branches and reads.
 */
#include <errno.h>
#include <string.h>

#include "stack/inside.h"

enum {
	MAX_INSNS = 1500,  /* instructions looked at for one frame */
	MAX_BRANCHES = 64, /* ways not taken that are kept */
	MAX_VISITED = 256, /* targets gone to */
	TEXT = 128,        /* bytes of text read at once */
	WORD_RBP = 4,      /* indexes in arch_regs_t */
	WORD_RSP = 19,
};

/* One way through the code. */
struct way {
	uint64_t pc;            /* where it has come to */
	uint64_t sp;            /* the stack pointer there */
	struct stack_regs regs; /* registers there, as far as they matter */
};

/* One search. */
struct scan {
	struct stack_walk *w;          /* the walk */
	struct way now;                /* the way being followed */
	struct way kept[MAX_BRANCHES]; /* ways to be tried yet */
	unsigned nkept;                /* how many */
	uint64_t visited[MAX_VISITED]; /* targets of jumps */
	unsigned nvisited;             /* how many */
	uint64_t text_at;              /* address of text */
	size_t text_len;               /* bytes of it */
	uint8_t text[TEXT];            /* the last that were read */
};

/* What an instruction leads to. */
enum outcome {
	GOES_ON,  /* to now.pc */
	RETURNS,  /* the return address is at now.sp */
	DEAD_END, /* this way leads nowhere */
};

static unsigned dwarf_of(const struct stack_arch *a, unsigned word)
{
	for (unsigned i = 0; i < a->nregs; i++) {
		if (a->word[i] == word)
			return i;
	}
	return STACK_NOREG;
}

static int decode_at(struct scan *s, uint64_t pc, struct arch_insn *ret)
{
	uint64_t off = pc - s->text_at;
	ssize_t n;

	if (off >= s->text_len || s->text_len - off < ARCH_INSN_MAX) {
		n = mem_read(s->w->t->mem, pc, s->text, sizeof(s->text));
		s->text_at = pc;
		s->text_len = n > 0 ? (size_t)n : 0;
		off = 0;
	}
	return s->text_len ? arch_decode(s->text + off, s->text_len - off, ret) : -EFAULT;
}

/* A jump to an address gone to before leads nowhere new. */
static bool visit(struct scan *s, uint64_t target)
{
	for (unsigned i = 0; i < s->nvisited; i++) {
		if (s->visited[i] == target)
			return false;
	}
	if (s->nvisited == MAX_VISITED)
		return false;
	s->visited[s->nvisited++] = target;
	return true;
}

static void keep_branch(struct scan *s, uint64_t target)
{
	if (s->nkept == MAX_BRANCHES || !visit(s, target))
		return;
	s->kept[s->nkept] = s->now;
	s->kept[s->nkept++].pc = target;
}

static enum outcome pop_into(struct scan *s, unsigned word)
{
	unsigned reg = dwarf_of(s->w->arch, word);
	uint64_t value;

	if (stack_word(s->w, s->now.sp, &value))
		return DEAD_END;
	s->now.sp += sizeof(value);
	if (reg != STACK_NOREG)
		stack_set(&s->now.regs, reg, value);
	return word == WORD_RSP ? DEAD_END : GOES_ON;
}

/* The stack pointer becomes a register and something. */
static enum outcome set_sp(struct scan *s, unsigned word, int64_t plus)
{
	unsigned reg = dwarf_of(s->w->arch, word);

	if (word == WORD_RSP) {
		s->now.sp += (uint64_t)plus;
		return GOES_ON;
	}
	if (reg == STACK_NOREG || !stack_knows(&s->now.regs, reg))
		return DEAD_END;
	s->now.sp = s->now.regs.r[reg] + (uint64_t)plus;
	return GOES_ON;
}

static enum outcome do_alu(struct scan *s, const struct arch_insn *insn)
{
	if (insn->dst != WORD_RSP || insn->op == ARCH_ALU_CMP ||
	    insn->op == ARCH_ALU_TEST)
		return GOES_ON;
	if (insn->src != ARCH_NOREG)
		return DEAD_END;
	if (insn->op == ARCH_ALU_ADD)
		return set_sp(s, WORD_RSP, insn->imm);
	return insn->op == ARCH_ALU_SUB ? set_sp(s, WORD_RSP, -insn->imm) : DEAD_END;
}

/* Where the opcode is, behind prefixes. */
static unsigned opcode_at(const struct arch_insn *insn)
{
	const uint8_t *b = insn->bytes;
	unsigned at = 0;

	while (at + 2u < insn->len && (b[at] == 0x3e || b[at] == 0xf2 || b[at] >> 4 == 4))
		at++;
	return at;
}

/* What the decoder has no kind for: pushes and pops of memory and flags; ud2, hlt, int3,
 * and jumps through memory, from where nobody comes back. */
static enum outcome do_other(struct scan *s, const struct arch_insn *insn)
{
	const uint8_t *b = insn->bytes + opcode_at(insn);
	unsigned reg = b[1] >> 3 & 7;

	if ((b[0] == 0x0f && b[1] == 0x0b) || b[0] == 0xf4 || b[0] == 0xcc)
		return DEAD_END;
	if ((b[0] == 0xff && reg == 6) || b[0] == 0x9c)
		return set_sp(s, WORD_RSP, -(int64_t)sizeof(uint64_t));
	if ((b[0] == 0x8f && reg == 0) || b[0] == 0x9d)
		return set_sp(s, WORD_RSP, sizeof(uint64_t));
	return b[0] == 0xff && reg == 4 ? DEAD_END : GOES_ON;
}

/* What goes elsewhere. */
static enum outcome do_jump(struct scan *s, const struct arch_insn *insn, uint64_t target)
{
	switch (insn->kind) {
	case ARCH_INSN_JCC:
	case ARCH_INSN_LOOP:
		keep_branch(s, target);
		return GOES_ON;
	case ARCH_INSN_JMP_REL:
		s->now.pc = target;
		return visit(s, target) ? GOES_ON : DEAD_END;
	case ARCH_INSN_JMP_REG:
		return DEAD_END;
	case ARCH_INSN_RET:
		return RETURNS;
	default:
		return do_other(s, insn);
	}
}

static enum outcome do_insn(struct scan *s, const struct arch_insn *insn)
{
	s->now.pc += insn->len;
	switch (insn->kind) {
	case ARCH_INSN_PUSH_REG:
	case ARCH_INSN_PUSH_IMM:
		return set_sp(s, WORD_RSP, -(int64_t)sizeof(uint64_t));
	case ARCH_INSN_POP_REG:
		return pop_into(s, insn->dst);
	case ARCH_INSN_LEAVE:
		if (set_sp(s, WORD_RBP, 0) != GOES_ON)
			return DEAD_END;
		return pop_into(s, WORD_RBP);
	case ARCH_INSN_MOV_REG:
		return insn->dst == WORD_RSP ? set_sp(s, insn->src, 0) : GOES_ON;
	case ARCH_INSN_LEA:
		if (insn->dst != WORD_RSP)
			return GOES_ON;
		return insn->index == ARCH_NOREG ? set_sp(s, insn->base, insn->imm)
						 : DEAD_END;
	case ARCH_INSN_ALU:
		return do_alu(s, insn);
	default:
		return do_jump(s, insn, s->now.pc + (uint64_t)insn->imm);
	}
}

/* The way has come to a return: is it one? */
static int arrive(struct scan *s, const struct stack_frame *cur, struct stack_frame *next)
{
	uint64_t ra;

	if (s->now.sp < cur->regs.sp || stack_word(s->w, s->now.sp, &ra) ||
	    !stack_is_behind_call(s->w, ra))
		return -ENOENT;
	stack_inherit(s->w, &s->now.regs, &next->regs);
	stack_finish(s->w, ra, s->now.sp + sizeof(ra), &next->regs);
	next->how = STACK_RULE;
	return 0;
}

int stack_scan(struct stack_walk *w, const struct stack_frame *cur,
	       struct stack_frame *next)
{
	struct scan s;
	struct arch_insn insn;
	enum outcome out;

	s.w = w;
	s.now.pc = cur->regs.pc;
	s.now.sp = cur->regs.sp;
	s.now.regs = cur->regs;
	s.nkept = s.nvisited = 0;
	s.text_at = s.text_len = 0;
	for (int i = 0; i < MAX_INSNS; i++) {
		out = decode_at(&s, s.now.pc, &insn) ? DEAD_END : do_insn(&s, &insn);
		if (out == RETURNS && !arrive(&s, cur, next))
			return 0;
		if (out == GOES_ON)
			continue;
		if (!s.nkept)
			return -ENOENT;
		s.now = s.kept[--s.nkept];
	}
	return -ENOENT;
}
