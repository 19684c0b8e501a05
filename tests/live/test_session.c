/* SPDX-License-Identifier: MIT */
/*
 * Sessions with real victims: creating and parking, grabbing and sharing, releasing and
 * closing. The numbers in the names of some tests are those of the contract's list of
 * mistakes.
 */
#include <pthread.h>

#include "live/session_test.h"

/* --- points ------------------------------------------------------------------------- */

static const char *const programs[] = {
	"session_victim",
	"session_victim-stripped",
	"session_victim-nopie",
	"session_victim-static",
	"session_victim-static-stripped",
	"session_victim-static-pie",
	"session_victim-static-pie-stripped",
	"session_victim-musl",
	"session_victim-musl-static-stripped",
};

static void parks_at(const char *program, const char *point, const char *before,
		     const char *after)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session(point);
	struct ps_prochandle *P;

	dtrace_handle_proc(dtp, note, &n);
	P = must(dtp, create(dtp, program, NULL));
	check(parked(dtp, P));
	check_eq(Pstate(P), PS_STOP);
	check_eq(dtrace_target(dtp), Pgetpid(P));
	check_str(said(), before);
	dtrace_proc_continue(dtp, P);
	await_gone(dtp, &n, 1);
	check_str(said(), after);
	check_eq(Pstate(P), PS_UNDEAD);
	check_eq(Pstatus(P)->pr_exitstatus, 3 << 8);
	dtrace_proc_release(dtp, P);
	dtrace_close(dtp);
}

static void every_program_parks_at_every_point(void)
{
	listen_to_victims();
	for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++) {
		if (access(victim_path(programs[i]), X_OK))
			continue;
		parks_at(programs[i], "exec", "", "ctor\nmain\n");
		parks_at(programs[i], "preinit", "", "ctor\nmain\n");
		parks_at(programs[i], "postinit", "ctor\n", "main\n");
		parks_at(programs[i], "main", "ctor\n", "main\n");
	}
	stop_listening();
}

static void all_points_one_after_the_other(void)
{
	dtrace_hdl_t *dtp = session("exec");
	struct ps_prochandle *P;
	uintptr_t at;

	listen_to_victims();
	P = must(dtp, create(dtp, "session_victim", NULL));
	check_eq(dt_proc_stop(dtp, P, DT_PROC_STOP_CREATE), -1);
	check_eq(dt_proc_stop(dtp, P,
			      DT_PROC_STOP_PREINIT | DT_PROC_STOP_POSTINIT |
				      DT_PROC_STOP_MAIN),
		 0);
	dtrace_proc_continue(dtp, P);
	check_eq(dt_proc_waitpark(dtp, P, 5000), 0);
	check_eq(dt_proc_stops(dtp, P),
		 DT_PROC_STOP_IDLE | DT_PROC_STOP_POSTINIT | DT_PROC_STOP_MAIN);
	check_str(said(), "");
	dtrace_proc_continue(dtp, P);
	check_eq(dt_proc_waitpark(dtp, P, 5000), 0);
	check_eq(dt_proc_stops(dtp, P), DT_PROC_STOP_IDLE | DT_PROC_STOP_MAIN);
	check_str(said(), "ctor\n");
	at = pc(P);
	dtrace_proc_continue(dtp, P);
	check_eq(dt_proc_waitpark(dtp, P, 5000), 0);
	check_eq(dt_proc_stops(dtp, P), DT_PROC_STOP_IDLE);
	check_eq(pc(P), at); /* no instruction between */
	check_eq(dt_proc_stop(dtp, P, DT_PROC_STOP_MAIN), -1);
	check_str(said(), "");
	dtrace_proc_continue(dtp, P);
	check_eq(dt_proc_waitpark(dtp, P, 5000), -1);
	check_eq(dtrace_errno(dtp), ESRCH);
	check_str(said(), "main\n");
	dtrace_proc_release(dtp, P);
	dtrace_close(dtp);
	stop_listening();
}

static void a_program_without_main_is_parked_before_its_end_15(void)
{
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;

	if (access(victim_path("session_nolibc"), X_OK))
		skip_test("no such victim was built");
	P = must(dtp, create(dtp, "session_nolibc", NULL));
	check(parked(dtp, P));
	dtrace_proc_release(dtp, P);
	dtrace_close(dtp);
}

