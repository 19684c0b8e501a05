/* SPDX-License-Identifier: MIT */
/*
 * The handle itself; private to src/proc. The theory is in handle.c.
 */
#ifndef PGRAB_PROC_HANDLE_H
#define PGRAB_PROC_HANDLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/arch.h"
#include "core/core.h"
#include "hold/hold.h"
#include "image/image.h"
#include "libproc.h"
#include "mem/mem.h"
#include "proc/control.h"
#include "rtld/rtld.h"

/* Who wants a breakpoint at an address: one entry an address, as in the keeper. */
struct bkpt_want {
	uint64_t addr;         /* where */
	struct arch_insn insn; /* the program's own instruction */
	unsigned tags;         /* counted Ptag_set()s: hits are questions */
	unsigned plain;        /* … of them, those that are to be traps */
	unsigned counts;       /* counted Pcount_set()s, to whom the hits matter only */
	unsigned records;      /* counted Precord_set()s: hits are recorded */
	uint32_t counter;      /* counts, records: the keeper's counter */
	bool stop;             /* a Psetbkpt(): a hit stops the victim; wins over tags */
	bool planted;          /* the keeper has it */
};

struct rd_agent {
	struct ps_prochandle *P; /* borrowed */
	bool lent;               /* the handle's own: rd_delete() leaves it */
	bool events;             /* rd_event_enable() */
	bool consistent;         /* the first consistent state has been seen */
};

/*
 * What a handle is on: a process (live_ops, functions beside their users), or a core or
 * ELF file (dead_ops, dead.c). Called with the lock held. 0 or -errno where they may
 * fail; -ESRCH the process has gone.
 */
struct handle_ops {
	bool (*alive)(const struct ps_prochandle *P); /* it is there, and can be read */
	void (*look)(struct ps_prochandle *P);        /* state, without events */
	void (*count)(struct ps_prochandle *P);       /* status: threads, parent, group */
	int (*psinfo)(struct ps_prochandle *P, psinfo_t *ret);
	struct mem (*seam)(struct ps_prochandle *P); /* valid under the lock */
	/* auxv, cmdline or environ, as the file of /proc, allocated */
	int (*slurp)(struct ps_prochandle *P, const char *name, char **ret,
		     size_t *ret_n);
	int (*maps)(struct ps_prochandle *P, struct procfs_map **ret, size_t *ret_n);
	int (*open_mapped)(struct ps_prochandle *P, const struct procfs_map *m);
	int (*exe)(struct ps_prochandle *P, char **ret); /* path of the program */
	/* LWPs that nobody holds, allocated */
	int (*lwps)(struct ps_prochandle *P, lwpstatus_t **ret, size_t *ret_n);
	int (*regs)(struct ps_prochandle *P, lwpid_t lwp, arch_regs_t *ret);
};

extern const struct handle_ops live_ops, dead_ops;

struct ps_prochandle {
	const struct handle_ops *ops; /* what it is on */
	struct core *core;            /* the core or ELF file; NULL: a process */
	pthread_mutex_t lock; /* guards everything below; never held across a wait */
	pthread_cond_t cond;  /* state changed, or the wheel is free (CLOCK_MONOTONIC) */
	pid_t pid;            /* the process; of a core: that it was */
	int pidfd;            /* its identity; -1 when it is a file */
	struct hold *hold;    /* the keeper's end; NULL read-only */
	bool child;           /* we created it: reap at the end */
	bool driven;          /* a control thread drives for good */
	bool polling;         /* a waiter drives now */

	int state;               /* PS_* */
	bool allstop;            /* every LWP is in a stop of ours */
	bool asked;              /* hold_stop() accepted, its STOPPED not seen yet */
	bool clearsig;           /* the next run delivers no signal */
	bool calling;            /* Psyscall() is under way */
	int outstop;             /* signal of somebody else's stop in force, 0 none */
	bool klc, rlc;           /* last-close flags */
	uint64_t sigs;           /* Psignal(): bit n-1 */
	unsigned flts;           /* Pfault(): bit of the fault */
	struct hold_event first; /* the create's or grab's own stop */
	pstatus_t status;        /* lent by Pstatus() */
	psinfo_t psinfo;         /* lent by Ppsinfo() */

	struct mem_live live; /* the victim's memory */
	auxv_t *auxv;         /* NULL not read yet; AT_NULL at the end */
	struct rtld *rtld;    /* NULL none yet */
	bool rtld_tried;      /* it was looked for */
	uint64_t link_seq;    /* rtld_list.seq behind the image */
	struct image *image;  /* the current snapshot; NULL none yet */
	uint64_t image_ns;    /* CLOCK_MONOTONIC of its making */
	uint64_t image_vsize; /* bytes of address space just before it; 0 not known */
	bool image_old;       /* the victim has run since (controlled handles) */
	bool image_due;       /* the link maps have changed since: build before use */
	uint64_t image_cost;  /* ns that its making took */
	int exec_fd;      /* bound to this exec's address space, or -1; see Pcurrent() */
	bool execed;      /* read-only: another program than was grabbed */
	uint64_t exec_id; /* what tells one exec from the next without it */
	struct rd_agent agent; /* Prd_agent() */

	struct ps_lwphandle *lwps; /* LWPs that the client has grabbed */

	struct bkpt_want *bkpts; /* breakpoints, by address */
	size_t nbkpts;           /* how many */

	prmap_t lent_map;         /* by Paddr_to_map() and the like */
	rd_loadobj_t lent_object; /* by Paddr_to_loadobj() */
	struct image *lent_image; /* what prsyminfo strings point into */
};

