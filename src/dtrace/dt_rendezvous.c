/* SPDX-License-Identifier: MIT */
/*
 * Rendezvous: where a created victim is parked, and how it is brought there.
 *
 * The points of a program lie in one order: exec, preinit, postinit, main. A record has a
 * set of stop bits, one for each that is still wanted. `rdv.at` is the set of the points
 * that lie at the very place where the victim now stands: at the exec stop CREATE (and
 * PREINIT, in a static program), at the first consistent link map PREINIT, at main
 * POSTINIT and MAIN. A point that is wanted and here is parked at, the earliest first; so
 * POSTINIT and MAIN are two parks with no instruction between, for after the first
 * continue the second is found to be here as well.
 *
 * Else the way to the next point is *planned*, before the victim runs, by tags
 * (breakpoints whose hits are questions) on the addresses that it must pass:
 *  - dynamic, to preinit: the address where the linker tells of changes. It comes from
 *    the linker's own symbols, since at exec nothing has run yet. The first time that the
 *    lists are consistent there is preinit: glibc and musl report it when all initial
 *    objects are relocated and before they call any constructor. AT_ENTRY is tagged too,
 *    for a linker that never says so: it lies behind the libraries' constructors and
 *    before main, so preinit falls back to postinit there. (Not when the linker was
 *    started as a command: the kernel then knows nothing of the program);
 *  - to main: the program's symbol `main`. Without one (stripped): __libc_start_main of
 *    any object, whose first argument is main. Without that (static and stripped): from
 *    AT_ENTRY to the first call or jump; at that instruction the first argument is main
 *    (glibc), or the call is followed into the function it goes to and so on (musl:
 *    _start, _start_c, __libc_start_main), a few levels.
 * When no way is found, no point that is wanted can be reached, and the victim is parked
 * for it right here, the last place known to be before it: it is never run to its end.
 * The same happens when a way that was planned turns out to lead nowhere (the first
 * argument is no code).
 *
 * A tag at the place where the victim stands would be passed without a hit: such a main
 * is "here".
 *
 * Everything here belongs to the control thread. An exec begins it anew with the bits
 * that are left.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "dtrace/dt_impl.h"
#include "util/log.h"

enum {
	FOLLOW_MAX = 4, /* calls followed between _start and main */
	SCAN_MAX = 512, /* bytes of straight-line code searched for a call */
	JUMPS_MAX = 8,  /* branches at the PC itself skipped over */
};

/* --- bits --------------------------------------------------------------------------- */

static unsigned wanted(dt_proc_t *dpr)
{
	unsigned bits;

	dt_record_lock(dpr);
	bits = dpr->stop & DT_PROC_STOP_POINTS;
	dt_record_unlock(dpr);
	return bits;
}

bool dt_rdv_wanted(dt_proc_t *dpr)
{
	return wanted(dpr) != 0;
}

/* Preinit cannot be reached any more: the next point that can takes its place. */
static void preinit_becomes_postinit(dt_proc_t *dpr)
{
	dt_record_lock(dpr);
	if (dpr->stop & DT_PROC_STOP_PREINIT) {
		dpr->stop &= ~(unsigned)DT_PROC_STOP_PREINIT;
		dpr->stop |= DT_PROC_STOP_POSTINIT;
	}
	dt_record_unlock(dpr);
}

/* --- tags --------------------------------------------------------------------------- */

static bool tag(dt_proc_t *dpr, uint64_t *slot, uint64_t addr)
{
	int rc;

	if (*slot == addr)
		return true;
	rc = Ptag_set_kernel(dpr->P, addr);
	log_at(LOG_CTL, 2, dpr->pid, 0, "tag 0x%llx: %d", (unsigned long long)addr, rc);
	if (rc)
		return false;
	*slot = addr;
	return true;
}

static void untag(dt_proc_t *dpr, uint64_t *slot)
{
	if (*slot)
		Ptag_clear_kernel(dpr->P, *slot);
	*slot = 0;
}

