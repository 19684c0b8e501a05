/* SPDX-License-Identifier: MIT */
/*
 * The keeper's objects. One thread, one event loop, no lock: whoever reads this reads a
 * state machine. The theory is in main.c; the state of an LWP in lwp.c.
 */
#ifndef PGRAB_KEEPER_KEEPER_H
#define PGRAB_KEEPER_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/arch.h"
#include "keeper/protocol.h"

struct victim;

enum {
	HW_MAX = 4,   /* debug registers of a thread */
	HW_LOOKS = 5, /* lwp.hw_fresh of a new one */
	UP_MAX = 4    /* uprobes of a victim */
};

/* Where an LWP is, as far as wait(2) has told. */
enum lwp_state {
	LWP_RUNNING,   /* resumed; a stop may be on its way */
	LWP_STOPPED,   /* in a ptrace stop: every ptrace request is allowed */
	LWP_LISTENING, /* in a group stop, PTRACE_LISTEN: somebody else's stop */
	/* found to be a zombie, or gone from under us: its end will be waited for */
	LWP_DYING,
};

/* What an LWP is to its victim. */
enum lwp_role {
	LWP_MEMBER, /* a thread of the victim */
	LWP_CHILD,  /* a process that the victim forked, until it is set free */
};

/* A stop that has been seen but not acted upon yet (the victim was being stopped). */
enum lwp_pending {
	LWP_PEND_NONE,
	LWP_PEND_SIGNAL, /* signal-delivery stop on `sig` */
	LWP_PEND_BKPT,   /* executed the trap at `pc`; PC has been moved back onto it */
};

/* Why an LWP stays stopped: a set; resumed when it is empty. */
enum {
	HOLD_ALLSTOP = 1,  /* the whole victim is (being) stopped */
	HOLD_QUESTION = 2, /* waits for an answer */
	HOLD_STEPPER = 4,  /* another LWP of the victim steps over a lifted trap */
	HOLD_OWN = 8,      /* it alone was asked to stop (lwpctl.c) */
	HOLD_SLOT = 0x100, /* a page of slots is being mapped (slot.c) */
	HOLD_ROOM = 0x200, /* its hit finds no room in the ring (record.c) */
};

/* A kernel-managed breakpoint or watchpoint in one LWP (hwbkpt.c). */
struct hw_event {
	int fd;        /* of the perf event; 0 none */
	int stale;     /* the fd of one closed with its signal on the way; 0 none */
	uint64_t seen; /* hits accounted for */
	/* its LWP has stood there since it was armed: each arrival since has counted */
	bool met;
};

/* One address that the kernel watches for us in every LWP of a victim. */
struct hw_slot {
	uint64_t addr;   /* where */
	uint32_t len;    /* bytes, of a watchpoint */
	uint32_t access; /* enum perf_access; 0: the slot is free */
	/* a trap has taken over: each LWP's event goes at its next stop */
	bool retiring;
	bool watch; /* a watchpoint: a hit stops the victim (watch.c) */
};

/* A uprobe of a victim (upbkpt.c). */
struct up_mark {
	int link;      /* descriptor that keeps it; 0 none */
	int sig;       /* that a hit is signalled by */
	uint64_t addr; /* where */
};

/* A system call by another instruction than the one under the breakpoint (borrow.c). */
enum borrowing {
	BORROW_NONE,
	BORROW_ENTERS, /* sent to the other instruction */
	BORROW_INSIDE, /* in the kernel; its exit will be reported if nothing else is */
};

