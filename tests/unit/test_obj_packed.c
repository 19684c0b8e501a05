/* SPDX-License-Identifier: MIT */
/*
 * Compressed sections, .gnu_debugdata, .gnu_debuglink: what they hold is found, and what
 * lies about its size ends in bounded memory.
 */
#include "obj_maker.h"

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "obj/expand.h"

/* A made file with room behind it, and section names. */
struct roomy {
	struct maker k;    /* the file */
	char more[262144]; /* what is added */
	size_t n;          /* bytes of it */
};

static struct roomy r;

/* Appends bytes: their offset in the file. */
static uint64_t append(const void *bytes, size_t n)
{
	uint64_t at = sizeof(r.k.f) + r.n;

	assert_true(n <= sizeof(r.more) - r.n);
	memcpy(r.more + r.n, bytes, n);
	r.n += (n + 7) & ~(size_t)7;
	return at;
}

static struct obj *load(void)
{
	static char file[sizeof(r.k.f) + sizeof(r.more)];
	struct obj *o;

	memcpy(file, &r.k.f, sizeof(r.k.f));
	memcpy(file + sizeof(r.k.f), r.more, r.n);
	assert_int_equal(obj_get_bytes(file, sizeof(r.k.f) + r.n, &o), 0);
	return o;
}

/* Puts the section's bytes behind a compression header elsewhere. */
static void pack_section(int section, uint32_t type, uint64_t size, const char *packed,
			 size_t n)
{
	static char buf[65536];
	Elf64_Chdr ch = { .ch_type = type, .ch_size = size, .ch_addralign = 1 };

	memcpy(buf, &ch, sizeof(ch));
	memcpy(buf + sizeof(ch), packed, n);
	r.k.f.sh[section].sh_offset = append(buf, sizeof(ch) + n);
	r.k.f.sh[section].sh_size = sizeof(ch) + n;
	r.k.f.sh[section].sh_flags |= SHF_COMPRESSED;
}

static void begin(void)
{
	static const struct line one[] = {
		{ "packed_one", 0x1100, 16, STB_GLOBAL, STT_FUNC, S_TEXT, 0 }, { NULL }
	};

	memset(&r, 0, sizeof(r));
	begin_file(&r.k);
	add_symtab(&r.k, one);
	end_file(&r.k);
}

static size_t deflate_bytes(const void *from, size_t n, char *to, size_t size)
{
	uLongf len = size;

	assert_int_equal(compress((Bytef *)to, &len, from, n), Z_OK);
	return len;
}

static void zlib_sections(void **state)
{
	char packed[4096];
	struct obj *o;
	size_t n;

	begin();
	n = deflate_bytes(r.k.f.strtab, r.k.strlen, packed, sizeof(packed));
	pack_section(S_STRTAB, ELFCOMPRESS_ZLIB, r.k.strlen, packed, n);
	n = deflate_bytes(r.k.f.symtab, r.k.nsym * sizeof(Elf64_Sym), packed,
			  sizeof(packed));
	pack_section(S_SYMTAB, ELFCOMPRESS_ZLIB, r.k.nsym * sizeof(Elf64_Sym), packed, n);
	o = load();
	assert_string_equal(at(o, 0x1108), "packed_one");
	obj_unref(o);
}

static void zstd_sections(void **state)
{
	char packed[4096];
	struct obj *o;
	size_t n;

	begin();
	n = ZSTD_compress(packed, sizeof(packed), r.k.f.strtab, r.k.strlen, 3);
	assert_false(ZSTD_isError(n));
	pack_section(S_STRTAB, EXPAND_ZSTD, r.k.strlen, packed, n);
	o = load();
	assert_string_equal(at(o, 0x1108), "packed_one");
	obj_unref(o);
}

/* Sizes that are not true, and kinds that are not known: no names, no harm. Fails when
 * the claim is allocated: 4 GiB for a few bytes. */
static void sizes_that_lie(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 1 << 20, 1ull << 32, UINT64_MAX };
	char packed[4096];
	struct obj *o;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		for (uint32_t type = 0; type < 4; type++) {
			size_t n;

			begin();
			n = deflate_bytes(r.k.f.strtab, r.k.strlen, packed,
					  sizeof(packed));
			pack_section(S_STRTAB, type, sizes[i], packed, n);
			o = load();
			assert_string_equal(at(o, 0x1108), "");
			obj_unref(o);
		}
	}
}

/* --- .gnu_debugdata, .gnu_debuglink ----------------------------------------------- */

