/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "signals.h"

static int ends[2] = { -1, -1 }; /* the pipe: read, write */

static void catch_signal(int sig, siginfo_t *info, void *context)
{
	struct caught c = { .sig = sig, .code = info->si_code };
	int err = errno;

	(void)!write(ends[1], &c, sizeof(c)); /* a full pipe has signals enough */
	errno = err;
}

int signals_catch(const int *sigs, enum signals_mode mode)
{
	struct sigaction sa = { .sa_sigaction = catch_signal,
				.sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigaction old;

	if (ends[0] < 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	if (mode == SIGNALS_ONCE)
		sa.sa_flags |= (int)SA_RESETHAND;
	for (; *sigs; sigs++)
		if (sigaction(*sigs, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(*sigs, &sa, NULL);
	return 0;
}

int signals_fd(void)
{
	return ends[0];
}

bool signals_take(struct caught *ret)
{
	return ends[0] >= 0 && read(ends[0], ret, sizeof(*ret)) == (ssize_t)sizeof(*ret);
}

void signals_die(int sig)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, sig);
	signal(sig, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	raise(sig);
	_exit(128 + sig);
}
