/* SPDX-License-Identifier: MIT */
/*
 * What stands behind a session and a record, for the files of this folder.
 *
 * Locks, in the order in which they may be taken: session (dtrace_hdl.lock), breakpoints
 * (dt_proc.bklock), record (dt_proc.lock), then either the handle's own (inside P*) or
 * the queue's. None is held across a wait, nor while a client's handler or callback runs.
 * Each has a role for clang's analysis; a field without one is constant while the record
 * is shared, or belongs to the control thread alone, as its comment says.
 */
#ifndef PGRAB_DTRACE_DT_IMPL_H
#define PGRAB_DTRACE_DT_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "dtprobe.h"
#include "dtrace.h"
#include "dtrace/dt_queue.h"
#include "proc/control.h"
#include "util/thread_safety.h"

extern struct ts_role dt_role_session; /* dtrace_hdl.lock is held */
extern struct ts_role dt_role_record;  /* dt_proc.lock is held */
extern struct ts_role dt_role_bkpts;   /* dt_proc.bklock is held */

enum {
	DT_HASH_DEFAULT = 64,  /* buckets */
	DT_HASH_MAX = 1 << 20, /* no more, whatever is asked for */
	DT_LRU_DEFAULT = 8,    /* option pgmax */
	DT_PATIENCE_MS = 100,  /* for a question, once no park is to come */
	DT_OPT_MAX = 32,       /* bytes of an option's value */
	DT_ERR_MAX = 512,      /* bytes of an error's sentence */
};

#define DT_PROC_STOP_POINTS                                                              \
	(DT_PROC_STOP_CREATE | DT_PROC_STOP_PREINIT | DT_PROC_STOP_POSTINIT |            \
	 DT_PROC_STOP_MAIN)

/* --- record ------------------------------------------------------------------------- */

enum dt_kind {
	DT_KIND_RDONLY, /* never touched; cacheable */
	DT_KIND_HELD,   /* stopped until its release, no control thread ("nomonitor") */
	DT_KIND_CONTROLLED, /* with a control thread */
};

/* Where a created victim has got to. */
enum dt_pos {
	DT_POS_EXEC,    /* at its first instruction */
	DT_POS_LOADING, /* the dynamic linker is at work */
	DT_POS_INIT,    /* initial objects are there: preinit is reached or behind */
	DT_POS_MAIN,    /* main is reached or behind */
	DT_POS_FREE,    /* grabbed, or a program whose points are of no interest */
};

/* How a victim ended for us. */
enum dt_end {
	DT_END_NONE, /* it has not */
	DT_END_DEAD, /* exited or killed: `status` */
	DT_END_LOST, /* out of control */
};

/* The search for main, and the tags on the way; the control thread's. See
 * dt_rendezvous.c. */
struct dt_rdv {
	unsigned at;         /* stop bits of the points that lie at this very place */
	unsigned parking;    /* stop bit for which the victim is being stopped; 0 none */
	uint64_t entry;      /* address tagged: AT_ENTRY; 0 none, as below */
	uint64_t libc_start; /* address tagged: __libc_start_main */
	uint64_t branch;     /* address tagged: a call or jump between _start and main */
	uint64_t target;     /* where that goes; 0 not known */
	unsigned depth;      /* how many of those were followed */
	uint64_t main;       /* address tagged: main */
};

/* An object that has been (or, early, is to be) reported. */
struct dt_object {
	uint64_t link_map;   /* address of its link map; 0 none */
	uint64_t base;       /* load bias */
	uint64_t dynamic;    /* address of its dynamic section */
	uint64_t start, end; /* addresses that it takes; 0 not known */
	long lmid;           /* namespace */
	char *path;          /* as the kernel shows it; owned */
	size_t next;         /* index of the next one in its bucket */
};

