/* SPDX-License-Identifier: MIT */
/*
 * Probes in a victim: every description is evaluated for the objects that come, and what
 * it matches is given to a backend, in the control thread, before the victim runs on.
 *
 * The backend is chosen at the first match: the kernel's where it may be, else traps. For
 * what it cannot watch (an object without a file) traps serve beside it. Ids are counted
 * through for a victim's life, over exec: what the former program's probes counted stays.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dtrace/dt_probe.h"
#include "util/log.h"

/* --- keys -------------------------------------------------------------------------- */

static uint64_t key_of(const struct probe *p)
{
	uint64_t addr = p->kind == PROBE_RETURN ? p->func : p->spots[0].addr;

	return (addr & ~(3ull << 62)) | ((uint64_t)p->kind + 1) << 62;
}

static size_t place_of(size_t slots, uint64_t key)
{
	return (size_t)(key * 0x9e3779b97f4a7c15ull >> 20) & (slots - 1);
}

static bool insert(uint64_t *v, size_t slots, uint64_t key)
{
	size_t i = place_of(slots, key);

	while (v[i] && v[i] != key)
		i = (i + 1) & (slots - 1);
	if (v[i])
		return false;
	v[i] = key;
	return true;
}

static int make_room(struct dt_keys *k)
{
	size_t slots = k->slots ? k->slots * 2 : 64;
	uint64_t *v;

	if (k->n * 2 < k->slots)
		return 0;
	v = calloc(slots, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < k->slots; i++)
		if (k->v[i])
			insert(v, slots, k->v[i]);
	free(k->v);
	k->v = v;
	k->slots = slots;
	return 0;
}

int dt_keys_note(struct dt_keys *k, uint64_t key)
{
	int rc = make_room(k);

	if (rc)
		return rc;
	if (!insert(k->v, k->slots, key))
		return 0;
	k->n++;
	return 1;
}

bool dt_keys_has(const struct dt_keys *k, uint64_t key)
{
	size_t i = k->slots ? place_of(k->slots, key) : 0;

	while (k->slots && k->v[i] && k->v[i] != key)
		i = (i + 1) & (k->slots - 1);
	return k->slots && k->v[i];
}

void dt_keys_clear(struct dt_keys *k)
{
	free(k->v);
	memset(k, 0, sizeof(*k));
}

/* An object has gone: its addresses may be another's. */
static void drop_keys(struct dt_keys *k, uint64_t lo, uint64_t hi)
{
	struct dt_keys old = *k;

	memset(k, 0, sizeof(*k));
	for (size_t i = 0; i < old.slots; i++) {
		uint64_t addr = old.v[i] & ~(3ull << 62);

		if (old.v[i] && (addr < lo || addr >= hi))
			dt_keys_note(k, old.v[i]);
	}
	free(old.v);
}

/* --- one probe ---------------------------------------------------------------------- */

/* An evaluation under way. */
struct making {
	struct dt_pvictim *pv;    /* in whom */
	struct dt_desc *desc;     /* by which description */
	struct probe_spot *spots; /* to be watched; owned */
	size_t n, room;           /* how many, for how many */
};

/* The probe and its strings in one allocation. */
static dtrace_probe_t *new_probe(const struct dt_pvictim *pv, const struct probe *p)
{
	const char *from[] = { p->path, p->module, p->function, p->name };
	size_t len[4], size = sizeof(dtrace_probe_t);
	const char **to[4];
	dtrace_probe_t *d;
	char *s;

	for (unsigned i = 0; i < 4; i++)
		size += len[i] = strlen(from[i]) + 1;
	d = calloc(1, size);
	if (!d)
		return NULL;
	s = (char *)(d + 1);
	to[0] = &d->path;
	to[1] = &d->module;
	to[2] = &d->function;
	to[3] = &d->name;
	for (unsigned i = 0; i < 4; s += len[i++])
		*to[i] = memcpy(s, from[i], len[i]);
	d->kind = (int)p->kind;
	d->pid = pv->pid;
	d->lmid = p->lmid;
	d->func = p->func;
	d->addr = p->func + (p->kind == PROBE_OFFSET ? p->offset : 0);
	return d;
}

