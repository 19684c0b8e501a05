/* SPDX-License-Identifier: MIT */
/*
 * The life of victims as a session tells it: events and their order, breakpoints with a
 * callback, execs, stops by somebody else, and what becomes of victims when their host is
 * killed.
 */
#include <pthread.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "live/session_test.h"

/* --- recording ---------------------------------------------------------------------- */

enum {
	MAX_EVENTS = 20000
};

/* Everything that was told. */
struct record {
	size_t n; /* events */
	struct {
		dtrace_procev_kind_t kind;
		pid_t pid;
		int sig, status;
		pid_t child, tid;
		char object[128];
	} ev[MAX_EVENTS];
	uint64_t missed;      /* in all */
	struct timespec last; /* time of the last one */
	bool backwards;       /* times have decreased */
};

static void note_event(const dtrace_procev_t *ev, void *arg)
{
	struct record *r = arg;

	check(r->n < MAX_EVENTS);
	r->ev[r->n].kind = ev->kind;
	r->ev[r->n].pid = ev->pid;
	r->ev[r->n].tid = ev->tid;
	r->ev[r->n].sig = ev->sig;
	r->ev[r->n].child = ev->child;
	r->ev[r->n].status = ev->status;
	snprintf(r->ev[r->n].object, sizeof(r->ev[0].object), "%s", ev->object ?: "");
	r->n++;
	r->missed += ev->missed;
	if (ev->time.tv_sec < r->last.tv_sec ||
	    (ev->time.tv_sec == r->last.tv_sec && ev->time.tv_nsec < r->last.tv_nsec))
		r->backwards = true;
	r->last = ev->time;
}

static size_t count(const struct record *r, dtrace_procev_kind_t kind)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += r->ev[i].kind == kind;
	return n;
}

static struct record *new_record(void)
{
	struct record *r = calloc(1, sizeof(*r));

	check(r);
	return r;
}

/* Sleeps and delivers until there are so many of that kind. */
static void await_events(dtrace_hdl_t *dtp, struct record *r, dtrace_procev_kind_t kind,
			 size_t n)
{
	long end = now_ms() + 20000;

	while (count(r, kind) < n && now_ms() < end)
		dtrace_sleep(dtp);
	check(count(r, kind) >= n);
}

static bool told_object(const struct record *r, dtrace_procev_kind_t kind,
			const char *part)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->ev[i].kind == kind && strstr(r->ev[i].object, part))
			return true;
	return false;
}

/* --- life --------------------------------------------------------------------------- */

static void the_life_of_a_created_victim(void)
{
	struct record *r = new_record();
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;

	listen_to_victims();
	check_eq(dtrace_handle_procev(dtp, note_event, r), 0);
	check_eq(dtrace_handle_procev(dtp, note_event, r), -1);
	P = must(dtp, create(dtp, "session_victim", "threads", "3", NULL));
	dtrace_proc_continue(dtp, P);
	await_events(dtp, r, DT_PROC_EV_EXIT, 1);
	check_eq(r->ev[0].kind, DT_PROC_EV_CREATE);
	check_eq(r->ev[1].kind, DT_PROC_EV_DLOPEN);
	check(strstr(r->ev[1].object, "/session_victim"));
	check(told_object(r, DT_PROC_EV_DLOPEN, "[vdso]"));
	check(told_object(r, DT_PROC_EV_DLOPEN, "/libc.so"));
	check(told_object(r, DT_PROC_EV_DLOPEN, "/ld-linux"));
	check_eq(count(r, DT_PROC_EV_THREAD_START), 3);
	check_eq(count(r, DT_PROC_EV_THREAD_EXIT), 3);
	check_eq(r->ev[r->n - 1].kind, DT_PROC_EV_EXIT);
	check_eq(r->ev[r->n - 1].status, 0);
	check(!r->backwards);
	dtrace_close(dtp);
	stop_listening();
	free(r);
}

static void a_static_victim_has_its_objects_told(void)
{
	struct record *r = new_record();
	dtrace_hdl_t *dtp = session("preinit");

	listen_to_victims();
	dtrace_handle_procev(dtp, note_event, r);
	dtrace_proc_continue(dtp, must(dtp, create(dtp, "session_victim-static", NULL)));
	await_events(dtp, r, DT_PROC_EV_EXIT, 1);
	check_eq(count(r, DT_PROC_EV_DLOPEN), 2);
	check(strstr(r->ev[1].object, "session_victim-static"));
	check_str(r->ev[2].object, "[vdso]");
	dtrace_close(dtp);
	stop_listening();
	free(r);
}

