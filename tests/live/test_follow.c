/* SPDX-License-Identifier: MIT */
/*
 * Children: followed or let go, none lost, none hurt. The victim is brood.c, which knows
 * how each of its children should end; the totals are exact.
 */
#include "session_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum {
	MAX_SEEN = 4096,
	SOON = 30000
};

/* What a test sees of the children. */
struct family {
	dtrace_hdl_t *dtp;        /* the session */
	uintptr_t work;           /* address of the victim's work() */
	bool plant;               /* children get a breakpoint there */
	_Atomic uint64_t hits;    /* of work(), by anybody */
	atomic_int asked;         /* follow functions called */
	int refuse;               /* of each so many children one; 0 none */
	int forks, follows;       /* events */
	int ends, texts;          /* notifications */
	int exits[256];           /* EXIT events by status; [255] signals */
	pid_t ended[MAX_SEEN];    /* of the records whose end was notified */
	pid_t followed[MAX_SEEN]; /* of FOLLOW events */
	char text[256];           /* the last text */
};

static void on_hit(dtrace_hdl_t *dtp, struct ps_prochandle *P, pid_t tid,
		   const prgregset_t regs, void *arg)
{
	struct family *f = arg;

	(void)dtp;
	(void)P;
	(void)tid;
	(void)regs;
	f->hits++;
}

static int on_birth(struct ps_prochandle *P, pid_t parent, void *arg)
{
	struct family *f = arg;
	int n = ++f->asked;

	(void)parent;
	if (f->refuse && n % f->refuse == 0)
		return 0;
	if (f->plant && !dt_proc_bpcreate(f->dtp, P, f->work, on_hit, f))
		fail_test("%s", dtrace_errmsg(f->dtp, dtrace_errno(f->dtp)));
	return 1;
}

static void on_event(const dtrace_procev_t *ev, void *arg)
{
	struct family *f = arg;

	if (ev->kind == DT_PROC_EV_FORK)
		f->forks++;
	if (ev->kind == DT_PROC_EV_FOLLOW) {
		check(ev->parent > 0 && Pgetpid(ev->P) == ev->pid);
		f->followed[f->follows++ % MAX_SEEN] = ev->pid;
	}
	if (ev->kind == DT_PROC_EV_EXIT)
		f->exits[WIFEXITED(ev->status) ? WEXITSTATUS(ev->status) : 255]++;
}

static void on_notice(struct ps_prochandle *P, const char *text, void *arg)
{
	struct family *f = arg;

	if (text) {
		f->texts++;
		snprintf(f->text, sizeof(f->text), "%s", text);
		return;
	}
	f->ended[f->ends++ % MAX_SEEN] = Pgetpid(P);
}

static void many_files(void)
{
	struct rlimit rl;

	check(!getrlimit(RLIMIT_NOFILE, &rl));
	rl.rlim_cur = rl.rlim_max;
	check(!setrlimit(RLIMIT_NOFILE, &rl));
}

static dtrace_hdl_t *family_session(struct family *f, const char *follow)
{
	many_files();
	f->dtp = session("preinit");
	check_eq(dtrace_setopt(f->dtp, "follow", follow), 0);
	check_eq(dtrace_handle_procev(f->dtp, on_event, f), 0);
	check_eq(dtrace_handle_proc(f->dtp, on_notice, f), 0);
	check_eq(dtrace_handle_follow(f->dtp, on_birth, f), 0);
	return f->dtp;
}

/* Another victim than session_victim, as grabbee_start() starts that. */
static struct grabbee start_victim(const char *name)
{
	int in[2], said_[2];
	struct grabbee g;

	check(!pipe2(in, O_CLOEXEC) && !pipe2(said_, O_CLOEXEC));
	g.pid = fork();
	check(g.pid >= 0);
	if (!g.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(said_[1], 1);
		execl(victim_path(name), name, NULL);
		_exit(127);
	}
	close(in[0]);
	close(said_[1]);
	g.in = in[1];
	g.out = said_[0];
	return g;
}

/* A brood that waits for orders, grabbed and running. */
static struct grabbee brood(struct family *f, struct ps_prochandle **ret)
{
	struct grabbee g = start_victim("brood");
	int pid;

