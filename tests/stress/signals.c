/* SPDX-License-Identifier: MIT */
/*
 * Every signal that can be handled, 1 to 31, one after the other without pause, while
 * the victim is attached to and let go all the time: each is counted once. A round is
 * one of each.
 *
 * A signal is sent again only when the one before is no longer pending, since the kernel
 * keeps one of a kind, and SIGCONT not before the stop signals (each drops the other when
 * it is sent, signal(7)): so the totals are exact. Fails when a signal in whose stop the
 * victim is let go is lost, delivered twice, or taken for one of ours.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>

#include "dtrace.h"
#include "stress/stress.h"

enum {
	LAST = 31
};

static unsigned long sent[LAST + 1];
static atomic_int over;
static atomic_ulong grabs;

static void *attach_and_detach(void *arg)
{
	pid_t pid = *(pid_t *)arg;
	dtrace_hdl_t *s = dtrace_open(DTRACE_VERSION, 0, NULL);

	while (!atomic_load(&over)) {
		struct ps_prochandle *P = dtrace_proc_grab(s, pid, 0);

		assert_non_null(P);
		if (atomic_fetch_add(&grabs, 1) % 2)
			dtrace_proc_continue(s, P);
		dtrace_proc_release(s, P);
	}
	dtrace_close(s);
	return NULL;
}

static unsigned long pending(pid_t pid)
{
	char path[64], line[128];
	unsigned long mask = 0, one;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "SigPnd:\t%lx", &one) == 1 ||
		    sscanf(line, "ShdPnd:\t%lx", &one) == 1)
			mask |= one;
	fclose(f);
	return mask;
}

static unsigned long bit(int sig)
{
	return 1ul << (sig - 1);
}

/* Those that must not be pending when sig is sent. */
static unsigned long before(int sig)
{
	unsigned long jobs = bit(SIGCONT) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);

	return bit(sig) & jobs ? jobs : bit(sig);
}

static void send_each(pid_t pid)
{
	for (int sig = 1; sig <= LAST; sig++) {
		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		while (pending(pid) & before(sig))
			stress_spin(10);
		assert_int_equal(kill(pid, sig), 0);
		sent[sig]++;
	}
}

/* Sums as the victim has them. */
static void compare(struct victim *v)
{
	unsigned long counted[65] = { 0 }, n;
	const char *line;
	int sig;

	victim_send(v, "counts");
	while ((line = victim_line(v)) && *line != '.')
		if (sscanf(line, "%d=%lu", &sig, &n) == 2 && sig >= 0 && sig < 65)
			counted[sig] = n;
	for (sig = 1; sig <= LAST; sig++)
		if (counted[sig] != sent[sig])
			fail_msg("signal %d: sent %lu, counted %lu", sig, sent[sig],
				 counted[sig]);
}

static void every_signal_counts_once(void)
{
	pthread_t thread;
	struct victim v;

	victim_start(&v, "signals", NULL);
	victim_expect(&v, "ready");
	pthread_create(&thread, NULL, attach_and_detach, &v.pid);
	while (stress_next())
		send_each(v.pid);
	atomic_store(&over, 1);
	pthread_join(thread, NULL);
	compare(&v);
	assert_int_equal(victim_end(&v), 0);
	stress_say(
		"%u times each of 29 signals under %lu attaches: every one counted once",
		stress_rounds(), atomic_load(&grabs));
}

int main(int argc, char **argv)
{
	static const struct stress s = { "every_signal_counts_once",
					 every_signal_counts_once, 100, 3000 };

	return stress_main(argc, argv, &s);
}
