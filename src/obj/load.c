/* SPDX-License-Identifier: MIT */
/*
 * Making a struct obj of a file: header, segments, names, build-id, and the bytes of the
 * symbol tables. What is wrong with the header or the program headers makes the file
 * -ENOEXEC; what is wrong with anything else leaves that thing out.
 */
#include "obj/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/scope.h"

enum {
	MAX_VERSIONS = 0x8000,  /* an index has 15 bits (LSB, Symbol Versioning) */
	MAX_NOTE_SECTIONS = 16, /* read for a build-id; linkers make two to five */
};

/* A part that the file has not, or has in a broken form, is left out. */
static int optional(int err)
{
	return err == -ENOEXEC || err == -ENOTSUP ? 0 : err;
}

static unsigned prot_of(uint32_t flags)
{
	return (flags & PF_R ? PROT_READ : 0u) | (flags & PF_W ? PROT_WRITE : 0u) |
	       (flags & PF_X ? PROT_EXEC : 0u);
}

static bool is_sane_segment(const Elf64_Phdr *ph)
{
	return ph->p_type == PT_LOAD && ph->p_filesz <= ph->p_memsz &&
	       ph->p_vaddr + ph->p_memsz >= ph->p_vaddr &&
	       ph->p_offset + ph->p_filesz >= ph->p_offset;
}

static int compare_segments(const void *a, const void *b)
{
	const struct obj_segment *x = a, *y = b;

	return (x->vaddr > y->vaddr) - (x->vaddr < y->vaddr);
}

static int keep_segments(struct obj *o, const Elf64_Phdr *ph, size_t n)
{
	o->seg = calloc(n ? n : 1, sizeof(*o->seg));
	if (!o->seg)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (!is_sane_segment(&ph[i]))
			continue;
		o->seg[o->nseg++] = (struct obj_segment){
			.vaddr = ph[i].p_vaddr,
			.offset = ph[i].p_offset,
			.filesz = ph[i].p_filesz,
			.memsz = ph[i].p_memsz,
			.prot = prot_of(ph[i].p_flags),
		};
	}
	qsort(o->seg, o->nseg, sizeof(*o->seg), compare_segments);
	return 0;
}

uint64_t obj_offset_of(const struct obj *o, uint64_t vaddr)
{
	for (size_t i = 0; i < o->nseg; i++) {
		const struct obj_segment *s = &o->seg[i];

		if (vaddr >= s->vaddr && vaddr - s->vaddr < s->filesz)
			return s->offset + (vaddr - s->vaddr);
	}
	return UINT64_MAX;
}

/* --- notes ------------------------------------------------------------------------ */

static size_t round_up(size_t n, size_t align)
{
	return (n + align - 1) & ~(align - 1);
}

/* Keeps the build-id when the note at `note`, `left` bytes long at most, is one.
 * Returns the bytes that the note takes, 0 when it does not fit. Numbers are in the
 * host's order here: a file of the other byte order has no build-id to us. */
static size_t scan_note(struct obj *o, const char *note, size_t left, size_t align)
{
	Elf64_Nhdr nh; /* the same in both classes */
	size_t desc, end;

	if (left < sizeof(nh))
		return 0;
	memcpy(&nh, note, sizeof(nh));
	if (nh.n_namesz > left || nh.n_descsz > left)
		return 0;
	desc = round_up(sizeof(nh) + nh.n_namesz, align);
	end = desc + nh.n_descsz;
	if (end > left)
		return 0;
	if (nh.n_type == NT_GNU_BUILD_ID && nh.n_namesz == 4 && !o->build_id_len &&
	    !memcmp(note + sizeof(nh), "GNU", 4) && nh.n_descsz &&
	    nh.n_descsz <= OBJ_MAX_BUILD_ID) {
		memcpy(o->build_id, note + desc, nh.n_descsz);
		o->build_id_len = nh.n_descsz;
	}
	return round_up(end, align);
}

/* `align` 8: notes of GNU properties; else 4. */
static int scan_notes(const struct obj_source *src, struct obj *o, uint64_t off,
		      uint64_t size, uint64_t align)
{
	_cleanup_free_ char *notes = NULL;
	size_t len = size, at = 0, n;
	int err;

	if (o->build_id_len || size > OBJ_MAX_NOTES)
		return 0;
	err = obj_read_bytes(src, off, size, &notes);
	if (err)
		return optional(err);
	while (at < len && (n = scan_note(o, notes + at, len - at, align == 8 ? 8 : 4)))
		at += n;
	return 0;
}

/* --- dynamic section -------------------------------------------------------------- */

static int read_soname(const struct obj_source *src, struct obj *o, const Elf64_Dyn *dyn,
		       size_t n)
{
	uint64_t strings = 0, name = 0, off;

	for (size_t i = 0; i < n && dyn[i].d_tag != DT_NULL; i++) {
		if (dyn[i].d_tag == DT_STRTAB)
			strings = dyn[i].d_un.d_val;
		else if (dyn[i].d_tag == DT_SONAME)
			name = dyn[i].d_un.d_val;
	}
	if (!strings || !name)
		return 0;
	off = obj_offset_of(o, strings);
	if (off == UINT64_MAX || off + name < off)
		return 0;
	return optional(obj_read_string(src, off + name, &o->soname));
}

