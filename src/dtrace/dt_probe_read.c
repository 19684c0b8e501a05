/* SPDX-License-Identifier: MIT */
/*
 * From hits to events: arguments by the ABI, the return's entry, the stack. A victim's
 * hits are taken by one thread at a time; the last ones of a record that ends are made
 * into events then, while its symbols can still be read, and kept.
 */
#include <stdlib.h>
#include <string.h>

#include "dtrace/dt_probe.h"

/* A drain under way. */
struct telling {
	struct dt_pvictim *pv;    /* whose */
	dtrace_probe_event_f *fn; /* the client's, or NULL: kept */
	void *arg;                /* for fn */
	uintptr_t pcs[DTRACE_PROBE_FRAMES];
};

static void keep(struct dt_pvictim *pv, const dtrace_probe_event_t *ev)
{
	struct dt_saved *s = malloc(sizeof(*s) + ev->npcs * sizeof(*s->pcs));

	if (!s) {
		pv->lost++;
		return;
	}
	s->next = NULL;
	s->ev = *ev;
	s->ev.P = NULL;
	if (ev->npcs)
		memcpy(s->pcs, ev->pcs, ev->npcs * sizeof(*s->pcs));
	s->ev.pcs = s->pcs;
	s->image = ev->where ? image_ref((struct image *)(uintptr_t)ev->where) : NULL;
	*pv->tail = s;
	pv->tail = &s->next;
}

static void tell_kept(struct dt_pvictim *pv, dtrace_probe_event_f *fn, void *arg)
{
	struct dt_saved *s;

	while ((s = pv->saved)) {
		pv->saved = s->next;
		if (!pv->saved)
			pv->tail = &pv->saved;
		fn(arg, &s->ev);
		image_unref(s->image);
		free(s);
	}
}

static uint64_t stack_pointer(const struct probe_hit *hit)
{
	return arch_reg_get(&hit->regs, arch_native->reg_sp);
}

/* The word i above the stack pointer; false when it was not copied. */
static bool get_word(const struct probe_hit *hit, unsigned i, uint64_t *ret)
{
	uint64_t at = stack_pointer(hit) - hit->stack_at + i * sizeof(*ret);

	if (at + sizeof(*ret) > hit->nstack)
		return false;
	memcpy(ret, hit->stack + at, sizeof(*ret));
	return true;
}

/* Six in registers, the others on the stack behind the return address (System V ABI). */
static void take_args(const struct probe_hit *hit, dtrace_probe_event_t *ev)
{
	for (unsigned i = 0; i < 6; i++)
		ev->args[i] = arch_reg_get(&hit->regs, arch_native->reg_arg[i]);
	ev->nargs = 6;
	while (ev->nargs < DTRACE_PROBE_NARGS &&
	       get_word(hit, ev->nargs - 5, &ev->args[ev->nargs]))
		ev->nargs++;
}

static void take_return(struct dt_pvictim *pv, const struct probe_hit *hit,
			dtrace_probe_event_t *ev)
{
	struct frame call;

	ev->args[0] = hit->addr - ev->probe->func;
	ev->args[1] = arch_reg_get(&hit->regs, arch_native->reg_ret);
	ev->nargs = 2;
	ev->matched = frames_return(&pv->frames, hit->tid, ev->probe->func,
				    stack_pointer(hit), &call, &ev->depth);
	if (ev->matched && hit->time_ns > call.time_ns)
		ev->duration_ns = hit->time_ns - call.time_ns;
}

static void take_kind(struct dt_pvictim *pv, const struct probe_hit *hit,
		      dtrace_probe_event_t *ev)
{
	struct frame call = { stack_pointer(hit), ev->probe->func, hit->time_ns };

	if (hit->kind == PROBE_RETURN) {
		take_return(pv, hit, ev);
		return;
	}
	take_args(hit, ev);
	if (hit->kind == PROBE_ENTRY && dt_keys_has(&pv->returns, ev->probe->func))
		ev->depth = frames_enter(&pv->frames, hit->tid, &call);
	else
		ev->depth = frames_depth(&pv->frames, hit->tid, stack_pointer(hit));
}

