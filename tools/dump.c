/* SPDX-License-Identifier: MIT */
/*
 * Theory: stop briefly, think later. The keeper copies registers and stack bytes of all
 * threads in one go (Pcapture()); walking, names and printing come afterwards, while the
 * process runs on, or has ended. What is told as its pause is from the first thread's
 * stop to the last one's resume.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "output.h"
#include "target.h"

enum {
	STACK_LIMIT = 1 << 20, /* bytes of one stack; few are so deep */
	SERVERS_MS = 30000,    /* that debuginfod may take */
};

/* --- frames ------------------------------------------------------------------------- */

/* One thread's walk under way. */
struct walk {
	struct dump *d;        /* where frames go */
	struct dump_thread *t; /* whose */
};

static bool room_for_frame(struct dump *d)
{
	size_t room = d->room ? d->room * 2 : 1024;
	struct dump_frame *frames;

	if (d->nframes < d->room)
		return true;
	frames = reallocarray(d->frames, room, sizeof(*frames));
	if (!frames)
		return false;
	d->frames = frames;
	d->room = room;
	return true;
}

static int add_frame(void *arg, const prframe_t *f)
{
	struct walk *w = arg;
	struct dump *d = w->d;
	uintptr_t at = f->pr_pc - !(f->pr_flags & PRFRAME_EXACT);
	size_t place = room_for_frame(d) ? places_find(&d->places, at) : SIZE_MAX;

	if (place == SIZE_MAX) {
		d->nomem = true;
		return 1;
	}
	d->frames[d->nframes++] =
		(struct dump_frame){ f->pr_pc, (uint32_t)place, f->pr_flags };
	w->t->n++;
	return 0;
}

/* --- threads ------------------------------------------------------------------------ */

/* Threads as they are listed. */
struct listing {
	struct dump *d;  /* where they go */
	ps_capture_t *c; /* where they come from */
	size_t room;     /* allocated */
};

static int add_thread(void *arg, const prcaplwp_t *lwp)
{
	struct listing *l = arg;
	struct dump *d = l->d;
	struct dump_thread *t;
	struct walk w = { .d = d };

	if (d->nthreads == l->room) {
		size_t room = l->room ? l->room * 2 : 64;

		t = reallocarray(d->threads, room, sizeof(*t));
		d->nomem |= !t;
		if (!t)
			return 1;
		d->threads = t;
		l->room = room;
	}
	t = w.t = &d->threads[d->nthreads++];
	*t = (struct dump_thread){ .lwp = *lwp, .first = d->nframes };
	if (!(lwp->pr_flags & PCAP_MOVED) &&
	    Pcapture_stack_iter(l->c, lwp->pr_lwpid, add_frame, &w, &t->end) == 0)
		t->truncated = t->end != PCAPTURE_BASE;
	return d->nomem;
}

const char *dump_remark(const struct dump_thread *t)
{
	if (t->lwp.pr_flags & PCAP_RUNNING)
		return "runs: not looked at";
	if (t->lwp.pr_flags & PCAP_MOVED)
		return "ran while it was looked at";
	if (!(t->lwp.pr_flags & PCAP_REGS))
		return "its registers are not known";
	switch (t->end) {
	case PCAPTURE_CUT:
		return "the stack goes on, but was copied up to here";
	case PCAPTURE_LIMIT:
		return "the stack goes on: 2048 frames are enough";
	case PCAPTURE_BROKEN:
		return "the stack makes no sense from here on";
	default:
		return "";
	}
}

/* --- what is told ------------------------------------------------------------------- */

/* Threads by what is to be told of them. */
struct census {
	size_t stood;   /* for us */
	size_t unknown; /* there is nothing of them */
	size_t waits;   /* their waits were broken off and made again */
	size_t outside; /* in somebody else's stop */
};

static struct census count(const struct dump *d)
{
	struct census c = { 0 };

