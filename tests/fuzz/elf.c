/* SPDX-License-Identifier: MIT */
/*
 * An ELF file: every table of it is read, every symbol looked up by address and by name.
 * Fails when a name lies outside of the strings, a look-up gives what does not hold the
 * address, or an iteration gives what cannot be found.
 */
#include "fuzz/fuzz.h"
#include "obj/obj.h"

enum {
	MANY = 4096, /* symbols looked up again */
};

/* What one iteration has seen. */
struct seen {
	struct obj *o; /* the file */
	unsigned n;    /* symbols */
};

static int look_up_again(void *arg, const struct obj_symbol *sym)
{
	struct seen *seen = arg;
	struct obj_symbol found;

	PROMISE(sym->name && *sym->name);
	PROMISE(strlen(sym->name) < ((size_t)1 << 30));
	if (!obj_lookup_addr(seen->o, sym->sym.st_value, &found) && found.sym.st_size)
		PROMISE(sym->sym.st_value >= found.sym.st_value &&
			sym->sym.st_value - found.sym.st_value < found.sym.st_size);
	if (!obj_lookup_name(seen->o, sym->name, &found))
		PROMISE(!strncmp(found.name, sym->name, strlen(found.name)));
	return ++seen->n >= MANY;
}

static void look_at(struct obj *o)
{
	static const uint64_t addr[] = { 0,          1,
					 0x1000,     0x401000,
					 UINT64_MAX, UINT64_MAX / 2,
					 UINT32_MAX, 0xffffffff80000000 };
	const struct obj_segment *seg;
	struct obj_symbol sym;
	size_t n;

	seg = obj_segments(o, &n);
	for (size_t i = 0; i < n; i++)
		PROMISE(seg[i].filesz <= seg[i].memsz &&
			(!i || seg[i - 1].vaddr <= seg[i].vaddr));
	obj_build_id(o, &n);
	PROMISE(n <= 64);
	PROMISE(!obj_soname(o) || strlen(obj_soname(o)) < 4096);
	PROMISE(!obj_interp(o) || strlen(obj_interp(o)) < 4096);
	for (size_t i = 0; i < sizeof(addr) / sizeof(*addr); i++)
		obj_lookup_addr(o, addr[i], &sym);
	obj_lookup_name(o, "main@GLIBC_2.2.5", &sym);
	obj_iter(o, OBJ_SYMTAB, look_up_again, &(struct seen){ o, 0 });
	obj_iter(o, OBJ_DYNSYM, look_up_again, &(struct seen){ o, 0 });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct obj *o;

	if (obj_get_bytes(data, size, &o))
		return 0;
	look_at(o);
	obj_unref(o);
	return 0;
}
