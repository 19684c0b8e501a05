/* SPDX-License-Identifier: MIT */
/*
 * The rest of what the session layer needs (control.h): thin, each a request or a field.
 */
#include "proc/control.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "proc/handle.h"

struct hold *Phold(struct ps_prochandle *P)
{
	return P->hold;
}

int Prdonly(struct ps_prochandle *P)
{
	return !P->hold;
}

int Panswer(struct ps_prochandle *P, const struct hold_event *question,
	    enum hold_verdict verdict)
{
	pid_t tid = question->kind == HOLD_EV_FORK ? question->child : question->tid;
	int rc;

	handle_lock(P);
	rc = P->hold ? hold_answer(P->hold, tid, question->seq, verdict) : -EBADF;
	handle_unlock(P);
	return rc;
}

int Pwant(struct ps_prochandle *P, unsigned mask)
{
	int rc;

	handle_lock(P);
	rc = P->hold ? hold_want(P->hold, mask) : -EBADF;
	handle_unlock(P);
	return rc;
}

int Ppatience(struct ps_prochandle *P, unsigned ms)
{
	int rc;

	handle_lock(P);
	rc = P->hold ? hold_set_patience(P->hold, ms) : -EBADF;
	handle_unlock(P);
	return rc;
}

int Puprobes(struct ps_prochandle *P)
{
	int rc;

	handle_lock(P);
	rc = P->hold ? hold_uprobes(P->hold) : -EBADF;
	handle_unlock(P);
	return rc;
}

int Pctlfd(struct ps_prochandle *P)
{
	return P->hold ? hold_event_fd(P->hold) : -1;
}

/* Does the keeper still have it? It loses nobody to an exec; but it may have ended. */
static bool is_held(struct ps_prochandle *P)
{
	struct hold_lwp *lwps;
	size_t n;

	if (!P->hold || hold_lwps(P->hold, &lwps, &n))
		return false;
	free(lwps);
	return true;
}

static int reopen(struct ps_prochandle *P)
{
	if (P->state == PS_UNDEAD)
		return -ENOENT;
	if (P->state != PS_LOST)
		return 0;
	if (!is_held(P))
		return -EPIPE;
	if (!drive_readable(P))
		return -EACCES;
	drive_running(P);
	return 0;
}

int Preopen(struct ps_prochandle *P)
{
	int rc;

	handle_lock(P);
	rc = reopen(P);
	handle_unlock(P);
	return handle_fail(rc);
}