static void text_is_clean_while_parked(void)
{
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P = must(dtp, create(dtp, "session_victim", NULL));
	unsigned char ours = 0, theirs = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)Pgetpid(P));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	check_eq(pread(fd, &theirs, 1, (off_t)pc(P)), 1);
	check_eq(Pread(P, &ours, 1, pc(P)), 1);
	check_eq(ours, theirs);
	check(theirs != 0xcc);
	close(fd);
	dtrace_proc_release(dtp, P);
	dtrace_close(dtp);
}

/* --- failed creates ----------------------------------------------------------------- */

static void check_failed(dtrace_hdl_t *dtp, struct ps_prochandle *P, const char *format)
{
	const char *msg = dtrace_errmsg(dtp, dtrace_errno(dtp));
	int pid = 0;
	char should[256];

	check(!P);
	check_eq(dtrace_errno(dtp), EDT_PROCESS);
	sscanf(msg, "failed to control pid %d", &pid);
	snprintf(should, sizeof(should), format, pid);
	check_str(msg, should);
	check(!readable(dtrace_notify_fd(dtp), 50));
	check_eq(dtrace_dispatch(dtp), 0);
	check_no_child();
}

static void failed_creates_leave_nothing_1_2(void)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("main");

	listen_to_victims();
	dtrace_handle_proc(dtp, note, &n);
	check_failed(dtp, dtrace_proc_create(dtp, "/nonexistent", NULL),
		     "failed to execute /nonexistent: No such file or directory");
	check_failed(dtp, dtrace_proc_create(dtp, "/etc/passwd", NULL),
		     "failed to execute /etc/passwd: Permission denied");
	setenv("SESSION_CTOR", "exit", 1);
	check_failed(dtp, create(dtp, "session_victim", NULL),
		     "failed to control pid %d: process exited with status 7");
	setenv("SESSION_CTOR", "abort", 1);
	check_failed(dtp, create(dtp, "session_victim", NULL),
		     "failed to control pid %d: process died from signal 11");
	check_eq(n.gone, 0);
	check_eq(dtrace_target(dtp), 0);
	dtrace_close(dtp);
	stop_listening();
}

/* --- ends --------------------------------------------------------------------------- */

static void close_kills_what_is_parked_before_it_runs_8(void)
{
	listen_to_victims();
	for (int i = 0; i < 20; i++) {
		dtrace_hdl_t *dtp = session(i & 1 ? "preinit" : "main");
		struct ps_prochandle *P = must(dtp, create(dtp, "session_victim", NULL));

		said();
		if (i & 2)
			dtrace_proc_release(dtp, P);
		dtrace_close(dtp);
		check_str(said(), "");
		check_no_child();
	}
	stop_listening();
}

static void death_while_parked_is_noticed_at_once_10(void)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("preinit");
	struct ps_prochandle *P;
	long t;

	dtrace_handle_proc(dtp, note, &n);
	P = must(dtp, create(dtp, "session_victim", NULL));
	kill(Pgetpid(P), SIGKILL);
	t = now_ms();
	check(readable(dtrace_notify_fd(dtp), 5000));
	await_gone(dtp, &n, 1);
	check(now_ms() - t < 500);
	check(!parked(dtp, P));
	check(WIFSIGNALED(Pstatus(P)->pr_exitstatus));
	dtrace_proc_continue(dtp, P);
	dtrace_proc_release(dtp, P);
	check_eq(dtrace_dispatch(dtp), 0);
	dtrace_close(dtp);
}

static void a_handler_may_release_11(void)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("main");

	n.release = dtp;
	dtrace_handle_proc(dtp, note, &n);
	for (int i = 0; i < 5; i++)
		dtrace_proc_continue(dtp, must(dtp, create(dtp, "session_victim", NULL)));
	await_gone(dtp, &n, 5);
	check_no_child();
	check_eq(dtrace_dispatch(dtp), 0);
	dtrace_close(dtp);
}

