/* SPDX-License-Identifier: MIT */
/*
 * Places in the source, by libdw over the debug sections of one file (lines_pack.c).
 *
 * An address leads to its unit by a table of the units' ranges, made when the DWARF is
 * loaded (.debug_aranges is optional, and many compilers leave it out); from there to
 * the function by a table of the unit's functions, made at the first address in the unit;
 * then down through the inlined functions that hold the address. The line is the line
 * table's; the place of an outer function is where the inner one was called. The last
 * answers are kept, so that a stack that is looked at again costs a hash.
 *
 * Hostile DWARF. libdw checks what it reads against the sections, but follows a nesting
 * as deep as it goes, on the stack, in those of its functions that walk; so we walk, with
 * dwarf_child() and dwarf_siblingof(), which do not, and count levels and steps. A few
 * bytes can also make it read much of a section again and again: each table that we make
 * has a deadline, at which it stays as it is. And a line takes a byte in the file and
 * sixty in memory: units with more than 16 MiB of them have none.
 *
 * One lock a file: libdw's handles are not for several threads. Strings are libdw's and
 * live as long as the obj; so does all of this. An obj with lines is not kept once
 * nobody refers to it (cache.c): the debug information of a large program takes some
 * 100 MB.
 */
#include "obj/lines.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <errno.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "obj/file.h"
#include "util/log.h"
#include "util/scope.h"

enum {
	MAX_UNITS = 1 << 20,   /* of one file */
	MAX_RANGES = 1 << 22,  /* of units, or of the functions of one */
	MAX_STEPS = 1 << 22,   /* entries looked at for one table */
	MAX_DESCENT = 1 << 16, /* … for the inlined functions of one address */
	MAX_DEPTH = 64,        /* levels that are followed */
	MAX_LINES = 16 << 20,  /* bytes of a unit's line program */
	DEADLINE = 4,          /* s for one table; the largest programs take one */
	LOOK_AT_CLOCK = 64,    /* steps between two looks at the clock */
	NANSWERS = 512,        /* answers kept; a power of two */
};

/* Addresses and what they belong to. */
struct range {
	uint64_t low, high; /* [low, high) */
	uint64_t what;      /* index of the unit, or offset of the function's entry */
};

/* Ranges by address. */
struct ranges {
	struct range *range; /* n; owned */
	size_t n, room;      /* used and allocated */
	unsigned tried;      /* ranges that there were, kept or not */
	time_t end;          /* when to stop adding, CLOCK_MONOTONIC; 0 not begun */
};

/* A unit. */
struct unit {
	Dwarf_Off offset;        /* of its entry */
	bool known;              /* its functions have been collected */
	bool has_lines;          /* … and its lines can be read */
	struct ranges functions; /* its functions */
};

/* An answer. */
struct answer {
	uint64_t vaddr;          /* asked for */
	struct obj_place *place; /* n of them; owned; NULL: none yet */
	size_t n;                /* how many */
};

struct obj_lines {
	size_t len;                     /* bytes of them */
	char *bytes;                    /* what libdw reads; owned */
	Elf *elf;                       /* over it */
	Dwarf *dwarf;                   /* over that */
	const char *program;            /* .debug_line, in bytes */
	size_t program_len;             /* bytes of it */
	struct unit *unit;              /* nunit; owned */
	size_t nunit, room;             /* used and allocated */
	struct ranges units;            /* the units' addresses */
	struct answer answer[NANSWERS]; /* by hash of the address */
};

/* --- ranges ----------------------------------------------------------------------- */

static time_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Has the table had its time, or its number? */
static bool is_over(struct ranges *r)
{
	if (!r->end)
		r->end = now_s() + DEADLINE;
	return ++r->tried > MAX_RANGES ||
	       (r->tried % LOOK_AT_CLOCK == 0 && now_s() > r->end);
}