/* Into the tables: its local id, or -ENOMEM. Set's lock held. */
static int enter(struct dt_pvictim *pv, dtrace_probe_t *d)
{
	dtrace_probes_t *set = pv->set;

	if (dt_probe_grow(&set->probes, &set->room, set->nprobes + 1, sizeof(d)) ||
	    dt_probe_grow(&pv->probes, &pv->room, pv->nprobes + 1, sizeof(d)))
		return -ENOMEM;
	d->id = (unsigned)set->nprobes;
	set->probes[set->nprobes++] = d;
	pv->probes[pv->nprobes] = d;
	return (int)pv->nprobes++;
}

static int add_spots(struct making *m, const struct probe *p, uint32_t id)
{
	int rc = dt_probe_grow(&m->spots, &m->room, m->n + p->nspots, sizeof(*m->spots));

	for (size_t i = 0; i < p->nspots && !rc; i++) {
		struct probe_spot *s = &m->spots[m->n++];

		*s = p->spots[i];
		s->id = id;
		s->kind = p->kind;
	}
	return rc;
}

static int add(void *arg, const struct probe *p)
{
	struct making *m = arg;
	dtrace_probes_t *set = m->pv->set;
	dtrace_probe_t *d;
	int id, rc;

	m->desc->matched++;
	if (!p->nspots)
		return 0;
	rc = dt_keys_note(&m->pv->keys, key_of(p));
	if (rc <= 0)
		return rc;
	d = new_probe(m->pv, p);
	if (!d)
		return -ENOMEM;
	pthread_mutex_lock(&set->lock);
	id = enter(m->pv, d);
	pthread_mutex_unlock(&set->lock);
	if (id < 0) {
		free(d);
		return id;
	}
	return add_spots(m, p, (uint32_t)id);
}

/* --- a backend --------------------------------------------------------------------- */

static const struct probe_ops *const kinds[] = {
	[DTRACE_PROBE_KERNEL] = &probe_kernel,
	[DTRACE_PROBE_TRAP] = &probe_trap,
};

static int open_backend(struct dt_pvictim *pv, unsigned at, int kind, char *err,
			size_t size)
{
	const dtrace_probe_opts_t *o = &pv->set->opts;
	size_t words = o->nargs > 6 ? (size_t)(o->nargs - 6 + 1) * sizeof(uint64_t) : 0;
	struct probe_backend *b;
	int rc;

	rc = kinds[kind]->open(pv->P, (enum probe_want)o->want,
			       o->want == DTRACE_PROBE_STACKS ? o->stack : words, &b, err,
			       size);
	if (rc)
		return rc;
	pthread_mutex_lock(&pv->set->lock);
	pv->by[at] = (struct dt_backend){ kinds[kind], b };
	pthread_mutex_unlock(&pv->set->lock);
	return 0;
}

static int choose(struct dt_pvictim *pv, char *err, size_t size)
{
	int wish = pv->set->opts.backend, rc;

	if (pv->by[0].ops)
		return 0;
	if (wish != DTRACE_PROBE_AUTO)
		return open_backend(pv, 0, wish, err, size);
	rc = open_backend(pv, 0, DTRACE_PROBE_KERNEL, err, size);
	if (!rc)
		return 0;
	pthread_mutex_lock(&pv->set->lock);
	snprintf(pv->why, sizeof(pv->why), "%s", err);
	pthread_mutex_unlock(&pv->set->lock);
	return open_backend(pv, 0, DTRACE_PROBE_TRAP, err, size);
}

/* Moves those of v[0..n) that the backend has refused behind the others: how many. */
static size_t set_aside(const struct dt_backend *by, struct probe_spot *v, size_t n)
{
	size_t nrefused = 0, kept = 0, aside = 0;
	const uint64_t *refused = NULL;
	struct probe_spot *spare;

	if (by->ops->refused)
		refused = by->ops->refused(by->b, &nrefused);
	spare = nrefused ? calloc(n, sizeof(*spare)) : NULL;
	if (!spare)
		return 0;
	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (k < nrefused && refused[k] != v[i].addr)
			k++;
		if (k < nrefused)
			spare[aside++] = v[i];
		else
			v[kept++] = v[i];
	}
	memcpy(v + kept, spare, aside * sizeof(*v));
	free(spare);
	return aside;
}

