/* SPDX-License-Identifier: MIT */
/*
 * Theory: the process is attached to while it runs, then stopped, copied and set running:
 * to memory where that has room, and from there to the file while it runs on, else to the
 * file at once. What is told is from the request to stop to the end of the release. The
 * file appears when it is complete and not before. A thread that sleeps uninterruptibly
 * cannot be stopped; there is no core then, since memory would change under the copy.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "corefile.h"
#include "options.h"
#include "output.h"
#include "target.h"

enum {
	CORE_DEADLINE = 5000, /* ms until all threads must stand */
};

static double elapsed_ms(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - since->tv_sec) * 1e3 +
	       (double)(now.tv_nsec - since->tv_nsec) / 1e6;
}

static const char *reason(int err)
{
	switch (err) {
	case EEXIST:
		return "there is a file of that name";
	case ENOSPC:
		return "the disk is full";
	case EDQUOT:
		return "the disk quota is used up";
	case EFBIG:
		return "the file would be larger than allowed (ulimit -f)";
	case EBUSY:
		return "the process did not stop within 5 s";
	case ESRCH:
		return "the process has ended";
	default:
		return strerror(err);
	}
}

/* What is there now, and what of it is on the disk. */
static void tell_size(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return;
	notice("%s: %.1f MiB, %.1f MiB of them on disk", path,
	       (double)st.st_size / (1 << 20), (double)st.st_blocks * 512 / (1 << 20));
}

/* Stops it, copies it to `memory`, or when that is -1 to the file, and ends P: an errno,
 * or 0. */
static int copy(struct ps_prochandle *P, int memory, const char *path, int content)
{
	struct timespec start;
	int err = 0, nlwp;

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (Pstop(P, CORE_DEADLINE) != 0)
		err = errno;
	else if ((memory < 0 ? Pgcore(P, path, content) : Pfgcore(P, memory, content)) !=
		 0)
		err = errno;
	nlwp = Pstatus(P)->pr_nlwp;
	Prelease(P, 0);
	if (!err)
		notice("%d thread%s stopped %.1f ms", nlwp, nlwp == 1 ? "" : "s",
		       elapsed_ms(&start));
	return err;
}

/* Through memory: an errno, or 0. The file is made first: what is wrong with it is told
 * before anything is stopped. */
static int copy_by_memory(struct ps_prochandle *P, int memory, const char *path,
			  int content)
{
	struct corefile file;
	int err = corefile_create(path, &file) ? errno : 0;

	if (err) {
		Prelease(P, 0);
		return err;
	}
	err = copy(P, memory, path, content);
	if (!err && corefile_save(&file, memory) != 0)
		err = errno;
	corefile_close(&file);
	return err;
}

/* Ends P. 0, or 1 after a sentence. */
static int write_core(struct ps_prochandle *P, pid_t pid, const char *path, int content)
{
	const psinfo_t *ps = Ppsinfo(P);
	int memory = ps ? corefile_memory(ps->pr_rssize) : -1;
	int err = memory < 0 ? copy(P, -1, path, content)
			     : copy_by_memory(P, memory, path, content);

	if (memory >= 0)
		close(memory);
	if (err) {
		complain("cannot write %s, a core of pid %d: %s", path, pid, reason(err));
		return EXIT_FAILED;
	}
	tell_size(path);
	output_escaped(path);
	output("\n");
	return EXIT_DONE;
}

/* What the command line says. */
struct request {
	const char *path; /* or NULL */
	int content;      /* for Pgcore() */
};

static void parse(const struct command *self, int argc, char **argv, struct request *ret)
{
	static const struct option longs[] = {
		OPTIONS_LONG,
		{ "all", no_argument, NULL, 'a' },
		{ "output", required_argument, NULL, 'o' },
		{ 0 },
	};
	int c;

	while ((c = options_next(self, argc, argv, ":ao:" OPTIONS_SHORT, longs)) != -1) {
		if (c == 'a')
			ret->content = PGCORE_ALL;
		else
			ret->path = optarg;
	}
	if (optind >= argc)
		usage_error(self, "which process?");
	if (optind + 1 < argc)
		usage_error(self, "one process at a time");
	if (ret->path && !*ret->path)
		usage_error(self, "an empty file name");
}

static int run_core(const struct command *self, int argc, char **argv)
{
	struct request req = { 0 };
	struct ps_prochandle *P;
	char path[32];
	pid_t pid;

	parse(self, argc, argv, &req);
	pid = options_pid(self, argv[optind]);
	snprintf(path, sizeof(path), "core.%d", pid);
	P = target_grab(pid, PGRAB_NOSTOP);
	if (!P)
		return EXIT_FAILED;
	return write_core(P, pid, req.path ? req.path : path, req.content);
}

const struct command command_core = {
	.name = "core",
	.summary = "write a core file of a process that runs on",
	.synopsis = "[-aq] [-o FILE] PID",
	.help = "Stops the process, copies its memory and the registers of all threads "
		"to a "
		"new file\n"
		"(core.PID, or FILE), which stdout names, and sets it running; stderr "
		"tells "
		"how long it\n"
		"stood. Debuggers open the file, and so do maps, libs, syms, args and "
		"env. "
		"What is copied\n"
		"is what the process's coredump_filter says (core(5)); what it never "
		"wrote "
		"takes no room.\n"
		"\n"
		"Options:\n"
		"  -a, --all           also what is in files: text, read-only data, "
		"shared "
		"mappings\n"
		"  -o, --output FILE   write there; a file that exists is not "
		"overwritten\n"
		"  -q, --quiet         no notices\n"
		"  -h, --help          this text\n"
		"\n"
		"Examples:\n"
		"  pgrab core 1234\n"
		"  pgrab core -o /var/tmp/nginx.core 1234 && gdb nginx "
		"/var/tmp/nginx.core\n",
	.run = run_core,
};
