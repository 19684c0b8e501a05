/* SPDX-License-Identifier: MIT */
/*
 * Addresses as text, on an ELF file made by hand: names that would break lines, sizes
 * that do not suffice; and the text of perf maps.
 */
#include "obj_maker.h"

#include "image/jit.h"
#include "libproc.h"

/* A handle on a file with these symbols; the path is made. */
static struct ps_prochandle *open_made(const struct line *lines, char *path)
{
	static struct maker k;
	struct ps_prochandle *P;
	int fd = mkostemp(path, O_CLOEXEC), err;

	begin_file(&k);
	add_symtab(&k, lines);
	end_file(&k);
	assert_int_equal(write(fd, &k.f, sizeof(k.f)), sizeof(k.f));
	close(fd);
	P = Pgrab_file(path, &err);
	if (!P)
		fail_msg("%s", Pgrab_error(err));
	return P;
}

/* Fails when a name can make two lines of a frame, or hide one. */
static void hostile_names(void **state)
{
	static const struct line lines[] = {
		{ "two\nlines", 0x1100, 16, STB_GLOBAL, STT_FUNC, S_TEXT, 0 },
		{ "\x1b[2Jgone", 0x1200, 16, STB_GLOBAL, STT_FUNC, S_TEXT, 0 },
		{ "gr\xc3\xb6\xc3\x9f", 0x1300, 16, STB_GLOBAL, STT_FUNC, S_TEXT, 0 },
		{ NULL },
	};
	char path[] = "/tmp/format-XXXXXX", buf[128], want[128];
	struct ps_prochandle *P = open_made(lines, path);
	const uintptr_t pcs[] = { 0x1104, 0x1208, 0x1301 };

	snprintf(want, sizeof(want),
		 "%1$s`two?lines+0x4\n%1$s`?[2Jgone+0x8\n%1$s`gr\xc3\xb6\xc3\x9f+0x1\n",
		 path + 5);
	assert_int_equal(Pfmt_ustack(P, pcs, 3, buf, sizeof(buf)), strlen(want));
	assert_string_equal(buf, want);
	Prelease(P, 0);
	unlink(path);
}

/* Every size, from none at all, gives the beginning of the same text. */
static void sizes(void **state)
{
	static const struct line lines[] = {
		{ "fn", 0x1100, 16, STB_GLOBAL, STT_FUNC, S_TEXT, 0 },
		{ NULL },
	};
	char path[] = "/tmp/format-XXXXXX", want[64], buf[64];
	struct ps_prochandle *P = open_made(lines, path);
	size_t len;

	len = Pfmt_uaddr(P, 0x1104, want, sizeof(want));
	assert_string_equal(want + strlen(path) - 5, "`fn+0x4");
	for (size_t size = 0; size <= len + 1; size++) {
		memset(buf, 'x', sizeof(buf));
		assert_int_equal(Pfmt_uaddr(P, 0x1104, buf, size), len);
		assert_int_equal(buf[size], 'x');
		if (!size)
			continue;
		assert_int_equal(strlen(buf), size - 1);
		assert_memory_equal(buf, want, size - 1);
	}
	Prelease(P, 0);
	unlink(path);
}

/* --- perf maps -------------------------------------------------------------------- */

static struct jit_map *parse(const char *text)
{
	struct jit_map *map;

	assert_int_equal(jit_map_parse(strdup(text), strlen(text), &map), 0);
	return map;
}

/* The name at an address; "" for none. */
static const char *code_at(const struct jit_map *map, uint64_t addr)
{
	struct jit_code code;

	return jit_map_find(map, addr, &code) ? "" : code.name;
}

static void code_by_address(void **state)
{
	struct jit_map *map = parse("2000 10 b\n1000 10 a name with spaces\n"
				    "0x3000 0x8 c\n3000 4 later\n4000 10 unended");

	assert_string_equal(code_at(map, 0xfff), "");
	assert_string_equal(code_at(map, 0x1000), "a name with spaces");
	assert_string_equal(code_at(map, 0x100f), "a name with spaces");
	assert_string_equal(code_at(map, 0x1010), "");
	assert_string_equal(code_at(map, 0x2001), "b");
	assert_string_equal(code_at(map, 0x3003), "later");
	assert_string_equal(code_at(map, 0x3004), "c");
	assert_string_equal(code_at(map, 0x4000), ""); /* a line half written */
	jit_map_free(map);
}

static void lines_without_sense(void **state)
{
	struct jit_map *map = parse("\n \nx\n1000\n1000 10\n1000 10 \n1000 0 zero\n"
				    "ffffffffffffffff 2 over\n12345678901234567 1 long\n"
				    "-1 10 minus\n1000 zz word\n1000  10 two\n");

	for (uint64_t addr = 1; addr; addr <<= 1)
		assert_string_equal(code_at(map, addr), "");
	assert_string_equal(code_at(map, UINT64_MAX), "");
	jit_map_free(map);
	jit_map_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_names),
		cmocka_unit_test(sizes),
		cmocka_unit_test(code_by_address),
		cmocka_unit_test(lines_without_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
