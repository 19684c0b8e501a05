/* SPDX-License-Identifier: MIT */
/* Forms in which targets want their input. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

int fuzz_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	PROMISE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	return fd;
}

static ssize_t read_over_and_over(void *ctx, uint64_t addr, void *buf, size_t len)
{
	const struct mem_piece *p = ctx;
	const uint8_t *data = p->data;
	size_t at, n;

	if (!p->len)
		return -EFAULT;
	for (size_t done = 0; done < len; done += n) {
		at = (addr + done) % p->len;
		n = p->len - at < len - done ? p->len - at : len - done;
		memcpy((uint8_t *)buf + done, data + at, n);
	}
	return (ssize_t)len;
}

struct mem fuzz_endless(struct mem_piece *piece)
{
	static const struct mem_ops ops = { .read = read_over_and_over };

	return (struct mem){ &ops, piece };
}
