/* SPDX-License-Identifier: MIT */
/*
 * When we must die of a bug, we clean up first: every victim is let go as if the client
 * had closed its descriptors, by the same code, for a bounded time. There is no other
 * thread and no lock, so that a handler may do that; if the tables themselves are broken,
 * the second fault ends it.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "keeper/keeper.h"

enum {
	CLEAN_UP_MS = 1000
};

static void on_crash(int sig)
{
	signal(sig, SIG_DFL);
	client_gone("we crash");
	loop_drain(CLEAN_UP_MS);
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
