/* SPDX-License-Identifier: MIT */
/*
 * Hits told through memory that client and keeper share: who was hit, when, with which
 * registers, and as much of the stack as was asked for. The thread is resumed at once.
 * When there is no room it stays where it is until the client has made some: a fast
 * victim on a busy machine is slowed down rather than misrepresented. After a second the
 * hit is counted as lost, and nothing waits again until the client has shown life. The
 * client's half is src/hold/records.c.
 *
 * The client writes to that memory too: of what stands there only `tail` is read, and a
 * tail that makes no sense leaves no room.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "util/log.h"

enum {
	WAIT_NS = 1000000000 /* for room */
};

static bool power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* Its bytes of records, or 0 when it is not what it has to be. */
static uint64_t ring_size(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) ||
	    st.st_size <= KP_RING_DATA || st.st_size > KP_RING_DATA + KP_RING_MAX ||
	    !power_of_two((uint64_t)st.st_size - KP_RING_DATA))
		return 0;
	return (uint64_t)st.st_size - KP_RING_DATA;
}

/* Its pages are made now: a lack of memory later would be a SIGBUS. */
static int map_ring(struct ring *r, int fd)
{
	uint64_t size = ring_size(fd);
	void *p;

	if (!size)
		return -EINVAL;
	p = mmap(NULL, KP_RING_DATA + size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	r->mem = p;
	r->size = size;
	r->head = 0;
	return 0;
}

int record_share(struct victim *v, int fd, uint64_t mask)
{
	uint32_t stack = (uint32_t)mask, below = (uint32_t)(mask >> KP_RECORD_BELOW);
	bool sane = fd >= 0 && !v->ring.mem && stack <= KP_RING_MAX / 8 && below <= stack;
	int rc = sane ? 0 : -EINVAL;

	if (!rc)
		rc = map_ring(&v->ring, fd);
	if (!rc) {
		v->ring.stack = stack;
		v->ring.below = below;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

void record_unshare(struct victim *v)
{
	if (v->ring.mem)
		munmap(v->ring.mem, KP_RING_DATA + v->ring.size);
	v->ring.mem = NULL;
}

/* len bytes at `at`, in one piece or two. */
static unsigned pieces(const struct ring *r, uint64_t at, size_t len, struct iovec *ret)
{
	uint8_t *data = (uint8_t *)r->mem + KP_RING_DATA;
	size_t first = (size_t)(r->size - at % r->size);

	ret[0] = (struct iovec){ data + at % r->size, len < first ? len : first };
	ret[1] = (struct iovec){ data, len - ret[0].iov_len };
	return ret[1].iov_len ? 2 : 1;
}

static void put(const struct ring *r, uint64_t at, const void *bytes, size_t len)
{
	struct iovec v[2];
	unsigned n = pieces(r, at, len, v);

	memcpy(v[0].iov_base, bytes, v[0].iov_len);
	if (n > 1)
		memcpy(v[1].iov_base, (const char *)bytes + v[0].iov_len, v[1].iov_len);
}

/* As much of the stack as can be read: up to the end of its mapping. How many bytes. */
static uint32_t put_stack(const struct lwp *l, uint64_t at, uint64_t from)
{
	size_t len = l->v->ring.stack;
	struct iovec local[2], remote = { (void *)(uintptr_t)from, len };
	unsigned n = pieces(&l->v->ring, at, len, local);
	ssize_t got = process_vm_readv(l->tid, local, n, &remote, 1, 0);

	return got > 0 ? (uint32_t)got & ~7u : 0;
}

/* From below the stack pointer, or, at the very end of its mapping, from there. */
static void add_stack(const struct lwp *l, struct kp_record *rec)
{
	const struct ring *r = &l->v->ring;
	uint64_t sp = arch_reg_get(&rec->regs, arch_native->reg_sp);

	rec->at = sp - r->below;
	rec->nstack = put_stack(l, r->head + sizeof(*rec), rec->at);
	if (rec->nstack || !r->below)
		return;
	rec->at = sp;
	rec->nstack = put_stack(l, r->head + sizeof(*rec), sp);
}

static bool has_room(const struct ring *r, size_t len)
{
	uint64_t used = r->head - __atomic_load_n(&r->mem->tail, __ATOMIC_ACQUIRE);

	return used <= r->size && len <= r->size - used;
}

static size_t needed(const struct ring *r)
{
	return sizeof(struct kp_record) + r->stack;
}

static uint64_t read_so_far(const struct ring *r)
{
	return __atomic_load_n(&r->mem->tail, __ATOMIC_RELAXED);
}

bool record_waits(struct lwp *l)
{
	struct ring *r = &l->v->ring;

	if (!r->mem || has_room(r, needed(r)))
		return false;
	if (r->stuck && r->stuck_at == read_so_far(r))
		return false;
	if (!r->waiting)
		r->wait_end = clock_mono() + WAIT_NS;
	r->waiting = true;
	l->holds |= HOLD_ROOM;
	return true;
}

void record_tick(struct victim *v, uint64_t now)
{
	struct ring *r = &v->ring;
	struct lwp *next;

	if (!r->waiting || (!has_room(r, needed(r)) && now < r->wait_end))
		return;
	r->waiting = false;
	r->stuck = !has_room(r, needed(r));
	r->stuck_at = read_so_far(r);
	for (struct lwp *l = v->lwps; l; l = next) {
		next = l->next;
		if (!(l->holds & HOLD_ROOM))
			continue;
		l->holds &= ~HOLD_ROOM;
		stops_settle(l); /* it may have to wait again */
	}
}

/* Whoever reads the record may find that memory gone. */
static uint64_t goes(const struct lwp *l, const struct bkpt *b, const arch_regs_t *regs)
{
	struct mem m = bkpt_memory(l->v);
	uint64_t pc;

	if (b->insn.kind != ARCH_INSN_JMP_MEM)
		return 0;
	return arch_jump_target(&b->insn, regs, &m, &pc) ? 0 : pc;
}

void record_hit(struct lwp *l, const struct bkpt *b)
{
	struct ring *r = &l->v->ring;
	struct kp_record rec = { .id = b->counter, .tid = l->tid, .addr = b->addr };
	arch_regs_t *regs;

	if (!r->mem)
		return;
	if (!has_room(r, needed(r)) || lwp_regs(l, &regs)) {
		__atomic_fetch_add(&r->mem->lost, 1, __ATOMIC_RELAXED);
		return;
	}
	rec.time_ns = clock_mono();
	rec.regs = *regs;
	rec.goes = goes(l, b, regs);
	if (r->stack)
		add_stack(l, &rec);
	rec.len = (uint32_t)sizeof(rec) + rec.nstack;
	put(r, r->head, &rec, sizeof(rec));
	r->head += rec.len;
	__atomic_store_n(&r->mem->head, r->head, __ATOMIC_RELEASE);
}
