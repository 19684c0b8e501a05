/* SPDX-License-Identifier: MIT */
/*
 * Watchpoints, asked of the keeper. Nothing is kept here: they leave no trace in the
 * victim, so that a keeper that is gone has taken them with it.
 */
#include <errno.h>

#include "hold/hold.h"
#include "hold/state.h"
#include "os/perf.h"

_Static_assert((int)HOLD_WATCH_EXEC == (int)PERF_EXEC &&
		       (int)HOLD_WATCH_WRITE == (int)PERF_WRITE &&
		       (int)HOLD_WATCH_READ == (int)PERF_READ,
	       "accesses");

static int call_watch(struct hold *h, enum kp_type type, uint64_t addr, uint32_t len,
		      uint32_t access)
{
	struct kp_watch req = { .addr = addr, .len = len, .access = access };
	struct kp_reply reply;

	hold_header(&req.h, type, sizeof(req), 0);
	return hold_call(h, &req, &reply, sizeof(reply));
}

int hold_watch_set(struct hold *h, uint64_t addr, unsigned len, unsigned access)
{
	return call_watch(h, KP_WATCH_SET, addr, len, access);
}

int hold_watch_clear(struct hold *h, uint64_t addr, unsigned len, unsigned access)
{
	return call_watch(h, KP_WATCH_CLEAR, addr, len, access);
}
