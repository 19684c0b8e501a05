/* SPDX-License-Identifier: MIT */
/* The client under fire: see session.h. */
#include "stress/session.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dtrace.h"
#include "stress/stress.h"

const char *const client_phase_name[PHASE_N] = { "open", "take", "plant", "go",
						 "hits", "stop", "clear", "release" };

/* The client's own; one a process. */
static struct {
	struct board *board;
	enum client_bkpts bkpts;
	struct ps_prochandle *P;
	dt_bkpt_t *leaf; /* removed in between */
} me;

static void enter(enum client_phase phase)
{
	atomic_store(&me.board->phase, (int)phase);
}

static void on_hit(dtrace_hdl_t *s, struct ps_prochandle *P, pid_t tid,
		   const prgregset_t regs, void *arg)
{
	(void)s, (void)P, (void)tid, (void)regs, (void)arg;
	atomic_fetch_add(&me.board->hits, 1);
}

static dt_bkpt_t *plant(dtrace_hdl_t *s, const char *name)
{
	GElf_Sym sym;

	if (Plookup_by_name(me.P, PR_OBJ_EXEC, name, &sym))
		return NULL;
	return dt_proc_bpcreate(s, me.P, (uintptr_t)sym.st_value, on_hit, NULL);
}

static void plant_all(dtrace_hdl_t *s)
{
	if (me.bkpts != CLIENT_WITH_BKPTS || !me.P)
		return;
	plant(s, "unit");
	me.leaf = plant(s, "leaf");
}

static void on_event(const dtrace_procev_t *ev, void *arg)
{
	atomic_fetch_add(&me.board->events, 1);
	if (ev->kind == DT_PROC_EV_EXEC && ev->P == me.P)
		plant_all(arg);
}

static void on_notice(struct ps_prochandle *P, const char *text, void *arg)
{
	(void)P, (void)arg;
	if (!text)
		atomic_store(&me.board->gone, 1);
}

static dtrace_hdl_t *open_session(void)
{
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);

	if (!s)
		_exit(3);
	dtrace_handle_proc(s, on_notice, NULL);
	dtrace_handle_procev(s, on_event, s);
	return s;
}

/* News for so many milliseconds. */
static void listen_for(dtrace_hdl_t *s, int ms)
{
	int64_t end = harness_now_ms() + ms;

	while (harness_now_ms() < end && !atomic_load(&me.board->gone)) {
		struct pollfd p = { .fd = dtrace_notify_fd(s), .events = POLLIN };

		poll(&p, 1, 1);
		dtrace_dispatch(s);
	}
}

static void stop_and_go(dtrace_hdl_t *s)
{
	dt_proc_lock(s, me.P);
	if (!Pstop(me.P, 20) && Pstate(me.P) == PS_STOP)
		Psetrun(me.P, 0, 0);
	dt_proc_unlock(s, me.P);
}

static void hold_for_a_while(dtrace_hdl_t *s)
{
	enter(PHASE_PLANT);
	plant_all(s);
	enter(PHASE_GO);
	dtrace_proc_continue(s, me.P);
	enter(PHASE_HITS);
	listen_for(s, 3);
	enter(PHASE_STOP);
	stop_and_go(s);
	enter(PHASE_CLEAR);
	if (me.leaf)
		dt_proc_bpdestroy(s, me.P, me.leaf);
	me.leaf = NULL;
	enter(PHASE_HITS);
	listen_for(s, 2);
}

/* A grab fails when the victim has just ended, and when its keeper has just been
 * killed. */
static void serve(dtrace_hdl_t *s, pid_t victim)
{
	while (!atomic_load(&me.board->gone) && !atomic_load(&me.board->let_go)) {
		enter(PHASE_TAKE);
		me.P = dtrace_proc_grab(s, victim, 0);
		if (!me.P)
			continue;
		hold_for_a_while(s);
		enter(PHASE_RELEASE);
		dtrace_proc_release(s, me.P);
		me.P = NULL;
	}
}

static void begin(struct board *b, enum client_bkpts bkpts)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	me.board = b;
	me.bkpts = bkpts;
	if (bkpts == CLIENT_WITHOUT_EVENTS)
		harness_refuse(SYS_perf_event_open);
	enter(PHASE_OPEN);
}

pid_t client_of(struct board *b, pid_t victim, enum client_bkpts bkpts)
{
	pid_t pid = fork();
	dtrace_hdl_t *s;

	if (pid)
		return pid;
	begin(b, bkpts);
	s = open_session();
	serve(s, victim);
	dtrace_close(s);
	_exit(0);
}

pid_t client_that_stays(struct board *b, pid_t victim, enum client_bkpts bkpts)
{
	pid_t pid = fork();
	dtrace_hdl_t *s;

	if (pid)
		return pid;
	begin(b, bkpts);
	s = open_session();
	me.P = dtrace_proc_grab(s, victim, 0);
	if (!me.P)
		_exit(3);
	plant_all(s);
	dtrace_proc_continue(s, me.P);
	enter(PHASE_HITS);
	while (!atomic_load(&b->let_go))
		listen_for(s, 3);
	dtrace_close(s);
	_exit(0);
}

static struct ps_prochandle *create(dtrace_hdl_t *s, int fd)
{
	static const char *const point[] = { "exec", "preinit", "postinit", "main" };
	char number[16], path[4096], *argv[] = { (char *)"stress_work", number, NULL };

	snprintf(number, sizeof(number), "%d", fd);
	snprintf(path, sizeof(path), "%s", victim_path("stress_work"));
	dtrace_setopt(s, "evaltime", point[stress_random(4)]);
	return dtrace_proc_create(s, path, argv);
}

/* One victim after the other; each is killed by its release. */
pid_t client_with_child(struct board *b, int fd, enum client_bkpts bkpts)
{
	pid_t pid = fork();
	dtrace_hdl_t *s;

	if (pid)
		return pid;
	begin(b, bkpts);
	for (;;) {
		enter(PHASE_OPEN);
		s = open_session();
		enter(PHASE_TAKE);
		me.P = create(s, fd);
		if (!me.P)
			_exit(4);
		hold_for_a_while(s);
		enter(PHASE_RELEASE);
		dtrace_close(s);
		me.P = NULL;
		me.leaf = NULL;
	}
}

/* The same option as `pgrab run --keep-running`. */
pid_t client_that_keeps(struct board *b, int fd)
{
	pid_t pid = fork();
	dtrace_hdl_t *s;

	if (pid)
		return pid;
	begin(b, CLIENT_WITH_BKPTS);
	s = open_session();
	dtrace_setopt(s, "keeprunning", "on");
	enter(PHASE_TAKE);
	me.P = create(s, fd);
	if (!me.P)
		_exit(4);
	while (!atomic_load(&b->gone))
		hold_for_a_while(s);
	dtrace_close(s);
	_exit(0);
}

pid_t client_victim(struct board *b, int fd)
{
	const char *path = victim_path("stress_work");
	char number[16], *argv[] = { (char *)"stress_work", number, NULL };
	pid_t pid;

	atomic_store(&b->tied, 1);
	snprintf(number, sizeof(number), "%d", fd);
	pid = fork();
	assert_int_above(pid, -1);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(path, argv);
	_exit(127);
}

void client_await(const struct board *b, enum client_phase phase)
{
	int64_t end = harness_now_ms() + harness_ms(100);

	while (atomic_load(&b->phase) != (int)phase && harness_now_ms() < end)
		sched_yield();
}