/* A call whose return is not watched has no end, and nothing is within it. */
static const dtrace_probe_t *find_probe(struct dt_pvictim *pv, uint32_t id)
{
	const dtrace_probe_t *d;

	pthread_mutex_lock(&pv->set->lock);
	d = id < pv->nprobes ? pv->probes[id] : NULL;
	for (; pv->looked < pv->nprobes; pv->looked++)
		if (pv->probes[pv->looked]->kind == DTRACE_PROBE_RETURN)
			dt_keys_note(&pv->returns, pv->probes[pv->looked]->func);
	pthread_mutex_unlock(&pv->set->lock);
	return d;
}

/* The process as it was when this was hit: what it had mapped when objects last came or
 * went, or, of code that is in no object then, what it has now. */
static struct image *image_of(struct dt_pvictim *pv, uint64_t addr)
{
	struct image *im;

	pthread_mutex_lock(&pv->set->lock);
	im = pv->image ? image_ref(pv->image) : NULL;
	pthread_mutex_unlock(&pv->set->lock);
	if (im && image_map_at(im, addr))
		return im;
	image_unref(im);
	return Pimage(pv->P);
}

static void on_hit(void *arg, const struct probe_hit *hit)
{
	struct telling *t = arg;
	struct dt_pvictim *pv = t->pv;
	struct Pcopy copy = { &hit->regs, hit->stack_at, hit->stack, hit->nstack };
	dtrace_probe_event_t ev = { .probe = find_probe(pv, hit->id),
				    .P = pv->P,
				    .pid = pv->pid,
				    .tid = hit->tid,
				    .time_ns = hit->time_ns,
				    .pcs = t->pcs };
	struct image *im = NULL;

	if (!ev.probe)
		return;
	take_kind(pv, hit, &ev);
	if (pv->set->opts.want == DTRACE_PROBE_STACKS && pv->P)
		im = image_of(pv, hit->addr);
	if (im)
		ev.npcs = Pstack_copied(pv->P, im, &copy, t->pcs, DTRACE_PROBE_FRAMES,
					&ev.stack_cut);
	ev.where = im;
	if (t->fn)
		t->fn(t->arg, &ev);
	else
		keep(pv, &ev);
	image_unref(im);
}

size_t dtrace_probe_stack(const dtrace_probe_event_t *ev, char *buf, size_t size)
{
	struct image *im = (struct image *)(uintptr_t)ev->where;

	if (size)
		buf[0] = '\0';
	return im ? Pfmt_ustack_in(im, ev->pcs, ev->npcs, buf, size) : 0;
}

/* Two stack pointers in one mapping are in one stack; of what is not known yet (a thread
 * that was just born) it is taken for granted that a stack is not larger than 8 MiB. */
static bool same_stack(void *arg, uint64_t a, uint64_t b)
{
	struct dt_pvictim *pv = arg;
	struct image *im = pv->P ? Pimage_ready(pv->P) : NULL;
	const struct image_map *m = im ? image_map_at(im, a) : NULL;
	const struct image_map *n = im ? image_map_at(im, b) : NULL;
	bool same = m || n ? m == n : (a > b ? a - b : b - a) < 8 << 20;

	image_unref(im);
	return same;
}

void dt_pvictim_drain(struct dt_pvictim *pv, dtrace_probe_event_f *fn, void *arg)
{
	struct telling t = { .pv = pv, .fn = fn, .arg = arg };
	struct dt_backend by[DT_PROBE_BACKENDS];
	uint64_t lost;

	pv->frames.same = same_stack;
	pv->frames.arg = pv;
	if (fn)
		tell_kept(pv, fn, arg);
	pthread_mutex_lock(&pv->set->lock);
	memcpy(by, pv->by, sizeof(by));
	pthread_mutex_unlock(&pv->set->lock);
	for (unsigned i = 0; i < DT_PROBE_BACKENDS; i++) {
		if (!by[i].b)
			continue;
		by[i].ops->drain(by[i].b, on_hit, &t, &lost);
		pv->lost += lost;
	}
}
