/* SPDX-License-Identifier: MIT */
/*
 * The text of /proc/PID/maps, stat and status. Fails when mappings overlap, go back, or
 * have a path that is none.
 */
#include "fuzz/fuzz.h"
#include "os/procfs_read.h"

static void read_maps(char *text, size_t size)
{
	struct procfs_map *maps;
	size_t n;

	if (procfs_parse_maps(text, size, &maps, &n))
		return;
	for (size_t i = 0; i < n; i++) {
		PROMISE(maps[i].start < maps[i].end);
		PROMISE(!i || maps[i - 1].end <= maps[i].start);
		PROMISE(maps[i].path && strlen(maps[i].path) <= size);
	}
	free(maps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct procfs_status status;
	struct procfs_stat stat;
	char *text = malloc(size + 1);

	PROMISE(text);
	memcpy(text, data, size);
	text[size] = '\0';
	if (!procfs_parse_stat(text, &stat))
		PROMISE(memchr(stat.comm, 0, sizeof(stat.comm)));
	procfs_parse_status(text, &status);
	read_maps(text, size);
	free(text);
	return 0;
}
