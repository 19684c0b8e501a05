/* SPDX-License-Identifier: MIT */
/* What doctor found: labelled sentences, printed in the order of their finding. */
#ifndef PGRAB_TOOLS_FINDING_H
#define PGRAB_TOOLS_FINDING_H

#include <stdbool.h>
#include <stddef.h>

enum {
	FINDINGS_MAX = 24,  /* of one process */
	FINDING_TEXT = 400, /* bytes of a sentence */
};

/* How a finding bears on the question whether we may attach. */
enum weight {
	FINDING_PLAIN, /* information */
	FINDING_GOOD,  /* speaks for it */
	FINDING_BAD    /* speaks against it */
};

/* One sentence. */
struct finding {
	const char *label;       /* what it is about */
	enum weight weight;      /* for or against */
	char text[FINDING_TEXT]; /* the sentence */
};

/* All about one process, or about the machine. */
struct findings {
	size_t n;                          /* used of list */
	struct finding list[FINDINGS_MAX]; /* in order */
};

/* Adds one; what goes beyond the room is dropped. */
void finding_add(struct findings *f, enum weight weight, const char *label,
		 const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The text of the first bad one, or NULL. */
const char *finding_bad(const struct findings *f);

/* Prints them, indented. */
void finding_print(const struct findings *f);

#endif
