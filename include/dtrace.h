/* SPDX-License-Identifier: MIT */
/*
 * DTrace's process control for Linux: sessions that create and grab processes, share
 * their handles, watch them with control threads, and tell when they change or die.
 * Names follow libdtrace. Part of libpgrab (pkg-config: pgrab).
 *
 * Any thread may call any function on any session unless it says otherwise. A function
 * that fails returns NULL or -1 and leaves code and sentence with dtrace_errno(),
 * dtrace_errmsg().
 */
#ifndef PGRAB_DTRACE_H
#define PGRAB_DTRACE_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "libproc.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define DTRACE_VERSION 3 /* what dtrace_open() is given */

typedef struct dtrace_hdl dtrace_hdl_t; /* a session */

/* Error codes of a session, above every errno. */
enum {
	EDT_BASE = 1000,
	EDT_VERSION = EDT_BASE, /* Client requested deprecated version of library */
	EDT_NOMEM,              /* Memory allocation failure */
	EDT_BADOPTNAME,         /* Invalid option name */
	EDT_BADOPTVAL,          /* Invalid value for specified option */
	/* a process could not be created, grabbed or controlled */
	EDT_PROCESS,
	EDT_BADPROC,   /* the handle is not one of this session */
	EDT_CTLTHREAD, /* no control thread could be made */
	EDT_BKPT,      /* a breakpoint could not be made */
	EDT_PROBE      /* a probe makes no sense, matches nothing, could not be made */
};

/* --- sessions ---------------------------------------------------------------------- */

/*
 * Opens a session. version: DTRACE_VERSION; flags: 0. On failure NULL and *errp (may be
 * NULL) EDT_VERSION or EDT_NOMEM. Ends with dtrace_close(). Starts no thread and no
 * keeper.
 */
dtrace_hdl_t *dtrace_open(int version, int flags, int *errp);

/*
 * Ends a session and every record in it whatever its references: created victims are
 * killed, grabbed ones run on, ones that somebody stopped stay stopped. Blocks until
 * each is in its final state and each control thread has ended. Not from a handler.
 * NULL: nothing; in a forked copy of the process that opened it: nothing either.
 */
void dtrace_close(dtrace_hdl_t *dtp);

/* Code of the session's last failure (an errno or EDT_*), 0 when there was none. */
int dtrace_errno(dtrace_hdl_t *dtp);

/* One sentence for `error`; of the last failure (error == dtrace_errno()) with its
 * particulars. Lent until the next failure in this thread; dtp may be NULL for the
 * general text. */
const char *dtrace_errmsg(dtrace_hdl_t *dtp, int error);

/*
 * Sets an option: evaltime (exec, preinit, postinit, main; default preinit), pgmax
 * (limit of the cache of read-only handles, default 8), statusrate, aggrate, switchrate
 * (a rate such as `1sec`, `100ms`, `10hz`; default 1sec), follow (none, children; default
 * none: dt_proc_follow() of what is created or grabbed from now on), keeprunning (off,
 * on; default off: on, what is created from now on runs on when its record, the session
 * or this program ends, however that comes), patience (how long a victim that is not on
 * its way to a park waits, at a breakpoint or with new objects, for this program, before
 * it runs on: from `1ms`; `none` for ever; default 100ms; of what is created or grabbed
 * from now on). EDT_BADOPTNAME, EDT_BADOPTVAL.
 */
int dtrace_setopt(dtrace_hdl_t *dtp, const char *name, const char *value);

/* The option's value as text into buf; 0, or -1 EDT_BADOPTNAME. `target` is the macro
 * $target. */
int dtrace_getopt(dtrace_hdl_t *dtp, const char *name, char *buf, size_t size);

/* $target: the first process created or grabbed, 0 before. */
pid_t dtrace_target(dtrace_hdl_t *dtp);

/* --- processes --------------------------------------------------------------------- */

/*
 * Creates a process and parks it at the evaltime point. file: PATH search; argv
 * NULL-terminated. One reference; kill-on-last-close set. Blocks until the park or the
 * victim's end: EDT_PROCESS with the sentences of the contract; then no child is left.
 */
