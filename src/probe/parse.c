/* SPDX-License-Identifier: MIT */
/*
 * Descriptions of probes, taken apart.
 *
 *	pid$target:module:function:name     pid1234:module:function:name
 *	module:function:name   module:function   function
 *
 * C++ names hold colons, in pairs. So a module ends at the first colon; of what follows,
 * a pair between two other characters belongs to a name, and a colon alone ends the
 * function. `a.out:ns::f:return` and `a.out:ns::f` are therefore what they look like,
 * `libc::entry` is every function of libc, and a C++ name needs its module before it.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe/match.h"
#include "probe/probe.h"

#define ALL "*"

/* The fields as they stand in the text. */
struct fields {
	bool full;            /* with a provider */
	const char *module;   /* not terminated; NULL: not given */
	size_t nmodule;       /* bytes */
	const char *function; /* not terminated */
	size_t nfunction;     /* bytes */
	const char *name;     /* terminated; NULL: not given */
};

__attribute__((format(printf, 3, 4))) static int refuse(char *err, size_t size,
							const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(err, size, fmt, args);
	va_end(args);
	return -EINVAL;
}

static int refuse_text(const char *text, char *err, size_t size)
{
	return refuse(err, size,
		      "'%s' is no probe of the pid provider: "
		      "pid$target:module:function:name, module:function or function",
		      text);
}

/* --- fields ------------------------------------------------------------------------- */

/* `pid$target:` or `pid1234:`: what follows, or text itself; -EINVAL a bad number. */
static int take_provider(const char *text, struct probe_desc *d, const char **ret)
{
	static const char target[] = "pid$target:";
	unsigned long pid;
	char *end;

	*ret = text;
	if (!strncmp(text, target, sizeof(target) - 1)) {
		d->whose = PROBE_TARGET;
		*ret = text + sizeof(target) - 1;
		return 0;
	}
	if (strncmp(text, "pid", 3) || !isdigit((unsigned char)text[3]))
		return 0;
	errno = 0;
	pid = strtoul(text + 3, &end, 10);
	if (*end != ':')
		return 0;
	if (errno || !pid || pid > INT_MAX)
		return -EINVAL;
	d->whose = PROBE_PID;
	d->pid = (pid_t)pid;
	*ret = end + 1;
	return 0;
}

/* The colon that ends the function in `rest`, in *ret, or NULL: there is none. -EINVAL:
 * there are others that mean nothing. */
static int find_end(const char *rest, const char **ret)
{
	const char *at = rest, *end = NULL;

	while (*(at += strcspn(at, ":"))) {
		size_t n = strspn(at, ":");

		if (n == 2 && at != rest && at[n] && !end) {
			at += n;
			continue;
		}
		if (n != 1 || end)
			return -EINVAL;
		end = at++;
	}
	*ret = end;
	return 0;
}

static int split(const char *body, struct fields *f)
{
	const char *colon = strchr(body, ':'), *rest = colon ? colon + 1 : body, *end;
	int rc = find_end(rest, &end);

	if (rc)
		return rc;
	if (colon) {
		f->module = body;
		f->nmodule = (size_t)(colon - body);
	}
	f->function = rest;
	f->nfunction = end ? (size_t)(end - rest) : strlen(rest);
	f->name = end ? end + 1 : NULL;
	return 0;
}

/* --- what they say ------------------------------------------------------------------ */

static char *copy(const char *text, size_t n)
{
	return n ? strndup(text, n) : strdup(ALL);
}

/* LM1`libc.so.6 */
static int take_link_map(struct fields *f, struct probe_desc *d)
{
	const char *tick = f->module ? memchr(f->module, '`', f->nmodule) : NULL;
	char *end;

	if (!tick)
		return 0;
	if (strncmp(f->module, "LM", 2) || !isxdigit((unsigned char)f->module[2]))
		return -EINVAL;
	errno = 0;
	d->lmid = strtol(f->module + 2, &end, 16);
	if (errno || end != tick)
		return -EINVAL;
	d->has_lmid = true;
	f->nmodule -= (size_t)(tick + 1 - f->module);
	f->module = tick + 1;
	return 0;
}

bool match_is_glob(const char *text)
{
	return strpbrk(text, "*?[\\") != NULL;
}

bool match_offset(const char *name, uint64_t *ret)
{
	const char *digits = name;
	char *end;

	if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X'))
		digits += 2;
	if (!isxdigit((unsigned char)*digits))
		return false;
	errno = 0;
	*ret = strtoull(digits, &end, 16);
	return !*end && !errno;
}

static bool is_name(const struct probe_desc *d)
{
	bool by_address = !strcmp(d->function, MATCH_ABSOLUTE);
	uint64_t offset;

	if (match_offset(d->name, &offset))
		return true;
	if (by_address)
		return false;
	return match_is_glob(d->name) || !strcmp(d->name, MATCH_ENTRY) ||
	       !strcmp(d->name, MATCH_RETURN);
}

static int check(const struct probe_desc *d, char *err, size_t size)
{
	if (!is_name(d))
		return refuse(err, size, "'%s' is an invalid probe name", d->name);
	if (!strcmp(d->function, MATCH_ABSOLUTE) && strcmp(d->module, MATCH_PROGRAM))
		return refuse(err, size,
			      "'%s': function '-' (an absolute address) is known in "
			      "module a.out only",
			      d->text);
	return 0;
}

/* The fields are sound: copies them. */
static int fill(const struct fields *f, struct probe_desc *d)
{
	const char *name = f->name;

	if (!name || !*name)
		name = f->full ? ALL : MATCH_ENTRY;
	d->module = copy(f->module, f->nmodule);
	d->function = copy(f->function, f->nfunction);
	d->name = strdup(name);
	return d->module && d->function && d->name ? 0 : -ENOMEM;
}

/* Which fields may be missing: none in the full form. */
static int check_fields(const struct fields *f, const char *text, char *err, size_t size)
{
	if (f->full && (!f->module || !f->name))
		return refuse(err, size,
			      "'%s' lacks a field: "
			      "pid$target:module:function:name",
			      text);
	if (!f->full && !f->nfunction && (!f->name || !*f->name))
		return refuse(err, size, "'%s' names no function", text);
	return 0;
}

static int parse(struct probe_desc *d, char *err, size_t size)
{
	struct fields f = { 0 };
	const char *body;
	int rc;

	if (!*d->text)
		return refuse(err, size, "an empty probe description");
	if (take_provider(d->text, d, &body))
		return refuse(err, size, "'%s' names no process", d->text);
	f.full = d->whose != PROBE_ANYBODY;
	if (split(body, &f))
		return refuse_text(d->text, err, size);
	rc = check_fields(&f, d->text, err, size);
	if (rc)
		return rc;
	if (take_link_map(&f, d))
		return refuse(err, size, "'%.*s' is an invalid link map",
			      (int)strcspn(f.module, "`"), f.module);
	rc = fill(&f, d);
	return rc ? rc : check(d, err, size);
}

int probe_parse(const char *text, struct probe_desc *ret, char *err, size_t size)
{
	struct probe_desc d = { .text = strdup(text) };
	int rc = d.text ? parse(&d, err, size) : -ENOMEM;

	if (rc == -ENOMEM)
		snprintf(err, size, "out of memory");
	if (rc)
		probe_desc_fini(&d);
	else
		*ret = d;
	return rc;
}

void probe_desc_fini(struct probe_desc *d)
{
	free(d->module);
	free(d->function);
	free(d->name);
	free(d->text);
	memset(d, 0, sizeof(*d));
}
