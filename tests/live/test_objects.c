/* SPDX-License-Identifier: MIT */
/*
 * The hook on objects: what is planted in a new object, before the victim runs on, misses
 * no call; and what is told of it when that cannot be.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "dtrace.h"
#include "harness/harness.h"

enum {
	MAX_PLANTED = 256,
	THREADS = 4,
	TIMES = 30,
	EACH = 20,
};

/* A breakpoint in an object that is there. */
struct planted {
	uint64_t base; /* of the object */
	dt_bkpt_t *bp; /* NULL: free */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct planted planted[MAX_PLANTED];
static uint64_t total;     /* hits in objects that have gone */
static unsigned firsts;    /* calls with `first` */
static unsigned missed;    /* calls with `missed` */
static unsigned loads;     /* objects planted in */
static const char *wanted; /* part of the paths to plant in */
static const char *named;  /* function to plant at */
static dtrace_hdl_t *s;

static void plant_in(struct ps_prochandle *P, const dtrace_object_t *o)
{
	GElf_Sym sym;
	int i = 0;

	if (!strstr(o->path, wanted) ||
	    Pxlookup_by_name(P, o->lmid, o->path, named, &sym, NULL))
		return;
	while (planted[i].bp)
		i++;
	planted[i].base = o->base;
	planted[i].bp = dt_proc_bpcreate(s, P, (uintptr_t)sym.st_value, NULL, NULL);
	if (!planted[i].bp)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	loads++;
}

static void uproot(struct ps_prochandle *P, struct planted *at)
{
	total += dt_proc_bphits(at->bp);
	dt_proc_bpdestroy(s, P, at->bp);
	at->bp = NULL;
}

static int on_objects(dtrace_hdl_t *dtp, struct ps_prochandle *P,
		      const dtrace_objects_t *what, void *arg)
{
	assert_ptr_equal(dtp, s);
	assert_ptr_equal(arg, &total);
	pthread_mutex_lock(&lock);
	firsts += what->first;
	missed += what->missed;
	for (size_t i = 0; i < what->ngone; i++)
		for (int k = 0; k < MAX_PLANTED; k++)
			if (planted[k].bp && planted[k].base == what->gone[i].base)
				uproot(P, &planted[k]);
	for (size_t i = 0; i < what->ncame; i++)
		plant_in(P, &what->came[i]);
	pthread_mutex_unlock(&lock);
	return 0;
}

static void begin(const char *path, const char *name)
{
	wanted = path;
	named = name;
	s = dtrace_open(DTRACE_VERSION, 0, NULL);
	assert_non_null(s);
	assert_int_equal(dtrace_setopt(s, "patience", "none"), 0);
	assert_int_equal(dtrace_handle_objects(s, on_objects, &total), 0);
	assert_int_equal(dtrace_handle_objects(s, on_objects, &total), -1);
	assert_int_equal(dtrace_errno(s), EALREADY);
}

static struct ps_prochandle *hold(struct victim *v, const char *name)
{
	struct ps_prochandle *P;

	victim_start(v, name, NULL);
	victim_expect(v, "ready");
	P = dtrace_proc_grab(s, v->pid, 0);
	if (!P)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	dtrace_proc_continue(s, P);
	return P;
}

static uint64_t all_hits(struct ps_prochandle *P)
{
	uint64_t n;

	dt_proc_lock(s, P);
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAX_PLANTED; i++)
		if (planted[i].bp)
			uproot(P, &planted[i]);
	n = total;
	pthread_mutex_unlock(&lock);
	dt_proc_unlock(s, P);
	return n;
}

