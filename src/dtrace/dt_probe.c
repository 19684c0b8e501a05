/* SPDX-License-Identifier: MIT */
/*
 * Sets of probes, as their clients know them.
 *
 * A set belongs to a session and is there before its victims. Each controlled record that
 * is made meanwhile has a *probed victim* in the set: dt_probe_make.c makes probes in it,
 * called by the control thread wherever objects come (dt_objects.c), before it answers,
 * and dt_probe_read.c tells what was hit. A probed victim outlives its record: counts and
 * names are there as long as the set.
 */
#include "dtrace/dt_probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int dt_probe_grow(void *array, size_t *room, size_t want, size_t size)
{
	void **p = array;
	size_t n = *room ? *room : 16;
	void *q;

	while (n < want)
		n *= 2;
	if (n == *room)
		return 0;
	q = realloc(*p, n * size);
	if (!q)
		return -ENOMEM;
	*p = q;
	*room = n;
	return 0;
}

/* --- sets -------------------------------------------------------------------------- */

static bool make_sense(const dtrace_probe_opts_t *o)
{
	return o->backend >= DTRACE_PROBE_AUTO && o->backend <= DTRACE_PROBE_TRAP &&
	       o->want >= DTRACE_PROBE_COUNT && o->want <= DTRACE_PROBE_STACKS &&
	       o->stack <= 1 << 20 && o->nargs >= 0 && o->nargs <= DTRACE_PROBE_NARGS;
}

/* The session's only one. */
static bool enter(dtrace_hdl_t *dtp, dtrace_probes_t *set)
{
	bool free;

	dt_session_lock(dtp);
	free = !dtp->probes;
	if (free)
		dtp->probes = set;
	dt_session_unlock(dtp);
	return free;
}

static dtrace_probes_t *new_set(dtrace_hdl_t *dtp, const dtrace_probe_opts_t *opts)
{
	dtrace_probes_t *set = calloc(1, sizeof(*set));

	if (!set)
		return NULL;
	set->dtp = dtp;
	set->refs = 1;
	set->opts = *opts;
	if (!set->opts.stack)
		set->opts.stack = DT_PROBE_STACK;
	set->tail = &set->victims;
	pthread_mutex_init(&set->lock, NULL);
	pthread_cond_init(&set->cond, NULL);
	return set;
}

dtrace_probes_t *dt_probes_ref(dtrace_probes_t *set)
{
	if (set)
		set->refs++;
	return set;
}

void dt_probes_unref(dtrace_probes_t *set)
{
	if (!set || --set->refs)
		return;
	pthread_cond_destroy(&set->cond);
	pthread_mutex_destroy(&set->lock);
	free(set);
}

dtrace_probes_t *dtrace_probes_open(dtrace_hdl_t *dtp, const dtrace_probe_opts_t *opts)
{
	static const dtrace_probe_opts_t defaults;
	dtrace_probes_t *set;
	int err = 0;

	if (!opts)
		opts = &defaults;
	if (!make_sense(opts)) {
		dt_fail(dtp, EINVAL, NULL);
		return NULL;
	}
	set = new_set(dtp, opts);
	if (!set)
		err = EDT_NOMEM;
	else if (!enter(dtp, set))
		err = EALREADY;
	if (err) {
		dt_fail(dtp, err, NULL);
		dt_probes_unref(set);
		return NULL;
	}
	return set;
}

int dtrace_probes_add(dtrace_probes_t *set, const char *description)
{
	struct dt_desc *d;
	char err[DT_PROBE_WHY] = "";
	bool busy;
	int rc = 0;

	pthread_mutex_lock(&set->lock);
	busy = set->victims; /* their threads read the list */
	d = busy ? NULL : realloc(set->descs, (set->ndescs + 1) * sizeof(*d));
	if (d) {
		set->descs = d;
		d += set->ndescs;
		memset(d, 0, sizeof(*d));
		rc = probe_parse(description, &d->d, err, sizeof(err));
		set->ndescs += !rc;
	}
	pthread_mutex_unlock(&set->lock);
	if (busy)
		return dt_fail(set->dtp, EBUSY, NULL);
	if (!d || rc == -ENOMEM)
		return dt_fail(set->dtp, EDT_NOMEM, NULL);
	return rc ? dt_fail(set->dtp, EDT_PROBE, "%s", err) : 0;
}

