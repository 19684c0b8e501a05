/* SPDX-License-Identifier: MIT */
/*
 * Hosts that make it hard: they reap everything, fork, are killed at any instant, cancel
 * their threads, and call everything from everywhere at once.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "live/session_test.h"

/* --- a host that reaps -------------------------------------------------------------- */

enum {
	CHILDREN = 50,
	GRABBED = 50,
	CREATED = 5
};

/* What a thread that loops on waitpid(-1) has seen. */
struct reaper {
	atomic_int stop;   /* shall end */
	atomic_int stops;  /* ptrace or job control stops seen: there must be none */
	atomic_int exits;  /* children of the host that exited with 5 */
	atomic_int others; /* everything else that was reaped */
};

static void *reap_everything(void *arg)
{
	struct reaper *r = arg;
	int status;

	while (!r->stop) {
		if (waitpid(-1, &status, WNOHANG) <= 0) {
			usleep(200);
			continue;
		}
		if (WIFSTOPPED(status))
			r->stops++;
		else if (WIFEXITED(status) && WEXITSTATUS(status) == 5)
			r->exits++;
		else
			r->others++;
	}
	return NULL;
}

static void a_host_that_reaps_everything(void)
{
	static pid_t pids[GRABBED];
	struct notices n = { 0 };
	struct reaper r = { 0 };
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;
	pthread_t t;
	int grabbed;

	listen_to_victims();
	dtrace_handle_proc(dtp, note, &n);
	check(!pthread_create(&t, NULL, reap_everything, &r));
	for (int i = 0; i < GRABBED; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		P = must(dtp, dtrace_proc_grab(dtp, pids[i], 0));
		dtrace_proc_continue(dtp, P);
	}
	for (int i = 0; i < CHILDREN; i++)
		if (!fork()) {
			usleep(1000 * i);
			_exit(5);
		}
	for (int i = 0; i < CREATED; i++)
		dtrace_proc_continue(dtp, must(dtp, create(dtp, "session_victim", NULL)));
	check_soon(r.exits == CHILDREN);
	for (grabbed = 0; grabbed < GRABBED; grabbed++)
		kill(pids[grabbed], SIGKILL);
	await_gone(dtp, &n, GRABBED + CREATED);
	dtrace_close(dtp);
	r.stop = 1;
	pthread_join(t, NULL);
	while (waitpid(-1, NULL, 0) > 0)
		r.others++;
	check_eq(r.stops, 0);
	check(r.others >= GRABBED && r.others <= GRABBED + CREATED);
	stop_listening();
}

/* --- a host that is killed ---------------------------------------------------------- */

static uintptr_t symbol(struct ps_prochandle *P, const char *name)
{
	GElf_Sym sym;

	check_eq(Plookup_by_name(P, PR_OBJ_EXEC, name, &sym), 0);
	return sym.st_value;
}

static void hit(dtrace_hdl_t *dtp, struct ps_prochandle *P, pid_t tid,
		const prgregset_t regs, void *arg)
{
}

/* Grabs, plants, continues, releases, for ever. */
static void work_until_killed(pid_t victim)
{
	dtrace_hdl_t *dtp = session("main");

	for (;;) {
		struct ps_prochandle *P = dtrace_proc_grab(dtp, victim, 0);
		dt_bkpt_t *bp;

		if (!P)
			continue; /* the keeper of the host before is not done yet */
		bp = dt_proc_bpcreate(dtp, P, symbol(P, "beat"), hit, NULL);
		dtrace_proc_continue(dtp, P);
		usleep(300);
		if (bp)
			dt_proc_bpdestroy(dtp, P, bp);
		dtrace_proc_release(dtp, P);
	}
}

static void killed_at_any_instant(void)
{
	struct grabbee v = grabbee_start("beat", "2000000000", "3", NULL);
	unsigned seed = 42;

	grabbee_line(&v);
	grabbee_line(&v);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0; i < 60; i++) {
		pid_t host = fork();

		if (!host)
			work_until_killed(v.pid);
		usleep(3000 + rand_r(&seed) % 5000);
		kill(host, SIGKILL);
		check_eq(waitpid(host, NULL, 0), host);
		check_eq(waitpid(v.pid, NULL, WNOHANG), 0); /* the victim lives */
	}
	check_soon(process_tracer(v.pid) == 0);
	check_soon(process_state(v.pid) == 'R' || process_state(v.pid) == 'S');
	check_eq(waitpid(v.pid, NULL, WNOHANG), 0);
	grabbee_end(&v);
	while (waitpid(-1, NULL, 0) > 0) /* the keepers */
		;
}

/* --- a host that forks -------------------------------------------------------------- */

static void a_forked_copy_closes_in_vain(void)
{
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P = must(dtp, create(dtp, "session_victim", "pause", NULL));
	pid_t copy;
	int status;

	copy = fork();
	if (!copy) {
		dtrace_close(dtp);
		_exit(0);
	}
	check_eq(waitpid(copy, &status, 0), copy);
	check_eq(status, 0);
	check_eq(Pstate(P), PS_STOP);
	check(parked(dtp, P));
	check_eq(kill(Pgetpid(P), 0), 0);
	dtrace_proc_continue(dtp, P);
	check_soon(Pstate(P) == PS_RUN);
	dtrace_close(dtp);
	check_no_child();
}

/* --- a host that cancels ------------------------------------------------------------ */

