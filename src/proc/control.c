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
	int rc;

	handle_lock(P);
	rc = P->hold ? hold_answer(P->hold, question->tid, question->seq, verdict)
		     : -EBADF;
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

int Pctlfd(struct ps_prochandle *P)
{
	return P->hold ? hold_event_fd(P->hold) : -1;
}

/* The victim of a lost handle: is it readable again, as after an exec of something that may be read? */
int Preopen(struct ps_prochandle *P)
{
	char byte;
	int rc = 0;

	handle_lock(P);
	if (P->state == PS_LOST) {
		maps_reset(P);
		mem_live_reset(&P->live);
		free(P->auxv);
		P->auxv = NULL;
		if (memory_read(P, data_auxval(P, AT_ENTRY), &byte, 1) == 1)
			drive_running(P);
		else
			rc = -EACCES;
	} else if (P->state == PS_UNDEAD) {
		rc = -ENOENT;
	}
	handle_unlock(P);
	return handle_fail(rc);
}
