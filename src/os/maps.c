/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/maps, and the files behind it.
 *
 * A line is `start-end perms offset major:minor inode   path`. The kernel writes the
 * path with newlines, and nothing else, as \012 (seq_path(.., "\n") in
 * fs/proc/task_mmu.c), so that is all that is undone: a backslash in a name stands for
 * itself. ` (deleted)` is appended to the path of an unlinked file; a file may also be
 * *called* that, which only the inode can tell (see open_path).
 *
 * The text is read whole and parsed into one block, array first, strings behind. It can
 * be far longer than other files (65,530 mappings by default, and that limit is a
 * sysctl): MAPS_LIMIT ends it.
 */
#include "os/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "os/procfs_read.h"
#include "util/scope.h"

enum {
	MAPS_FIRST = 64 << 10,  /* bytes; most processes have less */
	MAPS_LIMIT = 256 << 20, /* bytes; 65,530 mappings with paths of PATH_MAX */
};

#define DELETED " (deleted)"

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 99;
}

/* A number in `base` that ends in `stop`; *s moves behind it. False: it does not. */
static bool take_field(char **s, int base, char stop, uint64_t *ret)
{
	uint64_t value = 0;
	char *p = *s;
	int digit;

	while ((digit = digit_value(*p)) < base) {
		value = value * (uint64_t)base + (uint64_t)digit;
		p++;
	}
	if (p == *s || *p != stop)
		return false;
	*s = p + 1;
	*ret = value;
	return true;
}

/* "rwxp " */
static bool take_perms(char **s, struct procfs_map *m)
{
	const char *p = *s;

	if (strnlen(p, 5) < 5 || p[4] != ' ')
		return false;
	m->prot = (p[0] == 'r' ? PROT_READ : 0u) | (p[1] == 'w' ? PROT_WRITE : 0u) |
		  (p[2] == 'x' ? PROT_EXEC : 0u);
	m->shared = p[3] == 's';
	*s += 5;
	return true;
}