static int watch_by_traps(struct dt_pvictim *pv, const struct probe_spot *v, size_t n,
			  char *err, size_t size)
{
	const struct dt_backend *by = pv->by;
	int rc = by[1].ops ? 0 : open_backend(pv, 1, DTRACE_PROBE_TRAP, err, size);

	return rc ? rc : by[1].ops->set(by[1].b, v, n, err, size);
}

/* What the kernel does not watch, spot by spot, traps do; and, if nothing else is asked
 * for, all of it when the kernel refuses for another reason. */
static int watch(struct dt_pvictim *pv, struct probe_spot *v, size_t n, char *err,
		 size_t size)
{
	const struct dt_backend *by = pv->by;
	size_t left = n, aside;
	int rc = choose(pv, err, size);

	if (rc)
		return rc;
	while (left) {
		rc = by[0].ops->set(by[0].b, v, left, err, size);
		if (!rc)
			break;
		aside = set_aside(&by[0], v, left);
		log_at(LOG_CTL, 1, pv->pid, 0, "probes: %s; %zu by traps", err,
		       aside ?: left);
		left -= aside;
		if (!aside && (rc == -ENOMEM || by[0].ops == &probe_trap ||
			       pv->set->opts.backend != DTRACE_PROBE_AUTO))
			return rc;
		if (!aside)
			left = 0;
	}
	return left < n ? watch_by_traps(pv, v + left, n - left, err, size) : 0;
}

/* --- evaluation -------------------------------------------------------------------- */

static bool concerns(const struct dt_pvictim *pv, const struct probe_desc *d)
{
	switch (d->whose) {
	case PROBE_TARGET:
		return pv->root == dtrace_target(pv->set->dtp) ||
		       !dtrace_target(pv->set->dtp);
	case PROBE_PID:
		return d->pid == pv->pid || d->pid == pv->root;
	default:
		return true;
	}
}