static void notices_come_oldest_first_12(void)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P[8];

	dtrace_handle_proc(dtp, note, &n);
	for (int i = 0; i < 8; i++)
		P[i] = must(dtp, create(dtp, "session_victim", "pause", NULL));
	for (int i = 7; i >= 0; i--) {
		kill(Pgetpid(P[i]), SIGKILL);
		check_soon(Pstate(P[i]) == PS_UNDEAD);
	}
	await_gone(dtp, &n, 8);
	for (int i = 0; i < 8; i++)
		check(n.order[i] == P[7 - i]);
	dtrace_close(dtp);
}

static void second_handlers_are_refused(void)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("main");

	check_eq(dtrace_handle_proc(dtp, note, &n), 0);
	check_eq(dtrace_handle_proc(dtp, note, &n), -1);
	check_eq(dtrace_errno(dtp), EALREADY);
	dtrace_close(dtp);
}

static void sleep_ends_at_its_rate(void)
{
	dtrace_hdl_t *dtp = session("main");
	long t = now_ms();

	check_eq(dtrace_setopt(dtp, "aggrate", "50ms"), 0);
	dtrace_sleep(dtp);
	t = now_ms() - t;
	check(t >= 45 && t < 500);
	dtrace_close(dtp);
}

/* --- grabs -------------------------------------------------------------------------- */

static void a_grab_parks_and_a_release_frees(void)
{
	struct grabbee v = grabbee_start("wait", NULL);
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;

	check_str(grabbee_line(&v), "ctor");
	check_str(grabbee_line(&v), "main");
	P = must(dtp, dtrace_proc_grab(dtp, v.pid, 0));
	check(parked(dtp, P));
	check_eq(process_tracer(v.pid) > 0, 1);
	check(dtrace_proc_grab(dtp, v.pid, 0) == P);
	dtrace_proc_release(dtp, P);
	check(parked(dtp, P));
	dtrace_proc_continue(dtp, P);
	check_soon(Pstate(P) == PS_RUN);
	dtrace_proc_release(dtp, P);
	check_eq(process_tracer(v.pid), 0);
	check_soon(process_state(v.pid) == 'S');
	dtrace_close(dtp);
	check_eq(grabbee_wait(&v), 0);
}

static void a_stopped_victim_stays_stopped_19(void)
{
	struct grabbee v = grabbee_start("pause", NULL);
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;

	grabbee_line(&v);
	grabbee_line(&v);
	kill(v.pid, SIGSTOP);
	check_soon(process_state(v.pid) == 'T');
	P = must(dtp, dtrace_proc_grab(dtp, v.pid, 0));
	dtrace_proc_continue(dtp, P);
	usleep(20000);
	dtrace_proc_release(dtp, P);
	check_soon(process_state(v.pid) == 'T');
	P = must(dtp, dtrace_proc_grab(dtp, v.pid, 0));
	dtrace_close(dtp);
	check_soon(process_state(v.pid) == 'T');
	grabbee_end(&v);
}

static void an_upgrade_makes_two_handles_3_26(void)
{
	struct grabbee v = grabbee_start("pause", NULL);
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *ro, *rw;

	dtrace_handle_proc(dtp, note, &n);
	grabbee_line(&v);
	grabbee_line(&v);
	ro = must(dtp, dtrace_proc_grab(dtp, v.pid, PGRAB_RDONLY));
	check_eq(process_tracer(v.pid), 0);
	rw = must(dtp, dtrace_proc_grab(dtp, v.pid, 0));
	check(ro != rw);
	check(dt_proc_lookup(dtp, ro, 0) != dt_proc_lookup(dtp, rw, 0));
	check(dtrace_proc_grab(dtp, v.pid, PGRAB_RDONLY) == rw);
	dtrace_proc_release(dtp, rw);
	check_eq(Pstate(ro) > 0, 1);
	dtrace_proc_continue(dtp, rw);
	kill(v.pid, SIGKILL);
	check_soon(readable(dtrace_notify_fd(dtp), 0));
	dtrace_proc_release(dtp, ro); /* must not take the notice of rw along */
	check(!dt_proc_lookup(dtp, ro, 0));
	await_gone(dtp, &n, 1);
	check(n.order[0] == rw);
	dtrace_proc_release(dtp, rw);
	check_eq(dtrace_dispatch(dtp), 0);
	dtrace_close(dtp);
	grabbee_end(&v);
}

