/* SPDX-License-Identifier: MIT */
/*
 * An address space as it was at one moment.
 *
 * A `struct image` is built from three sources that the caller has at hand: the
 * mappings (/proc/PID/maps, read here; or those of a core, image_origin), the link maps
 * (from src/rtld, if there are any yet) and a few values of the auxiliary vector.
 * Building it is: read maps, group them into runs (runs.c), say which runs are objects
 * and which ones (objects.c), and lay the result out for look-ups (below). It opens no
 * file as long as memory and link maps tell the load biases: a snapshot must be cheap,
 * since one is made at every dlopen.
 *
 * Invariants. Immutable after image_build() returns, but for the slots, in which each
 * object's file appears at most once (or an error that stays). Mappings are sorted and
 * disjoint; every mapping with an object begins in [object->start, object->end), and
 * may end behind it. Exactly one object is the program, if any. The order of objects
 * is: the program, link maps in their order, the rest by address.
 *
 * Ownership. Counted. An image owns copies of everything but the files' tables, on
 * which its slots hold references; so symbols of a process that has exited, exec'd or
 * closed a library stay available to whoever holds the snapshot, if the file was opened
 * in time (image_open_all) or can still be found by its path and inode.
 *
 * Threads. Any thread may read an image that it has a reference on. The lock is held by
 * whoever opens a file, never by a look-up in one that is open.
 *
 * When the victim dies right here: the maps are -ESRCH or empty, headers come from
 * files, the vDSO has no symbols. When it changes its mappings while we read them, the
 * snapshot shows some of both; the rtld events that follow make the next one.
 *
 * Trust. Base addresses and names come from the victim. They are used in arithmetic and
 * comparisons only; a lie leads to wrong symbols for the liar.
 */
#include "image/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/inside.h"
#include "util/log.h"

enum {
	VDSO_LIMIT = 64 << 10, /* bytes; it has one to four pages */
};

/* --- order ------------------------------------------------------------------------ */

/* An object on its way into the order. */
struct ordered {
	unsigned kind;  /* 0 the program, 1 by link map, 2 the rest */
	long lmid;      /* namespace */
	uint64_t place; /* link map: position in the list; else the address */
	uint32_t run;   /* index of its run */
};

static struct ordered order_of(const struct image_runs *r, size_t i)
{
	const struct image_run *run = &r->run[i];
	struct ordered o = { .kind = 2, .place = run->start, .run = (uint32_t)i };

	if (run->link) {
		o.kind = 1;
		o.lmid = run->link->lmid;
		o.place = (uint64_t)(run->link - r->src->link);
	}
	if (run->is_exec)
		o.kind = 0;
	return o;
}

static int compare_order(const void *pa, const void *pb)
{
	const struct ordered *a = pa, *b = pb;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->lmid != b->lmid)
		return a->lmid < b->lmid ? -1 : 1;
	return (a->place > b->place) - (a->place < b->place);
}

/* --- laying out ------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* Copies the names of all link maps that were used; slots point into the copy. */
static int copy_names(struct image *im, const struct image_runs *r,
		      const struct ordered *order)
{
	size_t size = 1;
	char *to;

	for (size_t i = 0; i < im->nobjects; i++) {
		const struct rtld_object *link = r->run[order[i].run].link;

		size += link && link->name ? strlen(link->name) + 1 : 0;
	}
	to = im->names = calloc(1, size);
	if (!to)
		return -ENOMEM;
	to++;
	for (size_t i = 0; i < im->nobjects; i++) {
		const struct rtld_object *link = r->run[order[i].run].link;

		im->slots[i].link_name = im->names;
		if (!link || !link->name)
			continue;
		im->slots[i].link_name = to;
		to = stpcpy(to, link->name) + 1;
	}
	return 0;
}

static void fill_object(const struct image *im, const struct image_run *run,
			struct image_object *o)
{
	const struct procfs_map *m = &im->raw[run->first];

	*o = (struct image_object){
		.path = run->is_file ? m->path : "[vdso]",
		.base = run->base,
		.start = run->start,
		.end = run->end,
		.dynamic = run->dynamic,
		.lmid = run->link ? run->link->lmid : 0,
		.is_exec = run->is_exec,
		.is_ldso = run->is_ldso,
		.in_linkmap = run->link != NULL,
		.deleted = m->deleted,
		.first_map = run->first,
	};
	o->name = base_name(o->path);
}

/* Objects in order, and for each run the object that it became. */
static int lay_objects(struct image *im, const struct image_runs *r,
		       const struct image_object **of_run)
{
	struct ordered *order = malloc((r->nrun + 1) * sizeof(*order));
	int err;

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < r->nrun; i++) {
		if (r->run[i].is_object)
			order[im->nobjects++] = order_of(r, i);
	}
	qsort(order, im->nobjects, sizeof(*order), compare_order);
	im->objects = calloc(im->nobjects + 1, sizeof(*im->objects));
	im->slots = calloc(im->nobjects + 1, sizeof(*im->slots));
	err = im->objects && im->slots ? copy_names(im, r, order) : -ENOMEM;
	for (size_t i = 0; !err && i < im->nobjects; i++) {
		fill_object(im, &r->run[order[i].run], &im->objects[i]);
		of_run[order[i].run] = &im->objects[i];
	}
	free(order);
	return err;
}

