#!/bin/bash
# SPDX-License-Identifier: MIT
# watch -f: children are followed, each with its own events and its own notices.
. "${0%/*}/tap.bash"

lines()
{
	grep -c "$1" "$TAP_DIR/$2"
}
has_lines()
{
	local n
	n=$(lines "$2" "$3")
	[[ $n -eq $1 ]]
	tap_result $? "${*:4}: $n of $1"
}

# Three children of one shell, one of them dies of a signal; and a grandchild.
FAMILY='(exit 4); (kill -USR1 $BASHPID); ( (exit 5); exit 6 ); exit 3'
try watch -f --json -- bash -c "$FAMILY"
status 0 'a family'
has_lines 4 '"event":"follow","parent":' out 'follow events'
has_lines 5 '"event":"exit"' out 'exit events'
has_lines 4 '"event":"fork","child":' out 'fork events'
has_lines 1 ' exited with status 4$' err 'a notice of the first child'
has_lines 1 ' terminated by SIGUSR1$' err 'of the second'
has_lines 1 ' exited with status 5$' err 'of the grandchild'
has_lines 1 ' exited with status 6$' err 'of the third'
has_lines 1 ' exited with status 3$' err 'of the shell'
has_lines 5 '^pgrab: pid [0-9]* ' err 'notices in all'
for pid in $(sed -n 's/.*"event":"fork","child":\([0-9]*\).*/\1/p' "$TAP_DIR/out"); do
	first=$(grep -m1 "\"pid\":$pid," "$TAP_DIR/out")
	[[ $first == *'"event":"follow"'* ]]
	tap_result $? "$pid begins with follow"
	last=$(grep "\"pid\":$pid," "$TAP_DIR/out" | tail -n1)
	[[ $last == *'"event":"exit"'* ]]
	tap_result $? "$pid ends with exit"
done

# without -f: told of, not followed
try watch --json -- bash -c "$FAMILY"
status 0 'without -f'
no_out '"event":"follow"' 'nobody is followed'
has_lines 1 '"event":"exit"' out 'one exit'
has_lines 1 '^pgrab: pid [0-9]* ' err 'one notice'

# a child that becomes another program
try watch -f --json -- bash -c 'true; /bin/true; exit 0'
out '"event":"exec","object":"/[^"]*true"' "a child's exec"
has_lines 2 ' has exited$' err 'two notices'
try watch -f -q -- bash -c '(exit 4); exit 3'
silent '-q'
try watch -f -- bash -c '(exit 4); exit 0'
out 'follow +parent [0-9]+' 'text: follow'

# a child that outlives its parent: watch ends with the last of them
try watch -f --json -- bash -c '(sleep 0.3; exit 9) & exit 0'
status 0 'an orphan'
err 'exited with status 9$' 'its notice'

# grabbed: followed children are let go with it
background bash -c 'read -r _; sleep 60 & sleep 61' <<<''
P=$VICTIM
"$PGRAB" watch -f --json -p "$P" >"$TAP_DIR/out" 2>"$TAP_DIR/err" </dev/null &
W=$!
TAP_VICTIMS+=("$W")
check '-p: attached' await eval '[[ $(tracer "$P") != 0 ]]'
kill -TERM "$W"
wait "$W" 2>/dev/null
check '-p: untraced' untraced "$P"
for pid in $(<"/proc/$P/task/$P/children"); do # not by ps(1), which few containers have
	TAP_VICTIMS+=("$pid")
	check '-p: its child is untraced' untraced "$pid"
	check '-p: and runs' await is_state "$pid" SR
done
finish
