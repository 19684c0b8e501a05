/* SPDX-License-Identifier: MIT */
/*
 * ELF files made by hand, for the tests of src/obj. A test uses what it needs of it.
 */
#ifndef PGRAB_TESTS_OBJ_MAKER_H
#define PGRAB_TESTS_OBJ_MAKER_H

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

#pragma GCC diagnostic ignored "-Wunused-function"

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

#endif
