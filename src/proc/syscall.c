/* SPDX-License-Identifier: MIT */
/*
 * System calls made by the victim.
 *
 * The keeper makes the call (keeper/inject.c); here the arguments are brought to the
 * victim and back. Objects lie below the red zone of the LWP's stack, if all of that can
 * be read, else in memory that the victim maps for the time. What lay there comes back:
 * below a small stack (a coroutine's) there may be somebody else's data.
 *
 * The handle's lock is not held while the call lasts: `calling` keeps a second call out,
 * and the keeper refuses to set the victim running. When the victim dies here, the
 * request says -ESRCH, and nothing is left to put back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "proc/handle.h"
#include "util/scope.h"

enum {
	MAX_ARGS = 6,
	MAX_OBJECT = 16 << 20, /* bytes */
	MAX_STACK = 16 << 10,  /* bytes of objects that are put on the stack */
	RED_ZONE = 128,        /* below SP and in use (x86-64 psABI, 3.2.2) */
	ALIGN = 16,
	END_MS = 1000,    /* waited for the event of an end that is sure */
	MAX_ERRNO = 4095, /* the kernel's results from -4095 are errors */
};

/* One call. */
struct call {
	struct ps_prochandle *P; /* whose */
	pid_t tid;               /* the LWP that makes it */
	int nr;                  /* its number */
	unsigned nargs;          /* how many arguments */
	argdes_t *argv;          /* the caller's */
	uint64_t args[MAX_ARGS]; /* as the kernel gets them */
	size_t size;             /* bytes of all objects, each aligned; 0 none */
	uint64_t base;           /* where they are in the victim */
	bool mapped;             /* base was mapped for them */
	char *saved;             /* what lay there; owned */
	int64_t ret;             /* what the kernel returned */
};