static void a_victim_killed_at_exec_has_its_objects_told(void)
{
	struct record *r = new_record();
	dtrace_hdl_t *dtp = session("exec");
	struct ps_prochandle *P;

	dtrace_handle_procev(dtp, note_event, r);
	P = must(dtp, create(dtp, "session_victim", NULL));
	kill(Pgetpid(P), SIGKILL);
	await_events(dtp, r, DT_PROC_EV_EXIT, 1);
	check_eq(count(r, DT_PROC_EV_DLOPEN), 3);
	check(told_object(r, DT_PROC_EV_DLOPEN, "/ld-linux"));
	dtrace_close(dtp);
	free(r);
}

static void every_dlopen_and_dlclose_is_told(void)
{
	enum {
		N = 50
	};
	struct record *r = new_record();
	dtrace_hdl_t *dtp = session("preinit");
	struct ps_prochandle *P;

	listen_to_victims();
	dtrace_handle_procev(dtp, note_event, r);
	P = must(dtp, create(dtp, "session_victim", "dlopen", "libz.so.1", "50", NULL));
	dtrace_proc_continue(dtp, P);
	await_events(dtp, r, DT_PROC_EV_EXIT, 1);
	if (r->ev[r->n - 1].status == 1 << 8)
		skip_test("there is no libz.so.1");
	check_eq(r->ev[r->n - 1].status, 0);
	check_eq(count(r, DT_PROC_EV_DLCLOSE), N);
	check(told_object(r, DT_PROC_EV_DLCLOSE, "/libz.so.1"));
	dtrace_close(dtp);
	stop_listening();
	free(r);
}

static void a_grab_tells_what_is_there(void)
{
	struct grabbee v = grabbee_start("wait", NULL);
	struct record *r = new_record();
	dtrace_hdl_t *dtp = session("main");

	grabbee_line(&v);
	grabbee_line(&v);
	dtrace_handle_procev(dtp, note_event, r);
	must(dtp, dtrace_proc_grab(dtp, v.pid, 0));
	await_events(dtp, r, DT_PROC_EV_DLOPEN, 4);
	check(strstr(r->ev[0].object, "/session_victim"));
	check(told_object(r, DT_PROC_EV_DLOPEN, "[vdso]"));
	check_eq(count(r, DT_PROC_EV_CREATE), 0);
	dtrace_close(dtp);
	check_eq(grabbee_wait(&v), 0);
	free(r);
}

static void order_of_time_over_many_victims(void)
{
	enum {
		N = 8
	};
	struct record *r = new_record();
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P[N];

	listen_to_victims();
	dtrace_handle_procev(dtp, note_event, r);
	for (int i = 0; i < N; i++)
		P[i] = must(dtp, create(dtp, "session_victim", "spam", "500", NULL));
	for (int i = 0; i < N; i++)
		dtrace_proc_continue(dtp, P[i]);
	await_events(dtp, r, DT_PROC_EV_EXIT, N);
	check(!r->backwards);
	check_eq(count(r, DT_PROC_EV_SIGNAL) + r->missed, N * 500);
	dtrace_close(dtp);
	stop_listening();
	free(r);
}

static void somebody_elses_stop_is_told_and_kept(void)
{
	struct grabbee v = grabbee_start("pause", NULL);
	struct record *r = new_record();
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;

	grabbee_line(&v);
	grabbee_line(&v);
	dtrace_handle_procev(dtp, note_event, r);
	P = must(dtp, dtrace_proc_grab(dtp, v.pid, 0));
	dtrace_proc_continue(dtp, P);
	check_soon(Pstate(P) == PS_RUN);
	kill(v.pid, SIGSTOP);
	await_events(dtp, r, DT_PROC_EV_STOP, 1);
	check_eq(Pstate(P), PS_STOP);
	check_eq(dt_proc_stops(dtp, P) & DT_PROC_STOP_IDLE, 0);
	kill(v.pid, SIGCONT);
	await_events(dtp, r, DT_PROC_EV_CONTINUE, 1);
	check_soon(Pstate(P) == PS_RUN);
	kill(v.pid, SIGTSTP);
	await_events(dtp, r, DT_PROC_EV_STOP, 2);
	check_eq(r->ev[r->n - 1].sig, SIGTSTP);
	dtrace_proc_release(dtp, P);
	check_soon(process_state(v.pid) == 'T');
	dtrace_close(dtp);
	grabbee_end(&v);
	free(r);
}

