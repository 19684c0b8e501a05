/* SPDX-License-Identifier: MIT */
/*
 * Mappings and objects, as the current snapshot shows them. What is lent (Paddr_to_map …)
 * is a copy in the handle; what is asked for and not found is looked for in a newer
 * snapshot.
 */
#include <errno.h>
#include <string.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

static void fill(const struct procfs_map *m, prmap_t *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->pr_vaddr = m->start;
	ret->pr_size = m->end - m->start;
	ret->pr_offset = (off_t)m->offset;
	ret->pr_mflags = (m->prot & 1 ? MA_READ : 0) | (m->prot & 2 ? MA_WRITE : 0) |
			 (m->prot & 4 ? MA_EXEC : 0) | (m->shared ? MA_SHARED : 0) |
			 (m->inode ? 0 : MA_ANON);
	ret->pr_dev_major = m->dev_major;
	ret->pr_dev_minor = m->dev_minor;
	ret->pr_inode = m->inode;
}

static const char *name_of(const struct procfs_map *m)
{
	return *m->path ? m->path : NULL;
}

int Pmapping_iter(struct ps_prochandle *P, proc_map_f *fn, void *arg)
{
	struct image *im = maps_take_current(P);
	const struct image_map *maps;
	prmap_t map;
	size_t n;
	int rc = 0;

	if (!im)
		return -1;
	maps = image_maps(im, &n);
	for (size_t i = 0; i < n && !rc; i++) {
		fill(&maps[i].m, &map);
		rc = fn(arg, &map, name_of(&maps[i].m));
	}
	image_unref(im);
	return rc;
}

int Pobject_iter(struct ps_prochandle *P, proc_map_f *fn, void *arg)
{
	struct image *im = maps_take_current(P);
	const struct image_object *objs;
	const struct image_map *maps;
	size_t n, nmaps;
	prmap_t map;
	int rc = 0;

	if (!im)
		return -1;
	objs = image_objects(im, &n);
	maps = image_maps(im, &nmaps);
	for (size_t i = 0; i < n && !rc; i++) {
		fill(&maps[objs[i].first_map].m, &map);
		rc = fn(arg, &map, objs[i].path);
	}
	image_unref(im);
	return rc;
}

/* Lends the mapping through the handle. */
static const prmap_t *lend(struct ps_prochandle *P, const struct image_map *m)
{
	const prmap_t *map = NULL;

	if (m) {
		fill(&m->m, &P->lent_map);
		map = &P->lent_map;
	}
	return map;
}

const prmap_t *Paddr_to_map(struct ps_prochandle *P, uintptr_t addr)
{
	const prmap_t *map;

	handle_lock(P);
	map = maps_image(P) ? lend(P, image_map_at(P->image, addr)) : NULL;
	if (!map && P->image && maps_may_be_old(P) && !maps_refresh(P))
		map = lend(P, image_map_at(P->image, addr));
	handle_unlock(P);
	return map;
}

static const struct image_object *object_named(struct ps_prochandle *P, long lmid,
					       const char *name)
{
	const struct image_object *o;

	if (!maps_image(P))
		return NULL;
	o = image_object_named(P->image, lmid, name);
	if (!o && maps_may_be_old(P) && !maps_refresh(P))
		o = image_object_named(P->image, lmid, name);
	return o;
}

const prmap_t *Plmid_to_map(struct ps_prochandle *P, Lmid_t lmid, const char *name)
{
	const char *want = maps_object_name(name);
	const struct image_object *o;
	const prmap_t *map = NULL;
	size_t n;

	handle_lock(P);
	o = want ? object_named(P, maps_lmid(lmid), want) : NULL;
	if (o)
		map = lend(P, &image_maps(P->image, &n)[o->first_map]);
	handle_unlock(P);
	return map;
}

const prmap_t *Pname_to_map(struct ps_prochandle *P, const char *name)
{
	return Plmid_to_map(P, PR_LMID_EVERY, name);
}

static uintptr_t data_base(const struct image *im, const struct image_object *o)
{
	const struct image_map *maps;
	size_t n;

	maps = image_maps(im, &n);
	for (size_t i = o->first_map; i < n && maps[i].m.start < o->end; i++)
		if (maps[i].object == o && maps[i].m.prot & 2)
			return maps[i].m.start;
	return 0;
}

static const struct image_object *object_at(struct ps_prochandle *P, uint64_t addr)
{
	const struct image_object *o;

	if (!maps_image(P))
		return NULL;
	o = image_object_at(P->image, addr);
	if (!o && maps_may_be_old(P) && !maps_refresh(P))
		o = image_object_at(P->image, addr);
	return o;
}

const rd_loadobj_t *Paddr_to_loadobj(struct ps_prochandle *P, uintptr_t addr)
{
	const struct image_object *o;
	rd_loadobj_t *lent = NULL;

	handle_lock(P);
	o = object_at(P, addr);
	if (o) {
		lent = &P->lent_object;
		memset(lent, 0, sizeof(*lent));
		lent->rl_base = o->base;
		lent->rl_bend = o->end;
		lent->rl_dynamic = o->dynamic;
		lent->rl_lmident = o->lmid;
		lent->rl_data_base = data_base(P->image, o);
	}
	handle_unlock(P);
	return lent;
}

static char *copy_name(const char *name, char *buf, size_t size)
{
	if (!name || !size)
		return NULL;
	buf[0] = '\0';
	strncat(buf, name, size - 1);
	return buf;
}

char *Pobjname(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size)
{
	const struct image_object *o;
	char *name;

	handle_lock(P);
	o = object_at(P, addr);
	name = copy_name(o ? o->path : NULL, buf, size);
	handle_unlock(P);
	return name;
}

int Plmid(struct ps_prochandle *P, uintptr_t addr, Lmid_t *lmid)
{
	const struct image_object *o;

	handle_lock(P);
	o = object_at(P, addr);
	if (o)
		*lmid = o->lmid;
	handle_unlock(P);
	return handle_fail(o ? 0 : -ENOENT);
}

/* The kernel's mark of a file that has been unlinked is not part of its path. */
static char *cut_deleted(char *path)
{
	static const char mark[] = " (deleted)";
	size_t len = strlen(path);

	if (len >= sizeof(mark) && !strcmp(path + len - (sizeof(mark) - 1), mark))
		path[len - (sizeof(mark) - 1)] = '\0';
	return path;
}

int live_exe(struct ps_prochandle *P, char **ret)
{
	_cleanup_free_ char *path = NULL;
	int rc = procfs_readlink(P->live.pid, "exe", &path);

	if (rc || !procfs_pidfd_alive(P->pidfd))
		return -ESRCH;
	*ret = cut_deleted(scope_take(path));
	return 0;
}

char *Pexecname(struct ps_prochandle *P, char *buf, size_t size)
{
	_cleanup_free_ char *path = NULL;
	struct image *im;
	const struct image_object *o;
	char *name;

	if (!P->ops->exe(P, &path))
		return copy_name(path, buf, size);
	im = maps_take(P);
	o = im ? image_object_named(im, IMAGE_ANY_LMID, "a.out") : NULL;
	name = copy_name(o ? o->path : NULL, buf, size);
	image_unref(im);
	return name;
}
