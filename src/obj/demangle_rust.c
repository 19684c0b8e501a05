/* SPDX-License-Identifier: MIT */
/*
 * Rust's v0 names, read by recursive descent (RFC 2603, "Rust Symbol Mangling v0"; the
 * rustc book, "v0 Symbol Format"). A back reference goes to an earlier byte and reads on
 * from there; what is read twice counts twice, against the budgets of demangle.c.
 * Hashes of crates are left out. Lifetimes are printed where they are bound and used.
 */
#include <stdio.h>
#include <string.h>

#include "obj/demangle.h"
#include "obj/punycode.h"

/* Where a path stands: in a value generic arguments begin with `::<`. */
enum place {
	IN_VALUE, /* an expression */
	IN_TYPE,  /* a type */
};

/* An identifier. */
struct identifier {
	const char *bytes; /* in the name */
	size_t n;          /* how many */
	bool punycode;     /* not ASCII: encoded so */
	unsigned long dis; /* disambiguator */
};

static void read_path(struct demangle *d, enum place place);
static void read_type(struct demangle *d);
static void read_const(struct demangle *d);

/* --- numbers and identifiers ------------------------------------------------------ */

static int digit62(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'Z' ? c - 'A' + 36 : -1;
}

/* `_` is 0, `0_` is 1 …; of more than 57 bits (hashes of crates) only that it is big. */
static unsigned long read_base62(struct demangle *d)
{
	unsigned long n = 0;

	if (demangle_eat(d, '_'))
		return 0;
	while (!d->bad && !demangle_eat(d, '_')) {
		int digit = digit62(demangle_next(d));

		if (digit < 0)
			d->bad = true;
		else if (n < (1ul << 57))
			n = n * 62 + (unsigned long)digit;
	}
	return n + 1;
}

/* 0 where the tag is not there, else the number behind it and one. */
static unsigned long read_optional62(struct demangle *d, char tag)
{
	return demangle_eat(d, tag) ? read_base62(d) + 1 : 0;
}

static struct identifier read_identifier(struct demangle *d)
{
	struct identifier id = { .dis = read_optional62(d, 's') };
	unsigned long n;

	id.punycode = demangle_eat(d, 'u');
	n = demangle_eat(d, '0') ? 0 : demangle_decimal(d); /* no leading zeros */
	demangle_eat(d, '_');
	if (d->bad || n > d->len - d->at) {
		d->bad = true;
		return (struct identifier){ 0 };
	}
	id.bytes = d->name + d->at;
	id.n = n;
	d->at += n;
	return id;
}

static void put_identifier(struct demangle *d, const struct identifier *id)
{
	char buf[PUNYCODE_OUTPUT];
	size_t n;

	if (!id->punycode) {
		demangle_put(d, id->bytes, id->n);
		return;
	}
	n = punycode_decode(id->bytes, id->n, '_', buf);
	if (!n)
		d->bad = true;
	demangle_put(d, buf, n);
}

/* --- back references, binders, lifetimes ------------------------------------------ */

/* Goes back to what stands at the reference: where to go on afterwards. */
static size_t go_back(struct demangle *d)
{
	size_t begin = d->at - 1; /* the B itself */
	unsigned long to = read_base62(d);
	size_t after = d->at;

	/* Positions count from behind the _R. */
	if (to + 2 >= begin)
		d->bad = true;
	else
		d->at = to + 2;
	return after;
}

static void put_lifetime(struct demangle *d, unsigned long index)
{
	unsigned long depth = d->bound - index;
	char name[2] = { '\'', (char)('a' + depth) };

	if (!index) {
		demangle_puts(d, "'_");
	} else if (index > d->bound) {
		d->bad = true;
	} else if (depth < 26) {
		demangle_put(d, name, 2);
	} else {
		demangle_puts(d, "'_");
		demangle_number(d, depth);
	}
}

