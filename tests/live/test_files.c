/* SPDX-License-Identifier: MIT */
/*
 * Whose file it is: deleted and replaced ones, other mount namespaces, and what remains
 * when the process has gone.
 */
#include <stdarg.h>

#include "symbols_test.h"

/* A folder with copies of victims, and a victim started from it. */
struct folder {
	char dir[32];        /* the folder */
	char path[PATH_MAX]; /* of the program in it */
	struct victim v;     /* the program */
	struct names n;      /* what it says */
};

static void make_folder(struct folder *f, const char *name)
{
	strcpy(f->dir, "/tmp/pgrab-files-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/prog", f->dir);
	copy_file(victim_path(name), f->path);
}

static void start_in(struct folder *f, const char *name)
{
	start_from(&f->v, f->dir, name);
	f->n = expect_names(&f->v);
}

static void remove_folder(struct folder *f)
{
	char command[64];

	assert_int_equal(victim_end(&f->v), 0);
	snprintf(command, sizeof(command), "rm -r %s", f->dir);
	assert_int_equal(system(command), 0);
}

static void write_script(const struct folder *f, const char *format, ...)
{
	char path[PATH_MAX];
	va_list args;
	FILE *to;

	snprintf(path, sizeof(path), "%s/run", f->dir);
	to = fopen(path, "we");
	assert_non_null(to);
	va_start(args, format);
	vfprintf(to, format, args);
	va_end(args);
	fclose(to);
	assert_int_equal(chmod(path, 0755), 0);
}

/* Fails when the program is looked for by its path only. */
static void deleted_program(void)
{
	struct ps_prochandle *P;
	struct folder f;

	make_folder(&f, "names");
	start_in(&f, "prog");
	assert_int_equal(unlink(f.path), 0);
	P = look_at(f.v.pid);
	check_hidden(P, &f.n);
	Prelease(P, 0);
	remove_folder(&f);
}

/* Fails when what has its path now is believed to be it. */
static void replaced_program(void)
{
	char other[PATH_MAX];
	struct ps_prochandle *P;
	struct folder f;

	make_folder(&f, "names");
	start_in(&f, "prog");
	snprintf(other, sizeof(other), "%s/other", f.dir);
	copy_file(victim_path("prog"), other);
	assert_int_equal(truncate(other, 5000), 0);
	assert_int_equal(rename(other, f.path), 0);
	P = look_at(f.v.pid);
	check_hidden(P, &f.n);
	Prelease(P, 0);
	remove_folder(&f);
}

/* A library that was replaced while it was mapped: its own symbols, or none, never the
 * other's. */
static void replaced_library(void)
{
	char lib[PATH_MAX], other[PATH_MAX], from[PATH_MAX], buf[64];
	struct ps_prochandle *P;
	GElf_Sym sym, before;
	struct folder f;

	make_folder(&f, "names");
	snprintf(lib, sizeof(lib), "%s/lib.so", f.dir);
	snprintf(other, sizeof(other), "%s/other", f.dir);
	snprintf(from, sizeof(from), "%s", victim_path("libvictim_two.so"));
	copy_file(victim_path("libvictim_one.so"), lib);
	copy_file(from, other);
	write_script(&f, "#!/bin/sh\nLD_PRELOAD=%s exec %s\n", lib, f.path);
	start_in(&f, "run");
	P = look_at(f.v.pid);
	assert_int_equal(Plookup_by_name(P, "lib.so", "victim_one", &before), 0);
	Prelease(P, 0);
	assert_int_equal(rename(other, lib), 0);
	P = look_at(f.v.pid);
	assert_int_equal(Plookup_by_name(P, "lib.so", "victim_two", &sym), -1);
	if (!Plookup_by_name(P, "lib.so", "victim_one", &sym))
		assert_int_equal(sym.st_value, before.st_value);
	if (!Plookup_by_addr(P, before.st_value, buf, sizeof(buf), &sym))
		assert_string_equal(buf, "victim_one");
	Prelease(P, 0);
	remove_folder(&f);
}

/* Another file than ours has the same path, in a mount namespace of its own. Fails when
 * paths are resolved in ours. */
static void other_mounts(void)
{
	char ours[PATH_MAX], theirs[PATH_MAX];
	struct ps_prochandle *P;
	struct folder f;

	if (system("unshare --mount true 2>/dev/null") != 0)
		harness_skip("no right to unshare");
	make_folder(&f, "names-static");
	snprintf(ours, sizeof(ours), "%s/ours", f.dir);
	snprintf(theirs, sizeof(theirs), "%s/theirs", f.dir);
	copy_file(victim_path("names"), theirs);
	copy_file(victim_path("sleeper"), ours);
	write_script(
		&f,
		"#!/bin/sh\nexec unshare --mount sh -c 'mount --bind %s %s && exec %s'\n",
		theirs, ours, ours);
	start_in(&f, "run");
	P = look_at(f.v.pid);
	check_hidden(P, &f.n);
	Prelease(P, 0);
	remove_folder(&f);
}

/* Fails when symbols are looked for in files at the time of the question. */
static void after_its_end(void)
{
	struct ps_prochandle *P;
	char buf[64], want[64];
	struct folder f;

	make_folder(&f, "names");
	start_in(&f, "prog");
	snprintf(want, sizeof(want), "prog`hidden+0x%lx", f.n.its - f.n.hidden);
	P = look_at(f.v.pid);
	Pupdate_syms(P);
	victim_kill(&f.v);
	assert_int_equal(unlink(f.path), 0);
	Pfmt_uaddr(P, f.n.its, buf, sizeof(buf));
	assert_string_equal(buf, want);
	Prelease(P, 0);
	snprintf(want, sizeof(want), "rm -r %s", f.dir);
	assert_int_equal(system(want), 0);
}

/* An exec ends the program, not the symbols of it that were asked for before. */
static void after_an_exec(void)
{
	struct ps_prochandle *P;
	struct victim v;
	GElf_Sym sym;
	prsyminfo_t si;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", victim_path("sleeper"));
	victim_start(&v, "execer", NULL);
	victim_expect(&v, "ready");
	P = look_at(v.pid);
	Pupdate_syms(P);
	assert_int_equal(Pxlookup_by_name(P, PR_LMID_EVERY, "a.out", "main", &sym, &si),
			 0);
	victim_send(&v, "exec %s", path);
	victim_expect(&v, "ready");
	/* What was lent is valid until the next call. */
	assert_string_equal(si.prs_name, "main");
	Prelease(P, 0);
	assert_int_equal(victim_end(&v), 0);
}

static const struct harness_test tests[] = {
	TEST(deleted_program),
	TEST(replaced_program),
	TEST(replaced_library),
	TEST(other_mounts),
	TEST(after_its_end),
	TEST(after_an_exec),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
