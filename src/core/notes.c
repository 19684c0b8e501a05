/* SPDX-License-Identifier: MIT */
/*
 * The notes of a core: threads, process, auxiliary vector, mapped files (core(5) and
 * fs/binfmt_elf.c; <linux/elfcore.h> has the structures, which are read by offset here,
 * since a core of another CPU has other ones). Notes are read through a window on the
 * file, so that a million small ones cost a few hundred reads, and nothing is allocated
 * but for what is kept.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/inside.h"
#include "util/scope.h"

enum {
	WINDOW = 64 << 10, /* bytes of the file at hand */
};

/* A piece of the file. */
struct window {
	const struct core *c; /* of which */
	uint64_t at;          /* where it begins */
	size_t len;           /* bytes of it that are at hand */
	char buf[WINDOW];     /* they */
};

/* n (WINDOW at most) bytes at off, valid until the next call; NULL with *ret_err. */
static const char *look(struct window *w, uint64_t off, size_t n, int *ret_err)
{
	uint64_t left = w->c->size - off;

	if (off >= w->at && off - w->at <= w->len && n <= w->len - (off - w->at))
		return w->buf + (off - w->at);
	w->at = off;
	w->len = left < WINDOW ? (size_t)left : WINDOW;
	*ret_err = core_pread(w->c, off, w->buf, w->len);
	if (!*ret_err && n <= w->len)
		return w->buf;
	*ret_err = *ret_err ? *ret_err : -ENODATA;
	w->len = 0;
	return NULL;
}

/* One note: its kind, and where its contents are. */
struct note {
	uint32_t type; /* NT_* */
	bool is_core;  /* owner "CORE" */
	uint64_t off;  /* contents, in the file */
	uint32_t len;  /* their bytes */
};

