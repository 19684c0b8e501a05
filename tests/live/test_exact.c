/* SPDX-License-Identifier: MIT */
/*
 * Function probes are exact: what they count, and which return belongs to which entry, is
 * what the victim says of itself (tests/victims/exact.c), by either backend; and its
 * results are those of an undisturbed run.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dtprobe.h"
#include "harness/harness.h"

enum {
	MAX_FUNCTIONS = 64,
	THREADS = 8,
	ROUNDS = 150, /* counted; by traps, told too: those wait for room */
	FEW = 40,     /* told by the kernel: there is room for all at once */
};

/* One function, as the victim and as the probes have it. */
struct tally {
	char name[32];
	unsigned long entries, returns; /* as the victim says */
	unsigned long hits[2];          /* counted: entries, returns */
	unsigned long told[2];          /* as events */
	unsigned long matched;          /* returns with their entry */
};

static struct tally all[MAX_FUNCTIONS];
static unsigned nall;
static long sum, wrong;
static char report[64];
static dtrace_hdl_t *s;
static dtrace_probes_t *set;
static bool ended;
static uint64_t lost;
static int read_ms = 5; /* between two reads */
static unsigned long bad_args, bad_values, stacks, short_stacks;

static const char *const descriptions[] = {
	"exact:p_*:entry",
	"exact:p_*:return",
	"exact:p_rec", /* again: no probe is made twice */
	"libexact_lib:lib_*:entry",
	"libexact_lib:lib_*:return",
};

static struct tally *find(const char *name)
{
	for (unsigned i = 0; i < nall; i++)
		if (!strcmp(all[i].name, name))
			return &all[i];
	return NULL;
}

static void read_report(void)
{
	FILE *f = fopen(report, "r");
	struct tally t = { 0 };

	assert_non_null(f);
	assert_int_equal(fscanf(f, "sum %ld %ld", &sum, &wrong), 2);
	while (fscanf(f, "%31s %lu %lu", t.name, &t.entries, &t.returns) == 3) {
		struct tally *old = find(t.name);

		if (!old)
			old = &all[nall++];
		memcpy(old->name, t.name, sizeof(t.name));
		old->entries = t.entries;
		old->returns = t.returns;
	}
	fclose(f);
	unlink(report);
}

static char **victim_argv(unsigned threads, unsigned rounds)
{
	static char path[512], lib[512], n[16], r[16];
	static char *argv[] = { path, n, r, lib, report, NULL };
	const char *dir = getenv("VICTIMS") ?: "tests/victims";

	snprintf(path, sizeof(path), "%s/exact", dir);
	snprintf(lib, sizeof(lib), "%s/libexact_lib.so", dir);
	snprintf(n, sizeof(n), "%u", threads);
	snprintf(r, sizeof(r), "%u", rounds);
	snprintf(report, sizeof(report), "/tmp/pgrab-exact.%d", (int)getpid());
	return argv;
}

/* The checksum of a run without us. */
static long undisturbed(unsigned threads, unsigned rounds)
{
	char **argv = victim_argv(threads, rounds);
	pid_t pid = fork();
	int status;

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	read_report();
	assert_int_equal(wrong, 0);
	return sum;
}

static void on_proc(struct ps_prochandle *P, const char *text, void *arg)
{
	if (text)
		fail_msg("%s", text);
	ended = true;
}

static struct tally *tally_of(const char *name)
{
	struct tally *t = find(name);

	if (!t) {
		assert_int_below(nall, MAX_FUNCTIONS);
		t = &all[nall++];
		snprintf(t->name, sizeof(t->name), "%s", name);
	}
	return t;
}

static int take_count(void *arg, const dtrace_probe_t *p, uint64_t hits)
{
	if (p->kind != DTRACE_PROBE_OFFSET)
		tally_of(p->function)->hits[p->kind == DTRACE_PROBE_RETURN] += hits;
	return 0;
}

