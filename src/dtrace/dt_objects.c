/* SPDX-License-Identifier: MIT */
/*
 * The client's hook on objects: what came and what has gone at one consistent state of
 * the link maps is collected while the lists are compared (dt_linkmap.c), and told in one
 * call before the question is answered, so that what the client plants in a new object
 * misses no call. Lists, not events: a client that cannot plant in one object has to know
 * of the others all the same.
 *
 * The victim waits for the hook no longer than its patience lasts. Whether it did is told
 * by the clock; that it may have been seen too late is then a notification, as is a hook
 * that fails.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dtrace/dt_impl.h"
#include "util/log.h"

int dtrace_handle_objects(dtrace_hdl_t *dtp, dtrace_objects_f *fn, void *arg)
{
	bool taken;

	dt_session_lock(dtp);
	taken = dtp->objects_fn;
	if (!taken) {
		dtp->objects_fn = fn;
		dtp->objects_arg = arg;
	}
	dt_session_unlock(dtp);
	return taken ? dt_fail(dtp, EALREADY, NULL) : 0;
}

/* --- collecting --------------------------------------------------------------------- */

static void add(dt_proc_t *dpr, struct dt_told *l, const struct dt_object *o, char *path)
{
	size_t room = l->room ? l->room * 2 : 16;
	dtrace_object_t *v;

	if (!path) {
		dpr->links.short_of = true;
		free(path);
		return;
	}
	if (l->n == l->room) {
		v = realloc(l->v, room * sizeof(*v));
		if (!v) {
			dpr->links.short_of = true;
			free(path);
			return;
		}
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = (dtrace_object_t){ path, o->base, o->lmid };
}

void dt_objects_came(dt_proc_t *dpr, const struct dt_object *o, const char *path)
{
	if (dt_objects_wanted(dpr))
		add(dpr, &dpr->links.came, o, strdup(path));
}

void dt_objects_gone(dt_proc_t *dpr, const struct dt_object *o, const char *path)
{
	if (dt_objects_wanted(dpr))
		add(dpr, &dpr->links.gone, o, strdup(path));
}

static void clear(struct dt_told *l)
{
	for (size_t i = 0; i < l->n; i++)
		free((char *)(uintptr_t)l->v[i].path);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

void dt_objects_fini(dt_proc_t *dpr)
{
	clear(&dpr->links.came);
	clear(&dpr->links.gone);
}

/* --- telling ------------------------------------------------------------------------ */

static void complain(dt_proc_t *dpr, const char *what)
{
	char text[256];

	snprintf(text, sizeof(text), "pid %d: %s", (int)dpr->pid, what);
	dt_queue_put_note(&dpr->dtp->queue, &dpr->src, text, dpr->now);
}

static void call(dt_proc_t *dpr, int missed)
{
	dtrace_objects_t what = {
		.first = !dpr->links.told,
		.missed = missed,
		.came = dpr->links.came.v,
		.ncame = dpr->links.came.n,
		.gone = dpr->links.gone.v,
		.ngone = dpr->links.gone.n,
	};
	char text[192];
	int err = 0;

	if (dpr->objects_fn)
		err = dpr->objects_fn(dpr->dtp, dpr->P, &what, dpr->objects_arg);
	dt_probes_objects(dpr, &what);
	if (!err)
		return;
	snprintf(text, sizeof(text), "failed to make probes in new objects: %s",
		 dtrace_errmsg(NULL, err));
	complain(dpr, text);
}

void dt_objects_tell(dt_proc_t *dpr, enum dt_seen seen)
{
	struct dt_links *l = &dpr->links;

	l->senseless = false;
	if (!dt_objects_wanted(dpr))
		return;
	if (l->short_of)
		complain(dpr, "out of memory: not every new object has been looked at");
	l->short_of = false;
	if (l->came.n || l->gone.n) {
		call(dpr, seen == DT_SEEN_LATE);
		l->told = l->asked = true;
	}
	dt_objects_fini(dpr);
}

void dt_objects_senseless(dt_proc_t *dpr)
{
	if (dt_objects_wanted(dpr) && !dpr->links.senseless)
		complain(dpr, "its link maps make no sense: new objects may not have "
			      "been looked at");
	dpr->links.senseless = true;
}

void dt_objects_answered(dt_proc_t *dpr, const struct hold_event *ev)
{
	struct timespec t;
	uint64_t now;

	if (!dpr->links.asked)
		return;
	dpr->links.asked = false;
	clock_gettime(CLOCK_REALTIME, &t);
	now = (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
	if (dpr->impatient && now > ev->time_ns &&
	    now - ev->time_ns >= dpr->patience * 1000000ull)
		complain(dpr,
			 "it did not wait for probes in its new objects: first calls "
			 "may have been missed");
}
