/* SPDX-License-Identifier: MIT */
/* Theory: the work is one call that does not come back before it is done, so a timer
 * speaks. It is not inherited by what is created meanwhile (setitimer(2)), and its
 * handler is reset there by exec. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "progress.h"

static char word[80];                  /* what is said */
static volatile sig_atomic_t said;     /* it stands on the screen */
static const char wipe[] = "\r\033[K"; /* to the begin of the line, and clear it */

static void say(int sig)
{
	(void)!write(STDERR_FILENO, word, strlen(word));
	said = 1;
}

static void set_timer(long ms)
{
	struct itimerval t = { .it_value = { ms / 1000, ms % 1000 * 1000 } };

	setitimer(ITIMER_REAL, &t, NULL);
}

void progress_begin(const char *what)
{
	struct sigaction sa = { .sa_handler = say, .sa_flags = SA_RESTART };

	if (!isatty(STDERR_FILENO))
		return;
	snprintf(word, sizeof(word), "pgrab: %s…", what);
	said = 0;
	if (sigaction(SIGALRM, &sa, NULL) == 0)
		set_timer(500);
}

void progress_end(void)
{
	if (!isatty(STDERR_FILENO))
		return;
	set_timer(0);
	signal(SIGALRM, SIG_DFL);
	if (said)
		(void)!write(STDERR_FILENO, wipe, sizeof(wipe) - 1);
}
