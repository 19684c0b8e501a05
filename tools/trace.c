/* SPDX-License-Identifier: MIT */
/*
 * Theory: one line an event, in the order in which a victim's events came, indented by
 * the traced calls around it in its thread. The header says what the columns are. Time is
 * from the first instruction that any target ran under us.
 *
 * Chrome's format wants begin and end of a call on one thread to nest; a return whose
 * entry was not seen is left out there.
 */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "options.h"
#include "output.h"
#include "readable.h"
#include "tracing.h"

/* How events are printed. */
enum format {
	FORMAT_TEXT,
	FORMAT_JSON,
	FORMAT_CHROME
};

enum {
	ARGS_DEFAULT = 3,  /* printed of an entry */
	DEPTH_MAX = 40,    /* calls by which a line is indented at most */
	TEXT_MAX = 1 << 18 /* bytes of a stack's text */
};

/* One run. */
struct trace {
	struct tracing t;   /* what and how long */
	enum format format; /* --json, --chrome */
	unsigned nargs;     /* --args */
	bool begun;         /* something has been printed */
};

/* --- text --------------------------------------------------------------------------- */

static void print_stack(const dtrace_probe_event_t *ev)
{
	static char text[TEXT_MAX];
	char *save = NULL, *line;

	dtrace_probe_stack(ev, text, sizeof(text));
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		output("%*s", 34, "");
		readable_frame(line);
		output("\n");
	}
	if (ev->npcs && ev->stack_cut)
		output("%*s…\n", 34, "");
}

/* 12 ns, 3.4 us, … */
static void print_duration(uint64_t ns)
{
	if (ns < 1000)
		output(" %llu ns", (unsigned long long)ns);
	else if (ns < 1000000)
		output(" %.1f us", (double)ns / 1e3);
	else if (ns < 1000000000)
		output(" %.2f ms", (double)ns / 1e6);
	else
		output(" %.3f s", (double)ns / 1e9);
}

static void print_args(const struct trace *tr, const dtrace_probe_event_t *ev)
{
	output("(");
	for (unsigned i = 0; i < tr->nargs && i < ev->nargs; i++)
		output("%s0x%llx", i ? ", " : "", (unsigned long long)ev->args[i]);
	output(")");
}

static void print_return(const dtrace_probe_event_t *ev)
{
	output(" = 0x%llx", (unsigned long long)ev->args[1]);
	if (ev->matched)
		print_duration(ev->duration_ns);
}

static double since(const struct tracing *t, uint64_t ns)
{
	return ns > t->began_ns ? (double)(ns - t->began_ns) / 1e9 : 0;
}

static void print_text(struct trace *tr, const dtrace_probe_event_t *ev)
{
	static const char *const arrow[] = {
		[DTRACE_PROBE_ENTRY] = "->",
		[DTRACE_PROBE_RETURN] = "<-",
		[DTRACE_PROBE_OFFSET] = "|",
	};
	const dtrace_probe_t *p = ev->probe;
	unsigned depth = ev->depth < DEPTH_MAX ? ev->depth : DEPTH_MAX;

	if (!tr->begun)
		output("%s%11s %7s %7s  CALL%s\n", colour(COLOUR_HEAD), "TIME(s)", "PID",
		       "TID", colour(COLOUR_NONE));
	output("%11.6f %7d %7d  %*s%s ", since(&tr->t, ev->time_ns), (int)ev->pid,
	       (int)ev->tid, (int)depth * 2, "", arrow[p->kind]);
	output_escaped(p->module);
	output("`");
	readable_function(p->function);
	if (p->kind == DTRACE_PROBE_RETURN) {
		print_return(ev);
	} else {
		if (p->kind == DTRACE_PROBE_OFFSET)
			output("+0x%s", p->name);
		print_args(tr, ev);
	}
	output("\n");
	print_stack(ev);
}

/* --- JSON --------------------------------------------------------------------------- */

static void json_stack(const dtrace_probe_event_t *ev)
{
	static char text[TEXT_MAX];
	char *save = NULL, *line;
	const char *comma = "";

	if (!ev->npcs)
		return;
	dtrace_probe_stack(ev, text, sizeof(text));
	output(",\"stack\":[");
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		output("%s", comma);
		json_string(line);
		comma = ",";
	}
	output("]");
	if (ev->stack_cut)
		output(",\"truncated\":true");
}

static void json_args(const struct trace *tr, const dtrace_probe_event_t *ev)
{
	output(",\"args\":[");
	for (unsigned i = 0; i < tr->nargs && i < ev->nargs; i++)
		output("%s\"0x%llx\"", i ? "," : "", (unsigned long long)ev->args[i]);
	output("]");
}

static void print_json(struct trace *tr, const dtrace_probe_event_t *ev)
{
	const dtrace_probe_t *p = ev->probe;

	output("{\"time\":%llu.%09llu", (unsigned long long)ev->time_ns / 1000000000,
	       (unsigned long long)ev->time_ns % 1000000000);
	json_number("pid", ev->pid);
	json_number("tid", ev->tid);
	json_member("module", p->module);
	json_member("function", p->function);
	json_member("name", p->name);
	json_number("depth", ev->depth);
	if (p->kind == DTRACE_PROBE_RETURN) {
		json_address("return", ev->args[1]);
		json_address("offset", ev->args[0]);
	} else {
		json_args(tr, ev);
	}
	if (ev->matched)
		json_number("duration_ns", (long long)ev->duration_ns);
	json_stack(ev);
	output("}\n");
}

