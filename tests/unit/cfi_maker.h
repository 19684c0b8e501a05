/* SPDX-License-Identifier: MIT */
/*
 * ELF files with call frame information made by hand, for the tests of src/obj/cfi and
 * src/stack. A test uses what it needs of it.
 *
 * The file is mapped as it stands, address = offset: headers, .eh_frame_hdr at HDR,
 * .eh_frame at FRAME, text from TEXT on, section headers at the end.
 */
#ifndef PGRAB_TESTS_CFI_MAKER_H
#define PGRAB_TESTS_CFI_MAKER_H

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "obj/cfi.h"

#pragma GCC diagnostic ignored "-Wunused-function"

enum {
	HDR = 0x200,
	FRAME = 0x400,
	TEXT = 0x1000,
	SECTIONS_AT = 0x1800,
	FILE_SIZE = 0x2000,
	MAX_FDES = 16,
};

/* DWARF numbers of x86-64. */
enum {
	RAX = 0,
	RBX = 3,
	RBP = 6,
	RSP = 7,
	R12 = 12,
	RIP = 16
};

/* What a test wants. */
struct cfi_maker {
	uint8_t file[FILE_SIZE]; /* the bytes */
	size_t at;               /* where the next byte of CFI goes */
	size_t cie;              /* the last CIE */
	size_t entry;            /* the entry that is open */
	bool debug;              /* .debug_frame: other ids */
	bool wide;               /* 64-bit DWARF */
	unsigned encoding;       /* of addresses in FDEs */
	uint32_t pc[MAX_FDES];   /* for the table */
	uint32_t fde[MAX_FDES];  /* likewise */
	unsigned nfde;           /* how many */
};

static void put(struct cfi_maker *k, uint64_t value, size_t size)
{
	assert_true(k->at + size <= TEXT);
	memcpy(k->file + k->at, &value, size);
	k->at += size;
}

static void put_bytes(struct cfi_maker *k, const void *bytes, size_t n)
{
	assert_true(k->at + n <= TEXT);
	if (n)
		memcpy(k->file + k->at, bytes, n);
	k->at += n;
}

