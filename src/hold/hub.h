/* SPDX-License-Identifier: MIT */
/*
 * The process's keeper: one for each client process, started by the first who needs it.
 */
#ifndef PGRAB_HOLD_HUB_H
#define PGRAB_HOLD_HUB_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "hold/hold.h"
#include "keeper/protocol.h"

enum {
	HUB_IDLE = 8
}; /* connections kept for later victims */

/* The two socket pairs between us and the keeper for one victim. */
struct connection {
	int control, events; /* ours; -1 none */
	int keeper_control,
		keeper_events; /* the keeper's of a new pair, until sent; else -1 */
};

/* One keeper. Counted: the process holds one reference while it is the current one. */
struct hub {
	unsigned refs;                    /* guarded by the lock in hub.c */
	pid_t owner;                      /* process that started it */
	pid_t keeper;                     /* the keeper's pid */
	int fd;                           /* our end of the hub; owned */
	struct connection idle[HUB_IDLE]; /* released and free; owned, same lock */
	unsigned nidle;                   /* how many */
};

/* A reference on the process's keeper, started now when there is none. 0; -ENOENT no
 * program; -EPROTO another version; -EMFILE … Blocks for the start (under 1 ms; 5 s at
 * most). */
int hub_get(struct hub **ret, struct hold_fault *fault);
struct hub *hub_ref(struct hub *hub);
void hub_put(struct hub *hub);

/* This keeper was found to be gone: the next hub_get() starts another. */
void hub_drop(struct hub *hub);

/* A connection: one that a released victim left, else a new one. 0 or a negative errno
 * (-EMFILE). Everything is close-on-exec. */
int hub_connect(struct hub *hub, struct connection *ret);

/* Takes back a connection that the keeper has declared free; c->control becomes -1. */
void hub_keep(struct hub *hub, struct connection *c);

/* Closes the keeper's ends, once they are sent. */
void connection_sent(struct connection *c);
/* Closes whatever is open. */
void connection_close(struct connection *c);

/* Sends an attach request for the process behind pidfd. 0, -EPIPE keeper gone,
 * -ETIMEDOUT. */
int connection_attach(const struct hub *hub, const struct connection *c,
		      const struct kp_attach *req, int pidfd, int64_t end);

/*
 * Runs the keeper's program `path` detached from this process, with `hub` and `client` (a
 * pidfd of this process) as its descriptors 3 and 4; both stay the caller's. 0 or the
 * negative errno of the step that failed.
 */
int keeper_launch(const char *path, int hub, int client);

#endif
