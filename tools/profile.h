/* SPDX-License-Identifier: MIT */
/* Counted stacks as files for other programs. */
#ifndef PGRAB_TOOLS_PROFILE_H
#define PGRAB_TOOLS_PROFILE_H

#include <stdbool.h>

#include "tally.h"

/* Length of a frame's text (module`function+0xoffset) without the offset: a profile is of
 * functions. */
size_t profile_name(const char *frame);

/* Writes the rows as a profile.proto of pprof's, uncompressed. False after a sentence. */
bool profile_pprof(const char *file, const struct tally *t);

/* The same as JSON of speedscope's (www.speedscope.app/file-format-schema.json). */
bool profile_speedscope(const char *file, const struct tally *t);

#endif