static void *sleep_for_ever(void *dtp)
{
	for (;;)
		dtrace_sleep(dtp);
	return NULL;
}

static void *wait_for_ever(void *arg)
{
	dtrace_hdl_t *dtp = arg;
	struct ps_prochandle *P = create(dtp, "session_victim", "pause", NULL);

	dtrace_proc_continue(dtp, P);
	for (;;) {
		dt_proc_waitpark(dtp, P, 50);
		/* ours are no cancellation points, but dtrace_sleep() */
		pthread_testcancel();
	}
	return NULL;
}

static void cancelled_threads_leave_no_lock(void)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session("main");
	struct ps_prochandle *P;
	pthread_t a, b;

	if (ADDRESS_SANITIZER)
		skip_test("a cancelled stack stays poisoned for the address sanitizer");
	listen_to_victims();
	dtrace_handle_proc(dtp, note, &n);
	for (int i = 0; i < 20; i++) {
		check(!pthread_create(&a, NULL, sleep_for_ever, dtp));
		check(!pthread_create(&b, NULL, wait_for_ever, dtp));
		usleep(1000 * i);
		pthread_cancel(a);
		pthread_cancel(b);
		pthread_join(a, NULL);
		pthread_join(b, NULL);
	}
	P = must(dtp, create(dtp, "session_victim", NULL));
	dtrace_proc_continue(dtp, P);
	await_gone(dtp, &n, 1);
	dtrace_close(dtp);
	check_no_child();
	stop_listening();
}

/* --- everything at once ------------------------------------------------------------- */

enum {
	VICTIMS = 4,
	CALLERS = 6,
	SECONDS = 3
};

struct storm {
	dtrace_hdl_t *dtp;  /* shared */
	pid_t pid[VICTIMS]; /* to be grabbed */
	atomic_int stop;    /* shall end */
	unsigned seed;      /* of this caller */
};

static void poke_at(struct storm *s, struct ps_prochandle *P, unsigned what)
{
	char name[64];

	switch (what % 9) {
	case 0:
		dtrace_proc_continue(s->dtp, P);
		break;
	case 1:
		Pstop(P, 10);
		break;
	case 2:
		Psetrun(P, 0, 0);
		break;
	case 3:
		dt_proc_lock(s->dtp, P);
		Plookup_by_addr(P, (uintptr_t)&write, name, sizeof(name),
				&(GElf_Sym){ 0 });
		dt_proc_unlock(s->dtp, P);
		break;
	case 4:
		Pstatus(P);
		dt_proc_stops(s->dtp, P);
		break;
	case 5:
		dt_proc_waitpark(s->dtp, P, 1);
		break;
	case 6:
		Pupdate_maps(P);
		break;
	case 7:
		dt_proc_bpdestroy(
			s->dtp, P,
			dt_proc_bpcreate(s->dtp, P, symbol(P, "beat"), hit, NULL));
		break;
	default:
		dtrace_dispatch(s->dtp);
	}
}

static void *call_everything(void *arg)
{
	struct storm *s = arg;
	unsigned seed = s->seed;

	while (!s->stop) {
		unsigned r = (unsigned)rand_r(&seed);
		struct ps_prochandle *P = dtrace_proc_grab(s->dtp, s->pid[r % VICTIMS],
							   r & 64 ? PGRAB_RDONLY : 0);

		must(s->dtp, P);
		for (int i = 0; i < 5; i++)
			poke_at(s, P, (unsigned)rand_r(&seed) / 7);
		dtrace_proc_release(s->dtp, P);
	}
	return NULL;
}

static void forget(const dtrace_procev_t *ev, void *arg)
{
}

static void everything_at_once(void)
{
	struct grabbee v[VICTIMS];
	struct storm s[CALLERS];
	pthread_t t[CALLERS];
	dtrace_hdl_t *dtp = session("main");
	struct notices n = { 0 };
	int status;

	check_eq(dtrace_setopt(dtp, "pgmax", "1"), 0);
	dtrace_handle_proc(dtp, note, &n);
	dtrace_handle_procev(dtp, forget, NULL);
	for (int i = 0; i < VICTIMS; i++) {
		v[i] = grabbee_start("beat", "2000000000", "2", NULL);
		grabbee_line(&v[i]);
		grabbee_line(&v[i]);
	}
	for (int i = 0; i < CALLERS; i++) {
		s[i] = (struct storm){ .dtp = dtp, .seed = (unsigned)i };
		for (int k = 0; k < VICTIMS; k++)
			s[i].pid[k] = v[k].pid;
		check(!pthread_create(&t[i], NULL, call_everything, &s[i]));
	}
	sleep(SECONDS);
	for (int i = 0; i < CALLERS; i++)
		s[i].stop = 1;
	for (int i = 0; i < CALLERS; i++)
		pthread_join(t[i], NULL);
	check_eq(n.gone, 0);
	dtrace_close(dtp);
	for (int i = 0; i < VICTIMS; i++) {
		check_eq(process_tracer(v[i].pid), 0);
		status = 0;
		waitpid(v[i].pid, &status, WNOHANG);
		check_eq(status, 0); /* it lives */
		grabbee_end(&v[i]);
	}
}

static const struct test tests[] = {
	TEST(a_host_that_reaps_everything), TEST(killed_at_any_instant),
	TEST(a_forked_copy_closes_in_vain), TEST(cancelled_threads_leave_no_lock),
	TEST(everything_at_once),
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