/* One thread under ptrace. */
struct lwp {
	struct lwp *hash_next;    /* next in the bucket of its tid */
	struct lwp *next, *prev;  /* in victim.lwps, members only */
	struct victim *v;         /* whose */
	pid_t tid;                /* thread id */
	enum lwp_state state;     /* see there */
	enum lwp_role role;       /* see there */
	enum lwp_pending pending; /* unprocessed stop */
	unsigned holds;           /* HOLD_* */
	int sig;                  /* signal to deliver at the next resume; 0 none */
	bool sig_reported;        /* the client has seen that signal as a stop */
	bool group;               /* in a group stop when last seen */
	bool interrupted;         /* PTRACE_INTERRUPT sent, its stop not seen */
	bool grabbed;             /* the client is told of its end */
	bool own_told;            /* HOLD_OWN: that it stands has been told */
	bool in_vfork;            /* waits for its vfork child */
	bool forked_copy;         /* CHILD: has our traps still in its text */
	bool stepping;            /* single-stepped by us or for the client */
	bool born;                /* its first stop has been seen */
	/* a step was broken off after its end: its SIGTRAP is to come */
	bool swallow_trace;
	uint64_t step_pc;    /* stepping: where it began */
	bool masked;         /* signals are blocked while it steps over a trap */
	uint64_t saved_mask; /* masked: what was blocked before */
	/* address of the breakpoint hit that the client has seen; 0 */
	uint64_t reported;
	uint64_t pend_pc; /* PEND_BKPT: its address */
	bool pc_valid;    /* pc is what the kernel has (or dirty), regs or not */
	bool pc_dirty;    /* pc must be written before it is resumed */
	uint64_t pc;      /* of the stop */
	bool regs_valid;  /* regs is what the kernel has (or dirty) */
	bool regs_dirty;  /* regs must be written before it is resumed */
	arch_regs_t regs; /* registers of the stop */
	int deferred;     /* signal that waits for a step in a slot to end; 0 none */
	siginfo_t deferred_info; /* deferred: its siginfo */
	bool deferred_group;     /* deferred: a group stop came meanwhile */
	uint64_t passed;         /* a hit of this breakpoint with passed_sp is none; 0 */
	uint64_t passed_sp;      /* passed: the stack pointer */
	bool cut;               /* stands in a wait that we have broken off (restart.c) */
	uint64_t began;         /* CLOCK_MONOTONIC ns when that wait began; 0 not known */
	uint64_t until;         /* … when its time is up; 0 never, or not known */
	uint64_t again_at;      /* sent back onto this system call; 0 */
	uint64_t again_arg;     /* again_at: with this timeout */
	enum borrowing borrows; /* see there */
	uint64_t syscall_next;  /* borrows: what follows that instruction */
	uint64_t syscall_at;    /* borrows: the instruction under the breakpoint */
	uint32_t question;      /* seq of the open question, 0 none */
	/* CLOCK_MONOTONIC ns of its default; UINT64_MAX never */
	uint64_t question_end;
	struct lwp *qnext, *qprev; /* in the list of open questions */
	/* the question is of its birth: not postponed beyond this; 0 it is not */
	uint64_t birth_end;
	/* PTRACE_EVENT_* of the stop that it is in; SIGTRAP | 0x80 a system call; 0 a
	 * signal's delivery */
	int stop_event;
	int requeued; /* signal, delivered, that the kernel will show once more; 0 */
	struct inject *inject; /* a system call that it runs for us; NULL none */
	bool shares;           /* CHILD: in its parent's memory */
	bool sharer;           /* … without having it wait: in victim.sharers */
	/* what becomes pending when `pending` has been acted upon */
	enum lwp_pending pend_next;
	struct hw_event hw[HW_MAX]; /* by slot of the victim */
	/* looks to come before its signal mask is taken for its own; 0 it is */
	uint8_t hw_fresh;
	bool hw_deaf; /* they have all found that it blocks every signal that would do */
	uint8_t hw_hits;   /* watchpoints hit and not told yet: bits by slot */
	bool pend_behind;  /* BKPT: the instruction has been executed (a uprobe) */
	bool up_echo;      /* a hit was seen before its own signal, which is on its way */
	uint32_t captured; /* its place in the capture under way, from 1; 0 none */
	uint64_t halted;   /* monotonic ns when it was interrupted for a capture */
};

/* One breakpoint. Invariant: `in_text` says what stands in the victim's memory now. */
struct bkpt {
	uint64_t addr;         /* of the instruction */
	struct arch_insn insn; /* the program's own */
	bool stop;             /* a hit stops the victim, else it is a question */
	bool counts;           /* hits are only counted: */
	bool records;          /* a hit is recorded, and counted, first */
	uint32_t counter;      /* counts, records: index in victim.counters */
	uint64_t slot;         /* where its instruction is copied to; 0 nowhere */
	uint8_t often;         /* hits got past, up to where a slot is worth it */
	bool no_slot;          /* no page could be mapped within reach */
	bool in_text;          /* the trap is planted */
	/* removed; kept until no LWP can have an unseen hit of it */
	bool dead;
	bool trapped; /* a trap of ours has stood in the text */
	bool kernel;  /* kernel-managed if it can be */
	uint8_t hw;   /* … and is, in victim.hw[hw - 1]; 0: not so */
	uint8_t up;   /* … as a uprobe, in victim.up[up - 1]; 0: not so */
};

