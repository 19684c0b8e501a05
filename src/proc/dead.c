/* SPDX-License-Identifier: MIT */
/*
 * The operations of a handle on a core or an ELF file: src/core under the names of /proc.
 * Nothing changes, nothing dies, nothing is touched. What a core does not say is 0, or
 * the error that says so: ENODATA not in the core, ENOTSUP of another CPU.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proc/handle.h"
#include "util/scope.h"

enum {
	DEAD_STRINGS = 16 << 20, /* bytes of arguments or environment; as of /proc */
	DEAD_STRING = 128 << 10, /* of one: MAX_ARG_STRLEN of execve(2) */
};

static bool dead_alive(const struct ps_prochandle *P)
{
	return P->core != NULL;
}

static void dead_nothing(struct ps_prochandle *P)
{
	(void)P;
}

/* --- LWPs --------------------------------------------------------------------------- */

/* Only of this CPU do registers fit. */
static bool is_native(const struct ps_prochandle *P)
{
	const struct core_layout *l = core_layout(P->core);

	return l && l->machine == arch_native->elf_machine;
}

static void fill_lwp(const struct ps_prochandle *P, const struct core_lwp *l,
		     lwpstatus_t *ret)
{
	*ret = (lwpstatus_t){
		.pr_flags = PR_STOPPED,
		.pr_lwpid = l->tid,
		.pr_why = l->cursig ? PR_SIGNALLED : PR_REQUESTED,
		.pr_what = (short)l->cursig,
		.pr_cursig = (short)l->cursig,
	};
	if (l->cursig)
		ret->pr_flags |= PR_ISTOP;
	if (l->has_info)
		ret->pr_info = l->info;
	if (is_native(P))
		memcpy(ret->pr_reg, l->regs, sizeof(ret->pr_reg));
}

static int dead_lwps(struct ps_prochandle *P, lwpstatus_t **ret, size_t *ret_n)
{
	size_t n;
	const struct core_lwp *l = core_lwps(P->core, &n);
	lwpstatus_t *st = calloc(n ? n : 1, sizeof(*st));

	if (!st)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		fill_lwp(P, &l[i], &st[i]);
	*ret = st;
	*ret_n = n;
	return 0;
}

const struct core_lwp *dead_lwp(const struct ps_prochandle *P, lwpid_t lwp)
{
	size_t n;
	const struct core_lwp *l = core_lwps(P->core, &n);

	for (size_t i = 0; i < n; i++)
		if (l[i].tid == lwp)
			return &l[i];
	return NULL;
}

static int dead_regs(struct ps_prochandle *P, lwpid_t lwp, arch_regs_t *ret)
{
	const struct core_lwp *l = dead_lwp(P, lwp);

	if (!l)
		return -ESRCH;
	if (!is_native(P))
		return -ENOTSUP;
	memcpy(ret, l->regs, sizeof(*ret));
	return 0;
}

void dead_status(struct ps_prochandle *P)
{
	const struct core_process *ps = core_process(P->core);
	pstatus_t *s = &P->status;
	size_t n;
	const struct core_lwp *l = core_lwps(P->core, &n);

	P->state = core_is_dump(P->core) ? PS_DEAD : PS_IDLE;
	P->pid = ps->known ? ps->pid : n ? l[0].tid : 0;
	s->pr_pid = P->pid;
	s->pr_ppid = ps->ppid;
	s->pr_pgid = ps->pgrp;
	s->pr_sid = ps->sid;
	s->pr_nlwp = (int)n;
	s->pr_lwp.pr_lwpid = P->pid;
	if (n)
		fill_lwp(P, &l[0], &s->pr_lwp);
}

/* --- memory and files --------------------------------------------------------------- */

static struct mem dead_seam(struct ps_prochandle *P)
{
	return core_mem(P->core);
}

static int dead_maps(struct ps_prochandle *P, struct procfs_map **ret, size_t *ret_n)
{
	return core_maps(P->core, ret, ret_n);
}

static int dead_open_mapped(struct ps_prochandle *P, const struct procfs_map *m)
{
	return core_open_mapped(P->core, m);
}

static int dead_exe(struct ps_prochandle *P, char **ret)
{
	const char *path = core_program(P->core);
	char *copy = path ? strdup(path) : NULL;

	if (!copy)
		return path ? -ENOMEM : -ENOENT;
	*ret = copy;
	return 0;
}

static int origin_maps(void *arg, struct procfs_map **ret, size_t *ret_n)
{
	return core_maps(arg, ret, ret_n);
}

static int origin_open(void *arg, const struct procfs_map *m)
{
	return core_open_mapped(arg, m);
}

static void origin_ref(void *arg)
{
	core_ref(arg);
}

static void origin_unref(void *arg)
{
	core_unref(arg);
}

const struct image_origin dead_origin = {
	.maps = origin_maps,
	.open = origin_open,
	.ref = origin_ref,
	.unref = origin_unref,
};

/* --- strings ------------------------------------------------------------------------ */

/* Strings as they are collected. */
struct strings {
	char *bytes;      /* DEAD_STRINGS or less; owned */
	size_t len, room; /* used and allocated */
};