/* --- the victims' records ----------------------------------------------------------- */

/* The record of a probed victim for the time of a call, or NULL. */
static dt_proc_t *use(struct dt_pvictim *pv)
{
	dt_proc_t *dpr;

	pthread_mutex_lock(&pv->set->lock);
	dpr = pv->dpr;
	if (dpr) {
		dt_record_lock(dpr);
		dpr->users++;
		dt_record_unlock(dpr);
	}
	pthread_mutex_unlock(&pv->set->lock);
	return dpr;
}

static struct dt_pvictim *first(dtrace_probes_t *set)
{
	struct dt_pvictim *pv;

	pthread_mutex_lock(&set->lock);
	pv = set->victims;
	pthread_mutex_unlock(&set->lock);
	return pv;
}

/* Victims are added at the end, and go with the set. */
static struct dt_pvictim *after(struct dt_pvictim *pv)
{
	struct dt_pvictim *next;

	pthread_mutex_lock(&pv->set->lock);
	next = pv->next;
	pthread_mutex_unlock(&pv->set->lock);
	return next;
}

void dtrace_probes_stop(dtrace_probes_t *set)
{
	DT_NOCANCEL;

	pthread_mutex_lock(&set->lock);
	set->stopped = true;
	pthread_mutex_unlock(&set->lock);
	for (struct dt_pvictim *pv = first(set); pv; pv = after(pv)) {
		dt_proc_t *dpr = use(pv);

		if (!dpr)
			continue;
		if (dt_record_own(dpr)) {
			dt_pvictim_stop(pv);
			dt_record_disown(dpr);
		}
		dt_record_unuse(dpr);
	}
}

/* Records that are made from now on have nothing to do with it; the others leave it, but
 * for a reference: they look whether it is stopped. */
static void leave_records(dtrace_probes_t *set)
{
	dt_session_lock(set->dtp);
	set->dtp->probes = NULL;
	dt_session_unlock(set->dtp);
	for (struct dt_pvictim *pv = first(set); pv; pv = after(pv)) {
		dt_proc_t *dpr = use(pv);

		if (!dpr)
			continue;
		if (dt_record_own(dpr)) {
			dt_probes_part(dpr);
			dt_record_disown(dpr);
		}
		dt_record_unuse(dpr);
	}
	/* those that are ending by themselves */
	pthread_mutex_lock(&set->lock);
	for (struct dt_pvictim *pv = set->victims; pv; pv = pv->next)
		while (!pv->parted)
			pthread_cond_wait(&set->cond, &set->lock);
	pthread_mutex_unlock(&set->lock);
}

void dtrace_probes_close(dtrace_probes_t *set)
{
	struct dt_pvictim *pv, *next;
	DT_NOCANCEL;

	if (!set)
		return;
	dtrace_probes_stop(set);
	leave_records(set);
	for (pv = set->victims; pv; pv = next) {
		next = pv->next;
		dt_pvictim_free(pv);
	}
	for (size_t i = 0; i < set->nprobes; i++)
		free(set->probes[i]);
	for (size_t i = 0; i < set->ndescs; i++)
		probe_desc_fini(&set->descs[i].d);
	free(set->probes);
	free(set->descs);
	dt_probes_unref(set);
}

/* --- what has become of the descriptions -------------------------------------------- */

/* Until what its beginning needs has been done, or it has ended. */
static void await_begun(dt_proc_t *dpr)
{
	dt_record_lock(dpr);
	while (!dpr->begun && !dpr->end && !dpr->quit)
		dt_record_wait(dpr, 0);
	dt_record_unlock(dpr);
}

static dt_proc_t *next_unbegun(dtrace_hdl_t *dtp)
{
	dt_proc_t *dpr;

	dt_session_lock(dtp);
	for (dpr = dtp->all; dpr; dpr = dpr->all_next) {
		bool waits;

		if (dpr->kind != DT_KIND_CONTROLLED)
			continue;
		dt_record_lock(dpr);
		waits = !dpr->begun && !dpr->end && !dpr->quit;
		dpr->users += waits;
		dt_record_unlock(dpr);
		if (waits)
			break;
	}
	dt_session_unlock(dtp);
	return dpr;
}

