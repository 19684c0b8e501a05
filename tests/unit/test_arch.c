/* SPDX-License-Identifier: MIT */
/*
 * src/arch on x86-64. The truth is the CPU: each instruction is run natively, between a
 * stub that loads every register and flag and one that stores them, and the outcome
 * (registers, flags, PC, stack) is compared with arch_emulate() on the same input, bit
 * by bit.
 *
 * The arena is one RWX mapping: code pages filled with int3, then a page of state that
 * the stubs reach by RIP, then the stack. Where the emulation says that the PC goes, a
 * jump to the store stub is laid; a CPU that goes anywhere else runs into int3 and the
 * test dies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/arch.h"

enum {
	CODE = 0x8000,         /* bytes of code; the stubs stand at its ends */
	STUB_IN = 0x40,        /* enter here */
	STUB_OUT = CODE - 128, /* jump here to leave */
	STATE = CODE,          /* struct state */
	STACK = CODE + 0x1000, /* the victim's stack */
	STACK_SIZE = 0x1000,
	ARENA = STACK + STACK_SIZE,
	FLAGS = 0xcd5 |
		1 << 21, /* CF PF AF ZF SF DF OF ID: what a program can set at no risk */
	FIXED_FLAGS = 0x202,
	CASES = 2000, /* of each shape */
};

/* Words of user_regs_struct by the CPU's own numbers. */
static const uint8_t gpr[16] = { 10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0 };

/* What the stubs read and write. Registers by the CPU's numbers; rsp is number 4. */
struct state {
	uint64_t in_flags;  /* popped first */
	uint64_t in[16];    /* popped upwards; rsp is loaded last */
	uint64_t out_flags; /* pushed last */
	uint64_t out[16];   /* pushed downwards; [4] is not used */
	uint64_t out_rsp;   /* rsp after the instruction */
	uint64_t host_rsp;  /* the test's own stack */
};

static uint8_t *arena;
static uint8_t *jump_in; /* the jump that ends the load stub */
static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d;
}

/* Values that make flags interesting: small, near a sign change, or any. */
static uint64_t rnd_value(void)
{
	static const uint64_t edge[] = { 0,          1,         0x7f,
					 0x80,       0xff,      0x7fffffff,
					 0x80000000, INT64_MAX, (uint64_t)INT64_MIN,
					 UINT64_MAX };
	uint64_t r = rnd();

	switch (r >> 62) {
	case 0:
		return edge[r % 10];
	case 1:
		return edge[r % 10] + (r >> 32) % 33 - 16;
	default:
		return rnd();
	}
}

/* --- the machine -------------------------------------------------------------------- */

static struct state *state(void)
{
	return (struct state *)(void *)(arena + STATE);
}

static uint8_t *emit(uint8_t *p, const void *bytes, size_t n)
{
	memcpy(p, bytes, n);
	return p + n;
}

/* An instruction whose last four bytes are a displacement from its end to `field`. */
static uint8_t *emit_rip(uint8_t *p, const void *bytes, size_t n, size_t field)
{
	int32_t disp;

	p = emit(p, bytes, n);
	disp = (int32_t)(arena + STATE + field - (p + 4));
	return emit(p, &disp, 4);
}

static uint8_t *emit_jump(uint8_t *p, const uint8_t *to)
{
	int32_t disp = (int32_t)(to - (p + 5));

	*p = 0xe9;
	return emit(p + 1, &disp, 4);
}

/* pop or push (op 0x58 or 0x50) of one register. */
static uint8_t *emit_stack_op(uint8_t *p, uint8_t op, unsigned reg)
{
	if (reg >= 8)
		*p++ = 0x41;
	*p++ = op | (reg & 7);
	return p;
}

static void emit_stubs(void)
{
	static const uint8_t saved[] = { 3, 5, 12, 13, 14, 15 };
	uint8_t *p = arena + STUB_IN;

	*p++ = 0x9c; /* pushfq */
	for (unsigned i = 0; i < 6; i++)
		p = emit_stack_op(p, 0x50, saved[i]);
	p = emit_rip(p, "\x48\x89\x25", 3, offsetof(struct state, host_rsp));
	p = emit_rip(p, "\x48\x8d\x25", 3, offsetof(struct state, in_flags));
	/* popfq, then every register in turn, rsp's place skipped into rbp */
	*p++ = 0x9d;
	for (unsigned i = 0; i < 16; i++)
		p = emit_stack_op(p, 0x58, i == 4 ? 5 : i);
	p = emit_rip(p, "\x48\x8b\x25", 3, offsetof(struct state, in[4]));
	jump_in = p;

	p = arena + STUB_OUT;
	p = emit_rip(p, "\x48\x89\x25", 3, offsetof(struct state, out_rsp));
	p = emit_rip(p, "\x48\x8d\x25", 3, offsetof(struct state, out_rsp));
	for (unsigned i = 16; i-- > 0;)
		p = emit_stack_op(p, 0x50, i == 4 ? 5 : i);
	*p++ = 0x9c; /* pushfq */
	p = emit_rip(p, "\x48\x8b\x25", 3, offsetof(struct state, host_rsp));
	for (unsigned i = 6; i-- > 0;)
		p = emit_stack_op(p, 0x58, saved[i]);
	*p++ = 0x9d;
	*p++ = 0xc3;
}