/* `for<'a, 'b> ` where lifetimes are bound: how many. */
static unsigned read_binder(struct demangle *d)
{
	unsigned long n = read_optional62(d, 'G');

	if (n > 1000)
		d->bad = true;
	if (!n || d->bad)
		return 0;
	demangle_puts(d, "for<");
	for (unsigned long i = 0; i < n; i++) {
		if (i)
			demangle_puts(d, ", ");
		d->bound++;
		put_lifetime(d, 1);
	}
	demangle_puts(d, "> ");
	return (unsigned)n;
}

/* --- paths ------------------------------------------------------------------------ */

static void read_generic(struct demangle *d)
{
	if (demangle_eat(d, 'L'))
		put_lifetime(d, read_base62(d));
	else if (demangle_eat(d, 'K'))
		read_const(d);
	else
		read_type(d);
}

/* Up to its E, with commas. */
static unsigned read_list(struct demangle *d, void (*one)(struct demangle *))
{
	unsigned n = 0;

	for (; !d->bad && !demangle_eat(d, 'E'); n++) {
		if (n)
			demangle_puts(d, ", ");
		one(d);
	}
	return n;
}

/* The path of the impl's own module says nothing that its type does not. */
static void skip_impl(struct demangle *d)
{
	d->mute++;
	read_optional62(d, 's');
	read_path(d, IN_VALUE);
	d->mute--;
}

/* <TYPE> */
static void read_inherent(struct demangle *d)
{
	demangle_puts(d, "<");
	read_type(d);
	demangle_puts(d, ">");
}

/* <TYPE as TRAIT> */
static void read_qualified(struct demangle *d)
{
	demangle_puts(d, "<");
	read_type(d);
	demangle_puts(d, " as ");
	read_path(d, IN_TYPE);
	demangle_puts(d, ">");
}

/* {closure:NAME#1}, {shim#0} … */
static void put_special(struct demangle *d, char ns, const struct identifier *id)
{
	demangle_puts(d, "::{");
	if (ns == 'C')
		demangle_puts(d, "closure");
	else if (ns == 'S')
		demangle_puts(d, "shim");
	else
		demangle_put(d, &ns, 1);
	if (id->n) {
		demangle_puts(d, ":");
		put_identifier(d, id);
	}
	demangle_puts(d, "#");
	demangle_number(d, id->dis);
	demangle_puts(d, "}");
}

static void read_nested(struct demangle *d, enum place place)
{
	char ns = demangle_next(d);
	struct identifier id;

	read_path(d, place);
	id = read_identifier(d);
	if (ns >= 'A' && ns <= 'Z') {
		put_special(d, ns, &id);
	} else if (ns >= 'a' && ns <= 'z') {
		if (id.n)
			demangle_puts(d, "::");
		put_identifier(d, &id);
	} else {
		d->bad = true;
	}
}

static void read_instance(struct demangle *d, enum place place)
{
	read_path(d, place);
	demangle_puts(d, place == IN_VALUE ? "::<" : "<");
	read_list(d, read_generic);
	demangle_puts(d, ">");
}

static void read_path_tag(struct demangle *d, char tag, enum place place)
{
	struct identifier id;
	size_t after;

	switch (tag) {
	case 'C':
		id = read_identifier(d);
		put_identifier(d, &id);
		return;
	case 'M':
		skip_impl(d);
		read_inherent(d);
		return;
	case 'X':
		skip_impl(d);
		read_qualified(d);
		return;
	case 'Y':
		read_qualified(d);
		return;
	case 'N':
		read_nested(d, place);
		return;
	case 'I':
		read_instance(d, place);
		return;
	case 'B':
		after = go_back(d);
		read_path(d, place);
		d->at = after;
		return;
	default:
		d->bad = true;
	}
}

static void read_path(struct demangle *d, enum place place)
{
	if (demangle_enter(d))
		read_path_tag(d, demangle_next(d), place);
	demangle_leave(d);
}

/* --- types ------------------------------------------------------------------------ */

/* By letter, a to z; NULL: no type. */
static const char *const basic[26] = {
	"i8",    "bool", "char", "f64", "str",  "f32",  NULL,  "u8", "isize",
	"usize", NULL,   "i32",  "u32", "i128", "u128", "_",   NULL, NULL,
	"i16",   "u16",  "()",   "...", NULL,   "i64",  "u64", "!",
};

