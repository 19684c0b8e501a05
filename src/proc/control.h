/* SPDX-License-Identifier: MIT */
/*
 * What the session layer needs of a handle beyond libproc.h: events as they come,
 * questions answered, tagged breakpoints, link maps. Hidden from clients.
 *
 * One thread at a time *drives* a handle: it alone takes events. A bare handle is driven
 * by whoever waits on it (Pwait …); a session's control thread takes the wheel for good
 * with Pdrive(), and other threads' Pwait() then sleep until it has seen the state
 * change. Each event updates the handle's state and status before the driver gets it.
 */
#ifndef PGRAB_PROC_CONTROL_H
#define PGRAB_PROC_CONTROL_H

#include "hold/hold.h"
#include "image/image.h"
#include "libproc.h"
#include "rtld/rtld.h"

/* The caller becomes the only driver of P, until the handle ends. 0 or -errno (-EBADF
 * read-only). */
int Pdrive(struct ps_prochandle *P);

/* Takes the next event without waiting; updates the state. 1, 0 none, -EPIPE when the
 * keeper has gone (state LOST, text restored). Driver only. */
int Pevent_next(struct ps_prochandle *P, struct hold_event *ret);

/* The event of the create or grab itself (STOPPED, REQUESTED or EXEC). */
void Pevent_first(struct ps_prochandle *P, struct hold_event *ret);

/* Answers a question, as hold_answer(). */
int Panswer(struct ps_prochandle *P, const struct hold_event *question,
	    enum hold_verdict verdict);

/*
 * A handle, not stopped, on the child that the FORK question `fork` of the parent's holds
 * (HOLD_WANT_FOLLOW), with the parent's last-close rule; that answers the question.
 * NULL with *ret_err: -ESRCH too late, -EMFILE, -ENOMEM, -EPIPE. The child waits at its
 * BIRTH, a question too.
 */
struct ps_prochandle *Padopt(struct ps_prochandle *parent, const struct hold_event *fork,
			     int *ret_err);

/* Plants (or, while parked, notes) a breakpoint whose hits are questions; counted: the
 * second at an address shares the first. Reads and decodes the instruction. 0 or -errno.
 */
int Ptag_set(struct ps_prochandle *P, uintptr_t addr);

/* Gives one count back; the last lifts it. Nothing when the address space has gone. */
void Ptag_clear(struct ps_prochandle *P, uintptr_t addr);

/* The same, for what process control itself needs: kernel-managed where it can be
 * (HOLD_BKPT_KERNEL) and nobody else has a breakpoint there. Counted apart. */
int Ptag_set_kernel(struct ps_prochandle *P, uintptr_t addr);
void Ptag_clear_kernel(struct ps_prochandle *P, uintptr_t addr);

/*
 * A breakpoint whose hits the keeper counts in *ret_counter, telling nobody, for as long
 * as no Ptag_set() or Psetbkpt() wants the same address: then the hits come as events.
 * Shared as tags are: *ret_base is what it had counted before. The caller owns a
 * reference on the counter until Pcount_clear().
 */
int Pcount_set(struct ps_prochandle *P, uintptr_t addr, uint32_t *ret_counter,
	       uint64_t *ret_base);
void Pcount_clear(struct ps_prochandle *P, uintptr_t addr, uint32_t counter);
/* Its value; any time, any thread, no lock. */
uint64_t Pcount(struct ps_prochandle *P, uint32_t counter);

/* A reference on a counter more, or less: its number means no other breakpoint. */
void Pcounter_keep(struct ps_prochandle *P, uint32_t counter);
void Pcounter_drop(struct ps_prochandle *P, uint32_t counter);

/*
 * A breakpoint whose hits the keeper records, with registers and the stack's first bytes,
 * and counts in *ret_counter; telling nobody unless others want to know of it. Shared and
 * owned as counts are; after Precord_begin() (see hold_records_begin()).
 */
int Precord_begin(struct ps_prochandle *P, size_t size, size_t stack, size_t below);
int Precord_set(struct ps_prochandle *P, uintptr_t addr, uint32_t *ret_counter,
		uint64_t *ret_base);
void Precord_clear(struct ps_prochandle *P, uintptr_t addr, uint32_t counter);
/* What has come, as hold_records_take(). One thread at a time. */
void Precord_take(struct ps_prochandle *P, hold_record_f *fn, void *arg,
		  uint64_t *ret_lost);

/* Registers and stack of a thread as they were. */
struct Pcopy {
	const arch_regs_t *regs; /* at the time */
	uint64_t at;             /* address of the copied bytes: the stack pointer */
	const uint8_t *bytes;    /* them */
	size_t n;                /* how many */
};

/* The frames of such a copy, innermost first, in a process that was as `im` has it:
 * program counters, at most max. How many; *ret_cut 1: the outermost one is not among
 * them. */
unsigned Pstack_copied(struct ps_prochandle *P, struct image *im,
		       const struct Pcopy *from, uintptr_t *pcs, unsigned max,
		       int *ret_cut);

/* As Pfmt_ustack(), by what was mapped when the snapshot was made. */
size_t Pfmt_ustack_in(struct image *im, const uintptr_t *pcs, size_t n, char *buf,
		      size_t size);

/* Which informational events are wanted: HOLD_WANT_*. */
int Pwant(struct ps_prochandle *P, unsigned mask);

/* How long questions wait for an answer, ms (0: for ever, as of a created victim at
 * first): hold_set_patience(). */
int Ppatience(struct ps_prochandle *P, unsigned ms);

/* There are to be uprobes in it: hold_uprobes(). */
int Puprobes(struct ps_prochandle *P);

/* The keeper's hold of P; NULL read-only. Borrowed. */
struct hold *Phold(struct ps_prochandle *P);

/* A new reference on the current snapshot, built when there is none; NULL with errno. */
struct image *Pimage(struct ps_prochandle *P);

/* The same as it is by now: one that may be old is built anew. */
struct image *Pimage_current(struct ps_prochandle *P);

/* The same, or NULL when it has to be built first. */
struct image *Pimage_ready(struct ps_prochandle *P);

/* The file that is mapped at addr, without a snapshot: as procfs_mapped_file(). */
int Pmapped_file(struct ps_prochandle *P, uint64_t addr, uint64_t *ret_start,
		 uint64_t *ret_end, char **ret_path);

/* The handle's agent (NULL: static, or cannot be read), made when there is none. Owned by
 * P. */
struct rtld *Prtld(struct ps_prochandle *P);

/*
 * Reads the link maps and, when they changed, builds the next snapshot and swaps it in;
 * of a process with very many mappings not more often than it can bear: then whoever
 * asks for the snapshot builds it.
 * *ret_list (NULL or a zeroed list, the caller's to fini) gets the list. As rtld_read().
 */
int Plinkmaps(struct ps_prochandle *P, struct rtld_list *ret_list);

/* 1 when P's process still is the one that was grabbed (alive, same exec), 0 when it is
 * not: for cached read-only handles. Costs two system calls at most. */
int Pcurrent(struct ps_prochandle *P);

/* 1 when the handle is read-only. */
int Prdonly(struct ps_prochandle *P);

/* The release flags that the state asks for: PRELEASE_KILL, PRELEASE_HANG or 0. */
int Prelease_mode(struct ps_prochandle *P);

#endif
