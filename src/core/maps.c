/* SPDX-License-Identifier: MIT */
/*
 * The address space as a core shows it: its segments, and over them the lines of NT_FILE.
 * The kernel has a segment for every mapping, also for one of which it dumped nothing;
 * gdb's gcore has none for what it leaves to the file: there the file's own headers tell
 * what may be done with the memory. Either may be the finer of the two, so both are cut
 * at each other's borders.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/inside.h"
#include "util/scope.h"

#define VSYSCALL 0xffffffffff600000ull /* of every x86-64 process */

const struct core_segment *core_segment_at(const struct core *c, uint64_t addr,
					   uint64_t *ret_next)
{
	size_t low = 0, high = c->nseg;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c->seg[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	*ret_next = low < c->nseg ? c->seg[low].start : UINT64_MAX;
	return low < c->nseg && c->seg[low].start <= addr ? &c->seg[low] : NULL;
}

const struct core_range *core_range_at(const struct core *c, uint64_t addr)
{
	size_t low = 0, high = c->nrange;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c->range[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->nrange && c->range[low].start <= addr ? &c->range[low] : NULL;
}

/* --- merging ------------------------------------------------------------------------ */

/* The walk over both lists at once. */
struct merge {
	struct core *c;         /* whose */
	size_t seg, range;      /* the next of each */
	uint64_t at;            /* all below has been told */
	struct procfs_map *out; /* the result */
	size_t n;               /* how many so far */
};

/* What the file's headers say of the bytes at offset; readable when they say nothing. */
static unsigned prot_by_file(struct core *c, const struct core_range *r)
{
	struct procfs_map m = { .inode = r->file + 1ull };
	_cleanup_close_ int fd = core_open_mapped(c, &m);
	const struct obj_segment *seg;
	unsigned prot = PROT_READ;
	struct obj *o;
	size_t n;

	if (fd < 0 || obj_get_fd(fd, &o))
		return prot;
	seg = obj_segments(o, &n);
	for (size_t i = 0; i < n; i++) {
		uint64_t first = seg[i].offset & ~(uint64_t)(CORE_PAGE - 1);

		if (r->offset >= first && r->offset < seg[i].offset + seg[i].filesz)
			prot = seg[i].prot;
	}
	obj_unref(o);
	return prot;
}

static const char *name_special(const struct core *c, uint64_t start, uint64_t end)
{
	uint64_t on_stack = core_auxval(c, AT_RANDOM);

	if (start == core_auxval(c, AT_SYSINFO_EHDR))
		return "[vdso]";
	if (start == VSYSCALL && c->layout->machine == EM_X86_64)
		return "[vsyscall]";
	return on_stack >= start && on_stack < end ? "[stack]" : "";
}

static void emit(struct merge *m, uint64_t end, const struct core_segment *s,
		 const struct core_range *r)
{
	const struct core_file *f = r ? &m->c->file[r->file] : NULL;

	m->out[m->n++] = (struct procfs_map){
		.start = m->at,
		.end = end,
		.offset = r ? r->offset + (m->at - r->start) : 0,
		.prot = s ? s->prot : prot_by_file(m->c, r),
		.inode = r ? r->file + 1ull : 0,
		.deleted = f && f->deleted,
		.path = !f         ? name_special(m->c, m->at, end)
			: f->alias ? f->alias
				   : f->path,
	};
}

static uint64_t lower(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* One piece in which neither list changes; false at the end. */
static bool step(struct merge *m)
{
	const struct core *c = m->c;
	const struct core_segment *s = m->seg < c->nseg ? &c->seg[m->seg] : NULL;
	const struct core_range *r = m->range < c->nrange ? &c->range[m->range] : NULL;
	uint64_t end = UINT64_MAX;

	if (s && s->end <= m->at)
		return m->seg++, true;
	if (r && r->end <= m->at)
		return m->range++, true;
	if (!s && !r)
		return false;
	if ((!s || s->start > m->at) && (!r || r->start > m->at)) {
		m->at = lower(s ? s->start : end, r ? r->start : end);
		return true;
	}
	if (s) /* up to its end, or to its beginning */
		end = lower(end, s->start > m->at ? s->start : s->end);
	if (r)
		end = lower(end, r->start > m->at ? r->start : r->end);
	emit(m, end, s && s->start <= m->at ? s : NULL,
	     r && r->start <= m->at ? r : NULL);
	m->at = end;
	return true;
}

int core_maps(struct core *c, struct procfs_map **ret, size_t *ret_n)
{
	struct merge m = { .c = c };

	/* Each border of either list begins at most one piece. */
	m.out = calloc(2 * (c->nseg + c->nrange) + 1, sizeof(*m.out));
	if (!m.out)
		return -ENOMEM;
	while (step(&m))
		continue;
	*ret = m.out;
	*ret_n = m.n;
	return 0;
}
