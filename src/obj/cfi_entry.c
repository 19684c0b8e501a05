/* SPDX-License-Identifier: MIT */
/*
 * CIEs and FDEs taken apart: numbers, encoded addresses, augmentations (DWARF 5, 6.4.1;
 * LSB 5.0, 10.6). All through a cursor that cannot leave its bytes: a parser reads on
 * and looks at `bad` once, at its end.
 */
#include "obj/cfi_inside.h"

#include <errno.h>
#include <string.h>

enum {
	MAX_LEB = 16,          /* bytes of a number, padding included */
	MAX_AUGMENTATION = 16, /* letters */
};

/* DW_EH_PE_*: how an address is written … */
enum {
	FORM_MASK = 0x0f,
	FORM_ADDRESS = 0,
	FORM_ULEB = 1,
	FORM_U2 = 2,
	FORM_U4 = 3,
	FORM_U8 = 4,
	FORM_SLEB = 9,
	FORM_S2 = 10,
	FORM_S4 = 11,
	FORM_S8 = 12,
	/* … and what it is counted from. */
	BASE_MASK = 0x70,
	BASE_PC = 0x10,
	BASE_TEXT = 0x20,
	BASE_DATA = 0x30,
	BASE_FUNCTION = 0x40,
	BASE_ALIGNED = 0x50,
	ENCODED_INDIRECT = 0x80,
	ENCODED_OMIT = 0xff,
};

void cfi_skip(struct cfi_cursor *c, uint64_t n)
{
	if (n > (uint64_t)(c->end - c->at)) {
		c->bad = true;
		n = (uint64_t)(c->end - c->at);
	}
	c->at += n;
}

uint64_t cfi_fixed(struct cfi_cursor *c, unsigned size)
{
	uint64_t value = 0;

	if (size > (size_t)(c->end - c->at)) {
		c->bad = true;
		c->at = c->end;
		return 0;
	}
	memcpy(&value, c->at, size);
	c->at += size;
	return value;
}

/* A LEB128 number; *ret_bits: how many bits were written. */
static uint64_t read_leb(struct cfi_cursor *c, unsigned *ret_bits, uint8_t *ret_last)
{
	uint64_t value = 0;
	uint8_t byte = 0x80;
	unsigned bits = 0;

	for (int i = 0; i < MAX_LEB && byte & 0x80; i++, bits += 7) {
		byte = (uint8_t)cfi_fixed(c, 1);
		if (bits < 64)
			value |= (uint64_t)(byte & 0x7f) << bits;
	}
	if (byte & 0x80)
		c->bad = true;
	*ret_bits = bits;
	*ret_last = byte;
	return value;
}

uint64_t cfi_uleb(struct cfi_cursor *c)
{
	unsigned bits;
	uint8_t last;

	return read_leb(c, &bits, &last);
}

int64_t cfi_sleb(struct cfi_cursor *c)
{
	unsigned bits;
	uint8_t last;
	uint64_t value = read_leb(c, &bits, &last);

	if (last & 0x40 && bits < 64)
		value |= ~0ull << bits;
	return (int64_t)value;
}

/* The number of an encoded address, without its base. */
static uint64_t read_number(struct cfi_cursor *c, unsigned form, unsigned addr_size)
{
	switch (form) {
	case FORM_ADDRESS:
		return cfi_fixed(c, addr_size);
	case FORM_ULEB:
		return cfi_uleb(c);
	case FORM_U2:
		return cfi_fixed(c, 2);
	case FORM_U4:
		return cfi_fixed(c, 4);
	case FORM_U8:
	case FORM_S8:
		return cfi_fixed(c, 8);
	case FORM_SLEB:
		return (uint64_t)cfi_sleb(c);
	case FORM_S2:
		return (uint64_t)(int16_t)cfi_fixed(c, 2);
	case FORM_S4:
		return (uint64_t)(int32_t)cfi_fixed(c, 4);
	default:
		c->bad = true;
		return 0;
	}
}

/* The address at which c stands, as the file is mapped. */
static uint64_t place_of(const struct obj_cfi *f, enum cfi_form form,
			 const struct cfi_cursor *c)
{
	const struct cfi_section *s = &f->section[form];

	return s->vaddr + (uint64_t)(c->at - (const uint8_t *)s->bytes);
}

