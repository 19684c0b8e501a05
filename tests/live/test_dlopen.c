/* SPDX-License-Identifier: MIT */
/*
 * Many libraries, in a victim that runs: storms of dlopen from several threads with
 * namespaces, and a thousand libraries at once. What the session has told must be what
 * the victim's own dynamic linker says and what /proc/PID/maps shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dtrace.h"
#include "harness/harness.h"

enum {
	MANY = 1000,
	PART = 100,
	BIG = 1000, /* mappings of a snapshot that is dear */
	MAX_OBJECTS = 4096,
	THREADS = 4,
	COPIES = 8, /* of each thread */
	TIMES = 60,
};

/* Objects that are there, as they have been told. */
struct told {
	uint64_t base[MAX_OBJECTS]; /* n of them, in no order */
	size_t n;                   /* how many */
	size_t came, gone;          /* events */
	size_t strange;             /* that went and had not come */
	uint64_t missed;            /* events that were dropped */
};

static struct told told;
static char dir[64];

/* --- libraries ---------------------------------------------------------------------- */

/* glibc knows a library by device and inode: a link would be the same one. */
static void copy(int from, off_t size, int number)
{
	char path[128];
	off_t at = 0;
	int to;

	snprintf(path, sizeof(path), "%s/%d.so", dir, number);
	to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	assert_int_above(to, -1);
	while (at < size)
		assert_int_above(sendfile(to, from, &at, (size_t)(size - at)), 0);
	close(to);
}

static void make_libraries(int n)
{
	int from = open(victim_path("libvictim_one.so"), O_RDONLY | O_CLOEXEC);
	struct stat st;

	strcpy(dir, "/tmp/pgrab-dlopen-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(fstat(from, &st), 0);
	for (int i = 0; i < n; i++)
		copy(from, st.st_size, i);
	close(from);
}

static void remove_libraries(int n)
{
	char path[128];

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%d.so", dir, i);
		unlink(path);
	}
	rmdir(dir);
}

/* --- what is told ------------------------------------------------------------------- */

static void take_out(uint64_t base)
{
	size_t i = 0;

	while (i < told.n && told.base[i] != base)
		i++;
	if (i == told.n)
		told.strange++;
	else
		told.base[i] = told.base[--told.n];
}

static void on_event(const dtrace_procev_t *ev, void *arg)
{
	(void)arg;
	told.missed += ev->missed;
	if (ev->kind == DT_PROC_EV_DLCLOSE) {
		told.gone++;
		take_out(ev->base);
	}
	if (ev->kind != DT_PROC_EV_DLOPEN)
		return;
	told.came++;
	assert_int_below(told.n, MAX_OBJECTS);
	told.base[told.n++] = ev->base;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The victim's own list. */
static size_t ask_list(struct victim *v, uint64_t *ret_base)
{
	const char *line;
	size_t n = 0;

	victim_send(v, "list");
	while (strcmp(line = victim_line(v), ".")) {
		assert_int_below(n, MAX_OBJECTS);
		ret_base[n++] = strtoull(line, NULL, 16);
	}
	return n;
}

/* How many times a library of ours is mapped, by its first page. */
static size_t count_mapped(pid_t pid)
{
	char path[64], line[1024];
	uint64_t offset;
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += sscanf(line, "%*s %*s %" SCNx64, &offset) == 1 && !offset &&
		     strstr(line, dir);
	fclose(f);
	return n;
}

static int count_ours(void *arg, const prmap_t *map, const char *name)
{
	(void)map;
	*(size_t *)arg += name && strstr(name, dir);
	return 0;
}

/* All three agree. The events of what the victim has done may be on their way. */
static void compare(dtrace_hdl_t *s, struct ps_prochandle *P, struct victim *v)
{
	static uint64_t own[MAX_OBJECTS];
	size_t n = ask_list(v, own), mapped = count_mapped(v->pid), objects = 0;
	int64_t end = harness_now_ms() + harness_ms(10000);

	while (told.n != n && harness_now_ms() < end)
		dtrace_sleep(s);
	assert_int_equal(told.n, n);
	qsort(own, n, sizeof(*own), by_value);
	qsort(told.base, told.n, sizeof(*told.base), by_value);
	assert_memory_equal(own, told.base, n * sizeof(*own));
	assert_int_equal(told.strange, 0);
	assert_int_equal(told.missed, 0);
	Pobject_iter(P, count_ours, &objects);
	assert_int_equal(objects, mapped);
}

/* --- a thousand --------------------------------------------------------------------- */

static struct ps_prochandle *hold(dtrace_hdl_t *s, pid_t pid)
{
	struct ps_prochandle *P = dtrace_proc_grab(s, pid, 0);

	if (!P)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	dtrace_proc_continue(s, P);
	return P;
}

static dtrace_hdl_t *begin(void)
{
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);

	assert_non_null(s);
	assert_int_equal(dtrace_setopt(s, "patience", "none"), 0);
	assert_int_equal(dtrace_handle_procev(s, on_event, NULL), 0);
	return s;
}

