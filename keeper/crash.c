/* SPDX-License-Identifier: MIT */
/*
 * When we must die of a bug, we clean up first: traps out of every text, program
 * counters back, pending signals handed on, threads detached. Only system calls on what
 * is there; if the tables themselves are broken, the second fault ends it.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "keeper/keeper.h"

static void let_go(struct victim *v)
{
	bkpt_lift_all(v);
	for (struct lwp *l = v->lwps; l; l = l->next) {
		if (l->state != LWP_STOPPED)
			continue; /* our end detaches it as it is */
		lwp_flush(l);
		trace_detach(l, l->group ? 0 : l->sig);
	}
}

static void on_crash(int sig)
{
	signal(sig, SIG_DFL);
	for (struct victim *v = K.victims; v; v = v->next)
		let_go(v);
	raise(sig);
}

void crash_init(void)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS };
	struct sigaction sa = { .sa_handler = on_crash,
				.sa_flags = SA_NODEFER | SA_RESETHAND };

	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
		sigaction(fatal[i], &sa, NULL);
}
