/* SPDX-License-Identifier: MIT */
/* Snapshots of this process: what it has mapped is known from the dynamic linker
 * itself. */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "image/image.h"
#include "util/scope.h"

static struct mem_live self;
static struct mem self_mem;

/* What is known before there are link maps. */
static struct image_source bare_source(void)
{
	mem_live_init(&self, getpid());
	self_mem = mem_live(&self);
	return (struct image_source){
		.pid = getpid(),
		.at_base = getauxval(AT_BASE),
		.at_phdr = getauxval(AT_PHDR),
		.at_vdso = getauxval(AT_SYSINFO_EHDR),
		.mem = &self_mem,
	};
}

/* Link maps of the base namespace and, if there is one, of another. */
static size_t collect_links(struct rtld_object *to, size_t max, struct link_map *other)
{
	struct link_map *lists[] = { _r_debug.r_map, other };
	size_t n = 0;

	for (long lmid = 0; lmid < 2; lmid++) {
		struct link_map *lm = lists[lmid];

		while (lm && lm->l_prev)
			lm = lm->l_prev;
		for (; lm && n < max; lm = lm->l_next)
			to[n++] = (struct rtld_object){
				.link_map = (uintptr_t)lm,
				.base = lm->l_addr,
				.dynamic = (uintptr_t)lm->l_ld,
				.lmid = lmid,
				.name = lm->l_name,
			};
	}
	return n;
}

static struct image *build(const struct image_source *src)
{
	struct image *im;

	assert_int_equal(image_build(src, &im), 0);
	return im;
}

static struct image *build_bare(void)
{
	struct image_source src = bare_source();

	return build(&src);
}

static struct image *build_linked(struct link_map *other)
{
	static struct rtld_object links[256];
	struct image_source src = bare_source();

	src.link = links;
	src.nlink = collect_links(links, 256, other);
	return build(&src);
}

static size_t count_named(const struct image *im, const char *name)
{
	const struct image_object *o;
	size_t n, found = 0;

	o = image_objects(im, &n);
	for (size_t i = 0; i < n; i++)
		found += !strcmp(o[i].name, name);
	return found;
}

/* The object that holds the function, by the dynamic linker's word. */
static uintptr_t base_of(void *function)
{
	Dl_info info;

	assert_true(dladdr(function, &info) != 0);
	return (uintptr_t)info.dli_fbase;
}

/* A function of ours, found by name and by address. */
__attribute__((noinline)) int image_test_landmark(int x)
{
	return x * 3 + 1;
}

/* --- objects ---------------------------------------------------------------------- */

/* What holds with and without link maps. */
static void check_self(struct image *im)
{
	const struct image_object *o, *libc, *prog, *ldso;
	size_t n;

	o = image_objects(im, &n);
	assert_true(n >= 4);
	assert_true(o[0].is_exec);
	for (size_t i = 1; i < n; i++)
		assert_false(o[i].is_exec);
	prog = image_object_at(im, (uintptr_t)image_test_landmark);
	assert_ptr_equal(prog, &o[0]);
	assert_int_equal(prog->base, _r_debug.r_map->l_addr);
	assert_int_equal(prog->dynamic, (uintptr_t)_r_debug.r_map->l_ld);
	assert_string_equal(prog->name, strrchr(prog->path, '/') + 1);
	libc = image_object_at(im, (uintptr_t)gnu_get_libc_version);
	assert_non_null(libc);
	assert_int_equal(libc->base, base_of((void *)gnu_get_libc_version));
	assert_string_equal(libc->name, "libc.so.6");
	ldso = image_object_at(im, getauxval(AT_BASE));
	assert_true(ldso && ldso->is_ldso);
	assert_ptr_equal(image_object_named(im, IMAGE_ANY_LMID, IMAGE_LDSO), ldso);
	assert_ptr_equal(image_object_named(im, 0, IMAGE_EXEC), prog);
	assert_ptr_equal(image_object_named(im, 0, "libc"), libc);
	assert_ptr_equal(image_object_named(im, 0, "libc.so"), libc);
	assert_ptr_equal(image_object_named(im, 0, "libc.so.6"), libc);
	assert_ptr_equal(image_object_named(im, 0, libc->path), libc);
	assert_null(image_object_named(im, 0, "lib"));
	assert_null(image_object_named(im, 0, ""));
	assert_null(image_object_named(im, 5, "libc"));
}

