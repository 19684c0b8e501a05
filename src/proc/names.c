/* SPDX-License-Identifier: MIT */
/*
 * Names of signals, system calls and faults, and back. The C library names the signals,
 * the build makes the table of system calls from its headers.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proc/handle.h"

static const char *const sys_names[] = {
#include "sysnames.inc"
};

static const char *const flt_names[FLTMAX] = {
	[FLTILL] = "FLTILL",       [FLTBPT] = "FLTBPT",       [FLTTRACE] = "FLTTRACE",
	[FLTACCESS] = "FLTACCESS", [FLTBOUNDS] = "FLTBOUNDS", [FLTIZDIV] = "FLTIZDIV",
	[FLTFPE] = "FLTFPE",       [FLTWATCH] = "FLTWATCH",
};

enum {
	NSYS = sizeof(sys_names) / sizeof(*sys_names)
};

char *proc_signame(int sig, char *buf, size_t size)
{
	const char *abbrev = sig > 0 && sig < 32 ? sigabbrev_np(sig) : NULL;

	if (abbrev)
		snprintf(buf, size, "SIG%s", abbrev);
	else if (sig == SIGRTMIN || sig == SIGRTMAX)
		snprintf(buf, size, sig == SIGRTMIN ? "SIGRTMIN" : "SIGRTMAX");
	else if (sig > SIGRTMIN && sig < SIGRTMAX)
		snprintf(buf, size, "SIGRTMIN+%d", sig - SIGRTMIN);
	else
		snprintf(buf, size, "SIG#%d", sig);
	return buf;
}

char *proc_sysname(int nr, char *buf, size_t size)
{
	if (nr >= 0 && nr < NSYS && sys_names[nr])
		snprintf(buf, size, "%s", sys_names[nr]);
	else
		snprintf(buf, size, "SYS#%d", nr);
	return buf;
}

char *proc_fltname(int fault, char *buf, size_t size)
{
	if (fault > 0 && fault < FLTMAX && flt_names[fault])
		snprintf(buf, size, "%s", flt_names[fault]);
	else
		snprintf(buf, size, "FLT#%d", fault);
	return buf;
}

/* --- and back ----------------------------------------------------------------------- */

/* A whole decimal number from min to max. */
static int number(const char *s, long min, long max, int *ret)
{
	char *end;
	long n;

	if (!*s)
		return -1;
	errno = 0;
	n = strtol(s, &end, 10);
	if (errno || *end || n < min || n > max)
		return -1;
	*ret = (int)n;
	return 0;
}

static int invalid(void)
{
	errno = EINVAL;
	return -1;
}

static int realtime(const char *name, int *sig)
{
	int plus;

	if (!strcasecmp(name, "RTMIN"))
		*sig = SIGRTMIN;
	else if (!strcasecmp(name, "RTMAX"))
		*sig = SIGRTMAX;
	else if (!strncasecmp(name, "RTMIN+", 6) &&
		 !number(name + 6, 0, SIGRTMAX - SIGRTMIN, &plus))
		*sig = SIGRTMIN + plus;
	else
		return invalid();
	return 0;
}

int proc_str2sig(const char *name, int *sig)
{
	if (name[0] >= '0' && name[0] <= '9')
		return number(name, 1, SIGRTMAX, sig) ? invalid() : 0;
	if (!strncasecmp(name, "SIG", 3))
		name += 3;
	for (int i = 1; i < 32; i++) {
		const char *abbrev = sigabbrev_np(i);

		if (abbrev && !strcasecmp(name, abbrev)) {
			*sig = i;
			return 0;
		}
	}
	return realtime(name, sig);
}

int proc_str2sys(const char *name, int *nr)
{
	if (!number(name, 0, INT_MAX, nr))
		return 0;
	for (int i = 0; i < NSYS; i++) {
		if (sys_names[i] && !strcmp(name, sys_names[i])) {
			*nr = i;
			return 0;
		}
	}
	return invalid();
}

int proc_str2flt(const char *name, int *fault)
{
	if (!number(name, 1, FLTMAX - 1, fault))
		return 0;
	for (int i = 1; i < FLTMAX; i++) {
		if (flt_names[i] && (!strcasecmp(name, flt_names[i]) ||
				     !strcasecmp(name, flt_names[i] + 3))) {
			*fault = i;
			return 0;
		}
	}
	return invalid();
}
