/* SPDX-License-Identifier: MIT */
/*
 * The program's own instruction where somebody else has written over it.
 *
 * A kernel uprobe stands in the text as a trap, or (6.18, where the program has a nop of
 * five bytes) as a call of [uprobes-trampoline]. What is decoded for a breakpoint must
 * not be that: it would be written back one day over what the program has by then. Text
 * of a file is in the file, so it is read there.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/procfs.h"
#include "proc/handle.h"
#include "util/log.h"
#include "util/scope.h"

enum {
	CALL_LEN = 5 /* of the call that takes the place of a nop */
};

static bool suspect(const uint8_t *bytes, size_t n)
{
	const struct arch *a = arch_native;
	struct arch_insn insn;

	if (n >= a->trap_len && !memcmp(bytes, a->trap, a->trap_len))
		return true;
	return !arch_decode(bytes, n, &insn) && insn.kind == ARCH_INSN_CALL_REL &&
	       insn.len == CALL_LEN;
}

/* A mapping of a file's text that the program does not share its writes to. */
static bool from_file(const struct procfs_map *m, uint64_t addr)
{
	return addr >= m->start && addr < m->end && m->inode && !m->shared &&
	       (m->prot & PROT_EXEC);
}

static ssize_t read_file(struct ps_prochandle *P, uint64_t addr, void *buf, size_t len)
{
	_cleanup_free_ struct procfs_map *maps = NULL;
	_cleanup_close_ int fd = -1;
	size_t n, i = 0;

	if (procfs_maps(P->pid, P->live.pid, &maps, &n))
		return -1;
	while (i < n && !from_file(&maps[i], addr))
		i++;
	if (i == n)
		return -1;
	if (len > maps[i].end - addr)
		len = maps[i].end - addr;
	fd = procfs_open_mapped(P->live.pid, &maps[i]);
	if (fd < 0)
		return -1;
	return pread(fd, buf, len, (off_t)(maps[i].offset + addr - maps[i].start));
}

void text_original(struct ps_prochandle *P, uint64_t addr, uint8_t *bytes, size_t n)
{
	uint8_t own[ARCH_INSN_MAX];
	ssize_t got;

	if (n > sizeof(own) || !suspect(bytes, n))
		return;
	got = read_file(P, addr, own, n);
	if (got <= 0 || !memcmp(own, bytes, (size_t)got))
		return;
	log_at(LOG_PROC, 1, P->pid, 0, "text at 0x%llx is somebody else's",
	       (unsigned long long)addr);
	memcpy(bytes, own, (size_t)got);
}
