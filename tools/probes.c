/* SPDX-License-Identifier: MIT */
/*
 * Theory: descriptions are matched, nothing is enabled. A process that is there is looked
 * at through a read-only handle and does not notice; a command is created, held where its
 * objects are mapped and none of its code has run, and killed at the end.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dtprobe.h"
#include "json.h"
#include "options.h"
#include "output.h"
#include "session.h"
#include "target.h"

/* What to look at. */
struct subject {
	struct target target; /* a process or a file */
	char *text;  /* the command, split in place: argv points into it; owned */
	char **argv; /* the command, NULL: it is a target; owned */
};

/* One run of the command. */
struct probes {
	dtrace_hdl_t *dtp;        /* for errors, and to create commands */
	struct subject *subjects; /* n; owned */
	size_t n;                 /* how many */
	char **descriptions;      /* ndescriptions */
	int ndescriptions;        /* how many */
	bool json;                /* an object a line */
	bool has_lmid;            /* -l: only this link map */
	long lmid;                /* … this one */
	unsigned told;            /* probes of this subject so far */
};

/* --- output ------------------------------------------------------------------------- */

static void print_module(const dtrace_probe_t *p)
{
	char buf[PATH_MAX];

	if (p->lmid > 0)
		snprintf(buf, sizeof(buf), "LM%lx`%s", (unsigned long)p->lmid, p->module);
	else
		snprintf(buf, sizeof(buf), "%s", p->module);
	output_escaped(buf);
	for (size_t n = strlen(buf); n < 18; n++)
		output(" ");
}

static void print_text(const struct probes *run, const dtrace_probe_t *p)
{
	if (!run->told)
		output("%s   ID MODULE             FUNCTION                         NAME "
		       "    ADDRESS%s\n",
		       colour(COLOUR_HEAD), colour(COLOUR_NONE));
	output("%5u ", run->told);
	print_module(p);
	output(" ");
	output_escaped(p->function);
	for (size_t n = strlen(p->function); n < 32; n++)
		output(" ");
	output(" %-8s 0x%lx\n", p->name, (unsigned long)p->addr);
}

static void print_json(const dtrace_probe_t *p)
{
	output("{\"pid\":%ld", (long)p->pid);
	json_number("lmid", p->lmid);
	json_member("path", p->path);
	json_member("module", p->module);
	json_member("function", p->function);
	json_member("name", p->name);
	json_address("address", p->addr);
	output("}\n");
}

static int print_probe(void *arg, const dtrace_probe_t *p, uint64_t count)
{
	struct probes *run = arg;

	(void)count;
	if (run->has_lmid && p->lmid != run->lmid)
		return 0;
	if (run->json)
		print_json(p);
	else
		print_text(run, p);
	run->told++;
	return output_failed();
}

/* --- matching ----------------------------------------------------------------------- */

/* 0, or 1 after a sentence for each description that is in vain. */
static int match_all(struct ps_prochandle *P, pid_t pid, void *arg)
{
	struct probes *run = arg;
	int status = EXIT_DONE;

	(void)pid;
	run->told = 0;
	for (int i = 0; i < run->ndescriptions && !output_failed(); i++) {
		const char *description = run->descriptions[i];
		unsigned before = run->told;

		if (dtrace_probes_match(run->dtp, P, description, print_probe, run) < 0)
			session_complain(run->dtp);
		else if (run->told == before && !output_failed())
			complain("probe description %s does not match any probes",
				 description);
		if (run->told == before)
			status = EXIT_FAILED;
	}
	return status;
}

static int match_command(struct probes *run, const struct subject *s)
{
	struct ps_prochandle *P = dtrace_proc_create(run->dtp, s->argv[0], s->argv);
	int status;

	if (!P) {
		session_complain(run->dtp);
		return EXIT_FAILED;
	}
	if (run->n > 1 && !run->json)
		target_heading(P, Pgetpid(P));
	status = match_all(P, Pgetpid(P), run);
	dtrace_proc_release(run->dtp, P);
	return status;
}

static int match_subjects(struct probes *run)
{
	struct target *targets = options_alloc(run->n, sizeof(*targets));
	int status = EXIT_DONE;
	size_t n = 0;

	for (size_t i = 0; i < run->n; i++)
		if (!run->subjects[i].argv)
			targets[n++] = run->subjects[i].target;
	if (n)
		status = target_examine(targets, n,
					run->json ? TARGET_PLAIN : TARGET_HEADINGS,
					match_all, run);
	for (size_t i = 0; i < run->n && !output_failed(); i++)
		if (run->subjects[i].argv && match_command(run, &run->subjects[i]))
			status = EXIT_FAILED;
	free(targets);
	return status;
}

