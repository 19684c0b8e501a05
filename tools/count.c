/* SPDX-License-Identifier: MIT */
/*
 * Theory: without stacks nobody tells us of a hit, whoever watches counts by himself, and
 * the numbers are read when they are printed. With -k each hit comes as an event, and
 * rows are counted here (tally.c); hits that came too fast to be told are counted all the
 * same, and are a row without a stack.
 *
 * With -i a report has what came since the last one.
 */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "options.h"
#include "output.h"
#include "profile.h"
#include "readable.h"
#include "tally.h"
#include "tracing.h"

/* How the rows are printed. */
enum format {
	FORMAT_TEXT,
	FORMAT_JSON,
	FORMAT_FOLDED
};

/* One run. */
struct count {
	struct tracing t;       /* what and how long */
	enum format format;     /* --json, --folded */
	const char *pprof;      /* --pprof FILE, or NULL */
	const char *speedscope; /* --speedscope FILE, or NULL */
	struct tally rows;      /* of this report, by probe and stack */
	uint64_t *before;       /* by probe id: hits that have been reported; owned */
	size_t nbefore;         /* ids there */
	bool all;               /* -a: functions without a hit too */
	uint64_t total;         /* hits of this report */
	bool failed;            /* a profile could not be written */
};

/* Room for the hits of a probe that have been reported. */
static uint64_t *before(struct count *c, const dtrace_probe_t *probe)
{
	size_t n = (probe->id + 1) * 2;
	uint64_t *v;

	if (probe->id < c->nbefore)
		return &c->before[probe->id];
	v = options_alloc(n, sizeof(*v));
	if (c->nbefore)
		memcpy(v, c->before, c->nbefore * sizeof(*v));
	free(c->before);
	c->before = v;
	c->nbefore = n;
	return &v[probe->id];
}

static void on_event(void *arg, const dtrace_probe_event_t *ev)
{
	struct count *c = arg;

	tally_event(&c->rows, ev);
	++*before(c, ev->probe);
}

/* What has been counted and is in no row yet: with stacks, hits that were not told. */
static int take_count(void *arg, const dtrace_probe_t *probe, uint64_t hits)
{
	struct count *c = arg;
	uint64_t *reported = before(c, probe), fresh = hits - *reported;

	*reported = hits;
	if (fresh || c->all)
		tally_count(&c->rows, probe, fresh);
	return 0;
}

/* --- printing ----------------------------------------------------------------------- */

static void print_name(const dtrace_probe_t *p)
{
	output_escaped(p->module);
	output("`");
	readable_function(p->function);
	if (p->kind != DTRACE_PROBE_ENTRY)
		output(":%s", p->name);
}

/* Are they of more than one process? */
static bool of_several(const struct tally *t)
{
	for (size_t i = 1; i < t->n; i++)
		if (t->v[i].probe->pid != t->v[0].probe->pid)
			return true;
	return false;
}

static void print_text(const struct count *c)
{
	bool several = of_several(&c->rows);

	for (size_t i = 0; i < c->rows.n; i++) {
		const struct tally_row *r = &c->rows.v[i];

		output("%10llu  ", (unsigned long long)r->hits);
		if (several)
			output("%7d ", (int)r->probe->pid);
		print_name(r->probe);
		output("\n");
		for (unsigned k = 0; k < r->nframes; k++) {
			output("            ");
			readable_frame(r->frames[k]);
			output("\n");
		}
		if (r->nframes && r->cut)
			output("            …\n");
	}
	output("%10llu  in all\n", (unsigned long long)c->total);
}

static void print_json(const struct count *c)
{
	for (size_t i = 0; i < c->rows.n; i++) {
		const struct tally_row *r = &c->rows.v[i];

		output("{\"pid\":%d", (int)r->probe->pid);
		json_member("module", r->probe->module);
		json_member("function", r->probe->function);
		json_member("name", r->probe->name);
		json_number("count", (long long)r->hits);
		output(",\"stack\":[");
		for (unsigned k = 0; k < r->nframes; k++) {
			output(k ? "," : "");
			json_string(r->frames[k]);
		}
		output("]}\n");
	}
}

/* A name in a folded line: neither separators nor what upsets a terminal. */
static void print_folded_name(const char *text)
{
	char one[2] = "";

	for (; *text; text++) {
		one[0] = *text == ';' ? ':' : *text;
		output_escaped(one);
	}
}

/* A frame without its offset: flame graphs are of functions. */
static void print_folded_frame(const char *text)
{
	char name[4096];
	size_t n = profile_name(text);

	if (n >= sizeof(name))
		n = sizeof(name) - 1;
	memcpy(name, text, n);
	name[n] = '\0';
	print_folded_name(name);
}

