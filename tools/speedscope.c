/* SPDX-License-Identifier: MIT */
/* A profile of speedscope's: frames once, in a table; a sample is the list of its frames,
 * outermost first, its weight the number of hits. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "names.h"
#include "output.h"
#include "profile.h"
#include "text.h"

size_t profile_name(const char *frame)
{
	const char *plus = strchr(frame, '`') ? strrchr(frame, '+') : NULL;

	return plus && !strncmp(plus, "+0x", 3) ? (size_t)(plus - frame) : strlen(frame);
}

static void put_string(FILE *f, const char *s)
{
	size_t len = strlen(s);
	char one[TEXT_ESCAPED];

	fputc('"', f);
	while (len > 0) {
		size_t took = text_json(s, len, one);

		fputs(one, f);
		s += took;
		len -= took;
	}
	fputc('"', f);
}

/* Frames of a row, numbered; a row without a stack is one frame, the function itself. */
static void put_sample(FILE *f, const struct tally_row *r, struct names **names)
{
	char own[1024];
	int n;

	fputc('[', f);
	for (unsigned k = r->nframes; k-- > 0;)
		fprintf(f, "%u%s",
			names_index(names_intern(names, r->frames[k],
						 profile_name(r->frames[k]))),
			k ? "," : "");
	if (!r->nframes) {
		n = snprintf(own, sizeof(own), "%s`%s", r->probe->module,
			     r->probe->function);
		n = n < (int)sizeof(own) ? n : (int)sizeof(own) - 1;
		fprintf(f, "%u", names_index(names_intern(names, own, (size_t)n)));
	}
	fputc(']', f);
}

static void put_all(FILE *f, const struct tally *t, struct names **names)
{
	uint64_t total = 0;

	fputs("{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",", f);
	fputs("\"exporter\":\"pgrab " PGRAB_VERSION "\",\"profiles\":[{\"type\":", f);
	fputs("\"sampled\",\"name\":\"pgrab count\",\"unit\":\"none\",\"samples\":[", f);
	for (size_t i = 0; i < t->n; i++) {
		fputs(i ? "," : "", f);
		put_sample(f, &t->v[i], names);
		total += t->v[i].hits;
	}
	fputs("],\"weights\":[", f);
	for (size_t i = 0; i < t->n; i++)
		fprintf(f, "%s%llu", i ? "," : "", (unsigned long long)t->v[i].hits);
	fprintf(f, "],\"startValue\":0,\"endValue\":%llu}],\"shared\":{\"frames\":[",
		(unsigned long long)total);
	for (size_t i = 0; i < names_count(*names); i++) {
		fputs(i ? ",{\"name\":" : "{\"name\":", f);
		put_string(f, names_at(*names, i));
		fputc('}', f);
	}
	fputs("]}}\n", f);
}

bool profile_speedscope(const char *file, const struct tally *t)
{
	struct names *names = NULL;
	FILE *f = fopen(file, "we");
	bool failed = !f;

	if (f) {
		put_all(f, t, &names);
		failed = ferror(f);
		failed = fclose(f) || failed;
	}
	names_free(names);
	if (failed)
		complain("cannot write %s: %s", file, strerror(errno));
	return !failed;
}
