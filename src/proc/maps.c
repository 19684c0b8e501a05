/* SPDX-License-Identifier: MIT */
/*
 * The handle's snapshot of the address space: built at first need, swapped whole, looked
 * up without a lock by whoever holds a reference.
 *
 * A snapshot grows old when the victim runs: an explicit Pupdate_maps(), a changed link
 * map (Plinkmaps) or a look-up that misses builds the next one, the last not more often
 * than every 50 ms. Once the process is gone the last snapshot stays: symbols outlive it.
 *
 * The kernel writes the maps anew for each reading, about a microsecond a mapping: of a
 * process with a thousand libraries 5 ms, at each dlopen. So where a snapshot has more
 * than DEAR_MAPS, those for link maps take a part in SHARE of the time at most; in
 * between the next is *due*, and built by whoever asks for one. What such a process has
 * loaded in the last moments before its death (SHARE times the cost) nobody may have
 * seen.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

enum {
	MISS_NS = 50 * 1000000,
	RECENT_NS = 1000000000,
	DEAR_MAPS = 1000,
	SHARE = 8,
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- the dynamic linker ------------------------------------------------------------- */

int live_maps(struct ps_prochandle *P, struct procfs_map **ret, size_t *ret_n)
{
	return procfs_maps(P->live.pid, 0, ret, ret_n);
}

int live_open_mapped(struct ps_prochandle *P, const struct procfs_map *m)
{
	return procfs_open_mapped(P->live.pid, m);
}

/* The obj of the file mapped at base, straight from the maps: there is no snapshot
 * yet. */
static int ldso_obj(struct ps_prochandle *P, uint64_t base, struct obj **ret)
{
	_cleanup_free_ struct procfs_map *maps = NULL;
	_cleanup_close_ int fd = -ENOENT;
	size_t n;
	int rc = P->ops->maps(P, &maps, &n);

	if (rc)
		return rc;
	for (size_t i = 0; i < n && fd < 0; i++)
		if (base >= maps[i].start && base < maps[i].end)
			fd = P->ops->open_mapped(P, &maps[i]);
	return fd < 0 ? fd : obj_get_fd(fd, ret);
}

/* The dynamic linker's file while the agent is made. */
struct ldso {
	struct ps_prochandle *P; /* whose */
	struct obj *obj;         /* NULL: not opened yet */
};

static uint64_t ldso_symbol(void *arg, const char *name)
{
	struct ldso *l = arg;
	uint64_t base = data_auxval(l->P, AT_BASE);
	struct obj_symbol sym;

	if (!base || (!l->obj && ldso_obj(l->P, base, &l->obj)) ||
	    obj_lookup_name(l->obj, name, &sym))
		return 0;
	return base + sym.sym.st_value;
}

struct rtld *maps_rtld(struct ps_prochandle *P)
{
	struct ldso ldso = { .P = P };
	struct rtld_target target = {
		.mem = memory_seam(P),
		.at_base = data_auxval(P, AT_BASE),
		.at_phdr = data_auxval(P, AT_PHDR),
		.at_phnum = data_auxval(P, AT_PHNUM),
		.at_entry = data_auxval(P, AT_ENTRY),
		.ldso_symbol = ldso_symbol,
		.arg = &ldso,
	};

	if (P->rtld || P->rtld_tried || P->state == PS_UNDEAD)
		return P->rtld;
	P->rtld_tried = true;
	if (rtld_new(&target, &P->rtld))
		P->rtld = NULL;
	obj_unref(ldso.obj);
	return P->rtld;
}

/* --- snapshots ---------------------------------------------------------------------- */

static int build_once(struct ps_prochandle *P, const struct rtld_list *list,
		      struct image **ret)
{
	struct mem m = memory_seam(P);
	struct image_source src = {
		.origin = P->core ? &dead_origin : NULL,
		.origin_arg = P->core,
		.pid = P->pid,
		.tid = P->live.pid == P->pid ? 0 : P->live.pid,
		.at_base = data_auxval(P, AT_BASE),
		.at_phdr =
			P->core ? core_auxval(P->core, AT_PHDR) : data_auxval(P, AT_PHDR),
		.at_vdso = data_auxval(P, AT_SYSINFO_EHDR),
		.link = list->objs,
		.nlink = list->n,
		.mem = &m,
	};

	return image_build(&src, ret);
}

/* The maps of a leader that has ended are empty. */
static bool is_empty(const struct image *im)
{
	size_t n;

	image_maps(im, &n);
	return n == 0;
}

static uint64_t address_space(struct ps_prochandle *P)
{
	struct procfs_stat st;

	return P->core || procfs_stat(P->live.pid, 0, &st) ? 0 : st.vsize;
}

static int build(struct ps_prochandle *P, const struct rtld_list *list)
{
	uint64_t begin = now_ns(), vsize = address_space(P);
	struct image *next = NULL;
	int rc = build_once(P, list, &next);

	if ((rc == -ESRCH || (!rc && is_empty(next))) && !memory_rehome(P)) {
		image_unref(next);
		next = NULL;
		rc = build_once(P, list, &next);
	}
	if (!rc && (is_empty(next) || !P->ops->alive(P))) {
		image_unref(next); /* it died meanwhile: the last snapshot is better */
		rc = -ESRCH;
	}
	if (rc)
		return rc;
	if (P->image)
		image_adopt(next, P->image);
	image_unref(P->image);
	P->image = next;
	P->image_ns = now_ns();
	P->image_vsize = vsize;
	P->image_cost = P->image_ns - begin;
	P->image_due = false;
	P->image_old = !P->allstop; /* else it may have changed already */
	P->link_seq = list->seq;
	return 0;
}

