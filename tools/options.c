/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "output.h"

void usage_error(const struct command *cmd, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	complain("%s: %s (see `pgrab %s --help`)", cmd->name, text, cmd->name);
	exit(EXIT_USAGE);
}

void options_help(const struct command *cmd)
{
	output("Usage: pgrab %s %s\n\n%s", cmd->name, cmd->synopsis, cmd->help);
}

static void bad_option(const struct command *cmd, int argc, char **argv, int why)
{
	const char *arg = optind > 0 && optind <= argc ? argv[optind - 1] : "";

	if (why == ':')
		usage_error(cmd, "option `%s' needs an argument", arg);
	if (optopt > 0 && optopt < 256 && isdigit(optopt))
		usage_error(cmd, "`-%c' is neither an option nor a process id", optopt);
	if (optopt > 0 && optopt < 256 && strncmp(arg, "--", 2) != 0)
		usage_error(cmd, "unknown option `-%c'", optopt);
	usage_error(cmd, "option `%s' is not known, ambiguous, or takes no argument",
		    arg);
}

int options_next(const struct command *cmd, int argc, char **argv, const char *shorts,
		 const struct option *longs)
{
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		switch (c) {
		case 'h':
			options_help(cmd);
			exit(output_finish(EXIT_DONE));
		case 'q':
			output_quiet();
			break;
		case '?':
		case ':':
			bad_option(cmd, argc, argv, c);
			break;
		default:
			return c;
		}
	}
	return -1;
}

void options_none(const struct command *cmd, int argc, char **argv)
{
	static const struct option longs[] = { OPTIONS_LONG, { 0 } };

	while (options_next(cmd, argc, argv, ":" OPTIONS_SHORT, longs) != -1)
		continue;
}

pid_t options_pid(const struct command *cmd, const char *text)
{
	const char *digits = strncmp(text, "/proc/", 6) == 0 ? text + 6 : text;
	size_t n = strspn(digits, "0123456789");
	long pid;

	if (n == 0 || digits[n] != '\0')
		usage_error(cmd, "`%s' is not a process id", text);
	errno = 0;
	pid = strtol(digits, NULL, 10);
	if (errno || pid > INT_MAX)
		usage_error(cmd, "`%s' is not a process id: it is too large", text);
	if (pid == 0)
		usage_error(cmd, "there is no process 0");
	return (pid_t)pid;
}

pid_t *options_pids(const struct command *cmd, int argc, char **argv, size_t *ret_n)
{
	pid_t *pids;
	size_t n;

	if (optind >= argc)
		usage_error(cmd, "which process?");
	n = (size_t)(argc - optind);
	pids = options_alloc(n, sizeof(*pids));
	for (size_t i = 0; i < n; i++)
		pids[i] = options_pid(cmd, argv[optind + (int)i]);
	*ret_n = n;
	return pids;
}

long options_seconds(const struct command *cmd, const char *text)
{
	char *end;
	double seconds;

	errno = 0;
	seconds = strtod(text, &end);
	if (end == text || *end || errno || !isfinite(seconds) || seconds < 0)
		usage_error(cmd, "`%s' is not a number of seconds", text);
	if (seconds > INT_MAX / 1000)
		usage_error(cmd, "`%s' seconds are too many", text);
	return (long)(seconds * 1000 + 0.5);
}

void *options_alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p) {
		complain("out of memory");
		exit(EXIT_FAILED);
	}
	return p;
}
