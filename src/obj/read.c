/* SPDX-License-Identifier: MIT */
/*
 * Reading an ELF file piece by piece (see read.h).
 *
 * libelf's converters know class and byte order and are used for that. Its file layer is
 * not: it sizes its own tables by what the header claims, and reads the header by itself,
 * so that a sparse file which claims four thousand million sections, or one that changes
 * between our check and its read, would take the host's memory with it. A mapping of the
 * file is no way either: a victim that truncates it would send the host SIGBUS.
 */
#include "obj/read.h"

#include <errno.h>
#include <libelf.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/scope.h"

static int read_fd(int fd, uint64_t off, char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = pread(fd, buf + done, len - done, (off_t)(off + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			return -ENOEXEC; /* truncated since */
		done += (size_t)got;
	}
	return 0;
}

int obj_read(const struct obj_source *src, uint64_t off, void *buf, size_t len)
{
	if (off > src->size || len > src->size - off)
		return -ENOEXEC;
	if (src->fd >= 0)
		return read_fd(src->fd, off, buf, len);
	if (len)
		memcpy(buf, src->bytes + off, len);
	return 0;
}

int obj_read_bytes(const struct obj_source *src, uint64_t off, uint64_t len, char **ret)
{
	_cleanup_free_ char *buf = NULL;
	int err;

	/* Before the allocation, so that a claim alone costs nothing. */
	if (off > src->size || len > src->size - off)
		return -ENOEXEC;
	buf = malloc(len + 1);
	if (!buf)
		return -ENOMEM;
	err = obj_read(src, off, buf, len);
	if (err)
		return err;
	buf[len] = '\0';
	*ret = scope_take(buf);
	return 0;
}

int obj_read_string(const struct obj_source *src, uint64_t off, char **ret)
{
	char buf[OBJ_MAX_PATH];
	size_t len = sizeof(buf);
	char *copy;
	int err;

	if (off >= src->size)
		return -ENOEXEC;
	if (len > src->size - off)
		len = src->size - off;
	err = obj_read(src, off, buf, len);
	if (err)
		return err;
	if (!memchr(buf, '\0', len))
		return -ENOEXEC;
	copy = strdup(buf);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

static void set_version(void)
{
	elf_version(EV_CURRENT); /* libelf refuses to work before */
}

/* Converts len bytes of `type` in place to the host's byte order. */
static int convert(const struct obj_source *src, Elf_Type type, void *buf, size_t len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	Elf_Data data = {
		.d_buf = buf, .d_type = type, .d_version = EV_CURRENT, .d_size = len
	};
	Elf_Data out = data;
	Elf_Data *done;

	pthread_once(&once, set_version);
	done = src->class == ELFCLASS32
		       ? elf32_xlatetom(&out, &data, (unsigned)src->encoding)
		       : elf64_xlatetom(&out, &data, (unsigned)src->encoding);
	return done ? 0 : -ENOEXEC;
}

static void widen_header(const Elf32_Ehdr *from, Elf64_Ehdr *to)
{
	memcpy(to->e_ident, from->e_ident, EI_NIDENT);
	to->e_type = from->e_type;
	to->e_machine = from->e_machine;
	to->e_version = from->e_version;
	to->e_entry = from->e_entry;
	to->e_phoff = from->e_phoff;
	to->e_shoff = from->e_shoff;
	to->e_flags = from->e_flags;
	to->e_ehsize = from->e_ehsize;
	to->e_phentsize = from->e_phentsize;
	to->e_phnum = from->e_phnum;
	to->e_shentsize = from->e_shentsize;
	to->e_shnum = from->e_shnum;
	to->e_shstrndx = from->e_shstrndx;
}

static int read_ident(struct obj_source *src)
{
	unsigned char ident[EI_NIDENT];
	int err = obj_read(src, 0, ident, sizeof(ident));

	if (err)
		return err;
	if (memcmp(ident, ELFMAG, SELFMAG) || ident[EI_VERSION] != EV_CURRENT)
		return -ENOEXEC;
	if (ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64)
		return -ENOEXEC;
	if (ident[EI_DATA] != ELFDATA2LSB && ident[EI_DATA] != ELFDATA2MSB)
		return -ENOEXEC;
	src->class = ident[EI_CLASS];
	src->encoding = ident[EI_DATA];
	return 0;
}

int obj_read_header(struct obj_source *src, Elf64_Ehdr *ret)
{
	Elf64_Ehdr wide = { 0 };
	Elf32_Ehdr narrow;
	bool is_narrow;
	int err = read_ident(src);

	if (err)
		return err;
	is_narrow = src->class == ELFCLASS32;
	err = is_narrow ? obj_read(src, 0, &narrow, sizeof(narrow))
			: obj_read(src, 0, &wide, sizeof(wide));
	if (!err)
		err = is_narrow ? convert(src, ELF_T_EHDR, &narrow, sizeof(narrow))
				: convert(src, ELF_T_EHDR, &wide, sizeof(wide));
	if (err)
		return err;
	if (is_narrow)
		widen_header(&narrow, &wide);
	*ret = wide;
	return 0;
}

/* How one kind of record is read: its sizes, and how the 32-bit form becomes the
 * other. */
struct record {
	Elf_Type type;       /* for libelf */
	size_t narrow, wide; /* bytes in a 32-bit file, in a 64-bit file */
	void (*widen)(const void *from,
		      void *to); /* one record; may not be NULL if they differ */
};

static void widen_segment(const void *from, void *to)
{
	const Elf32_Phdr *f = from;

	*(Elf64_Phdr *)to = (Elf64_Phdr){
		.p_type = f->p_type,
		.p_flags = f->p_flags,
		.p_offset = f->p_offset,
		.p_vaddr = f->p_vaddr,
		.p_paddr = f->p_paddr,
		.p_filesz = f->p_filesz,
		.p_memsz = f->p_memsz,
		.p_align = f->p_align,
	};
}

static void widen_section(const void *from, void *to)
{
	const Elf32_Shdr *f = from;

	*(Elf64_Shdr *)to = (Elf64_Shdr){
		.sh_name = f->sh_name,
		.sh_type = f->sh_type,
		.sh_flags = f->sh_flags,
		.sh_addr = f->sh_addr,
		.sh_offset = f->sh_offset,
		.sh_size = f->sh_size,
		.sh_link = f->sh_link,
		.sh_info = f->sh_info,
		.sh_addralign = f->sh_addralign,
		.sh_entsize = f->sh_entsize,
	};
}

static void widen_dynamic(const void *from, void *to)
{
	const Elf32_Dyn *f = from;

	*(Elf64_Dyn *)to = (Elf64_Dyn){ .d_tag = f->d_tag, .d_un.d_val = f->d_un.d_val };
}

static void widen_symbol(const void *from, void *to)
{
	const Elf32_Sym *f = from;

	*(Elf64_Sym *)to = (Elf64_Sym){
		.st_name = f->st_name,
		.st_info = f->st_info,
		.st_other = f->st_other,
		.st_shndx = f->st_shndx,
		.st_value = f->st_value,
		.st_size = f->st_size,
	};
}

static const struct record segment_record = {
	ELF_T_PHDR,
	sizeof(Elf32_Phdr),
	sizeof(Elf64_Phdr),
	widen_segment,
};
static const struct record section_record = {
	ELF_T_SHDR,
	sizeof(Elf32_Shdr),
	sizeof(Elf64_Shdr),
	widen_section,
};
static const struct record dynamic_record = {
	ELF_T_DYN,
	sizeof(Elf32_Dyn),
	sizeof(Elf64_Dyn),
	widen_dynamic,
};
static const struct record symbol_record = {
	ELF_T_SYM,
	sizeof(Elf32_Sym),
	sizeof(Elf64_Sym),
	widen_symbol,
};

static size_t record_size(const struct obj_source *src, const struct record *r)
{
	return src->class == ELFCLASS32 ? r->narrow : r->wide;
}

/* n 32-bit records as wide ones. */
static int widen_all(const struct record *r, const char *narrow, size_t n, char **ret)
{
	char *wide = malloc(n * r->wide);

	if (!wide)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		r->widen(narrow + i * r->narrow, wide + i * r->wide);
	*ret = wide;
	return 0;
}

/* n records at off; the caller frees them. */
static int read_records(const struct obj_source *src, const struct record *r,
			uint64_t off, size_t n, void *ret)
{
	_cleanup_free_ char *buf = NULL;
	size_t len = n * record_size(src, r);
	char *wide = NULL;
	int err;

	if (!n) {
		memcpy(ret, &wide, sizeof(wide));
		return 0;
	}
	err = obj_read_bytes(src, off, len, &buf);
	if (!err)
		err = convert(src, r->type, buf, len);
	if (!err && src->class == ELFCLASS32)
		err = widen_all(r, buf, n, &wide);
	if (err)
		return err;
	if (!wide)
		wide = scope_take(buf);
	memcpy(ret, &wide, sizeof(wide));
	return 0;
}

/* Section 0 holds the counts that have no room in the header (elf(5), SHN_UNDEF). */
static int read_section_zero(const struct obj_source *src, const Elf64_Ehdr *eh,
			     Elf64_Shdr *ret)
{
	Elf64_Shdr *zero;
	int err = read_records(src, &section_record, eh->e_shoff, 1, &zero);

	if (err)
		return err;
	*ret = *zero;
	free(zero);
	return 0;
}

int obj_read_sections(const struct obj_source *src, const Elf64_Ehdr *eh,
		      Elf64_Shdr **ret, size_t *ret_n)
{
	uint64_t n = eh->e_shnum;
	Elf64_Shdr zero;
	int err;

	if (eh->e_shoff && eh->e_shentsize != record_size(src, &section_record))
		return -ENOEXEC;
	if (eh->e_shoff && !n) {
		err = read_section_zero(src, eh, &zero);
		if (err)
			return err;
		n = zero.sh_size;
	}
	if (!eh->e_shoff)
		n = 0;
	if (n > OBJ_MAX_SECTIONS)
		return -ENOEXEC;
	err = read_records(src, &section_record, eh->e_shoff, (size_t)n, ret);
	if (!err)
		*ret_n = (size_t)n;
	return err;
}

int obj_read_segments(const struct obj_source *src, const Elf64_Ehdr *eh,
		      Elf64_Phdr **ret, size_t *ret_n)
{
	size_t n = eh->e_phnum;
	Elf64_Shdr zero;
	int err;

	if (!eh->e_phoff)
		n = 0;
	if (n && eh->e_phentsize != record_size(src, &segment_record))
		return -ENOEXEC;
	if (n == PN_XNUM && !read_section_zero(src, eh, &zero))
		n = zero.sh_info;
	if (n > OBJ_MAX_SECTIONS)
		return -ENOEXEC;
	err = read_records(src, &segment_record, eh->e_phoff, n, ret);
	if (!err)
		*ret_n = n;
	return err;
}

int obj_read_dynamic(const struct obj_source *src, uint64_t off, uint64_t len,
		     Elf64_Dyn **ret, size_t *ret_n)
{
	size_t n = (size_t)(len / record_size(src, &dynamic_record));
	int err;

	if (n > OBJ_MAX_DYNAMIC)
		n = OBJ_MAX_DYNAMIC;
	err = read_records(src, &dynamic_record, off, n, ret);
	if (!err)
		*ret_n = n;
	return err;
}

int obj_read_symbols(const struct obj_source *src, uint64_t off, uint64_t len,
		     Elf64_Sym **ret, size_t *ret_n)
{
	uint64_t n = len / record_size(src, &symbol_record);
	int err;

	if (n > OBJ_MAX_SYMBOLS)
		n = OBJ_MAX_SYMBOLS;
	err = read_records(src, &symbol_record, off, (size_t)n, ret);
	if (!err)
		*ret_n = (size_t)n;
	return err;
}

int obj_read_halves(const struct obj_source *src, uint64_t off, size_t n, uint16_t **ret)
{
	_cleanup_free_ char *buf = NULL;
	int err = obj_read_bytes(src, off, (uint64_t)n * 2, &buf);

	if (!err && n)
		err = convert(src, ELF_T_HALF, buf, n * 2);
	if (err)
		return err;
	*ret = (uint16_t *)scope_take(buf);
	return 0;
}
