/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "target.h"
#include "task.h"

/* The kernel's limit for all arguments together is a quarter of the stack's limit, 6
 * MiB at most by default (execve(2)); what goes beyond is cut. */
enum {
	ARGS_MAX = 8 * 1024 * 1024, /* bytes */
};

static void print_args(const char *text, size_t len)
{
	unsigned n = 0;

	for (size_t at = 0; at < len && !output_failed(); n++) {
		size_t one = strnlen(text + at, len - at);

		output("argv[%u]: ", n);
		output_escaped_bytes(text + at, one);
		output("\n");
		at += one + 1;
	}
}

static int show_args(struct ps_prochandle *P, pid_t pid, void *arg)
{
	char *text = malloc(ARGS_MAX);
	ssize_t len = -1;

	if (text)
		len = task_file(text, ARGS_MAX, "/proc/%d/cmdline", pid);
	else
		errno = ENOMEM;
	if (len > 0)
		print_args(text, (size_t)len);
	else if (len == 0)
		complain("pid %d has no arguments", pid);
	else
		complain("cannot read the arguments of pid %d: %s", pid, strerror(errno));
	free(text);
	return len <= 0;
}

static int run_args(const struct command *self, int argc, char **argv)
{
	return target_command(self, argc, argv, show_args);
}

const struct command command_args = {
	.name = "args",
	.summary = "the arguments of processes",
	.synopsis = "[-q] PID...",
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