static const char *basic_type(char c)
{
	return c >= 'a' && c <= 'z' ? basic[c - 'a'] : NULL;
}

static void read_reference(struct demangle *d, const char *mutability)
{
	unsigned long lifetime = read_optional62(d, 'L');

	demangle_puts(d, "&");
	if (lifetime > 1) {
		put_lifetime(d, lifetime - 1);
		demangle_puts(d, " ");
	}
	demangle_puts(d, mutability);
	read_type(d);
}

static void read_array(struct demangle *d)
{
	demangle_puts(d, "[");
	read_type(d);
	demangle_puts(d, "; ");
	read_const(d);
	demangle_puts(d, "]");
}

static void read_tuple(struct demangle *d)
{
	demangle_puts(d, "(");
	if (read_list(d, read_type) == 1)
		demangle_puts(d, ",");
	demangle_puts(d, ")");
}

/* extern "ABI", in which `-` is written `_`. */
static void read_abi(struct demangle *d)
{
	struct identifier id;

	demangle_puts(d, "extern \"");
	if (demangle_eat(d, 'C')) {
		demangle_puts(d, "C");
	} else {
		id = read_identifier(d);
		for (size_t i = 0; i < id.n; i++)
			demangle_put(d, id.bytes[i] == '_' ? "-" : id.bytes + i, 1);
	}
	demangle_puts(d, "\" ");
}

static void read_function(struct demangle *d)
{
	unsigned bound = read_binder(d);

	if (demangle_eat(d, 'U'))
		demangle_puts(d, "unsafe ");
	if (demangle_eat(d, 'K'))
		read_abi(d);
	demangle_puts(d, "fn(");
	read_list(d, read_type);
	demangle_puts(d, ")");
	if (!demangle_eat(d, 'u')) {
		demangle_puts(d, " -> ");
		read_type(d);
	}
	d->bound -= bound;
}

/* A trait of a dyn type, whose associated types stand among its generic arguments: what
 * was printed of those is left open (true). */
static bool read_open_path(struct demangle *d)
{
	bool open = false;
	size_t after;

	if (!demangle_enter(d)) {
		demangle_leave(d);
		return false;
	}
	if (demangle_eat(d, 'B')) {
		after = go_back(d);
		open = read_open_path(d);
		d->at = after;
	} else if (demangle_eat(d, 'I')) {
		read_path(d, IN_TYPE);
		demangle_puts(d, "<");
		read_list(d, read_generic);
		open = true;
	} else {
		read_path(d, IN_TYPE);
	}
	demangle_leave(d);
	return open;
}

static void read_trait(struct demangle *d)
{
	bool open = read_open_path(d);
	struct identifier id;

	while (!d->bad && demangle_eat(d, 'p')) {
		demangle_puts(d, open ? ", " : "<");
		open = true;
		id = read_identifier(d);
		put_identifier(d, &id);
		demangle_puts(d, " = ");
		read_type(d);
	}
	if (open)
		demangle_puts(d, ">");
}

static void read_dyn(struct demangle *d)
{
	unsigned long lifetime;
	unsigned bound;

	demangle_puts(d, "dyn ");
	bound = read_binder(d);
	for (bool more = false; !d->bad && !demangle_eat(d, 'E'); more = true) {
		if (more)
			demangle_puts(d, " + ");
		read_trait(d);
	}
	d->bound -= bound;
	if (!demangle_eat(d, 'L')) {
		d->bad = true;
		return;
	}
	lifetime = read_base62(d);
	if (lifetime) {
		demangle_puts(d, " + ");
		put_lifetime(d, lifetime);
	}
}

static void read_pointer(struct demangle *d, const char *prefix)
{
	demangle_puts(d, prefix);
	read_type(d);
}

static void read_slice(struct demangle *d)
{
	demangle_puts(d, "[");
	read_type(d);
	demangle_puts(d, "]");
}

