/* SPDX-License-Identifier: MIT */
/*
 * Call frame information: which rules lead from a frame to its caller's, for an address
 * in a file.
 *
 * Where it is. .eh_frame, which is mapped with the program, has the order of the link; a
 * search table in .eh_frame_hdr, found by PT_GNU_EH_FRAME, leads to the entry of an
 * address (FDE), and that to what it shares with others (CIE). Hand-made and old files
 * have .eh_frame without a table, or .debug_frame, which is like it; there an index is
 * made at the first look-up, once, as that of symbols is (obj.c). .eh_frame is asked
 * first.
 *
 * What is kept: the bytes of the sections, as they stand in the file, copied when the
 * file is read (cfi_load.c): the descriptor is not kept, the file may be gone when the
 * first stack is walked, and the search runs over the linker's table as it is. For a libc
 * 180 KB, half as much again as its dynamic symbols. Nothing is decoded before it is
 * asked for.
 *
 * A row is made by executing the instructions of CIE and FDE up to the address
 * (cfi_rows.c): 0.5 to 5 µs, by how many there are. Return addresses come again and
 * again, so the last rows are kept by address (cfi_cache.c): 10 to 20 ns.
 *
 * Hostile files. A cursor cannot leave its section, whatever lengths say (cfi_entry.c);
 * an unsorted table makes a search miss, no more, since the FDE itself must cover the
 * address; numbers of steps and depths are bounded. What the rules *say* may still be a
 * lie: src/stack, which follows them, believes no more than it can check.
 *
 * Threads: everything is immutable but the index and the cache, which are published
 * through atomic pointers. Not done here: compressed sections and separate debug files
 * (cfi_take() is for who does); files of the other byte order have no CFI to us.
 */
#include "obj/cfi_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "obj/file.h"

/* --- the linker's table ----------------------------------------------------------- */

/* Column `column` (0 address, 1 FDE) of an entry, both relative to the header. */
static uint64_t table_at(const struct obj_cfi *f, size_t i, size_t column)
{
	int32_t n;

	memcpy(&n, f->header + f->table + i * 8 + column * 4, sizeof(n));
	return f->header_addr + (uint64_t)(int64_t)n;
}

/* The FDE that the table names for vaddr, as an offset in .eh_frame. */
static int search_table(const struct obj_cfi *f, uint64_t vaddr, size_t *ret)
{
	size_t base = 0, len = f->ntable;
	uint64_t off;

	while (len > 1) {
		size_t half = len / 2;

		base += table_at(f, base + half, 0) <= vaddr ? half : 0;
		len -= half;
	}
	off = table_at(f, base, 1) - f->section[CFI_EH].vaddr;
	if (table_at(f, base, 0) > vaddr || off >= f->section[CFI_EH].len)
		return -ENOENT;
	*ret = (size_t)off;
	return 0;
}

/* --- our own index ---------------------------------------------------------------- */

/* An FDE while the index is being made. */
struct found {
	uint64_t start; /* its first address */
	uint32_t fde;   /* where it stands */
};

static int compare_found(const void *pa, const void *pb)
{
	const struct found *a = pa, *b = pb;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return (a->fde > b->fde) - (a->fde < b->fde);
}

/* Every FDE of a section: `found` has room for all, or is NULL. Returns how many. */
static size_t scan_section(const struct obj_cfi *f, enum cfi_form form,
			   struct found *found)
{
	size_t off = 0, next, n = 0;
	struct cfi_entry e;

	while (off < f->section[form].len) {
		int rc = cfi_parse(f, form, off, &e, &next);

		if (!rc && e.start < e.end) {
			if (found)
				found[n] = (struct found){ e.start, (uint32_t)off };
			n++;
		}
		off = next;
	}
	return n;
}

static void free_index(struct cfi_index *x)
{
	free(x->start);
	free(x->fde);
	free(x);
}