/* Opens all: ns of each part. */
static void open_all(struct victim *v, uint64_t *ret_ns)
{
	for (int i = 0; i < MANY / PART; i++) {
		victim_send(v, "open %s %d %d", dir, i * PART, PART);
		ret_ns[i] = victim_number(v, "ns=");
	}
}

static uint64_t close_all(struct victim *v)
{
	uint64_t ns = 0;

	for (int i = 0; i < MANY / PART; i++) {
		victim_send(v, "close %d %d", i * PART, PART);
		ns += victim_number(v, "ns=");
	}
	return ns;
}

static void tell_times(const char *what, const uint64_t *ns, uint64_t closing)
{
	printf("# %s: %d dlopens in", what, PART);
	for (int i = 0; i < MANY / PART; i++)
		printf(" %.1f", (double)ns[i] / 1e6);
	printf(" ms, 1,000 dlcloses in %.1f ms\n", (double)closing / 1e6);
	fflush(stdout);
}

/* PROCMAP_QUERY is there since Linux 6.11. */
static bool knows_one_mapping(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	uname(&u);
	sscanf(u.release, "%d.%d", &major, &minor);
	return major > 6 || (major == 6 && minor >= 11);
}

/* The library's log says of each snapshot how many mappings it has. */
static void log_snapshots(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/log", dir);
	setenv("PGRAB_DEBUG", "image:1", 1);
	setenv("PGRAB_DEBUG_FILE", path, 1);
}

/* Of the big ones. Fails when each dlopen has one: what it costs then grows with all that
 * is mapped. Counted, since time depends on who else is at work. */
static void check_snapshots(void)
{
	char path[96], line[512];
	unsigned big = 0, all = 0, n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/log", dir);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, "snapshot: ");

		if (!at || sscanf(at, "snapshot: %u", &n) != 1)
			continue;
		all++;
		big += n > BIG;
	}
	fclose(f);
	unlink(path);
	printf("# %u snapshots, %u of them big\n", all, big);
	fflush(stdout);
	assert_int_above(big, 0);
	if (knows_one_mapping())
		assert_int_below(big, MANY / 3);
}

static void a_thousand(const char *name, bool closes)
{
	uint64_t alone[MANY / PART], held[MANY / PART], closing;
	dtrace_hdl_t *s = begin();
	struct ps_prochandle *P;
	struct victim v;

	victim_start(&v, name, NULL);
	victim_expect(&v, "ready");
	if (closes) {
		open_all(&v, alone);
		closing = close_all(&v);
		tell_times("alone", alone, closing);
	}
	P = hold(s, v.pid);
	open_all(&v, held);
	compare(s, P, &v);
	assert_int_above(told.n, MANY);
	closing = close_all(&v);
	tell_times("held", held, closing);
	compare(s, P, &v);
	assert_int_equal(told.gone, closes ? MANY : 0);
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

/* The log stays open as long as its process lives. */
static void a_thousand_logged(const char *name, bool closes)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		log_snapshots();
		a_thousand(name, closes);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		_exit(1); /* it has said why */
	check_snapshots();
}

static void a_thousand_libraries(void)
{
	make_libraries(MANY);
	a_thousand_logged("hoard", true);
	remove_libraries(MANY);
}

/* Of musl: what is closed stays. */
static void a_thousand_libraries_musl(void)
{
	if (!victim_exists("hoard-musl"))
		harness_skip("no musl-gcc");
	make_libraries(MANY);
	a_thousand_logged("hoard-musl", false);
	remove_libraries(MANY);
}

/* --- storms ------------------------------------------------------------------------- */

static void a_storm(const char *name)
{
	dtrace_hdl_t *s = begin();
	struct ps_prochandle *P;
	struct victim v;

	victim_start(&v, name, NULL);
	victim_expect(&v, "ready");
	P = hold(s, v.pid);
	victim_send(&v, "storm %s %d %d", dir, THREADS, TIMES);
	assert_int_equal(victim_number(&v, "opened="), THREADS * TIMES);
	compare(s, P, &v);
	dtrace_close(s);
	assert_int_equal(victim_end(&v), 0);
}

static void storms_from_four_threads(void)
{
	make_libraries(THREADS * COPIES);
	for (int i = 0; i < 5; i++) {
		memset(&told, 0, sizeof(told));
		a_storm("hoard");
		assert_int_above(told.gone, THREADS * (TIMES - 2) - 1);
	}
	remove_libraries(THREADS * COPIES);
}

static void storms_from_four_threads_musl(void)
{
	if (!victim_exists("hoard-musl"))
		harness_skip("no musl-gcc");
	make_libraries(THREADS * COPIES);
	a_storm("hoard-musl");
	remove_libraries(THREADS * COPIES);
}

static const struct harness_test tests[] = {
	TEST_IN(a_thousand_libraries, 60),
	TEST_IN(a_thousand_libraries_musl, 60),
	TEST_IN(storms_from_four_threads, 60),
	TEST(storms_from_four_threads_musl),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
