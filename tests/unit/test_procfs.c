/* SPDX-License-Identifier: MIT */
/* /proc as values: texts made by hand, and this process itself. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/procfs.h"
#include "os/procfs_read.h"
#include "util/scope.h"

/* A pid that was ours a moment ago and is free now. */
static pid_t dead_pid(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	return pid;
}

static void parses_a_name_with_everything_in_it(void **state)
{
	struct procfs_stat st;
	char text[512] =
		"42 (a) (b c\n) 7) S 1 2 3 34816 -1 4194304 79 0 0 0 11 12 0 0 20 "
		"-5 9 0 398633 2412544 334 18446744073709551615 0 0 0 0 0 0 65536 6 0 "
		"1 0 0 17 3 0 0 0 0 0 0 0 0 0 0 0 0 139\n";

	assert_int_equal(procfs_parse_stat(text, &st), 0);
	assert_int_equal(st.pid, 42);
	assert_string_equal(st.comm, "a) (b c\n) 7");
	assert_int_equal(st.state, 'S');
	assert_int_equal(st.ppid, 1);
	assert_int_equal(st.pgrp, 2);
	assert_int_equal(st.session, 3);
	assert_int_equal(st.tty, 34816);
	assert_int_equal(st.flags, 4194304);
	assert_int_equal(st.utime, 11);
	assert_int_equal(st.stime, 12);
	assert_int_equal(st.nice, -5);
	assert_int_equal(st.nlwp, 9);
	assert_int_equal(st.starttime, 398633);
	assert_int_equal(st.vsize, 2412544);
	assert_int_equal(st.rss, 334);
	assert_int_equal(st.processor, 3);
	assert_int_equal(st.exit_code, 139);
}

static void refuses_a_text_that_is_no_stat(void **state)
{
	static const char *const texts[] = { "",     "1",       "1 (",   "1 (a",
					     "1 a)", "1 )a( S", "1 (a)", "1 (a) " };
	struct procfs_stat st = { .pid = 77 };

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		assert_int_equal(procfs_parse_stat(texts[i], &st), -EINVAL);
	assert_int_equal(st.pid, 77);
}

static void survives_a_stat_cut_anywhere(void **state)
{
	const char whole[] = "42 (x) S 1 2 3 34816 -1 4194304 79 0 0 0 11 12 0 0 20";
	struct procfs_stat st;
	char text[sizeof(whole)];

	for (size_t len = 0; len < sizeof(whole); len++) {
		memcpy(text, whole, len);
		text[len] = '\0';
		procfs_parse_stat(text, &st);
	}
}

static void parses_status_by_key(void **state)
{
	struct procfs_status st;
	const char text[] =
		"Name:\ta\\nTgid:\t1\nUmask:\t0022\nTgid:\t99\nTracerPid:\t7\n"
		"Uid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\n"
		"SigPnd:\t0000000000000001\nShdPnd:\t0000000000000002\n"
		"SigBlk:\t0000000000010000\nSigIgn:\t8000000000000000\n"
		"SigCgt:\t0000000000000006\nCapEff:\t000001ffffffffff\n"
		"NoNewPrivs:\t1\nSeccomp:\t2\n";

	assert_int_equal(procfs_parse_status(text, &st), 0);
	assert_int_equal(st.tgid, 99);
	assert_int_equal(st.tracer, 7);
	assert_int_equal(st.uid, 1000);
	assert_int_equal(st.euid, 1001);
	assert_int_equal(st.gid, 5);
	assert_int_equal(st.egid, 6);
	assert_int_equal(st.sigpnd, 1);
	assert_int_equal(st.shdpnd, 2);
	assert_int_equal(st.sigblk, 0x10000);
	assert_true(st.sigign == 0x8000000000000000u);
	assert_int_equal(st.sigcgt, 6);
	assert_true(st.cap_eff == 0x1ffffffffffu);
	assert_true(st.no_new_privs);
	assert_int_equal(st.seccomp, 2);
	assert_int_equal(procfs_parse_status("Name:\tx\n", &st), -EINVAL);
}

