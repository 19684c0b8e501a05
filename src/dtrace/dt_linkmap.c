/* SPDX-License-Identifier: MIT */
/*
 * The objects of a victim as they come and go.
 *
 * One tag stands at the address that the dynamic linker passes at every change of any
 * list. A hit with all lists consistent is compared, as a whole list, with the list
 * before: what has left is told as DLCLOSE, then what has come as DLOPEN. Single states
 * (add, delete) are not trusted to tell which object they mean, and a hit that was
 * answered without us is caught up with in the same way.
 *
 * What is told is the path as the kernel shows it, found by the object's dynamic section
 * in the new snapshot; an object that has gone is told by the path it had when it came.
 * The first list of a process also brings what the linker does not list: its own file in
 * a static-PIE, the vDSO of a C library that leaves it out. A program that ends, or
 * execs, before it has a first list is told by what was mapped at its exec.
 *
 * With neither a listener nor a hook nothing is compared: the handle's maps are refreshed
 * and that is all.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dtrace/dt_impl.h"
#include "util/log.h"

/* --- lists of objects --------------------------------------------------------------- */

#define NO_OBJECT SIZE_MAX

static size_t *bucket_of(const struct dt_objects *l, uint64_t link_map,
			 const struct dt_object *o)
{
	uint64_t h = link_map * 3 + o->base * 5 + o->dynamic * 7;

	return &l->bucket[(h * 0x9e3779b97f4a7c15u >> 32) & (l->room - 1)];
}

static void enter(struct dt_objects *l, size_t i)
{
	size_t *first = bucket_of(l, l->v[i].link_map, &l->v[i]);

	l->v[i].next = *first;
	*first = i;
}

static void leave(struct dt_objects *l, size_t i)
{
	size_t *at = bucket_of(l, l->v[i].link_map, &l->v[i]);

	while (*at != i)
		at = &l->v[*at].next;
	*at = l->v[i].next;
}

static int grow(struct dt_objects *l)
{
	size_t room = l->room ? l->room * 2 : 16;
	struct dt_object *v = realloc(l->v, room * sizeof(*v));
	size_t *bucket;

	if (!v)
		return -ENOMEM;
	l->v = v;
	bucket = realloc(l->bucket, room * sizeof(*bucket));
	if (!bucket)
		return -ENOMEM;
	l->bucket = bucket;
	l->room = room;
	for (size_t i = 0; i < room; i++)
		bucket[i] = NO_OBJECT;
	for (size_t i = 0; i < l->n; i++)
		enter(l, i);
	return 0;
}

static int append(struct dt_objects *l, const struct dt_object *o, const char *path)
{
	char *copy;

	if (l->n == l->room && grow(l))
		return -ENOMEM;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	l->v[l->n] = *o;
	l->v[l->n].path = copy;
	enter(l, l->n++);
	return 0;
}

/* The last one takes its place. */
static void remove_at(struct dt_objects *l, size_t i)
{
	size_t last = l->n - 1;

	leave(l, i);
	free(l->v[i].path);
	if (i != last) {
		leave(l, last);
		l->v[i] = l->v[last];
		enter(l, i);
	}
	l->n = last;
}

static void clear(struct dt_objects *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].path);
	free(l->v);
	free(l->bucket);
	memset(l, 0, sizeof(*l));
}

/* The index of the object with this link map and place, or n. */
static size_t find(const struct dt_objects *l, uint64_t link_map,
		   const struct dt_object *o)
{
	size_t i = l->n ? *bucket_of(l, link_map, o) : NO_OBJECT;

	while (i != NO_OBJECT &&
	       !(l->v[i].link_map == link_map && l->v[i].base == o->base &&
		 l->v[i].dynamic == o->dynamic))
		i = l->v[i].next;
	return i == NO_OBJECT ? l->n : i;
}

/* --- telling ------------------------------------------------------------------------ */

static void tell(dt_proc_t *dpr, dtrace_procev_kind_t kind, const struct dt_object *o,
		 const char *path)
{
	dtrace_procev_t ev = {
		.kind = kind, .object = path, .base = o->base, .lmid = o->lmid
	};

	dt_tell(dpr, ev);
}

static void tell_new(dt_proc_t *dpr, const struct dt_object *o, const char *path)
{
	tell(dpr, DT_PROC_EV_DLOPEN, o, path);
	dt_objects_came(dpr, o, path);
	if (append(&dpr->links.known, o, path))
		log_at(LOG_CTL, 1, dpr->pid, 0, "no memory to remember %s", path);
}

