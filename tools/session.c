/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "options.h"
#include "output.h"
#include "session.h"

dtrace_hdl_t *session_open(void)
{
	int err = 0;
	dtrace_hdl_t *dtp = dtrace_open(DTRACE_VERSION, 0, &err);

	if (!dtp) {
		complain("cannot open a session: %s", dtrace_errmsg(NULL, err));
		exit(EXIT_FAILED);
	}
	return dtp;
}

void session_option(const struct command *cmd, dtrace_hdl_t *dtp, const char *text)
{
	const char *equals = strchr(text, '=');
	char name[64];

	if (!equals || equals == text || (size_t)(equals - text) >= sizeof(name))
		usage_error(cmd, "`%s' is not of the form option=value", text);
	memcpy(name, text, (size_t)(equals - text));
	name[equals - text] = '\0';
	if (dtrace_setopt(dtp, name, equals + 1) < 0)
		usage_error(cmd, "%s: %s", text, dtrace_errmsg(dtp, dtrace_errno(dtp)));
}

void session_complain(dtrace_hdl_t *dtp)
{
	complain("%s", dtrace_errmsg(dtp, dtrace_errno(dtp)));
}

static void notice_end(pid_t pid, int status)
{
	char name[32];

	if (status != -1 && WIFSIGNALED(status))
		notice("pid %d terminated by %s", pid,
		       proc_signame(WTERMSIG(status), name, sizeof(name)));
	else if (status != -1 && WEXITSTATUS(status) != 0)
		notice("pid %d exited with status %d", pid, WEXITSTATUS(status));
	else
		notice("pid %d has exited", pid);
}

void session_notice(struct ps_prochandle *P, const char *text)
{
	pid_t pid = Pgetpid(P);
	const pstatus_t *st;

	if (text) {
		notice("%s", text);
		return;
	}
	if (Pstate(P) == PS_LOST) {
		notice("pid %d exec'd a set-id or unobservable program", pid);
		return;
	}
	st = Pstatus(P);
	notice_end(pid, st ? st->pr_exitstatus : -1);
}
