/* SPDX-License-Identifier: MIT */
/*
 * Program headers, dynamic section and dynamic symbols read out of memory; see elfmem.h
 * and elf(5). Nothing here is trusted: sums wrap around harmlessly and end in a read
 * that fails, and each walk has its own limit.
 */
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "rtld/elfmem.h"

enum {
	MAX_PHDRS = 1024,
	MAX_DYNAMIC = 4096, /* entries */
	MAX_CHAIN = 65536,  /* symbols looked at for one name */
	MAX_SYMBOL = 64,    /* bytes of a name that is asked for */
};

/* A program header, widened. */
struct phdr {
	uint32_t type;  /* PT_* */
	uint64_t vaddr; /* in the file's terms */
};

static size_t phdr_size(const struct reader *r)
{
	return r->word == 8 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
}

static size_t ehdr_size(const struct reader *r)
{
	return r->word == 8 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
}

static int read_phdr(struct reader *r, uint64_t addr, struct phdr *ret)
{
	size_t at = r->word == 8 ? offsetof(Elf64_Phdr, p_vaddr)
				 : offsetof(Elf32_Phdr, p_vaddr);
	struct phdr p;
	int err = reader_u32(r, addr, &p.type);

	if (!err)
		err = reader_words(r, addr + at, &p.vaddr, 1);
	if (!err)
		*ret = p;
	return err;
}

/* e_entry and e_phoff stand side by side, behind 24 bytes, in both classes. */
static int read_header(struct reader *r, uint64_t addr, uint64_t *ret_entry,
		       uint64_t *ret_phoff)
{
	char magic[SELFMAG];
	uint64_t words[2];
	int err = reader_read(r, addr, magic, sizeof(magic));

	if (err)
		return err;
	if (memcmp(magic, ELFMAG, SELFMAG) != 0)
		return -ENOEXEC;
	err = reader_words(r, addr + offsetof(Elf64_Ehdr, e_entry), words, 2);
	if (err)
		return err;
	*ret_entry = words[0];
	*ret_phoff = words[1];
	return 0;
}

int elfmem_word(const struct mem *m, uint64_t addr)
{
	unsigned char ident[EI_NIDENT];
	int err = mem_read_all(m, addr, ident, sizeof(ident));

	if (err)
		return err;
	if (memcmp(ident, ELFMAG, SELFMAG) != 0)
		return -ENOEXEC;
	return ident[EI_CLASS] == ELFCLASS32 ? 4 : 8;
}

/* Values in the dynamic section are relocated in place by glibc, left alone by musl. */
static uint64_t relocate(const struct elfmem *e, uint64_t value)
{
	return value < e->bias ? value + e->bias : value;
}

static void note_dynamic(struct elfmem *e, uint64_t slot, uint64_t tag, uint64_t value)
{
	switch (tag) {
	case DT_DEBUG:
		e->debug_slot = slot;
		break;
	case DT_SYMTAB:
		e->symtab = relocate(e, value);
		break;
	case DT_STRTAB:
		e->strtab = relocate(e, value);
		break;
	case DT_HASH:
		e->hash = relocate(e, value);
		break;
	case DT_GNU_HASH:
		e->gnu_hash = relocate(e, value);
		break;
	default:
		break;
	}
}

static int read_dynamic(struct reader *r, struct elfmem *e)
{
	uint64_t at = e->dynamic, entry[2];

	for (unsigned i = 0; i < MAX_DYNAMIC; i++, at += 2 * r->word) {
		int err = reader_words(r, at, entry, 2);

		if (err)
			return err;
		if (entry[0] == DT_NULL)
			return 0;
		note_dynamic(e, at + r->word, entry[0], entry[1]);
	}
	return -ENOEXEC;
}

/* Finds PT_PHDR's and PT_DYNAMIC's addresses in the file's terms; 0 where there is
 * none. */
static int scan_phdrs(struct reader *r, uint64_t phdr, uint64_t phnum, uint64_t *ret_self,
		      uint64_t *ret_dynamic)
{
	uint64_t self = 0, dynamic = 0;

	if (phnum > MAX_PHDRS)
		return -ENOEXEC;
	for (uint64_t i = 0; i < phnum; i++) {
		struct phdr p;
		int err = read_phdr(r, phdr + i * phdr_size(r), &p);

		if (err)
			return err;
		if (p.type == PT_PHDR)
			self = p.vaddr;
		else if (p.type == PT_DYNAMIC)
			dynamic = p.vaddr;
	}
	*ret_self = self;
	*ret_dynamic = dynamic;
	return 0;
}

int elfmem_at_header(struct reader *r, uint64_t addr, struct elfmem *ret)
{
	struct elfmem e = { .bias = addr };
	size_t at = r->word == 8 ? offsetof(Elf64_Ehdr, e_phnum)
				 : offsetof(Elf32_Ehdr, e_phnum);
	uint64_t entry, phoff, self, dynamic;
	uint16_t phnum;
	int err = read_header(r, addr, &entry, &phoff);

	if (!err)
		err = reader_read(r, addr + at, &phnum, sizeof(phnum));
	if (!err)
		err = scan_phdrs(r, addr + phoff, phnum, &self, &dynamic);
	if (!err && dynamic) {
		e.dynamic = e.bias + dynamic;
		err = read_dynamic(r, &e);
	}
	if (!err)
		*ret = e;
	return err;
}

