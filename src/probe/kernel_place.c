/* SPDX-License-Identifier: MIT */
/*
 * Where the uprobe of a spot is put, and what the program must look at there.
 *
 * *Landing.* The kernel emulates some instructions and steps the others in a copy, which
 * costs 0.7 µs against 10 (a virtual machine, Linux 6.18). So for the entry of a function
 * that begins otherwise the uprobe stands at the first instruction that is emulated, if
 * control comes there through the entry alone, and always: what is before it neither
 * jumps nor faults; no jump in the function goes into what was skipped, and none can go
 * where a table says; no symbol begins there. Nor may what stands close by jump there:
 * hand-written functions do (libc's mempcpy begins within its memcpy). A piece of the
 * function that the compiler has put elsewhere is not looked at: it would have to jump
 * behind instructions that only a caller can make sense of. Most functions have no byte
 * that could be read as such a jump, which is quickly seen; the others are decoded from
 * end to end.
 *
 * Where registers are wanted too, what is skipped must not change them: rax, r11 and the
 * flags, which no caller passes anything in that we show, and the stack pointer, if it is
 * known by how much.
 *
 * Some instructions must have no uprobe at all. A function that begins with one (`lock
 * decl` in libc's pthread_spin_lock, vpbroadcastb in its strchr) is watched behind it,
 * wherever that is; a call that faults there is not counted.
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
	SKIP_MAX = 240,          /* bytes before the landing */
	LOOK_MAX = 256,          /* bytes that are decoded */
	FUNCTION_MAX = 64 << 10, /* bytes that are looked through for jumps */
	NEAR = 1024,             /* bytes on either side of it that are, too */
	/* words of the stack that must be left of RECORD_WORDS */
	SUNK_MAX = (RECORD_WORDS - 5) * 8,
	R11 = 6, /* its place in arch_regs_t */
	INT3 = 0xcc,
};

/* --- what the kernel makes of an instruction ---------------------------------------- */

static bool is_prefix(uint8_t b)
{
	return b == 0x66 || b == 0x67 || b == 0xf2 || b == 0xf3 || (b & 0xf0) == 0x40;
}

/* The opcode, behind the prefixes that uprobes take; its place in the bytes. */
static unsigned find_opcode(const struct arch_insn *insn)
{
	unsigned i = 0;

	while (i + 1u < insn->len && is_prefix(insn->bytes[i]))
		i++;
	return i;
}

/* Where an instruction with a VEX, EVEX or XOP prefix has its opcode; 0: it has none. */
static unsigned vector_opcode(const struct arch_insn *insn)
{
	unsigned i = find_opcode(insn);
	const uint8_t *b = insn->bytes + i;

	if (*b == 0xc5)
		return i + 2;
	if (*b == 0xc4 || (*b == 0x8f && (b[1] & 0x38)))
		return i + 3;
	return *b == 0x62 ? i + 4 : 0;
}

/* What uprobes refuse (found by trying all): prefixes of segments, as long nops and
 * notrack have; lock; I/O, interrupts, what is not of 64 bits. */
static const uint8_t refused[] = {
	0x06, 0x07, 0x0e, 0x0f, 0x16, 0x17, 0x1e, 0x1f, 0x26, 0x27, 0x2e, 0x2f,
	0x36, 0x37, 0x3e, 0x3f, 0x60, 0x61, 0x62, 0x6c, 0x6d, 0x6e, 0x6f, 0x82,
	0x9a, 0xc4, 0xc5, 0xcc, 0xcd, 0xce, 0xcf, 0xd4, 0xd6, 0xe4, 0xe5, 0xe6,
	0xe7, 0xea, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xfa, 0xfb,
};

/* Of what follows a VEX or EVEX prefix the kernel knows nothing, and takes the opcode for
 * the one-byte one: vpor is emulated as a jmp, vxorps as a push, so that they are not
 * executed; vcmpps is treated as a ret (Linux 6.18). */
static bool is_mistaken(uint8_t op)
{
	static const uint8_t treated[] = { 0x90, 0x9d, 0xc2, 0xc3, 0xca,
					   0xcb, 0xe8, 0xe9, 0xeb, 0xff };

	return memchr(treated, op, sizeof(treated)) || (op & 0xf8) == 0x50 ||
	       (op & 0xf0) == 0x70 || memchr(refused, op, sizeof(refused));
}