/* Runs the instruction at `at`, of which the CPU will come to `next`, with *regs. */
static void run_natively(uint8_t *at, uint8_t *next, arch_regs_t *regs)
{
	struct state *s = state();
	void (*enter)(void) = (void (*)(void))(uintptr_t)(arena + STUB_IN);

	s->in_flags = regs->eflags;
	for (unsigned i = 0; i < 16; i++)
		s->in[i] = arch_reg_get(regs, gpr[i]);
	emit_jump(jump_in, at);
	emit_jump(next, arena + STUB_OUT);
	enter();
	memset(next, 0xcc, 5);
	s->out[4] = s->out_rsp;
	for (unsigned i = 0; i < 16; i++)
		arch_reg_set(regs, gpr[i], s->out[i]);
	regs->eflags = s->out_flags;
	regs->rip = (uintptr_t)next;
}

/* --- the emulation's view ----------------------------------------------------------- */

static uint8_t shadow[STACK_SIZE]; /* a copy of the stack, at the same addresses */

/* How much of [addr, addr + len) lies in the stack, from its beginning. */
static ssize_t clip(uint64_t addr, size_t len, size_t *offset)
{
	uint64_t at = addr - (uintptr_t)(arena + STACK);

	if (at >= STACK_SIZE)
		return -EFAULT;
	*offset = at;
	return len < STACK_SIZE - at ? len : STACK_SIZE - at;
}

static ssize_t read_shadow(void *ctx, uint64_t addr, void *buf, size_t len)
{
	size_t at;
	ssize_t n = clip(addr, len, &at);

	if (n > 0)
		memcpy(buf, shadow + at, n);
	return n;
}

static ssize_t write_shadow(void *ctx, uint64_t addr, const void *buf, size_t len)
{
	size_t at;
	ssize_t n = clip(addr, len, &at);

	if (n > 0)
		memcpy(shadow + at, buf, n);
	return n;
}

static const struct mem_ops shadow_ops = { .read = read_shadow, .write = write_shadow };
static const struct mem shadow_mem = { .ops = &shadow_ops };

static void fill_regs(arch_regs_t *regs, uint8_t *at)
{
	memset(regs, 0, sizeof(*regs));
	for (unsigned i = 0; i < 16; i++)
		arch_reg_set(regs, gpr[i], rnd_value());
	regs->cs = 0x33;
	regs->eflags = FIXED_FLAGS | (rnd() & FLAGS);
	regs->rip = (uintptr_t)at;
}

/* A stack pointer with room on both sides, not always aligned. */
static void fill_stack(arch_regs_t *regs)
{
	for (unsigned i = 0; i < STACK_SIZE; i += 8) {
		uint64_t word = rnd();

		memcpy(arena + STACK + i, &word, 8);
	}
	regs->rsp = (uintptr_t)arena + STACK + 64 + rnd() % (STACK_SIZE - 128);
}

static void expect_same(const arch_regs_t *emulated, const arch_regs_t *native,
			const struct arch_insn *insn)
{
	if (memcmp(emulated, native, sizeof(*native)) == 0)
		return;
	for (unsigned i = 0; i < arch_native->nregs; i++)
		if (arch_reg_get(emulated, i) != arch_reg_get(native, i))
			print_error("word %u: emulated %llx, cpu %llx\n", i,
				    (unsigned long long)arch_reg_get(emulated, i),
				    (unsigned long long)arch_reg_get(native, i));
	print_error("kind %u, bytes", insn->kind);
	for (unsigned i = 0; i < insn->len; i++)
		print_error(" %02x", insn->bytes[i]);
	fail_msg("emulation and CPU differ");
}

static bool jumps_anywhere(unsigned kind)
{
	return kind == ARCH_INSN_JMP_REG || kind == ARCH_INSN_CALL_REG;
}

static bool in_code(uint64_t pc)
{
	uint64_t at = pc - (uintptr_t)arena;

	return at >= 0x100 && at < STUB_OUT - 16;
}

/* Emulates and runs the instruction at `at`. False when the CPU cannot be let run it, as
 * it leaves the arena. */
static bool compare(uint8_t *at, const struct arch_insn *insn, const arch_regs_t *regs)
{
	arch_regs_t emulated = *regs, native = *regs;
	uint64_t distance;
	int err;

	memcpy(shadow, arena + STACK, STACK_SIZE);
	err = arch_emulate(insn, &emulated, &shadow_mem);
	if (err == -ENOTSUP && jumps_anywhere(insn->kind))
		return false;
	assert_int_equal(err, 0);
	distance = emulated.rip - (uintptr_t)at + 5;
	if (!in_code(emulated.rip) || distance < 5u + insn->len)
		return false;
	run_natively(at, (uint8_t *)(uintptr_t)emulated.rip, &native);
	expect_same(&emulated, &native, insn);
	assert_memory_equal(shadow, arena + STACK, STACK_SIZE);
	return true;
}

