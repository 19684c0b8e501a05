/* SPDX-License-Identifier: MIT */
/*
 * Names of compiled code, from the map that its compiler writes as it goes: a line
 * `START SIZE NAME` (the numbers hexadecimal) for each piece. Code that has been thrown
 * away stays in it, and its place may be taken by other code in a later line.
 *
 * Hostile maps. /tmp is everybody's: the file must be a plain one, no link, and belong to
 * the process's user or to root, and nobody else may write to it. It may still say
 * anything: lines that make no sense are left out, and there are bounds on bytes, lines
 * and names. What is read is what it had when it was opened; it goes on growing.
 *
 * A snapshot reads the map once, when it is first asked for an address that lies in
 * executable memory of no object. Who finds no name asks the next snapshot.
 */
#include "image/jit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/inside.h"
#include "os/procfs.h"
#include "util/log.h"
#include "util/scope.h"

enum {
	MAX_BYTES = 64 << 20, /* of the map; a large Java program writes 10 MB */
	MAX_CODES = 1 << 20,  /* lines that are kept */
	MAX_NAME = 1024,      /* bytes of a name; the rest is cut */
	LOOK_BACK = 16,       /* pieces that begin before an address and may hold it */
};

/* One line. */
struct line {
	uint64_t start, end; /* [start, end) */
	uint32_t name;       /* in the text */
	uint32_t order;      /* lines before it */
};

struct jit_map {
	char *text;        /* names, each with its NUL; owned */
	struct line *line; /* n, by start, then order; owned */
	size_t n;          /* how many */
};

/* --- text ------------------------------------------------------------------------- */

static const char *parse_hex(const char *s, uint64_t *ret)
{
	uint64_t n = 0;
	int digits = 0;

	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		s += 2;
	for (;; s++, digits++) {
		unsigned c = (unsigned char)*s, d;

		if (c >= '0' && c <= '9')
			d = c - '0';
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			d = (c | 32) - 'a' + 10;
		else
			break;
		n = n << 4 | d;
	}
	*ret = n;
	return digits > 0 && digits <= 16 ? s : NULL;
}

/* One line with a NUL for its newline. */
static int parse_line(char *text, size_t at, struct line *ret)
{
	uint64_t start, size;
	const char *s = parse_hex(text + at, &start);
	size_t name;

	if (!s || *s != ' ')
		return -EINVAL;
	s = parse_hex(s + 1, &size);
	if (!s || *s != ' ' || !s[1] || !size || start + size < start)
		return -EINVAL;
	name = (size_t)(s + 1 - text);
	if (strnlen(text + name, MAX_NAME) == MAX_NAME)
		text[name + MAX_NAME - 1] = '\0';
	*ret = (struct line){ .start = start,
			      .end = start + size,
			      .name = (uint32_t)name };
	return 0;
}