static void parses_maps(void **state)
{
	char text[] =
		"00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/d\n"
		"00651000-00652000 rw-s 00051000 fd:1f 42 /a b\\012c\\040 (x) (deleted)\n"
		"00e03000-00e24000 rw-p 00000000 00:00 0           [heap]\n"
		"35b1a00000-35b1a01000 ---p 00000000 00:00 0 \n"
		"35b1a01000-35b1a02000 rwxp 00000000 00:00 0\n"
		"nonsense\n"
		"00400000-00452000 r-xp 00000000 08:02 173521 /goes/back\n"
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]";
	struct procfs_map *m;
	size_t n;

	assert_int_equal(procfs_parse_maps(text, strlen(text), &m, &n), 0);
	assert_int_equal(n, 6);
	assert_int_equal(m[0].start, 0x400000);
	assert_int_equal(m[0].end, 0x452000);
	assert_int_equal(m[0].prot, PROT_READ | PROT_EXEC);
	assert_false(m[0].shared || m[0].deleted);
	assert_int_equal(m[0].dev_major, 8);
	assert_int_equal(m[0].dev_minor, 2);
	assert_int_equal(m[0].inode, 173521);
	assert_string_equal(m[0].path, "/usr/bin/d");
	assert_true(m[1].shared && m[1].deleted);
	assert_int_equal(m[1].offset, 0x51000);
	assert_int_equal(m[1].dev_minor, 0x1f);
	assert_string_equal(m[1].path, "/a b\nc\\040 (x)");
	assert_string_equal(m[2].path, "[heap]");
	assert_int_equal(m[3].prot, PROT_NONE);
	assert_string_equal(m[3].path, "");
	assert_string_equal(m[4].path, "");
	assert_int_equal(m[4].prot, PROT_READ | PROT_WRITE | PROT_EXEC);
	assert_true(m[5].start == 0xffffffffff600000u);
	assert_string_equal(m[5].path, "[vsyscall]");
	free(m);
}

static void survives_maps_cut_anywhere(void **state)
{
	const char whole[] =
		"00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/d\\012";
	char text[sizeof(whole)];

	for (size_t len = 0; len < sizeof(whole); len++) {
		struct procfs_map *m;
		size_t n;

		memcpy(text, whole, len);
		assert_int_equal(procfs_parse_maps(text, len, &m, &n), 0);
		assert_true(n <= 1);
		free(m);
	}
}

static void reads_its_own_stat(void **state)
{
	struct procfs_stat st, thread;

	prctl(PR_SET_NAME, ") S 1 (");
	assert_int_equal(procfs_stat(getpid(), 0, &st), 0);
	assert_int_equal(procfs_stat(getpid(), getpid(), &thread), 0);
	prctl(PR_SET_NAME, "test_procfs");
	assert_int_equal(st.pid, getpid());
	assert_int_equal(st.ppid, getppid());
	assert_int_equal(st.pgrp, getpgrp());
	assert_string_equal(st.comm, ") S 1 (");
	assert_int_equal(st.state, 'R');
	assert_true(st.starttime > 0);
	assert_true(st.vsize > st.rss);
	assert_int_equal(st.starttime, thread.starttime);
}

static void reads_its_own_status(void **state)
{
	struct procfs_status st;

	assert_int_equal(procfs_status(getpid(), 0, &st), 0);
	assert_int_equal(st.tgid, getpid());
	assert_int_equal(st.uid, getuid());
	assert_int_equal(st.euid, geteuid());
	assert_int_equal(st.gid, getgid());
}

static void *wait_for_byte(void *arg)
{
	char c;

	return read(*(int *)arg, &c, 1) == 1 ? NULL : arg;
}

