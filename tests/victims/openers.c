/* SPDX-License-Identifier: MIT */
/*
 * Threads that open a library each, call a function of it, and close it, again and again;
 * and a library whose place another mapping takes.
 *
 *	ready: (nothing)
 *	run T N K   T threads (4 at most), N times each, K calls each time; every second
 *		    time in a namespace of its own (glibc): `calls=` those of the
 *		    constructors included
 *	open        opens one: `at=` the address of its function
 *	replace     closes it, maps something of our own there: `replaced`
 *	same        `same=` 1 while that is what it was
 *	call        calls it once: `called`
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "obey.h"

enum {
	MAX_THREADS = 4,
	PAGE = 4096,
	MARK = 0x5a
};

static atomic_long calls;
static int times, each;
static void *one;
static unsigned char *page;
static int (*function)(int);

#ifdef __GLIBC__
static void *load_apart(const char *path)
{
	return dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
}

/* How often the constructor has run for the i-th time of opening it. */
static int begun(int i)
{
	(void)i;
	return 1;
}
#else
static void *load_apart(const char *path)
{
	return dlopen(path, RTLD_NOW);
}

static int begun(int i)
{
	return i == 0; /* musl closes nothing */
}
#endif

static void *load(int which, int apart)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);

	path[n < 0 ? 0 : n] = '\0';
	snprintf(strrchr(path, '/') + 1, 64, "libvictim_counted%d.so", which);
	return apart ? load_apart(path) : dlopen(path, RTLD_NOW);
}

static void *open_and_close(void *arg)
{
	int (*fn)(int);
	void *h;

	for (int i = 0; i < times; i++) {
		h = load((int)(intptr_t)arg, i % 2);
		if (!h)
			tell("failed %s", dlerror());
		fn = h ? (int (*)(int))dlsym(h, "counted") : NULL;
		for (int k = 0; fn && k < each; k++)
			fn(k);
		if (fn)
			atomic_fetch_add(&calls, each + begun(i));
		if (h)
			dlclose(h);
	}
	return NULL;
}

static void run(const char *rest)
{
	pthread_t t[MAX_THREADS];
	int n = 0;

	sscanf(rest, "%d %d %d", &n, &times, &each);
	for (int i = 0; i < n && i < MAX_THREADS; i++)
		pthread_create(&t[i], NULL, open_and_close, (void *)(intptr_t)i);
	for (int i = 0; i < n && i < MAX_THREADS; i++)
		pthread_join(t[i], NULL);
	tell("calls=%ld", atomic_load(&calls));
}

static void open_one(const char *rest)
{
	(void)rest;
	one = load(0, 0);
	function = one ? (int (*)(int))dlsym(one, "counted") : NULL;
	tell("at=%lx", (unsigned long)(uintptr_t)function);
}

static void call_it(const char *rest)
{
	(void)rest;
	function(1);
	tell("called");
}

static void replace(const char *rest)
{
	uintptr_t at = (uintptr_t)function & ~(uintptr_t)(PAGE - 1);

	(void)rest;
	dlclose(one);
	page = mmap((void *)at, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (page == MAP_FAILED) {
		tell("failed");
		return;
	}
	memset(page, MARK, PAGE);
	tell("replaced");
}

static void same(const char *rest)
{
	int all = 1;

	(void)rest;
	for (int i = 0; i < PAGE; i++)
		all = all && page[i] == MARK;
	tell("same=%d", all);
}

int main(void)
{
	static const struct order orders[] = {
		{ "run", run },   { "open", open_one }, { "replace", replace },
		{ "same", same }, { "call", call_it },  { NULL, NULL },
	};

	ready("");
	obey(orders);
	return 0;
}
