/* SPDX-License-Identifier: MIT */
/*
 * Cores of live victims: what a handle on the core says is what the handle on the stopped
 * victim said; writing one leaves the victim as it was, whatever happens to the file or
 * to the writer.
 */
#include <dirent.h>
#include <stdarg.h>
#include <sys/resource.h>

#include "proc_test.h"
#include "util/scope.h"

enum {
	TEXT_ROOM = 1 << 20, /* bytes of what a handle says */
	BIG = 64 << 20,      /* bytes of a victim's memory */
};

/* --- a place for files -------------------------------------------------------------- */

static char dir[64];

static void make_dir(void)
{
	strcpy(dir, "/tmp/test_gcore.XXXXXX");
	assert_non_null(mkdtemp(dir));
}

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* How many files there are; they are removed. */
static int empty_dir(void)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		unlinkat(dirfd(d), e->d_name, 0);
		n++;
	}
	return n;
}

static void remove_dir(void)
{
	empty_dir();
	assert_int_equal(rmdir(dir), 0);
}

/* --- what a handle says ------------------------------------------------------------- */

/* Text of it, to be compared. */
struct saying {
	char text[TEXT_ROOM]; /* lines */
	size_t len;           /* used */
	bool regs;            /* with registers and signals, in order */
	long tids;            /* sum of thread ids */
};

static void say(struct saying *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct saying *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	s->len += (size_t)vsnprintf(s->text + s->len, sizeof(s->text) - s->len, fmt, ap);
	va_end(ap);
	assert_true(s->len < sizeof(s->text));
}

static int say_lwp(void *arg, const lwpstatus_t *st)
{
	struct saying *s = arg;

	s->tids += st->pr_lwpid;
	if (!s->regs)
		return 0;
	say(s, "lwp %d sig %d\n", st->pr_lwpid, st->pr_cursig);
	for (size_t i = 0; i < sizeof(st->pr_reg) / sizeof(st->pr_reg[0]); i++)
		say(s, " %llx", (unsigned long long)st->pr_reg[i]);
	return 0;
}

/* Of what has no file only the address is in a core. */
static int say_map(void *arg, const prmap_t *map, const char *name)
{
	say(arg, "map %lx %zx %x %lx %s\n", (long)map->pr_vaddr, map->pr_size,
	    (unsigned)map->pr_mflags & (MA_READ | MA_WRITE | MA_EXEC),
	    name && *name == '/' ? (long)map->pr_offset : 0,
	    name && *name == '/' ? name : "-");
	return 0;
}

static int say_object(void *arg, const prmap_t *map, const char *name)
{
	say(arg, "object %lx %s\n", (long)map->pr_vaddr, name);
	return 0;
}

static int say_string(void *arg, struct ps_prochandle *P, uintptr_t addr, const char *str)
{
	say(arg, "string %s\n", str);
	return 0;
}

static int say_loadobj(const rd_loadobj_t *obj, void *arg)
{
	say(arg, "link map %lx %lx %lx\n", (long)obj->rl_base, (long)obj->rl_dynamic,
	    (long)obj->rl_lmident);
	return 1;
}

static int say_frame(void *arg, prgregset_t regs, unsigned argc, const long *argv)
{
	say(arg, "frame %lx\n", (long)regs[R_PC]);
	return 0;
}

static void say_stack(struct ps_prochandle *P, struct saying *s, lwpid_t lwp)
{
	char name[256];
	prgregset_t regs;
	GElf_Sym sym;

	assert_int_equal(Plwp_getregs(P, lwp, regs), 0);
	Pstack_iter(P, regs, say_frame, s);
	if (!Plookup_by_addr(P, regs[R_PC], name, sizeof(name), &sym))
		say(s, "in %s %lx\n", name, (long)sym.st_value);
}

