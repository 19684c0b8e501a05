/* SPDX-License-Identifier: MIT */
/*
 * libproc for Linux: a handle on a process. Names, flags and signatures follow
 * libproc(3LIB). Part of libpgrab (pkg-config: pgrab).
 *
 * For every function unless it says otherwise:
 *  - any thread may call it on any handle; calls on one handle are serialised inside.
 *    Data that a function *lends* (a `const` pointer into the handle) stays valid until
 *    the next call that changes what it describes; hold dt_proc_lock(), or be the only
 *    user, to rely on it;
 *  - it does not block but for a round trip to the keeper (tens of microseconds);
 *  - a read-only handle never touches its victim; what needs control fails on it with
 *    EBADF;
 *  - functions that return int answer 0, or -1 with errno set.
 */
#ifndef PGRAB_LIBPROC_H
#define PGRAB_LIBPROC_H

#include <elf.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/procfs.h>
#include <sys/types.h>
#include <time.h>

#include "rtld_db.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef Elf64_Sym GElf_Sym;     /* as in <gelf.h> */
typedef Elf64_auxv_t auxv_t;    /* one entry of the auxiliary vector */
typedef unsigned long prgreg_t; /* one register */

struct ps_prochandle; /* the handle */

/* --- states and flags ------------------------------------------------------------- */

#define PS_RUN    1 /* running */
#define PS_STOP   2 /* stopped, by us or by somebody else */
#define PS_LOST   3 /* no longer under control */
#define PS_UNDEAD 4 /* a zombie, or gone */
#define PS_DEAD   5 /* a core file */
#define PS_IDLE   6 /* an ELF file */

#define PGRAB_RETAIN 0x01 /* accepted; Linux keeps no tracing flags between holders */
#define PGRAB_FORCE  0x02 /* accepted; Linux cannot share a victim with another tracer */
#define PGRAB_RDONLY 0x04 /* read-only: no ptrace, no stop, no keeper */
#define PGRAB_NOSTOP 0x08 /* take control without leaving it stopped */

#define PRELEASE_CLEAR  0x10 /* clear what is traced; run on */
#define PRELEASE_RETAIN 0x20 /* the same on Linux */
#define PRELEASE_HANG   0x40 /* leave it stopped (SIGSTOP), without us */
#define PRELEASE_KILL   0x80 /* kill it; a child of ours is reaped */

#define PR_RLC 0x1000 /* Psetflags: run on last close */
#define PR_KLC 0x2000 /* Psetflags: kill on last close */

/* pr_flags of a status. */
#define PR_STOPPED 0x01 /* stopped */
#define PR_ISTOP   0x02 /* on an event of interest */
#define PR_DSTOP   0x04 /* a stop has been asked for */
#define PR_STEP    0x08 /* single-stepping */
#define PR_PTRACE  0x10 /* somebody else traces it (read-only handles) */

/* pr_why: why an LWP stopped; pr_what tells more. */
#define PR_REQUESTED  1 /* by Pstop or a grab; 0 */
#define PR_SIGNALLED  2 /* on a traced signal; the signal */
#define PR_SYSENTRY   3 /* entering a traced system call; its number */
#define PR_SYSEXIT    4 /* leaving one; its number (execve at a create) */
#define PR_JOBCONTROL 5 /* by job control; the signal */
#define PR_FAULTED    6 /* on a traced fault; the fault */

/* Faults. */
#define FLTILL    1  /* illegal instruction (SIGILL) */
#define FLTBPT    3  /* breakpoint (SIGTRAP) */
#define FLTTRACE  4  /* single step done (SIGTRAP) */
#define FLTACCESS 5  /* bad address (SIGSEGV, SEGV_ACCERR) */
#define FLTBOUNDS 6  /* bad address (SIGSEGV, SEGV_MAPERR) */
#define FLTIZDIV  8  /* integer division by zero (SIGFPE) */
#define FLTFPE    9  /* floating point (SIGFPE) */
#define FLTWATCH  12 /* watchpoint (pr_info.si_addr: the watched address) */
#define FLTMAX    13 /* one more than the highest fault */

/* Register indexes in a prgregset_t. */
#if defined(__x86_64__)
#define R_PC  16 /* rip */
#define R_SP  19 /* rsp */
#define R_FP  4  /* rbp */
#define R_RET 10 /* rax */
#elif defined(__aarch64__)
#define R_PC  32
#define R_SP  31
#define R_FP  29
#define R_RET 0
#endif

/* Why a create or a grab failed: *perr. Positive values are errnos. */
#define G_STRANGE (-1)  /* reason unknown */
#define G_NOPROC  (-2)  /* no such process */
#define G_ZOMB    (-3)  /* it is a zombie */
#define G_PERM    (-4)  /* no permission */
#define G_BUSY    (-5)  /* another process traces it */
#define G_SYS     (-6)  /* a kernel thread */
#define G_SELF    (-7)  /* that is ourselves, or our keeper: read-only only */
#define G_INTR    (-8)  /* it did not stop within the deadline */
#define G_KEEPER  (-9)  /* the keeper cannot be started or has died */
#define G_NOFD    (-10) /* the descriptor table is full */
#define G_NOEXEC  (-11) /* create: the file is not executable; see errno */
#define G_DIED    (-12) /* create: it ended before it could be held */
#define G_NOARG   (-13) /* proc_arg_*: not a process id */
#define G_NOCORE  (-14) /* no such file */
#define G_ELF     (-15) /* not a core, or not an ELF file, or a damaged one */
#define G_AOUT    (-16) /* not the program that the core is of */

/* --- data ------------------------------------------------------------------------- */

/* One LWP. */
typedef struct lwpstatus {
	int pr_flags;              /* PR_STOPPED … */
	lwpid_t pr_lwpid;          /* thread id */
	short pr_why;              /* PR_REQUESTED … when stopped */
	short pr_what;             /* more of it */
	short pr_cursig;           /* signal that a run would deliver; 0 none */
	siginfo_t pr_info;         /* of pr_cursig; si_signo 0 when not known */
	struct timespec pr_tstamp; /* CLOCK_REALTIME of the stop */
	prgregset_t pr_reg;        /* registers; zero unless stopped under control */
} lwpstatus_t;