static void a_created_victim_that_is_stopped_survives_close(void)
{
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P = must(dtp, create(dtp, "session_victim", "pause", NULL));
	pid_t pid = Pgetpid(P);

	dtrace_proc_continue(dtp, P);
	check_soon(Pstate(P) == PS_RUN);
	kill(pid, SIGSTOP);
	check_soon(Pstate(P) == PS_STOP);
	dtrace_close(dtp);
	check_soon(process_state(pid) == 'T');
	kill(pid, SIGKILL);
	check_eq(waitpid(pid, NULL, 0), pid);
}

/* --- a client that stands still ----------------------------------------------------- */

/* A host that watches a victim's dlopens; says what it has been told when the victim
 * has gone. */
static void be_a_watcher(int fd)
{
	struct record *r = new_record();
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;
	size_t told[2];
	pid_t pid;

	dtrace_handle_procev(dtp, note_event, r);
	P = must(dtp, create(dtp, "session_victim", "dlopen", "libz.so.1", "3000", NULL));
	pid = Pgetpid(P);
	check_eq(write(fd, &pid, sizeof(pid)), sizeof(pid));
	dtrace_proc_continue(dtp, P);
	await_events(dtp, r, DT_PROC_EV_EXIT, 1);
	told[0] = count(r, DT_PROC_EV_DLOPEN) - count(r, DT_PROC_EV_DLCLOSE);
	told[1] = r->ev[r->n - 1].status == 0;
	check_eq(write(fd, told, sizeof(told)), sizeof(told));
	dtrace_close(dtp);
	free(r);
	_exit(0);
}

/* While the client is stopped its victim runs to its end; then the client catches up. */
static void a_stopped_client_does_not_freeze_its_victim(void)
{
	size_t told[2];
	int fds[2], status;
	pid_t host, victim;

	listen_to_victims();
	check(!pipe2(fds, O_CLOEXEC));
	host = fork();
	if (!host)
		be_a_watcher(fds[1]);
	check_eq(read(fds[0], &victim, sizeof(victim)), sizeof(victim));
	usleep(20000);
	kill(host, SIGSTOP);
	check_soon(process_state(victim) == 'Z');
	kill(host, SIGCONT);
	check_eq(read(fds[0], told, sizeof(told)), sizeof(told));
	check(told[1]);
	check(told[0] >= 3 &&
	      told[0] <= 6); /* what was there at the start, and libz at most */
	check_eq(waitpid(host, &status, 0), host);
	check_eq(status, 0);
	close(fds[0]);
	close(fds[1]);
	stop_listening();
}

/* --- exec --------------------------------------------------------------------------- */

static void count_hit(dtrace_hdl_t *dtp, struct ps_prochandle *P, pid_t tid,
		      const prgregset_t regs, void *arg)
{
	__atomic_fetch_add((long *)arg, 1, __ATOMIC_RELAXED);
}

static uintptr_t symbol(struct ps_prochandle *P, const char *name)
{
	GElf_Sym sym;

	check_eq(Plookup_by_name(P, PR_OBJ_EXEC, name, &sym), 0);
	return sym.st_value;
}

static void an_exec_drops_breakpoints_and_is_watched_anew(void)
{
	struct record *r = new_record();
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;
	dt_bkpt_t *bp;
	long hits = 0;
	char *next;

	listen_to_victims();
	dtrace_handle_procev(dtp, note_event, r);
	next = strdup(victim_path("session_victim-nopie"));
	P = must(dtp,
		 create(dtp, "session_victim", "exec", next, "beat", "100", "1", NULL));
	free(next);
	bp = dt_proc_bpcreate(dtp, P, symbol(P, "beat"), count_hit, &hits);
	check(bp);
	dtrace_proc_continue(dtp, P);
	await_events(dtp, r, DT_PROC_EV_EXIT, 1);
	check_eq(r->ev[r->n - 1].status, 0);
	check_eq(count(r, DT_PROC_EV_EXEC), 1);
	check(told_object(r, DT_PROC_EV_EXEC, "/session_victim-nopie"));
	check(told_object(r, DT_PROC_EV_DLOPEN, "/session_victim-nopie"));
	check_eq(hits, 0);
	check_eq(dt_proc_bphits(bp), 0);
	dt_proc_bpdestroy(dtp, P, bp);
	dtrace_close(dtp);
	stop_listening();
	free(r);
}

