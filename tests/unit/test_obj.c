/* SPDX-License-Identifier: MIT */
/*
 * ELF files as tables: one made by hand, so that every preference can be seen; real
 * ones; and both of them damaged systematically.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "obj/file.h"
#include "obj/obj.h"
#include "util/scope.h"

/* --- an ELF file made by hand ----------------------------------------------------- */

enum {
	TEXT_ADDR = 0x1000, /* .text and the data behind it */
	TEXT_SIZE = 0x1000,
	DATA_ADDR = 0x2000,
	DATA_SIZE = 0x1000,
	MAX_SYMS = 64,
	SECTIONS = 9,
};

/* Section numbers. */
enum {
	S_NULL,
	S_TEXT,
	S_DATA,
	S_SYMTAB,
	S_STRTAB,
	S_DYNSYM,
	S_DYNSTR,
	S_VERSYM,
	S_VERDEF
};

/* What the file has behind its section and program headers, at fixed places. */
struct image64 {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[5];
	Elf64_Shdr sh[SECTIONS];
	Elf64_Dyn dyn[8];
	Elf64_Sym symtab[MAX_SYMS], dynsym[MAX_SYMS];
	uint16_t versym[MAX_SYMS];
	Elf64_Verdef verdef[2];
	Elf64_Verdaux verdaux[2];
	uint32_t hash[4];
	Elf64_Nhdr note;
	char note_name[4], note_desc[20];
	char interp[16];
	char strtab[1024], dynstr[1024];
	char tail[64]; /* room between the tables and the end */
};

/* The file while it is being filled. */
struct maker {
	struct image64 f;      /* the bytes */
	size_t nsym, ndyn;     /* symbols so far */
	size_t strlen, dynlen; /* bytes of names so far */
};

#define AT(member) offsetof(struct image64, member)

static void set_section(struct maker *k, int i, uint32_t type, uint64_t addr,
			uint64_t off, uint64_t size, uint32_t link)
{
	k->f.sh[i] = (Elf64_Shdr){ .sh_type = type,
				   .sh_addr = addr,
				   .sh_offset = off,
				   .sh_size = size,
				   .sh_link = link,
				   .sh_flags = addr ? SHF_ALLOC : 0 };
}

static void set_segment(struct maker *k, int i, uint32_t type, uint64_t off,
			uint64_t addr, uint64_t size)
{
	k->f.ph[i] = (Elf64_Phdr){ .p_type = type,
				   .p_flags = PF_R | PF_X,
				   .p_offset = off,
				   .p_vaddr = addr,
				   .p_filesz = size,
				   .p_memsz = size,
				   .p_align = 4 };
}

static void make_headers(struct maker *k)
{
	Elf64_Ehdr *eh = &k->f.eh;

	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS64;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_ident[EI_VERSION] = EV_CURRENT;
	eh->e_type = ET_DYN;
	eh->e_machine = EM_X86_64;
	eh->e_version = EV_CURRENT;
	eh->e_entry = 0x1234;
	eh->e_phoff = AT(ph);
	eh->e_shoff = AT(sh);
	eh->e_ehsize = sizeof(*eh);
	eh->e_phentsize = sizeof(Elf64_Phdr);
	eh->e_phnum = 5;
	eh->e_shentsize = sizeof(Elf64_Shdr);
	eh->e_shnum = SECTIONS;
	/* Out of order: the obj sorts them. */
	set_segment(k, 0, PT_LOAD, 0, 0x1000, sizeof(k->f));
	k->f.ph[0].p_memsz = 0x2000;
	set_segment(k, 1, PT_LOAD, 0, 0, sizeof(k->f));
	k->f.ph[1].p_memsz = 0x2000; /* they overlap: no harm */
	set_segment(k, 2, PT_DYNAMIC, AT(dyn), AT(dyn), sizeof(k->f.dyn));
	set_segment(k, 3, PT_NOTE, AT(note), AT(note),
		    sizeof(k->f.note) + sizeof(k->f.note_name) + sizeof(k->f.note_desc));
	set_segment(k, 4, PT_INTERP, AT(interp), AT(interp), sizeof(k->f.interp));
}

