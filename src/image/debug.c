/* SPDX-License-Identifier: MIT */
/*
 * Separate debug files: the .symtab, and the DWARF, of an object that was stripped (gdb's
 * manual, "Separate Debug Files").
 *
 * Looked for at the first look-up of a symbol in an object without .symtab, once, in the
 * places that everybody uses, as the victim sees them: inside its root, which no link
 * leads out of. A few microseconds where there is none. The file must say the same
 * build-id; where one of the two has none, the CRC of .gnu_debuglink decides.
 *
 * It belongs to the object of *this* snapshot, not to the shared table of the file: a
 * container that maps our libc may keep a forged debug file for it, and has lied to
 * itself only. Debug files are objs of the same cache, so processes that find the same
 * one share it.
 */
#include "image/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"
#include "util/scope.h"

#define DEBUG_ROOT "/usr/lib/debug"

/* A search for the debug file of one object. */
struct search {
	int root;                        /* directory that paths begin in */
	const struct image_object *from; /* whose */
	struct obj *file;                /* its file */
	const char *link;                /* .gnu_debuglink, or NULL */
	uint32_t crc;                    /* of that file */
	bool has_debug_root;             /* there is DEBUG_ROOT */
};

/* By what a candidate was named. */
enum named {
	BY_ID,   /* the build-id: it must have the same */
	BY_LINK, /* .gnu_debuglink: the CRC will do */
};

/* 0 the same, 1 others, -1 one has none. */
static int compare_ids(const struct obj *a, const struct obj *b)
{
	const uint8_t *x, *y;
	size_t nx, ny;

	x = obj_build_id(a, &nx);
	y = obj_build_id(b, &ny);
	if (!x || !y)
		return -1;
	return nx != ny || memcmp(x, y, nx) != 0;
}

bool image_same_id(const struct obj *a, const struct obj *b)
{
	return compare_ids(a, b) == 0;
}

static bool fits(const struct search *s, const struct obj *debug, int fd,
		 enum named named)
{
	int diff = compare_ids(s->file, debug);
	uint32_t crc;

	if (debug == s->file || obj_machine(debug) != obj_machine(s->file) ||
	    obj_class(debug) != obj_class(s->file))
		return false;
	if (diff >= 0)
		return diff == 0;
	return named == BY_LINK && !obj_crc(fd, &crc) && crc == s->crc;
}

/* 0 and the file when path is it. */
static int try(const struct search *s, const char *path, enum named named, int *ret_fd,
	       struct obj **ret)
{
	_cleanup_close_ int fd = procfs_open_inside(s->root, path, NULL);
	struct obj *debug;
	int err;

	if (fd < 0)
		return fd;
	err = obj_get_fd(fd, &debug);
	if (err)
		return err;
	if (!fits(s, debug, fd, named)) {
		obj_unref(debug);
		return -ENOENT;
	}
	*ret = debug;
	*ret_fd = scope_take_fd(&fd);
	return 0;
}

/* DEBUG_ROOT/.build-id/xx/xxxx.debug */
static int try_id(const struct search *s, int *ret_fd, struct obj **ret)
{
	char path[PATH_MAX], *to = path;
	const uint8_t *id;
	size_t n;

	id = obj_build_id(s->file, &n);
	if (!id || n < 2 || !s->has_debug_root)
		return -ENOENT;
	to += sprintf(to, DEBUG_ROOT "/.build-id/%02x/", id[0]);
	for (size_t i = 1; i < n; i++)
		to += sprintf(to, "%02x", id[i]);
	strcpy(to, ".debug");
	return try(s, path, BY_ID, ret_fd, ret);
}

/* DIR/LINK, DIR/.debug/LINK, DEBUG_ROOT/DIR/LINK */
static int try_link(const struct search *s, int *ret_fd, struct obj **ret)
{
	static const char *const forms[] = { "%s%.*s/%s", "%s%.*s/.debug/%s" };
	static const char *const roots[] = { "", "", DEBUG_ROOT };
	const char *slash = strrchr(s->from->path, '/');
	char path[PATH_MAX];
	int err = -ENOENT;

	if (!s->link || !slash)
		return -ENOENT;
	for (int i = 0; i < (s->has_debug_root ? 3 : 2) && err; i++) {
		int n = snprintf(path, sizeof(path), forms[i == 1], roots[i],
				 (int)(slash - s->from->path), s->from->path, s->link);

		if (n > 0 && (size_t)n < sizeof(path))
			err = try(s, path, BY_LINK, ret_fd, ret);
	}
	return err;
}

/* Most machines have no debug files: asked once a snapshot. */
static bool has_debug_root(struct image *im, int root)
{
	if (!im->debug_root) {
		_cleanup_close_ int fd = procfs_open_dir(root, DEBUG_ROOT);

		im->debug_root = fd >= 0 ? 1 : -1;
	}
	return im->debug_root > 0;
}

int image_open_root(const struct image *im)
{
	int root = im->origin ? -ESRCH : procfs_root(im->pid);

	/* Of a core, and of who has gone: ours, for what says the same build-id. */
	if (root == -ESRCH)
		root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root;
}

int image_find_debug(struct image *im, const struct image_object *o, struct obj *file,
		     int root, int *ret_fd, struct obj **ret)
{
	struct search s = { .root = root, .from = o, .file = file };
	int err;

	s.has_debug_root = has_debug_root(im, root);
	s.link = obj_debuglink(file, &s.crc);
	err = try_id(&s, ret_fd, ret);
	if (err)
		err = try_link(&s, ret_fd, ret);
	log_at(LOG_IMAGE, 1, im->pid, 0, "debug file of %s: %d", o->path, err);
	return err;
}

/* Under im->lock. What failed for want of memory or descriptors is tried again. */
static void find_once(struct image *im, const struct image_object *o,
		      struct image_slot *slot, struct obj *file, int root)
{
	struct obj *debug = NULL;
	int err = -ENOENT, fd = -1;

	if (atomic_load(&slot->debug_known))
		return;
	if (!obj_has_symtab(file))
		err = root < 0 ? root : image_find_debug(im, o, file, root, &fd, &debug);
	if (!err)
		close(fd);
	if (!err)
		atomic_store_explicit(&slot->debug, debug, memory_order_release);
	if (err != -ENOMEM && err != -EMFILE && err != -ENFILE)
		atomic_store_explicit(&slot->debug_known, true, memory_order_release);
}

void image_open_debug(struct image *im, const struct image_object *o, struct obj *file,
		      int root)
{
	pthread_mutex_lock(&im->lock);
	find_once(im, o, &im->slots[o - im->objects], file, root);
	pthread_mutex_unlock(&im->lock);
}

struct obj *image_object_debug(struct image *im, const struct image_object *o,
			       struct obj *file)
{
	struct image_slot *slot = &im->slots[o - im->objects];

	if (__builtin_expect(
		    !atomic_load_explicit(&slot->debug_known, memory_order_acquire), 0)) {
		_cleanup_close_ int root =
			obj_has_symtab(file) ? -1 : image_open_root(im);

		image_open_debug(im, o, file, root);
	}
	return atomic_load_explicit(&slot->debug, memory_order_acquire);
}