static uid_t nobody(void)
{
	const struct passwd *pw = getpwnam("nobody");

	if (geteuid() || !pw || prctl(PR_CAPBSET_READ, CAP_SETUID, 0, 0, 0) != 1)
		skip_test("needs root, its right to become another, and nobody");
	return pw->pw_uid;
}

/* A copy of the victim with another mode, where everybody may execute it. */
/* A folder that everybody may enter, with the victim, and with the keeper, since the
 * build may lie where only its owner may look. */
static const char *copy_victim(mode_t mode)
{
	static char path[64];
	char command[8192];

	strcpy(path, "/tmp/session_victim.XXXXXX");
	check(mkdtemp(path));
	check(!chmod(path, 0755));
	strcat(path, "/v");
	snprintf(command, sizeof(command), "cp '%s' %s", victim_path("session_victim"),
		 path);
	check_eq(system(command), 0);
	check(!chmod(path, mode));
	if (getenv("PGRAB_KEEPER")) {
		snprintf(command, sizeof(command), "cp '%s' %.*s/pgrab-keeper",
			 getenv("PGRAB_KEEPER"), (int)strlen(path) - 2, path);
		check_eq(system(command), 0);
	}
	return path;
}

static const char *keeper_beside(const char *path)
{
	static char keeper[96];

	snprintf(keeper, sizeof(keeper), "%.*s/pgrab-keeper", (int)strlen(path) - 2,
		 path);
	return keeper;
}

static void remove_copy(const char *path)
{
	char dir[64];

	snprintf(dir, sizeof(dir), "%.*s", (int)strlen(path) - 2, path);
	unlink(keeper_beside(path));
	unlink(path);
	rmdir(dir);
}

static void drop_privileges(uid_t uid)
{
	check(!setgid(uid) && !setuid(uid));
}

/* Runs fn in a child that is nobody; the session tests' own process stays root. */
static void as_nobody(void (*fn)(const char *), const char *path)
{
	uid_t uid = nobody();
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (getenv("PGRAB_KEEPER"))
			setenv("PGRAB_KEEPER", keeper_beside(path), 1);
		drop_privileges(uid);
		fn(path);
		_exit(0);
	}
	check_eq(waitpid(pid, &status, 0), pid);
	check_eq(status, 0);
}

/* *ret_status: of its end; NULL when that is not told, and may come any time. */
static void exec_by_nobody(const char *path, struct notices *n, struct record *r,
			   int *ret_status)
{
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;

	dtrace_handle_proc(dtp, note, n);
	dtrace_handle_procev(dtp, note_event, r);
	P = dtrace_proc_create(dtp, "/usr/bin/env",
			       (char *[]){ (char *)"env", (char *)path, NULL });
	dtrace_proc_continue(dtp, must(dtp, P));
	await_gone(dtp, n, 1);
	if (ret_status)
		*ret_status = Pstatus(P) ? Pstatus(P)->pr_exitstatus : -1;
	dtrace_close(dtp);
}

static void meets_set_id(const char *path)
{
	struct notices n = { 0 };
	struct record *r = new_record();
	int status;

	exec_by_nobody(path, &n, r, &status);
	check_eq(n.texts, 1);
	check(strstr(n.text,
		     " exec'd a set-id program, which runs without its privileges "
		     "because it is controlled"));
	check_eq(status, 3 << 8);
	check_eq(count(r, DT_PROC_EV_LOST), 0);
}

static void meets_unreadable(const char *path)
{
	struct notices n = { 0 };
	struct record *r = new_record();

	exec_by_nobody(path, &n, r, NULL);
	check_eq(n.texts, 0);
	check_eq(count(r, DT_PROC_EV_LOST), 1);
	check_eq(count(r, DT_PROC_EV_EXIT), 0);
}

