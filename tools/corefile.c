/* SPDX-License-Identifier: MIT */
/*
 * A core that was written to memory first, on its way to a file. A file's writer is held
 * up by the kernel when the disk is slow (balance_dirty_pages()), memory's is not: so the
 * process need not stand until the disk has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "corefile.h"

enum {
	SHARE = 4, /* of the memory that is available one such part may be used */
};

/* A number of a file that has `key` before it (NULL: the first); -1 none. */
static long long number_in(const char *path, const char *key)
{
	long long n = -1;
	char line[256];
	FILE *f = fopen(path, "re");

	while (f && n < 0 && fgets(line, sizeof(line), f)) {
		size_t len = key ? strlen(key) : 0;

		if (!len || strncmp(line, key, len) == 0)
			if (sscanf(line + len, "%lld", &n) != 1 && !key)
				break;
	}
	if (f)
		fclose(f);
	return n;
}

/* A container's limit, as it sees it, counts too (cgroup v2). */
static bool fits(size_t kib)
{
	long long free_kib = number_in("/proc/meminfo", "MemAvailable:");
	long long max = number_in("/sys/fs/cgroup/memory.max", NULL);
	long long used = number_in("/sys/fs/cgroup/memory.current", NULL);

	if (max >= 0 && used >= 0 && (max - used) / 1024 < free_kib)
		free_kib = (max - used) / 1024;
	return free_kib / SHARE > (long long)kib;
}

int corefile_memory(size_t kib)
{
	return fits(kib) ? memfd_create("core", MFD_CLOEXEC) : -1;
}

/* Of what is there, holes left out. */
static int copy_data(int from, int to, off_t size)
{
	off_t at = 0, end;

	while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
		end = lseek(from, at, SEEK_HOLE);
		if (end < 0 || lseek(to, at, SEEK_SET) < 0)
			return -1;
		while (at < end)
			if (sendfile(to, from, &at, (size_t)(end - at)) <= 0)
				return -1;
	}
	return errno == ENXIO ? ftruncate(to, size) : -1;
}

/* A new file without a name in path's directory; -1 where there is none such. */
static int open_nameless(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[4096] = ".";

	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path) + 1, path);
	return open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
}

static int give_name(int fd, const char *path)
{
	char name[32];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

int corefile_create(const char *path, struct corefile *ret)
{
	struct stat st;

	*ret = (struct corefile){ .path = path, .nameless = true };
	if (lstat(path, &st) == 0) {
		errno = EEXIST;
		return -1;
	}
	ret->fd = open_nameless(path);
	if (ret->fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return ret->fd < 0 ? -1 : 0;
	ret->nameless = false;
	ret->fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	return ret->fd < 0 ? -1 : 0;
}

int corefile_save(struct corefile *f, int memory)
{
	struct stat st;

	if (fstat(memory, &st) != 0 || copy_data(memory, f->fd, st.st_size) != 0)
		return -1;
	if (f->nameless && give_name(f->fd, f->path) != 0)
		return -1;
	f->saved = true;
	return 0;
}

void corefile_close(struct corefile *f)
{
	if (!f->saved && !f->nameless)
		unlink(f->path);
	close(f->fd);
}
