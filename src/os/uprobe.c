/* SPDX-License-Identifier: MIT */
/*
 * bpf(2), by hand: the headers of the systems that we are built on are older than the
 * link, and 27 instructions need no compiler. The program, in C:
 *
 *	u64 cookie = bpf_get_attach_cookie(ctx);         mark, and signal << 8
 *	u64 key = (u32)bpf_get_current_pid_tgid() | (cookie & 0xff) << 32;
 *	struct uprobe_hits *h = bpf_map_lookup_elem(&hits, &key);
 *
 *	if (h) {
 *		h->n++;
 *		h->sp = ctx->sp;
 *	} else {
 *		struct uprobe_hits first = { 1, ctx->sp };
 *		bpf_map_update_elem(&hits, &key, &first, BPF_ANY);
 *	}
 *	bpf_send_signal_thread(cookie >> 8);
 *	return 0;
 *
 * No other thread touches that entry while this one runs, so nothing is atomic. Should
 * the table be full the signal is sent all the same, and is taken for somebody else's.
 */
#include "os/uprobe.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/aside.h"

enum {
	ATTACH_UPROBE_MULTI = UPROBE_ATTACH_TYPE, /* BPF_TRACE_UPROBE_MULTI (6.6) */
	MAX_HITS = 65536,            /* threads that have not been looked at yet */
	COPY = 0xbf,                 /* BPF_ALU64 | BPF_MOV | BPF_X */
	SET = 0xb7,                  /* BPF_ALU64 | BPF_MOV | BPF_K */
	ADD = 0x07,                  /* BPF_ALU64 | BPF_ADD | BPF_K */
	MASK = 0x57,                 /* BPF_ALU64 | BPF_AND | BPF_K */
	LEFT = 0x67,                 /* BPF_ALU64 | BPF_LSH | BPF_K */
	RIGHT = 0x77,                /* BPF_ALU64 | BPF_RSH | BPF_K */
	OR = 0x4f,                   /* BPF_ALU64 | BPF_OR | BPF_X */
	LOAD = 0x79,                 /* BPF_LDX | BPF_MEM | BPF_DW */
	STORE = 0x7b,                /* BPF_STX | BPF_MEM | BPF_DW */
	MAP = 0x18,                  /* BPF_LD | BPF_IMM | BPF_DW, of two instructions */
	CALL = BPF_JMP | BPF_CALL,   /* of a helper, by number */
	IF_ZERO = 0x15,              /* BPF_JMP | BPF_JEQ | BPF_K */
	GOTO = BPF_JMP | BPF_JA,     /* past `off` instructions */
	EXIT = BPF_JMP | BPF_EXIT,   /* returns r0 */
	KEY = -8,                    /* on the stack: the key */
	FIRST = -24,                 /* on the stack: the first hit */
	FIRST_INO = (int)0xeffffffc, /* of the first pid namespace (PROC_PID_INIT_INO) */
};

#if defined(__x86_64__)
enum {
	CTX_SP = 152
}; /* of sp in the kernel's struct pt_regs, bytes */
#else
enum {
	CTX_SP = -1
}; /* not tried here */
#endif

/* The end of union bpf_attr as 6.6 has it, from link_create on. */
struct link_create {
	uint32_t prog;         /* descriptor */
	uint32_t target;       /* 0 */
	uint32_t attach_type;  /* ATTACH_UPROBE_MULTI */
	uint32_t flags;        /* 0 */
	uint64_t path;         /* of the file */
	uint64_t offsets;      /* array */
	uint64_t ref_ctrs;     /* none */
	uint64_t cookies;      /* array */
	uint32_t count;        /* of offsets */
	uint32_t uprobe_flags; /* 0 */
	uint32_t pid;          /* the only process */
	uint32_t pad;          /* 0 */
};

static int call_bpf(int cmd, void *attr, size_t len)
{
	long rc = syscall(SYS_bpf, cmd, attr, len);

	return rc < 0 ? -errno : (int)rc;
}

static int make_map(void)
{
	union bpf_attr a = { .map_type = BPF_MAP_TYPE_HASH,
			     .key_size = sizeof(uint64_t),
			     .value_size = sizeof(struct uprobe_hits),
			     .max_entries = MAX_HITS,
			     .map_flags = BPF_F_NO_PREALLOC };

	return call_bpf(BPF_MAP_CREATE, &a, sizeof(a));
}

