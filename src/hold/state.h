/* SPDX-License-Identifier: MIT */
/*
 * What stands behind a struct hold, for the files of this folder.
 */
#ifndef PGRAB_HOLD_STATE_H
#define PGRAB_HOLD_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "hold/hold.h"
#include "hold/hub.h"
#include "hold/traps.h"
#include "keeper/protocol.h"

enum {
	HOLD_REPLY_MS = 10000
}; /* a keeper that takes longer to reply is taken for lost */

/* Hits that the keeper counts (counters.c). */
struct counters {
	uint64_t *v;     /* shared with the keeper; NULL none yet */
	uint32_t n;      /* handed out so far */
	uint32_t *freed; /* indexes to be handed out again; owned */
	uint32_t nfreed; /* how many */
	uint32_t *refs;  /* references, by index; in the same allocation as freed */
};

/* Hits that the keeper records (records.c). */
struct recorder {
	struct kp_ring *mem; /* shared with the keeper; NULL none yet */
	uint64_t size;       /* bytes of records */
	uint64_t tail;       /* bytes read */
	uint8_t *buf;        /* one record; owned */
	size_t room;         /* bytes there */
};

/* One victim, seen from the client. */
struct hold {
	pid_t owner;   /* process that made it; a forked copy of it may only free the hold
			*/
	pid_t pid;     /* the victim's thread-group id */
	int pidfd;     /* the victim, for when the keeper has gone */
	bool borrowed; /* pidfd is the caller's (HOLD_BORROW), else owned */
	struct hub *hub;      /* the keeper; one reference */
	int control;          /* requests and replies; owned */
	int events;           /* events; owned */
	pthread_mutex_t lock; /* held over a request and its reply; guards seq */
	uint32_t seq;         /* of the last request */
	atomic_int gone; /* 0, or why no request can be made any more: a negative errno */
	atomic_bool ended; /* EXIT or LOST has been read */
	int handing;       /* descriptor that goes with the request under way, or -1 */
	struct counters counters; /* under `lock` but for the counts themselves */
	struct recorder records;  /* their reader's, once begun */
	struct traps traps;       /* breakpoints; has its own lock, taken inside `lock` */
	/* address of an instruction that the keeper has been told; 0 none */
	_Atomic uint64_t syscall_insn;
};

/* A hold that owns our ends of c (taken out of it), a reference on hub and a copy of
 * pidfd (HOLD_BORROW: pidfd itself). 0, -ENOMEM, -EMFILE. */
int hold_new(pid_t pid, int pidfd, unsigned flags, struct hub *hub, struct connection *c,
	     struct hold **ret);
/* After a release the keeper has nothing left of the victim: the connection may serve the
 * next one. */
void hold_give_back(struct hold *h);
void counters_fini(struct counters *c);
void recorder_fini(struct recorder *r);

/* Closes and frees, without a word to the keeper: the last close. */
void hold_free(struct hold *h);

/* Fills in a request's header. */
void hold_header(struct kp_header *h, enum kp_type type, size_t len, pid_t tid);

/*
 * Sends a request (header filled in, seq is set here) and takes its reply of exactly
 * reply_size bytes; a bare kp_reply will do for a failure. reply->err, or what
 * hold_lose() noted.
 */
int hold_call(struct hold *h, void *req, void *reply, size_t reply_size);

/* The same with the hold's lock held by the caller. */
int hold_call_locked(struct hold *h, void *req, void *reply, size_t reply_size);

/* The same, with a descriptor. */
int hold_hand_over(struct hold *h, void *req, int fd, struct kp_reply *reply);

/* The keeper is gone or broken: notes err for all later calls and restores the victim's
 * text. Returns what was noted first. */
int hold_lose(struct hold *h, int err);

/* 0 when requests can be made; -EPIPE in a forked copy of the owner, or what hold_lose()
 * noted. */
int hold_usable(const struct hold *h);

/* Event of the protocol as a value; -EPROTO when it is not one. */
int event_parse(const struct kp_event *ev, size_t len, struct hold_event *ret);

/* Notes err and a text for the caller (fault may be NULL); returns err. */
int fault_set(struct hold_fault *fault, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* CLOCK_MONOTONIC in ms. */
int64_t hold_clock_ms(void);

/* Waits until fd has one of `events` or the time `end` (hold_clock_ms) has come: 0,
 * -ETIMEDOUT. */
int hold_poll(int fd, short events, int64_t end);

/*
 * Host threads may be cancelled in any wait of ours: not while we hold a lock or a
 * half-made victim. Used as a scope guard: HOLD_NOCANCEL;
 */
int nocancel_begin(void);
void nocancel_end(int *state);
#define HOLD_NOCANCEL                                                                    \
	__attribute__((cleanup(nocancel_end), unused)) int nocancel_ = nocancel_begin()

#endif
