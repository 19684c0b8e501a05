/* SPDX-License-Identifier: MIT */
/*
 * src/stack on fakes: an address space that a table describes, memory made of pieces,
 * files made by hand; x86-64 and AArch64 alike. And on the test itself, against the
 * return addresses that the compiler knows.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "cfi_maker.h"
#include "stack/stack.h"
#include "util/scope.h"

enum {
	BASE = 0x10000000,   /* where the file is mapped */
	JIT = 0x20000000,    /* code of no file */
	STACK = 0x70000000,  /* the stack */
	ALT = 0x78000000,    /* an alternate one */
	STACK_SIZE = 0x4000, /* bytes of either */
	JIT_SIZE = 0x1000,   /* bytes */
	MAX_SEEN = 3000,
};

/* A target. */
struct fake {
	struct procfs_map maps[4];         /* file, JIT code, two stacks */
	int fd;                            /* the file */
	uint64_t stack[STACK_SIZE / 8];    /* at STACK */
	uint64_t alt[STACK_SIZE / 8];      /* at ALT */
	uint8_t jit[JIT_SIZE];             /* at JIT */
	struct mem_piece pieces[4];        /* all of it */
	struct mem_pieces ctx;             /* them */
	struct mem mem;                    /* the seam */
	struct image *image;               /* the snapshot */
	struct stack_target target;        /* what is walked */
	struct stack_regs regs;            /* from where */
	struct stack_frame seen[MAX_SEEN]; /* frames */
	unsigned nseen;                    /* how many */
	enum stack_end end;                /* why it ended */
};

static struct fake f;
static struct cfi_maker k;

static int give_maps(void *arg, struct procfs_map **ret, size_t *ret_n)
{
	*ret = malloc(sizeof(f.maps));
	memcpy(*ret, f.maps, sizeof(f.maps));
	*ret_n = 4;
	return 0;
}

static int open_file(void *arg, const struct procfs_map *m)
{
	return dup(f.fd);
}

static void count_user(void *arg)
{
}

static const struct image_origin origin = {
	.maps = give_maps,
	.open = open_file,
	.ref = count_user,
	.unref = count_user,
};

static void set_map(unsigned i, uint64_t start, uint64_t size, unsigned prot,
		    const char *path)
{
	f.maps[i] = (struct procfs_map){ .start = start,
					 .end = start + size,
					 .prot = prot,
					 .inode = *path == '/',
					 .path = path };
}

/* Of k's file, which is ended here. */
static void begin_fake(unsigned machine)
{
	struct image_source src = { .origin = &origin, .mem = &f.mem };

	memset(&f, 0, sizeof(f));
	put_table(&k, 0x3b);
	f.fd = memfd_create("fake", MFD_CLOEXEC);
	assert_true(f.fd >= 0);
	assert_int_equal(write(f.fd, k.file, sizeof(k.file)), sizeof(k.file));
	set_map(0, BASE, FILE_SIZE, 5, "/fake");
	set_map(1, JIT, JIT_SIZE, 5, "");
	set_map(2, STACK, STACK_SIZE, 3, "");
	set_map(3, ALT, STACK_SIZE, 3, "");
	f.pieces[0] = (struct mem_piece){ STACK, STACK_SIZE, f.stack };
	f.pieces[1] = (struct mem_piece){ ALT, STACK_SIZE, f.alt };
	f.pieces[2] = (struct mem_piece){ JIT, JIT_SIZE, f.jit };
	f.pieces[3] = (struct mem_piece){ BASE, FILE_SIZE, k.file };
	f.ctx = (struct mem_pieces){ f.pieces, 4 };
	f.mem = mem_pieces(&f.ctx);
	assert_int_equal(image_build(&src, &f.image), 0);
	f.target = (struct stack_target){ .arch = stack_arch_for(machine),
					  .image = f.image,
					  .mem = &f.mem };
	assert_non_null(f.target.arch);
}

static void end_fake(void)
{
	image_unref(f.image);
	close(f.fd);
}

static int see(void *arg, const struct stack_frame *frame)
{
	assert_true(f.nseen < MAX_SEEN);
	f.seen[f.nseen++] = *frame;
	return 0;
}

static void set_reg(unsigned reg, uint64_t value)
{
	f.regs.r[reg] = value;
	f.regs.known |= 1ull << reg;
}

