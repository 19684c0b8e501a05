/* SPDX-License-Identifier: MIT */
/*
 * Programs that are started as `ld.so PROGRAM`. The kernel takes the dynamic linker for
 * the program: AT_BASE is 0, AT_PHDR and AT_ENTRY are the linker's own, /proc/PID/exe
 * names it. The program is the head of the link maps.
 *
 * All of these fail when such a program counts as static: preinit is then the linker's
 * first instruction, main is looked for in the linker, and no library is reported.
 */
#include "live/session_test.h"

/* A dynamic linker, and a program for it. */
struct by_hand {
	const char *linker;  /* path */
	const char *program; /* victim */
	const char *libc;    /* part of a path that is reported */
};

static const struct by_hand kinds[] = {
	{ "/lib64/ld-linux-x86-64.so.2", "session_victim", "/libc.so.6" },
	{ "/lib64/ld-linux-x86-64.so.2", "session_victim-stripped", "/libc.so.6" },
	{ "/lib64/ld-linux-x86-64.so.2", "session_victim-nopie", "/libc.so.6" },
	{ "/lib/ld-musl-x86_64.so.1", "session_victim-musl", "/libc.so" },
};

enum {
	NKINDS = sizeof(kinds) / sizeof(*kinds),
	BEATS = 1000,
};

static bool is_there(const struct by_hand *k)
{
	return !access(k->linker, X_OK) && !access(victim_path(k->program), X_OK);
}

static bool any_there(void)
{
	for (int i = 0; i < NKINDS; i++)
		if (is_there(&kinds[i]))
			return true;
	return false;
}

/* `what` and two arguments for the victim; NULL ends them. */
static struct ps_prochandle *start(dtrace_hdl_t *dtp, const struct by_hand *k,
				   const char *what, const char *one, const char *two)
{
	char *argv[] = { (char *)k->linker, (char *)victim_path(k->program),
			 (char *)what,      (char *)one,
			 (char *)two,       NULL };

	return must(dtp, dtrace_proc_create(dtp, k->linker, argv));
}

static uintptr_t symbol(struct ps_prochandle *P, const char *object, const char *name)
{
	GElf_Sym sym;

	return Plookup_by_name(P, object, name, &sym) ? 0 : (uintptr_t)sym.st_value;
}

/* --- points ------------------------------------------------------------------------- */

static void parks_at(const struct by_hand *k, const char *point, const char *before,
		     const char *after)
{
	struct notices n = { 0 };
	dtrace_hdl_t *dtp = session(point);
	struct ps_prochandle *P;

	dtrace_handle_proc(dtp, note, &n);
	P = start(dtp, k, NULL, NULL, NULL);
	check(parked(dtp, P));
	check_str(said(), before);
	if (!strcmp(point, "main") && !strstr(k->program, "stripped"))
		check_eq(pc(P), symbol(P, "a.out", "main"));
	if (strcmp(point, "exec"))
		check(symbol(P, PR_OBJ_EVERY, "malloc"));
	dtrace_proc_continue(dtp, P);
	await_gone(dtp, &n, 1);
	check_str(said(), after);
	check_eq(Pstatus(P)->pr_exitstatus, 3 << 8);
	dtrace_proc_release(dtp, P);
	dtrace_close(dtp);
}

static void they_park_at_every_point(void)
{
	if (!any_there())
		skip_test("no dynamic linker where it is expected");
	listen_to_victims();
	for (int i = 0; i < NKINDS; i++) {
		if (!is_there(&kinds[i]))
			continue;
		parks_at(&kinds[i], "exec", "", "ctor\nmain\n");
		parks_at(&kinds[i], "preinit", "", "ctor\nmain\n");
		parks_at(&kinds[i], "postinit", "ctor\n", "main\n");
		parks_at(&kinds[i], "main", "ctor\n", "main\n");
	}
	stop_listening();
}

/* --- objects and breakpoints -------------------------------------------------------- */

/* What was told. */
struct told {
	const char *libc; /* part of a path to look for */
	int program;      /* times that the program was told */
	int libcs;        /* … and that libc was */
	int opened;       /* … and libz, as it came */
	int closed;       /* … and as it went */
	int exits;        /* ends */
};

static void note_event(const dtrace_procev_t *ev, void *arg)
{
	struct told *t = arg;
	const char *path = ev->object ?: "";

	t->exits += ev->kind == DT_PROC_EV_EXIT;
	if (ev->kind == DT_PROC_EV_DLCLOSE)
		t->closed += strstr(path, "/libz.so") != NULL;
	if (ev->kind != DT_PROC_EV_DLOPEN)
		return;
	t->program += strstr(path, "/session_victim") != NULL;
	t->libcs += strstr(path, t->libc) != NULL;
	t->opened += strstr(path, "/libz.so") != NULL;
}

