/* SPDX-License-Identifier: MIT */
/*
 * The control thread: one for each controlled victim. It waits in poll() for news of the
 * keeper and for its eventfd, and reacts; between the two stands a value. It owns the
 * record (as by dt_proc_lock()) while it reacts, from before it takes an event, which
 * changes the handle, until the event has been dealt with; never while it waits.
 *
 * It takes no signal but SIGABRT (blocked by its maker), cannot be cancelled, and is
 * joined by whoever ends the record. It does nothing before it is asked to: a grab that
 * is released at once costs no look at maps, files or link maps.
 *
 * Should the victim die while we look at it: every read then fails, whatever was being
 * found out is given up, and the EXIT that follows says it all.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "dtrace/dt_impl.h"
#include "util/log.h"

/* What next() found. */
enum happening_kind {
	WOKEN,   /* somebody wants something: look at the flags */
	EVENT,   /* the record is ours, `ev` has been taken */
	NOTHING, /* a false alarm */
	BROKEN,  /* no more events will come */
	QUIT,    /* the thread shall end */
};

struct happening {
	enum happening_kind kind; /* see there */
	struct hold_event ev;     /* EVENT */
};

static void settle(dt_proc_t *dpr)
{
	dt_source_done(&dpr->dtp->queue, &dpr->src);
	dt_record_disown(dpr);
}

static enum happening_kind take(dt_proc_t *dpr, struct hold_event *ret, short revents)
{
	int rc;

	if (!dt_record_own(dpr))
		return QUIT;
	dt_source_begin(&dpr->dtp->queue, &dpr->src);
	rc = Pevent_next(dpr->P, ret);
	if (rc == 1) {
		dpr->now = ret->time_ns;
		dt_source_taken(&dpr->dtp->queue, &dpr->src, ret->time_ns);
		return EVENT;
	}
	/* An end of the socket that reads as "nothing" would make us spin. */
	if (rc || (revents & (POLLERR | POLLHUP | POLLNVAL)))
		return BROKEN;
	settle(dpr);
	return NOTHING;
}

static void next(dt_proc_t *dpr, struct happening *ret)
{
	struct pollfd fds[2] = { { .fd = Pctlfd(dpr->P), .events = POLLIN },
				 { .fd = dpr->wake, .events = POLLIN } };
	uint64_t n;

	ret->kind = NOTHING;
	if (poll(fds, 2, -1) < 0) {
		if (errno != EINTR && errno != ENOMEM)
			ret->kind = QUIT;
		return;
	}
	if (fds[1].revents) {
		/* Read first, look at the flags then: see dt_record.c. */
		ret->kind = read(dpr->wake, &n, sizeof(n)) < 0 ? NOTHING : WOKEN;
		return;
	}
	if (fds[0].revents)
		ret->kind = take(dpr, &ret->ev, fds[0].revents);
}

/* --- running ------------------------------------------------------------------------ */

/* Once no park is to come, a question is not worth a frozen victim. */
static void lose_patience(dt_proc_t *dpr)
{
	if (!dpr->created || dpr->impatient || dt_rdv_wanted(dpr))
		return;
	if (dpr->patience && !Ppatience(dpr->P, dpr->patience))
		dpr->impatient = true;
}

static void run(dt_proc_t *dpr)
{
	dt_links_watch(dpr);
	dt_bkpts_plant(dpr);
	lose_patience(dpr);
	dt_rdv_left(dpr);
	/* EBUSY: the client has set it running itself. */
	if (Psetrun(dpr->P, 0, 0) && errno != EBUSY)
		log_at(LOG_CTL, 1, dpr->pid, 0, "cannot run: errno %d", errno);
}

static void run_or_park(dt_proc_t *dpr)
{
	unsigned bit = dt_rdv_decide(dpr);

	if (bit)
		dt_parked(dpr, bit);
	else
		run(dpr);
}

static bool readable(dt_proc_t *dpr)
{
	unsigned char byte;
	prgreg_t pc;

	return !Pgetareg(dpr->P, R_PC, &pc) && Pread(dpr->P, &byte, 1, pc) == 1;
}

