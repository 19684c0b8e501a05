/* SPDX-License-Identifier: MIT */
/*
 * A core file: headers, notes, mappings, memory, strings. Fails when segments overlap,
 * more is read than was asked for, or a sentence has no end.
 */
#include <unistd.h>

#include "core/core.h"
#include "fuzz/fuzz.h"

static void look_at_maps(struct core *c)
{
	struct mem m = core_mem(c);
	struct procfs_map *maps;
	char buf[256];
	size_t n;

	if (core_maps(c, &maps, &n))
		return;
	for (size_t i = 0; i < n; i++) {
		PROMISE(maps[i].start < maps[i].end);
		PROMISE(!i || maps[i - 1].end <= maps[i].start);
		PROMISE(mem_read(&m, maps[i].start, buf, sizeof(buf)) <=
			(ssize_t)sizeof(buf));
		mem_read(&m, maps[i].end - 1, buf, 2);
	}
	free(maps);
}

static void look_at(struct core *c)
{
	struct core_strings strings;
	size_t n;

	core_lwps(c, &n);
	PROMISE(n <= 1 << 17);
	core_auxv(c, &n);
	core_auxval(c, 3);
	core_program(c);
	look_at_maps(c);
	core_find_strings(c, &strings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = fuzz_file(data, size);
	struct core_fault fault;
	struct core *c;

	if (!core_open(fd, &c, &fault)) {
		look_at(c);
		core_unref(c);
	}
	PROMISE(memchr(fault.text, 0, sizeof(fault.text)));
	close(fd);
	return 0;
}
