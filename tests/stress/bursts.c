/* SPDX-License-Identifier: MIT */
/*
 * Burst exits: victims of 17 threads that end all at once, in three ways, while a
 * breakpoint on an instruction that must be executed is hit by each of them to the last.
 * Created ones and grabbed ones in turn.
 *
 * Fails when a thread that dies in the middle of a step or of a stop is waited for, when
 * the end of the process is not told or told with another status, when a grab in the
 * middle of it harms it, and when anything is left.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dtrace.h"
#include "stress/stress.h"

static const char *const how[] = { "exit", "threads", "leader" };

static int status; /* as told; -1 not yet */

static void on_hit(dtrace_hdl_t *s, struct ps_prochandle *P, pid_t tid,
		   const prgregset_t regs, void *arg)
{
	(void)s, (void)P, (void)tid, (void)regs;
	++*(unsigned long *)arg;
}

static void on_event(const dtrace_procev_t *ev, void *arg)
{
	(void)arg;
	if (ev->kind == DT_PROC_EV_EXIT)
		status = ev->status;
}

static void await_end(dtrace_hdl_t *s)
{
	int64_t end = harness_now_ms() + harness_ms(10000);

	while (status == -1 && harness_now_ms() < end) {
		struct pollfd p = { .fd = dtrace_notify_fd(s), .events = POLLIN };

		poll(&p, 1, 100);
		dtrace_dispatch(s);
	}
	if (status != 42 << 8)
		fail_msg("round %u: told wait status 0x%x", stress_rounds(), status);
}

static void plant_and_go(dtrace_hdl_t *s, struct ps_prochandle *P, unsigned long *hits)
{
	GElf_Sym sym;

	if (!Plookup_by_name(P, PR_OBJ_EXEC, "burst_call", &sym))
		dt_proc_bpcreate(s, P, (uintptr_t)sym.st_value, on_hit, hits);
	dtrace_proc_continue(s, P);
}

static void create_one(dtrace_hdl_t *s, char **argv, unsigned long *hits)
{
	struct ps_prochandle *P = dtrace_proc_create(s, argv[0], argv);

	if (!P)
		fail_msg("%s", dtrace_errmsg(s, dtrace_errno(s)));
	status = -1;
	plant_and_go(s, P, hits);
	await_end(s);
	dtrace_proc_release(s, P);
}

/* It may end before it is grabbed, which then fails. */
static void grab_one(dtrace_hdl_t *s, char **argv, unsigned long *hits)
{
	struct ps_prochandle *P;
	int own = -1;
	pid_t pid = fork();

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	stress_spin(stress_random(1500));
	P = dtrace_proc_grab(s, pid, 0);
	if (P) {
		plant_and_go(s, P, hits);
		stress_spin(stress_random(1000));
		dtrace_proc_release(s, P);
	}
	await(waitpid(pid, &own, WNOHANG) == pid);
	if (own != 42 << 8)
		fail_msg("round %u: wait status 0x%x", stress_rounds(), own);
}

static void bursts_of_exits(void)
{
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);
	unsigned long hits = 0;
	char path[4096], calls[16], *argv[] = { path, NULL, calls, NULL };

	snprintf(path, sizeof(path), "%s", victim_path("stress_burst"));
	dtrace_setopt(s, "evaltime", "main");
	dtrace_handle_procev(s, on_event, NULL);
	while (stress_next()) {
		argv[1] = (char *)how[stress_rounds() % 3];
		snprintf(calls, sizeof(calls), "%u", stress_random(8));
		if (stress_rounds() % 2)
			create_one(s, argv, &hits);
		else
			grab_one(s, argv, &hits);
	}
	dtrace_close(s);
	stress_say("%u burst exits, every status right; %lu hits", stress_rounds(), hits);
}

int main(int argc, char **argv)
{
	static const struct stress s = { "bursts_of_exits", bursts_of_exits, 60, 850 };

	return stress_main(argc, argv, &s);
}
