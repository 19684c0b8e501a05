/* SPDX-License-Identifier: MIT */
/*
 * What a description matches in one process, for clients that want to know without
 * tracing: a list of probes that are not made.
 */
#include <errno.h>
#include <string.h>

#include "dtprobe.h"
#include "dtrace/dt_impl.h"
#include "probe/probe.h"

/* One call. */
struct listing {
	struct ps_prochandle *P; /* whose */
	dtrace_probe_f *fn;      /* the client's */
	void *arg;               /* its argument */
	unsigned n;              /* probes so far */
	int ended;               /* what fn returned to end it */
};

static int tell(void *arg, const struct probe *p)
{
	static const int kinds[PROBE_NKINDS] = {
		[PROBE_ENTRY] = DTRACE_PROBE_ENTRY,
		[PROBE_RETURN] = DTRACE_PROBE_RETURN,
		[PROBE_OFFSET] = DTRACE_PROBE_OFFSET,
	};
	struct listing *l = arg;
	dtrace_probe_t probe = {
		.id = l->n++,
		.kind = kinds[p->kind],
		.pid = Pgetpid(l->P),
		.lmid = p->lmid,
		.path = p->path,
		.module = p->module,
		.function = p->function,
		.name = p->name,
		.addr = p->func + p->offset,
		.func = p->func,
	};

	l->ended = l->fn(l->arg, &probe, 0);
	return l->ended;
}

/* Is it meant by a description that names a process? */
static bool is_meant(const struct probe_desc *d, struct ps_prochandle *P)
{
	return d->whose != PROBE_PID || d->pid == Pgetpid(P);
}

int dtrace_probes_match(dtrace_hdl_t *dtp, struct ps_prochandle *P,
			const char *description, dtrace_probe_f *fn, void *arg)
{
	struct listing l = { .P = P, .fn = fn, .arg = arg };
	char text[DT_ERR_MAX] = "";
	struct probe_desc d;
	int rc = probe_parse(description, &d, text, sizeof(text));

	if (rc)
		return dt_fail(dtp, rc == -ENOMEM ? EDT_NOMEM : EDT_PROBE, "%s", text);
	if (is_meant(&d, P))
		rc = probe_match(P, &d, NULL, 0, tell, &l, text, sizeof(text));
	probe_desc_fini(&d);
	if (l.ended)
		return l.ended;
	return rc < 0 ? dt_fail(dtp, rc == -ENOMEM ? EDT_NOMEM : EDT_PROBE, "%s", text)
		      : 0;
}