/* From pc, sp and fp. */
static void walk_from(uint64_t pc, uint64_t sp, uint64_t fp)
{
	bool is_x86 = f.target.arch == stack_arch_for(EM_X86_64);

	f.nseen = 0;
	f.regs.pc = pc;
	f.regs.sp = sp;
	f.regs.fp = fp;
	set_reg(is_x86 ? RSP : 31, sp);
	set_reg(is_x86 ? RBP : 29, fp);
	if (is_x86)
		set_reg(RIP, pc);
	assert_int_equal(stack_unwind(&f.target, &f.regs, see, NULL, &f.end), 0);
	assert_true(f.nseen > 0);
}

static void assert_frame(unsigned i, uint64_t pc, enum stack_how how)
{
	if (i >= f.nseen)
		fail_msg("frame %u of %u is missing (end %d)", i, f.nseen, f.end);
	assert_int_equal(f.seen[i].regs.pc, pc);
	assert_int_equal(f.seen[i].how, how);
}

static void assert_end(unsigned n, enum stack_end end)
{
	assert_int_equal(f.nseen, n);
	assert_int_equal(f.end, end);
}

/* Word i of the stack. */
static uint64_t slot(unsigned i)
{
	return STACK + 8 * i;
}

/* Functions of 0x20 bytes: 0 usual; 0x20 the outermost; 0x40 by an expression; 0x60 one
 * whose CFA does not grow; the rest has no information. */
enum {
	USUAL = BASE + TEXT,
	OUTERMOST = USUAL + 0x20,
	BY_EXPR = USUAL + 0x40,
	STUCK = USUAL + 0x60,
	SIGNALLED = USUAL + 0x80,
	BARE = USUAL + 0x200,
};

static void make_x86(void)
{
	static const uint8_t data[] = { 0x1b };

	begin(&k, EM_X86_64);
	usual_cie(&k);
	open_fde(&k, TEXT, 0x20);
	PUT(&k, 0x41, 0x0e, 16, 0x80 | RBP, 2);
	close_entry(&k);
	open_fde(&k, TEXT + 0x20, 0x20);
	PUT(&k, 0x07, RIP);
	close_entry(&k);
	open_fde(&k, TEXT + 0x40, 0x20); /* CFA: *(rsp) + 8; rbx at CFA - 16 */
	PUT(&k, 0x0f, 5, 0x77, 0, 0x06, 0x23, 8, 0x10, RBX, 2, 0x40, 0x1c);
	close_entry(&k);
	open_fde(&k, TEXT + 0x60, 0x20); /* CFA: rsp */
	PUT(&k, 0x0e, 0, 0x16, RIP, 2, 0x80, 0);
	close_entry(&k);
	open_cie(&k, 1, "zRS", data, 1);
	usual_rules(&k);
	close_entry(&k);
	open_fde(&k, TEXT + 0x80 - 1, 0x20); /* rip, rsp at the stack pointer */
	PUT(&k, 0x0c, RSP, 0, 0x10, RIP, 2, 0x77, 0, 0x10, RSP, 2, 0x77, 8);
	close_entry(&k);
}

/* --- call frame information ------------------------------------------------------- */

static void usual_frames(void **state)
{
	make_x86();
	begin_fake(EM_X86_64);
	f.stack[0] = 0x1111;       /* rbp */
	f.stack[1] = USUAL + 0x20; /* a call that ends its function */
	f.stack[2] = 0x2222;
	f.stack[3] = OUTERMOST + 5;
	walk_from(USUAL + 5, STACK, 0x3333);
	assert_frame(0, USUAL + 5, STACK_START);
	assert_true(f.seen[0].exact);
	assert_frame(1, USUAL + 0x20, STACK_CFI);
	assert_false(f.seen[1].exact);
	assert_int_equal(f.seen[1].regs.fp, 0x1111);
	assert_int_equal(f.seen[1].regs.sp, slot(2));
	assert_frame(2, OUTERMOST + 5, STACK_CFI);
	assert_int_equal(f.seen[2].regs.fp, 0x2222);
	assert_end(3, STACK_END_BASE);
	/* At the first instruction, exactly, nothing is pushed. */
	f.stack[0] = OUTERMOST + 1;
	walk_from(USUAL, STACK, 0x3333);
	assert_frame(1, OUTERMOST + 1, STACK_CFI);
	assert_int_equal(f.seen[1].regs.fp, 0x3333);
	end_fake();
}

