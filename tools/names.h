/* SPDX-License-Identifier: MIT */
/* Texts, each kept once. */
#ifndef PGRAB_TOOLS_NAMES_H
#define PGRAB_TOOLS_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct names; /* a set of texts; NULL is an empty one */

/* The kept copy of text[0..len): the same pointer for the same text, until names_free().
 * Ends the program without memory. */
const char *names_intern(struct names **set, const char *text, size_t len);

/* The number of a kept text, from 0, in the order of their coming. */
uint32_t names_index(const char *kept);

/* Those that are kept, by number. */
size_t names_count(const struct names *set);
const char *names_at(const struct names *set, size_t i);

void names_free(struct names *set);

#endif
