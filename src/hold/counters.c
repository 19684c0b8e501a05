/* SPDX-License-Identifier: MIT */
/*
 * Hits that the keeper only counts: one 64-bit counter a breakpoint, in memory that
 * client and keeper share. Reading one is a load: no request, also while the victim
 * runs, and after its exec, its end, or the keeper's. The memory (half a megabyte,
 * touched a page at a time) is made at the first counter of a hold and lives as long as
 * the hold. Guarded by the hold's lock, but for the loads.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hold/state.h"
#include "util/scope.h"

static const size_t size = KP_MAX_BKPTS * sizeof(uint64_t);

/* Sealed, so that neither side can take the other's memory away. */
static int make_memory(int *ret_fd)
{
	_cleanup_close_ int fd =
		memfd_create("pgrab-hits", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	*ret_fd = scope_take_fd(&fd);
	return 0;
}

static int hand_over(struct hold *h, int fd)
{
	struct kp_header req;
	struct kp_reply reply;

	hold_header(&req, KP_COUNTERS, sizeof(req), 0);
	return hold_hand_over(h, &req, fd, &reply);
}

/* Lock held. */
static int begin(struct hold *h)
{
	_cleanup_close_ int fd = -1;
	uint64_t *p;
	uint32_t *freed, *refs;
	int err = make_memory(&fd);

	if (err)
		return err;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	freed = calloc(2 * KP_MAX_BKPTS, sizeof(*freed));
	refs = freed + KP_MAX_BKPTS;
	err = freed ? hand_over(h, fd) : -ENOMEM;
	if (err) {
		free(freed);
		munmap(p, size);
		return err;
	}
	h->counters.v = p;
	h->counters.freed = freed;
	h->counters.refs = refs;
	return 0;
}

int hold_counter_new(struct hold *h, uint32_t *ret)
{
	HOLD_NOCANCEL;
	struct counters *c = &h->counters;
	int err = 0;

	pthread_mutex_lock(&h->lock);
	if (!c->v)
		err = begin(h);
	if (!err && !c->nfreed && c->n == KP_MAX_BKPTS)
		err = -ENOSPC;
	if (!err) {
		*ret = c->nfreed ? c->freed[--c->nfreed] : c->n++;
		c->refs[*ret] = 1;
	}
	pthread_mutex_unlock(&h->lock);
	return err;
}

void hold_counter_ref(struct hold *h, uint32_t id)
{
	pthread_mutex_lock(&h->lock);
	h->counters.refs[id]++;
	pthread_mutex_unlock(&h->lock);
}

void hold_counter_free(struct hold *h, uint32_t id)
{
	HOLD_NOCANCEL;
	struct counters *c = &h->counters;

	pthread_mutex_lock(&h->lock);
	if (!--c->refs[id]) {
		__atomic_store_n(&c->v[id], 0, __ATOMIC_RELAXED);
		c->freed[c->nfreed++] = id;
	}
	pthread_mutex_unlock(&h->lock);
}

uint64_t hold_counter(const struct hold *h, uint32_t id)
{
	return __atomic_load_n(&h->counters.v[id], __ATOMIC_RELAXED);
}

void counters_fini(struct counters *c)
{
	if (c->v)
		munmap(c->v, size);
	free(c->freed);
}