static int load_dynamic(const struct obj_source *src, struct obj *o, const Elf64_Phdr *ph)
{
	_cleanup_free_ Elf64_Dyn *dyn = NULL;
	size_t n = 0;
	int err;

	o->dynamic = ph->p_vaddr;
	err = optional(obj_read_dynamic(src, ph->p_offset, ph->p_filesz, &dyn, &n));
	if (!err)
		err = read_soname(src, o, dyn, n);
	if (!err && !o->nsection)
		err = optional(obj_load_dynamic(src, o, dyn, n));
	return err;
}

/* --- what program headers and sections lead to ------------------------------------ */

static int load_one_header(const struct obj_source *src, struct obj *o,
			   const Elf64_Phdr *ph)
{
	switch (ph->p_type) {
	case PT_INTERP:
		if (o->interp)
			return 0;
		return optional(obj_read_string(src, ph->p_offset, &o->interp));
	case PT_DYNAMIC:
		return o->dynamic ? 0 : load_dynamic(src, o, ph);
	case PT_GNU_EH_FRAME:
		return cfi_load_header(src, o, ph);
	case PT_NOTE:
		return scan_notes(src, o, ph->p_offset, ph->p_filesz, ph->p_align);
	default:
		return 0;
	}
}

static int load_segments(const struct obj_source *src, struct obj *o,
			 const Elf64_Phdr *ph, size_t n)
{
	int err = keep_segments(o, ph, n);

	for (size_t i = 0; !err && i < n; i++)
		err = load_one_header(src, o, &ph[i]);
	return err;
}

static int keep_extents(struct obj *o, const Elf64_Shdr *sh, size_t n)
{
	o->section = calloc(n ? n : 1, sizeof(*o->section));
	if (!o->section)
		return -ENOMEM;
	o->nsection = n;
	for (size_t i = 0; i < n; i++) {
		uint64_t end = sh[i].sh_addr + sh[i].sh_size;

		if (!(sh[i].sh_flags & SHF_ALLOC) || end < sh[i].sh_addr)
			continue;
		o->section[i] = (struct obj_extent){ .start = sh[i].sh_addr, .end = end };
	}
	return 0;
}

static const Elf64_Shdr *find_section(const Elf64_Shdr *sh, size_t n, uint32_t type)
{
	for (size_t i = 0; i < n; i++) {
		if (sh[i].sh_type == type)
			return &sh[i];
	}
	return NULL;
}

/* Entries in a compressed section. */
static int load_packed_entries(const struct obj_source *src, struct obj_raw *raw,
			       const Elf64_Shdr *table)
{
	_cleanup_free_ char *bytes = NULL;
	struct obj_source inner = *src;
	size_t len = 0;
	int err = obj_read_section(src, table, OBJ_MAX_STRINGS, &bytes, &len);

	if (err)
		return err;
	inner.fd = -1;
	inner.bytes = bytes;
	inner.size = len;
	return obj_read_symbols(&inner, 0, len, &raw->sym, &raw->n);
}

static int load_entries(const struct obj_source *src, struct obj_raw *raw,
			const Elf64_Shdr *table)
{
	if (table->sh_flags & SHF_COMPRESSED)
		return load_packed_entries(src, raw, table);
	return obj_read_symbols(src, table->sh_offset, table->sh_size, &raw->sym,
				&raw->n);
}

/* Link editors write the default version behind a name of .symtab (`read@@GLIBC_2.2.5`),
 * which no client does, and .dynsym has it apart. Other versions (`read@OLD`) stay: they
 * tell one from the other. */
static void cut_default_versions(char *str, size_t len)
{
	char *end = str + len, *at = str;

	while ((at = memchr(at, '@', (size_t)(end - at)))) {
		if (at > str && at[-1] && at + 1 < end && at[1] == '@')
			*at = '\0';
		at++;
	}
}

int obj_load_table(const struct obj_source *src, struct obj_raw *raw,
		   const Elf64_Shdr *sh, size_t n, uint32_t type)
{
	const Elf64_Shdr *table = find_section(sh, n, type), *strings;
	int err;

	if (!table || table->sh_link >= n)
		return 0;
	strings = &sh[table->sh_link];
	if (strings->sh_type != SHT_STRTAB)
		return 0;
	err = obj_read_section(src, strings, OBJ_MAX_STRINGS, &raw->str, &raw->strsz);
	if (!err && type == SHT_SYMTAB)
		cut_default_versions(raw->str, raw->strsz);
	return optional(err ? err : load_entries(src, raw, table));
}

/* --- versions of .dynsym ---------------------------------------------------------- */

