/* SPDX-License-Identifier: MIT */
/*
 * librtld_db for Linux: the dynamic linker of a victim as a debugger sees it.
 * Names and values follow librtld_db(3LIB). Part of libpgrab (pkg-config: pgrab).
 */
#ifndef PGRAB_RTLD_DB_H
#define PGRAB_RTLD_DB_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct ps_prochandle;

/* A link map namespace, as in <dlfcn.h>. */
typedef long Lmid_t;

#define RD_VERSION1 1
#define RD_VERSION2 2
#define RD_VERSION  RD_VERSION2 /* what rd_init() is given */

/* Results of every rd_ function. */
typedef enum {
	RD_ERR,     /* generic failure: the link maps make no sense */
	RD_OK,      /* done */
	RD_NOCAPAB, /* not possible on this target (a static program, a core) */
	RD_DBERR,   /* the victim could not be read */
	RD_NOBASE,  /* the dynamic linker's address is not known */
	RD_NODYNAM, /* a static program: it has no dynamic linker */
	RD_NOMAPS   /* the dynamic linker has not set up its link maps yet */
} rd_err_e;

/* An agent: the dynamic linker of one victim. */
typedef struct rd_agent rd_agent_t;

/* One object that the dynamic linker has loaded. */
typedef struct rd_loadobj {
	uintptr_t rl_nameaddr;  /* address of its name in the victim */
	unsigned rl_flags;      /* 0; kept for clients written for librtld_db(3LIB) */
	uintptr_t rl_base;      /* load bias: what is added to the file's own addresses */
	uintptr_t rl_data_base; /* address of its first writable mapping, or 0 */
	/* namespace: LM_ID_BASE (0), then 1, 2 … as dlmopen made them */
	Lmid_t rl_lmident;
	uintptr_t rl_bend;    /* first byte after its last mapping */
	uintptr_t rl_dynamic; /* address of its dynamic section */
	uintptr_t rl_linkmap; /* address of its struct link_map */
} rd_loadobj_t;

/* Kinds of event; a bit mask in rd_event_enable()'s future, plain values now. */
typedef enum {
	RD_NONE,
	RD_PREINIT,
	RD_POSTINIT,
	RD_DLACTIVITY
} rd_event_e;

/* How a client may learn of an event. */
typedef enum {
	RD_NOTIFY_BPT,
	RD_NOTIFY_AUTOBPT,
	RD_NOTIFY_SYSCALL
} rd_notify_e;

/* Where to be told of an event. */
typedef struct rd_notify {
	rd_notify_e type; /* RD_NOTIFY_BPT: plant a breakpoint at u.bptaddr */
	union {
		uintptr_t bptaddr; /* the address to watch */
		long syscallno;    /* not used on Linux */
	} u;
} rd_notify_t;

/* State of the link maps. */
typedef enum {
	RD_NOSTATE,
	RD_CONSISTENT,
	RD_ADD,
	RD_DELETE
} rd_state_e;

/* What rd_event_getmsg() answers. */
typedef struct rd_event_msg {
	rd_event_e type; /* which event */
	union {
		rd_state_e state; /* RD_DLACTIVITY: state of the link maps */
	} u;
} rd_event_msg_t;

/* Called for one object; 0 ends the iteration. `obj` is valid during the call only. */
typedef int rl_iter_f(const rd_loadobj_t *obj, void *arg);

/*
 * Announces the version of the interface that the client was written for.
 * version: RD_VERSION1 or RD_VERSION2. RD_OK, RD_NOCAPAB for any other.
 * Any thread; does not block. librtld_db(3LIB).
 */
rd_err_e rd_init(int version);

/* The text of a result: a static string, never NULL. Any thread. */
const char *rd_errstr(rd_err_e err);

/* Turns (on != 0) the log of link-map reading on stderr on or off, for all agents. */
void rd_log(int on);

/*
 * Makes an agent for the victim of P, which it borrows: delete the agent first.
 * NULL when the victim has no dynamic linker (static: ask Prd_agent() or see rd_errstr)
 * or cannot be read. Any thread; reads the victim, never stops it.
 */
rd_agent_t *rd_new(struct ps_prochandle *P);

/* Begins anew after an exec of the victim: RD_OK, or why there is no agent. */
rd_err_e rd_reset(rd_agent_t *rd);

/* Ends an agent that rd_new() made (one that Prd_agent() lent is the handle's). */
void rd_delete(rd_agent_t *rd);

/* Turns reporting of events on (on != 0) or off. RD_OK. */
rd_err_e rd_event_enable(rd_agent_t *rd, int on);

/*
 * Where a breakpoint learns of `event`. glibc and musl report every event at one
 * address: one breakpoint serves several events. RD_OK; RD_NOMAPS: not known yet;
 * RD_NODYNAM.
 */
rd_err_e rd_event_addr(rd_agent_t *rd, rd_event_e event, rd_notify_t *notify);

/*
 * After a stop at that address: which event it is. The first consistent state after the
 * program's start is RD_PREINIT, each other state RD_DLACTIVITY with its u.state;
 * RD_NONE when events are off. RD_OK, RD_DBERR, RD_ERR.
 */
rd_err_e rd_event_getmsg(rd_agent_t *rd, rd_event_msg_t *msg);

/*
 * Calls fn for each loaded object of every namespace, the program first. Bounded in
 * time and memory whatever the victim's lists say. RD_OK (also when fn ended it),
 * RD_NOMAPS, RD_ERR for a list that makes no sense, RD_DBERR.
 */
rd_err_e rd_loadobj_iter(rd_agent_t *rd, rl_iter_f *fn, void *arg);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