/* p_many() is called with (i, 1, 2 … 9). */
static void look_at_args(const dtrace_probe_event_t *ev)
{
	if (strcmp(ev->probe->function, "p_many") != 0)
		return;
	if (ev->probe->kind == DTRACE_PROBE_RETURN) {
		bad_values += (ev->args[1] - 330) > 1000;
		return;
	}
	bad_args += ev->nargs < 10;
	for (unsigned i = 1; i < ev->nargs; i++)
		bad_args += ev->args[i] != i;
}

static void on_event(void *arg, const dtrace_probe_event_t *ev)
{
	struct tally *t = tally_of(ev->probe->function);
	bool is_return = ev->probe->kind == DTRACE_PROBE_RETURN;

	t->told[is_return]++;
	t->matched += is_return && ev->matched;
	look_at_args(ev);
	if (!ev->npcs)
		return;
	stacks++;
	/* what is on an alternate stack ends there: the other one is not copied */
	if (strcmp(ev->probe->function, "p_handler") != 0 &&
	    strcmp(ev->probe->function, "p_on_alt") != 0)
		short_stacks += ev->npcs < 4 || ev->stack_cut;
}

static void begin(int backend, int want)
{
	dtrace_probe_opts_t opts = {
		.backend = backend, .want = want, .nargs = 10, .zdefs = 1
	};

	s = dtrace_open(DTRACE_VERSION, 0, NULL);
	assert_non_null(s);
	assert_int_equal(dtrace_setopt(s, "patience", "none"), 0);
	assert_int_equal(dtrace_handle_proc(s, on_proc, NULL), 0);
	set = dtrace_probes_open(s, &opts);
	assert_non_null(set);
	assert_null(dtrace_probes_open(s, &opts)); /* one a session */
	for (unsigned i = 0; i < sizeof(descriptions) / sizeof(*descriptions); i++)
		assert_int_equal(dtrace_probes_add(set, descriptions[i]), 0);
	memset(all, 0, sizeof(all));
	nall = 0;
	ended = false;
	lost = bad_args = bad_values = stacks = short_stacks = 0;
}

static void finish(struct ps_prochandle *P)
{
	if (P)
		dtrace_proc_release(s, P);
	dtrace_probes_close(set);
	dtrace_close(s);
}

/* Ends the test as skipped when the kernel's backend may not be used here. */
static void need(struct ps_prochandle *P, int backend)
{
	char why[512];

	if (!dtrace_probes_check(set))
		return;
	snprintf(why, sizeof(why), "%s", dtrace_errmsg(s, dtrace_errno(s)));
	finish(P);
	if (backend == DTRACE_PROBE_KERNEL)
		harness_skip("%s", why);
	fail_msg("%s", why);
}

static void trace(struct ps_prochandle *P)
{
	struct pollfd p = { .fd = dtrace_notify_fd(s), .events = POLLIN };

	dtrace_proc_continue(s, P);
	while (!ended) {
		poll(&p, 1, read_ms);
		if (read_ms > 100) /* news does not hasten it */
			poll(NULL, 0, read_ms);
		lost += dtrace_probes_read(set, on_event, NULL);
		dtrace_dispatch(s);
	}
	dtrace_probes_stop(set);
	lost += dtrace_probes_read(set, on_event, NULL);
	dtrace_probes_iter(set, take_count, NULL);
}

static void run(int backend, int want, unsigned threads, unsigned rounds)
{
	char **argv = victim_argv(threads, rounds);
	struct ps_prochandle *P;

	begin(backend, want);
	P = dtrace_proc_create(s, argv[0], argv);
	if (!P)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	need(P, backend);
	assert_string_equal(dtrace_probes_backend(set, Pgetpid(P), NULL),
			    backend == DTRACE_PROBE_TRAP ? "trap" : "kernel");
	trace(P);
	read_report();
	finish(P);
	assert_int_equal(wrong, 0);
	assert_int_equal(lost, 0);
}

static void check_counts(void)
{
	assert_int_above(nall, 20);
	for (unsigned i = 0; i < nall; i++) {
		const struct tally *t = &all[i];

		if (t->hits[0] != t->entries || t->hits[1] != t->returns)
			fail_msg("%s: %lu entries of %lu, %lu returns of %lu", t->name,
				 t->hits[0], t->entries, t->hits[1], t->returns);
	}
}