static int add_line(struct jit_map *map, size_t *room, const struct line *line)
{
	if (map->n == *room) {
		size_t bigger = *room ? *room * 2 : 1024;
		struct line *moved = reallocarray(map->line, bigger, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		map->line = moved;
		*room = bigger;
	}
	map->line[map->n] = *line;
	map->line[map->n].order = (uint32_t)map->n;
	map->n++;
	return 0;
}

/* Whole lines only: the last may be half written. */
static int parse_lines(struct jit_map *map, size_t len)
{
	size_t room = 0, at = 0;
	struct line line;
	int err = 0;

	while (!err && at < len && map->n < MAX_CODES) {
		char *end = memchr(map->text + at, '\n', len - at);

		if (!end)
			break;
		*end = '\0';
		if (!parse_line(map->text, at, &line))
			err = add_line(map, &room, &line);
		at = (size_t)(end - map->text) + 1;
	}
	return err;
}

static int compare_lines(const void *pa, const void *pb)
{
	const struct line *a = pa, *b = pb;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return (a->order > b->order) - (a->order < b->order);
}

int jit_map_parse(char *text, size_t len, struct jit_map **ret)
{
	struct jit_map *map = calloc(1, sizeof(*map));
	int err;

	if (!map) {
		free(text);
		return -ENOMEM;
	}
	map->text = text;
	err = parse_lines(map, len);
	if (err) {
		jit_map_free(map);
		return err;
	}
	if (map->n)
		qsort(map->line, map->n, sizeof(*map->line), compare_lines);
	*ret = map;
	return 0;
}

void jit_map_free(struct jit_map *map)
{
	if (!map)
		return;
	free(map->text);
	free(map->line);
	free(map);
}

/* How many lines begin at or below addr. */
static size_t count_below(const struct jit_map *map, uint64_t addr)
{
	size_t low = 0, high = map->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (map->line[mid].start <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int jit_map_find(const struct jit_map *map, uint64_t addr, struct jit_code *ret)
{
	size_t n = count_below(map, addr);
	const struct line *best = NULL;

	for (size_t i = 0; i < LOOK_BACK && i < n; i++) {
		const struct line *l = &map->line[n - 1 - i];

		if (addr < l->end && (!best || l->order > best->order))
			best = l;
	}
	if (!best)
		return -ENOENT;
	*ret = (struct jit_code){ .start = best->start,
				  .size = best->end - best->start,
				  .name = map->text + best->name };
	return 0;
}

/* --- the file --------------------------------------------------------------------- */

/* The pid by which the process knows itself: the last of NSpid (proc(5), Linux 4.1). */
static pid_t own_pid(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	const char *at, *last;
	size_t len;

	if (procfs_slurp(pid, "status", &text, &len))
		return pid;
	at = strstr(text, "\nNSpid:");
	if (!at)
		return pid;
	at += 7;
	last = at + strcspn(at, "\n");
	while (last > at && last[-1] >= '0' && last[-1] <= '9')
		last--;
	return (pid_t)atoi(last);
}

static bool is_trusted(pid_t pid, const struct stat *st)
{
	struct procfs_status status;

	if (st->st_mode & S_IWOTH)
		return false;
	if (st->st_uid == 0)
		return true;
	return !procfs_status(pid, 0, &status) && st->st_uid == status.euid;
}

/* At most `size` bytes, with a NUL behind them. */
static int read_text(int fd, size_t size, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *text = NULL;
	size_t done = 0;
	ssize_t n;

	if (size > MAX_BYTES)
		size = MAX_BYTES;
	text = malloc(size + 1);
	if (!text)
		return -ENOMEM;
	while (done < size && (n = read(fd, text + done, size - done)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	text[done] = '\0';
	*ret = scope_take(text);
	*ret_len = done;
	return 0;
}

int jit_map_read(pid_t pid, struct jit_map **ret)
{
	_cleanup_close_ int root = procfs_root(pid), fd = -1;
	struct stat st;
	char path[64], *text = NULL;
	size_t len = 0;
	int err;

	if (root < 0)
		return root;
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", own_pid(pid));
	fd = procfs_open_itself(root, path, &st);
	if (fd < 0)
		return fd;
	if (!is_trusted(pid, &st))
		return -EPERM;
	err = read_text(fd, (size_t)st.st_size, &text, &len);
	return err ? err : jit_map_parse(text, len, ret);
}

/* --- of a snapshot ---------------------------------------------------------------- */

/* Under im->lock. */
static void read_once(struct image *im)
{
	struct jit_map *map = NULL;
	int err;

	if (atomic_load(&im->jit_known))
		return;
	err = im->origin ? -ENOENT : jit_map_read(im->pid, &map);
	log_at(LOG_IMAGE, 1, im->pid, 0, "perf map: %d", err);
	if (!err)
		atomic_store_explicit(&im->jit, map, memory_order_release);
	if (err != -ENOMEM && err != -EMFILE && err != -ENFILE)
		atomic_store_explicit(&im->jit_known, true, memory_order_release);
}

static const struct jit_map *map_of(struct image *im)
{
	if (!atomic_load_explicit(&im->jit_known, memory_order_acquire)) {
		pthread_mutex_lock(&im->lock);
		read_once(im);
		pthread_mutex_unlock(&im->lock);
	}
	return atomic_load_explicit(&im->jit, memory_order_acquire);
}

static bool may_be_jit(const struct image_map *map)
{
	return map && !map->object && (map->m.prot & PROT_EXEC);
}

bool image_is_code(const struct image *im, uint64_t addr)
{
	return may_be_jit(image_map_at(im, addr));
}

int image_lookup_jit(struct image *im, uint64_t addr, struct jit_code *ret)
{
	const struct jit_map *map = image_is_code(im, addr) ? map_of(im) : NULL;

	return map ? jit_map_find(map, addr, ret) : -ENOENT;
}

void image_open_jit(struct image *im)
{
	for (size_t i = 0; i < im->nmaps; i++) {
		if (!may_be_jit(&im->maps[i]) ||
		    !strcmp(im->maps[i].m.path, "[vsyscall]"))
			continue;
		map_of(im);
		return;
	}
}
