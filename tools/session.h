/* SPDX-License-Identifier: MIT */
/* A dtrace session for a command, and its sentences. */
#ifndef PGRAB_TOOLS_SESSION_H
#define PGRAB_TOOLS_SESSION_H

#include "command.h"
#include "dtrace.h"

/* Opens a session or ends the program. */
dtrace_hdl_t *session_open(void);

/* Sets what -x was given: NAME=VALUE. A bad one is a usage error. */
void session_option(const struct command *cmd, dtrace_hdl_t *dtp, const char *text);

/* Tells what the session's last call could not do. */
void session_complain(dtrace_hdl_t *dtp);

/* Tells of a notification of dtrace_handle_proc as clients of DTrace do:
 * `pid N has exited`, … , or its text. */
void session_notice(struct ps_prochandle *P, const char *text);

#endif
