/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "text.h"

/* Least first byte, least and most second byte, and length (RFC 3629, section 4). */
static const struct {
	unsigned char first, last; /* of the first byte */
	unsigned char low, high;   /* of the second byte */
	unsigned char len;         /* bytes in all */
} utf8_forms[] = {
	{ 0x00, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 },
	{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
	{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
	{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
	{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
};

static size_t match_form(const unsigned char *s, size_t len, size_t form)
{
	size_t need = utf8_forms[form].len;

	if (need > len)
		return 0;
	if (need > 1 && (s[1] < utf8_forms[form].low || s[1] > utf8_forms[form].high))
		return 0;
	for (size_t i = 2; i < need; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return need;
}

size_t text_utf8(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;

	for (size_t i = 0; len && i < sizeof(utf8_forms) / sizeof(utf8_forms[0]); i++)
		if (s[0] >= utf8_forms[i].first && s[0] <= utf8_forms[i].last)
			return match_form(s, len, i);
	return 0;
}

/* The letter that follows a backslash for c, or 0. */
static char short_escape(char c)
{
	switch (c) {
	case '\n':
		return 'n';
	case '\t':
		return 't';
	case '\r':
		return 'r';
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\\':
		return '\\';
	default:
		return 0;
	}
}

/* C0 and DEL, and C1 (U+0080 to U+009F), which some terminals obey even in UTF-8. */
static int is_control(const char *s, size_t n)
{
	const unsigned char *u = (const unsigned char *)s;

	return u[0] < 0x20 || u[0] == 0x7f || (n == 2 && u[0] == 0xc2 && u[1] < 0xa0);
}

size_t text_escape(const char *s, size_t len, char *buf)
{
	size_t n = text_utf8(s, len);
	char letter = short_escape(*s);

	if (letter)
		snprintf(buf, TEXT_ESCAPED, "\\%c", letter);
	else if (n == 0 || is_control(s, n))
		snprintf(buf, TEXT_ESCAPED, "\\x%02x", (unsigned char)*s);
	else
		snprintf(buf, TEXT_ESCAPED, "%.*s", (int)n, s);
	/* A refused character is escaped byte by byte. */
	return n == 0 || is_control(s, n) ? 1 : n;
}

size_t text_json(const char *s, size_t len, char *buf)
{
	size_t n = text_utf8(s, len);
	char letter = *s == '"' ? '"' : short_escape(*s);

	if (letter)
		snprintf(buf, TEXT_ESCAPED, "\\%c", letter);
	else if (n == 0)
		snprintf(buf, TEXT_ESCAPED, "\\ufffd");
	else if (n == 1 && (unsigned char)*s < 0x20)
		snprintf(buf, TEXT_ESCAPED, "\\u%04x", (unsigned char)*s);
	else
		snprintf(buf, TEXT_ESCAPED, "%.*s", (int)n, s);
	return n ? n : 1;
}

const char *text_basename(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}
