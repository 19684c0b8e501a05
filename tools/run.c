/* SPDX-License-Identifier: MIT */
/*
 * Theory: to a shell, `pgrab run -- CMD` is CMD. So its exit status is CMD's, and signals
 * do what they would do to CMD. Those that the terminal sends (^C, ^\, hang-up) reach the
 * whole foreground group, CMD too: pgrab only has to outlive them, to hand on how CMD
 * took them. What somebody sends to pgrab alone (kill, timeout) is passed on to CMD. The
 * two are told apart by si_code: SI_KERNEL is the terminal (sigaction(2)). ^Z stops both,
 * for they are in one group, and fg continues both: nothing to do.
 *
 * CMD is our child. If control over it is lost (an exec of a program that may not be
 * read), it is still that: its end is then waited for through its pidfd. SIGKILL of pgrab
 * kills CMD, for it was created with kill-on-last-close.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"
#include "output.h"
#include "session.h"
#include "signals.h"
#include "target.h"

/* One run. */
struct run {
	dtrace_hdl_t *dtp;       /* the session */
	struct ps_prochandle *P; /* the command */
	int pidfd;               /* the command, to send signals to; -1 */
	bool ended;              /* its end has been notified */
	bool lost;               /* out of control: `pidfd` tells its end */
	int status;              /* wait(2) status, -1 when not known */
	int followed;            /* children that are followed and have not ended */
};

static void handle_proc(struct ps_prochandle *P, const char *text, void *arg)
{
	struct run *run = arg;
	const pstatus_t *st;

	if (P != run->P && !text)
		run->followed--;
	if (text || Pstate(P) == PS_LOST) {
		session_notice(P, text);
		run->lost = run->lost || (!text && P == run->P);
		return;
	}
	if (P != run->P)
		return;
	st = Pstatus(P);
	run->status = st ? st->pr_exitstatus : -1;
	run->ended = true;
}

static void handle_event(const dtrace_procev_t *ev, void *arg)
{
	struct run *run = arg;

	if (ev->kind == DT_PROC_EV_FOLLOW)
		run->followed++;
}

static void pass_signals(struct run *run)
{
	struct caught c;

	while (signals_take(&c))
		if (c.code != SI_KERNEL && run->pidfd >= 0)
			syscall(SYS_pidfd_send_signal, run->pidfd, c.sig, NULL, 0);
}

static void reap_lost(struct run *run)
{
	int status;

	if (waitpid(Pgetpid(run->P), &status, WNOHANG) == 0)
		return;
	run->status = errno == ECHILD ? -1 : status;
	run->ended = true;
}

static void wait_end(struct run *run)
{
	struct pollfd fds[] = {
		{ .fd = dtrace_notify_fd(run->dtp), .events = POLLIN },
		{ .fd = signals_fd(), .events = POLLIN },
		{ .fd = -1, .events = POLLIN },
	};

	while (!run->ended || run->followed > 0) {
		fds[2].fd = run->lost && !run->ended ? run->pidfd : -1;
		if (poll(fds, 3, -1) < 0 && errno != EINTR) {
			complain("cannot wait: %s", strerror(errno));
			return;
		}
		pass_signals(run);
		dtrace_dispatch(run->dtp);
		if (fds[2].revents)
			reap_lost(run);
	}
}

/* 0 when the file is there to be executed, else the reason as an errno. */
static int check_file(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	return access(path, X_OK) == 0 ? 0 : EACCES;
}

/* The exit status of a shell that was to execute file: looks for it as execvp(3) does. */
static int shell_status(const char *file)
{
	const char *path = getenv("PATH"), *next;
	char name[PATH_MAX];
	int status = EXIT_NOT_FOUND;

	if (!*file)
		return EXIT_NOT_FOUND;
	if (strchr(file, '/'))
		return check_file(file) == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXEC;
	for (path = path ? path : "/bin:/usr/bin"; path; path = next ? next + 1 : NULL) {
		int len, err;

		next = strchrnul(path, ':');
		len = (int)(next - path);
		next = *next ? next : NULL;
		snprintf(name, sizeof(name), "%.*s/%s", len ? len : 1, len ? path : ".",
			 file);
		err = check_file(name);
		if (err != ENOENT && err != ENOTDIR)
			status = EXIT_NOT_EXEC;
	}
	return status;
}

