/* SPDX-License-Identifier: MIT */
/*
 * Theory: every target is grabbed or created, and so parked, before the first is
 * continued: no event of one is missed because another took its time, and when one cannot
 * be had, the created ones end before they ran an instruction of their own. Then one
 * loop: wait, dispatch, print. Events come in order of time over all targets (dtrace.h),
 * each line leaves in one write. Targets are compared by handle, not by pid: a pid given
 * twice is one handle with two references, and its one end ends both.
 *
 * INT, TERM and HUP end the loop; dtrace_close() then releases the targets (created ones
 * are killed, grabbed ones run on) before pgrab ends by that very signal, so that a shell
 * knows why. The second one of a kind has its default effect: then the keeper does the
 * release. A reader of stdout that has gone is seen at once, not only at the next event.
 *
 * If pgrab itself is stopped (^Z), events queue in the keeper and in the pipe; no victim
 * waits for us.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "options.h"
#include "output.h"
#include "session.h"
#include "signals.h"

/* One process to watch. */
struct target {
	pid_t pid;               /* -p: this one; 0: create `argv` */
	char **argv;             /* -c or --: the command */
	char *text;              /* -c: what argv points into; allocated, with argv */
	char *program;           /* path of what was created; allocated, NULL not known */
	struct ps_prochandle *P; /* its handle */
	bool gone;               /* dead or lost */
};

/* One watch. */
struct watch {
	dtrace_hdl_t *dtp;      /* the session */
	struct target *targets; /* in the order of the command line */
	size_t n;               /* how many */
	bool json;              /* --json */
	int followed;           /* children that are followed and have not ended */
};

/* Which fields of an event a kind has. */
enum {
	HAS_OBJECT = 1,  /* a path, where it is known */
	HAS_BASE = 2,    /* base and lmid */
	HAS_CHILD = 4,   /* the new process */
	HAS_SIGNAL = 8,  /* the signal */
	HAS_STATUS = 16, /* how it ended */
	HAS_PARENT = 32, /* the process that made it */
};

static const struct {
	const char *name; /* in the output */
	unsigned has;     /* HAS_* */
} kinds[DT_PROC_EV_NKINDS] = {
	[DT_PROC_EV_CREATE] = { "create", HAS_OBJECT },
	[DT_PROC_EV_EXEC] = { "exec", HAS_OBJECT },
	[DT_PROC_EV_FORK] = { "fork", HAS_CHILD },
	[DT_PROC_EV_EXIT] = { "exit", HAS_STATUS },
	[DT_PROC_EV_LOST] = { "lost", 0 },
	[DT_PROC_EV_DLOPEN] = { "dlopen", HAS_OBJECT | HAS_BASE },
	[DT_PROC_EV_DLCLOSE] = { "dlclose", HAS_OBJECT | HAS_BASE },
	[DT_PROC_EV_THREAD_START] = { "thread-start", 0 },
	[DT_PROC_EV_THREAD_EXIT] = { "thread-exit", 0 },
	[DT_PROC_EV_SIGNAL] = { "signal", HAS_SIGNAL },
	[DT_PROC_EV_STOP] = { "stop", HAS_SIGNAL },
	[DT_PROC_EV_CONTINUE] = { "continue", 0 },
	[DT_PROC_EV_FOLLOW] = { "follow", HAS_PARENT },
};

/* --- one event ---------------------------------------------------------------------- */

static void json_end(int status)
{
	char name[32];

	if (status != -1 && WIFSIGNALED(status))
		json_member("signal", proc_signame(WTERMSIG(status), name, sizeof(name)));
	else if (status != -1)
		json_number("status", WEXITSTATUS(status));
	else
		output(",\"status\":null");
}

static void print_json(const dtrace_procev_t *ev, unsigned has)
{
	char name[32];

	output("{\"time\":");
	json_time(&ev->time);
	json_number("pid", ev->pid);
	json_number("tid", ev->tid);
	json_member("event", kinds[ev->kind].name);
	if (has & HAS_OBJECT)
		json_member("object", ev->object);
	if (has & HAS_BASE) {
		json_address("base", ev->base);
		json_number("lmid", ev->lmid);
	}
	if (has & HAS_CHILD)
		json_number("child", ev->child);
	if (has & HAS_PARENT)
		json_number("parent", ev->parent);
	if (has & HAS_SIGNAL)
		json_member("signal", proc_signame(ev->sig, name, sizeof(name)));
	if (has & HAS_STATUS)
		json_end(ev->status);
	if (ev->missed)
		json_number("missed", (long long)ev->missed);
	output("}\n");
}

static void text_end(int status)
{
	char name[32];

	if (status != -1 && WIFSIGNALED(status))
		output(" %s%s", proc_signame(WTERMSIG(status), name, sizeof(name)),
		       WCOREDUMP(status) ? " (core dumped)" : "");
	else if (status != -1)
		output(" status %d", WEXITSTATUS(status));
}

