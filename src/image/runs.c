/* SPDX-License-Identifier: MIT */
/*
 * Grouping mappings into runs: what was mapped together of one file.
 *
 * A loader maps the segments of a file at rising addresses and, nearly always, rising
 * offsets, the first at offset 0. So a mapping that goes on where the last one of the
 * same file ended, at no lower an offset, belongs to it, and that is all that most
 * mappings need. Whatever else may be a second copy of the file (dlmopen), a file
 * mapped as data, a file so small that two segments begin in its first page, or an
 * object with holes: then the program headers decide. They are read from the memory at
 * the run's start, which costs 2 µs, and from the file only when the memory does not
 * have them.
 *
 * Anonymous memory behind a writable mapping of a run is its bss; but the kernel merges
 * neighbours, so one line of maps may be a bss with megabytes of somebody's heap behind
 * it. The headers say where the object ends, which may be within a mapping. Anonymous
 * memory *between* mappings of a run is text that was moved to huge pages, or a hole;
 * it belongs to the run.
 */
#include "image/inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/scope.h"

/* Runs among which a mapping looks for its own: mappings of two objects interleave only
 * where one filled a hole of the other. */
enum {
	LOOK_BACK = 16,
};

enum {
	HEAD_SIZE = 4096, /* a page, in which linkers put headers and program headers */
	OPEN_LIMIT = 256, /* files that one snapshot opens for their headers at most */
};

/* --- headers ---------------------------------------------------------------------- */

/* -ENODATA: they are not in memory, or not all of them; the file may help. */
static int read_head(const struct image_runs *r, const struct image_run *run,
		     struct obj **ret)
{
	const struct procfs_map *m = &r->maps[run->first];
	size_t len = m->end - m->start < HEAD_SIZE ? m->end - m->start : HEAD_SIZE;
	char buf[HEAD_SIZE];
	int err;

	if (m->offset || !r->src->mem || !(m->prot & PROT_READ))
		return -ENODATA;
	if (mem_read_all(r->src->mem, m->start, buf, len))
		return -ENODATA;
	if (memcmp(buf, ELFMAG, SELFMAG))
		return -ENOEXEC;
	err = obj_get_bytes(buf, len, ret);
	return err == -ENOEXEC ? -ENODATA : err;
}

static int open_head(struct image_runs *r, const struct image_run *run, struct obj **ret)
{
	_cleanup_close_ int fd = -1;

	if (!run->is_file || r->nopened++ >= OPEN_LIMIT)
		return -ENODATA;
	fd = image_open_file(r->src->origin, r->src->origin_arg,
			     r->src->tid ? r->src->tid : r->src->pid,
			     &r->maps[run->first]);
	return fd >= 0 ? obj_get_fd(fd, ret) : fd;
}

const struct obj *image_run_head(struct image_runs *r, struct image_run *run)
{
	if (!run->head_tried) {
		run->head_tried = true;
		run->head_err = read_head(r, run, &run->head);
		if (run->head_err == -ENODATA)
			run->head_err = open_head(r, run, &run->head);
		if (run->head_err == -ENOMEM)
			r->err = -ENOMEM;
	}
	return run->head_err ? NULL : run->head;
}

/* Does the mapping show file bytes of the segment? */
static bool shows_segment(const struct procfs_map *m, const struct obj_segment *s)
{
	uint64_t end = m->offset + (m->end - m->start);

	return m->offset < s->offset + s->filesz && s->offset < end;
}

/* Address of file offset 0 in the straight line that a mapping, or a segment, lies on. */
static uint64_t origin_of_map(const struct procfs_map *m)
{
	return m->start - m->offset;
}

static uint64_t origin_of_segment(const struct obj_segment *s)
{
	return s->vaddr - s->offset;
}

bool image_run_bias(struct image_runs *r, struct image_run *run, uint64_t *ret)
{
	const struct obj *head = image_run_head(r, run);
	const struct procfs_map *m = &r->maps[run->first];
	const struct obj_segment *seg;
	size_t n;

	if (!head)
		return false;
	seg = obj_segments(head, &n);
	for (size_t i = 0; i < n; i++) {
		if (!shows_segment(m, &seg[i]))
			continue;
		*ret = origin_of_map(m) - origin_of_segment(&seg[i]);
		return true;
	}
	return false;
}

/* By the headers: is the mapping where a segment of the run must be? */
static bool fits_run(struct image_runs *r, struct image_run *run,
		     const struct procfs_map *m)
{
	const struct obj_segment *seg;
	uint64_t bias;
	size_t n;

	if (!image_run_bias(r, run, &bias))
		return false;
	seg = obj_segments(run->head, &n);
	for (size_t i = 0; i < n; i++) {
		if (shows_segment(m, &seg[i]) &&
		    origin_of_map(m) == bias + origin_of_segment(&seg[i]))
			return true;
	}
	return false;
}

/* --- grouping --------------------------------------------------------------------- */