static uint32_t u32(const char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t u64(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* --- what is kept ------------------------------------------------------------------- */

static struct core_lwp *add_lwp(struct core *c, int *ret_err)
{
	size_t room = c->lwp_room ? c->lwp_room * 2 : 16;
	struct core_lwp *bigger;

	if (c->nlwp == CORE_MAX_LWPS) {
		*ret_err = -E2BIG;
		return NULL;
	}
	if (c->nlwp == c->lwp_room) {
		bigger = realloc(c->lwp, room * sizeof(*bigger));
		if (!bigger) {
			*ret_err = -ENOMEM;
			return NULL;
		}
		c->lwp = bigger;
		c->lwp_room = room;
	}
	memset(&c->lwp[c->nlwp], 0, sizeof(*c->lwp));
	return &c->lwp[c->nlwp++];
}

static int take_prstatus(struct core *c, const char *p, uint32_t len)
{
	struct core_lwp *l;
	int16_t cursig;
	int err = 0;

	if (len < c->layout->prstatus)
		return 0;
	l = add_lwp(c, &err);
	if (!l)
		return err;
	memcpy(&cursig, p + ST_CURSIG, sizeof(cursig));
	l->cursig = cursig;
	l->sigpend = u64(p + ST_SIGPEND);
	l->sighold = u64(p + ST_SIGHOLD);
	l->tid = (pid_t)u32(p + ST_PID);
	memcpy(l->regs, p + ST_REGS, c->layout->nregs * sizeof(uint64_t));
	return 0;
}

static int take_prpsinfo(struct core *c, const char *p, uint32_t len)
{
	struct core_process *ps = &c->process;

	if (len < PS_SIZE || ps->known)
		return 0;
	*ps = (struct core_process){
		.known = true,
		.state = p[PS_SNAME],
		.nice = (signed char)p[PS_NICE],
		.uid = u32(p + PS_UID),
		.gid = u32(p + PS_UID + 4),
		.pid = (pid_t)u32(p + PS_UID + 8),
		.ppid = (pid_t)u32(p + PS_UID + 12),
		.pgrp = (pid_t)u32(p + PS_UID + 16),
		.sid = (pid_t)u32(p + PS_UID + 20),
	};
	memcpy(ps->fname, p + PS_FNAME, CORE_FNAME);
	memcpy(ps->args, p + PS_ARGS, CORE_ARGS);
	return 0;
}

/* Of the thread whose NT_PRSTATUS came last. */
static int take_siginfo(struct core *c, const char *p, uint32_t len)
{
	struct core_lwp *l = c->nlwp ? &c->lwp[c->nlwp - 1] : NULL;

	if (!l || l->has_info || len < sizeof(l->info))
		return 0;
	memcpy(&l->info, p, sizeof(l->info));
	l->has_info = true;
	return 0;
}

/* A copy of the whole note, NUL behind it. -ENODATA: the file has not all of it. */
static int copy_note(struct core *c, const struct note *n, char **ret)
{
	char *bytes;
	int err;

	if (n->len > CORE_MAX_DESC || n->off > c->size || n->len > c->size - n->off)
		return -ENODATA;
	bytes = malloc((size_t)n->len + 1);
	if (!bytes)
		return -ENOMEM;
	err = core_pread(c, n->off, bytes, n->len);
	if (err) {
		free(bytes);
		return err;
	}
	bytes[n->len] = '\0';
	*ret = bytes;
	return 0;
}

static int take_auxv(struct core *c, const struct note *n)
{
	int err = c->auxv ? 0 : copy_note(c, n, &c->auxv);

	if (!err && !c->auxv_len)
		c->auxv_len = n->len;
	return err == -ENODATA ? 0 : err;
}

static int take_file(struct core *c, const struct note *n)
{
	char *bytes;
	int err = c->strings ? -ENODATA : copy_note(c, n, &bytes);

	if (err)
		return err == -ENODATA ? 0 : err;
	return core_take_files(c, bytes, n->len);
}

/* --- the walk ----------------------------------------------------------------------- */

/* One of a few hundred bytes, through the window. */
typedef int take_f(struct core *c, const char *desc, uint32_t len);

static int take_small(struct core *c, struct window *w, const struct note *n,
		      take_f *take)
{
	int err = 0;
	const char *p = n->len <= WINDOW ? look(w, n->off, n->len, &err) : NULL;

	if (!p)
		return err == -ENODATA ? 0 : err;
	return take(c, p, n->len);
}

static int take_note(struct core *c, struct window *w, const struct note *n)
{
	if (!n->is_core)
		return 0;
	switch (n->type) {
	case NT_PRSTATUS:
		return take_small(c, w, n, take_prstatus);
	case NT_PRPSINFO:
		return take_small(c, w, n, take_prpsinfo);
	case NT_SIGINFO:
		return take_small(c, w, n, take_siginfo);
	case NT_AUXV:
		return take_auxv(c, n);
	case NT_FILE:
		return take_file(c, n);
	default:
		return 0;
	}
}

static uint64_t round_up(uint64_t n)
{
	return (n + 3) & ~(uint64_t)3;
}

/* The note at off, of left bytes at most; *ret_size what it takes. -ENODATA: it does not
 * fit, so it is the end. */
static int read_note(struct window *w, uint64_t off, uint64_t left, struct note *ret,
		     uint64_t *ret_size)
{
	uint64_t name, size;
	int err = -ENODATA;
	const char *p = left >= sizeof(Elf64_Nhdr)
				? look(w, off, sizeof(Elf64_Nhdr), &err)
				: NULL;

	if (!p)
		return err;
	name = u32(p);
	ret->len = u32(p + 4);
	ret->type = u32(p + 8);
	size = sizeof(Elf64_Nhdr) + round_up(name);
	if (size + ret->len > left)
		return -ENODATA;
	ret->off = off + size;
	p = name == sizeof("CORE") ? look(w, off + sizeof(Elf64_Nhdr), name, &err) : NULL;
	ret->is_core = p && !memcmp(p, "CORE", sizeof("CORE"));
	*ret_size = size + round_up(ret->len);
	return 0;
}

int core_scan_notes(struct core *c, uint64_t off, uint64_t len)
{
	_cleanup_free_ struct window *w = malloc(sizeof(*w));
	uint64_t at = 0, size = 0;
	struct note n;
	int err = 0;

	if (!w)
		return -ENOMEM;
	w->c = c;
	w->at = w->len = 0;
	while (!err && at < len) {
		err = read_note(w, off + at, len - at, &n, &size);
		if (!err && c->nnotes++ >= CORE_MAX_NOTES)
			err = -E2BIG;
		if (!err)
			err = take_note(c, w, &n);
		at += err ? 0 : size;
	}
	return err == -ENODATA ? 0 : err;
}