static void print_text(const dtrace_procev_t *ev, unsigned has)
{
	char name[32], clock[16] = "";
	struct tm tm;

	if (localtime_r(&ev->time.tv_sec, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	output("%s%s.%09ld%s %7d %7d %s%-*s%s", colour(COLOUR_DIM), clock,
	       ev->time.tv_nsec, colour(COLOUR_NONE), ev->pid, ev->tid,
	       colour(COLOUR_HEAD), has ? 12 : 0, kinds[ev->kind].name,
	       colour(COLOUR_NONE));
	if (has & HAS_BASE)
		output(" 0x%lx", (unsigned long)ev->base);
	if ((has & HAS_BASE) && ev->lmid != LM_ID_BASE)
		output(" LM%lx", (unsigned long)ev->lmid);
	if (has & HAS_OBJECT) {
		output(" ");
		output_escaped(ev->object);
	}
	if (has & HAS_CHILD)
		output(" child %d", ev->child);
	if (has & HAS_PARENT)
		output(" parent %d", ev->parent);
	if (has & HAS_SIGNAL)
		output(" %s", proc_signame(ev->sig, name, sizeof(name)));
	if (has & HAS_STATUS)
		text_end(ev->status);
	output("\n");
}

/* What a created process executed: known since its park. */
static const char *created_program(const struct watch *watch,
				   const struct ps_prochandle *P)
{
	for (size_t i = 0; i < watch->n; i++)
		if (watch->targets[i].P == P)
			return watch->targets[i].program;
	return NULL;
}

static void handle_event(const dtrace_procev_t *ev, void *arg)
{
	struct watch *watch = arg;
	dtrace_procev_t full = *ev;
	unsigned has;

	if ((unsigned)ev->kind >= DT_PROC_EV_NKINDS)
		return;
	if (ev->kind == DT_PROC_EV_CREATE && !ev->object)
		full.object = created_program(watch, ev->P);
	if (ev->kind == DT_PROC_EV_FOLLOW)
		watch->followed++;
	has = kinds[ev->kind].has;
	if (!full.object)
		has &= ~(unsigned)HAS_OBJECT;
	if (ev->missed)
		notice("%llu events of pid %d were missed",
		       (unsigned long long)ev->missed, ev->pid);
	if (watch->json)
		print_json(&full, has);
	else
		print_text(&full, has);
	output_flush();
}

static void handle_proc(struct ps_prochandle *P, const char *text, void *arg)
{
	struct watch *watch = arg;

	bool target = false;

	session_notice(P, text);
	for (size_t i = 0; i < watch->n && !text; i++)
		if (watch->targets[i].P == P)
			target = watch->targets[i].gone = true;
	if (!target && !text)
		watch->followed--;
}

/* --- the loop ----------------------------------------------------------------------- */

static bool all_gone(const struct watch *watch)
{
	for (size_t i = 0; i < watch->n; i++)
		if (!watch->targets[i].gone)
			return false;
	return watch->followed <= 0;
}

/* Dispatches until all are gone: 0, the signal that ended it, or -1 when it cannot go
 * on. */
static int loop(struct watch *watch)
{
	struct pollfd fds[] = {
		{ .fd = dtrace_notify_fd(watch->dtp), .events = POLLIN },
		{ .fd = signals_fd(), .events = POLLIN },
		{ .fd = STDOUT_FILENO, .events = 0 }, /* POLLERR: the reader has gone */
	};
	struct caught caught;

	while (!all_gone(watch) && !output_failed()) {
		if (poll(fds, 3, -1) < 0 && errno != EINTR) {
			complain("cannot wait: %s", strerror(errno));
			return -1;
		}
		if (signals_take(&caught))
			return caught.sig;
		dtrace_dispatch(watch->dtp);
		if (fds[2].revents & POLLERR)
			output_hangup();
	}
	while (!output_failed() && dtrace_dispatch(watch->dtp) > 0)
		continue;
	return output_failed() ? -1 : 0;
}

static bool take(struct watch *watch, struct target *t)
{
	char path[PATH_MAX];

	if (t->pid)
		t->P = dtrace_proc_grab(watch->dtp, t->pid, 0);
	else
		t->P = dtrace_proc_create(watch->dtp, t->argv[0], t->argv);
	if (!t->P)
		session_complain(watch->dtp);
	else if (!t->pid && Pexecname(t->P, path, sizeof(path)))
		t->program = strdup(path);
	return t->P != NULL;
}

/* 0, 1, or the signal that ended it as a negative number. */
static int watch_targets(struct watch *watch)
{
	static const int ending[] = { SIGINT, SIGTERM, SIGHUP, 0 };
	int ended;

	if (signals_catch(ending, SIGNALS_ONCE) < 0) {
		complain("cannot catch signals: %s", strerror(errno));
		return EXIT_FAILED;
	}
	if (dtrace_handle_procev(watch->dtp, handle_event, watch) < 0 ||
	    dtrace_handle_proc(watch->dtp, handle_proc, watch) < 0) {
		session_complain(watch->dtp);
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < watch->n; i++)
		if (!take(watch, &watch->targets[i]))
			return EXIT_FAILED;
	for (size_t i = 0; i < watch->n; i++)
		dtrace_proc_continue(watch->dtp, watch->targets[i].P);
	ended = loop(watch);
	return ended < 0 ? EXIT_FAILED : -ended;
}

/* --- the command line --------------------------------------------------------------- */

static struct target *add_target(struct watch *watch)
{
	return &watch->targets[watch->n++];
}

/* Splits on white space: no shell, no quoting. */
static void add_split(const struct command *self, struct watch *watch,
		      const char *command)
{
	struct target *t = add_target(watch);
	char *save = NULL, *word;
	size_t n = 0;

	t->text = options_alloc(strlen(command) + 1, 1);
	strcpy(t->text, command);
	t->argv = options_alloc(strlen(command) / 2 + 2, sizeof(*t->argv));
	for (word = strtok_r(t->text, " \t\n\r\v\f", &save); word;
	     word = strtok_r(NULL, " \t\n\r\v\f", &save))
		t->argv[n++] = word;
	if (n == 0)
		usage_error(self, "-c needs a command, this one is empty");
}

static void parse(const struct command *self, struct watch *watch, int argc, char **argv)
{
	static const struct option longs[] = {
		OPTIONS_LONG,
		{ "json", no_argument, NULL, 'j' },
		{ "follow", no_argument, NULL, 'f' },
		{ 0 },
	};
	int c;

	watch->targets = options_alloc((size_t)argc + 1, sizeof(*watch->targets));
	while ((c = options_next(self, argc, argv, "+:p:c:x:jf" OPTIONS_SHORT, longs)) !=
	       -1) {
		if (c == 'p')
			add_target(watch)->pid = options_pid(self, optarg);
		else if (c == 'c')
			add_split(self, watch, optarg);
		else if (c == 'x')
			session_option(self, watch->dtp, optarg);
		else if (c == 'j')
			watch->json = true;
		else if (c == 'f')
			session_option(self, watch->dtp, "follow=children");
	}
	if (optind < argc && !argv[optind][0])
		usage_error(self, "the command is empty");
	if (optind < argc)
		add_target(watch)->argv = argv + optind;
	if (watch->n == 0)
		usage_error(self, "what to watch? -p PID, -c 'COMMAND' or -- COMMAND");
}

static int run_watch(const struct command *self, int argc, char **argv)
{
	struct watch watch = { .dtp = session_open() };
	int status;

	parse(self, &watch, argc, argv);
	status = watch_targets(&watch);
	dtrace_close(watch.dtp);
	for (size_t i = 0; i < watch.n; i++) {
		if (watch.targets[i].text)
			free(watch.targets[i].argv);
		free(watch.targets[i].text);
		free(watch.targets[i].program);
	}
	free(watch.targets);
	if (status < 0) {
		output_flush();
		signals_die(-status);
	}
	return status;
}

const struct command command_watch = {
	.name = "watch",
	.summary = "print the life of processes as it happens",
	.synopsis = "[-q] [-j] [-f] [-x OPTION=VALUE] [-p PID]... [-c 'COMMAND']... [--] "
		    "[COMMAND...]",
	.help = "Prints a line for each event: create, exec, fork, exit, lost, dlopen, "
		"dlclose,\n"
		"thread-start, thread-exit, signal, stop, continue, follow. The\n"
		"objects that are there at the start or at the grab are dlopen events "
		"too. Ends with 0 when all "
		"processes are gone.\n"
		"INT, TERM and HUP end it early: commands that it created are killed, "
		"grabbed\n"
		"processes run on, and pgrab ends by that signal.\n"
		"\n"
		"Options:\n"
		"  -p PID             watch this process (repeatable)\n"
		"  -c 'COMMAND'       create and watch: split on white space, no shell "
		"(repeatable)\n"
		"  -j, --json         a JSON object a line; what is not UTF-8 in a name "
		"becomes U+FFFD\n"
		"  -f, --follow       watch their children too, from their first "
		"instruction\n"
		"  -x OPTION=VALUE    an option of the session, as evaltime=exec\n"
		"  -q, --quiet        no notices\n"
		"  -h, --help         this text\n"
		"\n"
		"Examples:\n"
		"  pgrab watch -- python3 -c 'import ssl'\n"
		"  pgrab watch --json -p 1234 -p 5678 | jq -r "
		"'select(.event==\"dlopen\").object'\n"
		"  pgrab watch -c 'make -j2' -c 'sleep 5'\n",
	.run = run_watch,
};
