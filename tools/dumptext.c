/* SPDX-License-Identifier: MIT */
/*
 * Theory: who looks at a hung process wants to see what its threads wait for, not a
 * thousand times the same. Threads whose frames are in the same functions, in the same
 * state, are one group; groups stand in the order of their first thread, so the main
 * thread comes first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "output.h"
#include "target.h"
#include "task.h"

/* Threads with the same stack. */
struct group {
	size_t first;  /* index of one of them */
	size_t n;      /* how many */
	uint64_t hash; /* of what they have in common */
};

/* All groups of a process. */
struct groups {
	struct group *list; /* allocated */
	size_t n;           /* how many */
	size_t *of;         /* by thread: index of its group; allocated */
};

/* --- grouping ----------------------------------------------------------------------- */

/* What must be the same: the function, or the very place when lines are shown. */
static uintptr_t identity(const struct dump *d, const struct dump_thread *t, size_t i,
			  const struct dump_options *o)
{
	const struct place *p = &d->places.list[d->frames[t->first + i].place];

	return o->form == DUMP_GROUPS && (o->lines || o->inlines) ? p->at : p->start;
}

static uint64_t hash_thread(const struct dump *d, const struct dump_thread *t,
			    const struct dump_options *o)
{
	uint64_t h = o->form == DUMP_GROUPS ? (unsigned char)t->lwp.pr_sname : 0;

	for (size_t i = 0; i < dump_shown(t, o); i++)
		h = (h ^ identity(d, t, i, o)) * 0x100000001b3ull + (h >> 29);
	return h;
}

static bool same_stack(const struct dump *d, const struct dump_thread *a,
		       const struct dump_thread *b, const struct dump_options *o)
{
	size_t n = dump_shown(a, o);

	if (n != dump_shown(b, o) || dump_remark(a) != dump_remark(b))
		return false;
	if (o->form == DUMP_GROUPS &&
	    (a->lwp.pr_sname != b->lwp.pr_sname || a->n != b->n ||
	     a->lwp.pr_cursig != b->lwp.pr_cursig))
		return false;
	for (size_t i = 0; i < n; i++)
		if (identity(d, a, i, o) != identity(d, b, i, o))
			return false;
	return true;
}

static void put_in_group(const struct dump *d, const struct dump_options *o,
			 struct groups *g, size_t thread)
{
	const struct dump_thread *t = &d->threads[thread];
	uint64_t hash = hash_thread(d, t, o);
	size_t i = 0;

	while (i < g->n && (g->list[i].hash != hash ||
			    !same_stack(d, &d->threads[g->list[i].first], t, o)))
		i++;
	if (i == g->n)
		g->list[g->n++] = (struct group){ .first = thread, .hash = hash };
	g->list[i].n++;
	g->of[thread] = i;
}

static bool make_groups(const struct dump *d, const struct dump_options *o,
			struct groups *ret)
{
	*ret = (struct groups){ .list = calloc(d->nthreads, sizeof(*ret->list)),
				.of = calloc(d->nthreads, sizeof(*ret->of)) };
	if (!ret->list || !ret->of) {
		complain("out of memory");
		return false;
	}
	for (size_t i = 0; i < d->nthreads; i++)
		put_in_group(d, o, ret, i);
	return true;
}

static void free_groups(struct groups *g)
{
	free(g->list);
	free(g->of);
}

/* --- for people --------------------------------------------------------------------- */

/* Of a core the signal stands for the state. */
static void print_state(const struct dump *d, const prcaplwp_t *l)
{
	char name[32];

	if (l->pr_sname != '?')
		output(" %s", task_state(l->pr_sname));
	else if (l->pr_cursig && target_is_file(d->P))
		output(" %s", proc_signame(l->pr_cursig, name, sizeof(name)));
}

static void print_name(const prcaplwp_t *l)
{
	if (!l->pr_name[0])
		return;
	output(" \"");
	output_escaped(l->pr_name);
	output("\"");
}

static void print_thread_heading(const struct dump *d, const struct dump_thread *t)
{
	output("%sthread %d", colour(COLOUR_HEAD), t->lwp.pr_lwpid);
	print_name(&t->lwp);
	print_state(d, &t->lwp);
	output("%s\n", colour(COLOUR_NONE));
}

/* The next member of group g after thread i; d->nthreads none. */
static size_t next_member(const struct dump *d, const struct groups *groups, size_t g,
			  size_t i)
{
	do
		i++;
	while (i < d->nthreads && groups->of[i] != g);
	return i;
}

/* "101-103 "worker", 105 "io"". */
static void print_members(const struct dump *d, const struct groups *groups, size_t g)
{
	const char *between = ": ";
	size_t i = groups->list[g].first;

	while (i < d->nthreads) {
		const prcaplwp_t *from = &d->threads[i].lwp, *to = from;

		while ((i = next_member(d, groups, g, i)) < d->nthreads) {
			const prcaplwp_t *l = &d->threads[i].lwp;

			if (l->pr_lwpid != to->pr_lwpid + 1 ||
			    strcmp(l->pr_name, from->pr_name) != 0)
				break;
			to = l;
		}
		output("%s%d", between, from->pr_lwpid);
		if (to != from)
			output("-%d", to->pr_lwpid);
		print_name(from);
		between = ", ";
	}
}

