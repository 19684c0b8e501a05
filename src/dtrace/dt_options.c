/* SPDX-License-Identifier: MIT */
/*
 * Options of a session: evaltime, pgmax, follow, keeprunning, patience and the three
 * rates of dtrace_sleep().
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dtrace/dt_impl.h"

#define NS_PER_SEC 1000000000ull

static const struct {
	const char *name; /* unit */
	uint64_t ns;      /* in ns; 0: a frequency */
} units[] = {
	{ "", 0 },
	{ "hz", 0 },
	{ "ns", 1 },
	{ "nsec", 1 },
	{ "us", 1000 },
	{ "usec", 1000 },
	{ "ms", 1000000 },
	{ "msec", 1000000 },
	{ "s", NS_PER_SEC },
	{ "sec", NS_PER_SEC },
	{ "m", 60 * NS_PER_SEC },
	{ "min", 60 * NS_PER_SEC },
	{ "h", 3600 * NS_PER_SEC },
	{ "hour", 3600 * NS_PER_SEC },
	{ "d", 86400 * NS_PER_SEC },
	{ "day", 86400 * NS_PER_SEC },
};

static const struct {
	const char *name; /* value of evaltime */
	unsigned bit;     /* the point */
} points[] = {
	{ "exec", DT_PROC_STOP_CREATE },
	{ "preinit", DT_PROC_STOP_PREINIT },
	{ "postinit", DT_PROC_STOP_POSTINIT },
	{ "main", DT_PROC_STOP_MAIN },
};

static const char *const rate_names[DT_NRATES] = {
	[DT_RATE_STATUS] = "statusrate",
	[DT_RATE_AGG] = "aggrate",
	[DT_RATE_SWITCH] = "switchrate",
};

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* A decimal number; *ret_end points behind it. */
static int number(const char *text, unsigned long long *ret, const char **ret_end)
{
	char *end;
	unsigned long long v;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	*ret = v;
	*ret_end = end;
	return 0;
}

int dt_parse_rate(const char *text, uint64_t *ret_ns)
{
	unsigned long long v;
	const char *unit;

	if (strlen(text) >= DT_OPT_MAX || number(text, &v, &unit) || !v)
		return -EINVAL;
	for (size_t i = 0; i < N(units); i++) {
		if (strcasecmp(unit, units[i].name))
			continue;
		if (units[i].ns ? v > INT64_MAX / units[i].ns : v > NS_PER_SEC)
			return -EINVAL;
		*ret_ns = units[i].ns ? v * units[i].ns : NS_PER_SEC / v;
		return 0;
	}
	return -EINVAL;
}

int dt_parse_count(const char *text, unsigned max, unsigned *ret)
{
	unsigned long long v;
	const char *end;

	if (number(text, &v, &end) || *end || v > max)
		return -EINVAL;
	*ret = (unsigned)v;
	return 0;
}

int dt_parse_evaltime(const char *text, unsigned *ret_bit)
{
	for (size_t i = 0; i < N(points); i++)
		if (!strcmp(text, points[i].name)) {
			*ret_bit = points[i].bit;
			return 0;
		}
	return -EINVAL;
}

static int find_rate(const char *name)
{
	for (int i = 0; i < DT_NRATES; i++)
		if (!strcmp(name, rate_names[i]))
			return i;
	return -1;
}

TS_UNCHECKED void dt_options_init(dtrace_hdl_t *dtp)
{
	dtp->evaltime = DT_PROC_STOP_PREINIT;
	dtp->patience = DT_PATIENCE_MS;
	for (int i = 0; i < DT_NRATES; i++) {
		strcpy(dtp->rates[i].text, "1sec");
		dtp->rates[i].ns = NS_PER_SEC;
	}
}

static int set_rate(dtrace_hdl_t *dtp, int which, const char *value)
{
	uint64_t ns;

	if (dt_parse_rate(value, &ns))
		return dt_fail(dtp, EDT_BADOPTVAL, NULL);
	dt_session_lock(dtp);
	dtp->rates[which].ns = ns;
	dtp->rates[which].next = 0;
	strcpy(dtp->rates[which].text, value);
	dt_session_unlock(dtp);
	return 0;
}

