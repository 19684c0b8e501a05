/* SPDX-License-Identifier: MIT */
/*
 * The ways out of a function, found in its code, which is decoded from its first
 * instruction to its last. (The kernel's own way, writing over return addresses, breaks
 * programs that look at them: Go, unwinders, shadow stacks.)
 *
 * - `ret` in all its forms.
 * - A tail call: a jump, with a condition or without, to the start of another function
 *   or to a PLT entry; or, as in hand-written code, into the middle of another function
 *   from which there is no way back. One with a condition has lo and hi.
 * - A jump through a register or memory may be a tail call or a jump table: the program
 *   decides, by lo and hi. Those that are tables for certain are left out, for a loop of
 *   an interpreter may go through them all day: with a `notrack` prefix, through a
 *   register that the instruction before has added to (a table of distances), through a
 *   table whose first entry is in the function; or while the function's frame is there.
 *
 * Compilers move what seldom runs to a half of its own (`f.cold`), to which f jumps, and
 * which returns to f's caller or jumps back. It is part of f. Without its symbol it is
 * known by call frame information: an entry of its own in which the frame is not that of
 * a function's beginning, or from which code jumps back into f. What f *calls* is no
 * half of it, whatever its name.
 *
 * What GCC calls `f.part.0` is a function of its own, called by several: a jump to it is
 * a tail call.
 *
 * Data between instructions makes decoding wrong. Where it fails the rest of that half
 * is left out: an instruction that is none would be written over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "obj/cfi.h"
#include "probe/match.h"
#include "util/log.h"

enum {
	MAX_PARTS = 8,  /* of a function */
	SP = 7,         /* its number in DWARF */
	WORD = 8,       /* bytes of a return address */
	MAX_BACK = 256, /* instructions looked at for a way back */
	ENDBR_LEN = 4,
	UNSURE = 1, /* as the kind of a spot: a jump that may be a tail call */
};

/* [lo, hi) */
struct part {
	uint64_t lo, hi; /* addresses */
};

/* A function that is being gone through. */
struct walk {
	struct text *t;              /* of its object */
	struct part part[MAX_PARTS]; /* the function, then its halves */
	size_t nparts;               /* how many */
	size_t now;                  /* the one at hand */
	uint64_t cold;               /* what may be its half by its name; 0 none */
	bool called;                 /* but it is called */
	uint8_t sum;                 /* register that the last instruction has added to */
	struct spots *spots;         /* so far */
};

static int append(struct spots *s, uint64_t addr, const struct part *stays)
{
	size_t room = s->room ? s->room * 2 : 16;
	struct probe_spot *v;

	if (s->n == s->room) {
		v = realloc(s->v, room * sizeof(*v));
		if (!v)
			return -ENOMEM;
		s->v = v;
		s->room = room;
	}
	s->v[s->n++] = (struct probe_spot){
		.addr = addr,
		.lo = stays ? stays->lo : 0,
		.hi = stays ? stays->hi : 0,
	};
	return 0;
}

static bool is_inside(const struct walk *w, uint64_t addr)
{
	for (size_t i = 0; i < w->nparts; i++)
		if (addr >= w->part[i].lo && addr < w->part[i].hi)
			return true;
	return false;
}

static void add_part(struct walk *w, uint64_t lo, uint64_t hi)
{
	if (w->nparts < MAX_PARTS && lo < hi && !is_inside(w, lo))
		w->part[w->nparts++] = (struct part){ lo, hi };
}

/* Is the stack at addr as it was at the function's entry? False too when that is not
 * known. */
static bool is_bare(const struct walk *w, uint64_t addr)
{
	struct cfi_row row;

	return !obj_cfi_row(w->t->file, addr, &row) && row.cfa.how == CFI_VAL_OFFSET &&
	       row.cfa.reg == SP && row.cfa.n == WORD;
}

/* --- where a jump goes -------------------------------------------------------------- */

