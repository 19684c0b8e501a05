/* SPDX-License-Identifier: MIT */
/*
 * State, status, psinfo: what is known of a process, refreshed at each call as far as it
 * can change without an event.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

enum {
	KTHREAD = 0x00200000
};

bool live_alive(const struct ps_prochandle *P)
{
	return procfs_pidfd_alive(P->pidfd);
}

/* A read-only handle has no events: /proc and the pidfd tell. */
void live_look(struct ps_prochandle *P)
{
	struct procfs_stat st;

	if (P->hold || P->state == PS_UNDEAD)
		return;
	if (!procfs_pidfd_alive(P->pidfd) || procfs_stat(P->pid, 0, &st)) {
		P->state = PS_UNDEAD;
		return;
	}
	P->state = st.state == 'T' || st.state == 't' ? PS_STOP : PS_RUN;
	P->status.pr_lwp.pr_flags = P->state == PS_STOP ? PR_STOPPED : 0;
	if (st.state == 't')
		P->status.pr_lwp.pr_flags |= PR_PTRACE;
	P->status.pr_lwp.pr_why = st.state == 'T' ? PR_JOBCONTROL : 0;
	P->status.pr_lwp.pr_lwpid = P->pid;
}

/* A bare handle that nobody waits on learns of its events here. */
static void catch_up(struct ps_prochandle *P)
{
	if (P->hold && !P->driven && !P->polling)
		drive_poll(P);
	P->ops->look(P);
}

int Pstate(struct ps_prochandle *P)
{
	int state;

	handle_lock(P);
	catch_up(P);
	state = P->state;
	handle_unlock(P);
	return state;
}

pid_t Pgetpid(struct ps_prochandle *P)
{
	return P->pid;
}

void live_count(struct ps_prochandle *P)
{
	pstatus_t *s = &P->status;
	struct procfs_stat st;

	if (P->state == PS_UNDEAD || procfs_stat(P->pid, 0, &st))
		return;
	s->pr_nlwp = (int)st.nlwp;
	s->pr_ppid = st.ppid;
	s->pr_pgid = st.pgrp;
	s->pr_sid = st.session;
}

const pstatus_t *Pstatus(struct ps_prochandle *P)
{
	pstatus_t *s = &P->status;

	handle_lock(P);
	catch_up(P);
	P->ops->count(P);
	s->pr_flags = s->pr_lwp.pr_flags | (P->klc ? PR_KLC : 0) | (P->rlc ? PR_RLC : 0) |
		      (P->asked ? PR_DSTOP : 0);
	handle_unlock(P);
	return s;
}

/* --- psinfo ------------------------------------------------------------------------- */

static struct timespec since_boot(uint64_t ticks)
{
	long hz = sysconf(_SC_CLK_TCK);
	struct timespec t;

	t.tv_sec = (time_t)(ticks / (uint64_t)hz);
	t.tv_nsec = (long)(ticks % (uint64_t)hz) * (1000000000 / hz);
	return t;
}

static struct timespec start_time(uint64_t ticks)
{
	struct timespec now, boot, start = since_boot(ticks);
	long nsec;

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	nsec = now.tv_nsec - boot.tv_nsec + start.tv_nsec;
	start.tv_sec += now.tv_sec - boot.tv_sec;
	while (nsec < 0) {
		nsec += 1000000000;
		start.tv_sec--;
	}
	start.tv_sec += nsec / 1000000000;
	start.tv_nsec = nsec % 1000000000;
	return start;
}

/* The argument list with blanks between, as far as it fits; a kernel thread's and a
 * zombie's name in brackets. */
static void fill_args(pid_t pid, psinfo_t *ps)
{
	_cleanup_free_ char *args = NULL;
	size_t len = 0;

	if (procfs_slurp(pid, "cmdline", &args, &len) || !len) {
		snprintf(ps->pr_psargs, sizeof(ps->pr_psargs), "[%s]", ps->pr_fname);
		return;
	}
	while (len && !args[len - 1])
		len--;
	if (len >= sizeof(ps->pr_psargs))
		len = sizeof(ps->pr_psargs) - 1;
	for (size_t i = 0; i < len; i++)
		ps->pr_psargs[i] = args[i] ? args[i] : ' ';
	ps->pr_psargs[len] = '\0';
}

static void fill_ids(pid_t pid, psinfo_t *ps)
{
	struct procfs_status st;

	if (procfs_status(pid, 0, &st))
		return;
	ps->pr_uid = st.uid;
	ps->pr_euid = st.euid;
	ps->pr_gid = st.gid;
	ps->pr_egid = st.egid;
	ps->pr_tracer = st.tracer;
}

int proc_get_psinfo(pid_t pid, psinfo_t *psp)
{
	struct procfs_stat st;
	psinfo_t ps = { 0 };
	int rc = pid > 0 ? procfs_stat(pid, 0, &st) : -ESRCH;

	if (rc)
		return handle_fail(rc);
	ps.pr_pid = pid;
	ps.pr_ppid = st.ppid;
	ps.pr_pgid = st.pgrp;
	ps.pr_sid = st.session;
	ps.pr_nlwp = (int)st.nlwp;
	ps.pr_sname = st.state;
	ps.pr_kthread = !!(st.flags & KTHREAD);
	ps.pr_size = st.vsize / 1024;
	ps.pr_rssize = st.rss * ((size_t)sysconf(_SC_PAGESIZE) / 1024);
	ps.pr_ttydev = (unsigned long)st.tty;
	ps.pr_starttime = st.starttime;
	ps.pr_start = start_time(st.starttime);
	ps.pr_time = since_boot(st.utime + st.stime);
	ps.pr_nice = (int)st.nice;
	ps.pr_wstat = (int)st.exit_code;
	snprintf(ps.pr_fname, sizeof(ps.pr_fname), "%.*s", PRFNSZ - 1, st.comm);
	fill_ids(pid, &ps);
	fill_args(pid, &ps);
	*psp = ps;
	return 0;
}

/* Read by pid: of the same process while that lives, or a zombie that began when it
 * did. */
static bool is_ours(const struct ps_prochandle *P, const psinfo_t *ps)
{
	return procfs_pidfd_alive(P->pidfd) ||
	       (P->psinfo.pr_pid && P->psinfo.pr_starttime == ps->pr_starttime);
}

int live_psinfo(struct ps_prochandle *P, psinfo_t *ret)
{
	psinfo_t ps;

	if (proc_get_psinfo(P->pid, &ps) || !is_ours(P, &ps))
		return -ESRCH;
	*ret = ps;
	return 0;
}

const psinfo_t *Ppsinfo(struct ps_prochandle *P)
{
	bool known;

	handle_lock(P);
	P->ops->psinfo(P, &P->psinfo);
	known = P->psinfo.pr_pid != 0;
	handle_unlock(P);
	if (!known)
		errno = ESRCH;
	return known ? &P->psinfo : NULL;
}
