/* SPDX-License-Identifier: MIT */
/*
 * System calls that the client asks for (KP_SYSCALL): one at a time in a stopped victim.
 *
 * The call may sleep, and whoever asked must not keep the client's other threads from
 * asking for other things (a stop, which ends the call), so the reply does not wait for
 * longer than SLICE_NS: it then says that the call is under way, and the client asks
 * again (KP_SYSCALL_WAIT). A result stays until the next call takes its place.
 */
#include <errno.h>
#include <string.h>

#include "keeper/keeper.h"

enum {
	SLICE_NS = 20000000,
};

static void reply(struct victim *v, const struct kp_header *req, int err)
{
	struct kp_sysret r;

	memset(&r, 0, sizeof(r));
	r.r.h = *req;
	r.r.h.len = sizeof(r);
	r.r.err = err;
	r.r.value = v->call == CALL_UNDER_WAY;
	r.ret = err ? 0 : v->call_ret;
	reply_raw(v, &r, sizeof(r));
}

/* The reply that is owed, if one is. */
static void answer(struct victim *v)
{
	struct kp_header req = v->call_req;

	v->call_req.len = 0;
	if (req.len)
		reply(v, &req, v->call == CALL_UNDER_WAY ? 0 : v->call_err);
}

static void wait_a_slice(struct victim *v, const struct kp_header *req)
{
	v->call_req = *req;
	v->call_slice = clock_mono() + SLICE_NS;
}

static void on_done(struct lwp *l, int err, int64_t ret)
{
	struct victim *v = l->v;

	v->call = CALL_DONE;
	v->call_err = err;
	v->call_ret = ret;
	answer(v);
}

void call_begin(struct victim *v, const struct kp_syscall *req)
{
	struct lwp *l = victim_lwp(v, req->h.tid);
	uint64_t insn = req->insn ? req->insn : v->syscall_insn;
	int rc = -EBUSY;

	if (!l)
		rc = -ESRCH;
	else if (!insn)
		rc = -EFAULT;
	else if (v->stopped && v->call != CALL_UNDER_WAY)
		rc = inject_begin(l, insn, req->nr, req->args, on_done);
	if (rc) {
		reply(v, &req->h, rc);
		return;
	}
	v->call = CALL_UNDER_WAY;
	wait_a_slice(v, &req->h);
}

void call_wait(struct victim *v, const struct kp_header *req)
{
	if (v->call == CALL_UNDER_WAY)
		wait_a_slice(v, req);
	else
		reply(v, req, v->call == CALL_DONE ? v->call_err : -EINVAL);
}

void call_tick(struct victim *v, uint64_t now)
{
	if (v->call_req.len && now >= v->call_slice)
		answer(v);
}
