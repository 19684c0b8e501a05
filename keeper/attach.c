/* SPDX-License-Identifier: MIT */
/*
 * Attaching to every thread of a process.
 *
 * PTRACE_SEIZE with the options at once, so that a thread born by a seized one is
 * seized too; then the thread list is read again until it holds nothing new. The link
 * count of /proc/PID/task tells the number of threads without a listing, which spares a
 * process of one thread both passes.
 *
 * SEIZE waits for the victim's cred_guard_mutex while another of its threads is in
 * execve, and that exec may wait for us to reap a thread: a deadlock. A timer jumps out
 * of the call after some milliseconds (an ordinary handler would only have the kernel
 * restart it), the loop reaps, and the attach goes on at the next tick. Whether a SEIZE
 * that we jumped out of had been granted, TracerPid tells: it then answers EPERM, as
 * for every thread that is ours already.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "os/procfs.h"
#include "util/log.h"

enum {
	GUARD_US = 5000,
	DEFAULT_MS = 5000,
	ATTEMPTS = 8 /* at a thread that looks alive and ours to have */
};

static sigjmp_buf guard_jump;
static volatile sig_atomic_t guard_armed;

static void on_alarm(int sig)
{
	(void)sig;
	if (guard_armed) {
		guard_armed = 0;
		siglongjmp(guard_jump, 1);
	}
}

void attach_init(void)
{
	struct sigaction sa = { .sa_handler = on_alarm,
				.sa_flags = SA_RESTART | SA_NODEFER };

	sigaction(SIGALRM, &sa, NULL);
}

static void guard_timer(long us)
{
	struct itimerval it = { { 0, us }, { 0, us } };

	setitimer(ITIMER_REAL, &it, NULL);
}

/* -EAGAIN: the kernel would have kept us waiting. */
static int seize_guarded(struct victim *v, pid_t tid)
{
	int rc;

	if (sigsetjmp(guard_jump, 0)) /* SA_NODEFER: there is no mask to restore */
		return -EAGAIN;
	guard_armed = 1;
	rc = trace_seize(v->pid, tid, trace_base_options(v));
	guard_armed = 0;
	return rc;
}

static void describe_tracer(pid_t tracer, char *text, size_t size)
{
	struct procfs_stat st;

	if (procfs_stat(tracer, 0, &st))
		snprintf(text, size, "it is being traced by process %d", tracer);
	else
		snprintf(text, size, "it is being traced by %s (pid %d)", st.comm,
			 tracer);
}

static bool lives(const struct victim *v, pid_t tid)
{
	char state = lwp_proc_state(v->pid, tid);

	return state && state != 'Z' && state != 'X';
}

/* EPERM has many causes: a zombie, a thread that is ours by birth, another tracer, no
 * right. 0: ours; 1: nothing to attach to. */
static int refused(struct victim *v, pid_t tid, char *text, size_t size)
{
	struct procfs_status st;

	if (!lives(v, tid))
		return 1;
	if (procfs_status(v->pid, tid, &st))
		return 1;
	if (st.tracer == K.pid)
		return 0;
	if (!st.tracer)
		return -EPERM;
	describe_tracer(st.tracer, text, size);
	return -EBUSY;
}

/* We have waited in SEIZE while tid exec'd, and have seized what bears the tid of the
 * leader now; no thread of that id is left, not even a dead one that nobody has reaped.
 * What we knew of the leader is of another, which has gone without a word. */
static bool has_become_leader(const struct victim *v, pid_t tid)
{
	return tid != v->pid && syscall(SYS_tgkill, v->pid, tid, 0) && errno == ESRCH;
}

static struct lwp *new_member(struct victim *v, pid_t tid)
{
	struct lwp *old;

	if (has_become_leader(v, tid)) {
		log_at(LOG_KEEP, 1, v->pid, tid, "has exec'd and is the leader now");
		tid = v->pid;
		old = victim_lwp(v, tid);
		if (old)
			lwp_free(old);
	}
	return lwp_new(v, tid, LWP_MEMBER);
}

static int adopt(struct victim *v, pid_t tid)
{
	struct lwp *l = new_member(v, tid);
	struct wait_event ev;

	if (!l)
		return -ENOMEM;
	if (!v->nostop) {
		l->holds |= HOLD_ALLSTOP;
		restart_look(l);
		trace_interrupt(l);
	}
	if (wait_claim(l->tid, &ev))
		stops_react(l, ev.status);
	return 0;
}