int maps_refresh(struct ps_prochandle *P)
{
	struct rtld_list list = { 0 };
	struct rtld *r;
	int rc;

	if (P->state == PS_UNDEAD || !P->ops->alive(P))
		return -ESRCH;
	identity_renew(P);
	r = maps_rtld(P);
	if (r)
		rtld_read(r, &list); /* without link maps when they cannot be had */
	rc = build(P, &list);
	rtld_list_fini(&list);
	return rc;
}

struct image *maps_image(struct ps_prochandle *P)
{
	int rc = P->image && !P->image_due ? 0 : maps_refresh(P);

	if (rc == -ESRCH && P->image) { /* of the dead: the last */
		P->image_due = false;
		rc = 0;
	}
	if (rc)
		errno = -rc;
	return rc ? NULL : P->image;
}

/* The hottest path of all: no system call, and nothing in it can be cancelled. */
static struct image *take_ready(struct ps_prochandle *P)
{
	struct image *im;

	pthread_mutex_lock(&P->lock);
	im = P->image_due ? NULL : P->image;
	if (im)
		image_ref(im);
	pthread_mutex_unlock(&P->lock);
	return im;
}

struct image *maps_take(struct ps_prochandle *P)
{
	struct image *im = take_ready(P);

	if (im)
		return im;
	handle_lock(P);
	im = maps_image(P);
	if (im)
		image_ref(im);
	handle_unlock(P);
	return im;
}

/* What stands under our control since the snapshot cannot have changed; anything else
 * may. */
bool maps_may_be_old(const struct ps_prochandle *P)
{
	if (P->core)
		return false;
	if (P->hold && P->allstop)
		return P->image_old;
	return now_ns() - P->image_ns > MISS_NS;
}

/* For whoever asks what the mappings are, not what an address was. */
struct image *maps_take_current(struct ps_prochandle *P)
{
	handle_lock(P);
	if (P->image && !P->core &&
	    (P->image_due || P->image_old || !P->hold || !P->allstop))
		maps_refresh(P); /* once it is dead: the last */
	handle_unlock(P);
	return maps_take(P);
}

struct image *maps_take_recent(struct ps_prochandle *P)
{
	struct image *im = NULL;

	handle_lock(P);
	identity_renew(P); /* forgets the snapshot of another program */
	if (P->image && !P->image_due && P->image_vsize &&
	    now_ns() - P->image_ns < RECENT_NS && address_space(P) == P->image_vsize)
		im = image_ref(P->image);
	handle_unlock(P);
	return im ? im : maps_take_current(P);
}

struct image *maps_take_fresh(struct ps_prochandle *P, struct image *stale)
{
	struct image *im = NULL;

	handle_lock(P);
	if (P->image == stale && (P->image_due || maps_may_be_old(P)))
		maps_refresh(P);
	if (P->image && P->image != stale)
		im = image_ref(P->image);
	handle_unlock(P);
	return im;
}

void maps_reset(struct ps_prochandle *P)
{
	image_unref(P->image);
	P->image = NULL;
	rtld_free(P->rtld);
	P->rtld = NULL;
	P->rtld_tried = false;
	P->link_seq = 0;
	P->image_due = false;
}

struct image *Pimage(struct ps_prochandle *P)
{
	return maps_take(P);
}

struct image *Pimage_current(struct ps_prochandle *P)
{
	return maps_take_current(P);
}

struct image *Pimage_ready(struct ps_prochandle *P)
{
	return take_ready(P);
}

int Pmapped_file(struct ps_prochandle *P, uint64_t addr, uint64_t *ret_start,
		 uint64_t *ret_end, char **ret_path)
{
	int rc = -ENOTTY;

	handle_lock(P);
	if (!P->core)
		rc = procfs_mapped_file(P->live.pid, 0, addr, ret_start, ret_end,
					ret_path);
	handle_unlock(P);
	return rc;
}

struct rtld *Prtld(struct ps_prochandle *P)
{
	struct rtld *r;

	handle_lock(P);
	r = maps_rtld(P);
	handle_unlock(P);
	return r;
}

/* The link maps are others than those of the snapshot. */
static int renew(struct ps_prochandle *P, const struct rtld_list *list)
{
	size_t n = 0;

	if (P->image)
		image_maps(P->image, &n);
	if (n <= DEAR_MAPS || now_ns() - P->image_ns > SHARE * P->image_cost)
		return build(P, list);
	P->image_due = true;
	return 0;
}

int Plinkmaps(struct ps_prochandle *P, struct rtld_list *ret_list)
{
	struct rtld_list list = { 0 };
	struct rtld *r;
	int rc;

	handle_lock(P);
	r = maps_rtld(P);
	rc = r ? rtld_read(r, &list) : -ENOENT;
	if (!rc && (!P->image || list.seq != P->link_seq))
		rc = renew(P, &list);
	handle_unlock(P);
	if (!rc && ret_list) {
		rtld_list_fini(ret_list);
		*ret_list = list;
	} else {
		rtld_list_fini(&list);
	}
	return rc;
}

void Pupdate_maps(struct ps_prochandle *P)
{
	handle_lock(P);
	maps_refresh(P);
	handle_unlock(P);
}

void Pupdate_syms(struct ps_prochandle *P)
{
	struct image *im;

	Pupdate_maps(P);
	im = maps_take(P);
	if (im)
		image_open_all(im);
	image_unref(im);
}

void Preset_maps(struct ps_prochandle *P)
{
	handle_lock(P);
	maps_reset(P);
	handle_unlock(P);
}
