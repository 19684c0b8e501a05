/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "access.h"
#include "machine.h"
#include "options.h"
#include "output.h"

/* Both are large for a stack. */
static struct findings machine, process;

/* Prints one process's part: 0 when an attach is possible, else 1. */
static int examine(pid_t pid)
{
	const char *why;

	process.n = 0;
	access_check(pid, &process);
	why = finding_bad(&process);
	if (!why)
		why = finding_bad(&machine);
	if (why) {
		output("%s%d: attach is not possible:%s ", colour(COLOUR_BAD), pid,
		       colour(COLOUR_NONE));
		output_escaped(why);
		output("\n");
	} else {
		output("%s%d: attach is possible%s\n", colour(COLOUR_GOOD), pid,
		       colour(COLOUR_NONE));
	}
	finding_print(&process);
	return why != NULL;
}

static int run_doctor(const struct command *self, int argc, char **argv)
{
	pid_t *pids = NULL;
	size_t n = 0;
	int failed = 0;

	options_none(self, argc, argv);
	if (optind < argc)
		pids = options_pids(self, argc, argv, &n);
	machine_check(&machine);
	for (size_t i = 0; i < n; i++)
		failed |= examine(pids[i]);
	output("%sthis machine%s\n", colour(COLOUR_HEAD), colour(COLOUR_NONE));
	failed |= finding_bad(&machine) != NULL;
	machine_protection(&machine);
	finding_print(&machine);
	free(pids);
	return failed ? EXIT_FAILED : EXIT_DONE;
}

const struct command command_doctor = {
	.name = "doctor",
	.summary = "may I attach to a process, and if not, why",
	.synopsis = "[-q] [PID...]",
	.help = "Says of each process whether pgrab may attach to it, and which rule "
		"forbids it if not;\n"
		"then of the machine what it allows, whether the keeper works (tried on "
		"a child of\n"
		"pgrab's own), and which protection breakpoints have. The process is not "
		"touched.\n"
		"Exit status 0 when every attach is possible, else 1.\n"
		"\n"
		"Options:\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab doctor           what this machine allows\n"
		"  pgrab doctor 1234      may I attach to process 1234\n"
		"  pgrab doctor 1234 >/dev/null && pgrab stack 1234\n",
	.run = run_doctor,
};
