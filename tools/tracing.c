/* SPDX-License-Identifier: MIT */
/*
 * Theory: every target is created or grabbed, and so parked, and every probe is made and
 * checked, before the first target runs: a description that matches nothing ends it with
 * no target having run an instruction of its own.
 *
 * One loop then dispatches the session's news, takes hits every few milliseconds (they
 * wait in memory that is shared with whoever makes them; nobody waits for us), and looks
 * at the clock. It ends when all targets are gone, when its time is over, or at the first
 * INT, TERM or HUP: the probes come out, the summary is printed, and commands that were
 * created get the signal too, unless the terminal has sent it to them already; their
 * status is ours. A second signal has its default effect: the keeper, or the kernel, then
 * takes the probes out.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "options.h"
#include "output.h"
#include "progress.h"
#include "readable.h"
#include "session.h"
#include "signals.h"
#include "tracing.h"

enum {
	EVENTS_MS = 5,  /* hits are taken that often */
	STACKS_MS = 1,  /* … with stacks, which take much room */
	COUNTS_MS = 50, /* … when they are only counted */
	END_MS = 500    /* what was created is waited for, a look at signals between */
};

uint64_t tracing_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* --- the command line --------------------------------------------------------------- */

static void add_probe(struct tracing *t, const char *text)
{
	const char **v = realloc(t->probes, (t->nprobes + 1) * sizeof(*v));

	if (!v) {
		complain("out of memory");
		exit(EXIT_FAILED);
	}
	t->probes = v;
	v[t->nprobes++] = text;
}

static void choose_backend(struct tracing *t, const char *name)
{
	static const char *const names[] = {
		[DTRACE_PROBE_AUTO] = "auto",
		[DTRACE_PROBE_KERNEL] = "kernel",
		[DTRACE_PROBE_TRAP] = "trap",
	};

	for (int i = DTRACE_PROBE_AUTO; i <= DTRACE_PROBE_TRAP; i++) {
		if (strcmp(name, names[i]) != 0)
			continue;
		t->opts.backend = i;
		return;
	}
	usage_error(t->cmd, "there is no backend `%s': auto, kernel or trap", name);
}

bool tracing_option(struct tracing *t, int c, const char *arg)
{
	switch (c) {
	case 'p':
		targets_add_pid(&t->targets, options_pid(t->cmd, arg));
		return true;
	case 'c':
		targets_add_text(t->cmd, &t->targets, arg);
		return true;
	case 'n':
		add_probe(t, arg);
		return true;
	case 'f':
		session_option(t->cmd, t->dtp, "follow=children");
		return true;
	case 'x':
		session_option(t->cmd, t->dtp, arg);
		return true;
	case 'k':
		t->opts.want = DTRACE_PROBE_STACKS;
		return true;
	case 'o':
		t->file = arg;
		return true;
	case 'd':
		t->lasts_ms = options_seconds(t->cmd, arg);
		return true;
	case 'Z':
		t->opts.zdefs = 1;
		return true;
	case 'B':
		choose_backend(t, arg);
		return true;
	case 'M':
		readable_off();
		return true;
	case 'v':
		t->verbose = true;
		return true;
	default:
		return false;
	}
}

int tracing_begin(struct tracing *t, const struct command *cmd, int argc, char **argv)
{
	t->cmd = cmd;
	t->dtp = session_open();
	/* a victim waits for its probes, but not for a tracer that stands still */
	dtrace_setopt(t->dtp, "patience", "5sec");
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") != 0)
			continue;
		if (i + 1 == argc || !argv[i + 1][0])
			usage_error(cmd, "which command, after `--'?");
		targets_add_argv(&t->targets, argv + i + 1);
		return i;
	}
	return argc;
}

void tracing_operands(struct tracing *t, int argc, char **argv)
{
	for (int i = optind; i < argc; i++)
		add_probe(t, argv[i]);
	if (!t->nprobes)
		usage_error(t->cmd, "which function? as in `libc:malloc'");
	if (!t->targets.n)
		usage_error(t->cmd, "what to trace? -p PID, -c 'COMMAND' or -- COMMAND");
}

/* --- news --------------------------------------------------------------------------- */

static void handle_proc(struct ps_prochandle *P, const char *text, void *arg)
{
	struct tracing *t = arg;

	session_notice(P, text);
	if (!text && !targets_ended(&t->targets, P))
		t->followed--;
}

static void handle_event(const dtrace_procev_t *ev, void *arg)
{
	struct tracing *t = arg;

	if (ev->kind == DT_PROC_EV_FOLLOW)
		t->followed++;
}

/* --- before it begins --------------------------------------------------------------- */

static bool fail(struct tracing *t)
{
	session_complain(t->dtp);
	return false;
}

static bool prepare(struct tracing *t)
{
	static const int ending[] = { SIGINT, SIGTERM, SIGHUP, 0 };

	if (t->file && !output_to(t->file)) {
		complain("cannot write to %s: %s", t->file, strerror(errno));
		return false;
	}
	if (signals_catch(ending, SIGNALS_ONCE) < 0) {
		complain("cannot catch signals: %s", strerror(errno));
		return false;
	}
	t->set = dtrace_probes_open(t->dtp, &t->opts);
	if (!t->set || dtrace_handle_proc(t->dtp, handle_proc, t) < 0 ||
	    dtrace_handle_procev(t->dtp, handle_event, t) < 0)
		return fail(t);
	for (size_t i = 0; i < t->nprobes; i++)
		if (dtrace_probes_add(t->set, t->probes[i]) < 0)
			return fail(t);
	return true;
}

