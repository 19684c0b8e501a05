/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "json.h"
#include "output.h"
#include "text.h"

void json_string(const char *text)
{
	size_t len = strlen(text);
	char one[TEXT_ESCAPED];

	output("\"");
	while (len > 0) {
		size_t took = text_json(text, len, one);

		output("%s", one);
		text += took;
		len -= took;
	}
	output("\"");
}

void json_member(const char *key, const char *text)
{
	output(",\"%s\":", key);
	json_string(text);
}

void json_number(const char *key, long long n)
{
	output(",\"%s\":%lld", key, n);
}

void json_address(const char *key, uint64_t addr)
{
	output(",\"%s\":\"0x%" PRIx64 "\"", key, addr);
}

void json_time(const struct timespec *t)
{
	output("%lld.%09ld", (long long)t->tv_sec, t->tv_nsec);
}
