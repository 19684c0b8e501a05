/* SPDX-License-Identifier: MIT */
/*
 * Captures, asked of the keeper. The bytes come through memory that both map, a memfd
 * that is made here and can only grow; the keeper has written it when it replies, and
 * closes it then. What stands in it is checked all the same before it is used: the
 * capture must not be able to lead anybody out of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hold/hold.h"
#include "hold/state.h"
#include "util/scope.h"

_Static_assert((int)HOLD_CAPTURE_STOOD == (int)KP_CAPTURED_STOOD &&
		       (int)HOLD_CAPTURE_PARTIAL == (int)KP_CAPTURED_PARTIAL &&
		       (int)HOLD_CAPTURE_EXEC == (int)KP_CAPTURED_EXEC &&
		       (int)HOLD_CAPTURE_REGS == (int)KP_CAPTURED_REGS &&
		       (int)HOLD_CAPTURE_CUT == (int)KP_CAPTURED_CUT &&
		       (int)HOLD_CAPTURE_OUTSTOP == (int)KP_CAPTURED_OUTSTOP &&
		       (int)HOLD_CAPTURE_WAIT == (int)KP_CAPTURED_WAIT,
	       "capture flags");

struct hold_capture {
	const struct kp_capture_head *head; /* mapped */
	const struct kp_captured *lwps;     /* behind it */
	size_t size;                        /* bytes mapped */
};

static int make_memory(int *ret_fd)
{
	_cleanup_close_ int fd =
		memfd_create("pgrab-capture", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
		return -errno;
	*ret_fd = scope_take_fd(&fd);
	return 0;
}

/* Is everything inside? */
static bool is_sound(const struct hold_capture *c)
{
	const struct kp_capture_head *head = c->head;

	if (head->n > (c->size - sizeof(*head)) / sizeof(*c->lwps))
		return false;
	for (uint64_t i = 0; i < head->n; i++)
		for (unsigned k = 0; k < HOLD_CAPTURE_PIECES; k++) {
			const struct kp_piece *p = &c->lwps[i].piece[k];

			if (p->len && (p->at > c->size || p->len > c->size - p->at))
				return false;
		}
	return true;
}

static int open_capture(int fd, struct hold_capture **ret)
{
	struct hold_capture *c = calloc(1, sizeof(*c));
	struct stat st;
	void *p = MAP_FAILED;

	if (!c)
		return -ENOMEM;
	if (!fstat(fd, &st) && st.st_size >= (off_t)sizeof(*c->head))
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		free(c);
		return -ENOMEM;
	}
	c->size = (size_t)st.st_size;
	c->head = p;
	c->lwps = (const struct kp_captured *)(c->head + 1);
	if (!is_sound(c)) {
		hold_capture_free(c);
		return -EPIPE;
	}
	*ret = c;
	return 0;
}

static int ask(struct hold *h, struct kp_capture *req, int fd, struct kp_reply *reply)
{
	HOLD_NOCANCEL;
	int err;

	if (h->owner != getpid())
		return -EPIPE;
	hold_header(&req->h, KP_CAPTURE, sizeof(*req), 0);
	pthread_mutex_lock(&h->lock);
	err = hold_hand_over(h, req, fd, reply);
	pthread_mutex_unlock(&h->lock);
	return err;
}

int hold_capture(struct hold *h, uint64_t limit, unsigned deadline_ms,
		 struct hold_capture **ret)
{
	struct kp_capture req = { .limit = limit, .deadline_ms = deadline_ms };
	_cleanup_close_ int fd = -1;
	struct kp_reply reply;
	int err = make_memory(&fd);

	if (!err)
		err = ask(h, &req, fd, &reply);
	return err ? err : open_capture(fd, ret);
}

int hold_capture_release(struct hold *h, uint64_t limit, unsigned deadline_ms,
			 struct hold_capture **ret)
{
	HOLD_NOCANCEL;
	struct kp_capture req = { .flags = KP_CAPTURE_DETACH,
				  .limit = limit,
				  .deadline_ms = deadline_ms };
	_cleanup_close_ int fd = -1;
	struct kp_reply reply;
	int err = make_memory(&fd);

	if (!err)
		err = ask(h, &req, fd, &reply);
	if (err) {
		hold_release(h, HOLD_RELEASE_RUN);
		return err;
	}
	if (reply.value == 1)
		hold_give_back(h);
	hold_free(h);
	return open_capture(fd, ret);
}

size_t hold_capture_count(const struct hold_capture *c)
{
	return c->head->n;
}

unsigned hold_capture_flags(const struct hold_capture *c)
{
	return (unsigned)c->head->flags;
}

uint64_t hold_capture_pause(const struct hold_capture *c)
{
	return c->head->pause_ns;
}

void hold_capture_get(const struct hold_capture *c, size_t i, struct hold_captured *ret)
{
	const struct kp_captured *from = &c->lwps[i];

	*ret = (struct hold_captured){ .tid = from->tid,
				       .flags = from->flags,
				       .cursig = from->cursig,
				       .pause_ns = from->pause_ns,
				       .regs = from->regs };
	for (unsigned k = 0; k < HOLD_CAPTURE_PIECES; k++)
		ret->piece[k] =
			(struct hold_piece){ from->piece[k].addr, from->piece[k].len,
					     (const char *)c->head + from->piece[k].at };
}

void hold_capture_free(struct hold_capture *c)
{
	if (!c)
		return;
	munmap((void *)c->head, c->size);
	free(c);
}
