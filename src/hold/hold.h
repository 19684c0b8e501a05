/* SPDX-License-Identifier: MIT */
/*
 * Client side of the keeper: one `struct hold` is one victim held by this process's
 * keeper.
 *
 * Two sockets stand behind a hold. Requests and replies go over the first, serialised by
 * a lock inside the hold: every hold_* call may be made from any thread, takes one round
 * trip at most (tens of microseconds) and never waits for the victim, but where it says
 * so. Events come over the second and are read by one thread at a time, the caller's
 * business.
 *
 * Errors are negative errno values: -EPIPE when the keeper is gone (the hold's
 * breakpoints have then been written back into the victim by the client), -ESRCH when the
 * victim is gone, -EBUSY when it must be stopped for this and is not.
 */
#ifndef PGRAB_HOLD_HOLD_H
#define PGRAB_HOLD_HOLD_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/arch.h"

struct hold; /* one victim in the keeper's hands */

/* --- events ------------------------------------------------------------------------- */

/*
 * What happens to a victim. A *question* waits for hold_answer() with its LWP stopped
 * (the other LWPs run on); unanswered for the question time (100 ms) it gets the default,
 * RESUME. After a default the victim counts as unattended: its further questions are
 * answered by default at once until any request or answer shows that the client lives.
 * Everything else is information and delays nobody.
 */
enum hold_event_kind {
	HOLD_EV_STOPPED, /* every LWP is stopped; `why`, `what`, tid is the one that
			    caused it */
	HOLD_EV_BKPT,    /* question: tid is at the breakpoint `addr` (PC == addr) */
	HOLD_EV_EXEC,    /* question: the process has exec'd; breakpoints are forgotten;
			    `child` = former tid */
	HOLD_EV_FORK, /* `child` was made by fork, vfork or clone (`what`: PTRACE_EVENT_*)
			 and runs free; with QUESTION (HOLD_WANT_FOLLOW) it is held: the
			 answer is hold_grab() with HOLD_ADOPT, or hold_answer() with
			 tid = `child`: let go */
	HOLD_EV_THREAD_START, /* tid is new */
	HOLD_EV_THREAD_EXIT,  /* tid has ended, the process goes on */
	HOLD_EV_SIGNAL,       /* `sig` was delivered to tid unchanged */
	HOLD_EV_OUTSTOP,  /* somebody else stopped the process by `sig` (job control) */
	HOLD_EV_CONTINUE, /* … and continued it */
	HOLD_EV_EXIT, /* the process is gone; `status` as from wait(2). The last event. */
	HOLD_EV_LOST, /* the keeper no longer controls it (`what`: errno). The last
		       * event. */
	HOLD_EV_BIRTH,       /* question, the first event of an adopted child: it has not
			* executed anything; `child` is its parent, `what` 1: of vfork,
			* its memory is the parent's until it execs (breakpoints wait) */
	HOLD_EV_LWP_STOPPED, /* tid stands, as hold_lwp_ctl(STOP) has asked */
	HOLD_EV_LWP_GONE,    /* tid, which was grabbed, has ended */
	HOLD_EV_NKINDS
};

/* Why the whole victim stands (HOLD_EV_STOPPED). */
enum hold_why {
	HOLD_WHY_REQUESTED, /* hold_stop(), or a grab */
	HOLD_WHY_PARK,      /* a question was answered PARK */
	HOLD_WHY_EXEC,      /* a created victim after its first exec */
	HOLD_WHY_SIGNALLED, /* a traced signal is about to be delivered to tid; `what` =
			       signal */
	HOLD_WHY_FAULTED,   /* a stopping breakpoint (`addr`), or a traced fault; `what` =
			       signal */
	HOLD_WHY_STEP,      /* the single step of tid is done */
	HOLD_WHY_WATCH,     /* tid has hit the watchpoint at `addr` */
	HOLD_WHY_NWHYS
};

enum {
	HOLD_EVF_QUESTION = 1, /* waits for hold_answer(tid, seq) */
	HOLD_EVF_DEFAULTED =
		2,           /* was answered by default before it was sent: information */
	HOLD_EVF_UNSEEN = 4, /* since the last event, questions were answered by default,
			      * or events dropped (`lost`): compare whole lists */
};

