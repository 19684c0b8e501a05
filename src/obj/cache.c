/* SPDX-License-Identifier: MIT */
/*
 * The process-wide cache of files (see obj.c).
 *
 * A file is known by what stat(2) says of it: device, inode, size, times. That finds it
 * again without reading a byte. The same library in another layer or container has
 * another inode: there the build-id proposes an entry and the *contents* decide, since
 * the build-id of a hostile file may be a copy of libc's. An entry whose symbols are
 * the same then answers for both inodes.
 *
 * One lock. It is never held while a file is read: two threads may read the same file
 * at the same time, and the second to finish takes the first one's result.
 *
 * What somebody refers to stays. What nobody refers to stays too, up to OBJ_IDLE_LIMIT
 * objs, the least recently released going first: a short-lived session on a process
 * like the last one then reads nothing. They are bounded in number and in bytes. 64 objs
 * are what two or three common programs
 * map; with symbols, 0.1 to 0.5 MB each. One whose DWARF has been read goes at once.
 */
#include "obj/file.h"

#include <stdlib.h>
#include <string.h>

#include "util/log.h"

/* One file as stat(2) shows it, and its obj. Several files may share an obj. */
struct entry {
	dev_t dev;             /* device */
	ino_t ino;             /* inode on it */
	off_t size;            /* bytes */
	struct timespec mtime; /* last change of the contents */
	struct timespec ctime; /* last change of the inode: mtime can be set at will */
	struct obj *o;         /* borrowed: leaves when the obj does */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *entries;   /* nentries, in no order; under lock */
static size_t nentries;         /* how many; under lock */
static size_t entries_size;     /* how many fit; under lock */
static struct obj *idle_newest; /* objs without references, by release; under lock */
static struct obj *idle_oldest; /* the other end; under lock */
static size_t nidle;            /* how many; under lock */
static size_t idle_bytes;       /* what they take; under lock */
static ino_t nshared;           /* objs of no file so far; under lock */

#define NO_FILE ((dev_t)-1) /* a device that no file is on */

enum {
	MAX_ENTRIES = 16384, /* files; more of what is there already go without */
};

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_entry_of(const struct entry *e, const struct stat *st)
{
	return e->ino == st->st_ino && e->dev == st->st_dev && e->size == st->st_size &&
	       same_time(&e->mtime, &st->st_mtim) && same_time(&e->ctime, &st->st_ctim);
}

/* --- the idle list; all under lock ------------------------------------------------ */

static void push_idle(struct obj *o)
{
	o->newer = NULL;
	o->older = idle_newest;
	if (idle_newest)
		idle_newest->newer = o;
	else
		idle_oldest = o;
	idle_newest = o;
	nidle++;
	o->weight = obj_weight(o);
	idle_bytes += o->weight;
}

static void remove_idle(struct obj *o)
{
	if (o->newer)
		o->newer->older = o->older;
	else
		idle_newest = o->older;
	if (o->older)
		o->older->newer = o->newer;
	else
		idle_oldest = o->newer;
	o->newer = o->older = NULL;
	nidle--;
	idle_bytes -= o->weight;
}

/* A reference on a cached obj, which may be idle. */
static struct obj *revive(struct obj *o)
{
	if (atomic_fetch_add(&o->refs, 1) == 0)
		remove_idle(o);
	return o;
}

static void drop_entries(const struct obj *o)
{
	size_t kept = 0;

	for (size_t i = 0; i < nentries; i++) {
		if (entries[i].o != o)
			entries[kept++] = entries[i];
	}
	nentries = kept;
}

/* Takes idle objs beyond `limit` in number, or `bytes`, out of the cache: a list through
 * `older`, to be freed. */
static struct obj *evict(size_t limit, size_t bytes)
{
	struct obj *gone = NULL;

	while (nidle > limit || idle_bytes > bytes) {
		struct obj *o = idle_oldest;

		remove_idle(o);
		drop_entries(o);
		o->cached = false;
		o->older = gone;
		gone = o;
	}
	return gone;
}

/* Without the lock. */
static void free_list(struct obj *o)
{
	while (o) {
		struct obj *next = o->older;

		obj_free(o);
		o = next;
	}
}

/* --- look-up and insertion -------------------------------------------------------- */

struct obj *obj_cache_find(const struct stat *st)
{
	struct obj *found = NULL;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < nentries && !found; i++) {
		if (is_entry_of(&entries[i], st))
			found = revive(entries[i].o);
	}
	pthread_mutex_unlock(&lock);
	return found;
}

static bool same_bytes(const void *a, size_t na, const void *b, size_t nb)
{
	return na == nb && (!na || !memcmp(a, b, na));
}

static bool same_table(const struct obj_raw *a, const struct obj_raw *b)
{
	if (!a->versym != !b->versym)
		return false;
	return same_bytes(a->sym, a->n * sizeof(*a->sym), b->sym,
			  b->n * sizeof(*b->sym)) &&
	       same_bytes(a->str, a->strsz, b->str, b->strsz) &&
	       (!a->versym || same_bytes(a->versym, a->n * 2, b->versym, b->n * 2));
}

