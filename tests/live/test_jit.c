/* SPDX-License-Identifier: MIT */
/*
 * Names of compiled code: perf maps of the test's making, and node's.
 */
#include "symbols_test.h"

/* --- perf maps -------------------------------------------------------------------- */

/* A victim with a perf map that the test writes. */
struct compiled {
	struct victim v;          /* the program */
	struct names n;           /* what it says */
	struct ps_prochandle *P;  /* read-only */
	char path[PATH_MAX + 32]; /* of the map */
};

static void begin_compiled(struct compiled *c)
{
	victim_start(&c->v, "names", NULL);
	c->n = expect_names(&c->v);
	snprintf(c->path, sizeof(c->path), "/tmp/perf-%d.map", c->v.pid);
	unlink(c->path);
	c->P = look_at(c->v.pid);
}

static void end_compiled(struct compiled *c)
{
	unlink(c->path);
	Prelease(c->P, 0);
	assert_int_equal(victim_end(&c->v), 0);
}

/* Adds to the map. */
static void write_map(const struct compiled *c, const char *format, unsigned long addr)
{
	int fd = open(c->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_above(dprintf(fd, format, addr), 0);
	close(fd);
}

static bool is_called(const struct compiled *c, uintptr_t addr, const char *want)
{
	char buf[256];

	Pfmt_uaddr(c->P, addr, buf, sizeof(buf));
	return !strcmp(buf, want);
}

/* Fails when the map is read once and for all. */
static void perf_map(void)
{
	struct compiled c;
	char buf[64], name[32];
	prsyminfo_t si;
	GElf_Sym sym;

	begin_compiled(&c);
	snprintf(buf, sizeof(buf), "0x%lx", c.n.jit + 4);
	assert_true(is_called(&c, c.n.jit + 4, buf));
	write_map(&c, "%lx 20 first piece\n", c.n.jit);
	await(is_called(&c, c.n.jit + 4, "[jit]`first piece+0x4"));
	write_map(&c, "%lx 10 second\nnonsense\n1 2\n", c.n.jit + 0x40);
	await(is_called(&c, c.n.jit + 0x40, "[jit]`second"));
	assert_int_equal(
		Pxlookup_by_addr(c.P, c.n.jit + 0x41, name, sizeof(name), &sym, &si), 0);
	assert_string_equal(name, "second");
	assert_string_equal(si.prs_object, "[jit]");
	assert_int_equal(sym.st_value, c.n.jit + 0x40);
	assert_int_equal(sym.st_size, 0x10);
	Pfmt_umod(c.P, c.n.jit, buf, sizeof(buf));
	assert_string_equal(buf, "[jit]");
	/* Its place was taken by other code. */
	write_map(&c, "%lx 8 third\n", c.n.jit);
	Pupdate_maps(c.P);
	assert_true(is_called(&c, c.n.jit + 4, "[jit]`third+0x4"));
	assert_true(is_called(&c, c.n.jit + 0x18, "[jit]`first piece+0x18"));
	/* A map names nothing that has a file. */
	write_map(&c, "%lx 8 liar\n", c.n.hidden);
	Pupdate_maps(c.P);
	assert_true(is_called(&c, c.n.hidden, "names`hidden"));
	end_compiled(&c);
}

static void check_refused(struct compiled *c)
{
	char buf[64];

	Pupdate_syms(c->P);
	snprintf(buf, sizeof(buf), "0x%lx", c->n.jit + 4);
	assert_true(is_called(c, c->n.jit + 4, buf));
}

/* What somebody else may have written is not believed. */
static void perf_map_of_others(void)
{
	struct compiled c;
	char other[PATH_MAX + 64];

	begin_compiled(&c);
	write_map(&c, "%lx 20 theirs\n", c.n.jit);
	assert_int_equal(chmod(c.path, 0666), 0);
	check_refused(&c);
	assert_int_equal(chmod(c.path, 0644), 0);
	if (!chown(c.path, 12345, (gid_t)-1)) {
		check_refused(&c);
		assert_int_equal(chown(c.path, geteuid(), (gid_t)-1), 0);
	}
	snprintf(other, sizeof(other), "%s.other", c.path);
	assert_int_equal(rename(c.path, other), 0);
	assert_int_equal(symlink(other, c.path), 0);
	check_refused(&c);
	unlink(c.path);
	assert_int_equal(mkfifo(c.path, 0644), 0);
	check_refused(&c);
	unlink(c.path);
	assert_int_equal(rename(other, c.path), 0);
	Pupdate_syms(c.P);
	assert_true(is_called(&c, c.n.jit + 4, "[jit]`theirs+0x4"));
	end_compiled(&c);
}

/* The only child of a process. */
static pid_t child_of(pid_t pid)
{
	char path[64];
	int child = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &child), 1);
	fclose(f);
	return child;
}

