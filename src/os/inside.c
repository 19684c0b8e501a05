/* SPDX-License-Identifier: MIT */
/*
 * Files as a process sees them: paths inside its root directory, which links do not lead
 * out of (openat2(2), RESOLVE_IN_ROOT; Linux 5.6).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/procfs_read.h"
#include "util/scope.h"

int procfs_root(pid_t pid)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/root", pid);
	fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 ? fd : procfs_errno(pid, 0);
}

int procfs_rooted(int root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(O_PATH | O_CLOEXEC | flags),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

	return fd >= 0 ? fd : -errno;
}

int procfs_reopen(int path_fd)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd >= 0 ? fd : -errno;
}

static int open_plain(int root, const char *path, int flags, struct stat *ret_st)
{
	_cleanup_close_ int fd = procfs_rooted(root, path, flags);
	struct stat st;
	int file;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENXIO;
	file = procfs_reopen(fd);
	if (file >= 0 && ret_st)
		*ret_st = st;
	return file;
}

int procfs_open_inside(int root, const char *path, struct stat *ret_st)
{
	return open_plain(root, path, 0, ret_st);
}

int procfs_open_itself(int root, const char *path, struct stat *ret_st)
{
	return open_plain(root, path, O_NOFOLLOW, ret_st);
}

int procfs_open_dir(int root, const char *path)
{
	return procfs_rooted(root, path, O_DIRECTORY);
}