/* --- shapes of instructions --------------------------------------------------------- */

/* Writes one instruction, returns its length. */
typedef size_t shape_f(uint8_t *p);

static uint8_t rex(uint8_t base)
{
	return base | (rnd() & 7);
}

static size_t with_imm(uint8_t *p, size_t at, size_t n)
{
	uint64_t imm = rnd_value();

	memcpy(p + at, &imm, n);
	return at + n;
}

static size_t push_reg(uint8_t *p)
{
	bool wide = rnd() & 1;

	if (wide)
		p[0] = rex(0x40);
	p[wide] = 0x50 | (rnd() & 7);
	return 1 + wide;
}

static size_t pop_reg(uint8_t *p)
{
	size_t n = push_reg(p);

	p[n - 1] |= 8;
	return n;
}

static size_t mov_reg(uint8_t *p)
{
	p[0] = rex(0x48);
	p[1] = rnd() & 1 ? 0x89 : 0x8b;
	p[2] = 0xc0 | (rnd() & 0x3f);
	return 3;
}

static size_t mov_imm64(uint8_t *p)
{
	p[0] = rex(0x48);
	p[1] = 0xb8 | (rnd() & 7);
	return with_imm(p, 2, 8);
}

static size_t mov_imm32(uint8_t *p)
{
	p[0] = rex(0x48);
	p[1] = 0xc7;
	p[2] = 0xc0 | (rnd() & 7);
	return with_imm(p, 3, 4);
}

static size_t sub_imm8(uint8_t *p)
{
	p[0] = rex(0x48);
	p[1] = 0x83;
	p[2] = 0xe8 | (rnd() & 7);
	return with_imm(p, 3, 1);
}

static size_t sub_imm32(uint8_t *p)
{
	p[0] = rex(0x48);
	p[1] = 0x81;
	p[2] = 0xe8 | (rnd() & 7);
	return with_imm(p, 3, 4);
}

static size_t sub_rax(uint8_t *p)
{
	p[0] = rex(0x48);
	p[1] = 0x2d;
	return with_imm(p, 2, 4);
}

/* Every addressing form: base alone, with index, none, RIP; displacement of 0, 1, 4. */
static size_t lea(uint8_t *p)
{
	uint8_t mod = rnd() % 3, rm = rnd() & 7;
	size_t n = 3;

	p[0] = rex(0x48);
	p[1] = 0x8d;
	p[2] = mod << 6 | (rnd() & 7) << 3 | rm;
	if (rm == 4)
		p[n++] = rnd();
	if (mod == 1)
		return with_imm(p, n, 1);
	if (mod == 2 || rm == 5 || (rm == 4 && (p[3] & 7) == 5))
		return with_imm(p, n, 4);
	return n;
}

static size_t nop(uint8_t *p)
{
	static const struct {
		uint8_t len;       /* of the instruction */
		const char *bytes; /* its bytes */
	} nops[] = {
		{ 1, "\x90" },
		{ 2, "\x66\x90" },
		{ 3, "\x0f\x1f\x00" },
		{ 4, "\x0f\x1f\x40\x00" },
		{ 5, "\x0f\x1f\x44\x00\x00" },
		{ 6, "\x66\x0f\x1f\x44\x00\x00" },
		{ 7, "\x0f\x1f\x80\x00\x00\x00\x00" },
		{ 8, "\x0f\x1f\x84\x00\x00\x00\x00\x00" },
		{ 9, "\x66\x0f\x1f\x84\x00\x00\x00\x00\x00" },
		{ 10, "\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00" },
		{ 11, "\x66\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00" },
		{ 4, "\xf3\x0f\x1e\xfa" },
	};
	unsigned i = rnd() % (sizeof(nops) / sizeof(*nops));

	memcpy(p, nops[i].bytes, nops[i].len);
	return nops[i].len;
}

static size_t ret_near(uint8_t *p)
{
	p[0] = 0xc3;
	if (rnd() & 1)
		return 1;
	p[0] = 0xc2;
	return with_imm(p, 1, 2);
}

static size_t jmp_short(uint8_t *p)
{
	p[0] = 0xeb;
	p[1] = rnd();
	return 2;
}

static size_t jmp_near(uint8_t *p)
{
	int32_t disp = (int32_t)(rnd() % CODE) - CODE / 2;

	p[0] = 0xe9;
	memcpy(p + 1, &disp, 4);
	return 5;
}

static size_t call_near(uint8_t *p)
{
	size_t n = jmp_near(p);

	p[0] = 0xe8;
	return n;
}

