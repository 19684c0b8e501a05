#!/bin/sh
# SPDX-License-Identifier: MIT
# Writes the initialisers of a table of system call names, by number, for the CPU that the
# compiler command in "$@" compiles for: `[0] = "read",` and so on.
echo '#include <sys/syscall.h>' | "$@" -E -dM - |
	sed -n 's/^#define __NR_\([a-z0-9_]*\) \([0-9]*\)$/[\2] = "\1",/p' | sort -t'[' -k2n