/* Them, in no order once one has been removed; found by link map and place. */
struct dt_objects {
	struct dt_object *v; /* owned */
	size_t n;            /* how many */
	size_t room;         /* how many fit: 0 or a power of two */
	size_t *bucket;      /* `room` indices, each of the first with that hash; owned */
};

/* Objects to be told to the client's hook. */
struct dt_told {
	dtrace_object_t *v; /* owned, their paths too */
	size_t n;           /* how many */
	size_t room;        /* how many fit */
};

/* When a change of the link maps was seen. */
enum dt_seen {
	DT_SEEN_IN_TIME, /* the victim waits */
	DT_SEEN_LATE     /* it had run on */
};

/* What the control thread knows of the victim's link maps; its alone. */
struct dt_links {
	rd_agent_t *agent; /* our own; NULL none yet */
	uint64_t watch;    /* address tagged, where the linker tells of changes; 0 none */
	struct rtld_list list;     /* as reported last */
	struct dt_objects known;   /* reported and not gone */
	struct dt_objects early;   /* mapped at exec, to be reported at the first list */
	bool begun;                /* a first list has been reported */
	struct dt_told came, gone; /* for the hook, while lists are compared */
	bool short_of;             /* … and there was no memory for all */
	bool told;                 /* the hook has been called for this program */
	bool asked;                /* … for the event at hand */
	bool senseless;            /* it has been told that the lists make no sense */
};

/* A breakpoint. */
struct dt_bkpt {
	struct dt_bkpt *next;  /* in the record's list, in the order of their making */
	uintptr_t addr;        /* where */
	dt_proc_t *dpr;        /* whose */
	dt_bkpt_f *fn;         /* called at each hit; NULL: they are only counted */
	void *arg;             /* for fn */
	_Atomic uint64_t hits; /* so far, but for what the keeper has counted: */
	uint32_t counter;      /* planted, no fn: the keeper's counter */
	uint64_t base;         /* planted, no fn: its value at the planting */
	bool enabled; /* wanted in the text while the victim runs; not after an exec */
	bool planted; /* tagged */
	bool dead;    /* being destroyed: called no more */
	bool orphan;  /* … by its own callback: freed when that returns */
};

/* A process that is being grabbed, or let go, while no lock is held: a grab of the same
 * pid meanwhile waits for it. On the grabber's stack, or in the record that goes. */
struct dt_making {
	struct dt_making *next;     /* in the session's list */
	pid_t pid;                  /* which; 0: not in the list */
	const struct dt_proc *goes; /* the record that is being let go; NULL: a grab */
};

/* A record: one handle with its bookkeeping. */
struct dt_proc {
	/* Constant once made. */
	dtrace_hdl_t *dtp;            /* its session */
	struct ps_prochandle *P;      /* the handle; owned */
	pid_t pid;                    /* the victim */
	enum dt_kind kind;            /* see there */
	bool created;                 /* by us, not grabbed */
	bool evented;                 /* its life is reported */
	dtrace_objects_f *objects_fn; /* the hook on objects, or NULL */
	void *objects_arg;            /* for it */
	dtrace_probes_t *probes;      /* the set whose probes it gets, or NULL */
	unsigned patience;            /* ms that a question waits; 0 for ever */
	bool threaded;                /* it has a control thread, to be joined */
	bool failed;                  /* its create failed: killed whatever its state */
	pid_t parent;                 /* of a followed child; 0 not followed */
	pthread_t thread;             /* that thread */
	int wake;                     /* eventfd: wakes it; -1 none */
	struct dt_source src;         /* its news */

