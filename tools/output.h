/* SPDX-License-Identifier: MIT */
/*
 * What pgrab says: data on stdout, notices and failures on stderr as `pgrab: …`, a line
 * each.
 */
#ifndef PGRAB_TOOLS_OUTPUT_H
#define PGRAB_TOOLS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

/* Before anything else: standard descriptors, SIGPIPE, buffers, colour. */
void output_init(void);

/* Data goes to this file from now on, which is made anew; a created command's stdout is
 * still ours. False with errno. */
bool output_to(const char *file);

/* Drops notices (-q); failures are still told. */
void output_quiet(void);

/* Prints data. */
void output(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Prints a string of the victim's with what could upset a terminal or a line as \n,
 * \t, \\, \xHH. */
void output_escaped(const char *text);
void output_escaped_bytes(const char *bytes, size_t len);

/* Passes everything on to the reader: after each line of a live stream, at the end of
 * a unit. */
void output_flush(void);

/* Has writing failed? Then there is no point in going on. */
bool output_failed(void);

/* The reader is gone: as if a write had told so. */
void output_hangup(void);

/* Ends the output; the exit status, which is 1 when `status` says success but writing
 * failed. */
int output_finish(int status);

/* Escape sequences for a piece of the output; "" where colour is not wanted. */
enum colour {
	COLOUR_NONE, /* back to normal */
	COLOUR_HEAD, /* headings: bold */
	COLOUR_GOOD, /* green */
	COLOUR_BAD,  /* red */
	COLOUR_DIM,  /* what matters less */
};
const char *colour(enum colour c);

/* Says something on stderr, unless -q. */
void notice(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Says on stderr what failed. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