static void objects_without_link_maps(void **state)
{
	struct image *im = build_bare();

	check_self(im);
	assert_false(image_objects(im, &(size_t){ 0 })[0].in_linkmap);
	image_unref(im);
}

static void objects_with_link_maps(void **state)
{
	struct image *im = build_linked(NULL);
	const struct image_object *o;
	struct link_map *lm = _r_debug.r_map;
	size_t n;

	check_self(im);
	o = image_objects(im, &n);
	for (size_t i = 0; lm; i++, lm = lm->l_next) {
		assert_true(i < n);
		assert_true(o[i].in_linkmap);
		assert_int_equal(o[i].base, lm->l_addr);
		assert_int_equal(o[i].dynamic, (uintptr_t)lm->l_ld);
		assert_true((uintptr_t)lm->l_ld >= o[i].start &&
			    (uintptr_t)lm->l_ld < o[i].end);
	}
	image_unref(im);
}

/* The program is known by /proc/PID/exe when AT_PHDR is not. */
static void program_without_auxv(void **state)
{
	struct image_source src = { .pid = getpid() };
	struct image *im = build(&src);
	const struct image_object *o = image_objects(im, &(size_t){ 0 });

	assert_true(o[0].is_exec);
	assert_ptr_equal(image_object_at(im, (uintptr_t)image_test_landmark), &o[0]);
	assert_int_equal(o[0].base, _r_debug.r_map->l_addr); /* by the file's headers */
	image_unref(im);
}

static void maps_are_sorted_and_belong(void **state)
{
	struct image *im = build_linked(NULL);
	const struct image_map *m;
	int on_stack;
	size_t n;

	m = image_maps(im, &n);
	for (size_t i = 0; i < n; i++) {
		assert_true(m[i].m.start < m[i].m.end);
		assert_true(!i || m[i - 1].m.end <= m[i].m.start);
		assert_ptr_equal(image_map_at(im, m[i].m.start), &m[i]);
		assert_ptr_equal(image_map_at(im, m[i].m.end - 1), &m[i]);
		if (m[i].object) {
			assert_true(m[i].m.start >= m[i].object->start);
			assert_true(m[i].m.start < m[i].object->end);
			assert_true(m[i].object->first_map <= i);
		}
	}
	assert_null(image_map_at(im, 0));
	assert_null(image_map_at(im, UINT64_MAX));
	assert_non_null(image_map_at(im, (uintptr_t)&on_stack));
	assert_null(image_object_at(im, (uintptr_t)&on_stack));
	image_unref(im);
}

/* .bss, and what the kernel merges with it. */
static char in_bss[3 * 4096];

static void bss_belongs_and_no_more(void **state)
{
	struct image *im = build_linked(NULL);
	const struct image_object *prog;

	in_bss[4096] = 1;
	prog = image_object_at(im, (uintptr_t)&in_bss[4096]);
	assert_non_null(prog);
	assert_true(prog->is_exec);
	/* The end is the segments' end, not the mapping's. */
	assert_true(prog->end - prog->base < 64 << 20);
	image_unref(im);
	for (struct link_map *lm = _r_debug.r_map; lm; lm = lm->l_next)
		assert_true(lm->l_ld != NULL);
}

