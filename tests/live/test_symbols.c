/* SPDX-License-Identifier: MIT */
/*
 * Symbols that are not in the program's own .symtab, and addresses as text.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "libproc.h"

/* The addresses that a `names` tells. */
struct names {
	uintptr_t hidden; /* a static function */
	uintptr_t its;    /* an instruction in it */
	uintptr_t place;  /* one in inlined code */
	uintptr_t jit;    /* executable memory of no file */
};

static struct names expect_names(struct victim *v)
{
	const char *line = victim_expect(v, "ready");
	struct names n;
	int pid;

	if (sscanf(line, "%d hidden=%lx its=%lx place=%lx jit=%lx", &pid, &n.hidden,
		   &n.its, &n.place, &n.jit) != 5)
		fail_msg("%s", line);
	return n;
}

static struct ps_prochandle *look_at(pid_t pid)
{
	struct ps_prochandle *P;
	int err;

	P = Pgrab(pid, PGRAB_RDONLY, &err);
	if (!P)
		fail_msg("%s", Pgrab_error(err));
	return P;
}

static void start(struct victim *v, const char *name)
{
	if (!victim_exists(name))
		harness_skip("no objcopy to make %s", name);
	victim_start(v, name, NULL);
}

/* hidden() has that name, whichever way it is asked for. */
static void check_hidden(struct ps_prochandle *P, const struct names *n)
{
	char buf[64];
	GElf_Sym sym;
	prsyminfo_t si;

	assert_int_equal(Pxlookup_by_addr(P, n->its, buf, sizeof(buf), &sym, &si), 0);
	assert_string_equal(buf, "hidden");
	assert_int_equal(sym.st_value, n->hidden);
	assert_int_equal(si.prs_table, PR_SYMTAB);
	assert_int_equal(Plookup_by_name(P, "a.out", "hidden", &sym), 0);
	assert_int_equal(sym.st_value, n->hidden);
}

static int find_hidden(void *arg, const GElf_Sym *sym, const char *name)
{
	if (!strcmp(name, "hidden"))
		*(uintptr_t *)arg = sym->st_value;
	return 0;
}

static void check_variant(const char *name)
{
	struct ps_prochandle *P;
	uintptr_t found = 0;
	struct victim v;
	struct names n;

	start(&v, name);
	n = expect_names(&v);
	P = look_at(v.pid);
	check_hidden(P, &n);
	assert_int_equal(Psymbol_iter(P, "a.out", PR_SYMTAB, BIND_ANY | TYPE_ANY,
				      find_hidden, &found),
			 0);
	assert_int_equal(found, n.hidden);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

static void whole(void)
{
	check_variant("names");
}

/* Fails when the separate file is not found, or not believed. */
static void debuglink(void)
{
	check_variant("names-link");
}

/* Fails when only build-ids are compared. */
static void debuglink_by_crc(void)
{
	check_variant("names-noid-link");
}

/* Fails when .gnu_debugdata is not expanded. */
static void debugdata(void)
{
	if (!strstr(pgrab_features(), "liblzma"))
		harness_skip("built without liblzma");
	check_variant("names-mini");
}

/* --- in a root of its own --------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	struct stat st;

	assert_true(in >= 0 && out >= 0 && !fstat(in, &st));
	while (st.st_size > 0) {
		ssize_t n = sendfile(out, in, NULL, (size_t)st.st_size);

		assert_int_above(n, 0);
		st.st_size -= n;
	}
	close(in);
	close(out);
}

/* From now on victims are those in dir. */
static void start_from(struct victim *v, const char *dir, const char *name)
{
	setenv("VICTIMS", dir, 1);
	victim_start(v, name, NULL);
}

/* Changes the last byte. */
static void spoil(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char c;

	assert_true(fd >= 0 && lseek(fd, -1, SEEK_END) > 0 && read(fd, &c, 1) == 1);
	c ^= 1;
	assert_true(lseek(fd, -1, SEEK_END) > 0 && write(fd, &c, 1) == 1);
	close(fd);
}

/* A copy of a debug file that has been changed is not believed: by its CRC. */
static void spoilt_debug_file(void)
{
	char dir[] = "/tmp/pgrab-names-XXXXXX", path[PATH_MAX], debug[PATH_MAX];
	char from[PATH_MAX];
	struct ps_prochandle *P;
	struct victim v;
	struct names n;
	GElf_Sym sym;

	if (!victim_exists("names-noid-link"))
		harness_skip("no objcopy");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/names-noid-link", dir);
	copy_file(victim_path("names-noid-link"), path);
	snprintf(from, sizeof(from), "%s.debug", victim_path("names-noid-link"));
	snprintf(debug, sizeof(debug), "%s/names-noid-link.debug", dir);
	copy_file(from, debug);
	spoil(debug);
	start_from(&v, dir, "names-noid-link");
	n = expect_names(&v);
	P = look_at(v.pid);
	assert_int_equal(Plookup_by_name(P, "a.out", "hidden", &sym), -1);
	/* .dynsym remains, if it has anything for the address. */
	if (!Plookup_by_addr(P, n.its, from, sizeof(from), &sym))
		assert_true(strcmp(from, "hidden") != 0);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
	unlink(path);
	unlink(debug);
	rmdir(dir);
}

/* A root directory of its own, for a static program. */
struct jail {
	char dir[PATH_MAX];   /* where it is */
	char debug[PATH_MAX]; /* the debug file in it */
	struct victim v;      /* the program */
	struct names n;       /* what it says */
};

static void make_dirs(char *path)
{
	for (char *at = path + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(path, 0755);
		*at = '/';
	}
}

static bool may_chroot(void)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid)
		_exit(chroot("/") != 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status == 0;
}