static void print_group_heading(const struct dump *d, const struct groups *groups,
				size_t g)
{
	const struct group *group = &groups->list[g];
	const struct dump_thread *t = &d->threads[group->first];

	if (group->n == 1) {
		print_thread_heading(d, t);
		return;
	}
	output("%s%zu threads", colour(COLOUR_HEAD), group->n);
	print_state(d, &t->lwp);
	print_members(d, groups, g);
	output("%s\n", colour(COLOUR_NONE));
}

static void print_line(const struct place_source *s)
{
	if (!s || !s->file)
		return;
	output(" at ");
	output_escaped(s->file);
	if (s->line)
		output(":%u", s->line);
}

static void print_module(const struct place *p)
{
	if (!p->module)
		return;
	output("%s (", colour(COLOUR_DIM));
	output_escaped(p->module);
	output(")%s", colour(COLOUR_NONE));
}

/* Calls that were inlined at this place, the innermost first; the frame's own follows. */
static void print_inlined(const struct place *p)
{
	for (size_t i = 0; i + 1 < p->nsources; i++) {
		output("  #    ");
		output_escaped(p->sources[i].function ?: "?");
		output(" (inlined)");
		print_line(&p->sources[i]);
		output("\n");
	}
}

static void print_frame(const struct dump *d, size_t number, const struct dump_frame *f,
			const struct dump_options *o)
{
	const struct place *p = &d->places.list[f->place];
	const struct place_source *own =
		p->nsources ? &p->sources[p->nsources - 1] : NULL;

	if (f->flags & PRFRAME_SIGNAL) {
		output("  #%-3zu<signal handler called>\n", number);
		return;
	}
	if (o->inlines)
		print_inlined(p);
	output("  #%-3zu", number);
	if (p->function)
		output_escaped(p->function);
	else
		output("0x%lx", (unsigned long)f->pc);
	print_module(p);
	print_line(own);
	output("\n");
}

/* What follows the frames that are shown. */
static void print_end(const struct dump_thread *t, const struct dump_options *o)
{
	size_t hidden = t->n - dump_shown(t, o);
	const char *remark = dump_remark(t);

	if (hidden)
		output("  (%zu frame%s more)\n", hidden, hidden == 1 ? "" : "s");
	else if (*remark)
		output("  (%s)\n", remark);
}

void dump_print_groups(const struct dump *d, const struct dump_options *o)
{
	struct groups groups;

	if (make_groups(d, o, &groups))
		for (size_t g = 0; g < groups.n && !output_failed(); g++) {
			const struct dump_thread *t = &d->threads[groups.list[g].first];

			print_group_heading(d, &groups, g);
			for (size_t i = 0; i < dump_shown(t, o); i++)
				print_frame(d, i, &d->frames[t->first + i], o);
			print_end(t, o);
		}
	free_groups(&groups);
}

/* --- for programs ------------------------------------------------------------------- */

static void print_raw_frame(const struct dump *d, const struct dump_frame *f)
{
	const struct place *p = &d->places.list[f->place];

	output("  0x%016lx ", (unsigned long)f->pc);
	if (p->module) {
		output_escaped(p->module);
		output("`");
	}
	if (!p->function)
		output("0x%lx", (unsigned long)f->pc);
	else
		output_escaped(p->function);
	if (p->function && f->pc != p->start)
		output("+0x%lx", (unsigned long)(f->pc - p->start));
	print_line(p->nsources ? &p->sources[p->nsources - 1] : NULL);
	output("\n");
}

static void print_raw(const struct dump *d, const struct dump_options *o)
{
	for (size_t i = 0; i < d->nthreads && !output_failed(); i++) {
		const struct dump_thread *t = &d->threads[i];

		print_thread_heading(d, t);
		for (size_t k = 0; k < dump_shown(t, o); k++)
			print_raw_frame(d, &d->frames[t->first + k]);
		print_end(t, o);
	}
}

/* A name between semicolons. */
static void print_folded_name(const char *name)
{
	for (size_t len; *name; name += len) {
		len = strcspn(name, ";");
		output_escaped_bytes(name, len);
		if (name[len]) {
			output(":");
			len++;
		}
	}
}

static void print_folded_frame(const struct dump *d, const struct dump_frame *f)
{
	const struct place *p = &d->places.list[f->place];

	output(";");
	if (p->function) {
		print_folded_name(p->function);
		return;
	}
	if (p->module) {
		print_folded_name(p->module);
		output("`");
	}
	output("0x%lx", (unsigned long)f->pc);
}

static void print_folded(const struct dump *d, const struct dump_options *o)
{
	struct groups groups;

	if (make_groups(d, o, &groups))
		for (size_t g = 0; g < groups.n && !output_failed(); g++) {
			const struct dump_thread *t = &d->threads[groups.list[g].first];

			print_folded_name(d->comm);
			for (size_t i = dump_shown(t, o); i > 0; i--)
				print_folded_frame(d, &d->frames[t->first + i - 1]);
			output(" %zu\n", groups.list[g].n);
		}
	free_groups(&groups);
}

void dump_print(const struct dump *d, const struct dump_options *o)
{
	static void (*const forms[])(const struct dump *, const struct dump_options *) = {
		[DUMP_GROUPS] = dump_print_groups,
		[DUMP_RAW] = print_raw,
		[DUMP_FOLDED] = print_folded,
		[DUMP_JSON] = dump_print_json,
	};

	forms[o->form](d, o);
}