static void print_folded(const struct count *c)
{
	for (size_t i = 0; i < c->rows.n; i++) {
		const struct tally_row *r = &c->rows.v[i];

		for (unsigned k = r->nframes; k-- > 1;) {
			print_folded_frame(r->frames[k]);
			output(";");
		}
		print_name(r->probe);
		output(" %llu\n", (unsigned long long)r->hits);
	}
}

static bool export(struct count *c)
{
	bool good = true;

	if (c->pprof)
		good = profile_pprof(c->pprof, &c->rows);
	if (c->speedscope)
		good = profile_speedscope(c->speedscope, &c->rows) && good;
	return good;
}

static void report(struct tracing *t)
{
	struct count *c = t->arg;

	c->total = 0;
	if (t->opts.want == DTRACE_PROBE_COUNT || t->over)
		dtrace_probes_iter(t->set, take_count, c);
	tally_sort(&c->rows);
	for (size_t i = 0; i < c->rows.n; i++)
		c->total += c->rows.v[i].hits;
	if (c->format == FORMAT_JSON)
		print_json(c);
	else if (c->format == FORMAT_FOLDED)
		print_folded(c);
	else
		print_text(c);
	c->failed = !export(c) || c->failed;
	tally_clear(&c->rows);
}

/* --- the command line --------------------------------------------------------------- */

enum {
	OPT_FOLDED = 256,
	OPT_PPROF,
	OPT_SPEEDSCOPE
};

static void own_option(struct count *c, int opt)
{
	switch (opt) {
	case 'i':
		c->t.every_ms = options_seconds(c->t.cmd, optarg);
		break;
	case 'a':
		c->all = true;
		break;
	case 'j':
		c->format = FORMAT_JSON;
		break;
	case OPT_FOLDED:
		c->format = FORMAT_FOLDED;
		break;
	case OPT_PPROF:
		c->pprof = optarg;
		break;
	case OPT_SPEEDSCOPE:
		c->speedscope = optarg;
		break;
	default:
		break;
	}
}

static int run_count(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		TRACING_LONG,
		{ "json", no_argument, NULL, 'j' },
		{ "all", no_argument, NULL, 'a' },
		{ "folded", no_argument, NULL, OPT_FOLDED },
		{ "pprof", required_argument, NULL, OPT_PPROF },
		{ "speedscope", required_argument, NULL, OPT_SPEEDSCOPE },
		{ 0 },
	};
	struct count c = { .t = { .tick = report, .event = on_event } };
	bool ran;
	int opt, status;

	c.t.arg = &c;
	argc = tracing_begin(&c.t, self, argc, argv);
	while ((opt = options_next(self, argc, argv, ":i:ja" TRACING_SHORT, longs)) != -1)
		if (!tracing_option(&c.t, opt, optarg))
			own_option(&c, opt);
	tracing_operands(&c.t, argc, argv);
	if (c.t.every_ms && (c.pprof || c.speedscope))
		usage_error(self, "a profile is of the whole: not together with -i");
	ran = tracing_run(&c.t);
	status = tracing_end(&c.t, ran);
	free(c.before);
	return c.failed && status == EXIT_DONE ? EXIT_FAILED : status;
}

const struct command command_count = {
	.name = "count",
	.summary = "count the calls of functions",
	.synopsis = "[OPTION...] {-p PID | -c 'COMMAND'}... PROBE... [-- COMMAND...]",
	.help = "Counts what the probes hit, and prints it, most hits first, when all "
		"processes are\n"
		"gone, at ^C, or as -d and -i say. What a command prints goes where it "
		"always went,\n"
		"and its exit status is ours. PROBE: `libc:malloc', `a.out:' (all of the "
		"program),\n"
		"`libc:m*:return', `pid$target:libc.so.6:write:entry'; see "
		"pgrab-probes(1)."
		"\n\n"
		"Options:\n" TRACING_HELP
		"  -i SECS            print what has come each SECS seconds\n"
		"  -a, --all          functions without a hit too\n"
		"  -j, --json         a JSON object a line\n"
		"  --folded           a line a stack, for flame graphs\n"
		"  --pprof FILE       write a profile for pprof\n"
		"  --speedscope FILE  write a profile for speedscope\n"
		"\n"
		"Examples:\n"
		"  pgrab count -c 'ls -lR /usr/share/doc' libc:malloc -k\n"
		"  pgrab count -p 1234 -d 5 'libc::entry'\n"
		"  pgrab count --folded -k -p 1234 -d 5 libc:write | flamegraph.pl > "
		"w.svg\n",
	.run = run_count,
};
