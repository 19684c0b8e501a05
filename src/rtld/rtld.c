/* SPDX-License-Identifier: MIT */
/*
 * The dynamic linker's public state, found and read.
 *
 * Purpose. glibc and musl keep, for debuggers, a struct r_debug: the head of a list of
 * link maps, a state, and the address of an empty function (r_brk) that they call
 * before and after each change. This folder finds that struct, says which address to
 * watch, and reads the lists. It plants nothing and waits for nothing.
 *
 * Objects. The agent, struct rtld (agent.h), of one program image: after an exec a new
 * one is made. A list, struct rtld_list, is a value that the caller owns; diff.c
 * compares two. elfmem.c reads program headers and dynamic symbols out of memory,
 * reader.c reads memory.
 *
 * Where r_debug is. In this order, the first that is filled in (r_version > 0):
 *   1. the value of DT_DEBUG in the executable's dynamic section, which the linker
 *      fills in (AT_PHDR leads there; the bias of a PIE comes from PT_PHDR, or from
 *      AT_ENTRY);
 *   2. `_r_debug` in the linker (glibc);
 *   3. what `_dl_debug_addr` in the linker points to (musl).
 * Symbols come from the caller, who has the linker's file, or else from its dynamic
 * symbol table in memory. When the linker is run by hand (`ld.so ./prog`) the kernel
 * knows no interpreter: AT_BASE is 0 and AT_PHDR is the linker's own. Then the image at
 * AT_PHDR is asked for these symbols; a static program has none of them in its dynamic
 * table.
 *
 * What to watch. r_brk once it is filled in. Before (at the exec stop all of r_debug is
 * zero) `_dl_debug_state`, which is what both linkers put there.
 *
 * Namespaces. Since 2.35 glibc sets r_version to 2 when dlmopen makes a namespace; r_next
 * then stands behind r_ldbase and leads to the r_debug of the next. A version of 1
 * promises nothing behind r_ldbase (musl has other data there), so it is not read.
 *
 * Invariants. Nothing that comes from the victim is trusted: the chain has at most
 * RTLD_MAX_NAMESPACES parts, all lists together RTLD_MAX_OBJECTS objects, a name
 * RTLD_MAX_PATH bytes and all names NAMES_MAX (list.c); a loop is an error, not a hang.
 * What was found once (head, brk) is kept: it does not move within one program image.
 *
 * Threads. None, no lock: the owner of the agent has one.
 *
 * When the victim dies right here. A read fails, -ESRCH or -EFAULT goes up, the caller's
 * list stays as it was. A victim that runs on while its lists are read (a read-only
 * handle) may show a list that never was, or garbage: in bounded time, and the caller
 * reads again.
 *
 * Deliberately not done: namespaces of glibc before 2.35 (they are in no public
 * structure), static programs that call dlopen, prelinked bias of the linker itself.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "rtld/agent.h"
#include "rtld/elfmem.h"
#include "util/log.h"

enum {
	MAX_VERSION = 255, /* r_version: 2 is the highest yet; much more is garbage */
};

/* --- making the agent -------------------------------------------------------------- */

/* Asks the caller first: a file cannot be changed by the victim as its memory can. */
static uint64_t find_symbol(struct rtld *r, const struct rtld_target *t,
			    const struct elfmem *linker, const char *name)
{
	uint64_t addr = 0;

	if (t->at_base && t->ldso_symbol)
		addr = t->ldso_symbol(t->arg, name);
	return addr ? addr : elfmem_symbol(&r->reader, linker, name);
}

static void find_symbols(struct rtld *r, const struct rtld_target *t,
			 const struct elfmem *linker)
{
	r->r_debug = find_symbol(r, t, linker, "_r_debug");
	r->debug_addr = find_symbol(r, t, linker, "_dl_debug_addr");
	r->state_func = find_symbol(r, t, linker, "_dl_debug_state");
}

/* True for an error that says more than "not what I look for": gone, not permitted. */
static bool is_fatal(int err)
{
	return err < 0 && err != -EFAULT && err != -EIO && err != -ENOEXEC;
}

static int use_class(struct rtld *r, const struct rtld_target *t)
{
	int word = 8;

	if (t->at_base)
		word = elfmem_word(&r->reader.mem, t->at_base);
	else if (t->at_phdr % 4096 == 52) /* behind an ELF header of the 32-bit class */
		word = 4;
	if (is_fatal(word))
		return word;
	r->reader.word = word == 4 ? 4 : 8;
	return 0;
}

/* With an interpreter: its symbols, and DT_DEBUG of the executable. */
static int inspect_dynamic(struct rtld *r, const struct rtld_target *t)
{
	struct elfmem linker = { 0 }, exec = { 0 };
	int err = elfmem_at_header(&r->reader, t->at_base, &linker);

	if (is_fatal(err))
		return err;
	err = elfmem_at_phdr(&r->reader, t->at_phdr, t->at_phnum, t->at_entry, &exec);
	if (is_fatal(err))
		return err;
	find_symbols(r, t, &linker);
	r->debug_slot = exec.debug_slot;
	return r->debug_slot || r->r_debug || r->debug_addr ? 0 : -ENOEXEC;
}

/* Without one: a static program, or the linker run by hand. */
static int inspect_static(struct rtld *r, const struct rtld_target *t)
{
	struct elfmem image = { 0 };
	int err =
		elfmem_at_phdr(&r->reader, t->at_phdr, t->at_phnum, t->at_entry, &image);

	if (is_fatal(err))
		return err;
	find_symbols(r, t, &image);
	return r->r_debug || r->debug_addr ? 0 : -ENOENT;
}