/* --- the command line --------------------------------------------------------------- */

/* Splits on white space: no shell, no quoting. */
static void add_command(const struct command *self, struct probes *run,
			const char *command)
{
	struct subject *s = &run->subjects[run->n++];
	char *save = NULL, *word;
	size_t n = 0;

	s->text = options_alloc(strlen(command) + 1, 1);
	strcpy(s->text, command);
	s->argv = options_alloc(strlen(command) / 2 + 2, sizeof(*s->argv));
	for (word = strtok_r(s->text, " \t\n\r\v\f", &save); word;
	     word = strtok_r(NULL, " \t\n\r\v\f", &save))
		s->argv[n++] = word;
	if (n == 0)
		usage_error(self, "-c needs a command, this one is empty");
}

/* `LM1` or `1`, hexadecimal as in descriptions. */
static void set_link_map(const struct command *self, struct probes *run, const char *text)
{
	const char *digits = strncmp(text, "LM", 2) ? text : text + 2;
	char *end;

	errno = 0;
	run->lmid = strtol(digits, &end, 16);
	if (!isxdigit((unsigned char)*digits) || *end || errno)
		usage_error(self, "`%s' is no link map: LM0, LM1 ...", text);
	run->has_lmid = true;
}

static void parse(const struct command *self, struct probes *run, int argc, char **argv)
{
	static const struct option longs[] = {
		OPTIONS_LONG,
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	int c;

	run->subjects = options_alloc((size_t)argc + 1, sizeof(*run->subjects));
	while ((c = options_next(self, argc, argv, ":p:c:l:j" OPTIONS_SHORT, longs)) !=
	       -1) {
		if (c == 'p')
			run->subjects[run->n++].target.pid = options_pid(self, optarg);
		else if (c == 'c')
			add_command(self, run, optarg);
		else if (c == 'l')
			set_link_map(self, run, optarg);
		else if (c == 'j')
			run->json = true;
	}
	if (run->n == 0 && optind < argc)
		run->subjects[run->n++].target = target_operand(self, argv[optind++]);
	if (run->n == 0)
		usage_error(self, "which process?");
	run->descriptions = argv + optind;
	run->ndescriptions = argc - optind;
	if (run->ndescriptions == 0)
		usage_error(self, "which probes? For all functions: '::entry'");
}

static int run_probes(const struct command *self, int argc, char **argv)
{
	struct probes run = { .dtp = session_open() };
	int status;

	parse(self, &run, argc, argv);
	status = match_subjects(&run);
	dtrace_close(run.dtp);
	for (size_t i = 0; i < run.n; i++) {
		free(run.subjects[i].text);
		free(run.subjects[i].argv);
	}
	free(run.subjects);
	return status;
}

const struct command command_probes = {
	.name = "probes",
	.summary = "what descriptions of function probes match",
	.synopsis = "[-q] [-j] [-l LM] {[-p PID]... [-c 'COMMAND']... | PID|CORE|FILE} "
		    "PROBE...",
	.help = "Prints each probe that a description matches, without enabling it: "
		"module, function,\n"
		"name, and address of the instruction (of a return: of its function). A "
		"process is not\n"
		"touched. A PROBE is pid$target:MODULE:FUNCTION:NAME, "
		"MODULE:FUNCTION[:NAME] or FUNCTION;\n"
		"MODULE is a.out, a base name (libc.so.6), its beginning (libc), a path "
		"or a pattern;\n"
		"FUNCTION a name or a pattern; NAME entry, return, a hexadecimal offset, "
		"or a pattern.\n"
		"\n"
		"Options:\n"
		"  -p PID        look at this process\n"
		"  -c 'COMMAND'  create a command (split on white space, no shell), look "
		"at it before\n"
		"                its code runs, and kill it\n"
		"  -l LM         only in this link map: LM0, LM1 ...\n"
		"  -j, --json    an object a line\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab probes 1234 'libc:mall*' 'libc:malloc:return'\n"
		"  pgrab probes -c 'ls -l' a.out::entry\n"
		"  pgrab probes /usr/lib/x86_64-linux-gnu/libc.so.6 "
		"'pid$target::qsort:'\n",
	.run = run_probes,
};
