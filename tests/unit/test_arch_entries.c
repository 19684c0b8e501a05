/* SPDX-License-Identifier: MIT */
/*
 * How the first instructions of real functions are got past: of all function symbols of
 * the programs that every machine has, nearly none may need the whole victim stopped. And
 * the decoder against bytes that nobody has written, relocation against values that
 * nobody has decoded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <string.h>
#include <unistd.h>

#include "arch/arch.h"

/* Functions of one file by how they are got past. */
struct tally {
	unsigned emulated, copied, stepped; /* each function once, aliases too */
	unsigned near;                      /* of the copied: a slot must be near */
};

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d;
}

/* --- function entries --------------------------------------------------------------- */

static void add(struct tally *t, const struct arch_insn *insn)
{
	if (insn->kind == ARCH_INSN_OTHER || insn->kind == ARCH_INSN_SYSCALL) {
		t->stepped++;
	} else if (insn->kind == ARCH_INSN_COPY || insn->kind == ARCH_INSN_JMP_MEM) {
		t->copied++;
		t->near += arch_slot_reach(insn) != UINT64_MAX;
	} else {
		t->emulated++;
	}
}

/* The first instruction only, endbr64 too. */
static void add_symbol(Elf *elf, const GElf_Sym *sym, struct tally *t)
{
	Elf_Scn *scn = elf_getscn(elf, sym->st_shndx);
	Elf_Data *data = scn ? elf_getdata(scn, NULL) : NULL;
	struct arch_insn insn;
	GElf_Shdr shdr;
	uint64_t at;

	if (!data || !data->d_buf || !gelf_getshdr(scn, &shdr))
		return;
	at = sym->st_value - shdr.sh_addr;
	if (at < data->d_size &&
	    !arch_decode((const uint8_t *)data->d_buf + at, data->d_size - at, &insn))
		add(t, &insn);
}

static void add_table(Elf *elf, Elf_Scn *scn, struct tally *t)
{
	Elf_Data *data = elf_getdata(scn, NULL);
	GElf_Sym sym;

	for (int i = 0; data && gelf_getsym(data, i, &sym); i++)
		if (GELF_ST_TYPE(sym.st_info) == STT_FUNC && sym.st_shndx != SHN_UNDEF &&
		    sym.st_shndx < SHN_LORESERVE)
			add_symbol(elf, &sym, t);
}

/* False when there is no such file. */
static bool count_entries(const char *path, struct tally *t)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf_Scn *scn = NULL;
	GElf_Shdr shdr;
	Elf *elf;

	if (fd < 0)
		return false;
	elf = elf_begin(fd, ELF_C_READ, NULL);
	assert_non_null(elf);
	while ((scn = elf_nextscn(elf, scn)))
		if (gelf_getshdr(scn, &shdr) &&
		    (shdr.sh_type == SHT_DYNSYM || shdr.sh_type == SHT_SYMTAB))
			add_table(elf, scn, t);
	elf_end(elf);
	close(fd);
	return true;
}

/* Fails when a kind that many functions begin with is left to be stepped. */
static void entries_need_no_stop(void **unused)
{
	static const char *const paths[] = {
		"/lib/x86_64-linux-gnu/libc.so.6",
		"/lib64/ld-linux-x86-64.so.2",
		"/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
		"/usr/bin/python3",
		"/bin/bash",
		"/proc/self/exe",
	};
	struct tally sum = { 0 };
	unsigned all;

	elf_version(EV_CURRENT);
	for (unsigned i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		struct tally t = { 0 };

		if (!count_entries(paths[i], &t))
			continue;
		print_message("%s: %u emulated, %u copied (%u near), %u stepped\n",
			      paths[i], t.emulated, t.copied, t.near, t.stepped);
		sum.emulated += t.emulated;
		sum.copied += t.copied;
		sum.stepped += t.stepped;
	}
	all = sum.emulated + sum.copied + sum.stepped;
	print_message("of %u: %.2f %% emulated, %.2f %% copied, %.2f %% stepped\n", all,
		      100.0 * sum.emulated / all, 100.0 * sum.copied / all,
		      100.0 * sum.stepped / all);
	assert_true(all > 0);
	assert_true(sum.stepped <= all / 200);
}

/* --- hostile input ------------------------------------------------------------------ */

/* Every prefix of random bytes, in a buffer that ends where they end: fails (under ASan)
 * when the decoder looks behind it. */
static void any_bytes_are_decoded_or_refused(void **unused)
{
	for (unsigned i = 0; i < 200000; i++) {
		size_t n = rnd() % (ARCH_INSN_MAX + 1);
		struct arch_insn insn;
		uint8_t bytes[ARCH_INSN_MAX], *tail = bytes + ARCH_INSN_MAX - n;
		int err;

		for (unsigned j = 0; j < n; j++)
			tail[j] = rnd() % 8 ? rnd() >> 20 : 0x66;
		err = arch_decode(tail, n, &insn);
		assert_true(err == 0 || err == -EILSEQ);
		if (err)
			continue;
		assert_true(insn.len >= 1 && insn.len <= 15 && insn.len <= n);
		assert_true(insn.kind < ARCH_INSN_NKINDS);
		assert_memory_equal(insn.bytes, tail, insn.len);
		assert_true(insn.kind != ARCH_INSN_COPY || insn.may_move);
		assert_true(!insn.disp_off || insn.disp_off + 4 <= insn.len);
	}
}

