/* SPDX-License-Identifier: MIT */
/*
 * Loads and unloads on command, and tells its link maps as the loader sees them.
 *
 *	ready: (nothing)
 *	open FILE   dlopen: `handle= lmid= base=`, or `failed WHY`
 *	mopen FILE  the same in a namespace of its own (glibc)
 *	close H     dlclose of handle number H: `closed`
 *	call H F    calls function F of handle H: `value=`
 *	list        a line `base NAME` for each object of dl_iterate_phdr(3), then `.`
 *	storm T N   T threads open and close libvictim_one.so N times each: `done`
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include "obey.h"

enum {
	MAX_HANDLES = 4096,
	MAX_STORM = 64
};

static void *handle[MAX_HANDLES];
static int nhandles;

/* Where the libraries of the suite are: beside this program. */
static const char *find(const char *file)
{
	static __thread char path[4096];
	ssize_t n;

	if (strncmp(file, "libvictim", 9))
		return file;
	n = readlink("/proc/self/exe", path, sizeof(path) - 64);
	path[n < 0 ? 0 : n] = '\0';
	snprintf(strrchr(path, '/') + 1, 64, "%s", file);
	return path;
}

#ifdef __GLIBC__
static long find_namespace(void *h)
{
	long lmid = 0;

	dlinfo(h, RTLD_DI_LMID, &lmid);
	return lmid;
}

static void *load_apart(const char *path)
{
	return dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
}
#else
static long find_namespace(void *h)
{
	(void)h;
	return 0;
}

static void *load_apart(const char *path)
{
	(void)path;
	return NULL;
}
#endif

static void answer(void *h)
{
	struct link_map *map = h;

	if (!h || nhandles == MAX_HANDLES) {
		const char *why = h ? "too many handles" : dlerror();

		tell("failed %s", why ? why : "no namespaces");
		return;
	}
	handle[nhandles] = h;
	tell("handle=%d lmid=%ld base=%#lx", nhandles++, find_namespace(h),
	     (long)map->l_addr);
}

static void open_here(const char *rest)
{
	answer(dlopen(find(rest), RTLD_NOW));
}

static void open_apart(const char *rest)
{
	answer(load_apart(find(rest)));
}

static void close_one(const char *rest)
{
	int n = atoi(rest);

	if (n < 0 || n >= nhandles || !handle[n]) {
		tell("failed: no such handle");
		return;
	}
	dlclose(handle[n]);
	handle[n] = NULL;
	tell("closed");
}

static void call(const char *rest)
{
	char name[256] = "";
	int n = -1;
	int (*fn)(void);

	sscanf(rest, "%d %255s", &n, name);
	*(void **)&fn = n >= 0 && n < nhandles ? dlsym(handle[n], name) : NULL;
	if (fn)
		tell("value=%d", fn());
	else
		tell("failed: no %s", name);
}

static int tell_one(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size, (void)arg;
	tell("%#lx %s", (long)info->dlpi_addr, info->dlpi_name);
	return 0;
}

static void list(const char *rest)
{
	(void)rest;
	dl_iterate_phdr(tell_one, NULL);
	tell(".");
}

static void *storm_one(void *arg)
{
	int n = *(int *)arg;
	const char *path = find("libvictim_one.so");

	while (n-- > 0) {
		void *h = dlopen(path, RTLD_NOW);

		if (h)
			dlclose(h);
	}
	return NULL;
}

static void storm(const char *rest)
{
	pthread_t thread[MAX_STORM];
	int threads = 1, times = 1;

	sscanf(rest, "%d %d", &threads, &times);
	if (threads > MAX_STORM)
		threads = MAX_STORM;
	for (int i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, storm_one, &times);
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	tell("done");
}

static const struct order orders[] = { { "open", open_here },  { "mopen", open_apart },
				       { "close", close_one }, { "call", call },
				       { "list", list },       { "storm", storm },
				       { NULL, NULL } };

int main(void)
{
	ready("");
	obey(orders);
	return 0;
}