/* A process and its representative LWP (the one that an event stopped). */
typedef struct pstatus {
	int pr_flags;       /* of the representative LWP, with PR_KLC PR_RLC */
	int pr_nlwp;        /* LWPs */
	pid_t pr_pid;       /* process */
	pid_t pr_ppid;      /* parent */
	pid_t pr_pgid;      /* process group */
	pid_t pr_sid;       /* session */
	int pr_exitstatus;  /* wait(2) status once PS_UNDEAD; -1 when not known */
	lwpstatus_t pr_lwp; /* representative LWP */
} pstatus_t;

#define PRFNSZ  16 /* bytes of pr_fname */
#define PRARGSZ 80 /* bytes of pr_psargs */

/* What anybody may know of a process. */
typedef struct psinfo {
	pid_t pr_pid, pr_ppid, pr_pgid, pr_sid; /* ids */
	uid_t pr_uid, pr_euid;                  /* user, real and effective */
	gid_t pr_gid, pr_egid;                  /* group, real and effective */
	int pr_nlwp;                            /* LWPs */
	char pr_sname;            /* state as ps(1) prints it: R S D T t Z I */
	int pr_kthread;           /* 1: a kernel thread */
	pid_t pr_tracer;          /* who traces it; 0 nobody */
	size_t pr_size;           /* address space, KiB */
	size_t pr_rssize;         /* resident, KiB */
	unsigned long pr_ttydev;  /* controlling terminal; 0 none */
	struct timespec pr_start; /* start, since the epoch */
	struct timespec pr_time;  /* CPU time, user and system */
	uint64_t pr_starttime;    /* clock ticks after boot: with pr_pid the identity */
	int pr_nice;              /* nice value */
	int pr_wstat;             /* wait(2) status of a zombie */
	char pr_fname[PRFNSZ];    /* name */
	char pr_psargs[PRARGSZ];  /* beginning of the argument list */
} psinfo_t;

#define MA_READ   0x04 /* pr_mflags */
#define MA_WRITE  0x02
#define MA_EXEC   0x01
#define MA_SHARED 0x08
#define MA_ANON   0x40 /* no file */

/* One mapping. */
typedef struct prmap {
	uintptr_t pr_vaddr;                  /* first address */
	size_t pr_size;                      /* bytes */
	off_t pr_offset;                     /* in the file, bytes */
	int pr_mflags;                       /* MA_* */
	unsigned pr_dev_major, pr_dev_minor; /* of the file */
	uint64_t pr_inode;                   /* 0: none */
} prmap_t;

#define PR_OBJ_EXEC  ((const char *)0)  /* the program, as an object name */
#define PR_OBJ_LDSO  ((const char *)1)  /* the dynamic linker */
#define PR_OBJ_EVERY ((const char *)-1) /* every object */
#ifndef LM_ID_BASE
#define LM_ID_BASE 0
#endif
#define PR_LMID_EVERY ((Lmid_t)-1) /* every namespace */

#define PR_SYMTAB 1 /* .symtab */
#define PR_DYNSYM 2 /* .dynsym */

#define BIND_LOCAL  0x01 /* Psymbol_iter masks */
#define BIND_GLOBAL 0x02
#define BIND_WEAK   0x04
#define BIND_ANY    (BIND_LOCAL | BIND_GLOBAL | BIND_WEAK)
#define TYPE_NOTYPE 0x0100
#define TYPE_OBJECT 0x0200
#define TYPE_FUNC   0x0400
#define TYPE_SECT   0x0800
#define TYPE_FILE   0x1000
#define TYPE_ANY    (TYPE_NOTYPE | TYPE_OBJECT | TYPE_FUNC | TYPE_SECT | TYPE_FILE)

/* Where a symbol was found. The strings stay valid until the handle's maps are next
 * refreshed. */
typedef struct prsyminfo {
	const char *prs_object; /* path of the object */
	const char *prs_name;   /* name of the symbol */
	Lmid_t prs_lmid;        /* namespace */
	unsigned prs_id;        /* index in the table */
	unsigned prs_table;     /* PR_SYMTAB or PR_DYNSYM */
} prsyminfo_t;

/* --- create, grab, release -------------------------------------------------------- */

/*
 * Creates a process and holds it, stopped at its first instruction after exec.
 * file: searched in PATH when it has no slash; argv: NULL-terminated, copied by exec.
 * perr: on failure a G_* code or an errno (borrowed). path, len: when path is not NULL
 * it gets the file that was executed (at most len bytes, terminated). Returns a handle
 * that the caller ends with Prelease(), kill-on-last-close set; NULL on failure, when
 * no child is left. Blocks until the exec; the child is the caller's child.
 * Pcreate(3PROC).
 */
struct ps_prochandle *Pcreate(const char *file, char *const *argv, int *perr, char *path,
			      size_t len);

/* The same with an environment (NULL: the caller's). Pxcreate(3PROC). */
struct ps_prochandle *Pxcreate(const char *file, char *const *argv, char *const *envp,
			       int *perr, char *path, size_t len);

/* The text of a *perr of Pcreate: a static or thread-local string, never NULL. */
const char *Pcreate_error(int err);

/*
 * Takes hold of the process pid. flags: PGRAB_*; with PGRAB_RDONLY it is never touched,
 * else every thread is attached and stopped (PGRAB_NOSTOP: attached, running),
 * run-on-last-close set. perr: G_* or an errno. Returns a handle for Prelease(), or
 * NULL, the process as it was. Blocks until every thread stands, 5 s at most (G_INTR);
 * a process that was stopped before is left stopped at release. Pgrab(3PROC).
 */
struct ps_prochandle *Pgrab(pid_t pid, int flags, int *perr);

/* The text of a *perr of Pgrab: a static or thread-local string, never NULL. */
const char *Pgrab_error(int err);

/* After a failed Pgrab, Pgrab_core, Pgrab_file or Pcreate of this thread: the sentence
 * with its particulars (who traces it, what was waited for); thread-local, never NULL.
 * Linux addition. */
const char *Pgrab_detail(void);