/*
 * Without PT_PHDR (static-PIE, the linker itself) the headers follow the ELF header,
 * and its e_entry beside AT_ENTRY tells the bias. 0 when there is no header there.
 */
static uint64_t bias_by_entry(struct reader *r, uint64_t phdr, uint64_t entry)
{
	uint64_t e_entry, phoff;

	if (read_header(r, phdr - ehdr_size(r), &e_entry, &phoff) ||
	    phoff != ehdr_size(r))
		return 0;
	return entry - e_entry;
}

int elfmem_at_phdr(struct reader *r, uint64_t phdr, uint64_t phnum, uint64_t entry,
		   struct elfmem *ret)
{
	struct elfmem e = { 0 };
	uint64_t self, dynamic;
	int err = scan_phdrs(r, phdr, phnum, &self, &dynamic);

	if (err)
		return err;
	e.bias = self ? phdr - self : bias_by_entry(r, phdr, entry);
	if (dynamic) {
		e.dynamic = e.bias + dynamic;
		err = read_dynamic(r, &e);
	}
	if (!err)
		*ret = e;
	return err;
}

/* --- symbols ------------------------------------------------------------------------ */

/* A symbol, widened. */
struct symbol {
	uint32_t name;  /* offset in the string table */
	uint16_t shndx; /* section; 0: not defined here */
	uint64_t value; /* address in the file's terms */
};

static int read_symbol(struct reader *r, const struct elfmem *e, uint32_t i,
		       struct symbol *ret)
{
	bool wide = r->word == 8;
	uint64_t at =
		e->symtab + (uint64_t)i * (wide ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym));
	size_t shndx =
		wide ? offsetof(Elf64_Sym, st_shndx) : offsetof(Elf32_Sym, st_shndx);
	size_t value =
		wide ? offsetof(Elf64_Sym, st_value) : offsetof(Elf32_Sym, st_value);
	int err = reader_u32(r, at, &ret->name);

	if (!err)
		err = reader_read(r, at + shndx, &ret->shndx, sizeof(ret->shndx));
	if (!err)
		err = reader_words(r, at + value, &ret->value, 1);
	return err;
}

/* Address of symbol i when it is defined and has this name, else 0. */
static uint64_t match_symbol(struct reader *r, const struct elfmem *e, uint32_t i,
			     const char *name)
{
	size_t len = strlen(name) + 1;
	char buf[MAX_SYMBOL];
	struct symbol s;

	if (len > sizeof(buf) || read_symbol(r, e, i, &s) || s.shndx == SHN_UNDEF)
		return 0;
	if (reader_read(r, e->strtab + s.name, buf, len) || memcmp(buf, name, len) != 0)
		return 0;
	return e->bias + s.value;
}

static uint32_t gnu_hash(const char *name)
{
	uint32_t h = 5381;

	for (; *name; name++)
		h = h * 33 + (unsigned char)*name;
	return h;
}

/* Layout: nbuckets, symoffset, bloom words, shift; bloom; buckets; one hash a symbol, the
 * lowest bit set on the last of a bucket. */
static uint64_t find_gnu(struct reader *r, const struct elfmem *e, const char *name)
{
	uint32_t head[4], i, hash, h = gnu_hash(name);
	uint64_t buckets, chain;

	if (reader_read(r, e->gnu_hash, head, sizeof(head)) || head[0] == 0)
		return 0;
	buckets = e->gnu_hash + sizeof(head) + (uint64_t)head[2] * r->word;
	chain = buckets + (uint64_t)head[0] * 4;
	if (reader_u32(r, buckets + (uint64_t)(h % head[0]) * 4, &i) || i < head[1])
		return 0;
	for (unsigned n = 0; n < MAX_CHAIN; n++, i++) {
		uint64_t found = 0;

		if (reader_u32(r, chain + (uint64_t)(i - head[1]) * 4, &hash))
			return 0;
		if ((hash | 1) == (h | 1))
			found = match_symbol(r, e, i, name);
		if (found || (hash & 1))
			return found;
	}
	return 0;
}

/* DT_HASH has every symbol in turn: nbucket, nchain, which is their number. */
static uint64_t find_plain(struct reader *r, const struct elfmem *e, const char *name)
{
	uint64_t found = 0;
	uint32_t n;

	if (reader_u32(r, e->hash + 4, &n))
		return 0;
	for (uint32_t i = 1; i < n && i < MAX_CHAIN && !found; i++)
		found = match_symbol(r, e, i, name);
	return found;
}

uint64_t elfmem_symbol(struct reader *r, const struct elfmem *e, const char *name)
{
	if (!e->symtab || !e->strtab)
		return 0;
	if (e->gnu_hash)
		return find_gnu(r, e, name);
	return e->hash ? find_plain(r, e, name) : 0;
}
