/* SPDX-License-Identifier: MIT */
/*
 * Where the uprobe of a spot is put, and what the program must look at there.
 *
 * *Landing.* The kernel emulates some instructions and steps the others in a copy, which
 * costs 0.7 µs against 10 (a virtual machine, Linux 6.18). So for the entry of a function
 * that begins otherwise the uprobe stands at the first instruction that is emulated, if
 * control comes there through the entry alone, and always: what is before it neither
 * jumps nor faults; no byte of the function can be read as a jump into what was skipped,
 * nor as an indirect jump (so no disassembly is trusted); no symbol begins there. A piece
 * of the function that the compiler has put elsewhere is not looked at: it would have to
 * jump behind instructions that only a caller can make sense of.
 *
 * Where registers are wanted too, what is skipped must not change them: rax, r11 and the
 * flags, which no caller passes anything in that we show, and the stack pointer, if it is
 * known by how much.
 *
 * *Jumps* that only matter when they leave their function are tested in the kernel, but
 * for those whose target is in the instruction.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe/kernel.h"
#include "util/scope.h"

enum {
	SKIP_MAX = 48,           /* bytes before the landing */
	LOOK_MAX = 64,           /* bytes that are decoded */
	FUNCTION_MAX = 64 << 10, /* bytes that are looked through for jumps */
	/* words of the stack that must be left of RECORD_WORDS */
	SUNK_MAX = (RECORD_WORDS - 5) * 8,
	R11 = 6, /* its place in arch_regs_t */
};

/* --- what the kernel makes of an instruction ---------------------------------------- */

static bool is_prefix(uint8_t b)
{
	return b == 0x66 || b == 0x67 || b == 0xf2 || b == 0xf3 || (b & 0xf0) == 0x40;
}

/* Has it a prefix that uprobes refuse: lock, or a segment (2e of long nops, 3e of
 * notrack)? arch/x86/kernel/uprobes.c. */
static bool is_refused(const struct arch_insn *insn)
{
	static const uint8_t bad[] = { 0xf0, 0x26, 0x2e, 0x36, 0x3e };

	for (unsigned i = 0; i < insn->len; i++) {
		if (memchr(bad, insn->bytes[i], sizeof(bad)))
			return true;
		if (!is_prefix(insn->bytes[i]))
			return false;
	}
	return false;
}

static bool is_endbr(const struct arch_insn *insn)
{
	return insn->kind == ARCH_INSN_NOP && insn->bytes[0] == 0xf3;
}

/* Does the kernel emulate it? */
static bool is_cheap(const struct arch_insn *insn)
{
	switch (insn->kind) {
	case ARCH_INSN_NOP:
		return !is_endbr(insn) && !is_refused(insn);
	case ARCH_INSN_PUSH_REG:
	case ARCH_INSN_JMP_REL:
	case ARCH_INSN_CALL_REL:
	case ARCH_INSN_JCC:
		return true;
	default:
		return false;
	}
}

/* --- landing ------------------------------------------------------------------------ */

/* May it be skipped when only the number of hits matters? */
static bool is_harmless(const struct arch_insn *insn)
{
	switch (insn->kind) {
	case ARCH_INSN_NOP:
	case ARCH_INSN_MOV_REG:
	case ARCH_INSN_MOV_IMM:
	case ARCH_INSN_LEA:
	case ARCH_INSN_ALU:
		return true;
	default:
		return false;
	}
}

/* And when registers are looked at? *sunk: bytes that the stack has grown by. */
static bool is_unseen(const struct arch_insn *insn, uint32_t *sunk)
{
	bool alu = insn->kind == ARCH_INSN_ALU;

	if (insn->kind == ARCH_INSN_NOP)
		return true;
	if (alu && (insn->op == ARCH_ALU_CMP || insn->op == ARCH_ALU_TEST))
		return true;
	if (insn->dst == arch_native->reg_ret || insn->dst == R11)
		return true;
	if (!alu || insn->op != ARCH_ALU_SUB || insn->dst != arch_native->reg_sp ||
	    insn->src != ARCH_NOREG || insn->width != 8 || insn->imm < 0 ||
	    insn->imm > SUNK_MAX - (int64_t)*sunk)
		return false;
	*sunk += (uint32_t)insn->imm;
	return true;
}

/* How far behind the first instruction the landing is; 0 there is none. */
static size_t find_landing(const uint8_t *text, size_t n, enum probe_want want,
			   uint32_t *ret_sunk)
{
	struct arch_insn insn;
	uint32_t sunk = 0;

	for (size_t at = 0; at <= SKIP_MAX && at < n; at += insn.len) {
		if (arch_decode(text + at, n - at, &insn))
			return 0;
		if (is_cheap(&insn)) {
			*ret_sunk = sunk;
			return at;
		}
		if (!is_harmless(&insn) ||
		    (want != PROBE_WANT_COUNT && !is_unseen(&insn, &sunk)))
			return 0;
	}
	return 0;
}

static int64_t displacement(const uint8_t *at)
{
	int32_t d;

	memcpy(&d, at, sizeof(d));
	return d;
}

