/* SPDX-License-Identifier: MIT */
/*
 * Threads of one program stand in the same few functions: a thousand stacks of twenty
 * frames have some hundred addresses. A table by address, so that each is looked up, and
 * its name copied, once.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "places.h"
#include "text.h"

enum {
	NAME_MAX_BYTES = 16384 /* of a function's name; longer ones are cut */
};

static size_t hash(uintptr_t at)
{
	return (size_t)((at * 0x9e3779b97f4a7c15ull) >> 20);
}

static void insert(struct places *p, size_t i)
{
	size_t at = hash(p->list[i].at);

	while (p->slots[at & (p->nslots - 1)])
		at++;
	p->slots[at & (p->nslots - 1)] = (uint32_t)i + 1;
}

/* Room for one more; half of the slots stay free. */
static bool grow(struct places *p)
{
	size_t room = p->room ? p->room * 2 : 256;
	struct place *list;
	uint32_t *slots;

	if (p->n < p->room)
		return true;
	list = reallocarray(p->list, room, sizeof(*list));
	if (list)
		p->list = list;
	slots = list ? calloc(room * 2, sizeof(*slots)) : NULL;
	if (!slots)
		return false;
	free(p->slots);
	p->slots = slots;
	p->nslots = room * 2;
	p->room = room;
	for (size_t i = 0; i < p->n; i++)
		insert(p, i);
	return true;
}

static char *copy(struct places *p, const char *text)
{
	char *own = strdup(text);

	p->nomem |= !own;
	return own;
}

static char *copy_name(struct places *p, const char *name)
{
	static char readable[NAME_MAX_BYTES];

	if (!name)
		return NULL;
	if (p->readable)
		pgrab_demangle(name, readable, sizeof(readable));
	return copy(p, p->readable ? readable : name);
}

/* A look-up of sources under way. */
struct look {
	struct places *p; /* where */
	struct place *to; /* for whom */
};

static int add_source(void *arg, const prsource_t *src)
{
	struct look *l = arg;
	struct place *to = l->to;
	struct place_source *more =
		reallocarray(to->sources, to->nsources + 1, sizeof(*more));

	l->p->nomem |= !more;
	if (!more)
		return 1;
	to->sources = more;
	more[to->nsources++] = (struct place_source){
		.function = copy_name(l->p, src->psr_function),
		.file = src->psr_file ? copy(l->p, src->psr_file) : NULL,
		.line = src->psr_line,
	};
	return 0;
}

static void look_up(struct places *p, struct place *to)
{
	static char name[NAME_MAX_BYTES];
	struct look look = { p, to };
	char object[PATH_MAX];
	GElf_Sym sym;

	to->start = to->at;
	if (!Pobjname(p->P, to->at, object, sizeof(object)))
		return;
	to->module = copy(p, text_basename(object));
	if (Plookup_by_addr(p->P, to->at, name, sizeof(name), &sym) != 0)
		return;
	to->function = copy_name(p, name);
	to->start = (uintptr_t)sym.st_value;
	if (p->with_sources)
		Psource_iter(p->P, to->at, add_source, &look);
}

size_t places_find(struct places *p, uintptr_t at)
{
	if (p->nslots)
		for (size_t h = hash(at);; h++) {
			uint32_t i = p->slots[h & (p->nslots - 1)];

			if (!i)
				break;
			if (p->list[i - 1].at == at)
				return i - 1;
		}
	if (!grow(p)) {
		p->nomem = true;
		return SIZE_MAX;
	}
	p->list[p->n] = (struct place){ .at = at };
	look_up(p, &p->list[p->n]);
	insert(p, p->n);
	return p->n++;
}

void places_free(struct places *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->list[i].module);
		free(p->list[i].function);
		for (size_t k = 0; k < p->list[i].nsources; k++) {
			free(p->list[i].sources[k].function);
			free(p->list[i].sources[k].file);
		}
		free(p->list[i].sources);
	}
	free(p->list);
	free(p->slots);
}