static int peek(struct text *t, uint64_t addr, struct arch_flow *ret)
{
	uint8_t bytes[TEXT_INSN];
	ssize_t n = text_peek(t, addr, bytes, sizeof(bytes));

	return n < 0 ? (int)n : arch_flow(bytes, (size_t)n, addr, ret);
}

/* An entry of the PLT, with endbr64 or without. */
static bool is_stub(struct text *t, uint64_t addr)
{
	struct arch_flow flow;

	if (peek(t, addr, &flow))
		return false;
	if (flow.kind == ARCH_FLOW_NEXT && flow.len == ENDBR_LEN &&
	    peek(t, addr + flow.len, &flow))
		return false;
	return flow.kind == ARCH_FLOW_STUB;
}

/* Does code from lo on jump into the function? */
static bool jumps_back(const struct walk *w, uint64_t lo, uint64_t hi)
{
	struct arch_flow flow;

	for (int i = 0; i < MAX_BACK && lo < hi && !peek(w->t, lo, &flow); i++) {
		if ((flow.kind == ARCH_FLOW_JUMP || flow.kind == ARCH_FLOW_COND) &&
		    flow.target != w->part[0].lo && is_inside(w, flow.target))
			return true;
		lo += flow.len;
	}
	return false;
}

/* Is code that is not ours a function, not a half of this one? */
static bool is_another(const struct walk *w, uint64_t lo, uint64_t hi)
{
	return is_bare(w, lo) && !jumps_back(w, lo, hi);
}

/* The jump goes to a place that no symbol names. If that is our half, it is added. */
static bool leaves_unnamed(struct walk *w, uint64_t addr)
{
	struct cfi_row row;

	if (obj_cfi_row(w->t->file, addr, &row))
		return false;
	if (is_another(w, row.start, row.end))
		return true;
	add_part(w, row.start, row.end);
	return false;
}

/* Does a jump to addr leave the function? */
static bool leaves(struct walk *w, uint64_t addr)
{
	struct function f;

	if (is_inside(w, addr) || !text_segment(w->t, addr))
		return false;
	if (functions_cold_at(w->t, addr, &f)) {
		add_part(w, f.addr, f.addr + f.size);
		return !is_inside(w, addr);
	}
	if (functions_begins(w->t, addr) || is_stub(w->t, addr))
		return true;
	if (functions_at(w->t, addr, &f))
		return is_another(w, f.addr, f.addr + f.size);
	return leaves_unnamed(w, addr);
}

/* Is it a jump table for certain? */
static bool is_table(struct walk *w, const struct arch_flow *flow)
{
	uint64_t first;

	if (!flow->is_tracked)
		return true;
	if (flow->reg != ARCH_NOREG && flow->reg == w->sum)
		return true;
	return flow->target && !text_word(w->t, flow->target, &first) &&
	       is_inside(w, first);
}

static int append_unsure(struct walk *w, uint64_t addr)
{
	int rc = append(w->spots, addr, &w->part[w->now]);

	if (!rc)
		w->spots->v[w->spots->n - 1].kind = UNSURE;
	return rc;
}

/*
 * A jump with the function's frame still there is no tail call: an interpreter's loop has
 * hundreds. Call frame information tells; but not every compiler writes it for the ends
 * of functions, so it is believed where it is right about a `ret` of this one.
 */
static void drop_framed(const struct walk *w)
{
	struct spots *s = w->spots;
	bool precise = false;
	size_t n = 0;

	for (size_t i = 0; i < s->n && !precise; i++)
		precise = !s->v[i].hi && is_bare(w, s->v[i].addr);
	for (size_t i = 0; i < s->n; i++) {
		bool unsure = s->v[i].kind == UNSURE;

		s->v[i].kind = 0;
		if (!unsure || !precise || is_bare(w, s->v[i].addr))
			s->v[n++] = s->v[i];
	}
	s->n = n;
}

/* --- the walk ----------------------------------------------------------------------- */