/* One event: a plain value. Fields that the kind does not name are 0. */
struct hold_event {
	enum hold_event_kind kind; /* what */
	enum hold_why why;         /* STOPPED: why */
	pid_t pid;                 /* the process */
	pid_t tid;                 /* the LWP */
	pid_t child;      /* FORK: new process; EXEC: the execing thread's former tid */
	int what;         /* see the kinds */
	int sig;          /* signal number; STOPPED: of an outside stop in force, or 0 */
	int status;       /* EXIT: wait(2) status */
	uint32_t seq;     /* names a question */
	uint32_t flags;   /* HOLD_EVF_* */
	uint32_t lost;    /* informational events dropped since the last one read */
	uint64_t addr;    /* BKPT, FAULTED: breakpoint address */
	uint64_t time_ns; /* CLOCK_REALTIME at the stop; never runs backwards in one
			     keeper */
	arch_regs_t
		regs; /* BKPT, EXEC, STOPPED: registers of tid, PC at the breakpoint */
};

/* --- begin and end ------------------------------------------------------------------ */

enum {
	HOLD_NOSTOP = 1, /* grab: attach and let it run on */
	HOLD_KLC = 2,    /* kill on last close; else run on last close */
	HOLD_BORROW =
		4, /* the pidfd stays open until the release: the hold makes no copy */
	/* grab: a child that a FORK question holds, with NOSTOP; -ESRCH: too late.
	 * Its first event is BIRTH */
	HOLD_ADOPT = 8,
};

/* What went wrong, for a sentence: filled on failure when the caller gives one. */
struct hold_fault {
	int err;        /* negative errno */
	char text[160]; /* what was waited for, or which step failed; "" when err says it
			   all */
};

/*
 * Has the keeper (started now when there is none) attach to every thread of the process
 * behind pidfd (borrowed) and stop it. Returns when all threads are stopped, or when
 * deadline_ms (0: default 5000) has passed: -ETIMEDOUT with a text naming the thread and
 * its state; nothing is then left attached. -EPERM, -ESRCH, -EBUSY (another tracer),
 * -ENOENT no keeper found, -EMFILE. No STOPPED event follows for the grab's own stop:
 * *ret_first is it (kind STOPPED, why REQUESTED; registers of the leader, or of the first
 * LWP).
 */
int hold_grab(pid_t pid, int pidfd, unsigned flags, unsigned deadline_ms,
	      struct hold **ret, struct hold_event *ret_first, struct hold_fault *fault);

/* How to create. */
struct hold_spawn {
	const char *path;  /* file to execute, no PATH search */
	char *const *argv; /* NULL-terminated */
	char *const *envp; /* NULL-terminated */
	unsigned flags;    /* HOLD_KLC or 0 */
};

/*
 * Forks a child that the keeper seizes before it execs; the child keeps terminal, process
 * group, directory, and is this process's child; its signal dispositions and mask are
 * those of the caller with handlers reset. Returns when it is stopped after its
 * successful exec: *ret_first has kind STOPPED, why EXEC. *ret_pidfd is a descriptor that
 * the caller owns. On failure of execve its negative errno, with fault->text "execve" and
 * the child reaped; on a death before, -ECHILD with the status in *ret_first (kind EXIT).
 */
int hold_create(const struct hold_spawn *spawn, struct hold **ret, pid_t *ret_pid,
		int *ret_pidfd, struct hold_event *ret_first, struct hold_fault *fault);

/* How a release leaves the victim. */
enum hold_release_mode {
	HOLD_RELEASE_RUN, /* runs on; but stays stopped if somebody else had stopped it */
	HOLD_RELEASE_STOP, /* left stopped (SIGSTOP) */
	HOLD_RELEASE_KILL, /* SIGKILL */
};

/*
 * Lifts every breakpoint, detaches every LWP and frees the hold, whatever it returns.
 * Waits until the victim is in its final state (at most 5 s: -ETIMEDOUT, the keeper goes
 * on trying). Death on the way is no error. Does not reap: see hold_reap().
 */
