/* SPDX-License-Identifier: MIT */
/*
 * Waits that a stop of ours would cut short.
 *
 * The kernel restarts most system calls that an interrupt of ours breaks: nanosleep,
 * poll, select, futex, read, wait. Some it ends with EINTR instead (signal(7),
 * "Interruption of system calls and library functions by stop signals"), and the same
 * befalls a thread that a tracer holds when a signal arrives that the process ignores
 * and that would not have woken it. A program need not expect that: nothing happened. So
 * an LWP that stands with EINTR of such a call, no handler of its own being due, makes
 * the call again when it is let go: its PC goes back onto the instruction.
 *
 * With the time that is left. When the call began is known to nobody after the stop, so
 * it is looked up before (restart_look()): a thread that sleeps went to sleep when it
 * last ran, which /proc/TID/sched tells (se.exec_start, in the clock of the CPU that it
 * ran on: measured against the keeper's own, on that CPU, to 0.2 ms). This costs 5 us an
 * LWP, 40 where there is a timeout; victims of more than MAX_LOOKS LWPs are not looked
 * at: there, as wherever it cannot be told, a wait begins anew at the first stop that
 * finds it, once: `until` is kept for as long as the call has the timeout that we gave
 * it, however often the LWP is stopped.
 *
 * A timeout by value is rewritten in its register, where the program may find the
 * smaller one after the call; one by address is placed below the stack's red zone, as a
 * signal frame would be. The timeout of a socket (SO_RCVTIMEO) is not in the call: such
 * a one waits in full again. A time that is up ends the call as the kernel would have.
 *
 * Whether a handler is due is asked right before the LWP is let go. It is let go to the
 * entry of the call (PTRACE_SYSCALL), from where a signal ends it as ever; one that comes
 * before stops it with the PC on the instruction: then EINTR is put back
 * (restart_undo()). Not so at a detach, which at the entry of a call would end that with
 * EINTR (it sets TIF_SIGPENDING, 6.18): there a signal in the few instructions up to the
 * call is handled before it, as if it had come before the program made it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "os/procfs.h"
#include "util/log.h"

enum {
	MAX_LOOKS = 64, /* LWPs of a victim that is looked at before it is stopped */
	BELOW = 256,    /* bytes below the stack pointer: red zone, timespec, alignment */
	LINE = 4096,    /* of a file in /proc */
};

/* Where a call has its timeout. */
enum limit {
	LIMIT_NONE, /* nowhere that we could see */
	LIMIT_MS,   /* milliseconds by value, negative: none */
	LIMIT_SPEC, /* address of a relative timespec, NULL: none */
};

/* A call that ends with EINTR. */
struct wait_call {
	long nr;          /* its number */
	enum limit limit; /* see there */
	unsigned arg;     /* index of the timeout among its arguments */
	int64_t expired;  /* what it returns when the time is up */
};

static const struct wait_call calls[] = {
#ifdef SYS_epoll_wait
	{ SYS_epoll_wait, LIMIT_MS, 3, 0 },
#endif
	{ SYS_epoll_pwait, LIMIT_MS, 3, 0 },
	{ SYS_epoll_pwait2, LIMIT_SPEC, 3, 0 },
	{ SYS_rt_sigtimedwait, LIMIT_SPEC, 2, -EAGAIN },
	{ SYS_semop, LIMIT_NONE, 0, 0 },
	{ SYS_semtimedop, LIMIT_SPEC, 3, -EAGAIN },
	{ SYS_io_getevents, LIMIT_SPEC, 4, 0 },
	{ SYS_io_uring_enter, LIMIT_NONE, 0, 0 },
	{ SYS_recvfrom, LIMIT_NONE, 0, 0 },
	{ SYS_recvmsg, LIMIT_NONE, 0, 0 },
	{ SYS_recvmmsg, LIMIT_NONE, 0, 0 },
	{ SYS_sendto, LIMIT_NONE, 0, 0 },
	{ SYS_sendmsg, LIMIT_NONE, 0, 0 },
	{ SYS_accept, LIMIT_NONE, 0, 0 },
	{ SYS_accept4, LIMIT_NONE, 0, 0 },
	{ SYS_connect, LIMIT_NONE, 0, 0 },
	{ SYS_read, LIMIT_NONE, 0, 0 },
	{ SYS_readv, LIMIT_NONE, 0, 0 },
	{ SYS_write, LIMIT_NONE, 0, 0 },
	{ SYS_writev, LIMIT_NONE, 0, 0 },
};

static const struct wait_call *find_call(int64_t nr)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (calls[i].nr == nr)
			return &calls[i];
	return NULL;
}

/* --- when it began ------------------------------------------------------------------ */

