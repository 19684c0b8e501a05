/* SPDX-License-Identifier: MIT */
/*
 * What every victim does: says `ready`, then obeys lines on stdin until its end.
 *
 * Header only, so that each victim is one file that any compiler and libc builds alone.
 */
#ifndef PGRAB_VICTIMS_OBEY_H
#define PGRAB_VICTIMS_OBEY_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One command: `name`, called with the rest of the line. */
struct order {
	const char *name;               /* first word */
	void (*obey)(const char *rest); /* "" when there is no more */
};

/* Prints a line at once. */
__attribute__((format(printf, 1, 2))) static inline void tell(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

/* `ready PID` and the facts that this victim begins with. */
#define ready(fmt, ...) tell("ready %d " fmt, getpid(), ##__VA_ARGS__)

static inline void obey_line(const struct order *orders, char *line)
{
	size_t word = strcspn(line, " \n");
	const char *rest = line + word;

	line[strcspn(line, "\n")] = '\0';
	rest += *rest == ' ';
	for (; orders->name; orders++) {
		if (strlen(orders->name) != word || strncmp(orders->name, line, word))
			continue;
		orders->obey(rest);
		return;
	}
	tell("what? %s", line);
}

/* Obeys until the end of stdin. Unbuffered, so that stdin shared with a child is not
 * eaten. */
static inline void obey(const struct order *orders)
{
	char line[4096];
	size_t n = 0;
	ssize_t got;

	for (;;) {
		got = read(STDIN_FILENO, line + n, 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return;
		if (line[n] != '\n' && n < sizeof(line) - 2) {
			n++;
			continue;
		}
		line[n + 1] = '\0';
		n = 0;
		obey_line(orders, line);
	}
}

#endif
