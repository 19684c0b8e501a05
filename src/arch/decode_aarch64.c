/* SPDX-License-Identifier: MIT */
/*
 * AArch64 instructions: four bytes each, none emulated; branches are told apart by their
 * fixed bits (Arm ARM, C4.1.66 "Branches, Exception Generating and System instructions").
 */
#include <errno.h>
#include <string.h>

#include "arch/arch.h"

enum {
	INSN_LEN = 4, /* bytes */
};

static uint32_t word_at(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

int arch_decode(const uint8_t *bytes, size_t n, struct arch_insn *ret)
{
	struct arch_insn insn = {
		.kind = ARCH_INSN_OTHER,
		.len = INSN_LEN,
		.dst = ARCH_NOREG,
		.src = ARCH_NOREG,
		.base = ARCH_NOREG,
		.index = ARCH_NOREG,
		.scale = 1,
	};

	if (n < INSN_LEN)
		return -EILSEQ;
	insn.is_syscall = (word_at(bytes) & 0xffe0001f) == 0xd4000001; /* svc #imm */
	memcpy(insn.bytes, bytes, INSN_LEN);
	*ret = insn;
	return 0;
}

/* Fills *ret when the word is b, bl, br or blr; -ENOENT when it is a ret; 1 for
 * others. */
static int match_branch(uint32_t word, uint64_t addr, struct arch_branch *ret)
{
	struct arch_branch b = { .addr = addr };
	int32_t words = (int32_t)(word << 6) >> 6;

	if ((word & 0x7c000000) == 0x14000000) {
		b.call = word >> 31;
		b.target = addr + (uint64_t)((int64_t)words * INSN_LEN);
	} else if ((word & 0xfffffc1f) == 0xd63f0000) {
		b.call = true;
	} else if ((word & 0xfffffc1f) == 0xd65f0000) {
		return -ENOENT;
	} else if ((word & 0xfffffc1f) != 0xd61f0000) {
		return 1;
	}
	*ret = b;
	return 0;
}

int arch_next_branch(const struct mem *m, uint64_t addr, size_t max,
		     struct arch_branch *ret)
{
	uint8_t bytes[INSN_LEN];

	for (; max >= INSN_LEN; max -= INSN_LEN, addr += INSN_LEN) {
		int err = mem_read_all(m, addr, bytes, sizeof(bytes));

		if (!err)
			err = match_branch(word_at(bytes), addr, ret);
		if (err <= 0)
			return err;
	}
	return -ENOENT;
}
