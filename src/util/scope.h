/* SPDX-License-Identifier: MIT */
/*
 * Scope guards: a resource is given back on every way out of its block.
 *
 *	_cleanup_free_ char *line = NULL;
 *	_cleanup_close_ int fd = open(...);
 */
#ifndef PGRAB_UTIL_SCOPE_H
#define PGRAB_UTIL_SCOPE_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void scope_free(void *p)
{
	free(*(void **)p);
}

/* Closes *fd when it is one, leaving errno as it was. */
static inline void scope_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void scope_fclose(FILE **f)
{
	int saved = errno;

	if (*f)
		fclose(*f);
	errno = saved;
}

static inline void scope_closedir(DIR **d)
{
	int saved = errno;

	if (*d)
		closedir(*d);
	errno = saved;
}

#define _cleanup_(fn)      __attribute__((cleanup(fn)))
#define _cleanup_free_     _cleanup_(scope_free)
#define _cleanup_close_    _cleanup_(scope_close)
#define _cleanup_fclose_   _cleanup_(scope_fclose)
#define _cleanup_closedir_ _cleanup_(scope_closedir)

/* Moves the pointer out of a guarded variable: the guard then has nothing to do. */
#define scope_take(p)                                                                    \
	__extension__({                                                                  \
		__typeof__(p) taken_ = (p);                                              \
		(p) = NULL;                                                              \
		taken_;                                                                  \
	})

/* The same for a descriptor. */
static inline int scope_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#endif