/* Undoes \012 in place. */
static void unescape_newlines(char *path)
{
	char *to = path;

	for (const char *from = path; *from; to++) {
		if (!strncmp(from, "\\012", 4)) {
			*to = '\n';
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* Cuts the suffix of an unlinked file off. Only files are ever unlinked. */
bool procfs_cut_deleted(char *path, uint64_t inode)
{
	size_t len = strlen(path), suffix = strlen(DELETED);

	if (!inode || len <= suffix || strcmp(path + len - suffix, DELETED))
		return false;
	path[len - suffix] = '\0';
	return true;
}

/* One line, NUL-terminated without its newline; the path stays where it is. */
bool procfs_parse_map(char *s, struct procfs_map *m)
{
	uint64_t major, minor;
	char *path;

	if (!take_field(&s, 16, '-', &m->start) || !take_field(&s, 16, ' ', &m->end) ||
	    !take_perms(&s, m) || !take_field(&s, 16, ' ', &m->offset) ||
	    !take_field(&s, 16, ':', &major) || !take_field(&s, 16, ' ', &minor))
		return false;
	/* Kernels differ in whether white space follows the inode of a nameless
	 * mapping. */
	if (!take_field(&s, 10, ' ', &m->inode) && !take_field(&s, 10, '\0', &m->inode))
		return false;
	path = s[-1] ? s + strspn(s, " ") : s - 1;
	unescape_newlines(path);
	m->deleted = procfs_cut_deleted(path, m->inode);
	m->dev_major = (unsigned)major;
	m->dev_minor = (unsigned)minor;
	m->path = path;
	return m->start < m->end;
}

static size_t count_lines(const char *text, size_t len)
{
	size_t n = 1;

	for (const char *s = text; (s = memchr(s, '\n', len - (size_t)(s - text))); s++)
		n++;
	return n;
}

int procfs_parse_maps(char *text, size_t len, struct procfs_map **ret_maps, size_t *ret_n)
{
	size_t lines = count_lines(text, len), n = 0;
	uint64_t reached = 0;
	struct procfs_map *maps = malloc(lines * sizeof(*maps) + len + 1);
	char *s, *next;

	if (!maps)
		return -ENOMEM;
	s = memcpy(maps + lines, text, len);
	s[len] = '\0';
	for (; *s; s = next) {
		next = strchrnul(s, '\n');
		if (*next)
			*next++ = '\0';
		if (!procfs_parse_map(s, &maps[n]) || maps[n].start < reached)
			continue;
		reached = maps[n++].end;
	}
	*ret_maps = maps;
	*ret_n = n;
	return 0;
}

int procfs_maps(pid_t pid, pid_t tid, struct procfs_map **ret_maps, size_t *ret_n)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = procfs_open(pid, tid, "maps");
	size_t len;
	int err;

	if (fd < 0)
		return fd;
	err = procfs_read_all(fd, MAPS_FIRST, MAPS_LIMIT, &text, &len);
	return err ? err : procfs_parse_maps(text, len, ret_maps, ret_n);
}

/*
 * True for filesystems whose stat(2) names another device than maps does: btrfs (one
 * device a subvolume), overlayfs (the layer's, before Linux 6.8), bcachefs.
 */
static bool has_unsure_device(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return true;
	return fs.f_type == BTRFS_SUPER_MAGIC || fs.f_type == OVERLAYFS_SUPER_MAGIC ||
	       (unsigned long)fs.f_type == 0xca451a4eul; /* bcachefs */
}

/* Is the file behind fd the one that is mapped? 0, -ESTALE, -ENXIO (no plain file). */
static int compare_file(int fd, const struct procfs_map *m)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENXIO;
	if (st.st_ino != m->inode)
		return -ESTALE;
	if (st.st_dev == makedev(m->dev_major, m->dev_minor) || has_unsure_device(fd))
		return 0;
	return -ESTALE;
}

static int open_if_same(int path_fd, const struct procfs_map *m)
{
	int err = compare_file(path_fd, m);

	return err ? err : procfs_reopen(path_fd);
}

/*
 * Through map_files: the very file, whatever its name has become. Following these links
 * takes CAP_SYS_ADMIN or, since Linux 5.9, CAP_CHECKPOINT_RESTORE (proc(5)).
 */
static void name_map_file(pid_t pid, const struct procfs_map *m, char *buf, size_t size)
{
	snprintf(buf, size, "/proc/%d/map_files/%llx-%llx", pid,
		 (unsigned long long)m->start, (unsigned long long)m->end);
}

int procfs_stat_mapped(pid_t pid, const struct procfs_map *m, struct stat *ret)
{
	char path[96];

	name_map_file(pid, m, path, sizeof(path));
	if (stat(path, ret))
		return -errno;
	return ret->st_ino == m->inode && S_ISREG(ret->st_mode) &&
			       ret->st_dev == makedev(m->dev_major, m->dev_minor)
		       ? 0
		       : -ESTALE;
}

static int open_map_file(pid_t pid, const struct procfs_map *m)
{
	char path[96];
	_cleanup_close_ int fd = -1;

	name_map_file(pid, m, path, sizeof(path));
	fd = open(path, O_PATH | O_CLOEXEC);
	return fd >= 0 ? open_if_same(fd, m) : -errno;
}

/* path inside the process's own root; never outside it, never through a magic link. */
static int open_rooted(int root, const char *path, const struct procfs_map *m)
{
	_cleanup_close_ int fd = procfs_rooted(root, path, 0);

	return fd >= 0 ? open_if_same(fd, m) : fd;
}

/* The program's own file, deleted or not, takes no right but to look at the process. */
static int open_exe(pid_t pid, const struct procfs_map *m, int otherwise)
{
	_cleanup_close_ int fd = -1;
	char path[32];
	int exe;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	fd = open(path, O_PATH | O_CLOEXEC);
	exe = fd >= 0 ? open_if_same(fd, m) : -errno;
	return exe >= 0 ? exe : otherwise;
}

static int open_path(pid_t pid, const struct procfs_map *m)
{
	_cleanup_free_ char *literal = NULL;
	_cleanup_close_ int root = procfs_root(pid);
	int fd;

	if (root < 0)
		return root;
	fd = open_rooted(root, m->path, m);
	if (fd >= 0 || !m->deleted)
		return fd;
	/* Not unlinked after all, but called so? */
	if (asprintf(&literal, "%s" DELETED, m->path) < 0) {
		literal = NULL;
		return -ENOMEM;
	}
	return open_rooted(root, literal, m);
}

int procfs_open_mapped(pid_t pid, const struct procfs_map *m)
{
	int fd, by_path;

	if (!m->inode)
		return -ENOENT;
	fd = open_map_file(pid, m);
	if (fd < 0 && fd != -ESRCH)
		fd = open_exe(pid, m, fd);
	if (fd >= 0 || fd == -ENXIO || fd == -EMFILE || fd == -ENFILE)
		return fd;
	if (m->path[0] != '/')
		return fd;
	by_path = open_path(pid, m);
	return by_path == -ENOENT && fd == -ESTALE ? -ESTALE : by_path;
}
