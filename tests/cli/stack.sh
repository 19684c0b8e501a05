#!/bin/bash
# SPDX-License-Identifier: MIT
# stack: groups, raw, folded and JSON agree with each other; who is looked at; how much.
. "${0%/*}/tap.bash"

# json FILTER: what python makes of the output, `d` being the objects
json()
{
	python3 -c 'import json, sys
d = [json.loads(line) for line in sys.stdin]
'"$1" <"$TAP_DIR/out"
}

background sleep 60
settle "$VICTIM" sleep
V=$VICTIM

try stack "$V"
status 0 stack
err '^pgrab: 1 thread stopped [0-9]+\.[0-9]+ ms$' 'the pause is told'
out "^thread $V \"sleep\" sleeping"$'\n''  #0  [a-z_]*nanosleep \(libc\.so\.6\)'$'\n''  #1  ' 'a readable stack'
no_out '`' 'no module`function for people'
check 'untraced' untraced "$V"
check 'it sleeps on' is_state "$V" S

try stack -q --raw "$V"
silent '-q'
RAW=$(grep -c '^  0x' <<<"$OUT")
out $'\n''  0x[0-9a-f]{16} libc\.so\.6`[a-z_]*nanosleep\+0x[0-9a-f]+' 'raw: module`function+0xoffset'
try stack -q --json "$V"
status 0 '--json'
[[ $(json 't = d[0]["threads"]
print(len(d), d[0]["pid"], d[0]["comm"], d[0]["pause_ns"] > 0, len(t), t[0]["tid"], t[0]["name"], t[0]["state"],
      len(t[0]["frames"]), t[0]["truncated"])') == "1 $V sleep True 1 $V sleep sleeping $RAW False" ]]
tap_result $? '--json: the same'
[[ $(json 'f = d[0]["threads"][0]["frames"][0]
print(sorted(f), f["pc"][:2], f["module"], type(f["offset"]).__name__, f["inline"])') == \
	"['file', 'function', 'inline', 'line', 'module', 'offset', 'pc'] 0x libc.so.6 int False" ]]
tap_result $? '--json: a frame'
try stack -q --folded "$V"
out '^sleep;[^ ]*;[a-z_]*nanosleep 1$' '--folded: the outermost first'
no_out $'\n' '--folded: a line a stack'

try stack -q -n 2 --raw "$V"
[[ $(grep -c '^  0x' <<<"$OUT") == 2 ]]
tap_result $? '-n 2: two frames'
out "\($((RAW - 2)) frames? more\)" '-n: how many are not shown'
try stack -q -n 1 --json "$V"
[[ $(json 'print(d[0]["threads"][0]["truncated"], len(d[0]["threads"][0]["frames"]))') == 'True 1' ]]
tap_result $? '-n in JSON'
for n in 0 -1 x ''; do
	try stack -n "$n" "$V"
	status 2 "-n '$n'"
	sentence "-n '$n'"
done
try stack --json --raw "$V"
status 2 'two forms'
sentence 'two forms'
try stack
status 2 'nobody'

try stack --no-stop "$V"
status 0 '--no-stop'
silent '--no-stop: nobody stood, nothing is told'
out "^thread $V \"sleep\" sleeping"$'\n''  #0  [a-z_]*nanosleep' '--no-stop: it waits, so it can be seen'
background bash -c 'exec -a spin bash -c "while :; do :; done"'
settle "$VICTIM" bash
until is_state "$VICTIM" R; do :; done
try stack --no-stop "$VICTIM"
out '\(r(uns|an)' '--no-stop: what runs is not looked at'
check '--no-stop: it runs on' is_state "$VICTIM" R
kill -KILL "$VICTIM"

# A name that only this test has.
NAME=pgs$$
cp /bin/sleep "$TAP_DIR/$NAME"
"$TAP_DIR/$NAME" 60 &
A=$!
"$TAP_DIR/$NAME" 61 &
B=$!
TAP_VICTIMS+=("$A" "$B")
settle "$A" "$NAME"
settle "$B" "$NAME"
try stack -q --json --name "$NAME"
[[ $(json 'print(sorted(p["pid"] for p in d))') == "[$A, $B]" || $(json 'print(sorted(p["pid"] for p in d))') == "[$B, $A]" ]]
tap_result $? '--name: both'
try stack -q --json --name "pg?$$" "$A"
[[ $(json 'print(len(d))') == 2 ]]
tap_result $? '--name: a glob, nobody twice'
try stack --name "no-such-$$"
status 1 '--name of nobody'
sentence '--name of nobody'

bash -c "'$TAP_DIR/$NAME' 60 & '$TAP_DIR/$NAME' 60; :" &
TREE=$!
TAP_VICTIMS+=("$TREE")
until [[ $(wc -w <"/proc/$TREE/task/$TREE/children") == 2 ]]; do :; done
read -r C D <"/proc/$TREE/task/$TREE/children"
TAP_VICTIMS+=("$C" "$D")
settle "$C" "$NAME"
settle "$D" "$NAME"
try stack -q --json --tree "$TREE"
[[ $(json 'print([p["pid"] for p in d])') == "[$TREE, $C, $D]" ]]
tap_result $? '--tree: the process, then its children'
try stack -q --tree "$TREE"
[[ $(grep -c "^[0-9]*: " <<<"$OUT") == 3 ]]
tap_result $? '--tree: a heading each'

if [[ -n $VICTIMS ]]; then
	mkfifo "$TAP_DIR/fifo"
	exec 9<>"$TAP_DIR/fifo"
	"$VICTIMS/threads" 40 <"$TAP_DIR/fifo" >"$TAP_DIR/said" 2>/dev/null 9>&- &
	TAP_VICTIMS+=($!)
	T=$!
	settle "$T" threads
	until [[ $(cat /proc/$T/task/*/stat | awk '$3 == "S"' | wc -l) == 41 ]]; do :; done
	try stack "$T"
	status 0 'many threads'
	out "^thread $T " 'groups: the main thread first'
	out $'\n''40 threads sleeping: [0-9].* "threads"'$'\n' 'groups: the others, once'
	[[ $(grep -c '^[0-9t]' <<<"$OUT") == 2 ]]
	tap_result $? 'groups: two'
	err '^pgrab: 41 threads stopped' 'how many stood'
	try stack -q --folded "$T"
	[[ $(awk '{ n += $NF } END { print n }' <<<"$OUT") == 41 ]]
	tap_result $? '--folded: every thread counted'
	try stack -q --json "$T"
	[[ $(json 'print(len(d[0]["threads"]), [t["tid"] for t in d[0]["threads"]] == sorted(t["tid"] for t in d[0]["threads"]))') == '41 True' ]]
	tap_result $? '--json: every thread, in order'
	kill -STOP "$T"
	try stack "$T"
	status 0 'a stopped process'
	err "pid $T was stopped already, and stays so" 'a stopped process: said'
	check 'a stopped process: stays so' is_state "$T" T
	kill -CONT "$T"
	exec 9>&-
fi

# A name that is hostile to whoever prints or parses it.
cp /bin/sleep "$TAP_DIR/"$'a;b "\e[31m'
"$TAP_DIR/"$'a;b "\e[31m' 60 &
TAP_VICTIMS+=($!)
H=$!
until [[ $(cat /proc/$H/wchan 2>/dev/null) == *nanosleep* ]]; do :; done
try stack -q "$H"
no_out $'\e' 'no control character of the victim reaches the terminal'
try stack -q --json "$H"
[[ $(json 'print(d[0]["comm"] == "a;b \"\x1b[31m")') == True ]]
tap_result $? '--json: a hostile name is whole'
try stack -q --folded "$H"
out '^a:b ' '--folded: no separator within a name'

finish