static void read_only_handles_are_cached_4_5(void)
{
	enum {
		N = 4
	};
	struct grabbee v[N];
	struct ps_prochandle *P[N];
	dtrace_hdl_t *dtp = session("main");

	check_eq(dtrace_setopt(dtp, "pgmax", "2"), 0);
	for (int i = 0; i < N; i++) {
		v[i] = grabbee_start("pause", NULL);
		grabbee_line(&v[i]);
		grabbee_line(&v[i]);
		P[i] = must(dtp, dtrace_proc_grab(dtp, v[i].pid, PGRAB_RDONLY));
	}
	dtrace_proc_release(dtp, P[0]);
	dtrace_proc_release(dtp, P[1]);
	check(dtrace_proc_grab(dtp, v[0].pid, PGRAB_RDONLY) == P[0]); /* from the cache */
	dtrace_proc_release(dtp, P[0]);
	dtrace_proc_release(dtp, P[2]); /* over the limit */
	check(!dt_proc_lookup(dtp, P[2], 0));
	check(dt_proc_lookup(dtp, P[0], 0) && dt_proc_lookup(dtp, P[1], 0));
	P[2] = must(dtp, dtrace_proc_grab(dtp, v[2].pid, PGRAB_RDONLY));
	check(!dt_proc_lookup(dtp, P[1], 0)); /* evicted: the least recently used */
	check(dt_proc_lookup(dtp, P[0], 0) && dt_proc_lookup(dtp, P[3], 0));
	grabbee_end(&v[0]);
	check(!dtrace_proc_grab(dtp, v[0].pid,
				PGRAB_RDONLY)); /* dead: not from the cache */
	check(!dt_proc_lookup(dtp, P[0], 0));
	dtrace_close(dtp);
	for (int i = 1; i < N; i++)
		grabbee_end(&v[i]);
}

static void a_cached_record_does_not_survive_an_exec_5(void)
{
	dtrace_hdl_t *dtp = session("exec"), *other = session("exec");
	struct ps_prochandle *P, *ro, *again;
	char *next;

	listen_to_victims();
	next = strdup(victim_path("session_victim"));
	P = must(other, create(other, "session_victim", "exec", next, "pause", NULL));
	free(next);
	ro = must(dtp, dtrace_proc_grab(dtp, Pgetpid(P), PGRAB_RDONLY));
	dtrace_proc_release(dtp, ro);
	check(dtrace_proc_grab(dtp, Pgetpid(P), PGRAB_RDONLY) == ro);
	dtrace_proc_continue(other, P);
	await_said("ctor\nmain\nctor\nmain\n");
	again = must(dtp, dtrace_proc_grab(dtp, Pgetpid(P), PGRAB_RDONLY));
	check(again != ro); /* ro is still referenced, and stale */
	check(dt_proc_lookup(dtp, ro, 0));
	dtrace_proc_release(dtp, ro);
	check(!dt_proc_lookup(dtp, ro, 0));
	dtrace_close(dtp);
	dtrace_close(other);
	stop_listening();
}

struct grabber {
	dtrace_hdl_t *dtp;       /* shared */
	pid_t pid;               /* whom */
	struct ps_prochandle *P; /* outcome */
};

static void *grab_it(void *arg)
{
	struct grabber *g = arg;

	g->P = dtrace_proc_grab(g->dtp, g->pid, 0);
	return NULL;
}

static void grabs_at_once_share_one_handle(void)
{
	enum {
		N = 8
	};
	struct grabbee v = grabbee_start("pause", NULL);
	dtrace_hdl_t *dtp = session("main");
	struct grabber g[N];
	pthread_t t[N];

	grabbee_line(&v);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < N; i++) {
			g[i] = (struct grabber){ dtp, v.pid, NULL };
			check(!pthread_create(&t[i], NULL, grab_it, &g[i]));
		}
		for (int i = 0; i < N; i++)
			pthread_join(t[i], NULL);
		for (int i = 0; i < N; i++) {
			check(must(dtp, g[i].P) == g[0].P);
			check(dt_proc_lookup(dtp, g[0].P, 0));
			dtrace_proc_release(dtp, g[0].P);
		}
		check(!dt_proc_lookup(dtp, g[0].P, 0));
	}
	dtrace_close(dtp);
	grabbee_end(&v);
}