/* Did the command fail to execute (126, 127), or pgrab to hold it (1)? */
static int failed_status(dtrace_hdl_t *dtp, const char *file)
{
	const char *text = dtrace_errmsg(dtp, dtrace_errno(dtp));

	if (strncmp(text, "failed to execute", 17) != 0 ||
	    strstr(text, Pgrab_error(G_KEEPER)) || strstr(text, Pgrab_error(G_NOFD)))
		return EXIT_FAILED;
	return shell_status(file);
}

static int end_status(int status)
{
	if (status == -1) {
		complain("the command's exit status is not known");
		return EXIT_FAILED;
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_created(struct run *run)
{
	static const int passed[] = { SIGINT,  SIGQUIT, SIGTERM, SIGHUP,
				      SIGUSR1, SIGUSR2, 0 };
	pid_t pid = Pgetpid(run->P);
	char point[16];

	run->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (dtrace_getopt(run->dtp, "evaltime", point, sizeof(point)) < 0)
		strcpy(point, "start");
	notice("%d parked at %s", pid, point);
	if (signals_catch(passed, SIGNALS_ALWAYS) < 0) {
		complain("cannot catch signals: %s", strerror(errno));
		return EXIT_FAILED;
	}
	dtrace_proc_continue(run->dtp, run->P);
	wait_end(run);
	if (run->pidfd >= 0)
		close(run->pidfd);
	return run->ended ? end_status(run->status) : EXIT_FAILED;
}

static bool follows(dtrace_hdl_t *dtp)
{
	char mode[16];

	return !dtrace_getopt(dtp, "follow", mode, sizeof(mode)) && strcmp(mode, "none");
}

static int run_command(const struct command *self, dtrace_hdl_t *dtp, char **command)
{
	struct run run = { .dtp = dtp, .pidfd = -1, .status = -1 };

	if (dtrace_handle_proc(dtp, handle_proc, &run) < 0 ||
	    (follows(dtp) && dtrace_handle_procev(dtp, handle_event, &run) < 0)) {
		session_complain(dtp);
		return EXIT_FAILED;
	}
	run.P = dtrace_proc_create(dtp, command[0], command);
	if (!run.P) {
		session_complain(dtp);
		return failed_status(dtp, command[0]);
	}
	return run_created(&run);
}

static int run_run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		OPTIONS_LONG,
		{ "follow", no_argument, NULL, 'f' },
		{ "keep-running", no_argument, NULL, 'k' },
		{ 0 },
	};
	dtrace_hdl_t *dtp = session_open();
	int c, status;

	while ((c = options_next(self, argc, argv, "+:x:f" OPTIONS_SHORT, longs)) != -1) {
		if (c == 'x')
			session_option(self, dtp, optarg);
		else if (c == 'f')
			session_option(self, dtp, "follow=children");
		else if (c == 'k')
			session_option(self, dtp, "keeprunning=on");
	}
	if (optind >= argc)
		usage_error(self, "which command?");
	status = run_command(self, dtp, argv + optind);
	dtrace_close(dtp);
	return status;
}

const struct command command_run = {
	.name = "run",
	.summary = "hold a new command at a point of its start, then run it",
	.synopsis = "[-q] [-x evaltime=POINT] [--] COMMAND [ARGUMENT...]",
	.help = "Creates COMMAND, parks it at POINT, says so on stderr, and continues "
		"it. Its end is\n"
		"pgrab's: the exit status is COMMAND's, 128+N when signal N ended it, "
		"126 when it\n"
		"cannot be executed, 127 when it is not found. Signals sent to pgrab "
		"reach it.\n"
		"\n"
		"Options:\n"
		"  -x evaltime=POINT  where to park:\n"
		"       exec      at the first instruction after exec\n"
		"       preinit   objects mapped and relocated, no constructor has run "
		"(default)\n"
		"       postinit  all constructors have run, main has not\n"
		"       main      at the first instruction of main\n"
		"  -x OPTION=VALUE    any other option of a session\n"
		"  -f, --follow       control its children too, and wait for them\n"
		"  --keep-running     it runs on when pgrab is killed\n"
		"  -q, --quiet        no notices\n"
		"  -h, --help         this text\n"
		"\n"
		"Examples:\n"
		"  pgrab run -- ls -l\n"
		"  pgrab run -x evaltime=main -- python3 -c 'print(1)'\n"
		"  pgrab run -q -- sh -c 'exit 3'; echo $?     prints 3\n",
	.run = run_run,
};
