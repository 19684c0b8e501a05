/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a file's CFI, copied as it is read (see cfi.c): by section headers where
 * there are any, else by PT_GNU_EH_FRAME, whose table tells where .eh_frame begins and
 * the segment where it ends at the latest.
 */
#include "obj/cfi_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "obj/file.h"
#include "util/scope.h"

enum {
	HEADER_FIXED = 12,       /* bytes before the table, with 4-byte fields */
	ENTRY = 8,               /* bytes of a table entry */
	ENCODING_UDATA4 = 0x03,  /* DW_EH_PE_udata4 */
	ENCODING_DATA_S4 = 0x3b, /* datarel | sdata4 */
	ENCODING_PC_S4 = 0x1b,   /* pcrel | sdata4 */
	NAME_MAX_LEN = 16,       /* longer than any section name that matters */
};

/* What is missing or broken is left out. */
static int optional(int err)
{
	return err == -ENOEXEC || err == -ENOTSUP ? 0 : err;
}

static bool is_native(const struct obj_source *src)
{
	return src->encoding ==
	       (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB);
}

void cfi_take(struct obj_cfi *f, enum cfi_form form, char *bytes, size_t len,
	      uint64_t vaddr)
{
	struct cfi_section *s = &f->section[form];

	if (s->len || !len || len > CFI_MAX_BYTES) {
		free(bytes);
		return;
	}
	free(s->bytes);
	s->bytes = bytes;
	s->len = len;
	s->vaddr = vaddr;
}

static int load_bytes(const struct obj_source *src, struct obj *o, enum cfi_form form,
		      uint64_t off, uint64_t len, uint64_t vaddr)
{
	char *bytes;
	int err;

	if (o->cfi.section[form].len || !len || len > CFI_MAX_BYTES)
		return 0;
	err = obj_read_bytes(src, off, len, &bytes);
	if (!err)
		cfi_take(&o->cfi, form, bytes, (size_t)len, vaddr);
	return optional(err);
}

/* .debug_frame, which takes no address and may be compressed. */
static int load_debug(const struct obj_source *src, struct obj *o, const Elf64_Shdr *sh)
{
	size_t len = 0;
	char *bytes;
	int err;

	err = obj_read_section(src, sh, CFI_MAX_BYTES, &bytes, &len);
	if (!err)
		cfi_take(&o->cfi, CFI_DEBUG, bytes, len, 0);
	return optional(err);
}

static int load_eh(const struct obj_source *src, struct obj *o, const Elf64_Shdr *sh)
{
	if (sh->sh_type == SHT_NOBITS || sh->sh_flags & SHF_COMPRESSED)
		return 0;
	return load_bytes(src, o, CFI_EH, sh->sh_offset, sh->sh_size, sh->sh_addr);
}

int cfi_load_sections(const struct obj_source *src, struct obj *o,
		      const struct obj_sections *s)
{
	const Elf64_Shdr *found;
	int err = 0;

	o->cfi.addr_size = src->class == ELFCLASS32 ? 4 : 8;
	if (!is_native(src))
		return 0;
	found = obj_find_named(s, ".eh_frame");
	if (found)
		err = load_eh(src, o, found);
	found = obj_find_named(s, ".debug_frame");
	if (!err && found)
		err = load_debug(src, o, found);
	return err;
}

/* --- PT_GNU_EH_FRAME -------------------------------------------------------------- */

static uint32_t word_at(const char *bytes, size_t off)
{
	uint32_t word;

	memcpy(&word, bytes + off, sizeof(word));
	return word;
}

/* The vaddr of .eh_frame as the header says, 0 when it does not. */
static uint64_t frame_addr(const struct obj_cfi *f)
{
	uint64_t addr;

	if ((uint8_t)f->header[1] != ENCODING_PC_S4)
		return 0;
	addr = f->header_addr + 4 + (uint64_t)(int32_t)word_at(f->header, 4);
	return f->addr_size == 4 ? (uint32_t)addr : addr;
}

/* A table of the one form that linkers make; another is not used, and ours made. */
static void find_table(struct obj_cfi *f)
{
	size_t room = (f->header_len - HEADER_FIXED) / ENTRY, n;

	if ((uint8_t)f->header[1] != ENCODING_PC_S4 ||
	    (uint8_t)f->header[2] != ENCODING_UDATA4 ||
	    (uint8_t)f->header[3] != ENCODING_DATA_S4)
		return;
	n = word_at(f->header, 8);
	f->table = HEADER_FIXED;
	f->ntable = n < room ? n : room;
}

/* .eh_frame without a section header: to the end of its segment at most; a length of 0
 * ends it before. */
static int load_frame(const struct obj_source *src, struct obj *o, uint64_t vaddr)
{
	for (size_t i = 0; i < o->nseg; i++) {
		const struct obj_segment *s = &o->seg[i];

		if (vaddr >= s->vaddr && vaddr - s->vaddr < s->filesz)
			return load_bytes(src, o, CFI_EH, s->offset + (vaddr - s->vaddr),
					  s->filesz - (vaddr - s->vaddr), vaddr);
	}
	return 0;
}

static void drop_header(struct obj_cfi *f)
{
	free(f->header);
	f->header = NULL;
	f->header_len = f->ntable = 0;
}

int cfi_load_header(const struct obj_source *src, struct obj *o, const Elf64_Phdr *ph)
{
	struct obj_cfi *f = &o->cfi;
	uint64_t frame;
	int err;

	if (f->header || !is_native(src) || ph->p_filesz < HEADER_FIXED ||
	    ph->p_filesz > CFI_MAX_BYTES)
		return 0;
	err = obj_read_bytes(src, ph->p_offset, ph->p_filesz, &f->header);
	if (err)
		return optional(err);
	f->header_len = (size_t)ph->p_filesz;
	f->header_addr = ph->p_vaddr;
	frame = f->header[0] == 1 ? frame_addr(f) : 0;
	if (frame)
		err = load_frame(src, o, frame);
	/* A table for another section than we have would lead nowhere. */
	if (!err && frame && f->section[CFI_EH].vaddr == frame)
		find_table(f);
	if (err || !f->ntable)
		drop_header(f);
	return err;
}

/* --- the whole -------------------------------------------------------------------- */

static bool same_block(const char *a, size_t na, const char *b, size_t nb)
{
	return na == nb && (!na || !memcmp(a, b, na));
}

bool cfi_same(const struct obj_cfi *a, const struct obj_cfi *b)
{
	for (int i = 0; i < CFI_NFORMS; i++) {
		const struct cfi_section *x = &a->section[i], *y = &b->section[i];

		if (x->vaddr != y->vaddr ||
		    !same_block(x->bytes, x->len, y->bytes, y->len))
			return false;
	}
	return a->header_addr == b->header_addr && a->ntable == b->ntable &&
	       same_block(a->header, a->header_len, b->header, b->header_len);
}

void cfi_fini(struct obj_cfi *f)
{
	for (int i = 0; i < CFI_NFORMS; i++) {
		struct cfi_index *x = atomic_load(&f->section[i].index);

		if (x) {
			free(x->start);
			free(x->fde);
			free(x);
		}
		free(f->section[i].bytes);
	}
	free(f->header);
	cfi_cache_free(atomic_load(&f->cache));
}
