/* SPDX-License-Identifier: MIT */
/*
 * Readable names: C++, Rust v0 and legacy, D; and names made to take for ever, which
 * must end within the deadline.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "libproc.h"
#include "obj/demangle.h"
#include "obj/punycode.h"

/* A name and its readable form; NULL: it has none. */
struct pair {
	const char *name; /* as a linker has it */
	const char *text; /* as people read it */
};

static void check(const struct pair *p, size_t n)
{
	char buf[DEMANGLE_OUTPUT];

	for (size_t i = 0; i < n; i++) {
		int good = pgrab_demangle(p[i].name, buf, sizeof(buf));

		if (good != (p[i].text != NULL))
			fail_msg("%s: %s", p[i].name, buf);
		assert_string_equal(buf, p[i].text ? p[i].text : p[i].name);
	}
}

#define CHECK(table) check(table, sizeof(table) / sizeof(*(table)))

static void test_plain(void **state)
{
	static const struct pair names[] = {
		{ "", NULL },         { "_", NULL },
		{ "main", NULL },     { "_start", NULL },
		{ "_Z", NULL },       { "_R", NULL },
		{ "_D", NULL },       { "__libc_start_main", NULL },
		{ "_Zprintf", NULL }, { "_Reset", NULL },
		{ "_Dump", NULL },    { "_D3", NULL },
		{ "_DYNAMIC", NULL },
	};

	CHECK(names);
}

static void test_cxx(void **state)
{
	static const struct pair names[] = {
		{ "_Z1fv", "f()" },
		{ "_ZNSt6vectorIiSaIiEE9push_backEOi",
		  "std::vector<int, std::allocator<int> >::push_back(int&&)" },
		{ "_ZN3foo3barEPKc", "foo::bar(char const*)" },
		{ "_ZL7handlerv.part.0", "handler() [clone .part.0]" },
		{ "_ZTV3Foo", "vtable for Foo" },
		{ "_ZZ4mainENKUlvE_clEv", "main::{lambda()#1}::operator()() const" },
		{ "_ZN1AcviEv", "A::operator int()" },
	};

	if (!strstr(pgrab_features(), "libiberty"))
		skip();
	CHECK(names);
}

static void test_rust(void **state)
{
	static const struct pair names[] = {
		{ "_RNvC6_123foo3bar", "123foo::bar" },
		{ "_RNCNCNgCs6DXkGYLi8lr_2cc5spawn00B5_",
		  "cc::spawn::{closure#0}::{closure#0}" },
		{ "_RNvMs0_NtCs1I33n4nKwkQ_13rustc_session5parseNtB5_9ParseSess17emitter_"
		  "with_note",
		  "<rustc_session::parse::ParseSess>::emitter_with_note" },
		{ "_RNvXCsjzFV1XPEADa_16rustc_hir_prettyRDNtNtCsdlM2EbGYIhh_9rustc_"
		  "hir10intravisit9HirTyCtxtEL_NtB2_5PpAnn6nested",
		  "<&dyn rustc_hir::intravisit::HirTyCtxt as "
		  "rustc_hir_pretty::PpAnn>::nested" },
		{ "_RNvXCs5l0EXMQXRMU_1aNtB2_1bNtB2_1c3foo", "<a::b as a::c>::foo" },
		{ "_RINvNtC3std3mem8align_ofFUdE", NULL },
		{ "_RINvNtC3std3mem8align_ofFUKC_doEE", NULL },
		{ "_RINvNtC3std3mem8align_ofFUKCdEoE",
		  "std::mem::align_of::<unsafe extern \"C\" fn(f64) -> u128>" },
		{ "_RINvNtC3std3mem8align_ofdE", "std::mem::align_of::<f64>" },
		{ "_RINvNtC3std3mem8align_ofThjE", NULL },
		{ "_RINvNtC3std3mem8align_ofThjEE", "std::mem::align_of::<(u8, usize)>" },
		{ "_RINvNtC3std3mem8align_ofAjj3_E", "std::mem::align_of::<[usize; 3]>" },
		{ "_RINvNtC3std3mem8align_ofRShE", "std::mem::align_of::<&[u8]>" },
		{ "_RINvNtC3std3mem8align_ofDNtC3std5CloneEL_E",
		  "std::mem::align_of::<dyn std::Clone>" },
		{ "_RMC0INtC8arrayvec8ArrayVechKj7b_E", "<arrayvec::ArrayVec<u8, 123>>" },
		{ "_RNqCs4fqI2P2rA04_11utf8_identsu30____7hkackfecea1cbdathfdh9hlq6y",
		  "utf8_idents::"
		  "\xe1\x83\xa1\xe1\x83\x90\xe1\x83\xad\xe1\x83\x9b\xe1\x83\x94"
		  "\xe1\x83\x9a\xe1\x83\x90\xe1\x83\x93_"
		  "\xe1\x83\x92\xe1\x83\x94\xe1\x83\x9b"
		  "\xe1\x83\xa0\xe1\x83\x98\xe1\x83\x94\xe1\x83\x9a\xe1\x83\x98_"
		  "\xe1\x83\xa1"
		  "\xe1\x83\x90\xe1\x83\x93\xe1\x83\x98\xe1\x83\x9a\xe1\x83\x98" },
		{ "_RNvC3foo3bar.llvm.123", "foo::bar" },
		{ "_RNvC3foo3ba", NULL },
		{ "_RNvB_3foo", NULL },
		{ "_RB0_", NULL },
	};

	CHECK(names);
}