static uint64_t narrow(unsigned addr_size, uint64_t addr)
{
	return addr_size == 4 ? (uint32_t)addr : addr;
}

/* Text and data bases are 0 on the CPUs that we know, as linkers use them in FDEs. */
uint64_t cfi_address(const struct obj_cfi *f, enum cfi_form form, struct cfi_cursor *c,
		     unsigned encoding)
{
	uint64_t base = 0, misaligned;

	if (encoding & ENCODED_INDIRECT)
		c->bad = true; /* through memory that the file does not have */
	switch (encoding & BASE_MASK) {
	case BASE_PC:
		base = place_of(f, form, c);
		break;
	case BASE_ALIGNED:
		misaligned = place_of(f, form, c) % f->addr_size;
		cfi_skip(c, misaligned ? f->addr_size - misaligned : 0);
		return cfi_fixed(c, f->addr_size);
	case 0:
	case BASE_TEXT:
	case BASE_DATA:
		break;
	default:
		c->bad = true;
	}
	return narrow(f->addr_size,
		      base + read_number(c, encoding & FORM_MASK, f->addr_size));
}

/* --- entries ---------------------------------------------------------------------- */

/* What every entry begins with. */
struct head {
	struct cfi_cursor c; /* behind the id, up to the entry's end */
	size_t id_at;        /* where in the section the id stands */
	uint64_t id;         /* CIE id, or the way to the CIE */
	bool wide;           /* 64-bit DWARF */
};

/* The head of the entry at off. 0; 1: a terminator; -ENOEXEC. */
static int parse_head(const struct cfi_section *s, enum cfi_form form, size_t off,
		      struct head *ret, size_t *ret_next)
{
	const uint8_t *bytes = (const uint8_t *)s->bytes;
	struct cfi_cursor c = { bytes + off, bytes + s->len, false };
	uint64_t len = cfi_fixed(&c, 4);

	*ret_next = s->len;
	ret->wide = len == 0xffffffff;
	if (ret->wide)
		len = cfi_fixed(&c, 8);
	if (c.bad || len > (uint64_t)(c.end - c.at))
		return -ENOEXEC;
	*ret_next = (size_t)(c.at - bytes) + len;
	if (!len)
		return 1;
	c.end = c.at + len;
	ret->id_at = (size_t)(c.at - bytes);
	/* .eh_frame has 4 bytes for it also in 64-bit DWARF (binutils reads it so). */
	ret->id = cfi_fixed(&c, ret->wide && form == CFI_DEBUG ? 8 : 4);
	ret->c = c;
	return c.bad ? -ENOEXEC : 0;
}

static bool is_cie(const struct head *h, enum cfi_form form)
{
	if (form == CFI_EH)
		return h->id == 0;
	return h->id == (h->wide ? UINT64_MAX : UINT32_MAX);
}

/* One letter of an augmentation. */
static void parse_letter(const struct obj_cfi *f, enum cfi_form form, char letter,
			 struct cfi_cursor *c, struct cfi_entry *e)
{
	unsigned encoding;

	switch (letter) {
	case 'R':
		e->encoding = (uint8_t)cfi_fixed(c, 1);
		break;
	case 'L':
		cfi_fixed(c, 1);
		break;
	case 'P': /* the personality routine: skipped, wherever it is */
		encoding = (unsigned)cfi_fixed(c, 1);
		if (encoding != ENCODED_OMIT)
			cfi_address(f, form, c, encoding & ~(unsigned)ENCODED_INDIRECT);
		break;
	case 'S':
		e->signal = true;
		break;
	case 'B': /* AArch64: addresses are signed by the B key */
	case 'G': /* AArch64: the frame is tagged memory */
		break;
	default:
		c->bad = true; /* unknown: nothing behind it can be understood */
	}
}

/* The augmentation `text` and its data. */
static void parse_augmentation(const struct obj_cfi *f, enum cfi_form form,
			       const char *text, struct cfi_cursor *c,
			       struct cfi_entry *e)
{
	struct cfi_cursor data = *c;

