/* SPDX-License-Identifier: MIT */
/*
 * Credentials: of a process as /proc/PID/status has them (proc(5)), of a core the two
 * that NT_PRPSINFO has.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

/* What follows `key` at the beginning of a line; the kernel escapes newlines in names, so
 * no victim can forge one. */
static const char *find_line(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *s = text; s && *s; s = strchr(s, '\n'), s += s != NULL)
		if (!strncmp(s, key, len))
			return s + len;
	return NULL;
}

/* Numbers up to the end of the line: how many there are, the first n into ret. */
static int read_ids(const char *line, unsigned *ret, int n)
{
	int found = 0;
	char *end;

	for (;; line = end) {
		while (*line == ' ' || *line == '\t')
			line++;
		if (*line < '0' || *line > '9')
			return found;
		if (found < n)
			ret[found] = (unsigned)strtoul(line, &end, 10);
		else
			strtoul(line, &end, 10);
		found++;
	}
}

static int read_live(struct ps_prochandle *P, prcred_t *cred, int ngroups)
{
	_cleanup_free_ char *text = NULL;
	const char *uids, *gids, *groups;
	unsigned uid[3], gid[3];
	size_t len;
	int rc = procfs_slurp(P->live.pid, "status", &text, &len);

	if (rc || !P->ops->alive(P))
		return -ESRCH;
	uids = find_line(text, "Uid:");
	gids = find_line(text, "Gid:");
	groups = find_line(text, "Groups:");
	if (!uids || !gids || read_ids(uids, uid, 3) < 3 || read_ids(gids, gid, 3) < 3)
		return -ENODATA;
	cred->pr_ruid = uid[0];
	cred->pr_euid = uid[1];
	cred->pr_suid = uid[2];
	cred->pr_rgid = gid[0];
	cred->pr_egid = gid[1];
	cred->pr_sgid = gid[2];
	cred->pr_ngroups = groups ? read_ids(groups, cred->pr_groups, ngroups) : 0;
	return 0;
}

static int read_dead(struct ps_prochandle *P, prcred_t *cred)
{
	const struct core_process *ps = core_process(P->core);

	if (!ps->known)
		return -ENODATA;
	cred->pr_ruid = cred->pr_euid = cred->pr_suid = ps->uid;
	cred->pr_rgid = cred->pr_egid = cred->pr_sgid = ps->gid;
	cred->pr_ngroups = 0;
	return 0;
}

int Pcred(struct ps_prochandle *P, prcred_t *cred, int ngroups)
{
	int rc;

	if (ngroups < 0)
		return handle_fail(-EINVAL);
	handle_lock(P);
	rc = P->core ? read_dead(P, cred) : read_live(P, cred, ngroups);
	handle_unlock(P);
	return handle_fail(rc);
}
