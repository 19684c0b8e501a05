/* SPDX-License-Identifier: MIT */
/*
 * The files behind a snapshot: opened at the first need, remembered, shared through the
 * cache of src/obj.
 */
#include "image/inside.h"

#include <errno.h>
#include <unistd.h>

#include "util/log.h"
#include "util/scope.h"

/*
 * Through the victim's own files; when the victim has gone meanwhile, by the same path
 * in our root. Either way the inode is compared with the mapping's, so that what is
 * opened is the file that was mapped, whoever has the pid now.
 */
int image_open_file(const struct image_origin *origin, void *arg, pid_t pid,
		    const struct procfs_map *m)
{
	int fd;

	if (origin)
		return origin->open(arg, m);
	fd = procfs_open_mapped(pid, m);
	if (fd == -ESRCH || fd == -ENOENT)
		fd = procfs_open_mapped(getpid(), m);
	return fd;
}

static int open_object(struct image *im, const struct image_object *o, struct obj **ret)
{
	const struct procfs_map *m = &im->maps[o->first_map].m;
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (!m->inode)
		return im->vdso ? obj_get_common(im->vdso, im->vdso_len, ret) : -ENOENT;
	if (!im->origin && !procfs_stat_mapped(im->pid, m, &st)) {
		*ret = obj_get_known(&st); /* a program that was seen before: most are */
		if (*ret)
			return 0;
	}
	fd = image_open_file(im->origin, im->origin_arg, im->pid, m);
	return fd >= 0 ? obj_get_fd(fd, ret) : fd;
}

int image_object_open(struct image *im, const struct image_object *o)
{
	const struct procfs_map *m = &im->maps[o->first_map].m;

	return m->inode ? image_open_file(im->origin, im->origin_arg, im->pid, m)
			: -ENOENT;
}

const uint8_t *image_object_bytes(const struct image *im, const struct image_object *o,
				  size_t *ret_n)
{
	if (im->maps[o->first_map].m.inode || !im->vdso)
		return NULL;
	*ret_n = im->vdso_len;
	return (const uint8_t *)im->vdso;
}

/* Failures that may pass are not remembered. */
static bool is_lasting(int err)
{
	return err != -ENOMEM && err != -EMFILE && err != -ENFILE && err != -EINTR;
}

/* Under im->lock. */
static int open_slot(struct image *im, const struct image_object *o,
		     struct image_slot *slot)
{
	struct obj *file;
	int err = open_object(im, o, &file);

	if (!err)
		atomic_store_explicit(&slot->file, file, memory_order_release);
	else if (is_lasting(err))
		atomic_store(&slot->err, err);
	log_at(LOG_IMAGE, 1, im->pid, 0, "open %s: %d", o->path, err);
	return err;
}

/* The slow way: nobody has opened it yet, or somebody failed to. */
static int open_once(struct image *im, const struct image_object *o,
		     struct image_slot *slot)
{
	int err = atomic_load(&slot->err);

	if (err)
		return err;
	pthread_mutex_lock(&im->lock);
	err = atomic_load(&slot->err);
	if (!err && !atomic_load(&slot->file))
		err = open_slot(im, o, slot);
	pthread_mutex_unlock(&im->lock);
	return err;
}

int image_object_obj(struct image *im, const struct image_object *o, struct obj **ret)
{
	struct image_slot *slot = &im->slots[o - im->objects];
	struct obj *file = atomic_load_explicit(&slot->file, memory_order_acquire);

	if (__builtin_expect(!file, 0)) {
		int err = open_once(im, o, slot);

		if (err)
			return err;
		file = atomic_load_explicit(&slot->file, memory_order_acquire);
	}
	*ret = file;
	return 0;
}

/* What `im` has of the file whose first mapping is m, at the same place. */
static struct obj *find_same(struct image *im, const struct procfs_map *m)
{
	const struct image_map *at = image_map_at(im, m->start);
	const struct image_object *o = at ? at->object : NULL;
	const struct procfs_map *had = at ? &at->m : NULL;

	if (!o || &im->maps[o->first_map] != at || had->start != m->start ||
	    had->inode != m->inode || had->offset != m->offset ||
	    had->dev_major != m->dev_major || had->dev_minor != m->dev_minor)
		return NULL;
	return atomic_load(&im->slots[o - im->objects].file);
}

void image_adopt(struct image *im, struct image *old)
{
	for (size_t i = 0; i < im->nobjects; i++) {
		const struct procfs_map *m = &im->maps[im->objects[i].first_map].m;
		struct obj *file = m->inode ? find_same(old, m) : NULL;

		if (file && !atomic_load(&im->slots[i].file))
			atomic_store(&im->slots[i].file, obj_ref(file));
	}
}

void image_open_all(struct image *im)
{
	_cleanup_close_ int root = image_open_root(im);
	struct obj *file;

	for (size_t i = 0; i < im->nobjects; i++) {
		if (!image_object_obj(im, &im->objects[i], &file))
			image_open_debug(im, &im->objects[i], file, root);
	}
	image_open_jit(im);
}