static void print_chrome(struct trace *tr, const dtrace_probe_event_t *ev)
{
	const dtrace_probe_t *p = ev->probe;

	if (p->kind == DTRACE_PROBE_RETURN && !ev->matched)
		return;
	output(tr->begun ? ",\n{\"name\":" : "{\"traceEvents\":[\n{\"name\":");
	json_string(p->function);
	json_member("cat", p->module);
	json_member("ph", p->kind == DTRACE_PROBE_ENTRY    ? "B"
			  : p->kind == DTRACE_PROBE_RETURN ? "E"
							   : "i");
	output(",\"ts\":%.3f", (double)ev->time_ns / 1e3);
	json_number("pid", ev->pid);
	json_number("tid", ev->tid);
	if (p->kind == DTRACE_PROBE_OFFSET)
		output(",\"s\":\"t\"");
	output(",\"args\":{\"probe\":");
	json_string(p->name);
	if (p->kind == DTRACE_PROBE_RETURN)
		json_address("return", ev->args[1]);
	else
		json_args(tr, ev);
	output("}}");
	tr->begun = true;
}

static void on_event(void *arg, const dtrace_probe_event_t *ev)
{
	struct trace *tr = arg;

	if (tr->format == FORMAT_JSON)
		print_json(tr, ev);
	else if (tr->format == FORMAT_CHROME)
		print_chrome(tr, ev);
	else
		print_text(tr, ev);
	if (tr->format != FORMAT_CHROME)
		tr->begun = true;
}

/* Hits come in batches: a batch leaves at once. */
static void at_end(struct tracing *t)
{
	const struct trace *tr = t->arg;

	if (tr->format == FORMAT_CHROME)
		output(tr->begun ? "\n],\"displayTimeUnit\":\"ns\"}\n"
				 : "{\"traceEvents\":[],\"displayTimeUnit\":\"ns\"}\n");
}

/* --- the command line --------------------------------------------------------------- */

enum {
	OPT_ARGS = 256,
	OPT_CHROME
};

static unsigned parse_args(const struct command *self, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end || n > DTRACE_PROBE_NARGS)
		usage_error(self, "`%s' is not a number of arguments, 0 to %d", text,
			    DTRACE_PROBE_NARGS);
	return (unsigned)n;
}

static void own_option(struct trace *tr, int opt)
{
	if (opt == 'j')
		tr->format = FORMAT_JSON;
	else if (opt == OPT_CHROME)
		tr->format = FORMAT_CHROME;
	else if (opt == OPT_ARGS) {
		tr->nargs = parse_args(tr->t.cmd, optarg);
		tr->t.opts.nargs = (int)tr->nargs;
	}
}

static int run_trace(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		TRACING_LONG,
		{ "json", no_argument, NULL, 'j' },
		{ "args", required_argument, NULL, OPT_ARGS },
		{ "chrome", no_argument, NULL, OPT_CHROME },
		{ 0 },
	};
	struct trace tr = { .t = { .event = on_event,
				   .tick = at_end,
				   .opts.want = DTRACE_PROBE_EVENTS },
			    .nargs = ARGS_DEFAULT };
	int opt;

	tr.t.arg = &tr;
	argc = tracing_begin(&tr.t, self, argc, argv);
	while ((opt = options_next(self, argc, argv, ":j" TRACING_SHORT, longs)) != -1)
		if (!tracing_option(&tr.t, opt, optarg))
			own_option(&tr, opt);
	tracing_operands(&tr.t, argc, argv);
	return tracing_end(&tr.t, tracing_run(&tr.t));
}

const struct command command_trace = {
	.name = "trace",
	.summary = "print calls and returns of functions as they happen",
	.synopsis = "[OPTION...] {-p PID | -c 'COMMAND'}... PROBE... [-- COMMAND...]",
	.help = "Prints a line for each hit: time since the start, process, thread, -> "
		"for a call,\n"
		"<- for a return, | for an offset, indented by the traced calls around "
		"it; then\n"
		"arguments, or value and duration. PROBE: `libc:malloc', "
		"`libc:malloc:return',\n"
		"`pid$target:a.out:m*:'; see pgrab-probes(1). What a command prints goes "
		"where it\n"
		"always went, and its exit status is ours.\n\n"
		"Options:\n" TRACING_HELP
		"  --args N           arguments of a call, 0 to 10 (default 3)\n"
		"  -j, --json         a JSON object a line\n"
		"  --chrome           for chrome://tracing, Perfetto and the like\n"
		"\n"
		"Examples:\n"
		"  pgrab trace -c 'ls -l' libc:malloc libc:malloc:return\n"
		"  pgrab trace -p 1234 -d 2 --args 2 'a.out:handle_*'\n"
		"  pgrab trace --chrome -o t.json -f -p 1234 'libfoo::' "
		"'libfoo::return'\n",
	.run = run_trace,
};
