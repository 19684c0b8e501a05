/* SPDX-License-Identifier: MIT */
/*
 * src/obj on real files, and the cache that processes share.
 */
#include "obj_maker.h"

/* --- real files, the cache -------------------------------------------------------- */

static struct obj *get_path(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct obj *o;

	assert_true(fd >= 0);
	assert_int_equal(obj_get_fd(fd, &o), 0);
	return o;
}

/* The file that holds a function, and where it was loaded. */
static Dl_info where_is(void *function)
{
	Dl_info info;

	assert_true(dladdr(function, &info) != 0);
	return info;
}

static void libc_agrees_with_the_linker(void **state)
{
	static const char *const names[] = { "malloc", "free", "getpid", "qsort",
					     "puts" };
	Dl_info libc = where_is((void *)gnu_get_libc_version);
	struct obj *o = get_path(libc.dli_fname);
	struct obj_symbol s;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		uintptr_t value =
			(uintptr_t)dlsym(RTLD_NEXT, names[i]) - (uintptr_t)libc.dli_fbase;

		if (strcmp(where_is(dlsym(RTLD_NEXT, names[i])).dli_fname,
			   libc.dli_fname))
			continue; /* a sanitizer's own */
		assert_int_equal(value_of(o, names[i]), value);
		assert_int_equal(obj_lookup_addr(o, value + 1, &s), 0);
		assert_int_equal(s.sym.st_value, value);
	}
	assert_string_equal(obj_soname(o), "libc.so.6");
	obj_unref(o);
}

static void cache_knows_a_file_again(void **state)
{
	struct obj *a = get_path("/proc/self/exe"), *b = get_path("/proc/self/exe");

	assert_ptr_equal(a, b);
	obj_unref(a);
	obj_unref(b);
	b = get_path("/proc/self/exe"); /* nobody held it, and it stayed */
	assert_ptr_equal(a, b);
	assert_ptr_equal(obj_ref(b), b);
	obj_unref(b);
	obj_unref(b);
	obj_unref(NULL);
}

static void cache_shares_equal_copies_only(void **state)
{
	struct obj *self = get_path("/proc/self/exe"), *copy, *changed;
	char path[64], other[64];
	const struct obj_segment *seg;
	int fd = copy_self(path), other_fd = copy_self(other);
	struct obj_symbol s;
	size_t n;
	char *name;

	assert_int_equal(obj_get_fd(fd, &copy), 0);
	seg = obj_segments(self, &n);
	assert_non_null(seg);
	obj_build_id(self, &n);
	if (n)
		assert_ptr_equal(copy, self);
	/* The same build-id and size, and another name in the string table. */
	assert_int_equal(obj_lookup_name(self, "cache_shares_equal_copies_only", &s), 0);
	{
		struct stat st;

		assert_int_equal(fstat(other_fd, &st), 0);
		name = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    other_fd, 0);
		assert_ptr_not_equal(name, MAP_FAILED);
		for (char *p = name; (p = memmem(p, (size_t)(name + st.st_size - p),
						 "cache_shares_equal", 18));)
			*p = 'X';
		munmap(name, (size_t)st.st_size);
	}
	assert_int_equal(obj_get_fd(other_fd, &changed), 0);
	assert_ptr_not_equal(changed, self);
	assert_int_equal(value_of(changed, "Xache_shares_equal_copies_only"),
			 s.sym.st_value);
	assert_int_equal(value_of(changed, "cache_shares_equal_copies_only"), 0);
	obj_unref(self);
	obj_unref(copy);
	obj_unref(changed);
	close(fd);
	close(other_fd);
	unlink(path);
	unlink(other);
}

static void cache_forgets_a_changed_file(void **state)
{
	static struct maker k;
	static const struct line one[] = { FUNC("one", 0x1000, 8), END };
	char path[] = "/tmp/pgrab-obj-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	struct obj *a, *b;

	begin_file(&k);
	add_symtab(&k, one);
	end_file(&k);
	assert_int_equal(pwrite(fd, &k.f, sizeof(k.f), 0), sizeof(k.f));
	assert_int_equal(obj_get_fd(fd, &a), 0);
	assert_int_equal(value_of(a, "one"), 0x1000);
	usleep(20000); /* file times have the grain of the timer */
	memcpy(k.f.strtab + 1, "two", 3);
	assert_int_equal(pwrite(fd, &k.f, sizeof(k.f), 0), sizeof(k.f));
	assert_int_equal(obj_get_fd(fd, &b), 0);
	assert_int_equal(value_of(b, "two"), 0x1000);
	assert_int_equal(value_of(a, "one"), 0x1000); /* who holds it keeps it */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(value_of(b, "two"), 0x1000);
	obj_unref(a);
	obj_unref(b);
	close(fd);
	unlink(path);
}

static void cache_is_bounded(void **state)
{
	static struct maker k;
	struct obj *o;

	begin_file(&k);
	end_file(&k);
	for (int i = 0; i < 200; i++) {
		char path[] = "/tmp/pgrab-obj-XXXXXX";
		int fd = mkostemp(path, O_CLOEXEC);

		k.f.eh.e_entry = (uint64_t)i;
		assert_int_equal(pwrite(fd, &k.f, sizeof(k.f), 0), sizeof(k.f));
		assert_int_equal(obj_get_fd(fd, &o), 0);
		assert_int_equal(obj_entry(o), i);
		obj_unref(o);
		close(fd);
		unlink(path);
	}
	assert_int_equal(obj_cache_idle(), OBJ_IDLE_LIMIT);
	obj_cache_trim();
	assert_int_equal(obj_cache_idle(), 0);
}

/* Looks everything up that it can, on a fresh obj that others use as well. */
static void *look_up(void *arg)
{
	struct obj *o = get_path("/proc/self/exe");
	uintptr_t bad = 0;

	for (uint64_t a = 0; a < 0x4000; a += 16) {
		struct obj_symbol s;

		if (!obj_lookup_addr(o, a, &s) && a - s.sym.st_value > 0x100000)
			bad++;
	}
	bad += value_of(o, "look_up") == 0;
	obj_unref(o);
	return (void *)bad;
}

static void many_threads_one_file(void **state)
{
	pthread_t t[8];

	for (int round = 0; round < 20; round++) {
		obj_cache_trim();
		for (int i = 0; i < 8; i++)
			assert_int_equal(pthread_create(&t[i], NULL, look_up, NULL), 0);
		for (int i = 0; i < 8; i++) {
			void *bad;

			pthread_join(t[i], &bad);
			assert_null(bad);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(libc_agrees_with_the_linker),
		cmocka_unit_test(cache_knows_a_file_again),
		cmocka_unit_test(cache_shares_equal_copies_only),
		cmocka_unit_test(cache_forgets_a_changed_file),
		cmocka_unit_test(cache_is_bounded),
		cmocka_unit_test(many_threads_one_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
