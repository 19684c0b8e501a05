/* SPDX-License-Identifier: MIT */
/*
 * Theory: for each function that was asked for its returns are watched too; a return
 * that belongs to an entry has a duration. Returns without an entry (the call had begun
 * before us) are counted, not timed. A duration includes what the probes of functions
 * that it called have cost.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "histogram.h"
#include "json.h"
#include "options.h"
#include "output.h"
#include "readable.h"
#include "tracing.h"

/* One function. */
struct timed {
	const dtrace_probe_t *probe; /* its returns */
	struct histogram h;          /* durations */
	uint64_t unmatched;          /* returns without an entry */
};

/* One run. */
struct timing {
	struct tracing t;  /* what and how long */
	bool json;         /* --json */
	struct timed **by; /* by probe id, NULL none; owned, each too */
	size_t room;       /* ids there */
};

static struct timed *obtain(struct timing *c, const dtrace_probe_t *probe)
{
	if (probe->id >= c->room) {
		size_t room = (probe->id + 1) * 2;
		struct timed **v = options_alloc(room, sizeof(*v));

		if (c->room)
			memcpy(v, c->by, c->room * sizeof(*v));
		free(c->by);
		c->by = v;
		c->room = room;
	}
	if (!c->by[probe->id]) {
		c->by[probe->id] = options_alloc(1, sizeof(**c->by));
		c->by[probe->id]->probe = probe;
	}
	return c->by[probe->id];
}

static void on_event(void *arg, const dtrace_probe_event_t *ev)
{
	struct timing *c = arg;
	struct timed *f;

	if (ev->probe->kind != DTRACE_PROBE_RETURN)
		return;
	f = obtain(c, ev->probe);
	if (ev->matched)
		histogram_add(&f->h, ev->duration_ns);
	else
		f->unmatched++;
}

/* Most time first. */
static int by_sum(const void *a, const void *b)
{
	const struct timed *x = *(struct timed *const *)a, *y = *(struct timed *const *)b;

	if (x->h.sum != y->h.sum)
		return x->h.sum > y->h.sum ? -1 : 1;
	return (x->probe->id > y->probe->id) - (x->probe->id < y->probe->id);
}

static unsigned long long mean(const struct histogram *h)
{
	return h->n ? h->sum / h->n : 0;
}

static void print_text(const struct timed *f)
{
	const struct histogram *h = &f->h;

	output("\n%s", colour(COLOUR_HEAD));
	output_escaped(f->probe->module);
	output("`");
	readable_function(f->probe->function);
	output("%s (pid %d)\n", colour(COLOUR_NONE), (int)f->probe->pid);
	histogram_print(h);
	output("%16s  count %llu, sum %llu, mean %llu, min %llu, p50 %llu, p99 %llu, "
	       "max %llu ns\n",
	       "", (unsigned long long)h->n, (unsigned long long)h->sum, mean(h),
	       (unsigned long long)h->min, (unsigned long long)histogram_at(h, 0.5),
	       (unsigned long long)histogram_at(h, 0.99), (unsigned long long)h->max);
	if (f->unmatched)
		output("%16s  %llu returns of calls that had begun before\n", "",
		       (unsigned long long)f->unmatched);
}

static void print_json(const struct timed *f)
{
	const struct histogram *h = &f->h;
	const char *comma = "";

	output("{\"pid\":%d", (int)f->probe->pid);
	json_member("module", f->probe->module);
	json_member("function", f->probe->function);
	json_number("count", (long long)h->n);
	json_number("sum_ns", (long long)h->sum);
	json_number("mean_ns", (long long)mean(h));
	json_number("min_ns", (long long)h->min);
	json_number("p50_ns", (long long)histogram_at(h, 0.5));
	json_number("p99_ns", (long long)histogram_at(h, 0.99));
	json_number("max_ns", (long long)h->max);
	json_number("unmatched", (long long)f->unmatched);
	output(",\"log2_ns\":{");
	for (unsigned i = 0; i < 64; i++) {
		if (!histogram_power(h, i))
			continue;
		output("%s\"%llu\":%llu", comma, 1ull << i,
		       (unsigned long long)histogram_power(h, i));
		comma = ",";
	}
	output("}}\n");
}