struct ps_prochandle *dtrace_proc_create(dtrace_hdl_t *dtp, const char *file,
					 char *const *argv);

/*
 * Grabs the process pid: one reference more on a live, current record for it, or a new
 * one. flags: 0, or PGRAB_RDONLY (never stops or traces the victim; cacheable).
 * Controlled: parked, run-on-last-close set, watched by a control thread. `failed to
 * grab pid N: REASON`. A grab of a parked or controlled pid does not touch it. Blocks
 * as Pgrab().
 */
struct ps_prochandle *dtrace_proc_grab(dtrace_hdl_t *dtp, pid_t pid, int flags);

/* One reference less; with the last the record ends unless the cache keeps it
 * (read-only). Synchronous. P may afterwards be used only by those who hold references.
 * From a handler too. */
void dtrace_proc_release(dtrace_hdl_t *dtp, struct ps_prochandle *P);

/* Ends a park: the victim runs on. Nothing to do when it is not parked. */
void dtrace_proc_continue(dtrace_hdl_t *dtp, struct ps_prochandle *P);

typedef struct dt_proc dt_proc_t; /* a record */

/* The internal form: nomonitor != 0 without PGRAB_RDONLY stops the victim until its
 * release, without a control thread, never cached. */
struct ps_prochandle *dt_proc_grab(dtrace_hdl_t *dtp, pid_t pid, int flags,
				   int nomonitor);

/* The record of exactly this handle, or NULL. remove != 0: taken out of the session's
 * table and LRU list; it still ends at its last release, or with the session. Lent. */
dt_proc_t *dt_proc_lookup(dtrace_hdl_t *dtp, struct ps_prochandle *P, int remove);

/* Exclusive use of the handle against the control thread and other clients. Not
 * recursive. A question of the victim that arrives meanwhile waits, or gets its
 * default. */
void dt_proc_lock(dtrace_hdl_t *dtp, struct ps_prochandle *P);
void dt_proc_unlock(dtrace_hdl_t *dtp, struct ps_prochandle *P);

/* The table: made and destroyed with the session; for clients that size it themselves.
 * Buckets are rounded up to a power of two. -1 EBUSY when the table is not empty. */
int dt_proc_hash_create(dtrace_hdl_t *dtp, unsigned buckets, unsigned lru_limit);
void dt_proc_hash_destroy(dtrace_hdl_t *dtp);

/* Stop bits of a record. */
#define DT_PROC_STOP_IDLE     0x01 /* parked now */
#define DT_PROC_STOP_CREATE   0x02 /* wanted: at exec */
#define DT_PROC_STOP_GRAB     0x04 /* wanted: at grab */
#define DT_PROC_STOP_PREINIT  0x08 /* wanted: before any constructor */
#define DT_PROC_STOP_POSTINIT 0x10 /* wanted: after every constructor */
#define DT_PROC_STOP_MAIN     0x20 /* wanted: at main */

/* Sets stop bits of a parked victim, for later points. 0, or -1. */
int dt_proc_stop(dtrace_hdl_t *dtp, struct ps_prochandle *P, unsigned bits);
/* The bits now; IDLE tells a park. */
unsigned dt_proc_stops(dtrace_hdl_t *dtp, struct ps_prochandle *P);
/* Waits until the victim is parked or gone, msec at most (0: forever). 0 parked, -1
 * (ETIMEDOUT, ESRCH). */
int dt_proc_waitpark(dtrace_hdl_t *dtp, struct ps_prochandle *P, unsigned msec);

/* --- children ---------------------------------------------------------------------- */

/* Modes of dt_proc_follow(). */
enum {
	DT_FOLLOW_NONE,    /* children are let go: they run free of traps and tracing */
	DT_FOLLOW_CHILDREN /* they become records of their own, in this mode too */
};