/* --- handle.c --------------------------------------------------------------------- */
struct ps_prochandle *
handle_new(pid_t pid,
	   int pidfd); /* takes pidfd; NULL: no memory, pidfd is the caller's */
void handle_free(struct ps_prochandle *P);
void handle_lock(struct ps_prochandle *P);
void handle_unlock(struct ps_prochandle *P);
void handle_sleep(struct ps_prochandle *P,
		  const struct timespec *end); /* on the condition; NULL: for ever */
int handle_fail(int err);                      /* sets errno from 0 or -errno; 0 or -1 */

/* --- live_ops: with the lock held ------------------------------------------------- */
bool live_alive(const struct ps_prochandle *P);
void live_look(struct ps_prochandle *P);
void live_count(struct ps_prochandle *P);
int live_psinfo(struct ps_prochandle *P, psinfo_t *ret);
struct mem live_seam(struct ps_prochandle *P);
int live_slurp(struct ps_prochandle *P, const char *name, char **ret, size_t *ret_len);
int live_maps(struct ps_prochandle *P, struct procfs_map **ret, size_t *ret_n);
int live_open_mapped(struct ps_prochandle *P, const struct procfs_map *m);
int live_exe(struct ps_prochandle *P, char **ret);
int live_lwps(struct ps_prochandle *P, lwpstatus_t **ret, size_t *ret_n);
int live_regs(struct ps_prochandle *P, lwpid_t lwp, arch_regs_t *ret);

/* --- dead.c ----------------------------------------------------------------------- */
void dead_status(struct ps_prochandle *P); /* what the core says, once */
const struct core_lwp *dead_lwp(const struct ps_prochandle *P, lwpid_t lwp); /* or NULL */
extern const struct image_origin dead_origin; /* of a struct core */

/* --- drive.c: call with the lock held --------------------------------------------- */
void drive_apply(struct ps_prochandle *P, const struct hold_event *ev);
void drive_lost(struct ps_prochandle *P);
void drive_running(struct ps_prochandle *P);  /* the keeper has set it running */
void drive_forget(struct ps_prochandle *P);   /* all that was of the old program */
bool drive_readable(struct ps_prochandle *P); /* forgets all it knew; reads a byte */
void drive_poll(struct ps_prochandle *P); /* what is there, without waiting; bare only */
int drive_wait(struct ps_prochandle *P, bool (*done)(struct ps_prochandle *, void *),
	       void *arg, unsigned msec);

/* --- lwpctl.c: with the lock held ------------------------------------------------- */
void lwpctl_apply(struct ps_prochandle *P, const struct hold_event *ev);
void lwpctl_orphan(struct ps_prochandle *P); /* P is about to be freed */

/* --- text.c: with the lock held --------------------------------------------------- */
/* bytes were read from addr, our traps hidden: puts what the file has there in the place
 * of somebody else's trap. */
void text_original(struct ps_prochandle *P, uint64_t addr, uint8_t *bytes, size_t n);

/* --- memory.c: with the lock held ------------------------------------------------- */
struct mem memory_seam(struct ps_prochandle *P);
ssize_t memory_read(struct ps_prochandle *P, uint64_t addr, void *buf, size_t len);
int memory_rehome(struct ps_prochandle *P); /* after an -ESRCH: through another thread */

/* --- bkpt.c: with the lock held --------------------------------------------------- */
void bkpt_forget(struct ps_prochandle *P); /* the address space has gone */

/* --- data.c, maps.c: with the lock held ------------------------------------------- */
const auxv_t *data_auxv(struct ps_prochandle *P);
uint64_t data_auxval(struct ps_prochandle *P, uint64_t type); /* 0 when there is none */
struct rtld *maps_rtld(struct ps_prochandle *P);
struct image *maps_image(struct ps_prochandle *P); /* borrowed; NULL with errno */
void maps_reset(struct ps_prochandle *P);
int maps_refresh(struct ps_prochandle *P); /* builds anew: 0 or -errno */
struct image *
maps_take(struct ps_prochandle
		  *P); /* takes the lock itself: new reference, NULL with errno */
struct image *maps_take_fresh(struct ps_prochandle *P,
			      struct image *stale); /* after a miss; NULL: no newer */
struct image *maps_take_current(struct ps_prochandle *P); /* as it is by now; likewise */
/* The same, but one of this second is good enough when the program is the same and its
 * address space as large: who needs it an instant later. */
struct image *maps_take_recent(struct ps_prochandle *P);
bool maps_may_be_old(const struct ps_prochandle *P); /* with the lock held */
long maps_lmid(Lmid_t lmid);
const char *
maps_object_name(const char *obj); /* PR_OBJ_* to the image's names; NULL every */

/* --- symbols.c -------------------------------------------------------------------- */
#define JIT_MODULE "[jit]" /* the module of compiled code */
/* The symbol that holds addr; *im becomes a newer snapshot where that is needed. 0,
 * -ENOENT. */
int symbols_at(struct ps_prochandle *P, uint64_t addr, struct image **im,
	       struct image_symbol *ret);

/* --- identity.c: with the lock held ----------------------------------------------- */
void identity_note(struct ps_prochandle *P); /* this exec it is */
void identity_renew(
	struct ps_prochandle *P); /* read-only: forgets what an exec has ended */

/* --- errors.c --------------------------------------------------------------------- */
void errors_clear(void);
void errors_detail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int errors_grab(pid_t pid, int err,
		const struct hold_fault *fault); /* G_* with its detail */

#endif
