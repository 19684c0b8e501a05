/* SPDX-License-Identifier: MIT */
/*
 * src/obj on ELF files made by hand: headers, look-ups both ways, byte orders and
 * classes.
 */
#include "obj_maker.h"

/* --- what a file says of itself --------------------------------------------------- */

static void header_is_read(void **state)
{
	struct obj *o = make_obj(NULL, NULL);
	const struct obj_segment *seg;
	const uint8_t *id;
	size_t n;

	assert_int_equal(obj_type(o), ET_DYN);
	assert_int_equal(obj_machine(o), EM_X86_64);
	assert_int_equal(obj_class(o), ELFCLASS64);
	assert_int_equal(obj_entry(o), 0x1234);
	assert_int_equal(obj_dynamic(o), AT(dyn));
	assert_true(obj_has_interp(o));
	assert_string_equal(obj_interp(o), "/lib/ld.so");
	assert_string_equal(obj_soname(o), "libx.so.1");
	id = obj_build_id(o, &n);
	assert_int_equal(n, 20);
	assert_memory_equal(id, "0123456789abcdefghij", 20);
	seg = obj_segments(o, &n);
	assert_int_equal(n, 2);
	assert_int_equal(seg[0].vaddr, 0);
	assert_int_equal(seg[1].vaddr, 0x1000);
	assert_int_equal(seg[1].memsz, 0x2000);
	assert_int_equal(seg[1].prot, PROT_READ | PROT_EXEC);
	obj_unref(o);
}

static void no_elf_no_obj(void **state)
{
	struct obj *o = (struct obj *)state;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(obj_get_bytes("", 0, &o), -ENOEXEC);
	assert_int_equal(obj_get_bytes("\177ELF\2\1\1", 8, &o), -ENOEXEC);
	assert_int_equal(
		obj_get_bytes("#!/bin/sh\necho hello world and then some more text\n", 51,
			      &o),
		-ENOEXEC);
	assert_int_equal(obj_get_fd(fd, &o), -ENOEXEC);
	close(fd);
	assert_int_equal(obj_get_fd(fd, &o), -EBADF);
	assert_ptr_equal(o, state);
}

/* --- look-up by address ----------------------------------------------------------- */

static void sizes_are_exact(void **state)
{
	static const struct line lines[] = { FUNC("f", 0x1100, 0x10),
					     FUNC("g", 0x1120, 1), END };
	struct obj *o = make_obj(lines, NULL);

	assert_string_equal(at(o, 0x10ff), "");
	assert_string_equal(at(o, 0x1100), "f");
	assert_string_equal(at(o, 0x110f), "f");
	assert_string_equal(at(o, 0x1110), "");
	assert_string_equal(at(o, 0x1120), "g");
	assert_string_equal(at(o, 0x1121), "");
	assert_string_equal(at(o, 0), "");
	assert_string_equal(at(o, UINT64_MAX), "");
	obj_unref(o);
}

static void default_versions_are_no_names(void **state)
{
	static const struct line lines[] = { FUNC("read@@GLIBC_2.2.5", 0x1100, 0x10),
					     FUNC("read@OLD", 0x1200, 0x10),
					     FUNC("@@odd", 0x1300, 0x10),
					     FUNC("cfree@OLD", 0x1400, 0x10),
					     FUNC("free", 0x1400, 0x10),
					     END };
	struct obj *o = make_obj(lines, NULL);

	assert_string_equal(at(o, 0x1100), "read");
	assert_int_equal(value_of(o, "read"), 0x1100);
	assert_string_equal(at(o, 0x1200), "read@OLD");
	assert_string_equal(at(o, 0x1300), "@@odd");
	assert_string_equal(at(o, 0x1400), "free"); /* not the first by alphabet */
	obj_unref(o);
}

static void aliases_by_preference(void **state)
{
	static const struct line lines[] = {
		/* function before data */
		{ "aa", 0x1000, 8, STB_GLOBAL, STT_OBJECT, S_TEXT, 0 },
		LOCAL("zz", 0x1000, 8),
		/* non-local before local */
		LOCAL("a1", 0x1100, 8),
		WEAK("__z1", 0x1100, 8),
		/* fewer underscores */
		FUNC("__b", 0x1200, 8),
		WEAK("zb", 0x1200, 8),
		FUNC("_b", 0x1200, 8),
		/* smaller size */
		FUNC("ac", 0x1300, 16),
		FUNC("zc", 0x1300, 8),
		/* an IFUNC is a function */
		{ "ai", 0x1500, 8, STB_GLOBAL, STT_OBJECT, S_TEXT, 0 },
		{ "zi", 0x1500, 8, STB_GLOBAL, STT_GNU_IFUNC, S_TEXT, 0 },
		/* strcmp */
		FUNC("z", 0x1400, 8),
		FUNC("y", 0x1400, 8),
		FUNC("yy", 0x1400, 8),
		END,
	};
	struct obj *o = make_obj(lines, NULL);

	assert_string_equal(at(o, 0x1001), "zz");
	assert_string_equal(at(o, 0x1101), "__z1");
	assert_string_equal(at(o, 0x1201), "zb");
	assert_string_equal(at(o, 0x1301), "zc");
	assert_string_equal(at(o, 0x1501), "zi");
	assert_string_equal(at(o, 0x1309), "ac"); /* zc has ended */
	assert_string_equal(at(o, 0x1401), "y");
	obj_unref(o);
}

