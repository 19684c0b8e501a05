/* SPDX-License-Identifier: MIT */
/*
 * Links, and how they are got rid of. Closing one takes 25 to 60 ms, in which the kernel
 * waits for every CPU; eight in turn take 450, at once 70 (Linux 6.18). So each is closed
 * by somebody of its own (os/aside.h), and nobody waits but for the end of all. It is a
 * process and no thread, for a close(2) that SIGKILL cuts short leaves uprobes behind.
 *
 * Until it is closed a link goes on to fire. It does not count then, for its range is
 * empty: each hit's PC is compared with the range of the mapping that its spot is in. So
 * exec and dlclose end a link at once, though its uprobes may be put into the next
 * program's text; and of a file that is mapped twice each mapping has its own counts. A
 * range is given to another link only when the first is closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/aside.h"
#include "probe/kernel.h"

struct kernel_closing {
	struct kernel_closing *next; /* or NULL */
	uint32_t range;              /* free when it is done */
	struct aside aside;          /* closes */
};

int kernel_links_init(struct kernel_links *l, int bss)
{
	struct record_range *ranges;

	*l = (struct kernel_links){ .taken = calloc(RECORD_RANGES, 1) };
	if (!l->taken)
		return -ENOMEM;
	ranges = mmap(NULL, sizeof(*ranges) * RECORD_RANGES, PROT_READ | PROT_WRITE,
		      MAP_SHARED, bss, 0);
	if (ranges == MAP_FAILED)
		return -errno;
	l->ranges = ranges;
	return 0;
}

void kernel_links_fini(struct kernel_links *l)
{
	kernel_links_gone(l, 0, UINT64_MAX);
	kernel_links_wait(l);
	if (l->ranges)
		munmap(l->ranges, sizeof(*l->ranges) * RECORD_RANGES);
	free(l->taken);
	free(l->v);
	*l = (struct kernel_links){ 0 };
}

/* --- closing ------------------------------------------------------------------------ */

/* The first is closed, or is going to be: takes it off the list. */
static void reap_first(struct kernel_links *l, struct kernel_closing **p)
{
	struct kernel_closing *c = *p;

	*p = c->next;
	aside_wait(&c->aside);
	l->taken[c->range] = 0;
	free(c);
}

static void reap_done(struct kernel_links *l)
{
	struct kernel_closing **p = &l->closing;

	while (*p)
		if (aside_done(&(*p)->aside))
			reap_first(l, p);
		else
			p = &(*p)->next;
}

void kernel_links_wait(struct kernel_links *l)
{
	while (l->closing)
		reap_first(l, &l->closing);
}

void kernel_link_drop(struct kernel_links *l, const struct kernel_link *link)
{
	struct kernel_closing *c;

	__atomic_store_n(&l->ranges[link->range].hi, 0, __ATOMIC_RELEASE);
	if (link->fd < 0) {
		l->taken[link->range] = 0;
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c || aside_start(&c->aside, SYS_close, link->fd, 0, 0)) {
		free(c);
		close(link->fd);
		l->taken[link->range] = 0;
		return;
	}
	c->range = link->range;
	c->next = l->closing;
	l->closing = c;
}

/* --- keeping ------------------------------------------------------------------------ */

/* A range, or RECORD_RANGES. */
static uint32_t find_free(const struct kernel_links *l)
{
	uint32_t i = 0;

	while (i < RECORD_RANGES && l->taken[i])
		i++;
	return i;
}

int kernel_range_take(struct kernel_links *l, uint64_t lo, uint64_t hi,
		      struct kernel_link *ret)
{
	uint32_t i;

	reap_done(l);
	i = find_free(l);
	if (i == RECORD_RANGES && l->closing) {
		kernel_links_wait(l);
		i = find_free(l);
	}
	if (i == RECORD_RANGES)
		return -ENOSPC;
	l->taken[i] = 1;
	l->ranges[i].lo = lo;
	__atomic_store_n(&l->ranges[i].hi, hi, __ATOMIC_RELEASE);
	*ret = (struct kernel_link){ .fd = -1, .range = i, .lo = lo, .hi = hi };
	return 0;
}

int kernel_link_keep(struct kernel_links *l, const struct kernel_link *link)
{
	struct kernel_link *v;

	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 16;

		v = realloc(l->v, room * sizeof(*v));
		if (!v)
			return -ENOMEM;
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = *link;
	return 0;
}

void kernel_links_gone(struct kernel_links *l, uint64_t lo, uint64_t hi)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct kernel_link link = l->v[i];

		if (link.lo < hi && link.hi > lo)
			kernel_link_drop(l, &link);
		else
			l->v[kept++] = link;
	}
	l->n = kept;
}