static ssize_t read_file(pid_t pid, pid_t tid, const char *name, char buf[LINE])
{
	char path[64];
	ssize_t n;
	int fd;

	if (pid == tid) /* two names less to look up: 1 us */
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	else
		snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, LINE - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n;
}

/* Milliseconds of the clock of the CPU that it ran on; negative: not told. */
static double last_ran(pid_t pid, pid_t tid)
{
	char buf[LINE], *p;

	if (read_file(pid, tid, "sched", buf) <= 0)
		return -1;
	p = strstr(buf, "se.exec_start");
	p = p ? strchr(p, ':') : NULL;
	return p ? strtod(p + 1, NULL) : -1;
}

/* proc_pid_stat(5): the 39th field, counted from behind the name. */
static int last_cpu(pid_t pid, pid_t tid)
{
	char buf[LINE], *p;

	if (read_file(pid, tid, "stat", buf) <= 0)
		return -1;
	p = strrchr(buf, ')');
	for (int field = 2; p && field < 39; field++)
		p = strchr(p + 1, ' ');
	return p ? atoi(p + 1) : -1;
}

/* CLOCK_MONOTONIC less the clock of that CPU, ms. 0, or -1. */
static int measure_clock(int cpu, double *ret)
{
	cpu_set_t there, before;
	double theirs, ours;

	CPU_ZERO(&there);
	CPU_SET((unsigned)cpu % CPU_SETSIZE, &there);
	if (sched_getaffinity(0, sizeof(before), &before) ||
	    sched_setaffinity(0, sizeof(there), &there))
		return -1;
	sched_yield(); /* accounts for our own time up to now */
	ours = (double)clock_mono() / 1e6;
	theirs = last_ran(K.pid, K.pid);
	sched_setaffinity(0, sizeof(before), &before);
	*ret = ours - theirs;
	return theirs < 0 ? -1 : 0;
}

static uint64_t when_it_began(struct lwp *l)
{
	double ran = last_ran(l->v->pid, l->tid), offset;
	int cpu = last_cpu(l->v->pid, l->tid);
	uint64_t now = clock_mono(), at;

	if (ran < 0 || cpu < 0 || measure_clock(cpu, &offset))
		return 0;
	at = (uint64_t)((ran + offset) * 1e6);
	return at < now ? at : now;
}

static bool is_finite(const struct wait_call *c, const uint64_t args[6])
{
	return (c->limit == LIMIT_MS && (int)args[c->arg] > 0) ||
	       (c->limit == LIMIT_SPEC && args[c->arg]);
}

void restart_look(struct lwp *l)
{
	const struct wait_call *c;
	uint64_t args[6];
	char buf[LINE];
	int64_t nr;

	l->began = 0;
	if (l->v->nlwps > MAX_LOOKS)
		return;
	if (read_file(l->v->pid, l->tid, "syscall", buf) <= 0 ||
	    sscanf(buf, "%ld 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx", &nr, &args[0],
		   &args[1], &args[2], &args[3], &args[4], &args[5]) != 7)
		return;
	c = find_call(nr);
	if (c && is_finite(c, args))
		l->began = when_it_began(l);
}

/* --- what a stop has broken -------------------------------------------------------- */

static bool handled(const struct procfs_status *st, int sig)
{
	return sig && (st->sigcgt & 1ull << (sig - 1));
}

/* The call that l's registers say was broken; NULL none. */
static const struct wait_call *broken(struct lwp *l, arch_regs_t **ret_regs)
{
	const struct arch *a = arch_native;
	const struct wait_call *c;
	uint64_t nr;

	if (a->reg_sysorig == ARCH_NOREG || l->inject)
		return NULL;
	if (((l->v->phase == V_ATTACHING && l->tid == l->v->pid) || l->v->capture) &&
	    lwp_regs(l, ret_regs))
		return NULL; /* wanted for the reply in any case */
	if (l->regs_valid)
		nr = arch_reg_get(&l->regs, a->reg_sysorig);
	else if (trace_getreg(l, a->reg_sysorig, &nr))
		return NULL;
	c = find_call((int64_t)nr);
	if (!c || lwp_regs(l, ret_regs) ||
	    (int64_t)arch_reg_get(*ret_regs, a->reg_sysret) != -EINTR)
		return NULL;
	return c;
}