/* FMA4, which the kernel's decoder does not know. */
static bool is_fma4(const struct arch_insn *insn, unsigned opcode)
{
	uint8_t op = insn->bytes[opcode];

	return opcode >= 3 && insn->bytes[opcode - 3] == 0xc4 &&
	       (insn->bytes[opcode - 2] & 0x1f) == 3 &&
	       ((op & 0xfc) == 0x5c || (op & 0xf8) == 0x68);
}

/* Must it have no uprobe? A system call would be made from the copy, which some return to
 * late or elsewhere. */
static bool is_refused(const struct arch_insn *insn)
{
	unsigned i = find_opcode(insn), v = vector_opcode(insn);
	uint8_t op = insn->bytes[i];

	if (insn->is_syscall)
		return true;
	if (v)
		return op == 0x8f || is_mistaken(insn->bytes[v]) || is_fma4(insn, v);
	if (op != 0x0f && memchr(refused, op, sizeof(refused)))
		return true;
	return memchr(insn->bytes, 0x66, i) &&
	       ((op & 0xfe) == 0xe8 || op == 0xeb || (op & 0xf0) == 0x70);
}

/* Is it one of the nops of up to 8 bytes that compilers fill with? The kernel steps the
 * others (endbr64 too). */
static bool is_usual_nop(const struct arch_insn *insn)
{
	static const uint8_t usual[][8] = {
		{ 0x90 },
		{ 0x66, 0x90 },
		{ 0x0f, 0x1f, 0x00 },
		{ 0x0f, 0x1f, 0x40, 0x00 },
		{ 0x0f, 0x1f, 0x44, 0x00, 0x00 },
		{ 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00 },
		{ 0x0f, 0x1f, 0x80, 0, 0, 0, 0 },
		{ 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 },
	};

	return insn->len <= 8 && !memcmp(insn->bytes, usual[insn->len - 1], insn->len);
}