	/* The session's. */
	struct dt_proc *all_next, *all_prev; /* every record of the session */
	struct dt_proc *hash_next;           /* in the bucket of its handle */
	struct dt_proc *pid_next;            /* in the bucket of its pid */
	struct dt_proc *lru_next,
		*lru_prev; /* cacheable ones, most recently used first */
	unsigned refs TS_GUARDED_BY(dt_role_session); /* the clients' references */
	bool hashed TS_GUARDED_BY(dt_role_session);   /* in the table by handle */
	bool current
		TS_GUARDED_BY(dt_role_session); /* in the table by pid: answers a grab */
	bool cacheable TS_GUARDED_BY(
		dt_role_session); /* in the LRU list; may outlive its references */
	bool doomed TS_GUARDED_BY(
		dt_role_session); /* without references while its handler runs */
	bool ours TS_GUARDED_BY(dt_role_session); /* a reference is the session's own */

	struct dt_making
		leaving TS_GUARDED_BY(dt_role_session); /* while it is destroyed */

	/* The record's own. */
	pthread_mutex_t lock; /* guards what follows; short, never over a wait */
	pthread_cond_t cond;  /* any of it has changed; CLOCK_MONOTONIC */
	unsigned stop TS_GUARDED_BY(dt_role_record); /* DT_PROC_STOP_* */
	unsigned later TS_GUARDED_BY(
		dt_role_record); /* parked: points still before the victim */
	bool quit TS_GUARDED_BY(dt_role_record);   /* the control thread shall end */
	bool resume TS_GUARDED_BY(dt_role_record); /* a continue has been asked for */
	bool owned TS_GUARDED_BY(
		dt_role_record); /* dt_proc_lock(), or the control thread reacting */
	unsigned users
		TS_GUARDED_BY(dt_role_record); /* calls that are using the record now */
	enum dt_end end TS_GUARDED_BY(dt_role_record); /* see there */
	int status
		TS_GUARDED_BY(dt_role_record); /* DEAD: as from wait(2); -1 not known */

	int follow TS_GUARDED_BY(dt_role_record); /* DT_FOLLOW_* */
	bool begun TS_GUARDED_BY(
		dt_role_record); /* what its beginning needs has been done */

	/* Breakpoints. */
	pthread_mutex_t bklock;                             /* guards what follows */
	pthread_cond_t bkcond;                              /* `running` has changed */
	struct dt_bkpt *bkpts TS_GUARDED_BY(dt_role_bkpts); /* all; owned */
	struct dt_bkpt *
		running TS_GUARDED_BY(dt_role_bkpts); /* whose callback runs now */

	/* The control thread's alone (before it starts: the creator's). */
	enum dt_pos pos; /* how far a created victim is */
	bool unstopped;  /* grabbed without a stop */
	bool shown; /* a client has, or had, it parked: may have looked at its maps */
	struct dt_rdv rdv;         /* the way to main */
	struct dt_links links;     /* link maps */
	struct dt_pvictim *probed; /* its part in `probes`; NULL none yet */
	uint64_t now;              /* stamp of the event being handled */
	bool impatient;            /* its questions wait no longer than `patience` */
};

/* Host threads may be cancelled in any wait: not in the middle of our work. Scope
 * guard. */
static inline int dt_nocancel(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return state;
}

static inline void dt_nocancel_end(int *state)
{
	pthread_setcancelstate(*state, NULL);
}

#define DT_NOCANCEL                                                                      \
	__attribute__((cleanup(dt_nocancel_end), unused)) int nocancel_ = dt_nocancel()

/* --- session ------------------------------------------------------------------------ */

/* The table and the LRU list. */
struct dt_table {
	struct dt_proc **by_handle; /* buckets; NULL: no table */
	struct dt_proc **by_pid;    /* buckets */
	unsigned mask;              /* buckets - 1 */
	unsigned limit;             /* of unreferenced cacheable records */
	unsigned n;                 /* records by handle */
	unsigned idle;              /* cacheable records without references */
	struct dt_proc *lru_head;   /* most recently used */
	struct dt_proc *lru_tail;   /* least recently used */
};

/* A rate, as `statusrate`. */
struct dt_rate {
	char text[DT_OPT_MAX]; /* as given */
	uint64_t ns;           /* period; above 0 */
	uint64_t next;         /* CLOCK_MONOTONIC ns of the next deadline */
};

