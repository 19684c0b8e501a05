/* SPDX-License-Identifier: MIT */
/*
 * From a description to the probes that it matches in a process: objects that the module
 * matches, functions in them (functions.c), and in these what the name asks for
 * (returns.c). Nothing is kept from one call to the next but what the objects' files keep
 * themselves: a function asked for by its name costs a look-up, a pattern a pass over the
 * symbols of an object.
 *
 * A module matches an object by its base name; by the beginning of that up to a dot, or
 * up to a hyphen before a digit (`libc` is libc.so.6 and libc-2.31.so, and not
 * libc-client.so); by its path; as `a.out` the program; else by the name in its link map,
 * where that is another. With wildcards it is matched with base names, or with paths if
 * it has a slash; then the vDSO is left out, which has no file that the kernel could
 * watch.
 *
 * What is wrong is said only when nothing has matched, and only of names without
 * wildcards: a pattern that matches nothing here may match in what is loaded next.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/arch.h"
#include "probe/match.h"
#include "proc/control.h"

/* What the name of a description asks for. */
struct wanted {
	const char *glob; /* of offsets, or NULL */
	bool entry;       /* entries */
	bool returns;     /* returns */
	bool one;         /* one offset */
	uint64_t offset;  /* that one */
};

/* One call of probe_match(). */
struct matching {
	struct image *im;           /* a reference */
	const struct probe_desc *d; /* what to match */
	struct wanted want;         /* its name */
	const uint64_t *bases;      /* load biases of the objects; NULL: all */
	size_t nbases;              /* how many */
	probe_fn *fn;               /* the caller's */
	void *arg;                  /* its argument */
	int count;                  /* probes told */
	char *err;                  /* the first thing that is wrong */
	size_t size;                /* bytes there */
	bool failed;                /* there is something wrong */
	struct text text;           /* of the object at hand */
	struct spots spots;         /* of the function at hand */
};

/* The first complaint stays. */
__attribute__((format(printf, 2, 3))) static void complain(struct matching *m,
							   const char *fmt, ...)
{
	va_list args;

	if (m->failed)
		return;
	m->failed = true;
	va_start(args, fmt);
	vsnprintf(m->err, m->size, fmt, args);
	va_end(args);
}

/* Something is wrong with a function: is it to be said? */
static bool is_exact(const struct matching *m)
{
	return !match_is_glob(m->d->function) && !match_is_glob(m->d->module);
}

static struct wanted want(const char *name)
{
	struct wanted w = { .entry = !strcmp(name, MATCH_ENTRY),
			    .returns = !strcmp(name, MATCH_RETURN) };

	if (match_is_glob(name)) {
		w.glob = name;
		w.entry = !fnmatch(name, MATCH_ENTRY, 0);
		w.returns = !fnmatch(name, MATCH_RETURN, 0);
	} else if (!w.entry && !w.returns) {
		w.one = match_offset(name, &w.offset);
	}
	return w;
}

/* --- telling ------------------------------------------------------------------------ */

static const char *name_of(enum probe_kind kind, uint64_t offset, char *buf, size_t size)
{
	if (kind == PROBE_ENTRY)
		return MATCH_ENTRY;
	if (kind == PROBE_RETURN)
		return MATCH_RETURN;
	snprintf(buf, size, "%llx", (unsigned long long)offset);
	return buf;
}

/* Spots are those of the file; and are the process's afterwards. */
static int tell(struct matching *m, enum probe_kind kind, const struct function *f,
		struct probe_spot *spots, size_t n)
{
	const struct image_object *o = m->text.o;
	char hex[24];
	struct probe p = {
		.kind = kind,
		.lmid = o->lmid,
		.path = o->path,
		.module = o->name,
		.function = f->name,
		.base = o->base,
		.func = f->addr + o->base,
		.size = f->size,
		.spots = spots,
		.nspots = n,
		.cut = kind == PROBE_RETURN && m->spots.cut,
	};
	int rc;

	for (size_t i = 0; i < n; i++) {
		struct probe_spot *s = &spots[i];

		s->kind = kind;
		s->addr += o->base;
		s->lo += s->hi ? o->base : 0;
		s->hi += s->hi ? o->base : 0;
		s->lo2 += s->hi2 ? o->base : 0;
		s->hi2 += s->hi2 ? o->base : 0;
	}
	p.offset = kind == PROBE_OFFSET ? spots->addr - p.func : 0;
	snprintf(p.name, sizeof(p.name), "%s", name_of(kind, p.offset, hex, sizeof(hex)));
	rc = m->fn(m->arg, &p);
	m->count += !rc;
	return rc;
}