/* By address; where several are at one, entries come before returns. */
static int by_place(const void *a, const void *b)
{
	const struct probe_spot *x = a, *y = b;

	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static void fail(struct dt_pvictim *pv, const char *why)
{
	char text[DT_PROBE_WHY + 64];
	dt_proc_t *dpr = pv->dpr;

	snprintf(text, sizeof(text), "pid %d: failed to make probes: %s", (int)pv->pid,
		 why);
	pthread_mutex_lock(&pv->set->lock);
	if (!pv->set->failure[0])
		snprintf(pv->set->failure, sizeof(pv->set->failure),
			 "failed to make probes in pid %d: %s", (int)pv->pid, why);
	pthread_mutex_unlock(&pv->set->lock);
	dt_queue_put_note(&dpr->dtp->queue, &dpr->src, text, dpr->now);
}

/* All descriptions, for the objects at these biases (NULL: all). */
static int evaluate(struct making *m, const uint64_t *bases, size_t n, char *err,
		    size_t size)
{
	dtrace_probes_t *set = m->pv->set;
	int rc = 0;

	for (size_t i = 0; i < set->ndescs && rc >= 0; i++) {
		m->desc = &set->descs[i];
		if (!concerns(m->pv, &m->desc->d))
			continue;
		rc = probe_match(m->pv->P, &m->desc->d, bases, n, add, m, err, size);
		if (rc == -ENOMEM)
			snprintf(err, size, "no memory");
		if (rc >= 0 || rc == -ENOMEM)
			continue;
		/* no such function: of another object, perhaps, or of none */
		pthread_mutex_lock(&set->lock);
		snprintf(m->desc->why, sizeof(m->desc->why), "%s", err);
		pthread_mutex_unlock(&set->lock);
		rc = 0;
	}
	return rc < 0 ? rc : 0;
}

/* What is mapped now is what the hits to come are in. */
static void look(struct dt_pvictim *pv)
{
	struct image *im = Pimage(pv->P), *old;

	if (im)
		image_open_all(im);
	pthread_mutex_lock(&pv->set->lock);
	old = pv->image;
	pv->image = im;
	pthread_mutex_unlock(&pv->set->lock);
	image_unref(old);
}

static void make(struct dt_pvictim *pv, const uint64_t *bases, size_t n)
{
	struct making m = { .pv = pv };
	char err[DT_PROBE_WHY] = "";
	int rc = evaluate(&m, bases, n, err, sizeof(err));

	if (!rc && m.n) {
		qsort(m.spots, m.n, sizeof(*m.spots), by_place);
		rc = watch(pv, m.spots, m.n, err, sizeof(err));
	}
	log_at(LOG_CTL, 1, pv->pid, 0, "probes: %zu spots, %d %s", m.n, rc, err);
	free(m.spots);
	if (rc && Pstate(pv->P) != PS_UNDEAD && rc != -ESRCH)
		fail(pv, err);
}

/* --- the control thread's calls ----------------------------------------------------- */

static pid_t root_of(dtrace_probes_t *set, const dt_proc_t *dpr)
{
	pid_t root = dpr->pid;

	for (struct dt_pvictim *pv = set->victims; pv && dpr->parent; pv = pv->next)
		if (pv->pid == dpr->parent)
			root = pv->root;
	return root;
}

/* NULL: the set is stopped, or there is no memory. */
static struct dt_pvictim *begin(dt_proc_t *dpr)
{
	dtrace_probes_t *set = dpr->probes;
	struct dt_pvictim *pv = calloc(1, sizeof(*pv));
	bool over;

	if (!pv)
		return NULL;
	pv->set = set;
	pv->pid = dpr->pid;
	pv->dpr = dpr;
	pv->P = dpr->P;
	pv->tail = &pv->saved;
	pthread_mutex_init(&pv->reading, NULL);
	pthread_mutex_lock(&set->lock);
	over = set->stopped;
	if (!over) {
		pv->root = root_of(set, dpr);
		*set->tail = pv;
		set->tail = &pv->next;
		dpr->probed = pv;
	}
	pthread_mutex_unlock(&set->lock);
	if (!over)
		return pv;
	pthread_mutex_destroy(&pv->reading);
	free(pv);
	return NULL;
}

static bool is_over(dtrace_probes_t *set)
{
	bool over;

	pthread_mutex_lock(&set->lock);
	over = set->stopped;
	pthread_mutex_unlock(&set->lock);
	return over;
}

void dt_probes_objects(dt_proc_t *dpr, const dtrace_objects_t *what)
{
	struct dt_pvictim *pv = dpr->probed;
	uint64_t *bases;

	if (!dpr->probes || is_over(dpr->probes))
		return;
	if (!pv)
		pv = begin(dpr);
	if (!pv)
		return;
	if (pv->set->opts.want == DTRACE_PROBE_STACKS)
		look(pv);
	if (!what->first && !what->ncame)
		return;
	if (what->first) {
		make(pv, NULL, 0);
		return;
	}
	bases = calloc(what->ncame, sizeof(*bases));
	for (size_t i = 0; i < what->ncame && bases; i++)
		bases[i] = what->came[i].base;
	if (bases)
		make(pv, bases, what->ncame);
	else
		fail(pv, "no memory");
	free(bases);
}

/* What was hit till now is told by what is mapped till now: it is about to change. */
void dt_probes_before(dt_proc_t *dpr)
{
	struct dt_pvictim *pv = dpr->probed;

	if (!pv || pv->set->opts.want != DTRACE_PROBE_STACKS)
		return;
	pthread_mutex_lock(&pv->reading);
	dt_pvictim_drain(pv, NULL, NULL);
	pthread_mutex_unlock(&pv->reading);
}

void dt_probes_unmapped(dt_proc_t *dpr, uint64_t lo, uint64_t hi)
{
	struct dt_pvictim *pv = dpr->probed;

	if (!pv || lo >= hi)
		return;
	drop_keys(&pv->keys, lo, hi);
	for (unsigned i = 0; i < DT_PROBE_BACKENDS; i++)
		if (pv->by[i].b)
			pv->by[i].ops->gone(pv->by[i].b, lo, hi);
}

void dt_probes_exec(dt_proc_t *dpr)
{
	struct dt_pvictim *pv = dpr->probed;

	if (!pv)
		return;
	pthread_mutex_lock(&pv->reading);
	if (pv->set->opts.want != DTRACE_PROBE_COUNT)
		dt_pvictim_drain(pv, NULL, NULL);
	frames_fini(&pv->frames); /* its calls have gone with it */
	pthread_mutex_unlock(&pv->reading);
	dt_keys_clear(&pv->keys);
	for (unsigned i = 0; i < DT_PROBE_BACKENDS; i++)
		if (pv->by[i].b)
			pv->by[i].ops->reset(pv->by[i].b);
}

/* --- the end of a record ------------------------------------------------------------ */

void dt_pvictim_counts(struct dt_pvictim *pv, uint64_t *counts, size_t n)
{
	for (unsigned i = 0; i < DT_PROBE_BACKENDS; i++)
		if (pv->by[i].b)
			pv->by[i].ops->counts(pv->by[i].b, counts, n);
	for (size_t i = 0; i < n && pv->counts; i++)
		counts[i] += pv->counts[i];
}

void dt_pvictim_stop(struct dt_pvictim *pv)
{
	for (unsigned i = 0; i < DT_PROBE_BACKENDS; i++)
		if (pv->by[i].b)
			pv->by[i].ops->stop(pv->by[i].b);
}

/* Whose victim it is may be parted by the closing of the set at this moment. */
void dt_probes_leave(dt_proc_t *dpr)
{
	dtrace_probes_t *set = dpr->probes;

	if (!set)
		return;
	pthread_mutex_lock(&set->lock);
	if (dpr->probed)
		dpr->probed->dpr = NULL;
	pthread_mutex_unlock(&set->lock);
}

/* What it has counted and told becomes the set's own. */
void dt_probes_part(dt_proc_t *dpr)
{
	dtrace_probes_t *set = dpr->probes;
	struct dt_pvictim *pv = dpr->probed;
	uint64_t *counts;

	if (!pv)
		return;
	dt_probes_leave(dpr);
	pthread_mutex_lock(&pv->set->lock);
	dpr->probed = NULL;
	pthread_mutex_unlock(&pv->set->lock);
	pthread_mutex_lock(&pv->reading);
	dt_pvictim_stop(pv);
	dt_pvictim_drain(pv, NULL, NULL);
	counts = calloc(pv->nprobes + 1, sizeof(*counts));
	if (counts)
		dt_pvictim_counts(pv, counts, pv->nprobes);
	for (unsigned i = 0; i < DT_PROBE_BACKENDS; i++)
		if (pv->by[i].b)
			pv->by[i].ops->close(pv->by[i].b);
	pthread_mutex_lock(&pv->set->lock);
	for (unsigned i = 0; i < DT_PROBE_BACKENDS; i++)
		pv->by[i].b = NULL;
	pv->counts = counts;
	pv->P = NULL;
	pthread_mutex_unlock(&pv->set->lock);
	pthread_mutex_unlock(&pv->reading);
	dt_keys_clear(&pv->keys);
	/* last: the set, when it is closed, waits for this, and frees *pv */
	pthread_mutex_lock(&set->lock);
	pv->parted = true;
	pthread_cond_broadcast(&set->cond);
	pthread_mutex_unlock(&set->lock);
}

void dt_pvictim_free(struct dt_pvictim *pv)
{
	struct dt_saved *s;

	while ((s = pv->saved)) {
		pv->saved = s->next;
		image_unref(s->image);
		free(s);
	}
	image_unref(pv->image);
	frames_fini(&pv->frames);
	dt_keys_clear(&pv->returns);
	dt_keys_clear(&pv->keys);
	pthread_mutex_destroy(&pv->reading);
	free(pv->probes);
	free(pv->counts);
	free(pv);
}
