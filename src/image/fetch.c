/* SPDX-License-Identifier: MIT */
/*
 * Debug files by debuginfod(8): from servers, on request only, with a deadline.
 *
 * libdebuginfod is opened when somebody asks, and not before: it brings an HTTP client
 * and TLS along, which a host that never asks does not want. It looks in its cache first
 * (debuginfod_find_debuginfo(3)), then at the servers of DEBUGINFOD_URLS, one after the
 * other. Its progress function, which it calls a few times a second, ends it at the
 * deadline. No lock is held meanwhile: look-ups go on with what there is.
 *
 * What comes back is believed by its build-id, as any debug file is.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "image/inside.h"
#include "util/log.h"
#include "util/scope.h"

#define LIBRARY "libdebuginfod.so.1"

typedef struct debuginfod_client client_t;
typedef int progress_f(client_t *c, long a, long b);
typedef void *data_f(client_t *c);

/* What is used of the library: debuginfod_*, by the rest of the name. */
struct library {
	void *handle;             /* dlopen(3) */
	client_t *(*begin)(void); /* a client */
	void (*end)(client_t *c); /* and its end */
	int (*find)(client_t *c, const unsigned char *id, int len, char **path);
	void (*set_progress)(client_t *c, progress_f *fn);
	void (*set_user_data)(client_t *c, void *data);
	data_f *get_user_data;
};

/* One request for all objects. */
struct fetch {
	struct library lib;  /* the library */
	client_t *client;    /* its client */
	struct timespec end; /* when to give up, CLOCK_MONOTONIC */
};

/* A function of the library; false: an older one does not have it. */
static bool find_function(const struct library *lib, const char *name, void *ret)
{
	void *at = dlsym(lib->handle, name);

	*(void **)ret = at;
	return at != NULL;
}

static int open_library(struct library *lib)
{
	lib->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!lib->handle)
		return -ENOTSUP;
	if (find_function(lib, "debuginfod_begin", &lib->begin) &&
	    find_function(lib, "debuginfod_end", &lib->end) &&
	    find_function(lib, "debuginfod_find_debuginfo", &lib->find) &&
	    find_function(lib, "debuginfod_set_progressfn", &lib->set_progress) &&
	    find_function(lib, "debuginfod_set_user_data", &lib->set_user_data) &&
	    find_function(lib, "debuginfod_get_user_data", &lib->get_user_data))
		return 0;
	dlclose(lib->handle);
	return -ENOTSUP;
}

static bool is_over(const struct timespec *end)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > end->tv_sec ||
	       (now.tv_sec == end->tv_sec && now.tv_nsec >= end->tv_nsec);
}

/* The only argument that the library hands on is in the client, and it takes a function
 * of the library to get at it: the same one for every request. */
static _Atomic(data_f *) get_data;

static int watch_progress(client_t *c, long a, long b)
{
	return is_over(atomic_load(&get_data)(c));
}

/* Gives the debug file to the object unless it has one. */
static int keep_debug(struct image *im, const struct image_object *o, struct obj *file,
		      int fd)
{
	struct image_slot *slot = &im->slots[o - im->objects];
	struct obj *debug;
	int err = obj_get_fd(fd, &debug);

	if (err)
		return err;
	if (!image_same_id(file, debug)) {
		obj_unref(debug);
		return -ENOENT;
	}
	pthread_mutex_lock(&im->lock);
	if (atomic_load(&slot->debug)) {
		obj_unref(debug);
	} else {
		atomic_store_explicit(&slot->debug, debug, memory_order_release);
		atomic_store_explicit(&slot->debug_known, true, memory_order_release);
	}
	if (!slot->lines && !obj_lines_load(atomic_load(&slot->debug), fd)) {
		slot->lines = atomic_load(&slot->debug);
		slot->lines_err = 0;
	}
	pthread_mutex_unlock(&im->lock);
	return 0;
}

/* One object: 0 when its debug file has come. */
static int fetch_one(struct image *im, const struct image_object *o, struct fetch *f)
{
	_cleanup_close_ int fd = -1;
	const uint8_t *id;
	struct obj *file;
	size_t len;
	int err = image_object_obj(im, o, &file);

	if (err || obj_has_symtab(file) || image_object_debug(im, o, file))
		return err ? err : -EEXIST;
	id = obj_build_id(file, &len);
	if (!id)
		return -ENOENT;
	fd = f->lib.find(f->client, id, (int)len, NULL);
	log_at(LOG_IMAGE, 1, im->pid, 0, "debuginfod for %s: %d", o->path, fd);
	return fd < 0 ? fd : keep_debug(im, o, file, fd);
}

static void set_end(struct fetch *f, unsigned msec)
{
	clock_gettime(CLOCK_MONOTONIC, &f->end);
	f->end.tv_sec += msec / 1000;
	f->end.tv_nsec += (long)(msec % 1000) * 1000000;
	if (f->end.tv_nsec >= 1000000000) {
		f->end.tv_sec++;
		f->end.tv_nsec -= 1000000000;
	}
}

int image_fetch_debug(struct image *im, unsigned msec)
{
	struct fetch f = { 0 };
	int err, got = 0;

	if (!getenv("DEBUGINFOD_URLS"))
		return 0;
	err = open_library(&f.lib);
	if (err)
		return err;
	set_end(&f, msec);
	atomic_store(&get_data, f.lib.get_user_data);
	f.client = f.lib.begin();
	if (!f.client)
		return -ENOMEM;
	f.lib.set_user_data(f.client, &f.end);
	f.lib.set_progress(f.client, watch_progress);
	for (size_t i = 0; i < im->nobjects && !is_over(&f.end); i++)
		got += !fetch_one(im, &im->objects[i], &f);
	f.lib.end(f.client);
	return got; /* the library stays: what it started may still run */
}