static void untag_all(dt_proc_t *dpr)
{
	untag(dpr, &dpr->rdv.entry);
	untag(dpr, &dpr->rdv.libc_start);
	untag(dpr, &dpr->rdv.branch);
	untag(dpr, &dpr->rdv.main);
}

/* --- the program -------------------------------------------------------------------- */

/* Where the program itself begins; 0 when nobody says so: AT_ENTRY of a linker that was
 * started as a command is its own, and lies behind it. */
static uint64_t entry(dt_proc_t *dpr)
{
	long v = Pgetauxval(dpr->P, AT_ENTRY);

	return v == -1 || dt_links_by_hand(dpr) ? 0 : (uint64_t)v;
}

static uint64_t pc_now(dt_proc_t *dpr)
{
	prgreg_t pc;

	return Pgetareg(dpr->P, R_PC, &pc) ? 0 : pc;
}

/* Code of the program itself. */
static bool plausible(dt_proc_t *dpr, uint64_t addr)
{
	struct image *im = Pimage(dpr->P);
	const struct image_object *o;
	const struct image_map *m;
	bool ok;

	if (!im)
		return false;
	o = image_object_at(im, addr);
	m = image_map_at(im, addr);
	ok = o && m && o->is_exec && (m->m.prot & PROT_EXEC);
	image_unref(im);
	return ok;
}

static ssize_t read_handle(void *ctx, uint64_t addr, void *buf, size_t len)
{
	ssize_t n = Pread(ctx, buf, len, addr);

	return n < 0 ? -EFAULT : n;
}

static const struct mem_ops handle_ops = { .read = read_handle };

/* The next branch from addr on that does not lie at the PC itself, where the victim
 * stands. */
static int next_branch(dt_proc_t *dpr, uint64_t addr, struct arch_branch *ret)
{
	struct mem m = { &handle_ops, dpr->P };
	uint64_t pc = pc_now(dpr);
	int rc = -ENOENT;

	for (int i = 0; i < JUMPS_MAX; i++) {
		rc = arch_next_branch(&m, addr, SCAN_MAX, ret);
		if (rc || ret->addr != pc)
			return rc;
		if (!ret->target)
			return -ENOENT;
		addr = ret->target;
	}
	return -ENOENT;
}

/* --- the way to main ---------------------------------------------------------------- */

static bool by_main_symbol(dt_proc_t *dpr)
{
	GElf_Sym sym;

	if (Plookup_by_name(dpr->P, PR_OBJ_EXEC, "main", &sym))
		return false;
	return plausible(dpr, sym.st_value) && tag(dpr, &dpr->rdv.main, sym.st_value);
}

static bool by_libc_start(dt_proc_t *dpr)
{
	GElf_Sym sym;

	if (Plookup_by_name(dpr->P, PR_OBJ_EVERY, "__libc_start_main", &sym))
		return false;
	return sym.st_value && tag(dpr, &dpr->rdv.libc_start, sym.st_value);
}

static bool follow(dt_proc_t *dpr, uint64_t addr)
{
	struct dt_rdv *r = &dpr->rdv;
	struct arch_branch b;

	if (!addr || r->depth >= FOLLOW_MAX || next_branch(dpr, addr, &b))
		return false;
	untag(dpr, &r->branch);
	if (!tag(dpr, &r->branch, b.addr))
		return false;
	r->target = b.target;
	r->depth++;
	return true;
}

static bool plan_main(dt_proc_t *dpr)
{
	struct dt_rdv *r = &dpr->rdv;

	if (r->main || r->libc_start || r->branch)
		return true;
	if (by_main_symbol(dpr)) {
		if (r->main != pc_now(dpr))
			return true;
		untag(dpr, &r->main);
		return false;
	}
	return by_libc_start(dpr) || follow(dpr, entry(dpr));
}

