/* SPDX-License-Identifier: MIT */
/*
 * Hits that the keeper records: a ring in memory that client and keeper share
 * (keeper/protocol.h). Taking what has come makes no request, also while the victim
 * runs, and after its exec, its end, or the keeper's. Its pages are made at once, so that
 * a lack of memory is told then and not by a signal later.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hold/state.h"
#include "util/scope.h"

static int make_ring(size_t size, int *ret_fd)
{
	_cleanup_close_ int fd =
		memfd_create("pgrab-records", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || fallocate(fd, 0, 0, (off_t)(KP_RING_DATA + size)) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	*ret_fd = scope_take_fd(&fd);
	return 0;
}

/* Lock held. */
static int begin(struct hold *h, size_t size, size_t stack, size_t below)
{
	_cleanup_close_ int fd = -1;
	struct kp_mask req = { .mask = stack | (uint64_t)below << KP_RECORD_BELOW };
	struct recorder *r = &h->records;
	size_t room = sizeof(struct kp_record) + stack;
	struct kp_reply reply;
	struct kp_ring *p;
	int err = make_ring(size, &fd);

	if (err)
		return err;
	p = mmap(NULL, KP_RING_DATA + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	p->size = size;
	r->buf = malloc(room);
	hold_header(&req.h, KP_RECORDS, sizeof(req), 0);
	err = r->buf ? hold_hand_over(h, &req, fd, &reply) : -ENOMEM;
	if (err) {
		free(r->buf);
		r->buf = NULL;
		munmap(p, KP_RING_DATA + size);
		return err;
	}
	r->room = room;
	r->size = size;
	r->mem = p;
	return 0;
}

int hold_records_begin(struct hold *h, size_t size, size_t stack, size_t below)
{
	HOLD_NOCANCEL;
	int err = 0;

	if (h->owner != getpid())
		return -EPIPE;
	pthread_mutex_lock(&h->lock);
	if (!h->records.mem)
		err = begin(h, size, (stack + 7) & ~(size_t)7, below);
	pthread_mutex_unlock(&h->lock);
	return err;
}

static void get(const struct recorder *r, uint64_t at, void *ret, size_t len)
{
	const uint8_t *data = (const uint8_t *)r->mem + KP_RING_DATA;
	size_t first = (size_t)(r->size - at % r->size);

	if (first > len)
		first = len;
	memcpy(ret, data + at % r->size, first);
	memcpy((uint8_t *)ret + first, data, len - first);
}

static void tell(const struct kp_record *rec, hold_record_f *fn, void *arg)
{
	struct hold_record out = {
		.id = rec->id,
		.tid = rec->tid,
		.time_ns = rec->time_ns,
		.addr = rec->addr,
		.regs = rec->regs,
		.goes = rec->goes,
		.stack_at = rec->at,
		.stack = (const uint8_t *)(rec + 1),
		.nstack = rec->nstack,
	};

	fn(arg, &out);
}

/* One record out of the ring; false when it makes no sense. */
static bool take(struct recorder *r, uint64_t head, hold_record_f *fn, void *arg)
{
	struct kp_record *rec = (struct kp_record *)(void *)r->buf;

	if (head - r->tail < sizeof(*rec))
		return false;
	get(r, r->tail, rec, sizeof(*rec));
	if (rec->len < sizeof(*rec) || rec->len > r->room || rec->len > head - r->tail ||
	    rec->nstack > rec->len - sizeof(*rec))
		return false;
	get(r, r->tail + sizeof(*rec), rec + 1, rec->len - sizeof(*rec));
	r->tail += rec->len;
	__atomic_store_n(&r->mem->tail, r->tail, __ATOMIC_RELEASE);
	tell(rec, fn, arg);
	return true;
}

void hold_records_take(struct hold *h, hold_record_f *fn, void *arg, uint64_t *ret_lost)
{
	struct recorder *r = &h->records;
	uint64_t head;

	*ret_lost = 0;
	if (!r->mem)
		return;
	head = __atomic_load_n(&r->mem->head, __ATOMIC_ACQUIRE);
	while (r->tail != head && take(r, head, fn, arg))
		;
	*ret_lost = __atomic_load_n(&r->mem->lost, __ATOMIC_RELAXED);
}

void recorder_fini(struct recorder *r)
{
	if (r->mem)
		munmap(r->mem, KP_RING_DATA + r->size);
	free(r->buf);
}
