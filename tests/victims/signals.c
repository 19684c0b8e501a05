/* SPDX-License-Identifier: MIT */
/*
 * Counts every signal that it can handle.
 *
 *	ready: handled= (how many kinds)
 *	counts     a line `SIG=N` for each signal that came, then `.`
 *	block S, unblock S     `done`
 *	self S     raises it: `done`
 *	stop       SIGSTOP to itself: `continued` when somebody has continued it
 *	sums       `total=` over all
 */
#include <signal.h>

#include "obey.h"

static volatile sig_atomic_t count[65];

static void on_signal(int sig)
{
	count[sig]++;
}

static int handle_all(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	int handled = 0;

	sigfillset(&sa.sa_mask);
	for (int sig = 1; sig <= 64; sig++)
		handled += !sigaction(sig, &sa, NULL);
	return handled;
}

static void counts(const char *rest)
{
	(void)rest;
	for (int sig = 1; sig <= 64; sig++)
		if (count[sig])
			tell("%d=%d", sig, (int)count[sig]);
	tell(".");
}

static void sums(const char *rest)
{
	long total = 0;

	(void)rest;
	for (int sig = 1; sig <= 64; sig++)
		total += count[sig];
	tell("total=%ld", total);
}

static void set_mask(int how, const char *rest)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, atoi(rest));
	sigprocmask(how, &set, NULL);
	tell("done");
}

static void block(const char *rest)
{
	set_mask(SIG_BLOCK, rest);
}

static void unblock(const char *rest)
{
	set_mask(SIG_UNBLOCK, rest);
}

static void self(const char *rest)
{
	raise(atoi(rest));
	tell("done");
}

static void stop(const char *rest)
{
	(void)rest;
	raise(SIGSTOP);
	tell("continued");
}

static const struct order orders[] = { { "counts", counts },   { "block", block },
				       { "unblock", unblock }, { "self", self },
				       { "stop", stop },       { "sums", sums },
				       { NULL, NULL } };

int main(void)
{
	ready("handled=%d", handle_all());
	obey(orders);
	return 0;
}
