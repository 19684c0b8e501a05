/* SPDX-License-Identifier: MIT */
/*
 * What libdw is given to read: an ELF file in memory, made here, with the sections that
 * lines and inlined functions need and nothing else. They have been read once and
 * expanded by us. So libdw never sees a file that changes under it, or a section header
 * that somebody else wrote; needs no descriptor afterwards; and knows the compressions
 * that we know.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "obj/lines.h"
#include "obj/read.h"
#include "util/scope.h"

enum {
	MAX_BYTES = 1 << 30, /* of all sections together */
	ALIGN = 16,          /* of each */
	EXTRA = 2,           /* sections besides: 0, and the names */
};

static const char *const wanted[] = {
	".debug_info",     ".debug_abbrev", ".debug_line",     ".debug_str",
	".debug_line_str", ".debug_ranges", ".debug_rnglists", ".debug_str_offsets",
	".debug_addr",     ".debug_types",
};

enum {
	NWANTED = sizeof(wanted) / sizeof(*wanted),
};

/* The pieces. */
struct pack {
	char *bytes[NWANTED];           /* contents; owned */
	size_t len[NWANTED];            /* bytes; 0: there is no such section */
	Elf64_Shdr sh[NWANTED + EXTRA]; /* headers of the result */
	size_t nsh;                     /* how many */
	char names[512];                /* section names */
	size_t nnames;                  /* bytes of them */
	size_t size;                    /* of the result so far */
};

static size_t round_up(size_t n)
{
	return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

/* Reads the wanted sections. */
static int collect(const struct obj_source *src, const Elf64_Ehdr *eh, struct pack *p)
{
	struct obj_sections s = { 0 };
	size_t left = MAX_BYTES;
	int err = obj_sections_read(src, eh, &s);

	for (int i = 0; !err && i < NWANTED; i++) {
		const Elf64_Shdr *one = obj_find_named(&s, wanted[i]);

		if (!one || one->sh_type == SHT_NOBITS)
			continue;
		if (one->sh_size > left)
			err = -E2BIG;
		else
			err = obj_read_section(src, one, left, &p->bytes[i], &p->len[i]);
		left -= err ? 0 : p->len[i];
	}
	obj_sections_fini(&s);
	return err;
}

static void add_header(struct pack *p, const char *name, uint32_t type, size_t len)
{
	p->size = round_up(p->size);
	p->sh[p->nsh++] = (Elf64_Shdr){
		.sh_name = (Elf64_Word)p->nnames,
		.sh_type = type,
		.sh_offset = p->size,
		.sh_size = len,
		.sh_addralign = 1,
	};
	strcpy(p->names + p->nnames, name);
	p->nnames += strlen(name) + 1;
	p->size += len;
}

/* Headers and places. The name of every wanted section fits twice. */
static void lay_out(struct pack *p)
{
	p->size = sizeof(Elf64_Ehdr);
	p->nnames = p->nsh = 1;
	for (int i = 0; i < NWANTED; i++) {
		if (p->len[i])
			add_header(p, wanted[i], SHT_PROGBITS, p->len[i]);
	}
	add_header(p, ".shstrtab", SHT_STRTAB, 0);
	p->sh[p->nsh - 1].sh_size = p->nnames;
	p->size = round_up(p->size + p->nnames);
}

static void write_out(const struct pack *p, const Elf64_Ehdr *from, char *to)
{
	Elf64_Ehdr eh = {
		.e_type = ET_EXEC,
		.e_machine = from->e_machine,
		.e_version = EV_CURRENT,
		.e_shoff = p->size,
		.e_ehsize = sizeof(eh),
		.e_shentsize = sizeof(Elf64_Shdr),
		.e_shnum = (Elf64_Half)p->nsh,
		.e_shstrndx = (Elf64_Half)(p->nsh - 1),
	};
	size_t at = 1;

	memcpy(eh.e_ident, from->e_ident, EI_NIDENT);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	memcpy(to, &eh, sizeof(eh));
	for (int i = 0; i < NWANTED; i++) {
		if (p->len[i])
			memcpy(to + p->sh[at++].sh_offset, p->bytes[i], p->len[i]);
	}
	memcpy(to + p->sh[at].sh_offset, p->names, p->nnames);
	memcpy(to + p->size, p->sh, p->nsh * sizeof(*p->sh));
}

static int pack(const struct obj_source *src, const Elf64_Ehdr *eh, struct pack *p,
		char **ret, size_t *ret_len)
{
	int err = collect(src, eh, p);
	size_t len;
	char *to;

	if (err)
		return err == -ENOEXEC ? -ENOENT : err;
	if (!p->len[0] || !p->len[1])
		return -ENOENT;
	lay_out(p);
	len = p->size + p->nsh * sizeof(*p->sh);
	to = calloc(1, len);
	if (!to)
		return -ENOMEM;
	write_out(p, eh, to);
	*ret = to;
	*ret_len = len;
	return 0;
}

int obj_lines_pack(const struct obj_source *from, char **ret, size_t *ret_len)
{
	struct obj_source src = *from;
	struct pack p = { .nsh = 1 };
	Elf64_Ehdr eh;
	int err = obj_read_header(&src, &eh);

	/* Of the other byte order nobody here has a reader for the tables around it. */
	if (!err &&
	    src.encoding != (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB
								       : ELFDATA2MSB))
		err = -ENOENT;
	if (!err)
		err = pack(&src, &eh, &p, ret, ret_len);
	for (int i = 0; i < NWANTED; i++)
		free(p.bytes[i]);
	return err;
}
