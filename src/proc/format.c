/* SPDX-License-Identifier: MIT */
/*
 * Addresses as text, by the rules of DTrace's ustack(), usym(), uaddr() and umod().
 *
 * The text is written once, into whatever room there is, and its whole length counted,
 * as snprintf(3) does. Names come from the victim's files: bytes that would not print,
 * a newline above all, become '?', so that a frame is a line whatever they are called.
 * Bytes of UTF-8 are left.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proc/control.h"
#include "proc/handle.h"

/* Text on its way into a caller's buffer. */
struct text {
	char *buf;   /* size bytes */
	size_t size; /* 0: nothing is written */
	size_t n;    /* length so far, written or not */
};

static void put_char(struct text *t, char c)
{
	if (t->n + 1 < t->size)
		t->buf[t->n] = c;
	t->n++;
}

static void put_name(struct text *t, const char *s)
{
	for (; *s; s++)
		put_char(t, (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
}

static void put_hex(struct text *t, const char *before, uint64_t n)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "0x%" PRIx64, n);
	put_name(t, before);
	put_name(t, digits);
}

static size_t end_text(struct text *t)
{
	if (t->size)
		t->buf[t->n < t->size ? t->n : t->size - 1] = '\0';
	return t->n;
}

/* --- what is at an address -------------------------------------------------------- */

/* What is known of an address. */
struct place {
	struct image *image;     /* what holds the names; a reference, or NULL */
	const char *module;      /* NULL: outside of any object */
	struct image_symbol sym; /* if named */
	bool named;              /* a symbol holds it */
};

static struct place find_place(struct ps_prochandle *P, uint64_t addr)
{
	struct place p = { .image = maps_take(P) };
	const struct image_object *o;

	if (!p.image)
		return p;
	p.named = !symbols_at(P, addr, &p.image, &p.sym);
	o = p.named ? p.sym.object : image_object_at(p.image, addr);
	p.module = o ? o->name : NULL;
	return p;
}

static void leave_place(struct place *p)
{
	image_unref(p->image);
}

/* --- one address ------------------------------------------------------------------ */

static void put_place(struct text *t, const struct place *p, uint64_t addr)
{
	uint64_t offset;

	if (!p->named) {
		put_name(t, p->module ? p->module : "");
		put_hex(t, p->module ? "`" : "", addr);
		return;
	}
	offset = addr - p->sym.s.sym.st_value;
	put_name(t, p->module);
	put_char(t, '`');
	put_name(t, p->sym.s.name);
	if (offset)
		put_hex(t, "+", offset);
}

/* What is known of `at`, told of addr, which is at or just behind it. */
static void put_frame(struct text *t, struct ps_prochandle *P, uint64_t addr, uint64_t at)
{
	struct place p = find_place(P, at);

	put_place(t, &p, addr);
	leave_place(&p);
}

static void put_usym(struct text *t, struct ps_prochandle *P, uint64_t addr)
{
	struct place p = find_place(P, addr);
	uint64_t at = p.named ? p.sym.s.sym.st_value : addr;

	leave_place(&p);
	put_frame(t, P, at, at);
}

static void put_umod(struct text *t, struct ps_prochandle *P, uint64_t addr)
{
	struct place p = find_place(P, addr);

	if (p.module)
		put_name(t, p.module);
	else
		put_hex(t, "", addr);
	leave_place(&p);
}

/* Where to look for the function of a frame: a call may be its caller's last
 * instruction. */
static uint64_t inside_of(uint64_t addr, int kind)
{
	return kind == PR_FRAME_RETURN && addr ? addr - 1 : addr;
}

size_t Pfmt_frame(struct ps_prochandle *P, uintptr_t addr, int kind, char *buf,
		  size_t size)
{
	struct text t = { buf, size, 0 };

	put_frame(&t, P, addr, inside_of(addr, kind));
	return end_text(&t);
}

size_t Pfmt_uaddr(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size)
{
	return Pfmt_frame(P, addr, PR_FRAME_EXACT, buf, size);
}

size_t Pfmt_usym(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size)
{
	struct text t = { buf, size, 0 };

	put_usym(&t, P, addr);
	return end_text(&t);
}

size_t Pfmt_umod(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size)
{
	struct text t = { buf, size, 0 };

	put_umod(&t, P, addr);
	return end_text(&t);
}

/* --- stacks ----------------------------------------------------------------------- */

size_t Pfmt_ustack(struct ps_prochandle *P, const uintptr_t *pcs, size_t n, char *buf,
		   size_t size)
{
	struct text t = { buf, size, 0 };

	for (size_t i = 0; i < n; i++) {
		put_frame(&t, P, pcs[i],
			  inside_of(pcs[i], i ? PR_FRAME_RETURN : PR_FRAME_EXACT));
		put_char(&t, '\n');
	}
	return end_text(&t);
}

size_t Pfmt_ustack_in(struct image *im, const uintptr_t *pcs, size_t n, char *buf,
		      size_t size)
{
	struct text t = { buf, size, 0 };

	for (size_t i = 0; i < n; i++) {
		uint64_t at = inside_of(pcs[i], i ? PR_FRAME_RETURN : PR_FRAME_EXACT);
		struct place p = { .image = im };
		const struct image_object *o;

		p.named = !image_lookup_addr(im, at, &p.sym);
		o = p.named ? p.sym.object : image_object_at(im, at);
		p.module = o ? o->name : NULL;
		put_place(&t, &p, pcs[i]);
		put_char(&t, '\n');
	}
	return end_text(&t);
}
