/* SPDX-License-Identifier: MIT */
/*
 * Creating a process. The file is looked up as execvp(3) does it, but without its shell
 * fallback: a file in no executable format is said to be just that.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proc/handle.h"
#include "util/log.h"

extern char **environ;

/* 0, or why this file cannot be executed. */
static int executable(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) ? -errno : 0;
}

/* One element of PATH and the file: into buf. An empty element is the working
 * directory. */
static int join(const char *dir, size_t dirlen, const char *file, char *buf, size_t size)
{
	int n = dirlen ? snprintf(buf, size, "%.*s/%s", (int)dirlen, dir, file)
		       : snprintf(buf, size, "./%s", file);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* The first executable file of that name; -EACCES is remembered over -ENOENT. */
static int search(const char *file, char *buf, size_t size)
{
	const char *path = getenv("PATH") ?: "/bin:/usr/bin";
	int worst = -ENOENT;

	for (;;) {
		size_t len = strcspn(path, ":");
		int rc = join(path, len, file, buf, size);

		if (!rc)
			rc = executable(buf);
		if (!rc)
			return 0;
		if (rc == -EACCES || rc == -EISDIR)
			worst = -EACCES;
		if (!path[len])
			return worst;
		path += len + 1;
	}
}

static int resolve(const char *file, char *buf, size_t size)
{
	if (!*file)
		return -ENOENT;
	if (!strchr(file, '/'))
		return search(file, buf, size);
	if ((size_t)snprintf(buf, size, "%s", file) >= size)
		return -ENAMETOOLONG;
	return executable(buf);
}

static void describe_death(const char *file, int status)
{
	char name[32];

	if (WIFSIGNALED(status))
		errors_detail("%s died from signal %s before it could be held", file,
			      proc_signame(WTERMSIG(status), name, sizeof(name)));
	else
		errors_detail("%s exited with status %d before it could be held", file,
			      WEXITSTATUS(status));
}

/* *perr and the detail of a failed hold_create(). */
static int create_error(const char *file, int rc, const struct hold_event *first,
			const struct hold_fault *fault)
{
	if (rc == -ECHILD) {
		describe_death(file, first->status);
		return G_DIED;
	}
	if ((rc == -EMFILE || rc == -ENFILE) && strcmp(fault->text, "execve"))
		return G_NOFD;
	if (rc == -EPIPE ||
	    (rc == -ENOENT && *fault->text && strcmp(fault->text, "execve"))) {
		errors_detail("the keeper is not there%s%s", *fault->text ? ": " : "",
			      fault->text);
		return G_KEEPER;
	}
	if (*fault->text && strcmp(fault->text, "execve"))
		errors_detail("%s: %s", strerror(-rc), fault->text);
	return -rc;
}

struct ps_prochandle *Pxcreate(const char *file, char *const *argv, char *const *envp,
			       int *perr, char *path, size_t len)
{
	char found[PATH_MAX];
	struct hold_spawn spawn = { found, argv, envp ? envp : environ,
				    HOLD_KLC | HOLD_BORROW };
	struct hold_event first = { 0 };
	struct hold_fault fault = { 0 };
	struct ps_prochandle *P;
	struct hold *hold;
	int pidfd, rc;
	pid_t pid;

	errors_clear();
	rc = resolve(file, found, sizeof(found));
	if (!rc)
		rc = hold_create(&spawn, &hold, &pid, &pidfd, &first, &fault);
	if (rc) {
		*perr = create_error(file, rc, &first, &fault);
		return NULL;
	}
	P = handle_new(pid, pidfd);
	if (!P) {
		hold_release(hold, HOLD_RELEASE_KILL);
		hold_reap(pidfd);
		close(pidfd);
		*perr = ENOMEM;
		return NULL;
	}
	P->hold = hold;
	P->first = first;
	P->child = P->klc = true;
	drive_apply(P, &first);
	if (path && len)
		snprintf(path, len, "%s", found);
	log_at(LOG_PROC, 1, pid, 0, "created %s", found);
	return P;
}

struct ps_prochandle *Pcreate(const char *file, char *const *argv, int *perr, char *path,
			      size_t len)
{
	return Pxcreate(file, argv, NULL, perr, path, len);
}

const char *Pcreate_error(int err)
{
	if (err == G_DIED || err == G_KEEPER || err < 0)
		return *Pgrab_detail() ? Pgrab_detail() : Pgrab_error(err);
	return Pgrab_error(err);
}