/* With registers and stacks when it stands. */
static void say_all(struct ps_prochandle *P, struct saying *s, bool standing)
{
	const auxv_t *a = Pgetauxvec(P);
	char path[4096];

	s->regs = standing;
	s->len = 0;
	s->tids = 0;
	say(s, "pid %d ppid %d %d %d nlwp %d\n", Pgetpid(P), Pstatus(P)->pr_ppid,
	    Pstatus(P)->pr_pgid, Pstatus(P)->pr_sid, Pstatus(P)->pr_nlwp);
	say(s, "%s %s %u %d\n", Ppsinfo(P)->pr_fname, Ppsinfo(P)->pr_psargs,
	    Ppsinfo(P)->pr_uid, Ppsinfo(P)->pr_nice);
	say(s, "exe %s\n", Pexecname(P, path, sizeof(path)));
	for (; a->a_type != AT_NULL; a++)
		say(s, "aux %lu %lx\n", (long)a->a_type, (long)a->a_un.a_val);
	Plwp_iter(P, say_lwp, s);
	say(s, "threads %ld\n", s->tids);
	Pmapping_iter(P, say_map, s);
	Pobject_iter(P, say_object, s);
	Parg_iter(P, say_string, s);
	Penv_iter(P, say_string, s);
	if (Prd_agent(P))
		rd_loadobj_iter(Prd_agent(P), say_loadobj, s);
	if (standing)
		say_stack(P, s, Pstatus(P)->pr_lwp.pr_lwpid);
}

/* The first line in which they differ is told. */
static void compare(const char *kind, const struct saying *a, const struct saying *b)
{
	const char *p = a->text, *q = b->text;

	while (*p && *p == *q)
		p++, q++;
	if (*p == *q)
		return;
	while (p > a->text && p[-1] != '\n')
		p--, q--;
	fail_msg("%s: live: %.*s; core: %.*s", kind, (int)strcspn(p, "\n"), p,
		 (int)strcspn(q, "\n"), q);
}

/* Every byte that either has, of writable memory. */
static int compare_memory(void *arg, const prmap_t *map, const char *name)
{
	struct ps_prochandle **both = arg;
	char a[4096], b[4096];

	if (!(map->pr_mflags & MA_WRITE) || map->pr_mflags & MA_SHARED)
		return 0;
	for (size_t at = 0; at < map->pr_size; at += sizeof(a)) {
		uintptr_t addr = map->pr_vaddr + at;
		ssize_t n = Pread(both[0], a, sizeof(a), addr);
		ssize_t m = Pread(both[1], b, sizeof(b), addr);

		assert_int_equal(n, sizeof(a));
		/* Memory that was never touched is zero, and may be in no core. */
		if (m < 0)
			memset(b, 0, sizeof(b));
		assert_memory_equal(a, b, sizeof(a));
	}
	return 0;
}

/* --- writing and reading again ------------------------------------------------------ */

static struct ps_prochandle *open_core(const char *path)
{
	int err = 0;
	struct ps_prochandle *P = Pgrab_core(path, NULL, 0, &err);

	if (!P)
		fail_msg("Pgrab_core: %s: %s", Pgrab_error(err), Pgrab_detail());
	assert_string_equal(Pgrab_detail(), "");
	return P;
}