/*
 * Whether P's children, made by fork, vfork, posix_spawn or clone, are followed from now
 * on. A followed child is held before its first instruction and becomes a record of this
 * session, controlled and not parked, of the parent's mode and last-close rule. Its news
 * begins with DT_PROC_EV_FOLLOW, where its handle is to be had. One of vfork executes in
 * its parent's memory until it execs: breakpoints in it wait for that, and are then
 * dropped as by any exec.
 * The record has one reference, the session's, given back when its end has been told
 * and the handlers have returned: a client that wants the handle for longer takes a
 * reference by dtrace_proc_grab(). dtrace_proc_release() in a handler lets it go
 * earlier. A child that the session does not get to within 100 ms of its birth (2 s
 * while it is busy), or for which there is no memory or descriptor, runs free; a
 * notification of the parent says so. 0, or -1 (EDT_BADPROC; EBADF read-only, or without
 * control thread; EINVAL).
 */
int dt_proc_follow(dtrace_hdl_t *dtp, struct ps_prochandle *P, int mode);

/* Called for each child that is followed, at its birth, in its parent's control thread:
 * P is its handle, on which every call works (breakpoints set here miss nothing). != 0
 * keeps it; 0 lets it go, P is then no more. Be quick: 100 ms after its birth the child
 * runs. Do not lock or release the parent. */
typedef int dtrace_follow_f(struct ps_prochandle *P, pid_t parent, void *arg);

/* Registers it; without one every child is followed. -1 EALREADY. */
int dtrace_handle_follow(dtrace_hdl_t *dtp, dtrace_follow_f *fn, void *arg);

/* --- breakpoints with a callback --------------------------------------------------- */

typedef struct dt_bkpt dt_bkpt_t; /* a breakpoint of a controlled victim */

/* Called in the control thread at each hit, with the record locked: use P, do not lock
 * it, and do not release it. The LWP `tid` stands at the breakpoint with `regs`; the
 * others run on. */
typedef void dt_bkpt_f(dtrace_hdl_t *dtp, struct ps_prochandle *P, pid_t tid,
		       const prgregset_t regs, void *arg);

/* Makes a breakpoint at addr; several at one address are called in the order of their
 * making. fn NULL: hits are only counted, by the keeper alone, and the victim waits for
 * nobody. While the victim is parked it is planted when it continues. The record owns it;
 * exec drops it, and so does the end of the object that it is in, where objects are told
 * of (it stays listed, disabled, and keeps its count). NULL: EDT_BKPT. */
dt_bkpt_t *dt_proc_bpcreate(dtrace_hdl_t *dtp, struct ps_prochandle *P, uintptr_t addr,
			    dt_bkpt_f *fn, void *arg);

/* Removes it; on return its callback does not run and will not. Not from a callback of
 * the same record. */
void dt_proc_bpdestroy(dtrace_hdl_t *dtp, struct ps_prochandle *P, dt_bkpt_t *bp);

/* Hits so far. */
uint64_t dt_proc_bphits(const dt_bkpt_t *bp);

/* --- objects, before the victim runs on -------------------------------------------- */

/* One object of a victim. */
typedef struct dtrace_object {
	const char *path; /* as the kernel shows it */
	uint64_t base;    /* load bias */
	long lmid;        /* namespace of its link map */
} dtrace_object_t;

/* A change of the objects; valid during the call. */
typedef struct dtrace_objects {
	/* all there is: of a program just created, exec'd or grabbed. What was told
	 * before of this handle has gone */
	int first;
	/* the victim has run on with the change before this call: of the objects that
	 * came, calls may have been missed */
	int missed;
	size_t ncame, ngone;         /* how many */
	const dtrace_object_t *came; /* new, in the order of the link maps */
	const dtrace_object_t *gone; /* no longer there */
} dtrace_objects_t;

/*
 * Called in the control thread at each consistent link map after a change, and for the
 * first list of a program, before the victim runs on; the record is locked as in a
 * breakpoint's callback: use P, make and destroy breakpoints, but do not lock P nor
 * release it. What is planted in an object that comes misses no call, those of
 * constructors included; resolvers of IFUNCs have run before. 0; or an errno or EDT_*
 * code: a notification says that probes could not be made, and the victim runs on. It
 * runs on as well, and a notification says so, when this takes longer than the option
 * patience.
 */