/* Makes S_VERDEF a section of that name and contents. */
static void add_named(const char *name, const void *bytes, size_t n)
{
	char names[64] = "";

	strcpy(names + 1, name);
	r.k.f.sh[S_VERSYM] = (Elf64_Shdr){ .sh_type = SHT_STRTAB,
					   .sh_offset = append(names, sizeof(names)),
					   .sh_size = sizeof(names) };
	r.k.f.eh.e_shstrndx = S_VERSYM;
	r.k.f.sh[S_VERDEF] = (Elf64_Shdr){ .sh_type = SHT_PROGBITS,
					   .sh_name = 1,
					   .sh_offset = append(bytes, n),
					   .sh_size = n };
}

static size_t xz_bytes(const void *from, size_t n, uint8_t *to, size_t size)
{
	size_t len = 0;

	assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, NULL, from, n, to,
						 &len, size),
			 LZMA_OK);
	return len;
}

static int count_symbols(void *arg, const struct obj_symbol *sym)
{
	++*(int *)arg;
	return 0;
}

static void debugdata(void **state)
{
	static struct maker inner;
	uint8_t packed[sizeof(inner.f)];
	struct obj *o;
	int n = 0;
	size_t len;

	begin();
	inner = r.k;
	len = xz_bytes(&inner.f, sizeof(inner.f), packed, sizeof(packed));
	r.k.f.sh[S_SYMTAB].sh_type = SHT_NULL;
	add_named(".gnu_debugdata", packed, len);
	o = load();
	assert_true(obj_has_symtab(o));
	assert_int_equal(obj_iter(o, OBJ_SYMTAB, count_symbols, &n), 0);
	assert_int_equal(n, 1);
	assert_string_equal(at(o, 0x1108), "packed_one");
	obj_unref(o);
	/* A part of it: nothing, and no harm. */
	add_named(".gnu_debugdata", packed, len - 9);
	o = load();
	assert_string_equal(at(o, 0x1108), "");
	obj_unref(o);
}

/* 256 MiB of zeros in 40 KB: fails, by the memory or the time that it takes, when
 * what comes out is not bounded. */
static void debugdata_that_swells(void **state)
{
	static char zeros[1 << 20];
	static uint8_t packed[1 << 16];
	lzma_stream s = LZMA_STREAM_INIT;
	struct obj *o;

	begin();
	r.k.f.sh[S_SYMTAB].sh_type = SHT_NULL;
	assert_int_equal(lzma_easy_encoder(&s, 1, LZMA_CHECK_NONE), LZMA_OK);
	s.next_out = packed;
	s.avail_out = sizeof(packed);
	for (int i = 0; i < 256; i++) {
		s.next_in = (const uint8_t *)zeros;
		s.avail_in = sizeof(zeros);
		assert_int_equal(lzma_code(&s, i == 255 ? LZMA_FINISH : LZMA_RUN),
				 i == 255 ? LZMA_STREAM_END : LZMA_OK);
	}
	add_named(".gnu_debugdata", packed, s.total_out);
	lzma_end(&s);
	o = load();
	assert_string_equal(at(o, 0x1108), "");
	obj_unref(o);
}

static void debuglink(void **state)
{
	static const char good[] = "x.debug\0\x78\x56\x34\x12";
	static const char path[] = "../../x.debug\0\0\0\x78\x56\x34\x12";
	uint32_t crc = 0;
	struct obj *o;

	begin();
	add_named(".gnu_debuglink", good, 12);
	o = load();
	assert_string_equal(obj_debuglink(o, &crc), "x.debug");
	assert_int_equal(crc, 0x12345678);
	obj_unref(o);
	add_named(".gnu_debuglink", good, 9);
	o = load();
	assert_null(obj_debuglink(o, &crc));
	obj_unref(o);
	add_named(".gnu_debuglink", path, sizeof(path) - 1);
	o = load();
	assert_null(obj_debuglink(o, &crc));
	obj_unref(o);
}

static void crc_of_a_file(void **state)
{
	char path[] = "/tmp/pgrab-crc-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	uint32_t crc = 0;

	assert_int_equal(write(fd, "123456789", 9), 9);
	assert_int_equal(obj_crc(fd, &crc), 0);
	assert_int_equal(crc, 0xcbf43926); /* the check value of CRC-32 */
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zlib_sections),  cmocka_unit_test(zstd_sections),
		cmocka_unit_test(sizes_that_lie), cmocka_unit_test(debugdata),
		cmocka_unit_test(debuglink),      cmocka_unit_test(debugdata_that_swells),
		cmocka_unit_test(crc_of_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