static size_t aligned(size_t size)
{
	return (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static int check_args(const argdes_t *argv, unsigned n)
{
	if (n > MAX_ARGS)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		const argdes_t *a = &argv[i];

		if (a->arg_type == AT_BYVAL)
			continue;
		if (a->arg_type != AT_BYREF || a->arg_inout < AI_INPUT ||
		    a->arg_inout > AI_INOUT || !a->arg_object || !a->arg_size ||
		    a->arg_size > MAX_OBJECT)
			return -EINVAL;
	}
	return 0;
}

/* --- the victim's memory ------------------------------------------------------------ */

static int read_all(struct ps_prochandle *P, uint64_t addr, void *buf, size_t len)
{
	ssize_t n;

	handle_lock(P);
	n = memory_read(P, addr, buf, len);
	handle_unlock(P);
	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EFAULT;
}

static int write_all(struct ps_prochandle *P, uint64_t addr, const void *buf, size_t len)
{
	struct mem m;
	ssize_t n;

	handle_lock(P);
	m = memory_seam(P);
	n = mem_write(&m, addr, buf, len);
	handle_unlock(P);
	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EFAULT;
}

/* --- room for the objects ----------------------------------------------------------- */

static int take_stack(struct call *c, uint64_t sp)
{
	uint64_t base = (sp - RED_ZONE - c->size) & ~(uint64_t)(ALIGN - 1);
	int rc;

	if (c->size > MAX_STACK || sp < RED_ZONE + c->size)
		return -E2BIG;
	c->saved = malloc(c->size);
	if (!c->saved)
		return -ENOMEM;
	rc = read_all(c->P, base, c->saved, c->size);
	if (!rc) /* it may be no stack, and read-only */
		rc = write_all(c->P, base, c->saved, c->size);
	if (rc) {
		free(scope_take(c->saved));
		return rc;
	}
	c->base = base;
	return 0;
}

static int take_mapping(struct call *c)
{
	uint64_t args[MAX_ARGS] = {
		0,
		c->size,
		PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS,
		(uint64_t)-1,
	};
	int64_t at;
	int rc = hold_syscall(c->P->hold, c->tid, 0, SYS_mmap, args, &at);

	if (rc)
		return rc;
	if (at < 0 && at >= -MAX_ERRNO)
		return (int)at;
	c->base = (uint64_t)at;
	c->mapped = true;
	return 0;
}

static void give_back(struct call *c)
{
	uint64_t args[MAX_ARGS] = { c->base, c->size };
	int64_t ret;

	if (c->mapped)
		hold_syscall(c->P->hold, c->tid, 0, SYS_munmap, args, &ret);
	else if (c->saved)
		write_all(c->P, c->base, c->saved, c->size);
	free(scope_take(c->saved));
	c->mapped = false;
}

static int take_room(struct call *c, uint64_t sp)
{
	int rc;

	c->size = 0;
	for (unsigned i = 0; i < c->nargs; i++)
		if (c->argv[i].arg_type == AT_BYREF)
			c->size += aligned(c->argv[i].arg_size);
	if (!c->size)
		return 0;
	rc = take_stack(c, sp);
	if (rc && rc != -ENOMEM && rc != -ESRCH)
		rc = take_mapping(c);
	return rc;
}

/* --- there and back ----------------------------------------------------------------- */

static int bring(struct call *c)
{
	uint64_t at = c->base;
	int rc = 0;

	for (unsigned i = 0; i < c->nargs && !rc; i++) {
		argdes_t *a = &c->argv[i];

		if (a->arg_type == AT_BYREF) {
			a->arg_value = (long)at;
			at += aligned(a->arg_size);
			if (a->arg_inout & AI_INPUT)
				rc = write_all(c->P, (uint64_t)a->arg_value,
					       a->arg_object, a->arg_size);
		}
		c->args[i] = (uint64_t)a->arg_value;
	}
	return rc;
}

static int fetch(struct call *c)
{
	int rc = 0;

	for (unsigned i = 0; i < c->nargs && !rc; i++) {
		const argdes_t *a = &c->argv[i];

		if (a->arg_type == AT_BYREF && a->arg_inout & AI_OUTPUT)
			rc = read_all(c->P, (uint64_t)a->arg_value, a->arg_object,
				      a->arg_size);
	}
	return rc;
}

/* The memory that the objects were in is another program's now. */
static bool has_execed(const struct call *c)
{
	return (c->nr == SYS_execve || c->nr == SYS_execveat) && !c->ret;
}

static int make(struct call *c)
{
	int rc = bring(c);

	if (!rc)
		rc = hold_syscall(c->P->hold, c->tid, 0, c->nr, c->args, &c->ret);
	if (rc == -ESRCH || (!rc && has_execed(c))) {
		c->mapped = false;
		free(scope_take(c->saved));
		return rc;
	}
	return rc ? rc : fetch(c);
}

/* Its memory goes before anything else does. */
static bool is_dying(struct ps_prochandle *P)
{
	uint64_t insn;
	char byte;

	return hold_syscall_insn(P->hold, &insn) || read_all(P, insn, &byte, 1);
}

/* -EAGAIN: not by this LWP. */
static int make_by(struct call *c, pid_t tid)
{
	arch_regs_t regs;
	int rc = hold_getregs(c->P->hold, tid, &regs);

	if (rc)
		return rc == -ESRCH || rc == -EBUSY ? -EAGAIN : rc;
	c->tid = tid;
	rc = take_room(c, arch_reg_get(&regs, arch_native->reg_sp));
	if (!rc) {
		rc = make(c);
		give_back(c);
	}
	if (rc == -EFAULT && is_dying(c->P))
		rc = -ESRCH;
	return rc == -EBUSY ? -EAGAIN : rc;
}

static int make_by_another(struct call *c, pid_t first)
{
	_cleanup_free_ struct hold_lwp *lwps = NULL;
	size_t n = 0;
	int rc = hold_lwps(c->P->hold, &lwps, &n);

	if (rc)
		return rc;
	rc = -EAGAIN;
	for (size_t i = 0; i < n && rc == -EAGAIN; i++)
		if (lwps[i].stopped && lwps[i].tid != first)
			rc = make_by(c, lwps[i].tid);
	return rc == -EAGAIN ? -EBUSY : rc;
}

/* --- the public call ---------------------------------------------------------------- */

static int begin(struct ps_prochandle *P, pid_t *ret_first)
{
	int rc = 0;

	handle_lock(P);
	if (!P->hold)
		rc = -EBADF;
	else if (P->state == PS_UNDEAD)
		rc = -ENOENT;
	else if (!P->allstop || P->calling)
		rc = -EBUSY;
	P->calling |= !rc;
	*ret_first = P->status.pr_lwp.pr_lwpid;
	handle_unlock(P);
	return rc;
}

/* An LWP that ends while the others stand takes the process with it, but by exit(2). */
static bool is_over(const struct call *c)
{
	_cleanup_free_ struct hold_lwp *lwps = NULL;
	size_t n = 0;

	return c->nr != SYS_exit || hold_lwps(c->P->hold, &lwps, &n) || !n;
}

static bool end_is_seen(struct ps_prochandle *P, void *arg)
{
	(void)arg;
	return P->state == PS_UNDEAD || P->state == PS_LOST;
}

/* Mappings may have changed; the victim may have died or exec'd, which an event says; the
 * PC is another when the LWP stood in a restartable sequence. */
static void finish(const struct call *c, int rc)
{
	struct ps_prochandle *P = c->P;
	lwpstatus_t *l = &P->status.pr_lwp;
	arch_regs_t regs;
	bool over = rc == -ESRCH && is_over(c);

	handle_lock(P);
	P->calling = false;
	P->image_old = true;
	if (P->allstop && !hold_getregs(P->hold, l->pr_lwpid, &regs))
		memcpy(&l->pr_reg, &regs, sizeof(l->pr_reg));
	if (over)
		drive_wait(P, end_is_seen, NULL, END_MS);
	else if (!P->driven && !P->polling)
		drive_poll(P);
	handle_unlock(P);
}

static int convert(int rc, int64_t ret, sysret_t *to)
{
	if (rc == -ENOENT) /* there is no such instruction */
		rc = -EFAULT;
	if (rc)
		return handle_fail(rc == -ESRCH ? -ENOENT : rc);
	if (ret < 0 && ret >= -MAX_ERRNO)
		return (int)-ret;
	if (to)
		*to = (sysret_t){ .sys_rval1 = (long)ret };
	return 0;
}

int Psyscall(struct ps_prochandle *P, sysret_t *ret, int nr, unsigned nargs,
	     argdes_t *args)
{
	struct call c = { .P = P, .nr = nr, .nargs = nargs, .argv = args };
	int rc = check_args(args, nargs);
	pid_t first;

	if (!rc)
		rc = begin(P, &first);
	if (rc)
		return handle_fail(rc);
	rc = make_by(&c, first);
	if (rc == -EAGAIN)
		rc = make_by_another(&c, first);
	finish(&c, rc);
	return convert(rc, c.ret, ret);
}

/* --- its instruction ---------------------------------------------------------------- */

int Pissyscall(struct ps_prochandle *P, uintptr_t addr)
{
	const struct arch *a = arch_native;
	uint8_t bytes[ARCH_TRAP_MAX];

	return !read_all(P, addr, bytes, a->sys_len) &&
	       !memcmp(bytes, a->sys_insn, a->sys_len);
}

int Pissyscall_prev(struct ps_prochandle *P, uintptr_t addr, uintptr_t *dst)
{
	uintptr_t at = addr - arch_native->sys_len;

	if (!Pissyscall(P, at))
		return 0;
	if (dst)
		*dst = at;
	return 1;
}