/* Keeps the name of version def->vd_ndx. `off` is where def stands in the `len` bytes. */
static void keep_version(struct obj *o, const char *bytes, size_t len, size_t off,
			 const Elf64_Verdef *def)
{
	size_t index = def->vd_ndx & 0x7fff, at = off + def->vd_aux;
	Elf64_Verdaux aux;

	if (index >= o->nversion || at > len || len - at < sizeof(aux))
		return;
	memcpy(&aux, bytes + at, sizeof(aux));
	if (aux.vda_name < o->raw[1].strsz)
		o->version[index] = aux.vda_name;
}

/* Walks the chain of definitions, as many as there are indexes at most. */
static void scan_versions(struct obj *o, const char *bytes, size_t len)
{
	Elf64_Verdef def;
	size_t at = 0;

	for (int i = 0; i < MAX_VERSIONS && at <= len && len - at >= sizeof(def); i++) {
		memcpy(&def, bytes + at, sizeof(def));
		keep_version(o, bytes, len, at, &def);
		if (!def.vd_next)
			return;
		at += def.vd_next;
	}
}

static bool is_native(const struct obj_source *src)
{
	return src->encoding ==
	       (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB);
}

/* Version numbers and their names. Nothing for a file of the other byte order. */
static int load_versions(const struct obj_source *src, struct obj *o,
			 const Elf64_Shdr *sh, size_t n)
{
	const Elf64_Shdr *numbers = find_section(sh, n, SHT_GNU_versym);
	const Elf64_Shdr *names = find_section(sh, n, SHT_GNU_verdef);
	_cleanup_free_ char *bytes = NULL;
	int err;

	if (!o->raw[1].n || !numbers || !is_native(src) ||
	    numbers->sh_size / 2 < o->raw[1].n)
		return 0;
	err = optional(
		obj_read_halves(src, numbers->sh_offset, o->raw[1].n, &o->raw[1].versym));
	if (err || !names || names->sh_size > OBJ_MAX_STRINGS)
		return err;
	err = obj_read_bytes(src, names->sh_offset, names->sh_size, &bytes);
	if (err)
		return optional(err);
	o->nversion = names->sh_info < MAX_VERSIONS ? names->sh_info + 2 : MAX_VERSIONS;
	o->version = calloc(o->nversion, sizeof(*o->version));
	if (!o->version)
		return -ENOMEM;
	scan_versions(o, bytes, names->sh_size);
	return 0;
}

static int scan_note_sections(const struct obj_source *src, struct obj *o,
			      const Elf64_Shdr *sh, size_t n)
{
	int err = 0, left = MAX_NOTE_SECTIONS;

	for (size_t i = 0; !err && left && i < n; i++) {
		if (sh[i].sh_type != SHT_NOTE)
			continue;
		left--;
		err = scan_notes(src, o, sh[i].sh_offset, sh[i].sh_size,
				 sh[i].sh_addralign);
	}
	return err;
}

static int load_from(const struct obj_source *src, struct obj *o,
		     const struct obj_sections *s)
{
	int err = keep_extents(o, s->sh, s->n);

	if (!err)
		err = obj_load_table(src, &o->raw[0], s->sh, s->n, SHT_SYMTAB);
	if (!err)
		err = obj_load_table(src, &o->raw[1], s->sh, s->n, SHT_DYNSYM);
	if (!err)
		err = load_versions(src, o, s->sh, s->n);
	if (!err)
		err = cfi_load_sections(src, o, s);
	if (!err)
		err = obj_load_debug(src, o, s);
	/* A separate debug file has no segments to find them by. */
	return err ? err : scan_note_sections(src, o, s->sh, s->n);
}

static int load_sections(const struct obj_source *src, struct obj *o)
{
	struct obj_sections s = { 0 };
	int err = optional(obj_sections_read(src, &o->header, &s));

	if (!err)
		err = load_from(src, o, &s);
	obj_sections_fini(&s);
	return err;
}

static int load_parts(struct obj_source *src, struct obj *o)
{
	_cleanup_free_ Elf64_Phdr *ph = NULL;
	size_t n;
	int err = obj_read_header(src, &o->header);

	if (!err)
		err = obj_read_segments(src, &o->header, &ph, &n);
	if (!err)
		err = load_sections(src, o);
	if (!err)
		err = load_segments(src, o, ph, n);
	return err;
}

int obj_load(struct obj_source *src, struct obj **ret)
{
	struct obj *o = calloc(1, sizeof(*o));
	int err;

	if (!o)
		return -ENOMEM;
	atomic_init(&o->refs, 1);
	pthread_mutex_init(&o->lock, NULL);
	o->size = src->size;
	err = load_parts(src, o);
	if (err) {
		obj_free(o);
		return err;
	}
	*ret = o;
	return 0;
}

void obj_free(struct obj *o)
{
	for (int i = 0; i < OBJ_NTABLES; i++) {
		free(o->raw[i].sym);
		free(o->raw[i].str);
		free(o->raw[i].versym);
	}
	cfi_fini(&o->cfi);
	obj_index_free(atomic_load(&o->index));
	pthread_mutex_destroy(&o->lock);
	free(o->interp);
	free(o->soname);
	free(o->seg);
	free(o->section);
	free(o->version);
	obj_lines_free(o->lines);
	free(o->packed);
	free(o->debuglink);
	free(o);
}
