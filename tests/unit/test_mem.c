/* SPDX-License-Identifier: MIT */
/* The memory seam: pieces made by hand, and this process itself. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem/mem.h"
#include "os/procfs.h"

enum {
	PAGE = 4096
};

/* --- pieces ----------------------------------------------------------------------- */

static const struct mem_piece three_pieces[] = {
	{ .addr = 0x2000, .len = 4, .data = "efgh" },
	{ .addr = 0x1ffc, .len = 4, .data = "abcd" },
	{ .addr = 0x3000, .len = 3, .data = "xyz" },
	{ .addr = UINT64_MAX - 1, .len = 2, .data = "!!" },
};

static struct mem fake(void)
{
	static struct mem_pieces ctx = { .pieces = three_pieces, .n = 4 };

	return mem_pieces(&ctx);
}

static void pieces_join_and_end(void **state)
{
	struct mem m = fake();
	char buf[16] = "";

	assert_int_equal(mem_read(&m, 0x1ffd, buf, sizeof(buf)), 7);
	assert_memory_equal(buf, "bcdefgh", 7);
	assert_int_equal(mem_read(&m, 0x3001, buf, 2), 2);
	assert_int_equal(mem_read(&m, 0x2004, buf, 1), -EFAULT);
	assert_int_equal(mem_read(&m, 0x1ffb, buf, 2), -EFAULT);
	assert_int_equal(mem_read(&m, 0x9999, buf, 0), 0);
	assert_int_equal(mem_read(&m, UINT64_MAX - 1, buf, sizeof(buf)), 2);
	assert_int_equal(mem_write(&m, 0x2000, buf, 1), -EROFS);
}

static void all_means_all(void **state)
{
	struct mem m = fake();
	char buf[16] = "";

	assert_int_equal(mem_read_all(&m, 0x1ffc, buf, 8), 0);
	assert_memory_equal(buf, "abcdefgh", 8);
	assert_int_equal(mem_read_all(&m, 0x1ffc, buf, 9), -EFAULT);
	assert_int_equal(mem_read_all(&m, 0x5000, buf, 1), -EFAULT);
	assert_int_equal(mem_read_all(&m, 0x5000, buf, 0), 0);
}

static void strings_end_somehow(void **state)
{
	static const struct mem_piece piece[] = {
		{ .addr = 0x1ffe, .len = 5, .data = "ab\0cd" },
	};
	struct mem_pieces ctx = { .pieces = piece, .n = 1 };
	struct mem m = mem_pieces(&ctx);
	char buf[16];

	assert_int_equal(mem_read_string(&m, 0x1ffe, buf, sizeof(buf)), 2);
	assert_string_equal(buf, "ab");
	assert_int_equal(mem_read_string(&m, 0x1ffe, buf, 3), 2);
	assert_int_equal(mem_read_string(&m, 0x1ffe, buf, 2), -ENAMETOOLONG);
	assert_string_equal(buf, "a");
	assert_int_equal(mem_read_string(&m, 0x2001, buf, sizeof(buf)), -EFAULT);
	assert_string_equal(buf, "cd");
	assert_int_equal(mem_read_string(&m, 0x7000, buf, sizeof(buf)), -EFAULT);
	assert_string_equal(buf, "");
	assert_int_equal(mem_read_string(&m, 0x2000, buf, 1), 0);
}

/* How far a reader went. */
struct witness {
	uint64_t highest; /* end of the furthest read */
};

static ssize_t read_witnessed(void *ctx, uint64_t addr, void *buf, size_t len)
{
	struct witness *w = ctx;

	if (addr + len > w->highest)
		w->highest = addr + len;
	memset(buf, 'x', len);
	if (addr <= 0x1800 && addr + len > 0x1800)
		((char *)buf)[0x1800 - addr] = '\0';
	return (ssize_t)len;
}

static void strings_stay_in_their_page(void **state)
{
	static const struct mem_ops ops = { .read = read_witnessed };
	struct witness w = { 0 };
	struct mem m = { .ops = &ops, .ctx = &w };
	char buf[3 * PAGE];

	assert_int_equal(mem_read_string(&m, 0xf00, buf, sizeof(buf)), 0x900);
	assert_int_equal(w.highest, 0x2000);
}

/* --- live ------------------------------------------------------------------------- */

/* Three pages; the one in the middle is taken away. */
static char *map_holed(void)
{
	char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	memset(p, 'm', 3 * PAGE);
	munmap(p + PAGE, PAGE);
	return p;
}

/* Everything a live target promises, on ourselves. The exit status of a child: no
 * asserts. */
