/* SPDX-License-Identifier: MIT */
/*
 * Symbols prepared for look-ups.
 *
 * By address. The address space of the file is cut into disjoint spans, each with the
 * one symbol that answers for it, so that a look-up is one binary search and decides
 * nothing. Symbols may nest and overlap: of those that hold an address the one that
 * begins last wins (the innermost), and of several that begin at one address the
 * contract's preference decides. Cutting is one pass over the symbols in order of
 * address with a stack of those that have begun and not ended; each symbol is pushed
 * once and popped once and adds at most two spans, so a hostile table of nested symbols
 * costs no more than another.
 *
 * A symbol of size 0 (a label of assembly code) reaches to the next symbol, at most to
 * the end of its section. That is a guess, where a size is a statement: labels have
 * spans of their own, searched when no sized symbol answers.
 *
 * By name. Entries are sorted by preference, then (stably) spread over buckets by hash:
 * the first in its bucket with the right name is the best one.
 *
 * Bounds: n log n in the number of symbols. Names may overlap each other in the string
 * table, so a small file can hold millions of long ones: what is hashed, and how much
 * of two names is compared, has a budget.
 */
#include "obj/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/scope.h"

enum {
	COMPARE_BUDGET = 1 << 28, /* bytes of names compared in one sort, about */
	COMPARE_LEAST = 64,       /* of each name at least */
	COMPARE_MOST = 4096,      /* and at most */
	HASH_FACTOR = 16,         /* times the size of the strings may be hashed */
	HASH_SLACK = 1 << 20,     /* and this many bytes */
	NRANKS = 16,              /* ranks of names */
	RETIRED_LOOK = 128,       /* bytes of a name in which its version must begin */
};

/* A symbol that may answer for addresses. */
struct candidate {
	uint64_t start, end; /* [start, end); a label's end is found later */
	const char *name;    /* its name */
	uint32_t ref;        /* the symbol */
	uint32_t rank;       /* preference so far as it fits a number; less is better */
	unsigned compare;    /* bytes of the name that count */
};

/* --- which symbols, and how good they are ----------------------------------------- */

static bool is_function(const Elf64_Sym *sym)
{
	unsigned type = ELF64_ST_TYPE(sym->st_info);

	return type == STT_FUNC || type == STT_GNU_IFUNC;
}

/* Names that mark code and data among instructions: ARM ELF, AArch64 ELF, RISC-V
 * psABI. */
static bool is_mapping_symbol(const struct obj *o, const char *name)
{
	unsigned machine = o->header.e_machine;

	if (machine != EM_ARM && machine != EM_AARCH64 && machine != EM_RISCV)
		return false;
	return name[0] == '$' && name[1] && strchr("adtx", name[1]);
}

static bool has_address(const struct obj *o, const Elf64_Sym *sym, const char *name)
{
	unsigned type = ELF64_ST_TYPE(sym->st_info);

	if (!*name || type == STT_TLS || type == STT_SECTION || type == STT_FILE)
		return false;
	if (sym->st_shndx == SHN_UNDEF || sym->st_shndx == SHN_ABS ||
	    sym->st_shndx == SHN_COMMON)
		return false;
	return !is_mapping_symbol(o, name);
}

/* A name for old programs alone: no new one can be linked with it (`cfree@GLIBC_2.2.5`,
 * which is free). Bit 15 of its version says so in .dynsym. */
static bool is_retired(const struct obj *o, uint32_t ref, const char *name)
{
	const struct obj_raw *raw = obj_ref_raw(o, ref);
	const Elf64_Sym *sym = obj_ref_sym(o, ref);

	if (raw->versym)
		return raw->versym[sym - raw->sym] & 0x8000;
	for (unsigned i = 1; i < RETIRED_LOOK && name[i]; i++)
		if (name[i] == '@')
			return true;
	return false;
}

static uint32_t rank_address(const struct obj *o, uint32_t ref, const char *name)
{
	const Elf64_Sym *sym = obj_ref_sym(o, ref);
	uint32_t underscores = 0;

	while (underscores < 255 && name[underscores] == '_')
		underscores++;
	return (is_function(sym) ? 0 : 1u << 10) |
	       (ELF64_ST_BIND(sym->st_info) == STB_LOCAL ? 1u << 9 : 0) |
	       (is_retired(o, ref, name) ? 1u << 8 : 0) | underscores;
}