/*
 * A handle on a core file, state PS_DEAD: what only looks works as on a process, memory
 * that was not dumped coming from the files that were mapped, where they are still the
 * ones (build-id); what controls fails with EBADF. Cores of the kernel, of gdb and of
 * Pgcore(), of x86-64 and aarch64, on either; of the other CPU there are no prgregset_t:
 * Plwp_getregs() fails with ENOTSUP. aout: where its program lies, if not where the core
 * says, or NULL; another program is G_AOUT, unless gflag has PGRAB_FORCE. perr: G_* or an
 * errno. NULL on failure. Pgrab_detail() has the particulars, also on success, when the
 * core is cut short. Reads headers and notes; blocks as the file does. End it with
 * Prelease(). Pgrab_core(3PROC).
 */
struct ps_prochandle *Pgrab_core(const char *core, const char *aout, int gflag,
				 int *perr);

/* The same of an open file, which is borrowed. Pfgrab_core(3PROC). */
struct ps_prochandle *Pfgrab_core(int fd, const char *aout, int *perr);

/*
 * A handle on an ELF file, program or library, state PS_IDLE: its segments are the
 * mappings, at its own addresses; there are symbols and memory, no LWPs. As Pgrab_core().
 * Pgrab_file(3PROC).
 */
struct ps_prochandle *Pgrab_file(const char *file, int *perr);

/* What of a process Pgcore() dumps: bits of /proc/PID/coredump_filter (core(5)). */
#define PGCORE_ANON        0x01 /* private memory that it has written */
#define PGCORE_ANON_SHARED 0x02 /* shared memory without a file */
#define PGCORE_FILE        0x04 /* private mappings of files, unchanged */
#define PGCORE_FILE_SHARED 0x08 /* shared mappings of files */
#define PGCORE_HEADERS     0x10 /* first pages of ELF files */
#define PGCORE_HUGE        0x20 /* private huge pages */
#define PGCORE_HUGE_SHARED 0x40 /* shared huge pages */
#define PGCORE_ALL         0x7f /* all of these */

/*
 * Writes a core of the victim, which must be stopped under control (EBUSY; EBADF on what
 * is read-only), to a new file at path, mode 0600: threads with all their registers,
 * siginfo of the signals that they stopped on, mapped files, memory without our
 * breakpoints. content: PGCORE_*, or 0: as its coredump_filter says. Pages that it never
 * had, and zeros, are holes. -1 with errno: EEXIST there is a file at path; ENOSPC,
 * EFBIG, EDQUOT … of write(2); ENOMEM; ESRCH it has ended meanwhile. On failure, and
 * should the caller be killed, no file is left where the file system has O_TMPFILE
 * (open(2)); elsewhere one is left only by a kill. Blocks as long as the copy takes, and
 * the victim stands as long. Pgcore(3PROC).
 */
int Pgcore(struct ps_prochandle *P, const char *path, int content);

/* The same into the empty file open at fd, which is borrowed. Linux addition. */
int Pfgcore(struct ps_prochandle *P, int fd, int content);

/*
 * Reopens the victim of a handle that was lost in an exec, if it may now be read. 0, or
 * -1. Preopen(3PROC).
 */
int Preopen(struct ps_prochandle *P);

/*
 * Ends a handle: breakpoints lifted, threads detached, the victim left as flags says (0:
 * killed when kill-on-last-close is set, else run on, stopped if it was stopped before
 * the grab). Synchronous: on return the victim is in its final state. Frees P.
 * Prelease(3PROC).
 */
void Prelease(struct ps_prochandle *P, int flags);

/* Frees a handle without looking after its victim: as when the client were to close its
 * descriptors (last-close flags apply). Pfree(3PROC). */
void Pfree(struct ps_prochandle *P);

/* --- state ------------------------------------------------------------------------ */

/* PS_RUN … of the victim as last seen. */
int Pstate(struct ps_prochandle *P);

/* The process id. */
pid_t Pgetpid(struct ps_prochandle *P);

/* Refreshes and lends the status; NULL with errno when the process is gone and left
 * none. It is P's own: calls on P change it, and in a session the control thread does
 * when it learns of something, up to the process's end. So it is read where nothing
 * happens: in a hook, while all is stopped, or after the notice of the end. */
const pstatus_t *Pstatus(struct ps_prochandle *P);

/* Refreshes and lends the psinfo; NULL when the process is gone. */
const psinfo_t *Ppsinfo(struct ps_prochandle *P);

/* The control descriptor: polls readable when an event waits (a stop, an exit). -1
 * read-only. Owned by the handle: do not read or close it. */
int Pctlfd(struct ps_prochandle *P);

#define PCNULL  0 /* Pstopstatus: only refresh */
#define PCSTOP  1 /* ask for a stop and wait */
#define PCDSTOP 2 /* ask for a stop */
#define PCWSTOP 3 /* wait for a stop */

/*
 * Asks and waits by `request` (PC*). msec: the longest wait, 0 forever. Returns 0 when
 * done or the time is up (Pstate tells), -1 when the victim died or was lost (ENOENT;
 * EAGAIN: lost). A client may hold dt_proc_lock() across it but then blocks the control
 * thread. Pstopstatus(3PROC).
 */
int Pstopstatus(struct ps_prochandle *P, long request, unsigned msec);

int Pwait(struct ps_prochandle *P, unsigned msec); /* Pstopstatus(P, PCWSTOP, msec) */
int Pstop(struct ps_prochandle *P, unsigned msec); /* Pstopstatus(P, PCSTOP, msec) */
int Pdstop(struct ps_prochandle *P);               /* Pstopstatus(P, PCDSTOP, 0) */

#define PRCSIG   0x01 /* Psetrun: do not deliver the signal that it stopped on */
#define PRCFAULT 0x02 /* forget the fault */
#define PRSTEP   0x04 /* run one instruction of the representative LWP, then stop */
#define PRSTOP   0x20 /* ask for a stop at once */

/*
 * Sets the stopped victim running, delivering sig (0: the signal that it stopped on, if
 * any). An LWP that stands on a breakpoint passes it without a hit. -1 EBUSY: not
 * stopped. Psetrun(3PROC).
 */
int Psetrun(struct ps_prochandle *P, int sig, int flags);

/* Writes changed registers back and refreshes what the handle knows. Psync(3PROC). */
void Psync(struct ps_prochandle *P);

/* Sets or clears last-close flags: PR_KLC, PR_RLC (each excludes the other). */
int Psetflags(struct ps_prochandle *P, long flags);
int Punsetflags(struct ps_prochandle *P, long flags);

