/* SPDX-License-Identifier: MIT */
/*
 * A handle on a process: the one place that knits the keeper's hold, memory, link maps,
 * address-space snapshots and breakpoints together.
 *
 * Objects. struct ps_prochandle owns a pidfd (its identity: as long as it is open and not
 * readable the pid is that process's), the hold of the keeper (none when read-only), the
 * current snapshot of the address space, and a table of breakpoints by address.
 *
 * Locks. One mutex a handle, taken by each public call for a short while. Never held
 * while waiting for the victim, nor while a client's function is called. Requests to the
 * keeper are made under it: they never wait for the victim. The session layer's record
 * lock is above it. Snapshots are immutable and counted: a look-up takes a reference
 * under the lock and searches without. A host may cancel its threads: never while they
 * hold the lock; a wait can be cancelled, and who drove leaves the wheel to the next.
 *
 * Driving (control.h). Events are taken from the keeper by one thread at a time. A bare
 * handle is driven by whoever waits: one waiter polls without the lock, the others sleep
 * on the condition variable. A session's control thread drives for good; then every
 * waiter sleeps. Whoever takes an event applies it to the state under the lock and wakes
 * all: no status is lost or stolen. Questions that reach a bare driver get RESUME at
 * once: nobody else would answer.
 *
 *   state        entered by                                 left by
 *   RUN          Psetrun, CONTINUE, PGRAB_NOSTOP            a stop, EXIT, LOST
 *   STOP         grab, STOPPED (allstop), OUTSTOP           Psetrun, CONTINUE
 *   LOST         LOST, keeper gone, exec of what may not    Preopen, if it can be read
 *                be read
 *   UNDEAD       EXIT; a read-only pidfd turned readable    -
 *   DEAD, IDLE   Pgrab_core; Pgrab_file                     -
 *
 * A core or an ELF file is a read-only handle whose operations (handle_ops) look into the
 * file instead of /proc. It has no pidfd and no hold, so everything that controls finds
 * what it finds on any read-only handle: EBADF; and nothing looks at a process that has
 * the core's pid by now.
 *
 * The victim's death. Any request may answer -ESRCH; the state changes by the EXIT event,
 * with the status, which the keeper always sends. What was read stays usable: status,
 * psinfo, snapshot and symbols. What is read by pid counts only if the pidfd says
 * afterwards that the pid still was the victim's. A leader that ends before its threads
 * takes maps and memory out of its own directory in /proc: they are then read through
 * another thread (memory_rehome()).
 *
 * Ownership at the end. Prelease() asks the keeper for a final state and waits for it; a
 * child of ours is reaped through its pidfd, so that a pid that a host has reaped and
 * reused is not touched.
 */
#include "proc/handle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"
#include "util/scope.h"

const struct handle_ops live_ops = {
	.alive = live_alive,
	.look = live_look,
	.count = live_count,
	.psinfo = live_psinfo,
	.seam = live_seam,
	.slurp = live_slurp,
	.maps = live_maps,
	.open_mapped = live_open_mapped,
	.exe = live_exe,
	.lwps = live_lwps,
	.regs = live_regs,
};

static int init_locks(struct ps_prochandle *P)
{
	pthread_condattr_t attr;
	int rc = pthread_mutex_init(&P->lock, NULL);

	if (rc)
		return rc;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	rc = pthread_cond_init(&P->cond, &attr);
	pthread_condattr_destroy(&attr);
	if (rc)
		pthread_mutex_destroy(&P->lock);
	return rc;
}

struct ps_prochandle *handle_new(pid_t pid, int pidfd)
{
	struct ps_prochandle *P = calloc(1, sizeof(*P));

	if (!P || init_locks(P)) {
		free(P);
		return NULL;
	}
	P->ops = &live_ops;
	P->pid = pid;
	P->pidfd = pidfd;
	P->state = PS_RUN;
	P->status.pr_pid = pid;
	P->status.pr_exitstatus = -1;
	P->status.pr_lwp.pr_lwpid = pid;
	P->exec_fd = -1;
	P->agent.P = P;
	P->agent.lent = true;
	mem_live_init(&P->live, pid);
	return P;
}

void handle_free(struct ps_prochandle *P)
{
	lwpctl_orphan(P);
	maps_reset(P);
	image_unref(P->lent_image);
	mem_live_fini(&P->live);
	scope_close(&P->exec_fd);
	free(P->auxv);
	free(P->bkpts);
	scope_close(&P->pidfd);
	core_unref(P->core);
	pthread_cond_destroy(&P->cond);
	pthread_mutex_destroy(&P->lock);
	free(P);
}

/* A host may cancel its threads: not while one of them holds a handle. */
static __thread int cancel_state;

void handle_lock(struct ps_prochandle *P)
{
	int was;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	pthread_mutex_lock(&P->lock);
	cancel_state = was;
}

void handle_unlock(struct ps_prochandle *P)
{
	pthread_mutex_unlock(&P->lock);
	pthread_setcancelstate(cancel_state, NULL);
}

/* pthread_cond_wait(3) has taken the lock again for the cancelled thread. */
static void cancelled_asleep(void *arg)
{
	handle_unlock(arg);
}

void handle_sleep(struct ps_prochandle *P, const struct timespec *end)
{
	pthread_cleanup_push(cancelled_asleep, P);
	pthread_setcancelstate(cancel_state, NULL);
	if (end)
		pthread_cond_timedwait(&P->cond, &P->lock, end);
	else
		pthread_cond_wait(&P->cond, &P->lock);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cleanup_pop(0);
}

int handle_fail(int err)
{
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

const char *pgrab_version(void)
{
	return PGRAB_VERSION;
}

const char *pgrab_features(void)
{
	return PGRAB_FEATURES;
}