static void nested_symbols_answer_for_themselves(void **state)
{
	static const struct line lines[] = {
		FUNC("outer", 0x1000, 0x100), LOCAL("_inner", 0x1010, 0x20),
		LOCAL("core", 0x1018, 4),     FUNC("crossing", 0x10f0, 0x20),
		LOCAL("tiny", 0x1010, 2),     END,
	};
	struct obj *o = make_obj(lines, NULL);

	assert_string_equal(at(o, 0x100f), "outer");
	assert_string_equal(at(o, 0x1010), "tiny");
	assert_string_equal(at(o, 0x1012), "_inner");
	assert_string_equal(at(o, 0x1018), "core");
	assert_string_equal(at(o, 0x101c), "_inner");
	assert_string_equal(at(o, 0x1030), "outer");
	assert_string_equal(at(o, 0x10f0), "crossing");
	assert_string_equal(at(o, 0x110f), "crossing");
	assert_string_equal(at(o, 0x1110), "");
	obj_unref(o);
}

static void labels_reach_to_the_next(void **state)
{
	static const struct line lines[] = {
		{ "label", 0x1000, 0, STB_LOCAL, STT_NOTYPE, S_TEXT, 0 },
		{ "last", 0x1f00, 0, STB_GLOBAL, STT_NOTYPE, S_TEXT, 0 },
		{ "inside", 0x1108, 0, STB_GLOBAL, STT_FUNC, S_TEXT, 0 },
		FUNC("sized", 0x1100, 0x10),
		FUNC("short", 0x1080, 8),
		{ "nowhere", 0x5000, 0, STB_GLOBAL, STT_FUNC, S_TEXT, 0 },
		END,
	};
	struct obj *o = make_obj(lines, NULL);

	assert_string_equal(at(o, 0x107f), "label");
	assert_string_equal(at(o, 0x1087), "short");
	assert_string_equal(at(o, 0x1088), ""); /* "label" reached to "short" */
	assert_string_equal(at(o, 0x1100), "sized");
	assert_string_equal(at(o, 0x1109), "sized"); /* a size is a statement */
	assert_string_equal(at(o, 0x1110), "inside");
	assert_string_equal(at(o, 0x1fff), "last");
	assert_string_equal(at(o, 0x2000), ""); /* not into the next section */
	assert_string_equal(at(o, 0x5000), "");
	obj_unref(o);
}

static void only_addresses_have_addresses(void **state)
{
	static const struct line lines[] = {
		{ "tls", 0x1000, 8, STB_GLOBAL, STT_TLS, S_DATA, 0 },
		{ "sect", 0x1000, 8, STB_LOCAL, STT_SECTION, S_TEXT, 0 },
		{ "file.c", 0x1000, 8, STB_LOCAL, STT_FILE, SHN_ABS, 0 },
		{ "absolute", 0x1000, 8, STB_GLOBAL, STT_OBJECT, SHN_ABS, 0 },
		{ "undefined", 0x1000, 8, STB_GLOBAL, STT_FUNC, SHN_UNDEF, 0 },
		{ "", 0x1000, 8, STB_GLOBAL, STT_FUNC, S_TEXT, 0 },
		END,
	};
	struct obj *o = make_obj(lines, NULL);

	assert_string_equal(at(o, 0x1000), "");
	assert_int_equal(value_of(o, "tls"), 0x1000);
	assert_int_equal(value_of(o, "absolute"), 0x1000);
	assert_int_equal(value_of(o, "undefined"), 0);
	assert_int_equal(value_of(o, "file.c"), 0);
	assert_int_equal(value_of(o, ""), 0);
	obj_unref(o);
}

