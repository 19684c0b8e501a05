/* SPDX-License-Identifier: MIT */
/*
 * The files that a core says were mapped (NT_FILE, fs/binfmt_elf.c since Linux 3.7):
 * count, page size, then start, end and page offset of each mapping, then their paths one
 * after the other.
 *
 * What was not dumped is read from these files, if they are still the ones: where the
 * core has an object's first page, it has its build-id, and the file's must be that one.
 * A core that has not (an unusual coredump_filter) is believed. The paths are opened as
 * they are, here: only a plain file, only if it is ELF, and never one that blocks or acts
 * when it is opened.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/inside.h"
#include "obj/obj.h"
#include "util/scope.h"

#define DELETED " (deleted)"

/* A path and the line that it belongs to, on their way to numbers. */
struct named {
	const char *path; /* in core.strings */
	size_t range;     /* index of the line */
};

static uint64_t word_at(const char *bytes, size_t index)
{
	uint64_t v;

	memcpy(&v, bytes + index * sizeof(v), sizeof(v));
	return v;
}

/* --- lines -------------------------------------------------------------------------- */

static int compare_names(const void *pa, const void *pb)
{
	const struct named *a = pa, *b = pb;
	int by_path = strcmp(a->path, b->path);

	return by_path ? by_path : (a->range > b->range) - (a->range < b->range);
}

static int compare_ranges(const void *pa, const void *pb)
{
	const struct core_range *a = pa, *b = pb;

	return (a->start > b->start) - (a->start < b->start);
}

static void set_file(struct core *c, uint32_t file, char *path)
{
	struct core_file *f = &c->file[file];
	size_t len = strlen(path), mark = strlen(DELETED);

	*f = (struct core_file){ .path = path, .fd = -1 };
	if (len > mark && !strcmp(path + len - mark, DELETED)) {
		path[len - mark] = '\0';
		f->deleted = true;
	}
}

/* Gives each path a number: from the last, so that the mark is cut off a path only after
 * all of its neighbours have been compared with it. */
static void number_files(struct core *c, struct named *names)
{
	qsort(names, c->nrange, sizeof(*names), compare_names);
	for (size_t i = 0; i < c->nrange; i++) {
		if (!i || strcmp(names[i - 1].path, names[i].path) != 0)
			c->nfile++;
		c->range[names[i].range].file = (uint32_t)(c->nfile - 1);
	}
	for (size_t i = c->nrange; i-- > 0;)
		set_file(c, c->range[names[i].range].file,
			 c->strings + (names[i].path - c->strings));
}

/* Sorted and disjoint; of two that overlap the lower one stays. */
static void order_ranges(struct core *c)
{
	uint64_t reached = 0;
	size_t kept = 0;

	qsort(c->range, c->nrange, sizeof(*c->range), compare_ranges);
	for (size_t i = 0; i < c->nrange; i++) {
		struct core_range *r = &c->range[i];

		if (r->start < reached || r->end <= r->start)
			continue;
		if (!r->offset && !c->file[r->file].first)
			c->file[r->file].first = r->start;
		reached = r->end;
		c->range[kept++] = *r;
	}
	c->nrange = kept;
}

/* The n lines; names in the order of the file. */
static void read_ranges(struct core *c, struct named *names, size_t n, size_t len)
{
	uint64_t page = word_at(c->strings, 1);
	char *path = c->strings + (2 + 3 * n) * sizeof(uint64_t);
	char *end = c->strings + len;

	for (size_t i = 0; i < n && path < end; i++) {
		struct core_range *r = &c->range[i];

		r->start = word_at(c->strings, 2 + 3 * i);
		r->end = word_at(c->strings, 3 + 3 * i);
		r->offset = word_at(c->strings, 4 + 3 * i) * page;
		names[i] = (struct named){ .path = path, .range = i };
		path += strlen(path) + 1;
		c->nrange++;
	}
}

int core_take_files(struct core *c, char *bytes, size_t len)
{
	_cleanup_free_ struct named *names = NULL;
	uint64_t n = len >= 2 * sizeof(n) ? word_at(bytes, 0) : 0;

	c->strings = bytes;
	if (!n || n > (len - 2 * sizeof(n)) / (3 * sizeof(n)))
		return 0;
	names = calloc(n, sizeof(*names));
	c->range = calloc(n, sizeof(*c->range));
	c->file = calloc(n, sizeof(*c->file));
	if (!names || !c->range || !c->file)
		return -ENOMEM;
	read_ranges(c, names, n, len);
	number_files(c, names);
	order_ranges(c);
	return 0;
}

int core_take_itself(struct core *c)
{
	char name[32];
	ssize_t len;

	c->strings = calloc(1, PATH_MAX + 1);
	c->file = calloc(1, sizeof(*c->file));
	c->range = calloc(c->nseg + 1, sizeof(*c->range));
	if (!c->strings || !c->file || !c->range)
		return -ENOMEM;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", c->fd);
	len = readlink(name, c->strings, PATH_MAX);
	c->strings[len > 0 ? len : 0] = '\0';
	set_file(c, 0, c->strings);
	c->nfile = 1;
	c->file[0].fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
	if (c->file[0].fd < 0)
		return -errno;
	for (size_t i = 0; i < c->nseg; i++) {
		const struct core_segment *s = &c->seg[i];

		if (s->filesz)
			c->range[c->nrange++] = (struct core_range){
				.start = s->start,
				.end = s->start + s->filesz,
				.offset = s->offset,
			};
	}
	return 0;
}

