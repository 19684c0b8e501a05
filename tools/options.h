/* SPDX-License-Identifier: MIT */
/* Command lines: options, process ids, help, and what to say when they make no sense. */
#ifndef PGRAB_TOOLS_OPTIONS_H
#define PGRAB_TOOLS_OPTIONS_H

#include <getopt.h>
#include <stddef.h>
#include <sys/types.h>

#include "command.h"

/* The options that every command has. */
#define OPTIONS_SHORT "hq"
#define OPTIONS_LONG                                                                     \
	{ "help", no_argument, NULL, 'h' },                                              \
	{                                                                                \
		"quiet", no_argument, NULL, 'q'                                          \
	}

/*
 * The next option of the command itself, or -1; -h and -q are dealt with. `shorts` begins
 * with ":" (or "+:" when the first operand ends the options). Ends the program on an
 * option that makes no sense.
 */
int options_next(const struct command *cmd, int argc, char **argv, const char *shorts,
		 const struct option *longs);

/* For a command that has none of its own. */
void options_none(const struct command *cmd, int argc, char **argv);

/* Ends the program with EXIT_USAGE and one sentence. */
void usage_error(const struct command *cmd, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));

/* Prints the help of a command. */
void options_help(const struct command *cmd);

/* The process id that the text names (N or /proc/N); ends the program when it names
 * none. */
pid_t options_pid(const struct command *cmd, const char *text);

/* The same for the operands from optind on, at least one: allocated, never NULL. */
pid_t *options_pids(const struct command *cmd, int argc, char **argv, size_t *ret_n);

/* A positive number of seconds, with a fraction if need be, as milliseconds. */
long options_seconds(const struct command *cmd, const char *text);

/* Allocates n zeroed elements or ends the program. */
void *options_alloc(size_t n, size_t size);

#endif
