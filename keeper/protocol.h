/* SPDX-License-Identifier: MIT */
/*
 * What client and keeper say to each other: plain values, bounded, versioned. Both are
 * built from one tree, but a keeper may outlive an upgrade, so every message bears the
 * version.
 *
 * Sockets are AF_UNIX SOCK_SEQPACKET: one message, one packet.
 *  - hub: one a client, the keeper's descriptor 3 at its start. Requests KP_HELLO and
 *    KP_ATTACH; HELLO is answered on the hub, ATTACH on the victim's control socket.
 *  - control, one a victim: a request, then its reply (but ANSWER, which has none).
 *  - events, one a victim: struct kp_event from the keeper, never anything back.
 * After a KP_RELEASE whose reply has value 1 both sockets may be used again: KP_ATTACH
 * over the control socket, with one descriptor, the pidfd. A packet that is short,
 * long, of another version or of an unknown type ends the client: all its victims are
 * released by their last-close rule, the keeper closes every socket and exits. The
 * close of a control socket is the last close of its victim.
 */
#ifndef PGRAB_KEEPER_PROTOCOL_H
#define PGRAB_KEEPER_PROTOCOL_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/arch.h"

enum {
	KP_VERSION = 4,
	KP_HUB_FD = 3,             /* the keeper's end of the hub at its start */
	KP_CLIENT_FD = 4,          /* a pidfd of the client at its start */
	KP_MAX_BKPTS = 65536,      /* breakpoints in one victim */
	KP_MAX_LWPS = 256,         /* LWPs in one reply to KP_LWPS */
	KP_MAX_REGS = 128,         /* register sets in one reply to KP_REGS_ALL */
	KP_TEXT = 160,             /* bytes of a fault's text */
	KP_MAX_REGSET = 16 << 10,  /* bytes of registers of one kind (x86: 11 KiB) */
	KP_REGSET_ROOM = 64 << 10, /* bytes of them in one reply */
	KP_RING_DATA = 4096,       /* where a ring's records begin, bytes */
	KP_RING_MAX = 64 << 20,    /* bytes of a ring's records at most */
	KP_RECORD_BELOW = 32,      /* bits of KP_RECORDS' mask below that number */
};

/* Types of request. */
enum kp_type {
	/* hub: version check; reply kp_reply with value = pid of the keeper */
	KP_HELLO = 1,
	/* hub: kp_attach, with descriptors: control, events, pidfd; or on a free
	 * connection with the pidfd alone */
	KP_ATTACH,
	KP_STOP,    /* all LWPs; reply.value 1: they stand already */
	KP_RUN,     /* kp_run */
	KP_ANSWER,  /* kp_answer; no reply */
	KP_TRACE,   /* kp_mask: signals that stop */
	KP_WANT,    /* kp_mask: informational events wanted (HOLD_WANT_*) */
	KP_SET_KLC, /* kp_mask: 1 kill on last close, 0 run */
	/* kp_mask: ms that a question waits for its answer; 0 for ever */
	KP_SET_PATIENCE,
	KP_BKPT_SET,   /* kp_bkpt */
	KP_BKPT_CLEAR, /* kp_bkpt: addr */
	KP_LWPS,       /* kp_page; reply kp_lwps */
	KP_GETREGS,    /* header.tid; reply kp_regs */
	KP_SETREGS,    /* kp_setregs */
	KP_REGS_ALL,   /* kp_page; reply kp_regs_all */
	KP_SIGINFO,    /* header.tid; reply kp_siginfo */
	/* kp_mask: enum kp_release; reply.value 1: the connection is free */
	KP_RELEASE,
	/* header, with one descriptor: a memfd of KP_MAX_BKPTS 64-bit counters, sealed
	 * against shrinking, that the keeper maps until the release */
	KP_COUNTERS,
	/* kp_syscall: header.tid makes a system call; reply kp_sysret */
	KP_SYSCALL,
	/* header: of the call under way, or of the last one; reply kp_sysret */
	KP_SYSCALL_WAIT,
	/* kp_mask: address of an instruction that makes system calls, till the exec */
	KP_SYSCALL_INSN,
	KP_WATCH_SET,   /* kp_watch */
	KP_WATCH_CLEAR, /* kp_watch: of the same fields */
	/* kp_regset_page: registers of one kind, of every stopped LWP; reply kp_regset */
	KP_REGSET,
	/* kp_mask: enum kp_lwp_op, on header.tid; above KP_LWP_SIGNAL bits the signal
	 * that a run delivers, 0 the one that it stopped on */
	KP_LWP,
	/* kp_capture, with one descriptor: a memfd, sealed against shrinking, that gets
	 * what kp_capture_head says; with DETACH value 1 as for RELEASE */
	KP_CAPTURE,
	/* kp_mask: bytes of its stack that a record gets, above KP_RECORD_BELOW bits how
	 * many below the stack pointer they begin; with one descriptor: a memfd
	 * with a kp_ring, sealed against shrinking, that the keeper maps until the
	 * release */
	KP_RECORDS,
	/* header: there are to be uprobes in it, which somebody else's at the same place
	 * of a file makes deaf to traps: what can be kept by the kernel is */
	KP_UPROBES,
	KP_NTYPES
};