static void make_sections(struct maker *k)
{
	set_section(k, S_TEXT, SHT_PROGBITS, TEXT_ADDR, 0, TEXT_SIZE, 0);
	set_section(k, S_DATA, SHT_PROGBITS, DATA_ADDR, 0, DATA_SIZE, 0);
	set_section(k, S_SYMTAB, SHT_SYMTAB, 0, AT(symtab), 0, S_STRTAB);
	set_section(k, S_STRTAB, SHT_STRTAB, 0, AT(strtab), 0, 0);
	set_section(k, S_DYNSYM, SHT_DYNSYM, AT(dynsym), AT(dynsym), 0, S_DYNSTR);
	set_section(k, S_DYNSTR, SHT_STRTAB, AT(dynstr), AT(dynstr), 0, 0);
	set_section(k, S_VERSYM, SHT_GNU_versym, AT(versym), AT(versym), 0, S_DYNSYM);
	set_section(k, S_VERDEF, SHT_GNU_verdef, AT(verdef), AT(verdef),
		    sizeof(k->f.verdef) + sizeof(k->f.verdaux), S_DYNSTR);
	k->f.sh[S_VERDEF].sh_info = 2;
}

/* Appends a name to one of the string tables; its offset. */
static uint32_t add_name(char *table, size_t *len, const char *name)
{
	size_t at = *len;

	*len += strlen(name) + 1;
	assert_true(*len < sizeof(((struct image64 *)0)->strtab));
	strcpy(table + at, name);
	return (uint32_t)at;
}

static void make_extras(struct maker *k)
{
	k->f.note = (Elf64_Nhdr){ 4, 20, NT_GNU_BUILD_ID };
	memcpy(k->f.note_name, "GNU", 4);
	memcpy(k->f.note_desc, "0123456789abcdefghij", 20);
	strcpy(k->f.interp, "/lib/ld.so");
	k->f.dyn[0] = (Elf64_Dyn){ DT_SONAME,
				   { add_name(k->f.dynstr, &k->dynlen, "libx.so.1") } };
	k->f.dyn[1] = (Elf64_Dyn){ DT_STRTAB, { AT(dynstr) } };
	k->f.dyn[2] = (Elf64_Dyn){ DT_SYMTAB, { AT(dynsym) } };
	k->f.dyn[3] = (Elf64_Dyn){ DT_HASH, { AT(hash) } };
	k->f.dyn[4] = (Elf64_Dyn){ DT_STRSZ, { sizeof(k->f.dynstr) } };
	for (int i = 0; i < 2; i++) {
		k->f.verdef[i] = (Elf64_Verdef){
			.vd_version = 1,
			.vd_ndx = (Elf64_Half)(2 + i),
			.vd_cnt = 1,
			.vd_aux = (Elf64_Word)(AT(verdaux[i]) - AT(verdef[i])),
			.vd_next = i ? 0 : sizeof(Elf64_Verdef),
		};
		k->f.verdaux[i].vda_name =
			add_name(k->f.dynstr, &k->dynlen, i ? "V2" : "V1");
	}
}

static void begin_file(struct maker *k)
{
	memset(k, 0, sizeof(*k));
	k->nsym = k->ndyn = k->strlen = k->dynlen = 1;
	make_headers(k);
	make_sections(k);
	make_extras(k);
}

/* A symbol as a test writes it down. */
struct line {
	const char *name; /* NULL ends a list */
	uint64_t value, size;
	int bind, type; /* STB_*, STT_* */
	int section;    /* S_TEXT, SHN_ABS … */
	int version;    /* .dynsym: index, 0x8000 hidden */
};

static Elf64_Sym symbol_of(const struct line *l, uint32_t name)
{
	return (Elf64_Sym){ .st_name = name,
			    .st_info = ELF64_ST_INFO(l->bind, l->type),
			    .st_shndx = (uint16_t)l->section,
			    .st_value = l->value,
			    .st_size = l->size };
}

static void add_symtab(struct maker *k, const struct line *l)
{
	for (; l->name; l++)
		k->f.symtab[k->nsym++] =
			symbol_of(l, add_name(k->f.strtab, &k->strlen, l->name));
}

static void add_dynsym(struct maker *k, const struct line *l)
{
	for (; l->name; l++) {
		k->f.versym[k->ndyn] = (uint16_t)l->version;
		k->f.dynsym[k->ndyn++] =
			symbol_of(l, add_name(k->f.dynstr, &k->dynlen, l->name));
	}
}

static void end_file(struct maker *k)
{
	k->f.sh[S_SYMTAB].sh_size = k->nsym * sizeof(Elf64_Sym);
	k->f.sh[S_DYNSYM].sh_size = k->ndyn * sizeof(Elf64_Sym);
	k->f.sh[S_VERSYM].sh_size = k->ndyn * 2;
	k->f.sh[S_STRTAB].sh_size = k->strlen;
	k->f.sh[S_DYNSTR].sh_size = k->dynlen;
	k->f.hash[1] = (uint32_t)k->ndyn;
}

/* An obj with these symbols. */
static struct obj *make_obj(const struct line *symtab, const struct line *dynsym)
{
	static struct maker k;
	struct obj *o;