/*
 * While a thread that is not the leader execs, the leader is a zombie, and the next
 * moment its tid is that thread's (de_thread(), 6.18): what refused the SEIZE is then
 * gone when /proc is asked why. So a refusal that nothing explains is believed only when
 * it is repeated.
 */
static int try_seize(struct victim *v, pid_t tid, char *text, size_t size)
{
	int rc = -EPERM;

	for (int i = 0; i < ATTEMPTS && rc == -EPERM; i++) {
		rc = seize_guarded(v, tid);
		if (rc == -EPERM)
			rc = refused(v, tid, text, size);
	}
	return rc;
}

/* 1: a new LWP; 0: nothing there to attach to; -EAGAIN: again later. */
static int seize_one(struct victim *v, pid_t tid, char *text, size_t size)
{
	int rc = try_seize(v, tid, text, size);

	if (rc == 1 || rc == -ESRCH)
		return 0;
	if (!rc)
		rc = adopt(v, tid);
	return rc < 0 ? rc : 1;
}

/* One pass over the thread list: how many were new. */
static int seize_listed(struct victim *v, char *text, size_t size)
{
	pid_t *tids;
	size_t n;
	int rc = procfs_tids(v->pid, &tids, &n), found = 0;

	if (rc)
		return rc;
	v->crowded = true;
	for (size_t i = 0; i < n && rc >= 0; i++) {
		if (lwp_find(tids[i]))
			continue;
		rc = seize_one(v, tids[i], text, size);
		if (rc > 0)
			found++;
	}
	free(tids);
	return rc < 0 ? rc : found;
}

static int seize_all(struct victim *v, char *text, size_t size)
{
	int rc = 0, quiet = 0;

	if (!lwp_find(v->pid))
		rc = seize_one(v, v->pid, text, size);
	while (rc >= 0 && quiet < 2) {
		if (v->nlwps && procfs_nlwp(v->pid) == (int)v->nlwps)
			break;
		rc = seize_listed(v, text, size);
		quiet = rc == 0 ? quiet + 1 : 0;
		if (v->deadline && clock_mono() > v->deadline)
			return -ETIMEDOUT;
	}
	if (rc >= 0 && !v->nlwps)
		return -ESRCH;
	return rc < 0 ? rc : 0;
}

/* The pid may have been recycled between the client's look and our SEIZE: its pidfd
 * tells. */
static bool same_process(const struct victim *v)
{
	return v->pidfd < 0 || procfs_pidfd_alive(v->pidfd) || v->nlwps > 1;
}

/* Another record of the same process: one that holds it, or one that is letting it go. */
static struct victim *other_record(const struct victim *v)
{
	struct victim *o = K.victims;

	while (o && (o == v || o->pid != v->pid || o->ended || o->phase == V_IDLE))
		o = o->next;
	return o;
}

/* One of its threads may be in the middle of an exec, which for a moment leaves none that
 * can be found: its pidfd knows. (If that is of this process: the client's word.) */
static bool is_there(const struct victim *v)
{
	return v->pidfd >= 0 && procfs_pidfd_alive(v->pidfd) &&
	       (!kill(v->pid, 0) || errno == EPERM);
}

void attach_continue(struct victim *v)
{
	char text[KP_TEXT] = "";
	int rc;

	/* Not before the last of its threads has been let go: it would be missed here,
	 * and run untraced into our breakpoints. */
	if (other_record(v))
		return;

	guard_timer(GUARD_US);
	rc = seize_all(v, text, sizeof(text));
	guard_timer(0);
	if (rc == -ESRCH && is_there(v))
		rc = -EAGAIN;
	if (rc == -EAGAIN)
		return; /* at the next tick */
	if (!rc && !same_process(v))
		rc = -ESRCH;
	if (rc) {
		if (rc == -ETIMEDOUT)
			snprintf(text, sizeof(text),
				 "threads are born faster than they can be attached");
		attach_fail(v, rc, text);
		return;
	}
	v->seized = true;
	if (!v->nostop)
		victim_check_stopped(v);
	else if (attach_is_whole(v))
		attach_done(v);
}

/* A thread that we seized in the middle of a clone had been asked before whether it is
 * traced (kernel_clone(), 6.18): the new one is nobody's, may have come after our last
 * look, and would run into our breakpoints. Once all stand no more come. */
static bool has_newborn(const struct victim *v)
{
	bool found = false;
	pid_t *tids;
	size_t n;

	if (procfs_nlwp(v->pid) == (int)v->nlwps || procfs_tids(v->pid, &tids, &n))
		return false;
	for (size_t i = 0; i < n && !found; i++)
		found = !lwp_find(tids[i]) && lives(v, tids[i]);
	free(tids);
	return found;
}