static void count_all(const char *victim)
{
	struct ps_prochandle *P;
	unsigned long calls = 0;
	struct victim v;

	begin("counted", "counted");
	P = hold(&v, victim);
	victim_send(&v, "run %d %d %d", THREADS, TIMES, EACH);
	sscanf(victim_expect(&v, "calls="), "%lu", &calls);
	assert_int_above(calls, THREADS * TIMES * EACH - 1);
	assert_int_equal(all_hits(P), calls);
	assert_int_equal(missed, 0);
	assert_int_equal(firsts, 1);
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

/* Breaks when the victim runs on before the hook has returned, when of objects that come
 * at once one is left out, when one that has come back at the same address is taken for
 * the one that left, and when a breakpoint is taken for planted that went with its
 * object. Exactly as many hits as calls, those of constructors included. */
static void no_call_is_missed(void)
{
	count_all("openers");
	assert_int_equal(loads, THREADS * TIMES);
}

/* Of musl: a library stays once it is there; its constructor runs after the news. */
static void no_call_is_missed_musl(void)
{
	if (access(victim_path("openers-musl"), X_OK))
		harness_skip("no musl-gcc");
	count_all("openers-musl");
}

/* --- from the beginning ------------------------------------------------------------- */

/* A created program, and the one that it execs: main is called once and counted once.
 * Breaks when the hook is not called for a program's first objects, comes when it runs
 * already, or not at an exec. */
static void from_the_first_instruction(void)
{
	char line[4200], *argv[] = { (char *)"sh", (char *)"-c", line, NULL };
	struct ps_prochandle *P;

	snprintf(line, sizeof(line), "exec %s >/dev/null </dev/null",
		 victim_path("session_victim"));
	begin("session_victim", "main");
	dtrace_setopt(s, "evaltime", "exec");
	P = dtrace_proc_create(s, "sh", argv);
	assert_non_null(P);
	assert_int_equal(firsts, 0); /* nothing is loaded yet */
	dtrace_proc_continue(s, P);
	await(Pstate(P) == PS_UNDEAD);
	assert_int_equal(loads, 1);
	assert_int_equal(all_hits(P), 1);
	assert_int_equal(firsts, 2);
	assert_int_equal(missed, 0);
	dtrace_close(s);
}

/* --- what goes wrong ---------------------------------------------------------------- */

static char said[256];
static atomic_int notices;

static void on_notice(struct ps_prochandle *P, const char *text, void *arg)
{
	(void)P, (void)arg;
	if (!text)
		return;
	snprintf(said, sizeof(said), "%s", text);
	atomic_fetch_add(&notices, 1);
}

static int fail_or_sleep(dtrace_hdl_t *dtp, struct ps_prochandle *P,
			 const dtrace_objects_t *what, void *arg)
{
	(void)dtp, (void)P;
	if (what->first)
		return 0;
	if (arg)
		usleep(300000);
	return arg ? 0 : ENOSPC;
}

static void open_one(void *arg, const char *sentence)
{
	char want[256];
	struct victim v;

	s = dtrace_open(DTRACE_VERSION, 0, NULL);
	dtrace_handle_proc(s, on_notice, NULL);
	dtrace_handle_objects(s, fail_or_sleep, arg);
	hold(&v, "openers");
	victim_send(&v, "open");
	victim_expect(&v, "at=");
	while (!atomic_load(&notices))
		dtrace_sleep(s);
	snprintf(want, sizeof(want), "pid %d: %s", v.pid, sentence);
	assert_string_equal(said, want);
	victim_send(&v, "call");
	victim_expect(&v, "called");
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

/* Breaks when the victim stays behind, or nobody is told. */
static void a_hook_that_fails(void)
{
	open_one(NULL, "failed to make probes in new objects: No space left on device");
}

/* The victim waits 100 ms, and that it did not wait longer is said. */
static void a_hook_that_is_slow(void)
{
	open_one(&notices, "it did not wait for probes in its new objects: first calls "
			   "may have been missed");
}

/* --- what takes an object's place --------------------------------------------------- */

/* Breaks when a trap is lifted where it no longer stands: the page's own byte would be
 * overwritten by that of a library which has gone. */
static void another_mapping_in_its_place(void)
{
	struct ps_prochandle *P;
	unsigned long at = 0;
	struct victim v;

	s = dtrace_open(DTRACE_VERSION, 0, NULL);
	P = hold(&v, "openers");
	victim_send(&v, "open");
	sscanf(victim_expect(&v, "at="), "%lx", &at);
	assert_non_null(dt_proc_bpcreate(s, P, at, NULL, NULL));
	victim_send(&v, "call");
	victim_expect(&v, "called");
	victim_send(&v, "replace");
	victim_expect(&v, "replaced");
	victim_send(&v, "same");
	assert_int_equal(victim_expect(&v, "same=")[0], '1');
	dtrace_close(s);
	victim_send(&v, "same");
	assert_int_equal(victim_expect(&v, "same=")[0], '1');
	assert_int_equal(victim_end(&v), 0);
}

static void options(void)
{
	char buf[32];

	s = dtrace_open(DTRACE_VERSION, 0, NULL);
	dtrace_getopt(s, "patience", buf, sizeof(buf));
	assert_string_equal(buf, "100ms");
	assert_int_equal(dtrace_setopt(s, "patience", "2sec"), 0);
	dtrace_getopt(s, "patience", buf, sizeof(buf));
	assert_string_equal(buf, "2000ms");
	assert_int_equal(dtrace_setopt(s, "patience", "none"), 0);
	dtrace_getopt(s, "patience", buf, sizeof(buf));
	assert_string_equal(buf, "none");
	assert_int_equal(dtrace_setopt(s, "patience", "1ns"), -1);
	assert_int_equal(dtrace_setopt(s, "patience", "soon"), -1);
	dtrace_close(s);
}

static const struct harness_test tests[] = {
	TEST(no_call_is_missed),
	TEST(no_call_is_missed_musl),
	TEST(from_the_first_instruction),
	TEST(a_hook_that_fails),
	TEST(a_hook_that_is_slow),
	TEST(another_mapping_in_its_place),
	TEST(options),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
