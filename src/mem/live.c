/* SPDX-License-Identifier: MIT */
/*
 * The memory of a running process, read without stopping it.
 *
 * Reads go through process_vm_readv(2): one system call, no descriptor, and always the
 * address space that the process has *now*. Where that call is refused although the
 * process may be read (a seccomp filter of the host, a kernel built without it),
 * /proc/PID/mem does the same. Writes always go through /proc/PID/mem, which also
 * writes text that is mapped read-only, into a private copy of the page (proc(5),
 * ptrace access with FOLL_FORCE; the kernel option PROC_MEM_* of 6.12 can forbid it,
 * which shows as -EFAULT).
 *
 * A /proc/PID/mem descriptor belongs to the address space that was there at its
 * opening. After an exec it reads 0 bytes (the old one has no user left), or, worse,
 * the memory of whoever still shares the old one (vfork). The first case is healed here
 * by opening anew; for the second the owner calls mem_live_reset() at every exec.
 */
#include "mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	LIVE_PAGE = 4096,     /* divides every page size of Linux */
	LIVE_CHUNK = 1 << 30, /* bytes a call; the kernel caps a transfer below 2 GiB */
};

/* len, cut so that [addr, addr + len) does not wrap and fits one call. */
static size_t cut_range(uint64_t addr, size_t len)
{
	uint64_t room = UINT64_MAX - addr;

	if (len > LIVE_CHUNK)
		len = LIVE_CHUNK;
	return len > room ? (size_t)room : len;
}

/* One process_vm_readv: bytes, or -errno. */
static ssize_t read_vm(pid_t pid, uint64_t addr, void *buf, size_t len)
{
	struct iovec local = { .iov_base = buf, .iov_len = len };
	struct iovec remote = { .iov_base = (void *)(uintptr_t)addr, .iov_len = len };
	ssize_t got;

	do {
		got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	} while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

static int open_mem(struct mem_live *live)
{
	char path[32];

	if (live->fd >= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/mem", live->pid);
	live->fd = open(path, O_RDWR | O_CLOEXEC);
	if (live->fd >= 0)
		return 0;
	if (errno == ENOENT)
		return -ESRCH;
	return errno == EACCES ? -EPERM : -errno;
}

/* A transfer in one direction through /proc/PID/mem: exactly one of in and out is set. */
struct transfer {
	void *in;        /* read into here */
	const void *out; /* or write from here */
};

static ssize_t transfer_once(int fd, uint64_t addr, const struct transfer *t, size_t len)
{
	ssize_t got;

	do {
		got = t->in ? pread(fd, t->in, len, (off_t)addr)
			    : pwrite(fd, t->out, len, (off_t)addr);
	} while (got < 0 && errno == EINTR);
	if (got >= 0)
		return got;
	/* EIO: no such page. EINVAL: an address that is no file offset, the kernel's
	 * half. */
	return errno == EIO || errno == EINVAL ? -EFAULT : -errno;
}

/* Nothing transferred at all means that the address space of the descriptor is gone. */
static ssize_t transfer_mem(struct mem_live *live, uint64_t addr,
			    const struct transfer *t, size_t len)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		ssize_t got;
		int err = open_mem(live);

		if (err)
			return err;
		got = transfer_once(live->fd, addr, t, len);
		if (got)
			return got;
		mem_live_reset(live);
	}
	return -ESRCH;
}

/* Reads by whichever way is allowed. */
static ssize_t read_once(struct mem_live *live, uint64_t addr, void *buf, size_t len)
{
	ssize_t got = read_vm(live->pid, addr, buf, len);

	if (got == -EPERM || got == -ENOSYS)
		got = transfer_mem(live, addr, &(struct transfer){ .in = buf }, len);
	return got;
}

/*
 * A short answer may stop before the first bad byte (process_vm_readv(2) promises no
 * finer grain than the iovec): the rest is asked for page by page until one fails.
 */
static size_t read_pages(struct mem_live *live, uint64_t addr, char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		size_t want = LIVE_PAGE - ((addr + done) & (LIVE_PAGE - 1));
		ssize_t got;

		if (want > len - done)
			want = len - done;
		got = read_once(live, addr + done, buf + done, want);
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done;
}

static ssize_t read_live(void *ctx, uint64_t addr, void *buf, size_t len)
{
	struct mem_live *live = ctx;
	char *to = buf;
	size_t done = 0;

	while (done < len) {
		size_t want = cut_range(addr + done, len - done);
		ssize_t got =
			want ? read_once(live, addr + done, to + done, want) : -EFAULT;

		if (got < 0 && got != -EFAULT)
			return done ? (ssize_t)done : got;
		if (got > 0)
			done += (size_t)got;
		if (got == (ssize_t)want)
			continue;
		done += read_pages(live, addr + done, to + done, len - done);
		break;
	}
	return done || !len ? (ssize_t)done : -EFAULT;
}

static ssize_t write_live(void *ctx, uint64_t addr, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct transfer t = { .out = (const char *)buf + done };
		size_t want = cut_range(addr + done, len - done);
		ssize_t got = want ? transfer_mem(ctx, addr + done, &t, want) : -EFAULT;

		if (got < 0)
			return done ? (ssize_t)done : got;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

static const struct mem_ops live_ops = { .read = read_live, .write = write_live };

void mem_live_init(struct mem_live *live, pid_t pid)
{
	*live = (struct mem_live){ .pid = pid, .fd = -1 };
}

void mem_live_reset(struct mem_live *live)
{
	int saved = errno;

	if (live->fd >= 0)
		close(live->fd);
	live->fd = -1;
	errno = saved;
}

void mem_live_fini(struct mem_live *live)
{
	mem_live_reset(live);
}

struct mem mem_live(struct mem_live *live)
{
	return (struct mem){ .ops = &live_ops, .ctx = live };
}
