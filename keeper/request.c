/* SPDX-License-Identifier: MIT */
/*
 * Requests in. A packet is checked whole (version, type, length to the byte, descriptors)
 * before anything is done; what does not fit ends the client. Each request is a few
 * microseconds of work; nothing here waits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "os/procfs.h"
#include "util/log.h"
#include "util/scope.h"

/* Room for the longest request and a byte more, so that a longer one is noticed. */
union packet {
	struct kp_header h;
	struct kp_attach attach;
	struct kp_run run;
	struct kp_answer answer;
	struct kp_mask mask;
	struct kp_bkpt bkpt;
	struct kp_watch watch;
	struct kp_page page;
	struct kp_regset_page regset;
	struct kp_setregs setregs;
	struct kp_syscall syscall;
	struct kp_capture capture;
	uint8_t bytes[512];
};

enum {
	NFDS = 3,    /* descriptors of an attach */
	MAX_FDS = 16 /* received at most; the kernel closes the rest */
};

/* --- replies ----------------------------------------------------------------------- */

void reply_raw(struct victim *v, const void *msg, size_t len)
{
	if (v->ctl >= 0 && send(v->ctl, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_at(LOG_KEEP, 1, v->pid, 0, "reply: %s", strerror(errno));
}

static void fill_reply(struct kp_reply *r, const struct kp_header *req, size_t len,
		       int err, int value, const char *text)
{
	memset(r, 0, sizeof(*r));
	r->h = *req;
	r->h.len = (uint32_t)len;
	r->err = err;
	r->value = value;
	snprintf(r->text, sizeof(r->text), "%s", text);
}

void reply_send(struct victim *v, const struct kp_header *req, int err, int value,
		const char *text)
{
	struct kp_reply r;

	fill_reply(&r, req, sizeof(r), err, value, text);
	reply_raw(v, &r, sizeof(r));
}

static void reply(struct victim *v, const union packet *p, int err)
{
	reply_send(v, &p->h, err, 0, "");
}

/* --- run control ------------------------------------------------------------------- */

static void do_stop(struct victim *v, const union packet *p)
{
	int already = v->stopped;

	reply_send(v, &p->h, 0, already, "");
	if (v->call == CALL_UNDER_WAY)
		inject_abort(v);
	if (!capture_join(v) && !v->stopping)
		victim_stop(v, KP_WHY_REQUESTED, 0, v->pid, 0);
}

static void set_signal(struct lwp *l, const struct kp_run *run)
{
	if (run->sig || run->flags & KP_RUN_CLEARSIG)
		stops_set_signal(l, run->sig);
}

static void do_run(struct victim *v, const union packet *p)
{
	struct lwp *l = victim_lwp(v, p->h.tid ? p->h.tid : v->why_tid);
	bool step = p->run.flags & KP_RUN_STEP;

	if (!v->stopped || (step && v->stepper) || v->ninject) {
		reply(v, p, -EBUSY);
		return;
	}
	if (p->h.tid && !l) {
		reply(v, p, -ESRCH);
		return;
	}
	reply(v, p, 0);
	if (l)
		set_signal(l, &p->run);
	if (!(p->run.flags & KP_RUN_LIFTED) && v->lifted) {
		v->lifted = false;
		bkpt_plant_all(v);
	}
	if (step && l) {
		v->stopping = v->stopped = false;
		l->holds &= HOLD_OWN;
		step_client(l, l->sig);
	} else {
		victim_run(v);
	}
}

static void do_answer(struct victim *v, const union packet *p)
{
	struct lwp *l = victim_lwp(v, p->h.tid);

	if (!l)
		follow_answer(v, &p->answer);
	if (!l || !l->question || l->question != p->answer.question)
		return; /* answered by default, or gone */
	event_answered(l);
	if (p->answer.verdict == KP_VERDICT_PARK)
		victim_stop(v, KP_WHY_PARK, 0, l->tid, l->reported);
	else
		stops_settle(l);
}

static void do_trace(struct victim *v, const union packet *p)
{
	v->stop_mask = p->mask.mask;
	reply(v, p, 0);
}

static void do_want(struct victim *v, const union packet *p)
{
	v->want = (unsigned)p->mask.mask;
	reply(v, p, 0);
}

static void do_patience(struct victim *v, const union packet *p)
{
	v->patience_ms = (uint32_t)p->mask.mask;
	reply(v, p, 0);
}

static void do_klc(struct victim *v, const union packet *p)
{
	int rc = 0;

	v->klc = p->mask.mask;
	for (struct lwp *l = v->lwps; l && !rc; l = l->next)
		rc = l->state == LWP_STOPPED ? trace_options(l, trace_base_options(v))
					     : -EBUSY;
	/* Running LWPs keep their option until they stop next; our own closing rule is
	 * exact. */
	reply(v, p, rc == -EBUSY ? 0 : rc);
}

static void do_release(struct victim *v, const union packet *p)
{
	if (p->mask.mask > KP_RELEASE_KILL)
		reply(v, p, -EINVAL);
	else
		release_begin(v, (int)p->mask.mask, &p->h);
}

/* --- breakpoints ------------------------------------------------------------------- */

static void do_uprobes(struct victim *v, const union packet *p)
{
	bkpt_mind_uprobes(v);
	reply(v, p, 0);
}

static void do_bkpt_set(struct victim *v, const union packet *p)
{
	const struct arch_insn *i = &p->bkpt.insn;
	bool sane = i->len >= 1 && i->len <= ARCH_INSN_MAX && i->kind < ARCH_INSN_NKINDS;

	reply(v, p, sane ? bkpt_set(v, &p->bkpt) : -EINVAL);
}

static void do_counters(struct victim *v, const union packet *p)
{
	int fd = v->handed;

	v->handed = -1;
	reply(v, p, bkpt_share_counters(v, fd));
}

static void do_records(struct victim *v, const union packet *p)
{
	int fd = v->handed;

	v->handed = -1;
	reply(v, p, record_share(v, fd, p->mask.mask));
}

static void do_bkpt_clear(struct victim *v, const union packet *p)
{
	reply(v, p, bkpt_clear(v, p->bkpt.addr));
}

static void do_watch_set(struct victim *v, const union packet *p)
{
	reply(v, p, watch_set(v, &p->watch));
}

static void do_watch_clear(struct victim *v, const union packet *p)
{
	reply(v, p, watch_clear(v, &p->watch));
}

/* --- LWPs -------------------------------------------------------------------------- */

static struct kp_lwp describe(const struct lwp *l)
{
	struct kp_lwp k = { .tid = l->tid, .cursig = l->sig };

	if (l->state == LWP_STOPPED)
		k.flags |= KP_LWP_STOPPED;
	if (l->group)
		k.flags |= KP_LWP_OUTSTOP;
	return k;
}

static int by_tid(const void *a, const void *b)
{
	const struct lwp *const *x = a, *const *y = b;

	return ((*x)->tid > (*y)->tid) - ((*x)->tid < (*y)->tid);
}

/* The members in ascending order, allocated; NULL: no memory. */
static struct lwp **sorted(struct victim *v)
{
	struct lwp **all = calloc(v->nlwps + 1, sizeof(*all));
	size_t n = 0;

	if (!all)
		return NULL;
	for (struct lwp *l = v->lwps; l; l = l->next)
		all[n++] = l;
	qsort(all, n, sizeof(*all), by_tid);
	return all;
}

static void do_lwp(struct victim *v, const union packet *p)
{
	struct lwp *l = victim_lwp(v, p->h.tid);
	int rc = l && l->state != LWP_DYING ? 0 : -ESRCH;

	unsigned op = p->mask.mask & ((1u << KP_LWP_SIGNAL) - 1);
	uint64_t sig = p->mask.mask >> KP_LWP_SIGNAL;

	if (!rc && (op >= KP_LWP_NOPS || sig > 64))
		rc = -EINVAL;
	reply(v, p, rc);
	if (!rc)
		lwpctl(l, (enum kp_lwp_op)op, (int)sig);
}

static void do_lwps(struct victim *v, const union packet *p)
{
	_cleanup_free_ struct lwp **all = sorted(v);
	struct kp_lwps r;

	memset(&r, 0, sizeof(r));
	fill_reply(&r.r, &p->h, sizeof(r), all ? 0 : -ENOMEM, (int)v->nlwps, "");
	for (size_t i = p->page.start; all && i < v->nlwps && r.n < KP_MAX_LWPS; i++)
		r.lwp[r.n++] = describe(all[i]);
	reply_raw(v, &r, sizeof(r));
}

static void do_regs_all(struct victim *v, const union packet *p)
{
	_cleanup_free_ struct lwp **all = sorted(v);
	struct kp_regs_all r;
	arch_regs_t *regs;

	memset(&r, 0, sizeof(r));
	fill_reply(&r.r, &p->h, sizeof(r), all ? 0 : -ENOMEM, (int)v->nlwps, "");
	for (size_t i = p->page.start; all && i < v->nlwps && r.n < KP_MAX_REGS; i++) {
		r.lwp[r.n] = describe(all[i]);
		if (!lwp_regs(all[i], &regs))
			r.regs[r.n] = *regs;
		r.n++;
	}
	reply_raw(v, &r, sizeof(r));
}

static void do_getregs(struct victim *v, const union packet *p)
{
	struct lwp *l = victim_lwp(v, p->h.tid);
	struct kp_regs r;
	arch_regs_t *regs;
	int rc = l ? lwp_regs(l, &regs) : -ESRCH;

	memset(&r, 0, sizeof(r));
	fill_reply(&r.r, &p->h, sizeof(r), rc, 0, "");
	if (!rc)
		r.regs = *regs;
	reply_raw(v, &r, sizeof(r));
}

static void do_setregs(struct victim *v, const union packet *p)
{
	struct lwp *l = victim_lwp(v, p->h.tid);
	int rc = !l ? -ESRCH : l->state != LWP_STOPPED ? -EBUSY : 0;

	if (!rc)
		rc = trace_setregs(l, &p->setregs.regs);
	if (!rc)
		lwp_forget(l);
	reply(v, p, rc);
}

/* One LWP's registers behind what r has; false: there is no room. One that does not
 * stand, or has none of that kind, has no record. Not through lwp_regs(): what that knows
 * better (the PC in a slot) is among the general registers, which are asked for apart. */
static bool add_regset(struct kp_regset *r, struct lwp *l, unsigned type)
{
	struct kp_regset_one one = { .tid = l->tid };
	size_t len = KP_MAX_REGSET;

	if (r->len + sizeof(one) + len > sizeof(r->bytes))
		return false;
	if (l->state != LWP_STOPPED ||
	    trace_getregset(l, type, r->bytes + r->len + sizeof(one), &len))
		return true;
	one.len = (uint32_t)len;
	memcpy(r->bytes + r->len, &one, sizeof(one));
	r->len += (uint32_t)(sizeof(one) + len + 7) & ~7u;
	return true;
}

static void do_regset(struct victim *v, const union packet *p)
{
	static struct kp_regset r; /* large; the keeper has one thread */
	_cleanup_free_ struct lwp **all = sorted(v);
	size_t i = p->regset.start;

	r.len = r.pad = 0;
	while (all && i < v->nlwps && add_regset(&r, all[i], p->regset.type))
		i++;
	memset(r.bytes + r.len, 0, sizeof(r.bytes) - r.len);
	fill_reply(&r.r, &p->h, sizeof(r), all ? 0 : -ENOMEM, i < v->nlwps ? (int)i : 0,
		   "");
	reply_raw(v, &r, sizeof(r));
}

static void do_siginfo(struct victim *v, const union packet *p)
{
	struct lwp *l = victim_lwp(v, p->h.tid);
	struct kp_siginfo r;
	int rc = !l ? -ESRCH : l->state != LWP_STOPPED ? -EBUSY : 0;

	memset(&r, 0, sizeof(r));
	if (!rc)
		rc = trace_siginfo(l, &r.info);
	fill_reply(&r.r, &p->h, sizeof(r), rc, 0, "");
	reply_raw(v, &r, sizeof(r));
}

/* --- system calls ------------------------------------------------------------------ */

static void do_syscall(struct victim *v, const union packet *p)
{
	call_begin(v, &p->syscall);
}

static void do_syscall_wait(struct victim *v, const union packet *p)
{
	call_wait(v, &p->h);
}

static void do_syscall_insn(struct victim *v, const union packet *p)
{
	v->syscall_insn = p->mask.mask;
	reply(v, p, 0);
}

static void do_capture(struct victim *v, const union packet *p)
{
	int fd = v->handed;

	v->handed = -1;
	capture_begin(v, &p->capture, fd);
}

/* --- the two tables ---------------------------------------------------------------- */

struct request {
	void (*fn)(struct victim *v, const union packet *p);
	size_t len; /* of the packet, exactly */
};

static const struct request control[KP_NTYPES] = {
	[KP_STOP] = { do_stop, sizeof(struct kp_header) },
	[KP_RUN] = { do_run, sizeof(struct kp_run) },
	[KP_ANSWER] = { do_answer, sizeof(struct kp_answer) },
	[KP_TRACE] = { do_trace, sizeof(struct kp_mask) },
	[KP_WANT] = { do_want, sizeof(struct kp_mask) },
	[KP_SET_KLC] = { do_klc, sizeof(struct kp_mask) },
	[KP_SET_PATIENCE] = { do_patience, sizeof(struct kp_mask) },
	[KP_BKPT_SET] = { do_bkpt_set, sizeof(struct kp_bkpt) },
	[KP_BKPT_CLEAR] = { do_bkpt_clear, sizeof(struct kp_bkpt) },
	[KP_LWP] = { do_lwp, sizeof(struct kp_mask) },
	[KP_WATCH_SET] = { do_watch_set, sizeof(struct kp_watch) },
	[KP_WATCH_CLEAR] = { do_watch_clear, sizeof(struct kp_watch) },
	[KP_LWPS] = { do_lwps, sizeof(struct kp_page) },
	[KP_GETREGS] = { do_getregs, sizeof(struct kp_header) },
	[KP_SETREGS] = { do_setregs, sizeof(struct kp_setregs) },
	[KP_REGS_ALL] = { do_regs_all, sizeof(struct kp_page) },
	[KP_SIGINFO] = { do_siginfo, sizeof(struct kp_header) },
	[KP_COUNTERS] = { do_counters, sizeof(struct kp_header) },
	[KP_RECORDS] = { do_records, sizeof(struct kp_mask) },
	[KP_RELEASE] = { do_release, sizeof(struct kp_mask) },
	[KP_SYSCALL] = { do_syscall, sizeof(struct kp_syscall) },
	[KP_SYSCALL_WAIT] = { do_syscall_wait, sizeof(struct kp_header) },
	[KP_REGSET] = { do_regset, sizeof(struct kp_regset_page) },
	[KP_CAPTURE] = { do_capture, sizeof(struct kp_capture) },
	[KP_SYSCALL_INSN] = { do_syscall_insn, sizeof(struct kp_mask) },
	[KP_UPROBES] = { do_uprobes, sizeof(struct kp_header) },
};

static bool well_formed(const union packet *p, ssize_t n)
{
	return n >= (ssize_t)sizeof(p->h) && p->h.version == KP_VERSION &&
	       p->h.len == n && p->h.type < KP_NTYPES;
}

/* A victim that is gone or going takes its release and nothing else. */
static bool refuses(const struct victim *v, int type)
{
	return type != KP_RELEASE && (v->ended || v->phase != V_HELD);
}

/* --- the hub ----------------------------------------------------------------------- */

static void close_all(const int *fds, int n)
{
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

static ssize_t receive(int sock, union packet *p, int fds[MAX_FDS], int *ret_nfds)
{
	_Alignas(struct cmsghdr) char control_buf[CMSG_LEN(sizeof(int) * MAX_FDS)];
	struct iovec iov = { p, sizeof(*p) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control_buf,
			      .msg_controllen = sizeof(control_buf) };
	ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;

	*ret_nfds = 0;
	if (n <= 0)
		return n;
	K.life_ns = clock_mono();
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		*ret_nfds = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t)*ret_nfds);
	}
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		close_all(fds, *ret_nfds);
		*ret_nfds = 0;
	}
	if (!(msg.msg_flags & MSG_TRUNC))
		return n;
	errno = EPROTO;
	return -1;
}