/* The difference of two lists, under way. */
struct change {
	dt_proc_t *dpr;   /* whose */
	struct image *im; /* the new snapshot; NULL: it would be dear to build one */
};

static struct dt_object describe(const struct rtld_object *o)
{
	return (struct dt_object){ .link_map = o->link_map,
				   .base = o->base,
				   .dynamic = o->dynamic,
				   .lmid = o->lmid };
}

static const struct image_object *by_dynamic(const struct image *im, uint64_t dynamic)
{
	const struct image_object *o = image_object_at(im, dynamic);
	size_t n;

	if (o && o->dynamic == dynamic)
		return o;
	o = image_objects(im, &n);
	for (size_t i = 0; i < n; i++)
		if (o[i].dynamic == dynamic)
			return &o[i];
	return NULL;
}

static void gone(void *arg, const struct rtld_object *obj)
{
	struct change *c = arg;
	struct dt_objects *known = &c->dpr->links.known;
	struct dt_object o = describe(obj);
	size_t i = find(known, o.link_map, &o);
	const char *path = i < known->n ? known->v[i].path : obj->name;

	if (i < known->n) {
		dt_bkpts_unmapped(c->dpr, known->v[i].start, known->v[i].end);
		dt_probes_unmapped(c->dpr, known->v[i].start, known->v[i].end);
	}
	tell(c->dpr, DT_PROC_EV_DLCLOSE, &o, path);
	dt_objects_gone(c->dpr, &o, path);
	if (i < known->n)
		remove_at(known, i);
}

/* Where its file is mapped, and under which path (untouched: not known); the snapshot is
 * built when the kernel does not tell of one mapping alone. */
static void find_file(struct change *c, struct dt_object *o, char **ret_path)
{
	const struct image_object *io;

	if (!c->im && !Pmapped_file(c->dpr->P, o->dynamic, &o->start, &o->end, ret_path))
		return;
	if (!c->im)
		c->im = Pimage(c->dpr->P);
	io = c->im ? by_dynamic(c->im, o->dynamic) : NULL;
	if (!io)
		return;
	o->start = io->start;
	o->end = io->end;
	*ret_path = strdup(io->path);
}

static void name(struct dt_objects *l, size_t i, uint64_t link_map)
{
	leave(l, i);
	l->v[i].link_map = link_map;
	enter(l, i);
}

static void came(void *arg, const struct rtld_object *obj)
{
	struct change *c = arg;
	struct dt_objects *known = &c->dpr->links.known;
	struct dt_object o = describe(obj);
	size_t i = find(known, 0, &o);
	char *path = NULL;

	find_file(c, &o, &path);
	if (i < known->n) /* told already, when no link map named it */
		name(known, i, o.link_map);
	else
		tell_new(c->dpr, &o, path ? path : obj->name);
	free(path);
}

/* --- what is mapped without a link map ---------------------------------------------- */

static bool always_there(const struct image_object *io)
{
	return io->is_exec || io->is_ldso || !strcmp(io->path, "[vdso]");
}

static struct dt_object describe_mapped(const struct image_object *io)
{
	return (struct dt_object){ .base = io->base,
				   .dynamic = io->dynamic,
				   .start = io->start,
				   .end = io->end };
}

static bool is_known(const struct dt_objects *known, const struct dt_object *o)
{
	for (size_t i = 0; i < known->n; i++)
		if (known->v[i].base == o->base && known->v[i].dynamic == o->dynamic)
			return true;
	return false;
}

static void tell_unlisted(dt_proc_t *dpr, const struct image *im)
{
	size_t n;
	const struct image_object *io = image_objects(im, &n);

	for (size_t i = 0; i < n; i++) {
		struct dt_object o = describe_mapped(&io[i]);

		if (always_there(&io[i]) && !is_known(&dpr->links.known, &o))
			tell_new(dpr, &o, io[i].path);
	}
}

bool dt_links_static(dt_proc_t *dpr)
{
	return Pgetauxval(dpr->P, AT_BASE) <= 0 && !Prtld(dpr->P);
}

bool dt_links_by_hand(dt_proc_t *dpr)
{
	return Pgetauxval(dpr->P, AT_BASE) <= 0 && Prtld(dpr->P);
}

