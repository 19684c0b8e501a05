/* SPDX-License-Identifier: MIT */
/*
 * Where control goes: by arch_flow() from bytes alone, by arch_jump_target() with
 * registers. The oracles are the emulator, the decoder on all of libc's text, and, for
 * jumps through memory, sums done here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <link.h>
#include <string.h>

#include "arch/arch.h"

enum {
	CASES = 20000
};

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d;
}

static void fill(arch_regs_t *regs)
{
	for (size_t i = 0; i < sizeof(*regs) / 8; i++)
		arch_reg_set(regs, (unsigned)i, rnd() >> 18);
	regs->rip = 0x500000000000;
	regs->cs = 0x33;
	regs->eflags = 0x202 | (rnd() & 0xcd5);
	regs->rcx = rnd() & 3; /* loops end */
}

/* A word at an address, and nothing else. */
struct word {
	uint64_t addr, value; /* … */
};

static ssize_t read_word(void *ctx, uint64_t addr, void *buf, size_t len)
{
	const struct word *w = ctx;

	if (addr != w->addr || len != sizeof(w->value))
		return -EFAULT;
	memcpy(buf, &w->value, len);
	return (ssize_t)len;
}

static const struct mem_ops word_ops = { .read = read_word };

/* --- jumps that are emulated -------------------------------------------------------- */

/* Fails when a condition, a counter or a register is taken for another. */
static void jumps_go_where_the_emulator_goes(void **state)
{
	static const uint8_t first[] = { 0xe9, 0xeb, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75,
					 0x76, 0x77, 0x78, 0x79, 0x7a, 0x7b, 0x7c, 0x7d,
					 0x7e, 0x7f, 0xe0, 0xe1, 0xe2, 0xe3, 0x0f, 0xff };
	unsigned jumped = 0, fell = 0;

	(void)state;
	for (int i = 0; i < CASES; i++) {
		uint8_t bytes[16];
		struct arch_insn insn;
		arch_regs_t regs, next;
		uint64_t target = 0;

		for (unsigned k = 0; k < sizeof(bytes); k++)
			bytes[k] = (uint8_t)(rnd() >> 20);
		bytes[0] = first[rnd() % sizeof(first)];
		if (bytes[0] == 0x0f)
			bytes[1] = (uint8_t)(0x80 | (rnd() & 15));
		if (bytes[0] == 0xff)
			bytes[1] = (uint8_t)(0xe0 | (rnd() & 7));
		assert_int_equal(arch_decode(bytes, sizeof(bytes), &insn), 0);
		fill(&regs);
		next = regs;
		assert_int_equal(arch_emulate(&insn, &next, NULL), 0);
		assert_int_equal(arch_jump_target(&insn, &regs, NULL, &target), 0);
		assert_int_equal(target, next.rip);
		jumped += target != regs.rip + insn.len;
		fell += target == regs.rip + insn.len;
	}
	assert_true(jumped > CASES / 4 && fell > CASES / 4);
}

/* --- jumps through memory ----------------------------------------------------------- */

/* Decodes, and has the word at `at`: where does it go? */
static int target_of(const char *bytes, size_t n, const arch_regs_t *regs, uint64_t at,
		     uint64_t *ret)
{
	struct word word = { at, 0x1122334455 };
	struct mem m = { &word_ops, &word };
	struct arch_insn insn;

	assert_int_equal(arch_decode((const uint8_t *)bytes, n, &insn), 0);
	assert_int_equal(insn.len, n);
	return arch_jump_target(&insn, regs, &m, ret);
}

#define CHECK_WORD(bytes, at)                                                            \
	do {                                                                             \
		uint64_t to = 0;                                                         \
		assert_int_equal(target_of(bytes, sizeof(bytes) - 1, &r, at, &to), 0);   \
		assert_int_equal(to, 0x1122334455);                                      \
	} while (0)

static void jumps_through_memory(void **state)
{
	arch_regs_t r;

	(void)state;
	for (int i = 0; i < 100; i++) {
		fill(&r);
		CHECK_WORD("\xff\x20", r.rax);
		CHECK_WORD("\xff\x60\x08", r.rax + 8);
		CHECK_WORD("\xff\x60\xf8", r.rax - 8);
		CHECK_WORD("\xff\x25\x10\x00\x00\x00", r.rip + 6 + 0x10);
		CHECK_WORD("\xf2\xff\x25\x10\x00\x00\x00", r.rip + 7 + 0x10);
		CHECK_WORD("\x3e\xff\x25\xf0\xff\xff\xff", r.rip + 7 - 0x10);
		CHECK_WORD("\xff\x24\xc5\x00\x20\x40\x00", 0x402000 + r.rax * 8);
		CHECK_WORD("\xff\x24\x25\x00\x20\x40\x00", 0x402000);
		CHECK_WORD("\x43\xff\x24\xec", r.r12 + r.r13 * 8);
		CHECK_WORD("\x41\xff\x64\x24\x18", r.r12 + 0x18);
		CHECK_WORD("\xff\xa4\x4b\x00\x01\x00\x00", r.rbx + r.rcx * 2 + 0x100);
		CHECK_WORD("\xff\x24\x24", r.rsp);
	}
}