/* Where a jump would go whose opcode is at text[i], from the function's start; 0 if it
 * can be none. Needs 6 bytes. */
static int64_t jump_at(const uint8_t *text, size_t i)
{
	uint8_t b = text[i];

	if ((b & 0xf0) == 0x70 || b == 0xeb || (b & 0xfc) == 0xe0)
		return (int64_t)i + 2 + (int8_t)text[i + 1];
	if ((b & 0xfe) == 0xe8)
		return (int64_t)i + 5 + displacement(text + i + 1);
	if (b == 0x0f && (text[i + 1] & 0xf0) == 0x80)
		return (int64_t)i + 6 + displacement(text + i + 2);
	return 0;
}

/* Can anything in the function jump behind its start, up to `landing`? text has 6 bytes
 * more than n. */
static bool may_jump_into(const uint8_t *text, size_t n, size_t landing)
{
	for (size_t i = 0; i < n; i++) {
		int64_t to = jump_at(text, i);

		if (to > 0 && to <= (int64_t)landing)
			return true;
		if (text[i] == 0xff && (text[i + 1] >> 3 & 7) == 4)
			return true; /* an indirect jump */
	}
	return false;
}

static bool is_sole_way(const struct kernel_text *t, uint64_t addr, size_t landing)
{
	_cleanup_free_ uint8_t *text = NULL;
	GElf_Sym sym, inner;
	ssize_t got;

	if (Plookup_by_addr(t->P, addr, NULL, 0, &sym) || sym.st_value != addr ||
	    sym.st_size <= landing || sym.st_size > FUNCTION_MAX)
		return false;
	if (Plookup_by_addr(t->P, addr + landing, NULL, 0, &inner) ||
	    inner.st_value != addr)
		return false;
	text = calloc(1, sym.st_size + 8);
	if (!text)
		return false;
	got = pread(t->fd, text, sym.st_size, (off_t)(addr - t->bias));
	return got == (ssize_t)sym.st_size && !may_jump_into(text, sym.st_size, landing);
}

static void land(const struct kernel_text *t, struct kernel_spot *s, const uint8_t *text,
		 size_t n)
{
	uint32_t sunk;
	size_t landing = find_landing(text, n, t->want, &sunk);

	if (!landing || !is_sole_way(t, s->s.addr, landing))
		return;
	s->at += landing;
	s->sunk = sunk;
}

/* --- jumps -------------------------------------------------------------------------- */

static bool is_outside(const struct probe_spot *s, uint64_t target)
{
	return target < s->lo || target >= s->hi;
}

static void test_register(struct record_jump *j, uint8_t reg)
{
	j->how = RECORD_JUMP_REG;
	j->base = reg;
}

/* What the program is to test; nothing where the instruction says it all. */
static int test_jump(struct kernel_spot *s, const struct arch_insn *insn)
{
	uint64_t target = s->s.addr + insn->len + (uint64_t)insn->imm;

	s->test = (struct record_jump){
		.lo = s->s.lo, .hi = s->s.hi, .base = RECORD_NONE, .index = RECORD_NONE
	};
	switch (insn->kind) {
	case ARCH_INSN_JMP_REL:
		s->never = !is_outside(&s->s, target);
		return 0;
	case ARCH_INSN_JCC:
		s->never = !is_outside(&s->s, target);
		s->test.how = RECORD_JUMP_COND;
		s->test.cond = insn->op;
		s->looks = true;
		return 0;
	case ARCH_INSN_JMP_REG:
		test_register(&s->test, insn->src);
		s->looks = true;
		return 0;
	default:
		return -ENOTSUP;
	}
}

/* --- both --------------------------------------------------------------------------- */

static ssize_t read_text(const struct kernel_text *t, uint64_t addr, uint8_t *to)
{
	size_t n = t->end - addr < LOOK_MAX ? (size_t)(t->end - addr) : LOOK_MAX;
	ssize_t got = pread(t->fd, to, n, (off_t)(addr - t->bias));

	return got < 0 ? -errno : got;
}

int kernel_place(const struct kernel_text *t, struct kernel_spot *s,
		 const struct kernel_said *said)
{
	bool jumps = s->s.lo || s->s.hi;
	unsigned long long addr = s->s.addr;
	struct arch_insn insn;
	uint8_t text[LOOK_MAX];
	ssize_t n = read_text(t, addr, text);

	s->at = addr;
	if (n < 0)
		return kernel_say(said, (int)n, "the text at %#llx cannot be read: %s",
				  addr, strerror((int)-n));
	if (arch_decode(text, (size_t)n, &insn))
		return kernel_say(said, -EILSEQ, "there is no instruction at %#llx",
				  addr);
	if (jumps && test_jump(s, &insn))
		return kernel_say(said, -EOPNOTSUPP,
				  "where the jump at %#llx goes cannot be tested in the "
				  "kernel",
				  addr);
	if (!s->never && is_refused(&insn))
		return kernel_say(said, -EOPNOTSUPP,
				  "the kernel puts no uprobe on the instruction at %#llx",
				  addr);
	if (s->s.kind == PROBE_ENTRY && !jumps && !is_cheap(&insn))
		land(t, s, text, (size_t)n);
	return 0;
}
