/* SPDX-License-Identifier: MIT */
/*
 * The parts of src/proc that need no victim: names of signals, system calls and faults
 * and back, command-line arguments, texts of errors, what a handle on nothing is refused
 * with.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "libproc.h"
#include "rtld_db.h"

/* --- names ---------------------------------------------------- */

static void test_signames(void **state)
{
	char buf[32];
	int sig;

	assert_string_equal(proc_signame(SIGSEGV, buf, sizeof(buf)), "SIGSEGV");
	assert_string_equal(proc_signame(SIGRTMIN, buf, sizeof(buf)), "SIGRTMIN");
	assert_string_equal(proc_signame(SIGRTMIN + 3, buf, sizeof(buf)), "SIGRTMIN+3");
	assert_string_equal(proc_signame(SIGRTMAX, buf, sizeof(buf)), "SIGRTMAX");
	assert_string_equal(proc_signame(99, buf, sizeof(buf)), "SIG#99");
	assert_string_equal(proc_signame(0, buf, sizeof(buf)), "SIG#0");
	assert_string_equal(proc_signame(-1, buf, sizeof(buf)), "SIG#-1");
	assert_string_equal(proc_signame(SIGSEGV, buf, 4), "SIG");
	assert_int_equal(proc_str2sig("segv", &sig), 0);
	assert_int_equal(sig, SIGSEGV);
	assert_int_equal(proc_str2sig("SigTerm", &sig), 0);
	assert_int_equal(sig, SIGTERM);
	assert_int_equal(proc_str2sig("9", &sig), 0);
	assert_int_equal(sig, SIGKILL);
	assert_int_equal(proc_str2sig("RTMIN+3", &sig), 0);
	assert_int_equal(sig, SIGRTMIN + 3);
}

static void test_bad_signames(void **state)
{
	static const char *const bad[] = { "",   "SIG",    "NOSUCH",   "0",  "999",
					   "9x", "RTMIN+", "RTMIN+99", "-9", "RTMIN-1" };
	int sig = 77;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		errno = 0;
		assert_int_equal(proc_str2sig(bad[i], &sig), -1);
		assert_int_equal(errno, EINVAL);
	}
	assert_int_equal(sig, 77);
}

/* Every signal's name leads back to it. */
static void test_signals_round(void **state)
{
	char buf[32];
	int sig;

	for (int i = 1; i <= SIGRTMAX; i++) {
		if (i >= 32 && i < SIGRTMIN)
			continue; /* the C library's own */
		proc_signame(i, buf, sizeof(buf));
		assert_int_equal(proc_str2sig(buf, &sig), 0);
		assert_int_equal(sig, i);
	}
}

static void test_sysnames(void **state)
{
	char buf[64];
	int nr, known = 0;

	assert_string_equal(proc_sysname(SYS_execve, buf, sizeof(buf)), "execve");
	assert_string_equal(proc_sysname(SYS_pidfd_open, buf, sizeof(buf)), "pidfd_open");
	assert_string_equal(proc_sysname(9999, buf, sizeof(buf)), "SYS#9999");
	assert_string_equal(proc_sysname(-1, buf, sizeof(buf)), "SYS#-1");
	assert_int_equal(proc_str2sys("process_vm_readv", &nr), 0);
	assert_int_equal(nr, SYS_process_vm_readv);
	assert_int_equal(proc_str2sys("12", &nr), 0);
	assert_int_equal(nr, 12);
	assert_int_equal(proc_str2sys("nosuchcall", &nr), -1);
	assert_int_equal(errno, EINVAL);
	for (int i = 0; i < 1024; i++) {
		if (!strncmp(proc_sysname(i, buf, sizeof(buf)), "SYS#", 4))
			continue;
		known++;
		assert_int_equal(proc_str2sys(buf, &nr), 0);
		assert_int_equal(nr, i);
	}
	assert_true(known > 300);
}

static void test_fltnames(void **state)
{
	char buf[32];
	int flt;

	assert_string_equal(proc_fltname(FLTBPT, buf, sizeof(buf)), "FLTBPT");
	assert_string_equal(proc_fltname(FLTMAX, buf, sizeof(buf)), "FLT#13");
	assert_string_equal(proc_fltname(99, buf, sizeof(buf)), "FLT#99");
	assert_int_equal(proc_str2flt("fltaccess", &flt), 0);
	assert_int_equal(flt, FLTACCESS);
	assert_int_equal(proc_str2flt("bounds", &flt), 0);
	assert_int_equal(flt, FLTBOUNDS);
	assert_int_equal(proc_str2flt("nonsense", &flt), -1);
	assert_int_equal(proc_str2flt("13", &flt), -1);
}

/* --- arguments ---------------------------------------------------- */

static int accepts(const char *fmt)
{
	char arg[64];
	psinfo_t ps;
	int err = 0;
	pid_t pid;

	snprintf(arg, sizeof(arg), fmt, getpid());
	pid = proc_arg_psinfo(arg, PR_ARG_PIDS, &ps, &err);
	if (pid == getpid())
		return ps.pr_pid == getpid() ? 0 : 99;
	return err;
}