enum {
	DT_RATE_STATUS,
	DT_RATE_AGG,
	DT_RATE_SWITCH,
	DT_NRATES
};

struct dtrace_hdl {
	pid_t owner;          /* process that opened it; constant */
	pthread_mutex_t lock; /* guards all that follows but the queue */
	pthread_cond_t cond;  /* `making` or `dispatching` has changed; CLOCK_MONOTONIC */
	struct dt_table table TS_GUARDED_BY(dt_role_session); /* records */
	struct dt_proc *
		all TS_GUARDED_BY(dt_role_session); /* every record, removed ones too */
	struct dt_making *
		making TS_GUARDED_BY(dt_role_session);    /* grabs and ends under way */
	unsigned evaltime TS_GUARDED_BY(dt_role_session); /* a stop bit */
	struct dt_rate rates[DT_NRATES] TS_GUARDED_BY(dt_role_session); /* see there */
	pid_t target TS_GUARDED_BY(dt_role_session);                    /* $target */
	int err TS_GUARDED_BY(dt_role_session);                         /* last failure */
	char errtext[DT_ERR_MAX] TS_GUARDED_BY(
		dt_role_session); /* its sentence; "": the general one */
	dtrace_handle_proc_f *
		proc_fn TS_GUARDED_BY(dt_role_session);        /* for notifications */
	void *proc_arg TS_GUARDED_BY(dt_role_session);         /* for proc_fn */
	dtrace_procev_f *ev_fn TS_GUARDED_BY(dt_role_session); /* for life events */
	void *ev_arg TS_GUARDED_BY(dt_role_session);           /* for ev_fn */
	dtrace_objects_f *objects_fn TS_GUARDED_BY(dt_role_session); /* hook on objects */
	void *objects_arg TS_GUARDED_BY(dt_role_session);            /* for objects_fn */
	dtrace_probes_t *probes TS_GUARDED_BY(dt_role_session); /* its set, or NULL */
	unsigned patience TS_GUARDED_BY(dt_role_session); /* option: ms, 0 for ever */
	dtrace_follow_f *
		follow_fn TS_GUARDED_BY(dt_role_session);  /* decides; NULL: yes */
	void *follow_arg TS_GUARDED_BY(dt_role_session);   /* for follow_fn */
	int follow TS_GUARDED_BY(dt_role_session);         /* option: DT_FOLLOW_* */
	unsigned following TS_GUARDED_BY(dt_role_session); /* children being adopted */
	bool closing TS_GUARDED_BY(dt_role_session);       /* no more of them */
	bool keep TS_GUARDED_BY(dt_role_session);          /* option keeprunning */
	bool dispatching TS_GUARDED_BY(dt_role_session);   /* a thread delivers */
	pthread_t
		dispatcher TS_GUARDED_BY(dt_role_session); /* dispatching: that thread */
	struct dt_proc *
		telling TS_GUARDED_BY(dt_role_session); /* record whose handler runs */
	struct dt_queue queue;                          /* has its own lock */
};

static inline void dt_session_lock(dtrace_hdl_t *dtp) TS_ACQUIRE(dt_role_session);
static inline void dt_session_unlock(dtrace_hdl_t *dtp) TS_RELEASE(dt_role_session);
static inline void dt_record_lock(dt_proc_t *dpr) TS_ACQUIRE(dt_role_record);
static inline void dt_record_unlock(dt_proc_t *dpr) TS_RELEASE(dt_role_record);

static inline TS_UNCHECKED void dt_session_lock(dtrace_hdl_t *dtp)
{
	pthread_mutex_lock(&dtp->lock);
}

static inline TS_UNCHECKED void dt_session_unlock(dtrace_hdl_t *dtp)
{
	pthread_mutex_unlock(&dtp->lock);
}

static inline TS_UNCHECKED void dt_record_lock(dt_proc_t *dpr)
{
	pthread_mutex_lock(&dpr->lock);
}

