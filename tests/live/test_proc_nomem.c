/* SPDX-License-Identifier: MIT */
/*
 * Memory runs out at the n-th allocation, for every n: each call of a handle fails clean
 * and works afterwards, and no victim is worse for it. Linked with --wrap.
 */
#include "proc_test.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

static unsigned countdown; /* the allocation that fails; 0: none */
static bool failed;        /* it has */

static bool fails(void)
{
	if (!countdown || --countdown)
		return false;
	failed = true;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

/* Something that allocates: true when all of it went well. */
typedef bool scenario_f(pid_t pid);

/* Lets every allocation fail in turn until one run has needed fewer. */
static void run_out(scenario_f *scenario, pid_t pid)
{
	unsigned n = 0;
	bool good;

	do {
		failed = false;
		countdown = ++n;
		good = scenario(pid);
		countdown = 0;
		if (!good && !failed)
			fail_msg("failed without cause at n = %u", n);
	} while (failed);
	assert_true(good && n > 1);
}

static int any_map(void *arg, const prmap_t *m, const char *name)
{
	return 0;
}

static int any_env(void *arg, struct ps_prochandle *P, uintptr_t addr, const char *s)
{
	return 0;
}

static int any_lwp(void *arg, const lwpstatus_t *l)
{
	return 0;
}

static int any_object(const rd_loadobj_t *obj, void *arg)
{
	return 1;
}

static bool look_around(struct ps_prochandle *P)
{
	char buf[64];
	GElf_Sym sym;
	bool good;

	good = !Plookup_by_name(P, PR_OBJ_EXEC, "beat", &sym);
	good &= !Plookup_by_addr(P, (uintptr_t)beat, buf, sizeof(buf), &sym);
	good &= !Pmapping_iter(P, any_map, NULL);
	good &= !Penv_iter(P, any_env, NULL);
	good &= !Plwp_iter(P, any_lwp, NULL);
	good &= Pexecname(P, buf, sizeof(buf)) != NULL;
	good &= Pgetauxval(P, AT_PAGESZ) > 0;
	good &= Ppsinfo(P) != NULL;
	good &= Pname_to_map(P, "libc") != NULL;
	Pupdate_syms(P);
	return good;
}

static bool read_only(pid_t pid)
{
	int err;
	struct ps_prochandle *P = Pgrab(pid, PGRAB_RDONLY, &err);
	rd_agent_t *rd;
	bool good;

	if (!P)
		return false;
	good = look_around(P);
	rd = rd_new(P);
	good &= rd && rd_loadobj_iter(rd, any_object, NULL) == RD_OK;
	rd_delete(rd);
	Prelease(P, 0);
	return good;
}

static bool under_control(pid_t pid)
{
	int err;
	struct ps_prochandle *P = Pgrab(pid, 0, &err);
	unsigned long saved;
	bool good;

	if (!P)
		return false;
	good = look_around(P);
	good &= !Psetbkpt(P, (uintptr_t)beat, &saved);
	good &= !Psetrun(P, 0, 0);
	assert_int_equal(Pstop(P, SOON_MS), 0);
	good &= !Ptag_set(P, (uintptr_t)never);
	Ptag_clear(P, (uintptr_t)never);
	Prelease(P, 0);
	return good;
}

/* Objects below the stack, objects in a mapping, and neither. */
static bool made_to_call(pid_t pid)
{
	static char buf[1 << 16];
	int err;
	struct ps_prochandle *P = Pgrab(pid, 0, &err);
	struct stat st;
	bool good;

	if (!P)
		return false;
	good = !pr_stat(P, "/", &st);
	good &= pr_write(P, -1, buf, sizeof(buf)) == -1 && errno == EBADF;
	good &= pr_getpid(P) == pid;
	good &= pr_getpid(P) == pid; /* also when the others have failed */
	Prelease(P, 0);
	return good;
}

static bool create_one(pid_t pid)
{
	char flag[] = "--be", what[] = "exit", *argv[] = { self, flag, what, NULL };
	int err;
	struct ps_prochandle *P = Pcreate(self, argv, &err, NULL, 0);

	Prelease(P, 0);
	return P != NULL;
}

/* Writes a core and looks around in it. */
static bool cored(pid_t pid)
{
	char path[64];
	int err;
	struct ps_prochandle *P = Pgrab(pid, 0, &err);
	bool good;

	if (!P)
		return false;
	snprintf(path, sizeof(path), "/tmp/test_nomem.%d", getpid());
	good = !Pgcore(P, path, 0);
	assert_int_equal(good, !access(path, F_OK)); /* all of it, or nothing */
	Prelease(P, 0);
	P = good ? Pgrab_core(path, NULL, 0, &err) : NULL;
	unlink(path);
	if (!P)
		return false;
	good = look_around(P);
	Prelease(P, 0);
	return good;
}

static void test_cored(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);

	run_out(cored, pid);
	assert_beats(s);
	end(pid);
}

static void test_read_only(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);

	run_out(read_only, pid);
	assert_beats(s);
	end(pid);
}

static void test_under_control(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);

	run_out(under_control, pid);
	assert_int_equal(tracer_of(pid), 0);
	assert_beats(s);
	end(pid);
}

static void test_made_to_call(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);

	run_out(made_to_call, pid);
	assert_beats(s);
	end(pid);
}

static void test_create(void)
{
	run_out(create_one, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
	assert_int_equal(errno, ECHILD);
}

static const struct harness_test tests[] = {
	TEST(test_read_only), TEST(test_under_control), TEST(test_made_to_call),
	TEST(test_create),    TEST(test_cored),         TEST_END
};

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
