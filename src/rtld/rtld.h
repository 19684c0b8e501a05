/* SPDX-License-Identifier: MIT */
/*
 * The dynamic linker's public state: r_debug, its link maps, its namespaces. Reads a
 * target through the memory seam and *returns* the address to watch; it knows no
 * breakpoints. The victim's memory is not to be trusted: every list has a bound in
 * length and time.
 */
#ifndef PGRAB_RTLD_RTLD_H
#define PGRAB_RTLD_RTLD_H

#include <stddef.h>
#include <stdint.h>

#include "mem/mem.h"

enum {
	RTLD_MAX_OBJECTS = 65536, /* objects in all namespaces; more is a hostile list */
	RTLD_MAX_NAMESPACES = 64, /* glibc has 16 */
	RTLD_MAX_PATH = 4096,     /* bytes of l_name */
};

struct rtld; /* the agent of one program image; not thread-safe, its owner locks */

/* What the agent needs of its target. Copied; mem.ctx must outlive the agent. */
struct rtld_target {
	struct mem mem;    /* the target's memory */
	uint64_t at_base;  /* AT_BASE: the dynamic linker; 0: a static program */
	uint64_t at_phdr;  /* AT_PHDR: program headers of the executable */
	uint64_t at_phnum; /* AT_PHNUM */
	uint64_t at_entry; /* AT_ENTRY */
	/* Address of `name` in the dynamic linker itself (its .dynsym or .symtab), or 0.
	 * Called from rtld_new() only. */
	uint64_t (*ldso_symbol)(void *arg, const char *name);
	void *arg; /* handed to ldso_symbol, which rtld_new() alone calls */
};

/* State of one link-map list; also the values of r_state. */
enum rtld_state {
	RTLD_CONSISTENT,
	RTLD_ADD,
	RTLD_DELETE
};

/* One link map. */
struct rtld_object {
	uint64_t link_map; /* address of the struct link_map */
	uint64_t base;     /* l_addr: load bias */
	uint64_t dynamic;  /* l_ld */
	uint64_t nameaddr; /* l_name */
	long lmid;         /* 0 LM_ID_BASE, 1, 2 … in the order of r_next */
	char *name;        /* l_name; owned by the list */
};

/* Link maps of every namespace, in order. */
struct rtld_list {
	struct rtld_object *objs; /* owned; see rtld_list_fini() */
	size_t n;                 /* how many */
	enum rtld_state state;    /* CONSISTENT only when every namespace is */
	uint64_t seq;             /* changes when the contents do (a hash) */
};

/*
 * Makes the agent. Before the dynamic linker has run (at exec) this works too: the
 * address to watch comes from the linker's own symbols, the lists are empty until it
 * has set up. -ENOENT: a static program, no dynamic linker; -ENOEXEC: a linker that has
 * no r_debug to find.
 */
int rtld_new(const struct rtld_target *target, struct rtld **ret);
void rtld_free(struct rtld *r); /* NULL: nothing */

/* The address that the dynamic linker passes at every change of any list (glibc:
 * _dl_debug_state; r_brk once r_debug is filled in). 0 while unknown. */
uint64_t rtld_watch_addr(struct rtld *r);

/*
 * Reads all lists into *ret (an rtld_list_init()ed or zeroed one, replaced as a whole on
 * success). -EAGAIN: the linker has not set up r_debug yet; -EINVAL: garbage or a loop;
 * -ELOOP: over the bounds; -EFAULT, -ESRCH.
 */
int rtld_read(struct rtld *r, struct rtld_list *ret);

/* State of the lists alone, at little cost (what a stop at the watch address asks first).
 * An enum rtld_state, or as rtld_read(). */
int rtld_read_state(struct rtld *r);

void rtld_list_fini(struct rtld_list *l);

/* Called for one difference: an object of `to` that `from` has not, or the reverse. */
typedef void rtld_diff_f(void *arg, const struct rtld_object *obj);

/* Compares whole lists (identity: link_map, base, dynamic, lmid and name): first `gone`
 * for what left, then `came` for what is new, each in list order. O(n log n) at most. */
void rtld_diff(const struct rtld_list *from, const struct rtld_list *to,
	       rtld_diff_f *gone, rtld_diff_f *came, void *arg);

#endif
