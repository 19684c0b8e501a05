/* SPDX-License-Identifier: MIT */
/*
 * Watchpoints: slots of hwbkpt.c that the client asked for. A hit stops the whole victim,
 * why WATCH, with the watched address; for reads and writes the access is done and the PC
 * behind the instruction, for execution the PC is at it and the resume passes it.
 *
 * Several LWPs may hit at once, and one LWP several watchpoints: what has been hit is
 * noted in the LWP (hw_hits) and told when it would be resumed, one stop each. One LWP's
 * hits of one watchpoint that come before it stops (its signal blocked) are one.
 *
 * The first event of a system may take 12 ms (hwready.c); whoever sets a watchpoint waits
 * for that, once in a keeper's life. An event that a new thread cannot have is logged:
 * the watchpoint then watches the others.
 */
#include <errno.h>
#include <signal.h>

#include "keeper/keeper.h"
#include "os/perf.h"

static int find(const struct victim *v, const struct hw_slot *what)
{
	for (int i = 0; i < HW_MAX; i++) {
		const struct hw_slot *s = &v->hw[i];

		if (s->watch && s->addr == what->addr && s->len == what->len &&
		    s->access == what->access)
			return i;
	}
	return -ENOENT;
}

static struct hw_slot described(const struct kp_watch *req)
{
	return (struct hw_slot){
		.addr = req->addr, .len = req->len, .access = req->access, .watch = true
	};
}

int watch_set(struct victim *v, const struct kp_watch *req)
{
	struct hw_slot what = described(req);
	int i, rc;

	if (!arch_native->resume_flag)
		return -EOPNOTSUPP;
	if (!what.access || (what.access & ~(PERF_EXEC | PERF_WRITE | PERF_READ)))
		return -EINVAL;
	if (find(v, &what) >= 0)
		return -EEXIST;
	rc = hw_take(v, &what, &i);
	return rc == -ENOSPC ? -EBUSY : rc;
}

int watch_clear(struct victim *v, const struct kp_watch *req)
{
	struct hw_slot what = described(req);
	int i = find(v, &what);

	if (i < 0)
		return i;
	hw_empty(v, i);
	return 0;
}

void watch_act(struct lwp *l)
{
	struct victim *v = l->v;

	for (int i = 0; i < HW_MAX; i++) {
		if (!(l->hw_hits & (1u << i)))
			continue;
		l->hw_hits &= (uint8_t) ~(1u << i);
		if (!v->hw[i].watch || v->phase != V_HELD)
			continue;
		if (v->hw[i].access == PERF_EXEC)
			l->reported = v->hw[i].addr;
		victim_stop(v, KP_WHY_WATCH, SIGTRAP, l->tid, v->hw[i].addr);
		return;
	}
}