static inline TS_UNCHECKED void dt_record_unlock(dt_proc_t *dpr)
{
	pthread_mutex_unlock(&dpr->lock);
}

/* --- dt_errors.c -------------------------------------------------------------------- */

/* Notes a failure; fmt NULL: the general sentence of `code`. Returns -1. Session lock
 * not held. */
int dt_fail(dtrace_hdl_t *dtp, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4))) TS_EXCLUDES(dt_role_session);

/* --- dt_options.c: pure parts ------------------------------------------------------- */

/* `1sec`, `100ms`, `10hz`, a bare number (a frequency). 0 or -EINVAL. */
int dt_parse_rate(const char *text, uint64_t *ret_ns);
/* A decimal number of at most max. 0 or -EINVAL. */
int dt_parse_count(const char *text, unsigned max, unsigned *ret);
/* `exec` … as a stop bit. 0 or -EINVAL. */
int dt_parse_evaltime(const char *text, unsigned *ret_bit);
/* `none` … as DT_FOLLOW_*. 0 or -EINVAL. */
int dt_parse_follow(const char *text, int *ret_mode);
/* The options of a new session. */
void dt_options_init(dtrace_hdl_t *dtp);

/* --- dt_table.c: pure; the session lock is held ------------------------------------- */

int dt_table_init(struct dt_table *t, unsigned buckets, unsigned limit); /* 0, -ENOMEM */
void dt_table_fini(struct dt_table *t); /* of an empty table */
void dt_table_insert(struct dt_table *t, dt_proc_t *dpr) TS_REQUIRES(dt_role_session);
/* Findable by pid, as the one that answers a grab. */
void dt_table_make_current(struct dt_table *t, dt_proc_t *dpr)
	TS_REQUIRES(dt_role_session);
/* Out of the pid's bucket and the LRU list: no grab finds it, its last release ends
 * it. */
void dt_table_make_stale(struct dt_table *t, dt_proc_t *dpr) TS_REQUIRES(dt_role_session);
/* Out of everything. */
void dt_table_remove(struct dt_table *t, dt_proc_t *dpr) TS_REQUIRES(dt_role_session);
dt_proc_t *dt_table_find(const struct dt_table *t, const struct ps_prochandle *P)
	TS_REQUIRES(dt_role_session);
dt_proc_t *dt_table_find_pid(const struct dt_table *t, pid_t pid)
	TS_REQUIRES(dt_role_session);
/* May be kept without references: enters the LRU list, at its front. */
void dt_table_make_cacheable(struct dt_table *t, dt_proc_t *dpr)
	TS_REQUIRES(dt_role_session);
void dt_table_ref(struct dt_table *t, dt_proc_t *dpr) TS_REQUIRES(dt_role_session);
/* One reference less; true when the record must end now (nothing is removed yet). */
bool dt_table_unref(struct dt_table *t, dt_proc_t *dpr) TS_REQUIRES(dt_role_session);
/* The least recently used record without references when there are more than `keep`,
 * or NULL. */
dt_proc_t *dt_table_victim(const struct dt_table *t, unsigned keep)
	TS_REQUIRES(dt_role_session);

/* --- dt_proc.c ---------------------------------------------------------------------- */

/* Ends least recently used records without references until at most `keep` are left. */
void dt_cache_trim(dtrace_hdl_t *dtp, unsigned keep) TS_EXCLUDES(dt_role_session);

/* `making` is over: those who wait for it go on. */
void dt_making_end(dtrace_hdl_t *dtp, struct dt_making *making)
	TS_REQUIRES(dt_role_session);
