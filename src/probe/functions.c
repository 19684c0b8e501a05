/* SPDX-License-Identifier: MIT */
/*
 * Which symbols are functions, and by which name each is known.
 *
 * A function is a defined symbol of type STT_FUNC in executable bytes of the file. So
 * PLT entries are none, nor what is imported. Of those that begin at one address the one
 * that Plookup_by_addr() would tell is the canonical one; its size and name count,
 * whichever of them was asked for.
 *
 * STT_GNU_IFUNC is the type of a function that, at relocation, chooses the one to be
 * called; the linker calls it once. Somebody who asks for `memcpy` does not mean that,
 * but what it chooses from: every function whose address its code loads. These may have
 * names of their own (`__memmove_avx_unaligned`); without a .symtab they are known by
 * call frame information, and by the name of what chooses. Which of them was chosen
 * nobody has to know: the others are not called. What is chosen from the vDSO (`time`)
 * is not found.
 *
 * Left out unless asked for by their own name:
 * - those without a size (assembly code), which reach to the next symbol then;
 * - _init and _fini, whose sizes linkers have got wrong, and which belong to nobody;
 * - cold halves (`f.cold`): a jump goes there, no call, so an entry would be a lie.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "obj/cfi.h"
#include "probe/match.h"

/* A search in one object. */
struct search {
	struct text *t;            /* of the object */
	struct pattern pattern;    /* for names */
	struct functions *found;   /* so far; canonical names are put in at the end */
	struct functions choosers; /* STT_GNU_IFUNCs; owned */
	uint64_t above, next;      /* when looking for the symbol after `above` */
};

static unsigned type_of(const Elf64_Sym *sym)
{
	return ELF64_ST_TYPE(sym->st_info);
}

static bool is_defined(const Elf64_Sym *sym)
{
	return sym->st_shndx != SHN_UNDEF && sym->st_shndx != SHN_ABS &&
	       sym->st_shndx != SHN_COMMON;
}

static bool is_function(const struct text *t, const Elf64_Sym *sym)
{
	return type_of(sym) == STT_FUNC && is_defined(sym) &&
	       text_segment(t, sym->st_value);
}

static bool is_chooser(const struct text *t, const Elf64_Sym *sym)
{
	return type_of(sym) == STT_GNU_IFUNC && is_defined(sym) &&
	       text_segment(t, sym->st_value);
}

static int append(struct functions *f, const struct function *one)
{
	size_t room = f->room ? f->room * 2 : 64;
	struct function *v;

	if (f->n == f->room) {
		v = realloc(f->v, room * sizeof(*v));
		if (!v)
			return -ENOMEM;
		f->v = v;
		f->room = room;
	}
	f->v[f->n++] = *one;
	return 0;
}

/* --- one name for each -------------------------------------------------------------- */

/* The symbol at an address of the file. */
static bool lookup(const struct text *t, uint64_t addr, struct obj_symbol *ret)
{
	struct image_symbol s;

	if (image_lookup_addr(t->im, addr + t->o->base, &s) || s.object != t->o)
		return false;
	*ret = s.s;
	ret->sym.st_value -= t->o->base;
	return true;
}

static void fill(const struct obj_symbol *s, struct function *ret)
{
	*ret = (struct function){
		.addr = s->sym.st_value,
		.size = s->sym.st_size,
		.name = s->name,
		.is_local = ELF64_ST_BIND(s->sym.st_info) == STB_LOCAL,
	};
}

bool functions_at(const struct text *t, uint64_t addr, struct function *ret)
{
	struct obj_symbol s;

	if (!lookup(t, addr, &s) || !is_function(t, &s.sym))
		return false;
	fill(&s, ret);
	return true;
}

bool functions_begins(const struct text *t, uint64_t addr)
{
	struct obj_symbol s;

	return lookup(t, addr, &s) && s.sym.st_value == addr && is_defined(&s.sym) &&
	       (type_of(&s.sym) == STT_FUNC || type_of(&s.sym) == STT_GNU_IFUNC);
}

bool functions_cold_at(const struct text *t, uint64_t addr, struct function *ret)
{
	struct function f;

	if (!functions_at(t, addr, &f) || !names_is_cold(f.name))
		return false;
	*ret = f;
	return true;
}

/* Several static functions may have one name; then it does not tell whose half it is. */
bool functions_cold_of(const struct text *t, const struct function *f,
		       struct function *ret)
{
	struct image_symbol s;
	char name[1024];

	if (f->is_local || strlen(f->name) >= sizeof(name) - sizeof(".cold"))
		return false;
	strcpy(name, f->name);
	strcat(name, ".cold");
	if (image_object_symbol(t->im, t->o, name, &s))
		return false;
	s.s.sym.st_value -= t->o->base;
	if (!is_function(t, &s.s.sym))
		return false;
	fill(&s.s, ret);
	return true;
}

