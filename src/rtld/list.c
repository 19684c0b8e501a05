/* SPDX-License-Identifier: MIT */
/*
 * Link maps into a list; see rtld.c. A list is built aside and put in the place of the
 * old one when it is whole.
 *
 * A link map begins, in both linkers and both classes, with five words: l_addr, l_name,
 * l_ld, l_next, l_prev. A loop is found by Brent's method: one earlier link map is
 * remembered, and moved up to the present one after 1, 2, 4, 8 … steps; so a loop of n
 * maps, entered anywhere, is noticed within 3 n steps and with no memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rtld/agent.h"
#include "util/log.h"

enum {
	NAMES_MAX = 32 << 20, /* bytes of all names together */
	FIRST_OBJECTS = 64,   /* room to begin with */
};

/* A list being built. */
struct builder {
	struct rtld_list list; /* so far */
	size_t room;           /* objects that fit into list.objs */
	size_t names;          /* bytes of names so far */
	char *path;            /* a buffer of RTLD_MAX_PATH bytes */
};

/* One list of link maps on the way. */
struct cursor {
	uint64_t at;    /* the next link map; 0: the end */
	uint64_t mark;  /* an earlier one */
	size_t steps;   /* since the mark was set */
	size_t stretch; /* steps after which it is moved up */
};

void rtld_list_fini(struct rtld_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->objs[i].name);
	free(l->objs);
	*l = (struct rtld_list){ 0 };
}

static int make_room(struct builder *b)
{
	size_t room = b->room ? 2 * b->room : FIRST_OBJECTS;
	struct rtld_object *objs;

	if (b->list.n == RTLD_MAX_OBJECTS)
		return -ELOOP;
	if (b->list.n < b->room)
		return 0;
	objs = realloc(b->list.objs, room * sizeof(*objs));
	if (!objs)
		return -ENOMEM;
	b->list.objs = objs;
	b->room = room;
	return 0;
}

/* The main program's name is "", kept as it is; a null pointer is read as "". */
static int read_name(struct rtld *r, struct builder *b, uint64_t addr, char **ret)
{
	ssize_t len = 0;
	char *name;

	b->path[0] = '\0';
	if (addr)
		len = reader_string(&r->reader, addr, b->path, RTLD_MAX_PATH);
	if (len < 0)
		return (int)len;
	b->names += (size_t)len + 1;
	if (b->names > NAMES_MAX)
		return -ELOOP;
	name = malloc((size_t)len + 1);
	if (!name)
		return -ENOMEM;
	memcpy(name, b->path, (size_t)len);
	name[len] = '\0';
	*ret = name;
	return 0;
}

/* Reads the link map at `at` to the end of the list; *ret_next is its l_next. */
static int append(struct rtld *r, struct builder *b, long lmid, uint64_t at,
		  uint64_t *ret_next)
{
	enum {
		ADDR,
		NAME,
		LD,
		NEXT,
		NWORDS
	};
	uint64_t w[NWORDS];
	char *name = NULL;
	int err = make_room(b);

	if (!err)
		err = reader_words(&r->reader, at, w, NWORDS);
	if (!err)
		err = read_name(r, b, w[NAME], &name);
	if (err)
		return err;
	b->list.objs[b->list.n++] = (struct rtld_object){
		.link_map = at,
		.base = w[ADDR],
		.dynamic = w[LD],
		.nameaddr = w[NAME],
		.lmid = lmid,
		.name = name,
	};
	*ret_next = w[NEXT];
	return 0;
}

/* Moves on to `next`. -EINVAL when the list has come back to where it was. */
static int advance(struct cursor *c, uint64_t next)
{
	if (c->steps == c->stretch) {
		c->mark = c->at;
		c->stretch *= 2;
		c->steps = 0;
	}
	c->steps++;
	c->at = next;
	return next && next == c->mark ? -EINVAL : 0;
}

static int read_maps(struct rtld *r, struct builder *b, long lmid, uint64_t first)
{
	struct cursor c = { .at = first, .mark = first, .stretch = 1 };
	int err = 0;

	while (!err && c.at) {
		uint64_t next;

		err = append(r, b, lmid, c.at, &next);
		if (!err)
			err = advance(&c, next);
	}
	return err;
}

/* A namespace that was emptied keeps its place in the chain, with no link map. */
static int read_namespaces(struct rtld *r, struct builder *b)
{
	struct rtld_walk w;
	int err = rtld_walk_start(r, &w);

	if (err)
		return err;
	while ((err = rtld_walk_next(r, &w)) > 0) {
		b->list.state = rtld_state_join(b->list.state, w.debug.state);
		err = read_maps(r, b, w.n - 1, w.debug.map);
		if (err)
			return err;
	}
	return err;
}

/* FNV-1a, by words and then by the bytes of the name with its NUL. */
static uint64_t hash_bytes(uint64_t h, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3;
	return h;
}

static uint64_t hash_list(const struct rtld_list *l)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < l->n; i++) {
		const struct rtld_object *o = &l->objs[i];
		uint64_t key[] = { o->link_map, o->base, o->dynamic, (uint64_t)o->lmid };

		h = hash_bytes(h, key, sizeof(key));
		h = hash_bytes(h, o->name, strlen(o->name) + 1);
	}
	return h;
}

int rtld_read(struct rtld *r, struct rtld_list *ret)
{
	struct builder b = { .path = malloc(RTLD_MAX_PATH) };
	int err = b.path ? read_namespaces(r, &b) : -ENOMEM;

	reader_reset(&r->reader);
	free(b.path);
	if (err) {
		rtld_list_fini(&b.list);
		return err;
	}
	b.list.seq = hash_list(&b.list);
	log_at(LOG_RTLD, 2, 0, 0, "%zu link maps, state %d", b.list.n, (int)b.list.state);
	rtld_list_fini(ret);
	*ret = b.list;
	return 0;
}
