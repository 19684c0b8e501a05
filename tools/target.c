/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "options.h"
#include "output.h"
#include "target.h"
#include "task.h"

struct ps_prochandle *target_grab(pid_t pid, int flags)
{
	struct ps_prochandle *P;
	const char *detail;
	int err = 0;

	P = Pgrab(pid, flags, &err);
	if (P)
		return P;
	detail = Pgrab_detail();
	complain("failed to grab pid %d: %s", pid,
		 detail && *detail ? detail : Pgrab_error(err));
	return NULL;
}

void target_heading(struct ps_prochandle *P, pid_t pid)
{
	const psinfo_t *ps = Ppsinfo(P);

	output("%s%d:%s ", colour(COLOUR_HEAD), pid, colour(COLOUR_NONE));
	output_escaped(!ps ? "" : ps->pr_psargs[0] ? ps->pr_psargs : ps->pr_fname);
	output("\n");
}

static bool looks_like_pid(const char *text)
{
	if (strncmp(text, "/proc/", 6) == 0)
		text += 6;
	return *text && text[strspn(text, "0123456789")] == '\0';
}

struct target target_operand(const struct command *cmd, const char *text)
{
	struct stat st;

	if (!looks_like_pid(text) && stat(text, &st) == 0 && S_ISREG(st.st_mode))
		return (struct target){ .file = text };
	return (struct target){ .pid = options_pid(cmd, text) };
}

/* A core, or else an ELF file. */
static struct ps_prochandle *open_file(const char *path)
{
	int err;
	struct ps_prochandle *P = Pgrab_core(path, NULL, 0, &err);

	if (!P && err == G_ELF)
		P = Pgrab_file(path, &err);
	if (!P)
		complain("%s", *Pgrab_detail() ? Pgrab_detail() : Pgrab_error(err));
	else if (*Pgrab_detail())
		notice("%s", Pgrab_detail());
	return P;
}

struct ps_prochandle *target_open(const struct target *t)
{
	return t->file ? open_file(t->file) : target_grab(t->pid, PGRAB_RDONLY);
}

bool target_is_file(struct ps_prochandle *P)
{
	return Pstate(P) == PS_DEAD || Pstate(P) == PS_IDLE;
}

static void head(struct ps_prochandle *P, const struct target *t)
{
	if (t->file) {
		output("%s", colour(COLOUR_HEAD));
		output_escaped(t->file);
		output(":%s ", colour(COLOUR_NONE));
	}
	if (Pstate(P) == PS_IDLE)
		output("\n");
	else
		target_heading(P, Pgetpid(P));
}

int target_examine(const struct target *list, size_t n, enum target_headings headings,
		   target_fn *fn, void *arg)
{
	int status = EXIT_DONE;

	for (size_t i = 0; i < n && !output_failed(); i++) {
		struct ps_prochandle *P = target_open(&list[i]);

		if (!P) {
			status = EXIT_FAILED;
			continue;
		}
		if (n > 1 && headings == TARGET_HEADINGS)
			head(P, &list[i]);
		if (fn(P, Pgetpid(P), arg) != 0)
			status = EXIT_FAILED;
		Prelease(P, 0);
	}
	return status;
}

/* The operands, of which each may be a file. */
static int examine_any(const struct command *cmd, int argc, char **argv, target_fn *fn,
		       void *arg)
{
	struct target *list;
	size_t n;
	int status;

	options_none(cmd, argc, argv);
	if (optind >= argc)
		usage_error(cmd, "which process?");
	n = (size_t)(argc - optind);
	list = options_alloc(n, sizeof(*list));
	for (size_t i = 0; i < n; i++)
		list[i] = target_operand(cmd, argv[optind + (int)i]);
	status = target_examine(list, n, TARGET_HEADINGS, fn, arg);
	free(list);
	return status;
}

int target_command(const struct command *cmd, int argc, char **argv, target_fn *fn)
{
	struct target *list;
	pid_t *pids;
	size_t n;
	int status;

	options_none(cmd, argc, argv);
	pids = options_pids(cmd, argc, argv, &n);
	list = options_alloc(n, sizeof(*list));
	for (size_t i = 0; i < n; i++)
		list[i].pid = pids[i];
	status = target_examine(list, n, TARGET_HEADINGS, fn, NULL);
	free(list);
	free(pids);
	return status;
}

int target_command_file(const struct command *cmd, int argc, char **argv, target_fn *fn)
{
	return examine_any(cmd, argc, argv, fn, NULL);
}

/* pidfd_open(2) of a thread that leads no group is EINVAL, since Linux 6.9 ENOENT. */
static const char *pidfd_reason(int err)
{
	if (err == ESRCH)
		return "no such process";
	if (err == EINVAL || err == ENOENT)
		return "that is a thread, not a process";
	return strerror(err);
}

int target_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0) {
		complain("pid %d: %s", pid, pidfd_reason(errno));
		return -1;
	}
	return fd;
}