int hold_release(struct hold *h, enum hold_release_mode mode);

/* Reaps our own child behind pidfd if it is dead and nobody has: 0 or -ECHILD. */
int hold_reap(int pidfd);

/* --- events, read by one thread at a time ------------------------------------------- */

/* Polls readable when an event, or the keeper's end, is to be read. Owned by the hold. */
int hold_event_fd(const struct hold *h);

/* Takes the next event without waiting: 1, 0 when there is none, or -EPIPE (keeper
 * gone). */
int hold_next(struct hold *h, struct hold_event *ret);

/* Verdicts on a question. */
enum hold_verdict {
	HOLD_RESUME, /* get past the breakpoint, run on */
	HOLD_PARK,   /* stop every LWP, lift every breakpoint, then STOPPED why PARK */
};

/* Answers the question (tid, seq). One way, no reply; one answered by default already is
 * ignored. */
int hold_answer(struct hold *h, pid_t tid, uint32_t seq, enum hold_verdict verdict);

/* --- run control -------------------------------------------------------------------- */

/* Asks every LWP to stop. 0: accepted, a STOPPED event (REQUESTED) follows, or EXIT; 1:
 * stood already, no event follows. */
int hold_stop(struct hold *h);

enum {
	HOLD_RUN_STEP = 1, /* tid executes one instruction, the others stay; then STOPPED
			      why STEP */
	HOLD_RUN_CLEARSIG = 2, /* the signal that tid stopped on is not delivered */
	HOLD_RUN_LIFTED = 4,   /* do not plant lifted breakpoints again */
};

/*
 * Sets a stopped victim running: breakpoints that a PARK lifted are planted again, an LWP
 * that stands on one gets past it without a hit. tid names the LWP that STEP, CLEARSIG
 * and sig mean (0: the one that stopped). sig (0 none) is delivered to it instead of the
 * one it stopped on.
 */
int hold_run(struct hold *h, pid_t tid, unsigned flags, int sig);

/* Which signals (bit n-1 is signal n) stop the victim with why SIGNALLED, or FAULTED
 * where the signal is a fault the CPU raised; every other is passed on with an event
 * SIGNAL. */
int hold_trace_signals(struct hold *h, uint64_t stop_mask);

enum {
	HOLD_WANT_THREADS = 1, /* THREAD_START and THREAD_EXIT */
	HOLD_WANT_SIGNALS = 2, /* SIGNAL */
	HOLD_WANT_FORKS = 4,   /* FORK */
	HOLD_WANT_FOLLOW = 8,  /* FORK as a question: children are held */
};

/* Which informational events are sent (none at first; OUTSTOP, CONTINUE, EXIT, LOST
 * always are). */
int hold_want(struct hold *h, unsigned mask);

/* Kill (true) or run (false) when the last descriptor closes or the client dies. An
 * outside stop is respected in either case. */
int hold_set_klc(struct hold *h, bool klc);

/*
 * How long a question waits for its answer before it gets its default: ms, 0 for ever. A
 * grabbed victim begins with 100; a created one with 0, since its first park has been
 * asked for: whoever parks it sets 100 when it no longer has a park to come.
 */
int hold_set_patience(struct hold *h, unsigned ms);

/*
 * There are to be uprobes in the victim. From then on the kernel takes each of its traps
 * for a uprobe's where anybody has one at that place of the file, in whatever process
 * (docs/ptrace-notes.md): breakpoints with HOLD_BKPT_KERNEL are kept by the kernel if
 * that is at all possible, even in a victim that is killed with us. Until its release.
 */
int hold_uprobes(struct hold *h);

/* --- breakpoints -------------------------------------------------------------------- */