/* -E2BIG: that is all that it gets. */
static int add_range(struct ranges *r, uint64_t low, uint64_t high, uint64_t what)
{
	if (is_over(r))
		return -E2BIG;
	if (low >= high)
		return 0;
	if (r->n == r->room) {
		size_t room = r->room ? r->room * 2 : 64;
		struct range *moved = reallocarray(r->range, room, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		r->range = moved;
		r->room = room;
	}
	r->range[r->n++] = (struct range){ low, high, what };
	return 0;
}

/* Every range of an entry. */
static int add_ranges(struct ranges *r, Dwarf_Die *die, uint64_t what)
{
	Dwarf_Addr base, low, high;
	ptrdiff_t at = 0;
	int err = 0;

	while (!err && (at = dwarf_ranges(die, at, &base, &low, &high)) > 0)
		err = add_range(r, low, high, what);
	return err;
}

static int compare_ranges(const void *pa, const void *pb)
{
	const struct range *a = pa, *b = pb;

	if (a->low != b->low)
		return a->low < b->low ? -1 : 1;
	return (a->high > b->high) - (a->high < b->high);
}

/* Function pointers of discarded sections begin at 0: those come first, and mislead only
 * who asks for 0. */
static void sort_ranges(struct ranges *r)
{
	if (r->n)
		qsort(r->range, r->n, sizeof(*r->range), compare_ranges);
}

/* The last range that begins at or below vaddr, if it holds it; ranges do not overlap
 * in what compilers write. */
static const struct range *find_range(const struct ranges *r, uint64_t vaddr)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (r->range[mid].low <= vaddr)
			low = mid + 1;
		else
			high = mid;
	}
	return low && vaddr < r->range[low - 1].high ? &r->range[low - 1] : NULL;
}

/* --- units ------------------------------------------------------------------------ */

static int add_unit(struct obj_lines *l, Dwarf_Die *die)
{
	if (l->nunit == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct unit *moved = reallocarray(l->unit, room, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		l->unit = moved;
		l->room = room;
	}
	l->unit[l->nunit] = (struct unit){ .offset = dwarf_dieoffset(die) };
	return add_ranges(&l->units, die, l->nunit++);
}

static int collect_units(struct obj_lines *l)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die die;
	uint8_t type;
	int err = 0;

	while (!err && l->nunit < MAX_UNITS &&
	       !dwarf_get_units(l->dwarf, cu, &cu, NULL, &type, &die, NULL)) {
		if (is_over(&l->units))
			break;
		if (type == DW_UT_compile || type == DW_UT_skeleton)
			err = add_unit(l, &die);
	}
	sort_ranges(&l->units);
	return err == -E2BIG ? 0 : err;
}

/* --- functions of a unit ---------------------------------------------------------- */

/* A walk: the entries on the way down, innermost last. */
struct walk {
	Dwarf_Die die[MAX_DEPTH]; /* depth + 1 of them */
	int depth;                /* index of the last */
	unsigned steps;           /* that are left */
};

/* The next entry that has not been looked at, without what lies in the current one. */
static bool step_over(struct walk *w)
{
	for (; w->depth > 0 && w->steps; w->depth--, w->steps--) {
		if (!dwarf_siblingof(&w->die[w->depth], &w->die[w->depth]))
			return true;
	}
	return false;
}

static bool step_into(struct walk *w)
{
	if (w->depth + 1 == MAX_DEPTH || !w->steps)
		return false;
	w->steps--;
	if (dwarf_child(&w->die[w->depth], &w->die[w->depth + 1]))
		return false;
	w->depth++;
	return true;
}

/* Is the unit's line program of a size that can be read? */
static bool has_lines(const struct obj_lines *l, Dwarf_Die *unit)
{
	Dwarf_Attribute attr;
	Dwarf_Word at;
	uint32_t len;

	if (dwarf_formudata(dwarf_attr(unit, DW_AT_stmt_list, &attr), &at) ||
	    l->program_len < sizeof(len) || at > l->program_len - sizeof(len))
		return false;
	memcpy(&len, l->program + at, sizeof(len)); /* 64-bit DWARF: too much */
	return len <= MAX_LINES;
}

static bool has_functions(Dwarf_Die *die)
{
	switch (dwarf_tag(die)) {
	case DW_TAG_namespace:
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
	case DW_TAG_enumeration_type:
	case DW_TAG_module:
		return dwarf_haschildren(die) > 0;
	default:
		return false;
	}
}

static int collect_functions(struct obj_lines *l, struct unit *u)
{
	struct walk w = { .steps = MAX_STEPS };
	bool more;
	int err = 0;

	if (u->known)
		return 0;
	if (!dwarf_offdie(l->dwarf, u->offset, &w.die[0]))
		return -ENOENT;
	u->has_lines = has_lines(l, &w.die[0]);
	for (more = step_into(&w); more && !err && !is_over(&u->functions);) {
		Dwarf_Die *die = &w.die[w.depth];

		if (dwarf_tag(die) == DW_TAG_subprogram)
			err = add_ranges(&u->functions, die, dwarf_dieoffset(die));
		more = (has_functions(die) && step_into(&w)) || step_over(&w);
	}
	sort_ranges(&u->functions);
	u->known = !err || err == -E2BIG;
	return u->known ? 0 : err;
}

/* --- one address ------------------------------------------------------------------ */