static int count_one(void *arg, const dtrace_probe_t *probe, uint64_t hits)
{
	++*(unsigned long *)arg;
	return 0;
}

/* Who watches, where that is of interest: asked for, or not as it might be. */
static void tell_backend(struct tracing *t)
{
	unsigned long n = 0;
	bool said = false;

	for (size_t i = 0; i < t->targets.n; i++) {
		pid_t pid = Pgetpid(t->targets.v[i].P);
		const char *why, *name = dtrace_probes_backend(t->set, pid, &why);

		if (name && t->verbose)
			notice("pid %d: backend %s", (int)pid, name);
		if (why && !said)
			notice("%s; traps are used instead", why);
		said = said || why;
	}
	dtrace_probes_iter(t->set, count_one, &n);
	if (t->verbose)
		notice("%lu probes", n);
}

static bool start(struct tracing *t)
{
	bool good;

	progress_begin("making probes");
	good = targets_take(&t->targets, t->dtp);
	if (good && dtrace_probes_check(t->set) < 0)
		good = fail(t);
	progress_end();
	if (!good)
		return false;
	tell_backend(t);
	t->began_ns = tracing_now();
	targets_continue(&t->targets, t->dtp);
	return true;
}

/* --- the loop ----------------------------------------------------------------------- */

static void ignore_event(void *arg, const dtrace_probe_event_t *ev)
{
}

static void take_hits(struct tracing *t)
{
	t->lost += dtrace_probes_read(t->set, t->event ? t->event : ignore_event, t->arg);
	output_flush(); /* somebody may be looking */
}

/* When it ends by itself: monotonic ns. */
static uint64_t end_of(const struct tracing *t)
{
	return t->lasts_ms ? t->began_ns + (uint64_t)t->lasts_ms * 1000000 : UINT64_MAX;
}

static bool over(const struct tracing *t)
{
	if (targets_all_gone(&t->targets) && t->followed <= 0)
		return true;
	return tracing_now() >= end_of(t);
}

/* ms until `when`, rounded up; most at most. */
static int time_until(uint64_t when, int most)
{
	uint64_t now = tracing_now();

	if (when <= now)
		return 0;
	when = (when - now + 999999) / 1000000;
	return when < (uint64_t)most ? (int)when : most;
}

static void take_signal(struct tracing *t)
{
	struct caught caught;

	if (!signals_take(&caught))
		return;
	t->sig = caught.sig;
	t->at_terminal = caught.code == SI_KERNEL;
}

/* Waits for news, ms at most. */
static bool wait_news(struct tracing *t, int ms)
{
	struct pollfd fds[] = {
		{ .fd = dtrace_notify_fd(t->dtp), .events = POLLIN },
		{ .fd = signals_fd(), .events = POLLIN },
		{ .fd = t->file ? -1 : STDOUT_FILENO, .events = 0 },
	};

	if (poll(fds, 3, ms) < 0 && errno != EINTR) {
		complain("cannot wait: %s", strerror(errno));
		return false;
	}
	if (fds[2].revents & POLLERR)
		output_hangup();
	take_signal(t);
	dtrace_dispatch(t->dtp);
	return true;
}

static bool loop(struct tracing *t)
{
	static const int often[] = {
		[DTRACE_PROBE_COUNT] = COUNTS_MS,
		[DTRACE_PROBE_EVENTS] = EVENTS_MS,
		[DTRACE_PROBE_STACKS] = STACKS_MS,
	};
	uint64_t every = (uint64_t)t->every_ms * 1000000;
	uint64_t next = every ? t->began_ns + every : UINT64_MAX, due;

	while (!over(t) && !t->sig && !output_failed()) {
		take_hits(t);
		if (tracing_now() >= next && t->tick) {
			next += every;
			t->tick(t);
			output_flush();
		}
		due = next < end_of(t) ? next : end_of(t);
		if (!wait_news(t, time_until(due, often[t->opts.want])))
			return false;
	}
	return true;
}

bool tracing_run(struct tracing *t)
{
	bool good;

	if (!prepare(t) || !start(t))
		return false;
	good = loop(t);
	dtrace_probes_stop(t->set);
	take_hits(t);
	t->over = true;
	if (t->tick)
		t->tick(t);
	if (t->lost)
		complain("%llu hits were not told one by one: they came faster than they "
			 "could be taken",
			 (unsigned long long)t->lost);
	output_flush();
	return good;
}

/* What was created ends as the signal, or the end of the time, has it. */
static void end_created(struct tracing *t)
{
	if (!targets_created_left(&t->targets))
		return;
	if (!t->sig)
		targets_signal(&t->targets, SIGTERM);
	else if (!t->at_terminal)
		targets_signal(&t->targets, t->sig);
	while (targets_created_left(&t->targets) && wait_news(t, END_MS))
		continue;
}

int tracing_end(struct tracing *t, bool ran)
{
	int status = EXIT_FAILED, sig = t->sig;

	if (ran) {
		end_created(t);
		status = targets_status(&t->targets);
	}
	dtrace_probes_close(t->set);
	dtrace_close(t->dtp);
	targets_free(&t->targets);
	free(t->probes);
	return ran || !sig ? output_finish(status) : output_finish(128 + sig);
}