enum {
	HOLD_BKPT_STOP =
		1, /* a hit stops the whole victim (FAULTED, SIGTRAP) and stays so */
		   /* without it a hit is a question, HOLD_EV_BKPT */
	/* Kept by the kernel where it may be (perf events, hwbkpt.c of the keeper):
	 * nothing stands in the text, and the victim survives SIGKILL of the keeper.
	 * Else a trap. A hit in a thread that blocks the signal used comes late: BKPT
	 * with DEFAULTED. Not together with STOP. */
	HOLD_BKPT_KERNEL = 2,
	/* one that is there is changed to these flags, with no hit missed meanwhile */
	HOLD_BKPT_REPLACE = 4,
	/* a hit is only counted, in the counter that HOLD_BKPT_COUNTER() adds: nobody is
	 * told, nobody waits */
	HOLD_BKPT_COUNT = 0x10,
	/* a hit gets a record (hold_records_begin()) of the id that
	 * HOLD_BKPT_RECORDER() adds, and is counted there, before what else is asked */
	HOLD_BKPT_RECORD = 0x20,
};

/* Flags of a breakpoint that counts in counter `id`. */
#define HOLD_BKPT_COUNTER(id) (HOLD_BKPT_COUNT | (unsigned)(id) << 16)

/*
 * Plants a breakpoint at addr, one an address (-EEXIST). insn is the decoded original.
 * While the victim is parked it is only noted, and planted by hold_run(). -EFAULT: not
 * writable now. Planting needs no stop.
 */
int hold_bkpt_set(struct hold *h, uint64_t addr, const struct arch_insn *insn,
		  unsigned flags);

/* Removes it: the original byte is back and no LWP is still inside it on return.
 * -ENOENT. */
int hold_bkpt_clear(struct hold *h, uint64_t addr);

/*
 * Counters, at most 65536 a hold: begin at 0, are read by a load at any time, and keep
 * their count when the breakpoint goes, by an exec, the victim's end or the keeper's.
 * Counted references; the last one's is not to be given back while a breakpoint uses the
 * counter. -ENOSPC, -ENOMEM, -EMFILE.
 */
int hold_counter_new(struct hold *h, uint32_t *ret);
void hold_counter_ref(struct hold *h, uint32_t id);
uint64_t hold_counter(const struct hold *h, uint32_t id);
void hold_counter_free(struct hold *h, uint32_t id);

/* Flags of a breakpoint that records, and counts, in counter `id`. */
#define HOLD_BKPT_RECORDER(id) (HOLD_BKPT_RECORD | (unsigned)(id) << 16)

/* One hit that was recorded. Borrowed during the call. */
struct hold_record {
	uint32_t id;          /* its counter */
	pid_t tid;            /* thread */
	uint64_t time_ns;     /* CLOCK_MONOTONIC */
	uint64_t addr;        /* of the breakpoint */
	arch_regs_t regs;     /* at it */
	uint64_t goes;        /* where a jump through memory goes; 0: it is none */
	uint64_t stack_at;    /* address of stack[0] */
	const uint8_t *stack; /* bytes of it */
	size_t nstack;        /* how many */
};

typedef void hold_record_f(void *arg, const struct hold_record *r);

/* Makes room for records (size: bytes, a power of two, to 64 MiB), which get `stack`
 * bytes of their thread's stack each, from `below` bytes below its pointer on (what was
 * popped a moment ago stands there, and a leaf's own). Once a hold: nothing the second
 * time. -ENOMEM, -EMFILE. */
int hold_records_begin(struct hold *h, size_t size, size_t stack, size_t below);

/* Takes the records that have come; *ret_lost gets how many found no room, in all. One
 * thread at a time; also while the victim runs, after its end or the keeper's. */
void hold_records_take(struct hold *h, hold_record_f *fn, void *arg, uint64_t *ret_lost);

/* Replaces our trap bytes in buf, read from [addr, addr + len), by the program's own. */
void hold_hide_traps(struct hold *h, uint64_t addr, void *buf, size_t len);

/* Called after the client wrote the program's own bytes over [addr, addr + len): traps in
 * it are planted anew. */
int hold_text_written(struct hold *h, uint64_t addr, const void *buf, size_t len);

/* --- watchpoints -------------------------------------------------------------------- */

enum {
	HOLD_WATCH_EXEC = 1, /* alone: about to execute the instruction at addr */
	HOLD_WATCH_WRITE = 2,
	HOLD_WATCH_READ = 4, /* x86: together with WRITE only */
};

