/* SPDX-License-Identifier: MIT */
/*
 * Where a function has begun for good. A function of Go's first compares the stack
 * pointer with the end of its goroutine's stack; if there is too little room it jumps to
 * its own last instructions, which have a larger stack made and jump to its first one
 * again. What fires there fires twice for one call. So the entry is told behind the
 * comparison, where registers and stack are still those of the call.
 *
 * Known by its shape alone: within the first few instructions a jump with a condition, to
 * the function's end, where a call follows, and then a jump to its beginning.
 */
#include "arch/arch.h"
#include "probe/match.h"

enum {
	MAX_FIRST = 4, /* instructions up to the jump */
	MAX_LAST = 48, /* instructions of the end: arguments saved, call, restored */
	MAX_END = 256, /* bytes of it */
};

/* Do the instructions from `from` on call something, and then begin the function anew? */
static bool begins_anew(struct text *t, const struct function *f, uint64_t from)
{
	uint64_t end = f->addr + f->size;
	struct arch_flow flow;
	bool called = false;

	for (int i = 0; i < MAX_LAST && from < end && !text_flow(t, from, end, &flow);
	     i++) {
		if (flow.kind == ARCH_FLOW_JUMP)
			return called && flow.target == f->addr;
		if (flow.kind != ARCH_FLOW_NEXT && flow.kind != ARCH_FLOW_CALL)
			return false;
		called = called || flow.kind == ARCH_FLOW_CALL;
		from += flow.len;
	}
	return false;
}

uint64_t prologue_entry(struct text *t, const struct function *f)
{
	uint64_t end = f->addr + f->size, at = f->addr;
	struct arch_flow flow;

	for (int i = 0; i < MAX_FIRST && at < end && !text_flow(t, at, end, &flow); i++) {
		at += flow.len;
		if (flow.kind == ARCH_FLOW_NEXT)
			continue;
		if (flow.kind != ARCH_FLOW_COND || flow.target <= at ||
		    flow.target >= end || end - flow.target > MAX_END ||
		    !begins_anew(t, f, flow.target))
			break;
		return at;
	}
	return f->addr;
}
