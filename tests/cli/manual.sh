#!/bin/bash
# SPDX-License-Identifier: MIT
# The manual: every command and option has its word, and the program of libpgrab(3) compiles
# as it stands and does what is said of it.
. "${0%/*}/tap.bash"

SRC=${0%/*}/../..
MAN=$(cat "$SRC"/man/pgrab*.scd)

for c in $("$PGRAB" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
	grep -q "^\*$c\*\|, \*$c\* _PID_" "$SRC/man/pgrab.1.scd"
	tap_result $? "pgrab(1) has $c"
	for o in $("$PGRAB" "$c" --help | grep -o '^  -[a-z-]\+' | tr -d ' '); do
		[[ $MAN == *"$o"* ]]
		tap_result $? "the manual has $c $o"
	done
done
for e in create exec fork exit lost dlopen dlclose thread-start thread-exit signal stop continue; do
	grep -q "\*$e\*" "$SRC/man/pgrab-watch.1.scd"
	tap_result $? "pgrab-watch(1) has the event $e"
done

# Between the first two fences after EXAMPLE; scdoc wants backslashes doubled.
awk '/^# EXAMPLE/ { e = 1 } e && /^```/ { c++; next } e && c == 1 { print }' \
	"$SRC/man/libpgrab.3.scd" | sed 's/\\\\n/\\n/g' >"$TAP_DIR/example.c"
LIB=$(dirname "$PGRAB")/../src
if command -v "${CC:-cc}" >/dev/null && [[ -e $LIB/libpgrab.so ]]; then
	# A library built with a sanitizer wants its programs built so too.
	case $(ldd "$LIB/libpgrab.so") in
	*libasan*) CFLAGS+=' -fsanitize=address,undefined' ;;
	*libtsan*) CFLAGS+=' -fsanitize=thread' ;;
	esac
	${CC:-cc} $CFLAGS -Wall -Werror -I "$SRC/include" "$TAP_DIR/example.c" -o "$TAP_DIR/example" \
		-L "$LIB" -lpgrab -Wl,-rpath,"$(realpath "$LIB")" >"$TAP_DIR/err" 2>&1
	STATUS=$? ERR=$(cat "$TAP_DIR/err")
	status 0 'the example of libpgrab(3) compiles'
	OUT=$(timeout 20 "$TAP_DIR/example" 2>&1)
	STATUS=$?
	status 0 'and runs'
	out '0x[0-9a-f]+ /[^ ]*libc\.so\.6' 'it lists objects'
	out 'malloc is at 0x[0-9a-f]+' 'it finds malloc'
	out 'exit status 0$' 'it tells the end'
else
	skip 'no compiler, or an installed pgrab'
fi
finish
