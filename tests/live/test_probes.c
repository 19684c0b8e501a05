/* SPDX-License-Identifier: MIT */
/*
 * What descriptions match in a process: functions of every kind, by exact lists; other
 * link maps; text with somebody's traps in it. The truth is what the victim says and what
 * its bytes are (probed.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "harness/harness.h"
#include "probe/probe.h"

enum {
	MAX_LINES = 8192,
	LINE = 256
};

/* What has been matched: a line each, sorted. */
struct matched {
	char line[MAX_LINES][LINE]; /* … */
	int n;                      /* how many */
	uint64_t func;              /* of the last one */
	long lmid;                  /* likewise */
	char module[LINE];          /* likewise */
};

static struct matched got;

/* FUNCTION:NAME, then the offsets of its spots; `?` fires by where it goes, `c` is in
 * another half. */
static int note(void *arg, const struct probe *p)
{
	char *to = got.line[got.n];
	size_t room = LINE;

	(void)arg;
	assert_int_below(got.n, MAX_LINES);
	got.n++;
	got.func = p->func;
	got.lmid = p->lmid;
	snprintf(got.module, sizeof(got.module), "%s", p->module);
	snprintf(to, room, "%s:%s", p->function, p->name);
	for (size_t i = 0; i < p->nspots && p->kind != PROBE_ENTRY; i++) {
		const struct probe_spot *s = &p->spots[i];
		size_t len = strlen(to);

		if (s->addr - p->func < p->size)
			snprintf(to + len, room - len, "+%lx%s",
				 (unsigned long)(s->addr - p->func), s->hi ? "?" : "");
		else
			snprintf(to + len, room - len, "+c");
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* What it matches, in a line; or the sentence. */
static const char *match(struct ps_prochandle *P, const char *description)
{
	static char text[65536];
	struct probe_desc d;
	char err[256] = "";
	size_t len = 0;
	int rc;

	memset(&got, 0, sizeof(got));
	if (probe_parse(description, &d, err, sizeof(err)))
		fail_msg("%s", err);
	rc = probe_match(P, &d, NULL, 0, note, NULL, err, sizeof(err));
	probe_desc_fini(&d);
	if (rc < 0)
		return strcpy(text, err);
	assert_int_equal(rc, got.n);
	qsort(got.line, (size_t)got.n, LINE, compare);
	text[0] = '\0';
	for (int i = 0; i < got.n && len < sizeof(text) - LINE - 1; i++)
		len += (size_t)sprintf(text + len, i ? " %s" : "%s", got.line[i]);
	return text;
}

/* Starts the victim and looks at it. */
static struct ps_prochandle *look(struct victim *v, const char *name)
{
	struct ps_prochandle *P;
	int err;

	victim_start(v, name, NULL);
	victim_expect(v, "ready");
	P = Pgrab(v->pid, PGRAB_RDONLY, &err);
	if (!P)
		fail_msg("%s", Pgrab_error(err));
	return P;
}

static uint64_t said(const struct victim *v, const char *what)
{
	const char *at = strstr(v->line, what);

	assert_non_null(at);
	return strtoull(at + strlen(what), NULL, 16);
}

static void end(struct victim *v, struct ps_prochandle *P)
{
	Prelease(P, 0);
	assert_int_equal(victim_end(v), 0);
}

static void check_functions(const char *name)
{
	struct victim v;
	struct ps_prochandle *P = look(&v, name);

	/* Fails when an alias, a resolver, a label or a cold half comes too. */
	assert_string_equal(match(P, "pid$target:a.out:p_*:entry"),
			    "p_choice_a:entry p_cond:entry p_first:entry "
			    "p_half:entry p_plt:entry p_pointer:entry p_ret:entry "
			    "p_static:entry p_table:entry p_tail:entry");
	assert_string_equal(match(P, "p_second"), "p_first:entry");
	assert_int_equal(got.func, said(&v, "first="));
	assert_string_equal(match(P, "a.out:p_we*"), "p_first:entry");
	assert_string_equal(match(P, "p_static"), "p_static:entry");
	assert_int_equal(got.func, said(&v, "static="));
	assert_string_equal(match(P, "pid$target:a.out:p_bare:"),
			    "p_bare:0+0 p_bare:1+1 p_bare:2+2 p_bare:entry "
			    "p_bare:return+2");
	assert_int_equal(got.func, said(&v, "bare="));
	assert_string_equal(match(P, "a.out:p_chosen"), "p_choice_a:entry");
	assert_string_equal(match(P, "a.out:p_data"),
			    "failed to lookup 'p_data' in module 'a.out'");
	assert_string_equal(match(P, "a.out:p_nothing"),
			    "failed to lookup 'p_nothing' in module 'a.out'");
	assert_string_equal(match(P, "no_such_module:p_first"), "");
	end(&v, P);
}

static void check_returns(const char *name)
{
	struct victim v;
	struct ps_prochandle *P = look(&v, name);

	assert_string_equal(match(P, "a.out:p_ret:return"), "p_ret:return+1");
	assert_string_equal(match(P, "a.out:p_tail:return"), "p_tail:return+0");
	assert_string_equal(match(P, "a.out:p_cond:return"), "p_cond:return+2?+8");
	assert_string_equal(match(P, "a.out:p_plt:return"), "p_plt:return+0");
	assert_string_equal(match(P, "a.out:p_table:return"), "p_table:return+14+15");
	assert_string_equal(match(P, "a.out:p_pointer:return"), "p_pointer:return+0?");
	assert_string_equal(match(P, "a.out:p_ret:1"), "p_ret:1+1");
	assert_string_equal(match(P, "a.out:p_cond:3"),
			    "offset 0x3 is not aligned on an instruction");
	assert_string_equal(match(P, "a.out:p_cond:9"),
			    "offset 0x9 outside of function 'p_cond'");
	/* Its cold half returns too: fails when that is a function of its own. */
	match(P, "a.out:p_half:return");
	assert_true(!strcmp(got.line[0], "p_half:return+c+8") ||
		    !strcmp(got.line[0], "p_half:return+8+c"));
	end(&v, P);
}

static const char *const variants[] = { "probed", "probed-nopie", "probed-static",
					"probed-static-pie" };

static void functions(void)
{
	for (size_t i = 0; i < sizeof(variants) / sizeof(*variants); i++)
		check_functions(variants[i]);
}

static void returns(void)
{
	for (size_t i = 0; i < sizeof(variants) / sizeof(*variants); i++)
		check_returns(variants[i]);
	if (victim_exists("probed-musl"))
		check_returns("probed-musl");
}

/* Without symbols for what a function jumps to: fails when a half is taken for a function
 * or the other way round, or a jump with the frame still there for a tail call. */
static void ways_by_frame_information(void)
{
	int err;
	struct ps_prochandle *P = Pgrab_file(victim_path("libvictim_ways.so"), &err);

	if (!P)
		fail_msg("%s", Pgrab_error(err));
	assert_string_equal(match(P, "a.out:w_*:entry"),
			    "w_back:entry w_bare:entry w_frame:entry w_jumps:entry "
			    "w_middle:entry w_shared:entry w_tail:entry w_unknown:entry");
	assert_string_equal(match(P, "a.out:w_tail:return"), "w_tail:return+0?+6");
	assert_string_equal(match(P, "a.out:w_jumps:return"), "w_jumps:return+a?+c");
	assert_string_equal(match(P, "a.out:w_bare:return"), "w_bare:return+0?+2");
	assert_string_equal(match(P, "a.out:w_unknown:return"), "w_unknown:return+4?");
	assert_string_equal(match(P, "a.out:w_middle:return"), "w_middle:return+0");
	assert_string_equal(match(P, "a.out:w_shared:return"), "w_shared:return+2");
	match(P, "a.out:w_back:return");
	assert_true(!strcmp(got.line[0], "w_back:return+c+6") ||
		    !strcmp(got.line[0], "w_back:return+6+c"));
	match(P, "a.out:w_frame:return");
	assert_true(!strcmp(got.line[0], "w_frame:return+c+e") ||
		    !strcmp(got.line[0], "w_frame:return+e+c"));
	Prelease(P, 0);
}

/* The program by all of its names, libc by its own. */
static void modules(void)
{
	static const char *const program[] = { "a.out",     "probed",   "prob*",
					       "LM0`a.out", "*/probed", "" };
	static const char *const libc[] = { "libc",     "libc.so",  "libc.so.6",
					    "libc.so*", "lib[c].*", "*/libc.so.6" };
	struct victim v;
	struct ps_prochandle *P = look(&v, "probed");
	char text[256];

	for (size_t i = 0; i < sizeof(program) / sizeof(*program); i++) {
		snprintf(text, sizeof(text), "pid$target:%s:p_first:entry", program[i]);
		assert_string_equal(match(P, text), "p_first:entry");
		assert_string_equal(got.module, "probed");
	}
	snprintf(text, sizeof(text), "%s:p_first", victim_path("probed"));
	assert_string_equal(match(P, text), "p_first:entry");
	for (size_t i = 0; i < sizeof(libc) / sizeof(*libc); i++) {
		snprintf(text, sizeof(text), "%s:malloc", libc[i]);
		assert_string_equal(match(P, text), "malloc:entry");
		assert_string_equal(got.module, "libc.so.6");
	}
	assert_string_equal(match(P, "lib:malloc"), "");
	assert_string_equal(match(P, "LM1`libc:malloc"), "");
	/* Shared by all, and in no file: only by its name. */
	assert_string_equal(match(P, "*:__vdso_clock_gettime"), "");
	assert_string_equal(match(P, "[vdso]:__vdso_clock_gettime"),
			    "clock_gettime:entry");
	end(&v, P);
}

/* An absolute address, in the program only. */
static void addresses(void)
{
	struct victim v;
	struct ps_prochandle *P = look(&v, "probed");
	uint64_t at = said(&v, "ret=");
	char text[256], expect[256];

	snprintf(text, sizeof(text), "pid$target:a.out:-:%lx", (unsigned long)at + 1);
	snprintf(expect, sizeof(expect), "-:%lx+c",
		 (unsigned long)at + 1); /* an offset from 0 */
	assert_string_equal(match(P, text), expect);
	assert_int_equal(got.func, 0);
	snprintf(text, sizeof(text), "a.out:-:%lx", (unsigned long)at + 3);
	assert_non_null(strstr(match(P, text), "is not aligned on an instruction"));
	assert_non_null(strstr(match(P, "a.out:-:10"), "outside of function '-'"));
	end(&v, P);
}

/* The same library twice. Fails when one of them hides the other. */
static void link_maps(void)
{
	struct victim v;
	struct ps_prochandle *P = look(&v, "probed");
	uint64_t first;

	victim_send(&v, "open libc.so.6");
	if (strcmp(victim_line(&v), "opened") != 0) {
		end(&v, P);
		harness_skip("no dlmopen");
	}
	assert_string_equal(match(P, "libc:malloc"), "malloc:entry malloc:entry");
	assert_string_equal(match(P, "LM0`libc:malloc"), "malloc:entry");
	assert_int_equal(got.lmid, 0);
	first = got.func;
	assert_string_equal(match(P, "LM1`libc:malloc"), "malloc:entry");
	assert_int_equal(got.lmid, 1);
	assert_true(first != got.func);
	assert_string_equal(match(P, "LM1`:malloc"), "malloc:entry");
	assert_string_equal(match(P, "LM2`libc:malloc"), "");
	end(&v, P);
}

/* Fails when text is read from memory. */
static void traps_do_not_matter(void)
{
	static char before[65536];
	struct victim v;
	struct ps_prochandle *P = look(&v, "probed");
	char path[64];
	int fd;

	strcpy(before, match(P, "pid$target:a.out:p_[ch]*:"));
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)v.pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_above(fd, -1);
	for (int i = 0; i < 8; i++)
		assert_int_equal(
			pwrite(fd, "\xcc", 1, (off_t)(said(&v, "ret=") + 2 + 5 + i)), 1);
	close(fd);
	assert_string_equal(match(P, "pid$target:a.out:p_[ch]*:"), before);
	end(&v, P);
}

/* Only in objects with these load biases. */
static void bases_restrict(void)
{
	struct victim v;
	struct ps_prochandle *P = look(&v, "probed");
	uint64_t none = 0x1234000, base;
	struct probe_desc d;
	char err[256];

	match(P, "libc:malloc");
	base = Paddr_to_loadobj(P, got.func)->rl_base;
	assert_int_equal(probe_parse("::entry", &d, err, sizeof(err)), 0);
	memset(&got, 0, sizeof(got));
	assert_int_equal(probe_match(P, &d, &none, 1, note, NULL, err, sizeof(err)), 0);
	assert_int_above(probe_match(P, &d, &base, 1, note, NULL, err, sizeof(err)),
			 1000);
	assert_string_equal(got.module, "libc.so.6");
	probe_desc_fini(&d);
	end(&v, P);
}

static int stop_at_third(void *arg, const struct probe *p)
{
	int *n = arg;

	(void)p;
	return ++*n == 3 ? 42 : 0;
}

static void the_caller_may_end_it(void)
{
	struct victim v;
	struct ps_prochandle *P = look(&v, "probed");
	struct probe_desc d;
	char err[256];
	int n = 0;

	assert_int_equal(probe_parse("::", &d, err, sizeof(err)), -EINVAL);
	assert_int_equal(probe_parse("::*", &d, err, sizeof(err)), 0);
	assert_int_equal(probe_match(P, &d, NULL, 0, stop_at_third, &n, err, sizeof(err)),
			 42);
	assert_int_equal(n, 3);
	probe_desc_fini(&d);
	end(&v, P);
}

/* Of a victim that has gone: what its last snapshot shows, or a sentence; never a
 * crash. */
static void the_victim_may_have_gone(void)
{
	struct victim v;
	struct ps_prochandle *P = look(&v, "probed");

	match(P, "a.out:p_first:return");
	victim_kill(&v);
	match(P, "a.out:p_first:return");
	match(P, "::entry");
	Prelease(P, 0);
}

static const struct harness_test tests[] = {
	TEST(functions),
	TEST(returns),
	TEST(ways_by_frame_information),
	TEST(modules),
	TEST(addresses),
	TEST(link_maps),
	TEST(traps_do_not_matter),
	TEST(bases_restrict),
	TEST(the_caller_may_end_it),
	TEST(the_victim_may_have_gone),
	TEST_END,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, tests);
}
