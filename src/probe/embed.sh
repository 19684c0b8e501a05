#!/bin/sh
# SPDX-License-Identifier: MIT
# Writes the bytes of the file $1 as initialisers of a C array.
od -An -v -tx1 "$1" | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'
