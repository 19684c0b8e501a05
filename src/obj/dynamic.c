/* SPDX-License-Identifier: MIT */
/*
 * .dynsym of a file without section headers (sstrip, some packers): the dynamic section
 * says where it is, and the hash table how long.
 */
#include "obj/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/scope.h"

/* What the dynamic section says, in the file's own addresses; 0: nothing. */
struct dynamic_tags {
	uint64_t symtab;   /* DT_SYMTAB */
	uint64_t strtab;   /* DT_STRTAB */
	uint64_t strsz;    /* DT_STRSZ */
	uint64_t hash;     /* DT_HASH */
	uint64_t gnu_hash; /* DT_GNU_HASH */
};

static struct dynamic_tags collect_tags(const Elf64_Dyn *dyn, size_t n)
{
	struct dynamic_tags t = { 0 };

	for (size_t i = 0; i < n && dyn[i].d_tag != DT_NULL; i++) {
		uint64_t value = dyn[i].d_un.d_val;

		switch (dyn[i].d_tag) {
		case DT_SYMTAB:
			t.symtab = value;
			break;
		case DT_STRTAB:
			t.strtab = value;
			break;
		case DT_STRSZ:
			t.strsz = value;
			break;
		case DT_HASH:
			t.hash = value;
			break;
		case DT_GNU_HASH:
			t.gnu_hash = value;
			break;
		}
	}
	return t;
}

/* Word i of a table of 32-bit words at off, in the host's byte order. */
static int read_word(const struct obj_source *src, uint64_t off, uint64_t i,
		     uint32_t *ret)
{
	uint32_t word;
	int err = obj_read(src, off + i * sizeof(word), &word, sizeof(word));

	if (!err)
		*ret = word;
	return err;
}

/* DT_HASH: nbucket, nchain, …; there is one chain entry for each symbol. */
static int count_by_hash(const struct obj_source *src, uint64_t off, uint64_t *ret)
{
	uint32_t nchain;
	int err = read_word(src, off, 1, &nchain);

	if (!err)
		*ret = nchain;
	return err;
}

/* Follows the last chain, which ends with the last symbol: an odd word. */
static int follow_chain(const struct obj_source *src, uint64_t off, uint64_t first,
			uint64_t symbol, uint64_t *ret)
{
	for (; symbol < OBJ_MAX_SYMBOLS; symbol++) {
		uint32_t word;
		int err = read_word(src, off, symbol - first, &word);

		if (err)
			return err;
		if (word & 1) {
			*ret = symbol + 1;
			return 0;
		}
	}
	return -ENOEXEC;
}

/* DT_GNU_HASH: the highest symbol in any bucket begins the last chain. */
static int count_by_gnu_hash(const struct obj_source *src, uint64_t off, uint64_t *ret)
{
	uint32_t head[4]; /* nbuckets, first symbol, words of the bloom filter, shift */
	uint64_t buckets, last = 0;
	int err = obj_read(src, off, head, sizeof(head));

	if (err)
		return err;
	if (head[0] > OBJ_MAX_SYMBOLS)
		return -ENOEXEC;
	buckets = off + sizeof(head) +
		  (uint64_t)head[2] * (src->class == ELFCLASS32 ? 4 : 8);
	for (uint32_t i = 0; i < head[0]; i++) {
		uint32_t symbol;

		err = read_word(src, buckets, i, &symbol);
		if (err)
			return err;
		if (symbol > last)
			last = symbol;
	}
	*ret = head[1];
	if (last < head[1])
		return 0;
	return follow_chain(src, buckets + 4ull * head[0], head[1], last, ret);
}

/* Number of symbols by whichever hash table there is. */
static int count_symbols(const struct obj_source *src, const struct obj *o,
			 const struct dynamic_tags *t, uint64_t *ret)
{
	uint64_t off = t->hash ? obj_offset_of(o, t->hash) : UINT64_MAX;

	if (off != UINT64_MAX)
		return count_by_hash(src, off, ret);
	off = t->gnu_hash ? obj_offset_of(o, t->gnu_hash) : UINT64_MAX;
	return off != UINT64_MAX ? count_by_gnu_hash(src, off, ret) : -ENOEXEC;
}

int obj_load_dynamic(const struct obj_source *src, struct obj *o, const Elf64_Dyn *dyn,
		     size_t n)
{
	struct dynamic_tags t = collect_tags(dyn, n);
	uint64_t symtab = obj_offset_of(o, t.symtab), strtab = obj_offset_of(o, t.strtab);
	struct obj_raw *raw = &o->raw[1];
	size_t entry = src->class == ELFCLASS32 ? sizeof(Elf32_Sym) : sizeof(Elf64_Sym);
	uint64_t count = 0;
	int err;

	if (raw->n || !t.symtab || !t.strtab || symtab == UINT64_MAX ||
	    strtab == UINT64_MAX || t.strsz > OBJ_MAX_STRINGS)
		return -ENOEXEC;
	err = count_symbols(src, o, &t, &count);
	if (!err && !raw->str)
		err = obj_read_bytes(src, strtab, t.strsz, &raw->str);
	if (err)
		return err;
	raw->strsz = t.strsz;
	return obj_read_symbols(src, symtab, count * entry, &raw->sym, &raw->n);
}
