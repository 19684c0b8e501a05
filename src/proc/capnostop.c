/* SPDX-License-Identifier: MIT */
/*
 * Stacks without a stop. A thread that is blocked in the kernel shows its PC and stack
 * pointer in /proc/PID/task/TID/syscall (proc(5); PTRACE_MODE_ATTACH, but no ptrace), and
 * its stack does not change while it is blocked. Whether it was all the while its run
 * time and number of turns on a CPU tell (/proc/PID/task/TID/schedstat): the same before
 * and after the copy, with the same line of `syscall`, or it is marked as moved. Where
 * the kernel has no schedstat (CONFIG_SCHED_INFO), the counts of context switches in
 * `status` do. The callee-saved registers are not shown: the unwinder finds its way with
 * PC and SP, and where it cannot, ends.
 *
 * Another thread may write into that stack all the same (a pointer into it was handed
 * out); that is so with a stop too.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os/procfs.h"
#include "proc/capture.h"
#include "util/scope.h"

enum {
	LINE = 4096,    /* of a file */
	RED_ZONE = 128, /* below the stack pointer */
	NARGS = 6,
};

/* What /proc says of a thread at a moment. */
struct moment {
	char call[256];  /* `syscall` */
	char turns[256]; /* `schedstat`, or the counts of `status` */
};

static int read_small(pid_t pid, pid_t tid, const char *name, char *buf, size_t size)
{
	char path[64];
	_cleanup_close_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (n < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	buf[n] = '\0';
	return 0;
}

static int read_switches(pid_t pid, pid_t tid, char *buf, size_t size)
{
	char status[LINE];
	const char *at;
	int rc = read_small(pid, tid, "status", status, sizeof(status));

	at = rc ? NULL : strstr(status, "voluntary_ctxt_switches:");
	snprintf(buf, size, "%s", at ? at : "");
	return rc;
}

static int look(pid_t pid, pid_t tid, struct moment *ret)
{
	int rc = read_small(pid, tid, "syscall", ret->call, sizeof(ret->call));

	if (!rc && read_small(pid, tid, "schedstat", ret->turns, sizeof(ret->turns)))
		rc = read_switches(pid, tid, ret->turns, sizeof(ret->turns));
	return rc;
}

/* NR ARGS… SP PC, or -1 SP PC. False: it runs. */
static bool parse(const char *line, struct caplwp *l, uint64_t args[NARGS])
{
	uint64_t sp, pc;
	int nr;

	if (sscanf(line, "%d 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx", &nr,
		   &args[0], &args[1], &args[2], &args[3], &args[4], &args[5], &sp,
		   &pc) != 9 &&
	    sscanf(line, "%d 0x%lx 0x%lx", &nr, &sp, &pc) != 3)
		return false;
	if (nr < 0)
		memset(args, 0, NARGS * sizeof(*args));
	l->pub.pr_syscall = nr;
	l->pub.pr_reg[R_PC] = pc;
	l->pub.pr_reg[R_SP] = sp;
	return true;
}

/* --- the copy ----------------------------------------------------------------------- */

/* Mappings, by address. */
struct maps {
	struct procfs_map *map; /* owned */
	size_t n;               /* how many */
};

static const struct procfs_map *find_map(const struct maps *m, uint64_t addr)
{
	for (size_t low = 0, high = m->n; low < high;) {
		size_t mid = (low + high) / 2;

		if (addr < m->map[mid].start)
			high = mid;
		else if (addr >= m->map[mid].end)
			low = mid + 1;
		else
			return &m->map[mid];
	}
	return NULL;
}

static int copy_stack(pid_t pid, const struct maps *maps, struct caplwp *l, size_t limit)
{
	uint64_t sp = l->pub.pr_reg[R_SP], start = sp - RED_ZONE;
	const struct procfs_map *m = find_map(maps, sp);
	size_t len = m && m->end - start < limit ? m->end - start : limit;
	struct iovec local, remote = { (void *)(uintptr_t)start, len };
	ssize_t n;

	l->owned = malloc(len);
	if (!l->owned)
		return -ENOMEM;
	local = (struct iovec){ l->owned, len };
	n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	if (n < 0)
		return errno == EFAULT ? 0 : -errno;
	l->piece[0] = (struct hold_piece){ start, (uint64_t)n, l->owned };
	if (!m || start + (uint64_t)n < m->end)
		l->pub.pr_flags |= PCAP_CUT;
	return 0;
}

/* Outside of a system call there are no arguments: what is 0 is not known. */
static void set_regs(const struct stack_arch *arch, const uint64_t args[NARGS],
		     struct caplwp *l)
{
	stack_regs_syscall(arch, args, l->pub.pr_reg[R_SP], l->pub.pr_reg[R_PC],
			   &l->regs);
	for (unsigned i = 0; i < STACK_NREGS && l->pub.pr_syscall < 0; i++)
		if (!l->regs.r[i])
			l->regs.known &= ~(1ull << i);
	l->pub.pr_flags |= PCAP_REGS;
}

/* A thread that has gone is as one that was never there: 0, without frames. */
static int copy_one(pid_t pid, const struct maps *maps, const struct stack_arch *arch,
		    struct caplwp *l, size_t limit)
{
	pid_t tid = l->pub.pr_lwpid;
	struct moment before, after;
	uint64_t args[NARGS] = { 0 };
	int rc = look(pid, tid, &before);

	if (rc)
		return rc == -ESRCH ? 0 : rc;
	if (!parse(before.call, l, args)) {
		l->pub.pr_flags |= PCAP_RUNNING;
		return 0;
	}
	rc = copy_stack(pid, maps, l, limit);
	if (rc)
		return rc == -ESRCH ? 0 : rc;
	if (look(pid, tid, &after) || strcmp(before.call, after.call) ||
	    strcmp(before.turns, after.turns))
		l->pub.pr_flags |= PCAP_MOVED;
	set_regs(arch, args, l);
	return 0;
}

int capnostop_copy(ps_capture_t *c, pid_t pid, size_t limit)
{
	struct maps maps = { 0 };
	int rc = 0;

	if (procfs_maps(pid, 0, &maps.map, &maps.n))
		maps.n = 0;
	for (size_t i = 0; i < c->n && !rc; i++)
		rc = copy_one(pid, &maps, c->arch, &c->lwps[i], limit);
	free(maps.map);
	return rc;
}