static void data_files_are_no_objects(void **state)
{
	const char *libc = "/proc/self/exe";
	int fd = open(libc, O_RDONLY | O_CLOEXEC),
	    junk = memfd_create("junk", MFD_CLOEXEC);
	void *data = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
	void *code;
	struct image *im;

	assert_int_equal(ftruncate(junk, 4096), 0);
	code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, junk, 0);
	assert_ptr_not_equal(data, MAP_FAILED);
	assert_ptr_not_equal(code, MAP_FAILED);
	im = build_bare();
	assert_null(image_object_at(im, (uintptr_t)data));
	assert_null(image_object_at(im, (uintptr_t)code));
	assert_non_null(image_map_at(im, (uintptr_t)code));
	check_self(im);
	image_unref(im);
	munmap(data, 8192);
	munmap(code, 4096);
	close(fd);
	close(junk);
}

/* --- one file twice --------------------------------------------------------------- */

static void dlmopen_copies_are_two(void **state)
{
	void *handle = dlmopen(LM_ID_NEWLM, "libm.so.6", RTLD_NOW);
	void *plain = dlopen("libm.so.6", RTLD_NOW), *cos_there, *cos_here;
	const struct image_object *here, *there;
	struct image_symbol s;
	struct link_map *lm;
	struct image *im;

	if (!handle || !plain)
		skip(); /* a sanitizer's runtime cannot be loaded twice */
	assert_int_equal(dlinfo(handle, RTLD_DI_LINKMAP, &lm), 0);
	cos_there = dlsym(handle, "cbrt");
	cos_here = dlsym(plain, "cbrt");
	for (int linked = 0; linked < 2; linked++) {
		im = linked ? build_linked(lm) : build_bare();
		assert_int_equal(count_named(im, "libm.so.6"), 2);
		assert_int_equal(count_named(im, "libc.so.6"), 2);
		here = image_object_at(im, (uintptr_t)cos_here);
		there = image_object_at(im, (uintptr_t)cos_there);
		assert_ptr_not_equal(here, there);
		assert_int_equal(here->base, base_of(cos_here));
		assert_int_equal(there->base, lm->l_addr);
		assert_int_equal(image_lookup_addr(im, (uintptr_t)cos_there, &s), 0);
		assert_ptr_equal(s.object, there);
		assert_int_equal(s.s.sym.st_value, (uintptr_t)cos_there);
		assert_int_equal(there->lmid, linked);
		if (linked) {
			assert_ptr_equal(image_object_named(im, 1, "libm"), there);
			assert_ptr_equal(image_object_named(im, 0, "libm"), here);
			assert_int_equal(image_lookup_name(im, 1, "libm", "cbrt", &s), 0);
			assert_int_equal(s.s.sym.st_value, (uintptr_t)cos_there);
		}
		image_unref(im);
	}
	dlclose(handle);
	dlclose(plain);
}

/* Maps the segments of a file as a loader does, at `to`; bytes taken. */
static size_t load_at(int fd, char *to, const struct obj *o)
{
	const struct obj_segment *seg;
	size_t n, end = 0;

	seg = obj_segments(o, &n);
	for (size_t i = 0; i < n; i++) {
		uint64_t skew = seg[i].vaddr & 4095;
		void *at = mmap(to + seg[i].vaddr - skew, seg[i].filesz + skew,
				(int)seg[i].prot, MAP_PRIVATE | MAP_FIXED, fd,
				(off_t)(seg[i].offset - skew));

		assert_ptr_not_equal(at, MAP_FAILED);
		end = (seg[i].vaddr + seg[i].filesz + 4095) & ~4095ull;
	}
	return end;
}

