/* SPDX-License-Identifier: MIT */
/*
 * System calls made by a victim's LWP (see hold.h).
 *
 * The instruction is one that the victim has: of the vDSO, else of any executable
 * mapping; on a CPU whose instructions begin at any byte the two bytes may be part of
 * another one. Nothing is kept of the search but the address; it is forgotten when an
 * exec is read, and the keeper, which forgets it at the exec itself, looks at the bytes
 * before each use. So a stale one is an error, not a jump into the blue.
 *
 * A breakpoint may have been planted on it since: the keeper then says -EADDRINUSE, and
 * another is looked for (the trap hides that one).
 */
#include "hold/hold.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "hold/state.h"
#include "mem/mem.h"
#include "os/procfs.h"
#include "util/scope.h"

enum {
	CHUNK = 64 << 10, /* bytes read at once */
	/* bytes looked at in all: a hostile victim may map terabytes */
	MAX_SEARCH = 64 << 20,
	NAP_NS = 200000, /* between two questions: others may ask then */
};

/* --- the instruction ---------------------------------------------------------------- */

/* Offset of the first instruction in buf, or -1. */
static ssize_t find_bytes(const uint8_t *buf, size_t len)
{
	const struct arch *a = arch_native;

	for (size_t i = 0; i + a->sys_len <= len; i += a->insn_align)
		if (!memcmp(buf + i, a->sys_insn, a->sys_len))
			return (ssize_t)i;
	return -1;
}

/* What is searched. */
struct search {
	struct mem m; /* the victim's memory */
	uint8_t *buf; /* CHUNK bytes; borrowed */
	size_t left;  /* bytes that may still be read */
};

/* 1 found, 0 not, or -errno. Pieces overlap, so that none is missed at a seam. */
static int search_map(struct search *s, const struct procfs_map *map, uint64_t *ret)
{
	unsigned back = arch_native->sys_len - arch_native->insn_align;
	uint64_t at = map->start;

	while (at < map->end && s->left >= CHUNK) {
		size_t want = map->end - at < CHUNK ? map->end - at : CHUNK;
		ssize_t got = mem_read(&s->m, at, s->buf, want), found;

		if (got < (ssize_t)arch_native->sys_len)
			return got == -ESRCH ? -ESRCH : 0;
		s->left -= (size_t)got;
		found = find_bytes(s->buf, (size_t)got);
		if (found >= 0) {
			*ret = at + (uint64_t)found;
			return 1;
		}
		if ((size_t)got < want || want < CHUNK)
			return 0;
		at += want - back;
	}
	return 0;
}

static bool is_vdso(const struct procfs_map *map)
{
	return !strcmp(map->path, "[vdso]");
}

/* The vsyscall page lies in the kernel's half: its bytes are not the program's to run. */
static bool is_candidate(const struct procfs_map *map)
{
	return map->prot & PROT_EXEC && !is_vdso(map) && map->start >> 63 == 0;
}

static int search_maps(const struct mem *m, const struct procfs_map *maps, size_t n,
		       uint64_t *ret)
{
	_cleanup_free_ uint8_t *buf = malloc(CHUNK);
	struct search s = { *m, buf, MAX_SEARCH };
	int rc = 0;

	if (!buf)
		return -ENOMEM;
	for (size_t i = 0; i < n && !rc; i++)
		if (is_vdso(&maps[i]))
			rc = search_map(&s, &maps[i], ret);
	for (size_t i = 0; i < n && !rc; i++)
		if (is_candidate(&maps[i]))
			rc = search_map(&s, &maps[i], ret);
	return rc ? rc : -ENOENT;
}

static int search_through(pid_t pid, pid_t tid, uint64_t *ret)
{
	_cleanup_free_ struct procfs_map *maps = NULL;
	struct mem_live live;
	struct mem m;
	size_t n = 0;
	int rc = procfs_maps(pid, tid, &maps, &n);

	if (!rc && !n)
		rc = -ESRCH; /* it has ended, or is about to */
	if (rc)
		return rc;
	mem_live_init(&live, tid ? tid : pid);
	m = mem_live(&live);
	rc = search_maps(&m, maps, n, ret);
	mem_live_fini(&live);
	return rc == 1 ? 0 : rc;
}

/* A leader that has ended has no mappings any more: they are read through another. */
static int search(pid_t pid, uint64_t *ret)
{
	_cleanup_free_ pid_t *tids = NULL;
	int rc = search_through(pid, 0, ret);
	size_t n = 0;

	if (rc != -ENOENT && rc != -ESRCH)
		return rc;
	if (procfs_tids(pid, &tids, &n))
		return -ESRCH;
	for (size_t i = 0; i < n && rc; i++)
		rc = search_through(pid, tids[i], ret);
	return rc;
}

static int look_anew(struct hold *h, uint64_t *ret)
{
	struct kp_mask req = { 0 };
	struct kp_reply reply;
	int rc = search(h->pid, &req.mask);

	if (rc)
		return rc;
	hold_header(&req.h, KP_SYSCALL_INSN, sizeof(req), 0);
	rc = hold_call(h, &req, &reply, sizeof(reply));
	if (rc)
		return rc;
	atomic_store(&h->syscall_insn, req.mask);
	*ret = req.mask;
	return 0;
}

int hold_syscall_insn(struct hold *h, uint64_t *ret)
{
	uint64_t known = atomic_load(&h->syscall_insn);
	int rc = hold_usable(h);

	if (rc || !known)
		return rc ? rc : look_anew(h, ret);
	*ret = known;
	return 0;
}

/* --- the call ----------------------------------------------------------------------- */

static void nap(void)
{
	struct timespec t = { 0, NAP_NS };

	nanosleep(&t, NULL);
}

static int call_once(struct hold *h, struct kp_syscall *req, struct kp_sysret *reply)
{
	struct kp_header again;
	int rc = hold_call(h, req, reply, sizeof(*reply));

	while (!rc && reply->r.value) {
		nap();
		hold_header(&again, KP_SYSCALL_WAIT, sizeof(again), req->h.tid);
		rc = hold_call(h, &again, reply, sizeof(*reply));
	}
	return rc;
}

int hold_syscall(struct hold *h, pid_t tid, uint64_t insn, long nr,
		 const uint64_t args[6], int64_t *ret)
{
	HOLD_NOCANCEL;
	struct kp_syscall req = { .insn = insn, .nr = nr };
	struct kp_sysret reply;
	int rc = insn ? 0 : hold_syscall_insn(h, &req.insn);

	if (rc)
		return rc;
	memcpy(req.args, args, sizeof(req.args));
	hold_header(&req.h, KP_SYSCALL, sizeof(req), tid);
	rc = call_once(h, &req, &reply);
	if (!insn && (rc == -EADDRINUSE || rc == -EFAULT)) {
		rc = look_anew(h, &req.insn);
		if (!rc)
			rc = call_once(h, &req, &reply);
	}
	if (!rc)
		*ret = reply.ret;
	return rc;
}
