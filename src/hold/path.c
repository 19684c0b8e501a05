/* SPDX-License-Identifier: MIT */
/*
 * Where the keeper's program is: PGRAB_KEEPER; where the build was told to install it,
 * when this library stands where it was installed; else near the file that holds this
 * code (a build tree, a moved installation, a statically linked program); else where it
 * was told, after all.
 *
 * That file is found in /proc/self/maps, by the address of a function: the kernel's name
 * of it is absolute whatever name the host used to load it. A program found by its place
 * near us runs with the host's rights, so it and its folder must belong to root, to the
 * user, or to whoever owns the file that we run from; nobody else may be able to write
 * there. The current directory is never looked at.
 */
#include "hold/hold.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/procfs.h"
#include "util/scope.h"

#define PROGRAM "pgrab-keeper"

enum {
	LEVELS = 3
}; /* how many folders above ours are searched */

/* Name of the file that this code was loaded from into buf (PATH_MAX); 0 or -ENOENT. */
static int own_file(char *buf)
{
	uint64_t here = (uint64_t)(uintptr_t)&own_file;
	_cleanup_free_ struct procfs_map *maps = NULL;
	size_t n = 0;
	int err = procfs_maps(getpid(), 0, &maps, &n);

	for (size_t i = 0; !err && i < n; i++) {
		if (here < maps[i].start || here >= maps[i].end)
			continue;
		if (maps[i].path[0] != '/' || strlen(maps[i].path) >= PATH_MAX)
			return -ENOENT;
		strcpy(buf, maps[i].path);
		return 0;
	}
	return err ? err : -ENOENT;
}

/* Nobody may write it but root, the user, and `owner`. */
static bool trusted(const struct stat *st, uid_t owner)
{
	return !(st->st_mode & S_IWOTH) &&
	       (st->st_uid == 0 || st->st_uid == geteuid() || st->st_uid == owner);
}

static bool usable(const char *path, uid_t owner)
{
	char folder[PATH_MAX];
	struct stat st;

	if (stat(path, &st) || !S_ISREG(st.st_mode) || !trusted(&st, owner))
		return false;
	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = '\0';
	return !stat(folder, &st) && trusted(&st, owner) && !access(path, X_OK);
}

/* FOLDER/keeper/pgrab-keeper and FOLDER/libexec/pgrab/pgrab-keeper, for folders above
 * `file`. */
static int search_above(char *file, uid_t owner, char *buf, size_t size)
{
	static const char *const below[] = { "keeper", "libexec/pgrab" };

	for (int level = 0; level <= LEVELS; level++) {
		char *slash = strrchr(file, '/');

		if (!slash || slash == file)
			return -ENOENT;
		*slash = '\0';
		for (size_t i = 0; level && i < sizeof(below) / sizeof(*below); i++) {
			snprintf(buf, size, "%s/%s/" PROGRAM, file, below[i]);
			if (usable(buf, owner))
				return 0;
		}
	}
	return -ENOENT;
}

static int installed(char *buf, size_t size)
{
	snprintf(buf, size, "%s/" PROGRAM, PGRAB_LIBEXECDIR);
	return access(buf, X_OK) ? -ENOENT : 0;
}

static bool is_under(const char *file, const char *folder)
{
	size_t len = strlen(folder);

	return !strncmp(file, folder, len) && file[len] == '/';
}

int hold_keeper_path(char *buf, size_t size)
{
	const char *forced = secure_getenv("PGRAB_KEEPER");
	char file[PATH_MAX];
	struct stat st;
	int err;

	if (forced) {
		snprintf(buf, size, "%s", forced);
		return access(buf, X_OK) ? -ENOENT : 0;
	}
	err = own_file(file);
	if (err == -EMFILE || err == -ENFILE)
		return err; /* not to be taken for another place */
	if (err || stat(file, &st))
		return installed(buf, size);
	if (is_under(file, PGRAB_LIBDIR))
		return installed(buf, size);
	if (!search_above(file, st.st_uid, buf, size))
		return 0;
	return installed(buf, size);
}