/* The ring of KP_RECORDS. */
struct ring {
	struct kp_ring *mem; /* shared with the client; NULL none */
	uint64_t size;       /* bytes of records; the client's word is not taken twice */
	uint64_t head;       /* bytes written */
	uint32_t stack;      /* bytes of its stack that a record gets … */
	uint32_t below;      /* … from so many below the stack pointer on */
	bool waiting;        /* somebody does, for room … */
	uint64_t wait_end;   /* … until then, monotonic ns */
	bool stuck;          /* it was waited for room in vain … */
	uint64_t stuck_at;   /* … when the client had read so far */
};

/* An event that the socket did not take. */
struct queued {
	struct queued *next;
	struct kp_event ev;
};

/* What happens to a victim as a whole. */
enum victim_phase {
	V_ATTACHING, /* not every thread stands yet */
	V_HELD,      /* normal */
	V_RELEASING, /* being let go; no request is taken */
	V_HANGING,   /* released with STOP: waits for the group stop of every LWP */
	V_KILLING,   /* SIGKILL sent, its end is awaited */
	V_IDLE,      /* released: the connection waits for the next ATTACH */
};

/* The system call that the client asked for. */
enum call_state {
	CALL_NONE,
	CALL_UNDER_WAY,
	CALL_DONE, /* its result is there for whoever asks */
};

/* One process. */
struct victim {
	struct victim *next, *prev; /* in the keeper's list */
	pid_t pid;                  /* thread-group id */
	int ctl, ev;                /* sockets; -1 when closed */
	int pidfd;                  /* identity while attaching; -1 afterwards */
	int memfd;                  /* /proc/PID/mem, read-write; -1 not open */
	enum victim_phase phase;    /* see there */
	bool klc;                   /* kill on last close */
	bool uprobes;               /* there are some in it, or are to be (KP_UPROBES) */
	bool creating;              /* a child of the client before its first exec */
	bool nostop;                /* attach without leaving it stopped */
	bool stopping, stopped;     /* all-stop wanted; reached */
	/* stops are taken in one after the other: whether it is reached is asked after
	 * the last of them, else a thousand LWPs are looked through a thousand times */
	bool gathering;
	bool ev_watched;        /* the event socket is in epoll: room is wanted */
	bool ended;             /* its end has been seen and told */
	bool seized;            /* ATTACHING: every thread is seized */
	bool crowded;           /* ATTACHING: it had more threads than one */
	bool client_step;       /* the stepper steps for the client (KP_RUN_STEP) */
	int why, what, why_sig; /* of the all-stop under way or in force */
	pid_t why_tid;          /* LWP that caused it */
	uint64_t why_addr;      /* breakpoint of it */
	int outstop;            /* signal of somebody else's stop in force; 0 none */
	struct lwp *lwps;       /* members */
	unsigned nlwps;         /* how many */
	unsigned nchildren;     /* forked children not yet set free */
	/* members waiting for vfork children, and sharers: traps are out */
	unsigned vforks;
	struct lwp *sharers; /* children that share the memory; counted in vforks */
	bool lifted;         /* parked: traps are out until a run */
	/* a followed vfork child: the memory is its parent's until its exec */
	bool borrows;
	struct slot_page *slots; /* pages of copied instructions; owned */
	struct lwp *slot_maker;  /* maps a page now; NULL none */
	unsigned slot_attempt;   /* slot_maker: places tried */
	int handed;              /* descriptor of the request under way, -1 none */
	uint64_t *counters;      /* shared with the client; NULL none */
	struct ring ring;        /* records of hits, likewise */
	/* steps over a trap that must be executed; NULL none */
	struct lwp *stepper;
	struct bkpt *bkpts;       /* by address */
	size_t nbkpts, cap_bkpts; /* how many, room */
	uint64_t stop_mask;       /* signals that stop */
	unsigned want;            /* KP_WANT_* */
	uint32_t seq;             /* last question */
	uint32_t patience_ms;     /* of questions; 0 forever */
	/* a question went unanswered: answer by default at once */
	bool unattended;
	bool unseen;                   /* to be said in the next event */
	uint32_t lost;                 /* events dropped, to be said in the next */
	struct queued *qhead, **qtail; /* events waiting for room */
	unsigned nqueued;              /* how many */
	/* monotonic ns of the first tick that found it stopping; 0 none */
	uint64_t stop_since;
	uint64_t deadline; /* ATTACHING, RELEASING: monotonic ns; 0 none */
	/* request whose reply is owed (ATTACH, RELEASE); len 0 none */
	struct kp_header req;
	int release_mode;          /* enum kp_release */
	unsigned ninject;          /* LWPs that run a system call for us */
	bool seccomp;              /* an LWP has been seen to have a filter */
	struct hw_slot hw[HW_MAX]; /* kernel-managed addresses */
	bool hw_off;      /* no more kernel-managed breakpoints until the next exec */
	int hw_sig;       /* that a hit is signalled by; 0: none chosen yet */
	uint64_t hw_sigs; /* all that have ever been */
	uint64_t hw_late; /* those that came late */
	uint64_t hw_look; /* monotonic ns of the next look at masks of new LWPs; 0 none */
	struct up_mark up[UP_MAX]; /* uprobes */
	bool up_off;               /* no more of them until the next exec */
	/* address of an instruction that makes system calls; 0 not told */
	uint64_t syscall_insn;
	enum call_state call;      /* see there */
	int call_err;              /* CALL_DONE: for its reply */
	int64_t call_ret;          /* likewise */
	struct kp_header call_req; /* request whose reply is owed; len 0 none */
	uint64_t call_slice;       /* monotonic ns when it is sent at the latest */
	struct capture *capture;   /* under way, or just over; NULL none; owned */
};

