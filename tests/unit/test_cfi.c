/* SPDX-License-Identifier: MIT */
/*
 * src/obj/cfi: rows of entries made by hand, every encoding and instruction; damaged and
 * hostile ones; memory that runs out; many threads.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "cfi_maker.h"

/* --- memory that runs out --------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

static unsigned countdown; /* the allocation that fails; 0: none */

static bool fails(void)
{
	return countdown && !--countdown;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

/* --- helpers ---------------------------------------------------------------------- */

static struct cfi_maker k;

static struct cfi_row row_at(struct obj *o, uint64_t vaddr)
{
	struct cfi_row row;

	memset(&row, 0xee, sizeof(row));
	assert_int_equal(obj_cfi_row(o, vaddr, &row), 0);
	return row;
}

static void assert_no_row(struct obj *o, uint64_t vaddr, int err)
{
	struct cfi_row row;

	assert_int_equal(obj_cfi_row(o, vaddr, &row), err);
}

/* The rule of reg; NULL: none. */
static const struct cfi_rule *rule_of(const struct cfi_row *row, unsigned reg)
{
	for (unsigned i = 0; i < row->nrules; i++) {
		if (row->rule[i].reg == reg)
			return &row->rule[i];
	}
	return NULL;
}

static void assert_rule(const struct cfi_row *row, unsigned reg, enum cfi_how how, int n)
{
	const struct cfi_rule *rule = rule_of(row, reg);

	assert_non_null(rule);
	assert_int_equal(rule->how, how);
	if (how != CFI_UNDEFINED && how != CFI_SAME)
		assert_int_equal(rule->n, n);
}

static void assert_cfa(const struct cfi_row *row, unsigned reg, int n)
{
	assert_int_equal(row->cfa.how, CFI_VAL_OFFSET);
	assert_int_equal(row->cfa.reg, reg);
	assert_int_equal(row->cfa.n, n);
}

/* push %rbp; mov %rsp, %rbp; …; at [TEXT + at, + 0x20). */
static void put_function(uint64_t at)
{
	open_fde(&k, TEXT + at, 0x20);
	PUT(&k, 0x41, 0x0e, 16, 0x80 | RBP, 2, 0x43, 0x0d, RBP);
	close_entry(&k);
}

static void assert_function(struct obj *o, uint64_t at)
{
	struct cfi_row row = row_at(o, TEXT + at);

	assert_int_equal(row.start, TEXT + at);
	assert_int_equal(row.end, TEXT + at + 0x20);
	assert_cfa(&row, RSP, 8);
	assert_rule(&row, RIP, CFI_OFFSET, -8);
	assert_null(rule_of(&row, RBP));
	row = row_at(o, TEXT + at + 1);
	assert_cfa(&row, RSP, 16);
	assert_rule(&row, RBP, CFI_OFFSET, -16);
	row = row_at(o, TEXT + at + 3);
	assert_cfa(&row, RSP, 16);
	row = row_at(o, TEXT + at + 0x1f);
	assert_cfa(&row, RBP, 16);
	assert_int_equal(row.ra, RIP);
	assert_int_equal(row.flags, 0);
}

/* --- finding ---------------------------------------------------------------------- */

static void make_three(unsigned encoding)
{
	begin(&k, EM_X86_64);
	k.encoding = encoding;
	usual_cie(&k);
	put_function(0);
	put_function(0x20);
	put_function(0x80);
	put(&k, 0, 4);
}

static void assert_three(struct obj *o)
{
	for (int i = 0; i < 2; i++) { /* the second time from the cache */
		assert_function(o, 0);
		assert_function(o, 0x20);
		assert_function(o, 0x80);
	}
	assert_no_row(o, TEXT - 1, -ENOENT);
	assert_no_row(o, TEXT + 0x40, -ENOENT);
	assert_no_row(o, TEXT + 0x7f, -ENOENT);
	assert_no_row(o, TEXT + 0xa0, -ENOENT);
	assert_no_row(o, 0, -ENOENT);
	assert_no_row(o, UINT64_MAX, -ENOENT);
	obj_unref(o);
}

static void by_table(void **state)
{
	make_three(0x1b);
	put_table(&k, 0x3b);
	assert_three(end(&k));
}

/* A header without a table that can be searched leads to .eh_frame all the same. */
static void by_own_index(void **state)
{
	make_three(0x1b);
	put_table(&k, 0xff);
	assert_three(end(&k));
}

static void by_section(void **state)
{
	make_three(0x1b);
	put_section(&k, ".eh_frame", SHF_ALLOC);
	assert_three(end(&k));
}

static void by_table_and_section(void **state)
{
	make_three(0x1b);
	put_table(&k, 0x3b);
	put_section(&k, ".eh_frame", SHF_ALLOC);
	assert_three(end(&k));
}

static void every_encoding(void **state)
{
	static const unsigned encodings[] = { 0x00, 0x01, 0x02, 0x03, 0x04, 0x09,
					      0x0a, 0x0b, 0x0c, 0x1a, 0x1b, 0x1c,
					      0x10, 0x14, 0x23, 0x33, 0x50 };

	for (size_t i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
		make_three(encodings[i]);
		put_table(&k, 0x3b);
		assert_three(end(&k));
	}
}

/* Indirect, function-relative, unknown forms: no rules, no harm. */
static void no_encoding(void **state)
{
	static const unsigned encodings[] = { 0x9b, 0x43, 0x0f, 0x68 };

	for (size_t i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
		struct obj *o;

		make_three(encodings[i]);
		put_table(&k, 0x3b);
		o = end(&k);
		assert_no_row(o, TEXT, -ENOEXEC);
		obj_unref(o);
	}
}

static void debug_frame(void **state)
{
	static const unsigned versions[] = { 1, 3, 4 };

	for (int wide = 0; wide < 2; wide++) {
		for (int i = 0; i < 3; i++) {
			begin(&k, EM_X86_64);
			k.debug = true;
			k.wide = wide;
			k.encoding = 0;
			open_cie(&k, versions[i], "", NULL, 0);
			usual_rules(&k);
			close_entry(&k);
			put_function(0x20);
			put_function(0);
			put_function(0x80);
			put_section(&k, ".debug_frame", 0);
			assert_three(end(&k));
		}
	}
}

/* Compressed: not understood here, and not misunderstood. */
static void compressed(void **state)
{
	struct obj *o;

	make_three(0x1b);
	put_section(&k, ".eh_frame", SHF_ALLOC | SHF_COMPRESSED);
	o = end(&k);
	assert_no_row(o, TEXT, -ENOENT);
	obj_unref(o);
}

/* --- augmentations ---------------------------------------------------------------- */

static void signal_frame(void **state)
{
	static const uint8_t data[] = { 0x1b, 0x9b, 1, 2, 3, 4, 0x1b };
	struct cfi_row row;
	struct obj *o;

	begin(&k, EM_X86_64);
	open_cie(&k, 3, "zRPLS", data, sizeof(data));
	usual_rules(&k);
	close_entry(&k);
	put_function(0);
	put_table(&k, 0x3b);
	o = end(&k);
	row = row_at(o, TEXT);
	assert_int_equal(row.flags, CFI_SIGNAL);
	assert_cfa(&row, RSP, 8);
	obj_unref(o);
}

static void unknown_augmentation(void **state)
{
	static const uint8_t data[] = { 0x1b, 1, 2, 3 };
	struct cfi_row row;
	struct obj *o;

	/* 'z' says how much there is of it. */
	begin(&k, EM_X86_64);
	open_cie(&k, 1, "zR?", data, sizeof(data));
	usual_rules(&k);
	close_entry(&k);
	put_function(0);
	put_table(&k, 0x3b);
	o = end(&k);
	row = row_at(o, TEXT);
	assert_cfa(&row, RSP, 8);
	obj_unref(o);
	/* Without it nothing is known. */
	begin(&k, EM_X86_64);
	open_cie(&k, 1, "?", NULL, 0);
	usual_rules(&k);
	close_entry(&k);
	put_function(0);
	put_table(&k, 0x3b);
	o = end(&k);
	assert_no_row(o, TEXT, -ENOEXEC);
	obj_unref(o);
}

/* --- instructions ----------------------------------------------------------------- */

/* An obj with one function of 0x400 bytes and these instructions. */
#define PROGRAM(machine, ...)                                                            \
	({                                                                               \
		begin(&k, machine);                                                      \
		usual_cie(&k);                                                           \
		open_fde(&k, TEXT, 0x400);                                               \
		PUT(&k, __VA_ARGS__);                                                    \
		close_entry(&k);                                                         \
		put_table(&k, 0x3b);                                                     \
		end(&k);                                                                 \
	})

static void register_rules(void **state)
{
	struct obj *o = PROGRAM(EM_X86_64, 0x05, RBX, 3,     /* offset_extended */
				0x11, RAX, 0x7e,             /* offset_extended_sf -2 */
				0x2f, 1, 2,                  /* GNU_negative_offset */
				0x14, 2, 4,                  /* val_offset */
				0x15, 4, 0x7f,               /* val_offset_sf -1 */
				0x09, 5, RBX,                /* register */
				0x07, 8,                     /* undefined */
				0x08, 9,                     /* same_value */
				0x2e, 16,                    /* GNU_args_size */
				0x05, 60, 3, 0x07, 0x90, 1); /* vectors: dropped */
	struct cfi_row row = row_at(o, TEXT);

	assert_rule(&row, RBX, CFI_OFFSET, -24);
	assert_rule(&row, RAX, CFI_OFFSET, 16);
	assert_rule(&row, 1, CFI_OFFSET, 16);
	assert_rule(&row, 2, CFI_VAL_OFFSET, -32);
	assert_rule(&row, 4, CFI_VAL_OFFSET, 8);
	assert_rule(&row, 5, CFI_REGISTER, RBX);
	assert_rule(&row, 8, CFI_UNDEFINED, 0);
	assert_rule(&row, 9, CFI_SAME, 0);
	assert_int_equal(row.nrules, 9);
	obj_unref(o);
}

static void cfa_rules(void **state)
{
	struct obj *o = PROGRAM(EM_X86_64, 0x0c, RBP, 0x80, 1, /* def_cfa */
				0x41, 0x0d, RBX,               /* def_cfa_register */
				0x41, 0x0e, 7,                 /* def_cfa_offset */
				0x41, 0x12, RSP, 0x7d,         /* def_cfa_sf -3 */
				0x41, 0x13, 0x7b);             /* def_cfa_offset_sf */
	struct cfi_row row = row_at(o, TEXT);

	assert_cfa(&row, RBP, 128);
	row = row_at(o, TEXT + 1);
	assert_cfa(&row, RBX, 128);
	row = row_at(o, TEXT + 2);
	assert_cfa(&row, RBX, 7);
	row = row_at(o, TEXT + 3);
	assert_cfa(&row, RSP, 24);
	row = row_at(o, TEXT + 4);
	assert_cfa(&row, RSP, 40);
	obj_unref(o);
}

static void advances(void **state)
{
	struct obj *o = PROGRAM(EM_X86_64, 0x41, 0x0e, 1, 0x02, 0x10, 0x0e, 2, 0x03, 0, 1,
				0x0e, 3, 0x04, 0, 1, 0, 0, 0x0e, 4);
	static const struct {
		unsigned at;
		int cfa;
	} rows[] = { { 0, 8 },     { 1, 1 },     { 0x10, 1 },  { 0x11, 2 }, { 0x110, 2 },
		     { 0x111, 3 }, { 0x210, 3 }, { 0x211, 4 }, { 0x3ff, 4 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cfi_row row = row_at(o, TEXT + rows[i].at);

		assert_cfa(&row, RSP, rows[i].cfa);
	}
	obj_unref(o);
}

static void remembered(void **state)
{
	struct obj *o = PROGRAM(EM_X86_64, 0x0a, 0x41, 0x0e, 16, 0x80 | RBX, 2, 0x0a,
				0x41, 0x0e, 24, 0xc0 | RBX, 0x41, 0x0b, 0x41, 0x0b, 0x41,
				0x06, RIP, 0x80 | RBX, 9, 0xc0 | RBX);
	struct cfi_row row = row_at(o, TEXT + 2);

	assert_cfa(&row, RSP, 24);
	assert_null(rule_of(&row, RBX));
	row = row_at(o, TEXT + 3);
	assert_cfa(&row, RSP, 16);
	assert_rule(&row, RBX, CFI_OFFSET, -16);
	row = row_at(o, TEXT + 4);
	assert_cfa(&row, RSP, 8);
	assert_null(rule_of(&row, RBX));
	row = row_at(o, TEXT + 5); /* restored is what the CIE said */
	assert_rule(&row, RIP, CFI_OFFSET, -8);
	assert_null(rule_of(&row, RBX));
	obj_unref(o);
}

static void expressions(void **state)
{
	struct obj *o = PROGRAM(EM_X86_64, 0x0f, 2, 0x77, 8, 0x10, RBX, 1, 0x96, 0x16,
				RBP, 3, 0x96, 0x96, 0x12, 0x10, 99, 1, 0x96);
	struct cfi_row row = row_at(o, TEXT);
	const uint8_t *bytes;

	assert_int_equal(row.cfa.how, CFI_VAL_EXPR);
	assert_int_equal(row.cfa.len, 2);
	assert_int_equal(obj_cfi_expr(o, &row, &row.cfa, &bytes), 0);
	assert_memory_equal(bytes, "\x77\x08", 2);
	assert_int_equal(rule_of(&row, RBX)->how, CFI_EXPR);
	assert_int_equal(rule_of(&row, RBP)->how, CFI_VAL_EXPR);
	assert_int_equal(rule_of(&row, RBP)->len, 3);
	assert_int_equal(obj_cfi_expr(o, &row, rule_of(&row, RBP), &bytes), 0);
	assert_memory_equal(bytes, "\x96\x96\x12", 3);
	obj_unref(o);
}

static void signed_addresses(void **state)
{
	struct obj *o = PROGRAM(EM_AARCH64, 0x41, 0x2d, 0x41, 0x0a, 0x2d, 0x41, 0x0b);

	assert_int_equal(row_at(o, TEXT).flags, 0);
	assert_int_equal(row_at(o, TEXT + 1).flags, CFI_SIGNED);
	assert_int_equal(row_at(o, TEXT + 2).flags, 0);
	assert_int_equal(row_at(o, TEXT + 3).flags, CFI_SIGNED);
	obj_unref(o);
	/* Elsewhere the opcode means register windows, and nothing to us. */
	o = PROGRAM(EM_X86_64, 0x2d);
	assert_int_equal(row_at(o, TEXT).flags, 0);
	obj_unref(o);
}

/* --- nonsense --------------------------------------------------------------------- */

#define ASSERT_NONSENSE(...)                                                             \
	do {                                                                             \
		struct obj *bad = PROGRAM(EM_X86_64, __VA_ARGS__);                       \
		assert_no_row(bad, TEXT, -ENOEXEC);                                      \
		obj_unref(bad);                                                          \
	} while (0)

static void nonsense(void **state)
{
	ASSERT_NONSENSE(0x0b); /* nothing kept */
	ASSERT_NONSENSE(0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a);
	ASSERT_NONSENSE(0x3f);                                     /* no such opcode */
	ASSERT_NONSENSE(0x0c, 99, 8);                              /* CFA by a vector */
	ASSERT_NONSENSE(0x0f, 1, 0x96, 0x0e, 8);                   /* offset of one */
	ASSERT_NONSENSE(0x10, RBX, 0x7f);                          /* beyond the end */
	ASSERT_NONSENSE(0x0e, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f); /* far too far */
	ASSERT_NONSENSE(0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f);
	ASSERT_NONSENSE(0x0e, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
			0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0); /* endless number */
}

/* Two that cover an address: the one that begins last answers, if it covers it. */
static void overlapping(void **state)
{
	struct obj *o;

	begin(&k, EM_X86_64);
	usual_cie(&k);
	open_fde(&k, TEXT, 0x100);
	close_entry(&k);
	open_fde(&k, TEXT + 0x40, 0x20);
	close_entry(&k);
	put_table(&k, 0xff);
	o = end(&k);
	assert_int_equal(row_at(o, TEXT + 0x3f).start, TEXT);
	assert_int_equal(row_at(o, TEXT + 0x40).start, TEXT + 0x40);
	assert_no_row(o, TEXT + 0x60, -ENOENT);
	obj_unref(o);
}

/* An FDE whose CIE is itself, an FDE, or nowhere. */
static void cyclic(void **state)
{
	size_t id;

	for (uint32_t back = 0; back < 0x80; back++) {
		struct cfi_row row;
		struct obj *o;

		make_three(0x1b);
		id = k.fde[1] + 4;
		memcpy(k.file + id, &back, 4);
		put_table(&k, back % 2 ? 0x3b : 0xff);
		o = end(&k);
		obj_cfi_row(o, TEXT + 0x20, &row);
		assert_function(o, 0);
		obj_unref(o);
	}
}

static void ask_everything(void)
{
	const uint8_t *bytes;
	struct cfi_row row;
	struct obj *o;

	if (obj_get_bytes(k.file, sizeof(k.file), &o))
		return;
	for (uint64_t at = TEXT - 1; at < TEXT + 0xa2; at += 9) {
		if (obj_cfi_row(o, at, &row))
			continue;
		obj_cfi_expr(o, &row, &row.cfa, &bytes);
		for (unsigned i = 0; i < row.nrules; i++)
			obj_cfi_expr(o, &row, &row.rule[i], &bytes);
	}
	obj_unref(o);
}

/* Whatever a byte becomes: an answer or none, in time, within bounds (ASan looks). */
static void damaged(void **state)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x3f, 0x7f, 0x80, 0xff };
	static struct cfi_maker good;

	make_three(0x1b);
	put_table(&k, 0x3b);
	put_section(&k, ".eh_frame", SHF_ALLOC);
	good = k;
	for (size_t i = HDR; i < good.at; i++) {
		if (i == HDR + 12 + 3 * 8)
			i = FRAME;
		for (size_t v = 0; v < sizeof(values); v++) {
			k.file[i] = values[v];
			ask_everything();
		}
		k.file[i] = good.file[i];
	}
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* 16 MB of entries of one CIE whose program is long: the index is made in linear time,
 * a row in bounded steps. */
static void endless(void **state)
{
	size_t size = 16 << 20, at = FRAME;
	int64_t began = now_ms();
	struct cfi_row row;
	struct obj *o;
	uint8_t *big;
	uint32_t n;

	begin(&k, EM_X86_64);
	usual_cie(&k);
	put_table(&k, 0xff);
	big = __real_calloc(1, size);
	memcpy(big, k.file, sizeof(k.file));
	((Elf64_Phdr *)(big + sizeof(Elf64_Ehdr)))->p_filesz = size;
	((Elf64_Phdr *)(big + sizeof(Elf64_Ehdr)))->p_memsz = size;
	for (at = k.at; at + 24 < size / 2; at += 24) {
		n = 20;
		memcpy(big + at, &n, 4);
		n = (uint32_t)(at + 4 - k.cie);
		memcpy(big + at + 4, &n, 4);
		n = 0x10000000;
		memcpy(big + at + 12, &n, 4);
	}
	n = (uint32_t)(size - at - 4); /* the last one: 8 MB of nops */
	memcpy(big + at, &n, 4);
	n = (uint32_t)(at + 4 - k.cie);
	memcpy(big + at + 4, &n, 4);
	n = 0x10000000;
	memcpy(big + at + 12, &n, 4);
	assert_int_equal(obj_get_bytes(big, size, &o), 0);
	for (uint64_t i = 0; i < 100; i++)
		obj_cfi_row(o, at + i, &row);
	obj_unref(o);
	free(big);
	assert_true(now_ms() - began < 5000);
}

/* --- memory and threads ----------------------------------------------------------- */

static void no_memory(void **state)
{
	struct cfi_row row;
	struct obj *o;
	unsigned n;
	int err = -ENOMEM;

	make_three(0x1b);
	put_table(&k, 0xff);
	for (n = 1; err; n++) {
		countdown = n;
		err = obj_get_bytes(k.file, sizeof(k.file), &o);
		if (!err) {
			err = obj_cfi_row(o, TEXT + 1, &row);
			countdown = 0;
			assert_three(o);
		}
		countdown = 0;
		assert_true(err == 0 || err == -ENOMEM);
	}
	assert_true(n > 4);
}

static void *hammer(void *arg)
{
	struct obj *o = arg;

	for (int i = 0; i < 20000; i++) {
		struct cfi_row row;
		uint64_t at = TEXT + (uint64_t)(i * 7) % 0x400;

		if (obj_cfi_row(o, at, &row) || row.cfa.n != (int)(at - TEXT) / 4 % 100)
			return arg;
	}
	return NULL;
}

/* More addresses than slots: readers and writers meet in each. Fails when a row is read
 * half written. */
static void threads(void **state)
{
	pthread_t t[4];
	struct obj *o;
	void *bad;

	begin(&k, EM_X86_64);
	usual_cie(&k);
	open_fde(&k, TEXT, 0x400);
	for (uint8_t i = 0; i < 200; i++)
		PUT(&k, 0x0e, i % 100, 0x44);
	PUT(&k, 0x0e, 0);
	for (uint8_t i = 0; i < 56; i++)
		PUT(&k, 0x0e, i, 0x44);
	close_entry(&k);
	put_table(&k, 0x3b);
	o = end(&k);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, o), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	obj_unref(o);
}