static void mapping_symbols_are_no_symbols(void **state)
{
	static const struct line lines[] = {
		{ "$x", 0x1000, 0, STB_LOCAL, STT_NOTYPE, S_TEXT, 0 },
		{ "$d.12", 0x1100, 0, STB_LOCAL, STT_NOTYPE, S_TEXT, 0 },
		END,
	};
	static struct maker k;
	struct obj *o = make_obj(lines, NULL);

	assert_string_equal(at(o, 0x1001), "$x"); /* x86: a name like another */
	obj_unref(o);
	begin_file(&k);
	add_symtab(&k, lines);
	end_file(&k);
	k.f.eh.e_machine = EM_AARCH64;
	assert_int_equal(obj_get_bytes(&k.f, sizeof(k.f), &o), 0);
	assert_string_equal(at(o, 0x1001), "");
	assert_string_equal(at(o, 0x1101), "");
	obj_unref(o);
}

/* --- look-up by name -------------------------------------------------------------- */

static void names_by_table_and_binding(void **state)
{
	static const struct line symtab[] = {
		LOCAL("f", 0x1000, 8), WEAK("f", 0x1010, 8),  FUNC("f", 0x1020, 8),
		LOCAL("g", 0x1030, 8), LOCAL("g", 0x1038, 8), END,
	};
	static const struct line dynsym[] = { FUNC("g", 0x1040, 8), FUNC("h", 0x1050, 8),
					      END };
	struct obj *o = make_obj(symtab, dynsym);
	struct obj_symbol s;

	assert_int_equal(value_of(o, "f"), 0x1020);
	assert_int_equal(value_of(o, "g"), 0x1030);
	assert_int_equal(value_of(o, "i"), 0);
	assert_int_equal(obj_lookup_name(o, "h", &s), 0);
	assert_int_equal(s.table, OBJ_DYNSYM);
	assert_int_equal(s.id, 2);
	assert_string_equal(s.name, "h");
	assert_int_equal(s.sym.st_size, 8);
	obj_unref(o);
}

static void names_by_version(void **state)
{
	static const struct line symtab[] = { FUNC("only", 0x1900, 8), END };
	static const struct line dynsym[] = {
		{ "f", 0x1100, 8, STB_GLOBAL, STT_FUNC, S_TEXT, 0x8002 },
		{ "f", 0x1200, 8, STB_GLOBAL, STT_FUNC, S_TEXT, 3 },
		FUNC("only", 0x1300, 8),
		END,
	};
	struct obj *o = make_obj(symtab, dynsym);

	assert_int_equal(value_of(o, "f"), 0x1200); /* the default one */
	assert_int_equal(value_of(o, "f@V1"), 0x1100);
	assert_int_equal(value_of(o, "f@V2"), 0x1200);
	assert_int_equal(value_of(o, "f@@V2"), 0x1200);
	assert_int_equal(value_of(o, "f@V3"), 0);
	assert_int_equal(value_of(o, "f@"), 0);
	assert_int_equal(value_of(o, "@V1"), 0);
	assert_int_equal(value_of(o, "only@V1"), 0);
	obj_unref(o);
}

/* Counts, remembers the last, and stops at `stop`. */
struct seen {
	unsigned n, stop;
	struct obj_symbol last;
};

static int see(void *arg, const struct obj_symbol *s)
{
	struct seen *seen = arg;

	seen->last = *s;
	return ++seen->n == seen->stop ? 42 : 0;
}

static void iteration_in_order(void **state)
{
	static const struct line symtab[] = { FUNC("b", 0x1000, 8),
					      { "u", 0, 0, STB_GLOBAL, STT_FUNC,
						SHN_UNDEF, 0 },
					      FUNC("a", 0x1010, 8),
					      END };
	struct obj *o = make_obj(symtab, NULL);
	struct seen all = { 0 }, two = { .stop = 2 }, none = { 0 };

	assert_int_equal(obj_iter(o, OBJ_SYMTAB, see, &all), 0);
	assert_int_equal(all.n, 3);
	assert_string_equal(all.last.name, "a");
	assert_int_equal(all.last.id, 3);
	assert_int_equal(obj_iter(o, OBJ_SYMTAB, see, &two), 42);
	assert_string_equal(two.last.name, "u");
	assert_int_equal(obj_iter(o, OBJ_DYNSYM, see, &none), 0);
	assert_int_equal(none.n, 0);
	obj_unref(o);
}

static void without_sections_by_the_hash_table(void **state)
{
	static const struct line dynsym[] = {
		FUNC("f", 0x1100, 8), { "l", 0x1200, 0, STB_GLOBAL, STT_FUNC, 1, 0 }, END
	};
	static struct maker k;
	struct obj *o;

	begin_file(&k);
	add_dynsym(&k, dynsym);
	end_file(&k);
	k.f.eh.e_shoff = k.f.eh.e_shnum = 0;
	assert_int_equal(obj_get_bytes(&k.f, sizeof(k.f), &o), 0);
	assert_int_equal(value_of(o, "f"), 0x1100);
	assert_string_equal(at(o, 0x1107), "f");
	assert_string_equal(at(o, 0x1250), "l"); /* to the end of the segment */
	assert_string_equal(obj_soname(o), "libx.so.1");
	obj_unref(o);
}