/* The keeper. */
struct keeper {
	int hub;                /* the client, or -1 when it is gone */
	int client;             /* its pidfd */
	int epoll, sigfd;       /* the loop's */
	pid_t pid;              /* our own */
	struct victim *victims; /* all */
	struct lwp *questions;  /* open ones, the oldest first */
	struct lwp *questions_tail;
	uint64_t life_ns;            /* monotonic: the client's last request */
	bool hit;                    /* a breakpoint was, about which nobody is asked */
	uint64_t last_time_ns;       /* of the last event: stamps never run backwards */
	bool closing;                /* the client is gone: end when the victims are */
	volatile sig_atomic_t fatal; /* a fatal signal that somebody sent; 0 none */
};

extern struct keeper K;

/* --- trace.c: every ptrace request and its log line; each 0 or -errno -------------- */

int trace_seize(pid_t pid, pid_t tid, unsigned options);
int trace_interrupt(struct lwp *l);
int trace_cont(struct lwp *l, int sig);
int trace_step(struct lwp *l, int sig);
int trace_listen(struct lwp *l);
int trace_detach(struct lwp *l, int sig);
int trace_getregs(struct lwp *l, arch_regs_t *ret);
int trace_setregs(struct lwp *l, const arch_regs_t *regs);
/* one register, by its index: a third of the cost of all */
int trace_getreg(struct lwp *l, unsigned reg, uint64_t *ret);
int trace_setreg(struct lwp *l, unsigned reg, uint64_t value);
bool trace_has_shadow_stack(struct lwp *l); /* enabled in it (x86, Linux 6.6) */
int trace_getregset(struct lwp *l, unsigned type, void *ret, size_t *len);
int trace_siginfo(struct lwp *l, siginfo_t *ret);
int trace_syscall(struct lwp *l);               /* runs to the entry of a system call */
int trace_rseq(struct lwp *l, uint64_t *ret);   /* its struct rseq, 0 none; Linux 5.13 */
bool trace_has_pending(struct lwp *l, int sig); /* queued for this thread */
int trace_setinfo(struct lwp *l, const siginfo_t *info);
int trace_getmask(struct lwp *l, uint64_t *ret);
int trace_setmask(struct lwp *l, uint64_t mask);
int trace_message(struct lwp *l, unsigned long *ret);
int trace_options(struct lwp *l, unsigned options);
int trace_detach_tid(pid_t tid); /* of no LWP that we know */
int trace_poke(pid_t tid, uint64_t addr, const void *bytes, size_t len);
unsigned trace_base_options(const struct victim *v);

/* --- lwp.c ------------------------------------------------------------------------- */

struct lwp *lwp_find(pid_t tid);
/* NULL: no memory */
struct lwp *lwp_new(struct victim *v, pid_t tid, enum lwp_role role);
void lwp_adopt(struct lwp *l, struct victim *v); /* a child becomes v's member */
void lwp_free(struct lwp *l);
void lwp_rename(struct lwp *l, pid_t tid);
bool lwp_moving(const struct lwp *l); /* may still execute, or its stop is not seen */
int lwp_regs(struct lwp *l, arch_regs_t **ret); /* cached; of a stopped LWP */
int lwp_pc(struct lwp *l, uint64_t *ret);       /* the same for the PC alone */
void lwp_set_pc(struct lwp *l, uint64_t pc);    /* cached, written at resume */
void lwp_forget(struct lwp *l);                 /* about to run: nothing is cached */
int lwp_flush(struct lwp *l);                   /* writes dirty registers */
char lwp_proc_state(pid_t pid, pid_t tid);      /* letter of /proc, 0 when gone */

