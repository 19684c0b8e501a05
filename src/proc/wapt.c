/* SPDX-License-Identifier: MIT */
/*
 * Watchpoints: checked here, kept by the kernel, told by the keeper (keeper/watch.c). The
 * handle remembers nothing of them.
 */
#include <errno.h>
#include <string.h>

#include "proc/handle.h"

static bool power_of_two_to_8(size_t n)
{
	return n == 1 || n == 2 || n == 4 || n == 8;
}

/* The access of hold.h that wp means; -EINVAL. */
static int access_of(const prwatch_t *wp)
{
	int flags = wp->pr_wflags & ~WA_TRAPAFTER;

	if (flags == WA_EXEC)
		return HOLD_WATCH_EXEC;
	if (!flags || (flags & ~(WA_READ | WA_WRITE)))
		return -EINVAL;
	if (!power_of_two_to_8(wp->pr_size) || wp->pr_vaddr % wp->pr_size)
		return -EINVAL;
	/* x86 has no register that watches reads alone */
	return flags & WA_READ ? HOLD_WATCH_READ | HOLD_WATCH_WRITE : HOLD_WATCH_WRITE;
}

static unsigned length_of(const prwatch_t *wp)
{
	return wp->pr_wflags & WA_EXEC ? 1 : (unsigned)wp->pr_size;
}

typedef int request_f(struct hold *h, uint64_t addr, unsigned len, unsigned access);

static int ask(struct ps_prochandle *P, const prwatch_t *wp, request_f *request)
{
	int access = access_of(wp), rc = access < 0 ? access : -EBADF;

	handle_lock(P);
	if (access >= 0 && P->hold)
		rc = request(P->hold, wp->pr_vaddr, length_of(wp), (unsigned)access);
	handle_unlock(P);
	return rc;
}

int Psetwapt(struct ps_prochandle *P, const prwatch_t *wp)
{
	return handle_fail(ask(P, wp, hold_watch_set));
}

int Pdelwapt(struct ps_prochandle *P, const prwatch_t *wp)
{
	int rc = ask(P, wp, hold_watch_clear);

	return handle_fail(rc == -ESRCH ? 0 : rc);
}

int Pxecwapt(struct ps_prochandle *P, const prwatch_t *wp)
{
	bool stopped;

	if (wp->pr_wflags & WA_EXEC)
		return Pxecbkpt(P, 0);
	handle_lock(P);
	stopped = P->allstop;
	handle_unlock(P);
	return handle_fail(stopped ? 0 : -EBUSY);
}

const char *Pwapt_error(int err)
{
	switch (err) {
	case EBUSY:
		return "every debug register of a thread is taken";
	case EACCES:
	case EPERM:
		return "the kernel does not allow perf events "
		       "(perf_event_paranoid, a seccomp filter)";
	case ENOSYS:
		return "the kernel has no perf events, or a seccomp filter says so";
	case EOPNOTSUPP:
		return "not possible on this CPU";
	case EINVAL:
		return "1, 2, 4 or 8 bytes at a multiple of that, to be read, written or "
		       "executed";
	case EEXIST:
		return "there is one already";
	case ENOENT:
		return "there is none";
	default:
		return strerror(err);
	}
}
