/* SPDX-License-Identifier: MIT */
/*
 * Core files made by hand: of both CPUs, cut short, and hostile. What a core says must
 * come out as it was put in; what it says wrongly must end in an error or in less, in
 * bounded time, and never in a read beyond the file.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/core.h"
#include "libproc.h"
#include "util/scope.h"

enum {
	FILE_SIZE = 64 << 10, /* of a core made here */
	NOTES_AT = 0x400,     /* where its notes are */
	DATA_AT = 0x2000,     /* and its memory */
	STACK = 0x7fff0000,   /* a segment of two pages */
	TEXT = 0x400000,      /* one of which one page was dumped, of two */
};

/* A core while it is being made. */
struct maker {
	unsigned char bytes[FILE_SIZE]; /* the file */
	Elf64_Ehdr *eh;                 /* its header */
	Elf64_Phdr *ph;                 /* its program headers; the first is PT_NOTE */
	size_t end;                     /* of the notes */
	size_t data;                    /* where the next segment's bytes go */
};

static void begin(struct maker *k, uint16_t machine)
{
	memset(k, 0, sizeof(*k));
	k->eh = (Elf64_Ehdr *)(void *)k->bytes;
	k->ph = (Elf64_Phdr *)(void *)(k->bytes + sizeof(Elf64_Ehdr));
	memcpy(k->eh->e_ident, ELFMAG, SELFMAG);
	k->eh->e_ident[EI_CLASS] = ELFCLASS64;
	k->eh->e_ident[EI_DATA] = ELFDATA2LSB;
	k->eh->e_type = ET_CORE;
	k->eh->e_machine = machine;
	k->eh->e_phoff = sizeof(Elf64_Ehdr);
	k->eh->e_phentsize = sizeof(Elf64_Phdr);
	k->eh->e_phnum = 1;
	k->end = NOTES_AT;
	k->data = DATA_AT;
	k->ph[0] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = NOTES_AT };
}

static void *add_note(struct maker *k, uint32_t type, const void *desc, size_t len)
{
	Elf64_Nhdr nh = { .n_namesz = 5, .n_descsz = (uint32_t)len, .n_type = type };
	unsigned char *at = k->bytes + k->end;

	memcpy(at, &nh, sizeof(nh));
	memcpy(at + sizeof(nh), "CORE", 5);
	memcpy(at + sizeof(nh) + 8, desc, len);
	k->end += sizeof(nh) + 8 + ((len + 3) & ~(size_t)3);
	k->ph[0].p_filesz = k->end - NOTES_AT;
	return at + sizeof(nh) + 8;
}

/* A segment; its bytes, to be filled. */
static void *add_segment(struct maker *k, uint64_t addr, size_t filesz, size_t memsz,
			 uint32_t flags)
{
	void *bytes = k->bytes + k->data;

	k->ph[k->eh->e_phnum++] = (Elf64_Phdr){ .p_type = PT_LOAD,
						.p_flags = flags,
						.p_offset = k->data,
						.p_vaddr = addr,
						.p_filesz = filesz,
						.p_memsz = memsz };
	k->data += filesz;
	return bytes;
}

/* One thread: registers 1000, 1001 … of a CPU with `nregs`. */
static void add_thread(struct maker *k, int tid, int sig, size_t nregs, size_t size)
{
	unsigned char st[512] = { 0 };
	int16_t cursig = (int16_t)sig;

	memcpy(st + 12, &cursig, sizeof(cursig));
	memcpy(st + 32, &tid, sizeof(tid));
	for (uint64_t i = 0; i < nregs; i++) {
		uint64_t reg = 1000 + i;

		memcpy(st + 112 + i * 8, &reg, sizeof(reg));
	}
	add_note(k, NT_PRSTATUS, st, size);
}

/* What execve(2) leaves on a stack, with arguments "prog" "x" and A=1. */
static void fill_stack(unsigned char *stack, const uint64_t *auxv, size_t nauxv)
{
	uint64_t at = STACK + 0x1000;
	uint64_t words[] = { 2, at + 0x800, at + 0x805, 0, at + 0x807, 0 };

	memcpy(stack + 0x1000 + 0x400, words, sizeof(words));
	memcpy(stack + 0x1000 + 0x400 + sizeof(words), auxv, nauxv * 8);
	memcpy(stack + 0x1000 + 0x800, "prog\0x\0A=1", 11);
}