/* Forgets the signal, or the fault, that the representative LWP stopped on. -1 EBUSY:
 * not stopped. */
int Pclearsig(struct ps_prochandle *P);
int Pclearfault(struct ps_prochandle *P);

/*
 * Traces a signal (sig 0: all) or a fault: when it happens, the victim stops
 * (PR_SIGNALLED, PR_FAULTED). stop: 1 from now on, 0 no longer. Return what was set
 * before, -1 on failure.
 */
int Psignal(struct ps_prochandle *P, int sig, int stop);
int Pfault(struct ps_prochandle *P, int fault, int stop);

/* --- memory, registers, breakpoints ----------------------------------------------- */

/* Reads len bytes at addr; returns how many (short where memory ends), -1 when none. Our
 * breakpoints do not show. */
ssize_t Pread(struct ps_prochandle *P, void *buf, size_t len, uintptr_t addr);

/* Reads a string of less than size bytes; its length, -1 when it cannot be read.
 * Terminates buf. */
ssize_t Pread_string(struct ps_prochandle *P, char *buf, size_t size, uintptr_t addr);

/* Writes; returns how many bytes, -1 when none. Breakpoints in the range stay planted
 * over the new text. */
ssize_t Pwrite(struct ps_prochandle *P, const void *buf, size_t len, uintptr_t addr);

/* One register (R_*) of the representative LWP, stopped: read, or set (written at
 * once). */
int Pgetareg(struct ps_prochandle *P, int reg, prgreg_t *value);
int Pputareg(struct ps_prochandle *P, int reg, prgreg_t value);

/*
 * Plants a breakpoint: a hit stops the victim, PR_FAULTED and FLTBPT, its PC at addr.
 * *saved gets the program's own instruction, for Pdelbkpt and Pxecbkpt. -1 EEXIST there
 * is one, EFAULT.
 */
int Psetbkpt(struct ps_prochandle *P, uintptr_t addr, unsigned long *saved);

/* Removes it. */
int Pdelbkpt(struct ps_prochandle *P, uintptr_t addr, unsigned long saved);

/* With the representative LWP at a breakpoint: gets it past and leaves the victim
 * stopped, one instruction further. */
int Pxecbkpt(struct ps_prochandle *P, unsigned long saved);

/* A watched range of memory. */
typedef struct prwatch {
	uintptr_t pr_vaddr; /* first byte; a multiple of pr_size, but for WA_EXEC */
	size_t pr_size;     /* bytes: 1, 2, 4 or 8; of no meaning with WA_EXEC */
	int pr_wflags;      /* WA_* */
} prwatch_t;

#define WA_EXEC      0x01 /* about to execute the instruction at pr_vaddr; alone */
#define WA_WRITE     0x02 /* a write; the bytes may be the same as before */
#define WA_READ      0x04 /* a read; x86 cannot tell it from a write: that hits too */
#define WA_TRAPAFTER 0x08 /* taken and ignored: WA_READ and WA_WRITE hit afterwards */

/*
 * Watches memory by the CPU's debug registers, in every LWP, those to come too, until
 * Pdelwapt(), exec or release. A hit stops the victim: PR_FAULTED, FLTWATCH,
 * pr_info.si_addr; the access is then done and the PC behind the instruction, with
 * WA_EXEC at it. What the kernel reads or writes for the victim does not hit. Needs no
 * stop. -1 EBUSY: all registers of a thread are taken (x86 has four); EEXIST; EACCES,
 * EPERM, ENOSYS: the kernel refuses perf events; EINVAL: size, alignment or flags;
 * EOPNOTSUPP: not on this CPU; EBADF: read-only handle. Pwapt_error() says it in a
 * sentence.
 */
int Psetwapt(struct ps_prochandle *P, const prwatch_t *wp);

/* Ends it; wp as it was set. -1 ENOENT. */
int Pdelwapt(struct ps_prochandle *P, const prwatch_t *wp);

/*
 * With the representative LWP stopped on wp: gets it past. After a read or write there
 * is nothing left to do; a WA_EXEC instruction is executed, and the victim stays stopped,
 * one instruction further. -1 EBUSY: not stopped.
 */
int Pxecwapt(struct ps_prochandle *P, const prwatch_t *wp);

/* What an errno of Psetwapt() means: a sentence without a full stop. Static. */
const char *Pwapt_error(int err);

/* --- LWPs ------------------------------------------------------------------------- */

/* Called for one LWP; non-zero ends the iteration and is returned. `st` during the call
 * only. */
typedef int proc_lwp_f(void *arg, const lwpstatus_t *st);

/* Every LWP; registers are there of those that stand under control. */
int Plwp_iter(struct ps_prochandle *P, proc_lwp_f *fn, void *arg);

/* Registers of one stopped LWP. -1 ESRCH no such LWP, EBUSY running. */
int Plwp_getregs(struct ps_prochandle *P, lwpid_t lwp, prgregset_t regs);
int Plwp_setregs(struct ps_prochandle *P, lwpid_t lwp, const prgregset_t regs);

/* --- one LWP ---------------------------------------------------------------------- */

struct ps_lwphandle; /* one LWP of a controlled process; ends with Lfree() */

/*
 * Takes hold of one LWP. One handle an LWP; its process's handle must outlive it, and
 * Prelease() is not to be called while it is there. The LWP runs on, or stands as it did.
 * NULL with *perr: G_NOPROC no such LWP, G_BUSY there is a handle on it, G_PERM a
 * read-only handle, a core, or a file; or an errno. Any thread, as all functions here.
 * Lgrab(3PROC).
 */
struct ps_lwphandle *Lgrab(struct ps_prochandle *P, lwpid_t lwp, int *perr);

/* The text of a *perr of Lgrab: a static string, never NULL. */
const char *Lgrab_error(int err);

/* Ends the handle. An LWP that Lstop() has stopped runs on. */
void Lfree(struct ps_lwphandle *L);

/* The process's handle. Borrowed. */
struct ps_prochandle *Lprochandle(struct ps_lwphandle *L);

/* PS_RUN; PS_STOP: stopped alone or with the whole process; PS_LOST: it has ended. */
int Lstate(struct ps_lwphandle *L);

