/* SPDX-License-Identifier: MIT */
/*
 * Rust's legacy names: the form of a nested C++ name, _ZN (LENGTH IDENTIFIER)… E, whose
 * last identifier is `h` and 16 hexadecimal digits. Characters that a linker may not
 * like are escaped within identifiers: `$LT$` and the like, `$u7e$`, `..` for `::`.
 * (rustc, compiler/rustc_symbol_mangling, legacy.rs)
 */
#include <stdlib.h>
#include <string.h>

#include "obj/demangle.h"

enum {
	HASH = 17, /* bytes of the last identifier */
};

/* An escape between two `$`. */
struct escape {
	const char *name; /* without the `$` */
	const char *text; /* what it stands for */
};

static const struct escape escapes[] = {
	{ "SP", "@" }, { "BP", "*" }, { "RF", "&" }, { "LT", "<" },
	{ "GT", ">" }, { "LP", "(" }, { "RP", ")" }, { "C", "," },
};

/* `$uHEX$`, printable ASCII only. */
static bool put_code(struct demangle *d, const char *hex, size_t n)
{
	char buf[4] = "", *end, c;
	unsigned long code;

	if (!n || n > 3)
		return false;
	memcpy(buf, hex, n);
	code = strtoul(buf, &end, 16);
	if (*end || code < 0x20 || code > 0x7e)
		return false;
	c = (char)code;
	demangle_put(d, &c, 1);
	return true;
}

/* The escape of n bytes at s. */
static bool put_escape(struct demangle *d, const char *s, size_t n)
{
	for (size_t i = 0; i < sizeof(escapes) / sizeof(*escapes); i++) {
		if (strlen(escapes[i].name) != n || memcmp(escapes[i].name, s, n) != 0)
			continue;
		demangle_puts(d, escapes[i].text);
		return true;
	}
	return *s == 'u' && put_code(d, s + 1, n - 1);
}

/* Prints what begins an identifier's rest, at least a byte; the bytes it took. */
static size_t put_piece(struct demangle *d, const char *s, size_t n)
{
	const char *end;

	if (n >= 2 && s[0] == '.' && s[1] == '.') {
		demangle_puts(d, "::");
		return 2;
	}
	end = s[0] == '$' ? memchr(s + 1, '$', n - 1) : NULL;
	if (end && end > s + 1 && put_escape(d, s + 1, (size_t)(end - s) - 1))
		return (size_t)(end - s) + 1;
	demangle_put(d, s, 1);
	return 1;
}

static void put_identifier(struct demangle *d, const char *s, size_t n)
{
	size_t at = 0;

	/* An escape cannot begin an identifier: an underscore stands before it. */
	if (n >= 2 && s[0] == '_' && s[1] == '$')
		at = 1;
	while (at < n && !d->bad)
		at += put_piece(d, s + at, n - at);
}

static bool is_hash(const char *s, size_t n)
{
	return n == HASH && s[0] == 'h' &&
	       strspn(s + 1, "0123456789abcdef") >= (size_t)HASH - 1;
}

/* The next identifier: its bytes, or NULL. */
static const char *next_identifier(struct demangle *d, size_t *ret_n)
{
	unsigned long n = demangle_decimal(d);
	const char *s = d->name + d->at;

	if (d->bad || !n || n > d->len - d->at)
		return NULL;
	d->at += n;
	*ret_n = n;
	return s;
}

bool demangle_rust_legacy(struct demangle *d)
{
	bool first = true;
	const char *s;
	size_t n = 0;

	if (d->len < 4 || memcmp(d->name, "_ZN", 3) != 0)
		return false;
	for (d->at = 3; (s = next_identifier(d, &n)); first = false) {
		if (is_hash(s, n) && demangle_peek(d) == 'E')
			return !first;
		if (!first)
			demangle_puts(d, "::");
		put_identifier(d, s, n);
	}
	return false;
}