/* --- 32 bits, other byte order ---------------------------------------------------- */

struct image32 {
	Elf32_Ehdr eh;
	Elf32_Phdr ph[1];
	Elf32_Shdr sh[3];
	Elf32_Sym sym[2];
	char str[8];
};

static void make_narrow(struct image32 *f)
{
	memset(f, 0, sizeof(*f));
	memcpy(f->eh.e_ident, ELFMAG "\1\1\1", 7);
	f->eh.e_type = ET_EXEC;
	f->eh.e_machine = EM_ARM;
	f->eh.e_entry = 0x8001;
	f->eh.e_phoff = offsetof(struct image32, ph);
	f->eh.e_phentsize = sizeof(Elf32_Phdr);
	f->eh.e_phnum = 1;
	f->eh.e_shoff = offsetof(struct image32, sh);
	f->eh.e_shentsize = sizeof(Elf32_Shdr);
	f->eh.e_shnum = 3;
	f->ph[0] =
		(Elf32_Phdr){ .p_type = PT_LOAD, .p_vaddr = 0x8000, .p_memsz = 0x1000 };
	f->sh[1] = (Elf32_Shdr){ .sh_type = SHT_SYMTAB,
				 .sh_offset = offsetof(struct image32, sym),
				 .sh_size = sizeof(f->sym),
				 .sh_link = 2 };
	f->sh[2] = (Elf32_Shdr){ .sh_type = SHT_STRTAB,
				 .sh_offset = offsetof(struct image32, str),
				 .sh_size = sizeof(f->str) };
	strcpy(f->str + 1, "func");
	f->sym[1] = (Elf32_Sym){ .st_name = 1,
				 .st_value = 0x8101,
				 .st_size = 16,
				 .st_info = ELF32_ST_INFO(STB_GLOBAL, STT_FUNC),
				 .st_shndx = 1 };
}

static void check_narrow(const struct image32 *f)
{
	const struct obj_segment *seg;
	struct obj *o;
	size_t n;

	assert_int_equal(obj_get_bytes(f, sizeof(*f), &o), 0);
	assert_int_equal(obj_class(o), ELFCLASS32);
	assert_int_equal(obj_entry(o), 0x8001);
	seg = obj_segments(o, &n);
	assert_int_equal(n, 1);
	assert_int_equal(seg[0].vaddr, 0x8000);
	assert_string_equal(at(o, 0x8100), "func"); /* Thumb: the lowest bit is a flag */
	assert_string_equal(at(o, 0x8110), "");
	assert_int_equal(value_of(o, "func"), 0x8101);
	obj_unref(o);
}

/* Turns n numbers of `size` bytes round. */
static void swap(void *p, size_t size, size_t n)
{
	unsigned char *b = p;

	for (; n--; b += size) {
		for (size_t i = 0; i < size / 2; i++) {
			unsigned char t = b[i];

			b[i] = b[size - 1 - i];
			b[size - 1 - i] = t;
		}
	}
}

static void narrow_files_are_widened(void **state)
{
	struct image32 f;

	make_narrow(&f);
	check_narrow(&f);
}

static void other_byte_order(void **state)
{
	struct image32 f;

	make_narrow(&f);
	f.eh.e_ident[EI_DATA] = ELFDATA2MSB;
	swap(&f.eh.e_type, 2, 2);
	swap(&f.eh.e_version, 4, 5);
	swap(&f.eh.e_ehsize, 2, 6);
	swap(f.ph, 4, sizeof(f.ph) / 4);
	swap(f.sh, 4, sizeof(f.sh) / 4);
	for (int i = 0; i < 2; i++) {
		swap(&f.sym[i], 4, 3);
		swap(&f.sym[i].st_shndx, 2, 1);
	}
	check_narrow(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_is_read),
		cmocka_unit_test(no_elf_no_obj),
		cmocka_unit_test(sizes_are_exact),
		cmocka_unit_test(default_versions_are_no_names),
		cmocka_unit_test(aliases_by_preference),
		cmocka_unit_test(nested_symbols_answer_for_themselves),
		cmocka_unit_test(labels_reach_to_the_next),
		cmocka_unit_test(only_addresses_have_addresses),
		cmocka_unit_test(mapping_symbols_are_no_symbols),
		cmocka_unit_test(names_by_table_and_binding),
		cmocka_unit_test(names_by_version),
		cmocka_unit_test(iteration_in_order),
		cmocka_unit_test(without_sections_by_the_hash_table),
		cmocka_unit_test(narrow_files_are_widened),
		cmocka_unit_test(other_byte_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
