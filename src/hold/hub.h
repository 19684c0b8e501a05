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

/* One keeper. Counted: the process holds one reference while it is the current one. */
struct hub {
	unsigned refs; /* guarded by the lock in hub.c */
	pid_t owner;   /* process that started it */
	pid_t keeper;  /* the keeper's pid */
	int fd;        /* our end of the hub; owned */
};

/* A reference on the process's keeper, started now when there is none. 0; -ENOENT no program;
 * -EPROTO another version; -EMFILE … Blocks for the start (under 1 ms; 5 s at most). */
int hub_get(struct hub **ret, struct hold_fault *fault);
void hub_put(struct hub *hub);

/* This keeper was found to be gone: the next hub_get() starts another. */
void hub_drop(struct hub *hub);

/* Sends one packet with nfds (at most 3) descriptors. 0, -EPIPE keeper gone, -ETIMEDOUT. */
int hub_send(const struct hub *hub, const void *req, size_t len, const int *fds,
	     size_t nfds, int64_t end);

/*
 * Runs the keeper's program `path` detached from this process, with `hub` and `client` (a
 * pidfd of this process) as its descriptors 3 and 4; both stay the caller's. 0 or the negative
 * errno of the step that failed.
 */
int keeper_launch(const char *path, int hub, int client);

#endif