static int make_room(struct strings *s, size_t more)
{
	size_t room = s->room ? s->room : 4096;
	char *bigger;

	while (room < s->len + more)
		room *= 2;
	if (room == s->room)
		return 0;
	bigger = realloc(s->bytes, room);
	if (!bigger)
		return -ENOMEM;
	s->bytes = bigger;
	s->room = room;
	return 0;
}

/* Those that n pointers at `at` point to, one after the other; one that cannot be read
 * is left out. */
static int collect(const struct mem *m, uint64_t at, uint64_t n, struct strings *ret)
{
	_cleanup_free_ char *one = malloc(DEAD_STRING);

	if (!one)
		return -ENOMEM;
	for (uint64_t i = 0; i < n && ret->len < DEAD_STRINGS; i++) {
		uint64_t addr;
		ssize_t len = mem_read_all(m, at + i * sizeof(addr), &addr, sizeof(addr));

		if (!len)
			len = mem_read_string(m, addr, one, DEAD_STRING);
		if (len < 0)
			continue;
		if (make_room(ret, (size_t)len + 1))
			return -ENOMEM;
		memcpy(ret->bytes + ret->len, one, (size_t)len + 1);
		ret->len += (size_t)len + 1;
	}
	return make_room(ret, 1);
}

static int copy_auxv(const struct ps_prochandle *P, char **ret, size_t *ret_len)
{
	size_t len;
	const void *auxv = core_auxv(P->core, &len);
	char *copy = auxv ? malloc(len + 1) : NULL;

	if (!copy)
		return auxv ? -ENOMEM : -ENODATA;
	memcpy(copy, auxv, len);
	*ret = copy;
	*ret_len = len;
	return 0;
}

static int dead_slurp(struct ps_prochandle *P, const char *name, char **ret,
		      size_t *ret_len)
{
	struct mem m = core_mem(P->core);
	struct strings strings = { 0 };
	struct core_strings at;
	int rc;

	if (!strcmp(name, "auxv"))
		return copy_auxv(P, ret, ret_len);
	if (core_find_strings(P->core, &at))
		return -ENODATA;
	rc = strcmp(name, "cmdline") ? collect(&m, at.envp, at.envc, &strings)
				     : collect(&m, at.argv, at.argc, &strings);
	if (rc) {
		free(strings.bytes);
		return rc;
	}
	*ret = strings.bytes;
	*ret_len = strings.len;
	return 0;
}

/* --- psinfo ------------------------------------------------------------------------- */

/* The arguments with blanks between; else what the note has of them. */
static void fill_args(struct ps_prochandle *P, psinfo_t *ps)
{
	_cleanup_free_ char *args = NULL;
	size_t len;

	snprintf(ps->pr_psargs, sizeof(ps->pr_psargs), "%.*s", PRARGSZ - 1,
		 core_process(P->core)->args);
	if (dead_slurp(P, "cmdline", &args, &len) || !len)
		return;
	len = len > sizeof(ps->pr_psargs) ? sizeof(ps->pr_psargs) : len;
	for (size_t i = 0; i + 1 < len; i++)
		ps->pr_psargs[i] = args[i] ? args[i] : ' ';
	ps->pr_psargs[len - 1] = '\0';
}

static size_t address_space(const struct ps_prochandle *P)
{
	_cleanup_free_ struct procfs_map *maps = NULL;
	size_t n, bytes = 0;

	if (core_maps(P->core, &maps, &n))
		return 0;
	for (size_t i = 0; i < n; i++)
		bytes += maps[i].end - maps[i].start;
	return bytes;
}

/* Read once: it does not change. */
static int dead_psinfo(struct ps_prochandle *P, psinfo_t *ret)
{
	const struct core_process *ps = core_process(P->core);

	if (ret->pr_pid)
		return 0;
	*ret = (psinfo_t){
		.pr_pid = P->pid,
		.pr_ppid = ps->ppid,
		.pr_pgid = ps->pgrp,
		.pr_sid = ps->sid,
		.pr_uid = ps->uid,
		.pr_euid = ps->uid,
		.pr_gid = ps->gid,
		.pr_egid = ps->gid,
		.pr_nlwp = P->status.pr_nlwp,
		.pr_sname = ps->state ? ps->state : 'Z',
		.pr_size = address_space(P) / 1024,
		.pr_nice = ps->nice,
		.pr_wstat = P->status.pr_lwp.pr_cursig,
	};
	snprintf(ret->pr_fname, sizeof(ret->pr_fname), "%.*s", PRFNSZ - 1, ps->fname);
	fill_args(P, ret);
	return 0;
}

const struct handle_ops dead_ops = {
	.alive = dead_alive,
	.look = dead_nothing,
	.count = dead_nothing,
	.psinfo = dead_psinfo,
	.seam = dead_seam,
	.slurp = dead_slurp,
	.maps = dead_maps,
	.open_mapped = dead_open_mapped,
	.exe = dead_exe,
	.lwps = dead_lwps,
	.regs = dead_regs,
};