/*
 * Stops this LWP alone; the others run on, and a run of the process leaves it where it
 * is. Lstop asks and waits, Ldstop asks, Lwait waits until it stands for whatever reason.
 * msec: the longest wait, 0 for ever. 0 when it stands or the time is up (Lstate()
 * tells); -1 ENOENT: it has ended. What it stood on, a breakpoint or a signal, happens
 * when it runs on. An LWP that holds a lock which others need makes them wait.
 * Lstop(3PROC).
 */
int Lstop(struct ps_lwphandle *L, unsigned msec);
int Ldstop(struct ps_lwphandle *L);
int Lwait(struct ps_lwphandle *L, unsigned msec);

/*
 * Sets an LWP running that Lstop() has stopped, delivering sig instead of the signal that
 * it stopped on (0: that one, if any). flags: PRCSIG, PRSTOP as for Psetrun(). While the
 * process stands as a whole the LWP runs when that does; but PRSTEP has it execute one
 * instruction then and there, the others standing (PR_FAULTED, FLTTRACE of the process).
 * -1 EBUSY: it is not stopped, or PRSTEP while the process runs; ENOENT; EINVAL: no
 * such signal. Lsetrun(3PROC).
 */
int Lsetrun(struct ps_lwphandle *L, int sig, int flags);

/* The signal that it stopped on is not delivered at its next run. -1 EBUSY. */
int Lclearsig(struct ps_lwphandle *L);

/* Its status, refreshed; registers when it stands. Lent until the next call on L. NULL
 * with ENOENT when it has ended. */
const lwpstatus_t *Lstatus(struct ps_lwphandle *L);

/* One register (R_*) of the stopped LWP: read, or set (written at once). -1 EBUSY,
 * ENOENT, EINVAL. */
int Lgetareg(struct ps_lwphandle *L, int reg, prgreg_t *value);
int Lputareg(struct ps_lwphandle *L, int reg, prgreg_t value);

/* Forgets what is known of it, so that the next call asks anew. Nothing is ever left to
 * be written. */
void Lsync(struct ps_lwphandle *L);

/*
 * The mapping that its stack pointer is in: ss_sp its lowest address, ss_size bytes,
 * ss_flags 0; also when that is an alternate signal stack. Of a thread's stack the guard
 * is not in it; glibc keeps the thread's own data at its upper end. -1 EBUSY: it runs;
 * ENOENT; EFAULT: it points to nothing.
 */
int Lstack(struct ps_lwphandle *L, stack_t *stkp);

/* --- stacks ----------------------------------------------------------------------- */

/* Called for one frame: the registers known of it (R_PC, R_SP, R_FP), argc 0. Non-zero
 * ends. */
typedef int proc_stack_f(void *arg, prgregset_t regs, unsigned argc, const long *argv);

/*
 * Frames from regs outwards, through signal frames, by call frame information, else by
 * frame pointer; 2,048 at most. fn gets each frame's registers, 0 where they are not
 * known, R_PC, R_SP always: R_PC of the first is the instruction that comes next, of
 * another a return address. The thread must stand meanwhile. What fn returned, or 0; -1
 * with errno: no address space (ESRCH, EACCES, ENOMEM). Any thread.
 */
int Pstack_iter(struct ps_prochandle *P, const prgregset_t regs, proc_stack_f *fn,
		void *arg);

/* The same of one LWP, by its own registers: stopped under control, or of a core, which
 * may be of another CPU; then R_PC, R_SP and R_FP are set and nothing else. -1 as
 * Plwp_getregs(). Linux addition. */
int Pstack_lwp(struct ps_prochandle *P, lwpid_t lwp, proc_stack_f *fn, void *arg);

/* --- captures --------------------------------------------------------------------- */

/*
 * The registers and stacks of all LWPs at one instant, copied: they are walked and named
 * afterwards, while the victim runs on, and when it has gone. Linux addition.
 */
typedef struct ps_capture ps_capture_t;

#define PCAPTURE_NOSTOP 0x01 /* stop nobody: only LWPs that wait in the kernel */
#define PCAPTURE_GRAB   0x02 /* a read-only handle: control it for the moment */

#define PCAP_REGS    0x0001 /* pr_reg is there, and there are frames */
#define PCAP_CUT     0x0002 /* there is more stack than was copied */
#define PCAP_OUTSTOP 0x0004 /* in somebody else's stop */
#define PCAP_WAIT    0x0008 /* its wait, pr_syscall, was broken off and made again */
#define PCAP_RUNNING 0x0010 /* NOSTOP: it runs: no frames */
#define PCAP_MOVED   0x0020 /* NOSTOP: it ran while it was copied: do not believe it */

/* One LWP of a capture. */
typedef struct prcaplwp {
	lwpid_t pr_lwpid;     /* thread id */
	int pr_flags;         /* PCAP_* */
	char pr_name[16];     /* its comm, as it was before the capture; "" not known */
	char pr_sname;        /* its state before: R S D T t …; '?' not known */
	short pr_cursig;      /* signal that it stopped on; 0 none */
	int pr_syscall;       /* number of the system call that it is in, or -1 */
	uint64_t pr_pause_ns; /* how long it was stopped for this; 0 not */
	prgregset_t pr_reg;   /* with NOSTOP, and of another CPU: R_PC and R_SP alone */
} prcaplwp_t;

/*
 * Captures every LWP, in ascending order. limit: bytes of each stack at most, from the
 * stack pointer up; 0: 64 KiB; up to 8 MiB. Under control all LWPs are stopped together,
 * copied and set running in one go of the keeper's, without a round trip between; one
 * that is stopped already stays so. With GRAB a read-only handle does the same and lets
 * go. With NOSTOP nobody is stopped or traced: LWPs are copied one after the other, so
 * that their stacks are not of one instant. Of a core: its threads. An LWP that does not
 * stop within a second has no PCAP_REGS, nor has one that ends meanwhile. Names and
 * states are read before. Blocks for a second at most, and until the victim is let go.
 *
 * The capture is the caller's (Pcapture_free()), needs no handle, and keeps the symbols
 * and unwind information of the program that it is of. NULL with *perr (NULL: not
 * wanted): G_* or an errno, for Pgrab_error(): EBADF a read-only handle without GRAB or
 * NOSTOP, ESRCH it has ended, EINVAL flags or limit, EPERM, ENOMEM.
 */