static const char *string_of(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attr;

	return dwarf_formstring(dwarf_attr_integrate(die, name, &attr));
}

static unsigned number_of(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attr;
	Dwarf_Word value;

	if (dwarf_formudata(dwarf_attr(die, name, &attr), &value) || value > INT32_MAX)
		return 0;
	return (unsigned)value;
}

static const char *function_name(Dwarf_Die *die)
{
	const char *name = string_of(die, DW_AT_linkage_name);

	if (!name)
		name = string_of(die, DW_AT_MIPS_linkage_name);
	return name ? name : string_of(die, DW_AT_name);
}

/* Where an inlined function was called. */
static void fill_call(Dwarf_Die *unit, Dwarf_Die *call, struct obj_place *ret)
{
	unsigned index = number_of(call, DW_AT_call_file);
	Dwarf_Files *files;
	size_t n;

	ret->line = number_of(call, DW_AT_call_line);
	ret->column = number_of(call, DW_AT_call_column);
	if (index && !dwarf_getsrcfiles(unit, &files, &n) && index < n)
		ret->file = dwarf_filesrc(files, index, NULL, NULL);
}

static void fill_line(Dwarf_Die *unit, uint64_t vaddr, struct obj_place *ret)
{
	Dwarf_Line *line = dwarf_getsrc_die(unit, vaddr);
	int n;

	if (!line)
		return;
	ret->file = dwarf_linesrc(line, NULL, NULL);
	if (!dwarf_lineno(line, &n) && n > 0)
		ret->line = (unsigned)n;
	if (!dwarf_linecol(line, &n) && n > 0)
		ret->column = (unsigned)n;
}

/* Entries of blocks that say no addresses hold all of their parent's. */
static bool may_hold(Dwarf_Die *die, uint64_t vaddr)
{
	switch (dwarf_tag(die)) {
	case DW_TAG_inlined_subroutine:
		return dwarf_haspc(die, vaddr) > 0;
	case DW_TAG_lexical_block:
		return dwarf_haspc(die, vaddr) != 0;
	default:
		return false;
	}
}

/* The inlined functions that hold vaddr, outermost first, behind the function itself:
 * how many with it. */
static size_t descend(Dwarf_Die *function, uint64_t vaddr, Dwarf_Die *chain)
{
	struct walk w = { .steps = MAX_DESCENT };
	size_t n = 1;
	bool more;

	chain[0] = w.die[0] = *function;
	for (more = step_into(&w); more && n < OBJ_MAX_PLACES;) {
		Dwarf_Die *die = &w.die[w.depth];

		if (!may_hold(die, vaddr)) {
			more = step_over(&w);
			continue;
		}
		if (dwarf_tag(die) == DW_TAG_inlined_subroutine)
			chain[n++] = *die;
		more = step_into(&w);
	}
	return n;
}

/* The chain as places, innermost first; unit NULL: without lines. */
static size_t fill_places(Dwarf_Die *unit, Dwarf_Die *chain, size_t n, uint64_t vaddr,
			  struct obj_place *ret)
{
	memset(ret, 0, n * sizeof(*ret));
	if (unit)
		fill_line(unit, vaddr, &ret[0]);
	for (size_t i = 0; i < n; i++) {
		Dwarf_Die *die = &chain[n - 1 - i];

		ret[i].function = function_name(die);
		ret[i].inlined = i + 1 < n;
		if (ret[i].inlined && unit)
			fill_call(unit, die, &ret[i + 1]);
	}
	return n;
}

/* How many places; 0: nothing is known. */
static int look_up(struct obj_lines *l, uint64_t vaddr, struct obj_place *ret,
		   size_t *ret_n)
{
	const struct range *at = find_range(&l->units, vaddr), *function;
	Dwarf_Die unit, chain[OBJ_MAX_PLACES];
	struct unit *u;
	size_t n = 0;
	int err;

	*ret_n = 0;
	if (!at || !dwarf_offdie(l->dwarf, l->unit[at->what].offset, &unit))
		return 0;
	u = &l->unit[at->what];
	err = collect_functions(l, u);
	if (err)
		return err;
	function = find_range(&u->functions, vaddr);
	if (function && dwarf_offdie(l->dwarf, function->what, &chain[1])) {
		n = descend(&chain[1], vaddr, chain);
		*ret_n = fill_places(u->has_lines ? &unit : NULL, chain, n, vaddr, ret);
		return 0;
	}
	memset(ret, 0, sizeof(*ret)); /* assembly code has lines and no functions */
	if (u->has_lines)
		fill_line(&unit, vaddr, ret);
	*ret_n = ret->line ? 1 : 0;
	return 0;
}

