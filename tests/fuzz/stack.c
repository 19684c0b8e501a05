/* SPDX-License-Identifier: MIT */
/*
 * Unwinding over a stack that lies: the code is this program's own and its libraries',
 * registers and stack are the input; when its first byte is odd the stack has no end.
 * Fails when a walk gives more frames than were asked for, or goes on without an end.
 */
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "stack/stack.h"

enum {
	AT = 0x7fff00000000 / 0x10000, /* where the stack stands, in units of 64 KiB */
	DEPTH = 200,
};

/* What stands before the stack in the input. */
struct head {
	uint8_t endless;  /* odd: the stack has no end */
	uint8_t object;   /* whose code the PC is in */
	uint32_t pc;      /* offset there */
	uint16_t sp;      /* offset in the stack */
	uint64_t reg[17]; /* by DWARF number */
};

static int count(void *arg, const struct stack_frame *frame)
{
	(void)frame;
	PROMISE(++*(unsigned *)arg <= DEPTH);
	return 0;
}

static struct image *own_image(void)
{
	static struct image *im;
	struct image_source src = { .pid = getpid() };

	if (!im)
		PROMISE(!image_build(&src, &im));
	return im;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint64_t at = (uint64_t)AT << 16;
	struct image *im = own_image();
	const struct image_object *o;
	struct mem_piece piece;
	struct mem_pieces pieces = { &piece, 1 };
	struct stack_regs regs = { 0 };
	enum stack_end end;
	unsigned frames = 0;
	struct head h;
	size_t n;

	FUZZ_TAKE(data, size, &h);
	o = image_objects(im, &n);
	if (!n)
		return 0;
	o += h.object % n;
	for (int i = 0; i < 17; i++)
		regs.r[i] = h.reg[i];
	regs.known = (1u << 17) - 1;
	regs.pc = regs.r[16] = o->start + h.pc % (o->end - o->start);
	regs.sp = regs.r[7] = at + h.sp;
	regs.fp = regs.r[6];
	piece = (struct mem_piece){ at, size, data };
	struct mem m = h.endless % 2 ? fuzz_endless(&piece) : mem_pieces(&pieces);
	struct stack_target t = { stack_arch_for(EM_X86_64), im, &m, DEPTH };

	PROMISE(!stack_unwind(&t, &regs, count, &frames, &end));
	PROMISE(frames >= 1);
	return 0;
}
