/* SPDX-License-Identifier: MIT */
/*
 * Client's table of breakpoints (see traps.h).
 *
 * An array of pointers sorted by address: looked up at every read of the victim (a binary
 * search), changed once a breakpoint. A hit is recognised by what stands in the bytes
 * read: only a trap instruction is replaced, so that lifted or not yet planted
 * breakpoints need no book-keeping here, and memory that the program has since
 * overwritten is shown as it is.
 */
#include "hold/traps.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"
#include "util/scope.h"

void traps_init(struct traps *t)
{
	memset(t, 0, sizeof(*t));
	pthread_mutex_init(&t->lock, NULL);
}

/* Index of the first trap at or after addr. Lock held. */
static size_t lower(const struct traps *t, uint64_t addr)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->v[mid]->addr < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int grow(struct traps *t)
{
	size_t room = t->room ? 2 * t->room : 16;
	struct trap **v;

	if (t->n < t->room)
		return 0;
	v = realloc(t->v, room * sizeof(*v));
	if (!v)
		return -ENOMEM;
	t->v = v;
	t->room = room;
	return 0;
}

static int insert(struct traps *t, struct trap *trap)
{
	size_t at = lower(t, trap->addr);
	int err;

	if (at < t->n && t->v[at]->addr == trap->addr)
		return -EEXIST;
	err = grow(t);
	if (err)
		return err;
	memmove(t->v + at + 1, t->v + at, (t->n - at) * sizeof(*t->v));
	t->v[at] = trap;
	t->n++;
	return 0;
}

int traps_add(struct traps *t, uint64_t addr, const struct arch_insn *insn,
	      uint32_t flags)
{
	struct trap *trap = malloc(sizeof(*trap));
	int err;

	if (!trap)
		return -ENOMEM;
	*trap = (struct trap){ .addr = addr, .flags = flags, .insn = *insn };
	pthread_mutex_lock(&t->lock);
	err = insert(t, trap);
	pthread_mutex_unlock(&t->lock);
	if (err)
		free(trap);
	return err;
}

void traps_mark(struct traps *t, uint64_t addr, uint32_t flags)
{
	size_t at;

	pthread_mutex_lock(&t->lock);
	at = lower(t, addr);
	if (at < t->n && t->v[at]->addr == addr)
		t->v[at]->flags = flags;
	pthread_mutex_unlock(&t->lock);
}

void traps_remove(struct traps *t, uint64_t addr)
{
	size_t at;

	pthread_mutex_lock(&t->lock);
	at = lower(t, addr);
	if (at < t->n && t->v[at]->addr == addr) {
		free(t->v[at]);
		memmove(t->v + at, t->v + at + 1, (t->n - at - 1) * sizeof(*t->v));
		t->n--;
	}
	pthread_mutex_unlock(&t->lock);
}

/* Lock held. */
static void forget(struct traps *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i]);
	t->n = 0;
}

void traps_forget(struct traps *t)
{
	pthread_mutex_lock(&t->lock);
	forget(t);
	pthread_mutex_unlock(&t->lock);
}

void traps_fini(struct traps *t)
{
	forget(t);
	free(t->v);
	pthread_mutex_destroy(&t->lock);
}

/* First byte of our instruction that differs from the program's: where a trap may
 * begin. */
static uint64_t before(uint64_t addr, unsigned back)
{
	return addr < back ? 0 : addr - back;
}

/* Hides one trap, of which the buffer may hold a part only. */
static void hide(const struct trap *trap, uint64_t addr, uint8_t *buf, size_t len)
{
	unsigned size = arch_native->trap_len;

	for (unsigned i = 0; i < size; i++) {
		uint64_t at =
			trap->addr + i - addr; /* huge when it lies before the buffer */

		if (at < len && buf[at] != arch_native->trap[i])
			return;
	}
	for (unsigned i = 0; i < size; i++) {
		uint64_t at = trap->addr + i - addr;

		if (at < len)
			buf[at] = trap->insn.bytes[i];
	}
}

void traps_hide(struct traps *t, uint64_t addr, void *buf, size_t len)
{
	uint64_t from = before(addr, arch_native->trap_len - 1u);

	pthread_mutex_lock(&t->lock);
	for (size_t i = lower(t, from); i < t->n; i++) {
		const struct trap *trap = t->v[i];

		if (trap->addr >= addr && trap->addr - addr >= len)
			break;
		hide(trap, addr, buf, len);
	}
	pthread_mutex_unlock(&t->lock);
}

/* Index behind the last trap that begins before addr + len. Lock held. */
static size_t upper(const struct traps *t, uint64_t addr, size_t len)
{
	return addr + len < addr ? t->n : lower(t, addr + len);
}

int traps_touching(struct traps *t, uint64_t addr, size_t len, struct trap **ret,
		   size_t *ret_n)
{
	struct trap *copy;
	size_t first, end, n = 0;

	pthread_mutex_lock(&t->lock);
	first = lower(t, before(addr, ARCH_INSN_MAX - 1));
	end = upper(t, addr, len);
	copy = calloc(end - first + 1, sizeof(*copy));
	for (size_t i = first; copy && i < end; i++) {
		if (t->v[i]->addr + t->v[i]->insn.len > addr)
			copy[n++] = *t->v[i];
	}
	pthread_mutex_unlock(&t->lock);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	*ret_n = n;
	return 0;
}

/*
 * Puts one instruction's first bytes back, but only where exactly ours stands: our trap
 * and behind it the rest of the instruction. After an exec that nobody has told us of yet
 * there is other text at the address.
 */
static int put_back(int mem, const struct trap *trap)
{
	uint8_t now[ARCH_INSN_MAX];
	size_t size = arch_native->trap_len, len = trap->insn.len;

	if (len < size || len > sizeof(now))
		return 0;
	if (pread(mem, now, len, (off_t)trap->addr) != (ssize_t)len)
		return 0;
	if (memcmp(now, arch_native->trap, size))
		return 0;
	if (memcmp(now + size, trap->insn.bytes + size, len - size))
		return 0;
	return pwrite(mem, trap->insn.bytes, size, (off_t)trap->addr) == (ssize_t)size;
}

static int alive(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) == 0;
}

/* /proc/PID/mem of the process behind pidfd: it lives after the open, so it is the one
 * opened. */
static int open_mem(pid_t pid, int pidfd)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && !alive(pidfd)) {
		close(fd);
		return -1;
	}
	return fd;
}

void traps_restore(struct traps *t, pid_t pid, int pidfd)
{
	_cleanup_close_ int mem = -1;
	size_t n, done = 0;

	pthread_mutex_lock(&t->lock);
	n = t->n;
	if (n)
		mem = open_mem(pid, pidfd);
	for (size_t i = 0; mem >= 0 && i < n; i++)
		done += (size_t)put_back(mem, t->v[i]);
	forget(t);
	pthread_mutex_unlock(&t->lock);
	if (n)
		log_at(LOG_HOLD, 1, pid, 0,
		       "keeper gone: %zu of %zu breakpoints written back", done, n);
}
