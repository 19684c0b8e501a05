/* SPDX-License-Identifier: MIT */
/*
 * A profile of pprof's: the messages of profile.proto, put together by hand, since they
 * are six kinds of a number, a string, or bytes with their length before them. A location
 * stands for each text of a frame; addresses differ between processes and are left out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "options.h"
#include "output.h"
#include "profile.h"

/* Bytes that grow. */
struct bytes {
	char *v;        /* owned */
	size_t n, room; /* how many, for how many */
};

static void put(struct bytes *b, const void *from, size_t n)
{
	if (b->n + n > b->room) {
		size_t room = (b->n + n) * 2 + 64;
		char *v = options_alloc(room, 1);

		if (b->n)
			memcpy(v, b->v, b->n);
		free(b->v);
		b->v = v;
		b->room = room;
	}
	if (n)
		memcpy(b->v + b->n, from, n);
	b->n += n;
}

static void put_varint(struct bytes *b, uint64_t v)
{
	unsigned char c;

	do {
		c = (unsigned char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		put(b, &c, 1);
		v >>= 7;
	} while (v);
}

static void put_number(struct bytes *b, unsigned field, uint64_t v)
{
	put_varint(b, field << 3); /* wire type 0 */
	put_varint(b, v);
}

static void put_bytes(struct bytes *b, unsigned field, const void *from, size_t n)
{
	put_varint(b, field << 3 | 2); /* wire type 2 */
	put_varint(b, n);
	put(b, from, n);
}

static void put_message(struct bytes *b, unsigned field, struct bytes *message)
{
	put_bytes(b, field, message->v, message->n);
	free(message->v);
	memset(message, 0, sizeof(*message));
}

/* Fields of profile.proto. */
enum {
	PROFILE_SAMPLE_TYPE = 1,
	PROFILE_SAMPLE = 2,
	PROFILE_LOCATION = 4,
	PROFILE_FUNCTION = 5,
	PROFILE_STRING = 6,
	VALUE_TYPE = 1,
	VALUE_UNIT = 2,
	SAMPLE_LOCATION = 1,
	SAMPLE_VALUE = 2,
	LOCATION_ID = 1,
	LOCATION_LINE = 4,
	LINE_FUNCTION = 1,
	FUNCTION_ID = 1,
	FUNCTION_NAME = 2,
	FUNCTION_SYSTEM_NAME = 3,
};

/* The number of a text in the table of strings; string 0 is empty. */
static uint64_t string_of(struct names **names, const char *text)
{
	return names_index(names_intern(names, text, strlen(text)));
}

static void put_sample(struct bytes *b, const struct tally_row *r, struct names **names)
{
	struct bytes s = { 0 };
	char own[1024];

	for (unsigned k = 0; k < r->nframes; k++)
		put_number(&s, SAMPLE_LOCATION,
			   names_index(names_intern(names, r->frames[k],
						    profile_name(r->frames[k]))));
	if (!r->nframes) {
		snprintf(own, sizeof(own), "%s`%s", r->probe->module, r->probe->function);
		put_number(&s, SAMPLE_LOCATION, string_of(names, own));
	}
	put_number(&s, SAMPLE_VALUE, r->hits);
	put_message(b, PROFILE_SAMPLE, &s);
}

/* Location, function and string of one text have one number. */
static void put_location(struct bytes *b, uint64_t id)
{
	struct bytes line = { 0 }, location = { 0 }, function = { 0 };

	put_number(&line, LINE_FUNCTION, id);
	put_number(&location, LOCATION_ID, id);
	put_message(&location, LOCATION_LINE, &line);
	put_message(b, PROFILE_LOCATION, &location);
	put_number(&function, FUNCTION_ID, id);
	put_number(&function, FUNCTION_NAME, id);
	put_number(&function, FUNCTION_SYSTEM_NAME, id);
	put_message(b, PROFILE_FUNCTION, &function);
}

static void put_profile(struct bytes *b, const struct tally *t)
{
	struct names *names = NULL;
	struct bytes type = { 0 };
	uint64_t first;

	string_of(&names, "");
	put_number(&type, VALUE_TYPE, string_of(&names, "calls"));
	put_number(&type, VALUE_UNIT, string_of(&names, "count"));
	put_message(b, PROFILE_SAMPLE_TYPE, &type);
	first = names_count(names);
	for (size_t i = 0; i < t->n; i++)
		put_sample(b, &t->v[i], &names);
	for (uint64_t i = first; i < names_count(names); i++)
		put_location(b, i);
	for (size_t i = 0; i < names_count(names); i++)
		put_bytes(b, PROFILE_STRING, names_at(names, i),
			  strlen(names_at(names, i)));
	names_free(names);
}

bool profile_pprof(const char *file, const struct tally *t)
{
	struct bytes b = { 0 };
	FILE *f = fopen(file, "we");
	bool failed = !f;

	if (f) {
		put_profile(&b, t);
		failed = fwrite(b.v, 1, b.n, f) != b.n;
		failed = fclose(f) || failed;
	}
	free(b.v);
	if (failed)
		complain("cannot write %s: %s", file, strerror(errno));
	return !failed;
}