static void write_and_compare(const char *kind, pid_t pid)
{
	static struct saying live, dead;
	struct ps_prochandle *both[2];
	struct stat st;

	both[0] = grab(pid, 0);
	say_all(both[0], &live, true);
	if (Pgcore(both[0], in_dir("core"), 0))
		fail_msg("Pgcore: %s", strerror(errno));
	assert_int_equal(stat(in_dir("core"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	both[1] = open_core(in_dir("core"));
	assert_int_equal(Pstate(both[1]), PS_DEAD);
	say_all(both[1], &dead, true);
	compare(kind, &live, &dead);
	Pmapping_iter(both[0], compare_memory, both);
	Prelease(both[1], 0);
	Prelease(both[0], 0);
	assert_int_equal(tracer_of(pid), 0);
	assert_int_not_equal(state_of(pid), 'T');
	assert_int_equal(empty_dir(), 1);
}

/* Fails when anything of the writer or of the reader forgets something. */
static void test_written(void)
{
	static const char *const kinds[] = { "sleeper",        "sleeper-nopie",
					     "sleeper-static", "sleeper-static-pie",
					     "sleeper-musl",   "sleeper-musl-static",
					     "threads" };

	make_dir();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct victim v;

		if (!victim_exists(kinds[i]))
			continue;
		victim_start(&v, kinds[i], NULL);
		victim_line(&v);
		write_and_compare(kinds[i], v.pid);
		assert_int_equal(victim_end(&v), 0);
	}
	remove_dir();
}

/* Running threads, and our traps in their text: none is in the core. */
static void test_running_threads(void)
{
	struct ps_prochandle *P, *C;
	struct shared *s;
	pid_t pid = start(threads, &s);
	unsigned long saved;
	uint8_t live[16], dead[16];
	uintptr_t addr;

	make_dir();
	await(s->ready == NTHREADS);
	P = grab(pid, 0);
	addr = address_of(P, "never");
	assert_int_equal(Pread(P, live, sizeof(live), addr), sizeof(live));
	assert_int_equal(Psetbkpt(P, addr, &saved), 0);
	assert_int_equal(Pgcore(P, in_dir("core"), PGCORE_ALL), 0);
	C = open_core(in_dir("core"));
	assert_int_equal(Pread(C, dead, sizeof(dead), addr), sizeof(dead));
	assert_memory_equal(live, dead, sizeof(live));
	assert_int_equal(Pstatus(C)->pr_nlwp, NTHREADS + MORE_THREADS);
	assert_int_equal(address_of(C, "never"), addr);
	Prelease(C, 0);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
	remove_dir();
}

/* The signal that it stopped on is in the core, with its siginfo. */
static void test_signal(void)
{
	struct ps_prochandle *P, *C;
	struct shared *s;
	pid_t pid = start(faulting, &s);
	const lwpstatus_t *l;

	make_dir();
	P = grab(pid, 0);
	assert_int_equal(Psignal(P, SIGSEGV, 1), 0);
	s->go = 2;
	assert_int_equal(Psetrun(P, 0, 0), 0);
	wait_stop(P, PR_SIGNALLED, SIGSEGV);
	assert_int_equal(Pgcore(P, in_dir("core"), 0), 0);
	C = open_core(in_dir("core"));
	l = &Pstatus(C)->pr_lwp;
	assert_int_equal(l->pr_lwpid, pid);
	assert_int_equal(l->pr_cursig, SIGSEGV);
	assert_ptr_equal(l->pr_info.si_addr, 16);
	Prelease(C, 0);
	Prelease(P, PRELEASE_KILL);
	waitpid(pid, NULL, 0);
	remove_dir();
}

/* --- what is dumped ----------------------------------------------------------------- */

static void set_filter(pid_t pid, const char *value)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/coredump_filter", pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, value, strlen(value)), strlen(value));
	close(fd);
}

static uint64_t size_with(pid_t pid, const char *filter, int content, uintptr_t stack,
			  ssize_t expected)
{
	struct ps_prochandle *P, *C;
	struct stat st;
	char byte;

	set_filter(pid, filter);
	P = grab(pid, 0);
	assert_int_equal(Pgcore(P, in_dir("core"), content), 0);
	Prelease(P, 0);
	C = open_core(in_dir("core"));
	assert_int_equal(Pread(C, &byte, 1, stack), expected);
	Prelease(C, 0);
	assert_int_equal(stat(in_dir("core"), &st), 0);
	empty_dir();
	return (uint64_t)st.st_size;
}

/* Fails when coredump_filter is not looked at, or a mapping is taken for another kind. */
static void test_filter(void)
{
	struct victim v;
	uint64_t none, usual, all;
	uintptr_t stack;

	make_dir();
	victim_start(&v, "sleeper", NULL);
	victim_line(&v);
	stack = strtoull(strstr(v.line, "sp=") + 3, NULL, 16);
	none = size_with(v.pid, "0", 0, stack, -1);
	usual = size_with(v.pid, "0x33", 0, stack, 1);
	all = size_with(v.pid, "0", PGCORE_ALL, stack, 1);
	assert_int_below(none, usual);
	assert_int_below(usual, all);
	assert_int_equal(victim_end(&v), 0);
	remove_dir();
}

VICTIM static void big(struct shared *s)
{
	char *mem = mmap(NULL, 4ul * BIG, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *not = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);

	memset(mem, 1, BIG);
	madvise(not, BIG, MADV_DONTDUMP);
	memset(not, 1, BIG);
	beating(s);
}

/* Memory that was never touched takes no room in the core, nor in the victim, and what is
 * not to be dumped is not. */
static void test_holes(void)
{
	struct ps_prochandle *P;
	struct procfs_stat before, after;
	struct shared *s;
	struct stat st;
	pid_t pid;

	if (HARNESS_TSAN)
		harness_skip("ThreadSanitizer's shadow is in the core too");
	pid = start(big, &s);
	make_dir();
	P = grab(pid, 0);
	assert_int_equal(procfs_stat(pid, 0, &before), 0);
	assert_int_equal(Pgcore(P, in_dir("core"), 0), 0);
	assert_int_equal(procfs_stat(pid, 0, &after), 0);
	Prelease(P, 0);
	assert_int_equal(stat(in_dir("core"), &st), 0);
	assert_int_above(st.st_size, 4ul * BIG);
	assert_int_below(st.st_size, 5ul * BIG);
	assert_int_above(st.st_blocks * 512, BIG);
	assert_int_below(st.st_blocks * 512, 2 * BIG);
	assert_int_below(after.rss, before.rss + 1000);
	assert_beats(s);
	end(pid);
	remove_dir();
}

static int find_page(void *arg, const prmap_t *map, const char *name)
{
	uintptr_t *page = arg;

	if ((unsigned)(map->pr_vaddr >> 12) != *page)
		return 0;
	*page = map->pr_vaddr;
	return 1;
}

static uintptr_t full_address(struct ps_prochandle *P, unsigned page)
{
	uintptr_t found = page;

	assert_int_equal(Pmapping_iter(P, find_page, &found), 1);
	return found;
}

VICTIM static void guarded(struct shared *s)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	memset(page, 0x5a, 4096);
	mprotect(page, 4096, PROT_NONE);
	s->got = (unsigned)((uintptr_t)page >> 12);
	beating(s);
}

