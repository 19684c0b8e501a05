/* SPDX-License-Identifier: MIT */
/*
 * The system calls that a client has its victim make, by name: each describes its
 * arguments and leaves the rest to Psyscall(). Structures are the kernel's where they
 * differ from the C library's (sigaction).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "libproc.h"

enum {
	MAX_IO = 16 << 20, /* bytes read or written at once */
	NSIGNALS = 64,
};

static argdes_t value(long v)
{
	return (argdes_t){ .arg_value = v, .arg_type = AT_BYVAL };
}

static argdes_t object(void *p, size_t size, char way)
{
	return (argdes_t){
		.arg_object = p, .arg_size = size, .arg_type = AT_BYREF, .arg_inout = way
	};
}

static argdes_t input(const void *p, size_t size)
{
	return p ? object((void *)(uintptr_t)p, size, AI_INPUT) : value(0);
}

static argdes_t output(void *p, size_t size)
{
	return p ? object(p, size, AI_OUTPUT) : value(0);
}

static argdes_t string(const char *s)
{
	return input(s, s ? strlen(s) + 1 : 0);
}

static argdes_t address(const void *p)
{
	return value((long)(uintptr_t)p);
}

/* The result, or -1 with errno. */
static long call(struct ps_prochandle *P, int nr, unsigned n, argdes_t *args)
{
	sysret_t ret;
	int rc = Psyscall(P, &ret, nr, n, args);

	if (rc > 0)
		errno = rc;
	return rc ? -1 : ret.sys_rval1;
}

#define NARGS(...) (sizeof((argdes_t[]){ __VA_ARGS__ }) / sizeof(argdes_t))
#define CALL(P, nr, ...)                                                                 \
	call(P, nr, (unsigned)NARGS(__VA_ARGS__), (argdes_t[]){ __VA_ARGS__ })

/* --- files -------------------------------------------------------------------------- */

int pr_open(struct ps_prochandle *P, const char *path, int flags, mode_t mode)
{
	return (int)CALL(P, SYS_openat, value(AT_FDCWD), string(path), value(flags),
			 value((long)mode));
}