static void test_rust_legacy(void **state)
{
	static const struct pair names[] = {
		{ "_ZN3foo3bar17h05af221e174051e9E", "foo::bar" },
		{ "_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$"
		  "GT$"
		  "$GT$3bar17h930b740aa94f1d3aE",
		  "<Test + 'static as foo::Bar<Test>>::bar" },
		{ "_ZN4core3ptr13drop_in_place17h0123456789abcdefE.llvm.99",
		  "core::ptr::drop_in_place" },
	};

	CHECK(names);
}

static void test_d(void **state)
{
	static const struct pair names[] = {
		{ "_Dmain", "D main" },
		{ "_D8demangle4testFaZv", "demangle.test(char)" },
		{ "_D8demangle4testFAyaZv", "demangle.test(immutable(char)[])" },
		{ "_D8demangle4testFHAaaZv", "demangle.test(char[char[]])" },
		{ "_D8demangle4testMxFZv", "demangle.test()" },
		{ "_D8demangle4testFPFNaNbNiaZvZv",
		  "demangle.test(void function(char))" },
		{ "_D6object9Throwable6__ctorMFAyaC6object9ThrowableZC6object9Throwable",
		  "object.Throwable.this(immutable(char)[], object.Throwable)" },
		{ "_D8demangle11__T4testTaZv", "demangle.test!(char)" },
		{ "_D3foo__T3barVii42TSQr3BazZQvFZv", NULL },
		{ "_D6object9Exception6__initZ", "object.Exception.__init" },
		{ "_D3std5stdio12__ModuleInfoZ", "std.stdio.__ModuleInfo" },
		{ "_D8demangle4testFG42aZv", "demangle.test(char[42])" },
		{ "_D4testFaZ", NULL },
	};

	CHECK(names);
}

/* --- names that ask for too much -------------------------------------------------- */

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Text that n times repeats what, between the other two; the caller frees it. */
static char *repeated(const char *before, const char *what, unsigned n, const char *after)
{
	size_t size = strlen(before) + strlen(what) * n + strlen(after) + 1;
	char *name = malloc(size), *to;

	assert_non_null(name);
	to = stpcpy(name, before);
	while (n-- > 0)
		to = stpcpy(to, what);
	stpcpy(to, after);
	return name;
}

