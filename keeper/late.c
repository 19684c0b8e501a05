/* SPDX-License-Identifier: MIT */
/*
 * What an attach was waiting for when its deadline passed.
 *
 * /proc is asked, when it is too late anyway: the state of a thread, where it sleeps in
 * the kernel (wchan; empty where the kernel does not say) and the system call that it is
 * in. All of it may have changed by the time it is read; then less is said.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "keeper/keeper.h"
#include "os/procfs.h"

/* /proc/PID/task/TID/NAME, or NULL; the caller frees it. */
static char *read_of(pid_t pid, pid_t tid, const char *name)
{
	char path[64], *text;
	size_t len;

	snprintf(path, sizeof(path), "task/%d/%s", tid, name);
	return procfs_slurp(pid, path, &text, &len) ? NULL : text;
}

void late_say_moving(struct victim *v, char *text, size_t size)
{
	pid_t tid = v->pid;
	char *where, state;

	for (struct lwp *l = v->lwps; l; l = l->next)
		if (lwp_moving(l))
			tid = l->tid;
	state = lwp_proc_state(v->pid, tid) ?: '?';
	where = read_of(v->pid, tid, "wchan");
	if (where && *where && strcmp(where, "0") != 0)
		snprintf(text, size, "thread %d does not stop (state %c in %s)", tid,
			 state, where);
	else
		snprintf(text, size, "thread %d does not stop (state %c)", tid, state);
	free(where);
}

static bool in_exec(pid_t pid, pid_t tid)
{
	char *call = read_of(pid, tid, "syscall");
	char *end = call;
	long nr = call ? strtol(call, &end, 10) : 0;
	bool number = end != call; /* and not `running` */

	free(call);
	return number && (nr == SYS_execve || nr == SYS_execveat);
}

pid_t late_find_exec(pid_t pid)
{
	pid_t *tids, found = pid;
	size_t n;

	if (procfs_tids(pid, &tids, &n))
		return pid;
	for (size_t i = 0; i < n && found == pid; i++)
		if (in_exec(pid, tids[i]))
			found = tids[i];
	free(tids);
	return found;
}
