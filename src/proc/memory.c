/* SPDX-License-Identifier: MIT */
/*
 * The victim's memory through the handle: what the program put there, without our traps.
 */
#include "mem/mem.h"

#include <errno.h>
#include <string.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/scope.h"

struct mem live_seam(struct ps_prochandle *P)
{
	return mem_live(&P->live);
}

struct mem memory_seam(struct ps_prochandle *P)
{
	return P->ops->seam(P);
}

/* A leader that has ended before its threads has no memory, maps or auxv any more: from
 * then on the process is read through another thread. 0, or -ESRCH when there is none. */
int memory_rehome(struct ps_prochandle *P)
{
	_cleanup_free_ pid_t *tids = NULL;
	struct procfs_stat st;
	size_t n;

	if (P->core || procfs_tids(P->pid, &tids, &n))
		return -ESRCH;
	for (size_t i = 0; i < n; i++) {
		if (procfs_stat(P->pid, tids[i], &st) || strchr("ZX", st.state))
			continue;
		mem_live_reset(&P->live);
		P->live.pid = tids[i];
		return 0;
	}
	return -ESRCH;
}

/*
 * Whether what was just read by pid is the victim's: it lives still, so the pid was its
 * own. A controlled victim's pid is not free before its end has been reported to the
 * keeper.
 */
static ssize_t check_ours(const struct ps_prochandle *P, ssize_t n)
{
	if (n < 0 || P->hold || P->ops->alive(P))
		return n;
	return -ESRCH;
}

ssize_t memory_read(struct ps_prochandle *P, uint64_t addr, void *buf, size_t len)
{
	struct mem m = memory_seam(P);
	ssize_t n = P->state == PS_UNDEAD ? -ESRCH : mem_read(&m, addr, buf, len);

	if (n == -ESRCH && P->state != PS_UNDEAD && !memory_rehome(P))
		n = mem_read(&m, addr, buf, len);
	if (n > 0 && P->hold)
		hold_hide_traps(P->hold, addr, buf, (size_t)n);
	return check_ours(P, n);
}

/* memory_read() as a seam, for strings. */
static ssize_t read_hidden(void *ctx, uint64_t addr, void *buf, size_t len)
{
	return memory_read(ctx, addr, buf, len);
}

static const struct mem_ops hidden_ops = { .read = read_hidden };

ssize_t Pread(struct ps_prochandle *P, void *buf, size_t len, uintptr_t addr)
{
	ssize_t n;

	handle_lock(P);
	n = memory_read(P, addr, buf, len);
	handle_unlock(P);
	return n < 0 ? handle_fail((int)n) : n;
}

ssize_t Pread_string(struct ps_prochandle *P, char *buf, size_t size, uintptr_t addr)
{
	struct mem m = { &hidden_ops, P };
	ssize_t n;

	if (!size)
		return handle_fail(-EINVAL);
	handle_lock(P);
	n = mem_read_string(&m, addr, buf, size);
	handle_unlock(P);
	return n < 0 ? handle_fail((int)n) : n;
}

/* A read-only handle has promised not to touch its victim. */
ssize_t Pwrite(struct ps_prochandle *P, const void *buf, size_t len, uintptr_t addr)
{
	struct mem m;
	ssize_t n = -EBADF;

	handle_lock(P);
	if (P->hold && P->state != PS_UNDEAD) {
		m = memory_seam(P);
		n = mem_write(&m, addr, buf, len);
	}
	if (n > 0)
		hold_text_written(P->hold, addr, buf, (size_t)n);
	handle_unlock(P);
	return n < 0 ? handle_fail((int)n) : n;
}