typedef int dtrace_objects_f(dtrace_hdl_t *dtp, struct ps_prochandle *P,
			     const dtrace_objects_t *what, void *arg);

/* Registers the hook, for what this session creates or grabs with control *after* it, and
 * for the children of these that are followed. -1 EALREADY. */
int dtrace_handle_objects(dtrace_hdl_t *dtp, dtrace_objects_f *fn, void *arg);

/* --- notifications ----------------------------------------------------------------- */

/* text NULL: the process is dead or lost (Pstate, Pstatus tell). A text: something to
 * say of a process that runs on. Called with no lock held, by the thread in
 * dtrace_sleep() or dtrace_dispatch(); may release P. */
typedef void dtrace_handle_proc_f(struct ps_prochandle *P, const char *text, void *arg);

/* Registers the handler; -1 EALREADY when there is one. */
int dtrace_handle_proc(dtrace_hdl_t *dtp, dtrace_handle_proc_f *fn, void *arg);

/* Waits for the next rate deadline or a notification, then delivers all that are pending,
 * oldest first. At once when some are pending already. */
void dtrace_sleep(dtrace_hdl_t *dtp);

/* Delivers what is pending, without waiting; how many were delivered. */
int dtrace_dispatch(dtrace_hdl_t *dtp);

/* Polls readable while notifications or events are pending. Owned by the session. */
int dtrace_notify_fd(dtrace_hdl_t *dtp);

/* --- life of the victims ----------------------------------------------------------- */

/* What happened to a controlled victim. */
typedef enum {
	DT_PROC_EV_CREATE, /* created, at its exec; `object` as of EXEC */
	DT_PROC_EV_EXEC,   /* exec'd another program: `object` is its path */
	/* made the process `child`, which runs free, or is followed */
	DT_PROC_EV_FORK,
	DT_PROC_EV_EXIT,         /* gone: `status` as from wait(2) */
	DT_PROC_EV_LOST,         /* out of control */
	DT_PROC_EV_DLOPEN,       /* `object` is there: `base`, `lmid` */
	DT_PROC_EV_DLCLOSE,      /* `object` has gone */
	DT_PROC_EV_THREAD_START, /* thread `tid` */
	DT_PROC_EV_THREAD_EXIT,  /* thread `tid` */
	DT_PROC_EV_SIGNAL,       /* `sig` was delivered to `tid` */
	DT_PROC_EV_STOP,         /* somebody else stopped it by `sig` */
	DT_PROC_EV_CONTINUE,     /* … and continued it */
	/* a followed child, at its birth: the first of its events; `parent` */
	DT_PROC_EV_FOLLOW,
	DT_PROC_EV_NKINDS
} dtrace_procev_kind_t;

/* One event; valid during the handler's call. */
typedef struct dtrace_procev {
	dtrace_procev_kind_t kind; /* what */
	/* CLOCK_REALTIME at the stop; never decreases in a session */
	struct timespec time;
	struct ps_prochandle *P; /* whose */
	pid_t pid, tid;          /* process and thread */
	pid_t child;             /* FORK: the new process */
	int sig;                 /* SIGNAL, STOP: the signal */
	int status;              /* EXIT */
	/* DLOPEN, DLCLOSE, CREATE, EXEC: path as the kernel shows it */
	const char *object;
	uint64_t base;   /* DLOPEN, DLCLOSE: load bias */
	long lmid;       /* namespace */
	uint64_t missed; /* informational events lost just before this one */
	pid_t parent;    /* FOLLOW: the process that made it */
} dtrace_procev_t;

typedef void dtrace_procev_f(const dtrace_procev_t *ev, void *arg);

/*
 * Registers a handler for the life of all victims that this session creates or grabs
 * *after* it. Delivered by dtrace_sleep() and dtrace_dispatch() together with
 * notifications, in order of time over all victims. The objects of a start, and those
 * there at a grab, are DLOPEN events. -1 EALREADY.
 */
int dtrace_handle_procev(dtrace_hdl_t *dtp, dtrace_procev_f *fn, void *arg);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