static void expression_frames(void **state)
{
	make_x86();
	begin_fake(EM_X86_64);
	f.stack[0] = slot(10); /* CFA - 8 */
	f.stack[9] = 77;       /* rbx: *(CFA - 16) */
	f.stack[10] = OUTERMOST + 1;
	walk_from(BY_EXPR, STACK, 0);
	assert_frame(1, OUTERMOST + 1, STACK_CFI);
	assert_int_equal(f.seen[1].regs.sp, slot(11));
	assert_int_equal(f.seen[1].regs.r[RBX], 77);
	/* One that leads nowhere. */
	f.stack[0] = 0x1234;
	walk_from(BY_EXPR, STACK, 0);
	assert_end(1, STACK_END_CUT);
	end_fake();
}

static void ends(void **state)
{
	make_x86();
	begin_fake(EM_X86_64);
	f.stack[1] = 0;
	walk_from(USUAL + 5, STACK, 0);
	assert_end(1, STACK_END_BASE);
	f.stack[1] = 0x4141414141414141; /* shown, and no further */
	walk_from(USUAL + 5, STACK, 0);
	assert_frame(1, 0x4141414141414141, STACK_CFI);
	assert_end(2, STACK_END_BROKEN);
	walk_from(USUAL + 5, STACK + STACK_SIZE - 8, 0);
	assert_end(1, STACK_END_CUT);
	walk_from(USUAL + 5, UINT64_MAX - 7, 0);
	assert_end(1, STACK_END_CUT);
	end_fake();
}

static int stop_at_two(void *arg, const struct stack_frame *frame)
{
	return ++*(int *)arg == 2 ? 42 : 0;
}

static void limits(void **state)
{
	int n = 0;

	make_x86();
	begin_fake(EM_X86_64);
	for (unsigned i = 0; i < STACK_SIZE / 8; i++)
		f.stack[i] = USUAL + 8;
	walk_from(USUAL + 8, STACK, 0);
	assert_end(1 + STACK_SIZE / 16, STACK_END_CUT);
	f.target.max = 7;
	walk_from(USUAL + 8, STACK, 0);
	assert_end(7, STACK_END_LIMIT);
	assert_int_equal(stack_unwind(&f.target, &f.regs, stop_at_two, &n, &f.end), 42);
	assert_int_equal(f.end, STACK_END_CALLER);
	end_fake();
}

/* A frame that does not lie above the last can be one time only. */
static void stuck(void **state)
{
	make_x86();
	begin_fake(EM_X86_64);

	walk_from(STUCK + 4, STACK, 0);
	assert_true(f.nseen <= 3);
	assert_int_equal(f.end, STACK_END_BROKEN);
	end_fake();
}

/* --- signals ---------------------------------------------------------------------- */

static void signal_by_cfi(void **state)
{
	make_x86();
	begin_fake(EM_X86_64);
	f.alt[1] = SIGNALLED; /* the handler returns into the trampoline */
	f.alt[2] = USUAL;     /* it came at a first instruction … */
	f.alt[3] = STACK;     /* … on a stack that lies below */
	f.stack[0] = OUTERMOST + 1;
	walk_from(USUAL + 5, ALT, 0);
	assert_frame(1, SIGNALLED, STACK_CFI);
	assert_true(f.seen[1].signal);
	assert_false(f.seen[1].exact);
	assert_frame(2, USUAL, STACK_SIGNAL);
	assert_true(f.seen[2].exact);
	assert_false(f.seen[2].signal);
	assert_frame(3, OUTERMOST + 1, STACK_CFI);
	assert_end(4, STACK_END_BASE);
	end_fake();
}

/* A signal frame that leads back to itself ends at the second look. */
static void signal_cycle(void **state)
{
	make_x86();
	begin_fake(EM_X86_64);
	f.stack[0] = SIGNALLED;
	f.stack[1] = SIGNALLED;
	f.stack[2] = STACK;
	walk_from(SIGNALLED, STACK, 0);
	f.stack[0] = SIGNALLED;
	f.stack[1] = STACK;
	walk_from(SIGNALLED, STACK, 0);
	assert_int_equal(f.end, STACK_END_BROKEN);
	assert_true(f.nseen <= 4);
	end_fake();
}

