/* SPDX-License-Identifier: MIT */
/* Pieces of JSON on stdout. */
#ifndef PGRAB_TOOLS_JSON_H
#define PGRAB_TOOLS_JSON_H

#include <stdint.h>
#include <time.h>

/*
 * A JSON string. A victim's names are bytes, JSON is Unicode: what is not UTF-8 becomes
 * U+FFFD, one for each byte, so that every line is valid whatever a file is called.
 */
void json_string(const char *text);

/* ,"key":"text" */
void json_member(const char *key, const char *text);

/* ,"key":N */
void json_number(const char *key, long long n);

/* ,"key":"0x…" : addresses are strings, since a JSON number loses bits above 2^53. */
void json_address(const char *key, uint64_t addr);

/* seconds.nanoseconds, nine digits after the point */
void json_time(const struct timespec *t);

#endif
