/* SPDX-License-Identifier: MIT */
/* The command's treatment of bytes that come from a victim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/text.h"

typedef size_t escape_fn(const char *s, size_t len, char *buf);

/* All of s, escaped, into buf. */
static char *escape_all(escape_fn *fn, const char *s, size_t len, char *buf)
{
	char *at = buf;

	while (len > 0) {
		size_t took = fn(s, len, at);

		assert_true(took > 0 && took <= len);
		assert_true(strlen(at) < TEXT_ESCAPED);
		at += strlen(at);
		s += took;
		len -= took;
	}
	*at = '\0';
	return buf;
}

static void assert_text(const char *s, const char *expected)
{
	char buf[256];

	assert_string_equal(escape_all(text_escape, s, strlen(s), buf), expected);
}

static void assert_json(const char *s, const char *expected)
{
	char buf[256];

	assert_string_equal(escape_all(text_json, s, strlen(s), buf), expected);
}

static void utf8_is_told_from_bytes(void **state)
{
	assert_int_equal(text_utf8("a", 1), 1);
	assert_int_equal(text_utf8("\xc3\xa9", 2), 2);
	assert_int_equal(text_utf8("\xe2\x82\xac", 3), 3);
	assert_int_equal(text_utf8("\xf0\x9f\x98\x80", 4), 4);
	assert_int_equal(text_utf8("\xf4\x8f\xbf\xbf", 4), 4);
	assert_int_equal(text_utf8("", 0), 0);
	assert_int_equal(text_utf8("\xc3", 1), 0);             /* cut */
	assert_int_equal(text_utf8("\xe2\x82", 2), 0);         /* cut */
	assert_int_equal(text_utf8("\x80", 1), 0);             /* begins in the middle */
	assert_int_equal(text_utf8("\xc0\x80", 2), 0);         /* overlong */
	assert_int_equal(text_utf8("\xe0\x80\x80", 3), 0);     /* overlong */
	assert_int_equal(text_utf8("\xf0\x80\x80\x80", 4), 0); /* overlong */
	assert_int_equal(text_utf8("\xed\xa0\x80", 3), 0);     /* a surrogate */
	assert_int_equal(text_utf8("\xf4\x90\x80\x80", 4), 0); /* above U+10FFFF */
	assert_int_equal(text_utf8("\xff", 1), 0);
}

static void terminals_are_safe(void **state)
{
	assert_text("plain \xc3\xa9 \xe2\x82\xac", "plain \xc3\xa9 \xe2\x82\xac");
	assert_text("a\nb\tc\rd", "a\\nb\\tc\\rd");
	assert_text("back\\slash", "back\\\\slash");
	assert_text("\033[31m\x7f", "\\x1b[31m\\x7f");
	assert_text("\xff\xc3", "\\xff\\xc3");
	assert_text("\xc2\x9b"
		    "31m",
		    "\\xc2\\x9b"
		    "31m");                  /* C1: CSI in one character */
	assert_text("\xc2\xa0", "\xc2\xa0"); /* the first that is none */
}

static void json_is_valid(void **state)
{
	assert_json("plain \xc3\xa9", "plain \xc3\xa9");
	assert_json("a\"b\\c", "a\\\"b\\\\c");
	assert_json("\n\t\r\b\f", "\\n\\t\\r\\b\\f");
	assert_json("\x01\x1f", "\\u0001\\u001f");
	assert_json("\xff\xc3", "\\ufffd\\ufffd");
	assert_json("\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd");
	assert_json("/usr/lib", "/usr/lib");
}

static void a_nul_is_a_byte_like_others(void **state)
{
	char buf[64];

	assert_string_equal(escape_all(text_escape, "a\0b", 3, buf), "a\\x00b");
	assert_string_equal(escape_all(text_json, "a\0b", 3, buf), "a\\u0000b");
}

static void base_names(void **state)
{
	assert_string_equal(text_basename("/usr/lib/libc.so.6"), "libc.so.6");
	assert_string_equal(text_basename("[vdso]"), "[vdso]");
	assert_string_equal(text_basename("/"), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utf8_is_told_from_bytes),
		cmocka_unit_test(terminals_are_safe),
		cmocka_unit_test(json_is_valid),
		cmocka_unit_test(a_nul_is_a_byte_like_others),
		cmocka_unit_test(base_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
