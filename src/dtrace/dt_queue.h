/* SPDX-License-Identifier: MIT */
/*
 * The queue of what a session has to tell: notifications and life events of all its
 * victims, in order of time. Knows descriptors and times, no processes: it is tested
 * without any. The theory is in dt_queue.c.
 */
#ifndef PGRAB_DTRACE_DT_QUEUE_H
#define PGRAB_DTRACE_DT_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "dtrace.h"
#include "util/thread_safety.h"

extern struct ts_role dt_role_queue; /* the lock of a dt_queue is held */

enum {
	DT_QUEUE_MAX =
		65536, /* things waiting; what comes beyond is dropped and counted */
	DT_QUEUE_LATE_MS =
		500 /* how long one victim's silence may delay another's news */
};

/* What an item is. */
enum dt_item_kind {
	DT_ITEM_NOTE,  /* a notification: `text`, or NULL */
	DT_ITEM_EVENT, /* a life event: `ev`, whose object is `text` */
};

/* One thing to tell. */
struct dt_item {
	struct dt_item *next;    /* in the queue, or held back by its source */
	struct dt_source *src;   /* whose news */
	enum dt_item_kind kind;  /* see there */
	uint64_t time;           /* CLOCK_REALTIME ns at the stop: the order */
	uint64_t put_ms;         /* CLOCK_MONOTONIC ms when it came into the queue */
	bool reserved;           /* part of its source, not to be freed */
	bool queued;             /* reserved: in use */
	struct ps_prochandle *P; /* whose, for the handler; never followed here */
	dtrace_procev_t ev;      /* EVENT */
	char *text;              /* owned; may be NULL */
};

/* One victim as the queue sees it. Made by dt_source_init(), then guarded by the
 * queue's lock. */
struct dt_source {
	struct dt_source *next, *prev; /* in the queue's list */
	struct ps_prochandle *P;       /* for its items */
	int fd;          /* polls readable while the keeper's news of it are unread */
	bool listed;     /* in the queue's list */
	bool fresh;      /* not handed to the client yet: its items are held back */
	bool busy;       /* an event is being taken, or was and is being handled */
	bool ended;      /* nothing more will come */
	uint64_t floor;  /* time of the last event taken: no later item is older */
	uint64_t missed; /* dropped since the last event put */
	struct dt_item *held;      /* fresh: its items in order */
	struct dt_item last_event; /* reserved: EXIT or LOST needs no memory */
	struct dt_item last_note;  /* reserved: its notification */
};

struct dt_queue {
	pthread_mutex_t lock; /* a leaf: nothing is taken inside */
	struct dt_item *head TS_GUARDED_BY(dt_role_queue);      /* oldest first */
	struct dt_item *tail TS_GUARDED_BY(dt_role_queue);      /* newest */
	unsigned n TS_GUARDED_BY(dt_role_queue);                /* items, held ones too */
	struct dt_source *sources TS_GUARDED_BY(dt_role_queue); /* all that are listed */
	uint64_t horizon
		TS_GUARDED_BY(dt_role_queue); /* up to here nothing earlier can come */
	uint64_t delivered
		TS_GUARDED_BY(dt_role_queue); /* time of the newest item handed out */
	bool blocked TS_GUARDED_BY(dt_role_queue); /* head waits for another source */
	uint64_t armed
		TS_GUARDED_BY(dt_role_queue); /* what the descriptor is set to, ms */
	int fd;                               /* a timerfd; see dt_queue.c */
};

/* 0 or -errno. */
int dt_queue_init(struct dt_queue *q);
/* Frees what is left; no source may be listed any more. */
void dt_queue_fini(struct dt_queue *q);

/* A source of news about P, fresh, read through fd, whose news begin at `floor`. */
void dt_source_init(struct dt_source *s, struct ps_prochandle *P, int fd, uint64_t floor);
void dt_source_add(struct dt_queue *q, struct dt_source *s) TS_EXCLUDES(dt_role_queue);
/* The client has its handle: what was held back is put into the queue. */
void dt_source_publish(struct dt_queue *q, struct dt_source *s)
	TS_EXCLUDES(dt_role_queue);
/* Out of the list; what it had to tell is dropped. Nothing when it never was listed. */
void dt_source_remove(struct dt_queue *q, struct dt_source *s) TS_EXCLUDES(dt_role_queue);

/* The way of one event: begin, take it, taken (its time), put what it means, done. */
void dt_source_begin(struct dt_queue *q, struct dt_source *s) TS_EXCLUDES(dt_role_queue);
void dt_source_taken(struct dt_queue *q, struct dt_source *s, uint64_t time)
	TS_EXCLUDES(dt_role_queue);
void dt_source_done(struct dt_queue *q, struct dt_source *s) TS_EXCLUDES(dt_role_queue);
/* No event will come any more. */
void dt_source_end(struct dt_queue *q, struct dt_source *s) TS_EXCLUDES(dt_role_queue);

/* Events were lost on their way to us: the next one put says so. */
void dt_source_missed(struct dt_queue *q, struct dt_source *s, uint64_t n)
	TS_EXCLUDES(dt_role_queue);

/*
 * Puts a life event (object copied, may be NULL) or a notification (text copied, may be
 * NULL) of s at `time`. When memory or room is short a life event is counted as missed,
 * except EXIT and LOST, which are reserved, as is the notification without a text.
 */
void dt_queue_put_event(struct dt_queue *q, struct dt_source *s,
			const dtrace_procev_t *ev, uint64_t time)
	TS_EXCLUDES(dt_role_queue);
void dt_queue_put_note(struct dt_queue *q, struct dt_source *s, const char *text,
		       uint64_t time) TS_EXCLUDES(dt_role_queue);

/* Takes the oldest item if it may be told now: true, *ret a copy whose text the caller
 * frees. */
bool dt_queue_next(struct dt_queue *q, struct dt_item *ret) TS_EXCLUDES(dt_role_queue);

#endif