	if (*text == 'z') {
		uint64_t len = cfi_uleb(c);

		e->sized = true;
		data = *c;
		cfi_skip(c, len);
		data.end = c->at;
		text++;
	}
	for (; *text && !data.bad; text++)
		parse_letter(f, form, *text, &data, e);
	if (!e->sized)
		*c = data;
	/* Behind a letter that we do not know, 'z' lets us go on. */
}

/* The augmentation string, "" when it is too long to be one. */
static const char *read_text(struct cfi_cursor *c)
{
	const char *text = (const char *)c->at;
	size_t left = (size_t)(c->end - c->at);
	size_t len = strnlen(text, left < MAX_AUGMENTATION ? left : MAX_AUGMENTATION);

	if (len == left || len == MAX_AUGMENTATION) {
		c->bad = true;
		return "";
	}
	c->at += len + 1;
	return text;
}

/* DWARF 4 names the sizes of addresses and segment selectors. */
static void parse_sizes(struct cfi_cursor *c, struct cfi_entry *e)
{
	unsigned size = (unsigned)cfi_fixed(c, 1), selector = (unsigned)cfi_fixed(c, 1);

	if ((size != 4 && size != 8) || selector)
		c->bad = true;
	else
		e->addr_size = (uint8_t)size;
}

static int parse_cie(const struct obj_cfi *f, enum cfi_form form, size_t off,
		     struct cfi_entry *e)
{
	const char *text;
	struct head h;
	unsigned version;
	size_t next;

	if (parse_head(&f->section[form], form, off, &h, &next) || !is_cie(&h, form))
		return -ENOEXEC;
	version = (unsigned)cfi_fixed(&h.c, 1);
	if (version != 1 && version != 3 && version != 4)
		return -ENOEXEC;
	text = read_text(&h.c);
	if (version == 4)
		parse_sizes(&h.c, e);
	if (!strncmp(text, "eh", 2)) { /* gcc 2: the address of its exception table */
		cfi_skip(&h.c, f->addr_size);
		text += 2;
	}
	e->code_align = cfi_uleb(&h.c);
	e->data_align = cfi_sleb(&h.c);
	e->ra = version == 1 ? cfi_fixed(&h.c, 1) : cfi_uleb(&h.c);
	parse_augmentation(f, form, text, &h.c, e);
	e->initial = h.c;
	return h.c.bad || e->ra >= CFI_NREGS ? -ENOEXEC : 0;
}

/* Where the CIE of an FDE stands. */
static int find_cie(const struct head *h, enum cfi_form form, size_t len, size_t *ret)
{
	if (form == CFI_DEBUG && h->id < len)
		*ret = (size_t)h->id;
	else if (form == CFI_EH && h->id <= h->id_at)
		*ret = h->id_at - (size_t)h->id;
	else
		return -ENOEXEC;
	return 0;
}

static int parse_fde(const struct obj_cfi *f, enum cfi_form form, struct head *h,
		     struct cfi_entry *e)
{
	uint64_t size;

	e->start = cfi_address(f, form, &h->c, e->encoding);
	size = read_number(&h->c, e->encoding & FORM_MASK, f->addr_size);
	e->end = narrow(f->addr_size, e->start + size);
	if (e->sized)
		cfi_skip(&h->c, cfi_uleb(&h->c));
	e->program = h->c;
	return h->c.bad || e->end < e->start ? -ENOEXEC : 0;
}

int cfi_parse(const struct obj_cfi *f, enum cfi_form form, size_t off,
	      struct cfi_entry *ret, size_t *ret_next)
{
	struct cfi_entry e = { .addr_size = (uint8_t)f->addr_size };
	struct head h;
	size_t cie;
	int err;

	*ret_next = f->section[form].len;
	if (off >= f->section[form].len)
		return -ENOEXEC;
	err = parse_head(&f->section[form], form, off, &h, ret_next);
	if (err)
		return err;
	if (is_cie(&h, form))
		return 1;
	err = find_cie(&h, form, f->section[form].len, &cie);
	if (!err)
		err = parse_cie(f, form, cie, &e);
	if (!err)
		err = parse_fde(f, form, &h, &e);
	if (!err)
		*ret = e;
	return err;
}