/* --- victim.c ---------------------------------------------------------------------- */

struct victim *victim_new(int ctl, int ev);
void victim_free(struct victim *v);
void victim_recycle(struct victim *v); /* nothing but its sockets stays */
void victim_stop(struct victim *v, int why, int what, pid_t tid, uint64_t addr);
void victim_stop_lwp(struct lwp *l);         /* asks a moving one to stop */
void victim_check_stopped(struct victim *v); /* acts when the last LWP stands */
void victim_run(struct victim *v);           /* ends an all-stop */
/* deadlines, zombies among the awaited */
void victim_tick(struct victim *v, uint64_t now);
struct lwp *victim_lwp(struct victim *v, pid_t tid); /* member or NULL */
bool victim_standing(const struct victim *v);        /* no member is moving */

/* --- attach.c ---------------------------------------------------------------------- */

void attach_init(void);
void attach_late(struct victim *v); /* the deadline has passed */
void attach_begin(struct victim *v, const struct kp_attach *req, int pidfd);
void attach_continue(struct victim *v); /* seizes what is not seized yet; may finish */
bool attach_is_whole(struct victim *v); /* false: seize once more */
void attach_done(struct victim *v);     /* every thread stands: reply */
void attach_fail(struct victim *v, int err, const char *text);

/* --- late.c ------------------------------------------------------------------------ */

/* the thread that does not stop, its state, and where it is in the kernel */
void late_say_moving(struct victim *v, char *text, size_t size);
pid_t late_find_exec(pid_t pid); /* its thread that is in execve; the leader if none is */

/* --- wait.c, stops.c: waiting yields a value, reacting is another function --------- */

struct wait_event {
	pid_t tid;  /* who */
	int status; /* of wait(2) */
};

/* any traced thread; no blocking */
bool wait_next(struct wait_event *ret);
bool wait_for(pid_t tid, struct wait_event *ret); /* that one */
void wait_dispatch(const struct wait_event *ev);  /* to its LWP, or kept for it */
/* a stop that came before its LWP */
bool wait_claim(pid_t tid, struct wait_event *ret);
/* the next one that nobody has claimed and that pick() wants; it is told the age, ns */
typedef bool wait_pick(pid_t tid, uint64_t age);
bool wait_unclaimed(wait_pick *pick, uint64_t now, struct wait_event *ret);
/* there are such: the loop ticks */
bool wait_unsettled(void);
void stops_react(struct lwp *l, int status);
void stops_resume(struct lwp *l); /* resumes when nothing holds it */
/* sig, or none (0), in the place of what l stopped on; of a stopped LWP */
void stops_set_signal(struct lwp *l, int sig);
void stops_settle(struct lwp *l); /* it stands: held, or resumed */
/* an EVENT_STOP with sig: somebody else's stop begins or ends */
void stops_note_group(struct lwp *l, int sig);

/* --- follow.c ---------------------------------------------------------------------- */

void follow_free(struct lwp *child);   /* cleaned, detached, forgotten */
void follow_stands(struct lwp *child); /* its first stop */
/* asks for the fate of a newborn; false: nobody wants to know */
bool follow_ask(struct lwp *child, struct kp_event *ev);
/* the client is at work: the question of a birth waits a little longer */
bool follow_postponed(struct lwp *l, uint64_t now);
void follow_default(struct lwp *child); /* its question is over */
void follow_answer(struct victim *v, const struct kp_answer *a);
void follow_abandon(struct victim *v); /* let go, or killed: so are held children */
void follow_adopt(struct victim *v);   /* makes a held child of anybody's v's */
void follow_ghost(struct victim *v);   /* it has ended */
void follow_orphans(uint64_t now);
/* A newborn that was set free before its birth is told. */
bool follow_has_left(pid_t tid);

/* --- share.c ----------------------------------------------------------------------- */