static void await_exit(dtrace_hdl_t *dtp, struct told *t)
{
	long end = now_ms() + 20000;

	while (!t->exits && now_ms() < end)
		dtrace_sleep(dtp);
	check_eq(t->exits, 1);
}

static void their_objects_are_told(void)
{
	enum {
		N = 20
	};
	struct told t = { .libc = kinds[0].libc };
	dtrace_hdl_t *dtp = session("preinit");
	struct ps_prochandle *P;

	if (!is_there(&kinds[0]))
		skip_test("no dynamic linker where it is expected");
	listen_to_victims();
	dtrace_handle_procev(dtp, note_event, &t);
	P = start(dtp, &kinds[0], "dlopen", "libz.so.1", "20");
	dtrace_proc_continue(dtp, P);
	await_exit(dtp, &t);
	if (Pstatus(P)->pr_exitstatus == 1 << 8)
		skip_test("there is no libz.so.1");
	check_eq(t.program, 1);
	check_eq(t.libcs, 1);
	check_eq(t.opened, N);
	check_eq(t.closed, N);
	dtrace_close(dtp);
	stop_listening();
}

static void breakpoints_count(const struct by_hand *k)
{
	struct told t = { .libc = k->libc };
	dtrace_hdl_t *dtp = session("preinit");
	struct ps_prochandle *P;
	uintptr_t beat;
	dt_bkpt_t *bp;

	dtrace_handle_procev(dtp, note_event, &t);
	P = start(dtp, k, "beat", "1000", "2");
	beat = symbol(P, "a.out", "beat");
	check(beat);
	dt_proc_lock(dtp, P);
	bp = dt_proc_bpcreate(dtp, P, beat, NULL, NULL);
	dt_proc_unlock(dtp, P);
	check(bp);
	dtrace_proc_continue(dtp, P);
	await_exit(dtp, &t);
	check_eq(Pstatus(P)->pr_exitstatus, 0);
	check_eq(dt_proc_bphits(bp), 2 * BEATS);
	check_eq(t.program, 1);
	check_eq(t.libcs, 1);
	dtrace_close(dtp);
}

static void their_breakpoints_count(void)
{
	if (!any_there())
		skip_test("no dynamic linker where it is expected");
	listen_to_victims();
	for (int i = 0; i < NKINDS; i++)
		if (is_there(&kinds[i]) && !strstr(kinds[i].program, "stripped"))
			breakpoints_count(&kinds[i]);
	stop_listening();
}

/* --- grabbed ------------------------------------------------------------------------ */

static struct grabbee start_alone(const struct by_hand *k)
{
	struct grabbee g;
	int in[2], from[2];
	char *argv[] = { (char *)k->linker, (char *)victim_path(k->program),
			 (char *)"wait", NULL };

	check(!pipe2(in, O_CLOEXEC) && !pipe2(from, O_CLOEXEC));
	g.pid = fork();
	check(g.pid >= 0);
	if (!g.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(from[1], 1);
		execv(k->linker, argv);
		_exit(127);
	}
	close(in[0]);
	close(from[1]);
	g.in = in[1];
	g.out = from[0];
	check_str(grabbee_line(&g), "ctor");
	check_str(grabbee_line(&g), "main");
	return g;
}

static void grab(const struct by_hand *k)
{
	struct told t = { .libc = k->libc };
	dtrace_hdl_t *dtp = session("main");
	struct grabbee g = start_alone(k);
	struct ps_prochandle *P;

	dtrace_handle_procev(dtp, note_event, &t);
	P = must(dtp, dtrace_proc_grab(dtp, g.pid, 0));
	check(symbol(P, "a.out", "main"));
	check(symbol(P, PR_OBJ_EVERY, "malloc"));
	check(Pname_to_map(P, PR_OBJ_LDSO));
	dtrace_proc_continue(dtp, P);
	check_eq(grabbee_wait(&g), 0);
	await_exit(dtp, &t);
	check_eq(t.program, 1);
	check_eq(t.libcs, 1);
	dtrace_close(dtp);
}

static void they_can_be_grabbed(void)
{
	if (!any_there())
		skip_test("no dynamic linker where it is expected");
	for (int i = 0; i < NKINDS; i++)
		if (is_there(&kinds[i]) && !strstr(kinds[i].program, "stripped"))
			grab(&kinds[i]);
}

static const struct test tests[] = {
	TEST(they_park_at_every_point),
	TEST(their_objects_are_told),
	TEST(their_breakpoints_count),
	TEST(they_can_be_grabbed),
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