static void check_events(void)
{
	for (unsigned i = 0; i < nall; i++) {
		const struct tally *t = &all[i];

		if (t->told[0] != t->entries || t->told[1] != t->returns ||
		    t->matched != t->returns)
			fail_msg("%s: told of %lu entries of %lu, %lu returns of %lu, "
				 "%lu matched",
				 t->name, t->told[0], t->entries, t->told[1], t->returns,
				 t->matched);
	}
	assert_int_equal(bad_args, 0);
	assert_int_equal(bad_values, 0);
}

/* Fails when a hit is missed or counted twice, when a jump inside a function (p_switch)
 * counts as a return or a tail call does not, when a library's constructor runs before
 * its probes are there, when a return address was changed, or when a step over a
 * function's first instruction changes what it computes. */
static void count_is_exact(int backend)
{
	long right = undisturbed(THREADS, ROUNDS);

	run(backend, DTRACE_PROBE_COUNT, THREADS, ROUNDS);
	check_counts();
	assert_int_equal(sum, right);
}

static void trap_counts(void)
{
	count_is_exact(DTRACE_PROBE_TRAP);
}

static void kernel_counts(void)
{
	count_is_exact(DTRACE_PROBE_KERNEL);
}

/* Fails when recursion, threads, what longjmp and pthread_exit left, or a handler on
 * another stack make a return find the wrong entry, or none. */
static void events_are_exact(int backend, unsigned rounds)
{
	long right = undisturbed(THREADS, rounds);

	run(backend, DTRACE_PROBE_EVENTS, THREADS, rounds);
	check_counts();
	check_events();
	assert_int_equal(sum, right);
}

static void trap_events(void)
{
	events_are_exact(DTRACE_PROBE_TRAP, ROUNDS);
}

/* Fails when a hit that finds no room is lost while the client goes on reading: there is
 * room for 15,000, and more come between two reads. */
static void trap_events_read_slowly(void)
{
	read_ms = 400;
	events_are_exact(DTRACE_PROBE_TRAP, ROUNDS);
}

static void kernel_events(void)
{
	events_are_exact(DTRACE_PROBE_KERNEL, FEW);
}

/* Fails when the copied stack is not where the registers say. */
static void stacks_are_whole(int backend, unsigned rounds)
{
	run(backend, DTRACE_PROBE_STACKS, 2, rounds);
	check_counts();
	check_events();
	assert_int_above(stacks, 1000);
	assert_int_equal(short_stacks, 0);
}

static void trap_stacks(void)
{
	stacks_are_whole(DTRACE_PROBE_TRAP, ROUNDS);
}

static void kernel_stacks(void)
{
	stacks_are_whole(DTRACE_PROBE_KERNEL, FEW / 2);
}

/* A set that is closed before the objects of a victim have come. Breaks when the victim's
 * record looks at it then (AddressSanitizer). */
static void a_set_closed_early(void)
{
	char *argv[] = { (char *)(uintptr_t) "/bin/true", NULL };
	struct pollfd p;
	struct ps_prochandle *P;

	begin(DTRACE_PROBE_TRAP, DTRACE_PROBE_COUNT);
	assert_int_equal(dtrace_setopt(s, "evaltime", "exec"), 0);
	P = dtrace_proc_create(s, argv[0], argv);
	assert_non_null(P);
	dtrace_probes_close(set);
	set = NULL;
	dtrace_proc_continue(s, P);
	p = (struct pollfd){ .fd = dtrace_notify_fd(s), .events = POLLIN };
	while (!ended && poll(&p, 1, harness_ms(10000)) == 1)
		dtrace_dispatch(s);
	assert_true(ended);
	finish(P);
}

static const struct harness_test tests[] = {
	TEST_IN(trap_events_read_slowly, 60),
	TEST_IN(trap_counts, 60),
	TEST_IN(kernel_counts, 60),
	TEST_IN(trap_events, 60),
	TEST_IN(kernel_events, 60),
	TEST_IN(trap_stacks, 60),
	TEST(a_set_closed_early),
	TEST_IN(kernel_stacks, 60),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