/*
 * Watches [addr, addr + len) in every LWP, those to come too, by the CPU's debug
 * registers; len 1, 2, 4 or 8, addr a multiple of it. A hit stops the victim, why WATCH;
 * the access is then done (EXEC: not yet). Accesses by the kernel for the victim (read(2)
 * into it) do not hit. Needs no stop; an exec drops it. -EBUSY: all registers are taken;
 * -EEXIST; -EACCES, -EPERM, -ENOSYS: perf events are refused; -EINVAL, -EOPNOTSUPP: not
 * that length, address or access, or not on this CPU.
 */
int hold_watch_set(struct hold *h, uint64_t addr, unsigned len, unsigned access);

/* Ends it. -ENOENT. */
int hold_watch_clear(struct hold *h, uint64_t addr, unsigned len, unsigned access);

/* --- LWPs --------------------------------------------------------------------------- */

/* One LWP as the keeper knows it. */
struct hold_lwp {
	pid_t tid;    /* thread id */
	bool stopped; /* in a stop of ours */
	bool outstop; /* in a group stop (somebody else's) */
	int cursig;   /* signal it stopped on, to be delivered at the next run; 0 none */
};

/* All LWPs, allocated; the caller frees. */
int hold_lwps(struct hold *h, struct hold_lwp **ret, size_t *ret_n);

/* What is asked of one LWP. */
enum hold_lwp_op {
	HOLD_LWP_GRAB,         /* its end is told (LWP_GONE) */
	HOLD_LWP_FREE,         /* no longer; runs if it was stopped by STOP */
	HOLD_LWP_STOP,         /* LWP_STOPPED follows, or LWP_GONE; the others run on */
	HOLD_LWP_RUN,          /* as soon as the victim runs */
	HOLD_LWP_RUN_CLEARSIG, /* likewise, without the signal that it stopped on */
};

/* sig: what RUN delivers; 0: the signal that it stopped on. -ESRCH no such LWP (any
 * more). */
int hold_lwp_ctl(struct hold *h, pid_t tid, enum hold_lwp_op op, int sig);

/* General registers of a stopped LWP. -ESRCH no such LWP, -EBUSY not stopped. */
int hold_getregs(struct hold *h, pid_t tid, arch_regs_t *ret);
int hold_setregs(struct hold *h, pid_t tid, const arch_regs_t *regs);

/* The same of every stopped LWP in one request: *ret_regs parallels *ret_lwps; both are
 * the caller's to free. */
int hold_getregs_all(struct hold *h, struct hold_lwp **ret_lwps, arch_regs_t **ret_regs,
		     size_t *ret_n);

/* Registers of one kind, of one LWP. */
struct hold_regset {
	pid_t tid;         /* thread id */
	size_t len;        /* bytes */
	const void *bytes; /* in the same block */
};

/* Registers of another kind (NT_PRFPREG … of <elf.h>) of every stopped LWP that has them,
 * in the order of hold_lwps(); one block, the caller's to free. */
int hold_regsets(struct hold *h, unsigned type, struct hold_regset **ret, size_t *ret_n);

/* Registers and stacks of one instant. */
struct hold_capture;

enum {
	HOLD_CAPTURE_STOOD = 1,    /* capture: it stood before, and stands */
	HOLD_CAPTURE_PARTIAL = 2,  /* capture: an LWP did not stop in time */
	HOLD_CAPTURE_EXEC = 4,     /* capture: it has exec'd meanwhile */
	HOLD_CAPTURE_REGS = 8,     /* LWP: it stood, regs is there */
	HOLD_CAPTURE_CUT = 16,     /* LWP: there is more stack than was copied */
	HOLD_CAPTURE_OUTSTOP = 32, /* LWP: in somebody else's stop */
	HOLD_CAPTURE_WAIT = 64,    /* LWP: its wait was broken off and made again */
	HOLD_CAPTURE_PIECES = 2,   /* pieces of an LWP's stack */
};

/* Bytes of a stack; len 0 none. */
struct hold_piece {
	uint64_t addr;     /* in the victim */
	uint64_t len;      /* bytes */
	const void *bytes; /* valid as long as the capture */
};