/* --- one function ------------------------------------------------------------------- */

static int match_returns(struct matching *m, const struct function *f)
{
	int rc = returns_find(&m->text, f, &m->spots);

	if (!rc && m->spots.n)
		return tell(m, PROBE_RETURN, f, m->spots.v, m->spots.n);
	if (!rc && is_exact(m) && m->spots.cut)
		complain(m, "function '%s' is not code from offset 0x%llx on",
			 m->d->function, (unsigned long long)m->spots.cut_at);
	else if (!rc && is_exact(m))
		complain(m, "function '%s' never returns", m->d->function);
	return rc;
}

static int match_glob(struct matching *m, const struct function *f)
{
	int rc = returns_instructions(&m->text, f, &m->spots);
	char hex[24];

	for (size_t i = 0; i < m->spots.n && !rc; i++) {
		struct probe_spot *s = &m->spots.v[i];

		name_of(PROBE_OFFSET, s->addr - f->addr, hex, sizeof(hex));
		if (!fnmatch(m->want.glob, hex, 0))
			rc = tell(m, PROBE_OFFSET, f, s, 1);
	}
	return rc;
}

static int match_offset_in(struct matching *m, const struct function *f)
{
	uint64_t addr = f->addr + m->want.offset;
	unsigned long long offset = m->want.offset;
	int rc;

	if (m->want.offset >= f->size) {
		if (is_exact(m))
			complain(m, "offset 0x%llx outside of function '%s'", offset,
				 m->d->function);
		return 0;
	}
	rc = returns_instructions(&m->text, f, &m->spots);
	for (size_t i = 0; i < m->spots.n && !rc; i++)
		if (m->spots.v[i].addr == addr)
			return tell(m, PROBE_OFFSET, f, &m->spots.v[i], 1);
	if (!rc && is_exact(m))
		complain(m, "offset 0x%llx is not aligned on an instruction", offset);
	return rc;
}

static int match_function(struct matching *m, const struct function *f)
{
	struct probe_spot first = { 0 };
	int rc = 0;

	if (m->want.entry) {
		first.addr = prologue_entry(&m->text, f);
		rc = tell(m, PROBE_ENTRY, f, &first, 1);
	}
	if (!rc && m->want.returns)
		rc = match_returns(m, f);
	if (!rc && m->want.glob)
		rc = match_glob(m, f);
	if (!rc && m->want.one)
		rc = match_offset_in(m, f);
	return rc;
}

/* `-`: an address of the process. Where a function is known, at one of its
 * instructions. */
static int match_absolute(struct matching *m)
{
	unsigned long long addr = m->want.offset;
	uint64_t at = m->want.offset - m->text.o->base;
	struct function f = { .name = MATCH_ABSOLUTE, .addr = 0 - m->text.o->base }, in;
	struct probe_spot spot = { .addr = at };
	int rc = 0;

	if (!text_segment(&m->text, at)) {
		complain(m, "offset 0x%llx outside of function '-'", addr);
		return 0;
	}
	if (functions_at(&m->text, at, &in) && at - in.addr < in.size) {
		rc = returns_instructions(&m->text, &in, &m->spots);
		for (size_t i = 0; i < m->spots.n && !rc; i++)
			if (m->spots.v[i].addr == at)
				return tell(m, PROBE_OFFSET, &f, &spot, 1);
		if (!rc)
			complain(m, "offset 0x%llx is not aligned on an instruction",
				 addr);
		return rc;
	}
	return tell(m, PROBE_OFFSET, &f, &spot, 1);
}

/* --- one object --------------------------------------------------------------------- */

/* Is it code of our own CPU? */
static bool is_native(const struct obj *file)
{
	return obj_machine(file) == arch_native->elf_machine &&
	       obj_class(file) == ELFCLASS64;
}

static int match_functions(struct matching *m)
{
	struct functions found = { 0 };
	int rc = functions_find(&m->text, m->d->function, &found);

	if (!rc && !found.n && is_exact(m))
		complain(m, "failed to lookup '%s' in module '%s'", m->d->function,
			 m->d->module);
	for (size_t i = 0; i < found.n && !rc; i++)
		rc = match_function(m, &found.v[i]);
	functions_fini(&found);
	return rc;
}

