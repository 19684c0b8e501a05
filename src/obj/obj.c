/* SPDX-License-Identifier: MIT */
/*
 * ELF files as tables.
 *
 * A `struct obj` is what pgrab knows of one ELF file: header, loadable segments,
 * build-id, the names of interpreter and library, and its two symbol tables. It is made
 * once (load.c, reading through read.c), never changed, counted, and shared by every
 * process of the host's that maps the file (cache.c).
 *
 * Copies only. Whatever is needed later is copied at obj_get_fd(): the descriptor is
 * the caller's and is closed; keeping one for each library would eat the host's
 * descriptor table; and a mapping of the file would turn its truncation into a SIGBUS
 * in the host. The copy is one read of the symbol and string sections (some 100 KB for
 * a libc, 20 to 50 µs).
 *
 * Lazy. Sorting and hashing cost more than the copy and are put off to the first
 * look-up (index.c). The index is made under the obj's lock and published through an
 * atomic pointer; from then on look-ups take no lock and allocate nothing. Should
 * memory run out, nothing is published and the next look-up tries again.
 *
 * Hostile files. Every offset and length is checked against the size of the file before
 * anything is allocated or read, each byte is read once, and there are bounds on the
 * numbers of sections and symbols (read.h): a file can be refused, or come out with
 * fewer symbols, but not take unbounded time or memory. What a file *says* may be a
 * lie; nothing here acts on it beyond answering look-ups.
 *
 * Addresses are the file's own throughout: the load bias is the image's business.
 *
 * Which symbol answers for an address: a sized one that holds it, before labels of size
 * 0; the one that begins last; among those that begin at one address function before
 * data, non-local before local, fewer leading underscores, smaller size, strcmp;
 * .symtab before .dynsym for one and the same. Absolute and undefined symbols have no
 * address here.
 *
 * Not done here: finding separate debug files (src/image), which are objs of their own.
 */
#include "obj/file.h"

#include <errno.h>
#include <string.h>

#include "util/log.h"

int obj_get_fd(int fd, struct obj **ret)
{
	struct obj_source src = { .fd = fd };
	struct stat st;
	struct obj *o;
	int err;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOEXEC;
	o = obj_cache_find(&st);
	if (!o) {
		src.size = (uint64_t)st.st_size;
		err = obj_load(&src, &o);
		if (err)
			return err;
		log_at(LOG_OBJ, 1, 0, 0, "read inode %lu: %zu + %zu symbols",
		       (unsigned long)st.st_ino, o->raw[0].n, o->raw[1].n);
		o = obj_cache_add(o, &st);
	}
	*ret = o;
	return 0;
}

struct obj *obj_get_known(const struct stat *st)
{
	return obj_cache_find(st);
}

int obj_get_bytes(const void *bytes, size_t len, struct obj **ret)
{
	struct obj_source src = { .fd = -1, .bytes = bytes, .size = len };

	return obj_load(&src, ret);
}

int obj_get_common(const void *bytes, size_t len, struct obj **ret)
{
	struct obj *o;
	int err = obj_get_bytes(bytes, len, &o);

	if (!err)
		*ret = obj_cache_share(o);
	return err;
}

unsigned obj_type(const struct obj *o)
{
	return o->header.e_type;
}

unsigned obj_machine(const struct obj *o)
{
	return o->header.e_machine;
}

unsigned obj_class(const struct obj *o)
{
	return o->header.e_ident[EI_CLASS];
}

uint64_t obj_entry(const struct obj *o)
{
	return o->header.e_entry;
}

uint64_t obj_dynamic(const struct obj *o)
{
	return o->dynamic;
}

bool obj_has_interp(const struct obj *o)
{
	return o->interp != NULL;
}

const char *obj_interp(const struct obj *o)
{
	return o->interp;
}

const char *obj_soname(const struct obj *o)
{
	return o->soname;
}

const struct obj_segment *obj_segments(const struct obj *o, size_t *ret_n)
{
	*ret_n = o->nseg;
	return o->seg;
}

const uint8_t *obj_build_id(const struct obj *o, size_t *ret_len)
{
	*ret_len = o->build_id_len;
	return o->build_id_len ? o->build_id : NULL;
}

/* --- look-ups --------------------------------------------------------------------- */

static int make_index(struct obj *o, const struct obj_index **ret)
{
	struct obj_index *x;
	int err = 0;

	pthread_mutex_lock(&o->lock);
	x = atomic_load_explicit(&o->index, memory_order_relaxed);
	if (!x) {
		err = obj_expand_debug(o);
		if (!err)
			err = obj_index_new(o, &x);
		if (!err)
			atomic_store_explicit(&o->index, x, memory_order_release);
	}
	pthread_mutex_unlock(&o->lock);
	if (!err)
		*ret = x;
	return err;
}

