/* SPDX-License-Identifier: MIT */
/*
 * An object a line for each process, whatever names it has: every line is valid JSON. All
 * keys are always there; what is not known is null.
 */
#include "dump.h"
#include "json.h"
#include "output.h"
#include "task.h"

static void print_text(const char *key, const char *text)
{
	if (text)
		json_member(key, text);
	else
		output(",\"%s\":null", key);
}

static void print_source(const struct place_source *s)
{
	print_text("file", s ? s->file : NULL);
	if (s && s->line)
		json_number("line", s->line);
	else
		output(",\"line\":null");
}

static void print_inlined(const struct place *p, const struct dump_frame *f)
{
	for (size_t i = 0; i + 1 < p->nsources; i++) {
		output("{\"pc\":\"0x%lx\"", (unsigned long)f->pc);
		print_text("module", p->module);
		print_text("function", p->sources[i].function);
		output(",\"offset\":null");
		print_source(&p->sources[i]);
		output(",\"inline\":true},");
	}
}

static void print_frame(const struct dump *d, const struct dump_frame *f,
			const struct dump_options *o)
{
	const struct place *p = &d->places.list[f->place];

	if (o->inlines)
		print_inlined(p, f);
	output("{\"pc\":\"0x%lx\"", (unsigned long)f->pc);
	print_text("module", p->module);
	print_text("function", p->function);
	if (p->function)
		json_number("offset", (long long)(f->pc - p->start));
	else
		output(",\"offset\":null");
	print_source(p->nsources ? &p->sources[p->nsources - 1] : NULL);
	output(",\"inline\":false}");
}

static void print_thread(const struct dump *d, const struct dump_options *o,
			 const struct dump_thread *t)
{
	size_t shown = dump_shown(t, o);

	output("{\"tid\":%d", t->lwp.pr_lwpid);
	json_member("name", t->lwp.pr_name);
	json_member("state", task_state(t->lwp.pr_sname));
	output(",\"frames\":[");
	for (size_t i = 0; i < shown; i++) {
		output("%s", i ? "," : "");
		print_frame(d, &d->frames[t->first + i], o);
	}
	output("],\"truncated\":%s}",
	       t->truncated || shown < t->n || !t->n ? "true" : "false");
}

void dump_print_json(const struct dump *d, const struct dump_options *o)
{
	output("{\"pid\":%d", d->pid);
	json_member("comm", d->comm);
	json_number("pause_ns", (long long)d->pause_ns);
	output(",\"threads\":[");
	for (size_t i = 0; i < d->nthreads && !output_failed(); i++) {
		output("%s", i ? "," : "");
		print_thread(d, o, &d->threads[i]);
	}
	output("]}\n");
	output_flush();
}
