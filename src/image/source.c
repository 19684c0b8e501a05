/* SPDX-License-Identifier: MIT */
/*
 * Places in the source: the DWARF of an object's own file, else of its separate debug
 * file. Files are opened at the first request, as every file of an object is.
 */
#include "image/inside.h"

#include <errno.h>
#include <unistd.h>

#include "util/scope.h"

/* The obj with the DWARF of o's own file. */
static int load_own(struct image *im, const struct image_object *o, struct obj *file)
{
	const struct procfs_map *m = &im->maps[o->first_map].m;
	_cleanup_close_ int fd = -1;

	if (!m->inode)
		return -ENOENT;
	fd = image_open_file(im->origin, im->origin_arg, im->pid, m);
	return fd < 0 ? fd : obj_lines_load(file, fd);
}

/* Of its debug file, which the image keeps from now on. */
static int load_separate(struct image *im, const struct image_object *o, struct obj *file)
{
	struct image_slot *slot = &im->slots[o - im->objects];
	_cleanup_close_ int root = image_open_root(im), fd = -1;
	struct obj *debug;
	int err = root < 0 ? -ENOENT : image_find_debug(im, o, file, root, &fd, &debug);

	if (err)
		return err;
	err = obj_lines_load(debug, fd);
	if (err || atomic_load(&slot->debug)) {
		obj_unref(debug);
		return err;
	}
	atomic_store_explicit(&slot->debug, debug, memory_order_release);
	atomic_store_explicit(&slot->debug_known, true, memory_order_release);
	return 0;
}

/* Under im->lock: the file with the DWARF, borrowed. */
static int find_lines(struct image *im, const struct image_object *o, struct obj *file,
		      struct obj **ret)
{
	struct image_slot *slot = &im->slots[o - im->objects];
	int err = slot->lines_err;

	if (err || slot->lines)
		goto out;
	err = load_own(im, o, file);
	if (!err)
		slot->lines = file;
	if (err == -ENOENT || err == -ENOEXEC || err == -ESTALE)
		err = load_separate(im, o, file);
	if (!err && !slot->lines)
		slot->lines = atomic_load(&slot->debug);
	if (err == -ENOENT || err == -ENOTSUP || err == -E2BIG)
		slot->lines_err = err;
out:
	*ret = slot->lines;
	return err;
}

int image_places(struct image *im, uint64_t addr, struct obj_place *ret, size_t *ret_n)
{
	const struct image_object *o = image_object_at(im, addr);
	struct obj *file, *lines = NULL;
	int err = o ? image_object_obj(im, o, &file) : -ENOENT;

	if (err)
		return -ENOENT;
	pthread_mutex_lock(&im->lock);
	err = find_lines(im, o, file, &lines);
	pthread_mutex_unlock(&im->lock);
	return err ? err : obj_lines_at(lines, addr - o->base, ret, ret_n);
}