/* Thumb functions carry a 1 in the lowest bit of their address (ARM ELF, 5.5.3). */
static uint64_t start_of(const struct obj *o, const Elf64_Sym *sym)
{
	bool thumb = o->header.e_machine == EM_ARM && is_function(sym);

	return thumb ? sym->st_value & ~1ull : sym->st_value;
}

static void fill_candidate(const struct obj *o, uint32_t ref, struct candidate *c)
{
	const Elf64_Sym *sym = obj_ref_sym(o, ref);
	const char *name = obj_raw_name(obj_ref_raw(o, ref), sym);
	uint64_t start = start_of(o, sym), end = start + sym->st_size;

	*c = (struct candidate){
		.start = start,
		.end = end < start ? UINT64_MAX : end,
		.name = name,
		.ref = ref,
		.rank = rank_address(o, ref, name),
	};
}

/* Every symbol with an address, from both tables. */
static size_t collect_candidates(const struct obj *o, struct candidate *c)
{
	size_t n = 0;

	for (int t = 0; t < OBJ_NTABLES; t++) {
		const struct obj_raw *raw = &o->raw[t];

		for (size_t i = 0; i < raw->n; i++) {
			const Elf64_Sym *sym = &raw->sym[i];

			if (has_address(o, sym, obj_raw_name(raw, sym)))
				fill_candidate(o, OBJ_REF(t + 1, i), &c[n++]);
		}
	}
	return n;
}

/* How much of each name counts when n of them are sorted. */
static unsigned compare_share(size_t n)
{
	size_t share = COMPARE_BUDGET / (32 * (n + 1));

	if (share > COMPARE_MOST)
		return COMPARE_MOST;
	return share < COMPARE_LEAST ? COMPARE_LEAST : (unsigned)share;
}

/* The contract's preference among symbols at one address: negative when a is better. */
static int compare_merit(const struct candidate *a, const struct candidate *b)
{
	uint64_t x = a->end - a->start, y = b->end - b->start;
	int diff;

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (x != y)
		return x < y ? -1 : 1;
	diff = strncmp(a->name, b->name, a->compare);
	if (diff)
		return diff;
	return a->ref < b->ref ? -1 : a->ref > b->ref;
}

/* By address; the best of one address last, so that it comes to lie on top of the
 * stack. */
static int compare_candidates(const void *pa, const void *pb)
{
	const struct candidate *a = pa, *b = pb;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return compare_merit(b, a);
}

/* --- labels ----------------------------------------------------------------------- */

/* The end of what holds sym: its section, or without sections its segment. */
static uint64_t limit_of(const struct obj *o, const struct candidate *c)
{
	uint16_t section = obj_ref_sym(o, c->ref)->st_shndx;

	if (section < o->nsection && c->start >= o->section[section].start &&
	    c->start < o->section[section].end)
		return o->section[section].end;
	for (size_t i = 0; !o->nsection && i < o->nseg; i++) {
		const struct obj_segment *s = &o->seg[i];

		if (c->start >= s->vaddr && c->start - s->vaddr < s->memsz)
			return s->vaddr + s->memsz;
	}
	return c->start;
}

/* Moves labels into `label`, each reaching to the next symbol; the best one of an address
 * (the last of its group) remains. Returns how many sized ones stay in c. */
static size_t split_labels(const struct obj *o, struct candidate *c, size_t n,
			   struct candidate *label, size_t *nlabel)
{
	uint64_t next = UINT64_MAX, reach = UINT64_MAX;
	size_t sized = n;

	*nlabel = 0;
	for (size_t i = n; i-- > 0;) {
		struct candidate one = c[i];

		if (one.start != next) {
			reach = next;
			next = one.start;
		}
		if (one.end != one.start) {
			c[--sized] = one;
			continue;
		}
		one.end = limit_of(o, &one);
		if (one.end > reach)
			one.end = reach;
		if (one.end > one.start &&
		    (!*nlabel || label[*nlabel - 1].start != one.start))
			label[(*nlabel)++] = one;
	}
	memmove(c, c + sized, (n - sized) * sizeof(*c));
	return n - sized;
}

/* --- spans ------------------------------------------------------------------------ */

