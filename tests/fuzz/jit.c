/* SPDX-License-Identifier: MIT */
/*
 * The text of a perf map. Fails when code is found that does not hold the address, or a
 * name that is none.
 */
#include "fuzz/fuzz.h"
#include "image/jit.h"

static void look_at(const struct jit_map *map, uint64_t addr)
{
	struct jit_code code;

	if (jit_map_find(map, addr, &code))
		return;
	PROMISE(addr >= code.start && addr - code.start < code.size);
	PROMISE(*code.name && strlen(code.name) < 1024);
	PROMISE(!strchr(code.name, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct jit_map *map;

	PROMISE(text);
	memcpy(text, data, size);
	text[size] = '\0';
	if (jit_map_parse(text, size, &map))
		return 0;
	for (uint64_t addr = 1; addr; addr <<= 1) {
		look_at(map, addr);
		look_at(map, addr - 1);
		look_at(map, 0x1000 + (addr & 0xfff));
	}
	look_at(map, UINT64_MAX);
	jit_map_free(map);
	return 0;
}
