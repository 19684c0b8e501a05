#!/bin/sh
# SPDX-License-Identifier: MIT
# Moves the symbols of a program elsewhere.
#
#	split.sh KIND IN OUT
#
# link: into OUT.debug, which OUT names by .gnu_debuglink; mini: into .gnu_debugdata; zlib, zstd: they
# stay, and the debug sections are compressed.
set -eu

kind=$1 in=$2 out=$3
case $kind in
link)
	objcopy --only-keep-debug "$in" "$out.debug"
	objcopy --strip-all "--add-gnu-debuglink=$out.debug" "$in" "$out"
	;;
mini)
	objcopy --only-keep-debug "$in" "$out.tmp"
	objcopy --strip-debug "$out.tmp"
	xz -c "$out.tmp" >"$out.xz"
	objcopy --strip-all --add-section ".gnu_debugdata=$out.xz" "$in" "$out"
	rm "$out.tmp" "$out.xz"
	;;
zlib | zstd)
	objcopy "--compress-debug-sections=$kind" "$in" "$out"
	;;
esac
