/* SPDX-License-Identifier: MIT */
/*
 * The client's references: create, grab, release. What is done with a record:
 * dt_client.c.
 *
 * A grab is either a new reference on the record that is current for the pid, or makes
 * one. The making takes a while (5 s at worst) and no lock is held over it; a second grab
 * of the same pid meanwhile waits for its outcome (`making`), since two attaches to one
 * process would refuse each other.
 *
 * A record is current while its process is the one that was grabbed: for a read-only one
 * this is asked at each hit (alive, same start time, same exec), for a controlled one its
 * thread knows. One found not to be is made stale: no grab finds it any more, and without
 * references it ends at once.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "dtrace/dt_impl.h"
#include "util/log.h"

/* --- the session's lists ------------------------------------------------------------ */

static void all_link(dtrace_hdl_t *dtp, dt_proc_t *dpr) TS_REQUIRES(dt_role_session)
{
	dpr->all_prev = NULL;
	dpr->all_next = dtp->all;
	if (dtp->all)
		dtp->all->all_prev = dpr;
	dtp->all = dpr;
}

static void begin_making(dtrace_hdl_t *dtp, struct dt_making *making)
	TS_REQUIRES(dt_role_session)
{
	making->next = dtp->making;
	dtp->making = making;
}

void dt_making_end(dtrace_hdl_t *dtp, struct dt_making *making)
{
	struct dt_making **m = &dtp->making;

	while (*m != making)
		m = &(*m)->next;
	*m = making->next;
	pthread_cond_broadcast(&dtp->cond);
}

/* Out of every list: whoever calls this must destroy it. Until that is done a grab of the
 * same process waits: it would find it held. */
static void take_out(dtrace_hdl_t *dtp, dt_proc_t *dpr) TS_REQUIRES(dt_role_session)
{
	dt_table_remove(&dtp->table, dpr);
	if (dpr->all_prev)
		dpr->all_prev->all_next = dpr->all_next;
	else
		dtp->all = dpr->all_next;
	if (dpr->all_next)
		dpr->all_next->all_prev = dpr->all_prev;
	if (dpr->kind == DT_KIND_RDONLY)
		return;
	dpr->leaving.pid = dpr->pid;
	dpr->leaving.goes = dpr;
	begin_making(dtp, &dpr->leaving);
}

/* No grab shall find it; when nobody holds it either, it is the caller's to destroy. */
static dt_proc_t *retire(dtrace_hdl_t *dtp, dt_proc_t *dpr) TS_REQUIRES(dt_role_session)
{
	dt_table_make_stale(&dtp->table, dpr);
	if (dpr->refs)
		return NULL;
	take_out(dtp, dpr);
	return dpr;
}

static void destroy(dt_proc_t *dpr)
{
	if (dpr)
		dt_record_destroy(dpr);
}

void dt_cache_trim(dtrace_hdl_t *dtp, unsigned keep)
{
	dt_proc_t *dpr;

	do {
		dt_session_lock(dtp);
		dpr = dt_table_victim(&dtp->table, keep);
		if (dpr)
			take_out(dtp, dpr);
		dt_session_unlock(dtp);
		destroy(dpr);
	} while (dpr);
}

/* A child's record is in the session before it has its thread: a close in between would
 * free it under the parent's thread that makes it. */
static void follow_no_more(dtrace_hdl_t *dtp)
{
	dt_session_lock(dtp);
	dtp->closing = true;
	while (dtp->following)
		pthread_cond_wait(&dtp->cond, &dtp->lock);
	dt_session_unlock(dtp);
}

void dt_destroy_all(dtrace_hdl_t *dtp)
{
	dt_proc_t *dpr;

	follow_no_more(dtp);
	do {
		dt_session_lock(dtp);
		dpr = dtp->all;
		if (dpr)
			take_out(dtp, dpr);
		dt_session_unlock(dtp);
		destroy(dpr);
	} while (dpr);
}

/* A table there is, even after dt_proc_hash_destroy(). */
static int ensure_table(dtrace_hdl_t *dtp)
{
	int rc = 0;

	dt_session_lock(dtp);
	if (!dtp->table.by_handle)
		rc = dt_table_init(&dtp->table, DT_HASH_DEFAULT, DT_LRU_DEFAULT);
	dt_session_unlock(dtp);
	return rc ? dt_fail(dtp, EDT_NOMEM, NULL) : 0;
}

/* The client's from now on, with one reference. */
static void adopt(dtrace_hdl_t *dtp, dt_proc_t *dpr) TS_REQUIRES(dt_role_session)
{
	dpr->refs = 1;
	dt_table_insert(&dtp->table, dpr);
	all_link(dtp, dpr);
	if (dpr->kind != DT_KIND_HELD)
		dt_table_make_current(&dtp->table, dpr);
	if (dpr->kind == DT_KIND_RDONLY)
		dt_table_make_cacheable(&dtp->table, dpr);
	if (!dtp->target)
		dtp->target = dpr->pid;
}

