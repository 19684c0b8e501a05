/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cred.h"
#include "task.h"

/* What follows "\nNAME:" and white space, or "". */
static const char *find_field(const char *text, const char *name)
{
	char key[32];
	const char *at;

	snprintf(key, sizeof(key), "\n%s:", name);
	at = strstr(text, key);
	if (!at)
		return "";
	at += strlen(key);
	return at + strspn(at, " \t");
}

static void parse_ids(const char *text, unsigned ids[4])
{
	sscanf(text, "%u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]);
}

static unsigned count_words(const char *text)
{
	unsigned n = 0;

	while (*text && *text != '\n') {
		size_t word = strcspn(text, " \t\n");

		n += word > 0;
		text += word;
		text += strspn(text, " \t");
	}
	return n;
}

int cred_read(pid_t pid, struct cred *ret)
{
	char text[8192];
	ssize_t n;

	if (pid)
		n = task_file(text, sizeof(text), "/proc/%d/status", pid);
	else
		n = task_file(text, sizeof(text), "/proc/self/status");
	if (n <= 0)
		return -1;
	*ret = (struct cred){ 0 };
	sscanf(text, "Name:\t%63[^\n]", ret->name);
	ret->tgid = (pid_t)atoi(find_field(text, "Tgid"));
	ret->tracer = (pid_t)atoi(find_field(text, "TracerPid"));
	parse_ids(find_field(text, "Uid"), ret->uid);
	parse_ids(find_field(text, "Gid"), ret->gid);
	ret->permitted = strtoull(find_field(text, "CapPrm"), NULL, 16);
	ret->effective = strtoull(find_field(text, "CapEff"), NULL, 16);
	ret->seccomp = atoi(find_field(text, "Seccomp"));
	ret->namespaces = count_words(find_field(text, "NSpid"));
	return 0;
}

bool cred_has(uint64_t set, unsigned capability)
{
	return (set >> capability) & 1;
}
