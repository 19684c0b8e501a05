/* SPDX-License-Identifier: MIT */
/*
 * Unwinding.
 *
 * A walk goes from a frame to its caller until one of them is the last. It is given
 * registers, a memory seam and a snapshot of the address space, and asks nothing else:
 * not whose they are, not whether it lives.
 *
 * Which address is looked up. In the first frame, and in one that a signal interrupted,
 * the PC is the instruction that comes next: it is looked up as it is. In any other it is
 * a return address, and the call before it may be the last instruction of its function:
 * the address before is looked up.
 *
 * Ways out of a frame, the first that applies:
 *  - the file's call frame information (rules.c; src/obj/cfi.c finds it);
 *  - a signal trampoline that no information covers, known by its instructions (musl's,
 *    the AArch64 vDSO's, hand-written ones), goes by the frame that the kernel pushed;
 *  - rules of the CPU by what stands at the PC: PLT entries, first instructions, returns,
 *    vsyscall, a PC that is no code at all because a call went wrong; and the way to the
 *    function's return, followed (scan_x86_64.c);
 *  - the frame pointer: JIT-compiled and hand-written code. What it leads to must be
 *    code, since the register may be anything.
 *
 * Ends: a return address that the information calls undefined (clone, _start), or 0, or a
 * frame pointer of 0 where it is all there is. What cannot be read cuts the stack off;
 * anything that makes no sense breaks it. The frames before are right in any case.
 *
 * Bounded: a caller's stack pointer lies above its callee's (equal only once, where
 * nothing has been pushed), except behind a signal, which may have come while another
 * stack was in use; there it must not be one that was seen at a signal before. And there
 * is a number of frames.
 *
 * Memory is read through a window of 4 KB that moves up with the stack: a live target
 * costs a system call in ten or twenty frames. Nothing is allocated. The victim may die
 * at any read: the stack is cut off there.
 */
#include <errno.h>
#include <string.h>

#include "stack/inside.h"

enum {
	DEFAULT_MAX = 2048, /* frames */
};

/* Sets what w knows of the frame's place: mapping, file, row. */
static void locate(struct stack_walk *w, const struct stack_frame *cur)
{
	uint64_t addr = cur->regs.pc - !cur->exact;
	const struct image_object *o;
	struct obj *file;

	w->map = image_map_at(w->t->image, addr);
	w->file = NULL;
	w->has_row = false;
	o = w->map ? w->map->object : NULL;
	if (!o || addr >= o->end || image_object_obj(w->t->image, o, &file) ||
	    obj_machine(file) != w->arch->machine)
		return;
	w->file = file;
	w->vaddr = addr - o->base;
	w->has_row = !obj_cfi_row(w->file, w->vaddr, &w->row);
}

/* Where a row covers the call but not the return, another function begins behind it:
 * perhaps a trampoline that nobody called. */
static bool is_signal(struct stack_walk *w, const struct stack_frame *cur)
{
	bool covered = w->has_row && w->vaddr + !cur->exact < w->row.end;

	if (w->has_row && w->row.flags & CFI_SIGNAL)
		return true;
	if (covered || !stack_is_code(w, cur->regs.pc) ||
	    !w->arch->is_trampoline(w, cur->regs.pc))
		return false;
	w->has_row = false;
	return true;
}

/* The first way that applies. */
static int leave(struct stack_walk *w, const struct stack_frame *cur,
		 struct stack_frame *next)
{
	int rc = -ENOENT;

	if (w->has_row)
		return stack_by_cfi(w, cur, next);
	if (cur->signal)
		return w->arch->leave_signal(w, cur, next);
	rc = w->arch->by_rule(w, cur, next);
	if (rc != -ENOENT)
		return rc;
	return stack_is_code(w, cur->regs.pc) ? w->arch->by_fp(w, cur, next)
					      : STACK_ERR_BROKEN;
}

/* A stack that a signal interrupted must not have been seen at one before. */
static bool is_new_stack(struct stack_walk *w, uint64_t sp)
{
	for (unsigned i = 0; i < w->nseen; i++) {
		if (w->seen[i] == sp)
			return false;
	}
	if (w->nseen < STACK_ALT_STACKS)
		w->seen[w->nseen++] = sp;
	return true;
}

static bool is_above(struct stack_walk *w, const struct stack_frame *cur,
		     const struct stack_frame *next)
{
	if (cur->signal)
		return is_new_stack(w, next->regs.sp);
	return next->regs.sp > cur->regs.sp ||
	       (next->regs.sp == cur->regs.sp && cur->exact);
}

static enum stack_end end_of(int rc)
{
	if (rc == STACK_IS_BASE)
		return STACK_END_BASE;
	return rc == STACK_ERR_CUT ? STACK_END_CUT : STACK_END_BROKEN;
}

/* From *cur to its caller. 0, or what it ends with as in leave(). */
static int step(struct stack_walk *w, const struct stack_frame *cur,
		struct stack_frame *next)
{
	int rc = leave(w, cur, next);

	if (rc)
		return rc;
	if (!next->regs.pc && !cur->signal)
		return STACK_IS_BASE;
	if (!is_above(w, cur, next))
		return STACK_ERR_BROKEN;
	next->exact = cur->signal;
	next->signal = false;
	return 0;
}

int stack_unwind(const struct stack_target *t, const struct stack_regs *regs,
		 stack_frame_f *fn, void *arg, enum stack_end *ret_end)
{
	unsigned max = t->max ? t->max : DEFAULT_MAX;
	struct stack_frame frame[2];
	struct stack_walk w;
	int rc;

	w.t = t;
	w.arch = t->arch;
	w.nseen = 0;
	w.window = w.window_len = 0;
	frame[0] =
		(struct stack_frame){ .regs = *regs, .how = STACK_START, .exact = true };
	for (unsigned i = 0; i < max; i++) {
		struct stack_frame *cur = &frame[i % 2], *next = &frame[(i + 1) % 2];

		locate(&w, cur);
		cur->signal = is_signal(&w, cur);
		rc = fn(arg, cur);
		if (rc) {
			*ret_end = STACK_END_CALLER;
			return rc;
		}
		rc = step(&w, cur, next);
		if (rc) {
			*ret_end = end_of(rc);
			return 0;
		}
	}
	*ret_end = STACK_END_LIMIT;
	return 0;
}