static int follow_option(dtrace_hdl_t *dtp)
{
	int mode;

	dt_session_lock(dtp);
	mode = dtp->follow;
	dt_session_unlock(dtp);
	return mode;
}

static void take_follow_option(dt_proc_t *dpr)
{
	int mode = follow_option(dpr->dtp);

	dt_record_lock(dpr);
	dpr->follow = mode;
	dt_record_unlock(dpr);
}

static void publish(dt_proc_t *dpr)
{
	if (dpr->kind == DT_KIND_CONTROLLED)
		dt_source_publish(&dpr->dtp->queue, &dpr->src);
}

/* Handlers and options as they are now. */
static void take_listeners(dt_proc_t *dpr)
{
	dtrace_hdl_t *dtp = dpr->dtp;

	dt_session_lock(dtp);
	dpr->evented = dtp->ev_fn;
	dpr->objects_fn = dtp->objects_fn;
	dpr->objects_arg = dtp->objects_arg;
	dpr->probes = dt_probes_ref(dtp->probes);
	dpr->patience = dtp->patience;
	dt_session_unlock(dtp);
}

static int start_thread(dt_proc_t *dpr)
{
	int rc = dt_record_start(dpr);

	if (!rc)
		return 0;
	return dt_fail(dpr->dtp, EDT_CTLTHREAD,
		       "failed to create control thread for process-id %d: %s",
		       (int)dpr->pid, strerror(-rc));
}

static dt_proc_t *new_record(dtrace_hdl_t *dtp, enum dt_kind kind)
{
	dt_proc_t *dpr = ensure_table(dtp) ? NULL : dt_record_new(dtp, kind);

	if (!dpr)
		dt_fail(dtp, errno == EMFILE || errno == ENFILE ? errno : EDT_NOMEM,
			NULL);
	return dpr;
}

/* --- create ------------------------------------------------------------------------- */

/* What is to be said of a victim that ended before it was parked. */
static int fail_create(dt_proc_t *dpr)
{
	char how[64];
	enum dt_end end;
	int status;

	dt_record_lock(dpr);
	end = dpr->end;
	status = dpr->status;
	dt_record_unlock(dpr);
	if (end == DT_END_LOST)
		snprintf(how, sizeof(how),
			 "process exec'd set-id or unobservable program");
	else if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "process died from signal %d",
			 WTERMSIG(status));
	else
		snprintf(how, sizeof(how), "process exited with status %d",
			 WEXITSTATUS(status));
	return dt_fail(dpr->dtp, EDT_PROCESS, "failed to control pid %d: %s",
		       (int)dpr->pid, how);
}

static int await_park(dt_proc_t *dpr)
{
	bool ended;

	dt_record_lock(dpr);
	while (!(dpr->stop & DT_PROC_STOP_IDLE) && !dpr->end)
		dt_record_wait(dpr, 0);
	ended = dpr->end;
	dt_record_unlock(dpr);
	return ended ? fail_create(dpr) : 0;
}

static void want_evaltime(dt_proc_t *dpr)
{
	unsigned bit;

	dt_session_lock(dpr->dtp);
	bit = dpr->dtp->evaltime;
	dt_session_unlock(dpr->dtp);
	dt_record_lock(dpr);
	dpr->stop = bit;
	dt_record_unlock(dpr);
}

static bool kept_running(dtrace_hdl_t *dtp)
{
	bool keep;

	dt_session_lock(dtp);
	keep = dtp->keep;
	dt_session_unlock(dtp);
	return keep;
}

static int make_created(dt_proc_t *dpr, const char *file, char *const *argv)
{
	char *const alone[] = { (char *)(uintptr_t)file, NULL };
	struct ps_prochandle *P;
	int err = 0;

	P = Pcreate(file, argv ? argv : alone, &err, NULL, 0);
	if (!P)
		return dt_fail(dpr->dtp, EDT_PROCESS, "failed to execute %s: %s", file,
			       Pcreate_error(err));
	dt_record_take(dpr, P);
	dpr->created = true;
	take_listeners(dpr);
	want_evaltime(dpr);
	take_follow_option(dpr);
	if (kept_running(dpr->dtp))
		Psetflags(P, PR_RLC);
	return start_thread(dpr) ? -1 : await_park(dpr);
}