/* KP_LWP: one LWP, whatever the others do. */
enum kp_lwp_op {
	KP_LWP_GRAB, /* its end is told (LWP_GONE) */
	KP_LWP_FREE, /* no longer; runs if it was stopped by KP_LWP_STOP */
	KP_LWP_STOP, /* LWP_STOPPED follows, or LWP_GONE */
	KP_LWP_RUN,
	KP_LWP_RUN_CLEARSIG, /* the same, without the signal that it stopped on */
	KP_LWP_NOPS,
	KP_LWP_SIGNAL = 8 /* bits of the operation, below the signal's */
};

/* How KP_RELEASE leaves the victim: the values of enum hold_release_mode. */
enum kp_release {
	KP_RELEASE_RUN,
	KP_RELEASE_STOP,
	KP_RELEASE_KILL
};

/* Opens every request. */
struct kp_header {
	uint16_t version; /* KP_VERSION */
	uint16_t type;    /* enum kp_type */
	uint32_t len;     /* bytes of the whole packet, header included */
	uint32_t seq;     /* repeated in the reply */
	int32_t tid;      /* LWP that the request is about, or 0 */
};

/* Opens every reply (type and seq are the request's); also the whole reply where none
 * is named. */
struct kp_reply {
	struct kp_header h;
	int32_t err;        /* 0 or a negative errno */
	int32_t value;      /* see the request */
	char text[KP_TEXT]; /* err != 0: what was waited for or went wrong; may be "" */
};

enum {
	KP_ATTACH_NOSTOP = 1, /* let it run on */
	KP_ATTACH_KLC = 2,    /* kill on last close */
	/* the sender itself, a child about to exec: seized, not stopped; the reply
	 * comes at once; its first exec is STOPPED, why EXEC */
	KP_ATTACH_CHILD = 4,
	/* a child that is held at its birth (FORK with HELD): becomes this victim;
	 * with NOSTOP */
	KP_ATTACH_ADOPT = 8,
};

struct kp_attach {
	struct kp_header h;
	int32_t pid;          /* thread-group id */
	uint32_t flags;       /* KP_ATTACH_* */
	uint32_t deadline_ms; /* until every thread must stand */
	/* until a question gets its default; 0 never (as for CHILD) */
	uint32_t question_ms;
};

/* Reply to KP_ATTACH: a reply and, without NOSTOP and CHILD, the event of the stop. */
struct kp_run {
	struct kp_header h;
	uint32_t flags; /* HOLD_RUN_* values: KP_RUN_* below */
	int32_t sig;    /* delivered instead of the one it stopped on; 0 none */
};

enum {
	KP_RUN_STEP = 1,
	KP_RUN_CLEARSIG = 2,
	KP_RUN_LIFTED = 4
};

enum {
	KP_VERDICT_RESUME,
	KP_VERDICT_PARK
};

struct kp_answer {
	struct kp_header h;
	uint32_t question; /* seq of the event */
	uint32_t verdict;  /* KP_VERDICT_* */
};

struct kp_mask {
	struct kp_header h;
	uint64_t mask; /* see the request */
};

enum {
	KP_BKPT_STOP = 1,
	KP_BKPT_KERNEL = 2,   /* kernel-managed if it can be (not with STOP) */
	KP_BKPT_REPLACE = 4,  /* one that is there takes these flags */
	KP_BKPT_COUNT = 0x10, /* hits are counted in `counter`, nobody is told */
	/* a hit gets a record of id `counter`, and is counted there, before what else
	 * is to be done */
	KP_BKPT_RECORD = 0x20,
};