static void complain_module(struct matching *m, const char *what,
			    const struct image_object *o)
{
	if (!match_is_glob(m->d->module))
		complain(m, "module '%s' %s", o->name, what);
}

static int match_object(struct matching *m, const struct image_object *o)
{
	int rc = text_init(&m->text, m->im, o);

	if (rc == -ENOMEM)
		return rc;
	if (rc)
		complain_module(m, "cannot be read", o);
	else if (!is_native(m->text.file))
		complain_module(m, "is not code of this CPU", o);
	else if (!strcmp(m->d->function, MATCH_ABSOLUTE))
		rc = match_absolute(m);
	else
		rc = match_functions(m);
	text_fini(&m->text);
	return rc == -ENOENT || rc == -EACCES || rc == -ENOEXEC ? 0 : rc;
}

/* --- which objects ------------------------------------------------------------------ */

static bool begins_with(const char *base, const char *name)
{
	size_t n = strlen(name);

	if (!n || strncmp(base, name, n))
		return false;
	return !base[n] || base[n] == '.' ||
	       (base[n] == '-' && base[n + 1] >= '0' && base[n + 1] <= '9');
}

static bool fits(const struct image_object *o, const char *module)
{
	if (begins_with(o->name, module) || !strcmp(o->path, module))
		return true;
	if (!strcmp(module, MATCH_PROGRAM))
		return o->is_exec;
	if (!match_is_glob(module) || o->path[0] == '[')
		return false;
	return !fnmatch(module, strchr(module, '/') ? o->path : o->name, 0);
}

static bool has_base(const struct matching *m, uint64_t base)
{
	for (size_t i = 0; i < m->nbases; i++)
		if (m->bases[i] == base)
			return true;
	return !m->bases;
}

static bool is_meant(const struct matching *m, const struct image_object *o)
{
	return has_base(m, o->base) && (!m->d->has_lmid || o->lmid == m->d->lmid);
}

/* By the name that its link map gives, if nothing fits. */
static int match_linked(struct matching *m)
{
	long lmid = m->d->has_lmid ? m->d->lmid : IMAGE_ANY_LMID;
	const struct image_object *o = image_object_named(m->im, lmid, m->d->module);

	return o && is_meant(m, o) ? match_object(m, o) : 0;
}

static int match_objects(struct matching *m)
{
	const struct image_object *o;
	size_t n, fitting = 0;
	int rc = 0;

	o = image_objects(m->im, &n);
	for (size_t i = 0; i < n && !rc; i++) {
		if (!fits(&o[i], m->d->module))
			continue;
		fitting++;
		if (is_meant(m, &o[i]))
			rc = match_object(m, &o[i]);
	}
	return fitting || rc ? rc : match_linked(m);
}

/* Is each of the bases in the snapshot? */
static bool has_bases(struct image *im, const uint64_t *bases, size_t nbases)
{
	const struct image_object *o;
	size_t n, found = 0;

	o = image_objects(im, &n);
	for (size_t k = 0; bases && k < nbases; k++)
		for (size_t i = 0; i < n; i++)
			if (o[i].base == bases[k]) {
				found++;
				break;
			}
	return bases && found == nbases;
}

/* That of the handle shows objects that its caller has just been told of. */
static struct image *take(struct ps_prochandle *P, const uint64_t *bases, size_t nbases)
{
	struct image *im = bases ? Pimage(P) : NULL;

	if (im && has_bases(im, bases, nbases))
		return im;
	image_unref(im);
	return Pimage_current(P);
}

int probe_match(struct ps_prochandle *P, const struct probe_desc *d,
		const uint64_t *bases, size_t nbases, probe_fn *fn, void *arg, char *err,
		size_t size)
{
	struct matching m = {
		.im = take(P, bases, nbases),
		.d = d,
		.want = want(d->name),
		.bases = bases,
		.nbases = nbases,
		.fn = fn,
		.arg = arg,
		.err = err,
		.size = size,
	};
	int rc;

	if (!m.im) {
		rc = -errno;
		snprintf(err, size, "failed to read its objects: %s", strerror(errno));
		return rc;
	}
	rc = match_objects(&m);
	returns_fini(&m.spots);
	image_unref(m.im);
	if (rc < 0)
		complain(&m, "failed to match '%s': %s", d->text, strerror(-rc));
	if (rc)
		return rc;
	return m.count || !m.failed ? m.count : -ENOENT;
}