static bool same_string(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same_segments(const struct obj *a, const struct obj *b)
{
	if (a->nseg != b->nseg)
		return false;
	for (size_t i = 0; i < a->nseg; i++) {
		const struct obj_segment *x = &a->seg[i], *y = &b->seg[i];

		if (x->vaddr != y->vaddr || x->offset != y->offset ||
		    x->filesz != y->filesz || x->memsz != y->memsz || x->prot != y->prot)
			return false;
	}
	return true;
}

/* Where .symtab comes out of .gnu_debugdata, another thread may be at it right now: that
 * is compared in its stead. */
static bool same_symtab(const struct obj *a, const struct obj *b)
{
	if (a->packed || b->packed)
		return same_bytes(a->packed, a->packed_len, b->packed, b->packed_len);
	return same_table(&a->raw[0], &b->raw[0]);
}

/* Everything that an obj can answer is the same. */
static bool same_contents(const struct obj *a, const struct obj *b)
{
	return !memcmp(&a->header, &b->header, sizeof(a->header)) &&
	       a->dynamic == b->dynamic && same_string(a->interp, b->interp) &&
	       same_string(a->soname, b->soname) && same_segments(a, b) &&
	       same_bytes(a->section, a->nsection * sizeof(*a->section), b->section,
			  b->nsection * sizeof(*b->section)) &&
	       same_bytes(a->version, a->nversion * sizeof(*a->version), b->version,
			  b->nversion * sizeof(*b->version)) &&
	       same_symtab(a, b) && same_table(&a->raw[1], &b->raw[1]) &&
	       same_string(a->debuglink, b->debuglink) && a->debug_crc == b->debug_crc &&
	       cfi_same(&a->cfi, &b->cfi);
}

static bool proposes(const struct obj *a, const struct obj *b)
{
	return a->build_id_len && a->size == b->size &&
	       same_bytes(a->build_id, a->build_id_len, b->build_id, b->build_id_len);
}

/* An obj of the cache that is as good as o, or NULL. */
static struct obj *find_equal(const struct obj *o, const struct stat *st)
{
	for (size_t i = 0; i < nentries; i++) {
		struct obj *other = entries[i].o;

		if (is_entry_of(&entries[i], st) ||
		    (proposes(o, other) && same_contents(o, other)))
			return other;
	}
	return NULL;
}

/* Notes that the file st is o. False: no memory, and the cache does without. */
static bool add_entry(struct obj *o, const struct stat *st)
{
	for (size_t i = 0; i < nentries; i++) {
		if (is_entry_of(&entries[i], st))
			return true;
	}
	if (o->cached && nentries >= MAX_ENTRIES)
		return false;
	if (nentries == entries_size) {
		size_t bigger = entries_size ? entries_size * 2 : 64;
		struct entry *moved = realloc(entries, bigger * sizeof(*entries));

		if (!moved)
			return false;
		entries = moved;
		entries_size = bigger;
	}
	entries[nentries++] = (struct entry){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = st->st_size,
		.mtime = st->st_mtim,
		.ctime = st->st_ctim,
		.o = o,
	};
	return true;
}

struct obj *obj_cache_share(struct obj *o)
{
	struct stat st = { .st_dev = NO_FILE, .st_size = (off_t)o->size };

	pthread_mutex_lock(&lock);
	st.st_ino = ++nshared;
	pthread_mutex_unlock(&lock);
	return obj_cache_add(o, &st);
}

struct obj *obj_cache_add(struct obj *o, const struct stat *st)
{
	struct obj *equal;

	pthread_mutex_lock(&lock);
	equal = find_equal(o, st);
	if (equal)
		revive(equal);
	if (!equal)
		o->cached = add_entry(o, st);
	else if (st->st_dev != NO_FILE) /* that is never asked for by its place */
		add_entry(equal, st);
	pthread_mutex_unlock(&lock);
	if (!equal)
		return o;
	obj_free(o);
	return equal;
}

/* --- references ------------------------------------------------------------------- */

struct obj *obj_ref(struct obj *o)
{
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	return o;
}

/* Gives one reference back unless it is the last. */
static bool drop_not_last(struct obj *o)
{
	unsigned refs = atomic_load(&o->refs);

	while (refs > 1) {
		if (atomic_compare_exchange_weak(&o->refs, &refs, refs - 1))
			return true;
	}
	return false;
}

/*
 * The last reference goes under the lock: between a drop to 0 and the lock, another
 * thread could find the obj, release it, and have it evicted and freed.
 */
void obj_unref(struct obj *o)
{
	struct obj *gone = NULL;

	if (!o || drop_not_last(o))
		return;
	pthread_mutex_lock(&lock);
	if (atomic_fetch_sub(&o->refs, 1) == 1) {
		if (o->cached && o->lines) {
			drop_entries(o);
			o->older = NULL;
			gone = o;
		} else if (o->cached) {
			push_idle(o);
			gone = evict(OBJ_IDLE_LIMIT, OBJ_IDLE_BYTES);
		} else {
			o->older = NULL;
			gone = o;
		}
	}
	pthread_mutex_unlock(&lock);
	free_list(gone);
}

size_t obj_cache_idle(void)
{
	size_t n;

	pthread_mutex_lock(&lock);
	n = nidle;
	pthread_mutex_unlock(&lock);
	return n;
}

/* Does a former entry have the same obj? */
static bool is_repeated(size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (entries[k].o == entries[i].o)
			return true;
	}
	return false;
}

size_t obj_cache_bytes(void)
{
	size_t n = 0;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < nentries; i++) {
		if (!is_repeated(i))
			n += obj_weight(entries[i].o);
	}
	n += entries_size * sizeof(*entries);
	pthread_mutex_unlock(&lock);
	return n;
}

void obj_cache_trim(void)
{
	struct obj *gone;

	pthread_mutex_lock(&lock);
	gone = evict(0, 0);
	if (!nentries) {
		free(entries);
		entries = NULL;
		entries_size = 0;
	}
	pthread_mutex_unlock(&lock);
	free_list(gone);
}