/* Fails when relocation trusts a length or an offset: the slot's end is watched. */
static void garbage_is_relocated_within_bounds(void **unused)
{
	for (unsigned i = 0; i < 200000; i++) {
		uint8_t slot[ARCH_SLOT_MAX + 16];
		struct arch_insn insn;
		size_t len = 77;
		uint64_t pc;
		int err;

		for (unsigned j = 0; j < sizeof(insn); j++)
			((uint8_t *)&insn)[j] = rnd() >> 30;
		insn.may_move &= 1;
		insn.len %= 24;
		insn.disp_off %= 24;
		memset(slot, 0x5a, sizeof(slot));
		err = arch_relocate(&insn, rnd(), rnd(), slot, &len);
		assert_true(err == 0 || err == -ENOTSUP || err == -ERANGE);
		assert_true(err ? len == 77 : len <= ARCH_SLOT_MAX);
		for (size_t j = err ? 0 : len; j < sizeof(slot); j++)
			assert_int_equal(slot[j], 0x5a);
		(void)arch_slot_reach(&insn);
		(void)arch_slot_pc(&insn, 0, 0, rnd() % 64, &pc);
	}
}

/* --- how far, and back -------------------------------------------------------------- */

static struct arch_insn decoded(const char *bytes, size_t n)
{
	struct arch_insn insn;

	assert_int_equal(arch_decode((const uint8_t *)bytes, n, &insn), 0);
	return insn;
}

/* mov rax, [rip + 0x100]: at the ends of its reach, and one byte beyond. */
static void a_relative_operand_bounds_the_slot(void **unused)
{
	struct arch_insn insn = decoded("\x48\x8b\x05\0\1\0\0", 7);
	uint64_t from = 0x700000001000, reach = arch_slot_reach(&insn);
	uint8_t slot[ARCH_SLOT_MAX];
	int32_t disp;
	size_t len;

	assert_int_equal(insn.disp_off, 3);
	assert_int_equal(reach, INT32_MAX - 0x100);
	assert_int_equal(arch_relocate(&insn, from, from - reach, slot, &len), 0);
	memcpy(&disp, slot + 3, 4);
	assert_int_equal(disp, INT32_MAX);
	assert_int_equal(arch_relocate(&insn, from, from - reach - 1, slot, &len),
			 -ERANGE);
	assert_int_equal(arch_relocate(&insn, from, from + reach, slot, &len), 0);
	assert_int_equal(arch_relocate(&insn, from, from + (1ull << 40), slot, &len),
			 -ERANGE);
}

/* mov rax, [rax]: the near jump back where it reaches, the far one everywhere. */
static void others_go_anywhere(void **unused)
{
	struct arch_insn insn = decoded("\x48\x8b\x00", 3);
	uint64_t from = 0x700000001000, back;
	uint8_t slot[ARCH_SLOT_MAX];
	size_t len;

	assert_true(arch_slot_reach(&insn) == UINT64_MAX);
	assert_int_equal(arch_relocate(&insn, from, from + 0x1000, slot, &len), 0);
	assert_int_equal(len, 3 + 5);
	assert_int_equal(arch_relocate(&insn, from, 0x10000, slot, &len), 0);
	assert_int_equal(len, 3 + 14);
	memcpy(&back, slot + 9, 8);
	assert_true(back == from + 3);
	insn = decoded("\xe8\0\0\0\0", 5);
	assert_int_equal(arch_slot_reach(&insn), 0);
	assert_int_equal(arch_relocate(&insn, from, from + 0x1000, slot, &len), -ENOTSUP);
}

static void a_pc_in_the_slot_is_mapped_back(void **unused)
{
	struct arch_insn insn = decoded("\x48\x8b\x00", 3);
	uint64_t pc = 77;

	assert_int_equal(arch_slot_pc(&insn, 0x1000, 0x9000, 0x8fff, &pc), -ERANGE);
	assert_int_equal(arch_slot_pc(&insn, 0x1000, 0x9000, 0x9011, &pc), -ERANGE);
	assert_int_equal(pc, 77);
	assert_int_equal(arch_slot_pc(&insn, 0x1000, 0x9000, 0x9000, &pc), 0);
	assert_int_equal(pc, 0x1000);
	assert_int_equal(arch_slot_pc(&insn, 0x1000, 0x9000, 0x9003, &pc), 0);
	assert_int_equal(pc, 0x1003);
}

/* Fails when only the first byte is looked at, or any F3 is taken for a rep. */
static void repetition_is_told(void **unused)
{
	assert_int_equal(decoded("\xf3\x48\xa5", 3).is_rep, 1);     /* rep movsq */
	assert_int_equal(decoded("\x66\xf3\xa5", 3).is_rep, 1);     /* rep movsw */
	assert_int_equal(decoded("\xf2\xae", 2).is_rep, 1);         /* repne scasb */
	assert_int_equal(decoded("\xa4", 1).is_rep, 0);             /* movsb */
	assert_int_equal(decoded("\xf3\x0f\x10\x00", 4).is_rep, 0); /* movss */
	assert_int_equal(decoded("\xf3\xc3", 2).is_rep, 0);         /* rep ret */
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_need_no_stop),
		cmocka_unit_test(any_bytes_are_decoded_or_refused),
		cmocka_unit_test(garbage_is_relocated_within_bounds),
		cmocka_unit_test(a_relative_operand_bounds_the_slot),
		cmocka_unit_test(others_go_anywhere),
		cmocka_unit_test(repetition_is_told),
		cmocka_unit_test(a_pc_in_the_slot_is_mapped_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
