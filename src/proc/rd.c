/* SPDX-License-Identifier: MIT */
/*
 * librtld_db's public face: the agent of src/rtld behind the handle's lock.
 */
#include "rtld_db.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proc/handle.h"
#include "util/log.h"

static atomic_int logging;

rd_err_e rd_init(int version)
{
	return version == RD_VERSION1 || version == RD_VERSION2 ? RD_OK : RD_NOCAPAB;
}

const char *rd_errstr(rd_err_e err)
{
	static const char *const text[] = {
		[RD_ERR] = "the link maps make no sense",
		[RD_OK] = "no error",
		[RD_NOCAPAB] = "not possible on this target",
		[RD_DBERR] = "the process cannot be read",
		[RD_NOBASE] = "the dynamic linker's address is not known",
		[RD_NODYNAM] = "a static program has no dynamic linker",
		[RD_NOMAPS] = "the dynamic linker has not set up its link maps yet",
	};

	return (unsigned)err < sizeof(text) / sizeof(*text) ? text[err] : "unknown error";
}

void rd_log(int on)
{
	atomic_store(&logging, on);
}

static void note(struct ps_prochandle *P, const char *what, long value)
{
	if (atomic_load(&logging))
		log_line(LOG_RTLD, P->pid, 0, "%s %ld", what, value);
}

static rd_err_e error_of(int rc)
{
	switch (rc) {
	case 0:
		return RD_OK;
	case -EAGAIN:
		return RD_NOMAPS;
	case -ENOENT:
		return RD_NODYNAM;
	case -EFAULT:
	case -ESRCH:
	case -EPERM:
		return RD_DBERR;
	default:
		return RD_ERR;
	}
}

rd_agent_t *rd_new(struct ps_prochandle *P)
{
	rd_agent_t *rd = Prtld(P) ? calloc(1, sizeof(*rd)) : NULL;

	if (rd)
		rd->P = P;
	return rd;
}

rd_agent_t *Prd_agent(struct ps_prochandle *P)
{
	return Prtld(P) ? &P->agent : NULL;
}

rd_err_e rd_reset(rd_agent_t *rd)
{
	rd->consistent = false;
	Preset_maps(rd->P);
	return Prtld(rd->P) ? RD_OK : RD_NODYNAM;
}

void rd_delete(rd_agent_t *rd)
{
	if (rd && !rd->lent)
		free(rd);
}

rd_err_e rd_event_enable(rd_agent_t *rd, int on)
{
	handle_lock(rd->P);
	rd->events = on != 0;
	handle_unlock(rd->P);
	return RD_OK;
}

rd_err_e rd_event_addr(rd_agent_t *rd, rd_event_e event, rd_notify_t *notify)
{
	struct rtld *r;
	uint64_t addr;

	if (event == RD_NONE)
		return RD_ERR;
	handle_lock(rd->P);
	r = maps_rtld(rd->P);
	addr = r ? rtld_watch_addr(r) : 0;
	handle_unlock(rd->P);
	if (!addr)
		return r ? RD_NOMAPS : RD_NODYNAM;
	notify->type = RD_NOTIFY_BPT;
	notify->u.bptaddr = addr;
	return RD_OK;
}

static rd_state_e state_of(int state)
{
	switch (state) {
	case RTLD_ADD:
		return RD_ADD;
	case RTLD_DELETE:
		return RD_DELETE;
	default:
		return RD_CONSISTENT;
	}
}

rd_err_e rd_event_getmsg(rd_agent_t *rd, rd_event_msg_t *msg)
{
	struct rtld *r;
	int state;

	handle_lock(rd->P);
	r = maps_rtld(rd->P);
	state = r ? rtld_read_state(r) : -ENOENT;
	memset(msg, 0, sizeof(*msg));
	if (state >= 0 && rd->events) {
		msg->type = RD_DLACTIVITY;
		msg->u.state = state_of(state);
		if (state == RTLD_CONSISTENT && !rd->consistent)
			msg->type = RD_PREINIT;
		rd->consistent |= state == RTLD_CONSISTENT;
	}
	handle_unlock(rd->P);
	note(rd->P, "event", msg->type);
	return state < 0 ? error_of(state) : RD_OK;
}

/* Addresses of the object's mappings, from the snapshot. */
static void fill_place(struct image *im, rd_loadobj_t *obj)
{
	const struct image_object *o = im ? image_object_at(im, obj->rl_dynamic) : NULL;
	const struct image_map *maps;
	size_t n;

	if (!o)
		return;
	obj->rl_bend = o->end;
	maps = image_maps(im, &n);
	for (size_t i = o->first_map; i < n && maps[i].m.start < o->end; i++)
		if (!obj->rl_data_base && maps[i].object == o && maps[i].m.prot & 2)
			obj->rl_data_base = maps[i].m.start;
}

rd_err_e rd_loadobj_iter(rd_agent_t *rd, rl_iter_f *fn, void *arg)
{
	struct rtld_list list = { 0 };
	int rc = Plinkmaps(rd->P, &list);
	struct image *im;

	note(rd->P, "objects", (long)list.n);
	if (rc)
		return error_of(rc);
	im = maps_take(rd->P);
	for (size_t i = 0; i < list.n; i++) {
		const struct rtld_object *l = &list.objs[i];
		rd_loadobj_t obj = { .rl_nameaddr = l->nameaddr,
				     .rl_base = l->base,
				     .rl_lmident = l->lmid,
				     .rl_dynamic = l->dynamic,
				     .rl_linkmap = l->link_map };

		fill_place(im, &obj);
		if (!fn(&obj, arg))
			break;
	}
	image_unref(im);
	rtld_list_fini(&list);
	return RD_OK;
}