/* An operation of 32 or 64 bits on two registers. */
static size_t alu_reg(uint8_t *p)
{
	static const uint8_t op[] = { 0x01, 0x09, 0x21, 0x29, 0x31, 0x39 };

	p[0] = rex(rnd() & 1 ? 0x48 : 0x40);
	p[1] = rnd() % 7 ? op[rnd() % sizeof(op)] | (rnd() & 2) : 0x85;
	p[2] = 0xc0 | (rnd() & 0x3f);
	return 3;
}

/* add, or, and, sub, xor, cmp: not adc and sbb, which read CF. */
static size_t alu_imm(uint8_t *p)
{
	static const uint8_t op[] = { 0, 1, 4, 5, 6, 7 };

	p[0] = rex(rnd() & 1 ? 0x48 : 0x40);
	p[1] = rnd() & 1 ? 0x83 : 0x81;
	p[2] = 0xc0 | op[rnd() % sizeof(op)] << 3 | (rnd() & 7);
	return with_imm(p, 3, p[1] == 0x83 ? 1 : 4);
}

static size_t test_imm(uint8_t *p)
{
	p[0] = rnd() & 1 ? 0x48 : 0x40;
	if (rnd() & 1) {
		p[1] = 0xa9;
		return with_imm(p, 2, 4);
	}
	p[0] |= rnd() & 1;
	p[1] = 0xf7;
	p[2] = 0xc0 | (rnd() & 7);
	return with_imm(p, 3, 4);
}

static size_t narrow(uint8_t *p, shape_f *wide)
{
	size_t n = wide(p);

	p[0] &= ~8;
	return n;
}

static size_t mov_reg32(uint8_t *p)
{
	return narrow(p, mov_reg);
}

static size_t lea32(uint8_t *p)
{
	return narrow(p, lea);
}

static size_t mov_eax_imm32(uint8_t *p)
{
	if (rnd() & 1)
		return narrow(p, mov_imm32);
	p[0] = 0xb8 | (rnd() & 7);
	return with_imm(p, 1, 4);
}

static size_t push_imm(uint8_t *p)
{
	p[0] = rnd() & 1 ? 0x68 : 0x6a;
	return with_imm(p, 1, p[0] == 0x68 ? 4 : 1);
}

static size_t leave_frame(uint8_t *p)
{
	p[0] = 0xc9;
	return 1;
}

static size_t jcc(uint8_t *p)
{
	int32_t disp = (int32_t)(rnd() % CODE) - CODE / 2;
	uint8_t condition = rnd() & 15;

	p[0] = 0x70 | condition;
	p[1] = rnd();
	if (rnd() & 1)
		return 2;
	p[0] = 0x0f;
	p[1] = 0x80 | condition;
	memcpy(p + 2, &disp, 4);
	return 6;
}

static size_t loop(uint8_t *p)
{
	bool narrow_counter = rnd() & 1;

	p[0] = 0x67;
	p[narrow_counter] = 0xe0 | (rnd() & 3);
	p[narrow_counter + 1] = rnd();
	return 2 + narrow_counter;
}

static size_t jmp_reg(uint8_t *p)
{
	p[0] = 0x40 | (rnd() & 9); /* REX.W, which jmp does not look at */
	p[1] = 0xff;
	p[2] = 0xe0 | (rnd() & 7);
	return 3;
}

static size_t call_reg(uint8_t *p)
{
	size_t n = jmp_reg(p);

	p[2] = 0xd0 | (rnd() & 7);
	return n;
}

static const struct {
	const char *name;         /* for the message */
	shape_f *write;           /* writes one */
	enum arch_insn_kind kind; /* what it must be decoded as */
} shapes[] = {
	{ "push", push_reg, ARCH_INSN_PUSH_REG },
	{ "pop", pop_reg, ARCH_INSN_POP_REG },
	{ "mov reg", mov_reg, ARCH_INSN_MOV_REG },
	{ "mov imm64", mov_imm64, ARCH_INSN_MOV_IMM },
	{ "mov imm32", mov_imm32, ARCH_INSN_MOV_IMM },
	{ "sub imm8", sub_imm8, ARCH_INSN_ALU },
	{ "sub imm32", sub_imm32, ARCH_INSN_ALU },
	{ "sub rax", sub_rax, ARCH_INSN_ALU },
	{ "lea", lea, ARCH_INSN_LEA },
	{ "nop", nop, ARCH_INSN_NOP },
	{ "ret", ret_near, ARCH_INSN_RET },
	{ "jmp short", jmp_short, ARCH_INSN_JMP_REL },
	{ "jmp near", jmp_near, ARCH_INSN_JMP_REL },
	{ "call", call_near, ARCH_INSN_CALL_REL },
	{ "alu reg", alu_reg, ARCH_INSN_ALU },
	{ "alu imm", alu_imm, ARCH_INSN_ALU },
	{ "test imm", test_imm, ARCH_INSN_ALU },
	{ "mov reg32", mov_reg32, ARCH_INSN_MOV_REG },
	{ "lea32", lea32, ARCH_INSN_LEA },
	{ "mov imm to 32", mov_eax_imm32, ARCH_INSN_MOV_IMM },
	{ "push imm", push_imm, ARCH_INSN_PUSH_IMM },
	{ "leave", leave_frame, ARCH_INSN_LEAVE },
	{ "jcc", jcc, ARCH_INSN_JCC },
	{ "loop", loop, ARCH_INSN_LOOP },
	{ "jmp reg", jmp_reg, ARCH_INSN_JMP_REG },
	{ "call reg", call_reg, ARCH_INSN_CALL_REG },
};

