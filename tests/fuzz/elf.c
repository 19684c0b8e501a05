/* SPDX-License-Identifier: MIT */
/*
 * An ELF file: every table of it is read, .gnu_debugdata and compressed sections as
 * well, every symbol looked up by address and by name and made readable, its place in the
 * source asked for. Fails when a name lies outside of the strings, a look-up gives what
 * does not hold the address, or an iteration gives what cannot be found.
 */
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "obj/demangle.h"
#include "obj/lines.h"
#include "obj/obj.h"

enum {
	MANY = 4096, /* symbols looked up again */
	SOME = 64,   /* of them made readable, and asked for in the source */
};

/* What one iteration has seen. */
struct seen {
	struct obj *o; /* the file */
	unsigned n;    /* symbols */
};

static void look_at_place(struct obj *o, uint64_t addr)
{
	struct obj_place place[OBJ_MAX_PLACES];
	size_t n = 0;

	if (obj_lines_at(o, addr, place, &n))
		return;
	PROMISE(n > 0 && n <= OBJ_MAX_PLACES && !place[n - 1].inlined);
	for (size_t i = 0; i < n; i++) {
		PROMISE(!place[i].function || strlen(place[i].function) < (1 << 30));
		PROMISE(!place[i].file || strlen(place[i].file) < (1 << 30));
	}
}

static void look_closer(struct obj *o, const struct obj_symbol *sym)
{
	char text[DEMANGLE_OUTPUT];

	if (obj_demangle(sym->name, text))
		PROMISE(*text && strnlen(text, sizeof(text)) < sizeof(text));
	look_at_place(o, sym->sym.st_value);
	look_at_place(o, sym->sym.st_value + sym->sym.st_size / 2);
}

/* A Thumb function's value has a 1 in its lowest bit. */
static uint64_t start_of(const struct obj *o, const struct obj_symbol *sym)
{
	bool thumb = obj_machine(o) == EM_ARM &&
		     (ELF64_ST_TYPE(sym->sym.st_info) == STT_FUNC ||
		      ELF64_ST_TYPE(sym->sym.st_info) == STT_GNU_IFUNC);

	return thumb ? sym->sym.st_value & ~1ull : sym->sym.st_value;
}

static int look_up_again(void *arg, const struct obj_symbol *sym)
{
	struct seen *seen = arg;
	struct obj_symbol found;

	PROMISE(sym->name && *sym->name);
	PROMISE(strlen(sym->name) < ((size_t)1 << 30));
	if (!obj_lookup_addr(seen->o, sym->sym.st_value, &found) && found.sym.st_size)
		PROMISE(sym->sym.st_value - start_of(seen->o, &found) <
			found.sym.st_size);
	if (!obj_lookup_name(seen->o, sym->name, &found))
		PROMISE(!strncmp(found.name, sym->name, strlen(found.name)));
	if (seen->n < SOME)
		look_closer(seen->o, sym);
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
	uint32_t crc;
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
	PROMISE(!obj_debuglink(o, &crc) || !strchr(obj_debuglink(o, &crc), '/'));
	obj_iter(o, OBJ_SYMTAB, look_up_again, &(struct seen){ o, 0 });
	obj_iter(o, OBJ_DYNSYM, look_up_again, &(struct seen){ o, 0 });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct obj *o;
	int fd;

	if (obj_get_bytes(data, size, &o))
		return 0;
	fd = fuzz_file(data, size);
	obj_lines_load(o, fd);
	close(fd);
	look_at(o);
	obj_unref(o);
	return 0;
}
