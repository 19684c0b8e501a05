/* SPDX-License-Identifier: MIT */
/*
 * The only file that calls ptrace(2). One function a request, one log line each, so that
 * PGRAB_DEBUG=trace is a transcript. -ESRCH means that the LWP is not in a ptrace stop
 * any more: killed; its end will be waited for.
 */
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <elf.h>

#include "keeper/keeper.h"
#include "util/log.h"

enum {
	TRACE_SHADOW_STACK = 0x204 /* NT_X86_SHSTK of <linux/elf.h> since 6.6 */
};

static int done(long rc, pid_t pid, pid_t tid, const char *what, long arg)
{
	int err = rc < 0 ? -errno : 0;

	log_at(LOG_TRACE, 1, pid, tid, "%s(%ld) = %s", what, arg,
	       err ? strerror(-err) : "0");
	return err;
}

unsigned trace_base_options(const struct victim *v)
{
	unsigned o = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
		     PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD;

	return v->klc && !v->outstop ? o | PTRACE_O_EXITKILL : o;
}

int trace_seize(pid_t pid, pid_t tid, unsigned options)
{
	return done(ptrace(PTRACE_SEIZE, tid, 0, options), pid, tid, "SEIZE", options);
}

int trace_interrupt(struct lwp *l)
{
	l->interrupted = true;
	return done(ptrace(PTRACE_INTERRUPT, l->tid, 0, 0), l->v->pid, l->tid,
		    "INTERRUPT", 0);
}

int trace_cont(struct lwp *l, int sig)
{
	return done(ptrace(PTRACE_CONT, l->tid, 0, (long)sig), l->v->pid, l->tid, "CONT",
		    sig);
}

int trace_step(struct lwp *l, int sig)
{
	return done(ptrace(PTRACE_SINGLESTEP, l->tid, 0, (long)sig), l->v->pid, l->tid,
		    "SINGLESTEP", sig);
}

int trace_listen(struct lwp *l)
{
	return done(ptrace(PTRACE_LISTEN, l->tid, 0, 0), l->v->pid, l->tid, "LISTEN", 0);
}

int trace_detach(struct lwp *l, int sig)
{
	return done(ptrace(PTRACE_DETACH, l->tid, 0, (long)sig), l->v->pid, l->tid,
		    "DETACH", sig);
}

int trace_detach_tid(pid_t tid)
{
	return done(ptrace(PTRACE_DETACH, tid, 0, 0), tid, tid, "DETACH", 0);
}

int trace_getregs(struct lwp *l, arch_regs_t *ret)
{
	struct iovec iov = { ret, sizeof(*ret) };

	return done(ptrace(PTRACE_GETREGSET, l->tid, NT_PRSTATUS, &iov), l->v->pid,
		    l->tid, "GETREGSET", NT_PRSTATUS);
}

int trace_getregset(struct lwp *l, unsigned type, void *ret, size_t *len)
{
	struct iovec iov = { ret, *len };
	int rc = done(ptrace(PTRACE_GETREGSET, l->tid, (long)type, &iov), l->v->pid,
		      l->tid, "GETREGSET", (long)type);

	if (!rc)
		*len = iov.iov_len;
	return rc;
}

int trace_setregs(struct lwp *l, const arch_regs_t *regs)
{
	struct iovec iov = { (void *)regs, sizeof(*regs) };

	return done(ptrace(PTRACE_SETREGSET, l->tid, NT_PRSTATUS, &iov), l->v->pid,
		    l->tid, "SETREGSET", NT_PRSTATUS);
}

/* The register file begins struct user, which PEEKUSER takes its offsets in (x86). */
int trace_getreg(struct lwp *l, unsigned reg, uint64_t *ret)
{
	long value;
	int rc;

	errno = 0;
	value = ptrace(PTRACE_PEEKUSER, l->tid, reg * sizeof(long), 0);
	rc = done(errno ? -1 : 0, l->v->pid, l->tid, "PEEKUSER", (long)reg);
	if (!rc)
		*ret = (uint64_t)value;
	return rc;
}

