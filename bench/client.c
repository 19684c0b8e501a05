/* SPDX-License-Identifier: MIT */
/*
 * The public interface, as a client uses it.
 */
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "dtrace.h"
#include "libproc.h"

enum {
	OPENS = 2000,
	GRABS = 300,
	CREATES = 30,
	COLD = 20,
	WARM = 20000,
	HITS = 3000
};

double client_session(void)
{
	double begin = bench_now();

	for (int i = 0; i < OPENS; i++) {
		int err;
		dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, &err);

		if (!s)
			return -1;
		dtrace_close(s);
	}
	return (bench_now() - begin) / OPENS;
}

double client_grab(void)
{
	pid_t pid = bench_sleeper();
	double begin = bench_now();

	for (int i = 0; i < GRABS; i++) {
		int err;
		struct ps_prochandle *P = Pgrab(pid, 0, &err);

		if (!P)
			return -1;
		Prelease(P, 0);
	}
	return (bench_now() - begin) / GRABS;
}

double client_session_grab(void)
{
	pid_t pid = bench_sleeper();
	int err;
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, &err);
	double begin = bench_now();

	for (int i = 0; s && i < GRABS; i++) {
		struct ps_prochandle *P = dtrace_proc_grab(s, pid, 0);

		if (!P) {
			dtrace_close(s);
			return -1;
		}
		dtrace_proc_release(s, P);
	}
	begin = bench_now() - begin;
	dtrace_close(s);
	return s ? begin / GRABS : -1;
}

static double create_to(const char *evaltime)
{
	char *argv[] = { (char *)"true", NULL };
	int err;
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, &err);
	double begin;

	if (!s || dtrace_setopt(s, "evaltime", evaltime))
		return -1;
	begin = bench_now();
	for (int i = 0; i < CREATES; i++) {
		struct ps_prochandle *P = dtrace_proc_create(s, "/bin/true", argv);

		if (!P) {
			fprintf(stderr, "bench: %s\n", dtrace_errmsg(s, dtrace_errno(s)));
			dtrace_close(s);
			return -1;
		}
		dtrace_proc_release(s, P);
	}
	begin = bench_now() - begin;
	dtrace_close(s);
	return begin / CREATES;
}

double client_create_exec(void)
{
	return create_to("exec");
}

double client_create_preinit(void)
{
	return create_to("preinit");
}

double client_create_main(void)
{
	return create_to("main");
}

/* --- symbols ------------------------------------------------------------------------ */

static bool look(struct ps_prochandle *P, uintptr_t addr)
{
	char name[256];
	GElf_Sym sym;

	return !Plookup_by_addr(P, addr, name, sizeof(name), &sym);
}

/* First lookup in a handle just made: maps and link map read, files' tables in the
 * cache. */
double client_lookup_cold(void)
{
	pid_t pid = bench_sleeper();
	uintptr_t addr = (uintptr_t)bench_addr_in(pid, bench_hit);
	double begin = bench_now();

	for (int i = 0; i < COLD; i++) {
		int err;
		struct ps_prochandle *P = Pgrab(pid, PGRAB_RDONLY, &err);

		if (!P || !look(P, addr))
			return -1;
		Prelease(P, 0);
	}
	return (bench_now() - begin) / COLD;
}

double client_lookup_warm(void)
{
	pid_t pid = bench_sleeper();
	uintptr_t base = (uintptr_t)bench_addr_in(pid, bench_hit), addr[64];
	struct ps_prochandle *P;
	double begin;
	int err, n = 0;

	P = Pgrab(pid, PGRAB_RDONLY, &err);
	if (!P)
		return -1;
	for (uintptr_t a = base; n < 64 && a < base + 0x10000; a += 37)
		if (look(P, a))
			addr[n++] = a;
	begin = bench_now();
	for (int i = 0; n && i < WARM; i++)
		look(P, addr[i % n]);
	begin = bench_now() - begin;
	Prelease(P, 0);
	return n ? begin / WARM : -1;
}

/* --- a breakpoint with a callback --------------------------------------------------- */

static uint64_t calls;

static void on_hit(dtrace_hdl_t *s, struct ps_prochandle *P, pid_t tid,
		   const prgregset_t regs, void *arg)
{
	calls++;
}

static void on_end(struct ps_prochandle *P, const char *text, void *arg)
{
	if (!text)
		*(bool *)arg = true;
}

static void run_to_end(dtrace_hdl_t *s, struct ps_prochandle *P)
{
	struct pollfd p = { .fd = dtrace_notify_fd(s), .events = POLLIN };
	bool ended = false;

	dtrace_handle_proc(s, on_end, &ended);
	dtrace_proc_continue(s, P);
	while (!ended && poll(&p, 1, 20000) > 0)
		dtrace_dispatch(s);
}

static double hit(const char *mode)
{
	int err;
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, &err);
	struct ps_prochandle *P = NULL;
	GElf_Sym sym;

	if (!s || dtrace_setopt(s, "evaltime", "main"))
		return -1;
	calls = 0;
	P = dtrace_proc_create(s, bench_self, bench_hit_argv(mode, HITS));
	if (P && !Plookup_by_name(P, PR_OBJ_EXEC, "bench_hit", &sym) &&
	    dt_proc_bpcreate(s, P, (uintptr_t)sym.st_value, on_hit, NULL))
		run_to_end(s, P);
	if (P)
		dtrace_proc_release(s, P);
	dtrace_close(s);
	return calls == HITS ? bench_hit_result() : -1;
}

double client_hit(void)
{
	return hit("--hit");
}

double client_hit8(void)
{
	return hit("--hit8");
}
