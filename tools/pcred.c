/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "output.h"
#include "target.h"

enum {
	MAX_GROUPS = 65536, /* NGROUPS_MAX */
};

static void print_cred(const prcred_t *cred)
{
	output("user   real %u effective %u saved %u\n", cred->pr_ruid, cred->pr_euid,
	       cred->pr_suid);
	output("group  real %u effective %u saved %u\n", cred->pr_rgid, cred->pr_egid,
	       cred->pr_sgid);
	output("groups");
	for (int i = 0; i < cred->pr_ngroups && i < MAX_GROUPS; i++)
		output(" %u", cred->pr_groups[i]);
	output("%s\n", cred->pr_ngroups ? "" : " -");
}

static int show_cred(struct ps_prochandle *P, pid_t pid, void *arg)
{
	prcred_t *cred = options_alloc(1, sizeof(*cred) + MAX_GROUPS * sizeof(gid_t));
	int rc = Pcred(P, cred, MAX_GROUPS);

	if (rc == 0)
		print_cred(cred);
	else
		complain("cannot read the credentials of pid %d: %s", pid,
			 strerror(errno));
	free(cred);
	return rc != 0;
}

static int run_cred(const struct command *self, int argc, char **argv)
{
	return target_command_file(self, argc, argv, show_cred);
}

const struct command command_cred = {
	.name = "cred",
	.summary = "the credentials of processes",
	.synopsis = "[-q] PID|CORE...",
	.help = "Prints the user and group ids, real, effective and saved, and the "
		"supplementary groups.\n"
		"A core knows the real ids only. The process is not touched.\n"
		"\n"
		"Options:\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab cred 1234\n"
		"  pgrab cred $(pidof nginx)\n",
	.run = run_cred,
};