/* It ends, in a small multiple of the deadline, whatever comes out. */
static void check_ends(char *name)
{
	static char buf[DEMANGLE_OUTPUT];
	double begin = now_ms();

	pgrab_demangle(name, buf, sizeof(buf));
	begin = now_ms() - begin;
	if (begin > 20 * DEMANGLE_DEADLINE)
		fail_msg("%.60s… took %.0f ms", name, begin);
	free(name);
}

/* Fails (by the suite's timeout) when the deadline or the cancelling does not work: each
 * of these takes libiberty longer than a life. */
static void test_conversions(void **state)
{
	for (unsigned n = 16; n < 200; n += 40) {
		char *open = repeated("_ZN1A", "cvT_I", n, "v");

		check_ends(repeated(open, "E", n, "Ev"));
		free(open);
	}
}

/* Fails when text is not bounded: each pair doubles it. */
static void test_fan_out(void **state)
{
	check_ends(repeated("_Z1f1A1PIS_S_E", "S0_IS1_S1_E", 300, ""));
	check_ends(repeated("_RNvXC1aFGzzzzzzz_EuNtC1b1c3f", "o", 1, ""));
	check_ends(repeated("_RINvC1a1b", "TB8_B8_E", 40, "E"));
	check_ends(repeated("_D1a1bFAa", "Qb", 4000, "Zv"));
	check_ends(repeated("_D1a1bFAaS1a__T1bTAaTQdTQdTQdZ", "QbQbQb", 1000, "Zv"));
}

/* Fails when the stack is not bounded: by a crash. */
static void test_deep(void **state)
{
	check_ends(repeated("_Z1f", "P", 8000, "i"));
	check_ends(repeated("_Z1f", "1AI", 2600, "iE"));
	check_ends(repeated("_ZN", "1A", 4000, "E"));
	check_ends(repeated("_RMC1a", "R", 8000, "i"));
	check_ends(repeated("_RIN", "I", 8000, "E"));
	check_ends(repeated("_D1a1bF", "P", 8000, "iZv"));
	check_ends(repeated("_Z", "a", 100000, ""));
}

/* Long and harmless: what is read by the thread gives the same text. */
static void test_long(void **state)
{
	char *name = repeated("_Z1f", "i", 1000, ""), *text;
	char buf[DEMANGLE_OUTPUT];

	if (!strstr(pgrab_features(), "libiberty"))
		skip();
	text = repeated("f(int", ", int", 999, ")");
	assert_int_equal(pgrab_demangle(name, buf, sizeof(buf)), 1);
	assert_string_equal(buf, text);
	free(name);
	free(text);
}

static void test_cut(void **state)
{
	char buf[8] = "xxxxxxx";

	assert_int_equal(pgrab_demangle("_RNvC6_123foo3bar", buf, sizeof(buf)), 1);
	assert_string_equal(buf, "123foo:");
	assert_int_equal(pgrab_demangle("_start_of_all", buf, 4), 0);
	assert_string_equal(buf, "_st");
	assert_int_equal(pgrab_demangle("x", NULL, 0), 0);
}

static void test_punycode(void **state)
{
	char buf[PUNYCODE_OUTPUT];
	size_t n = punycode_decode("bcher-kva", 9, '-', buf);

	assert_int_equal(n, 7);
	assert_memory_equal(buf,
			    "b\xc3\xbc"
			    "cher",
			    7);
	assert_int_equal(punycode_decode("99999999999", 11, '-', buf), 0);
	assert_int_equal(punycode_decode("!", 1, '-', buf), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),    cmocka_unit_test(test_cxx),
		cmocka_unit_test(test_rust),     cmocka_unit_test(test_rust_legacy),
		cmocka_unit_test(test_d),        cmocka_unit_test(test_conversions),
		cmocka_unit_test(test_fan_out),  cmocka_unit_test(test_deep),
		cmocka_unit_test(test_long),     cmocka_unit_test(test_cut),
		cmocka_unit_test(test_punycode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
