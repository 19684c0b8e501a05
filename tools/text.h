/* SPDX-License-Identifier: MIT */
/* Text that comes from a victim: whatever bytes it likes. Pure functions. */
#ifndef PGRAB_TOOLS_TEXT_H
#define PGRAB_TOOLS_TEXT_H

#include <stddef.h>

/* Bytes of the UTF-8 character that s (len bytes) begins with; 0 when it is none. */
size_t text_utf8(const char *s, size_t len);

enum {
	TEXT_ESCAPED =
		8, /* room that one character can take when escaped, with the NUL */
};

/* Writes the next character of s (len > 0 bytes), escaped for a terminal where need
 * be, to buf (TEXT_ESCAPED bytes, terminated); how many bytes of s it took. */
size_t text_escape(const char *s, size_t len, char *buf);

/* The same as JSON has it, inside a string; a byte that is no UTF-8 becomes U+FFFD. */
size_t text_json(const char *s, size_t len, char *buf);

/* Last part of a path. */
const char *text_basename(const char *path);

#endif
