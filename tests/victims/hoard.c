/* SPDX-License-Identifier: MIT */
/*
 * Opens libraries by the thousand, and tells every link map that it has. The libraries
 * are copies DIR/0.so, DIR/1.so … of one file, made by who commands.
 *
 *	ready: (nothing)
 *	open DIR FROM N   opens DIR/FROM.so and the N - 1 after it: `ns=` that it took
 *	close FROM N      closes them again: `ns=`
 *	storm DIR T N     T threads (4 at most), N times each: one of 8 copies of
 *			  their own is opened, every third time in a namespace of its
 *			  own (glibc), and the one before the last closed; two a thread
 *			  stay: `opened=`
 *	list		  a line `base` for each link map of every namespace, then `.`
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <time.h>

#include "obey.h"

enum {
	MAX_OPEN = 4096,
	MAX_THREADS = 4,
	COPIES = 8,
	KEPT = 2
};

static void *held[MAX_OPEN];
static void *kept[MAX_THREADS][KEPT];
static char dir[256];
static int times, opened;

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

#ifdef __GLIBC__
static void *load(const char *path, int apart)
{
	return apart ? dlmopen(LM_ID_NEWLM, path, RTLD_NOW) : dlopen(path, RTLD_NOW);
}
#else
static void *load(const char *path, int apart)
{
	(void)apart;
	return dlopen(path, RTLD_NOW);
}
#endif

static void *load_number(int i, int apart)
{
	char path[512];
	void *h;

	snprintf(path, sizeof(path), "%s/%d.so", dir, i);
	h = load(path, apart);
	if (!h)
		tell("failed %s", dlerror());
	return h;
}

static void open_many(const char *rest)
{
	long long begin = now();
	int from = 0, n = 0;

	sscanf(rest, "%255s %d %d", dir, &from, &n);
	for (int i = from; i < from + n && i < MAX_OPEN; i++)
		held[i] = load_number(i, 0);
	tell("ns=%lld", now() - begin);
}

static void close_many(const char *rest)
{
	long long begin = now();
	int from = 0, n = 0;

	sscanf(rest, "%d %d", &from, &n);
	for (int i = from; i < from + n && i < MAX_OPEN; i++) {
		if (held[i])
			dlclose(held[i]);
		held[i] = NULL;
	}
	tell("ns=%lld", now() - begin);
}

static void *storm_one(void *arg)
{
	int me = (int)(intptr_t)arg;

	for (int i = 0; i < times; i++) {
		void **place = &kept[me][i % KEPT];

		if (*place)
			dlclose(*place);
		*place = load_number(me * COPIES + i % COPIES, i % 3 == 0);
		if (*place)
			__atomic_fetch_add(&opened, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void storm(const char *rest)
{
	pthread_t thread[MAX_THREADS];
	int threads = 0;

	sscanf(rest, "%255s %d %d", dir, &threads, &times);
	for (int i = 0; i < threads && i < MAX_THREADS; i++)
		pthread_create(&thread[i], NULL, storm_one, (void *)(intptr_t)i);
	for (int i = 0; i < threads && i < MAX_THREADS; i++)
		pthread_join(thread[i], NULL);
	tell("opened=%d", opened);
}

static int tell_one(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size, (void)arg;
	tell("%#lx", (long)info->dlpi_addr);
	return 0;
}

#ifdef __GLIBC__
/* dl_iterate_phdr(3) shows the caller's namespace only. */
static void tell_namespace(void *h)
{
	struct link_map *map;
	Lmid_t lmid = 0;

	if (!h || dlinfo(h, RTLD_DI_LMID, &lmid) || !lmid ||
	    dlinfo(h, RTLD_DI_LINKMAP, &map))
		return;
	while (map->l_prev)
		map = map->l_prev;
	for (; map; map = map->l_next)
		tell("%#lx", (long)map->l_addr);
}
#else
static void tell_namespace(void *h)
{
	(void)h;
}
#endif

static void list(const char *rest)
{
	(void)rest;
	dl_iterate_phdr(tell_one, NULL);
	for (int i = 0; i < MAX_THREADS; i++)
		for (int k = 0; k < KEPT; k++)
			tell_namespace(kept[i][k]);
	tell(".");
}

int main(void)
{
	static const struct order orders[] = {
		{ "open", open_many }, { "close", close_many }, { "storm", storm },
		{ "list", list },      { NULL, NULL },
	};

	ready("");
	obey(orders);
	return 0;
}