	check_eq(sscanf(grabbee_line(&g), "ready %d work=%lx", &pid, &f->work), 2);
	*ret = must(f->dtp, dtrace_proc_grab(f->dtp, g.pid, 0));
	return g;
}

static void order(struct grabbee *g, const char *what)
{
	check_eq(write(g->in, what, strlen(what)), strlen(what));
}

/* Its answer, while events are delivered. */
static const char *answer(struct family *f, struct grabbee *g)
{
	long end = now_ms() + SOON;

	while (!readable(g->out, 1)) {
		dtrace_dispatch(f->dtp);
		if (now_ms() > end)
			fail_test("no answer");
	}
	return grabbee_line(g);
}

static void await_ends(struct family *f, int n)
{
	long end = now_ms() + SOON;

	while (f->ends < n && now_ms() < end) {
		struct pollfd p = { dtrace_notify_fd(f->dtp), POLLIN, 0 };

		poll(&p, 1, 100);
		dtrace_dispatch(f->dtp);
	}
	if (f->ends != n && f->texts)
		fprintf(stderr, "# %d texts: %s\n", f->texts, f->text);
	check_eq(f->ends, n);
}

static void finish(struct family *f, struct grabbee *g)
{
	dtrace_close(f->dtp);
	check_eq(grabbee_wait(g), 0);
}

static bool has(const pid_t *v, int n, pid_t pid)
{
	int found = 0;

	for (int i = 0; i < n; i++)
		found += v[i] == pid;
	return found == 1;
}

/* --- totals ------------------------------------------------------------------------- */

enum {
	T = 8,
	N = 25
};

/* Fails when a child keeps a copy of our trap (it dies), or a thread of the parent's
 * misses one. */
static void not_followed(void)
{
	static struct family f;
	struct ps_prochandle *P;
	dtrace_hdl_t *dtp = family_session(&f, "none");
	struct grabbee g = brood(&f, &P);

	check(dt_proc_bpcreate(dtp, P, f.work, on_hit, &f));
	dtrace_proc_continue(dtp, P);
	order(&g, "both 8 25\n");
	check_str(answer(&f, &g), "good=200");
	check_eq(f.hits, T * N);
	dtrace_dispatch(dtp);
	check_eq(f.forks, T * N);
	check_eq(f.follows, 0);
	finish(&f, &g);
}

/* Fails when a child executes anything before its breakpoint is there, or its end is
 * told twice or not. */
static void followed(void)
{
	static struct family f = { .plant = true };
	struct ps_prochandle *P;
	dtrace_hdl_t *dtp = family_session(&f, "children");
	struct grabbee g = brood(&f, &P);

	check(dt_proc_bpcreate(dtp, P, f.work, on_hit, &f));
	dtrace_proc_continue(dtp, P);
	order(&g, "both 8 25\n");
	check_str(answer(&f, &g), "good=200");
	await_ends(&f, T * N);
	check_eq(f.texts, 0);
	check_eq(f.asked, T * N);
	check_eq(f.hits, 2 * T * N);
	check_eq(f.follows, T * N);
	check_eq(f.exits[10], T * N);
	finish(&f, &g);
}

/* The tree: each record notified once, with the status of its depth. Fails when a
 * grandchild is let go, or an end is lost. */
static void tree(void)
{
	static struct family f = { .plant = true };
	static const int members[] = { 0, 5, 25, 125, 625 };
	struct ps_prochandle *P;
	dtrace_hdl_t *dtp = family_session(&f, "children");
	struct grabbee g = brood(&f, &P);

	dtrace_proc_continue(dtp, P);
	order(&g, "tree 4 5\n");
	check_str(answer(&f, &g), "good=1");
	await_ends(&f, 780);
	if (f.texts)
		fail_test("%s", f.text);
	for (int i = 1; i <= 4; i++)
		check_eq(f.exits[10 + i], members[i]);
	check_eq(f.follows, 780);
	check_eq(f.hits, 780);
	for (int i = 0; i < 780; i++)
		check(has(f.ended, 780, f.followed[i]));
	finish(&f, &g);
}