/* --- real files ------------------------------------------------------------------- */

/* Every function of the libc that is exported and has code has a row at its start, with
 * the return address at CFA - 8. */
static void libc_file(void **state)
{
	unsigned found = 0, asked = 0;
	struct cfi_row row;
	struct obj *o;
	Dl_info info;
	int fd;

	assert_true(dladdr((void *)(uintptr_t)qsort, &info));
	fd = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(obj_get_fd(fd, &o), 0);
	close(fd);
	for (const char *const *name = (const char *const[]){ "qsort", "printf", "malloc",
							      "fopen", "system", NULL };
	     *name; name++) {
		struct obj_symbol s;

		if (obj_lookup_name(o, *name, &s))
			continue;
		asked++;
		found += !obj_cfi_row(o, s.sym.st_value, &row) &&
			 row.start == s.sym.st_value;
	}
	obj_unref(o);
	assert_int_equal(found, asked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_table),       cmocka_unit_test(by_own_index),
		cmocka_unit_test(by_section),     cmocka_unit_test(by_table_and_section),
		cmocka_unit_test(every_encoding), cmocka_unit_test(no_encoding),
		cmocka_unit_test(debug_frame),    cmocka_unit_test(compressed),
		cmocka_unit_test(signal_frame),   cmocka_unit_test(unknown_augmentation),
		cmocka_unit_test(register_rules), cmocka_unit_test(cfa_rules),
		cmocka_unit_test(advances),       cmocka_unit_test(remembered),
		cmocka_unit_test(expressions),    cmocka_unit_test(signed_addresses),
		cmocka_unit_test(nonsense),       cmocka_unit_test(overlapping),
		cmocka_unit_test(cyclic),         cmocka_unit_test(damaged),
		cmocka_unit_test(endless),        cmocka_unit_test(no_memory),
		cmocka_unit_test(threads),        cmocka_unit_test(libc_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
