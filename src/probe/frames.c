/* SPDX-License-Identifier: MIT */
/*
 * Calls under way, by thread. Stacks grow downward: a call that is around another one
 * has the greater stack pointer. A signal handler on an alternate stack, or a coroutine,
 * is on another stack, whose pointers say nothing about ours: `same` tells.
 */
#include "probe/frames.h"

#include <stdlib.h>
#include <string.h>

enum {
	MAX_FRAMES = 1 << 16,  /* of a thread: endless recursion */
	STACK_SIZE = 8 << 20,  /* bytes: what is farther away is another stack */
	MAX_THREADS = 1 << 16, /* those that have ended are not told of */
};

static struct frame_thread *find(struct frames *f, pid_t tid, size_t *ret_at)
{
	size_t lo = 0, hi = f->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (f->threads[mid].tid < tid)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_at = lo;
	return lo < f->n && f->threads[lo].tid == tid ? &f->threads[lo] : NULL;
}

static struct frame_thread *obtain(struct frames *f, pid_t tid)
{
	size_t at, room = f->room ? f->room * 2 : 16;
	struct frame_thread *t = find(f, tid, &at);

	if (t || f->n == MAX_THREADS)
		return t;
	if (f->n == f->room) {
		t = realloc(f->threads, room * sizeof(*t));
		if (!t)
			return NULL;
		f->threads = t;
		f->room = room;
	}
	t = &f->threads[at];
	memmove(t + 1, t, (f->n - at) * sizeof(*t));
	f->n++;
	*t = (struct frame_thread){ .tid = tid };
	return t;
}

static bool same_stack(const struct frames *f, uint64_t a, uint64_t b)
{
	if (f->same)
		return f->same(f->arg, a, b);
	return (a > b ? a - b : b - a) < STACK_SIZE;
}

/* Drops what lies inside sp: it cannot be under way any more. */
static void unwind(struct frames *f, struct frame_thread *t, uint64_t sp)
{
	while (t->n && t->v[t->n - 1].sp < sp && same_stack(f, t->v[t->n - 1].sp, sp))
		t->n--;
}

static bool push(struct frame_thread *t, const struct frame *call)
{
	size_t room = t->room ? t->room * 2 : 16;
	struct frame *v;

	if (t->n == MAX_FRAMES)
		return false;
	if (t->n == t->room) {
		v = realloc(t->v, room * sizeof(*v));
		if (!v)
			return false;
		t->v = v;
		t->room = room;
	}
	t->v[t->n++] = *call;
	return true;
}

unsigned frames_enter(struct frames *f, pid_t tid, const struct frame *call)
{
	struct frame_thread *t = obtain(f, tid);

	if (!t)
		return 0;
	/* one at the same place has been left by a jump that is not watched */
	unwind(f, t, call->sp + 1);
	push(t, call);
	return (unsigned)(t->n ? t->n - 1 : 0);
}

unsigned frames_depth(struct frames *f, pid_t tid, uint64_t sp)
{
	size_t at;
	struct frame_thread *t = find(f, tid, &at);

	if (!t)
		return 0;
	unwind(f, t, sp);
	return (unsigned)t->n;
}

/* Index + 1 of the call, innermost first; 0 none. */
static size_t locate(const struct frame_thread *t, uint64_t func, uint64_t sp)
{
	size_t i = t ? t->n : 0;

	while (i && (t->v[i - 1].sp != sp || t->v[i - 1].func != func))
		i--;
	return i;
}

/* A goroutine may return in another thread than it was called in. */
static struct frame_thread *search(struct frames *f, uint64_t func, uint64_t sp,
				   size_t *ret_i)
{
	for (size_t k = 0; k < f->n; k++) {
		*ret_i = locate(&f->threads[k], func, sp);
		if (*ret_i)
			return &f->threads[k];
	}
	return NULL;
}

bool frames_return(struct frames *f, pid_t tid, uint64_t func, uint64_t sp,
		   struct frame *ret, unsigned *ret_depth)
{
	size_t at, i;
	struct frame_thread *t = find(f, tid, &at);

	i = locate(t, func, sp);
	*ret_depth = (unsigned)(t ? t->n : 0);
	if (!i)
		t = search(f, func, sp, &i);
	if (!t)
		return false;
	*ret = t->v[i - 1];
	if (t->tid == tid)
		*ret_depth = (unsigned)i - 1;
	/* those within it have gone, but for what runs on another stack */
	if (i == t->n || same_stack(f, t->v[t->n - 1].sp, sp)) {
		t->n = i - 1;
		return true;
	}
	memmove(&t->v[i - 1], &t->v[i], (t->n - i) * sizeof(*t->v));
	t->n--;
	return true;
}

void frames_fini(struct frames *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->threads[i].v);
	free(f->threads);
	f->threads = NULL;
	f->n = f->room = 0;
}
