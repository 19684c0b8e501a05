/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints of one victim: a sorted table, what stands in its text, and its memory.
 *
 * The original bytes come from the client (`insn`), never from the text, so a trap of
 * somebody else's (a kernel uprobe) is never saved as the program's own. A removed
 * breakpoint leaves a tombstone (`dead`): a thread may have executed the trap just
 * before it was lifted, and its SIGTRAP, seen later, is told from one of the program's
 * own by it. Tombstones are buried when every LWP stands with nothing on its way, and
 * no forked child with a copy of the text is still to be cleaned.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "util/log.h"

/* Index of the first breakpoint at or above addr. */
static size_t lower(const struct victim *v, uint64_t addr)
{
	size_t lo = 0, hi = v->nbkpts;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v->bkpts[mid].addr < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct bkpt *bkpt_find(struct victim *v, uint64_t addr)
{
	size_t i = lower(v, addr);

	return i < v->nbkpts && v->bkpts[i].addr == addr ? &v->bkpts[i] : NULL;
}

static int memory_open(pid_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static pid_t any_stopped(const struct victim *v)
{
	for (struct lwp *l = v->lwps; l; l = l->next)
		if (l->state == LWP_STOPPED)
			return l->tid;
	return 0;
}

static bool open_text(struct victim *v)
{
	if (v->memfd < 0)
		v->memfd = memory_open(v->lwps ? v->lwps->tid : v->pid);
	return v->memfd >= 0;
}

/* Writes text: by /proc/PID/mem, which needs no stop; without a descriptor for it (table
 * full) through a stopped LWP. */
int bkpt_write_bytes(struct victim *v, uint64_t addr, const void *bytes, size_t len)
{
	pid_t tid;
	ssize_t n;

	if (open_text(v)) {
		n = pwrite(v->memfd, bytes, len, (off_t)addr);
		/* 0: its memory has gone, its end is on its way (mem_rw(), 6.18) */
		return n == (ssize_t)len ? 0 : n ? -EFAULT : -ESRCH;
	}
	tid = any_stopped(v);
	return tid ? trace_poke(tid, addr, bytes, len) : v->memfd;
}

/* Does the text differ from what the client took for the program's own? A kernel uprobe,
 * another debugger: a trap of ours would take the place of theirs, and be taken by
 * them. */
static bool foreign_text(struct victim *v, const struct bkpt *b)
{
	size_t len = arch_native->trap_len;
	uint8_t now[ARCH_TRAP_MAX];

	return open_text(v) &&
	       pread(v->memfd, now, len, (off_t)b->addr) == (ssize_t)len &&
	       memcmp(now, b->insn.bytes, len);
}

/* Has our trap gone from the text by itself? A library unmapped, and perhaps another
 * thing mapped in its place: what is there now is not ours to write to. */
static bool trap_has_gone(int memfd, const struct bkpt *b)
{
	size_t len = arch_native->trap_len;
	uint8_t now[ARCH_TRAP_MAX];

	return pread(memfd, now, len, (off_t)b->addr) != (ssize_t)len ||
	       memcmp(now, arch_native->trap, len);
}

int bkpt_write(struct victim *v, struct bkpt *b, bool trap)
{
	const struct arch *a = arch_native;
	const uint8_t *bytes = trap ? a->trap : b->insn.bytes;
	int rc;

	if (b->in_text == trap)
		return 0;
	if (trap && foreign_text(v, b))
		rc = -EBUSY;
	else if (!trap && open_text(v) && trap_has_gone(v->memfd, b))
		rc = 0;
	else
		rc = bkpt_write_bytes(v, b->addr, bytes, a->trap_len);
	b->trapped |= trap && !rc;
	log_at(LOG_KEEP, 2, v->pid, 0, "%s 0x%llx: %s", trap ? "plant" : "lift",
	       (unsigned long long)b->addr, rc ? strerror(-rc) : "done");
	if (!rc || !trap)
		b->in_text = trap;
	return rc;
}

static int make_room(struct victim *v)
{
	size_t cap = v->cap_bkpts ? v->cap_bkpts * 2 : 16;
	struct bkpt *p;

	if (v->nbkpts < v->cap_bkpts)
		return 0;
	if (v->nbkpts >= KP_MAX_BKPTS)
		return -ENOSPC;
	p = realloc(v->bkpts, cap * sizeof(*p));
	if (!p)
		return -ENOMEM;
	v->bkpts = p;
	v->cap_bkpts = cap;
	return 0;
}

static struct bkpt *insert(struct victim *v, uint64_t addr)
{
	size_t i = lower(v, addr);
	struct bkpt *b = &v->bkpts[i];

	memmove(b + 1, b, (v->nbkpts - i) * sizeof(*b));
	v->nbkpts++;
	memset(b, 0, sizeof(*b));
	b->addr = addr;
	return b;
}

static void remove_at(struct victim *v, struct bkpt *b)
{
	size_t i = (size_t)(b - v->bkpts);

	memmove(b, b + 1, (v->nbkpts - i - 1) * sizeof(*b));
	v->nbkpts--;
}

/* -EAGAIN: not now, but by and by. */
static bool kernel_keeps(struct victim *v, struct bkpt *b)
{
	int rc = b->hw || b->up ? 0 : hw_arm(v, b);

	return !rc || (rc != -EAGAIN && !up_arm(v, b));
}

/* In force: kept by the kernel where that is wanted, or the text is somebody else's, and
 * can be; else a trap. The new mechanism is there before the old one leaves: an LWP that
 * meets both is hit once (hwbkpt.c; not so with uprobes: upbkpt.c). */
static int put(struct victim *v, struct bkpt *b)
{
	const struct lwp *l = v->stepper;
	int rc;

	if (l && l->stepping && l->step_pc == b->addr && !b->hw && !b->up) {
		hw_retry();
		return 0; /* the end of the step plants it */
	}
	if (b->kernel && kernel_keeps(v, b))
		return bkpt_write(v, b, false);
	if (b->up)
		up_to_trap(v, b);
	rc = bkpt_write(v, b, true);
	if (rc == -EBUSY && (b->hw || !hw_arm_at_once(v, b)))
		return 0;
	if (!rc)
		hw_retire(v, b);
	return rc;
}

bool bkpt_plantable(const struct victim *v)
{
	return !v->lifted && !v->vforks && !v->borrows && v->phase == V_HELD;
}

static void set_flags(struct bkpt *b, const struct kp_bkpt *req)
{
	b->stop = req->flags & KP_BKPT_STOP;
	b->kernel = (req->flags & KP_BKPT_KERNEL) && !b->stop;
	b->counts = req->flags & KP_BKPT_COUNT;
	b->records = req->flags & KP_BKPT_RECORD;
	b->counter = req->counter;
}

static int change(struct victim *v, struct bkpt *b, const struct kp_bkpt *req)
{
	set_flags(b, req);
	return bkpt_plantable(v) ? put(v, b) : 0;
}

int bkpt_set(struct victim *v, const struct kp_bkpt *req)
{
	struct bkpt *b = bkpt_find(v, req->addr);
	bool had = b;
	int rc = 0;

	if (req->flags & (KP_BKPT_COUNT | KP_BKPT_RECORD) &&
	    (!v->counters || req->counter >= KP_MAX_BKPTS))
		return -EINVAL;
	if ((req->flags & KP_BKPT_RECORD) && !v->ring.mem)
		return -EINVAL;
	if (b && !b->dead)
		return req->flags & KP_BKPT_REPLACE ? change(v, b, req) : -EEXIST;
	if (!b) {
		rc = make_room(v);
		if (rc)
			return rc;
		b = insert(v, req->addr);
	}
	if (memcmp(&b->insn, &req->insn, sizeof(b->insn)))
		b->slot = 0; /* the slot of what stood there is freed when all stand */
	b->insn = req->insn;
	b->no_slot = b->dead = false;
	set_flags(b, req);
	if (bkpt_plantable(v))
		rc = put(v, b);
	if (rc && had)
		b->dead = true;
	else if (rc)
		remove_at(v, b);
	return rc;
}

int bkpt_clear(struct victim *v, uint64_t addr)
{
	struct bkpt *b = bkpt_find(v, addr);

	if (!b || b->dead)
		return -ENOENT;
	hw_disarm(v, b);
	up_disarm(v, b);
	bkpt_write(v, b, false);
	b->dead = true;
	if (v->stopped)
		bkpt_bury(v);
	return 0;
}

/* Sealed against shrinking, or a client could make us touch what is not there. */
int bkpt_share_counters(struct victim *v, int fd)
{
	size_t size = KP_MAX_BKPTS * sizeof(uint64_t);
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *p = MAP_FAILED;

	if (!v->counters && seals >= 0 && (seals & F_SEAL_SHRINK) && !fstat(fd, &st) &&
	    st.st_size == (off_t)size)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (p == MAP_FAILED)
		return v->counters ? -EEXIST : -EINVAL;
	v->counters = p;
	return 0;
}

void bkpt_unshare_counters(struct victim *v)
{
	if (v->counters)
		munmap(v->counters, KP_MAX_BKPTS * sizeof(uint64_t));
	v->counters = NULL;
}

void bkpt_plant_all(struct victim *v)
{
	if (!bkpt_plantable(v))
		return;
	for (size_t i = 0; i < v->nbkpts; i++)
		if (!v->bkpts[i].dead)
			put(v, &v->bkpts[i]);
}

/* Where the kernel takes over under fire nothing is missed, but for what is hit while a
 * uprobe takes the place of a trap; the client is told to look. */
void bkpt_mind_uprobes(struct victim *v)
{
	bool changed = false;

	v->uprobes = true;
	v->hw_off = v->up_off = false;
	if (!bkpt_plantable(v))
		return; /* at the next planting */
	hw_upgrade(v);
	for (size_t i = 0; i < v->nbkpts; i++) {
		struct bkpt *b = &v->bkpts[i];

		if (!b->kernel || !b->in_text || b->dead)
			continue;
		bkpt_write(v, b, false);
		put(v, b);
		changed = true;
	}
	if (changed && !v->stopped && v->lwps)
		hw_tell_unseen(v);
}

void bkpt_lift_all(struct victim *v)
{
	for (size_t i = 0; i < v->nbkpts; i++)
		bkpt_write(v, &v->bkpts[i], false);
}

void bkpt_forget_all(struct victim *v)
{
	hw_drop_all(v);
	up_drop_all(v);
	v->nbkpts = 0;
	slots_forget(v);
	if (v->memfd >= 0)
		close(v->memfd);
	v->memfd = -1;
}

void bkpt_bury(struct victim *v)
{
	size_t n = 0;

	if (v->nchildren)
		return;
	for (size_t i = 0; i < v->nbkpts; i++)
		if (!v->bkpts[i].dead)
			v->bkpts[n++] = v->bkpts[i];
	v->nbkpts = n;
	slots_bury(v);
}

static void clean(int fd, pid_t child, const struct bkpt *b)
{
	size_t len = arch_native->trap_len;

	if (fd < 0)
		trace_poke(child, b->addr, b->insn.bytes, len);
	else if (trap_has_gone(fd, b))
		return;
	else if (pwrite(fd, b->insn.bytes, len, (off_t)b->addr) < 0)
		log_at(LOG_KEEP, 1, child, child, "clean 0x%llx: %s",
		       (unsigned long long)b->addr, strerror(errno));
}

/* A forked child has its parent's text, our traps included. Without a descriptor for its
 * memory (-errno) it must stand. */
int bkpt_clean_child(struct victim *v, pid_t child)
{
	int fd;

	if (!v->nbkpts)
		return 0;
	fd = memory_open(child);
	for (size_t i = 0; i < v->nbkpts; i++)
		if (v->bkpts[i].trapped && !v->bkpts[i].up)
			clean(fd, child, &v->bkpts[i]);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static ssize_t victim_read(void *ctx, uint64_t addr, void *buf, size_t len)
{
	struct victim *v = ctx;
	struct iovec local = { buf, len }, remote = { (void *)(uintptr_t)addr, len };
	ssize_t n = process_vm_readv(v->pid, &local, 1, &remote, 1, 0);

	return n < 0 ? -errno : n;
}

static ssize_t victim_write(void *ctx, uint64_t addr, const void *buf, size_t len)
{
	struct victim *v = ctx;
	struct iovec local = { (void *)buf, len },
		     remote = { (void *)(uintptr_t)addr, len };
	ssize_t n = process_vm_writev(v->pid, &local, 1, &remote, 1, 0);

	return n < 0 ? -errno : n;
}

struct mem bkpt_memory(struct victim *v)
{
	static const struct mem_ops ops = { victim_read, victim_write };

	return (struct mem){ &ops, v };
}
