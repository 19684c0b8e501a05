/* SPDX-License-Identifier: MIT */
/*
 * Create, grab, release: how a handle begins and ends, and why it is refused.
 */
#include "proc_test.h"

/* --- create ------------------------------------------------------------------------- */

static void test_create(void)
{
	struct ps_prochandle *P = create("exit");
	const pstatus_t *s = Pstatus(P);
	pid_t pid = Pgetpid(P);
	char buf[4096];

	assert_int_equal(Pstate(P), PS_STOP);
	assert_int_equal(s->pr_lwp.pr_why, PR_SYSEXIT);
	assert_int_equal(s->pr_lwp.pr_what, SYS_execve);
	assert_int_equal(s->pr_pid, pid);
	assert_int_equal(s->pr_ppid, getpid());
	assert_int_equal(s->pr_pgid, getpgrp());
	assert_int_equal(s->pr_nlwp, 1);
	assert_true(s->pr_flags & PR_KLC && !(s->pr_flags & PR_RLC));
	assert_string_equal(Pexecname(P, buf, sizeof(buf)), self);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_int_equal(Pwait(P, SOON_MS), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(Pstate(P), PS_UNDEAD);
	assert_int_equal(WEXITSTATUS(Pstatus(P)->pr_exitstatus), 3);
	Prelease(P, 0);
	assert_int_equal(waitpid(pid, NULL, 0), -1); /* it was reaped */
}

static void test_create_env(void)
{
	char flag[] = "--be", what[] = "env", set[] = "PROC_TEST=yes";
	char *argv[] = { self, flag, what, NULL }, *envp[] = { set, NULL };
	int err;
	struct ps_prochandle *P = Pxcreate(self, argv, envp, &err, NULL, 0);

	assert_non_null(P);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_int_equal(Pwait(P, SOON_MS), -1);
	assert_int_equal(Pstatus(P)->pr_exitstatus, 0);
	Prelease(P, 0);
}

/* Never set running: the command has done nothing, and nothing is left. */
static void test_create_released(void)
{
	struct ps_prochandle *P = create("wait");
	pid_t pid = Pgetpid(P);

	Prelease(P, 0);
	assert_int_equal(waitpid(pid, NULL, 0), -1);
	assert_int_equal(errno, ECHILD);
	P = create("wait");
	pid = Pgetpid(P);
	Prelease(P, PRELEASE_CLEAR);
	assert_int_equal(tracer_of(pid), 0);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	end(pid);
}

static void test_create_refused(void)
{
	char name[] = "x", *argv[] = { name, NULL };
	char path[] = "/tmp/test_proc_XXXXXX", dir[4096];
	int err, fd = mkstemp(path);

	assert_true(write(fd, "no program\n", 11) == 11);
	fchmod(fd, 0755);
	close(fd);
	assert_null(Pcreate(path, argv, &err, NULL, 0));
	assert_int_equal(err, ENOEXEC);
	assert_string_equal(Pcreate_error(err), "Exec format error");
	chmod(path, 0644);
	assert_null(Pcreate(path, argv, &err, NULL, 0));
	assert_int_equal(err, EACCES);
	/* In PATH too: found, not executable, remembered. */
	setenv("PATH", "/nonexistent:/tmp:/bin", 1);
	assert_null(Pcreate(path + 5, argv, &err, dir, sizeof(dir)));
	assert_int_equal(err, EACCES);
	assert_null(Pcreate("no-such-program-anywhere", argv, &err, NULL, 0));
	assert_int_equal(err, ENOENT);
	unlink(path);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_create_path(void)
{
	char name[] = "true", *argv[] = { name, NULL }, found[4096];
	struct ps_prochandle *P;
	int err;

	setenv("PATH", "/nonexistent:/bin:/usr/bin", 1);
	P = Pcreate("true", argv, &err, found, sizeof(found));
	assert_non_null(P);
	assert_string_equal(found, "/bin/true");
	Prelease(P, 0);
	assert_int_equal(chdir("/bin"), 0);
	setenv("PATH", "/nonexistent:", 1);
	P = Pcreate("true", argv, &err, found, sizeof(found));
	assert_non_null(P);
	assert_string_equal(found, "./true");
	Prelease(P, 0);
	setenv("PATH", "/bin:/usr/bin", 1);
}

/* --- grab and release --------------------------------------------------------------- */

static void test_grab(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);

	assert_int_equal(Pstate(P), PS_STOP);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_why, PR_REQUESTED);
	assert_true(Pstatus(P)->pr_flags & PR_RLC);
	assert_still(s);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_int_equal(Pstate(P), PS_RUN);
	assert_beats(s);
	assert_int_equal(Psetrun(P, 0, 0), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(Pstop(P, SOON_MS), 0);
	assert_int_equal(Pstate(P), PS_STOP);
	assert_still(s);
	Prelease(P, 0);
	assert_int_equal(tracer_of(pid), 0);
	assert_beats(s);
	end(pid);
}

static void test_grab_nostop(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, PGRAB_NOSTOP);

	assert_int_equal(Pstate(P), PS_RUN);
	assert_beats(s);
	assert_int_equal(Pdstop(P), 0);
	assert_int_equal(Pwait(P, SOON_MS), 0);
	assert_int_equal(Pstate(P), PS_STOP);
	assert_still(s);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

static void test_release_modes(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);

	Prelease(grab(pid, 0), PRELEASE_HANG);
	assert_int_equal(state_of(pid), 'T');
	assert_still(s);
	Prelease(grab(pid, 0), 0); /* stopped before, stopped after */
	assert_int_equal(state_of(pid), 'T');
	Pfree(grab(pid, 0));
	assert_int_equal(state_of(pid), 'T');
	kill(pid, SIGCONT);
	assert_beats(s);
	Prelease(grab(pid, 0), PRELEASE_KILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_flags(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	int status;

	assert_int_equal(Psetflags(P, PR_KLC), 0);
	assert_true(Pstatus(P)->pr_flags & PR_KLC && !(Pstatus(P)->pr_flags & PR_RLC));
	assert_int_equal(Prelease_mode(P), PRELEASE_KILL);
	assert_int_equal(Punsetflags(P, PR_KLC), 0);
	assert_int_equal(Psetflags(P, PR_KLC | PR_RLC), -1);
	assert_int_equal(Psetflags(P, PR_KLC), 0);
	Prelease(P, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* KLC does not reach a victim that somebody else has stopped. */
static void test_outside_stop(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);

	assert_int_equal(Psetflags(P, PR_KLC), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	kill(pid, SIGSTOP);
	assert_int_equal(Pwait(P, SOON_MS), 0);
	assert_int_equal(Pstate(P), PS_STOP);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_why, PR_JOBCONTROL);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_what, SIGSTOP);
	assert_int_equal(Prelease_mode(P), 0);
	assert_int_equal(Psetrun(P, 0, 0), -1); /* not ours to continue */
	kill(pid, SIGCONT);
	await(Pstate(P) == PS_RUN);
	assert_int_equal(Pstate(P), PS_RUN);
	assert_int_equal(Prelease_mode(P), PRELEASE_KILL);
	kill(pid, SIGTSTP);
	assert_int_equal(Pwait(P, SOON_MS), 0);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_what, SIGTSTP);
	Prelease(P, 0);
	assert_int_equal(state_of(pid), 'T');
	assert_int_equal(tracer_of(pid), 0);
	kill(pid, SIGCONT);
	assert_beats(s);
	end(pid);
}

static void refuse(pid_t pid, int flags, int want, const char *detail)
{
	int err = 0;

	assert_null(Pgrab(pid, flags, &err));
	assert_int_equal(err, want);
	if (detail && !strstr(Pgrab_detail(), detail))
		fail_msg("`%s' has no `%s'", Pgrab_detail(), detail);
}

static void test_refusals(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s), *tids;
	struct ps_prochandle *P;
	size_t n;

	await(s->ready >= NTHREADS);
	P = grab(pid, 0);
	refuse(pid, 0, G_BUSY, "holds process");
	assert_int_equal(procfs_tids(pid, &tids, &n), 0);
	assert_true(n >= NTHREADS); /* a sanitizer may have one */
	refuse(tids[1], 0, G_NOPROC, "is a thread of process");
	refuse(tids[1], PGRAB_RDONLY, G_NOPROC, "is a thread of process");
	free(tids);
	Prelease(P, 0);
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	refuse(pid, 0, G_ZOMB, NULL);
	refuse(pid, PGRAB_RDONLY, G_ZOMB, NULL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	refuse(pid, 0, G_NOPROC, NULL);
	refuse(pid, PGRAB_RDONLY, G_NOPROC, NULL);
	refuse(getpid(), 0, G_SELF, NULL);
}

/* Traced by a third process: the sentence names it. */
static void test_busy(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s), other;
	int ready[2], done[2];
	char c;

	assert_int_equal(pipe(ready) | pipe(done), 0);
	other = fork();
	if (!other) {
		prctl(PR_SET_NAME, "rival");
		c = syscall(SYS_ptrace, 0x4206 /* SEIZE */, pid, 0, 0) ? 'n' : 'y';
		_exit(write(ready[1], &c, 1) != 1 || read(done[0], &c, 1) != 1);
	}
	assert_true(read(ready[0], &c, 1) == 1 && c == 'y');
	refuse(pid, 0, G_BUSY, "is being traced by rival (pid");
	Prelease(grab(pid, PGRAB_RDONLY), 0);
	assert_true(write(done[1], &c, 1) == 1);
	assert_int_equal(waitpid(other, NULL, 0), other);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(done[i]);
	}
	assert_beats(s);
	end(pid);
}

