/* SPDX-License-Identifier: MIT */
/*
 * The victim's memory through the handle: what the program put there, without our traps.
 */
#include "mem/mem.h"

#include <errno.h>

#include "proc/handle.h"

struct mem memory_seam(struct ps_prochandle *P)
{
	return mem_live(&P->live);
}

ssize_t memory_read(struct ps_prochandle *P, uint64_t addr, void *buf, size_t len)
{
	struct mem m = memory_seam(P);
	ssize_t n = mem_read(&m, addr, buf, len);

	if (n > 0 && P->hold)
		hold_hide_traps(P->hold, addr, buf, (size_t)n);
	return n;
}

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
	struct mem m;
	ssize_t n;

	if (!size)
		return handle_fail(-EINVAL);
	handle_lock(P);
	m = memory_seam(P);
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
	if (P->hold) {
		m = memory_seam(P);
		n = mem_write(&m, addr, buf, len);
	}
	if (n > 0)
		hold_text_written(P->hold, addr, buf, (size_t)n);
	handle_unlock(P);
	return n < 0 ? handle_fail((int)n) : n;
}
