/* SPDX-License-Identifier: MIT */
/* Identifiers that are not ASCII, as manglings write them (RFC 3492). */
#ifndef PGRAB_OBJ_PUNYCODE_H
#define PGRAB_OBJ_PUNYCODE_H

#include <stddef.h>

enum {
	PUNYCODE_CODES = 128,                 /* characters of an identifier at most */
	PUNYCODE_OUTPUT = 4 * PUNYCODE_CODES, /* bytes that they take in UTF-8 */
};

/* Decodes n bytes, in which `delimiter` stands behind the ASCII part, to UTF-8 without a
 * NUL in buf of PUNYCODE_OUTPUT bytes: its length; 0: it makes no sense, or is too
 * long. */
size_t punycode_decode(const char *s, size_t n, char delimiter, char *buf);

#endif
