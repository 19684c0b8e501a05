/* SPDX-License-Identifier: MIT */
/*
 * Theory: which processes, and how they are printed. The stacks themselves are dump.c's;
 * processes are looked at one after the other, so that each stands on its own for its
 * few milliseconds.
 */
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "options.h"
#include "output.h"
#include "select.h"
#include "target.h"

/* The command line. */
struct request {
	struct dump_options how; /* what is printed */
	struct selection which;  /* of whom */
};

enum {
	OPT_NAME = 256,
	OPT_TREE,
	OPT_NO_STOP,
	OPT_JSON,
	OPT_FOLDED,
	OPT_RAW,
	OPT_NO_DEMANGLE,
	OPT_DEBUGINFOD,
};

static const struct option longs[] = {
	OPTIONS_LONG,
	{ "name", required_argument, NULL, OPT_NAME },
	{ "tree", no_argument, NULL, OPT_TREE },
	{ "no-stop", no_argument, NULL, OPT_NO_STOP },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "folded", no_argument, NULL, OPT_FOLDED },
	{ "raw", no_argument, NULL, OPT_RAW },
	{ "no-demangle", no_argument, NULL, OPT_NO_DEMANGLE },
	{ "lines", no_argument, NULL, 'l' },
	{ "inlines", no_argument, NULL, 'i' },
	{ "debuginfod", no_argument, NULL, OPT_DEBUGINFOD },
	{ NULL, 0, NULL, 0 },
};

static void set_form(const struct command *self, struct request *r, enum dump_form form)
{
	if (r->how.form != DUMP_GROUPS && r->how.form != form)
		usage_error(self, "one of --json, --folded and --raw");
	r->how.form = form;
}

static unsigned parse_frames(const struct command *self, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n == 0 || n > UINT32_MAX)
		usage_error(self, "-n: a number of frames from 1, not '%s'", text);
	return (unsigned)n;
}

static void take_option(const struct command *self, struct request *r, int opt)
{
	switch (opt) {
	case 'n':
		r->how.frames = parse_frames(self, optarg);
		break;
	case 'l':
		r->how.lines = true;
		break;
	case 'i':
		r->how.inlines = true;
		break;
	case OPT_DEBUGINFOD:
		r->how.debuginfod = true;
		break;
	case OPT_NAME:
		r->which.name = optarg;
		break;
	case OPT_TREE:
		r->which.tree = true;
		break;
	case OPT_NO_STOP:
		r->how.no_stop = true;
		break;
	case OPT_JSON:
		set_form(self, r, DUMP_JSON);
		break;
	case OPT_FOLDED:
		set_form(self, r, DUMP_FOLDED);
		break;
	case OPT_RAW:
		set_form(self, r, DUMP_RAW);
		break;
	default:
		r->how.mangled = true;
	}
}

static int show_stack(struct ps_prochandle *P, pid_t pid, void *arg)
{
	const struct dump_options *how = arg;
	struct dump d;
	int status = dump_take(P, pid, how, &d);

	if (d.nthreads)
		dump_print(&d, how);
	dump_free(&d);
	return status;
}

static int run_stack(const struct command *self, int argc, char **argv)
{
	struct request r = { 0 };
	enum target_headings headings;
	int opt, status;

	while ((opt = options_next(self, argc, argv, ":n:li" OPTIONS_SHORT, longs)) != -1)
		take_option(self, &r, opt);
	status = select_targets(self, argc, argv, &r.which);
	headings = r.how.form == DUMP_JSON || r.how.form == DUMP_FOLDED ? TARGET_PLAIN
									: TARGET_HEADINGS;
	if (status == EXIT_DONE)
		status = target_examine(r.which.list, r.which.n, headings, show_stack,
					&r.how);
	free(r.which.list);
	return status;
}

const struct command command_stack = {
	.name = "stack",
	.summary = "the stacks of all threads of processes",
	.synopsis = "[OPTION...] PID|CORE...",
	.help = "Prints each thread: id, name, state before the stop, and its stack, "
		"innermost function\n"
		"first; threads with the same stack are printed once. The process is "
		"stopped while\n"
		"registers and stacks are copied, which stderr tells; names are looked "
		"up while it runs on.\n"
		"\n"
		"Options:\n"
		"      --name GLOB    processes with such a name\n"
		"      --tree         and all their descendants\n"
		"  -n FRAMES          that many of each stack at most\n"
		"  -l, --lines        file and line, where debug information has them\n"
		"  -i, --inlines      the same, and calls that were inlined\n"
		"      --debuginfod   ask debuginfod servers for debug files that are "
		"not here\n"
		"      --no-stop      stop nobody: only threads that wait in the kernel\n"
		"      --raw          thread by thread: address and "
		"module`function+0xoffset\n"
		"      --folded       a line a stack, for flame graphs: "
		"NAME;OUTER;...;INNER COUNT\n"
		"      --json         an object a line for each process\n"
		"      --no-demangle  names as the symbol tables have them\n"
		"  -q, --quiet        no notices\n"
		"  -h, --help         this text\n"
		"\n"
		"Examples:\n"
		"  pgrab stack 1234\n"
		"  pgrab stack --tree --name 'nginx*'\n"
		"  pgrab stack -q --raw 1234 | grep -c epoll_wait\n",
	.run = run_stack,
};