/* --- answers ---------------------------------------------------------------------- */

static struct answer *answer_of(struct obj_lines *l, uint64_t vaddr)
{
	return &l->answer[vaddr * 0x9e3779b97f4a7c15u >> 32 & (NANSWERS - 1)];
}

/* Keeps the answer; without memory it is found again. */
static void keep_answer(struct answer *a, uint64_t vaddr, const struct obj_place *place,
			size_t n)
{
	struct obj_place *copy = malloc((n ? n : 1) * sizeof(*copy));

	if (!copy)
		return;
	memcpy(copy, place, n * sizeof(*copy));
	free(a->place);
	*a = (struct answer){ .vaddr = vaddr, .place = copy, .n = n };
}

/* Under the obj's lock. */
static int answer(struct obj_lines *l, uint64_t vaddr, struct obj_place *ret,
		  size_t *ret_n)
{
	struct answer *a = answer_of(l, vaddr);
	int err;

	if (a->place && a->vaddr == vaddr) {
		memcpy(ret, a->place, a->n * sizeof(*ret));
		*ret_n = a->n;
		return a->n ? 0 : -ENOENT;
	}
	err = look_up(l, vaddr, ret, ret_n);
	if (err)
		return err;
	keep_answer(a, vaddr, ret, *ret_n);
	return *ret_n ? 0 : -ENOENT;
}

int obj_lines_at(struct obj *o, uint64_t vaddr, struct obj_place *ret, size_t *ret_n)
{
	int err = -EAGAIN;

	pthread_mutex_lock(&o->lock);
	if (o->lines)
		err = answer(o->lines, vaddr, ret, ret_n);
	else if (o->lines_err)
		err = o->lines_err;
	pthread_mutex_unlock(&o->lock);
	return err;
}

/* --- loading ---------------------------------------------------------------------- */

/* Where in our bytes .debug_line is. */
static void find_program(struct obj_lines *l)
{
	Elf_Scn *section = NULL;
	size_t names;

	if (elf_getshdrstrndx(l->elf, &names))
		return;
	while ((section = elf_nextscn(l->elf, section))) {
		const Elf64_Shdr *sh = elf64_getshdr(section);
		const char *name = sh ? elf_strptr(l->elf, names, sh->sh_name) : NULL;

		if (!name || strcmp(name, ".debug_line") != 0)
			continue;
		l->program = l->bytes + sh->sh_offset;
		l->program_len = sh->sh_size;
	}
}

static int open_dwarf(struct obj_lines *l, size_t len)
{
	elf_version(EV_CURRENT);
	l->elf = elf_memory(l->bytes, len);
	l->dwarf = l->elf ? dwarf_begin_elf(l->elf, DWARF_C_READ, NULL) : NULL;
	if (!l->dwarf)
		return -ENOENT;
	find_program(l);
	return collect_units(l);
}

static int load(const struct obj_source *src, struct obj_lines **ret)
{
	struct obj_lines *l = calloc(1, sizeof(*l));
	size_t len = 0;
	int err;

	if (!l)
		return -ENOMEM;
	err = obj_lines_pack(src, &l->bytes, &len);
	l->len = len;
	if (!err)
		err = open_dwarf(l, len);
	if (err) {
		obj_lines_free(l);
		return err;
	}
	*ret = l;
	return 0;
}

int obj_lines_load(struct obj *o, int fd)
{
	struct obj_source src = { .fd = fd };
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return -errno;
	src.size = (uint64_t)st.st_size;
	pthread_mutex_lock(&o->lock);
	err = o->lines_err;
	if (!o->lines && !err) {
		err = load(&src, &o->lines);
		if (err == -ENOENT || err == -E2BIG)
			o->lines_err = err;
		log_at(LOG_OBJ, 1, 0, 0, "DWARF of inode %lu: %d",
		       (unsigned long)st.st_ino, err);
	}
	pthread_mutex_unlock(&o->lock);
	return err;
}

void obj_lines_free(struct obj_lines *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < NANSWERS; i++)
		free(l->answer[i].place);
	for (size_t i = 0; i < l->nunit; i++)
		free(l->unit[i].functions.range);
	free(l->unit);
	free(l->units.range);
	dwarf_end(l->dwarf);
	elf_end(l->elf);
	free(l->bytes);
	free(l);
}

size_t obj_lines_bytes(const struct obj_lines *l)
{
	return l ? sizeof(*l) + l->len + l->room * sizeof(*l->unit) +
			       l->units.room * sizeof(*l->units.range)
		 : 0;
}