#define PUT(k, ...)                                                                      \
	put_bytes(k, (const uint8_t[]){ __VA_ARGS__ },                                   \
		  sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void begin(struct cfi_maker *k, unsigned machine)
{
	Elf64_Ehdr *eh = (Elf64_Ehdr *)k->file;

	memset(k, 0, sizeof(*k));
	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS64;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_ident[EI_VERSION] = EV_CURRENT;
	eh->e_type = ET_DYN;
	eh->e_machine = (uint16_t)machine;
	eh->e_version = EV_CURRENT;
	eh->e_phoff = sizeof(*eh);
	eh->e_ehsize = sizeof(*eh);
	eh->e_phentsize = sizeof(Elf64_Phdr);
	eh->e_phnum = 2;
	((Elf64_Phdr *)(eh + 1))[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
						    .p_flags = PF_R | PF_X,
						    .p_filesz = FILE_SIZE,
						    .p_memsz = FILE_SIZE };
	k->at = FRAME;
	k->encoding = 0x1b;
}

/* --- entries ---------------------------------------------------------------------- */

static void open_entry(struct cfi_maker *k)
{
	k->entry = k->at;
	if (k->wide)
		put(k, 0xffffffff, 4);
	put(k, 0, k->wide ? 8 : 4);
}

/* Fills in the length. */
static void close_entry(struct cfi_maker *k)
{
	size_t head = k->wide ? 12 : 4;
	uint64_t len;

	while (k->at % 8)
		put(k, 0, 1); /* DW_CFA_nop */
	len = k->at - k->entry - head;
	memcpy(k->file + k->entry + head - (k->wide ? 8 : 4), &len, k->wide ? 8 : 4);
}

static void put_id(struct cfi_maker *k, uint64_t id)
{
	put(k, id, k->wide && k->debug ? 8 : 4);
}

/* A CIE: "zR" and what `text` adds, with its data; its instructions come next. */
static void open_cie(struct cfi_maker *k, unsigned version, const char *text,
		     const uint8_t *data, size_t ndata)
{
	k->cie = k->at;
	open_entry(k);
	put_id(k, k->debug ? UINT64_MAX : 0);
	put(k, version, 1);
	put_bytes(k, text, strlen(text) + 1);
	if (version == 4)
		PUT(k, 8, 0);
	PUT(k, 1, 0x78, RIP); /* code 1, data -8, return address in RIP */
	if (*text == 'z')
		put(k, ndata, 1);
	put_bytes(k, data, ndata);
}

/* CFA = rsp + 8, return address at CFA - 8. */
static void usual_rules(struct cfi_maker *k)
{
	PUT(k, 0x0c, RSP, 8, 0x80 | RIP, 1);
}

static void usual_cie(struct cfi_maker *k)
{
	uint8_t encoding = (uint8_t)k->encoding;

	open_cie(k, 1, k->debug ? "" : "zR", &encoding, k->debug ? 0 : 1);
	usual_rules(k);
	close_entry(k);
}

static void put_address(struct cfi_maker *k, uint64_t addr)
{
	static const uint8_t size[16] = { 8, 2, 2, 4, 8, 0, 0, 0, 8, 2, 2, 4, 8 };
	unsigned form = k->encoding & 0x0f;

	if ((k->encoding & 0x70) == 0x10)
		addr -= k->at;
	while ((k->encoding & 0x70) == 0x50 && k->at % 8)
		put(k, 0, 1);
	if (form == 1 || form == 9) { /* LEB128, two bytes */
		PUT(k, (uint8_t)(addr | 0x80), (uint8_t)(addr >> 7 & 0x7f));
		return;
	}
	put(k, addr, k->debug ? 8 : size[form]);
}

/* An FDE of [pc, pc + size); its instructions come next. */
static void open_fde(struct cfi_maker *k, uint64_t pc, uint64_t size)
{
	unsigned whole = k->encoding;

	k->pc[k->nfde] = (uint32_t)pc;
	k->fde[k->nfde++] = (uint32_t)k->at;
	open_entry(k);
	put_id(k, k->debug ? k->cie - FRAME : k->at - k->cie);
	put_address(k, pc);
	k->encoding &= 0x0f;
	put_address(k, size);
	k->encoding = whole;
	if (!k->debug)
		put(k, 0, 1);
}

/* --- the file --------------------------------------------------------------------- */

/* The search table, in the order of the FDEs; none with `encoding` 0xff. */
static void put_table(struct cfi_maker *k, unsigned encoding)
{
	Elf64_Phdr *ph = (Elf64_Phdr *)(k->file + sizeof(Elf64_Ehdr));
	size_t end = k->at;

	k->at = HDR;
	PUT(k, 1, 0x1b, 0x03, (uint8_t)encoding);
	put(k, FRAME - (uint64_t)k->at, 4);
	put(k, k->nfde, 4);
	for (unsigned i = 0; i < k->nfde; i++) {
		put(k, k->pc[i] - (uint64_t)HDR, 4);
		put(k, k->fde[i] - (uint64_t)HDR, 4);
	}
	ph[1] = (Elf64_Phdr){ .p_type = PT_GNU_EH_FRAME,
			      .p_offset = HDR,
			      .p_vaddr = HDR,
			      .p_filesz = k->at - HDR };
	k->at = end;
}

/* Section headers with the CFI under this name. */
static void put_section(struct cfi_maker *k, const char *name, uint64_t flags)
{
	Elf64_Ehdr *eh = (Elf64_Ehdr *)k->file;
	Elf64_Shdr *sh = (Elf64_Shdr *)(k->file + SECTIONS_AT);
	char *names = (char *)(sh + 3);

	eh->e_shoff = SECTIONS_AT;
	eh->e_shentsize = sizeof(*sh);
	eh->e_shnum = 3;
	eh->e_shstrndx = 2;
	strcpy(names + 1, name);
	sh[1] = (Elf64_Shdr){ .sh_name = 1,
			      .sh_type = SHT_PROGBITS,
			      .sh_flags = flags,
			      .sh_addr = k->debug ? 0 : FRAME,
			      .sh_offset = FRAME,
			      .sh_size = k->at - FRAME };
	sh[2] = (Elf64_Shdr){ .sh_type = SHT_STRTAB,
			      .sh_offset = (uint64_t)((uint8_t *)names - k->file),
			      .sh_size = strlen(name) + 2 };
}

static struct obj *end(struct cfi_maker *k)
{
	struct obj *o;

	assert_int_equal(obj_get_bytes(k->file, sizeof(k->file), &o), 0);
	return o;
}

#endif
