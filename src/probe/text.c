/* SPDX-License-Identifier: MIT */
/*
 * Text as the compiler made it. The victim's memory may hold traps: kernel uprobes,
 * another debugger's, our own. The file does not; the vDSO has no file, and nobody plants
 * anything there. Read a window at a time: functions are asked for in ascending order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probe/match.h"

int text_init(struct text *t, struct image *im, const struct image_object *o)
{
	struct obj_symbol any;
	int rc;

	*t = (struct text){ .im = im, .o = o, .fd = -1 };
	rc = image_object_obj(im, o, &t->file);
	if (rc)
		return rc;
	/* Without memory for its index every symbol would be missing. */
	if (obj_lookup_addr(t->file, 0, &any) == -ENOMEM)
		return -ENOMEM;
	t->seg = obj_segments(t->file, &t->nseg);
	t->bytes = image_object_bytes(im, o, &t->nbytes);
	for (size_t i = 0; i < t->nseg; i++)
		if (t->seg[i].prot & PROT_EXEC)
			t->budget += t->seg[i].filesz * TEXT_TIMES;
	return 0;
}

void text_fini(struct text *t)
{
	if (t->fd >= 0)
		close(t->fd);
	free(t->window);
}

static const struct obj_segment *find(const struct text *t, uint64_t addr)
{
	for (size_t i = 0; i < t->nseg; i++)
		if (addr >= t->seg[i].vaddr && addr - t->seg[i].vaddr < t->seg[i].filesz)
			return &t->seg[i];
	return NULL;
}

const struct obj_segment *text_segment(const struct text *t, uint64_t addr)
{
	const struct obj_segment *s = find(t, addr);

	return s && s->prot & PROT_EXEC ? s : NULL;
}

static int make_ready(struct text *t)
{
	if (!t->window)
		t->window = malloc(TEXT_WINDOW);
	if (!t->window)
		return -ENOMEM;
	if (t->fd < 0 && !t->bytes)
		t->fd = image_object_open(t->im, t->o);
	return t->bytes || t->fd >= 0 ? 0 : t->fd;
}

/* Up to n bytes of segment s from addr: how many, or -errno. */
static ssize_t read_at(struct text *t, const struct obj_segment *s, uint64_t addr,
		       void *buf, size_t n)
{
	uint64_t at = s->offset + (addr - s->vaddr), left = s->filesz - (addr - s->vaddr);
	ssize_t got;

	if (n > left)
		n = left;
	if (t->bytes) {
		if (at >= t->nbytes)
			return -EFAULT;
		n = n < t->nbytes - at ? n : t->nbytes - at;
		memcpy(buf, t->bytes + at, n);
		return (ssize_t)n;
	}
	do
		got = pread(t->fd, buf, n, (off_t)at);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	return got ? got : -EFAULT; /* it has been cut short */
}

static int fill(struct text *t, const struct obj_segment *s, uint64_t addr)
{
	ssize_t n;
	int rc = make_ready(t);

	if (rc)
		return rc;
	t->have = 0;
	n = read_at(t, s, addr, t->window, TEXT_WINDOW);
	if (n < 0)
		return (int)n;
	t->at = addr;
	t->have = (size_t)n;
	return 0;
}

int text_at(struct text *t, uint64_t addr, const uint8_t **ret, size_t *ret_n)
{
	const struct obj_segment *s;
	uint64_t end;
	int rc;

	if (addr - t->at < t->have && t->have - (addr - t->at) >= TEXT_INSN) {
		*ret = t->window + (addr - t->at);
		*ret_n = t->have - (addr - t->at);
		return 0;
	}
	s = text_segment(t, addr);
	if (!s)
		return -EFAULT;
	end = s->vaddr + s->filesz;
	if (addr - t->at >= t->have || t->at + t->have < end) {
		rc = fill(t, s, addr);
		if (rc)
			return rc;
	}
	*ret = t->window + (addr - t->at);
	*ret_n = t->have - (addr - t->at);
	return 0;
}

int text_flow(struct text *t, uint64_t addr, uint64_t end, struct arch_flow *ret)
{
	const uint8_t *bytes;
	size_t n;
	int rc = t->budget ? text_at(t, addr, &bytes, &n) : -EILSEQ;

	if (rc)
		return rc == -EFAULT ? -EILSEQ : rc;
	t->budget--;
	return arch_flow(bytes, n < end - addr ? n : end - addr, addr, ret);
}

ssize_t text_peek(struct text *t, uint64_t addr, void *buf, size_t n)
{
	const struct obj_segment *s = find(t, addr);
	int rc = s ? make_ready(t) : -EFAULT;

	if (rc)
		return rc;
	if (addr - t->at >= t->have || t->have - (addr - t->at) < n)
		return read_at(t, s, addr, buf, n);
	memcpy(buf, t->window + (addr - t->at), n);
	return (ssize_t)n;
}

int text_word(struct text *t, uint64_t addr, uint64_t *ret)
{
	uint64_t word;

	if (text_peek(t, addr, &word, sizeof(word)) != (ssize_t)sizeof(word))
		return -EFAULT;
	*ret = word;
	return 0;
}
