/* SPDX-License-Identifier: MIT */
/*
 * LWPs by tid.
 *
 *            attach, birth
 *                 |
 *                 v      wait: stopped            PTRACE_LISTEN
 *             RUNNING  ----------------> STOPPED ---------------> LISTENING
 *                 ^  <---------------------  ^ <-----------------   (a change of the
 *                 |     CONT, STEP           |      wait: stopped    group stop traps)
 *                 |                          |
 *                 +---- wait: ended, or /proc says Z ----> DYING, then freed
 *
 * A LISTENING LWP executes nothing, but no ptrace request except INTERRUPT is allowed
 * on it, so a victim counts as standing only when it has none. DYING LWPs count as
 * standing: a zombie leader reports its end only after every other thread's (ptrace(2),
 * BUGS).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keeper/keeper.h"
#include "os/procfs.h"
#include "util/log.h"

enum {
	NBUCKETS = 4096
};

static struct lwp *buckets[NBUCKETS];

static struct lwp **slot(pid_t tid)
{
	struct lwp **p = &buckets[(unsigned)tid % NBUCKETS];

	while (*p && (*p)->tid != tid)
		p = &(*p)->hash_next;
	return p;
}

struct lwp *lwp_find(pid_t tid)
{
	return *slot(tid);
}

static void link_member(struct lwp *l)
{
	struct victim *v = l->v;

	l->next = v->lwps;
	if (v->lwps)
		v->lwps->prev = l;
	v->lwps = l;
	v->nlwps++;
}

struct lwp *lwp_new(struct victim *v, pid_t tid, enum lwp_role role)
{
	struct lwp *l = calloc(1, sizeof(*l));
	struct lwp **s = slot(tid);

	if (!l)
		return NULL;
	l->tid = tid;
	l->v = v;
	l->role = role;
	l->hash_next = *s;
	*s = l;
	if (role == LWP_MEMBER)
		link_member(l);
	else
		v->nchildren++;
	return l;
}

static void unlink_member(struct lwp *l)
{
	if (l->next)
		l->next->prev = l->prev;
	if (l->prev)
		l->prev->next = l->next;
	else
		l->v->lwps = l->next;
	l->v->nlwps--;
}

void lwp_adopt(struct lwp *l, struct victim *v)
{
	l->v->nchildren--;
	l->v = v;
	l->role = LWP_MEMBER;
	link_member(l);
}

void lwp_free(struct lwp *l)
{
	l->state = LWP_DYING; /* whoever is woken below must not resume this one */
	event_answered(l);
	inject_forget(l);
	step_abandon(l);
	hw_ended(l);
	slot_abandon(l);
	*slot(l->tid) = l->hash_next;
	if (l->role == LWP_MEMBER)
		unlink_member(l);
	else
		l->v->nchildren--;
	free(l);
}

/* An exec made tid (the leader's) of what was another thread. */
void lwp_rename(struct lwp *l, pid_t tid)
{
	struct lwp **s;

	*slot(l->tid) = l->hash_next;
	l->tid = tid;
	s = slot(tid);
	l->hash_next = *s;
	*s = l;
}

bool lwp_moving(const struct lwp *l)
{
	return l->state == LWP_RUNNING || l->state == LWP_LISTENING;
}

int lwp_regs(struct lwp *l, arch_regs_t **ret)
{
	int rc = 0;

	if (l->state != LWP_STOPPED)
		return -EBUSY;
	if (!l->regs_valid)
		rc = trace_getregs(l, &l->regs);
	if (rc)
		return rc;
	l->regs_valid = true;
	if (l->pc_valid && l->pc_dirty)
		arch_set_pc(&l->regs, l->pc);
	l->pc_valid = false; /* who has the registers may change them */
	*ret = &l->regs;
	return 0;
}

/* Most stops are about the PC alone, which costs half of what all registers do. */
int lwp_pc(struct lwp *l, uint64_t *ret)
{
	arch_regs_t *regs;
	int rc = 0;

	if (l->state != LWP_STOPPED)
		return -EBUSY;
	if (l->regs_valid || !arch_native->has_user) {
		rc = lwp_regs(l, &regs);
		if (!rc)
			*ret = arch_pc(regs);
		return rc;
	}
	if (!l->pc_valid)
		rc = trace_getreg(l, arch_native->reg_pc, &l->pc);
	l->pc_valid = !rc;
	if (!rc)
		*ret = l->pc;
	return rc;
}

void lwp_set_pc(struct lwp *l, uint64_t pc)
{
	arch_regs_t *regs;

	if (!arch_native->has_user && lwp_regs(l, &regs))
		return;
	if (l->regs_valid)
		arch_set_pc(&l->regs, pc);
	l->regs_dirty = l->regs_dirty || !arch_native->has_user;
	l->pc = pc;
	l->pc_valid = !l->regs_valid;
	l->pc_dirty = true;
}

int lwp_flush(struct lwp *l)
{
	int rc = 0;

	if (l->regs_dirty)
		rc = trace_setregs(l, &l->regs);
	else if (l->pc_dirty)
		rc = trace_setreg(l, arch_native->reg_pc, l->pc);
	l->regs_dirty = l->pc_dirty = false;
	return rc;
}

void lwp_forget(struct lwp *l)
{
	l->regs_valid = l->regs_dirty = l->pc_valid = l->pc_dirty = false;
}

char lwp_proc_state(pid_t pid, pid_t tid)
{
	struct procfs_stat st;

	return procfs_stat(pid, tid, &st) ? 0 : st.state;
}
