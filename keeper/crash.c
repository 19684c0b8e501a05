/* SPDX-License-Identifier: MIT */
/*
 * When we must die of a bug, we clean up first: every victim is let go as if the client
 * had closed its descriptors, by the same code, for a bounded time. There is no other
 * thread and no lock, so that a handler may do that; if the tables themselves are broken,
 * the second fault ends it.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "keeper/keeper.h"

enum {
	CLEAN_UP_MS = 1000
};

/* One that somebody sent finds us anywhere, a stop waited for and not yet recorded, say:
 * the loop acts upon it at its next turn. A fault of our own, or abort(), cannot wait. */
static void on_crash(int sig, siginfo_t *si, void *context)
{
	static const struct itimerval soon = { { 0, 5000 }, { 0, 5000 } };

	(void)context;
	if (si->si_code <= 0 && si->si_pid != K.pid) {
		K.fatal = sig;
		setitimer(ITIMER_REAL, &soon, NULL); /* should it be about to sleep */
		return;
	}
	signal(sig, SIG_DFL);
	client_gone("we crash");
	loop_drain(CLEAN_UP_MS);
	raise(sig);
}

void crash_end(void)
{
	if (!K.fatal)
		return;
	signal(K.fatal, SIG_DFL);
	raise(K.fatal);
}

void crash_init(void)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS };
	struct sigaction sa = { .sa_sigaction = on_crash,
				.sa_flags = SA_NODEFER | SA_RESETHAND | SA_SIGINFO };

	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
		sigaction(fatal[i], &sa, NULL);
}
