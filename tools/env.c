/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "output.h"
#include "target.h"

static int print_variable(void *arg, struct ps_prochandle *P, uintptr_t addr,
			  const char *string)
{
	output_escaped(string);
	output("\n");
	return output_failed();
}

static int show_env(struct ps_prochandle *P, pid_t pid, void *arg)
{
	if (Penv_iter(P, print_variable, NULL) >= 0)
		return 0;
	complain("cannot read the environment of pid %d: %s", pid, strerror(errno));
	return 1;
}

static int run_env(const struct command *self, int argc, char **argv)
{
	return target_command_file(self, argc, argv, show_env);
}

const struct command command_env = {
	.name = "env",
	.summary = "the environment of processes",
	.synopsis = "[-q] PID|CORE...",
	.help = "Prints the environment that the program was started with, a variable a "
		"line. Control\n"
		"characters are shown as \\n, \\t, \\xHH, a backslash as \\\\. The "
		"process is not touched.\n"
		"\n"
		"Options:\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab env 1234\n"
		"  pgrab env 1234 | grep ^LD_\n",
	.run = run_env,
};