struct kp_bkpt {
	struct kp_header h;
	uint64_t addr;         /* of the instruction */
	uint32_t flags;        /* KP_BKPT_* */
	uint32_t counter;      /* COUNT, RECORD: index in the shared counters */
	struct arch_insn insn; /* what stands there */
};

struct kp_watch {
	struct kp_header h;
	uint64_t addr;   /* of the first byte */
	uint32_t len;    /* bytes: 1, 2, 4, 8 */
	uint32_t access; /* enum perf_access */
};

struct kp_page {
	struct kp_header h;
	uint32_t start; /* index of the first LWP wanted, in ascending tid order */
	uint32_t pad;   /* 0 */
};

enum {
	KP_LWP_STOPPED = 1,
	KP_LWP_OUTSTOP = 2
};

struct kp_lwp {
	int32_t tid;    /* thread id */
	uint32_t flags; /* KP_LWP_* */
	int32_t cursig; /* signal that a run would deliver */
};

struct kp_lwps {
	struct kp_reply r; /* value: LWPs in all */
	uint32_t n;        /* how many here */
	struct kp_lwp lwp[KP_MAX_LWPS];
};

struct kp_regs {
	struct kp_reply r;
	arch_regs_t regs; /* of the LWP */
};

struct kp_setregs {
	struct kp_header h;
	arch_regs_t regs; /* to be set */
};

struct kp_regs_all {
	struct kp_reply r; /* value: LWPs in all */
	uint32_t n;        /* how many here */
	struct kp_lwp lwp[KP_MAX_REGS];
	arch_regs_t regs[KP_MAX_REGS]; /* zero where the LWP is not stopped */
};

struct kp_regset_page {
	struct kp_header h;
	uint32_t type;  /* NT_* of <elf.h> */
	uint32_t start; /* index of the first LWP */
};

/* One LWP's, in kp_regset; the next one follows at a multiple of 8. */
struct kp_regset_one {
	int32_t tid;  /* thread id */
	uint32_t len; /* bytes that follow */
};

struct kp_regset {
	struct kp_reply r; /* value: index to go on from; 0 that was all */
	uint32_t len;      /* bytes used */
	uint32_t pad;      /* 0 */
	uint8_t bytes[KP_REGSET_ROOM];
};

struct kp_siginfo {
	struct kp_reply r;
	siginfo_t info; /* of the signal that it stopped on */
};

struct kp_syscall {
	struct kp_header h;
	uint64_t insn;    /* address of its instruction; 0: of KP_SYSCALL_INSN */
	int64_t nr;       /* number of the call */
	uint64_t args[6]; /* its arguments */
};

struct kp_sysret {
	struct kp_reply r; /* value 1: still under way */
	int64_t ret;       /* what the kernel returned: a negative errno, or the result */
};

enum {
	/* the victim is released (RUN) instead of resumed, if the reply has no error */
	KP_CAPTURE_DETACH = 1,
};

struct kp_capture {
	struct kp_header h;
	uint32_t flags;       /* KP_CAPTURE_* */
	uint32_t deadline_ms; /* who does not stand then is left out */
	uint64_t limit;       /* bytes of stack for each LWP at most */
};

enum {
	KP_CAPTURED_STOOD = 1,    /* head: it stood before, and stands */
	KP_CAPTURED_PARTIAL = 2,  /* head: an LWP did not stop in time */
	KP_CAPTURED_EXEC = 4,     /* head: it has exec'd meanwhile */
	KP_CAPTURED_REGS = 8,     /* LWP: it stood, regs is there */
	KP_CAPTURED_CUT = 16,     /* LWP: there is more stack than was copied */
	KP_CAPTURED_OUTSTOP = 32, /* LWP: in somebody else's stop */
	KP_CAPTURED_WAIT = 64,    /* LWP: its wait was broken off, and is made again */
};

/* Bytes of a stack. */
struct kp_piece {
	uint64_t addr; /* in the victim */
	uint64_t at;   /* in the memfd */
	uint64_t len;  /* 0 none */
};

/* One LWP, captured. */
struct kp_captured {
	int32_t tid;       /* thread id */
	uint32_t flags;    /* KP_CAPTURED_* */
	int32_t cursig;    /* signal that a run would deliver */
	int32_t pad;       /* 0 */
	uint64_t pause_ns; /* from its interrupt to its resume */
	/* from the stack pointer on; of the thread's own stack when that is another */
	struct kp_piece piece[2];
	arch_regs_t regs; /* zero without REGS */
};

