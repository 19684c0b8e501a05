/* SPDX-License-Identifier: MIT */
/*
 * Debug information that is elsewhere: `.gnu_debugdata`, an xz-compressed ELF file within
 * the file ("MiniDebugInfo"), whose .symtab has the functions that .dynsym has not; and
 * `.gnu_debuglink`, the name and CRC of a separate file (gdb's manual, "Separate Debug
 * Files"), which src/image looks for.
 *
 * The compressed bytes are copied as the file is read, and expanded at the first look-up:
 * 1 ms for 100 KB, which the files that nobody asks never take. They stay, since the
 * cache tells equal files by them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "obj/expand.h"
#include "obj/file.h"
#include "util/log.h"
#include "util/scope.h"

enum {
	MAX_PACKED = 32 << 20,    /* bytes of .gnu_debugdata; a browser's has 5 MB */
	MAX_UNPACKED = 128 << 20, /* bytes that they may become */
	MAX_LINK = 1024,          /* bytes of .gnu_debuglink */
	MAX_CRC = 256 << 20,      /* bytes of a file whose CRC is made: 0.6 s */
	BLOCK = 64 << 10,         /* bytes read at a time */
};

static int optional(int err)
{
	return err == -ENOEXEC || err == -ENOTSUP ? 0 : err;
}

static int load_packed(const struct obj_source *src, struct obj *o, const Elf64_Shdr *sh)
{
	return optional(
		obj_read_section(src, sh, MAX_PACKED, &o->packed, &o->packed_len));
}

/* A name, padding to four bytes, four bytes of CRC in the file's byte order (taken to be
 * ours). A name that is a path is not followed. */
static int load_link(const struct obj_source *src, struct obj *o, const Elf64_Shdr *sh)
{
	_cleanup_free_ char *bytes = NULL;
	size_t len = 0, crc;
	int err;

	err = obj_read_section(src, sh, MAX_LINK, &bytes, &len);
	if (err)
		return optional(err);
	crc = (strlen(bytes) + 4) & ~(size_t)3;
	if (!*bytes || strchr(bytes, '/') || len < 4 || crc > len - 4)
		return 0;
	memcpy(&o->debug_crc, bytes + crc, sizeof(o->debug_crc));
	o->debuglink = scope_take(bytes);
	return 0;
}

int obj_load_debug(const struct obj_source *src, struct obj *o,
		   const struct obj_sections *s)
{
	const Elf64_Shdr *found = obj_find_named(s, ".gnu_debugdata");
	int err = found ? load_packed(src, o, found) : 0;

	found = obj_find_named(s, ".gnu_debuglink");
	return !err && found ? load_link(src, o, found) : err;
}

/* The .symtab of the ELF file in memory. */
static int load_inner(const char *bytes, size_t len, struct obj_raw *raw)
{
	struct obj_source src = { .fd = -1, .bytes = bytes, .size = len };
	_cleanup_free_ Elf64_Shdr *sh = NULL;
	Elf64_Ehdr eh;
	size_t n = 0;
	int err = obj_read_header(&src, &eh);

	if (!err)
		err = obj_read_sections(&src, &eh, &sh, &n);
	return err ? err : obj_load_table(&src, raw, sh, n, SHT_SYMTAB);
}

int obj_expand_debug(struct obj *o)
{
	_cleanup_free_ char *bytes = NULL;
	uint64_t limit = expand_limit(o->packed_len);
	size_t len = 0;
	int err;

	if (!o->packed || o->raw[0].n)
		return 0;
	if (limit > MAX_UNPACKED)
		limit = MAX_UNPACKED;
	err = expand_xz(o->packed, o->packed_len, limit, &bytes, &len);
	if (!err)
		err = load_inner(bytes, len, &o->raw[0]);
	log_at(LOG_OBJ, 1, 0, 0,
	       ".gnu_debugdata: %zu bytes, %zu expanded, %zu symbols: %d", o->packed_len,
	       len, o->raw[0].n, err);
	return optional(err);
}

bool obj_has_symtab(const struct obj *o)
{
	return o->packed || o->raw[0].n;
}

const char *obj_debuglink(const struct obj *o, uint32_t *ret_crc)
{
	if (o->debuglink)
		*ret_crc = o->debug_crc;
	return o->debuglink;
}

/* --- the CRC of IEEE 802.3, bit-reversed, as zlib has it -------------------------- */

static void make_table(uint32_t *table)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
		table[i] = c;
	}
}

int obj_crc(int fd, uint32_t *ret)
{
	_cleanup_free_ unsigned char *buf = malloc(BLOCK);
	uint32_t table[256], crc = ~0u;
	off_t at = 0;
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	make_table(table);
	while ((n = pread(fd, buf, BLOCK, at)) > 0 || (n < 0 && errno == EINTR)) {
		for (ssize_t i = 0; i < n; i++)
			crc = table[(crc ^ buf[i]) & 0xff] ^ crc >> 8;
		at += n > 0 ? n : 0;
		if (at > MAX_CRC)
			return -EFBIG;
	}
	if (n < 0)
		return -errno;
	*ret = ~crc;
	return 0;
}