/* Nothing but the instructions tells: mov $15, %eax; syscall. */
static void signal_by_code(void **state)
{
	static const uint8_t code[] = { 0xb8, 15, 0, 0, 0, 0x0f, 0x05 };
	uint64_t *gregs = &f.stack[2 + 5];

	make_x86();
	begin_fake(EM_X86_64);
	memcpy(f.jit + 0x100, code, sizeof(code));
	f.stack[1] = JIT + 0x100;
	gregs[10] = 0x5555;    /* rbp */
	gregs[11] = 0x3333;    /* rbx */
	gregs[15] = slot(100); /* rsp */
	gregs[16] = USUAL;     /* rip */
	f.stack[100] = OUTERMOST + 1;
	walk_from(USUAL + 5, STACK, 0);
	assert_frame(1, JIT + 0x100, STACK_CFI);
	assert_true(f.seen[1].signal);
	assert_frame(2, USUAL, STACK_SIGNAL);
	assert_int_equal(f.seen[2].regs.r[RBX], 0x3333);
	assert_int_equal(f.seen[2].regs.fp, 0x5555);
	assert_frame(3, OUTERMOST + 1, STACK_CFI);
	end_fake();
}

/* --- rules and frame pointers ----------------------------------------------------- */

static void frame_pointers(void **state)
{
	make_x86();
	begin_fake(EM_X86_64);
	memset(f.jit, 0x90, sizeof(f.jit));
	f.stack[10] = slot(20);
	f.stack[11] = JIT + 0x20;
	f.stack[20] = slot(30);
	f.stack[21] = USUAL + 5; /* compiled code again */
	f.stack[22] = 0x77;
	f.stack[23] = OUTERMOST + 1;
	walk_from(JIT + 0x10, STACK, slot(10));
	assert_frame(1, JIT + 0x20, STACK_FP);
	assert_frame(2, USUAL + 5, STACK_FP);
	assert_frame(3, OUTERMOST + 1, STACK_CFI);
	assert_end(4, STACK_END_BASE);
	/* One of 0 is the end; one that leads down, or to no code, breaks it. */
	walk_from(JIT + 0x10, STACK, 0);
	assert_end(1, STACK_END_BASE);
	walk_from(JIT + 0x10, slot(12), slot(10));
	assert_end(1, STACK_END_BROKEN);
	walk_from(JIT + 0x10, STACK, slot(10) + 1);
	assert_end(1, STACK_END_BROKEN);
	f.stack[11] = STACK;
	walk_from(JIT + 0x10, STACK, slot(10));
	assert_end(1, STACK_END_BROKEN);
	walk_from(JIT + 0x10, STACK, STACK + STACK_SIZE);
	assert_end(1, STACK_END_CUT);
	end_fake();
}

static void put_code(uint64_t at, const char *bytes, size_t n)
{
	memset(f.jit, 0x90, sizeof(f.jit));
	memcpy(f.jit + (at - JIT), bytes, n);
}

/* Code at the PC of which the rules know how much has been pushed. */
static void by_instruction(void **state)
{
	static const struct {
		const char *bytes; /* around the PC */
		unsigned len;      /* how many */
		unsigned pc;       /* where in them */
		unsigned pushed;   /* words */
	} codes[] = {
		{ "\x55", 1, 0, 0 },
		{ "\x55\x48\x89\xe5", 4, 1, 1 },
		{ "\xf3\x0f\x1e\xfa", 4, 0, 0 },
		{ "\xc3", 1, 0, 0 },
		{ "\xf3\xc3", 2, 0, 0 },
		{ "\xff\x25\1\2\3\4", 6, 0, 0 },
		{ "\xff\x25\1\2\3\4\x68\1\0\0\0\xe9", 12, 6, 0 },
		{ "\x68\1\0\0\0\xe9\1\2\3\4", 10, 5, 1 },
		{ "\xff\x35\1\2\3\4\xff\x25\1\2\3\4", 12, 0, 1 },
		{ "\xff\x35\1\2\3\4\xff\x25\1\2\3\4", 12, 6, 2 },
	};

	make_x86();
	begin_fake(EM_X86_64);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		memset(f.stack, 0, sizeof(f.stack));
		f.stack[codes[i].pushed] = OUTERMOST + 1;
		put_code(JIT + 0x40, codes[i].bytes, codes[i].len);
		walk_from(JIT + 0x40 + codes[i].pc, STACK, 0);
		assert_frame(1, OUTERMOST + 1, STACK_RULE);
		assert_int_equal(f.seen[1].regs.sp, slot(codes[i].pushed + 1));
	}
	end_fake();
}