static int open_bytes(const void *bytes, size_t len)
{
	int fd = memfd_create("core", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	return fd;
}

static struct core *open_core(const void *bytes, size_t len, struct core_fault *f)
{
	_cleanup_close_ int fd = open_bytes(bytes, len);
	struct core *c = NULL;

	assert_int_equal(core_open(fd, &c, f), 0);
	return c;
}

static void make_x86(struct maker *k)
{
	uint64_t auxv[] = { AT_RANDOM, STACK + 0x1000 + 0x7f0, AT_ENTRY, 0x1234, 0, 0 };
	unsigned char ps[136] = { 0 };
	int ids[] = { 1001, 1002, 77, 76, 75, 74 };
	siginfo_t info = { .si_signo = SIGSEGV, .si_code = SEGV_MAPERR };

	begin(k, EM_X86_64);
	add_thread(k, 77, SIGSEGV, 27, 336);
	ps[1] = 'R';
	memcpy(ps + 16, ids, sizeof(ids));
	memcpy(ps + 40, "prog", 5);
	memcpy(ps + 56, "prog x", 7);
	add_note(k, NT_PRPSINFO, ps, sizeof(ps));
	add_note(k, NT_SIGINFO, &info, sizeof(info));
	add_note(k, NT_AUXV, auxv, sizeof(auxv));
	add_thread(k, 78, 0, 27, 336);
	fill_stack(add_segment(k, STACK, 0x2000, 0x2000, PF_R | PF_W), auxv, 6);
	memset(add_segment(k, TEXT, 0x1000, 0x2000, PF_R | PF_X), 0xcc, 0x1000);
}

/* --- what is in it ------------------------------------------------------------------ */

static void test_threads(void **state)
{
	struct core_fault f;
	struct maker k;
	struct core *c;
	const struct core_lwp *l;
	size_t n;

	make_x86(&k);
	c = open_core(k.bytes, k.data, &f);
	assert_string_equal(f.text, "");
	l = core_lwps(c, &n);
	assert_int_equal(n, 2);
	assert_int_equal(l[0].tid, 77);
	assert_int_equal(l[0].cursig, SIGSEGV);
	assert_true(l[0].has_info);
	assert_int_equal(l[0].info.si_code, SEGV_MAPERR);
	assert_int_equal(l[0].regs[26], 1026);
	assert_int_equal(l[1].tid, 78);
	assert_false(l[1].has_info);
	assert_int_equal(core_process(c)->pid, 77);
	assert_int_equal(core_process(c)->uid, 1001);
	assert_int_equal(core_process(c)->sid, 74);
	assert_string_equal(core_process(c)->fname, "prog");
	assert_int_equal(core_auxval(c, AT_ENTRY), 0x1234);
	assert_int_equal(core_auxval(c, AT_BASE), 0);
	core_unref(c);
}

static void test_memory(void **state)
{
	struct core_fault f;
	struct maker k;
	unsigned char buf[0x3000];
	struct procfs_map *maps;
	struct core *c;
	struct mem m;
	size_t n;

	make_x86(&k);
	c = open_core(k.bytes, k.data, &f);
	m = core_mem(c);
	/* Up to where dumped bytes end, and nothing between. */
	assert_int_equal(mem_read(&m, TEXT + 0x800, buf, sizeof(buf)), 0x800);
	assert_int_equal(buf[0x7ff], 0xcc);
	assert_int_equal(mem_read(&m, TEXT + 0x1000, buf, 1), -EFAULT);
	assert_int_equal(mem_read(&m, STACK - 1, buf, 2), -EFAULT);
	assert_int_equal(mem_read(&m, STACK + 0x1fff, buf, 2), 1);
	assert_int_equal(mem_write(&m, STACK, buf, 1), -EROFS);
	assert_int_equal(core_maps(c, &maps, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(maps[0].start, TEXT);
	assert_int_equal(maps[0].end, TEXT + 0x2000);
	assert_int_equal(maps[0].prot, PROT_READ | PROT_EXEC);
	assert_string_equal(maps[1].path, "[stack]");
	free(maps);
	core_unref(c);
}

static void test_strings(void **state)
{
	struct core_strings at;
	struct core_fault f;
	struct maker k;
	struct core *c;

	make_x86(&k);
	c = open_core(k.bytes, k.data, &f);
	assert_int_equal(core_find_strings(c, &at), 0);
	assert_int_equal(at.argc, 2);
	assert_int_equal(at.envc, 1);
	assert_int_equal(at.argv, STACK + 0x1400 + 8);
	assert_int_equal(at.envp, STACK + 0x1400 + 4 * 8);
	core_unref(c);
}

/* --- through the handle ------------------------------------------------------------- */

static int count_lwp(void *arg, const lwpstatus_t *st)
{
	int *n = arg;

	(*n)++;
	assert_true(st->pr_lwpid == 77 || st->pr_lwpid == 78);
	return 0;
}

static int keep_string(void *arg, struct ps_prochandle *P, uintptr_t addr, const char *s)
{
	strcat(arg, s);
	strcat(arg, "|");
	return 0;
}

static struct ps_prochandle *grab(const struct maker *k)
{
	_cleanup_close_ int fd = open_bytes(k->bytes, k->data);
	struct ps_prochandle *P;
	int err = 0;

	P = Pfgrab_core(fd, NULL, &err);
	assert_non_null(P);
	return P;
}

static void test_handle(void **state)
{
	struct maker k;
	struct ps_prochandle *P;
	char text[128] = "";
	unsigned long saved;
	prgregset_t regs;
	prcred_t cred;
	int n = 0;

	make_x86(&k);
	P = grab(&k);
	assert_int_equal(Pstate(P), PS_DEAD);
	assert_int_equal(Pgetpid(P), 77);
	assert_int_equal(Pstatus(P)->pr_nlwp, 2);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_what, SIGSEGV);
	assert_string_equal(Ppsinfo(P)->pr_psargs, "prog x");
	assert_int_equal(Plwp_iter(P, count_lwp, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(Pgetauxval(P, AT_ENTRY), 0x1234);
	assert_int_equal(Parg_iter(P, keep_string, text), 0);
	assert_int_equal(Penv_iter(P, keep_string, text), 0);
	assert_string_equal(text, "prog|x|A=1|");
	assert_int_equal(Plwp_getregs(P, 79, regs), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(Pcred(P, &cred, 1), 0);
	assert_int_equal(cred.pr_euid, 1001);
	assert_int_equal(cred.pr_sgid, 1002);
	assert_int_equal(cred.pr_ngroups, 0);
	/* Nothing that controls does anything. */
	assert_int_equal(Pwrite(P, text, 1, STACK), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(Pstop(P, 0), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(Psetrun(P, 0, 0), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(Psetbkpt(P, TEXT, &saved), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(Psyscall(P, NULL, 39, 0, NULL), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(Pputareg(P, R_PC, 0), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(Pclearsig(P), -1);
	assert_int_equal(errno, EBADF);
	Prelease(P, PRELEASE_KILL);
}

static void make_aarch64(struct maker *k)
{
	begin(k, EM_AARCH64);
	add_thread(k, 77, SIGABRT, 34, 392);
	add_thread(k, 78, 0, 34, 392);
	memset(add_segment(k, TEXT, 0x1000, 0x1000, PF_R | PF_X), 0x1f, 0x1000);
}

/* Fails when a layout is taken from the host's headers. */
static void test_aarch64(void **state)
{
	const struct core_layout *a;
	struct core_fault f;
	struct maker k;
	struct core *c;
	const struct core_lwp *l;
	size_t n;

	make_aarch64(&k);
	c = open_core(k.bytes, k.data, &f);
	a = core_layout(c);
	l = core_lwps(c, &n);
	assert_int_equal(n, 2);
	assert_string_equal(a->name, "aarch64");
	assert_int_equal(l[0].cursig, SIGABRT);
	assert_int_equal(l[1].regs[a->pc], 1032);
	assert_int_equal(l[1].regs[a->sp], 1031);
	assert_int_equal(l[1].regs[a->nregs - 1], 1033);
	core_unref(c);
}

/* Registers of either CPU where they fit, and a clear no where they do not. */
static void test_foreign_regs(void **state)
{
	struct maker k;
	struct ps_prochandle *P;
	prgregset_t regs;
	unsigned char byte;
	int rc, native = R_PC == 32;

	make_aarch64(&k);
	P = grab(&k);
	assert_int_equal(Pread(P, &byte, 1, TEXT), 1);
	assert_int_equal(byte, 0x1f);
	rc = Plwp_getregs(P, 78, regs);
	assert_int_equal(rc, native ? 0 : -1);
	if (rc)
		assert_int_equal(errno, ENOTSUP);
	Prelease(P, 0);
	make_x86(&k);
	P = grab(&k);
	assert_int_equal(Plwp_getregs(P, 78, regs), native ? -1 : 0);
	if (!native)
		assert_int_equal(regs[R_PC], 1000 + R_PC);
	Prelease(P, 0);
}

/* An aarch64 stack of three frames, linked by x29 (AAPCS64, 6.4.6). */
static void make_frames(struct maker *k)
{
	uint64_t *fp = add_segment(k, STACK, 0x1000, 0x1000, PF_R | PF_W);
	uint64_t regs[34] = { 0 };
	unsigned char *st = k->bytes + NOTES_AT + sizeof(Elf64_Nhdr) + 8;

	regs[29] = STACK + 0x100;
	regs[30] = TEXT + 0x20;
	regs[31] = STACK + 0x80;
	regs[32] = TEXT + 0x10;
	memcpy(st + 112, regs, sizeof(regs));
	fp[0x100 / 8] = STACK + 0x200;
	fp[0x108 / 8] = TEXT + 0x200;
	fp[0x200 / 8] = 0;
	fp[0x208 / 8] = TEXT + 0x300;
}

static int keep_pc(void *arg, prgregset_t regs, unsigned argc, const long *argv)
{
	char *text = arg;

	sprintf(text + strlen(text), "%lx ", (long)regs[R_PC]);
	return 0;
}

/* Frames of either CPU on this one. */
static void test_foreign_stack(void **state)
{
	struct ps_prochandle *P;
	struct maker k;
	char text[256] = "";

	make_aarch64(&k);
	make_frames(&k);
	P = grab(&k);
	assert_int_equal(Pstack_lwp(P, 77, keep_pc, text), 0);
	assert_string_equal(text, "400010 400200 400300 ");
	assert_int_equal(Pstack_lwp(P, 99, keep_pc, text), -1);
	assert_int_equal(errno, ESRCH);
	Prelease(P, 0);
}

/* --- mapped files ------------------------------------------------------------------- */

/* NT_FILE: the first two pages of the running program, at TEXT. */
static void add_mapped(struct maker *k, const char *path)
{
	unsigned char desc[512] = { 0 };
	uint64_t words[] = { 1, 4096, TEXT, TEXT + 0x2000, 0 };

	memcpy(desc, words, sizeof(words));
	strcpy((char *)desc + sizeof(words), path);
	add_note(k, NT_FILE, desc, sizeof(words) + strlen(path) + 1);
}

static void read_self(void *buf, size_t len, char *path, size_t size)
{
	_cleanup_close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t n = readlink("/proc/self/exe", path, size - 1);

	assert_true(n > 0);
	path[n] = '\0';
	assert_int_equal(read(fd, buf, len), len);
}

/* What was not dumped comes from the file, when its build-id is the core's; fails when
 * the build-id is not looked at. */
static void test_mapped_file(void **state)
{
	unsigned char file[0x2000], got[0x2000], *head;
	struct core_fault f;
	struct maker k;
	struct core *c;
	struct mem m;
	char path[256];

	read_self(file, sizeof(file), path, sizeof(path));
	for (int same = 1; same >= 0; same--) {
		begin(&k, EM_X86_64);
		add_mapped(&k, path);
		head = add_segment(&k, TEXT, 0x1000, 0x2000, PF_R | PF_X);
		memcpy(head, file, 0x1000);
		for (size_t i = 0; !same && i + 4 <= 0x1000; i++)
			if (!memcmp(head + i, "GNU", 4) && head[i - 4] == NT_GNU_BUILD_ID)
				head[i + 4] ^= 1;
		c = open_core(k.bytes, k.data, &f);
		m = core_mem(c);
		assert_int_equal(mem_read(&m, TEXT, got, sizeof(got)),
				 same ? 0x2000 : 0x1000);
		assert_memory_equal(got, head, 0x1000);
		if (same)
			assert_memory_equal(got, file, 0x2000);
		core_unref(c);
	}
}

/* A path that is no ELF file shows nothing of it, and one that would block is not opened.
 */
static void test_foreign_paths(void **state)
{
	static const char *const paths[] = { "/etc/passwd", "/dev/zero", "relative",
					     "/proc/self/mem", "/" };
	char dir[] = "/tmp/test_core.XXXXXX", fifo[64];
	struct core_fault f;
	struct maker k;
	char byte;

	assert_non_null(mkdtemp(dir));
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	for (size_t i = 0; i < 6; i++) {
		struct core *c;
		struct mem m;

		begin(&k, EM_X86_64);
		add_mapped(&k, i < 5 ? paths[i] : fifo);
		add_segment(&k, TEXT, 0, 0x2000, PF_R);
		c = open_core(k.bytes, k.data, &f);
		m = core_mem(c);
		assert_int_equal(mem_read(&m, TEXT, &byte, 1), -EFAULT);
		core_unref(c);
	}
	unlink(fifo);
	rmdir(dir);
}

/* --- damaged and hostile ------------------------------------------------------------ */

/* All that can be asked of it. */
static void use(struct core *c)
{
	struct procfs_map *maps;
	struct core_strings at;
	struct mem m = core_mem(c);
	char buf[256];
	size_t n;

	core_find_strings(c, &at);
	if (core_maps(c, &maps, &n))
		return;
	for (size_t i = 0; i < n && i < 64; i++) {
		assert_true(maps[i].start < maps[i].end);
		assert_true(!i || maps[i - 1].end <= maps[i].start);
		mem_read(&m, maps[i].start, buf, sizeof(buf));
		mem_read(&m, maps[i].end - 16, buf, sizeof(buf));
	}
	free(maps);
}

static int try_bytes(const void *bytes, size_t len)
{
	_cleanup_close_ int fd = open_bytes(bytes, len);
	struct core_fault f;
	struct core *c;
	int rc = core_open(fd, &c, &f);

	if (rc)
		return rc;
	use(c);
	core_unref(c);
	return 0;
}

/* At each length: an error, or less. */
static void test_truncated(void **state)
{
	struct core_fault f;
	struct maker k;
	struct core *c;

	make_x86(&k);
	for (size_t len = 0; len <= k.data; len += len < DATA_AT ? 1 : 97) {
		int rc = try_bytes(k.bytes, len);

		if (len < sizeof(Elf64_Ehdr))
			assert_int_equal(rc, -ENOEXEC);
		else if (len < sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr))
			assert_int_equal(rc, -ENODATA);
		else
			assert_int_equal(rc, 0);
	}
	c = open_core(k.bytes, k.data - 0x800, &f);
	assert_string_equal(f.text, "it is cut short: 2 KiB are missing");
	core_unref(c);
}

/* The file shrinks under us: less, and no SIGBUS. */
static void test_shrinking(void **state)
{
	struct core_fault f;
	struct maker k;
	struct core *c;
	struct mem m;
	char buf[16];
	int fd;

	make_x86(&k);
	fd = open_bytes(k.bytes, k.data);
	assert_int_equal(core_open(fd, &c, &f), 0);
	m = core_mem(c);
	assert_int_equal(mem_read(&m, STACK, buf, sizeof(buf)), sizeof(buf));
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(mem_read(&m, STACK, buf, sizeof(buf)), -EFAULT);
	use(c);
	core_unref(c);
	close(fd);
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Bytes of headers and notes replaced at random. */
static void test_random(void **state)
{
	struct maker k, orig;
	uint64_t seed = 20260101;

	make_x86(&orig);
	add_mapped(&orig, "/proc/self/exe");
	for (int i = 0; i < 3000; i++) {
		k = orig;
		for (int n = 0; n < 4; n++) {
			uint64_t r = next_random(&seed);
			size_t at = r % orig.end;

			k.bytes[at] = (unsigned char)(r >> 32);
		}
		try_bytes(k.bytes, k.data);
	}
}

static void test_huge_notes(void **state)
{
	struct maker k;
	Elf64_Nhdr *nh;

	make_x86(&k);
	k.ph[0].p_filesz = 1ull << 60;
	assert_int_equal(try_bytes(k.bytes, k.data), 0);
	k.ph[0].p_offset = UINT64_MAX - 4;
	assert_int_equal(try_bytes(k.bytes, k.data), 0);
	make_x86(&k);
	nh = (Elf64_Nhdr *)(void *)(k.bytes + NOTES_AT);
	nh->n_descsz = UINT32_MAX;
	assert_int_equal(try_bytes(k.bytes, k.data), 0);
	nh->n_descsz = 336;
	nh->n_namesz = UINT32_MAX;
	assert_int_equal(try_bytes(k.bytes, k.data), 0);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A hole of a terabyte as notes: each is empty, twelve bytes; there is an end to it. */
static void test_endless_notes(void **state)
{
	struct core_fault f;
	struct maker k;
	struct core *c;
	double start = now();
	int fd;

	make_x86(&k);
	fd = open_bytes(k.bytes, k.data);
	if (ftruncate(fd, 1ll << 40))
		skip();
	k.ph[0].p_filesz = 1ull << 40;
	assert_int_equal(pwrite(fd, k.bytes, k.data, 0), k.data);
	assert_int_equal(core_open(fd, &c, &f), -E2BIG);
	assert_true(now() - start < 5);
	close(fd);
}

/* A million segments, all on top of each other; and more than there may be. */
static void test_many_segments(void **state)
{
	enum {
		MANY = 1000000
	};
	Elf64_Phdr ph = { .p_type = PT_LOAD, .p_memsz = 1 << 20, .p_filesz = 64 };
	Elf64_Shdr sh = { .sh_info = MANY };
	struct core_fault f;
	struct maker k;
	struct core *c;
	double start = now();
	int fd;
	FILE *file;

	begin(&k, EM_X86_64);
	k.eh->e_phnum = PN_XNUM;
	k.eh->e_shoff = sizeof(Elf64_Ehdr);
	k.eh->e_phoff = 4096;
	memcpy(k.bytes + sizeof(Elf64_Ehdr), &sh, sizeof(sh));
	fd = open_bytes(k.bytes, 4096);
	file = fdopen(dup(fd), "w");
	for (uint64_t i = 0; i < MANY; i++) {
		ph.p_vaddr = (MANY - i) * 4096;
		fwrite(&ph, sizeof(ph), 1, file);
	}
	fclose(file);
	assert_int_equal(core_open(fd, &c, &f), 0);
	use(c);
	core_unref(c);
	assert_true(now() - start < 10);
	sh.sh_info = UINT32_MAX;
	assert_int_equal(pwrite(fd, &sh, sizeof(sh), sizeof(Elf64_Ehdr)), sizeof(sh));
	assert_int_equal(core_open(fd, &c, &f), -E2BIG);
	close(fd);
}

static void test_refused(void **state)
{
	struct ps_prochandle *P;
	struct maker k;
	int err = 0, fd;

	begin(&k, 8 /* EM_MIPS */);
	assert_int_equal(try_bytes(k.bytes, 4096), -ENOTSUP);
	begin(&k, EM_X86_64);
	k.eh->e_ident[EI_DATA] = ELFDATA2MSB;
	assert_int_equal(try_bytes(k.bytes, 4096), -ENOTSUP);
	begin(&k, EM_X86_64);
	k.eh->e_type = ET_REL;
	assert_int_equal(try_bytes(k.bytes, 4096), -ENOEXEC);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	P = Pfgrab_core(fd, NULL, &err);
	assert_null(P);
	assert_int_equal(err, G_ELF);
	assert_string_equal(Pgrab_detail(), "the core: it is not a plain file");
	close(fd);
	assert_null(Pgrab_core("/nonexistent", NULL, 0, &err));
	assert_int_equal(err, G_NOCORE);
	assert_null(Pgrab_core("/proc/self/exe", NULL, 0, &err));
	assert_int_equal(err, G_ELF);
	assert_string_equal(Pgrab_detail(), "/proc/self/exe: it is not a core");
}

/* --- an ELF file -------------------------------------------------------------------- */

void test_core_marker(void);
__attribute__((noinline)) void test_core_marker(void)
{
	__asm__ volatile("");
}

static void test_elf_file(void **state)
{
	struct ps_prochandle *P;
	unsigned char here[4], there[4];
	char name[64];
	GElf_Sym sym;
	int err;

	P = Pgrab_file("/proc/self/exe", &err);
	assert_non_null(P);
	assert_int_equal(Pstate(P), PS_IDLE);
	assert_int_equal(Plookup_by_name(P, PR_OBJ_EXEC, "test_core_marker", &sym), 0);
	assert_int_equal(Pread(P, there, sizeof(there), sym.st_value), sizeof(there));
	memcpy(here, (void *)(uintptr_t)test_core_marker, sizeof(here));
	assert_memory_equal(here, there, sizeof(here));
	assert_int_equal(Plookup_by_addr(P, sym.st_value, name, sizeof(name), &sym), 0);
	assert_string_equal(name, "test_core_marker");
	assert_null(Prd_agent(P));
	Prelease(P, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_handle),
		cmocka_unit_test(test_aarch64),
		cmocka_unit_test(test_foreign_regs),
		cmocka_unit_test(test_foreign_stack),
		cmocka_unit_test(test_mapped_file),
		cmocka_unit_test(test_foreign_paths),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_shrinking),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_huge_notes),
		cmocka_unit_test(test_endless_notes),
		cmocka_unit_test(test_many_segments),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_elf_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