static void a_set_id_program_runs_without_its_privileges(void)
{
	const char *path = copy_victim(04755);

	as_nobody(meets_set_id, path);
	remove_copy(path);
}

/* Created, not execed by another program: said once, in the same words. Breaks when only
 * an exec event is looked at. */
static void creates_set_id(const char *path)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("main");
	char *argv[] = { (char *)path, NULL };
	char text[200];
	struct ps_prochandle *P;

	dtrace_handle_proc(dtp, note, &n);
	P = must(dtp, dtrace_proc_create(dtp, path, argv));
	snprintf(text, sizeof(text),
		 "pid %d exec'd a set-id program, which runs without its privileges "
		 "because it is controlled",
		 (int)Pgetpid(P));
	dtrace_proc_continue(dtp, P);
	await_gone(dtp, &n, 1);
	check_eq(n.texts, 1);
	check_str(n.text, text);
	check_eq(Pstatus(P)->pr_exitstatus, 3 << 8);
	dtrace_close(dtp);
}

static void a_created_set_id_program_is_said(void)
{
	const char *path = copy_victim(04755);

	as_nobody(creates_set_id, path);
	remove_copy(path);
}

static void an_unreadable_program_is_lost(void)
{
	const char *path = copy_victim(0711);

	as_nobody(meets_unreadable, path);
	remove_copy(path);
}

static void creates_unreadable(const char *path)
{
	dtrace_hdl_t *dtp = session("main");
	char *argv[] = { (char *)path, NULL };
	struct ps_prochandle *P = dtrace_proc_create(dtp, path, argv);

	check(!P);
	check(strstr(dtrace_errmsg(dtp, dtrace_errno(dtp)),
		     "process exec'd set-id or unobservable program"));
	check_no_child();
	dtrace_close(dtp);
}

static void an_unreadable_program_cannot_be_created(void)
{
	const char *path = copy_victim(0711);

	as_nobody(creates_unreadable, path);
	remove_copy(path);
}

/* --- breakpoints -------------------------------------------------------------------- */

static void every_hit_of_every_thread_is_counted_22(void)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;
	dt_bkpt_t *a, *b;
	long hits_a = 0, hits_b = 0;

	listen_to_victims();
	dtrace_handle_proc(dtp, note, &n);
	P = must(dtp, create(dtp, "session_victim", "beat", "300", "4", NULL));
	a = dt_proc_bpcreate(dtp, P, symbol(P, "beat"), count_hit, &hits_a);
	b = dt_proc_bpcreate(dtp, P, symbol(P, "beat"), count_hit, &hits_b);
	check(a && b);
	check(!dt_proc_bpcreate(dtp, P, 8, count_hit, NULL));
	check_eq(dtrace_errno(dtp), EDT_BKPT);
	dtrace_proc_continue(dtp, P);
	await_gone(dtp, &n, 1);
	check_eq(Pstatus(P)->pr_exitstatus, 0);
	check_eq(hits_a, 4 * 300);
	check_eq(hits_b, 4 * 300);
	check_eq(dt_proc_bphits(a), 4 * 300);
	dt_proc_bpdestroy(dtp, P, a);
	dtrace_close(dtp);
	stop_listening();
}

/* A callback that removes its own breakpoint, and makes another. */
struct once {
	dt_bkpt_t *bp; /* its own */
	long hits;     /* of it */
	long others;   /* of the one it makes */
};

static void remove_itself(dtrace_hdl_t *dtp, struct ps_prochandle *P, pid_t tid,
			  const prgregset_t regs, void *arg)
{
	struct once *o = arg;

	check_eq(regs[R_PC], symbol(P, "beat"));
	o->hits++;
	check(dt_proc_bpcreate(dtp, P, regs[R_PC], count_hit, &o->others));
	dt_proc_bpdestroy(dtp, P, o->bp);
	dtrace_proc_release(dtp, P); /* refused, and harmless */
}