void core_free_files(struct core *c)
{
	for (size_t i = 0; i < c->nfile; i++) {
		scope_close(&c->file[i].fd);
		free(c->file[i].alias);
	}
	free(c->file);
	free(c->range);
	free(c->strings);
}

/* --- opening ------------------------------------------------------------------------ */

/* In two steps: opening anything but a plain file may act or block. */
static int open_plain(const char *path)
{
	char name[32];
	struct stat st;
	int fd;
	_cleanup_close_ int there = open(path, O_PATH | O_CLOEXEC);

	if (there < 0 || fstat(there, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENXIO;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", there);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

static bool same_build_id(const struct obj *a, const struct obj *b)
{
	size_t na, nb;
	const uint8_t *ia = obj_build_id(a, &na), *ib = obj_build_id(b, &nb);

	if (!ia)
		return true; /* the core does not say */
	return ib && na == nb && !memcmp(ia, ib, na);
}

/* The object at f->first as the core has it: its first page, or NULL. */
static struct obj *dumped_head(struct core *c, const struct core_file *f)
{
	char page[CORE_PAGE];
	struct obj *head;

	if (!f->first ||
	    core_read_dumped(c, f->first, page, sizeof(page)) != sizeof(page))
		return NULL;
	return obj_get_bytes(page, sizeof(page), &head) ? NULL : head;
}

/* Is it the file that was mapped? */
static int check_file(struct core *c, const struct core_file *f, int fd)
{
	struct obj *file, *head;
	int err = obj_get_fd(fd, &file);

	if (err)
		return err;
	head = dumped_head(c, f);
	if (head && !same_build_id(head, file))
		err = -ESTALE;
	obj_unref(head);
	obj_unref(file);
	return err;
}

static int open_checked(struct core *c, const struct core_file *f)
{
	_cleanup_close_ int fd = -1;
	int err;

	if (!f->alias && f->path[0] != '/')
		return -ENOENT;
	fd = open_plain(f->alias ? f->alias : f->path);
	if (fd < 0)
		return fd;
	err = f->alias ? 0 : check_file(c, f, fd);
	return err ? err : scope_take_fd(&fd);
}

/* Room for one more descriptor: the one that was opened first goes. */
static unsigned make_room(struct core *c)
{
	unsigned slot = c->next_close;

	if (c->nopen < CORE_OPEN_FILES)
		return c->nopen++;
	c->next_close = (slot + 1) % CORE_OPEN_FILES;
	scope_close(&c->file[c->opened[slot]].fd);
	c->file[c->opened[slot]].fd = -1;
	return slot;
}

static bool is_lasting(int err)
{
	return err != -ENOMEM && err != -EMFILE && err != -ENFILE && err != -EINTR;
}

int core_file_fd(struct core *c, uint32_t file)
{
	struct core_file *f = &c->file[file];
	int fd;

	if (f->fd >= 0)
		return f->fd;
	if (f->err)
		return f->err;
	fd = open_checked(c, f);
	if (fd >= 0) {
		c->opened[make_room(c)] = file;
		f->fd = fd;
	} else if (is_lasting(fd)) {
		f->err = fd;
	}
	return fd;
}

int core_open_mapped(struct core *c, const struct procfs_map *m)
{
	int fd;

	if (!m->inode || m->inode > c->nfile)
		return -ENOENT;
	pthread_mutex_lock(&c->lock);
	fd = core_file_fd(c, (uint32_t)(m->inode - 1));
	if (fd >= 0)
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (fd == -1)
		fd = -errno;
	pthread_mutex_unlock(&c->lock);
	return fd;
}

/* --- the program -------------------------------------------------------------------- */

/* Which file has the program's headers, or NULL. */
static struct core_file *program_file(const struct core *c)
{
	uint64_t at = core_auxval(c, AT_PHDR);
	const struct core_range *r = core_range_at(c, at ? at : core_auxval(c, AT_ENTRY));

	return r ? &c->file[r->file] : NULL;
}

const char *core_program(const struct core *c)
{
	const struct core_file *f = program_file(c);

	if (!f)
		return NULL;
	return f->alias ? f->alias : f->path;
}

int core_set_program(struct core *c, const char *path, bool anyway)
{
	struct core_file *f = program_file(c);
	_cleanup_free_ char *alias = strdup(path);
	_cleanup_close_ int fd = -1;
	int err;

	if (!f)
		return -ENOENT;
	if (!alias)
		return -ENOMEM;
	fd = open_plain(path);
	if (fd < 0)
		return fd;
	err = check_file(c, f, fd);
	if (err && !(anyway && err == -ESTALE))
		return err;
	free(f->alias);
	f->alias = scope_take(alias);
	f->err = 0;
	return 0;
}
