/* SPDX-License-Identifier: MIT */
/*
 * Symbols of many processes: read once, and held once. Bytes are counted, by what the
 * cache says of itself and by what malloc says.
 */
#include <malloc.h>

#include "image/image.h"
#include "mem/mem.h"
#include "symbols_test.h"

enum {
	MANY = 500,      /* processes of one program */
	PER_MILLE = 100, /* that those may take more than one */
};

/* A process and its snapshot. */
struct seen {
	pid_t pid;        /* a copy of the test program */
	struct image *im; /* with every file opened */
};

static pid_t start_copy(void)
{
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	assert_int_above(pid, 0);
	return pid;
}

static void end_copy(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Opens every file and looks a symbol up in each, so that all tables are made. */
static struct image *look_everywhere(pid_t pid)
{
	struct mem_live live;
	struct mem mem;
	struct image_source src = { .pid = pid, .mem = &mem };
	const struct image_object *o;
	struct image_symbol sym;
	struct image *im;
	size_t n;

	mem_live_init(&live, pid); /* the vDSO is in no file */
	mem = mem_live(&live);
	assert_int_equal(image_build(&src, &im), 0);
	mem_live_fini(&live);
	image_open_all(im);
	o = image_objects(im, &n);
	assert_int_above(n, 2);
	for (size_t i = 0; i < n; i++)
		image_lookup_addr(im, o[i].start + 1, &sym);
	assert_int_equal(image_lookup_addr(im, (uintptr_t)look_everywhere, &sym), 0);
	return im;
}

/* Fails when a table is made for each process: it would be 500 times the first. */
static void one_program(void)
{
	static struct seen seen[MANY];
	size_t one, all, heap_one, heap_all;

	obj_cache_trim();
	for (int i = 0; i < MANY; i++)
		seen[i].pid = start_copy();
	seen[0].im = look_everywhere(seen[0].pid);
	one = obj_cache_bytes();
	heap_one = mallinfo2().uordblks;
	for (int i = 1; i < MANY; i++)
		seen[i].im = look_everywhere(seen[i].pid);
	all = obj_cache_bytes();
	heap_all = mallinfo2().uordblks;
	printf("# %zu bytes of symbols for one, %zu for %d; each snapshot %zu\n", one,
	       all, MANY, (heap_all - heap_one) / (MANY - 1));
	assert_int_above(one, 100000);
	assert_true(all * 1000 <= one * (1000 + PER_MILLE));
	for (int i = 0; i < MANY; i++) {
		image_unref(seen[i].im);
		end_copy(seen[i].pid);
	}
	obj_cache_trim();
	assert_true(obj_cache_bytes() < one / 10);
}

/* Copies of one library in many containers are one. Fails when files are known by their
 * inode only. */
static void many_copies(void)
{
	char dir[] = "/tmp/pgrab-copies-XXXXXX", path[PATH_MAX], command[64];
	struct obj *o[32];
	size_t one = 0;

	assert_non_null(mkdtemp(dir));
	obj_cache_trim();
	for (int i = 0; i < 32; i++) {
		struct obj_symbol sym;
		int fd;

		snprintf(path, sizeof(path), "%s/%d", dir, i);
		copy_file(victim_path("names-static"), path);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0 && !obj_get_fd(fd, &o[i]));
		close(fd);
		assert_int_equal(obj_lookup_name(o[i], "hidden", &sym), 0);
		one = i ? one : obj_cache_bytes();
		assert_ptr_equal(o[i], o[0]);
	}
	assert_true(obj_cache_bytes() <= one + 8192);
	for (int i = 0; i < 32; i++)
		obj_unref(o[i]);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

static const struct harness_test tests[] = {
	TEST_IN(one_program, 120),
	TEST(many_copies),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