static void make_jail(struct jail *j)
{
	char path[PATH_MAX + 32];

	if (!may_chroot())
		harness_skip("no right to chroot");
	if (!victim_exists("names-static-link"))
		harness_skip("no objcopy");
	strcpy(j->dir, "/tmp/pgrab-jail-XXXXXX");
	assert_non_null(mkdtemp(j->dir));
	chmod(j->dir, 0755);
	snprintf(path, sizeof(path), "%s/prog", j->dir);
	copy_file(victim_path("names-static-link"), path);
}

/* Where the build-id directory of `dir` has the program's debug file. */
static void find_place(const char *dir, char *ret, size_t size)
{
	char command[PATH_MAX + 64], id[128] = "";
	FILE *f;

	snprintf(command, sizeof(command), "readelf -n %s | sed -n 's/.*Build ID: *//p'",
		 victim_path("names-static-link"));
	f = popen(command, "re");
	assert_true(f && fgets(id, sizeof(id), f));
	pclose(f);
	id[strcspn(id, "\n")] = '\0';
	assert_int_above(strlen(id), 8);
	snprintf(ret, size, "%s/usr/lib/debug/.build-id/%.2s/%s.debug", dir, id, id + 2);
	make_dirs(ret);
}

/* The program, started in its root. */
static void start_in_jail(struct jail *j)
{
	char script[PATH_MAX + 8];
	FILE *f;

	snprintf(script, sizeof(script), "%s/run", j->dir);
	f = fopen(script, "we");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\nexec chroot %s /prog\n", j->dir);
	fclose(f);
	chmod(script, 0755);
	start_from(&j->v, j->dir, "run");
	j->n = expect_names(&j->v);
}

static void remove_jail(struct jail *j)
{
	char command[PATH_MAX + 64];

	assert_int_equal(victim_end(&j->v), 0);
	snprintf(command, sizeof(command), "rm -r %s", j->dir);
	assert_int_equal(system(command), 0);
}

/* Fails when the build-id directory is looked for in our root. */
static void build_id_inside(void)
{
	struct ps_prochandle *P;
	struct jail j;
	char from[PATH_MAX];

	make_jail(&j);
	find_place(j.dir, j.debug, sizeof(j.debug));
	snprintf(from, sizeof(from), "%s.debug", victim_path("names-static-link"));
	copy_file(from, j.debug);
	start_in_jail(&j);
	P = look_at(j.v.pid);
	check_hidden(P, &j.n);
	Prelease(P, 0);
	remove_jail(&j);
}