static void held_without_a_thread(void)
{
	struct grabbee v = grabbee_start("pause", NULL);
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;
	int threads = count_threads();

	grabbee_line(&v);
	grabbee_line(&v);
	P = must(dtp, dt_proc_grab(dtp, v.pid, 0, 1));
	check_eq(count_threads(), threads);
	check_eq(Pstate(P), PS_STOP);
	dtrace_proc_continue(dtp, P);
	check_eq(process_state(v.pid), 't');
	dtrace_proc_release(dtp, P);
	check(!dt_proc_lookup(dtp, P, 0));
	check_eq(process_tracer(v.pid), 0);
	dtrace_close(dtp);
	grabbee_end(&v);
}

static void a_record_out_of_the_table_ends_with_its_release(void)
{
	struct grabbee v = grabbee_start("pause", NULL);
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P, *Q;
	char buf[16];

	check_eq(dt_proc_hash_create(dtp, 3, 5), 0);
	check_eq(dtrace_getopt(dtp, "pgmax", buf, sizeof(buf)), 0);
	check_str(buf, "5");
	P = must(dtp, dtrace_proc_grab(dtp, v.pid, PGRAB_RDONLY));
	check_eq(dt_proc_hash_create(dtp, 3, 5), -1);
	check_eq(dtrace_errno(dtp), EBUSY);
	check(dt_proc_lookup(dtp, P, 1));
	check(!dt_proc_lookup(dtp, P, 0));
	Q = must(dtp, dtrace_proc_grab(dtp, v.pid, PGRAB_RDONLY));
	check(Q != P);
	dt_proc_lock(dtp, P); /* still a record of the session */
	dt_proc_unlock(dtp, P);
	dtrace_proc_release(dtp, P);
	dtrace_proc_release(dtp, P);
	check_eq(dtrace_errno(dtp), EDT_BADPROC);
	dt_proc_hash_destroy(dtp);
	check(!dt_proc_lookup(dtp, Q, 0));
	must(dtp, dtrace_proc_grab(dtp, v.pid, 0)); /* a table is made again */
	dtrace_close(dtp);
	grabbee_end(&v);
}

static void refused_grabs_say_why(void)
{
	dtrace_hdl_t *dtp = session("main");
	char should[128];

	check(!dtrace_proc_grab(dtp, 4194305, 0));
	check_eq(dtrace_errno(dtp), EDT_PROCESS);
	check_str(dtrace_errmsg(dtp, EDT_PROCESS),
		  "failed to grab pid 4194305: no such process");
	check(!dtrace_proc_grab(dtp, getpid(), 0));
	snprintf(should, sizeof(should), "failed to grab pid %d: ", (int)getpid());
	check(!strncmp(dtrace_errmsg(dtp, EDT_PROCESS), should, strlen(should)));
	check(must(dtp, dtrace_proc_grab(dtp, getpid(), PGRAB_RDONLY)));
	dtrace_close(dtp);
}

/* --- locks -------------------------------------------------------------------------- */

static void a_locked_handle_is_released_and_closed(void)
{
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P = must(dtp, create(dtp, "session_victim", NULL));

	dt_proc_lock(dtp, P);
	dtrace_proc_continue(dtp, P);
	usleep(20000);
	dtrace_proc_release(dtp, P);
	dt_proc_unlock(dtp, P);
	P = must(dtp, create(dtp, "session_victim", "pause", NULL));
	dt_proc_lock(dtp, P);
	kill(Pgetpid(P), SIGKILL);
	usleep(20000);
	dtrace_close(dtp);
	check_no_child();
}