/* A program that we may execute but not read (mode 0711) cannot be observed. One that
 * has been killed cannot be read either: its EXIT is on its way and says so. */
static bool observable(dt_proc_t *dpr)
{
	if (readable(dpr))
		return true;
	if (errno == ESRCH)
		return false;
	if (!Preopen(dpr->P) && readable(dpr))
		return true;
	dt_lost(dpr);
	return false;
}

static void begin_created(dt_proc_t *dpr)
{
	dtrace_procev_t created = { .kind = DT_PROC_EV_CREATE, .tid = dpr->pid };
	char path[4096];

	if (!observable(dpr))
		return;
	created.object = Pexecname(dpr->P, path, sizeof(path));
	dt_tell(dpr, created);
	dt_tell_privileges(dpr);
	if (dt_links_matter(dpr))
		dt_links_early(dpr);
	dt_rdv_begin(dpr);
	run_or_park(dpr);
}

static void begin_grabbed(dt_proc_t *dpr)
{
	dtrace_procev_t born = { .kind = DT_PROC_EV_FOLLOW, .parent = dpr->parent };

	if (dpr->parent)
		dt_tell(dpr, born);
	if (dpr->unstopped) {
		dt_links_watch(dpr);
		dt_bkpts_plant(dpr);
	}
	dpr->impatient = dpr->patience;
	if (dpr->patience != DT_PATIENCE_MS)
		Ppatience(dpr->P, dpr->patience);
	if (!dt_links_matter(dpr))
		return;
	dt_links_early(dpr);
	dt_links_refresh(dpr,
			 dpr->unstopped && !dpr->parent ? DT_SEEN_LATE : DT_SEEN_IN_TIME);
}

/* What is to be done before the first wait. Nothing for a grab that nobody listens to. */
static void begin(dt_proc_t *dpr)
{
	if (!dpr->created && !dt_links_matter(dpr) && !dpr->unstopped &&
	    !dt_follows(dpr) && dpr->patience == DT_PATIENCE_MS)
		return;
	if (!dt_record_own(dpr))
		return;
	dt_source_begin(&dpr->dtp->queue, &dpr->src);
	dt_follow_want(dpr);
	if (dpr->created)
		begin_created(dpr);
	else
		begin_grabbed(dpr);
	settle(dpr);
}

/* --- reacting ----------------------------------------------------------------------- */

static bool woken(dt_proc_t *dpr)
{
	bool resume;

	if (!dt_record_own(dpr))
		return false;
	dt_record_lock(dpr);
	resume = dpr->resume && !dpr->end;
	dpr->resume = false;
	dt_record_unlock(dpr);
	if (resume)
		run_or_park(dpr);
	dt_record_disown(dpr);
	return true;
}

static bool react(dt_proc_t *dpr, const struct happening *h)
{
	bool more = true;

	switch (h->kind) {
	case WOKEN:
		return woken(dpr);
	case EVENT:
		more = dt_event(dpr, &h->ev);
		break;
	case NOTHING:
		return true;
	case BROKEN:
		dt_lost(dpr);
		more = false;
		break;
	case QUIT:
		return false;
	}
	settle(dpr);
	return more;
}

/* A grab may be released before its thread has come to run. */
static bool over_already(dt_proc_t *dpr)
{
	bool quit;

	dt_record_lock(dpr);
	quit = dpr->quit;
	dt_record_unlock(dpr);
	return quit;
}

static void has_begun(dt_proc_t *dpr)
{
	dt_record_lock(dpr);
	dpr->begun = true;
	pthread_cond_broadcast(&dpr->cond);
	dt_record_unlock(dpr);
}

void *dt_control(void *arg)
{
	struct happening h = { .kind = NOTHING };
	dt_proc_t *dpr = arg;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	begin(dpr);
	has_begun(dpr);
	while (!over_already(dpr) && react(dpr, &h))
		next(dpr, &h);
	dt_source_end(&dpr->dtp->queue, &dpr->src);
	return NULL;
}
