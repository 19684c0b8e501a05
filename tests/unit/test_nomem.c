/* SPDX-License-Identifier: MIT */
/*
 * Memory runs out at the n-th allocation, for every n: each call fails clean, and works
 * again afterwards. Linked with --wrap, so that every allocation of the library passes
 * here.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <cmocka.h>

#include "image/image.h"
#include "libproc.h"
#include "probe/probe.h"
#include "util/scope.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

static unsigned countdown; /* the allocation that fails; 0: none */
static bool failed;        /* it has */

static bool fails(void)
{
	if (!countdown || --countdown)
		return false;
	failed = true;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

/* Something that allocates: 0, or what failed. */
typedef int scenario_f(void);

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Lets every allocation fail in turn until one run has needed fewer. */
static void run_out(scenario_f *scenario)
{
	int before = count_fds(), err;
	unsigned n = 0;

	do {
		failed = false;
		countdown = ++n;
		err = scenario();
		countdown = 0;
		assert_true(err == 0 || (err == -ENOMEM && failed));
		assert_int_equal(count_fds(), before);
	} while (failed);
	assert_int_equal(err, 0);
	assert_true(n > 1);
}

static int slurp(void)
{
	_cleanup_free_ struct procfs_map *maps = NULL;
	_cleanup_free_ pid_t *tids = NULL;
	_cleanup_free_ char *text = NULL, *link = NULL;
	size_t n;
	int err = procfs_slurp(getpid(), "maps", &text, &n);

	if (!err)
		err = procfs_readlink(getpid(), "exe", &link);
	if (!err)
		err = procfs_tids(getpid(), &tids, &n);
	if (!err)
		err = procfs_maps(getpid(), 0, &maps, &n);
	return err;
}

static int read_obj(void)
{
	_cleanup_close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct obj_symbol s;
	struct obj *o;
	int err = obj_get_fd(fd, &o);

	if (err)
		return err;
	err = obj_lookup_name(o, "run_out", &s);
	if (!err)
		err = obj_lookup_addr(o, s.sym.st_value, &s);
	obj_unref(o);
	obj_cache_trim();
	return err;
}

static int build_image(void)
{
	struct mem_live live;
	struct mem mem;
	struct image_source src = { .pid = getpid(), .mem = &mem };
	struct image_symbol s;
	struct image *im;
	int err;

	src.at_base = getauxval(AT_BASE);
	src.at_phdr = getauxval(AT_PHDR);
	mem_live_init(&live, getpid());
	mem = mem_live(&live);
	err = image_build(&src, &im);
	if (err)
		return err;
	image_open_all(im);
	err = image_lookup_addr(im, (uintptr_t)run_out, &s);
	if (err == -ENOENT && failed)
		err = -ENOMEM;
	/* Nothing of it is remembered. */
	countdown = 0;
	assert_int_equal(image_lookup_addr(im, (uintptr_t)run_out, &s), 0);
	assert_string_equal(s.s.name, "run_out");
	image_unref(im);
	mem_live_fini(&live);
	obj_cache_trim();
	return err;
}

static int add_spots(void *arg, const struct probe *p)
{
	*(size_t *)arg += p->nspots;
	return 0;
}

/* The spots of a description in this program's file: 0, or what failed. */
static int match(struct ps_prochandle *P, const char *text, size_t *ret)
{
	struct probe_desc d;
	char err[256];
	int rc = probe_parse(text, &d, err, sizeof(err));

	if (rc)
		return rc;
	rc = probe_match(P, &d, NULL, 0, add_spots, ret, err, sizeof(err));
	probe_desc_fini(&d);
	return rc < 0 && rc != -ENOTSUP ? rc : 0; /* returns are not known on any CPU */
}

/* Either all of them or a failure: fails when some are left out for want of memory. */
static int match_probes(void)
{
	static size_t expected;
	size_t spots = 0;
	int err = 0;
	struct ps_prochandle *P = Pgrab_file("/proc/self/exe", &err);

	if (!P)
		return failed ? -ENOMEM : -EINVAL;
	err = match(P, "a.out:ma*:entry", &spots);
	if (!err)
		err = match(P, "a.out:[a-m]*:return", &spots);
	if (!err)
		err = match(P, "pid$target:a.out:match_probes:", &spots);
	countdown = 0;
	if (!expected) {
		assert_int_equal(match(P, "a.out:ma*:entry", &expected), 0);
		assert_int_equal(match(P, "a.out:[a-m]*:return", &expected), 0);
		assert_int_equal(match(P, "pid$target:a.out:match_probes:", &expected),
				 0);
		assert_true(expected > 0);
	}
	Prelease(P, 0);
	obj_cache_trim();
	if (!err)
		assert_int_equal(spots, expected);
	return err;
}

static void probes_without_memory(void **state)
{
	run_out(match_probes);
}

static void procfs_without_memory(void **state)
{
	run_out(slurp);
}

static void obj_without_memory(void **state)
{
	run_out(read_obj);
}

static void image_without_memory(void **state)
{
	run_out(build_image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(procfs_without_memory),
		cmocka_unit_test(obj_without_memory),
		cmocka_unit_test(image_without_memory),
		cmocka_unit_test(probes_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
