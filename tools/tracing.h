/* SPDX-License-Identifier: MIT */
/*
 * What trace, count and time have in common: which processes, which probes, for how long,
 * and the loop that hands out what was hit.
 */
#ifndef PGRAB_TOOLS_TRACING_H
#define PGRAB_TOOLS_TRACING_H

#include <stdbool.h>
#include <stdint.h>

#include "command.h"
#include "dtprobe.h"
#include "targets.h"

/* One run of such a command. The first part is the command's to fill in. */
struct tracing {
	const struct command *cmd;   /* which */
	dtrace_probe_opts_t opts;    /* of the set */
	dtrace_probe_event_f *event; /* told of each hit, or NULL */
	/* told each -i SECS, and at the end; or NULL */
	void (*tick)(struct tracing *t);
	void *arg; /* for both */

	/* From the command line. */
	struct targets targets; /* -p, -c, -- */
	const char **probes;    /* descriptions; owned */
	size_t nprobes;         /* how many */
	const char *file;       /* -o; NULL stdout */
	long lasts_ms;          /* -d; 0 to the end */
	long every_ms;          /* -i; 0 only at the end */
	bool verbose;           /* -v */

	/* While it runs. */
	dtrace_hdl_t *dtp;    /* the session */
	dtrace_probes_t *set; /* the probes */
	uint64_t began_ns;    /* CLOCK_MONOTONIC, before the victims run */
	uint64_t lost;        /* hits for which there was no room */
	bool over;            /* all hits have been taken: the last tick() */
	int followed;         /* children that are followed and have not ended */
	int sig;              /* the signal that ended it; 0 none */
	bool at_terminal;     /* … and the whole foreground group got it */
};

/* The options that all have; the command's own go before and behind. */
#define TRACING_SHORT "p:c:n:fko:d:Zvx:" OPTIONS_SHORT
#define TRACING_LONG                                                                     \
	OPTIONS_LONG, { "follow", no_argument, NULL, 'f' },                              \
		{ "backend", required_argument, NULL, 'B' },                             \
		{ "no-demangle", no_argument, NULL, 'M' },                               \
	{                                                                                \
		"verbose", no_argument, NULL, 'v'                                        \
	}
#define TRACING_HELP                                                                     \
	"  -p PID             trace this process (repeatable)\n"                         \
	"  -c 'COMMAND'       create and trace: split on white space, no shell\n"        \
	"  -- COMMAND...      the same, as it stands\n"                                  \
	"  -n PROBE           a probe, as the operands are\n"                            \
	"  -f, --follow       their children too\n"                                      \
	"  -k                 with the user stack of each hit\n"                         \
	"  -o FILE            write there instead of to stdout\n"                        \
	"  -d SECS            end after that time; a command that was created is\n"      \
	"                     then terminated\n"                                         \
	"  -Z                 probes that match nothing (yet) are no error\n"            \
	"  --backend=auto|kernel|trap   who watches: the kernel's uprobes, where\n"      \
	"                     that is allowed, or breakpoints, which always are\n"       \
	"  --no-demangle      names as the symbol tables have them\n"                    \
	"  -v, --verbose      say which, and how many probes there are\n"                \
	"  -x OPTION=VALUE    an option of the session\n"                                \
	"  -q, --quiet        no notices\n"                                              \
	"  -h, --help         this text\n"

/* Notes one option; what it does not know is the command's. */
bool tracing_option(struct tracing *t, int c, const char *arg);

/* Splits argv at `--`: what is behind it is a command. To be called first. The new
 * argc. */
int tracing_begin(struct tracing *t, const struct command *cmd, int argc, char **argv);

/* The operands are probes; and what is missing is a usage error. */
void tracing_operands(struct tracing *t, int argc, char **argv);

/* Traces until the end, tells event() and tick(). False: it failed, and a sentence was
 * said. All probes are out afterwards, what they counted is still there. */
bool tracing_run(struct tracing *t);

/* After the summary: waits for what was created, lets go of all; the exit status. */
int tracing_end(struct tracing *t, bool ran);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t tracing_now(void);

#endif