int pr_creat(struct ps_prochandle *P, const char *path, mode_t mode)
{
	return pr_open(P, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int pr_close(struct ps_prochandle *P, int fd)
{
	return (int)CALL(P, SYS_close, value(fd));
}

int pr_access(struct ps_prochandle *P, const char *path, int mode)
{
	return (int)CALL(P, SYS_faccessat, value(AT_FDCWD), string(path), value(mode));
}

static size_t at_once(size_t len)
{
	return len < MAX_IO ? len : MAX_IO;
}

ssize_t pr_read(struct ps_prochandle *P, int fd, void *buf, size_t len)
{
	len = at_once(len);
	return CALL(P, SYS_read, value(fd), len ? object(buf, len, AI_INOUT) : value(0),
		    value((long)len));
}

ssize_t pr_write(struct ps_prochandle *P, int fd, const void *buf, size_t len)
{
	len = at_once(len);
	return CALL(P, SYS_write, value(fd), input(len ? buf : NULL, len),
		    value((long)len));
}

off_t pr_lseek(struct ps_prochandle *P, int fd, off_t offset, int whence)
{
	return CALL(P, SYS_lseek, value(fd), value(offset), value(whence));
}

static int stat_at(struct ps_prochandle *P, const char *path, struct stat *buf, int flags)
{
	return (int)CALL(P, SYS_newfstatat, value(AT_FDCWD), string(path),
			 output(buf, sizeof(*buf)), value(flags));
}

int pr_stat(struct ps_prochandle *P, const char *path, struct stat *buf)
{
	return stat_at(P, path, buf, 0);
}

int pr_lstat(struct ps_prochandle *P, const char *path, struct stat *buf)
{
	return stat_at(P, path, buf, AT_SYMLINK_NOFOLLOW);
}

int pr_fstat(struct ps_prochandle *P, int fd, struct stat *buf)
{
	return (int)CALL(P, SYS_fstat, value(fd), output(buf, sizeof(*buf)));
}

int pr_rename(struct ps_prochandle *P, const char *from, const char *to)
{
	return (int)CALL(P, SYS_renameat2, value(AT_FDCWD), string(from), value(AT_FDCWD),
			 string(to), value(0));
}

int pr_link(struct ps_prochandle *P, const char *from, const char *to)
{
	return (int)CALL(P, SYS_linkat, value(AT_FDCWD), string(from), value(AT_FDCWD),
			 string(to), value(0));
}

int pr_unlink(struct ps_prochandle *P, const char *path)
{
	return (int)CALL(P, SYS_unlinkat, value(AT_FDCWD), string(path), value(0));
}

/* fcntl(2): what the third argument is. */
static argdes_t fcntl_argument(int cmd, void *arg)
{
	switch (cmd) {
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return object(arg, sizeof(struct flock), AI_INOUT);
	case F_GETOWN_EX:
	case F_SETOWN_EX:
		return object(arg, sizeof(struct f_owner_ex), AI_INOUT);
	case F_GET_RW_HINT:
	case F_SET_RW_HINT:
		return object(arg, sizeof(uint64_t), AI_INOUT);
	default:
		return address(arg);
	}
}

int pr_fcntl(struct ps_prochandle *P, int fd, int cmd, void *arg)
{
	return (int)CALL(P, SYS_fcntl, value(fd), value(cmd), fcntl_argument(cmd, arg));
}

int pr_ioctl(struct ps_prochandle *P, int fd, unsigned long code, void *arg, size_t size)
{
	return (int)CALL(P, SYS_ioctl, value(fd), value((long)code),
			 size ? object(arg, size, AI_INOUT) : address(arg));
}

/* --- memory ------------------------------------------------------------------------- */

void *pr_mmap(struct ps_prochandle *P, void *addr, size_t len, int prot, int flags,
	      int fd, off_t offset)
{
	long at = CALL(P, SYS_mmap, address(addr), value((long)len), value(prot),
		       value(flags), value(fd), value(offset));

	return at == -1 ? MAP_FAILED : (void *)at;
}

int pr_munmap(struct ps_prochandle *P, void *addr, size_t len)
{
	return (int)CALL(P, SYS_munmap, address(addr), value((long)len));
}

int pr_mprotect(struct ps_prochandle *P, void *addr, size_t len, int prot)
{
	return (int)CALL(P, SYS_mprotect, address(addr), value((long)len), value(prot));
}

/* --- signals ------------------------------------------------------------------------ */

/* The kernel's struct sigaction (arch/x86/include/uapi/asm/signal.h, and arm64's). */
struct kernel_action {
	uintptr_t handler;   /* or SIG_DFL, SIG_IGN */
	unsigned long flags; /* SA_* */
	uintptr_t restorer;  /* code that makes rt_sigreturn(2); with HAS_RESTORER */
	uint64_t mask;       /* blocked in the handler */
};

#define HAS_RESTORER 0x04000000ul /* SA_RESTORER */

/* x86-64 has no code of the kernel's to return from a handler with. */
#if defined(__x86_64__)
enum {
	NEEDS_RESTORER = 1
};
#else
enum {
	NEEDS_RESTORER = 0
};
#endif

static int action(struct ps_prochandle *P, int sig, const struct kernel_action *act,
		  struct kernel_action *old)
{
	return (int)CALL(P, SYS_rt_sigaction, value(sig), input(act, sizeof(*act)),
			 output(old, sizeof(*old)), value(sizeof(act->mask)));
}

/* The C library uses one restorer for all: that of any handler of the victim's. */
static int find_restorer(struct ps_prochandle *P, struct kernel_action *act)
{
	struct kernel_action old;

	for (int sig = 1; sig <= NSIGNALS; sig++) {
		if (action(P, sig, NULL, &old))
			return -1;
		if (!(old.flags & HAS_RESTORER))
			continue;
		act->flags |= HAS_RESTORER;
		act->restorer = old.restorer;
		return 0;
	}
	errno = EINVAL;
	return -1;
}

static void to_kernel(const struct sigaction *from, struct kernel_action *to)
{
	*to = (struct kernel_action){
		.handler = (uintptr_t)from->sa_handler,
		.flags = (unsigned)from->sa_flags,
		.restorer = (uintptr_t)from->sa_restorer,
	};
	memcpy(&to->mask, &from->sa_mask, sizeof(to->mask));
}

static void from_kernel(const struct kernel_action *from, struct sigaction *to)
{
	memset(to, 0, sizeof(*to));
	to->sa_handler = (__sighandler_t)from->handler;
	to->sa_flags = (int)from->flags;
	to->sa_restorer = (void (*)(void))from->restorer;
	memcpy(&to->sa_mask, &from->mask, sizeof(from->mask));
}

static int needs_restorer(const struct kernel_action *act)
{
	return NEEDS_RESTORER && act->handler != (uintptr_t)SIG_DFL &&
	       act->handler != (uintptr_t)SIG_IGN && !(act->flags & HAS_RESTORER);
}

int pr_sigaction(struct ps_prochandle *P, int sig, const struct sigaction *act,
		 struct sigaction *oact)
{
	struct kernel_action new, old;

	if (act) {
		to_kernel(act, &new);
		if (needs_restorer(&new) && find_restorer(P, &new))
			return -1;
	}
	if (action(P, sig, act ? &new : NULL, oact ? &old : NULL))
		return -1;
	if (oact)
		from_kernel(&old, oact);
	return 0;
}

/* --- the process -------------------------------------------------------------------- */

int pr_getrlimit(struct ps_prochandle *P, int resource, struct rlimit *limit)
{
	return (int)CALL(P, SYS_prlimit64, value(0), value(resource), value(0),
			 output(limit, sizeof(*limit)));
}

int pr_setrlimit(struct ps_prochandle *P, int resource, const struct rlimit *limit)
{
	return (int)CALL(P, SYS_prlimit64, value(0), value(resource),
			 input(limit, sizeof(*limit)), value(0));
}

pid_t pr_getpid(struct ps_prochandle *P)
{
	return (pid_t)call(P, SYS_getpid, 0, NULL);
}

int pr_waitid(struct ps_prochandle *P, int idtype, id_t id, siginfo_t *info, int options)
{
	return (int)CALL(P, SYS_waitid, value(idtype), value((long)id),
			 info ? object(info, sizeof(*info), AI_INOUT) : value(0),
			 value(options), value(0));
}

/* It does not come back. */
static int end(struct ps_prochandle *P, int nr, int status)
{
	if (CALL(P, nr, value(status)) == -1 && errno == ENOENT)
		return 0;
	return -1;
}

int pr_exit(struct ps_prochandle *P, int status)
{
	return end(P, SYS_exit_group, status);
}

int pr_lwp_exit(struct ps_prochandle *P)
{
	return end(P, SYS_exit, 0);
}