static int check_descs(dtrace_probes_t *set)
{
	char text[DT_PROBE_WHY * 2] = "";

	pthread_mutex_lock(&set->lock);
	if (set->failure[0])
		snprintf(text, sizeof(text), "%s", set->failure);
	for (size_t i = 0; i < set->ndescs && !text[0] && !set->opts.zdefs; i++) {
		const struct dt_desc *d = &set->descs[i];

		if (d->matched)
			continue;
		snprintf(text, sizeof(text), "probe description %s %s", d->d.text,
			 "does not match any probes");
		if (d->why[0])
			snprintf(text, sizeof(text), "%s", d->why);
	}
	pthread_mutex_unlock(&set->lock);
	return text[0] ? dt_fail(set->dtp, EDT_PROBE, "%s", text) : 0;
}

int dtrace_probes_check(dtrace_probes_t *set)
{
	dt_proc_t *dpr;
	DT_NOCANCEL;

	while ((dpr = next_unbegun(set->dtp))) {
		await_begun(dpr);
		dt_record_unuse(dpr);
	}
	return check_descs(set);
}

const char *dtrace_probes_backend(dtrace_probes_t *set, pid_t pid, const char **ret_why)
{
	const char *name = NULL;

	if (ret_why)
		*ret_why = NULL;
	pthread_mutex_lock(&set->lock);
	for (struct dt_pvictim *pv = set->victims; pv; pv = pv->next) {
		if (pv->pid != pid || !pv->by[0].ops)
			continue;
		name = pv->by[0].ops->name;
		if (ret_why && pv->why[0])
			*ret_why = pv->why;
	}
	pthread_mutex_unlock(&set->lock);
	return name;
}

/* --- reading ----------------------------------------------------------------------- */

uint64_t dtrace_probes_read(dtrace_probes_t *set, dtrace_probe_event_f *fn, void *arg)
{
	uint64_t lost = 0;
	DT_NOCANCEL;

	for (struct dt_pvictim *pv = first(set); pv; pv = after(pv)) {
		pthread_mutex_lock(&pv->reading);
		dt_pvictim_drain(pv, fn, arg);
		lost += pv->lost;
		pv->lost = 0;
		pthread_mutex_unlock(&pv->reading);
	}
	return lost;
}

/* A copy of what is known of one victim's probes. */
static int copy(struct dt_pvictim *pv, dtrace_probe_t ***ret_probes,
		uint64_t **ret_counts, size_t *ret_n)
{
	size_t n;

	pthread_mutex_lock(&pv->set->lock);
	n = pv->nprobes;
	*ret_probes = calloc(n + 1, sizeof(**ret_probes));
	*ret_counts = calloc(n + 1, sizeof(**ret_counts));
	if (*ret_probes && n)
		memcpy(*ret_probes, pv->probes, n * sizeof(**ret_probes));
	pthread_mutex_unlock(&pv->set->lock);
	*ret_n = n;
	return *ret_probes && *ret_counts ? 0 : -ENOMEM;
}

static int iter_one(struct dt_pvictim *pv, dtrace_probe_f *fn, void *arg)
{
	dtrace_probe_t **probes;
	uint64_t *counts;
	size_t n;
	int rc = copy(pv, &probes, &counts, &n);

	if (rc) {
		rc = dt_fail(pv->set->dtp, EDT_NOMEM, NULL);
	} else {
		pthread_mutex_lock(&pv->reading);
		if (pv->set->opts.want == DTRACE_PROBE_COUNT)
			dt_pvictim_drain(pv, NULL, NULL); /* some are counted there */
		dt_pvictim_counts(pv, counts, n);
		pthread_mutex_unlock(&pv->reading);
	}
	for (size_t i = 0; i < n && !rc; i++)
		rc = fn(arg, probes[i], counts[i]);
	free(probes);
	free(counts);
	return rc;
}

int dtrace_probes_iter(dtrace_probes_t *set, dtrace_probe_f *fn, void *arg)
{
	int rc = 0;

	for (struct dt_pvictim *pv = first(set); pv && !rc; pv = after(pv))
		rc = iter_one(pv, fn, arg);
	return rc;
}