/* Fails when the map is looked for by our pid, or in our /tmp. */
static void perf_map_in_a_container(void)
{
	char script[PATH_MAX + 32];
	struct compiled c = { 0 };
	struct jail j;
	FILE *f;

	if (system("unshare --pid --fork true 2>/dev/null") != 0)
		harness_skip("no right to unshare");
	make_jail(&j);
	snprintf(c.path, sizeof(c.path), "%s/tmp/perf-1.map", j.dir);
	make_dirs(c.path);
	snprintf(script, sizeof(script), "%s/run", j.dir);
	f = fopen(script, "we");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\nexec unshare --pid --fork chroot %s /prog\n", j.dir);
	fclose(f);
	chmod(script, 0755);
	start_from(&j.v, j.dir, "run");
	j.n = expect_names(&j.v);
	write_map(&c, "%lx 20 inside\n", j.n.jit);
	c.P = look_at(child_of(j.v.pid));
	assert_true(is_called(&c, j.n.jit + 4, "[jit]`inside+0x4"));
	Prelease(c.P, 0);
	remove_jail(&j);
}

/* Where the first thread of pid is, as text. */
static void sample(pid_t pid, struct ps_prochandle *names, char *buf, size_t size)
{
	struct ps_prochandle *P;
	uintptr_t pc;
	int err;

	P = Pgrab(pid, 0, &err);
	if (!P)
		fail_msg("%s", Pgrab_error(err));
	pc = (uintptr_t)Pstatus(P)->pr_lwp.pr_reg[R_PC];
	Prelease(P, 0);
	Pfmt_uaddr(names, pc, buf, size);
}

/* A compiler's own map, while it compiles. */
static void perf_map_of_node(void)
{
	static const char code[] =
		"let s=0;function hotName(n){for(let i=0;i<n;i++)s+=i%7;"
		"return s}console.log('ready');"
		"for(;;)hotName(1e6)";
	char buf[512], path[64], dir[] = "/tmp/pgrab-node-XXXXXX";
	struct ps_prochandle *P;
	struct victim v;

	if (access("/usr/bin/node", X_OK))
		harness_skip("no node");
	setenv("VICTIMS", "/usr/bin", 1);
	assert_true(mkdtemp(dir) && !chdir(dir)); /* it writes a log where it is */
	victim_start(&v, "node", "--perf-basic-prof", "-e", code, NULL);
	victim_expect(&v, "ready");
	P = look_at(v.pid);
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", v.pid);
	await((sample(v.pid, P, buf, sizeof(buf)), strstr(buf, "hotName")));
	assert_int_equal(strncmp(buf, "[jit]`", 6), 0);
	Prelease(P, 0);
	victim_kill(&v);
	unlink(path);
	snprintf(buf, sizeof(buf), "rm -r %s", dir);
	assert_int_equal(system(buf), 0);
}

static const struct harness_test tests[] = {
	TEST(perf_map),
	TEST(perf_map_of_others),
	TEST(perf_map_in_a_container),
	TEST(perf_map_of_node),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