static int lay_maps(struct image *im, const struct image_runs *r,
		    const struct image_object *const *of_run)
{
	im->maps = malloc((im->nmaps + 1) * sizeof(*im->maps));
	im->starts = malloc((im->nmaps + 1) * sizeof(*im->starts));
	if (!im->maps || !im->starts)
		return -ENOMEM;
	for (size_t i = 0; i < im->nmaps; i++) {
		uint32_t run = r->of_map[i];

		im->maps[i].m = im->raw[i];
		im->maps[i].object = run == IMAGE_NO_RUN ? NULL : of_run[run];
		im->starts[i] = im->raw[i].start;
	}
	return 0;
}

static int lay_out(struct image *im, const struct image_runs *r)
{
	const struct image_object **of_run = calloc(r->nrun + 1, sizeof(*of_run));
	int err;

	if (!of_run)
		return -ENOMEM;
	err = lay_objects(im, r, of_run);
	if (!err)
		err = lay_maps(im, r, of_run);
	free(of_run);
	return err;
}

/* Copies the vDSO, which is in no file. Without it there are no symbols for it. */
static void copy_vdso(struct image *im, const struct image_runs *r)
{
	const struct image_run *run = NULL;
	size_t len;

	for (size_t i = 0; i < r->nrun && !run; i++) {
		if (!r->run[i].is_file)
			run = &r->run[i];
	}
	if (!run || !r->src->mem)
		return;
	len = run->end - run->start < VDSO_LIMIT ? run->end - run->start : VDSO_LIMIT;
	im->vdso = malloc(len);
	im->vdso_len = len;
	if (im->vdso && !mem_read_all(r->src->mem, run->start, im->vdso, len))
		return;
	free(im->vdso);
	im->vdso = NULL;
}

static int read_maps(struct image *im, const struct image_source *src)
{
	if (src->origin)
		return src->origin->maps(src->origin_arg, &im->raw, &im->nmaps);
	return procfs_maps(src->pid, src->tid, &im->raw, &im->nmaps);
}

static int build(struct image *im, const struct image_source *src)
{
	struct image_runs r = { .src = src };
	int err = read_maps(im, src);

	if (err)
		return err;
	r.maps = im->raw;
	r.nmaps = im->nmaps;
	err = image_runs_make(&r);
	if (!err) {
		image_runs_name(&r);
		err = r.err ? r.err : lay_out(im, &r);
	}
	if (!err)
		copy_vdso(im, &r);
	image_runs_fini(&r);
	return err;
}

/* The one teardown list. */
static void free_image(struct image *im)
{
	for (size_t i = 0; im->slots && i < im->nobjects; i++) {
		obj_unref(atomic_load(&im->slots[i].file));
		obj_unref(atomic_load(&im->slots[i].debug));
	}
	pthread_mutex_destroy(&im->lock);
	jit_map_free(atomic_load(&im->jit));
	free(im->vdso);
	free(im->names);
	free(im->slots);
	free(im->objects);
	free(im->starts);
	free(im->maps);
	free(im->raw);
	if (im->origin)
		im->origin->unref(im->origin_arg);
	free(im);
}

int image_build(const struct image_source *src, struct image **ret)
{
	struct image *im = calloc(1, sizeof(*im));
	int err;

	if (!im)
		return -ENOMEM;
	atomic_init(&im->refs, 1);
	pthread_mutex_init(&im->lock, NULL);
	im->pid = src->tid ? src->tid : src->pid;
	im->origin = src->origin;
	im->origin_arg = src->origin_arg;
	if (im->origin)
		im->origin->ref(im->origin_arg);
	err = build(im, src);
	if (err) {
		free_image(im);
		return err;
	}
	log_at(LOG_IMAGE, 1, src->pid, src->tid, "snapshot: %zu mappings, %zu objects",
	       im->nmaps, im->nobjects);
	*ret = im;
	return 0;
}

struct image *image_ref(struct image *im)
{
	atomic_fetch_add_explicit(&im->refs, 1, memory_order_relaxed);
	return im;
}

void image_unref(struct image *im)
{
	if (im && atomic_fetch_sub(&im->refs, 1) == 1)
		free_image(im);
}

const struct image_map *image_maps(const struct image *im, size_t *ret_n)
{
	*ret_n = im->nmaps;
	return im->maps;
}

const struct image_object *image_objects(const struct image *im, size_t *ret_n)
{
	*ret_n = im->nobjects;
	return im->objects;
}
