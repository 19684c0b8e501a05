/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>

#include "finding.h"
#include "output.h"

void finding_add(struct findings *f, enum weight weight, const char *label,
		 const char *fmt, ...)
{
	struct finding *one;
	va_list ap;

	if (f->n == FINDINGS_MAX)
		return;
	one = &f->list[f->n++];
	one->label = label;
	one->weight = weight;
	va_start(ap, fmt);
	vsnprintf(one->text, sizeof(one->text), fmt, ap);
	va_end(ap);
}

const char *finding_bad(const struct findings *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->list[i].weight == FINDING_BAD)
			return f->list[i].text;
	return NULL;
}

void finding_print(const struct findings *f)
{
	static const enum colour colours[] = {
		[FINDING_PLAIN] = COLOUR_NONE,
		[FINDING_GOOD] = COLOUR_GOOD,
		[FINDING_BAD] = COLOUR_BAD,
	};

	for (size_t i = 0; i < f->n; i++) {
		output("  %-14s %s", f->list[i].label,
		       colour(colours[f->list[i].weight]));
		output_escaped(f->list[i].text);
		output("%s\n", colour(COLOUR_NONE));
	}
}
