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

	if (!p->len)
		return -EFAULT;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = data[(addr + i) % p->len];
	return (ssize_t)len;
}

struct mem fuzz_endless(struct mem_piece *piece)
{
	static const struct mem_ops ops = { .read = read_over_and_over };

	return (struct mem){ &ops, piece };
}