/*
 * A thread that we had not seized yet may exec: it takes the tid of the leader, which we
 * had, and the kernel unlinks that from us without a word (de_thread(), 6.18). What
 * bears the tid then is nobody's, would run into our breakpoints, and is to be seized.
 */
bool attach_is_whole(struct victim *v)
{
	struct lwp *l = victim_lwp(v, v->pid);
	struct procfs_status st;

	if (!v->nostop && has_newborn(v)) {
		log_at(LOG_KEEP, 1, v->pid, 0, "a thread has been born unseen");
		v->seized = false;
		return false;
	}
	if (!l || (l->state == LWP_STOPPED && !v->crowded))
		return true; /* nobody else was there to exec */
	if (procfs_status(v->pid, v->pid, &st) || st.tracer == K.pid)
		return true;
	log_at(LOG_KEEP, 1, v->pid, v->pid, "another thread has exec'd in its place");
	lwp_free(l);
	v->seized = false;
	return false;
}

void attach_late(struct victim *v)
{
	char text[KP_TEXT];

	if (v->seized)
		late_say_moving(v, text, sizeof(text));
	else if (other_record(v))
		snprintf(text, sizeof(text),
			 "we have not let go of all its threads since the last time");
	else
		snprintf(text, sizeof(text),
			 "the kernel does not let us attach while thread %d is in execve",
			 late_find_exec(v->pid));
	attach_fail(v, -ETIMEDOUT, text);
}

static void send_attached(struct victim *v, int err, const char *text)
{
	struct kp_attached a;
	struct lwp *l = victim_lwp(v, v->pid);

	memset(&a, 0, sizeof(a));
	for (struct lwp *m = v->lwps; m && (!l || l->state != LWP_STOPPED); m = m->next)
		l = m;
	a.r.h = v->req;
	a.r.h.len = sizeof(a);
	a.r.err = err;
	a.r.value = (int)v->nlwps;
	snprintf(a.r.text, sizeof(a.r.text), "%s", text);
	a.stop = event_make(v, err || v->nostop ? NULL : l, KP_EV_STOPPED);
	a.stop.why = KP_WHY_REQUESTED;
	a.stop.sig = v->outstop;
	v->req.len = 0;
	reply_raw(v, &a, sizeof(a));
}

void attach_done(struct victim *v)
{
	v->phase = V_HELD;
	v->why = KP_WHY_REQUESTED;
	v->why_tid = v->pid;
	v->deadline = 0;
	if (v->pidfd >= 0 && victim_lwp(v, v->pid)) {
		close(v->pidfd);
		v->pidfd = -1;
	}
	log_at(LOG_KEEP, 1, v->pid, 0, "attached to %u LWPs", v->nlwps);
	send_attached(v, 0, "");
}

void attach_fail(struct victim *v, int err, const char *text)
{
	log_at(LOG_KEEP, 1, v->pid, 0, "attach failed: %s %s", strerror(-err), text);
	send_attached(v, err, text);
	v->phase = V_HELD;
	release_begin(v, KP_RELEASE_RUN, NULL);
}

static void attach_child(struct victim *v)
{
	int rc = trace_seize(v->pid, v->pid, trace_base_options(v));

	if (!rc && !lwp_new(v, v->pid, LWP_MEMBER))
		rc = -ENOMEM;
	if (rc) {
		attach_fail(v, rc, "");
		return;
	}
	v->creating = v->nostop = true;
	attach_done(v);
}

static bool held_already(const struct victim *v)
{
	const struct victim *o = other_record(v);

	return o && (o->phase == V_HELD || o->phase == V_ATTACHING);
}

void attach_begin(struct victim *v, const struct kp_attach *req, int pidfd)
{
	uint32_t ms = req->deadline_ms ? req->deadline_ms : DEFAULT_MS;

	v->pid = req->pid;
	v->pidfd = pidfd;
	v->req = req->h;
	v->phase = V_ATTACHING;
	v->klc = req->flags & KP_ATTACH_KLC;
	v->uprobes = false;
	v->patience_ms = req->question_ms;
	v->deadline = clock_mono() + ms * 1000000ull;
	if (req->flags & KP_ATTACH_CHILD) {
		attach_child(v);
		return;
	}
	if (req->flags & KP_ATTACH_ADOPT) {
		follow_adopt(v);
		return;
	}
	if (held_already(v)) {
		attach_fail(v, -EBUSY, "this process holds it already");
		return;
	}
	v->nostop = req->flags & KP_ATTACH_NOSTOP;
	v->stopping = !v->nostop;
	attach_continue(v);
}
