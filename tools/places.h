/* SPDX-License-Identifier: MIT */
/* Addresses of code and what they are called, each looked up once. */
#ifndef PGRAB_TOOLS_PLACES_H
#define PGRAB_TOOLS_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libproc.h"

/* Where in the source. */
struct place_source {
	char *function; /* readable if that is wanted; NULL unknown */
	char *file;     /* NULL unknown */
	unsigned line;  /* from 1; 0 unknown */
};

/* One address. */
struct place {
	uintptr_t at;   /* of the instruction, or inside it */
	char *module;   /* base name of the object; NULL outside of any */
	char *function; /* readable if that is wanted; NULL: no symbol holds it */
	/* the innermost inlined function first, the one of `function` last; allocated */
	struct place_source *sources;
	size_t nsources; /* how many */
	uintptr_t start; /* of the function; `at` itself without one */
};

/* Those of one process. */
struct places {
	struct ps_prochandle *P; /* for look-ups; lent */
	bool readable;           /* names are to be demangled */
	bool with_sources;       /* files and lines are wanted */
	struct place *list;      /* allocated */
	size_t n, room;          /* used and allocated */
	uint32_t *slots;         /* by hash of `at`: index + 1, 0 free; allocated */
	size_t nslots;           /* a power of two, or 0 */
	bool nomem;              /* an allocation failed: names are missing */
};

/* The place of `at`: an index for list, the same as long as the places live. */
size_t places_find(struct places *p, uintptr_t at);

void places_free(struct places *p);

#endif
