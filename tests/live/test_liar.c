/* SPDX-License-Identifier: MIT */
/*
 * A victim whose link maps are lies, told at the very moment when they are read: loops,
 * garbage, endless names, lists without end, other versions. Whatever it says, it runs
 * on; the reading ends soon and takes little memory; who makes probes in new objects is
 * told that the lists made no sense; and as soon as they are true again, so is what is
 * told of them.
 */
#include <stdio.h>
#include <sys/resource.h>

#include "dtrace.h"
#include "harness/harness.h"

/* A sanitizer keeps what has been freed, and a shadow of everything. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_COUNTS 0
#else
#define MEMORY_COUNTS 1
#endif

enum {
	RACES = 2000,
	MEMORY_MAX = 96 << 10, /* KiB, of us at most: 40 MiB it is */
	LIE_MAX_MS = 1500,     /* the longest takes 40 to 130: 65,536 link maps */
};

static const char *const lies[] = { "loop",  "itself",    "garbage",   "nowhere",
				    "names", "noname",    "strangers", "nothing",
				    "wild",  "newest",    "breakless", "elsewhere",
				    "ring",  "off",       "oldest",    "many",
				    "wordy", "stateless", "crowd",     "oldest" };

/* Those that can be told from the truth. */
static const char *const senseless[] = { "loop",  "itself", "garbage",  "nowhere",
					 "names", "noname", "wild",     "newest",
					 "many",  "wordy",  "stateless" };

static dtrace_hdl_t *s;
static int opened, texts;
static char said[256];

static int on_objects(dtrace_hdl_t *dtp, struct ps_prochandle *P,
		      const dtrace_objects_t *what, void *arg)
{
	(void)dtp, (void)P, (void)arg;
	for (size_t i = 0; i < what->ncame; i++)
		if (strstr(what->came[i].path, "libvictim_one"))
			__atomic_fetch_add(&opened, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void on_notice(struct ps_prochandle *P, const char *text, void *arg)
{
	(void)P, (void)arg;
	if (!text)
		return;
	texts++;
	snprintf(said, sizeof(said), "%s", text);
}

static void begin(struct victim *v, const char *name)
{
	struct ps_prochandle *P;

	s = dtrace_open(DTRACE_VERSION, 0, NULL);
	assert_non_null(s);
	dtrace_setopt(s, "patience", "none");
	dtrace_handle_proc(s, on_notice, NULL);
	dtrace_handle_objects(s, on_objects, NULL);
	victim_start(v, name, NULL);
	victim_expect(v, "ready");
	P = dtrace_proc_grab(s, v->pid, 0);
	if (!P)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	dtrace_proc_continue(s, P);
}

static void tell_lie(struct victim *v, const char *lie)
{
	uint64_t ns;

	victim_send(v, "lie %s", lie);
	ns = victim_number(v, "ns=");
	if (ns > LIE_MAX_MS / 2 * 1000000ull)
		printf("# %s: %.0f ms\n", lie, (double)ns / 1e6);
	assert_int_below(ns / 1000000, harness_ms(LIE_MAX_MS));
}

static void end(struct victim *v)
{
	struct rusage use;

	victim_send(v, "open %s", victim_path("libvictim_one.so"));
	victim_expect(v, "opened");
	assert_int_equal(__atomic_load_n(&opened, __ATOMIC_SEQ_CST), 1);
	dtrace_close(s);
	assert_int_equal(victim_end(v), 0);
	getrusage(RUSAGE_SELF, &use);
	if (MEMORY_COUNTS)
		assert_int_below(use.ru_maxrss, MEMORY_MAX);
}

/* --- lies --------------------------------------------------------------------------- */

static void every_lie(const char *name)
{
	struct victim v;

	begin(&v, name);
	for (int times = 0; times < 3; times++)
		for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++)
			tell_lie(&v, lies[i]);
	end(&v);
}

/* Fails when a loop is followed for ever, a name or list has no bound, the watched
 * address is forgotten because r_brk says so, what was known before a lie is lost, or a
 * crowd of 65,000 objects that may be takes the square of its time. */
static void a_liar_runs_on(void)
{
	every_lie("liar");
}

static void a_liar_runs_on_musl(void)
{
	if (!victim_exists("liar-musl"))
		harness_skip("no musl-gcc");
	every_lie("liar-musl");
}

/* The lists change while they are read. */
static void lies_in_a_race(void)
{
	struct victim v;

	begin(&v, "liar");
	for (int i = 0; i < 5; i++) {
		victim_send(&v, "race %d", RACES);
		victim_number(&v, "ns=");
	}
	tell_lie(&v, "strangers");
	end(&v);
}

/* --- the news of it ----------------------------------------------------------------- */

/* Fails when lists that cannot be read are passed over in silence, or told each time. */
static void nonsense_is_told_once(void)
{
	size_t n = sizeof(senseless) / sizeof(*senseless);
	char want[256];
	struct victim v;

	begin(&v, "liar");
	snprintf(want, sizeof(want),
		 "pid %d: its link maps make no sense: new objects may not have been "
		 "looked at",
		 v.pid);
	for (size_t i = 0; i < n; i++) {
		tell_lie(&v, senseless[i]);
		tell_lie(&v, senseless[i]);
		while (texts < (int)i + 1)
			dtrace_sleep(s);
		assert_string_equal(said, want);
		tell_lie(&v, "strangers"); /* which can be read */
		assert_int_equal(texts, i + 1);
	}
	end(&v);
}

static const struct harness_test tests[] = {
	TEST_IN(a_liar_runs_on, 60),
	TEST_IN(a_liar_runs_on_musl, 60),
	TEST_IN(lies_in_a_race, 60),
	TEST_IN(nonsense_is_told_once, 60),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
