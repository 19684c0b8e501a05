/* SPDX-License-Identifier: MIT */
/* The agent's inside, shared by the files of this folder. */
#ifndef PGRAB_RTLD_AGENT_H
#define PGRAB_RTLD_AGENT_H

#include "rtld/reader.h"
#include "rtld/rtld.h"

/* The agent. All addresses are the victim's; 0: not known. */
struct rtld {
	uint64_t debug_slot;  /* where the executable keeps DT_DEBUG's value */
	uint64_t r_debug;     /* glibc: the linker's own _r_debug */
	uint64_t debug_addr;  /* musl: _dl_debug_addr, a pointer to the same */
	uint64_t state_func;  /* _dl_debug_state */
	uint64_t head;        /* the first r_debug, once it was seen filled in */
	uint64_t brk;         /* its r_brk, once it was seen filled in */
	struct reader reader; /* memory, a few blocks kept during a pass */
};

/* One struct r_debug (<link.h>), widened. */
struct rtld_debug {
	uint64_t map;          /* r_map: the first link map */
	uint64_t brk;          /* r_brk */
	uint64_t next;         /* r_next, where there is one; else 0 */
	uint32_t version;      /* r_version: 1; 2 with r_next; 0 not set up */
	enum rtld_state state; /* r_state */
};

/* A walk over the chain of namespaces. */
struct rtld_walk {
	uint64_t seen[RTLD_MAX_NAMESPACES]; /* addresses of the r_debugs so far */
	long n;                             /* how many */
	uint64_t next;                      /* the next one; 0: no more */
	struct rtld_debug debug;            /* the last one read */
};

/* Begins a pass: old blocks forgotten, w->next at the first r_debug. As rtld_read(). */
int rtld_walk_start(struct rtld *r, struct rtld_walk *w);

/* Reads the r_debug at w->next. 1; 0 at the end; as rtld_read(). */
int rtld_walk_next(struct rtld *r, struct rtld_walk *w);

/* The state of a whole of which one part is in state a and another in b. */
static inline enum rtld_state rtld_state_join(enum rtld_state a, enum rtld_state b)
{
	return a != RTLD_CONSISTENT ? a : b;
}

#endif