static void lists_its_threads(void **state)
{
	pid_t *tids;
	pthread_t t[3];
	int pipe_fd[2], before = procfs_nlwp(getpid()); /* a sanitizer may have its own */
	size_t n;

	assert_true(before >= 1);
	assert_int_equal(pipe(pipe_fd), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, wait_for_byte, pipe_fd), 0);
	assert_int_equal(procfs_nlwp(getpid()), before + 3);
	assert_int_equal(procfs_tids(getpid(), &tids, &n), 0);
	assert_int_equal(n, before + 3);
	assert_int_equal(tids[0], getpid());
	free(tids);
	assert_int_equal(write(pipe_fd[1], "abc", 3), 3);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}

static void lists_processes(void **state)
{
	bool seen = false;
	pid_t *pids;
	size_t n;

	assert_int_equal(procfs_pids(&pids, &n), 0);
	for (size_t i = 0; i < n; i++)
		seen |= pids[i] == getpid();
	assert_true(seen);
	free(pids);
}

static void slurps_and_terminates(void **state)
{
	size_t len, n = 77;
	char *buf;

	assert_int_equal(procfs_slurp(getpid(), "comm", &buf, &len), 0);
	assert_string_equal(buf, "test_procfs\n");
	assert_int_equal(len, 12);
	free(buf);
	assert_int_equal(procfs_slurp(getpid(), "maps", &buf, &len), 0);
	assert_int_equal(strlen(buf), len);
	free(buf);
	buf = NULL;
	assert_int_equal(procfs_slurp(getpid(), "no-such-file", &buf, &n), -ENOENT);
	assert_null(buf);
	assert_int_equal(n, 77);
}

static void reads_links(void **state)
{
	char *path, here[4096];

	assert_int_equal(procfs_readlink(getpid(), "cwd", &path), 0);
	assert_non_null(getcwd(here, sizeof(here)));
	assert_string_equal(path, here);
	free(path);
}

static void says_when_the_process_is_gone(void **state)
{
	pid_t pid = dead_pid(), *tids = NULL;
	struct procfs_stat st = { .pid = 77 };
	struct procfs_status status;
	struct procfs_map *maps = NULL;
	char *buf = NULL;
	size_t n = 77;

	assert_int_equal(procfs_stat(pid, 0, &st), -ESRCH);
	assert_int_equal(procfs_stat(getpid(), pid, &st), -ESRCH);
	assert_int_equal(procfs_status(pid, 0, &status), -ESRCH);
	assert_int_equal(procfs_maps(pid, 0, &maps, &n), -ESRCH);
	assert_int_equal(procfs_tids(pid, &tids, &n), -ESRCH);
	assert_int_equal(procfs_nlwp(pid), -ESRCH);
	assert_int_equal(procfs_slurp(pid, "comm", &buf, &n), -ESRCH);
	assert_int_equal(procfs_readlink(pid, "exe", &buf), -ESRCH);
	assert_int_equal(procfs_pidfd(pid), -ESRCH);
	assert_int_equal(st.pid, 77);
	assert_int_equal(n, 77);
	assert_null(buf);
	assert_null(maps);
	assert_null(tids);
}

static void pidfd_tells_the_living(void **state)
{
	int gate[2], fd;
	pid_t pid;
	char c;

	assert_int_equal(pipe(gate), 0);
	pid = fork();
	if (!pid) {
		close(gate[1]);
		_exit(read(gate[0], &c, 1) == 0 ? 0 : 1);
	}
	fd = procfs_pidfd(pid);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(procfs_pidfd_alive(fd), 1);
	close(gate[1]);
	close(gate[0]);
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT),
			 0);
	assert_int_equal(procfs_pidfd_alive(fd), 0); /* a zombie */
	waitpid(pid, NULL, 0);
	assert_int_equal(procfs_pidfd_alive(fd), 0);
	close(fd);
}

/* --- mapped files ----------------------------------------------------------------- */

/* A file of one page in a directory of its own, mapped. */
struct mapped {
	char dir[64];  /* the directory */
	char path[96]; /* the file */
	void *at;      /* where it is mapped */
};