static void a_callback_may_remove_its_breakpoint(void)
{
	struct notices n = { 0 };
	struct once o = { 0 };
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;

	listen_to_victims();
	dtrace_handle_proc(dtp, note, &n);
	P = must(dtp, create(dtp, "session_victim", "beat", "50", "1", NULL));
	o.bp = dt_proc_bpcreate(dtp, P, symbol(P, "beat"), remove_itself, &o);
	dtrace_proc_continue(dtp, P);
	await_gone(dtp, &n, 1);
	check_eq(Pstatus(P)->pr_exitstatus, 0);
	check_eq(o.hits, 1);
	check_eq(o.others, 49);
	dtrace_close(dtp);
	stop_listening();
}

static void breakpoints_come_and_go_while_it_runs(void)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;
	uintptr_t addr;
	long hits = 0;

	listen_to_victims();
	dtrace_handle_proc(dtp, note, &n);
	P = must(dtp, create(dtp, "session_victim", "beat", "100000000", "3", NULL));
	addr = symbol(P, "beat");
	dtrace_proc_continue(dtp, P);
	for (int i = 0; i < 100; i++) {
		dt_bkpt_t *bp = dt_proc_bpcreate(dtp, P, addr, count_hit, &hits);
		long before = __atomic_load_n(&hits, __ATOMIC_RELAXED);

		check(bp);
		check_soon(__atomic_load_n(&hits, __ATOMIC_RELAXED) > before ||
			   Pstate(P) == PS_UNDEAD);
		dt_proc_bpdestroy(dtp, P, bp);
	}
	check_eq(Pstate(P), PS_RUN);
	dtrace_close(dtp);
	stop_listening();
}

/* --- the host's death --------------------------------------------------------------- */

/* A host that holds one grabbed and one created victim; tells the latter's pid and
 * waits to be killed. */
static void be_a_host(pid_t grab, int fd)
{
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *G = must(dtp, dtrace_proc_grab(dtp, grab, 0));
	struct ps_prochandle *C = must(dtp, create(dtp, "session_victim", "pause", NULL));
	pid_t pid = Pgetpid(C);
	long hits = 0;

	check(dt_proc_bpcreate(dtp, G, symbol(G, "beat"), count_hit, &hits));
	dtrace_proc_continue(dtp, G);
	dtrace_proc_continue(dtp, C);
	check_soon(__atomic_load_n(&hits, __ATOMIC_RELAXED) > 100);
	check_eq(write(fd, &pid, sizeof(pid)), sizeof(pid));
	for (;;)
		pause();
}

static void victims_outlive_or_die_with_their_host(void)
{
	struct grabbee v = grabbee_start("beat", "300000000", "2", NULL);
	pid_t host, created = 0;
	int fds[2];

	grabbee_line(&v);
	grabbee_line(&v);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	check(!pipe2(fds, O_CLOEXEC));
	host = fork();
	if (!host)
		be_a_host(v.pid, fds[1]);
	check_eq(read(fds[0], &created, sizeof(created)), sizeof(created));
	kill(host, SIGKILL);
	check_eq(waitpid(host, NULL, 0), host);
	check_eq(waitpid(created, NULL, 0), created);
	check_soon(process_tracer(v.pid) == 0);
	usleep(50000);
	check_eq(process_state(v.pid) == 'R' || process_state(v.pid) == 'S', 1);
	grabbee_end(&v);
	while (waitpid(-1, NULL, 0) > 0) /* the keeper */
		;
	close(fds[0]);
	close(fds[1]);
}

static const struct test tests[] = {
	TEST(the_life_of_a_created_victim),
	TEST(a_static_victim_has_its_objects_told),
	TEST(a_victim_killed_at_exec_has_its_objects_told),
	TEST(every_dlopen_and_dlclose_is_told),
	TEST(a_grab_tells_what_is_there),
	TEST(order_of_time_over_many_victims),
	TEST(somebody_elses_stop_is_told_and_kept),
	TEST(a_created_victim_that_is_stopped_survives_close),
	TEST(a_stopped_client_does_not_freeze_its_victim),
	TEST(an_exec_drops_breakpoints_and_is_watched_anew),
	TEST(a_set_id_program_runs_without_its_privileges),
	TEST(a_created_set_id_program_is_said),
	TEST(an_unreadable_program_is_lost),
	TEST(an_unreadable_program_cannot_be_created),
	TEST(every_hit_of_every_thread_is_counted_22),
	TEST(a_callback_may_remove_its_breakpoint),
	TEST(breakpoints_come_and_go_while_it_runs),
	TEST(victims_outlive_or_die_with_their_host),
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
