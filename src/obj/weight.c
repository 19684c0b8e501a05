/* SPDX-License-Identifier: MIT */
/*
 * What an obj takes of memory: the blocks that hang on it, without malloc's own part. The
 * cache is bounded by it, and a test measures by it.
 */
#include "obj/file.h"

static size_t weigh_table(const struct obj_raw *raw)
{
	return raw->n * sizeof(*raw->sym) + raw->strsz +
	       (raw->versym ? raw->n * sizeof(*raw->versym) : 0);
}

static size_t weigh_spans(const struct obj_spans *s)
{
	return s->n * (sizeof(*s->start) + sizeof(*s->span));
}

static size_t weigh_index(const struct obj_index *x)
{
	if (!x)
		return 0;
	return sizeof(*x) + weigh_spans(&x->sized) + weigh_spans(&x->labels) +
	       x->nname * sizeof(*x->name) +
	       (((size_t)1 << x->bits) + 1) * sizeof(*x->bucket);
}

static size_t weigh_cfi(struct obj_cfi *f)
{
	size_t n = f->header_len + cfi_cache_bytes(atomic_load(&f->cache));

	for (int i = 0; i < CFI_NFORMS; i++) {
		const struct cfi_index *x = atomic_load(&f->section[i].index);

		n += f->section[i].len;
		n += x ? sizeof(*x) + x->n * (sizeof(*x->start) + sizeof(*x->fde)) : 0;
	}
	return n;
}

size_t obj_weight(struct obj *o)
{
	size_t n = sizeof(*o);

	pthread_mutex_lock(&o->lock);
	n += o->nseg * sizeof(*o->seg) + o->nsection * sizeof(*o->section) +
	     o->nversion * sizeof(*o->version) + o->packed_len;
	for (int i = 0; i < OBJ_NTABLES; i++)
		n += weigh_table(&o->raw[i]);
	n += weigh_index(atomic_load(&o->index)) + weigh_cfi(&o->cfi) +
	     obj_lines_bytes(o->lines);
	pthread_mutex_unlock(&o->lock);
	return n;
}