int trace_setreg(struct lwp *l, unsigned reg, uint64_t value)
{
	return done(ptrace(PTRACE_POKEUSER, l->tid, reg * sizeof(long), value), l->v->pid,
		    l->tid, "POKEUSER", (long)reg);
}

/* Linux 6.6: ENODEV where it is not enabled, EINVAL where the kernel knows none. */
bool trace_has_shadow_stack(struct lwp *l)
{
	static bool unknown;
	uint64_t ssp;
	struct iovec iov = { &ssp, sizeof(ssp) };
	int rc;

	if (unknown)
		return false;
	rc = done(ptrace(PTRACE_GETREGSET, l->tid, TRACE_SHADOW_STACK, &iov), l->v->pid,
		  l->tid, "GETREGSET", TRACE_SHADOW_STACK);
	unknown = rc == -EINVAL;
	return !rc;
}

int trace_siginfo(struct lwp *l, siginfo_t *ret)
{
	return done(ptrace(PTRACE_GETSIGINFO, l->tid, 0, ret), l->v->pid, l->tid,
		    "GETSIGINFO", 0);
}

int trace_setinfo(struct lwp *l, const siginfo_t *info)
{
	return done(ptrace(PTRACE_SETSIGINFO, l->tid, 0, info), l->v->pid, l->tid,
		    "SETSIGINFO", info->si_signo);
}

int trace_syscall(struct lwp *l)
{
	return done(ptrace(PTRACE_SYSCALL, l->tid, 0, 0), l->v->pid, l->tid, "SYSCALL",
		    0);
}

int trace_rseq(struct lwp *l, uint64_t *ret)
{
	struct __ptrace_rseq_configuration conf;
	long n = ptrace(PTRACE_GET_RSEQ_CONFIGURATION, l->tid, sizeof(conf), &conf);
	int rc = done(n < 0 ? n : 0, l->v->pid, l->tid, "GET_RSEQ_CONFIGURATION", 0);

	if (!rc)
		*ret = conf.rseq_abi_pointer;
	return rc;
}

bool trace_has_pending(struct lwp *l, int sig)
{
	struct __ptrace_peeksiginfo_args args = { .off = 0, .flags = 0, .nr = 16 };
	siginfo_t si[16];
	long n = ptrace(PTRACE_PEEKSIGINFO, l->tid, &args, si);

	done(n < 0 ? n : 0, l->v->pid, l->tid, "PEEKSIGINFO", sig);
	for (long i = 0; i < n; i++)
		if (si[i].si_signo == sig)
			return true;
	return false;
}

int trace_getmask(struct lwp *l, uint64_t *ret)
{
	return done(ptrace(PTRACE_GETSIGMASK, l->tid, sizeof(*ret), ret), l->v->pid,
		    l->tid, "GETSIGMASK", 0);
}

int trace_setmask(struct lwp *l, uint64_t mask)
{
	return done(ptrace(PTRACE_SETSIGMASK, l->tid, sizeof(mask), &mask), l->v->pid,
		    l->tid, "SETSIGMASK", (long)mask);
}

int trace_message(struct lwp *l, unsigned long *ret)
{
	return done(ptrace(PTRACE_GETEVENTMSG, l->tid, 0, ret), l->v->pid, l->tid,
		    "GETEVENTMSG", 0);
}

int trace_options(struct lwp *l, unsigned options)
{
	return done(ptrace(PTRACE_SETOPTIONS, l->tid, 0, (long)options), l->v->pid,
		    l->tid, "SETOPTIONS", options);
}

/* Writes text of a stopped thread a word at a time; for when /proc/TID/mem cannot be
 * had. */
int trace_poke(pid_t tid, uint64_t addr, const void *bytes, size_t len)
{
	const uint8_t *src = bytes;

	for (size_t i = 0; i < len; i++) {
		uint64_t at = (addr + i) & ~7ull;
		long word;
		int rc;

		errno = 0;
		word = ptrace(PTRACE_PEEKTEXT, tid, at, 0);
		if (errno)
			return -errno;
		((uint8_t *)&word)[(addr + i) & 7] = src[i];
		rc = done(ptrace(PTRACE_POKETEXT, tid, at, word), tid, tid, "POKETEXT",
			  (long)at);
		if (rc)
			return rc;
	}
	return 0;
}
