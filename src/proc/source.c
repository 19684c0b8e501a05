/* SPDX-License-Identifier: MIT */
/* Places in the source, out of the snapshot, told without a lock; debug files from
 * far. */
#include <errno.h>

#include "obj/lines.h"
#include "proc/handle.h"

static int tell(const struct obj_place *place, size_t n, proc_source_f *fn, void *arg)
{
	int stop = 0;

	for (size_t i = 0; i < n && !stop; i++) {
		prsource_t src = {
			.psr_function = place[i].function,
			.psr_file = place[i].file,
			.psr_line = place[i].line,
			.psr_column = place[i].column,
			.psr_inline = place[i].inlined,
		};

		stop = fn(arg, &src);
	}
	return stop;
}

int Psource_iter(struct ps_prochandle *P, uintptr_t addr, proc_source_f *fn, void *arg)
{
	struct obj_place place[OBJ_MAX_PLACES];
	struct image *im = maps_take(P), *newer;
	size_t n = 0;
	int rc;

	if (!im)
		return -1;
	if (!image_map_at(im, addr) && (newer = maps_take_fresh(P, im))) {
		image_unref(im);
		im = newer;
	}
	rc = image_places(im, addr, place, &n);
	rc = rc ? handle_fail(rc) : tell(place, n, fn, arg);
	image_unref(im);
	return rc;
}

int Pdebuginfod(struct ps_prochandle *P, unsigned msec)
{
	struct image *im;
	bool stopped;
	int rc;

	handle_lock(P);
	stopped = P->hold && P->state == PS_STOP;
	handle_unlock(P);
	if (stopped)
		return handle_fail(-EBUSY);
	im = maps_take(P);
	if (!im)
		return -1;
	rc = image_fetch_debug(im, msec);
	image_unref(im);
	return rc < 0 ? handle_fail(rc) : rc;
}
