/* SPDX-License-Identifier: MIT */
/*
 * Sections by name, and their contents, which may be compressed (gABI, "Section
 * Compression"): a header that says how and how long, then the compressed bytes.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "obj/expand.h"
#include "obj/read.h"
#include "util/scope.h"

/* Without names where the file has none that make sense. */
static int read_names(const struct obj_source *src, const Elf64_Ehdr *eh,
		      struct obj_sections *s)
{
	size_t at = eh->e_shstrndx;
	int err;

	if (at == SHN_XINDEX && s->n)
		at = s->sh[0].sh_link;
	if (at >= s->n || s->sh[at].sh_type != SHT_STRTAB ||
	    s->sh[at].sh_size > OBJ_MAX_STRINGS)
		return 0;
	err = obj_read_bytes(src, s->sh[at].sh_offset, s->sh[at].sh_size, &s->names);
	if (!err)
		s->len = s->sh[at].sh_size;
	return err == -ENOEXEC ? 0 : err;
}

int obj_sections_read(const struct obj_source *src, const Elf64_Ehdr *eh,
		      struct obj_sections *s)
{
	int err = obj_read_sections(src, eh, &s->sh, &s->n);

	return err ? err : read_names(src, eh, s);
}

const Elf64_Shdr *obj_find_named(const struct obj_sections *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->sh[i].sh_name < s->len &&
		    !strcmp(s->names + s->sh[i].sh_name, name))
			return &s->sh[i];
	}
	return NULL;
}

void obj_sections_fini(struct obj_sections *s)
{
	free(s->sh);
	free(s->names);
}

static bool is_native(const struct obj_source *src)
{
	return src->encoding ==
	       (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB);
}

/* What stands before the compressed bytes: the bytes that it takes, 0: there is none. */
static size_t read_header(const struct obj_source *src, const char *bytes, size_t n,
			  Elf64_Chdr *ret)
{
	Elf32_Chdr narrow;

	if (!is_native(src) || n < sizeof(*ret))
		return 0;
	if (src->class == ELFCLASS64) {
		memcpy(ret, bytes, sizeof(*ret));
		return sizeof(*ret);
	}
	memcpy(&narrow, bytes, sizeof(narrow));
	*ret = (Elf64_Chdr){ .ch_type = narrow.ch_type, .ch_size = narrow.ch_size };
	return sizeof(narrow);
}

static int expand(uint32_t type, const char *from, size_t n, char *to, size_t size)
{
	switch (type) {
	case ELFCOMPRESS_ZLIB:
		return expand_zlib(from, n, to, size);
	case EXPAND_ZSTD:
		return expand_zstd(from, n, to, size);
	default:
		return -ENOTSUP;
	}
}

static int read_compressed(const struct obj_source *src, const Elf64_Shdr *sh,
			   uint64_t limit, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *packed = NULL, *bytes = NULL;
	Elf64_Chdr ch;
	size_t head;
	int err = obj_read_bytes(src, sh->sh_offset, sh->sh_size, &packed);

	if (err)
		return err;
	head = read_header(src, packed, sh->sh_size, &ch);
	if (!head || ch.ch_size > limit || ch.ch_size > expand_limit(sh->sh_size))
		return -ENOEXEC;
	bytes = malloc(ch.ch_size + 1);
	if (!bytes)
		return -ENOMEM;
	err = expand(ch.ch_type, packed + head, sh->sh_size - head, bytes, ch.ch_size);
	if (err)
		return err;
	bytes[ch.ch_size] = '\0';
	*ret = scope_take(bytes);
	*ret_len = ch.ch_size;
	return 0;
}

int obj_read_section(const struct obj_source *src, const Elf64_Shdr *sh, uint64_t limit,
		     char **ret, size_t *ret_len)
{
	int err;

	if (sh->sh_type == SHT_NOBITS || sh->sh_size > limit)
		return -ENOEXEC;
	if (sh->sh_flags & SHF_COMPRESSED)
		return read_compressed(src, sh, limit, ret, ret_len);
	err = obj_read_bytes(src, sh->sh_offset, sh->sh_size, ret);
	if (!err)
		*ret_len = sh->sh_size;
	return err;
}