bool share_same(pid_t parent, pid_t child, int event); /* one memory for both */
void share_begin(struct lwp *child);
void share_end(struct lwp *child);     /* if it is a sharer: it is none any more */
void share_drop_all(struct victim *v); /* they are let go */
bool share_stop(struct lwp *child, int event, int sig); /* a sharer's stop: it runs on */

/* --- bkpt.c ------------------------------------------------------------------------ */

struct bkpt *bkpt_find(struct victim *v, uint64_t addr); /* dead ones too */
int bkpt_set(struct victim *v, const struct kp_bkpt *req);
int bkpt_clear(struct victim *v, uint64_t addr);
bool bkpt_plantable(const struct victim *v); /* traps may stand in the text now */
/* uprobes come into it */
void bkpt_mind_uprobes(struct victim *v);
void bkpt_plant_all(struct victim *v);
void bkpt_lift_all(struct victim *v);
void bkpt_forget_all(struct victim *v); /* the address space has gone */
void bkpt_bury(struct victim *v);       /* drops dead ones: every LWP stands */
int bkpt_clean_child(struct victim *v, pid_t child); /* -errno: to be done again */
int bkpt_write(struct victim *v, struct bkpt *b, bool trap);
/* text of the victim */
int bkpt_write_bytes(struct victim *v, uint64_t addr, const void *bytes, size_t len);
int bkpt_share_counters(struct victim *v, int fd); /* takes fd */
void bkpt_unshare_counters(struct victim *v);
struct mem bkpt_memory(struct victim *v); /* the victim's, for emulation */

/* --- record.c: hits told through shared memory -------------------------------------- */

/* Takes fd; mask: as KP_RECORDS has it. 0 or -errno. */
int record_share(struct victim *v, int fd, uint64_t mask);
void record_unshare(struct victim *v);
void record_hit(struct lwp *l, const struct bkpt *b); /* or counts it as lost */
bool record_waits(struct lwp *l); /* for room: HOLD_ROOM, its hit is to be told yet */
void record_tick(struct victim *v, uint64_t now);

/* --- hwbkpt.c: breakpoints that the kernel keeps; hwready.c: whether it may --------- */

int hw_arm(struct victim *v, struct bkpt *b); /* 0, or it is to be a trap */
/* the same, but waits some milliseconds for the kernel if need be */
int hw_arm_at_once(struct victim *v, struct bkpt *b);
void hw_disarm(struct victim *v, struct bkpt *b);
void hw_retire(struct victim *v, struct bkpt *b); /* a trap has taken over */
void hw_drop_all(struct victim *v);               /* exec, release */
void hw_upgrade(struct victim *v); /* traps that would rather be kernel-managed */
void hw_born(struct lwp *l);       /* its first stop */
void hw_ended(struct lwp *l);      /* is about to be freed */
/* l's signal stop is a hit, now pending, or only the trace of one: handled */
bool hw_signal(struct lwp *l, int sig);
/* a trap at addr is only met because it came under l's feet as it passed a hit */
bool hw_passing(struct lwp *l, uint64_t addr);
void hw_stood(struct lwp *l); /* it has stopped, whatever for: retires events */
/* to be resumed from an address whose hit has been seen: none again */
void hw_pass(struct lwp *l);
void hw_tick(struct victim *v, uint64_t now);

/* One that dies with us needs nothing better; but see KP_UPROBES. */
static inline bool traps_will_do(const struct victim *v)
{
	return v->klc && !v->uprobes;
}
bool hw_ready(const struct victim *v); /* events may be had; asks for them if not yet */
bool hw_may_signal(uid_t uid);         /* a process of that user gets our signals */
void hw_retry(void);                   /* upgrades traps a little later */
void hw_child(pid_t pid, int status);  /* a child of ours has ended */
uint64_t hw_next_deadline(void);       /* monotonic ns, UINT64_MAX none */
void hw_ticks(uint64_t now);

int hw_take(struct victim *v, const struct hw_slot *what, int *ret_slot);
void hw_empty(struct victim *v, int slot);
/* A signal that the victim would not notice; 0 none. */
int hw_choose(struct victim *v);
bool hw_is_signal(int sig);                      /* one of those that are chosen from */
void hw_tell_late(struct lwp *l, uint64_t addr); /* a hit was seen at another place */
/* Hits may have come to nothing: the client is to compare whole lists. */
void hw_tell_unseen(struct victim *v);

/* --- upbkpt.c: breakpoints that the kernel keeps as uprobes ------------------------- */

