#!/bin/bash
# SPDX-License-Identifier: MIT
# Command lines: help, version, what makes no sense; the output's failures; colour.
. "${0%/*}/tap.bash"

COMMANDS='run watch stack threads maps libs syms args env cred stop cont wait core doctor'

for c in $COMMANDS; do
	try "$c" --help
	status 0 "$c --help"
	out "^Usage: pgrab $c .*Options:.*Examples:.*pgrab $c" "$c --help has options and examples"
	silent "$c --help"
	try "$c" --no-such-option
	status 2 "$c with an unknown option"
	sentence "$c with an unknown option"
	try "$c" -Z
	status 2 "$c with an unknown letter"
	sentence "$c with an unknown letter"
done
for c in stack threads maps libs syms args env cred stop cont wait core; do
	try "$c"
	status 2 "$c without a process"
	sentence "$c without a process"
done
for c in stack maps syms stop core doctor; do
	for p in abc 12x 0 -5 99999999999999999999 '' ' 1' +1 1.5 /proc/; do
		try "$c" "$p"
		status 2 "$c '$p'"
		sentence "$c '$p'"
	done
	for p in 4194305 2147483647; do
		try "$c" "$p"
		status 1 "$c $p"
	done
done

try --help
status 0 'pgrab --help'
for c in $COMMANDS; do
	out "  $c " "pgrab --help names $c"
done
out 'Examples:' 'pgrab --help has examples'
try help stack
out '^Usage: pgrab stack' 'pgrab help stack'
try --version
status 0 '--version'
out $'^pgrab [0-9]+\.[0-9]+\.[0-9]+\n.+' '--version: version and features'
try
status 2 'no command'
sentence 'no command'
try no-such-command
status 2 'unknown command'
sentence 'unknown command'

# run and watch
try run
status 2 'run without a command'
try run --
status 2 'run -- without a command'
try run ''
status 127 'an empty command is not found'
try run -x evaltime=never -- true
status 2 'run with a wrong evaltime'
err 'Invalid value for specified option' "the library's sentence for the value"
try run -x nonsense=1 -- true
status 2 'run with an unknown session option'
err 'Invalid option name' "the library's sentence for the name"
try run -x evaltime -- true
status 2 'run -x without a value'
try watch
status 2 'watch without a target'
try watch -c ''
status 2 'watch with an empty -c'
sentence 'watch with an empty -c'
try watch -c '   '
status 2 'watch with a blank -c'
try watch -p nobody
status 2 'watch -p with a word'
try watch -p
status 2 'watch -p without an argument'
try wait -t
status 2 'wait -t without an argument'
try wait -t soon 1
status 2 'wait -t with a word'
try wait -t -1 1
status 2 'wait -t with a negative number'

# options after operands, and --
background sleep 60
try maps "$VICTIM" -q
status 0 'an option after the operand'
try maps -- "$VICTIM"
status 0 'an operand after --'
try maps "/proc/$VICTIM"
status 0 'a process named by its directory'

# the output's failures
if [[ -c /dev/full ]]; then
	"$PGRAB" maps "$VICTIM" >/dev/full 2>"$TAP_DIR/err"
	STATUS=$? ERR=$(cat "$TAP_DIR/err") OUT=
	status 1 'stdout on a full device'
	err 'No space left on device' 'stdout on a full device is told'
	sentence 'stdout on a full device'
	"$PGRAB" --help >/dev/full 2>"$TAP_DIR/err"
	STATUS=$?
	status 1 '--help on a full device'
fi
"$PGRAB" --version >&- 2>"$TAP_DIR/err"
STATUS=$?
status 1 'stdout closed'
for c in maps syms; do
	"$PGRAB" "$c" "$VICTIM" 2>"$TAP_DIR/err" | true
	STATUS=${PIPESTATUS[0]} ERR=$(cat "$TAP_DIR/err")
	# The reader may have been slower than all of a short output.
	((STATUS == 0 || STATUS == 1))
	tap_result $? "$c without a reader ends"
	silent "$c without a reader"
done
"$PGRAB" syms "$VICTIM" 2>"$TAP_DIR/err" | head -c 1 >/dev/null
STATUS=${PIPESTATUS[0]} ERR=$(cat "$TAP_DIR/err")
status 1 'syms whose reader goes'
silent 'syms whose reader goes'

# colour: never into a pipe, on a terminal unless NO_COLOR
try stack "$VICTIM"
no_out $'\033' 'no colour into a file'
if command -v script >/dev/null; then
	OUT=$(TERM=xterm script -qec "'$PGRAB' threads $VICTIM $VICTIM" /dev/null </dev/null)
	out $'\033\\[' 'colour on a terminal'
	OUT=$(NO_COLOR=1 TERM=xterm script -qec "'$PGRAB' threads $VICTIM $VICTIM" /dev/null </dev/null)
	no_out $'\033\\[' 'no colour with NO_COLOR'
	OUT=$(TERM=dumb script -qec "'$PGRAB' threads $VICTIM $VICTIM" /dev/null </dev/null)
	no_out $'\033\\[' 'no colour on a dumb terminal'
fi
finish