/* Nanoseconds of its timeout; -1 none, or none that can be read. */
static int64_t timeout_of(struct lwp *l, const struct wait_call *c,
			  const arch_regs_t *regs)
{
	uint64_t arg = arch_reg_get(regs, arch_native->reg_sysarg[c->arg]);
	struct mem m = bkpt_memory(l->v);
	struct timespec t;

	if (c->limit == LIMIT_MS)
		return (int)arg < 0 ? -1 : (int64_t)(int)arg * 1000000;
	if (c->limit == LIMIT_NONE || !arg ||
	    m.ops->read(m.ctx, arg, &t, sizeof(t)) != sizeof(t) || t.tv_sec < 0 ||
	    t.tv_sec > INT32_MAX)
		return -1;
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void restart_note(struct lwp *l, int sig)
{
	const struct wait_call *c;
	struct procfs_status st;
	arch_regs_t *regs;
	int64_t timeout;
	unsigned reg;

	if (l->group)
		return;
	/* who has executed a trap waits in no call: spared, as hits are many */
	c = sig == SIGTRAP && l->pending == LWP_PEND_BKPT ? NULL : broken(l, &regs);
	if (!c) {
		l->until = l->inject ? l->until : 0;
		return;
	}
	reg = arch_native->reg_sysarg[c->arg];
	if (sig && (procfs_status(l->v->pid, l->tid, &st) || handled(&st, sig)))
		return;
	l->cut = true;
	timeout = timeout_of(l, c, regs);
	if (timeout < 0)
		l->until = 0;
	else if (l->began || !l->until || arch_reg_get(regs, reg) != l->again_arg)
		l->until = (l->began ? l->began : clock_mono()) + (uint64_t)timeout;
	l->began = 0;
	log_at(LOG_KEEP, 2, l->v->pid, l->tid, "call %ld was broken off, timeout %lld ns",
	       c->nr, (long long)timeout);
}

/* --- again ------------------------------------------------------------------------ */

static bool handler_is_due(struct lwp *l, int sig)
{
	struct procfs_status st;

	return procfs_status(l->v->pid, l->tid, &st) || handled(&st, sig) ||
	       ((st.sigpnd | st.shdpnd) & ~st.sigblk & st.sigcgt);
}

/* Gives the call the time that is left. False: it is up. */
static bool shorten(struct lwp *l, const struct wait_call *c, arch_regs_t *regs)
{
	unsigned reg = arch_native->reg_sysarg[c->arg];
	uint64_t now = clock_mono(), at, left;
	struct mem m = bkpt_memory(l->v);
	struct timespec t;

	if (!l->until)
		return true;
	if (now >= l->until)
		return false;
	left = l->until - now;
	if (c->limit == LIMIT_MS) {
		arch_reg_set(regs, reg, (left + 999999) / 1000000);
		return true;
	}
	t.tv_sec = (time_t)(left / 1000000000);
	t.tv_nsec = (long)(left % 1000000000);
	at = (arch_reg_get(regs, arch_native->reg_sp) - BELOW) & ~15ull;
	if (m.ops->write(m.ctx, at, &t, sizeof(t)) == sizeof(t))
		arch_reg_set(regs, reg, at);
	return true;
}

static void make_again(struct lwp *l, const struct wait_call *c, arch_regs_t *regs)
{
	const struct arch *a = arch_native;
	uint64_t pc = arch_pc(regs) - a->sys_len;

	if (!shorten(l, c, regs)) {
		arch_reg_set(regs, a->reg_sysret, (uint64_t)c->expired);
		l->until = 0;
	} else {
		arch_set_pc(regs, pc);
		arch_reg_set(regs, a->reg_sysnr, (uint64_t)c->nr);
		l->again_at = pc;
		l->again_arg = arch_reg_get(regs, a->reg_sysarg[c->arg]);
		if (bkpt_find(l->v, pc))
			slot_pass(l, pc);
	}
	arch_reg_set(regs, a->reg_sysorig, (uint64_t)-1);
	l->regs_dirty = true;
}

void restart_resume(struct lwp *l, int sig)
{
	const struct wait_call *c;
	arch_regs_t *regs;

	if (!l->cut)
		return;
	l->cut = false;
	c = broken(l, &regs);
	if (!c)
		return;
	if (handler_is_due(l, sig))
		l->until = 0;
	else
		make_again(l, c, regs);
}

void restart_entered(struct lwp *l)
{
	l->again_at = 0;
}

void restart_undo(struct lwp *l, int sig)
{
	const struct arch *a = arch_native;
	uint64_t at = l->again_at, pc;
	struct procfs_status st;
	arch_regs_t *regs;

	l->again_at = 0;
	if (!at || lwp_pc(l, &pc) || pc != at || lwp_regs(l, &regs))
		return;
	arch_set_pc(regs, at + a->sys_len);
	arch_reg_set(regs, a->reg_sysorig, arch_reg_get(regs, a->reg_sysnr));
	arch_reg_set(regs, a->reg_sysret, (uint64_t)-EINTR);
	l->regs_dirty = true;
	if (sig && !procfs_status(l->v->pid, l->tid, &st) && handled(&st, sig)) {
		arch_reg_set(regs, a->reg_sysorig, (uint64_t)-1);
		l->until = 0;
	}
}