static int set_evaltime(dtrace_hdl_t *dtp, const char *value)
{
	unsigned bit;

	if (dt_parse_evaltime(value, &bit))
		return dt_fail(dtp, EDT_BADOPTVAL, NULL);
	dt_session_lock(dtp);
	dtp->evaltime = bit;
	dt_session_unlock(dtp);
	return 0;
}

static int set_limit(dtrace_hdl_t *dtp, const char *value)
{
	unsigned n;

	if (dt_parse_count(value, INT32_MAX, &n))
		return dt_fail(dtp, EDT_BADOPTVAL, NULL);
	dt_session_lock(dtp);
	dtp->table.limit = n;
	dt_session_unlock(dtp);
	dt_cache_trim(dtp, n);
	return 0;
}

static int set_follow(dtrace_hdl_t *dtp, const char *value)
{
	int mode;

	if (dt_parse_follow(value, &mode))
		return dt_fail(dtp, EDT_BADOPTVAL, NULL);
	dt_session_lock(dtp);
	dtp->follow = mode;
	dt_session_unlock(dtp);
	return 0;
}

static int set_keep(dtrace_hdl_t *dtp, const char *value)
{
	bool on = !strcmp(value, "on");

	if (!on && strcmp(value, "off"))
		return dt_fail(dtp, EDT_BADOPTVAL, NULL);
	dt_session_lock(dtp);
	dtp->keep = on;
	dt_session_unlock(dtp);
	return 0;
}

static int set_patience(dtrace_hdl_t *dtp, const char *value)
{
	uint64_t ns = 0;

	if (strcmp(value, "none") &&
	    (dt_parse_rate(value, &ns) || ns < 1000000 || ns / 1000000 > INT32_MAX))
		return dt_fail(dtp, EDT_BADOPTVAL, NULL);
	dt_session_lock(dtp);
	dtp->patience = (unsigned)(ns / 1000000);
	dt_session_unlock(dtp);
	return 0;
}

static const struct {
	const char *name;                                 /* of the option */
	int (*set)(dtrace_hdl_t *dtp, const char *value); /* 0, or dt_fail() */
} plain_options[] = {
	{ "evaltime", set_evaltime }, { "pgmax", set_limit },
	{ "follow", set_follow },     { "keeprunning", set_keep },
	{ "patience", set_patience },
};

int dtrace_setopt(dtrace_hdl_t *dtp, const char *name, const char *value)
{
	int rate = find_rate(name);
	size_t i = 0;

	while (rate < 0 && i < N(plain_options) && strcmp(name, plain_options[i].name))
		i++;
	if (i == N(plain_options))
		return dt_fail(dtp, EDT_BADOPTNAME, NULL);
	if (!value)
		return dt_fail(dtp, EDT_BADOPTVAL, NULL);
	return rate >= 0 ? set_rate(dtp, rate, value) : plain_options[i].set(dtp, value);
}

static const char *point_name(unsigned bit)
{
	for (size_t i = 0; i < N(points); i++)
		if (points[i].bit == bit)
			return points[i].name;
	return "";
}

int dtrace_getopt(dtrace_hdl_t *dtp, const char *name, char *buf, size_t size)
{
	int rate = find_rate(name);
	bool known = true;

	dt_session_lock(dtp);
	if (rate >= 0)
		snprintf(buf, size, "%s", dtp->rates[rate].text);
	else if (!strcmp(name, "evaltime"))
		snprintf(buf, size, "%s", point_name(dtp->evaltime));
	else if (!strcmp(name, "pgmax"))
		snprintf(buf, size, "%u", dtp->table.limit);
	else if (!strcmp(name, "follow"))
		snprintf(buf, size, "%s",
			 dtp->follow == DT_FOLLOW_NONE ? "none" : "children");
	else if (!strcmp(name, "keeprunning"))
		snprintf(buf, size, "%s", dtp->keep ? "on" : "off");
	else if (!strcmp(name, "patience"))
		snprintf(buf, size, dtp->patience ? "%ums" : "none", dtp->patience);
	else if (!strcmp(name, "target"))
		snprintf(buf, size, "%d", (int)dtp->target);
	else
		known = false;
	dt_session_unlock(dtp);
	return known ? 0 : dt_fail(dtp, EDT_BADOPTNAME, NULL);
}
