/* SPDX-License-Identifier: MIT */
/*
 * Auxiliary vector and environment.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

/* The whole of a file in /proc/PID about the victim's memory: empty once the leader has
 * ended, then read through another thread; the victim's own in any case. */
int live_slurp(struct ps_prochandle *P, const char *name, char **ret, size_t *ret_len)
{
	int rc = procfs_slurp(P->live.pid, name, ret, ret_len);

	if ((rc == -ESRCH || (!rc && !*ret_len)) && !memory_rehome(P)) {
		if (!rc)
			free(*ret);
		*ret = NULL;
		rc = procfs_slurp(P->live.pid, name, ret, ret_len);
	}
	if (!rc && !procfs_pidfd_alive(P->pidfd)) {
		free(*ret);
		*ret = NULL;
		rc = -ESRCH;
	}
	return rc;
}

/* As the kernel wrote it at exec; one AT_NULL is there in any case. */
const auxv_t *data_auxv(struct ps_prochandle *P)
{
	_cleanup_free_ char *bytes = NULL;
	size_t len, n;

	if (P->auxv || P->state == PS_UNDEAD)
		return P->auxv;
	if (P->ops->slurp(P, "auxv", &bytes, &len) || len < sizeof(auxv_t))
		return NULL;
	n = len / sizeof(auxv_t);
	P->auxv = calloc(n + 1, sizeof(auxv_t));
	if (P->auxv)
		memcpy(P->auxv, bytes, n * sizeof(auxv_t));
	return P->auxv;
}

uint64_t data_auxval(struct ps_prochandle *P, uint64_t type)
{
	const auxv_t *a = data_auxv(P);

	for (; a && a->a_type != AT_NULL; a++)
		if (a->a_type == type)
			return a->a_un.a_val;
	return 0;
}

const auxv_t *Pgetauxvec(struct ps_prochandle *P)
{
	const auxv_t *a;

	handle_lock(P);
	a = data_auxv(P);
	handle_unlock(P);
	if (!a)
		errno = ESRCH;
	return a;
}

long Pgetauxval(struct ps_prochandle *P, int type)
{
	const auxv_t *a = Pgetauxvec(P);

	for (; a && a->a_type != AT_NULL; a++)
		if (a->a_type == (uint64_t)type)
			return (long)a->a_un.a_val;
	return -1;
}

/* Each of the strings in a file of /proc. */
static int iterate(struct ps_prochandle *P, const char *name, proc_env_f *fn, void *arg)
{
	_cleanup_free_ char *strings = NULL;
	size_t len;
	int rc;

	handle_lock(P);
	rc = P->ops->slurp(P, name, &strings, &len);
	handle_unlock(P);
	if (rc)
		return handle_fail(rc);
	for (char *s = strings; s < strings + len && !rc; s += strlen(s) + 1)
		rc = fn(arg, P, 0, s);
	return rc;
}

int Penv_iter(struct ps_prochandle *P, proc_env_f *fn, void *arg)
{
	return iterate(P, "environ", fn, arg);
}

int Parg_iter(struct ps_prochandle *P, proc_env_f *fn, void *arg)
{
	return iterate(P, "cmdline", fn, arg);
}