static int lay_index(const struct found *found, size_t n, struct cfi_index **ret)
{
	struct cfi_index *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->n = n;
	x->start = malloc((n + 1) * sizeof(*x->start));
	x->fde = malloc((n + 1) * sizeof(*x->fde));
	if (!x->start || !x->fde) {
		free_index(x);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		x->start[i] = found[i].start;
		x->fde[i] = found[i].fde;
	}
	*ret = x;
	return 0;
}

static int new_index(const struct obj_cfi *f, enum cfi_form form, struct cfi_index **ret)
{
	size_t n = scan_section(f, form, NULL);
	struct found *found = malloc((n + 1) * sizeof(*found));
	int err;

	if (!found)
		return -ENOMEM;
	scan_section(f, form, found);
	qsort(found, n, sizeof(*found), compare_found);
	err = lay_index(found, n, ret);
	free(found);
	return err;
}

static int get_index(struct obj *o, enum cfi_form form, const struct cfi_index **ret)
{
	struct cfi_section *s = &o->cfi.section[form];
	struct cfi_index *x = atomic_load_explicit(&s->index, memory_order_acquire);
	int err = 0;

	if (!x) {
		pthread_mutex_lock(&o->lock);
		x = atomic_load_explicit(&s->index, memory_order_relaxed);
		if (!x)
			err = new_index(&o->cfi, form, &x);
		if (!err)
			atomic_store_explicit(&s->index, x, memory_order_release);
		pthread_mutex_unlock(&o->lock);
	}
	if (!err)
		*ret = x;
	return err;
}

static int search_index(struct obj *o, enum cfi_form form, uint64_t vaddr, size_t *ret)
{
	const struct cfi_index *x;
	size_t base = 0, len;
	int err = get_index(o, form, &x);

	if (err)
		return err;
	for (len = x->n; len > 1;) {
		size_t half = len / 2;

		base += x->start[base + half] <= vaddr ? half : 0;
		len -= half;
	}
	if (!x->n || x->start[base] > vaddr)
		return -ENOENT;
	*ret = x->fde[base];
	return 0;
}

/* --- look-up ---------------------------------------------------------------------- */

static int find_row(struct obj *o, enum cfi_form form, uint64_t vaddr,
		    struct cfi_row *ret)
{
	struct obj_cfi *f = &o->cfi;
	struct cfi_entry e;
	size_t off, next;
	int err;

	if (!f->section[form].len)
		return -ENOENT;
	if (form == CFI_EH && f->ntable)
		err = search_table(f, vaddr, &off);
	else
		err = search_index(o, form, vaddr, &off);
	if (err)
		return err;
	if (cfi_parse(f, form, off, &e, &next))
		return -ENOEXEC;
	if (vaddr < e.start || vaddr >= e.end)
		return -ENOENT;
	return cfi_run(f, form, &e, obj_machine(o), vaddr, ret);
}

int obj_cfi_row(struct obj *o, uint64_t vaddr, struct cfi_row *ret)
{
	struct cfi_row row;
	int err = -ENOENT;

	if (cfi_cache_get(&o->cfi, vaddr, ret))
		return 0;
	for (int form = 0; form < CFI_NFORMS && err == -ENOENT; form++)
		err = find_row(o, (enum cfi_form)form, vaddr, &row);
	if (err)
		return err;
	cfi_cache_put(&o->cfi, vaddr, &row);
	*ret = row;
	return 0;
}

int obj_cfi_expr(const struct obj *o, const struct cfi_row *row,
		 const struct cfi_rule *rule, const uint8_t **ret)
{
	const struct cfi_section *s;

	if (row->section >= CFI_NFORMS || rule->n < 0)
		return -EINVAL;
	s = &o->cfi.section[row->section];
	if ((size_t)rule->n > s->len || rule->len > s->len - (size_t)rule->n)
		return -EINVAL;
	*ret = (const uint8_t *)s->bytes + rule->n;
	return 0;
}