static void make_file(const char *path, char fill)
{
	char page[4096];
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	memset(page, fill, sizeof(page));
	assert_true(fd >= 0);
	assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
	close(fd);
}

static void map_file(struct mapped *f, const char *name)
{
	int fd;

	strcpy(f->dir, "/tmp/pgrab-procfs-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/%s", f->dir, name);
	make_file(f->path, 'A');
	fd = open(f->path, O_RDONLY | O_CLOEXEC);
	f->at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(f->at, MAP_FAILED);
	close(fd);
}

static void unmap_file(struct mapped *f)
{
	munmap(f->at, 4096);
	unlink(f->path);
	rmdir(f->dir);
}

/* The line of our maps that begins at addr; the caller frees *block. */
static struct procfs_map find_map(const void *addr, struct procfs_map **block)
{
	size_t n;

	assert_int_equal(procfs_maps(getpid(), getpid(), block, &n), 0);
	for (size_t i = 0; i < n; i++) {
		if ((*block)[i].start == (uintptr_t)addr)
			return (*block)[i];
	}
	fail();
	return (*block)[0];
}

static char first_byte(int fd)
{
	char c = 0;

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(pread(fd, &c, 1, 0), 1);
	close(fd);
	return c;
}

static void finds_a_file_with_a_hard_name(void **state)
{
	_cleanup_free_ struct procfs_map *block = NULL;
	struct procfs_map m;
	struct mapped f;

	map_file(&f, "a\nb \\040 (deleted)");
	m = find_map(f.at, &block);
	assert_true(m.deleted); /* called so: the text cannot tell */
	assert_int_equal(first_byte(procfs_open_mapped(getpid(), &m)), 'A');
	unmap_file(&f);
}

static void finds_a_file_by_path_alone(void **state)
{
	_cleanup_free_ struct procfs_map *block = NULL;
	struct procfs_map m;
	struct mapped f;

	map_file(&f, "x (deleted)");
	m = find_map(f.at, &block);
	m.end += 4096; /* nothing in map_files bears this name */
	assert_int_equal(first_byte(procfs_open_mapped(getpid(), &m)), 'A');
	unmap_file(&f);
}

static void notices_a_replaced_file(void **state)
{
	_cleanup_free_ struct procfs_map *block = NULL;
	char other[128];
	struct procfs_map m;
	struct mapped f;
	int fd;

	map_file(&f, "lib");
	snprintf(other, sizeof(other), "%s.new", f.path);
	make_file(other, 'B');
	m = find_map(f.at, &block);
	assert_int_equal(rename(other, f.path), 0);
	/* By map_files the old file, where that is permitted; never the new one. */
	fd = procfs_open_mapped(getpid(), &m);
	if (fd >= 0)
		assert_int_equal(first_byte(fd), 'A');
	else
		assert_int_equal(fd, -ESTALE);
	m.end += 4096;
	assert_int_equal(procfs_open_mapped(getpid(), &m), -ESTALE);
	unmap_file(&f);
}

static void does_not_block_on_a_fifo(void **state)
{
	_cleanup_free_ struct procfs_map *block = NULL;
	struct procfs_map m;
	struct mapped f;

	map_file(&f, "fifo");
	m = find_map(f.at, &block);
	assert_int_equal(unlink(f.path), 0);
	assert_int_equal(mkfifo(f.path, 0600), 0);
	m.end += 4096;
	assert_int_equal(procfs_open_mapped(getpid(), &m), -ENXIO);
	unmap_file(&f);
}

static void does_not_leave_the_root(void **state)
{
	struct procfs_map m = {
		.start = 4096, .end = 8192, .inode = 1, .path = "/proc/self/exe"
	};

	assert_true(procfs_open_mapped(getpid(), &m) < 0); /* a magic link */
	m.inode = 0;
	assert_int_equal(procfs_open_mapped(getpid(), &m), -ENOENT);
}

/* --- smaps and pagemap -------------------------------------------------------------- */