static int init_spans(struct obj_spans *s, size_t max)
{
	s->start = malloc((max ? max : 1) * sizeof(*s->start));
	s->span = malloc((max ? max : 1) * sizeof(*s->span));
	return s->start && s->span ? 0 : -ENOMEM;
}

static void append_span(struct obj_spans *s, uint64_t start, uint64_t end, uint32_t ref)
{
	s->start[s->n] = start;
	s->span[s->n++] = (struct obj_span){ .end = end, .ref = ref };
}

/* Gives back what was reserved for nested symbols. */
static void shrink_spans(struct obj_spans *s)
{
	void *start = realloc(s->start, (s->n ? s->n : 1) * sizeof(*s->start));
	void *span = realloc(s->span, (s->n ? s->n : 1) * sizeof(*s->span));

	if (start)
		s->start = start;
	if (span)
		s->span = span;
}

/* What has begun and not ended, innermost on top, while spans are being cut. */
struct cutter {
	struct candidate *c;     /* candidates in order */
	uint32_t *stack;         /* indexes into c */
	size_t depth;            /* how many */
	uint64_t at;             /* addresses below have been dealt with */
	struct obj_spans *spans; /* the result */
};

/* Cuts spans from `at` up to `until`. */
static void cut_until(struct cutter *k, uint64_t until)
{
	while (k->depth) {
		const struct candidate *top = &k->c[k->stack[k->depth - 1]];
		uint64_t end = top->end < until ? top->end : until;

		if (k->at < end) {
			append_span(k->spans, k->at, end, top->ref);
			k->at = end;
		}
		if (top->end > until)
			break;
		k->depth--;
	}
	k->at = until;
}

/* Spans of the n sized candidates. */
static int cut_spans(struct candidate *c, size_t n, struct obj_spans *ret)
{
	struct cutter k = { .c = c, .spans = ret };
	int err = init_spans(ret, 2 * n);

	if (err)
		return err;
	k.stack = malloc((n ? n : 1) * sizeof(*k.stack));
	if (!k.stack)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		cut_until(&k, c[i].start);
		k.stack[k.depth++] = (uint32_t)i;
	}
	cut_until(&k, UINT64_MAX);
	free(k.stack);
	shrink_spans(ret);
	return 0;
}

/* Labels come by falling address. */
static int keep_labels(const struct candidate *label, size_t n, struct obj_spans *ret)
{
	int err = init_spans(ret, n);

	if (err)
		return err;
	for (size_t i = n; i-- > 0;)
		append_span(ret, label[i].start, label[i].end, label[i].ref);
	return 0;
}

static int index_addresses(const struct obj *o, struct obj_index *x)
{
	size_t max = o->raw[0].n + o->raw[1].n + 1, n, nlabel;
	_cleanup_free_ struct candidate *c = malloc(max * sizeof(*c));
	_cleanup_free_ struct candidate *label = NULL;
	unsigned share;
	int err;

	if (!c)
		return -ENOMEM;
	n = collect_candidates(o, c);
	share = compare_share(n);
	for (size_t i = 0; i < n; i++)
		c[i].compare = share;
	label = malloc((n + 1) * sizeof(*label));
	if (!label)
		return -ENOMEM;
	qsort(c, n, sizeof(*c), compare_candidates);
	n = split_labels(o, c, n, label, &nlabel);
	err = cut_spans(c, n, &x->sized);
	return err ? err : keep_labels(label, nlabel, &x->labels);
}

/* --- names ------------------------------------------------------------------------ */

uint32_t obj_hash(const char *name, size_t len)
{
	uint32_t h = 5381;

	for (size_t i = 0; i < len; i++)
		h = h * 33 + (unsigned char)name[i];
	return h * 2654435769u; /* the highest bits choose the bucket */
}

static bool has_name(const Elf64_Sym *sym)
{
	unsigned type = ELF64_ST_TYPE(sym->st_info);

	return sym->st_shndx != SHN_UNDEF && type != STT_SECTION && type != STT_FILE;
}

/* Table, then default versions before hidden ones, then binding; less is better. */
static unsigned rank_name(const struct obj *o, uint32_t ref)
{
	const struct obj_raw *raw = obj_ref_raw(o, ref);
	uint32_t i = ref & ~OBJ_REF_DYNSYM;
	unsigned bind = ELF64_ST_BIND(raw->sym[i].st_info);
	unsigned rank = bind == STB_LOCAL ? 2 : bind == STB_WEAK ? 1 : 0;

	if (raw->versym && raw->versym[i] & 0x8000)
		rank |= 4;
	return ref & OBJ_REF_DYNSYM ? rank | 8 : rank;
}