static bool same_file(const struct procfs_map *a, const struct procfs_map *b)
{
	return a->inode == b->inode && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor;
}

static bool continues_run(struct image_runs *r, struct image_run *run,
			  const struct procfs_map *m)
{
	const struct procfs_map *last = &r->maps[run->last];

	if (!run->is_file || !same_file(last, m))
		return false;
	if (m->offset && m->offset >= last->offset && m->start == last->end)
		return true;
	return fits_run(r, run, m);
}

/* The run that mapping m goes on with, or NULL. */
static struct image_run *find_run(struct image_runs *r, const struct procfs_map *m)
{
	for (size_t i = r->nrun; i-- > 0 && r->nrun - i <= LOOK_BACK;) {
		if (continues_run(r, &r->run[i], m))
			return &r->run[i];
	}
	return NULL;
}

static struct image_run *begin_run(struct image_runs *r, size_t i)
{
	struct image_run *run = &r->run[r->nrun++];

	*run = (struct image_run){
		.first = i,
		.last = i,
		.start = r->maps[i].start,
		.is_file = r->maps[i].inode != 0,
	};
	return run;
}

static void join_run(struct image_runs *r, struct image_run *run, size_t i)
{
	const struct procfs_map *m = &r->maps[i];

	for (size_t hole = run->last + 1; hole < i; hole++) {
		if (r->of_map[hole] == IMAGE_NO_RUN)
			r->of_map[hole] = (uint32_t)(run - r->run);
	}
	r->of_map[i] = (uint32_t)(run - r->run);
	run->last = i;
	run->end = m->end;
	run->has_exec |= (m->prot & PROT_EXEC) != 0;
}

static bool is_vdso(const struct image_runs *r, const struct procfs_map *m)
{
	if (m->inode)
		return false;
	return !strcmp(m->path, "[vdso]") ||
	       (r->src->at_vdso && m->start == r->src->at_vdso);
}

/* Nameless writable memory right behind a writable mapping of a file. */
static bool is_bss(const struct image_runs *r, size_t i)
{
	const struct procfs_map *m = &r->maps[i], *before = m - 1;

	if (!i || m->inode || *m->path || m->shared || r->of_map[i - 1] == IMAGE_NO_RUN)
		return false;
	return before->inode && before->end == m->start && !before->shared &&
	       (before->prot & m->prot & PROT_WRITE);
}

/* Where the run's memory ends by its headers; UINT64_MAX: not known. */
static uint64_t limit_of_run(struct image_runs *r, struct image_run *run)
{
	const struct obj_segment *seg;
	uint64_t bias, limit = 0;
	size_t n;

	if (!image_run_bias(r, run, &bias))
		return UINT64_MAX;
	seg = obj_segments(run->head, &n);
	for (size_t i = 0; i < n; i++) {
		if (seg[i].vaddr + seg[i].memsz > limit)
			limit = seg[i].vaddr + seg[i].memsz;
	}
	return (bias + limit + HEAD_SIZE - 1) & ~(uint64_t)(HEAD_SIZE - 1);
}

/* Takes mapping i into the run before it as its bss, as far as it can be that. */
static bool join_bss(struct image_runs *r, size_t i)
{
	const struct procfs_map *m = &r->maps[i];
	struct image_run *run;
	uint64_t limit;

	if (!is_bss(r, i))
		return false;
	run = &r->run[r->of_map[i - 1]];
	limit = limit_of_run(r, run);
	if (limit <= m->start)
		return false;
	r->of_map[i] = r->of_map[i - 1];
	run->end = limit < m->end ? limit : m->end;
	return true;
}

static void place_map(struct image_runs *r, size_t i)
{
	const struct procfs_map *m = &r->maps[i];
	struct image_run *run;

	r->of_map[i] = IMAGE_NO_RUN;
	if (join_bss(r, i))
		return;
	if (!m->inode && !is_vdso(r, m))
		return;
	run = m->inode ? find_run(r, m) : NULL;
	join_run(r, run ? run : begin_run(r, i), i);
}

int image_runs_make(struct image_runs *r)
{
	r->run = malloc((r->nmaps + 1) * sizeof(*r->run));
	r->of_map = malloc((r->nmaps + 1) * sizeof(*r->of_map));
	if (!r->run || !r->of_map)
		return -ENOMEM;
	for (size_t i = 0; i < r->nmaps; i++)
		place_map(r, i);
	return 0;
}

void image_runs_fini(struct image_runs *r)
{
	for (size_t i = 0; i < r->nrun; i++)
		obj_unref(r->run[i].head_err ? NULL : r->run[i].head);
	free(r->run);
	free(r->of_map);
}

struct image_run *image_run_at(const struct image_runs *r, uint64_t addr)
{
	size_t low = 0, high = r->nmaps;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (r->maps[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == r->nmaps || addr < r->maps[low].start ||
	    r->of_map[low] == IMAGE_NO_RUN)
		return NULL;
	return &r->run[r->of_map[low]];
}
