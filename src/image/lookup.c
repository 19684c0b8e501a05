/* SPDX-License-Identifier: MIT */
/*
 * Answers from a snapshot: what holds an address, what bears a name. No lock, no
 * allocation, but for the first look-up in an object, which opens its file.
 */
#include "image/inside.h"

#include <errno.h>
#include <string.h>

/* The last mapping that begins at or below addr; no branch depends on what is
 * compared. */
const struct image_map *image_map_at(const struct image *im, uint64_t addr)
{
	const uint64_t *base = im->starts;
	size_t len = im->nmaps;
	const struct image_map *map;

	if (!len || addr < *base)
		return NULL;
	while (len > 1) {
		size_t half = len / 2;

		base += base[half] <= addr ? half : 0;
		len -= half;
	}
	map = &im->maps[base - im->starts];
	return addr < map->m.end ? map : NULL;
}

const struct image_object *image_object_at(const struct image *im, uint64_t addr)
{
	const struct image_map *map = image_map_at(im, addr);

	/* An object may end within its last mapping: see runs.c about the bss. */
	return map && map->object && addr < map->object->end ? map->object : NULL;
}

/* --- names ------------------------------------------------------------------------ */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* How well a name fits an object; the higher the better, 0 not at all. */
enum fit {
	FIT_NOT,    /* another object */
	FIT_PREFIX, /* the base name up to a dot */
	FIT_BASE,   /* the base name */
	FIT_PATH,   /* the full path */
	FIT_ROLE,   /* the program or the dynamic linker, by that name */
};

static enum fit fit_path(const char *path, const char *name)
{
	const char *base = base_name(path);
	size_t len = strlen(name);

	if (!*path || !len)
		return FIT_NOT;
	if (!strcmp(path, name))
		return FIT_PATH;
	if (!strcmp(base, name))
		return FIT_BASE;
	return !strncmp(base, name, len) && base[len] == '.' ? FIT_PREFIX : FIT_NOT;
}

static enum fit fit_object(const struct image *im, const struct image_object *o,
			   const char *name)
{
	enum fit by_path, by_link;

	if (o->is_exec && !strcmp(name, IMAGE_EXEC))
		return FIT_ROLE;
	if (o->is_ldso && !strcmp(name, IMAGE_LDSO))
		return FIT_ROLE;
	by_path = fit_path(o->path, name);
	by_link = fit_path(im->slots[o - im->objects].link_name, name);
	return by_path > by_link ? by_path : by_link;
}

static bool is_in(const struct image_object *o, long lmid)
{
	return lmid == IMAGE_ANY_LMID || o->lmid == lmid;
}

const struct image_object *image_object_named(const struct image *im, long lmid,
					      const char *name)
{
	const struct image_object *best = NULL;
	enum fit best_fit = FIT_NOT;

	for (size_t i = 0; i < im->nobjects; i++) {
		enum fit fit;

		if (!is_in(&im->objects[i], lmid))
			continue;
		fit = fit_object(im, &im->objects[i], name);
		if (fit > best_fit) {
			best = &im->objects[i];
			best_fit = fit;
		}
	}
	return best;
}

/* --- symbols ---------------------------------------------------------------------- */

/* An address of a 32-bit process wraps at 32 bits. */
static uint64_t wrap(const struct obj *file, uint64_t addr)
{
	return obj_class(file) == ELFCLASS32 ? (uint32_t)addr : addr;
}

/* From the file's addresses to the process's. Absolute and thread-local symbols have
 * none. */
static void relocate(const struct image_object *o, const struct obj *file,
		     struct image_symbol *s)
{
	s->object = o;
	if (s->s.sym.st_shndx == SHN_ABS || ELF64_ST_TYPE(s->s.sym.st_info) == STT_TLS)
		return;
	s->s.sym.st_value = wrap(file, s->s.sym.st_value + o->base);
}

int image_lookup_addr(struct image *im, uint64_t addr, struct image_symbol *ret)
{
	const struct image_object *o = image_object_at(im, addr);
	struct obj_symbol found;
	struct obj *file, *debug;
	uint64_t at;

	if (!o || image_object_obj(im, o, &file))
		return -ENOENT;
	at = wrap(file, addr - o->base);
	debug = image_object_debug(im, o, file);
	if ((!debug || obj_lookup_addr(debug, at, &found)) &&
	    obj_lookup_addr(file, at, &found))
		return -ENOENT;
	ret->s = found;
	relocate(o, file, ret);
	return 0;
}

int image_object_iter(struct image *im, const struct image_object *o,
		      enum obj_table table, obj_symbol_f *fn, void *arg)
{
	struct obj *file, *debug = NULL;
	int err = image_object_obj(im, o, &file);

	if (err)
		return err;
	if (table == OBJ_SYMTAB)
		debug = image_object_debug(im, o, file);
	return obj_iter(debug ? debug : file, table, fn, arg);
}

int image_object_symbol(struct image *im, const struct image_object *o, const char *name,
			struct image_symbol *ret)
{
	struct obj_symbol found;
	struct obj *file, *debug;

	if (image_object_obj(im, o, &file))
		return -ENOENT;
	debug = image_object_debug(im, o, file);
	if ((!debug || obj_lookup_name(debug, name, &found)) &&
	    obj_lookup_name(file, name, &found))
		return -ENOENT;
	ret->s = found;
	relocate(o, file, ret);
	return 0;
}

int image_lookup_name(struct image *im, long lmid, const char *oname, const char *name,
		      struct image_symbol *ret)
{
	if (oname) {
		const struct image_object *o = image_object_named(im, lmid, oname);

		return o ? image_object_symbol(im, o, name, ret) : -ENXIO;
	}
	for (size_t i = 0; i < im->nobjects; i++) {
		if (is_in(&im->objects[i], lmid) &&
		    !image_object_symbol(im, &im->objects[i], name, ret))
			return 0;
	}
	return -ENOENT;
}