/* An entry on its way into the table. */
struct ranked_name {
	struct obj_name name; /* the entry */
	unsigned rank;        /* preference */
};

/* Hashes every name of one table, within its budget. */
static size_t collect_names(const struct obj *o, enum obj_table table,
			    struct ranked_name *to)
{
	const struct obj_raw *raw = &o->raw[table - 1];
	uint64_t budget = (uint64_t)raw->strsz * HASH_FACTOR + HASH_SLACK;
	size_t n = 0;

	for (size_t i = 0; i < raw->n; i++) {
		const char *name = obj_raw_name(raw, &raw->sym[i]);
		uint32_t ref = OBJ_REF(table, i);
		size_t len;

		if (!*name || !has_name(&raw->sym[i]))
			continue;
		len = strnlen(name, budget);
		if (len == budget)
			break;
		budget -= len;
		to[n++] = (struct ranked_name){
			.name = { .hash = obj_hash(name, len), .ref = ref },
			.rank = rank_name(o, ref),
		};
	}
	return n;
}

/* A stable order by rank. */
static void order_by_rank(const struct ranked_name *from, size_t n, struct obj_name *to)
{
	size_t at[NRANKS + 1] = { 0 };

	for (size_t i = 0; i < n; i++)
		at[from[i].rank + 1]++;
	for (int r = 0; r < NRANKS; r++)
		at[r + 1] += at[r];
	for (size_t i = 0; i < n; i++)
		to[at[from[i].rank]++] = from[i].name;
}

/* Spreads the n names over the buckets, keeping their order in each. */
static void fill_buckets(struct obj_index *x, const struct obj_name *from, size_t n)
{
	size_t nbucket = (size_t)1 << x->bits;
	unsigned shift = 32 - x->bits;

	for (size_t i = 0; i < n; i++)
		x->bucket[(from[i].hash >> shift) + 1]++;
	for (size_t b = 0; b < nbucket; b++)
		x->bucket[b + 1] += x->bucket[b];
	/* Now each bucket's start; filling moves it to its end, which is the next
	 * one's start. */
	for (size_t i = 0; i < n; i++)
		x->name[x->bucket[from[i].hash >> shift]++] = from[i];
	memmove(x->bucket + 1, x->bucket, nbucket * sizeof(*x->bucket));
	x->bucket[0] = 0;
	x->nname = n;
}

static int index_names(const struct obj *o, struct obj_index *x)
{
	size_t max = o->raw[0].n + o->raw[1].n, n;
	_cleanup_free_ struct ranked_name *ranked = malloc((max + 1) * sizeof(*ranked));
	_cleanup_free_ struct obj_name *ordered = malloc((max + 1) * sizeof(*ordered));

	if (!ranked || !ordered)
		return -ENOMEM;
	n = collect_names(o, OBJ_SYMTAB, ranked);
	n += collect_names(o, OBJ_DYNSYM, ranked + n);
	x->bits = 4;
	while (x->bits < 24 && ((size_t)1 << x->bits) < n)
		x->bits++;
	x->bucket = calloc(((size_t)1 << x->bits) + 1, sizeof(*x->bucket));
	x->name = malloc((n + 1) * sizeof(*x->name));
	if (!x->bucket || !x->name)
		return -ENOMEM;
	order_by_rank(ranked, n, ordered);
	fill_buckets(x, ordered, n);
	return 0;
}

int obj_index_new(const struct obj *o, struct obj_index **ret)
{
	struct obj_index *x = calloc(1, sizeof(*x));
	int err;

	if (!x)
		return -ENOMEM;
	err = index_addresses(o, x);
	if (!err)
		err = index_names(o, x);
	if (err) {
		obj_index_free(x);
		return err;
	}
	*ret = x;
	return 0;
}

void obj_index_free(struct obj_index *x)
{
	if (!x)
		return;
	free(x->sized.start);
	free(x->sized.span);
	free(x->labels.start);
	free(x->labels.span);
	free(x->name);
	free(x->bucket);
	free(x);
}