int up_arm(struct victim *v, struct bkpt *b); /* 0, or it is to be a trap */
void up_disarm(struct victim *v, struct bkpt *b);
void up_to_trap(struct victim *v, struct bkpt *b);
void up_drop_all(struct victim *v); /* exec, release */
void up_born(struct lwp *l);        /* its first stop */
/* A signal that may stand for a hit: true when nothing else is to be done about it. */
bool up_signal(struct lwp *l, int sig);
int watch_set(struct victim *v, const struct kp_watch *req);
int watch_clear(struct victim *v, const struct kp_watch *req);
void watch_act(struct lwp *l); /* tells a hit that it has noted */

/* --- step.c ------------------------------------------------------------------------ */

void step_over(struct lwp *l, struct bkpt *b); /* l stands on b, reported: get it past */
/* an LWP stands: the stepper may step now */
void step_ready(struct victim *v);
/* l's signal stop belongs to a step: handled */
bool step_trap(struct lwp *l, int sig);
/* another stop came in a step: stepped on */
bool step_again(struct lwp *l);
/* one instruction for the client, then STOPPED */
void step_client(struct lwp *l, int sig);
void step_abandon(struct lwp *l); /* it died, exec'd or is released */

/* --- inject.c ---------------------------------------------------------------------- */

/*
 * What a call came to. err 0: ret is what the kernel returned (a negative errno, -EINTR
 * when it was broken off); l is STOPPED, as it was before. -EINTR: broken off before it
 * was made; -EFAULT: there is no such instruction at insn; -EPERM: the victim's seccomp
 * filter answered with SIGSYS; l likewise. -ESRCH: l has ended, is about to be freed and
 * must not be used. The function may begin another call, change the registers, set
 * holds; it must not free l nor resume it: on its return l is settled (stops_settle()).
 */
typedef void inject_done_f(struct lwp *l, int err, int64_t ret);

/*
 * Has l, which is STOPPED, whether the others are or not, make the system call nr with
 * the instruction at insn. 0: under way, done() will be called, never before this
 * returns. -EBUSY: l is not stopped, steps, runs another call or waits for its vfork
 * child; -ENOTSUP: 32-bit code, or a call that cannot be made so (fork, clone …, exec by
 * a thread that is not the leader); -EADDRINUSE: a trap of ours stands at insn;
 * -EFAULT: no such instruction does; -ENOMEM, -ESRCH.
 */
int inject_begin(struct lwp *l, uint64_t insn, long nr, const uint64_t args[6],
		 inject_done_f *done);
/* 1: no seccomp filter; 0: there is one (or nobody can tell), which may kill the victim
 * for a call that it does not make itself. */
int inject_allowed(struct lwp *l);
bool inject_stop(struct lwp *l, int event, int sig); /* a stop of l: it was the call's */
bool inject_again(struct lwp *l);         /* another stop came in a call: it goes on */
bool inject_told(struct lwp *l, int sig); /* that signal was seen before a call */
void inject_abort(struct victim *v);      /* the calls under way shall end */
void inject_forget(struct lwp *l);        /* it has ended */
void inject_tick(struct victim *v, uint64_t now);

/* signals that are blocked in a step, with those of `mask` */
uint64_t step_mask(uint64_t mask);

/* --- slot.c, borrow.c -------------------------------------------------------------- */

/* What slot_take_in() did with a stop. */
enum slot_verdict {
	SLOT_STANDS, /* the stop is as wait(2) said */
	SLOT_TAKEN,  /* noted as pending: settle it */
	SLOT_RUNS,   /* resumed: no stop */
};

/* l stands on b: into its slot, or held until there is one. False: no way for it. */
bool slot_enter(struct lwp *l, struct bkpt *b);
/* l has stopped (on sig, 0: not a signal stop): its PC leaves the slot */
enum slot_verdict slot_take_in(struct lwp *l, int sig);
/* the next hit at addr with this stack is the same once more */
void slot_pass(struct lwp *l, uint64_t addr);
bool slot_passes(struct lwp *l, uint64_t addr); /* it is that one */
void slot_abandon(struct lwp *l);               /* l is gone */
void slots_bury(struct victim *v);              /* all stand: frees unused slots */
void slots_forget(struct victim *v);            /* the address space is gone */
/* all stand, for a release: true: an LWP unmaps a page, and will stand again */
bool slots_unmap(struct victim *v);