static void test_args(void **state)
{
	static const char *const bad[] = { "%dx", "/proc/%d/exe", "-%d", "proc/%d",
					   "+%d", " %d",          "",    "/proc/" };

	assert_int_equal(accepts("%d"), 0);
	assert_int_equal(accepts("/proc/%d"), 0);
	assert_int_equal(accepts("/proc/%d/"), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(accepts(bad[i]), G_NOARG);
	assert_int_equal(accepts("0"), G_NOARG);
	assert_int_equal(accepts("99999999999"), G_NOARG);
	assert_int_equal(accepts("2147483647"), G_NOPROC);
}

static int find_self(psinfo_t *ps, void *arg)
{
	int *seen = arg;

	++*seen;
	return ps->pr_pid == getpid() ? 42 : 0;
}

static void test_walk(void **state)
{
	int seen = 0;

	assert_int_equal(proc_walk(find_self, &seen), 42);
	assert_true(seen >= 1);
}

static void test_psinfo(void **state)
{
	struct timespec now;
	psinfo_t ps;

	assert_int_equal(proc_get_psinfo(getpid(), &ps), 0);
	clock_gettime(CLOCK_REALTIME, &now);
	assert_int_equal(ps.pr_ppid, getppid());
	assert_int_equal(ps.pr_pgid, getpgrp());
	assert_int_equal(ps.pr_sid, getsid(0));
	assert_int_equal(ps.pr_euid, geteuid());
	assert_int_equal(ps.pr_nlwp, 1);
	assert_int_equal(ps.pr_sname, 'R');
	assert_int_equal(ps.pr_kthread, 0);
	assert_true(strstr(ps.pr_psargs, "test_proc_names") != NULL);
	assert_true(now.tv_sec - ps.pr_start.tv_sec >= -1 &&
		    now.tv_sec - ps.pr_start.tv_sec < 60);
	assert_int_equal(proc_get_psinfo(0, &ps), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(proc_get_psinfo(2, &ps), 0);
	assert_int_equal(ps.pr_kthread, getppid() && !strcmp(ps.pr_fname, "kthreadd"));
}

/* --- errors ---------------------------------------------------- */

static void test_texts(void **state)
{
	for (int err = G_STRANGE; err >= G_NOARG; err--) {
		const char *text = Pgrab_error(err);

		assert_non_null(text);
		assert_true(*text && text[strlen(text) - 1] != '.');
		if (err != G_STRANGE)
			assert_string_not_equal(text, Pgrab_error(G_STRANGE));
	}
	assert_string_equal(Pgrab_error(ENOMEM), strerror(ENOMEM));
	assert_string_equal(Pgrab_error(-1000), Pgrab_error(G_STRANGE));
	assert_string_equal(Pcreate_error(ENOENT), strerror(ENOENT));
	assert_string_equal(Pcreate_error(ENOEXEC), "Exec format error");
	for (int err = RD_ERR; err <= RD_NOMAPS; err++)
		assert_non_null(rd_errstr((rd_err_e)err));
	assert_string_equal(rd_errstr((rd_err_e)77), "unknown error");
	assert_int_equal(rd_init(RD_VERSION), RD_OK);
	assert_int_equal(rd_init(7), RD_NOCAPAB);
}

static void refuse(pid_t pid, int flags, int want)
{
	int err = 12345;

	assert_null(Pgrab(pid, flags, &err));
	assert_int_equal(err, want);
}

static void test_refusals(void **state)
{
	char name[] = "x", *argv[] = { name, NULL };
	int err;

	refuse(0, PGRAB_RDONLY, G_NOPROC);
	refuse(-1, PGRAB_RDONLY, G_NOPROC);
	refuse(0x7fffffff, PGRAB_RDONLY, G_NOPROC);
	refuse(0x7fffffff, 0, G_NOPROC);
	refuse(getpid(), 0, G_SELF);
	assert_null(proc_arg_grab("nonsense", PR_ARG_PIDS, PGRAB_RDONLY, &err));
	assert_int_equal(err, G_NOARG);
	assert_null(Pcreate("/nonexistent/file", argv, &err, NULL, 0));
	assert_int_equal(err, ENOENT);
	assert_null(Pcreate("", argv, &err, NULL, 0));
	assert_int_equal(err, ENOENT);
	assert_null(Pcreate("/etc/passwd", argv, &err, NULL, 0));
	assert_int_equal(err, EACCES);
	assert_null(Pcreate("/etc", argv, &err, NULL, 0));
	assert_true(err == EISDIR || err == EACCES);
}

static void test_about(void **state)
{
	assert_true(pgrab_version()[0] >= '0' && pgrab_version()[0] <= '9');
	assert_true(*pgrab_features());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signames),      cmocka_unit_test(test_bad_signames),
		cmocka_unit_test(test_signals_round), cmocka_unit_test(test_sysnames),
		cmocka_unit_test(test_fltnames),      cmocka_unit_test(test_args),
		cmocka_unit_test(test_walk),          cmocka_unit_test(test_psinfo),
		cmocka_unit_test(test_texts),         cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_about),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
