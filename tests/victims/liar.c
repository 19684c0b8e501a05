/* SPDX-License-Identifier: MIT */
/*
 * Lies about its link maps. The lie stands while it calls the function that its dynamic
 * linker calls at every change; then the truth is put back.
 *
 *	ready: (nothing)
 *	lie WHAT  `ns=` that the call took; WHAT as in `lies` below
 *	race N	  N calls while another thread tells every lie in turn: `ns=`
 *	open FILE dlopen: `opened` or `failed WHY`
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include "obey.h"

enum {
	NFAKES = 70000,       /* more than anybody believes */
	HUGE_NAME = 64 << 20, /* bytes without an end */
	LONG_NAME = 4000,     /* bytes, with one */
	PAGE = 4096,
};

/* What a debugger reads of a link map, and the rest that an old linker has. */
struct fake {
	uintptr_t addr;
	const char *name;
	void *ld;
	struct fake *next, *prev;
};

extern ElfW(Dyn) _DYNAMIC[]; /* musl declares it nowhere */

static struct r_debug *debug;
static struct r_debug truth;
static struct fake *fakes;
static char *huge, *unmapped, *long_name;
static void (*call_brk)(void);

static void *get(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
}

static void prepare(void)
{
	for (ElfW(Dyn) *d = _DYNAMIC; d->d_tag != DT_NULL; d++)
		if (d->d_tag == DT_DEBUG)
			debug = (struct r_debug *)d->d_un.d_ptr;
	truth = *debug;
	call_brk = (void (*)(void))debug->r_brk;
	fakes = get(NFAKES * sizeof(*fakes));
	huge = get(HUGE_NAME);
	memset(huge, 'x', HUGE_NAME);
	long_name = get(LONG_NAME + 1);
	memset(long_name, 'y', LONG_NAME);
	unmapped = get(PAGE);
	munmap(unmapped, PAGE);
}

/* A chain of n, with a name. */
static void chain(int n, const char *name)
{
	for (int i = 0; i < n; i++)
		fakes[i] = (struct fake){ 0x1000u * (unsigned)i, name, fakes,
					  i + 1 < n ? &fakes[i + 1] : NULL, NULL };
	debug->r_map = (struct link_map *)fakes;
}

static void loop(void)
{
	chain(3, "loop");
	fakes[2].next = &fakes[1];
}

static void itself(void)
{
	chain(1, "itself");
	fakes[0].next = fakes;
}

static void garbage(void)
{
	chain(2, "garbage");
	fakes[1].next = (struct fake *)0xdeadbeefcafef00d;
}

static void nowhere(void)
{
	chain(2, "nowhere");
	fakes[1].next = (struct fake *)unmapped;
}

static void names(void)
{
	chain(100, huge);
}

static void noname(void)
{
	chain(2, unmapped);
}

static void many(void)
{
	chain(NFAKES, "many");
}

static void wordy(void)
{
	chain(NFAKES, long_name);
}

static void strangers(void)
{
	chain(5, "/no/such/library.so");
}

static void crowd(void)
{
	chain(NFAKES - 5000, "/no/such/library.so");
}

static void nothing(void)
{
	debug->r_map = NULL;
}

static void wild(void)
{
	debug->r_map = (struct link_map *)0x7;
}

static void oldest(void)
{
	debug->r_version = 0;
}

static void newest(void)
{
	debug->r_version = 0x7fffffff;
}

static void breakless(void)
{
	debug->r_brk = 0;
}

static void elsewhere(void)
{
	debug->r_brk = 0x123456789;
}

/* glibc has r_next behind its r_debug; what musl has there is its own. */
#ifdef __GLIBC__
struct longer {
	struct r_debug base;
	struct longer *next;
};

static void set_next(struct longer *next)
{
	debug->r_version = 2;
	((struct longer *)debug)->next = next;
}

static struct longer *get_next(void)
{
	return ((struct longer *)debug)->next;
}
#else
struct longer {
	struct r_debug base;
};

static void set_next(struct longer *next)
{
	(void)next;
}

static struct longer *get_next(void)
{
	return NULL;
}
#endif

static void ring(void)
{
	set_next((struct longer *)debug);
}

static void off(void)
{
	set_next((struct longer *)unmapped);
}

/* The linker itself does not believe a wrong state: not for `race`. */
static void stateless(void)
{
	debug->r_state = 77;
}

/* A lie by its name. */
struct lie {
	const char *name;
	void (*tell)(void);
};

static const struct lie lies[] = {
	{ "loop", loop },           { "itself", itself },
	{ "garbage", garbage },     { "nowhere", nowhere },
	{ "names", names },         { "noname", noname },
	{ "strangers", strangers }, { "nothing", nothing },
	{ "wild", wild },           { "newest", newest },
	{ "breakless", breakless }, { "elsewhere", elsewhere },
	{ "ring", ring },           { "off", off },
	{ "oldest", oldest },       { "many", many },
	{ "wordy", wordy },         { "stateless", stateless },
	{ "crowd", crowd },
};

enum {
	NLIES = sizeof(lies) / sizeof(*lies),
	NRACING = NLIES - 4, /* those that are told fast */
};

static struct longer *next_before;

static void put_back(void)
{
	if (get_next() != next_before)
		set_next(next_before);
	*debug = truth;
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void lie(const char *what)
{
	long long begin;

	for (int i = 0; i < NLIES; i++)
		if (!strcmp(lies[i].name, what))
			lies[i].tell();
	begin = now();
	call_brk();
	begin = now() - begin;
	put_back();
	tell("ns=%lld", begin);
}

static atomic_int racing;

static void *tell_lies(void *arg)
{
	for (unsigned i = 0; atomic_load(&racing); i++) {
		lies[i % NRACING].tell();
		if (i % 7 == 0)
			put_back();
	}
	put_back();
	return arg;
}

static void race(const char *rest)
{
	long long begin = now();
	pthread_t t;
	int n = atoi(rest);

	atomic_store(&racing, 1);
	pthread_create(&t, NULL, tell_lies, NULL);
	for (int i = 0; i < n; i++)
		call_brk();
	atomic_store(&racing, 0);
	pthread_join(t, NULL);
	tell("ns=%lld", now() - begin);
}

static void open_one(const char *rest)
{
	if (dlopen(rest, RTLD_NOW))
		tell("opened");
	else
		tell("failed %s", dlerror());
}

int main(void)
{
	static const struct order orders[] = {
		{ "lie", lie }, { "race", race }, { "open", open_one }, { NULL, NULL }
	};

	prepare();
	next_before = get_next();
	ready("");
	obey(orders);
	return 0;
}