/* Fails when a link leads out of the victim's root: to a file that would fit. */
static void link_out_of_it(void)
{
	struct ps_prochandle *P;
	struct jail j;
	char from[PATH_MAX];
	GElf_Sym sym;

	make_jail(&j);
	find_place(j.dir, j.debug, sizeof(j.debug));
	snprintf(from, sizeof(from), "%s.debug", victim_path("names-static-link"));
	assert_int_equal(symlink(from, j.debug), 0);
	start_in_jail(&j);
	P = look_at(j.v.pid);
	assert_int_equal(Plookup_by_name(P, "a.out", "hidden", &sym), -1);
	Prelease(P, 0);
	remove_jail(&j);
}

/* Fails (by the test's timeout) when what is no plain file is opened. */
static void fifo_in_its_place(void)
{
	struct ps_prochandle *P;
	struct jail j;
	GElf_Sym sym;

	make_jail(&j);
	find_place(j.dir, j.debug, sizeof(j.debug));
	assert_int_equal(mkfifo(j.debug, 0644), 0);
	start_in_jail(&j);
	P = look_at(j.v.pid);
	assert_int_equal(Plookup_by_name(P, "a.out", "hidden", &sym), -1);
	Prelease(P, 0);
	remove_jail(&j);
}

/* --- text ------------------------------------------------------------------------- */