enum {
	NSHAPES = sizeof(shapes) / sizeof(*shapes),
};

static bool uses_stack(unsigned kind)
{
	return kind == ARCH_INSN_PUSH_REG || kind == ARCH_INSN_POP_REG ||
	       kind == ARCH_INSN_RET || kind == ARCH_INSN_CALL_REL ||
	       kind == ARCH_INSN_PUSH_IMM || kind == ARCH_INSN_CALL_REG ||
	       kind == ARCH_INSN_LEAVE;
}

/* Random input for the instruction: a stack where it has one, a way back for a ret. */
static void prepare(const struct arch_insn *insn, arch_regs_t *regs, uint8_t *at)
{
	uint64_t back = (uintptr_t)arena + 0x100 + rnd() % (STUB_OUT - 0x200);

	fill_regs(regs, at);
	if (uses_stack(insn->kind))
		fill_stack(regs);
	if (insn->kind == ARCH_INSN_LEAVE)
		regs->rbp = (uintptr_t)arena + STACK + rnd() % (STACK_SIZE - 8);
	if (jumps_anywhere(insn->kind) && insn->src != arch_native->reg_sp)
		arch_reg_set(regs, insn->src, back);
	if (insn->kind == ARCH_INSN_LOOP && rnd() & 1)
		regs->rcx = (rnd() & 1) << 32 | (rnd() & 1);
	if (insn->kind == ARCH_INSN_RET)
		memcpy((void *)(uintptr_t)regs->rsp, &back, 8);
}

static bool try_shape(unsigned i)
{
	uint8_t *at = arena + 0x100 + rnd() % (STUB_OUT - 0x200);
	struct arch_insn insn;
	arch_regs_t regs;
	size_t len;
	bool ran;

	len = shapes[i].write(at);
	assert_int_equal(arch_decode(at, len, &insn), 0);
	assert_int_equal(insn.len, len);
	assert_memory_equal(insn.bytes, at, len);
	if (insn.kind != shapes[i].kind)
		fail_msg("%s decoded as kind %u", shapes[i].name, insn.kind);
	prepare(&insn, &regs, at);
	ran = compare(at, &insn, &regs);
	memset(at, 0xcc, len);
	return ran;
}

static void emulation_equals_cpu(void **unused)
{
	for (unsigned i = 0; i < NSHAPES; i++) {
		unsigned ran = 0, tries = 0;

		while (ran < CASES && ++tries < 10 * CASES)
			ran += try_shape(i);
		assert_int_equal(ran, CASES);
	}
}

/* Whatever bytes decode as a kind that is emulated really do what emulation does. */
static void random_bytes_equal_cpu(void **unused)
{
	static const uint8_t lead[] = { 0x66, 0x67, 0x2e, 0x3e, 0x64, 0xf0, 0xf2, 0xf3,
					0x48, 0x49, 0x4c, 0x41, 0x40, 0x0f, 0x0f, 0x8d };
	unsigned ran = 0, kinds = 0;

	for (unsigned i = 0; i < 200000; i++) {
		uint8_t *at = arena + 0x4000, bytes[16];
		struct arch_insn insn;
		arch_regs_t regs;

		for (unsigned j = 0; j < 16; j++)
			bytes[j] = rnd() >> 20;
		for (unsigned j = 0; j < rnd() % 4; j++)
			bytes[j] = lead[rnd() % sizeof(lead)];
		if (arch_decode(bytes, sizeof(bytes), &insn) ||
		    insn.kind == ARCH_INSN_OTHER || insn.kind == ARCH_INSN_COPY ||
		    insn.kind == ARCH_INSN_SYSCALL || insn.kind == ARCH_INSN_JMP_MEM)
			continue;
		memcpy(at, bytes, insn.len);
		prepare(&insn, &regs, at);
		kinds |= 1u << insn.kind;
		ran += compare(at, &insn, &regs);
		memset(at, 0xcc, insn.len);
	}
	assert_true(ran > 5000);
	assert_true(kinds & 1u << ARCH_INSN_NOP);
}

/* --- what must not be emulated ----------------------------------------------------- */