	for (size_t i = 0; i < d->nthreads; i++) {
		int flags = d->threads[i].lwp.pr_flags;

		c.stood += d->threads[i].lwp.pr_pause_ns > 0;
		c.unknown += !(flags & (PCAP_REGS | PCAP_RUNNING | PCAP_MOVED));
		c.waits += !!(flags & PCAP_WAIT);
		c.outside += !!(flags & PCAP_OUTSTOP);
	}
	return c;
}

static void tell_notes(const struct dump *d, const struct census *c)
{
	if (c->outside || (d->notes & PCAPTURE_STOOD))
		notice("pid %d was stopped already, and stays so", d->pid);
	if (d->notes & PCAPTURE_EXEC)
		notice("pid %d has exec'd another program meanwhile", d->pid);
	if (c->waits)
		notice("pid %d: %zu wait%s that a stop breaks off went on with the time "
		       "left",
		       d->pid, c->waits, c->waits == 1 ? "" : "s");
}

/* 0, or 1 after a sentence. */
static int tell(const struct dump *d)
{
	struct census c = count(d);

	if (d->nomem || d->places.nomem) {
		complain("pid %d: out of memory: its stacks are not complete", d->pid);
		return 1;
	}
	if (d->nthreads == 0) {
		complain(target_is_file(d->P)
				 ? "there are no threads in the file"
				 : "pid %d ended before it could be looked at",
			 d->pid);
		return 1;
	}
	if (d->pause_ns)
		notice("%zu thread%s stopped %.*f ms", c.stood, c.stood == 1 ? "" : "s",
		       d->pause_ns < 1000000 ? 2 : 1, (double)d->pause_ns / 1e6);
	tell_notes(d, &c);
	if (!c.unknown || target_is_file(d->P))
		return 0;
	complain("pid %d did not stop within 1 s: %zu of its threads are not known",
		 d->pid, c.unknown);
	return 1;
}

static ps_capture_t *capture(struct ps_prochandle *P, pid_t pid, bool no_stop)
{
	int err = 0, flags = no_stop ? PCAPTURE_NOSTOP : PCAPTURE_GRAB;
	ps_capture_t *c = Pcapture(P, flags, STACK_LIMIT, &err);
	const char *detail = Pgrab_detail();

	if (!c && target_is_file(P))
		complain("there are no threads in the file");
	else if (!c)
		complain("failed to grab pid %d: %s", pid,
			 detail && *detail ? detail : Pgrab_error(err));
	return c;
}

/* It runs on while they are asked. */
static void ask_servers(struct ps_prochandle *P)
{
	int n = Pdebuginfod(P, SERVERS_MS);

	if (n < 0)
		notice("debuginfod: %s", errno == ENOTSUP
						 ? "libdebuginfod.so.1 cannot be opened"
						 : strerror(errno));
	else if (n > 0)
		notice("debuginfod: %d debug file%s", n, n == 1 ? "" : "s");
}

int dump_take(struct ps_prochandle *P, pid_t pid, const struct dump_options *o,
	      struct dump *ret)
{
	const psinfo_t *ps = Ppsinfo(P);
	struct listing l = { .d = ret };

	*ret = (struct dump){ .P = P, .pid = pid };
	ret->places = (struct places){
		.P = P,
		.readable = !o->mangled && o->form != DUMP_RAW,
		.with_sources = o->lines || o->inlines,
	};
	if (ps)
		snprintf(ret->comm, sizeof(ret->comm), "%s", ps->pr_fname);
	l.c = capture(P, pid, o->no_stop);
	if (!l.c)
		return 1;
	ret->pause_ns = Pcapture_pause(l.c);
	ret->notes = Pcapture_notes(l.c);
	if (o->debuginfod)
		ask_servers(P);
	Pcapture_iter(l.c, add_thread, &l);
	Pcapture_free(l.c);
	return tell(ret);
}

void dump_free(struct dump *d)
{
	places_free(&d->places);
	free(d->frames);
	free(d->threads);
}

size_t dump_shown(const struct dump_thread *t, const struct dump_options *o)
{
	return o->frames && o->frames < t->n ? o->frames : t->n;
}
