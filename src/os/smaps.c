/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/smaps: lines of maps, each followed by `Key: value` lines (proc(5)). Keys
 * begin with a capital letter, addresses with a digit or a small one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os/procfs_read.h"
#include "util/scope.h"

enum {
	SMAPS_FIRST = 256 << 10, /* bytes; some 800 a mapping */
	SMAPS_LIMIT = 512 << 20, /* bytes */
};

static bool is_header(const char *line)
{
	return (*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f');
}

/* "Key:   N kB" as bytes, when it has that key. */
static bool take_size(const char *line, const char *key, uint64_t *ret)
{
	size_t len = strlen(key);

	if (strncmp(line, key, len) != 0 || line[len] != ':')
		return false;
	*ret = strtoull(line + len + 1, NULL, 10) * 1024;
	return true;
}

/* "VmFlags: rd wr mr mw me ac dd" */
static void take_flags(const char *line, struct procfs_smap *s)
{
	for (const char *p = strchr(line, ':'); p && p[1]; p = strchr(p + 1, ' ')) {
		s->dont_dump |= !strncmp(p + 1, "dd", 2);
		s->io |= !strncmp(p + 1, "io", 2);
		s->huge |= !strncmp(p + 1, "ht", 2);
	}
}

static void take_line(const char *line, struct procfs_smap *s)
{
	if (take_size(line, "Anonymous", &s->anonymous) ||
	    take_size(line, "Swap", &s->swap))
		return;
	if (!strncmp(line, "VmFlags:", 8))
		take_flags(line, s);
}

static size_t count_headers(const char *text)
{
	size_t n = 0;

	for (const char *s = text; s && *s; s = strchr(s, '\n'), s += s != NULL)
		n += is_header(s);
	return n;
}

int procfs_parse_smaps(char *text, size_t len, struct procfs_smap **ret_maps,
		       size_t *ret_n)
{
	size_t room = count_headers(text), n = 0;
	struct procfs_smap *maps = malloc((room + 1) * sizeof(*maps) + len + 1);
	uint64_t reached = 0;
	bool known = false;
	char *s, *next;

	if (!maps)
		return -ENOMEM;
	s = memcpy(maps + room + 1, text, len);
	s[len] = '\0';
	for (; *s; s = next) {
		next = strchrnul(s, '\n');
		if (*next)
			*next++ = '\0';
		if (!is_header(s)) {
			if (known)
				take_line(s, &maps[n - 1]);
			continue;
		}
		maps[n] = (struct procfs_smap){ 0 };
		known = procfs_parse_map(s, &maps[n].m) && maps[n].m.start >= reached;
		if (known)
			reached = maps[n++].m.end;
	}
	*ret_maps = maps;
	*ret_n = n;
	return 0;
}

int procfs_smaps(pid_t pid, pid_t tid, struct procfs_smap **ret_maps, size_t *ret_n)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = procfs_open(pid, tid, "smaps");
	size_t len;
	int err;

	if (fd < 0)
		return fd;
	err = procfs_read_all(fd, SMAPS_FIRST, SMAPS_LIMIT, &text, &len);
	return err ? err : procfs_parse_smaps(text, len, ret_maps, ret_n);
}
