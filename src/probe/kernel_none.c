/* SPDX-License-Identifier: MIT */
/*
 * The kernel backend of a build without libbpf, or without clang for BPF, or for a CPU
 * whose registers the programs do not know: it says so.
 */
#include <errno.h>
#include <stdio.h>

#include "probe/probe.h"

static int none_open(struct ps_prochandle *P, enum probe_want want, size_t stack,
		     struct probe_backend **ret, char *err, size_t size)
{
	snprintf(err, size, "this pgrab was built without kernel probes");
	return -EOPNOTSUPP;
}

const struct probe_ops probe_kernel = {
	.name = "kernel",
	.open = none_open,
};