/* Does the kernel emulate it? */
static bool is_cheap(const struct arch_insn *insn)
{
	switch (insn->kind) {
	case ARCH_INSN_NOP:
		return is_usual_nop(insn);
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

/* lock add and the like, inc, dec, not, neg, bts and the like: only memory and flags
 * change. */
static bool is_locked_write(const struct arch_insn *insn)
{
	const uint8_t *b = insn->bytes;
	uint8_t reg;

	if (*b++ != 0xf0)
		return false;
	if ((*b & 0xf0) == 0x40)
		b++;
	reg = b[1] >> 3 & 7;
	if (b[0] == 0x0f)
		return b[1] == 0xba || b[1] == 0xab || b[1] == 0xb3 || b[1] == 0xbb;
	if (b[0] < 0x40)
		return (b[0] & 6) == 0;
	if (b[0] >= 0x80 && b[0] <= 0x83)
		return true;
	return (b[0] | 1) == 0xff ? reg < 2 : (b[0] | 1) == 0xf7 && (reg | 1) == 3;
}

/* Does an instruction with such a prefix leave the general registers alone? Others are in
 * VEX's first map conversions, masks and moves; in the second BMI and compare-and-add; in
 * the third extracts, string compares and rorx. */
static bool is_vector_only(const struct arch_insn *insn)
{
	static const uint8_t first[] = { 0x2c, 0x2d, 0x50, 0x78, 0x79,
					 0x7e, 0x93, 0xc5, 0xd7 };
	const uint8_t *b = insn->bytes + find_opcode(insn);
	uint8_t op = insn->bytes[vector_opcode(insn)];
	uint8_t map = *b == 0xc5 ? 1 : b[1] & (*b == 0x62 ? 7 : 31);

	if (*b == 0x8f)
		return false;
	if (map == 1)
		return !memchr(first, op, sizeof(first));
	if (map == 2)
		return op < 0xe0;
	return map == 3 && op < 0xf0 && (op & 0xfc) != 0x14 && (op & 0xfc) != 0x60;
}

/* May it be skipped? */
static bool is_skipped(const struct arch_insn *insn, enum probe_want want, uint32_t *sunk)
{
	if (is_locked_write(insn))
		return true;
	if (vector_opcode(insn))
		return want == PROBE_WANT_COUNT || is_vector_only(insn);
	return is_harmless(insn) && (want == PROBE_WANT_COUNT || is_unseen(insn, sunk));
}

/* Where a uprobe might stand. */
struct landing {
	size_t at;     /* bytes behind the start; 0 none */
	uint32_t sunk; /* the stack pointer has gone down by, there */
};

/* The first instruction that is emulated; where the first of all has no uprobe and there
 * is no such, the first that can have one. What may fault is skipped for that only. */
static struct landing find_landing(const uint8_t *text, size_t n, enum probe_want want)
{
	struct landing found = { 0 };
	struct arch_insn insn;
	uint32_t sunk = 0;
	bool unfit = true;

	for (size_t at = 0; at <= SKIP_MAX && at < n; at += insn.len) {
		if (arch_decode(text + at, n - at, &insn))
			break;
		if (is_cheap(&insn))
			return (struct landing){ at, sunk };
		if (unfit && !is_refused(&insn)) {
			unfit = false;
			found = (struct landing){ at, sunk };
		}
		if (!unfit && !is_harmless(&insn))
			break;
		if (!is_skipped(&insn, want, &sunk))
			break;
	}
	return found;
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

static bool goes_into(int64_t to, size_t landing)
{
	return to > 0 && to <= (int64_t)landing;
}

/* Is there a byte in the function that could begin a jump behind its start, up to
 * `landing`, or an indirect one? text has 6 bytes more than n. */
static bool looks_jumpy(const uint8_t *text, size_t n, size_t landing)
{
	for (size_t i = 0; i < n; i++)
		if (goes_into(jump_at(text, i), landing) ||
		    (text[i] == 0xff && (text[i + 1] >> 3 & 7) == 4))
			return true;
	return false;
}

/* What a jump by a table may consist of. */
enum part {
	PART_NONE = 0,
	PART_LOAD = 1, /* of a word or half a word at a scaled index */
	PART_JUMP = 2, /* to where a register says */
	PART_BOTH = 3, /* through a word at an index */
};

/* Calls of virtual functions end functions too: they go through a register, or a word at
 * a constant distance from one, without any index. */
static enum part part_of_table(const struct arch_insn *insn)
{
	const uint8_t *b = insn->bytes + find_opcode(insn);
	bool is_scaled;

	if (*b == 0x3e)
		b++;
	is_scaled = (b[1] & 0xc0) != 0xc0 && (b[1] & 7) == 4 && b[2] >= 0x80 &&
		    (b[2] & 0x38) != 0x20;
	if (*b == 0x63 || *b == 0x8b)
		return is_scaled ? PART_LOAD : PART_NONE;
	if (*b != 0xff || (b[1] >> 3 & 7) != 4)
		return PART_NONE;
	if ((b[1] & 0xc0) == 0xc0)
		return PART_JUMP;
	return is_scaled ? PART_BOTH : PART_NONE;
}

/* The same by what the function's instructions are. */
static bool does_jump(const uint8_t *text, size_t n, size_t landing)
{
	struct arch_insn insn;
	unsigned parts = PART_NONE;

	for (size_t at = 0; at < n; at += insn.len) {
		if (arch_decode(text + at, n - at, &insn))
			return true;
		parts |= part_of_table(&insn);
		switch (insn.kind) {
		case ARCH_INSN_JMP_REL:
		case ARCH_INSN_CALL_REL:
		case ARCH_INSN_JCC:
		case ARCH_INSN_LOOP:
			if (goes_into((int64_t)at + insn.len + insn.imm, landing))
				return true;
			break;
		case ARCH_INSN_OTHER: /* with prefixes */
			if (goes_into(jump_at(text, at + find_opcode(&insn)), landing))
				return true;
			break;
		}
	}
	return parts == PART_BOTH;
}

static bool may_jump_into(const uint8_t *text, size_t n, size_t landing)
{
	return looks_jumpy(text, n, landing) && does_jump(text, n, landing);
}

/* Is there an instruction at `at`? Decoded from the beginning of what holds it. */
static bool is_instruction(const struct kernel_text *t, uint64_t at)
{
	uint8_t text[ARCH_INSN_MAX];
	struct arch_insn insn;
	uint64_t pc;
	GElf_Sym sym;

	if (Plookup_by_addr(t->P, at, NULL, 0, &sym) || at - sym.st_value > FUNCTION_MAX)
		return true; /* not known */
	for (pc = sym.st_value; pc < at; pc += insn.len) {
		ssize_t n = pread(t->fd, text, sizeof(text), (off_t)(pc - t->bias));

		if (n <= 0 || arch_decode(text, (size_t)n, &insn))
			return true;
		if (at < pc + insn.len) /* behind its prefixes, perhaps */
			return at == pc + find_opcode(&insn);
	}
	return true;
}

/* Does what stands from `from` on, n bytes, jump behind the start of the function at
 * addr, up to `landing`? */
static bool is_reached_from(const struct kernel_text *t, uint64_t from, size_t n,
			    uint64_t addr, size_t landing)
{
	uint8_t text[NEAR + 8] = { 0 };
	int64_t off = (int64_t)(from - addr);

	if (from < t->bias || pread(t->fd, text, n, (off_t)(from - t->bias)) <= 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		int64_t to = jump_at(text, i);

		if (to && goes_into(to + off, landing) && is_instruction(t, from + i))
			return true;
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
	if (is_reached_from(t, addr - NEAR, NEAR, addr, landing) ||
	    is_reached_from(t, addr + sym.st_size, NEAR, addr, landing))
		return false;
	text = calloc(1, sym.st_size + 8);
	if (!text)
		return false;
	got = pread(t->fd, text, sym.st_size, (off_t)(addr - t->bias));
	return got == (ssize_t)sym.st_size && !may_jump_into(text, sym.st_size, landing);
}

/* Where the entry of a function is watched; text is its own. */
static void land(const struct kernel_text *t, struct kernel_spot *s, const uint8_t *text,
		 size_t n)
{
	struct landing l = find_landing(text, n, t->want);

	if (!l.at || !is_sole_way(t, s->s.addr, l.at))
		return;
	s->at += l.at;
	s->sunk = l.sunk;
}

/* --- jumps -------------------------------------------------------------------------- */

static bool is_outside(const struct probe_spot *s, uint64_t target)
{
	return (target < s->lo || target >= s->hi) &&
	       (target < s->lo2 || target >= s->hi2);
}

static void test_register(struct record_jump *j, uint8_t reg)
{
	j->how = RECORD_JUMP_REG;
	j->base = reg;
}

static void test_indirect(struct record_jump *j, const struct arch_insn *insn)
{
	if (insn->src != ARCH_NOREG) {
		test_register(j, insn->src);
		return;
	}
	j->how = RECORD_JUMP_MEM;
	j->base = insn->base;
	j->index = insn->index;
	j->scale = insn->scale;
	j->disp = (uint64_t)insn->imm;
	if (insn->base == arch_native->reg_pc)
		j->disp += insn->len;
}

/* What the program is to test; nothing where the instruction says it all. */
static int test_jump(struct kernel_spot *s, const struct arch_insn *insn)
{
	uint64_t target = s->s.addr + insn->len + (uint64_t)insn->imm;

	s->test = (struct record_jump){ .lo = s->s.lo,
					.hi = s->s.hi,
					.lo2 = s->s.lo2,
					.hi2 = s->s.hi2,
					.base = RECORD_NONE,
					.index = RECORD_NONE };
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
	case ARCH_INSN_JMP_MEM:
		test_indirect(&s->test, insn);
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
	if (s->s.kind == PROBE_ENTRY && !jumps)
		land(t, s, text, (size_t)n);
	if (s->at == addr && text[0] == INT3 && !jumps)
		s->never = true; /* padding; or the program's own, which is a SIGTRAP */
	if (s->at == addr && !s->never && is_refused(&insn))
		return kernel_say(said, -EOPNOTSUPP,
				  "the kernel puts no uprobe on the instruction at %#llx",
				  addr);
	return 0;
}
