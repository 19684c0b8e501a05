/* SPDX-License-Identifier: MIT */
/*
 * src/obj on damaged and hostile files: an error or fewer symbols, in bounded time
 * and memory.
 */
#include "obj_maker.h"

/* --- damage ----------------------------------------------------------------------- */

static int touch(void *arg, const struct obj_symbol *s)
{
	*(size_t *)arg += strlen(s->name) + s->id;
	return 0;
}

/* Whatever the file is, everything can be asked. */
static void ask_everything(const void *bytes, size_t len)
{
	struct obj_symbol s;
	struct obj *o;
	size_t n, sum = 0;
	int err = obj_get_bytes(bytes, len, &o);

	if (err) {
		assert_int_equal(err, -ENOEXEC);
		return;
	}
	sum += obj_soname(o) ? strlen(obj_soname(o)) : 0;
	sum += obj_interp(o) ? strlen(obj_interp(o)) : 0;
	obj_segments(o, &n);
	obj_build_id(o, &n);
	for (uint64_t a = 0xf00; a < 0x2200; a += 0x80)
		obj_lookup_addr(o, a, &s);
	obj_lookup_addr(o, UINT64_MAX, &s);
	obj_lookup_name(o, "f", &s);
	obj_lookup_name(o, "f@V1", &s);
	obj_iter(o, OBJ_SYMTAB, touch, &sum);
	obj_iter(o, OBJ_DYNSYM, touch, &sum);
	obj_unref(o);
}

static void make_rich(struct maker *k)
{
	static const struct line symtab[] = {
		FUNC("f", 0x1100, 0x40),
		LOCAL("g", 0x1120, 8),
		{ "l", 0x1200, 0, STB_LOCAL, STT_NOTYPE, S_TEXT, 0 },
		DATA("d", 0x2000, 16),
		END,
	};
	static const struct line dynsym[] = { FUNC("f", 0x1100, 0x40),
					      { "v", 0x1300, 8, STB_WEAK, STT_FUNC,
						S_TEXT, 0x8002 },
					      END };

	begin_file(k);
	add_symtab(k, symtab);
	add_dynsym(k, dynsym);
	end_file(k);
}

static void damaged_bytes(void **state)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
	static struct maker k;
	uint8_t *bytes = (uint8_t *)&k.f;

	make_rich(&k);
	for (size_t i = 0; i < sizeof(k.f); i++) {
		uint8_t good = bytes[i];

		for (size_t v = 0; v < sizeof(values); v++) {
			bytes[i] = values[v];
			ask_everything(bytes, sizeof(k.f));
		}
		bytes[i] = good;
	}
}

static void damaged_words(void **state)
{
	static const uint64_t values[] = { 0,
					   1,
					   0x7fffffff,
					   0xffffffff,
					   UINT64_MAX,
					   UINT64_MAX - 8,
					   sizeof(struct image64),
					   sizeof(struct image64) - 1,
					   (uint64_t)1 << 63 };
	static struct maker k;
	uint8_t *bytes = (uint8_t *)&k.f;

	make_rich(&k);
	for (size_t i = 0; i + 8 <= AT(symtab); i += 4) {
		uint8_t good[8];

		memcpy(good, bytes + i, 8);
		for (size_t v = 0; v < sizeof(values) / sizeof(*values); v++) {
			memcpy(bytes + i, &values[v], 8);
			ask_everything(bytes, sizeof(k.f));
		}
		memcpy(bytes + i, good, 8);
	}
}

static void truncated_anywhere(void **state)
{
	static struct maker k;

	make_rich(&k);
	for (size_t len = 0; len < sizeof(k.f); len++) {
		void *exact =
			malloc(len ? len : 1); /* so that a checker sees what is read */

		memcpy(exact, &k.f, len);
		ask_everything(exact, len);
		free(exact);
	}
}

/* Ours, with the headers damaged: the section headers too, which lie at its end. */
static void damaged_program(void **state)
{
	char path[64];
	int fd = copy_self(path);
	struct stat st;
	const Elf64_Ehdr *eh;
	uint8_t *bytes;
	size_t len;

	assert_int_equal(fstat(fd, &st), 0);
	len = (size_t)st.st_size;
	bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(bytes, MAP_FAILED);
	eh = (const Elf64_Ehdr *)bytes;
	for (size_t i = 0; i < eh->e_shoff + eh->e_shnum * sizeof(Elf64_Shdr) && i < len;
	     i++) {
		uint8_t good = bytes[i];

		if (i > 1024 && i < eh->e_shoff)
			i = eh->e_shoff;
		if (i > 1024 && i % 4)
			continue;
		good = bytes[i];
		bytes[i] ^= 0xff;
		ask_everything(bytes, len);
		bytes[i] = good;
	}
	munmap(bytes, len);
	close(fd);
	unlink(path);
}

/* A claim of much must not cost much: the file is all hole. */
static void sparse_claims_are_refused(void **state)
{
	static struct maker k;
	char path[] = "/tmp/pgrab-obj-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	struct obj *o;

	make_rich(&k);
	k.f.eh.e_shnum = 0;
	k.f.sh[0].sh_size = 0xffffffff; /* four thousand million sections */
	assert_int_equal(pwrite(fd, &k.f, sizeof(k.f), 0), sizeof(k.f));
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	assert_int_equal(obj_get_fd(fd, &o), 0);
	assert_int_equal(value_of(o, "f"), 0x1100); /* by the hash table */
	obj_unref(o);
	close(fd);
	unlink(path);
	obj_cache_trim();
}

/* 20,000 symbols that all bear a long name, each a piece of one string. */
static void overlapping_names_are_bounded(void **state)
{
	enum {
		N = 20000,
		NAMES = 1 << 20
	};
	size_t symoff = sizeof(struct image64), stroff = symoff + N * sizeof(Elf64_Sym);
	size_t len = stroff + NAMES;
	_cleanup_free_ char *bytes = calloc(1, len);
	static struct maker k;
	Elf64_Sym *sym = (Elf64_Sym *)(bytes + symoff);
	struct obj_symbol s;
	clock_t before;
	struct obj *o;

	begin_file(&k);
	end_file(&k);
	k.f.sh[S_SYMTAB].sh_offset = symoff;
	k.f.sh[S_SYMTAB].sh_size = N * sizeof(Elf64_Sym);
	k.f.sh[S_STRTAB].sh_offset = stroff;
	k.f.sh[S_STRTAB].sh_size = NAMES;
	memcpy(bytes, &k.f, sizeof(k.f));
	memset(bytes + stroff, 'a', NAMES);
	for (int i = 0; i < N; i++)
		sym[i] = (Elf64_Sym){ .st_name = 1 + (unsigned)i % 7,
				      .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
				      .st_shndx = S_TEXT,
				      .st_value = 0x1000,
				      .st_size = 8 };
	assert_int_equal(obj_get_bytes(bytes, len, &o), 0);
	before = clock();
	obj_lookup_addr(o, 0x1000, &s);
	assert_true(strlen(s.name) > 1000);
	/* 20 GB of names would take many seconds to hash. */
	assert_true(clock() - before < 3 * CLOCKS_PER_SEC);
	obj_unref(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damaged_bytes),
		cmocka_unit_test(damaged_words),
		cmocka_unit_test(truncated_anywhere),
		cmocka_unit_test(damaged_program),
		cmocka_unit_test(sparse_claims_are_refused),
		cmocka_unit_test(overlapping_names_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