/* l stands on b, a system call: by another such instruction */
bool borrow_enter(struct lwp *l, struct bkpt *b);
/* a system call stop: at the entry, as if from the original place; at the exit */
void borrow_syscall(struct lwp *l);
/* l stopped (on sig, 0: no signal stop) before it had entered: back onto the trap */
void borrow_broken(struct lwp *l, int sig);
/* an interrupt of ours, or sig, broke a system call that the kernel will restart */
void borrow_restarts(struct lwp *l, int sig);
/* --- rseq.c ------------------------------------------------------------------------ */

/* l is about to run elsewhere: its own registers leave a sequence that they are in. */
void rseq_leave(struct lwp *l, arch_regs_t *regs);

/* --- call.c ------------------------------------------------------------------------ */

void call_begin(struct victim *v, const struct kp_syscall *req);
void call_wait(struct victim *v, const struct kp_header *req);
void call_tick(struct victim *v, uint64_t now);

/* --- restart.c --------------------------------------------------------------------- */

void restart_look(struct lwp *l); /* l is about to be interrupted: since when it waits */
/* l has stopped, by an interrupt of ours (sig 0) or on sig: was a wait broken off? */
void restart_note(struct lwp *l, int sig);
void restart_resume(struct lwp *l, int sig); /* l is let go: it waits on */
void restart_entered(struct lwp *l);         /* it is in the call again */
/* l has stopped before it had made the call again */
void restart_undo(struct lwp *l, int sig);

/* --- lwpctl.c: one LWP --- */

/* what the client asks; sig: of a run */
void lwpctl(struct lwp *l, enum kp_lwp_op op, int sig);
void lwpctl_stands(struct lwp *l); /* it has come to stand: told, if it was asked to */
void lwpctl_gone(struct lwp *l);   /* it ends: told, if the client has grabbed it */
void lwpctl_drop(struct lwp *l);   /* the client's wishes are void: it may run */

/* --- capture.c --------------------------------------------------------------------- */

void capture_begin(struct victim *v, const struct kp_capture *req, int fd); /* takes fd */
/* every LWP stands: it is what a capture was waiting for, and runs on or is let go */
bool capture_take(struct victim *v);
bool capture_join(
	struct victim *v);         /* a stop is asked for: after the capture under way */
void capture_halts(struct lwp *l); /* is about to be interrupted */
void capture_resumed(struct lwp *l);  /* is about to run, or be let go */
void capture_exec(struct victim *v);  /* it has exec'd */
void capture_ended(struct victim *v); /* it has ended, or is let go otherwise */
void capture_tick(struct victim *v, uint64_t now);
void capture_free(struct victim *v);

/* --- event.c ----------------------------------------------------------------------- */

struct kp_event event_make(struct victim *v, struct lwp *l, int kind);
void event_send(struct victim *v, struct kp_event *ev);
void event_ask(struct lwp *l, struct kp_event *ev); /* question, or its default at once */
void event_answered(struct lwp *l);                 /* the question is closed */
void event_flush(struct victim *v);                 /* the socket has room */
void event_defaults(uint64_t now);                  /* questions whose time is up */
uint64_t event_next_deadline(void);                 /* monotonic ns, UINT64_MAX none */
void event_drop_queue(struct victim *v);
uint64_t clock_mono(void);

/* --- request.c, release.c ---------------------------------------------------------- */

void request_hub(void);
void request_control(struct victim *v);
void reply_send(struct victim *v, const struct kp_header *req, int err, int value,
		const char *text);
void release_begin(struct victim *v, int mode, const struct kp_header *req);
void release_last_close(struct victim *v); /* by klc, outside stop respected */
bool release_one(
	struct lwp *l); /* it stands: detached, when the release needs no other */
void release_standing(struct victim *v); /* every LWP stands: detach */
void release_gone(struct victim *v);     /* the victim died on the way */
void release_look(struct victim *v);     /* drops LWPs whose end nobody will tell */
void reply_raw(struct victim *v, const void *msg, size_t len);

/* --- main.c, crash.c --------------------------------------------------------------- */

enum loop_room {
	ROOM_NOT_WANTED,
	ROOM_WANTED
};

int loop_add(struct victim *v); /* its sockets into epoll */
/* told when events can be sent */
void loop_want_room(struct victim *v, enum loop_room room);
void loop_close(int *fd);          /* out of epoll, closed, -1 */
void client_gone(const char *why); /* last close of everything */
void loop_drain(unsigned ms); /* goes on with threads alone until no victim is left */
void crash_init(void);
void crash_end(void); /* the loop has ended: by the fatal signal that was sent, if any */

#endif
