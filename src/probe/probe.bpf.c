/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The BPF side of the kernel backend: what runs in the victim's threads at each hit.
 * Built by clang -target bpf and put into the library (kernel.c has the theory).
 *
 * A program can be preempted by another thread's on the same CPU, so that even the
 * counters of one CPU are added to atomically, and nothing is kept in per-CPU scratch.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "probe/record.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum {
	PAGE = 4096,
	PIECE = 1024, /* of the stack, bytes; none crosses a page */
	PIECES = 66,  /* at most, with both ends */
};

const volatile struct record_setup setup;

/* Written by the user while the programs run. */
struct record_range ranges[RECORD_RANGES];

/* Hits by id. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} counts SEC(".maps");

/* Records that found no room. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} lost SEC(".maps");

/* Spots that are jumps. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct record_jump);
	__uint(max_entries, RECORD_JUMPS);
} jumps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, PAGE);
} ring SEC(".maps");

static __always_inline void add_one(void *map, __u32 key)
{
	__u64 *n = bpf_map_lookup_elem(map, &key);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* The condition of a conditional jump (SDM 3A, appendix B). */
static __always_inline bool holds(__u8 cond, __u64 flags)
{
	bool cf = flags & 0x1, pf = flags & 0x4, zf = flags & 0x40;
	bool sf = flags & 0x80, of = flags & 0x800, is = false;

	switch (cond >> 1) {
	case 0:
		is = of;
		break;
	case 1:
		is = cf;
		break;
	case 2:
		is = zf;
		break;
	case 3:
		is = cf || zf;
		break;
	case 4:
		is = sf;
		break;
	case 5:
		is = pf;
		break;
	case 6:
		is = sf != of;
		break;
	case 7:
		is = zf || sf != of;
		break;
	}
	return is != (cond & 1);
}

static __always_inline __u64 reg(const __u64 *regs, __u8 i)
{
	return i < RECORD_REGS ? regs[i] : 0;
}

/* Does the jump leave its function? One whose target cannot be read faults by itself. */
static __noinline bool leaves(const __u64 *ctx, const struct record_jump *j)
{
	__u64 regs[RECORD_REGS], target = 0;

#pragma unroll
	for (int i = 0; i < RECORD_REGS; i++)
		regs[i] = ctx[i];
	if (j->how == RECORD_JUMP_COND)
		return holds(j->cond, regs[RECORD_FLAGS]);
	target = reg(regs, j->base);
	if (j->how == RECORD_JUMP_MEM) {
		target += j->disp + reg(regs, j->index) * j->scale;
		if (bpf_probe_read_user(&target, sizeof(target), (void *)target))
			return false;
	}
	return (target < j->lo || target >= j->hi) &&
	       (target < j->lo2 || target >= j->hi2);
}

/* Is it a hit of ours? */
static __always_inline bool fires(const __u64 *ctx, __u64 cookie)
{
	__u32 at = (cookie >> RECORD_RANGE_SHIFT) & (RECORD_RANGES - 1);
	__u32 index = cookie & (RECORD_MAX - 1);
	__u64 pc = ctx[RECORD_PC];
	struct record_jump *j;

	if (setup.tgid && bpf_get_current_pid_tgid() >> 32 != setup.tgid)
		return false;
	if (pc < ranges[at].lo || pc >= ranges[at].hi)
		return false;
	if (!(cookie >> RECORD_JUMP_SHIFT))
		return true;
	j = bpf_map_lookup_elem(&jumps, &index);
	return j && leaves(ctx, j);
}

static __always_inline void count(__u64 cookie)
{
	add_one(&counts, (cookie >> RECORD_ID_SHIFT) & (RECORD_MAX - 1));
}

static __always_inline __u32 thread_id(void)
{
	struct bpf_pidns_info ns;

	if (!setup.foreign)
		return bpf_get_current_pid_tgid();
	if (bpf_get_ns_current_pid_tgid(setup.ns_dev, setup.ns_ino, &ns, sizeof(ns)))
		return 0;
	return ns.pid;
}

static __always_inline void fill(struct record_hit *hit, const __u64 *ctx, __u64 cookie)
{
	hit->time = bpf_ktime_get_ns();
	hit->index = cookie & (RECORD_MAX - 1);
	hit->tid = thread_id();
#pragma unroll
	for (int i = 0; i < RECORD_REGS; i++)
		hit->regs[i] = ctx[i];
	hit->at = ctx[RECORD_SP];
	hit->nstack = 0;
}

SEC("kprobe")
int count_hit(const __u64 *ctx)
{
	__u64 cookie = bpf_get_attach_cookie((void *)ctx);

	if (fires(ctx, cookie))
		count(cookie);
	return 0;
}

/* With a few words of the stack. */
SEC("kprobe")
int tell_hit(const __u64 *ctx)
{
	struct {
		struct record_hit hit;
		__u64 words[RECORD_WORDS];
	} * r;
	__u64 cookie = bpf_get_attach_cookie((void *)ctx);

	if (!fires(ctx, cookie))
		return 0;
	count(cookie);
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		add_one(&lost, 0);
		return 0;
	}
	fill(&r->hit, ctx, cookie);
	if (!bpf_probe_read_user(r->words, sizeof(r->words), (void *)ctx[RECORD_SP]))
		r->hit.nstack = sizeof(r->words);
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return 0;
}

/* Piece by piece from sp on, until one cannot be read: bytes. `to` has room for
 * setup.stack bytes and a piece, which the verifier asks for. */
static __always_inline __u64 copy_stack(void *to, __u64 sp)
{
	__u64 done = 0;

	for (int i = 0; i < PIECES && done < setup.stack; i++) {
		__u64 n = PIECE - ((sp + done) & (PIECE - 1));

		if (n > setup.stack - done)
			n = setup.stack - done;
		barrier_var(n); /* let the verifier see the bound that follows */
		if (n > PIECE || bpf_probe_read_user(to + done, n, (void *)(sp + done)))
			break;
		done += n;
	}
	return done;
}

/* With as much of the stack as is wanted. */
SEC("kprobe")
int tell_stack(const __u64 *ctx)
{
	__u64 cookie = bpf_get_attach_cookie((void *)ctx);
	__u64 sp = ctx[RECORD_SP];
	struct record_hit *hit;

	if (!fires(ctx, cookie))
		return 0;
	count(cookie);
	hit = bpf_ringbuf_reserve(&ring, sizeof(*hit) + setup.stack + PIECE, 0);
	if (!hit) {
		add_one(&lost, 0);
		return 0;
	}
	fill(hit, ctx, cookie);
	hit->at = sp - RECORD_BELOW;
	if (!bpf_probe_read_user(hit + 1, setup.stack, (void *)hit->at))
		hit->nstack = setup.stack;
	else
		hit->nstack = copy_stack(hit + 1, hit->at);
	if (!hit->nstack) { /* at the very end of its mapping */
		hit->at = sp;
		hit->nstack = copy_stack(hit + 1, sp);
	}
	bpf_ringbuf_submit(hit, BPF_RB_NO_WAKEUP);
	return 0;
}
