#!/bin/bash
# SPDX-License-Identifier: MIT
# stop, cont, wait.
. "${0%/*}/tap.bash"

background sleep 60
A=$VICTIM
background sleep 60
B=$VICTIM

try stop "$A" "$B"
status 0 'stop two'
silent 'stop two'
check 'the first stands' is_state "$A" T
check 'the second stands' is_state "$B" T
try stop "$A"
status 0 'stop one that stands'
try maps "$A"
status 0 'a stopped process can be looked at'
check 'and stands still' is_state "$A" T
try stack "$A"
status 0 'stack of a stopped process'
check 'and it stands still' is_state "$A" T
check 'and nobody traces it' untraced "$A"
try cont "$A" "$B"
status 0 'cont two'
check 'the first runs' await is_state "$A" SR
check 'the second runs' await is_state "$B" SR
try cont "$A"
status 0 'cont one that runs'

try stop 4194305 "$A"
status 1 'stop: one is not there'
sentence 'stop: one is not there'
check 'stop: the other stands' is_state "$A" T
try cont "$A"

# 100 threads would be better: a victim of many processes at least
try wait -t 0.1 "$A"
status 1 'wait: the time is up'
sentence 'wait: the time is up'
check 'wait leaves it alone' is_state "$A" SR
(sleep 0.3; kill "$A" "$B") &
try wait "$A" "$B"
status 0 'wait for two'
try wait "$A"
status 1 'wait for one that is no more'
sentence 'wait for one that is no more'

# A zombie has ended for wait; stop and cont say so.
sh -c 'sleep 0.2 & echo $!; exec sleep 60' >"$TAP_DIR/zombie" 2>/dev/null &
TAP_VICTIMS+=($!)
check 'a zombie to test with' await test -s "$TAP_DIR/zombie"
Z=$(cat "$TAP_DIR/zombie")
check 'it is one' await is_state "$Z" Z
try wait -t 5 "$Z"
status 0 'wait for a zombie'
for c in stop cont; do
	try "$c" "$Z"
	status 1 "$c a zombie"
	err 'zombie' "$c a zombie says so"
	try "$c" 2
	status 1 "$c a kernel thread"
	sentence "$c a kernel thread"
done
try stop $$ -q --no-such
status 2 'a usage error'
check 'does nothing' is_state $$ SR
finish