static void what_is_no_known_jump(void **state)
{
	uint64_t to = 42;
	arch_regs_t r;

	(void)state;
	fill(&r);
	/* Memory that is not there. */
	assert_int_equal(target_of("\xff\x20", 2, &r, r.rax + 1, &to), -EFAULT);
	assert_int_equal(target_of("\x90", 1, &r, 0, &to), -ENOTSUP);
	assert_int_equal(target_of("\xc3", 1, &r, r.rsp, &to), -ENOTSUP);
	assert_int_equal(target_of("\xff\x10", 2, &r, r.rax, &to), -ENOTSUP); /* call */
	assert_int_equal(target_of("\x64\xff\x20", 3, &r, r.rax, &to), -ENOTSUP);
	assert_int_equal(target_of("\x67\xff\x20", 3, &r, r.rax, &to), -ENOTSUP);
	assert_int_equal(target_of("\xff\x28", 2, &r, r.rax, &to), -ENOTSUP); /* far */
	assert_int_equal(to, 42);
	/* Through a register, with a prefix. */
	assert_int_equal(target_of("\x3e\xff\xe0", 3, &r, 0, &to), 0);
	assert_int_equal(to, r.rax);
	assert_int_equal(target_of("\x3e\x41\xff\xe3", 4, &r, 0, &to), 0);
	assert_int_equal(to, r.r11);
}

/* Fields from a socket: nothing outside of the registers is read. */
static void senseless_fields(void **state)
{
	struct word word = { 0, 0 };
	struct mem m = { &word_ops, &word };

	(void)state;
	for (int i = 0; i < CASES; i++) {
		struct arch_insn insn = { .kind = ARCH_INSN_JMP_MEM, .len = 3 };
		arch_regs_t regs;
		uint64_t to;

		fill(&regs);
		insn.src = rnd() & 1 ? ARCH_NOREG : (uint8_t)rnd();
		insn.base = (uint8_t)rnd();
		insn.index = (uint8_t)rnd();
		insn.scale = (uint8_t)rnd();
		insn.imm = (int64_t)rnd();
		(void)arch_jump_target(&insn, &regs, &m, &to);
	}
}

/* --- bytes alone -------------------------------------------------------------------- */

static struct arch_flow flow_of(const char *bytes, size_t n)
{
	struct arch_flow f;

	assert_int_equal(arch_flow((const uint8_t *)bytes, n, 0x1000, &f), 0);
	assert_int_equal(f.len, n);
	return f;
}