/* A call through a bad pointer: the return address is all that was pushed. */
static void bad_call(void **state)
{
	static const uint64_t bad[] = { 0, STACK, 0xdeadbeef, UINT64_MAX };

	make_x86();
	begin_fake(EM_X86_64);
	for (size_t i = 0; i < 4; i++) {
		f.stack[0] = OUTERMOST + 1;
		walk_from(bad[i], STACK, 0);
		assert_frame(1, OUTERMOST + 1, STACK_RULE);
		assert_end(2, STACK_END_BASE);
		f.stack[0] = 0x1234;
		walk_from(bad[i], STACK, 0);
		assert_end(1, STACK_END_BROKEN);
	}
	end_fake();
}

/* --- garbage ---------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Whatever stack and code are, a walk ends, and in time. */
static void garbage(void **state)
{
	static const uint64_t places[] = { USUAL, OUTERMOST, BY_EXPR, STUCK, SIGNALLED,
					   BARE,  JIT,       STACK,   ALT,   0 };
	uint64_t seed = 88172645463325252;

	make_x86();
	begin_fake(EM_X86_64);
	for (int round = 0; round < 300; round++) {
		for (unsigned i = 0; i < STACK_SIZE / 8; i++) {
			uint64_t r = next_random(&seed);

			f.stack[i] = places[r % 10] + (r >> 8) % 0x20 * 8;
			f.alt[i] = places[(r >> 4) % 10] + (r >> 16) % 0x20 * 8;
		}
		for (unsigned i = 0; i < JIT_SIZE; i++)
			f.jit[i] = (uint8_t)(next_random(&seed) >> 20);
		walk_from(places[round % 10] + (unsigned)round % 32,
			  STACK + 8 * (next_random(&seed) % 100),
			  STACK + 8 * (next_random(&seed) % 200));
		assert_true(f.nseen <= 2048);
	}
	end_fake();
}

/* --- AArch64 ---------------------------------------------------------------------- */

enum {
	X19 = 19,
	FP = 29,
	LR = 30,
};

/* TEXT: stp x29, x30, [sp, -32]!; mov x29, sp; TEXT + 0x20: a leaf; 0x40: outermost;
 * 0x60: as the first, its return address signed. */
static void make_aarch64(void)
{
	static const uint8_t data[] = { 0x1b };

	begin(&k, EM_AARCH64);
	k.cie = k.at;
	open_entry(&k);
	put_id(&k, 0);
	PUT(&k, 1, 'z', 'R', 0, 4, 0x78, LR, 1, data[0], 0x0c, 31, 0);
	close_entry(&k);
	open_fde(&k, TEXT, 0x20);
	PUT(&k, 0x41, 0x0e, 32, 0x80 | FP, 4, 0x80 | LR, 3, 0x41, 0x0d, FP);
	close_entry(&k);
	open_fde(&k, TEXT + 0x20, 0x20);
	close_entry(&k);
	open_fde(&k, TEXT + 0x40, 0x20);
	PUT(&k, 0x07, LR);
	close_entry(&k);
	open_fde(&k, TEXT + 0x60, 0x20);
	PUT(&k, 0x2d, 0x41, 0x0e, 32, 0x80 | FP, 4, 0x80 | LR, 3);
	close_entry(&k);
}

static void aarch64_frames(void **state)
{
	make_aarch64();
	begin_fake(EM_AARCH64);
	/* A leaf, whose caller is in the link register, at the same stack pointer. */
	set_reg(LR, USUAL + 12);
	set_reg(X19, 0x1919);
	f.stack[10] = 0x2929;
	f.stack[11] = USUAL + 0x48;
	walk_from(USUAL + 0x24, STACK, slot(10));
	assert_frame(1, USUAL + 12, STACK_CFI);
	assert_int_equal(f.seen[1].regs.sp, STACK);
	assert_frame(2, USUAL + 0x48, STACK_CFI);
	assert_int_equal(f.seen[2].regs.fp, 0x2929);
	assert_int_equal(f.seen[2].regs.sp, slot(14));
	assert_int_equal(f.seen[2].regs.r[X19], 0x1919);
	assert_end(3, STACK_END_BASE);
	/* Signed: the signature is taken off. */
	f.stack[1] = (USUAL + 0x48) | 0x002a000000000000;
	walk_from(USUAL + 0x6c, STACK, 0);
	assert_frame(1, USUAL + 0x48, STACK_CFI);
	end_fake();
}

