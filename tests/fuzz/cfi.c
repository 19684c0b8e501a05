/* SPDX-License-Identifier: MIT */
/*
 * Call frame information of a hostile file: rows at addresses all over it, and what its
 * expressions are. Fails when a row has more rules than registers, is not in order,
 * covers what it was not asked for, or an expression lies outside of its section.
 */
#include "fuzz/fuzz.h"
#include "obj/cfi.h"

enum {
	STEPS = 64, /* addresses looked up in a segment */
};

static void look_at_expr(const struct obj *o, const struct cfi_row *row,
			 const struct cfi_rule *rule)
{
	const uint8_t *expr;
	unsigned sum = 0;

	if (obj_cfi_expr(o, row, rule, &expr))
		return;
	for (unsigned i = 0; i < rule->len; i++)
		sum += expr[i]; /* the sanitizer looks on */
	PROMISE(sum <= 255u * rule->len);
}

static void look_at_row(struct obj *o, uint64_t vaddr)
{
	struct cfi_row row, again;

	if (obj_cfi_row(o, vaddr, &row))
		return;
	PROMISE(row.start <= vaddr && vaddr < row.end);
	PROMISE(row.nrules <= CFI_NREGS);
	for (unsigned i = 0; i < row.nrules; i++) {
		PROMISE(row.rule[i].reg < CFI_NREGS);
		PROMISE(!i || row.rule[i - 1].reg < row.rule[i].reg);
		look_at_expr(o, &row, &row.rule[i]);
	}
	look_at_expr(o, &row, &row.cfa);
	PROMISE(!obj_cfi_row(o, vaddr, &again)); /* from the cache */
	PROMISE(row.nrules == again.nrules && row.cfa.n == again.cfa.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct obj_segment *seg;
	struct obj *o;
	size_t n;

	if (obj_get_bytes(data, size, &o))
		return 0;
	seg = obj_segments(o, &n);
	for (size_t i = 0; i < n && i < STEPS; i++)
		for (uint64_t k = 0; k < STEPS; k++)
			look_at_row(o, seg[i].vaddr + seg[i].memsz / STEPS * k + k);
	obj_unref(o);
	return 0;
}