static void formats(void)
{
	struct ps_prochandle *P;
	struct victim v;
	struct names n;
	char buf[256], want[256];
	uintptr_t pcs[3];

	victim_start(&v, "names", NULL);
	n = expect_names(&v);
	P = look_at(v.pid);
	assert_int_equal(Pfmt_uaddr(P, n.hidden, buf, sizeof(buf)), 12);
	assert_string_equal(buf, "names`hidden");
	snprintf(want, sizeof(want), "names`hidden+0x%lx", n.its - n.hidden);
	Pfmt_uaddr(P, n.its, buf, sizeof(buf));
	assert_string_equal(buf, want);
	Pfmt_usym(P, n.its, buf, sizeof(buf));
	assert_string_equal(buf, "names`hidden");
	Pfmt_umod(P, n.its, buf, sizeof(buf));
	assert_string_equal(buf, "names");
	/* What returns to the first instruction was called by whoever stands before. */
	Pfmt_frame(P, n.hidden, PR_FRAME_RETURN, buf, sizeof(buf));
	assert_true(strcmp(buf, "names`hidden") != 0 && !strncmp(buf, "names`", 6));
	/* Outside of any object. */
	Pfmt_uaddr(P, 0x10, buf, sizeof(buf));
	assert_string_equal(buf, "0x10");
	Pfmt_umod(P, 0x10, buf, sizeof(buf));
	assert_string_equal(buf, "0x10");
	Pfmt_usym(P, 0x10, buf, sizeof(buf));
	assert_string_equal(buf, "0x10");
	pcs[0] = n.hidden;
	pcs[1] = n.its;
	pcs[2] = 0x10;
	snprintf(want, sizeof(want), "names`hidden\nnames`hidden+0x%lx\n0x10\n",
		 n.its - n.hidden);
	assert_int_equal(Pfmt_ustack(P, pcs, 3, buf, sizeof(buf)), strlen(want));
	assert_string_equal(buf, want);
	/* Cut, and counted. */
	assert_int_equal(Pfmt_ustack(P, pcs, 3, buf, 6), strlen(want));
	assert_string_equal(buf, "names");
	assert_int_equal(Pfmt_ustack(P, pcs, 3, NULL, 0), strlen(want));
	assert_int_equal(Pfmt_ustack(P, pcs, 0, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

/* Module and address where no symbol is: the ELF header. */
static void no_symbol(void)
{
	struct ps_prochandle *P;
	const prmap_t *map;
	struct victim v;
	char buf[256], want[256];

	victim_start(&v, "names", NULL);
	expect_names(&v);
	P = look_at(v.pid);
	map = Pname_to_map(P, "a.out");
	assert_non_null(map);
	snprintf(want, sizeof(want), "names`0x%lx", (unsigned long)map->pr_vaddr + 4);
	Pfmt_uaddr(P, map->pr_vaddr + 4, buf, sizeof(buf));
	assert_string_equal(buf, want);
	Pfmt_usym(P, map->pr_vaddr + 4, buf, sizeof(buf));
	assert_string_equal(buf, want);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

/* --- places in the source --------------------------------------------------------- */

/* What Psource_iter() told. */
struct told {
	unsigned n;           /* calls */
	char function[8][32]; /* names */
	char text[8][256];    /* the lines, as the source has them */
	int inlined[8];       /* flags */
};

/* Line n of a file. */
static void read_line(const char *path, unsigned n, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");

	if (!f)
		fail_msg("no %s", path);
	while (n-- > 0)
		assert_non_null(fgets(buf, (int)size, f));
	fclose(f);
}

static int take_place(void *arg, const prsource_t *src)
{
	struct told *t = arg;

	assert_true(t->n < 8 && src->psr_file && src->psr_function && src->psr_line);
	snprintf(t->function[t->n], sizeof(t->function[0]), "%s", src->psr_function);
	read_line(src->psr_file, src->psr_line, t->text[t->n], sizeof(t->text[0]));
	t->inlined[t->n++] = src->psr_inline;
	return 0;
}

static void check_told(const struct told *t, unsigned i, const char *function,
		       const char *mark, int inlined)
{
	assert_string_equal(t->function[i], function);
	if (!strstr(t->text[i], mark))
		fail_msg("%s: %s", function, t->text[i]);
	assert_int_equal(t->inlined[i], inlined);
}

static void check_places(const char *name)
{
	struct ps_prochandle *P;
	struct told t = { 0 };
	struct victim v;
	struct names n;

	if (!strstr(pgrab_features(), "libdw"))
		harness_skip("built without libdw");
	start(&v, name);
	n = expect_names(&v);
	P = look_at(v.pid);
	for (int again = 0; again < 2; again++) {
		t.n = 0;
		assert_int_equal(Psource_iter(P, n.place, take_place, &t), 0);
		assert_int_equal(t.n, 3);
		check_told(&t, 0, "deepest", "INNER", 1);
		check_told(&t, 1, "between", "MIDDLE", 1);
		check_told(&t, 2, "around", "OUTER", 0);
	}
	t.n = 0;
	assert_int_equal(Psource_iter(P, n.its, take_place, &t), 0);
	assert_int_equal(t.n, 1);
	check_told(&t, 0, "hidden", "HIDDEN", 0);
	errno = 0;
	assert_int_equal(Psource_iter(P, 0x10, take_place, &t), -1);
	assert_int_equal(errno, ENOENT);
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

static void places(void)
{
	check_places("names");
}

static void places_static(void)
{
	check_places("names-static");
}

/* Fails when DWARF is looked for in the program itself only. */
static void places_elsewhere(void)
{
	check_places("names-link");
}

static void places_zlib(void)
{
	if (!strstr(pgrab_features(), "zlib"))
		harness_skip("built without zlib");
	check_places("names-zlib");
}

/* libdw 0.188 does not know zstd: fails when it is left to it. */
static void places_zstd(void)
{
	if (!strstr(pgrab_features(), "libzstd"))
		harness_skip("built without libzstd");
	check_places("names-zstd");
}

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
	TEST(whole),
	TEST(debuglink),
	TEST(debuglink_by_crc),
	TEST(debugdata),
	TEST(spoilt_debug_file),
	TEST(build_id_inside),
	TEST(link_out_of_it),
	TEST(fifo_in_its_place),
	TEST(formats),
	TEST(no_symbol),
	TEST(places),
	TEST(places_static),
	TEST(places_elsewhere),
	TEST(places_zlib),
	TEST(places_zstd),
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
