/* SPDX-License-Identifier: MIT */
/*
 * Readable forms of mangled names.
 *
 * A name comes out of a file that may be hostile, and every mangling refers back to
 * what stood before, so that a hundred bytes can stand for gigabytes of text, or for
 * hours of work without any. Each language is read under three bounds: bytes printed,
 * steps made, levels of the grammar. Rust and D are read here, in a few hundred lines
 * each, since libraries that do so have no such bounds; C++, whose grammar is a
 * book, is libiberty's, with the bounds put around it (demangle_cxx.c). The decision
 * and its figures: docs/decisions/0004-demangling.md.
 *
 * Rust's legacy names are valid C++ names, and are tried first: they end in a hash
 * that no C++ name has.
 *
 * No state is kept; any thread may call.
 */
#include "obj/demangle.h"

#include <stdio.h>
#include <string.h>

enum {
	MAX_STEPS = 1 << 16, /* of the grammar, a name */
	MAX_DEPTH = 200,     /* levels of it */
};

/* --- printing --------------------------------------------------------------------- */

void demangle_put(struct demangle *d, const char *s, size_t n)
{
	if (d->mute || d->bad)
		return;
	if (n >= DEMANGLE_OUTPUT - d->n) {
		d->bad = true;
		return;
	}
	memcpy(d->out + d->n, s, n);
	d->n += n;
}

void demangle_puts(struct demangle *d, const char *s)
{
	demangle_put(d, s, strlen(s));
}

void demangle_number(struct demangle *d, unsigned long n)
{
	char buf[24];

	snprintf(buf, sizeof(buf), "%lu", n);
	demangle_puts(d, buf);
}

/* --- reading ---------------------------------------------------------------------- */

char demangle_peek(const struct demangle *d)
{
	return d->at < d->len ? d->name[d->at] : '\0';
}

char demangle_next(struct demangle *d)
{
	return d->at < d->len ? d->name[d->at++] : '\0';
}

bool demangle_eat(struct demangle *d, char c)
{
	if (demangle_peek(d) != c)
		return false;
	d->at++;
	return true;
}

unsigned long demangle_decimal(struct demangle *d)
{
	unsigned long n = 0;
	char c = demangle_peek(d);

	if (c < '0' || c > '9')
		d->bad = true;
	for (; c >= '0' && c <= '9'; c = demangle_peek(d)) {
		n = n * 10 + (unsigned long)(c - '0');
		if (n > (1ul << 60))
			d->bad = true;
		if (d->bad)
			return 0;
		d->at++;
	}
	return n;
}

bool demangle_enter(struct demangle *d)
{
	if (++d->depth > MAX_DEPTH || ++d->steps > MAX_STEPS)
		d->bad = true;
	return !d->bad;
}

void demangle_leave(struct demangle *d)
{
	d->depth--;
}

/* --- which language --------------------------------------------------------------- */

typedef bool reader(struct demangle *d);

static bool try(reader *read, const char *name, size_t len, char *buf)
{
	struct demangle d = { .name = name, .len = len, .out = buf };

	if (!read(&d) || d.bad || !d.n || memchr(buf, '\0', d.n))
		return false;
	buf[d.n] = '\0';
	return true;
}

bool obj_demangle(const char *name, char *buf)
{
	size_t len = strnlen(name, DEMANGLE_INPUT + 1);

	if (len < 3 || len > DEMANGLE_INPUT || name[0] != '_')
		return false;
	switch (name[1]) {
	case 'R':
		return try(demangle_rust, name, len, buf);
	case 'Z':
		return try(demangle_rust_legacy, name, len, buf) ||
		       try(demangle_cxx, name, len, buf);
	case 'D':
		return try(demangle_d, name, len, buf);
	default:
		return false;
	}
}