ps_capture_t *Pcapture(struct ps_prochandle *P, int flags, size_t limit, int *perr);

/* Called for one LWP; non-zero ends the iteration and is returned. */
typedef int proc_caplwp_f(void *arg, const prcaplwp_t *lwp);

int Pcapture_iter(const ps_capture_t *c, proc_caplwp_f *fn, void *arg);

#define PRFRAME_EXACT  0x1 /* pr_pc is where it stands; else a call's return address */
#define PRFRAME_SIGNAL 0x2 /* the trampoline of a signal handler */
#define PRFRAME_GUESS  0x4 /* found by frame pointer or by a rule, not by information */

/* One frame. */
typedef struct prframe {
	uintptr_t pr_pc; /* its address */
	uintptr_t pr_sp; /* stack pointer in it */
	int pr_flags;    /* PRFRAME_* */
} prframe_t;

#define PCAPTURE_BASE   0 /* the outermost frame was reached */
#define PCAPTURE_CUT    1 /* the copy of the stack ends there, or memory is missing */
#define PCAPTURE_LIMIT  2 /* 2,048 frames */
#define PCAPTURE_BROKEN 3 /* what is there makes no sense */
#define PCAPTURE_CALLER 4 /* fn said so */

/* Called for one frame; non-zero ends the walk and is returned. */
typedef int proc_frame_f(void *arg, const prframe_t *frame);

/*
 * Walks the stack of one LWP from the innermost frame outwards. *ret_end (NULL: not
 * wanted): why it ended, PCAPTURE_*. What fn returned, or 0; -1 with errno: ESRCH no such
 * LWP, EAGAIN it was not copied, ENOTSUP a CPU that we have no rules for. Any thread;
 * calls on one capture may run at the same time.
 */
int Pcapture_stack_iter(const ps_capture_t *c, lwpid_t lwp, proc_frame_f *fn, void *arg,
			int *ret_end);

/* Nanoseconds from the first LWP's stop to the last one's resume; 0: none was stopped. */
uint64_t Pcapture_pause(const ps_capture_t *c);

#define PCAPTURE_PARTIAL 0x1 /* an LWP did not stop in time */
#define PCAPTURE_EXEC    0x2 /* it has exec'd meanwhile: stacks of the new program */
#define PCAPTURE_STOOD   0x4 /* it was stopped before, and is */

/* What is to be said of it: PCAPTURE_PARTIAL, _EXEC, _STOOD. */
int Pcapture_notes(const ps_capture_t *c);

void Pcapture_free(ps_capture_t *c); /* NULL: nothing */

/* --- system calls made by the victim ---------------------------------------------- */

/*
 * The victim must be stopped under control (EBUSY; EBADF on a read-only handle, and for
 * oneself). The representative LWP makes the call, or another one where that cannot; the
 * others stand. Afterwards the LWP has its own registers, signal mask, pending signals
 * and memory again, and a call of its own that the stop had interrupted goes on when it
 * runs (only a sleep made here ends a sleep of its own early, with EINTR). Signals are
 * blocked while the call lasts. A function blocks as long as its call does; Pstop() from
 * another thread ends that with EINTR. The handle must not be released meanwhile. A
 * victim with a seccomp filter may be killed for a call that the filter forbids: that is
 * the caller's to know. Should the keeper be killed in the middle of a call, the victim
 * crashes.
 */

/* How an argument is passed (argdes_t.arg_type). */
#define AT_BYVAL 1 /* arg_value itself */
#define AT_BYREF 2 /* the address of a copy of arg_object in the victim */

/* Which way the object goes (argdes_t.arg_inout). */
#define AI_INPUT  1 /* to the victim, before the call */
#define AI_OUTPUT 2 /* from the victim, after it */
#define AI_INOUT  3 /* both */

/* One argument of a system call. */
typedef struct argdes {
	long arg_value;   /* BYVAL: the value; BYREF: set to the victim's address */
	void *arg_object; /* BYREF: in the caller; borrowed */
	char arg_type;    /* AT_BYVAL, AT_BYREF */
	char arg_inout;   /* AI_* of an object */
	size_t arg_size;  /* BYREF: bytes of the object, 16 MiB at most */
} argdes_t;

/* What a system call returned. */
typedef struct sysret {
	long sys_rval1; /* the result */
	long sys_rval2; /* 0 on Linux */
} sysret_t;

/*
 * Has the victim make system call nr (SYS_*) with nargs (0 to 6) arguments; *ret (may be
 * NULL) gets the result. Objects lie on the LWP's stack, below what is in use, or in
 * memory mapped for the time. 0; a positive errno that the call failed with; -1 when it
 * could not be made: ENOTSUP fork, vfork, clone and rt_sigreturn, or 32-bit code; ENOENT
 * the LWP has ended (as in exit(2)); EPERM refused by seccomp; EINTR, EBUSY, EBADF,
 * EINVAL, ENOMEM, EFAULT. After an exec the new program stands at its first instruction.
 * Psyscall(3PROC).
 */
int Psyscall(struct ps_prochandle *P, sysret_t *ret, int nr, unsigned nargs,
	     argdes_t *args);

/* 1: a system call instruction stands at addr; 0. */
int Pissyscall(struct ps_prochandle *P, uintptr_t addr);
/* 1: one ends at addr, and *dst (may be NULL) gets its address; 0. */
int Pissyscall_prev(struct ps_prochandle *P, uintptr_t addr, uintptr_t *dst);

/*
 * The system calls of those names, made by the victim: descriptors, addresses and ids
 * are the victim's, paths, structures and buffers the caller's. They return what the
 * call of that name does: -1 with its errno, or with one of Psyscall()'s.
 */