/* At the beginning of the memfd, struct kp_captured[n] behind it. */
struct kp_capture_head {
	uint64_t n;        /* LWPs */
	uint64_t flags;    /* KP_CAPTURED_* */
	uint64_t pause_ns; /* from the first interrupt to the last resume */
	uint64_t size;     /* bytes in all */
};

/*
 * At the beginning of the memfd of KP_RECORDS; `size` bytes of records lie from
 * KP_RING_DATA on. One writes, one reads; the offsets count bytes for ever, modulo size
 * is the place. A record may go over the end.
 */
struct kp_ring {
	uint64_t size; /* bytes, a power of two; constant */
	uint64_t head; /* bytes written: the keeper's, released */
	uint64_t tail; /* bytes read: the client's, released */
	uint64_t lost; /* records for which there was no room: the keeper's */
};

/* One hit. */
struct kp_record {
	uint32_t len;     /* bytes of it all, a multiple of 8 */
	uint32_t id;      /* index of its counter */
	int32_t tid;      /* thread id */
	uint32_t nstack;  /* bytes of stack that follow */
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint64_t addr;    /* of the breakpoint */
	uint64_t at;      /* address of the stack's first byte here */
	uint64_t goes;    /* where a jump through memory goes; 0: it is none */
	arch_regs_t regs; /* at it */
};

/* What happens to a victim: the values of enum hold_event_kind, hold_why and
 * HOLD_EVF_*. */
struct kp_event {
	uint16_t version; /* KP_VERSION */
	uint16_t kind;    /* enum hold_event_kind */
	/* bytes of this packet: all, or without regs (KP_EVENT_SHORT) */
	uint32_t len;
	int32_t pid, tid; /* process and LWP */
	int32_t child;    /* FORK: new process; EXEC: former tid */
	int32_t why;      /* STOPPED: enum hold_why */
	int32_t what;     /* see the kinds */
	int32_t sig;      /* signal; STOPPED: of an outside stop in force, else 0 */
	int32_t status;   /* EXIT: wait(2) status */
	uint32_t seq;     /* names a question */
	uint32_t flags;   /* HOLD_EVF_* */
	uint32_t lost;    /* informational events dropped before this one */
	uint64_t addr;    /* breakpoint */
	uint64_t time_ns; /* CLOCK_REALTIME, never backwards */
	arch_regs_t regs; /* BKPT, EXEC, STOPPED */
};

#define KP_EVENT_SHORT offsetof(struct kp_event, regs)

/* Reply to KP_ATTACH. */
struct kp_attached {
	struct kp_reply r;    /* value: LWPs held */
	struct kp_event stop; /* the stop, without NOSTOP and CHILD */
};

/* The kinds, whys and flags of events; src/hold/hold.h gives them their meaning and their
 * names there (HOLD_EV_*, HOLD_WHY_*, HOLD_EVF_*), in the same order. */
enum kp_event_kind {
	KP_EV_STOPPED,
	KP_EV_BKPT,
	KP_EV_EXEC,
	KP_EV_FORK,
	KP_EV_THREAD_START,
	KP_EV_THREAD_EXIT,
	KP_EV_SIGNAL,
	KP_EV_OUTSTOP,
	KP_EV_CONTINUE,
	KP_EV_EXIT,
	KP_EV_LOST,
	KP_EV_BIRTH,
	KP_EV_LWP_STOPPED,
	KP_EV_LWP_GONE,
	KP_EV_NKINDS
};

enum kp_why {
	KP_WHY_REQUESTED,
	KP_WHY_PARK,
	KP_WHY_EXEC,
	KP_WHY_SIGNALLED,
	KP_WHY_FAULTED,
	KP_WHY_STEP,
	KP_WHY_WATCH,
	KP_WHY_NWHYS
};

enum {
	KP_EVF_QUESTION = 1,
	KP_EVF_DEFAULTED = 2,
	KP_EVF_UNSEEN = 4
};

enum {
	KP_WANT_THREADS = 1,
	KP_WANT_SIGNALS = 2,
	KP_WANT_FORKS = 4,
	KP_WANT_FOLLOW = 8
};

#endif