static void read_type_tag(struct demangle *d, char tag)
{
	size_t after;

	switch (tag) {
	case 'R':
		read_reference(d, "");
		return;
	case 'Q':
		read_reference(d, "mut ");
		return;
	case 'P':
		read_pointer(d, "*const ");
		return;
	case 'O':
		read_pointer(d, "*mut ");
		return;
	case 'A':
		read_array(d);
		return;
	case 'S':
		read_slice(d);
		return;
	case 'T':
		read_tuple(d);
		return;
	case 'F':
		read_function(d);
		return;
	case 'D':
		read_dyn(d);
		return;
	case 'B':
		after = go_back(d);
		read_type(d);
		d->at = after;
		return;
	default:
		d->at--; /* a path */
		read_path(d, IN_TYPE);
	}
}

static void read_type(struct demangle *d)
{
	const char *name;
	char tag;

	if (demangle_enter(d)) {
		tag = demangle_next(d);
		name = basic_type(tag);
		if (name)
			demangle_puts(d, name);
		else if (tag)
			read_type_tag(d, tag);
		else
			d->bad = true;
	}
	demangle_leave(d);
}

/* --- constants -------------------------------------------------------------------- */

/* Hexadecimal digits up to their `_`; false: more than 64 bits, left as they stand. */
static bool read_hex(struct demangle *d, unsigned long *ret, const char **ret_text,
		     size_t *ret_n)
{
	unsigned long n = 0;
	size_t begin = d->at;

	while (!d->bad && !demangle_eat(d, '_')) {
		int digit = digit62(demangle_next(d));

		if (digit < 0 || digit > 15)
			d->bad = true;
		n = n << 4 | (unsigned long)(digit & 15);
	}
	*ret = n;
	*ret_text = d->name + begin;
	*ret_n = d->bad ? 0 : d->at - begin - 1;
	return *ret_n <= 16;
}

static void put_integer(struct demangle *d)
{
	const char *text;
	unsigned long n;
	size_t len;

	if (demangle_eat(d, 'n'))
		demangle_puts(d, "-");
	if (read_hex(d, &n, &text, &len)) {
		demangle_number(d, n);
		return;
	}
	demangle_puts(d, "0x");
	demangle_put(d, text, len);
}

static void put_bool(struct demangle *d)
{
	const char *text;
	unsigned long n;
	size_t len;

	if (!read_hex(d, &n, &text, &len) || n > 1)
		d->bad = true;
	demangle_puts(d, n ? "true" : "false");
}

static void put_char(struct demangle *d)
{
	const char *text;
	unsigned long n;
	char buf[32];
	size_t len;

	if (!read_hex(d, &n, &text, &len) || n > 0x10ffff)
		d->bad = true;
	if (n >= 0x20 && n < 0x7f && n != '\'' && n != '\\')
		snprintf(buf, sizeof(buf), "'%c'", (char)n);
	else
		snprintf(buf, sizeof(buf), "'\\u{%lx}'", n & 0x1fffff);
	demangle_puts(d, buf);
}

static void read_const_tag(struct demangle *d, char tag)
{
	size_t after;

	if (tag == 'B') {
		after = go_back(d);
		read_const(d);
		d->at = after;
	} else if (tag == 'p') {
		demangle_puts(d, "_");
	} else if (tag == 'b') {
		put_bool(d);
	} else if (tag == 'c') {
		put_char(d);
	} else if (tag && strchr("ahijlmnostxy", tag)) {
		put_integer(d);
	} else {
		d->bad = true;
	}
}

static void read_const(struct demangle *d)
{
	if (demangle_enter(d))
		read_const_tag(d, demangle_next(d));
	demangle_leave(d);
}

/* --- the whole -------------------------------------------------------------------- */

/* What compilers append: .llvm.1234, .cold, $plt … */
static bool is_suffix(char c)
{
	return c == '\0' || c == '.' || c == '$' || c == '@';
}

bool demangle_rust(struct demangle *d)
{
	d->at = 2;
	if (demangle_peek(d) >= '0' && demangle_peek(d) <= '9')
		return false; /* of a version to come */
	read_path(d, IN_VALUE);
	if (!d->bad && !is_suffix(demangle_peek(d))) {
		d->mute++; /* the crate that it was made in */
		read_path(d, IN_VALUE);
		d->mute--;
	}
	return !d->bad && is_suffix(demangle_peek(d));
}
