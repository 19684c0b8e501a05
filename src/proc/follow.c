/* SPDX-License-Identifier: MIT */
/*
 * A handle on a child that the keeper holds at its birth. The parent's handle has been
 * told of it (FORK, a question); the child's is made as for a grab without a stop, and
 * takes over how the parent's ends: killed or run on last close.
 */
#include <errno.h>
#include <unistd.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/log.h"

static bool killed_at_close(struct ps_prochandle *P)
{
	bool klc;

	handle_lock(P);
	klc = P->klc;
	handle_unlock(P);
	return klc;
}

static int take(struct ps_prochandle *P, bool klc)
{
	unsigned how = HOLD_ADOPT | HOLD_NOSTOP | HOLD_BORROW | (klc ? HOLD_KLC : 0u);
	struct hold_event none = { 0 };
	int rc = hold_grab(P->pid, P->pidfd, how, 0, &P->hold, &none, NULL);

	P->klc = klc;
	P->rlc = !klc;
	return rc;
}

struct ps_prochandle *Padopt(struct ps_prochandle *parent, const struct hold_event *fork,
			     int *ret_err)
{
	int pidfd = procfs_pidfd(fork->child), rc;
	struct ps_prochandle *P;

	*ret_err = pidfd;
	if (pidfd < 0)
		return NULL;
	*ret_err = -ENOMEM;
	P = handle_new(fork->child, pidfd);
	if (!P) {
		close(pidfd);
		return NULL;
	}
	P->first.time_ns = fork->time_ns;
	rc = take(P, killed_at_close(parent));
	log_at(LOG_PROC, 1, P->pid, 0, "adopted: %d", rc);
	*ret_err = rc;
	if (!rc)
		return P;
	handle_free(P);
	return NULL;
}
