/* SPDX-License-Identifier: MIT */
/*
 * Theory: a tool's data is worth nothing when half of it was lost unseen. So every print
 * goes through output(), which keeps the errno of the first write that failed; commands
 * look at output_failed() in long loops, and the exit status is settled in
 * output_finish(), once. A reader that has gone (EPIPE) is no cause for words, any other
 * failure is told.
 *
 * SIGPIPE gets an empty handler instead of SIG_IGN: exec resets a handler to the default,
 * so the commands that run and watch create do not inherit an ignored SIGPIPE. Where the
 * caller had it ignored, it stays ignored for all.
 *
 * stdout is fully buffered, 64 KiB, more than a line can have; a stream that is watched
 * live calls output_flush() after each line, which then is one write(2). stderr lines are
 * put together first, control characters escaped (sentences may bear a hostile file's
 * name), and written at once.
 *
 * A standard descriptor that is closed at the start is filled with /dev/null, so that no
 * socket to the keeper takes its number; stdout with one that cannot be written, so that
 * losing the data is an error. Both close on exec: a created command finds what pgrab was
 * given.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "output.h"
#include "text.h"

static int failure;                /* errno of the first failed write, 0 none */
static bool quiet;                 /* -q */
static FILE *sink;                 /* where data goes; NULL stdout */
static bool coloured;              /* stdout is a terminal that wants colour */
static char out_buffer[64 * 1024]; /* stdout's */

static void ignore_signal(int sig)
{
}

static void fill_descriptor(int fd, int mode)
{
	if (fcntl(fd, F_GETFD) < 0)
		(void)!open("/dev/null",
			    mode | O_CLOEXEC); /* the lowest free one, which is fd */
}

static bool want_colour(void)
{
	const char *no = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if (no && *no)
		return false;
	return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
}

void output_init(void)
{
	struct sigaction old,
		empty = { .sa_handler = ignore_signal, .sa_flags = SA_RESTART };

	fill_descriptor(STDIN_FILENO, O_RDWR);
	fill_descriptor(STDOUT_FILENO, O_RDONLY);
	fill_descriptor(STDERR_FILENO, O_RDWR);
	if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
		sigaction(SIGPIPE, &empty, NULL);
	setvbuf(stdout, out_buffer, _IOFBF, sizeof(out_buffer));
	coloured = want_colour();
}

bool output_to(const char *file)
{
	FILE *f = fopen(file, "we");

	if (!f)
		return false;
	setvbuf(f, NULL, _IOFBF, sizeof(out_buffer));
	sink = f;
	coloured = false;
	return true;
}

static FILE *out(void)
{
	return sink ? sink : stdout;
}

void output_quiet(void)
{
	quiet = true;
}

static void note_failure(bool failed)
{
	if (failed && !failure)
		failure = errno ? errno : EIO;
}

void output(const char *fmt, ...)
{
	va_list ap;

	if (failure)
		return;
	va_start(ap, fmt);
	note_failure(vfprintf(out(), fmt, ap) < 0);
	va_end(ap);
}

void output_escaped_bytes(const char *bytes, size_t len)
{
	char one[TEXT_ESCAPED];

	while (len > 0 && !failure) {
		size_t took = text_escape(bytes, len, one);

		note_failure(fputs(one, out()) < 0);
		bytes += took;
		len -= took;
	}
}

void output_escaped(const char *text)
{
	output_escaped_bytes(text, strlen(text));
}

void output_flush(void)
{
	if (!failure)
		note_failure(fflush(out()) != 0);
}

bool output_failed(void)
{
	return failure != 0;
}

void output_hangup(void)
{
	errno = EPIPE;
	note_failure(true);
}

int output_finish(int status)
{
	output_flush();
	if (!failure)
		return status;
	if (failure != EPIPE)
		complain("cannot write the output: %s", strerror(failure));
	return status == EXIT_DONE ? EXIT_FAILED : status;
}

const char *colour(enum colour c)
{
	static const char *const sequences[] = {
		[COLOUR_NONE] = "\033[0m",  [COLOUR_HEAD] = "\033[1m",
		[COLOUR_GOOD] = "\033[32m", [COLOUR_BAD] = "\033[31m",
		[COLOUR_DIM] = "\033[2m",
	};

	return coloured ? sequences[c] : "";
}

/* One line on stderr, in one write. Newlines at the end of a sentence are ours to
 * make. */
static void say(const char *fmt, va_list ap)
{
	char text[2048], line[sizeof(text) * 4 + 16] = "pgrab: ";
	size_t at = strlen(line), len;
	const char *s = text;
	int n = vsnprintf(text, sizeof(text), fmt, ap);

	if (n < 0)
		return;
	len = strlen(text);
	while (len > 0 && at + TEXT_ESCAPED < sizeof(line) - 1) {
		/* A backslash is no danger here, and sentences may hold one. */
		size_t took = *s == '\\' ? 1 : text_escape(s, len, line + at);

		if (*s == '\\')
			strcpy(line + at, "\\");
		at += strlen(line + at);
		s += took;
		len -= took;
	}
	line[at++] = '\n';
	output_flush(); /* keep the order where both go to one terminal */
	(void)!write(STDERR_FILENO, line, at);
}

void notice(const char *fmt, ...)
{
	va_list ap;

	if (quiet)
		return;
	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}
