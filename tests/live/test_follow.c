/* SPDX-License-Identifier: MIT */
/*
 * Children: followed or let go, none lost, none hurt. The victim is brood.c, which knows
 * how each of its children should end; the totals are exact.
 */
#include <sched.h>

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
		setpgid(0, 0);
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

	if (THREAD_SANITIZER)
		skip_test("too slow to answer 780 births within their patience");
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

static bool may_unshare(void)
{
	int status = 1;
	pid_t pid = fork();

	if (!pid)
		_exit(unshare(CLONE_NEWPID) != 0);
	waitpid(pid, &status, 0);
	return !status;
}

static void in_a_pid_namespace(void)
{
	if (!may_unshare())
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

/* Processes that share the memory and are no threads, with a breakpoint on what they
 * call. Fails when such a child dies of the trap, or is cleaned as a copy would be: the
 * parent's traps then are gone for good, and the hits after them missed. */
static void sharing(void)
{
	static const char *const modes[] = { "none", "children" };

	for (int i = 0; i < 2; i++) {
		struct family *f = calloc(1, sizeof(*f));
		struct ps_prochandle *P;
		dtrace_hdl_t *dtp = family_session(f, modes[i]);
		struct grabbee g = brood(f, &P);
		uint64_t before;

		check(dt_proc_bpcreate(dtp, P, f->work, on_hit, f));
		dtrace_proc_continue(dtp, P);
		order(&g, "share 20\n");
		check_str(answer(f, &g), "good=20");
		before = f->hits;
		order(&g, "both 2 10\n");
		check_str(answer(f, &g), "good=20");
		check_eq(f->hits - before, 20);
		finish(f, &g);
		free(f);
	}
}

/* --- the client dies, lets go, or stands still -------------------------------------- */

enum {
	KILLS = 50
};

/* In a process of its own, the leader of a group: controls a family that forks for ever,
 * and is killed when it follows `enough`. root 0: created. */
static void client(pid_t root, int enough)
{
	struct family f = { .plant = false };
	dtrace_hdl_t *dtp = family_session(&f, "children");
	struct ps_prochandle *P;

	P = must(dtp, root ? dtrace_proc_grab(dtp, root, 0)
			   : create(dtp, "brood", "family", NULL));
	dtrace_proc_continue(dtp, P);
	while (f.follows < enough) {
		struct pollfd p = { dtrace_notify_fd(dtp), POLLIN, 0 };

		poll(&p, 1, 100);
		dtrace_dispatch(dtp);
	}
	raise(SIGKILL);
}

static pid_t start_client(pid_t root, int enough)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	setpgid(0, 0);
	client(root, enough);
	_exit(1);
}

/* Members of the group that are traced or stopped by somebody. */
static int held_in_group(pid_t group)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	check(d);
	while ((e = readdir(d))) {
		pid_t pid = atoi(e->d_name);

		if (pid > 0 && getpgid(pid) == group &&
		    (process_tracer(pid) > 0 || strchr("tT", process_state(pid) ?: ' ')))
			n++;
	}
	closedir(d);
	return n;
}

/* Reaps whatever comes to us as their subreaper, until nobody is left. */
static bool all_gone(void)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
		;
	return pid < 0 && errno == ECHILD;
}

/* Created: the whole family is killed with the client, whoever is just being born or
 * adopted. Fails when an unadopted child is set free, or an orphan stays stopped. */
static void killed_with_created(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0; i < KILLS; i++) {
		pid_t pid = start_client(0, 1 + i % 13);

		check_soon(all_gone());
		check_eq(kill(-pid, 0), -1);
	}
}

/* Grabbed: they run on, none traced, none stopped, and no child of theirs ends by a trap
 * (the family would say `bad`). */
static void killed_with_grabbed(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0; i < KILLS; i++) {
		struct grabbee g = start_victim("brood");
		int status;
		pid_t pid;

		check(*grabbee_line(&g));
		order(&g, "family\n");
		pid = start_client(g.pid, 1 + i % 13);
		check_eq(waitpid(pid, &status, 0), pid);
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		check_soon(held_in_group(g.pid) == 0);
		check(!readable(g.out, 0));
		check_eq(process_tracer(g.pid), 0);
		kill(-g.pid, SIGKILL);
		check_soon(all_gone());
		close(g.in);
		close(g.out);
	}
}

/* Let go in the middle of forking, events unread. Fails when a newborn is forgotten, or
 * keeps a trap. */
static void let_go_forking(void)
{
	for (int i = 0; i < 20; i++) {
		struct family f = { .plant = true };
		struct ps_prochandle *P;
		dtrace_hdl_t *dtp = family_session(&f, i % 2 ? "children" : "none");
		struct grabbee g = brood(&f, &P);

		check(dt_proc_bpcreate(dtp, P, f.work, on_hit, &f));
		dtrace_proc_continue(dtp, P);
		order(&g, "both 4 25\n");
		while (!f.hits)
			usleep(100);
		finish(&f, &g);
	}
}

/* A client that is stopped. Fails when a victim waits for it longer than its patience:
 * the first child for 100 ms, the others not at all. */
static void stopped_client(void)
{
	struct grabbee g = start_victim("brood");
	long begin;
	pid_t pid;

	check(*grabbee_line(&g));
	pid = fork();
	if (!pid) {
		struct family f = { .plant = false };
		dtrace_hdl_t *dtp = family_session(&f, "children");

		dtrace_proc_continue(dtp, must(dtp, dtrace_proc_grab(dtp, g.pid, 0)));
		usleep(100000);
		raise(SIGSTOP);
		_exit(0);
	}
	check_eq(waitpid(pid, NULL, WUNTRACED), pid);
	begin = now_ms();
	order(&g, "queued 200\n");
	check(readable(g.out, 10000));
	check_str(grabbee_line(&g), "good=200");
	check(now_ms() - begin < 5000);
	kill(pid, SIGKILL);
	check_eq(waitpid(pid, NULL, 0), pid);
	check_eq(grabbee_wait(&g), 0);
}

/* Option keeprunning: the created one outlives the session. */
static void kept_running(void)
{
	struct family f = { .plant = false };
	dtrace_hdl_t *dtp = family_session(&f, "none");
	struct ps_prochandle *P;
	char buf[8];
	pid_t pid;

	check_eq(dtrace_setopt(dtp, "keeprunning", "maybe"), -1);
	check_eq(dtrace_setopt(dtp, "keeprunning", "on"), 0);
	check_eq(dtrace_getopt(dtp, "keeprunning", buf, sizeof(buf)), 0);
	check_str(buf, "on");
	P = must(dtp, create(dtp, "brood", "forever", NULL));
	pid = Pgetpid(P);
	dtrace_proc_continue(dtp, P);
	dtrace_close(dtp);
	check_eq(process_tracer(pid), 0);
	check_eq(kill(pid, 0), 0);
	check(!strchr("tTZ", process_state(pid)));
	kill(pid, SIGKILL);
	check_eq(waitpid(pid, NULL, 0), pid);
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
	TEST(sharing),
	TEST(killed_with_created),
	TEST(killed_with_grabbed),
	TEST(let_go_forking),
	TEST(stopped_client),
	TEST(kept_running),
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