static void adjacent_copies_are_two(void **state)
{
	enum {
		ROOM = 16 << 20
	};
	struct image *im = build_bare();
	const struct image_object *m, *first, *second;
	char *hole,
		*room = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct obj *o;
	size_t len;
	int fd;

	m = image_object_at(im,
			    getauxval(AT_BASE)); /* the linker: small, four segments */
	fd = open(m->path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(obj_get_fd(fd, &o), 0);
	image_unref(im);
	len = load_at(fd, room, o);
	load_at(fd, room + len, o);
	im = build_bare();
	first = image_object_at(im, (uintptr_t)room);
	second = image_object_at(im, (uintptr_t)room + len);
	assert_non_null(first);
	assert_non_null(second);
	assert_ptr_not_equal(first, second);
	assert_int_equal(first->base, (uintptr_t)room);
	assert_int_equal(second->base, (uintptr_t)room + len);
	assert_int_equal(first->end, second->start);
	check_self(im);
	image_unref(im);
	/* With a hole in it the second is still one: its headers say so. */
	hole = room + len + 8 * 4096;
	munmap(hole, 4096);
	im = build_bare();
	assert_null(image_map_at(im, (uintptr_t)hole));
	second = image_object_at(im, (uintptr_t)room + len);
	assert_ptr_equal(image_object_at(im, (uintptr_t)hole + 4096), second);
	assert_ptr_equal(image_object_at(im, (uintptr_t)room + 2 * len - 1), second);
	image_unref(im);
	munmap(room, ROOM);
	obj_unref(o);
	close(fd);
}

/* --- symbols ---------------------------------------------------------------------- */

static void symbols_both_ways(void **state)
{
	struct image *im = build_linked(NULL);
	uintptr_t here = (uintptr_t)image_test_landmark;
	uintptr_t there = (uintptr_t)gnu_get_libc_version;
	struct image_symbol s;

	assert_int_equal(image_lookup_addr(im, here, &s), 0);
	assert_string_equal(s.s.name, "image_test_landmark");
	assert_int_equal(s.s.sym.st_value, here);
	assert_true(s.object->is_exec);
	assert_int_equal(image_lookup_name(im, 0, IMAGE_EXEC, "image_test_landmark", &s),
			 0);
	assert_int_equal(s.s.sym.st_value, here);
	assert_int_equal(
		image_lookup_name(im, IMAGE_ANY_LMID, NULL, "gnu_get_libc_version", &s),
		0);
	assert_int_equal(s.s.sym.st_value, there);
	assert_int_equal(image_lookup_addr(im, there + 1, &s), 0);
	assert_string_equal(s.s.name, "gnu_get_libc_version");
	assert_int_equal(image_lookup_name(im, 0, "libc", "no such", &s), -ENOENT);
	assert_int_equal(image_lookup_name(im, 0, "libnone", "malloc", &s), -ENXIO);
	assert_int_equal(image_lookup_name(im, 0, NULL, "no such", &s), -ENOENT);
	assert_int_equal(image_lookup_addr(im, (uintptr_t)&s, &s), -ENOENT);
	image_unref(im);
}

static void vdso_has_symbols(void **state)
{
	uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
	struct image_symbol s;
	struct image *im;

	if (!vdso)
		skip();
	im = build_bare();
	assert_string_equal(image_object_at(im, vdso)->path, "[vdso]");
	assert_int_equal(image_lookup_name(im, 0, "[vdso]", "__vdso_clock_gettime", &s),
			 0);
	assert_true(s.s.sym.st_value > vdso && s.s.sym.st_value < vdso + 65536);
	image_unref(im);
}

/* A file that cannot be opened is tried once; its error stays. */
static void errors_are_remembered(void **state)
{
	char path[] = "/tmp/pgrab-image-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC),
	    self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char head[4096];
	struct image_symbol s;
	struct image *im;
	struct obj *o = NULL;
	void *at;

	assert_int_equal(pread(self_fd, head, sizeof(head), 0), sizeof(head));
	assert_int_equal(pwrite(fd, head, sizeof(head), 0), sizeof(head));
	at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	im = build_bare();
	assert_non_null(image_object_at(im, (uintptr_t)at));
	assert_int_equal(pwrite(fd, "none", 4, 0), 4); /* no ELF file any more */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			image_object_obj(im, image_object_at(im, (uintptr_t)at), &o),
			-ENOEXEC);
		assert_int_equal(pwrite(fd, head, 4, 0), 4);
	}
	assert_null(o);
	assert_int_equal(image_lookup_addr(im, (uintptr_t)at, &s), -ENOENT);
	image_unref(im);
	munmap(at, 4096);
	close(fd);
	close(self_fd);
	unlink(path);
}

