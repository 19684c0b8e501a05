/* SPDX-License-Identifier: MIT */
/*
 * Punycode, decoded (RFC 3492, section 6.2): the ASCII characters come first; then
 * variable-length integers, each of which says how far the next insertion is from the
 * last, in places and in code points at once.
 */
#include "obj/punycode.h"

#include <stdint.h>
#include <string.h>

enum { /* RFC 3492, section 5 */
	BASE = 36,
	TMIN = 1,
	TMAX = 26,
	SKEW = 38,
	DAMP = 700,
	FIRST_BIAS = 72,
	FIRST_CODE = 0x80,
};

/* What has been decoded. */
struct decoder {
	uint32_t code[PUNYCODE_CODES]; /* n code points */
	size_t n;                      /* how many */
	uint32_t next;                 /* code point of the next insertion */
	uint32_t place;                /* its place */
	uint32_t bias;                 /* how the next integer is read */
	const char *at, *end;          /* what is left */
};

static int digit(char c)
{
	if (c >= 'a' && c <= 'z')
		return c - 'a';
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	return c >= '0' && c <= '9' ? c - '0' + 26 : -1;
}

/* Section 6.1. */
static uint32_t adapt(uint32_t delta, uint32_t points, int first)
{
	uint32_t k = 0;

	delta = first ? delta / DAMP : delta / 2;
	delta += delta / points;
	for (; delta > ((BASE - TMIN) * TMAX) / 2; k += BASE)
		delta /= BASE - TMIN;
	return k + (BASE - TMIN + 1) * delta / (delta + SKEW);
}

static uint32_t threshold(uint32_t k, uint32_t bias)
{
	if (k <= bias)
		return TMIN;
	return k - bias > TMAX ? TMAX : k - bias;
}

/* The next integer, below 2^28; -1: there is none. */
static int64_t read_delta(struct decoder *d)
{
	uint64_t value = 0, weight = 1;

	for (uint32_t k = BASE; d->at < d->end; k += BASE) {
		int c = digit(*d->at++);
		uint32_t t = threshold(k, d->bias);

		if (c < 0)
			return -1;
		value += (uint64_t)c * weight;
		if (value >> 28)
			return -1;
		if ((uint32_t)c < t)
			return (int64_t)value;
		weight *= BASE - t;
		if (weight >> 28)
			return -1;
	}
	return -1;
}

static int insert(struct decoder *d)
{
	int64_t delta = read_delta(d);
	uint32_t points = (uint32_t)d->n + 1;
	uint64_t place;

	if (delta < 0 || d->n == PUNYCODE_CODES)
		return -1;
	place = d->place + (uint64_t)delta;
	d->bias = adapt((uint32_t)delta, points, d->next == FIRST_CODE && !d->place);
	d->next += (uint32_t)(place / points);
	d->place = (uint32_t)(place % points);
	if (d->next > 0x10ffff || (d->next >= 0xd800 && d->next < 0xe000))
		return -1;
	memmove(d->code + d->place + 1, d->code + d->place,
		(d->n - d->place) * sizeof(*d->code));
	d->code[d->place++] = d->next;
	d->n++;
	return 0;
}

static char *put_utf8(char *to, uint32_t c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		*to++ = (char)(0xf0 | c >> 18);
		*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

static const char *find_last(const char *s, size_t n, char c)
{
	while (n-- > 0) {
		if (s[n] == c)
			return s + n;
	}
	return NULL;
}

size_t punycode_decode(const char *s, size_t n, char delimiter, char *buf)
{
	struct decoder d = {
		.next = FIRST_CODE, .bias = FIRST_BIAS, .at = s, .end = s + n
	};
	const char *ascii = find_last(s, n, delimiter);
	char *to = buf;

	if (ascii && ascii - s > PUNYCODE_CODES)
		return 0;
	for (; ascii && d.at < ascii; d.at++)
		d.code[d.n++] = (unsigned char)*d.at & 0x7f;
	d.at += ascii != NULL;
	while (d.at < d.end) {
		if (insert(&d))
			return 0;
	}
	for (size_t i = 0; i < d.n; i++)
		to = put_utf8(to, d.code[i]);
	return (size_t)(to - buf);
}