/* Each third child is refused: it runs free, the others are followed. */
static void chosen(void)
{
	static struct family f = { .plant = true, .refuse = 3 };
	struct ps_prochandle *P;
	dtrace_hdl_t *dtp = family_session(&f, "children");
	struct grabbee g = brood(&f, &P);

	dtrace_proc_continue(dtp, P);
	order(&g, "queued 90\n");
	check_str(answer(&f, &g), "good=90");
	await_ends(&f, 60);
	check_eq(f.asked, 90);
	check_eq(f.hits, 60);
	check_eq(dt_proc_follow(dtp, P, DT_FOLLOW_NONE), 0);
	order(&g, "queued 20\n");
	check_str(answer(&f, &g), "good=20");
	check_eq(dt_proc_follow(dtp, P, 17), -1);
	check_eq(dtrace_errno(dtp), EINVAL);
	dtrace_dispatch(dtp);
	check_eq(f.asked, 90);
	check_eq(f.ends, 60);
	finish(&f, &g);
}

/* --- other ways to be born ---------------------------------------------------------- */

/* orders × followed or not, with a breakpoint in parent and children. */
static void born(const char *follow, const char *what, const char *want, int hits,
		 int ends)
{
	struct family *f = calloc(1, sizeof(*f));
	struct ps_prochandle *P;
	dtrace_hdl_t *dtp = family_session(f, follow);
	struct grabbee g = brood(f, &P);

	f->plant = true;
	check(dt_proc_bpcreate(dtp, P, f->work, on_hit, f));
	dtrace_proc_continue(dtp, P);
	order(&g, what);
	check_str(answer(f, &g), want);
	await_ends(f, ends);
	check_eq(f->texts, 0);
	check_eq(f->hits, hits);
	finish(f, &g);
	free(f);
}

static void ids_again(void)
{
	born("none", "reuse 100\n", "good=100", 0, 0);
	born("children", "reuse 100\n", "good=100", 100, 100);
}

static void of_the_grandparent(void)
{
	born("none", "cparent 20\n", "good=20", 0, 0);
	born("children", "cparent 20\n", "good=20", 20, 20);
	for (int i = 0; i < 40; i++)
		check(waitpid(-1, NULL, __WALL) > 0);
}

static void in_a_pid_namespace(void)
{
	if (geteuid())
		skip_test("needs CAP_SYS_ADMIN");
	born("none", "newpid\n", "good=1", 0, 0);
	born("children", "newpid\n", "good=1", 1, 1);
}

/* vfork and posix_spawn from several threads, an exec in each. */
static void vforked(const char *follow, bool followed)
{
	static const char *const orders[] = { "vthreads 6 10\n", "spawn 30\n",
					      "vfork 30\n" };
	static const int n[] = { 60, 30, 30 };

	for (int i = 0; i < 3; i++) {
		struct family *f = calloc(1, sizeof(*f));
		dtrace_hdl_t *dtp = family_session(f, follow);
		struct grabbee g = start_victim("forker");
		char want[64];
		unsigned long child_work;
		struct ps_prochandle *P;
		int pid;

		check_eq(sscanf(grabbee_line(&g), "ready %d child_work=%lx run_one=%lx",
				&pid, &child_work, &f->work),
			 3);
		P = must(dtp, dtrace_proc_grab(dtp, g.pid, 0));
		f->plant = true;
		check(dt_proc_bpcreate(dtp, P, f->work, on_hit, f));
		dtrace_proc_continue(dtp, P);
		order(&g, orders[i]);
		snprintf(want, sizeof(want), "children=%d good=%d", n[i], n[i]);
		check_str(answer(f, &g), want);
		await_ends(f, followed ? n[i] : 0);
		check_eq(f->texts, 0);
		check_eq(f->exits[7], followed ? n[i] : 0);
		finish(f, &g);
		free(f);
	}
}

/* Fails when a trap stands in memory that a vfork child shares, or when the breakpoints
 * of a followed one are planted into its parent. */
static void by_vfork(void)
{
	vforked("none", false);
	vforked("children", true);
}

static const struct test tests[] = {
	TEST(not_followed),
	TEST(followed),
	TEST(tree),
	TEST(chosen),
	TEST(ids_again),
	TEST(of_the_grandparent),
	TEST(in_a_pid_namespace),
	TEST(by_vfork),
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