/* What the victim itself may not read at the moment is in the core, as of the kernel. */
static void test_guarded(void)
{
	struct ps_prochandle *P;
	struct shared *s;
	pid_t pid = start(guarded, &s);
	unsigned char byte;

	make_dir();
	await(s->got != 0);
	P = grab(pid, 0);
	assert_int_equal(Pgcore(P, in_dir("core"), 0), 0);
	Prelease(P, 0);
	P = open_core(in_dir("core"));
	/* The address has more bits than `got`. */
	assert_int_equal(Pread(P, &byte, 1, full_address(P, s->got)), 1);
	assert_int_equal(byte, 0x5a);
	Prelease(P, 0);
	end(pid);
	remove_dir();
}

/* --- what goes wrong ---------------------------------------------------------------- */

static void test_refused(void)
{
	struct ps_prochandle *P;
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct stat st;
	int fd;

	make_dir();
	P = grab(pid, PGRAB_RDONLY);
	assert_int_equal(Pgcore(P, in_dir("core"), 0), -1);
	assert_int_equal(errno, EBADF);
	Prelease(P, 0);
	P = grab(pid, PGRAB_NOSTOP);
	assert_int_equal(Pgcore(P, in_dir("core"), 0), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(Pstop(P, SOON_MS), 0);
	assert_int_equal(Pgcore(P, in_dir("core"), 0x1000), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(Pgcore(P, in_dir("none/core"), 0), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(empty_dir(), 0);
	assert_int_equal(symlink("/nonexistent", in_dir("core")), 0);
	assert_int_equal(Pgcore(P, in_dir("core"), 0), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(lstat(in_dir("core"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_int_equal(Pfgcore(P, fd, 0), -1);
	assert_int_equal(errno, ENOSPC);
	close(fd);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
	remove_dir();
}

static void kill_self(int sig)
{
	kill(getpid(), SIGKILL);
}

/* The writer is killed in the middle of the file (that is when SIGXFSZ comes): the victim
 * runs on, and there is no file. */
static void test_writer_killed(void)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };
	struct shared *s;
	pid_t pid = start(big, &s), writer;
	int status;

	make_dir();
	writer = fork();
	if (!writer) {
		struct ps_prochandle *P = grab(pid, 0);

		signal(SIGXFSZ, kill_self);
		setrlimit(RLIMIT_FSIZE, &limit);
		Pgcore(P, in_dir("core"), 0);
		_exit(1);
	}
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_beats(s);
	await(tracer_of(pid) == 0);
	assert_int_equal(empty_dir(), 0);
	end(pid);
	remove_dir();
}

/* The victim is killed while it is copied: an error, or a core; no file that is half one.
 */
static void test_victim_killed(void)
{
	for (int round = 0; round < 10; round++) {
		struct ps_prochandle *P;
		struct shared *s;
		pid_t pid = start(big, &s), killer;
		int rc;

		make_dir();
		P = grab(pid, 0);
		killer = fork();
		if (!killer) {
			usleep((useconds_t)round * 3000);
			kill(pid, SIGKILL);
			_exit(0);
		}
		rc = Pgcore(P, in_dir("core"), 0);
		if (rc)
			assert_int_equal(errno, ESRCH);
		assert_int_equal(empty_dir(), rc ? 0 : 1);
		assert_int_equal(waitpid(killer, NULL, 0), killer);
		Prelease(P, 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		remove_dir();
	}
}

/* --- where the program is ----------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
	char cmd[8192];

	snprintf(cmd, sizeof(cmd), "cp -f %s %s", from, to);
	assert_int_equal(system(cmd), 0);
}

static void assert_outer(const char *core, const char *aout, int gflag, int expected)
{
	int err = 0;
	struct ps_prochandle *P = Pgrab_core(core, aout, gflag, &err);
	GElf_Sym sym;

	if (!P)
		fail_msg("Pgrab_core: %s", Pgrab_detail());
	assert_int_equal(Plookup_by_name(P, PR_OBJ_EXEC, "outer", &sym), expected);
	Prelease(P, 0);
}

/* A program that has moved is found where the caller says; one that was replaced is not
 * taken for it, wherever it lies. Fails when a build-id is not compared. */
static void test_program_moved(void)
{
	char program[96], core[96], *argv[] = { program, NULL };
	struct ps_prochandle *P;
	int err = 0;

	make_dir();
	snprintf(program, sizeof(program), "%s/moved", dir);
	snprintf(core, sizeof(core), "%s/core", dir);
	copy_file(victim_path("sleeper"), program);
	P = Pcreate(program, argv, &err, NULL, 0);
	assert_non_null(P);
	assert_int_equal(Pgcore(P, core, 0), 0);
	Prelease(P, PRELEASE_KILL);
	assert_outer(core, NULL, 0, 0);
	assert_int_equal(unlink(program), 0);
	assert_outer(core, NULL, 0, -1);
	assert_outer(core, victim_path("sleeper"), 0, 0);
	copy_file(victim_path("threads"), program);
	assert_outer(core, NULL, 0, -1);
	assert_null(Pgrab_core(core, program, 0, &err));
	assert_int_equal(err, G_AOUT);
	assert_non_null(strstr(Pgrab_detail(), "build-id"));
	assert_outer(core, program, PGRAB_FORCE, -1);
	assert_null(Pgrab_core(core, "/nonexistent", PGRAB_FORCE, &err));
	assert_int_equal(err, G_AOUT);
	remove_dir();
}

/* --- the kernel's own --------------------------------------------------------------- */

static bool kernel_writes_here(void)
{
	char pattern[256] = "";
	int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, pattern, sizeof(pattern) - 1);

	close(fd);
	return n > 0 && !strchr(pattern, '|') && !strchr(pattern, '/');
}

/* The one file there is. */
static const char *find_core(void)
{
	static char path[512];
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *e;

	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
	return *path ? path : NULL;
}

/* What we said of it while it lived is what its core says. */
static void test_kernel_core(void)
{
	static struct saying live, dead;
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	struct ps_prochandle *P;
	struct victim v;
	char was[4096];
	const char *path;

	if (!kernel_writes_here())
		harness_skip("core_pattern: cores go elsewhere");
	if (setrlimit(RLIMIT_CORE, &limit))
		harness_skip("ulimit -c is limited");
	make_dir();
	assert_non_null(getcwd(was, sizeof(was)));
	assert_int_equal(chdir(dir), 0);
	victim_start(&v, "threads", NULL);
	assert_int_equal(chdir(was), 0);
	victim_line(&v);
	P = grab(v.pid, PGRAB_RDONLY);
	say_all(P, &live, false);
	Prelease(P, 0);
	kill(v.pid, SIGQUIT);
	victim_end(&v);
	path = find_core();
	if (!path) {
		remove_dir();
		harness_skip("the kernel has written no core");
	}
	P = open_core(path);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_cursig, SIGQUIT);
	say_all(P, &dead, false);
	Prelease(P, 0);
	remove_dir();
	/* Every thread ends by the signal; the order is the kernel's. */
	compare("kernel", &live, &dead);
}

static const struct harness_test tests[] = {
	TEST(test_written),       TEST(test_running_threads), TEST(test_signal),
	TEST(test_filter),        TEST(test_holes),           TEST(test_refused),
	TEST(test_writer_killed), TEST(test_victim_killed),   TEST(test_program_moved),
	TEST(test_guarded),       TEST(test_kernel_core),     TEST_END
};

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