/* A followed child's record, with its handle and thread: the session's. */
bool dt_follow_begin(dtrace_hdl_t *dtp); /* false: the session is being closed */
void dt_follow_end(dtrace_hdl_t *dtp);   /* after a begin */
void dt_follow_enter(dt_proc_t *dpr) TS_EXCLUDES(dt_role_session);
/* It is not to be followed after all: the session's reference is given back. */
void dt_follow_leave(dt_proc_t *dpr) TS_EXCLUDES(dt_role_session);
/* Its end has been told: what is to be destroyed, or NULL. */
dt_proc_t *dt_follow_told(dtrace_hdl_t *dtp, dt_proc_t *dpr) TS_REQUIRES(dt_role_session);
/* Ends every record, whatever its references. */
void dt_destroy_all(dtrace_hdl_t *dtp) TS_EXCLUDES(dt_role_session);

/* --- dt_record.c -------------------------------------------------------------------- */

/* An empty record, without references and in no table. NULL: no memory or no
 * descriptor (errno). */
dt_proc_t *dt_record_new(dtrace_hdl_t *dtp, enum dt_kind kind);
/* Gives it its handle, which it owns from now on. */
void dt_record_take(dt_proc_t *dpr, struct ps_prochandle *P);
/* Starts the control thread. 0 or -errno. */
int dt_record_start(dt_proc_t *dpr);
/* Ends the thread, takes back the news, releases the victim, frees. No lock held; in
 * no table. */
void dt_record_destroy(dt_proc_t *dpr) TS_EXCLUDES(dt_role_session);
/* The record of P for the time of a call, or NULL. In no table any more: found all the
 * same. */
dt_proc_t *dt_record_use(dtrace_hdl_t *dtp, struct ps_prochandle *P)
	TS_EXCLUDES(dt_role_session);
void dt_record_unuse(dt_proc_t *dpr);
/* The same with the session lock held, without use. */
dt_proc_t *dt_record_find(dtrace_hdl_t *dtp, const struct ps_prochandle *P)
	TS_REQUIRES(dt_role_session);
/* Waits on the record's condition until end_ns (0: for ever): 0, -ETIMEDOUT. */
int dt_record_wait(dt_proc_t *dpr, uint64_t end_ns) TS_REQUIRES(dt_role_record);
/* A condition variable that waits by CLOCK_MONOTONIC. */
void dt_cond_init(pthread_cond_t *cond);
/* End of a wait of msec that begins now: CLOCK_MONOTONIC ns; 0 for 0. */
uint64_t dt_deadline(unsigned msec);
/* Wakes the control thread. */
void dt_record_poke(dt_proc_t *dpr);
/* Exclusive use for the control thread: false when it shall end instead. */
bool dt_record_own(dt_proc_t *dpr) TS_EXCLUDES(dt_role_record);
void dt_record_disown(dt_proc_t *dpr) TS_EXCLUDES(dt_role_record);

/* --- control thread: dt_control.c and what it calls --------------------------------- */

void *dt_control(void *dpr); /* its body */

/* dt_events.c: reacts to one event of the keeper. false: it was the last. */
bool dt_event(dt_proc_t *dpr, const struct hold_event *ev);
/* The victim stands at the point `bit`: parked. */
void dt_parked(dt_proc_t *dpr, unsigned bit) TS_EXCLUDES(dt_role_record);
/* Out of control; `time` for the news. */
void dt_lost(dt_proc_t *dpr) TS_EXCLUDES(dt_role_record);
/* A life event at the time of the event being handled; other fields 0 by template. */
void dt_tell(dt_proc_t *dpr, dtrace_procev_t ev);

/* A set-id program that runs without its privileges is told of. */
void dt_tell_privileges(dt_proc_t *dpr);

/* dt_follow.c: a FORK that may be a question; which news the keeper is to send. */
void dt_follow_child(dt_proc_t *dpr, const struct hold_event *ev);
bool dt_follows(dt_proc_t *dpr) TS_EXCLUDES(dt_role_record);
int dt_follow_want(dt_proc_t *dpr) TS_EXCLUDES(dt_role_record);