static int compare(const void *pa, const void *pb)
{
	const struct function *a = pa, *b = pb;

	if (a->addr != b->addr)
		return a->addr < b->addr ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* --- those without a size ----------------------------------------------------------- */

static int see_next(void *arg, const struct obj_symbol *sym)
{
	struct search *s = arg;

	if (is_defined(&sym->sym) && type_of(&sym->sym) != STT_TLS &&
	    sym->sym.st_value > s->above && sym->sym.st_value < s->next)
		s->next = sym->sym.st_value;
	return 0;
}

/* Up to the next symbol, or the end of the text. */
static uint64_t guess_size(struct text *t, uint64_t addr)
{
	const struct obj_segment *seg = text_segment(t, addr);
	struct search s = { .above = addr, .next = seg->vaddr + seg->filesz };

	image_object_iter(t->im, t->o, OBJ_SYMTAB, see_next, &s);
	image_object_iter(t->im, t->o, OBJ_DYNSYM, see_next, &s);
	return s.next - addr;
}

/* Each once, by its canonical name. */
static void settle(struct search *s)
{
	struct functions *f = s->found;
	size_t n = 0;

	if (f->n)
		qsort(f->v, f->n, sizeof(*f->v), compare);
	for (size_t i = 0; i < f->n; i++) {
		struct function one = f->v[i], canonical;

		if (n && f->v[n - 1].addr == one.addr)
			continue;
		if (functions_at(s->t, one.addr, &canonical) &&
		    canonical.addr == one.addr)
			one = canonical;
		else if (s->pattern.is_glob && functions_begins(s->t, one.addr))
			continue; /* `memcpy_ifunc`, which is memcpy's chooser */
		if (!one.size || one.addr + one.size < one.addr)
			one.size = guess_size(s->t, one.addr);
		f->v[n++] = one;
	}
	f->n = n;
}

/* --- what is chosen from ------------------------------------------------------------ */

/* A function at addr, by its symbol or else by call frame information. */
static bool find_choice(const struct text *t, uint64_t addr, const char *name,
			struct function *ret)
{
	struct cfi_row row;

	if (!addr || !text_segment(t, addr))
		return false;
	if (functions_at(t, addr, ret))
		return ret->addr == addr;
	if (obj_cfi_row(t->file, addr, &row) || row.start != addr)
		return false;
	*ret = (struct function){ .addr = addr, .size = row.end - addr, .name = name };
	return true;
}

static int add_choices(struct search *s, const struct function *chooser)
{
	uint64_t addr = chooser->addr, end = addr + chooser->size;
	struct function one;
	struct arch_flow flow;
	int rc = 0;

	while (addr < end && !rc && !text_flow(s->t, addr, end, &flow)) {
		if (flow.kind == ARCH_FLOW_NEXT &&
		    find_choice(s->t, flow.target, chooser->name, &one))
			rc = append(s->found, &one);
		addr += flow.len;
	}
	return rc;
}

static int add_all_choices(struct search *s)
{
	int rc = 0;

	for (size_t i = 0; i < s->choosers.n && !rc; i++)
		rc = add_choices(s, &s->choosers.v[i]);
	return rc;
}

/* --- finding ------------------------------------------------------------------------ */

static bool is_left_out(const struct pattern *p, const struct obj_symbol *sym)
{
	if (!p->is_glob || !strcmp(p->text, sym->name))
		return false;
	return !sym->sym.st_size || !strcmp(sym->name, "_init") ||
	       !strcmp(sym->name, "_fini") || (!p->has_cold && names_is_cold(sym->name));
}

static int see(void *arg, const struct obj_symbol *sym)
{
	struct search *s = arg;
	struct function one;

	bool is_choice = is_chooser(s->t, &sym->sym);

	if ((!is_choice && !is_function(s->t, &sym->sym)) ||
	    is_left_out(&s->pattern, sym) || !names_match(&s->pattern, sym->name))
		return 0;
	fill(sym, &one);
	return append(is_choice ? &s->choosers : s->found, &one);
}

/* By the index of names: 1 found it, the only one; 0 not; or -errno. */
static int find_quickly(struct search *s)
{
	struct image_symbol sym;
	struct function one;
	int rc;

	if (image_object_symbol(s->t->im, s->t->o, s->pattern.text, &sym))
		return 0;
	sym.s.sym.st_value -= s->t->o->base;
	fill(&sym.s, &one);
	if (one.is_local)
		return 0;
	if (is_chooser(s->t, &sym.s.sym))
		rc = add_choices(s, &one);
	else if (is_function(s->t, &sym.s.sym))
		rc = append(s->found, &one);
	else
		return 0;
	return rc ? rc : 1;
}

int functions_find(struct text *t, const char *pattern, struct functions *ret)
{
	struct search s = { .t = t, .found = ret };
	int rc;

	s.pattern = names_pattern(pattern);
	rc = find_quickly(&s);
	if (!rc) {
		rc = image_object_iter(t->im, t->o, OBJ_SYMTAB, see, &s);
		if (!rc)
			rc = image_object_iter(t->im, t->o, OBJ_DYNSYM, see, &s);
		if (!rc)
			rc = add_all_choices(&s);
	}
	functions_fini(&s.choosers);
	settle(&s);
	return rc < 0 ? rc : 0;
}

void functions_fini(struct functions *f)
{
	free(f->v);
	memset(f, 0, sizeof(*f));
}
