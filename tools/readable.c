/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "libproc.h"
#include "output.h"
#include "readable.h"

enum {
	NAME_BYTES = 16384 /* of a name; longer ones are printed as they are */
};

static bool off;

void readable_off(void)
{
	off = true;
}

void readable_function(const char *name)
{
	static char text[NAME_BYTES];

	if (off || !pgrab_demangle(name, text, sizeof(text)))
		output_escaped(name);
	else
		output_escaped(text);
}

void readable_frame(const char *frame)
{
	static char name[NAME_BYTES];
	const char *tick = strchr(frame, '`');
	const char *plus = tick ? strrchr(tick, '+') : NULL;
	size_t n;

	if (!tick) {
		output_escaped(frame);
		return;
	}
	if (plus && strncmp(plus, "+0x", 3) != 0)
		plus = NULL;
	tick++;
	n = plus ? (size_t)(plus - tick) : strlen(tick);
	output_escaped_bytes(frame, (size_t)(tick - frame));
	snprintf(name, sizeof(name), "%.*s", (int)n, tick);
	readable_function(name);
	if (plus)
		output_escaped(plus);
}