static inline int get_index(struct obj *o, const struct obj_index **ret)
{
	const struct obj_index *x = atomic_load_explicit(&o->index, memory_order_acquire);

	if (__builtin_expect(!x, 0))
		return make_index(o, ret);
	*ret = x;
	return 0;
}

static void fill_symbol(const struct obj *o, uint32_t ref, struct obj_symbol *ret)
{
	const struct obj_raw *raw = obj_ref_raw(o, ref);
	uint32_t i = ref & ~OBJ_REF_DYNSYM;

	ret->sym = raw->sym[i];
	ret->name = obj_raw_name(raw, &raw->sym[i]);
	ret->id = i;
	ret->table = ref & OBJ_REF_DYNSYM ? OBJ_DYNSYM : OBJ_SYMTAB;
}

/* The span that holds vaddr, or NULL. No branch in the loop depends on what is
 * compared. */
static inline const struct obj_span *find_span(const struct obj_spans *s, uint64_t vaddr)
{
	const uint64_t *base = s->start;
	size_t len = s->n;

	if (!len || vaddr < *base)
		return NULL;
	while (len > 1) {
		size_t half = len / 2;

		base += base[half] <= vaddr ? half : 0;
		len -= half;
	}
	if (vaddr >= s->span[base - s->start].end)
		return NULL;
	return &s->span[base - s->start];
}

int obj_lookup_addr(struct obj *o, uint64_t vaddr, struct obj_symbol *ret)
{
	const struct obj_index *x;
	const struct obj_span *span;
	int err = get_index(o, &x);

	if (err)
		return err;
	span = find_span(&x->sized, vaddr);
	if (!span)
		span = find_span(&x->labels, vaddr);
	if (!span)
		return -ENOENT;
	fill_symbol(o, span->ref, ret);
	return 0;
}

/* A name as a client writes it: NAME, NAME@VERSION or NAME@@VERSION. */
struct wanted {
	const char *name;    /* not terminated at len */
	size_t len;          /* bytes of the name */
	const char *version; /* NULL: any, default versions first */
};

static struct wanted split_version(const char *name)
{
	const char *at = *name ? strchr(name + 1, '@') : NULL;
	struct wanted w = { .name = name };

	w.len = at ? (size_t)(at - name) : strlen(name);
	if (at)
		w.version = at[1] == '@' ? at + 2 : at + 1;
	return w;
}

/* Is symbol i of .dynsym of this version? */
static bool has_version(const struct obj *o, uint32_t i, const char *version)
{
	const struct obj_raw *raw = &o->raw[1];
	unsigned index;

	if (!raw->versym)
		return false;
	index = raw->versym[i] & 0x7fff;
	return index < o->nversion && o->version[index] &&
	       !strcmp(raw->str + o->version[index], version);
}

static bool is_wanted(const struct obj *o, uint32_t ref, const struct wanted *w)
{
	const char *name = obj_raw_name(obj_ref_raw(o, ref), obj_ref_sym(o, ref));

	if (strncmp(name, w->name, w->len) || name[w->len])
		return false;
	if (!w->version)
		return true;
	return ref & OBJ_REF_DYNSYM && has_version(o, ref & ~OBJ_REF_DYNSYM, w->version);
}

int obj_lookup_name(struct obj *o, const char *name, struct obj_symbol *ret)
{
	struct wanted w = split_version(name);
	uint32_t hash = obj_hash(w.name, w.len);
	const struct obj_index *x;
	uint32_t bucket;
	int err = get_index(o, &x);

	if (err)
		return err;
	bucket = hash >> (32 - x->bits);
	for (uint32_t i = x->bucket[bucket]; i < x->bucket[bucket + 1]; i++) {
		if (x->name[i].hash != hash || !is_wanted(o, x->name[i].ref, &w))
			continue;
		fill_symbol(o, x->name[i].ref, ret);
		return 0;
	}
	return -ENOENT;
}

int obj_iter(struct obj *o, enum obj_table table, obj_symbol_f *fn, void *arg)
{
	const struct obj_index *x;
	const struct obj_raw *raw;
	struct obj_symbol s;
	int err;

	if (table != OBJ_SYMTAB && table != OBJ_DYNSYM)
		return -EINVAL;
	err = o->packed ? get_index(o, &x) : 0; /* which expands it */
	if (err)
		return err;
	raw = &o->raw[table - 1];
	for (size_t i = 0; i < raw->n; i++) {
		int stop;

		if (!*obj_raw_name(raw, &raw->sym[i]))
			continue;
		fill_symbol(o, OBJ_REF(table, i), &s);
		stop = fn(arg, &s);
		if (stop)
			return stop;
	}
	return 0;
}