static int see(struct walk *w, uint64_t addr, const struct arch_flow *flow)
{
	const struct part *here = &w->part[w->now];

	switch (flow->kind) {
	case ARCH_FLOW_RET:
		return append(w->spots, addr, NULL);
	case ARCH_FLOW_JUMP:
		return leaves(w, flow->target) ? append(w->spots, addr, NULL) : 0;
	case ARCH_FLOW_COND:
		return leaves(w, flow->target) ? append(w->spots, addr, here) : 0;
	case ARCH_FLOW_STUB:
		return append_unsure(w, addr);
	case ARCH_FLOW_INDIRECT:
		return is_table(w, flow) ? 0 : append_unsure(w, addr);
	case ARCH_FLOW_CALL:
		w->called = w->called || flow->target == w->cold;
		return 0;
	default:
		return 0;
	}
}

static int walk_part(struct walk *w)
{
	uint64_t addr = w->part[w->now].lo, end = w->part[w->now].hi;
	struct arch_flow flow;
	int rc = 0;

	w->sum = ARCH_NOREG;
	while (addr < end && !rc) {
		rc = text_flow(w->t, addr, end, &flow);
		if (rc)
			break;
		rc = see(w, addr, &flow);
		w->sum = flow.sum;
		addr += flow.len;
	}
	if (rc != -EILSEQ)
		return rc;
	log_at(LOG_PROC, 1, 0, 0, "no instruction at 0x%llx of %s",
	       (unsigned long long)addr, w->t->o->name);
	if (!w->spots->cut)
		w->spots->cut_at = addr - w->part[0].lo;
	w->spots->cut = true;
	return 0;
}

static int compare(const void *pa, const void *pb)
{
	const struct probe_spot *a = pa, *b = pb;

	return a->addr < b->addr ? -1 : a->addr > b->addr;
}

/*
 * A jump of one half may go to the other. One to the function's first instruction enters
 * it again, as bytecode handlers do that follow themselves: it has left.
 */
static void finish_bounds(const struct walk *w)
{
	for (size_t i = 0; i < w->spots->n; i++) {
		struct probe_spot *s = &w->spots->v[i];
		bool first = s->lo == w->part[0].lo;
		const struct part *other = &w->part[first ? 1 : 0];

		if (!s->hi)
			continue;
		s->lo += first;
		if (w->nparts == 1)
			continue;
		s->lo2 = other->lo + !first;
		s->hi2 = other->hi;
	}
}

int returns_find(struct text *t, const struct function *f, struct spots *ret)
{
	struct walk w = {
		.t = t,
		.part = { { f->addr, f->addr + f->size } },
		.nparts = 1,
		.spots = ret,
	};
	struct function cold;
	struct cfi_row row;
	int rc = 0;

	ret->n = 0;
	ret->cut = false;
	if (obj_cfi_row(t->file, f->addr, &row) == -ENOMEM)
		return -ENOMEM;
	if (functions_cold_of(t, f, &cold))
		w.cold = cold.addr;
	for (w.now = 0; w.now < w.nparts && !rc; w.now++) {
		rc = walk_part(&w);
		if (!w.now && w.cold && !w.called)
			add_part(&w, cold.addr, cold.addr + cold.size);
	}
	drop_framed(&w);
	finish_bounds(&w);
	if (ret->n > 1)
		qsort(ret->v, ret->n, sizeof(*ret->v), compare);
	return rc;
}

int returns_instructions(struct text *t, const struct function *f, struct spots *ret)
{
	uint64_t addr = f->addr, end = f->addr + f->size;
	struct arch_flow flow;
	int rc = 0;

	ret->n = 0;
	ret->cut = false;
	while (addr < end && !rc) {
		rc = text_flow(t, addr, end, &flow);
		if (!rc)
			rc = append(ret, addr, NULL);
		addr += rc ? 0 : flow.len;
	}
	ret->cut = rc == -EILSEQ;
	return rc == -EILSEQ ? 0 : rc;
}

void returns_fini(struct spots *s)
{
	free(s->v);
	memset(s, 0, sizeof(*s));
}