static int load(int map)
{
	const struct bpf_insn code[] = {
		{ COPY, 6, 1, 0, 0 }, /* r6 = ctx */
		{ CALL, 0, 0, 0, BPF_FUNC_get_attach_cookie },
		{ COPY, 7, 0, 0, 0 }, /* r7 = cookie */
		{ CALL, 0, 0, 0, BPF_FUNC_get_current_pid_tgid },
		{ LEFT, 0, 0, 0, 32 },
		{ RIGHT, 0, 0, 0, 32 }, /* r0 = thread id */
		{ COPY, 8, 7, 0, 0 },
		{ MASK, 8, 0, 0, 0xff },
		{ LEFT, 8, 0, 0, 32 },
		{ OR, 8, 0, 0, 0 },
		{ STORE, 10, 8, KEY, 0 },
		{ MAP, 1, BPF_PSEUDO_MAP_FD, 0, map },
		{ 0, 0, 0, 0, 0 },
		{ COPY, 2, 10, 0, 0 },
		{ ADD, 2, 0, 0, KEY },
		{ CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem },
		{ LOAD, 9, 6, CTX_SP, 0 }, /* r9 = stack pointer */
		{ IF_ZERO, 0, 0, 5, 0 },
		{ LOAD, 1, 0, 0, 0 },
		{ ADD, 1, 0, 0, 1 },
		{ STORE, 0, 1, 0, 0 },
		{ STORE, 0, 9, 8, 0 },
		{ GOTO, 0, 0, 11, 0 },
		{ SET, 1, 0, 0, 1 }, /* the first hit */
		{ STORE, 10, 1, FIRST, 0 },
		{ STORE, 10, 9, FIRST + 8, 0 },
		{ MAP, 1, BPF_PSEUDO_MAP_FD, 0, map },
		{ 0, 0, 0, 0, 0 },
		{ COPY, 2, 10, 0, 0 },
		{ ADD, 2, 0, 0, KEY },
		{ COPY, 3, 10, 0, 0 },
		{ ADD, 3, 0, 0, FIRST },
		{ SET, 4, 0, 0, BPF_ANY },
		{ CALL, 0, 0, 0, BPF_FUNC_map_update_elem },
		{ COPY, 1, 7, 0, 0 },
		{ RIGHT, 1, 0, 0, 8 }, /* the signal */
		{ CALL, 0, 0, 0, BPF_FUNC_send_signal_thread },
		{ SET, 0, 0, 0, 0 },
		{ EXIT, 0, 0, 0, 0 },
	};
	union bpf_attr a = { .prog_type = BPF_PROG_TYPE_KPROBE,
			     .expected_attach_type = ATTACH_UPROBE_MULTI,
			     .insn_cnt = sizeof(code) / sizeof(*code),
			     .insns = (uintptr_t)code,
			     .license = (uintptr_t) "MIT" };

	return call_bpf(BPF_PROG_LOAD, &a, sizeof(a));
}

static bool in_first_pid_namespace(void)
{
	struct stat st;

	return !stat("/proc/self/ns/pid", &st) && st.st_ino == (unsigned)FIRST_INO;
}

int uprobe_open(struct uprobe *ret)
{
	int map, prog;

	if (CTX_SP < 0)
		return -EOPNOTSUPP;
	if (!in_first_pid_namespace())
		return -EPERM;
	map = make_map();
	if (map < 0)
		return map;
	prog = load(map);
	if (prog < 0) {
		close(map);
		return prog;
	}
	*ret = (struct uprobe){ map, prog };
	return 0;
}

void uprobe_close(struct uprobe *u)
{
	close(u->prog);
	close(u->map);
}

static struct link_create describe(int prog, pid_t pid, const char *path,
				   const uint64_t *offsets, const uint64_t *cookies,
				   uint32_t n)
{
	return (struct link_create){ .prog = (uint32_t)prog,
				     .attach_type = ATTACH_UPROBE_MULTI,
				     .path = (uintptr_t)path,
				     .offsets = (uintptr_t)offsets,
				     .cookies = (uintptr_t)cookies,
				     .count = n,
				     .pid = (uint32_t)pid };
}

int uprobe_link(int prog, pid_t pid, const char *path, const uint64_t *offsets,
		const uint64_t *cookies, uint32_t n)
{
	struct link_create a = describe(prog, pid, path, offsets, cookies, n);

	return (int)aside_call(SYS_bpf, BPF_LINK_CREATE, (long)&a, sizeof(a));
}

int uprobe_set(const struct uprobe *u, pid_t pid, const char *path, uint64_t offset,
	       int mark, int sig)
{
	uint64_t cookie = (uint64_t)mark | (uint64_t)sig << 8;
	struct link_create a = describe(u->prog, pid, path, &offset, &cookie, 1);

	return (int)aside_call(SYS_bpf, BPF_LINK_CREATE, (long)&a, sizeof(a));
}

void uprobe_drop(int link)
{
	aside_call(SYS_close, link, 0, 0);
}

int uprobe_take(const struct uprobe *u, pid_t tid, int mark, struct uprobe_hits *ret)
{
	uint64_t key = (uint64_t)tid | (uint64_t)mark << 32;
	union bpf_attr a = { .map_fd = (uint32_t)u->map,
			     .key = (uintptr_t)&key,
			     .value = (uintptr_t)ret };

	return call_bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &a, sizeof(a));
}