	begin_file(&k);
	if (symtab)
		add_symtab(&k, symtab);
	if (dynsym)
		add_dynsym(&k, dynsym);
	end_file(&k);
	assert_int_equal(obj_get_bytes(&k.f, sizeof(k.f), &o), 0);
	return o;
}

/* The name at an address; "" for none. */
static const char *at(struct obj *o, uint64_t addr)
{
	struct obj_symbol s;
	int err = obj_lookup_addr(o, addr, &s);

	assert_true(err == 0 || err == -ENOENT);
	return err ? "" : s.name;
}

/* The value of a name; 0 for none. */
static uint64_t value_of(struct obj *o, const char *name)
{
	struct obj_symbol s;
	int err = obj_lookup_name(o, name, &s);

	assert_true(err == 0 || err == -ENOENT);
	return err ? 0 : s.sym.st_value;
}

#define FUNC(name, value, size)                                                          \
	{                                                                                \
		name, value, size, STB_GLOBAL, STT_FUNC, S_TEXT, 1                       \
	}
#define LOCAL(name, value, size)                                                         \
	{                                                                                \
		name, value, size, STB_LOCAL, STT_FUNC, S_TEXT, 1                        \
	}
#define WEAK(name, value, size)                                                          \
	{                                                                                \
		name, value, size, STB_WEAK, STT_FUNC, S_TEXT, 1                         \
	}
#define DATA(name, value, size)                                                          \
	{                                                                                \
		name, value, size, STB_GLOBAL, STT_OBJECT, S_DATA, 1                     \
	}
#define END                                                                              \
	{                                                                                \
		NULL, 0, 0, 0, 0, 0, 0                                                   \
	}

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

/* --- real files, the cache -------------------------------------------------------- */

static struct obj *get_path(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct obj *o;

	assert_true(fd >= 0);
	assert_int_equal(obj_get_fd(fd, &o), 0);
	return o;
}

/* The file that holds a function, and where it was loaded. */
static Dl_info where_is(void *function)
{
	Dl_info info;

	assert_true(dladdr(function, &info) != 0);
	return info;
}

static void libc_agrees_with_the_linker(void **state)
{
	static const char *const names[] = { "malloc", "free", "getpid", "qsort",
					     "puts" };
	Dl_info libc = where_is((void *)gnu_get_libc_version);
	struct obj *o = get_path(libc.dli_fname);
	struct obj_symbol s;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		uintptr_t value =
			(uintptr_t)dlsym(RTLD_NEXT, names[i]) - (uintptr_t)libc.dli_fbase;

		if (strcmp(where_is(dlsym(RTLD_NEXT, names[i])).dli_fname,
			   libc.dli_fname))
			continue; /* a sanitizer's own */
		assert_int_equal(value_of(o, names[i]), value);
		assert_int_equal(obj_lookup_addr(o, value + 1, &s), 0);
		assert_int_equal(s.sym.st_value, value);
	}
	assert_string_equal(obj_soname(o), "libc.so.6");
	obj_unref(o);
}

/* Copies our own program to a new file; its path in `path`. */
static int copy_self(char *path)
{
	_cleanup_close_ int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct stat st;
	int to;

	strcpy(path, "/tmp/pgrab-obj-XXXXXX");
	to = mkostemp(path, O_CLOEXEC);
	assert_true(from >= 0 && to >= 0);
	assert_int_equal(fstat(from, &st), 0);
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = sendfile(to, from, NULL, (size_t)left);

		assert_true(n > 0);
		left -= n;
	}
	return to;
}

static void cache_knows_a_file_again(void **state)
{
	struct obj *a = get_path("/proc/self/exe"), *b = get_path("/proc/self/exe");

	assert_ptr_equal(a, b);
	obj_unref(a);
	obj_unref(b);
	b = get_path("/proc/self/exe"); /* nobody held it, and it stayed */
	assert_ptr_equal(a, b);
	assert_ptr_equal(obj_ref(b), b);
	obj_unref(b);
	obj_unref(b);
	obj_unref(NULL);
}