static unsigned kind_of(const char *bytes, size_t n)
{
	struct arch_insn insn;

	assert_int_equal(arch_decode((const uint8_t *)bytes, n, &insn), 0);
	assert_int_equal(insn.len, n);
	return insn.kind;
}

#define EXPECT(what, bytes)                                                              \
	assert_int_equal(kind_of(bytes, sizeof(bytes) - 1), ARCH_INSN_##what)

/* Fails when the decoder takes one of these for something that emulation knows. */
static void unusual_encodings_are_executed(void **unused)
{
	EXPECT(COPY, "\xf2\xc3");             /* bnd ret */
	EXPECT(COPY, "\xf3\xc3");             /* rep ret */
	EXPECT(COPY, "\x48\xc3");             /* rex.W ret */
	EXPECT(JMP_MEM, "\x3e\xff\xe0");      /* notrack jmp rax */
	EXPECT(JMP_MEM, "\xff\x20");          /* jmp [rax] */
	EXPECT(COPY, "\x66\x50");             /* push ax */
	EXPECT(COPY, "\x0f\xa0");             /* push fs */
	EXPECT(COPY, "\x9c");                 /* pushfq */
	EXPECT(COPY, "\xff\x30");             /* push [rax] */
	EXPECT(COPY, "\x48\x8b\x00");         /* mov rax, [rax] */
	EXPECT(COPY, "\x48\x8b\x05\0\0\0\0"); /* mov rax, [rip] */
	EXPECT(COPY, "\x48\x8c\xd8");         /* mov rax, ds */
	EXPECT(COPY, "\x84\xc0");             /* test al, al */
	EXPECT(COPY, "\x66\x29\xc0");         /* sub ax, ax */
	EXPECT(COPY, "\x48\x11\xc0");         /* adc rax, rax */
	EXPECT(COPY, "\x48\x83\x28\x01");     /* sub qword [rax], 1 */
	EXPECT(COPY, "\xf0\x48\x83\x28\x01"); /* lock sub */
	EXPECT(COPY, "\x67\x48\x8d\x00");     /* lea rax, [eax] */
	EXPECT(COPY, "\x64\x48\x8d\x00");     /* lea rax, fs:[rax] */
	EXPECT(COPY, "\xf3\x90");             /* pause */
	EXPECT(COPY, "\x41\x90");             /* xchg r8, rax */
	EXPECT(COPY, "\xf3\x48\x0f\x1e\xc8"); /* rdsspq rax */
	EXPECT(COPY, "\xf3\x48\xa5");         /* rep movsq */
	EXPECT(COPY, "\x0f\x31");             /* rdtsc */
	EXPECT(COPY, "\xc5\xfa\x6f\x07");     /* vmovdqu xmm0, [rdi] */
	EXPECT(SYSCALL, "\x0f\x05");          /* syscall */
}

/* Fails when one of these is let run where its own address shows. */
static void what_shows_its_address_is_stepped(void **unused)
{
	EXPECT(OTHER, "\xcb");                         /* far ret */
	EXPECT(OTHER, "\x48\xcf");                     /* iretq */
	EXPECT(OTHER, "\xf2\xe9\0\0\0\0");             /* bnd jmp */
	EXPECT(OTHER, "\x2e\x74\0");                   /* je, hinted */
	EXPECT(OTHER, "\xff\x10");                     /* call [rax] */
	EXPECT(OTHER, "\x3e\xff\xd0");                 /* notrack call rax */
	EXPECT(OTHER, "\xff\x28");                     /* far jmp [rax] */
	EXPECT(OTHER, "\xcc");                         /* int3 */
	EXPECT(OTHER, "\xcd\x80");                     /* int 0x80 */
	EXPECT(OTHER, "\x0f\x34");                     /* sysenter */
	EXPECT(OTHER, "\x0f\x0b");                     /* ud2 */
	EXPECT(OTHER, "\xc7\xf8\0\0\0\0");             /* xbegin */
	EXPECT(OTHER, "\x9d");                         /* popfq */
	EXPECT(OTHER, "\x8e\xd0");                     /* mov ss, eax */
	EXPECT(OTHER, "\x0f\xa1");                     /* pop fs */
	EXPECT(OTHER, "\xdd\x07");                     /* fld qword [rdi] */
	EXPECT(OTHER, "\xda\xc1");                     /* fcmovb */
	EXPECT(OTHER, "\x9b");                         /* fwait */
	EXPECT(OTHER, "\xf4");                         /* hlt */
	EXPECT(OTHER, "\x67\x8b\x05\0\0\0\0");         /* mov eax, [eip] */
	EXPECT(OTHER, "\x48\x8b\x05\xf9\xff\xff\xff"); /* mov rax, [itself] */
	EXPECT(OTHER, "\x48\x8b\x05\xf2\xff\xff\xff"); /* mov rax, [7 before] */
	EXPECT(COPY, "\x48\x8b\x05\xf1\xff\xff\xff");  /* mov rax, [8 before] */
	EXPECT(OTHER, "\x0f\xae\x05\0\xf0\xff\xff");   /* fxsave around itself */
}

static void syscalls_are_told(void **unused)
{
	static const struct {
		uint8_t is_syscall, len; /* expected */
		const char *bytes;       /* the instruction */
	} cases[] = {
		{ 1, 2, "\x0f\x05" }, { 1, 2, "\x0f\x34" }, { 1, 2, "\xcd\x80" },
		{ 0, 2, "\xcd\x03" }, { 0, 1, "\x90" },     { 0, 2, "\x0f\x0b" },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct arch_insn insn;

		assert_int_equal(
			arch_decode((const uint8_t *)cases[i].bytes, cases[i].len, &insn),
			0);
		assert_int_equal(insn.is_syscall, cases[i].is_syscall);
	}
}

static void cut_off_bytes_are_refused(void **unused)
{
	struct arch_insn insn = { .kind = 77 };

	assert_int_equal(arch_decode((const uint8_t *)"\xe8\0\0\0", 4, &insn), -EILSEQ);
	assert_int_equal(arch_decode((const uint8_t *)"\x06", 1, &insn), -EILSEQ);
	assert_int_equal(arch_decode((const uint8_t *)"", 0, &insn), -EILSEQ);
	assert_int_equal(insn.kind, 77);
}

/* --- emulation refuses, and then nothing has changed ------------------------------- */

static ssize_t fail_access(void *ctx, uint64_t addr, void *buf, size_t len)
{
	return -EFAULT;
}

static const struct mem_ops no_ops = { .read = fail_access };
static const struct mem no_mem = { .ops = &no_ops };

static void expect_refusal(const struct arch_insn *insn, const arch_regs_t *regs,
			   const struct mem *m, int err)
{
	arch_regs_t after = *regs;

	memcpy(shadow, arena + STACK, STACK_SIZE);
	assert_int_equal(arch_emulate(insn, &after, m), err);
	assert_memory_equal(&after, regs, sizeof(after));
	assert_memory_equal(shadow, arena + STACK, STACK_SIZE);
}

static void refusals_change_nothing(void **unused)
{
	struct arch_insn insn = { .kind = ARCH_INSN_PUSH_REG, .len = 1, .src = 10 };
	arch_regs_t regs;

	fill_regs(&regs, arena + 0x1000);
	fill_stack(&regs);
	expect_refusal(&insn, &regs, &no_mem, -EFAULT);
	insn.kind = ARCH_INSN_CALL_REL;
	expect_refusal(&insn, &regs, &no_mem, -EFAULT);
	insn.kind = ARCH_INSN_RET;
	expect_refusal(&insn, &regs, &no_mem, -EFAULT);
	/* A word that lies half beyond the stack's last byte is put back. */
	insn.kind = ARCH_INSN_PUSH_REG;
	regs.rsp = (uintptr_t)arena + STACK + STACK_SIZE + 4;
	expect_refusal(&insn, &regs, &shadow_mem, -EFAULT);
	/* To a place where the CPU has its own opinion. */
	fill_stack(&regs);
	memset((void *)(uintptr_t)regs.rsp, 0xff, 8);
	insn.kind = ARCH_INSN_RET;
	expect_refusal(&insn, &regs, &shadow_mem, -ENOTSUP);
	/* A program that steps itself; one in 32-bit mode. */
	insn.kind = ARCH_INSN_NOP;
	regs.eflags |= 0x100;
	expect_refusal(&insn, &regs, &shadow_mem, -ENOTSUP);
	regs.eflags &= ~0x100ull;
	regs.cs = 0x23;
	expect_refusal(&insn, &regs, &shadow_mem, -ENOTSUP);
}

/* A value from a broken client: whatever its bytes, no stray access and a clean
 * answer. */
static void garbage_values_are_survived(void **unused)
{
	for (unsigned i = 0; i < 100000; i++) {
		struct arch_insn insn;
		arch_regs_t regs, before;
		int err;

		for (unsigned j = 0; j < sizeof(insn); j++)
			((uint8_t *)&insn)[j] = rnd() >> 30;
		insn.kind %= ARCH_INSN_NKINDS + 1;
		fill_regs(&regs, arena + 0x1000);
		before = regs;
		err = arch_emulate(&insn, &regs, &no_mem);
		assert_true(err == 0 || err == -ENOTSUP || err == -EFAULT);
		if (err)
			assert_memory_equal(&regs, &before, sizeof(regs));
		assert_int_equal(regs.cs, before.cs);
		assert_int_equal(regs.orig_rax, 0);
	}
}

/* --- the first branch -------------------------------------------------------------- */

static struct mem code_at(struct mem_pieces *pieces, struct mem_piece *piece,
			  const void *bytes, size_t n)
{
	*piece = (struct mem_piece){ .addr = 0x401000, .len = n, .data = bytes };
	*pieces = (struct mem_pieces){ .pieces = piece, .n = 1 };
	return mem_pieces(pieces);
}

static int next_branch(const char *bytes, size_t n, size_t max, struct arch_branch *ret)
{
	struct mem_pieces pieces;
	struct mem_piece piece;
	struct mem m = code_at(&pieces, &piece, bytes, n);

	return arch_next_branch(&m, 0x401000, max, ret);
}

/* The entry point of a static program: xor, mov, pop, mov, and, push, push, xor, xor,
 * mov, call __libc_start_main, hlt. */
static const char entry[] = "\x31\xed\x49\x89\xd1\x5e\x48\x89\xe2\x48\x83\xe4\xf0\x50\x54"
			    "\x45\x31\xc0\x31\xc9\x48\xc7\xc7\x00\x10\x40\x00"
			    "\xe8\x10\x00\x00\x00\xf4";

static void first_call_is_found(void **unused)
{
	struct arch_branch b = { .addr = 1 };

	assert_int_equal(next_branch(entry, sizeof(entry) - 1, 64, &b), 0);
	assert_int_equal(b.addr, 0x401000 + 27);
	assert_int_equal(b.target, 0x401000 + 27 + 5 + 0x10);
	assert_true(b.call);
	/* call *disp(%rip): indirect. */
	assert_int_equal(next_branch("\x90\xff\x15\1\0\0\0", 7, 64, &b), 0);
	assert_int_equal(b.target, 0);
	assert_int_equal(b.addr, 0x401001);
	assert_true(b.call);
	/* jne is passed, jmp is not a call. */
	assert_int_equal(next_branch("\x75\x10\xeb\xfe", 4, 64, &b), 0);
	assert_int_equal(b.target, 0x401002);
	assert_false(b.call);
}

static void no_branch_is_told(void **unused)
{
	struct arch_branch b = { .addr = 1 };
	char nops[1024];

	assert_int_equal(next_branch(entry, sizeof(entry) - 1, 27, &b), -ENOENT);
	assert_int_equal(next_branch(entry, sizeof(entry) - 1, 31, &b), -ENOENT);
	assert_int_equal(next_branch(entry, sizeof(entry) - 1, 0, &b), -ENOENT);
	assert_int_equal(next_branch(entry, 29, 64, &b), -EFAULT);
	assert_int_equal(next_branch("\xc3\xeb\xfe", 3, 64, &b), -ENOENT);
	assert_int_equal(
		next_branch("\x90\x06\xeb\xfe\x90\x90\x90\x90\x90\x90\x90\x90\x90"
			    "\x90\x90\x90\x90\x90",
			    18, 64, &b),
		-EILSEQ);
	memset(nops, 0x90, sizeof(nops));
	memcpy(nops + 1000, "\xe8\0\0\0\0", 5);
	assert_int_equal(next_branch(nops, sizeof(nops), 1000, &b), -ENOENT);
	assert_int_equal(b.addr, 1);
	assert_int_equal(next_branch(nops, sizeof(nops), 1005, &b), 0);
	assert_int_equal(b.addr, 0x401000 + 1000);
	assert_int_equal(next_branch(nops, 900, 1005, &b), -EFAULT);
}

static void table_is_right(void **unused)
{
	arch_regs_t regs = { .rip = 1, .rsp = 2, .rbp = 3, .rax = 4, .rdi = 5, .r9 = 6 };

	assert_string_equal(arch_native->name, "x86_64");
	assert_int_equal(arch_pc(&regs), 1);
	assert_int_equal(arch_reg_get(&regs, arch_native->reg_sp), 2);
	assert_int_equal(arch_reg_get(&regs, arch_native->reg_fp), 3);
	assert_int_equal(arch_reg_get(&regs, arch_native->reg_ret), 4);
	assert_int_equal(arch_reg_get(&regs, arch_native->reg_arg[0]), 5);
	assert_int_equal(arch_reg_get(&regs, arch_native->reg_arg[5]), 6);
	arch_set_pc(&regs, 9);
	assert_int_equal(regs.rip, 9);
}

static int map_arena(void **unused)
{
	void *p = mmap(NULL, ARENA, PROT_READ | PROT_WRITE | PROT_EXEC,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -1;
	arena = p;
	memset(arena, 0xcc, CODE);
	emit_stubs();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_right),
		cmocka_unit_test(emulation_equals_cpu),
		cmocka_unit_test(random_bytes_equal_cpu),
		cmocka_unit_test(unusual_encodings_are_executed),
		cmocka_unit_test(what_shows_its_address_is_stepped),
		cmocka_unit_test(syscalls_are_told),
		cmocka_unit_test(cut_off_bytes_are_refused),
		cmocka_unit_test(refusals_change_nothing),
		cmocka_unit_test(garbage_values_are_survived),
		cmocka_unit_test(first_call_is_found),
		cmocka_unit_test(no_branch_is_told),
	};

	return cmocka_run_group_tests(tests, map_arena, NULL);
}
