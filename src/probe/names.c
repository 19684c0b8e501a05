/* SPDX-License-Identifier: MIT */
/*
 * Does a function's name match a pattern?
 *
 * Names are tried as the linker has them, without the version that .symtab may have glued
 * on (`memcpy@@GLIBC_2.14`), and readable. The readable form is cut to what one would
 * type: `ns::Class::method` of `int ns::Class::method<T>(int) const` would be wrong, for
 * template arguments belong to the name; it is `ns::Class::method<T>`. A return type
 * stands there for templates only.
 */
#include <fnmatch.h>
#include <string.h>

#include "libproc.h"
#include "probe/match.h"

enum {
	READABLE = 16384, /* bytes of a readable name; a longer one does not match */
	VERSIONED = 1024, /* bytes of a name with a version; a longer one likewise */
};

#define COLD ".cold"

/* --- what mangled names contain ----------------------------------------------------- */

/* Classes of std that have abbreviations of their own (Itanium C++ ABI, 5.1.10), and so
 * the names of their constructors. */
static bool is_abbreviated(const char *word)
{
	static const char *const words[] = { "allocator", "basic_string",
					     "string",    "basic_istream",
					     "istream",   "basic_ostream",
					     "ostream",   "basic_iostream",
					     "iostream",  "std" };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (!strcmp(word, words[i]))
			return true;
	return false;
}

static bool is_identifier(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '_';
}

/*
 * The last identifier of the pattern before template arguments: names are mangled with
 * their identifiers as they are. Most names are told apart by it without being made
 * readable, which costs 2 us each.
 */
static void find_word(struct pattern *p)
{
	size_t end = strcspn(p->text, "<([{\\"), begin;

	if (strstr(p->text, "operator"))
		return;
	while (end && !is_identifier(p->text[end - 1]))
		end--;
	begin = end;
	while (begin && is_identifier(p->text[begin - 1]))
		begin--;
	if (end - begin >= sizeof(p->word))
		end = begin + sizeof(p->word) - 1;
	memcpy(p->word, p->text + begin, end - begin);
	if (is_abbreviated(p->word))
		p->word[0] = '\0';
}

struct pattern names_pattern(const char *text)
{
	struct pattern p = {
		.text = text,
		.is_glob = match_is_glob(text),
		.is_all = !strcmp(text, "*"),
		.has_cold = strstr(text, COLD) != NULL,
	};

	find_word(&p);
	return p;
}

/* --- matching ----------------------------------------------------------------------- */

static bool matches(const struct pattern *p, const char *name)
{
	if (!strcmp(p->text, name))
		return true;
	return p->is_glob && !fnmatch(p->text, name, 0);
}

static bool matches_unversioned(const struct pattern *p, const char *name)
{
	const char *at = *name ? strchr(name + 1, '@') : NULL;
	char cut[VERSIONED];

	if (!at || (size_t)(at - name) >= sizeof(cut))
		return false;
	memcpy(cut, name, (size_t)(at - name));
	cut[at - name] = '\0';
	return matches(p, cut);
}

/* --- readable names ----------------------------------------------------------------- */

/* The opening of the bracket that ends just before `end`, or NULL. */
static char *find_opening(char *begin, char *end)
{
	int depth = 0;

	while (end > begin) {
		char c = *--end;

		depth += c == ')' || c == '>' || c == ']' || c == '}';
		depth -= c == '(' || c == '<' || c == '[' || c == '{';
		if (c == '>' && end > begin && end[-1] == '-')
			depth--; /* operator-> */
		if (depth <= 0)
			return end;
	}
	return NULL;
}

/* The last ')' of the parameters: what follows are qualifiers and clones. */
static char *find_parameters(char *name)
{
	char *close = strrchr(name, ')'), *rest;

	if (!close)
		return NULL;
	rest = close + 1;
	if (*rest && *rest != ' ' && *rest != '&')
		return NULL; /* (anonymous namespace)::f */
	return find_opening(name, close + 1);
}

/* Behind the last space that is outside of brackets and before an operator's name. */
static char *find_start(char *name)
{
	char *start = name;
	int depth = 0;

	for (char *s = name; *s; s++) {
		if (!depth && !strncmp(s, "operator", 8) &&
		    (s == name || s[-1] == ':' || s[-1] == ' '))
			break;
		depth += *s == '(' || *s == '<' || *s == '[' || *s == '{';
		depth -= *s == ')' || *s == '>' || *s == ']' || *s == '}';
		if (*s == ' ' && !depth)
			start = s + 1;
	}
	return start;
}

char *names_trim(char *readable)
{
	char *parameters = find_parameters(readable);

	if (!parameters || parameters == readable)
		return readable;
	*parameters = '\0';
	return find_start(readable);
}

static bool matches_readable(const struct pattern *p, const char *name)
{
	char readable[READABLE];

	if (name[0] != '_' || !name[1] || !strchr("ZRD", name[1]) ||
	    !strstr(name, p->word))
		return false;
	if (!pgrab_demangle(name, readable, sizeof(readable)))
		return false;
	return matches(p, names_trim(readable));
}

bool names_match(const struct pattern *p, const char *name)
{
	return p->is_all || matches(p, name) || matches_unversioned(p, name) ||
	       matches_readable(p, name);
}

bool names_is_cold(const char *name)
{
	const char *cold = strstr(name, COLD);

	if (!cold || cold == name)
		return false;
	cold += sizeof(COLD) - 1;
	return !*cold || (*cold == '.' && cold[1 + strspn(cold + 1, "0123456789")] == 0);
}
