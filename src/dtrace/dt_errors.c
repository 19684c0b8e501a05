/* SPDX-License-Identifier: MIT */
/*
 * The last failure of a session: a code and one sentence. The sentence is handed out as a
 * copy that belongs to the calling thread, so that another thread's failure does not
 * change it under the reader.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dtrace/dt_impl.h"

static __thread char lent[DT_ERR_MAX];

static const char *const general[] = {
	[EDT_VERSION - EDT_BASE] = "Client requested deprecated version of library",
	[EDT_NOMEM - EDT_BASE] = "Memory allocation failure",
	[EDT_BADOPTNAME - EDT_BASE] = "Invalid option name",
	[EDT_BADOPTVAL - EDT_BASE] = "Invalid value for specified option",
	[EDT_PROCESS - EDT_BASE] = "Failed to control process",
	[EDT_BADPROC - EDT_BASE] = "Process handle does not belong to this session",
	[EDT_CTLTHREAD - EDT_BASE] = "Failed to create control thread for process",
	[EDT_BKPT - EDT_BASE] = "Failed to create breakpoint",
	[EDT_PROBE - EDT_BASE] = "Failed to create probe",
};

static const char *general_text(int error)
{
	unsigned i = (unsigned)(error - EDT_BASE);

	if (error == 0)
		return "No error";
	if (error >= EDT_BASE)
		return i < sizeof(general) / sizeof(general[0]) ? general[i]
								: "Unknown error";
	snprintf(lent, sizeof(lent), "%s", strerror(error));
	return lent;
}

int dt_fail(dtrace_hdl_t *dtp, int code, const char *fmt, ...)
{
	char text[DT_ERR_MAX] = "";
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(text, sizeof(text), fmt, ap);
		va_end(ap);
	}
	dt_session_lock(dtp);
	dtp->err = code;
	memcpy(dtp->errtext, text, sizeof(text));
	dt_session_unlock(dtp);
	return -1;
}

int dtrace_errno(dtrace_hdl_t *dtp)
{
	int err;

	dt_session_lock(dtp);
	err = dtp->err;
	dt_session_unlock(dtp);
	return err;
}

const char *dtrace_errmsg(dtrace_hdl_t *dtp, int error)
{
	bool particular = false;

	if (!dtp)
		return general_text(error);
	dt_session_lock(dtp);
	if (error == dtp->err && dtp->errtext[0]) {
		memcpy(lent, dtp->errtext, sizeof(lent));
		particular = true;
	}
	dt_session_unlock(dtp);
	return particular ? lent : general_text(error);
}