static int check_live(void)
{
	char *p = map_holed(), buf[3 * PAGE];
	struct mem_live live;
	struct mem m;
	int bad = 0;

	mem_live_init(&live, getpid());
	m = mem_live(&live);
	bad |= mem_read(&m, (uintptr_t)p, buf, 10) != 10 || memcmp(buf, "mmmmmmmmmm", 10);
	bad |= mem_read(&m, (uintptr_t)p, buf, sizeof(buf)) != PAGE;
	bad |= mem_read(&m, (uintptr_t)p + PAGE - 7, buf, PAGE) != 7;
	bad |= mem_read(&m, (uintptr_t)p + PAGE, buf, PAGE) != -EFAULT;
	bad |= mem_read(&m, (uintptr_t)p + 2 * PAGE, buf, PAGE) != PAGE;
	bad |= mem_read(&m, (uintptr_t)p + PAGE, buf, 0) != 0;
	bad |= mem_read(&m, UINT64_MAX - 3, buf, 64) != -EFAULT;
	bad |= mem_read(&m, 0, buf, 64) != -EFAULT;
	bad |= mem_write(&m, (uintptr_t)p + PAGE - 2, "wxyz", 4) != 2;
	bad |= memcmp(p + PAGE - 3, "mwx", 3) != 0;
	bad |= mem_write(&m, (uintptr_t)p + PAGE, "w", 1) != -EFAULT;
	mprotect(p, PAGE, PROT_READ);
	bad |= mem_write(&m, (uintptr_t)p, "R", 1) != 1 || *p != 'R';
	mem_live_reset(&live);
	bad |= live.fd != -1;
	bad |= mem_write(&m, (uintptr_t)p, "S", 1) != 1 || *p != 'S';
	mem_live_fini(&live);
	munmap(p, PAGE);
	munmap(p + 2 * PAGE, PAGE);
	return bad;
}

static void reads_and_writes_itself(void **state)
{
	assert_int_equal(check_live(), 0);
}

static void opens_nothing_to_read(void **state)
{
	struct mem_live live;
	struct mem m;
	char c;

	mem_live_init(&live, getpid());
	m = mem_live(&live);
	assert_int_equal(mem_read(&m, (uintptr_t) "x", &c, 1), 1);
	assert_int_equal(live.fd, -1);
	mem_live_fini(&live);
}

/* process_vm_readv is answered with `err` from now on. */
static int refuse_vm_readv(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(*code), .filter = code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}

static int status_of(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return status;
}

static void falls_back_to_proc_mem(void **state)
{
	static const int errors[] = { EPERM, ENOSYS };

	for (size_t i = 0; i < 2; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(refuse_vm_readv(errors[i]) ? 2 : check_live());
		assert_int_equal(status_of(pid), 0);
	}
}

static void says_when_the_target_is_gone(void **state)
{
	struct mem_live live;
	pid_t pid = fork();
	struct mem m;
	char c = 'c';

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	mem_live_init(&live, pid);
	m = mem_live(&live);
	assert_int_equal(mem_read(&m, (uintptr_t)&c, &c, 1), -ESRCH);
	assert_int_equal(mem_write(&m, (uintptr_t)&c, &c, 1), -ESRCH);
	assert_int_equal(mem_read_string(&m, (uintptr_t)&c, &c, 1), -ESRCH);
	mem_live_fini(&live);
}

/* A child that execs when a byte comes, having mapped a page at a known place. */
static pid_t start_execer(int gate, void **ret_page)
{
	pid_t pid;
	char c;

	*ret_page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	pid = fork();
	if (!pid) {
		if (read(gate, &c, 1) == 1)
			execl("/bin/sleep", "sleep", "20", NULL);
		_exit(1);
	}
	return pid;
}

/* The stack of the program that pid execs, once it has. */
static uint64_t wait_for_stack(pid_t pid)
{
	for (int i = 0; i < 2000; i++, usleep(1000)) {
		struct procfs_stat st;
		struct procfs_map *maps;
		uint64_t stack = 0;
		size_t n;

		if (procfs_stat(pid, 0, &st) || strcmp(st.comm, "sleep") ||
		    procfs_maps(pid, 0, &maps, &n))
			continue;
		for (size_t k = 0; k < n; k++) {
			if (!strcmp(maps[k].path, "[stack]"))
				stack = maps[k].end - 64;
		}
		free(maps);
		if (stack)
			return stack;
	}
	return 0;
}

static void follows_an_exec(void **state)
{
	struct mem_live live;
	uint64_t stack;
	int gate[2];
	void *page;
	struct mem m;
	pid_t pid;
	char c = 'c';

	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	pid = start_execer(gate[0], &page);
	mem_live_init(&live, pid);
	m = mem_live(&live);
	assert_int_equal(mem_write(&m, (uintptr_t)page, &c, 1), 1);
	assert_int_equal(write(gate[1], "x", 1), 1);
	stack = wait_for_stack(pid);
	assert_true(stack != 0);
	assert_int_equal(mem_write(&m, stack, &c, 1), 1); /* not into the old one */
	kill(pid, SIGKILL);
	status_of(pid);
	mem_live_fini(&live);
	munmap(page, PAGE);
	close(gate[0]);
	close(gate[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_join_and_end),
		cmocka_unit_test(all_means_all),
		cmocka_unit_test(strings_end_somehow),
		cmocka_unit_test(strings_stay_in_their_page),
		cmocka_unit_test(reads_and_writes_itself),
		cmocka_unit_test(opens_nothing_to_read),
		cmocka_unit_test(falls_back_to_proc_mem),
		cmocka_unit_test(says_when_the_target_is_gone),
		cmocka_unit_test(follows_an_exec),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
