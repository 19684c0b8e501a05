/* SPDX-License-Identifier: MIT */
/*
 * A subcommand of pgrab: one file each, one const value each, all of them in the table of
 * main.c. The commands know the public headers only.
 */
#ifndef PGRAB_TOOLS_COMMAND_H
#define PGRAB_TOOLS_COMMAND_H

/* Exit statuses of every command but `run`, which passes on its command's own. */
enum {
	EXIT_DONE = 0,       /* done */
	EXIT_FAILED = 1,     /* something failed; a sentence on stderr says what */
	EXIT_USAGE = 2,      /* the command line makes no sense; nothing was done */
	EXIT_NOT_EXEC = 126, /* run: the file cannot be executed */
	EXIT_NOT_FOUND = 127 /* run: no such file */
};

/* One subcommand. */
struct command {
	const char *name;     /* as it is typed */
	const char *summary;  /* a line for `pgrab --help` */
	const char *synopsis; /* options and operands, after the name */
	const char *help;     /* what `--help` prints below: options, notes, examples */
	/* Does it. argv[0] is the name; returns the exit status. */
	int (*run)(const struct command *self, int argc, char **argv);
};

extern const struct command command_run;
extern const struct command command_watch;
extern const struct command command_trace;
extern const struct command command_count;
extern const struct command command_time;
extern const struct command command_stack;
extern const struct command command_maps;
extern const struct command command_libs;
extern const struct command command_args;
extern const struct command command_env;
extern const struct command command_threads;
extern const struct command command_core;
extern const struct command command_cred;
extern const struct command command_syms;
extern const struct command command_probes;
extern const struct command command_stop;
extern const struct command command_cont;
extern const struct command command_wait;
extern const struct command command_doctor;

#endif