/* One LWP of a capture. */
struct hold_captured {
	pid_t tid;         /* thread id */
	unsigned flags;    /* HOLD_CAPTURE_* */
	int cursig;        /* signal that a run would deliver; 0 none */
	uint64_t pause_ns; /* how long we had it stand */
	arch_regs_t regs;  /* with REGS */
	/* from the stack pointer on; the end of its own stack when it is on another */
	struct hold_piece piece[HOLD_CAPTURE_PIECES];
};

/*
 * Stops every LWP, copies registers and at most `limit` bytes (up to 8 MiB) of each
 * stack, and sets them running, in one request: waits for the victim, with the hold's
 * lock, at most deadline_ms (0: 1000; 5000 at most). Who does not stand then has no REGS.
 * A victim that stands already is copied as it stands. hold_capture_release() releases it
 * (RUN) instead of setting it running, which is no second stop, and frees the hold,
 * whatever it returns. *ret is the caller's, and needs no hold. -ESRCH, -ENOMEM, -EMFILE,
 * -EINVAL a limit or deadline too high.
 */
int hold_capture(struct hold *h, uint64_t limit, unsigned deadline_ms,
		 struct hold_capture **ret);
int hold_capture_release(struct hold *h, uint64_t limit, unsigned deadline_ms,
			 struct hold_capture **ret);

/* How many LWPs; HOLD_CAPTURE_*; ns from the first interrupt to the last resume. */
size_t hold_capture_count(const struct hold_capture *c);
unsigned hold_capture_flags(const struct hold_capture *c);
uint64_t hold_capture_pause(const struct hold_capture *c);

/* The i-th LWP, in no order. */
void hold_capture_get(const struct hold_capture *c, size_t i, struct hold_captured *ret);

void hold_capture_free(struct hold_capture *c); /* NULL: nothing */

/* siginfo of the signal that tid stopped on. */
int hold_siginfo(struct hold *h, pid_t tid, siginfo_t *ret);

/* --- system calls ------------------------------------------------------------------- */

/*
 * Address of an instruction of the victim's that makes system calls; looked for at the
 * first call after the grab or an exec (some 30 us), and told to the keeper. -ENOENT
 * there is none, -ESRCH, -ENOMEM.
 */
int hold_syscall_insn(struct hold *h, uint64_t *ret);

/*
 * Has tid of a stopped victim make the system call nr with the instruction at insn (0:
 * hold_syscall_insn()'s). 0: *ret is what the kernel returned, a negative errno or the
 * result; the LWP is as it was. Waits as long as the call does, without the lock: other
 * threads may ask for other things, and hold_stop() or a release end the call (*ret
 * -EINTR; -EINTR returned: before it was made). -EBUSY: not stopped, another call is
 * under way, or tid waits for its vfork child; -ENOTSUP: 32-bit code, or a call that
 * cannot be made so (fork, vfork, clone, rt_sigreturn, exec by another than the
 * leader); -EPERM: the victim's seccomp filter answered with SIGSYS (it may as well
 * kill it: -ESRCH); -EFAULT: no such instruction at insn; -ESRCH: the LWP has ended, by
 * the call (exit) or otherwise.
 */
int hold_syscall(struct hold *h, pid_t tid, uint64_t insn, long nr,
		 const uint64_t args[6], int64_t *ret);

/* --- the process's keeper ----------------------------------------------------------- */

/* Pid of this process's keeper, or 0 when none runs. */
pid_t hold_keeper_pid(void);

/*
 * Sessions say that they are there: when the last of them goes and nothing is held, the
 * keeper ends too, so that a host is left as it was. A keeper that only bare handles have
 * used stays for the next of them. hold_forget_keeper() ends one that holds nothing, at
 * once.
 */
void hold_keeper_use(void);
void hold_keeper_unuse(void);
void hold_forget_keeper(void);

/* Path of the keeper's program: PGRAB_KEEPER, else libexec beside the library, else the
 * build tree's; 0, -ENOENT or -EMFILE. buf gets the path tried last. */
int hold_keeper_path(char *buf, size_t size);

#endif
