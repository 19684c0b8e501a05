/* SPDX-License-Identifier: MIT */
/*
 * pgrab: looks inside, and holds, any Linux process without hurting it.
 *
 * Theory: each subcommand is a const struct command in a file of its own; this file has
 * only the table and what comes before a subcommand is known. The commands use the public
 * headers (libproc.h, dtrace.h) and /proc, as any other client of the library could, so
 * they are also its longest example.
 *
 * A command parses its whole command line before it touches a process: what makes no
 * sense (usage, exit 2) has then harmed nothing. Afterwards a process that fails gives
 * one sentence on stderr and exit 1, and does not keep the other processes from their
 * turn.
 *
 * Helpers, each named for what it holds: options (command lines), output (stdout, stderr,
 * failure to write), text and json (a victim's bytes made harmless), target (the
 * processes named), task (/proc of threads), frame (addresses as module`function),
 * signals (as something to poll), session (a dtrace session and its sentences), access
 * (may we attach).
 *
 * The program has one thread of its own; the library's control threads never call into
 * it. When pgrab dies at any line, the keeper sees the last close: created victims are
 * killed, grabbed ones run on. So no command needs a clean-up that must not be missed,
 * but `stop`, whose very aim is to leave a process stopped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libproc.h"
#include "options.h"
#include "output.h"

static const struct command *const commands[] = {
	&command_run,    &command_watch, &command_trace,   &command_count,  &command_time,
	&command_probes, &command_stack, &command_threads, &command_maps,   &command_libs,
	&command_syms,   &command_args,  &command_env,     &command_cred,   &command_stop,
	&command_cont,   &command_wait,  &command_core,    &command_doctor,
};

enum {
	NCOMMANDS = sizeof(commands) / sizeof(commands[0]), /* of the table */
};

static void print_help(void)
{
	output("Usage: pgrab [-q] COMMAND [OPTION...] [OPERAND...]\n"
	       "Looks inside, and holds, any process without hurting it.\n\nCommands:\n");
	for (size_t i = 0; i < NCOMMANDS; i++)
		output("  %-9s %s\n", commands[i]->name, commands[i]->summary);
	output("\n"
	       "Options:\n"
	       "  -q, --quiet     no notices on stderr\n"
	       "  -V, --version   version and build features\n"
	       "  -h, --help      this text; after a command, that command's\n"
	       "\n"
	       "Data goes to stdout, notices to stderr. Exit status: 0 done, 1 failure, "
	       "2 usage;\n"
	       "`run' has its command's. Colour only on a terminal, never with NO_COLOR "
	       "set.\n"
	       "\n"
	       "Examples:\n"
	       "  pgrab stack 1234                      what every thread is doing\n"
	       "  pgrab watch --json -- make            the life of a command as it "
	       "happens\n"
	       "  pgrab watch -p 1234                   … of a running process\n"
	       "  pgrab run -x evaltime=main -- ls -l   hold at main, then run\n"
	       "  pgrab doctor 1234                     may I attach, and if not, why\n");
}

static void print_version(void)
{
	output("pgrab %s\n%s\n", pgrab_version(), pgrab_features());
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < NCOMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static void bad_usage(const char *what, const char *name)
{
	complain("%s%s%s (see `pgrab --help`)", what, *name ? " " : "", name);
	exit(EXIT_USAGE);
}

/* Options before the subcommand; the index of the subcommand in argv. */
static int parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		OPTIONS_LONG,
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+hqV", longs, NULL)) != -1) {
		switch (c) {
		case 'h':
			print_help();
			exit(output_finish(EXIT_DONE));
		case 'V':
			print_version();
			exit(output_finish(EXIT_DONE));
		case 'q':
			output_quiet();
			break;
		default:
			bad_usage("unknown option", argv[optind > 1 ? optind - 1 : 1]);
		}
	}
	if (optind >= argc)
		bad_usage("a command is needed", "");
	return optind;
}

/* `pgrab help [COMMAND]` */
static int help_command(int argc, char **argv)
{
	const struct command *cmd = argc > 1 ? find_command(argv[1]) : NULL;

	if (argc > 1 && !cmd)
		bad_usage("unknown command", argv[1]);
	if (cmd)
		options_help(cmd);
	else
		print_help();
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	const struct command *cmd;
	int at, status;

	output_init();
	at = parse_options(argc, argv);
	argc -= at;
	argv += at;
	if (strcmp(argv[0], "help") == 0)
		return output_finish(help_command(argc, argv));
	cmd = find_command(argv[0]);
	if (!cmd)
		bad_usage("unknown command", argv[0]);
	optind = 0; /* glibc: begin anew, with the flags of another option string */
	status = cmd->run(cmd, argc, argv);
	return output_finish(status);
}