struct ps_prochandle *dtrace_proc_create(dtrace_hdl_t *dtp, const char *file,
					 char *const *argv)
{
	dt_proc_t *dpr = new_record(dtp, DT_KIND_CONTROLLED);
	DT_NOCANCEL;

	if (!dpr)
		return NULL;
	if (make_created(dpr, file, argv)) {
		dpr->failed = true;
		dt_record_destroy(dpr);
		return NULL;
	}
	dt_session_lock(dtp);
	adopt(dtp, dpr);
	dt_session_unlock(dtp);
	publish(dpr);
	return dpr->P;
}

/* --- grab --------------------------------------------------------------------------- */

static bool is_current(dt_proc_t *dpr)
{
	bool ended;

	if (dpr->kind == DT_KIND_RDONLY)
		return Pcurrent(dpr->P);
	dt_record_lock(dpr);
	ended = dpr->end;
	dt_record_unlock(dpr);
	return !ended;
}

static bool serves(const dt_proc_t *dpr, enum dt_kind wanted)
{
	return wanted == DT_KIND_RDONLY || dpr->kind == DT_KIND_CONTROLLED;
}

/* True in a callback of this very record: its thread cannot join itself. */
static bool in_callback_of(const dt_proc_t *dpr)
{
	return dpr->threaded && pthread_equal(dpr->thread, pthread_self());
}

/* The record cannot go before this very thread goes on: it must not wait for that. */
static bool waits_for_us(dtrace_hdl_t *dtp, const dt_proc_t *dpr)
	TS_REQUIRES(dt_role_session)
{
	if (in_callback_of(dpr))
		return true;
	return dpr->doomed && dtp->telling == dpr &&
	       pthread_equal(dtp->dispatcher, pthread_self());
}

static bool being_made(dtrace_hdl_t *dtp, pid_t pid) TS_REQUIRES(dt_role_session)
{
	for (const struct dt_making *m = dtp->making; m; m = m->next)
		if (m->pid == pid && !(m->goes && waits_for_us(dtp, m->goes)))
			return true;
	return false;
}

/*
 * The record that serves a grab, with a reference more; or NULL when one must be made:
 * `making` is then noted. *ret_dead is a record to be destroyed, or NULL.
 */
static dt_proc_t *find_or_claim(dtrace_hdl_t *dtp, struct dt_making *making,
				enum dt_kind kind, dt_proc_t **ret_dead)
{
	dt_proc_t *dpr;

	*ret_dead = NULL;
	dt_session_lock(dtp);
	while (being_made(dtp, making->pid))
		pthread_cond_wait(&dtp->cond, &dtp->lock);
	dpr = dt_table_find_pid(&dtp->table, making->pid);
	if (dpr && !is_current(dpr)) {
		*ret_dead = retire(dtp, dpr);
		dpr = NULL;
	}
	if (dpr && serves(dpr, kind)) {
		dt_table_ref(&dtp->table, dpr);
	} else {
		dpr = NULL;
		begin_making(dtp, making);
	}
	dt_session_unlock(dtp);
	return dpr;
}

static int grab_handle(dt_proc_t *dpr, pid_t pid, int flags)
{
	struct ps_prochandle *P;
	int err = 0;

	P = Pgrab(pid, flags, &err);
	if (!P)
		return dt_fail(dpr->dtp, EDT_PROCESS, "failed to grab pid %d: %s",
			       (int)pid,
			       *Pgrab_detail() ? Pgrab_detail() : Pgrab_error(err));
	dt_record_take(dpr, P);
	if (dpr->kind != DT_KIND_CONTROLLED)
		return 0;
	take_listeners(dpr);
	dpr->unstopped = flags & PGRAB_NOSTOP;
	take_follow_option(dpr);
	dt_record_lock(dpr);
	dpr->stop = dpr->unstopped ? 0 : DT_PROC_STOP_IDLE; /* at GRAB */
	dt_record_unlock(dpr);
	return start_thread(dpr);
}

static dt_proc_t *make_grabbed(dtrace_hdl_t *dtp, pid_t pid, int flags, enum dt_kind kind)
{
	dt_proc_t *dpr = new_record(dtp, kind);

	if (!dpr)
		return NULL;
	if (grab_handle(dpr, pid, flags)) {
		dt_record_destroy(dpr);
		return NULL;
	}
	return dpr;
}

/* dpr (NULL: it failed) has been made; an old record of that pid is upgraded by a
 * controlled one. */
static void conclude(dtrace_hdl_t *dtp, struct dt_making *making, dt_proc_t *dpr)
{
	dt_proc_t *old = NULL;

	dt_session_lock(dtp);
	dt_making_end(dtp, making);
	if (dpr) {
		if (dpr->kind == DT_KIND_CONTROLLED)
			old = dt_table_find_pid(&dtp->table, dpr->pid);
		if (old)
			old = retire(dtp, old);
		adopt(dtp, dpr);
	}
	dt_session_unlock(dtp);
	destroy(old);
	if (dpr)
		publish(dpr);
}

