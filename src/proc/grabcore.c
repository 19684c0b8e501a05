/* SPDX-License-Identifier: MIT */
/*
 * Handles on files: a core, or an ELF file. There is nothing to hold, so they begin and
 * end without the keeper.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "proc/handle.h"
#include "util/log.h"
#include "util/scope.h"

/* What a file is to be. */
enum wanted {
	WANT_CORE,
	WANT_FILE
};

/* *perr for an error of src/core, whose sentence becomes the detail. */
static int error_of(int err, const char *name, const struct core_fault *f)
{
	if (f->text[0])
		errors_detail("%s: %s", name, f->text);
	switch (err) {
	case -ENOENT:
	case -ENOTDIR:
		errors_detail("%s: no such file", name);
		return G_NOCORE;
	case -ENXIO:
	case -ENOEXEC:
	case -ENOTSUP:
	case -EINVAL:
	case -E2BIG:
	case -ENODATA:
		return G_ELF;
	case -EMFILE:
	case -ENFILE:
		return G_NOFD;
	default:
		if (!f->text[0])
			errors_detail("%s: %s", name, strerror(-err));
		return -err;
	}
}

/* The program elsewhere than where the core says. */
static int set_program(struct core *c, const char *aout, int gflag)
{
	int err = aout ? core_set_program(c, aout, gflag & PGRAB_FORCE) : 0;

	if (!err)
		return 0;
	if (err == -ESTALE)
		errors_detail("%s: its build-id is not that of the core's program", aout);
	else if (err == -ENOENT && core_program(c) == NULL)
		errors_detail("%s: the core does not say where its program was", aout);
	else
		errors_detail("%s: %s", aout, strerror(-err));
	return err == -ENOMEM ? ENOMEM : G_AOUT;
}

/* Takes the reference. */
static struct ps_prochandle *make_handle(struct core *c, int *perr)
{
	struct ps_prochandle *P = handle_new(0, -1);

	if (!P) {
		core_unref(c);
		*perr = ENOMEM;
		return NULL;
	}
	P->ops = &dead_ops;
	P->core = c;
	dead_status(P);
	log_at(LOG_PROC, 1, P->pid, 0, "grabbed a file, state %d", P->state);
	return P;
}

/* name: for sentences. */
static struct ps_prochandle *grab_fd(int fd, const char *name, enum wanted wanted,
				     const char *aout, int gflag, int *perr)
{
	struct core_fault f;
	struct core *c;
	int rc = core_open(fd, &c, &f);

	if (rc) {
		*perr = error_of(rc, name, &f);
		return NULL;
	}
	if (core_is_dump(c) != (wanted == WANT_CORE)) {
		errors_detail("%s: it is %s", name,
			      wanted == WANT_CORE ? "not a core" : "a core");
		rc = G_ELF;
	}
	if (!rc)
		rc = set_program(c, aout, gflag);
	if (rc) {
		core_unref(c);
		*perr = rc;
		return NULL;
	}
	if (f.text[0])
		errors_detail("%s: %s", name, f.text);
	return make_handle(c, perr);
}

/* O_NONBLOCK: a fifo is opened, and refused. */
static struct ps_prochandle *grab_path(const char *path, enum wanted wanted,
				       const char *aout, int gflag, int *perr)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	errors_clear();
	if (fd < 0) {
		*perr = error_of(-errno, path, &(struct core_fault){ "" });
		return NULL;
	}
	return grab_fd(fd, path, wanted, aout, gflag, perr);
}

struct ps_prochandle *Pgrab_core(const char *core, const char *aout, int gflag, int *perr)
{
	return grab_path(core, WANT_CORE, aout, gflag, perr);
}

struct ps_prochandle *Pfgrab_core(int fd, const char *aout, int *perr)
{
	errors_clear();
	return grab_fd(fd, "the core", WANT_CORE, aout, 0, perr);
}

struct ps_prochandle *Pgrab_file(const char *file, int *perr)
{
	return grab_path(file, WANT_FILE, NULL, 0, perr);
}
