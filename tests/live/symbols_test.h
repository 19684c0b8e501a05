/* SPDX-License-Identifier: MIT */
/*
 * What the tests of symbols share: the victim `names`, copies of it, and roots of its
 * own. A test uses what it needs of it.
 */
#ifndef PGRAB_TESTS_SYMBOLS_TEST_H
#define PGRAB_TESTS_SYMBOLS_TEST_H

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

#pragma GCC diagnostic ignored "-Wunused-function"

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

#endif