/* Symbols outlive the process: opened in time, or found by path and inode. */
static void symbols_outlive_the_process(void **state)
{
	for (int open_first = 0; open_first < 2; open_first++) {
		struct image_source src;
		struct image_symbol s;
		struct image *im;
		int gate[2];
		pid_t pid;
		char c;

		assert_int_equal(pipe(gate), 0);
		pid = fork();
		if (!pid) {
			close(gate[1]);
			_exit(read(gate[0], &c, 1) != 0);
		}
		close(gate[0]);
		src = bare_source();
		src.pid = pid;
		im = build(&src);
		if (open_first)
			image_open_all(im);
		close(gate[1]);
		waitpid(pid, NULL, 0);
		assert_int_equal(
			image_lookup_addr(im, (uintptr_t)image_test_landmark, &s), 0);
		assert_string_equal(s.s.name, "image_test_landmark");
		assert_int_equal(image_build(&src, &im), -ESRCH);
		image_unref(im);
	}
}

static void *look_around(void *arg)
{
	struct image *im = arg;
	struct image_symbol s;
	uintptr_t bad = 0;

	image_open_all(im);
	for (int i = 0; i < 1000; i++) {
		bad += image_lookup_addr(im, (uintptr_t)look_around, &s) != 0;
		bad += image_lookup_addr(im, (uintptr_t)gnu_get_libc_version, &s) != 0;
	}
	image_unref(im);
	return (void *)bad;
}

static void many_threads_one_image(void **state)
{
	for (int round = 0; round < 10; round++) {
		struct image *im = build_bare();
		pthread_t t[4];

		for (int i = 0; i < 4; i++)
			assert_int_equal(
				pthread_create(&t[i], NULL, look_around, image_ref(im)),
				0);
		image_unref(im);
		for (int i = 0; i < 4; i++) {
			void *bad;

			pthread_join(t[i], &bad);
			assert_null(bad);
		}
	}
	obj_cache_trim();
}

static void garbage_in_no_crash_out(void **state)
{
	struct rtld_object lies[] = {
		{ .base = UINT64_MAX,
		  .dynamic = (uintptr_t)gnu_get_libc_version,
		  .lmid = -7 },
		{ .base = 1, .dynamic = 0, .name = NULL },
		{ .base = 2, .dynamic = UINT64_MAX, .name = (char *)"x" },
		{ .base = 3, .dynamic = (uintptr_t)&lies, .name = (char *)"" },
	};
	struct image_source src = bare_source();
	struct image_symbol s;
	struct image *im;

	src.at_base = UINT64_MAX;
	src.at_phdr = (uintptr_t)&lies;
	src.at_vdso = 12345;
	src.link = lies;
	src.nlink = 4;
	im = build(&src);
	image_lookup_addr(im, (uintptr_t)gnu_get_libc_version, &s);
	image_lookup_name(im, IMAGE_ANY_LMID, NULL, "malloc", &s);
	image_unref(im);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_without_link_maps),
		cmocka_unit_test(objects_with_link_maps),
		cmocka_unit_test(program_without_auxv),
		cmocka_unit_test(maps_are_sorted_and_belong),
		cmocka_unit_test(bss_belongs_and_no_more),
		cmocka_unit_test(data_files_are_no_objects),
		cmocka_unit_test(dlmopen_copies_are_two),
		cmocka_unit_test(adjacent_copies_are_two),
		cmocka_unit_test(symbols_both_ways),
		cmocka_unit_test(vdso_has_symbols),
		cmocka_unit_test(errors_are_remembered),
		cmocka_unit_test(symbols_outlive_the_process),
		cmocka_unit_test(many_threads_one_image),
		cmocka_unit_test(garbage_in_no_crash_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