static void a_lock_keeps_the_control_thread_out(void)
{
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P = must(dtp, create(dtp, "session_victim", NULL));

	dt_proc_lock(dtp, P);
	dtrace_proc_continue(dtp, P);
	usleep(50000);
	check_eq(Pstate(P), PS_STOP);
	dt_proc_unlock(dtp, P);
	check_soon(Pstate(P) == PS_UNDEAD);
	dtrace_proc_release(dtp, P);
	dtrace_close(dtp);
}

/* Mistake 24: any thread may call into a parked handle. */
static void *look_at_it(void *arg)
{
	struct grabber *g = arg;
	GElf_Sym sym;
	char name[64];

	for (int i = 0; i < 200; i++) {
		check_eq(Plookup_by_addr(g->P, pc(g->P), name, sizeof(name), &sym), 0);
		check_str(name, "main");
		check(Pstatus(g->P));
	}
	return NULL;
}

static void any_thread_may_call_while_parked_24(void)
{
	dtrace_hdl_t *dtp = session("main");
	struct grabber g = { .dtp = dtp };
	pthread_t t[4];

	g.P = must(dtp, create(dtp, "session_victim", NULL));
	for (int i = 0; i < 4; i++)
		check(!pthread_create(&t[i], NULL, look_at_it, &g));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	check_eq(Psetrun(g.P, 0, 0), 0); /* even this */
	check_soon(Pstate(g.P) == PS_UNDEAD);
	dtrace_proc_continue(dtp, g.P);
	dtrace_close(dtp);
}

/* --- many --------------------------------------------------------------------------- */

static void a_thousand_sessions_leave_nothing(void)
{
	int fds = 0, threads = 0;

	listen_to_victims();
	dtrace_close(session("main"));
	for (int i = 0; i < 1000; i++) {
		dtrace_hdl_t *dtp = session(i & 1 ? "preinit" : "exec");

		must(dtp, create(dtp, "session_victim", NULL));
		dtrace_close(dtp);
		if (i == 10) {
			fds = count_fds();
			threads = count_threads();
		}
	}
	check_eq(count_fds(), fds);
	check_eq(count_threads(), threads);
	check_no_child();
	stop_listening();
}

static void two_hundred_victims_at_once(void)
{
	enum {
		N = 200
	};
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("preinit");
	struct ps_prochandle *P[N];

	listen_to_victims();
	dtrace_handle_proc(dtp, note, &n);
	for (int i = 0; i < N; i++)
		P[i] = must(dtp, create(dtp, "session_victim", NULL));
	for (int i = 0; i < N; i++)
		dtrace_proc_continue(dtp, P[i]);
	while (n.gone < N)
		dtrace_sleep(dtp);
	for (int i = 0; i < N; i++)
		check_eq(Pstatus(P[i])->pr_exitstatus, 3 << 8);
	dtrace_close(dtp);
	stop_listening();
}

static const struct test tests[] = {
	TEST(every_program_parks_at_every_point),
	TEST(all_points_one_after_the_other),
	TEST(a_program_without_main_is_parked_before_its_end_15),
	TEST(text_is_clean_while_parked),
	TEST(failed_creates_leave_nothing_1_2),
	TEST(close_kills_what_is_parked_before_it_runs_8),
	TEST(death_while_parked_is_noticed_at_once_10),
	TEST(a_handler_may_release_11),
	TEST(notices_come_oldest_first_12),
	TEST(second_handlers_are_refused),
	TEST(sleep_ends_at_its_rate),
	TEST(a_grab_parks_and_a_release_frees),
	TEST(a_stopped_victim_stays_stopped_19),
	TEST(an_upgrade_makes_two_handles_3_26),
	TEST(read_only_handles_are_cached_4_5),
	TEST(a_cached_record_does_not_survive_an_exec_5),
	TEST(grabs_at_once_share_one_handle),
	TEST(held_without_a_thread),
	TEST(a_record_out_of_the_table_ends_with_its_release),
	TEST(refused_grabs_say_why),
	TEST(a_locked_handle_is_released_and_closed),
	TEST(a_lock_keeps_the_control_thread_out),
	TEST(any_thread_may_call_while_parked_24),
	TEST_SLOW(a_thousand_sessions_leave_nothing, 180),
	TEST_SLOW(two_hundred_victims_at_once, 120),
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
