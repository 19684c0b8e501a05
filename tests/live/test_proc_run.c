/* SPDX-License-Identifier: MIT */
/*
 * The victim under control: stops, signals, faults, steps, breakpoints, memory, LWPs,
 * stacks.
 */
#include "proc_test.h"

/* --- run control -------------------------------------------------------------------- */

static void test_signals(void)
{
	struct shared *s;
	pid_t pid = start(with_handler, &s);
	struct ps_prochandle *P = grab(pid, 0);

	assert_int_equal(Psignal(P, SIGUSR1, 1), 0);
	assert_int_equal(Psignal(P, SIGUSR1, 1), 1);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	kill(pid, SIGUSR1);
	wait_stop(P, PR_SIGNALLED, SIGUSR1);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_cursig, SIGUSR1);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_info.si_pid, getpid());
	assert_int_equal(Pclearsig(P), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_beats(s);
	assert_int_equal(s->got, 0); /* it was never delivered */
	kill(pid, SIGUSR1);
	wait_stop(P, PR_SIGNALLED, SIGUSR1);
	assert_int_equal(Psetrun(P, 0, PRCSIG), 0);
	assert_beats(s);
	assert_int_equal(s->got, 0);
	kill(pid, SIGUSR1);
	wait_stop(P, PR_SIGNALLED, SIGUSR1);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_beats(s);
	assert_int_equal(s->got, SIGUSR1);
	assert_int_equal(Psignal(P, 0, 0), 0);
	kill(pid, SIGUSR1);
	assert_beats(s);
	assert_int_equal(s->got, 2 * SIGUSR1);
	assert_int_equal(Pstate(P), PS_RUN);
	Prelease(P, 0);
	end(pid);
}

