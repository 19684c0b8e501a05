/* SPDX-License-Identifier: MIT */
/*
 * Reading pieces of an ELF file, each exactly once, each checked against the size of the
 * file, each handed out as 64-bit structures in the host's byte order. Fallible functions
 * return 0 or a negative errno: -ENOEXEC when the file does not have what was asked for.
 */
#ifndef PGRAB_OBJ_READ_H
#define PGRAB_OBJ_READ_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds: far above what linkers make, far below what would hurt. */
enum {
	OBJ_MAX_SECTIONS = 1 << 20,  /* section headers */
	OBJ_MAX_SYMBOLS = 8 << 20,   /* entries of one table */
	OBJ_MAX_STRINGS = 512 << 20, /* bytes of one string table */
	OBJ_MAX_DYNAMIC = 4096,      /* entries of the dynamic section */
	OBJ_MAX_NOTES = 64 << 10,    /* bytes of one note segment */
	OBJ_MAX_PATH = 4096,         /* bytes of an interpreter's or library's name */
};

/* Where the bytes come from: a file, or memory. */
struct obj_source {
	int fd;            /* -1: read from bytes */
	const char *bytes; /* the image; borrowed */
	uint64_t size;     /* bytes of either */
	int class;         /* ELFCLASS*, once the header has been read */
	int encoding;      /* ELFDATA*, likewise */
};

/* len bytes at off, exactly. */
int obj_read(const struct obj_source *src, uint64_t off, void *buf, size_t len);

/* The same into a new block with a NUL behind it; the caller frees it. */
int obj_read_bytes(const struct obj_source *src, uint64_t off, uint64_t len, char **ret);

/* A string at off of less than OBJ_MAX_PATH bytes, allocated. */
int obj_read_string(const struct obj_source *src, uint64_t off, char **ret);

/* The ELF header; fills in src->class and src->encoding. */
int obj_read_header(struct obj_source *src, Elf64_Ehdr *ret);

/* Tables; the caller frees them. None: 0 entries and NULL. */
int obj_read_sections(const struct obj_source *src, const Elf64_Ehdr *eh,
		      Elf64_Shdr **ret, size_t *ret_n);
int obj_read_segments(const struct obj_source *src, const Elf64_Ehdr *eh,
		      Elf64_Phdr **ret, size_t *ret_n);
int obj_read_dynamic(const struct obj_source *src, uint64_t off, uint64_t len,
		     Elf64_Dyn **ret, size_t *ret_n);
int obj_read_symbols(const struct obj_source *src, uint64_t off, uint64_t len,
		     Elf64_Sym **ret, size_t *ret_n);
/* Section headers, and their names. */
struct obj_sections {
	Elf64_Shdr *sh; /* n; owned */
	size_t n;       /* how many */
	char *names;    /* len bytes and a NUL; owned */
	size_t len;     /* 0: there are no names */
};

/* Into *s, which is all zeros; obj_sections_fini() in any case. */
int obj_sections_read(const struct obj_source *src, const Elf64_Ehdr *eh,
		      struct obj_sections *s);
void obj_sections_fini(struct obj_sections *s);

/* The first section of that name, or NULL: one is read, however many claim to be it. */
const Elf64_Shdr *obj_find_named(const struct obj_sections *s, const char *name);

/* The contents of a section of `limit` bytes at most with a NUL behind them, expanded
 * where they are compressed (expand.h). -ENOTSUP: in a way that this build cannot. */
int obj_read_section(const struct obj_source *src, const Elf64_Shdr *sh, uint64_t limit,
		     char **ret, size_t *ret_len);

int obj_read_halves(const struct obj_source *src, uint64_t off, size_t n, uint16_t **ret);

#endif