int rtld_new(const struct rtld_target *target, struct rtld **ret)
{
	struct rtld *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->reader.mem = target->mem;
	err = use_class(r, target);
	if (!err)
		err = target->at_base ? inspect_dynamic(r, target)
				      : inspect_static(r, target);
	if (err) {
		rtld_free(r);
		return err;
	}
	reader_reset(&r->reader); /* it may be long before it is used again */
	log_at(LOG_RTLD, 1, 0, 0, "agent: DT_DEBUG at %#llx, _dl_debug_state %#llx",
	       (unsigned long long)r->debug_slot, (unsigned long long)r->state_func);
	*ret = r;
	return 0;
}

void rtld_free(struct rtld *r)
{
	if (r)
		reader_reset(&r->reader);
	free(r);
}

/* --- r_debug ----------------------------------------------------------------------- */

/* r_version and r_state are ints, each followed by padding in the 64-bit class, which may
 * hold anything. */
static int read_debug(struct rtld *r, uint64_t addr, struct rtld_debug *ret)
{
	enum {
		VERSION,
		MAP,
		BRK,
		STATE,
		LDBASE,
		NWORDS
	};
	uint64_t w[NWORDS];
	int err = reader_words(&r->reader, addr, w, NWORDS);

	if (err)
		return err;
	if ((uint32_t)w[VERSION] > MAX_VERSION || (uint32_t)w[STATE] > RTLD_DELETE)
		return -EINVAL;
	*ret = (struct rtld_debug){
		.version = (uint32_t)w[VERSION],
		.map = w[MAP],
		.brk = w[BRK],
		.state = (enum rtld_state)(uint32_t)w[STATE],
	};
	return 0;
}

static int read_next(struct rtld *r, uint64_t addr, uint64_t *ret)
{
	return reader_words(&r->reader, addr + (uint64_t)5 * r->reader.word, ret, 1);
}

/* Keeps addr as the head when an r_debug is filled in there. -EAGAIN when not. */
static int try_head(struct rtld *r, uint64_t addr)
{
	struct rtld_debug d;
	int err;

	if (!addr)
		return -EAGAIN;
	err = read_debug(r, addr, &d);
	if (err)
		return err;
	if (d.version == 0 || d.map == 0 || d.brk == 0)
		return -EAGAIN;
	r->head = addr;
	r->brk = d.brk;
	return 0;
}

/* The same with the r_debug that the pointer at `slot` leads to (0: no such slot). */
static int try_slot(struct rtld *r, uint64_t slot)
{
	uint64_t addr = 0;
	int err = slot ? reader_words(&r->reader, slot, &addr, 1) : 0;

	return err ? err : try_head(r, addr);
}

/* Through _dl_debug_addr, which is garbage until the linker has relocated itself. */
static int try_pointer(struct rtld *r)
{
	int err = try_slot(r, r->debug_addr);

	return err == -EFAULT || err == -EIO || err == -EINVAL ? -EAGAIN : err;
}

/* Finds the first r_debug. A DT_DEBUG that is garbage does not hide the linker's own. */
static int find_head(struct rtld *r)
{
	int err, own;

	if (r->head)
		return 0;
	err = try_slot(r, r->debug_slot);
	if (err == 0 || err == -ESRCH)
		return err;
	own = try_head(r, r->r_debug);
	if (own && own != -ESRCH)
		own = try_pointer(r);
	return own == -EAGAIN ? err : own;
}

uint64_t rtld_watch_addr(struct rtld *r)
{
	if (!r->brk) {
		reader_reset(&r->reader);
		(void)find_head(r);
		reader_reset(&r->reader);
	}
	return r->brk ? r->brk : r->state_func;
}

/* --- the chain of namespaces ------------------------------------------------------- */

int rtld_walk_start(struct rtld *r, struct rtld_walk *w)
{
	int err;

	reader_reset(&r->reader);
	err = find_head(r);
	if (err)
		return err;
	w->n = 0;
	w->next = r->head;
	return 0;
}

/* An r_debug counts once: the chain must end. */
static int note_seen(struct rtld_walk *w, uint64_t addr)
{
	for (long i = 0; i < w->n; i++)
		if (w->seen[i] == addr)
			return -EINVAL;
	if (w->n == RTLD_MAX_NAMESPACES)
		return -ELOOP;
	w->seen[w->n++] = addr;
	return 0;
}

int rtld_walk_next(struct rtld *r, struct rtld_walk *w)
{
	uint64_t addr = w->next;
	int err;

	if (!addr)
		return 0;
	err = note_seen(w, addr);
	if (err)
		return err;
	err = read_debug(r, addr, &w->debug);
	if (err)
		return err;
	w->next = 0;
	if (w->debug.version >= 2)
		err = read_next(r, addr, &w->next);
	return err ? err : 1;
}

int rtld_read_state(struct rtld *r)
{
	enum rtld_state state = RTLD_CONSISTENT;
	struct rtld_walk w;
	int err = rtld_walk_start(r, &w);

	if (err)
		return err;
	while ((err = rtld_walk_next(r, &w)) > 0)
		state = rtld_state_join(state, w.debug.state);
	reader_reset(&r->reader);
	return err ? err : (int)state;
}