static void parses_smaps(void **state)
{
	char text[] = "55614a628000-55614a62e000 r-xp 00002000 fe:00 247498      "
		      "/usr/bin/head\n"
		      "Size:                 24 kB\n"
		      "Anonymous:            12 kB\n"
		      "Swap:                  8 kB\n"
		      "VmFlags: rd ex mr mw me dd \n"
		      "7ffc00000000-7ffc00002000 rw-s 00000000 00:05 99         "
		      "/dev/zero (deleted)\n"
		      "AnonHugePages:      2048 kB\n"
		      "SwapPss:               4 kB\n"
		      "VmFlags: rd wr sh io ht\n";
	struct procfs_smap *maps;
	size_t n;

	assert_int_equal(procfs_parse_smaps(text, strlen(text), &maps, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(maps[0].m.path, "/usr/bin/head");
	assert_int_equal(maps[0].anonymous, 12 * 1024);
	assert_int_equal(maps[0].swap, 8 * 1024);
	assert_true(maps[0].dont_dump && !maps[0].io && !maps[0].huge);
	assert_true(maps[1].m.shared && maps[1].m.deleted);
	assert_int_equal(maps[1].anonymous, 0);
	assert_int_equal(maps[1].swap, 0);
	assert_true(maps[1].io && maps[1].huge && !maps[1].dont_dump);
	free(maps);
}

typedef int next_pages_f(int fd, uint64_t addr, uint64_t end, uint64_t *ret_start,
			 uint64_t *ret_end);

/* Pages 3 to 5 and 9 of 16 have been touched; both ways of asking say so, and touch none.
 */
static void finds_pages(void **state)
{
	static next_pages_f *const ways[] = { procfs_next_pages, procfs_read_pages };
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *mem = mmap(NULL, 16 * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t base = (uint64_t)(uintptr_t)mem, from, to;
	_cleanup_close_ int fd = procfs_pagemap(getpid());

	if (fd < 0)
		skip();
	madvise(mem, 16 * page, MADV_NOHUGEPAGE);
	mem[3 * page] = mem[4 * page] = mem[5 * page] = mem[9 * page] = 1;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ways[i](fd, base, base + 16 * page, &from, &to), 0);
		assert_int_equal(from, base + 3 * page);
		assert_int_equal(to, base + 6 * page);
		assert_int_equal(ways[i](fd, to, base + 16 * page, &from, &to), 0);
		assert_int_equal(from, base + 9 * page);
		assert_int_equal(to, base + 10 * page);
		assert_int_equal(ways[i](fd, to, base + 16 * page, &from, &to), 0);
		assert_int_equal(from, base + 16 * page);
		assert_int_equal(to, base + 16 * page);
	}
	munmap(mem, 16 * page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_a_name_with_everything_in_it),
		cmocka_unit_test(refuses_a_text_that_is_no_stat),
		cmocka_unit_test(survives_a_stat_cut_anywhere),
		cmocka_unit_test(parses_status_by_key),
		cmocka_unit_test(parses_maps),
		cmocka_unit_test(survives_maps_cut_anywhere),
		cmocka_unit_test(reads_its_own_stat),
		cmocka_unit_test(reads_its_own_status),
		cmocka_unit_test(lists_its_threads),
		cmocka_unit_test(lists_processes),
		cmocka_unit_test(slurps_and_terminates),
		cmocka_unit_test(reads_links),
		cmocka_unit_test(says_when_the_process_is_gone),
		cmocka_unit_test(pidfd_tells_the_living),
		cmocka_unit_test(finds_a_file_with_a_hard_name),
		cmocka_unit_test(finds_a_file_by_path_alone),
		cmocka_unit_test(notices_a_replaced_file),
		cmocka_unit_test(does_not_block_on_a_fifo),
		cmocka_unit_test(does_not_leave_the_root),
		cmocka_unit_test(parses_smaps),
		cmocka_unit_test(finds_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
