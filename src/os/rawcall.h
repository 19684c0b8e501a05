/* SPDX-License-Identifier: MIT */
/*
 * System calls without the C library, for the few instructions that run between clone(2)
 * and execve(2) in memory shared with the parent: no errno, no locks, no interposed
 * wrapper of a sanitizer, no lazy binding. Every call returns a value or a negative
 * errno.
 */
#ifndef PGRAB_OS_RAWCALL_H
#define PGRAB_OS_RAWCALL_H

#include <stdint.h>
#include <sys/syscall.h>

/* For functions that run in such a child: nothing of a sanitizer may be called there. */
#if defined(__has_attribute) && __has_attribute(disable_sanitizer_instrumentation)
#define RAWCALL_CHILD                                                                    \
	__attribute__((disable_sanitizer_instrumentation, no_stack_protector, noinline))
#else
#define RAWCALL_CHILD                                                                    \
	__attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined,   \
		       noinline))
#endif

#define RAWCALL_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)

RAWCALL_INLINE long rawcall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

/*
 * clone(2): the child calls fn(arg) on the stack that ends at `top` (16 bytes aligned)
 * and exits with what it returns. ptid is where CLONE_PIDFD puts the descriptor. Returns
 * in the parent only: the child's pid or a negative errno.
 */
RAWCALL_INLINE long rawcall_clone(unsigned long flags, void *top, int *ptid,
				  int (*fn)(void *), void *arg)
{
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	register int (*r12)(void *) __asm__("r12") = fn;
	register void *r13 __asm__("r13") = arg;
	long ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r13, %%rdi\n\t"
			 "call *%%r12\n\t"
			 "mov %%eax, %%edi\n\t"
			 "mov $231, %%eax\n\t" /* exit_group */
			 "syscall\n\t"
			 "ud2\n"
			 "1:"
			 : "=a"(ret)
			 : "0"((long)SYS_clone), "D"(flags), "S"(top), "d"(ptid),
			   "r"(r10), "r"(r8), "r"(r12), "r"(r13)
			 : "rcx", "r11", "memory", "cc");
	return ret;
}

#elif defined(__aarch64__)

RAWCALL_INLINE long rawcall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

/* As above; here the fourth argument of clone is tls, the fifth ctid, both unused. */
RAWCALL_INLINE long rawcall_clone(unsigned long flags, void *top, int *ptid,
				  int (*fn)(void *), void *arg)
{
	register long x8 __asm__("x8") = SYS_clone;
	register long x0 __asm__("x0") = (long)flags;
	register void *x1 __asm__("x1") = top;
	register int *x2 __asm__("x2") = ptid;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;
	register int (*x10)(void *) __asm__("x10") = fn;
	register void *x11 __asm__("x11") = arg;

	__asm__ volatile("svc #0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x29, #0\n\t"
			 "mov x0, x11\n\t"
			 "blr x10\n\t"
			 "mov x8, #94\n\t" /* exit_group */
			 "svc #0\n\t"
			 "brk #1\n"
			 "1:"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x10), "r"(x11)
			 : "memory", "cc", "x30");
	return x0;
}

#else
#error "rawcall: no system calls for this CPU"
#endif

#define rawcall0(nr)          rawcall6(nr, 0, 0, 0, 0, 0, 0)
#define rawcall1(nr, a)       rawcall6(nr, (long)(a), 0, 0, 0, 0, 0)
#define rawcall2(nr, a, b)    rawcall6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define rawcall3(nr, a, b, c) rawcall6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define rawcall4(nr, a, b, c, d)                                                         \
	rawcall6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define rawcall5(nr, a, b, c, d, e)                                                      \
	rawcall6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/* Every signal, those of the C library included: pthread_sigmask(3) leaves them out. */
RAWCALL_INLINE void rawcall_sigmask(const uint64_t *set, uint64_t *ret_old)
{
	rawcall4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, set, ret_old, sizeof(*set));
}

#endif