void dt_links_early(dt_proc_t *dpr)
{
	struct image *im = Pimage(dpr->P);
	const struct image_object *io;
	size_t n;

	if (!im)
		return;
	io = image_objects(im, &n);
	for (size_t i = 0; i < n; i++) {
		struct dt_object o = describe_mapped(&io[i]);

		if (always_there(&io[i]))
			append(&dpr->links.early, &o, io[i].path);
	}
	image_unref(im);
	if (!dt_links_static(dpr))
		return;
	dt_links_flush(dpr);
	dt_objects_tell(dpr, DT_SEEN_IN_TIME);
}

void dt_links_flush(dt_proc_t *dpr)
{
	struct dt_links *l = &dpr->links;

	if (l->begun)
		return;
	l->begun = true;
	for (size_t i = 0; i < l->early.n; i++)
		tell_new(dpr, &l->early.v[i], l->early.v[i].path);
	clear(&l->early);
}

/* --- lists -------------------------------------------------------------------------- */

static void report(dt_proc_t *dpr, const struct rtld_list *list)
{
	struct change c = { dpr, Pimage_ready(dpr->P) };
	struct dt_links *l = &dpr->links;

	if (!c.im && !l->begun)
		c.im = Pimage(dpr->P);
	if (!c.im && !l->begun)
		return;
	rtld_diff(&l->list, list, gone, came, &c);
	if (!l->begun)
		tell_unlisted(dpr, c.im);
	l->begun = true;
	clear(&l->early);
	image_unref(c.im);
}

/* On the way to its first park nobody has seen a created victim: there are no maps to
 * refresh. */
static bool unseen(const dt_proc_t *dpr)
{
	return dpr->created && !dt_links_matter(dpr) && !dpr->shown &&
	       dpr->pos == DT_POS_LOADING;
}

bool dt_links_refresh(dt_proc_t *dpr, enum dt_seen seen)
{
	struct rtld_list list = { 0 };
	int rc = unseen(dpr) ? 0 : Plinkmaps(dpr->P, dt_links_matter(dpr) ? &list : NULL);

	if (rc) {
		log_at(LOG_CTL, 2, dpr->pid, 0, "link maps: %d", rc);
		if (rc == -EINVAL || rc == -ELOOP || rc == -EFAULT)
			dt_objects_senseless(dpr);
		return false;
	}
	if (!dt_links_matter(dpr))
		return true;
	if (list.state != RTLD_CONSISTENT) {
		rtld_list_fini(&list);
		return false;
	}
	report(dpr, &list);
	rtld_list_fini(&dpr->links.list);
	dpr->links.list = list;
	dt_objects_tell(dpr, seen);
	return true;
}

/* An agent of our own: the handle's is the client's to ask. */
static rd_agent_t *agent(dt_proc_t *dpr)
{
	struct dt_links *l = &dpr->links;

	if (!l->agent) {
		l->agent = rd_new(dpr->P);
		if (l->agent)
			rd_event_enable(l->agent, 1);
	}
	return l->agent;
}

bool dt_links_consistent(dt_proc_t *dpr)
{
	rd_event_msg_t msg;
	rd_err_e err;

	if (!agent(dpr))
		return false;
	err = rd_event_getmsg(dpr->links.agent, &msg);
	if (err == RD_ERR)
		dt_objects_senseless(dpr);
	if (err != RD_OK)
		return false;
	return msg.type == RD_PREINIT ||
	       (msg.type == RD_DLACTIVITY && msg.u.state == RD_CONSISTENT);
}

void dt_links_watch(dt_proc_t *dpr)
{
	rd_notify_t where;

	if (dpr->links.watch || !agent(dpr) ||
	    rd_event_addr(dpr->links.agent, RD_DLACTIVITY, &where) != RD_OK)
		return;
	if (!Ptag_set_kernel(dpr->P, where.u.bptaddr))
		dpr->links.watch = where.u.bptaddr;
	log_at(LOG_CTL, 2, dpr->pid, 0, "link maps watched at 0x%llx",
	       (unsigned long long)dpr->links.watch);
}

void dt_links_forget(dt_proc_t *dpr)
{
	dt_links_fini(dpr);
	memset(&dpr->links, 0, sizeof(dpr->links));
}

void dt_links_fini(dt_proc_t *dpr)
{
	rd_delete(dpr->links.agent);
	rtld_list_fini(&dpr->links.list);
	clear(&dpr->links.known);
	clear(&dpr->links.early);
	dt_objects_fini(dpr);
}
