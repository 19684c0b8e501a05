/* SPDX-License-Identifier: MIT */
/* The driver of the stress tests: see stress.h. */
#include "stress/stress.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	GRACE_S = 120 /* for what a run needs beside its rounds */
};

/* What the command line asks for. */
static struct {
	unsigned rounds; /* so many, unless: */
	int64_t end_ms;  /* until then; 0: by rounds */
	unsigned begun;  /* rounds so far */
	unsigned seed;   /* of the random choices */
} plan;

bool stress_next(void)
{
	if (!stress_wanted())
		return false;
	stress_count(1);
	return true;
}

void stress_count(unsigned n)
{
	plan.begun += n;
}

unsigned stress_rounds(void)
{
	return plan.begun;
}

uint64_t stress_wanted(void)
{
	if (plan.end_ms)
		return harness_now_ms() < plan.end_ms ? UINT64_MAX : 0;
	return plan.begun < plan.rounds ? plan.rounds - plan.begun : 0;
}

void stress_say(const char *fmt, ...)
{
	va_list args;

	fputs("# ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

unsigned stress_random(unsigned n)
{
	return (unsigned)rand_r(&plan.seed) % n;
}

void stress_spin(unsigned us)
{
	struct timespec t;
	int64_t end, now = 0;

	clock_gettime(CLOCK_MONOTONIC, &t);
	for (end = t.tv_sec * 1000000ll + t.tv_nsec / 1000 + us; now < end;) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		now = t.tv_sec * 1000000ll + t.tv_nsec / 1000;
	}
}

/* --- processes ---------------------------------------------------------------------- */

void *stress_page(size_t size, int *ret_fd)
{
	int fd = memfd_create("board", 0);
	void *page;

	assert_int_above(fd, -1);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(page != MAP_FAILED);
	*ret_fd = fd;
	return page;
}

void stress_adopt(void)
{
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

void stress_reap(void (*fn)(pid_t pid, int status))
{
	int64_t end = harness_now_ms() + harness_ms(10000);
	int status;
	pid_t pid;

	for (;;) {
		pid = waitpid(-1, &status, WNOHANG | __WALL);
		if (pid > 0)
			fn(pid, status);
		else if (pid < 0 && errno == ECHILD)
			return;
		else if (!pid && !harness_wait_a_little(end))
			fail_msg("a process that should have ended has not");
	}
}

/* --- text --------------------------------------------------------------------------- */

/* One executable mapping of a file. */
struct text {
	unsigned long start, end, offset; /* where, and of what part */
	char path[4096];                  /* of what */
};

static bool is_text(const char *line, struct text *ret)
{
	char rights[8] = "";

	ret->path[0] = '\0';
	sscanf(line, "%lx-%lx %7s %lx %*s %*s %4095s", &ret->start, &ret->end, rights,
	       &ret->offset, ret->path);
	/* the library that comes and goes may not be there any more when it is read */
	return rights[2] == 'x' && ret->path[0] == '/' &&
	       !strstr(ret->path, "victim_one");
}

static char difference[4400]; /* the last one found, in words */

static enum stress_text name_difference(const struct text *t, const uint8_t *a,
					const uint8_t *b, size_t n)
{
	for (size_t i = n; i-- > 0;)
		if (a[i] != b[i])
			snprintf(difference, sizeof(difference),
				 "%s at 0x%lx holds 0x%02x, not 0x%02x", t->path,
				 t->start + i, a[i], b[i]);
	return TEXT_CHANGED;
}

static enum stress_text compare(int mem, const struct text *t)
{
	static uint8_t got[4 << 20], want[4 << 20];
	size_t n = t->end - t->start;
	int fd = open(t->path, O_RDONLY | O_CLOEXEC);
	ssize_t have;

	assert_int_above(fd, -1);
	assert_int_below(n, sizeof(got));
	have = pread(fd, want, n, (off_t)t->offset);
	close(fd);
	if (have <= 0 || pread(mem, got, (size_t)have, (off_t)t->start) != have)
		return TEXT_GONE;
	if (memcmp(got, want, (size_t)have))
		return name_difference(t, got, want, (size_t)have);
	return TEXT_CLEAN;
}

static FILE *open_in_proc(pid_t pid, const char *name, int *ret_fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	if (!ret_fd)
		return fopen(path, "re");
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return NULL;
}

/* The descriptor for its memory is of the program that it runs now: after an exec it
 * reads nothing. Opened before the list and read after it, it cannot mix two. */
enum stress_text stress_look_at_text(pid_t pid)
{
	static struct text t;
	static char line[5000];
	enum stress_text is = TEXT_GONE;
	FILE *maps;
	int mem;

	open_in_proc(pid, "mem", &mem);
	maps = open_in_proc(pid, "maps", NULL);
	while (mem >= 0 && maps && fgets(line, sizeof(line), maps)) {
		if (!is_text(line, &t))
			continue;
		is = compare(mem, &t);
		if (is != TEXT_CLEAN)
			break;
	}
	if (maps)
		fclose(maps);
	if (mem >= 0)
		close(mem);
	return is;
}

bool stress_text_is_clean(pid_t pid)
{
	enum stress_text is = stress_look_at_text(pid);

	if (is == TEXT_CHANGED)
		fail_msg("process %d: %s", pid, difference);
	return is == TEXT_CLEAN;
}

/* --- main --------------------------------------------------------------------------- */

static unsigned number(const char *text)
{
	char *end;
	unsigned long n = text ? strtoul(text, &end, 10) : 0;

	if (!text || *end || n > UINT32_MAX) {
		fprintf(stderr, "a number, please\n");
		exit(2);
	}
	return (unsigned)n;
}

/* The time that a run may take, seconds. */
static unsigned parse(char **argv, const struct stress *s)
{
	unsigned seconds = 0;

	plan.rounds = s->few;
	plan.seed = (unsigned)time(NULL);
	for (; *argv; argv++) {
		if (!strcmp(*argv, "--full"))
			plan.rounds = s->full;
		else if (!strcmp(*argv, "--rounds"))
			plan.rounds = number(*++argv);
		else if (!strcmp(*argv, "--seconds"))
			seconds = number(*++argv);
		else if (!strcmp(*argv, "--seed"))
			plan.seed = number(*++argv);
		else
			number(NULL);
	}
	if (seconds)
		plan.end_ms = harness_now_ms() + seconds * 1000ll;
	return seconds ? seconds + GRACE_S
		       : GRACE_S + (plan.rounds < 5000 ? plan.rounds / 5 : 1000);
}

int stress_main(int argc, char **argv, const struct stress *s)
{
	struct harness_test tests[] = { { s->name, s->run, 0 }, TEST_END };
	char *alone[] = { argv[0], NULL };

	(void)argc;
	tests[0].seconds = parse(argv + 1, s);
	stress_say("%s: seed %u", s->name, plan.seed);
	return harness_main(1, alone, tests);
}