/* A return into a leaf is nonsense: nothing would ever move. */
static void aarch64_stuck(void **state)
{
	make_aarch64();
	begin_fake(EM_AARCH64);
	set_reg(LR, USUAL + 0x28);
	walk_from(USUAL + 0x24, STACK, 0);
	assert_int_equal(f.end, STACK_END_BROKEN);
	assert_true(f.nseen <= 2);
	end_fake();
}

static void aarch64_without(void **state)
{
	static const uint32_t trampoline[] = { 0xd2801168, 0xd4000001 };
	uint64_t *regs = &f.stack[(128 + 184) / 8];

	make_aarch64();
	begin_fake(EM_AARCH64);
	/* Frame records. */
	f.stack[10] = slot(20);
	f.stack[11] = (JIT + 0x20) | 0x1200000000000000;
	f.stack[20] = 0;
	f.stack[21] = USUAL + 0x48;
	walk_from(JIT + 0x10, STACK, slot(10));
	assert_frame(1, JIT + 0x20, STACK_FP);
	assert_frame(2, USUAL + 0x48, STACK_FP);
	/* A bad call; a first instruction. */
	set_reg(LR, USUAL + 0x48);
	walk_from(0, STACK, 0);
	assert_frame(1, USUAL + 0x48, STACK_RULE);
	memcpy(f.jit, "\x3f\x23\x03\xd5", 4); /* paciasp */
	walk_from(JIT, STACK, 0);
	assert_frame(1, USUAL + 0x48, STACK_RULE);
	/* A signal, by the kernel's frame. */
	memcpy(f.jit + 0x80, trampoline, sizeof(trampoline));
	set_reg(LR, JIT + 0x80);
	regs[LR] = USUAL + 0x48;
	regs[31] = slot(200);
	regs[32] = USUAL + 0x24;
	walk_from(USUAL + 0x20, STACK, 0);
	assert_frame(1, JIT + 0x80, STACK_CFI);
	assert_true(f.seen[1].signal);
	assert_frame(2, USUAL + 0x24, STACK_SIGNAL);
	assert_int_equal(f.seen[2].regs.sp, slot(200));
	assert_frame(3, USUAL + 0x48, STACK_CFI);
	end_fake();
}

/* --- registers -------------------------------------------------------------------- */

static void registers(void **state)
{
	static const unsigned machines[] = { EM_X86_64, EM_AARCH64 };
	uint64_t words[34], back[34];
	struct stack_regs regs;

	for (int m = 0; m < 2; m++) {
		const struct stack_arch *a = stack_arch_for(machines[m]);
		unsigned pc = m ? 32 : 16, sp = m ? 31 : 19, fp = m ? 29 : 4;

		for (unsigned i = 0; i < 34; i++)
			words[i] = 1000 + i;
		assert_int_equal(stack_regs_prstatus(a, words, 34, &regs), 0);
		assert_int_equal(regs.pc, 1000 + pc);
		assert_int_equal(regs.sp, 1000 + sp);
		assert_int_equal(regs.fp, 1000 + fp);
		stack_regs_words(a, &regs, back, 34);
		assert_int_equal(back[pc], 1000 + pc);
		assert_int_equal(back[sp], 1000 + sp);
		assert_int_equal(back[fp], 1000 + fp);
		assert_int_equal(back[0], 1000);
		assert_int_equal(stack_regs_prstatus(a, words, 5, &regs), -EINVAL);
	}
	assert_null(stack_arch_for(EM_386));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usual_frames),
		cmocka_unit_test(expression_frames),
		cmocka_unit_test(ends),
		cmocka_unit_test(limits),
		cmocka_unit_test(stuck),
		cmocka_unit_test(signal_by_cfi),
		cmocka_unit_test(signal_cycle),
		cmocka_unit_test(signal_by_code),
		cmocka_unit_test(frame_pointers),
		cmocka_unit_test(by_instruction),
		cmocka_unit_test(bad_call),
		cmocka_unit_test(garbage),
		cmocka_unit_test(aarch64_frames),
		cmocka_unit_test(aarch64_stuck),
		cmocka_unit_test(aarch64_without),
		cmocka_unit_test(registers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
