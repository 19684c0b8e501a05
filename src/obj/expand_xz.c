/* SPDX-License-Identifier: MIT */
/* .gnu_debugdata is an xz container: expanded by liblzma, piece by piece. */
#include <errno.h>
#include <lzma.h>
#include <stdlib.h>

#include "obj/expand.h"
#include "util/scope.h"

enum {
	MEMORY = 128 << 20, /* bytes of the decoder: the largest preset takes 65 MiB */
	FIRST = 64 << 10,   /* bytes of the buffer to begin with */
};

/* Twice the room, at most limit. */
static int grow(char **buf, size_t *size, size_t limit)
{
	size_t bigger = *size ? *size * 2 : FIRST;
	char *moved;

	if (*size == limit)
		return -ENOEXEC;
	if (bigger > limit)
		bigger = limit;
	moved = realloc(*buf, bigger);
	if (!moved)
		return -ENOMEM;
	*buf = moved;
	*size = bigger;
	return 0;
}

static int decode(lzma_stream *s, size_t limit, char **buf, size_t *ret_n)
{
	size_t size = 0, done;
	lzma_ret rc;
	int err;

	do {
		done = s->total_out;
		err = done == size ? grow(buf, &size, limit) : 0;
		if (err)
			return err;
		s->next_out = (uint8_t *)*buf + done;
		s->avail_out = size - done;
		rc = lzma_code(s, LZMA_FINISH);
	} while (rc == LZMA_OK);
	*ret_n = s->total_out;
	if (rc == LZMA_MEM_ERROR)
		return -ENOMEM;
	return rc == LZMA_STREAM_END ? 0 : -ENOEXEC;
}

int expand_xz(const char *from, size_t n, size_t limit, char **ret, size_t *ret_n)
{
	_cleanup_free_ char *buf = NULL;
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_ret rc = lzma_stream_decoder(&s, MEMORY, 0);
	size_t len = 0;
	int err;

	if (rc != LZMA_OK)
		return rc == LZMA_MEM_ERROR ? -ENOMEM : -ENOTSUP;
	s.next_in = (const uint8_t *)from;
	s.avail_in = n;
	err = decode(&s, limit, &buf, &len);
	lzma_end(&s);
	if (err)
		return err;
	*ret = scope_take(buf);
	*ret_n = len;
	return 0;
}
