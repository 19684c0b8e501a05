/* SPDX-License-Identifier: MIT */
/*
 * What the BPF programs (probe.bpf.c) and their user (kernel.c) agree upon: cookies, the
 * tables that the user fills, the record of a hit. Included by both, so plain types only.
 *
 * A spot's *cookie* says all that a count needs; its index names the rest:
 *
 *	bits 0 to 25   index of the spot in the user's table
 *	bits 26 to 51  id of its probe
 *	bits 52 to 62  range: where the link's file is mapped
 *	bit 63         a jump: look into the table of jumps, by index
 */
#ifndef PGRAB_PROBE_RECORD_H
#define PGRAB_PROBE_RECORD_H

#include <linux/types.h>

enum {
	RECORD_ID_SHIFT = 26,
	RECORD_RANGE_SHIFT = 52,
	RECORD_JUMP_SHIFT = 63,
	RECORD_MAX = 1 << 26,    /* spots, and ids */
	RECORD_RANGES = 1 << 11, /* links at a time */
	RECORD_JUMPS = 1 << 16,  /* jumps that are looked at */
	RECORD_WORDS = 8,        /* of the stack, when no more of it is wanted */
	RECORD_BELOW = 128,      /* bytes below the stack pointer: PROBE_RED_ZONE */
	RECORD_NONE = 0xff,      /* no register */
};

/* Where the kernel's registers have what, in words; they are the first words of
 * arch_regs_t. */
#if defined(__aarch64__) || defined(__TARGET_ARCH_arm64)
enum {
	RECORD_REGS = 34, /* words */
	RECORD_SP = 31,
	RECORD_PC = 32,
	RECORD_FLAGS = 33,
};
#else
enum {
	RECORD_REGS = 21, /* words */
	RECORD_PC = 16,
	RECORD_FLAGS = 18,
	RECORD_SP = 19,
};
#endif

/* What does not change after the load. */
struct record_setup {
	__u32 tgid;    /* the victim, in the first pid namespace; 0: not known */
	__u32 foreign; /* 1: ids are those of the pid namespace below */
	__u64 ns_dev;  /* of /proc/self/ns/pid */
	__u64 ns_ino;  /* … */
	__u32 stack;   /* bytes of it in a record */
	__u32 pad;     /* 0 */
};

/* Where a link's file is mapped. A hit anywhere else is of another mapping of the file,
 * or comes after the link has been given up: hi is 0 then. */
struct record_range {
	__u64 lo, hi; /* [lo, hi) */
};

/* Where a jump's target comes from. */
enum record_jump_how {
	RECORD_JUMP_COND, /* fires if the condition holds */
	RECORD_JUMP_REG,  /* the register `base` */
	RECORD_JUMP_MEM,  /* the word at base + index * scale + disp */
};

/* A jump that fires when it goes outside [lo, hi) and [lo2, hi2). */
struct record_jump {
	__u64 lo, hi;   /* the function */
	__u64 lo2, hi2; /* its other half; 0 none */
	__u64 disp;     /* MEM */
	__u8 how;       /* enum record_jump_how */
	__u8 cond;      /* COND: 0 to 15, as in the instruction */
	__u8 base;      /* register, in words; RECORD_NONE */
	__u8 index;     /* register, in words; RECORD_NONE */
	__u32 scale;    /* 1, 2, 4 or 8 */
};

/* One hit. */
struct record_hit {
	__u64 time;              /* CLOCK_MONOTONIC, ns */
	__u32 index;             /* of the spot */
	__u32 tid;               /* thread */
	__u64 regs[RECORD_REGS]; /* as the probed instruction found them */
	__u64 at;                /* address of the first byte behind this */
	__u64 nstack;            /* bytes that are valid there */
};

#endif
