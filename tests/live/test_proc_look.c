/* SPDX-License-Identifier: MIT */
/*
 * Looking without touching: read-only handles, maps, objects, symbols, data.
 */
#include "proc_test.h"

/* The leader has ended: maps, memory and symbols come through another thread. */
static void test_headless(void)
{
	struct shared *s;
	pid_t pid = start(headless, &s);
	struct ps_prochandle *P;
	unsigned char text[8];
	uintptr_t addr;
	char buf[64];
	GElf_Sym sym;

	await(state_of(pid) == 'Z');
	P = grab(pid, PGRAB_RDONLY);
	addr = address_of(P, "beat");
	assert_int_equal(addr, (uintptr_t)beat);
	assert_int_equal(Pread(P, text, sizeof(text), addr), sizeof(text));
	assert_memory_equal(text, (void *)addr, sizeof(text));
	assert_int_equal(Plookup_by_addr(P, addr, buf, sizeof(buf), &sym), 0);
	assert_true(Pgetauxval(P, AT_PAGESZ) == sysconf(_SC_PAGESIZE));
	assert_int_equal(Pcurrent(P), 1);
	assert_int_not_equal(Pstate(P), PS_UNDEAD);
	Prelease(P, 0);
	P = grab(pid, 0);
	assert_int_equal(address_of(P, "beat"), addr);
	assert_still(s);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

static const struct harness_test tests[] = { TEST(test_headless), TEST_END };

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