/* A pid may have been another process's before. */
bool dt_follow_begin(dtrace_hdl_t *dtp)
{
	bool may;

	dt_session_lock(dtp);
	may = !dtp->closing;
	dtp->following += may;
	dt_session_unlock(dtp);
	return may;
}

void dt_follow_end(dtrace_hdl_t *dtp)
{
	dt_session_lock(dtp);
	dtp->following--;
	pthread_cond_broadcast(&dtp->cond);
	dt_session_unlock(dtp);
}

void dt_follow_enter(dt_proc_t *dpr)
{
	dtrace_hdl_t *dtp = dpr->dtp;
	dt_proc_t *old;

	dt_session_lock(dtp);
	old = dt_table_find_pid(&dtp->table, dpr->pid);
	if (old)
		old = retire(dtp, old);
	adopt(dtp, dpr);
	dpr->ours = true;
	dt_session_unlock(dtp);
	destroy(old);
	publish(dpr);
}

/* The session's reference is given back; what is to be destroyed, or NULL. */
static dt_proc_t *give_back(dtrace_hdl_t *dtp, dt_proc_t *dpr)
	TS_REQUIRES(dt_role_session)
{
	if (!dpr->ours)
		return NULL;
	dpr->ours = false;
	if (!dt_table_unref(&dtp->table, dpr))
		return NULL;
	take_out(dtp, dpr);
	return dpr;
}

void dt_follow_leave(dt_proc_t *dpr)
{
	dtrace_hdl_t *dtp = dpr->dtp;
	dt_proc_t *dead;

	dt_session_lock(dtp);
	dead = give_back(dtp, dpr);
	dt_session_unlock(dtp);
	destroy(dead);
}

/* One that is lost stays: its release might kill it. */
dt_proc_t *dt_follow_told(dtrace_hdl_t *dtp, dt_proc_t *dpr)
{
	enum dt_end end;

	if (!dpr || dpr->doomed)
		return NULL;
	dt_record_lock(dpr);
	end = dpr->end;
	dt_record_unlock(dpr);
	return end == DT_END_DEAD ? give_back(dtp, dpr) : NULL;
}

static void evict(dtrace_hdl_t *dtp)
{
	dt_proc_t *dpr = NULL;

	dt_session_lock(dtp);
	if (dtp->table.idle >= dtp->table.limit)
		dpr = dt_table_victim(&dtp->table, 0);
	if (dpr)
		take_out(dtp, dpr);
	dt_session_unlock(dtp);
	destroy(dpr);
}

struct ps_prochandle *dt_proc_grab(dtrace_hdl_t *dtp, pid_t pid, int flags, int nomonitor)
{
	enum dt_kind kind = flags & PGRAB_RDONLY ? DT_KIND_RDONLY
			    : nomonitor          ? DT_KIND_HELD
						 : DT_KIND_CONTROLLED;
	struct dt_making making = { .pid = pid };
	dt_proc_t *dpr, *dead;
	DT_NOCANCEL;

	dpr = find_or_claim(dtp, &making, kind, &dead);
	destroy(dead);
	if (dpr)
		return dpr->P;
	dpr = make_grabbed(dtp, pid, flags, kind);
	if (dpr && kind == DT_KIND_RDONLY)
		evict(dtp);
	conclude(dtp, &making, dpr);
	return dpr ? dpr->P : NULL;
}

struct ps_prochandle *dtrace_proc_grab(dtrace_hdl_t *dtp, pid_t pid, int flags)
{
	return dt_proc_grab(dtp, pid, flags, 0);
}

/* --- release ------------------------------------------------------------------------ */

/* Without references and out of all lists: the caller's to destroy now, unless its
 * handler runs in another thread, which then does it. */
static dt_proc_t *last_release(dtrace_hdl_t *dtp, dt_proc_t *dpr)
	TS_REQUIRES(dt_role_session)
{
	take_out(dtp, dpr);
	if (dtp->telling != dpr)
		return dpr;
	if (!pthread_equal(dtp->dispatcher, pthread_self())) {
		dpr->doomed = true;
		return NULL;
	}
	dtp->telling = NULL;
	return dpr;
}

void dtrace_proc_release(dtrace_hdl_t *dtp, struct ps_prochandle *P)
{
	dt_proc_t *dpr, *last = NULL;
	int err = 0;

	dt_session_lock(dtp);
	dpr = dt_record_find(dtp, P);
	if (!dpr)
		err = EDT_BADPROC;
	else if (in_callback_of(dpr))
		err = EDEADLK;
	else if (dt_table_unref(&dtp->table, dpr))
		last = last_release(dtp, dpr);
	dt_session_unlock(dtp);
	if (err)
		dt_fail(dtp, err, NULL);
	destroy(last);
}