static void hello(const union packet *p)
{
	struct kp_reply r;

	fill_reply(&r, &p->h, sizeof(r), 0, K.pid, "");
	if (send(K.hub, &r, sizeof(r), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		client_gone("hub closed");
}

static void attach_new(const struct kp_attach *req, const int fds[NFDS])
{
	struct victim *v = victim_new(fds[0], fds[1]);

	if (!v || loop_add(v)) {
		if (!v)
			close_all(fds, 2);
		close(fds[2]);
		client_gone("no memory for a victim");
		return;
	}
	attach_begin(v, req, fds[2]);
}

void request_hub(void)
{
	union packet p;
	int fds[MAX_FDS], nfds;
	ssize_t n = receive(K.hub, &p, fds, &nfds);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_gone(n ? "hub error" : "hub closed");
		return;
	}
	if (well_formed(&p, n) && p.h.type == KP_HELLO && n == sizeof(p.h) && !nfds)
		hello(&p);
	else if (well_formed(&p, n) && p.h.type == KP_ATTACH && n == sizeof(p.attach) &&
		 nfds == NFDS && p.attach.pid > 0)
		attach_new(&p.attach, fds);
	else {
		close_all(fds, nfds);
		client_gone("malformed request on the hub");
	}
}

/* --- a victim's control socket ----------------------------------------------------- */

static void last_close(struct victim *v)
{
	log_at(LOG_KEEP, 1, v->pid, 0, "last close");
	loop_close(&v->ctl);
	release_last_close(v);
}

/* A connection without a victim takes an ATTACH, with the pidfd, and nothing else. */
static void request_idle(struct victim *v)
{
	union packet p;
	int fds[MAX_FDS], nfds;
	ssize_t n = receive(v->ctl, &p, fds, &nfds);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		last_close(v);
	} else if (well_formed(&p, n) && p.h.type == KP_ATTACH && n == sizeof(p.attach) &&
		   nfds == 1 && p.attach.pid > 0) {
		attach_begin(v, &p.attach, fds[0]);
	} else {
		close_all(fds, nfds);
		client_gone("malformed request on an idle connection");
	}
}