static void test_fault(void)
{
	struct shared *s;
	pid_t pid = start(faulting, &s);
	struct ps_prochandle *P = grab(pid, 0);
	int status;

	assert_int_equal(Pfault(P, FLTBOUNDS, 1), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	s->go = 1;
	wait_stop(P, PR_FAULTED, FLTBOUNDS);
	assert_int_equal(Pstatus(P)->pr_lwp.pr_info.si_signo, SIGSEGV);
	assert_true(Pstatus(P)->pr_lwp.pr_info.si_addr == (void *)8);
	assert_int_equal(Psetrun(P, 0, 0), 0); /* and it is delivered */
	assert_int_equal(Pwait(P, SOON_MS), -1);
	status = Pstatus(P)->pr_exitstatus;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	Prelease(P, 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A SIGSEGV that is traced as a signal is shown as one. */
static void test_fault_as_signal(void)
{
	struct shared *s;
	pid_t pid = start(faulting, &s);
	struct ps_prochandle *P = grab(pid, 0);

	assert_int_equal(Psignal(P, SIGSEGV, 1), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	s->go = 1;
	wait_stop(P, PR_SIGNALLED, SIGSEGV);
	Prelease(P, PRELEASE_KILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_step(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	prgreg_t before, after;

	assert_int_equal(Pgetareg(P, R_PC, &before), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(Psetrun(P, 0, PRSTEP), 0);
		wait_stop(P, PR_FAULTED, FLTTRACE);
	}
	assert_int_equal(Pgetareg(P, R_PC, &after), 0);
	assert_int_not_equal(before, after);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

static void test_timeout(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, PGRAB_NOSTOP);

	assert_int_equal(Pwait(P, 20), 0);
	assert_int_equal(Pstate(P), PS_RUN);
	assert_int_equal(Psetrun(P, 0, 0), -1);
	assert_int_equal(Pstop(P, SOON_MS), 0);
	assert_int_equal(Psetrun(P, 0, PRSTOP),
			 0); /* runs, and is asked to stop at once */
	assert_int_equal(Pwait(P, SOON_MS), 0);
	assert_int_equal(Pstate(P), PS_STOP);
	Prelease(P, 0);
	end(pid);
}

static void *wait_for_stop(void *arg)
{
	struct ps_prochandle *P = arg;

	return (void *)(intptr_t)(Pwait(P, SOON_MS) ? -1 : Pstate(P));
}

/* Four threads wait on a bare handle: one drives, and each of them sees the stop. */
static void test_waiters(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, PGRAB_NOSTOP);
	pthread_t t[4];
	void *got;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 4; i++)
			pthread_create(&t[i], NULL, wait_for_stop, P);
		usleep(1000);
		assert_int_equal(Pdstop(P), 0);
		for (int i = 0; i < 4; i++) {
			pthread_join(t[i], &got);
			assert_int_equal((intptr_t)got, PS_STOP);
		}
		assert_int_equal(Psetrun(P, 0, 0), 0);
	}
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

static void *wait_for_ever(void *arg)
{
	Pwait(arg, 0);
	return NULL;
}

/* A host cancels threads that wait, the one that drives among them: the rest see the
 * stop. */
static void test_cancelled(void)
{
	pthread_t cancelled[3], other;
	struct ps_prochandle *P;
	struct shared *s;
	void *got;
	pid_t pid;

	if (!SEES_CANCELLED)
		harness_skip("under ThreadSanitizer");
	pid = start(beating, &s);
	P = grab(pid, PGRAB_NOSTOP);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 3; i++)
			pthread_create(&cancelled[i], NULL, wait_for_ever, P);
		pthread_create(&other, NULL, wait_for_stop, P);
		usleep(1000);
		for (int i = 0; i < 3; i++) {
			pthread_cancel(cancelled[i]);
			pthread_join(cancelled[i], &got);
			assert_true(got == PTHREAD_CANCELED);
		}
		assert_int_equal(Pdstop(P), 0);
		pthread_join(other, &got);
		assert_int_equal((intptr_t)got, PS_STOP);
		assert_int_equal(Psetrun(P, 0, 0), 0);
	}
	Prelease(P, 0);
	end(pid);
}

static void test_exec(void)
{
	struct shared *s;
	pid_t pid = start(execing, &s);
	struct ps_prochandle *P = grab(pid, 0);
	unsigned long saved;
	char name[4096];
	GElf_Sym sym;

	assert_int_equal(Psetbkpt(P, address_of(P, "beat"), &saved), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	s->go = 1;
	for (int i = 0; i < SOON_MS; i++) {
		Pstate(P); /* a bare handle answers the exec's question here */
		if (Pexecname(P, name, sizeof(name)) && strstr(name, "sleep"))
			break;
		usleep(1000);
	}
	assert_non_null(strstr(name, "sleep"));
	assert_int_equal(Pstop(P, SOON_MS), 0);
	assert_int_equal(Pstate(P), PS_STOP);
	assert_int_equal(Plookup_by_name(P, PR_OBJ_EXEC, "beat", &sym), -1);
	Pupdate_maps(P);
	assert_non_null(Pname_to_map(P, "a.out"));
	assert_non_null(strstr(
		Pobjname(P, Pname_to_map(P, "a.out")->pr_vaddr, name, sizeof(name)),
		"sleep"));
	Prelease(P, 0);
	end(pid);
}

/* --- breakpoints -------------------------------------------------------------------- */

static void test_bkpt(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	uintptr_t addr = address_of(P, "beat");
	unsigned char text[16], shown[16];
	unsigned long saved = 0, again;
	prgreg_t pc;
	unsigned was;

	memcpy(text, (void *)addr, sizeof(text));
	assert_int_equal(Psetbkpt(P, addr, &saved), 0);
	assert_int_equal((unsigned char)saved, text[0]);
	assert_int_equal(Psetbkpt(P, addr, &again), -1);
	assert_int_equal(errno, EEXIST);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(Psetrun(P, 0, 0), 0);
		wait_stop(P, PR_FAULTED, FLTBPT);
		assert_int_equal(Pgetareg(P, R_PC, &pc), 0);
		assert_int_equal(pc, addr);
	}
	assert_int_equal(Pread(P, shown, sizeof(shown), addr), sizeof(shown));
	assert_memory_equal(shown, text, sizeof(text));
	was = s->beats;
	assert_int_equal(Pxecbkpt(P, saved), 0);
	assert_int_equal(Pstate(P), PS_STOP);
	assert_int_equal(Pgetareg(P, R_PC, &pc), 0);
	assert_true(pc > addr && pc <= addr + 15);
	assert_int_equal(s->beats, was);
	assert_int_equal(Pdelbkpt(P, addr, saved), 0);
	assert_int_equal(Pdelbkpt(P, addr, saved), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	assert_beats(s);
	assert_int_equal(Pstate(P), PS_RUN);
	assert_int_equal(Psetbkpt(P, 8, &saved), -1);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

/* Released with a breakpoint planted, standing on it: nothing is left in the text. */
static void test_bkpt_released(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct ps_prochandle *P = grab(pid, 0);
	uintptr_t addr = address_of(P, "beat");
	unsigned char byte;
	unsigned long saved;

	assert_int_equal(Psetbkpt(P, addr, &saved), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	wait_stop(P, PR_FAULTED, FLTBPT);
	Prelease(P, 0);
	P = grab(pid, PGRAB_RDONLY);
	assert_int_equal(Pread(P, &byte, 1, addr), 1);
	assert_int_equal(byte, *(unsigned char *)addr);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

/* Mistake 14: two owners at one address; taking one away leaves the other, and the text
 * in the end. */
static void test_bkpt_shared(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	uintptr_t addr = address_of(P, "beat");
	struct hold_event ev = { 0 };
	unsigned long saved = 0;
	unsigned char byte;

	assert_int_equal(Ptag_set(P, addr), 0);
	assert_int_equal(Ptag_set(P, addr), 0);
	assert_int_equal(Psetbkpt(P, addr, &saved), 0);
	assert_int_equal((unsigned char)saved, *(unsigned char *)addr);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	wait_stop(P, PR_FAULTED, FLTBPT); /* the stop wins */
	assert_int_equal(Pdelbkpt(P, addr, saved), 0);
	Ptag_clear(P, addr);
	assert_int_equal(Pdrive(P), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	for (int i = 0; i < 3; i++) { /* and now each hit is a question */
		struct pollfd fd = { Pctlfd(P), POLLIN, 0 };

		assert_int_equal(poll(&fd, 1, SOON_MS), 1);
		assert_int_equal(Pevent_next(P, &ev), 1);
		assert_int_equal(ev.kind, HOLD_EV_BKPT);
		assert_int_equal(ev.addr, addr);
		assert_int_equal(Panswer(P, &ev, HOLD_RESUME), 0);
	}
	Ptag_clear(P, addr);
	assert_int_equal(Pread(P, &byte, 1, addr), 1);
	assert_int_equal(byte, *(unsigned char *)addr);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

static void test_write(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	uintptr_t addr = address_of(P, "beat");
	unsigned char text[4], nops[4] = { 0x90, 0x90, 0x90, 0x90 }, shown[4];
	unsigned long saved;

	memcpy(text, (void *)addr, sizeof(text));
	assert_int_equal(Psetbkpt(P, addr, &saved), 0);
	assert_int_equal(Pwrite(P, nops, sizeof(nops), addr), sizeof(nops));
	assert_int_equal(Pread(P, shown, sizeof(shown), addr), sizeof(shown));
	assert_memory_equal(shown, nops, sizeof(nops));
	assert_int_equal(Pwrite(P, text, sizeof(text), addr), sizeof(text));
	assert_int_equal(Psetrun(P, 0, 0), 0);
	wait_stop(P, PR_FAULTED, FLTBPT); /* still planted */
	assert_int_equal(Pdelbkpt(P, addr, saved), 0);
	assert_int_equal(Pwrite(P, text, 1, 8), -1);
	assert_int_equal(errno, EFAULT);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

/* --- the dynamic linker ------------------------------------------------------------- */

static rd_event_msg_t next_event(struct ps_prochandle *P, rd_agent_t *rd)
{
	rd_event_msg_t msg;

	assert_int_equal(Psetrun(P, 0, 0), 0);
	wait_stop(P, PR_FAULTED, FLTBPT);
	assert_int_equal(rd_event_getmsg(rd, &msg), RD_OK);
	return msg;
}

static int count_objects(const rd_loadobj_t *obj, void *arg)
{
	++*(int *)arg;
	return 1;
}

/* From the first instruction on: the address to watch is known before the linker has
 * run. */
static void test_rendezvous(void)
{
	char *argv[] = { (char *)victim_path("sleeper"), NULL };
	int err, n = 0;
	struct ps_prochandle *P = Pcreate(argv[0], argv, &err, NULL, 0);
	rd_agent_t *rd = P ? Prd_agent(P) : NULL;
	rd_event_msg_t msg;
	unsigned long saved;
	rd_notify_t where;
	GElf_Sym sym;

	assert_non_null(rd);
	assert_int_equal(rd_loadobj_iter(rd, count_objects, &n), RD_NOMAPS);
	assert_int_equal(rd_event_enable(rd, 1), RD_OK);
	assert_int_equal(rd_event_addr(rd, RD_PREINIT, &where), RD_OK);
	assert_int_equal(where.type, RD_NOTIFY_BPT);
	assert_int_equal(Psetbkpt(P, where.u.bptaddr, &saved), 0);
	msg = next_event(P, rd);
	assert_int_equal(msg.type, RD_DLACTIVITY);
	assert_int_equal(msg.u.state, RD_ADD);
	msg = next_event(P, rd);
	assert_int_equal(msg.type, RD_PREINIT);
	assert_int_equal(rd_loadobj_iter(rd, count_objects, &n), RD_OK);
	assert_true(n >= 3);
	assert_int_equal(Plookup_by_name(P, "libc", "getpid", &sym), 0);
	Prelease(P, 0);
}

/* --- LWPs and stacks ---------------------------------------------------------------- */

struct seen {
	int n;     /* how many */
	int regs;  /* with registers */
	int stops; /* stopped */
};

static int see(void *arg, const lwpstatus_t *l)
{
	struct seen *seen = arg;

	seen->n++;
	seen->regs += l->pr_reg[R_PC] != 0;
	seen->stops += (l->pr_flags & PR_STOPPED) != 0;
	return 0;
}

static int stop_at_once(void *arg, const lwpstatus_t *l)
{
	*(int *)arg += 1;
	return 17;
}

static void test_lwps(void)
{
	struct shared *s;
	pid_t pid = start(threads, &s);
	struct ps_prochandle *P;
	struct seen seen = { 0 };
	unsigned long long *regs = (unsigned long long[64]){ 0 };
	int calls = 0, n;

	while (s->ready < NTHREADS)
		usleep(1000);
	P = grab(pid, 0);
	n = Pstatus(P)->pr_nlwp;
	assert_true(n >= NTHREADS); /* a sanitizer may have one more */
	assert_int_equal(Plwp_iter(P, see, &seen), 0);
	assert_int_equal(seen.n, n);
	assert_int_equal(seen.regs, n);
	assert_int_equal(seen.stops, n);
	assert_int_equal(Plwp_iter(P, stop_at_once, &calls), 17);
	assert_int_equal(calls, 1);
	assert_int_equal(Plwp_getregs(P, pid, regs), 0);
	assert_int_equal(Plwp_setregs(P, pid, regs), 0);
	assert_int_equal(Plwp_getregs(P, 1, regs), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(Plwp_iter(P, see, &seen), 0);
	assert_int_equal(seen.n, n);
	assert_int_equal(seen.regs, 0);
	assert_int_equal(Plwp_getregs(P, pid, regs), -1);
	assert_int_equal(errno, EBUSY);
	Prelease(P, 0);
	end(pid);
}

static void test_registers(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	unsigned long saved;
	prgreg_t value, was;

	assert_int_equal(Psetbkpt(P, address_of(P, "beat"), &saved), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	wait_stop(P, PR_FAULTED, FLTBPT);
	assert_int_equal(Pgetareg(P, R_RET, &was), 0);
	assert_int_equal(Pputareg(P, R_RET, 0x1234567890), 0);
	assert_int_equal(Pgetareg(P, R_RET, &value), 0);
	assert_int_equal(value, 0x1234567890);
	assert_int_equal(Pputareg(P, R_RET, was), 0);
	assert_int_equal(Pgetareg(P, 999, &value), -1);
	Prelease(P, 0);
	assert_beats(s);
	end(pid);
}

struct names {
	struct ps_prochandle *P; /* of the stack */
	char text[512];          /* functions, innermost first */
};

static int name_frame(void *arg, prgregset_t regs, unsigned argc, const long *argv)
{
	struct names *names = arg;
	char name[64];
	GElf_Sym sym;

	if (Plookup_by_addr(names->P, regs[R_PC], name, sizeof(name), &sym))
		snprintf(name, sizeof(name), "?");
	if (strlen(names->text) + strlen(name) + 2 < sizeof(names->text))
		strcat(strcat(names->text, name), " ");
	return 0;
}

static void test_stack(void)
{
	struct shared *s;
	pid_t pid = start(beating, &s);
	struct ps_prochandle *P = grab(pid, 0);
	struct names names = { .P = P };
	unsigned long saved;

	assert_int_equal(Psetbkpt(P, address_of(P, "beat"), &saved), 0);
	assert_int_equal(Psetrun(P, 0, 0), 0);
	wait_stop(P, PR_FAULTED, FLTBPT);
	/* Behind the prologue of beat(): its frame is the topmost. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(Pxecbkpt(P, saved), 0);
		assert_int_equal(Pstate(P), PS_STOP);
	}
	assert_int_equal(Pstack_iter(P, Pstatus(P)->pr_lwp.pr_reg, name_frame, &names),
			 0);
	if (strncmp(names.text, "beat deeper beating ", 20))
		fail_msg("stack: %s", names.text);
	Prelease(P, 0);
	end(pid);
}

static const struct harness_test tests[] = { TEST(test_signals),
					     TEST(test_fault),
					     TEST(test_fault_as_signal),
					     TEST(test_step),
					     TEST(test_timeout),
					     TEST(test_waiters),
					     TEST(test_cancelled),
					     TEST(test_exec),
					     TEST(test_bkpt),
					     TEST(test_bkpt_released),
					     TEST(test_bkpt_shared),
					     TEST(test_write),
					     TEST(test_rendezvous),
					     TEST(test_lwps),
					     TEST(test_registers),
					     TEST(test_stack),
					     TEST_END };

int main(int argc, char **argv)
{
	return proc_test_main(argc, argv, tests);
}