/* What has come is told, and forgotten: -i begins anew each time. */
static void report(struct tracing *t)
{
	struct timing *c = t->arg;
	size_t n = 0;

	for (size_t i = 0; i < c->room; i++)
		if (c->by[i])
			c->by[n++] = c->by[i];
	if (n)
		qsort(c->by, n, sizeof(*c->by), by_sum);
	for (size_t i = 0; i < n; i++) {
		if (c->json)
			print_json(c->by[i]);
		else
			print_text(c->by[i]);
		free(c->by[i]);
	}
	free(c->by);
	c->by = NULL;
	c->room = 0;
}

/* What follows the provider, `pid$target:` or `pid1234:`; text when there is none. */
static const char *body_of(const char *text)
{
	const char *colon = strchr(text, ':');

	if (strncmp(text, "pid", 3) || !colon)
		return text;
	if (!strncmp(text + 3, "$target", (size_t)(colon - text) - 3) ||
	    text + 3 + strspn(text + 3, "0123456789") == colon)
		return colon + 1;
	return text;
}

/* The colon before the name of a description: the first behind the module's that is
 * alone, since pairs belong to names of C++ (src/probe/parse.c). NULL: none. */
static const char *name_colon(const char *body)
{
	const char *at = strchr(body, ':');

	if (!at)
		return NULL;
	for (at++; *(at += strcspn(at, ":")); at += 2)
		if (at[1] != ':')
			return at;
	return NULL;
}

/* The returns of what a description names: its name, `entry` or none, becomes
 * `return`. */
static char *returns_of(const struct command *cmd, const char *text)
{
	const char *body = body_of(text), *last = name_colon(body);
	char *made = options_alloc(strlen(text) + 16, 1);

	if (!strchr(body, ':'))
		sprintf(made, "*:%s:return", text);
	else if (!last)
		sprintf(made, "%s:return", text);
	else if (!last[1] || !strcmp(last + 1, "entry"))
		sprintf(made, "%.*sreturn", (int)(last + 1 - text), text);
	else
		usage_error(cmd, "%s: it is functions that take time; leave out `%s'",
			    text, last);
	return made;
}

static char *entries_of(const char *text)
{
	const char *last = name_colon(body_of(text));
	char *made = options_alloc(strlen(text) + 8, 1);

	/* in the full form no name means all names */
	sprintf(made, "%s%s", text, last && !last[1] ? "entry" : "");
	return made;
}

static void want_both(struct timing *c)
{
	size_t n = c->t.nprobes;
	const char **v = options_alloc(2 * n, sizeof(*v));

	for (size_t i = 0; i < n; i++) {
		v[2 * i] = entries_of(c->t.probes[i]);
		v[2 * i + 1] = returns_of(c->t.cmd, c->t.probes[i]);
	}
	free(c->t.probes);
	c->t.probes = v;
	c->t.nprobes = 2 * n;
}

static int run_time(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		TRACING_LONG,
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	struct timing c = { .t = { .event = on_event, .tick = report } };
	int opt;

	c.t.arg = &c;
	argc = tracing_begin(&c.t, self, argc, argv);
	while ((opt = options_next(self, argc, argv, ":i:j" TRACING_SHORT, longs)) !=
	       -1) {
		if (opt == 'k')
			usage_error(self, "durations have no stacks");
		else if (opt == 'i')
			c.t.every_ms = options_seconds(self, optarg);
		else if (opt == 'j')
			c.json = true;
		else
			tracing_option(&c.t, opt, optarg);
	}
	tracing_operands(&c.t, argc, argv);
	want_both(&c);
	c.t.opts.want = DTRACE_PROBE_EVENTS;
	return tracing_end(&c.t, tracing_run(&c.t));
}

const struct command command_time = {
	.name = "time",
	.summary = "show how long functions take",
	.synopsis = "[OPTION...] {-p PID | -c 'COMMAND'}... FUNCTION... [-- COMMAND...]",
	.help = "Prints, for each function that was called, a histogram of its durations "
		"by powers\n"
		"of two, in ns, with count, sum, mean, p50 and p99 (right to 6 %). "
		"FUNCTION:\n"
		"`libc:malloc', `pid$target:a.out:m*:'; see pgrab-probes(1).\n\n"
		"Options:\n" TRACING_HELP
		"  -i SECS            print what has come each SECS seconds\n"
		"  -j, --json         a JSON object a line\n"
		"\n"
		"Examples:\n"
		"  pgrab time -c 'ls -lR /usr/share/doc' libc:malloc\n"
		"  pgrab time -p 1234 -d 5 'a.out:handle_*'\n",
	.run = run_time,
};
