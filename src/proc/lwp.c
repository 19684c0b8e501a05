/* SPDX-License-Identifier: MIT */
/*
 * LWPs: under control the keeper knows them, else /proc does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

/* A copy of what Plwp_iter() shows, made under the lock and shown without it. */
struct snapshot {
	lwpstatus_t *st; /* allocated */
	size_t n;        /* how many */
};

static void fill(lwpstatus_t *st, const struct ps_prochandle *P, const struct hold_lwp *l,
		 const arch_regs_t *regs)
{
	if (l->tid == P->status.pr_lwp.pr_lwpid && P->allstop)
		*st = P->status.pr_lwp;
	st->pr_lwpid = l->tid;
	st->pr_flags |= l->stopped || l->outstop ? PR_STOPPED : 0;
	st->pr_cursig = (short)l->cursig;
	if (!st->pr_why && l->stopped)
		st->pr_why = PR_REQUESTED;
	if (l->outstop && !P->allstop)
		st->pr_why = PR_JOBCONTROL;
	if (l->stopped && regs)
		memcpy(&st->pr_reg, regs, sizeof(st->pr_reg));
}

/* Registers of those that stand while others run: the client has stopped them one by one
 * (Lstop). */
static void fill_single(struct ps_prochandle *P, lwpstatus_t *st,
			const struct hold_lwp *l)
{
	arch_regs_t regs;
	bool single = P->lwps && !P->allstop && l->stopped;

	fill(st, P, l, single && !hold_getregs(P->hold, l->tid, &regs) ? &regs : NULL);
}

/* All registers are asked for only when all stand. */
static int take_held(struct ps_prochandle *P, struct snapshot *ret)
{
	_cleanup_free_ struct hold_lwp *lwps = NULL;
	_cleanup_free_ arch_regs_t *regs = NULL;
	size_t n = 0;
	int rc = P->allstop ? hold_getregs_all(P->hold, &lwps, &regs, &n)
			    : hold_lwps(P->hold, &lwps, &n);

	if (rc)
		return rc;
	ret->st = calloc(n ? n : 1, sizeof(*ret->st));
	if (!ret->st)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		regs ? fill(&ret->st[i], P, &lwps[i], &regs[i])
		     : fill_single(P, &ret->st[i], &lwps[i]);
	ret->n = n;
	return 0;
}

int live_lwps(struct ps_prochandle *P, lwpstatus_t **ret, size_t *ret_n)
{
	lwpstatus_t *found;
	_cleanup_free_ pid_t *tids = NULL;
	struct procfs_stat st;
	size_t n, kept = 0;
	int rc = procfs_pidfd_alive(P->pidfd) ? procfs_tids(P->pid, &tids, &n) : -ESRCH;

	if (rc)
		return rc;
	found = calloc(n ? n : 1, sizeof(*found));
	if (!found)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		lwpstatus_t *l = &found[kept];

		if (procfs_stat(P->pid, tids[i], &st))
			continue; /* has ended meanwhile */
		l->pr_lwpid = tids[i];
		if (st.state == 'T' || st.state == 't')
			l->pr_flags = PR_STOPPED;
		if (st.state == 't')
			l->pr_flags |= PR_PTRACE;
		l->pr_why = st.state == 'T' ? PR_JOBCONTROL : 0;
		kept++;
	}
	*ret = found;
	*ret_n = kept;
	return 0;
}

int live_regs(struct ps_prochandle *P, lwpid_t lwp, arch_regs_t *ret)
{
	return P->hold ? hold_getregs(P->hold, lwp, ret) : -EBADF;
}

int Plwp_iter(struct ps_prochandle *P, proc_lwp_f *fn, void *arg)
{
	struct snapshot s = { 0 };
	_cleanup_free_ lwpstatus_t *owned = NULL;
	int rc;

	handle_lock(P);
	rc = P->hold ? take_held(P, &s) : P->ops->lwps(P, &s.st, &s.n);
	handle_unlock(P);
	owned = s.st;
	if (rc)
		return handle_fail(rc);
	for (size_t i = 0; i < s.n && !rc; i++)
		rc = fn(arg, &s.st[i]);
	return rc;
}

int Plwp_getregs(struct ps_prochandle *P, lwpid_t lwp, prgregset_t regs)
{
	arch_regs_t r;
	int rc;

	handle_lock(P);
	rc = P->ops->regs(P, lwp, &r);
	handle_unlock(P);
	if (!rc)
		memcpy(regs, &r, sizeof(prgregset_t));
	return handle_fail(rc);
}

int Plwp_setregs(struct ps_prochandle *P, lwpid_t lwp, const prgregset_t regs)
{
	arch_regs_t r;
	int rc;

	memcpy(&r, regs, sizeof(r));
	handle_lock(P);
	rc = P->hold ? hold_setregs(P->hold, lwp, &r) : -EBADF;
	if (!rc && lwp == P->status.pr_lwp.pr_lwpid)
		memcpy(&P->status.pr_lwp.pr_reg, &r, sizeof(prgregset_t));
	handle_unlock(P);
	return handle_fail(rc);
}

int Pgetareg(struct ps_prochandle *P, int reg, prgreg_t *value)
{
	arch_regs_t regs;
	int rc = 0;

	if (reg < 0 || reg >= arch_native->nregs)
		return handle_fail(-EINVAL);
	handle_lock(P);
	if (P->state == PS_DEAD)
		rc = P->ops->regs(P, P->status.pr_lwp.pr_lwpid, &regs);
	else if (!P->allstop)
		rc = P->hold ? -EBUSY : -EBADF;
	if (!rc)
		*value = P->status.pr_lwp.pr_reg[reg];
	handle_unlock(P);
	return handle_fail(rc);
}

int Pputareg(struct ps_prochandle *P, int reg, prgreg_t value)
{
	arch_regs_t regs;
	lwpstatus_t *l = &P->status.pr_lwp;
	int rc = 0;

	if (reg < 0 || reg >= arch_native->nregs)
		return handle_fail(-EINVAL);
	handle_lock(P);
	if (!P->allstop)
		rc = P->hold ? -EBUSY : -EBADF;
	if (!rc) {
		memcpy(&regs, &l->pr_reg, sizeof(regs));
		arch_reg_set(&regs, (unsigned)reg, value);
		rc = hold_setregs(P->hold, l->pr_lwpid, &regs);
	}
	if (!rc)
		l->pr_reg[reg] = value;
	handle_unlock(P);
	return handle_fail(rc);
}