static void cache_shares_equal_copies_only(void **state)
{
	struct obj *self = get_path("/proc/self/exe"), *copy, *changed;
	char path[64], other[64];
	const struct obj_segment *seg;
	int fd = copy_self(path), other_fd = copy_self(other);
	struct obj_symbol s;
	size_t n;
	char *name;

	assert_int_equal(obj_get_fd(fd, &copy), 0);
	seg = obj_segments(self, &n);
	assert_non_null(seg);
	obj_build_id(self, &n);
	if (n)
		assert_ptr_equal(copy, self);
	/* The same build-id and size, and another name in the string table. */
	assert_int_equal(obj_lookup_name(self, "cache_shares_equal_copies_only", &s), 0);
	{
		struct stat st;

		assert_int_equal(fstat(other_fd, &st), 0);
		name = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    other_fd, 0);
		assert_ptr_not_equal(name, MAP_FAILED);
		for (char *p = name; (p = memmem(p, (size_t)(name + st.st_size - p),
						 "cache_shares_equal", 18));)
			*p = 'X';
		munmap(name, (size_t)st.st_size);
	}
	assert_int_equal(obj_get_fd(other_fd, &changed), 0);
	assert_ptr_not_equal(changed, self);
	assert_int_equal(value_of(changed, "Xache_shares_equal_copies_only"),
			 s.sym.st_value);
	assert_int_equal(value_of(changed, "cache_shares_equal_copies_only"), 0);
	obj_unref(self);
	obj_unref(copy);
	obj_unref(changed);
	close(fd);
	close(other_fd);
	unlink(path);
	unlink(other);
}

static void cache_forgets_a_changed_file(void **state)
{
	static struct maker k;
	static const struct line one[] = { FUNC("one", 0x1000, 8), END };
	char path[] = "/tmp/pgrab-obj-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	struct obj *a, *b;

	begin_file(&k);
	add_symtab(&k, one);
	end_file(&k);
	assert_int_equal(pwrite(fd, &k.f, sizeof(k.f), 0), sizeof(k.f));
	assert_int_equal(obj_get_fd(fd, &a), 0);
	assert_int_equal(value_of(a, "one"), 0x1000);
	usleep(20000); /* file times have the grain of the timer */
	memcpy(k.f.strtab + 1, "two", 3);
	assert_int_equal(pwrite(fd, &k.f, sizeof(k.f), 0), sizeof(k.f));
	assert_int_equal(obj_get_fd(fd, &b), 0);
	assert_int_equal(value_of(b, "two"), 0x1000);
	assert_int_equal(value_of(a, "one"), 0x1000); /* who holds it keeps it */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(value_of(b, "two"), 0x1000);
	obj_unref(a);
	obj_unref(b);
	close(fd);
	unlink(path);
}

static void cache_is_bounded(void **state)
{
	static struct maker k;
	struct obj *o;

	begin_file(&k);
	end_file(&k);
	for (int i = 0; i < 200; i++) {
		char path[] = "/tmp/pgrab-obj-XXXXXX";
		int fd = mkostemp(path, O_CLOEXEC);

		k.f.eh.e_entry = (uint64_t)i;
		assert_int_equal(pwrite(fd, &k.f, sizeof(k.f), 0), sizeof(k.f));
		assert_int_equal(obj_get_fd(fd, &o), 0);
		assert_int_equal(obj_entry(o), i);
		obj_unref(o);
		close(fd);
		unlink(path);
	}
	assert_int_equal(obj_cache_idle(), OBJ_IDLE_LIMIT);
	obj_cache_trim();
	assert_int_equal(obj_cache_idle(), 0);
}

/* Looks everything up that it can, on a fresh obj that others use as well. */
static void *look_up(void *arg)
{
	struct obj *o = get_path("/proc/self/exe");
	uintptr_t bad = 0;

	for (uint64_t a = 0; a < 0x4000; a += 16) {
		struct obj_symbol s;

		if (!obj_lookup_addr(o, a, &s) && a - s.sym.st_value > 0x100000)
			bad++;
	}
	bad += value_of(o, "look_up") == 0;
	obj_unref(o);
	return (void *)bad;
}

static void many_threads_one_file(void **state)
{
	pthread_t t[8];

	for (int round = 0; round < 20; round++) {
		obj_cache_trim();
		for (int i = 0; i < 8; i++)
			assert_int_equal(pthread_create(&t[i], NULL, look_up, NULL), 0);
		for (int i = 0; i < 8; i++) {
			void *bad;

			pthread_join(t[i], &bad);
			assert_null(bad);
		}
	}
}

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
		cmocka_unit_test(header_is_read),
		cmocka_unit_test(no_elf_no_obj),
		cmocka_unit_test(sizes_are_exact),
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
		cmocka_unit_test(libc_agrees_with_the_linker),
		cmocka_unit_test(cache_knows_a_file_again),
		cmocka_unit_test(cache_shares_equal_copies_only),
		cmocka_unit_test(cache_forgets_a_changed_file),
		cmocka_unit_test(cache_is_bounded),
		cmocka_unit_test(many_threads_one_file),
		cmocka_unit_test(damaged_bytes),
		cmocka_unit_test(damaged_words),
		cmocka_unit_test(truncated_anywhere),
		cmocka_unit_test(damaged_program),
		cmocka_unit_test(sparse_claims_are_refused),
		cmocka_unit_test(overlapping_names_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
