/* SPDX-License-Identifier: MIT */
/*
 * What a client does with a record that it has: continue it, set its stop bits, wait for
 * a park, lock it, look it up. Each call holds the record by a count of its users, not by
 * a lock, while it waits; the record's end waits for them (dt_record_destroy).
 */
#include <errno.h>

#include "dtrace/dt_impl.h"

/* --- park and continue -------------------------------------------------------------- */

void dtrace_proc_continue(dtrace_hdl_t *dtp, struct ps_prochandle *P)
{
	dt_proc_t *dpr = dt_record_use(dtp, P);
	bool parked;
	DT_NOCANCEL;

	if (!dpr) {
		dt_fail(dtp, EDT_BADPROC, NULL);
		return;
	}
	dt_record_lock(dpr);
	parked = dpr->stop & DT_PROC_STOP_IDLE;
	if (parked) {
		dpr->stop &= ~(unsigned)DT_PROC_STOP_IDLE;
		dpr->later = 0;
		dpr->resume = true;
	}
	dt_record_unlock(dpr);
	if (parked)
		dt_record_poke(dpr);
	dt_record_unuse(dpr);
}

int dt_proc_stop(dtrace_hdl_t *dtp, struct ps_prochandle *P, unsigned bits)
{
	dt_proc_t *dpr = dt_record_use(dtp, P);
	int err = 0;
	DT_NOCANCEL;

	if (!dpr)
		return dt_fail(dtp, EDT_BADPROC, NULL);
	dt_record_lock(dpr);
	if (!(dpr->stop & DT_PROC_STOP_IDLE))
		err = EBUSY;
	else if (bits & ~dpr->later)
		err = EINVAL;
	else
		dpr->stop |= bits;
	dt_record_unlock(dpr);
	dt_record_unuse(dpr);
	return err ? dt_fail(dtp, err, NULL) : 0;
}

unsigned dt_proc_stops(dtrace_hdl_t *dtp, struct ps_prochandle *P)
{
	dt_proc_t *dpr = dt_record_use(dtp, P);
	unsigned bits;
	DT_NOCANCEL;

	if (!dpr) {
		dt_fail(dtp, EDT_BADPROC, NULL);
		return 0;
	}
	dt_record_lock(dpr);
	bits = dpr->stop;
	dt_record_unlock(dpr);
	dt_record_unuse(dpr);
	return bits;
}

int dt_proc_waitpark(dtrace_hdl_t *dtp, struct ps_prochandle *P, unsigned msec)
{
	dt_proc_t *dpr = dt_record_use(dtp, P);
	uint64_t end = dt_deadline(msec);
	int rc = 0;
	DT_NOCANCEL;

	if (!dpr)
		return dt_fail(dtp, EDT_BADPROC, NULL);
	dt_record_lock(dpr);
	while (!(dpr->stop & DT_PROC_STOP_IDLE) && !dpr->end && !dpr->quit && !rc)
		rc = dt_record_wait(dpr, end);
	if (dpr->stop & DT_PROC_STOP_IDLE)
		rc = 0;
	else if (dpr->end || dpr->quit)
		rc = -ESRCH;
	dt_record_unlock(dpr);
	dt_record_unuse(dpr);
	return rc ? dt_fail(dtp, -rc, NULL) : 0;
}

/* --- lock --------------------------------------------------------------------------- */

void dt_proc_lock(dtrace_hdl_t *dtp, struct ps_prochandle *P)
{
	dt_proc_t *dpr = dt_record_use(dtp, P);
	DT_NOCANCEL;

	if (!dpr)
		return;
	dt_record_own(dpr);
	dt_record_unuse(dpr);
}

/* Nothing when the handle has been released meanwhile: its record is not touched. */
void dt_proc_unlock(dtrace_hdl_t *dtp, struct ps_prochandle *P)
{
	dt_proc_t *dpr = dt_record_use(dtp, P);
	DT_NOCANCEL;

	if (!dpr)
		return;
	dt_record_disown(dpr);
	dt_record_unuse(dpr);
}

/* --- table -------------------------------------------------------------------------- */

dt_proc_t *dt_proc_lookup(dtrace_hdl_t *dtp, struct ps_prochandle *P, int remove)
{
	dt_proc_t *dpr;

	dt_session_lock(dtp);
	dpr = dt_table_find(&dtp->table, P);
	if (dpr && remove)
		dt_table_remove(&dtp->table, dpr);
	dt_session_unlock(dtp);
	return dpr;
}

int dt_proc_hash_create(dtrace_hdl_t *dtp, unsigned buckets, unsigned lru_limit)
{
	struct dt_table fresh;
	bool busy;

	if (dt_table_init(&fresh, buckets, lru_limit))
		return dt_fail(dtp, EDT_NOMEM, NULL);
	dt_session_lock(dtp);
	busy = dtp->table.n;
	if (!busy) {
		dt_table_fini(&dtp->table);
		dtp->table = fresh;
	}
	dt_session_unlock(dtp);
	if (!busy)
		return 0;
	dt_table_fini(&fresh);
	return dt_fail(dtp, EBUSY, NULL);
}

void dt_proc_hash_destroy(dtrace_hdl_t *dtp)
{
	dt_destroy_all(dtp);
	dt_session_lock(dtp);
	dt_table_fini(&dtp->table);
	dt_session_unlock(dtp);
}