static bool plan_loading(dt_proc_t *dpr)
{
	bool guarded;

	dt_links_watch(dpr);
	guarded = entry(dpr) && tag(dpr, &dpr->rdv.entry, entry(dpr));
	if (!dpr->links.watch)
		preinit_becomes_postinit(dpr);
	if (!dpr->links.watch && !guarded)
		return false;
	dpr->pos = DT_POS_LOADING;
	return true;
}

/* True when a point that is wanted can be reached from here. */
static bool plan(dt_proc_t *dpr)
{
	switch (dpr->pos) {
	case DT_POS_EXEC:
		return dt_links_static(dpr) ? plan_main(dpr) : plan_loading(dpr);
	case DT_POS_LOADING:
		return true;
	case DT_POS_INIT:
		return plan_main(dpr);
	default:
		return false;
	}
}

/* --- decisions ---------------------------------------------------------------------- */

void dt_rdv_begin(dt_proc_t *dpr)
{
	memset(&dpr->rdv, 0, sizeof(dpr->rdv));
	if (!dpr->created || !wanted(dpr)) {
		dpr->pos = DT_POS_FREE;
		return;
	}
	dpr->pos = DT_POS_EXEC;
	dpr->rdv.at = DT_PROC_STOP_CREATE;
	if (dt_links_static(dpr))
		dpr->rdv.at |= DT_PROC_STOP_PREINIT;
}

unsigned dt_rdv_decide(dt_proc_t *dpr)
{
	unsigned bits = wanted(dpr);

	if (bits && !(bits & dpr->rdv.at) && !plan(dpr)) {
		log_at(LOG_CTL, 1, dpr->pid, 0, "no way to points 0x%x: parked before",
		       bits);
		dpr->rdv.at |= wanted(dpr);
	}
	bits = wanted(dpr) & dpr->rdv.at;
	return bits & -bits;
}

void dt_rdv_left(dt_proc_t *dpr)
{
	dpr->rdv.at = 0;
	if (dpr->pos == DT_POS_FREE || wanted(dpr))
		return;
	untag_all(dpr);
	dpr->pos = DT_POS_FREE;
}

bool dt_rdv_consistent(dt_proc_t *dpr)
{
	if (dpr->pos != DT_POS_LOADING)
		return false;
	untag(dpr, &dpr->rdv.entry);
	dpr->pos = DT_POS_INIT;
	dpr->rdv.at = DT_PROC_STOP_PREINIT;
	return true;
}

/* --- hits --------------------------------------------------------------------------- */

static bool hit_entry(dt_proc_t *dpr)
{
	untag(dpr, &dpr->rdv.entry);
	if (dpr->pos != DT_POS_LOADING)
		return false;
	preinit_becomes_postinit(dpr);
	dpr->pos = DT_POS_INIT;
	return true;
}

/* At a call that may have main as its argument. True when the search is over, in vain. */
static bool hit_call(dt_proc_t *dpr, const struct hold_event *ev)
{
	struct dt_rdv *r = &dpr->rdv;
	uint64_t arg = arch_reg_get(&ev->regs, arch_native->reg_arg[0]);
	bool found = plausible(dpr, arg) && tag(dpr, &r->main, arg);

	if (found) {
		untag(dpr, &r->libc_start);
		untag(dpr, &r->branch);
		return false;
	}
	if (ev->addr == r->branch && follow(dpr, r->target))
		return false;
	r->at |= wanted(dpr);
	return true;
}

static bool hit_main(dt_proc_t *dpr)
{
	untag_all(dpr);
	dpr->pos = DT_POS_MAIN;
	dpr->rdv.at = DT_PROC_STOP_POSTINIT | DT_PROC_STOP_MAIN;
	return true;
}

bool dt_rdv_hit(dt_proc_t *dpr, const struct hold_event *ev)
{
	struct dt_rdv *r = &dpr->rdv;

	if (dpr->pos == DT_POS_FREE)
		return false;
	if (ev->addr == r->main)
		return hit_main(dpr);
	if (ev->addr == r->entry)
		return hit_entry(dpr);
	if (ev->addr == r->libc_start || ev->addr == r->branch)
		return hit_call(dpr, ev);
	return false;
}