/* The last close: as when the client dies, a grabbed victim runs on. */
static void test_pfree(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);

	Pfree(grab(pid, 0));
	assert_int_equal(tracer_of(pid), 0);
	assert_beats(s);
	end(pid);
}

static void test_death(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	uintptr_t addr = address_of(P, "beat");
	const psinfo_t *ps;
	GElf_Sym sym;
	char buf[64];

	assert_int_equal(Ppsinfo(P)->pr_pid, pid);
	assert_int_equal(Psetbkpt(P, addr, &(unsigned long){ 0 }), 0);
	kill(pid, SIGKILL);
	await(Pstate(P) == PS_UNDEAD);
	assert_int_equal(Pstate(P), PS_UNDEAD);
	assert_int_equal(Pwait(P, SOON_MS), -1);
	assert_true(WIFSIGNALED(Pstatus(P)->pr_exitstatus));
	assert_int_equal(WTERMSIG(Pstatus(P)->pr_exitstatus), SIGKILL);
	assert_int_equal(Pstop(P, SOON_MS), -1);
	assert_int_equal(Psetrun(P, 0, 0), -1);
	assert_int_equal(Pread(P, buf, 1, addr), -1);
	assert_int_equal(Pdelbkpt(P, addr, 0), 0);
	assert_int_equal(Plwp_getregs(P, pid, (unsigned long long[64]){ 0 }), -1);
	ps = Ppsinfo(P);
	assert_non_null(ps);
	assert_int_equal(ps->pr_pid, pid);
	assert_int_equal(Plookup_by_addr(P, addr, buf, sizeof(buf), &sym), 0);
	assert_string_equal(buf, "beat");
	Prelease(P, 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* --- the keeper's end --------------------------------------------------------------- */

static void test_keeper_killed(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	uintptr_t addr = address_of(P, "never");
	unsigned long saved;
	unsigned char byte;

	assert_int_equal(Psetbkpt(P, addr, &saved), 0);
	kill(hold_keeper_pid(), SIGKILL);
	await(Pstate(P) == PS_LOST);
	assert_int_equal(Pstate(P), PS_LOST);
	assert_int_equal(Pwait(P, SOON_MS), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(Preopen(P), -1);
	assert_int_equal(Psetrun(P, 0, 0), -1);
	Prelease(P, 0);
	P = grab(pid, 0); /* by a new keeper */
	assert_int_equal(Pread(P, &byte, 1, addr), 1);
	assert_int_equal(byte, *(unsigned char *)addr);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

static const struct harness_test tests[] = {
	TEST(test_create),          TEST(test_create_env),
	TEST(test_create_released), TEST(test_create_refused),
	TEST(test_create_path),     TEST(test_grab),
	TEST(test_grab_nostop),     TEST(test_release_modes),
	TEST(test_flags),           TEST(test_outside_stop),
	TEST(test_refusals),        TEST(test_busy),
	TEST(test_pfree),           TEST(test_death),
	TEST(test_keeper_killed),   TEST_END
};

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
