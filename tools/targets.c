/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"
#include "output.h"
#include "session.h"
#include "targets.h"

static struct traced *add(struct targets *t)
{
	struct traced *v = realloc(t->v, (t->n + 1) * sizeof(*v));

	if (!v) {
		complain("out of memory");
		exit(EXIT_FAILED);
	}
	t->v = v;
	v += t->n++;
	*v = (struct traced){ .pidfd = -1, .status = -1 };
	return v;
}

void targets_add_pid(struct targets *t, pid_t pid)
{
	add(t)->pid = pid;
}

void targets_add_argv(struct targets *t, char **argv)
{
	add(t)->argv = argv;
}

void targets_add_text(const struct command *cmd, struct targets *t, const char *command)
{
	struct traced *v = add(t);
	char *save = NULL, *word;
	size_t n = 0;

	v->text = options_alloc(strlen(command) + 1, 1);
	strcpy(v->text, command);
	v->argv = options_alloc(strlen(command) / 2 + 2, sizeof(*v->argv));
	for (word = strtok_r(v->text, " \t\n\r\v\f", &save); word;
	     word = strtok_r(NULL, " \t\n\r\v\f", &save))
		v->argv[n++] = word;
	if (n == 0)
		usage_error(cmd, "-c needs a command, this one is empty");
}

bool targets_take(struct targets *t, dtrace_hdl_t *dtp)
{
	for (size_t i = 0; i < t->n; i++) {
		struct traced *v = &t->v[i];

		v->P = v->pid ? dtrace_proc_grab(dtp, v->pid, 0)
			      : dtrace_proc_create(dtp, v->argv[0], v->argv);
		if (!v->P) {
			session_complain(dtp);
			return false;
		}
		if (!v->pid)
			v->pidfd = (int)syscall(SYS_pidfd_open, Pgetpid(v->P), 0);
	}
	return true;
}

void targets_continue(struct targets *t, dtrace_hdl_t *dtp)
{
	for (size_t i = 0; i < t->n; i++)
		dtrace_proc_continue(dtp, t->v[i].P);
}

bool targets_ended(struct targets *t, struct ps_prochandle *P)
{
	const pstatus_t *st = Pstate(P) == PS_LOST ? NULL : Pstatus(P);
	bool found = false;

	for (size_t i = 0; i < t->n; i++) {
		if (t->v[i].P != P)
			continue;
		found = t->v[i].gone = true;
		t->v[i].status = st ? st->pr_exitstatus : -1;
	}
	return found;
}

bool targets_all_gone(const struct targets *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (!t->v[i].gone)
			return false;
	return true;
}

bool targets_created_left(const struct targets *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (!t->v[i].gone && !t->v[i].pid)
			return true;
	return false;
}

void targets_signal(const struct targets *t, int sig)
{
	for (size_t i = 0; i < t->n; i++)
		if (!t->v[i].gone && t->v[i].pidfd >= 0)
			syscall(SYS_pidfd_send_signal, t->v[i].pidfd, sig, NULL, 0);
}

int targets_status(const struct targets *t)
{
	for (size_t i = 0; i < t->n; i++) {
		int status = t->v[i].status;

		if (t->v[i].pid || !t->v[i].gone)
			continue;
		if (status == -1)
			return EXIT_FAILED;
		return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	}
	return EXIT_DONE;
}

void targets_free(struct targets *t)
{
	for (size_t i = 0; i < t->n; i++) {
		if (t->v[i].text)
			free(t->v[i].argv);
		free(t->v[i].text);
		if (t->v[i].pidfd >= 0)
			close(t->v[i].pidfd);
	}
	free(t->v);
}
