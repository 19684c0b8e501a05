/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "output.h"
#include "target.h"

/* What a walk over the mappings adds up. */
struct total {
	size_t count; /* mappings */
	size_t bytes; /* their sizes */
};

static int print_map(void *arg, const prmap_t *map, const char *name)
{
	struct total *total = arg;

	output("%016lx %10zuK %c%c%c%c %08llx ", (unsigned long)map->pr_vaddr,
	       map->pr_size / 1024, map->pr_mflags & MA_READ ? 'r' : '-',
	       map->pr_mflags & MA_WRITE ? 'w' : '-',
	       map->pr_mflags & MA_EXEC ? 'x' : '-',
	       map->pr_mflags & MA_SHARED ? 's' : 'p',
	       (unsigned long long)map->pr_offset);
	output_escaped(name ? name : "[anon]");
	output("\n");
	total->count++;
	total->bytes += map->pr_size;
	return output_failed();
}

static int show_maps(struct ps_prochandle *P, pid_t pid, void *arg)
{
	struct total total = { 0 };

	if (Pmapping_iter(P, print_map, &total) < 0) {
		complain("cannot read the mappings of pid %d: %s", pid, strerror(errno));
		return 1;
	}
	output("%-16s %10zuK in %zu mappings\n", "total", total.bytes / 1024,
	       total.count);
	return 0;
}

static int run_maps(const struct command *self, int argc, char **argv)
{
	return target_command_file(self, argc, argv, show_maps);
}

const struct command command_maps = {
	.name = "maps",
	.summary = "the mappings of processes",
	.synopsis = "[-q] PID|CORE...",
	.help = "Prints each mapping: address, size, permissions (p private, s shared), "
		"offset in the\n"
		"file, and what is mapped; then the total. The process is not touched.\n"
		"\n"
		"Options:\n"
		"  -q, --quiet   no notices\n"
		"  -h, --help    this text\n"
		"\n"
		"Examples:\n"
		"  pgrab maps 1234              the mappings of process 1234\n"
		"  pgrab maps $$ | grep ' rwx'  writable and executable mappings of this "
		"shell\n",
	.run = run_maps,
};
