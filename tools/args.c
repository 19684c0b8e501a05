/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "output.h"
#include "target.h"

static int print_one(void *arg, struct ps_prochandle *P, uintptr_t addr,
		     const char *string)
{
	unsigned *n = arg;

	output("argv[%u]: ", (*n)++);
	output_escaped(string);
	output("\n");
	return output_failed();
}

static int show_args(struct ps_prochandle *P, pid_t pid, void *arg)
{
	unsigned n = 0;

	if (Parg_iter(P, print_one, &n) < 0)
		complain("cannot read the arguments of pid %d: %s", pid, strerror(errno));
	else if (n == 0)
		complain("pid %d has no arguments", pid);
	return n == 0;
}

static int run_args(const struct command *self, int argc, char **argv)
{
	return target_command_file(self, argc, argv, show_args);
}

const struct command command_args = {
	.name = "args",
	.summary = "the arguments of processes",
	.synopsis = "[-q] PID|CORE...",
	.help = "Prints each argument on its own line, as it is in the process now. "
		"Control characters\n"
		"are shown as \\n, \\t, \\xHH, a backslash as \\\\. The process is not "
		"touched.\n"
		"\n"
		"Options:\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab args 1234\n"
		"  pgrab args $(pidof java) | grep Xmx\n",
	.run = run_args,
};
