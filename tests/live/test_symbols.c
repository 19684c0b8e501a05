/* SPDX-License-Identifier: MIT */
/*
 * Symbols that are not in the program's own .symtab, and addresses as text.
 */
#include "symbols_test.h"

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

/* --- copies, and roots of their own ----------------------------------------------- */

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
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