struct rlimit;
struct stat;
int pr_open(struct ps_prochandle *P, const char *path, int flags, mode_t mode);
int pr_creat(struct ps_prochandle *P, const char *path, mode_t mode);
int pr_close(struct ps_prochandle *P, int fd);
int pr_access(struct ps_prochandle *P, const char *path, int mode);
ssize_t pr_read(struct ps_prochandle *P, int fd, void *buf, size_t len);
ssize_t pr_write(struct ps_prochandle *P, int fd, const void *buf, size_t len);
off_t pr_lseek(struct ps_prochandle *P, int fd, off_t offset, int whence);
int pr_stat(struct ps_prochandle *P, const char *path, struct stat *buf);
int pr_lstat(struct ps_prochandle *P, const char *path, struct stat *buf);
int pr_fstat(struct ps_prochandle *P, int fd, struct stat *buf);
int pr_rename(struct ps_prochandle *P, const char *from, const char *to);
int pr_link(struct ps_prochandle *P, const char *from, const char *to);
int pr_unlink(struct ps_prochandle *P, const char *path);
/* arg: an int or pointer value, or for the commands on locks and owners the caller's
 * structure */
int pr_fcntl(struct ps_prochandle *P, int fd, int cmd, void *arg);
/* size 0: arg is a value; else it is the caller's object of size bytes, in and out */
int pr_ioctl(struct ps_prochandle *P, int fd, unsigned long code, void *arg, size_t size);
/* MAP_FAILED on failure */
void *pr_mmap(struct ps_prochandle *P, void *addr, size_t len, int prot, int flags,
	      int fd, off_t offset);
int pr_munmap(struct ps_prochandle *P, void *addr, size_t len);
int pr_mprotect(struct ps_prochandle *P, void *addr, size_t len, int prot);
/* A handler is a function of the victim's; act and oact (either may be NULL) are the
 * caller's. EINVAL: a handler, and nothing in the victim to return from it with. */
int pr_sigaction(struct ps_prochandle *P, int sig, const struct sigaction *act,
		 struct sigaction *oact);
int pr_getrlimit(struct ps_prochandle *P, int resource, struct rlimit *limit);
int pr_setrlimit(struct ps_prochandle *P, int resource, const struct rlimit *limit);
pid_t pr_getpid(struct ps_prochandle *P);
/* idtype: P_PID … of <sys/wait.h> */
int pr_waitid(struct ps_prochandle *P, int idtype, id_t id, siginfo_t *info, int options);
/* The process ends; Pwait() sees it. 0. */
int pr_exit(struct ps_prochandle *P, int status);
/* The representative LWP ends. 0. */
int pr_lwp_exit(struct ps_prochandle *P);

/* --- mappings, objects, symbols --------------------------------------------------- */

/* Called for one mapping; name: path of its file, [heap] …, or NULL. Non-zero ends. */
typedef int proc_map_f(void *arg, const prmap_t *map, const char *name);

/* every mapping, by address */
int Pmapping_iter(struct ps_prochandle *P, proc_map_f *fn, void *arg);
/* each object's first mapping */
int Pobject_iter(struct ps_prochandle *P, proc_map_f *fn, void *arg);

/* The mapping that holds addr, or NULL. Lent until the maps are next refreshed. */
const prmap_t *Paddr_to_map(struct ps_prochandle *P, uintptr_t addr);
/* The first mapping of the object of that name (contract: section 2), or NULL. */
const prmap_t *Pname_to_map(struct ps_prochandle *P, const char *name);
const prmap_t *Plmid_to_map(struct ps_prochandle *P, Lmid_t lmid, const char *name);
/* The object that holds addr, or NULL. */
const rd_loadobj_t *Paddr_to_loadobj(struct ps_prochandle *P, uintptr_t addr);

/* Path of the object that holds addr, into buf; buf, or NULL. */
char *Pobjname(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size);
/* Namespace of the object that holds addr, into *lmid. */
int Plmid(struct ps_prochandle *P, uintptr_t addr, Lmid_t *lmid);
/* Path of the program, into buf; buf, or NULL. */
char *Pexecname(struct ps_prochandle *P, char *buf, size_t size);

void Pupdate_maps(struct ps_prochandle *P); /* reads mappings and link maps anew */
void Pupdate_syms(struct ps_prochandle *P); /* and opens every object's file */
void Preset_maps(struct ps_prochandle *P);  /* forgets all of it, as after an exec */

/* The handle's rtld agent, lent; NULL for a static program. */
rd_agent_t *Prd_agent(struct ps_prochandle *P);

/*
 * The symbol `sym` in object `obj` (a name, PR_OBJ_EXEC, PR_OBJ_LDSO or PR_OBJ_EVERY).
 * *symp gets it, st_value an address in the victim. -1 ENOENT; ESRCH no such object.
 * Maps are read at first need, and files: .symtab or .gnu_debugdata, of a stripped object
 * its separate debug file as the victim sees files, .dynsym; by address also perf maps
 * (prs_object "[jit]"). Plookup_by_name(3PROC).
 */
int Plookup_by_name(struct ps_prochandle *P, const char *obj, const char *sym,
		    GElf_Sym *symp);
/* In namespace lmid, and with where it was found (sip may be NULL). */
int Pxlookup_by_name(struct ps_prochandle *P, Lmid_t lmid, const char *obj,
		     const char *sym, GElf_Sym *symp, prsyminfo_t *sip);

/* The symbol that holds addr: its name into buf (cut to size). -1 ENOENT. */
int Plookup_by_addr(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size,
		    GElf_Sym *symp);
int Pxlookup_by_addr(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size,
		     GElf_Sym *symp, prsyminfo_t *sip);

/* Called for one symbol; non-zero ends the iteration and is returned. */
typedef int proc_sym_f(void *arg, const GElf_Sym *sym, const char *name);
typedef int proc_xsym_f(void *arg, const GElf_Sym *sym, const char *name,
			const prsyminfo_t *si);

/* The symbols of an object: which PR_SYMTAB or PR_DYNSYM, mask BIND_* | TYPE_*. */
int Psymbol_iter(struct ps_prochandle *P, const char *obj, int which, int mask,
		 proc_sym_f *fn, void *arg);
int Pxsymbol_iter(struct ps_prochandle *P, Lmid_t lmid, const char *obj, int which,
		  int mask, proc_xsym_f *fn, void *arg);

/* --- names and places for people -------------------------------------------------- */

/*
 * The readable form of a C++ (Itanium ABI), Rust (v0 and legacy) or D name into buf, cut
 * at size bytes with the NUL. 1: it is such a name; 0: it is not, or asks for more than
 * is granted (16 KiB of output, 50 ms), and buf has the name as it stands. Look-ups
 * give names as the file has them: only this function changes one. Any thread; needs no
 * handle.
 */