#define FLOW(bytes) flow_of(bytes, sizeof(bytes) - 1)
#define CHECK_FLOW(bytes, what, where)                                                   \
	do {                                                                             \
		assert_int_equal(FLOW(bytes).kind, ARCH_FLOW_##what);                    \
		assert_int_equal(FLOW(bytes).target, where);                             \
	} while (0)

static void every_kind_of_flow(void **state)
{
	struct arch_flow f;

	(void)state;
	CHECK_FLOW("\x90", NEXT, 0);
	CHECK_FLOW("\x0f\x0b", NEXT, 0);
	CHECK_FLOW("\xcb", NEXT, 0);         /* far ret */
	CHECK_FLOW("\x48\xcf", NEXT, 0);     /* iretq */
	CHECK_FLOW("\xc6\xf8\x01", NEXT, 0); /* xabort */
	CHECK_FLOW("\xff\x28", NEXT, 0);     /* far jmp */
	CHECK_FLOW("\x48\x8d\x05\x10\x00\x00\x00", NEXT, 0x1017);
	CHECK_FLOW("\x48\x8d\x40\x10", NEXT, 0);
	CHECK_FLOW("\xb8\x00\x20\x40\x00", NEXT, 0x402000);
	CHECK_FLOW("\xc3", RET, 0);
	CHECK_FLOW("\xf3\xc3", RET, 0);
	CHECK_FLOW("\xf2\xc3", RET, 0);
	CHECK_FLOW("\xc2\x10\x00", RET, 0);
	CHECK_FLOW("\xeb\xfe", JUMP, 0x1000);
	CHECK_FLOW("\xe9\x00\x01\x00\x00", JUMP, 0x1105);
	CHECK_FLOW("\xf2\xe9\x00\x01\x00\x00", JUMP, 0x1106);
	CHECK_FLOW("\x74\x10", COND, 0x1012);
	CHECK_FLOW("\x2e\x74\x10", COND, 0x1013); /* not taken, it says */
	CHECK_FLOW("\x0f\x8f\x00\x01\x00\x00", COND, 0x1106);
	CHECK_FLOW("\xe2\xf0", COND, 0xff2);
	CHECK_FLOW("\x67\xe3\x10", COND, 0x1013);
	CHECK_FLOW("\xe8\x00\x01\x00\x00", CALL, 0x1105);
	CHECK_FLOW("\xff\xd0", NEXT, 0); /* call rax: nobody asks where */
	CHECK_FLOW("\xff\x25\x10\x00\x00\x00", STUB, 0x1016);
	CHECK_FLOW("\xf2\xff\x25\x10\x00\x00\x00", STUB, 0x1017);
	CHECK_FLOW("\xff\xe0", INDIRECT, 0);
	CHECK_FLOW("\xff\x60\x08", INDIRECT, 0);
	CHECK_FLOW("\xff\x24\xc5\x00\x20\x40\x00", INDIRECT, 0x402000);
	CHECK_FLOW("\xff\x24\x85\x00\x20\x40\x00", INDIRECT, 0); /* words of 4 */
	CHECK_FLOW("\xff\x24\x25\x00\x20\x40\x00", INDIRECT, 0); /* no index */
	assert_true(FLOW("\xff\xe0").is_tracked);
	assert_false(FLOW("\x3e\xff\xe0").is_tracked);
	assert_int_equal(FLOW("\x48\x01\xd0").sum, FLOW("\xff\xe0").reg);
	assert_int_equal(FLOW("\x4d\x03\x00").sum, FLOW("\x41\xff\xe0").reg);
	assert_int_not_equal(FLOW("\x4d\x03\x00").sum, FLOW("\xff\xe0").reg);
	assert_int_equal(FLOW("\x01\xd0").sum, ARCH_NOREG);     /* 32 bits */
	assert_int_equal(FLOW("\x48\x01\x10").sum, ARCH_NOREG); /* to memory */
	assert_int_equal(arch_flow((const uint8_t *)"\xe9\x00", 2, 0, &f), -EILSEQ);
	assert_int_equal(arch_flow((const uint8_t *)"\x06", 1, 0, &f), -EILSEQ);
	assert_int_equal(arch_flow((const uint8_t *)"", 0, 0, &f), -EILSEQ);
}

/* The largest executable segment of libc. */
static int find_text(struct dl_phdr_info *info, size_t size, void *arg)
{
	ElfW(Phdr) *found = arg;

	(void)size;
	if (!strstr(info->dlpi_name, "libc.so"))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD &&
		    info->dlpi_phdr[i].p_flags & PF_X) {
			*found = info->dlpi_phdr[i];
			found->p_vaddr += info->dlpi_addr;
		}
	return 1;
}

static void compare(const struct arch_insn *insn, const struct arch_flow *f, uint64_t at)
{
	uint64_t target = at + insn->len + (uint64_t)insn->imm;

	assert_int_equal(insn->len, f->len);
	if (insn->kind == ARCH_INSN_RET)
		assert_int_equal(f->kind, ARCH_FLOW_RET);
	if (insn->kind == ARCH_INSN_JMP_REG)
		assert_int_equal(f->kind, ARCH_FLOW_INDIRECT);
	if (insn->kind == ARCH_INSN_JMP_REL)
		assert_int_equal(f->kind, ARCH_FLOW_JUMP);
	if (insn->kind == ARCH_INSN_JCC || insn->kind == ARCH_INSN_LOOP)
		assert_int_equal(f->kind, ARCH_FLOW_COND);
	if (insn->kind == ARCH_INSN_CALL_REL)
		assert_int_equal(f->kind, ARCH_FLOW_CALL);
	if (f->kind == ARCH_FLOW_JUMP || f->kind == ARCH_FLOW_COND ||
	    f->kind == ARCH_FLOW_CALL)
		assert_int_equal(insn->kind == ARCH_INSN_OTHER ? f->target : target,
				 f->target);
	if (f->kind == ARCH_FLOW_STUB)
		assert_int_equal(insn->kind, ARCH_INSN_JMP_MEM);
}

/* Fails when the two decoders disagree about any instruction of libc. */
static void libc_is_the_same_to_the_decoder(void **state)
{
	ElfW(Phdr) text = { 0 };
	const uint8_t *p;
	size_t n, told = 0;

	(void)state;
	dl_iterate_phdr(find_text, &text);
	p = (const uint8_t *)text.p_vaddr;
	n = text.p_memsz;
	for (size_t at = 0; at + 16 < n;) {
		struct arch_insn insn;
		struct arch_flow f;
		int rc = arch_decode(p + at, n - at, &insn);

		assert_int_equal(arch_flow(p + at, n - at, at, &f), rc);
		if (!rc)
			compare(&insn, &f, at);
		at += rc ? 1 : insn.len;
		told += !rc;
	}
	assert_true(told > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jumps_go_where_the_emulator_goes),
		cmocka_unit_test(jumps_through_memory),
		cmocka_unit_test(what_is_no_known_jump),
		cmocka_unit_test(senseless_fields),
		cmocka_unit_test(every_kind_of_flow),
		cmocka_unit_test(libc_is_the_same_to_the_decoder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