/* dt_rendezvous.c. See there. */
void dt_rdv_begin(dt_proc_t *dpr);      /* at exec */
unsigned dt_rdv_decide(dt_proc_t *dpr); /* bit to park for here, or 0: run on */
bool dt_rdv_hit(dt_proc_t *dpr, const struct hold_event *ev); /* true: decide anew */
bool dt_rdv_consistent(dt_proc_t *dpr); /* link maps are consistent; true: decide anew */
bool dt_rdv_wanted(dt_proc_t *dpr);     /* a park is still to come */
void dt_rdv_left(dt_proc_t *dpr);       /* the victim runs: it is at no point any more */

/* dt_linkmap.c */
void dt_links_watch(dt_proc_t *dpr); /* tags the linker's address if it is not yet */
void dt_links_early(
	dt_proc_t *dpr); /* at exec: notes what is mapped; static: reports it */
/* Reads and reports; true: the lists are consistent. */
bool dt_links_refresh(dt_proc_t *dpr, enum dt_seen seen);
/* True when objects are told before the victim runs on. */
static inline bool dt_objects_wanted(const dt_proc_t *dpr)
{
	return dpr->objects_fn || dpr->probes;
}
/* True when somebody is told of its objects. */
static inline bool dt_links_matter(const dt_proc_t *dpr)
{
	return dpr->evented || dt_objects_wanted(dpr);
}
bool dt_links_consistent(dt_proc_t *dpr); /* the state alone */
bool dt_links_static(dt_proc_t *dpr);     /* no dynamic linker at all */
bool dt_links_by_hand(dt_proc_t *dpr);    /* started as `ld.so PROGRAM` */
void dt_links_flush(dt_proc_t *dpr);  /* the end: what was mapped and not reported yet */
void dt_links_forget(dt_proc_t *dpr); /* the address space has gone */
void dt_links_fini(dt_proc_t *dpr);

/* dt_objects.c. See there. */
void dt_objects_came(dt_proc_t *dpr, const struct dt_object *o, const char *path);
void dt_objects_gone(dt_proc_t *dpr, const struct dt_object *o, const char *path);
void dt_objects_tell(dt_proc_t *dpr, enum dt_seen seen); /* calls the hook */
/* The lists cannot be read: told once, until they can be. */
void dt_objects_senseless(dt_proc_t *dpr);
/* The question ev, for which the hook may have been called, has its answer. */
void dt_objects_answered(dt_proc_t *dpr, const struct hold_event *ev);
void dt_objects_fini(dt_proc_t *dpr);

/* dt_probe_make.c: probes where objects come and go. The control thread's. */
void dt_probes_objects(dt_proc_t *dpr, const dtrace_objects_t *what);
void dt_probes_before(dt_proc_t *dpr);
void dt_probes_unmapped(dt_proc_t *dpr, uint64_t start, uint64_t end);
void dt_probes_exec(dt_proc_t *dpr);
/* The record ends: nobody finds it by its probes any more; and, when all who had have
 * left, what they counted and told is taken out of it. */
void dt_probes_leave(dt_proc_t *dpr);
void dt_probes_part(dt_proc_t *dpr);
/* dt_probe.c: a record's reference on its set, which may be closed before it ends. NULL:
 * nothing. */
dtrace_probes_t *dt_probes_ref(dtrace_probes_t *set);
void dt_probes_unref(dtrace_probes_t *set);

/* dt_bkpt.c */
void dt_bkpts_plant(dt_proc_t *dpr); /* those that are enabled and not planted */
void dt_bkpts_hit(dt_proc_t *dpr, const struct hold_event *ev);
void dt_bkpts_exec(dt_proc_t *dpr); /* dropped: listed, disabled */
/* [start, end) is mapped no more: dropped likewise. */
void dt_bkpts_unmapped(dt_proc_t *dpr, uint64_t start, uint64_t end);
void dt_bkpts_fini(dt_proc_t *dpr);

#endif