int pgrab_demangle(const char *name, char *buf, size_t size);

/* A place in the source; strings are valid during the callback. */
typedef struct prsource {
	const char *psr_function; /* name as the linker has it; NULL unknown */
	const char *psr_file;     /* absolute where the compiler said so; NULL unknown */
	unsigned psr_line;        /* from 1; 0 unknown */
	unsigned psr_column;      /* from 1; 0 unknown */
	int psr_inline;           /* 1: inlined into the next one that is told */
} prsource_t;

/* Called for one place; non-zero ends the iteration and is returned. */
typedef int proc_source_f(void *arg, const prsource_t *src);

/*
 * Where the instruction at addr comes from, by the DWARF of its object (or of its
 * separate debug file): the innermost inlined function first, the function that was
 * compiled last. 0, or what fn returned; -1 with ENOENT (nothing is known of it) or
 * ENOTSUP (built without libdw). Of a return address ask for addr - 1. Reads files: tens
 * of milliseconds for the first address of an object, a microsecond or so for a warm one;
 * never call it while the victim stands still for you.
 */
int Psource_iter(struct ps_prochandle *P, uintptr_t addr, proc_source_f *fn, void *arg);

/*
 * Asks debuginfod(8) for the debug files of objects that have no .symtab and no debug
 * file here: the servers of DEBUGINFOD_URLS, one object after the other, until msec have
 * passed (which the client notices within a second). Nothing else ever asks them. How
 * many have come; -1 with EBUSY (the victim stands still for us: it would for as long),
 * ENOTSUP (libdebuginfod.so.1 cannot be opened). For the snapshot that there is now: call
 * it again after a dlopen, what came once is in the client's cache. Blocks; other
 * threads' look-ups go on.
 */
int Pdebuginfod(struct ps_prochandle *P, unsigned msec);

/* How an address came about, for Pfmt_frame(). */
#define PR_FRAME_EXACT  0 /* an instruction, or data */
#define PR_FRAME_RETURN 1 /* where a call comes back to: its function is the caller's */

/*
 * Addresses as text, by the rules of DTrace's ustack(), usym(), uaddr() and umod(), with
 * names as the file has them:
 *  frame, uaddr  module`function+0xoffset, an offset of 0 left out;
 *                module`0xADDR without a symbol; 0xADDR outside of any object
 *  usym          module`function, or as uaddr where there is none
 *  umod          module, or 0xADDR
 *  ustack        one frame a line, each ended by a newline; the first address exact, the
 *                others return addresses
 * The module is the base name of the object's path; [jit] for code that a perf map
 * (/tmp/perf-PID.map) names. Bytes that would not print are shown as '?'. Like
 * snprintf(3): at most size bytes with the NUL are written, and the length of the whole
 * is returned. They do not fail.
 */
size_t Pfmt_frame(struct ps_prochandle *P, uintptr_t addr, int kind, char *buf,
		  size_t size);
size_t Pfmt_uaddr(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size);
size_t Pfmt_usym(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size);
size_t Pfmt_umod(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size);
size_t Pfmt_ustack(struct ps_prochandle *P, const uintptr_t *pcs, size_t n, char *buf,
		   size_t size);

/* --- environment, auxiliary vector ------------------------------------------------ */

/* Called for one string of the environment as it was at exec; addr 0 when not known. */
typedef int proc_env_f(void *arg, struct ps_prochandle *P, uintptr_t addr,
		       const char *string);

int Penv_iter(struct ps_prochandle *P, proc_env_f *fn, void *arg);

/* The same of the arguments, as they are now. Linux addition. */
int Parg_iter(struct ps_prochandle *P, proc_env_f *fn, void *arg);

/* Who a process is. */
typedef struct prcred {
	uid_t pr_euid, pr_ruid, pr_suid; /* user: effective, real, saved */
	gid_t pr_egid, pr_rgid, pr_sgid; /* group: the same */
	int pr_ngroups;                  /* supplementary groups in all */
	gid_t pr_groups[1];              /* those that there was room for */
} prcred_t;

/* Its credentials, with ngroups supplementary groups at most: *cred is the caller's, with
 * room for as many (one is in it). A core knows the real ids only, which then stand for
 * all. -1 ESRCH; ENODATA not in the core. Pcred(3PROC). */
int Pcred(struct ps_prochandle *P, prcred_t *cred, int ngroups);

long Pgetauxval(struct ps_prochandle *P, int type); /* the value, or -1 */
/* lent, AT_NULL at the end; NULL */
const auxv_t *Pgetauxvec(struct ps_prochandle *P);

/* --- arguments and names ---------------------------------------------------------- */

#define PR_ARG_PIDS 0x1 /* a process id or /proc/PID */

/* Grabs what a command-line argument names (a pid or /proc/PID). oflag: PR_ARG_PIDS;
 * gflag: PGRAB_*; perr as Pgrab, G_NOARG when it is no pid. */
struct ps_prochandle *proc_arg_grab(const char *arg, int oflag, int gflag, int *perr);
/* The psinfo of what it names: its pid, or -1. */
pid_t proc_arg_psinfo(const char *arg, int oflag, psinfo_t *psp, int *perr);
/* Called for one process; non-zero ends and is returned. */
typedef int proc_walk_f(psinfo_t *psp, void *arg);
/* Every process that can be seen. */
int proc_walk(proc_walk_f *fn, void *arg);
int proc_get_psinfo(pid_t pid, psinfo_t *psp); /* 0, or -1 with errno */

/* "SIGSEGV", "SIGRTMIN+3", "SIG#99" */
char *proc_signame(int sig, char *buf, size_t size);
char *proc_sysname(int nr, char *buf, size_t size);    /* "execve", "SYS#999" */
char *proc_fltname(int fault, char *buf, size_t size); /* "FLTBPT", "FLT#99" */
/* with or without SIG, any case, or a number */
int proc_str2sig(const char *name, int *sig);
int proc_str2sys(const char *name, int *nr);
int proc_str2flt(const char *name, int *fault);

/* --- about the library ------------------------------------------------------------ */

/* Version of the library, as "0.1.0"; static. Linux addition. */
const char *pgrab_version(void);

/* Build features, as "x86_64 keeper-1 zydis-4.0"; static. Linux addition. */
const char *pgrab_features(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
