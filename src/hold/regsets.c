/* SPDX-License-Identifier: MIT */
/*
 * Registers of one kind of all LWPs, some twenty in a reply: a thousand threads cost
 * fifty round trips instead of a thousand while they stand.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hold/hold.h"
#include "hold/state.h"
#include "util/scope.h"

enum {
	MAX_PAGES = 1 << 16, /* of a keeper that makes no progress */
};

/* Records as they came. */
struct records {
	char *bytes; /* owned */
	size_t len;  /* how many */
	size_t n;    /* records */
};

/* The record at p, of left bytes; what it takes, 0 when it does not fit. */
static size_t record_at(const char *p, size_t left, struct kp_regset_one *ret)
{
	size_t size;

	if (left < sizeof(*ret))
		return 0;
	memcpy(ret, p, sizeof(*ret));
	size = (sizeof(*ret) + (size_t)ret->len + 7) & ~(size_t)7;
	return size <= left ? size : 0;
}

static int take_page(struct records *all, const struct kp_regset *page)
{
	struct kp_regset_one one;
	size_t at = 0, size;
	char *bigger;

	if (page->len > sizeof(page->bytes))
		return -EPIPE;
	bigger = realloc(all->bytes, all->len + page->len + 1);
	if (!bigger)
		return -ENOMEM;
	all->bytes = bigger;
	memcpy(bigger + all->len, page->bytes, page->len);
	while ((size = record_at(bigger + all->len + at, page->len - at, &one))) {
		at += size;
		all->n++;
	}
	all->len += at;
	return 0;
}

/* One block: the table, then the bytes. */
static int lay_out(const struct records *all, struct hold_regset **ret)
{
	struct hold_regset *table = malloc(all->n * sizeof(*table) + all->len + 1);
	struct kp_regset_one one;
	size_t at = 0;
	char *bytes;

	if (!table)
		return -ENOMEM;
	bytes = (char *)(table + all->n);
	if (all->len)
		memcpy(bytes, all->bytes, all->len);
	for (size_t i = 0; i < all->n; i++) {
		size_t size = record_at(bytes + at, all->len - at, &one);

		table[i] = (struct hold_regset){ one.tid, one.len,
						 bytes + at + sizeof(one) };
		at += size;
	}
	*ret = table;
	return 0;
}

int hold_regsets(struct hold *h, unsigned type, struct hold_regset **ret, size_t *ret_n)
{
	struct kp_regset_page req = { .type = type };
	_cleanup_free_ struct kp_regset *page = malloc(sizeof(*page));
	struct records all = { 0 };
	int err = page ? 0 : -ENOMEM;

	for (int i = 0; i < MAX_PAGES && !err; i++) {
		hold_header(&req.h, KP_REGSET, sizeof(req), 0);
		err = hold_call(h, &req, page, sizeof(*page));
		if (!err)
			err = take_page(&all, page);
		if (err || page->r.value <= (int)req.start)
			break;
		req.start = (uint32_t)page->r.value;
	}
	if (!err)
		err = lay_out(&all, ret);
	if (!err)
		*ret_n = all.n;
	free(all.bytes);
	return err;
}
