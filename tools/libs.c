/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "output.h"
#include "target.h"

static int print_object(void *arg, const prmap_t *map, const char *name)
{
	struct ps_prochandle *P = arg;
	const rd_loadobj_t *lo = Paddr_to_loadobj(P, map->pr_vaddr);
	Lmid_t lmid = LM_ID_BASE;

	/* No link map (a static program, the vDSO): where it is mapped says as much. */
	Plmid(P, map->pr_vaddr, &lmid);
	output("0x%016lx %4ld ", (unsigned long)(lo ? lo->rl_base : map->pr_vaddr), lmid);
	output_escaped(name ? name : "[anon]");
	output("\n");
	return output_failed();
}

static int show_libs(struct ps_prochandle *P, pid_t pid, void *arg)
{
	if (Pobject_iter(P, print_object, P) >= 0)
		return 0;
	complain("cannot read the objects of pid %d: %s", pid, strerror(errno));
	return 1;
}

static int run_libs(const struct command *self, int argc, char **argv)
{
	return target_command_file(self, argc, argv, show_libs);
}

const struct command command_libs = {
	.name = "libs",
	.summary = "the program and shared objects of processes",
	.synopsis = "[-q] PID|CORE...",
	.help = "Prints each object that is loaded: its base (what is added to the "
		"addresses in the\n"
		"file), its namespace (0, or as dlmopen numbered it), its path. The "
		"process is not\n"
		"touched.\n"
		"\n"
		"Options:\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab libs 1234                     what process 1234 has loaded\n"
		"  pgrab libs $(pidof nginx) | grep ssl\n",
	.run = run_libs,
};
