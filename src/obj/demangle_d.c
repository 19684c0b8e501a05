/* SPDX-License-Identifier: MIT */
/*
 * D's names, read by recursive descent (the D ABI, "Name Mangling"): the qualified name
 * with its template arguments, and the types of parameters. Return types and attributes
 * of functions are read and not printed, as other tools do. Values of template arguments
 * other than integers, characters, booleans and null are not known: such a name stays as
 * it is. Back references (`Q` and how far back) are read again from where they point,
 * against the budgets of demangle.c.
 */
#include <string.h>

#include "obj/demangle.h"

static void read_type(struct demangle *d);
static void read_qualified(struct demangle *d);

/* Goes back to what stands at the reference behind a Q: where to go on afterwards. */
static size_t go_back(struct demangle *d)
{
	size_t begin = d->at - 1, n = 0, after;
	char c;

	do {
		c = demangle_next(d);
		if (c >= 'A' && c <= 'Z')
			n = n * 26 + (size_t)(c - 'A');
		else if (c >= 'a' && c <= 'z')
			n = n * 26 + (size_t)(c - 'a');
		else
			d->bad = true;
		if (n > DEMANGLE_INPUT)
			d->bad = true;
	} while (!d->bad && c < 'a');
	after = d->at;
	if (!n || n > begin)
		d->bad = true;
	else
		d->at = begin - n;
	return after;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_call(char c)
{
	return c && strchr("FUVWRY", c);
}

/* --- template instances ----------------------------------------------------------- */

/* An integer by its type. */
static void put_value(struct demangle *d, char type)
{
	unsigned long n = demangle_decimal(d);

	if (type == 'b') {
		demangle_puts(d, n ? "true" : "false");
	} else if (type == 'a' && n >= 0x20 && n < 0x7f) {
		char text[3] = { '\'', (char)n, '\'' };

		demangle_put(d, text, sizeof(text));
	} else {
		demangle_number(d, n);
	}
}

static void read_value(struct demangle *d)
{
	char type = demangle_peek(d);

	d->mute++;
	read_type(d);
	d->mute--;
	if (demangle_eat(d, 'n')) {
		demangle_puts(d, "null");
		return;
	}
	if (demangle_eat(d, 'N'))
		demangle_puts(d, "-");
	else
		demangle_eat(d, 'i');
	put_value(d, type);
}

static void read_argument(struct demangle *d)
{
	demangle_eat(d, 'H');
	switch (demangle_next(d)) {
	case 'T':
		read_type(d);
		return;
	case 'S':
		read_qualified(d);
		return;
	case 'V':
		read_value(d);
		return;
	default:
		d->bad = true;
	}
}

static void read_name(struct demangle *d);

/* Behind __T. */
static void read_instance(struct demangle *d)
{
	if (demangle_enter(d)) {
		read_name(d);
		demangle_puts(d, "!(");
		for (bool more = false; !d->bad && !demangle_eat(d, 'Z'); more = true) {
			if (more)
				demangle_puts(d, ", ");
			read_argument(d);
		}
		demangle_puts(d, ")");
	}
	demangle_leave(d);
}

static bool eat_template(struct demangle *d)
{
	if (d->len - d->at < 3 || (memcmp(d->name + d->at, "__T", 3) != 0 &&
				   memcmp(d->name + d->at, "__U", 3) != 0))
		return false;
	d->at += 3;
	return true;
}

/* --- names ------------------------------------------------------------------------ */

/* A name that the compiler made, and what it means. */
struct special {
	const char *name; /* as mangled */
	const char *text; /* as printed */
};

static const struct special specials[] = {
	{ "__ctor", "this" },
	{ "__dtor", "~this" },
	{ "__postblit", "this(this)" },
};

static void put_name(struct demangle *d, const char *s, size_t n)
{
	for (size_t i = 0; i < sizeof(specials) / sizeof(*specials); i++) {
		if (strlen(specials[i].name) != n || memcmp(specials[i].name, s, n) != 0)
			continue;
		demangle_puts(d, specials[i].text);
		return;
	}
	demangle_put(d, s, n);
}

static void read_counted(struct demangle *d)
{
	unsigned long n = demangle_decimal(d);
	size_t end = d->at + n;

	if (d->bad || !n || n > d->len - d->at) {
		d->bad = true;
		return;
	}
	if (eat_template(d)) { /* older compilers count instances too */
		read_instance(d);
		if (d->at != end)
			d->bad = true;
		return;
	}
	put_name(d, d->name + d->at, n);
	d->at = end;
}

static void read_name(struct demangle *d)
{
	size_t after;

	if (demangle_enter(d)) {
		if (demangle_eat(d, 'Q')) {
			after = go_back(d);
			read_name(d);
			d->at = after;
		} else if (eat_template(d)) {
			read_instance(d);
		} else {
			read_counted(d);
		}
	}
	demangle_leave(d);
}

/* Does a back reference here lead to a name? To a type otherwise. */
static bool is_name_ref(struct demangle *d)
{
	struct demangle look = *d;

	look.at++;
	go_back(&look);
	return !look.bad && is_digit(demangle_peek(&look));
}

static bool is_name(struct demangle *d)
{
	char c = demangle_peek(d);

	if (c == 'Q')
		return is_name_ref(d);
	return is_digit(c) ||
	       (c == '_' && d->len - d->at > 3 && d->name[d->at + 1] == '_');
}

/* --- functions -------------------------------------------------------------------- */

/* Na nothrow … Nm: two letters, those of parameters and types (Ng Nh Nk Nn) excepted. */
static void skip_attributes(struct demangle *d)
{
	while (demangle_peek(d) == 'N' && d->at + 1 < d->len &&
	       !strchr("ghkn", d->name[d->at + 1]))
		d->at += 2;
}

static void put_storage(struct demangle *d)
{
	for (;;) {
		if (demangle_eat(d, 'M'))
			demangle_puts(d, "scope ");
		else if (demangle_eat(d, 'J'))
			demangle_puts(d, "out ");
		else if (demangle_eat(d, 'K'))
			demangle_puts(d, "ref ");
		else if (demangle_eat(d, 'L'))
			demangle_puts(d, "lazy ");
		else
			return;
	}
}

/* Parameters up to what closes them. */
static void read_parameters(struct demangle *d)
{
	demangle_puts(d, "(");
	for (bool more = false; !d->bad; more = true) {
		if (demangle_eat(d, 'Z'))
			break;
		if (demangle_eat(d, 'X') || demangle_eat(d, 'Y')) {
			demangle_puts(d, more ? ", ..." : "...");
			break;
		}
		if (more)
			demangle_puts(d, ", ");
		put_storage(d);
		read_type(d);
	}
	demangle_puts(d, ")");
}

/* A function without its return type. */
static void read_call(struct demangle *d)
{
	demangle_next(d); /* the convention */
	skip_attributes(d);
	read_parameters(d);
}

/* The type of a name's function, if one follows: a name's own parameters are printed,
 * and a member's `this` is left out. */
static void read_signature(struct demangle *d)
{
	struct demangle before = *d;

	if (demangle_eat(d, 'M')) {
		while (demangle_peek(d) && strchr("xyO", demangle_peek(d)))
			d->at++;
	}
	if (is_call(demangle_peek(d)))
		read_call(d);
	else
		*d = before;
}

static void read_qualified(struct demangle *d)
{
	if (demangle_enter(d)) {
		read_name(d);
		read_signature(d);
		while (!d->bad && (is_name(d) || demangle_peek(d) == '0')) {
			if (demangle_eat(d, '0')) /* nameless */
				continue;
			demangle_puts(d, ".");
			read_name(d);
			read_signature(d);
		}
	}
	demangle_leave(d);
}

/* --- types ------------------------------------------------------------------------ */

/* By letter, a to w; NULL: none. */
static const char *const basic[] = {
	"char",  "bool",         "creal",  "double",  "real",   "float",
	"byte",  "ubyte",        "int",    "ireal",   "uint",   "long",
	"ulong", "typeof(null)", "ifloat", "idouble", "cfloat", "cdouble",
	"short", "ushort",       "wchar",  "void",    "dchar",
};

static void read_wrapped(struct demangle *d, const char *before, const char *after)
{
	demangle_puts(d, before);
	read_type(d);
	demangle_puts(d, after);
}

static void read_fixed_array(struct demangle *d)
{
	unsigned long n = demangle_decimal(d);

	read_type(d);
	demangle_puts(d, "[");
	demangle_number(d, n);
	demangle_puts(d, "]");
}

/* The value's type comes behind the key's, and is printed first. */
static void read_map(struct demangle *d)
{
	size_t key = d->at, after;

	d->mute++;
	read_type(d);
	d->mute--;
	read_type(d);
	after = d->at;
	d->at = key;
	demangle_puts(d, "[");
	read_type(d);
	demangle_puts(d, "]");
	d->at = after;
}

/* RETURN what(PARAMETERS): the return type comes behind, and is printed first. */
static void read_function(struct demangle *d, const char *what)
{
	size_t begin = d->at, after;

	d->mute++;
	read_call(d);
	d->mute--;
	read_type(d);
	after = d->at;
	d->at = begin;
	demangle_puts(d, what);
	read_call(d);
	d->at = after;
}

static void read_delegate(struct demangle *d)
{
	while (demangle_peek(d) && strchr("xyO", demangle_peek(d)))
		d->at++;
	if (is_call(demangle_peek(d)))
		read_function(d, " delegate");
	else
		d->bad = true;
}

static void read_tuple(struct demangle *d)
{
	unsigned long n = demangle_decimal(d);

	demangle_puts(d, "Tuple!(");
	for (unsigned long i = 0; i < n && !d->bad; i++) {
		if (i)
			demangle_puts(d, ", ");
		read_type(d);
	}
	demangle_puts(d, ")");
}

static void read_n_type(struct demangle *d)
{
	switch (demangle_next(d)) {
	case 'g':
		read_wrapped(d, "inout(", ")");
		return;
	case 'h':
		read_wrapped(d, "__vector(", ")");
		return;
	case 'n':
		demangle_puts(d, "noreturn");
		return;
	default:
		d->bad = true;
	}
}

static void read_type_tag(struct demangle *d, char tag)
{
	size_t after;

	switch (tag) {
	case 'x':
		read_wrapped(d, "const(", ")");
		return;
	case 'y':
		read_wrapped(d, "immutable(", ")");
		return;
	case 'O':
		read_wrapped(d, "shared(", ")");
		return;
	case 'N':
		read_n_type(d);
		return;
	case 'A':
		read_wrapped(d, "", "[]");
		return;
	case 'G':
		read_fixed_array(d);
		return;
	case 'H':
		read_map(d);
		return;
	case 'P':
		if (is_call(demangle_peek(d)))
			read_function(d, " function");
		else
			read_wrapped(d, "", "*");
		return;
	case 'D':
		read_delegate(d);
		return;
	case 'B':
		read_tuple(d);
		return;
	case 'C':
	case 'S':
	case 'E':
	case 'I':
	case 'T':
		read_qualified(d);
		return;
	case 'Q':
		after = go_back(d);
		read_type(d);
		d->at = after;
		return;
	case 'z':
		demangle_puts(d, demangle_next(d) == 'k' ? "ucent" : "cent");
		return;
	default:
		d->bad = true;
	}
}

static void read_type(struct demangle *d)
{
	char tag;

	if (demangle_enter(d)) {
		tag = demangle_next(d);
		if (tag >= 'a' && tag <= 'w')
			demangle_puts(d, basic[tag - 'a']);
		else
			read_type_tag(d, tag);
	}
	demangle_leave(d);
}

bool demangle_d(struct demangle *d)
{
	if (!strcmp(d->name, "_Dmain")) {
		demangle_puts(d, "D main");
		return true;
	}
	d->at = 2;
	if (!is_digit(demangle_peek(d)))
		return false;
	read_qualified(d);
	if (d->bad)
		return false;
	if (demangle_eat(d, 'Z')) /* made by the compiler: initialisers, tables */
		return d->at == d->len;
	d->mute++;
	read_type(d); /* of a variable, or what a function returns */
	d->mute--;
	return !d->bad && d->at == d->len;
}