/* The one descriptor that a request may have; what else came with it is closed. */
static int first_of(const int *fds, int nfds)
{
	if (nfds > 1)
		close_all(fds + 1, nfds - 1);
	return nfds ? fds[0] : -1;
}

static void carry_out(struct victim *v, const union packet *p)
{
	v->unattended = false;
	K.life_ns = clock_mono();
	if (!refuses(v, p->h.type))
		control[p->h.type].fn(v, p);
	else if (p->h.type != KP_ANSWER)
		reply(v, p, v->phase == V_ATTACHING ? -EBUSY : -ESRCH);
}

static void request_held(struct victim *v)
{
	union packet p;
	int fds[MAX_FDS], nfds;
	ssize_t n = receive(v->ctl, &p, fds, &nfds);
	const struct request *r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (!n || (n < 0 && errno != EPROTO)) {
		last_close(v);
		return;
	}
	v->handed = first_of(fds, nfds);
	r = n > 0 && well_formed(&p, n) ? &control[p.h.type] : NULL;
	if (r && r->fn && (size_t)n == r->len)
		carry_out(v, &p);
	else
		client_gone("malformed request");
	if (v->handed >= 0)
		close(v->handed);
	v->handed = -1;
}

void request_control(struct victim *v)
{
	if (v->phase == V_IDLE)
		request_idle(v);
	else
		request_held(v);
}
