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

# victim COMMAND...: starts it, waits for a line that begins with ready or bottom
victim()
{
	rm -f "$TAP_DIR/fifo" "$TAP_DIR/said"
	mkfifo "$TAP_DIR/fifo"
	exec 9<>"$TAP_DIR/fifo"
	"$@" <"$TAP_DIR/fifo" >"$TAP_DIR/said" 2>/dev/null 9>&- &
	V=$!
	TAP_VICTIMS+=("$V")
	until grep -qE '^(ready|bottom|child)' "$TAP_DIR/said" 2>/dev/null; do :; done
}

NAMES='#[0-9]+ +inner [^#]*#[0-9]+ +middle [^#]*#[0-9]+ +outer [^#]*#[0-9]+ +main '
if [[ -n $VICTIMS ]]; then
	for v in sleeper sleeper-static sleeper-static-pie sleeper-musl sleeper-musl-static; do
		[[ -e $VICTIMS/$v ]] || continue
		victim "$VICTIMS/$v"
		try stack -q "$V"
		out "$NAMES" "$v: its functions"
	done

	victim "$VICTIMS/sleeper"
	if grep -q '\.debug_line' "$VICTIMS/sleeper" && [[ $("$PGRAB" -V) == *libdw* ]]; then
		try stack -q -l "$V"
		out '#[0-9]+ +outer \(sleeper\) at [^ ]*sleeper\.c:[0-9]+' '-l: file and line'
		try stack -q -i --json "$V"
		[[ $(json 'f = [f for f in d[0]["threads"][0]["frames"] if f["function"] == "outer"][0]
print(f["file"].endswith("sleeper.c"), f["line"] > 0, f["inline"])') == 'True True False' ]]
		tap_result $? '-i --json: file and line'
	else
		skip 'no debug information, or no libdw'
	fi
	for o in -l -i --debuginfod; do
		DEBUGINFOD_URLS= try stack "$o" "$V"
		status 0 "$o"
		out "$NAMES" "$o: the functions all the same"
	done

	cp "$VICTIMS/sleeper" "$TAP_DIR/gone"
	victim "$TAP_DIR/gone"
	rm "$TAP_DIR/gone"
	if (($(id -u) == 0)); then
		try stack -q "$V"
		out "$NAMES" 'a program that has been deleted'
		cp "$VICTIMS/sleeper" "$TAP_DIR/other"
		victim "$TAP_DIR/other"
		cp "$VICTIMS/spin" "$TAP_DIR/new"
		mv "$TAP_DIR/new" "$TAP_DIR/other"
		try stack -q "$V"
		out "$NAMES" 'a program that has been replaced'
	else
		try stack -q "$V"
		status 0 'a program that has been deleted'
	fi

	mkdir "$TAP_DIR/root"
	cp "$VICTIMS/sleeper-static" "$TAP_DIR/root/prog"
	if unshare -Urpf --kill-child true 2>/dev/null; then
		victim unshare -Urpf --kill-child chroot "$TAP_DIR/root" /prog
		read -r P <"/proc/$V/task/$V/children"
		try stack -q "$P"
		status 0 'a process in a container'
		out "$NAMES" 'a process in a container: its functions, from its own files'
	else
		skip 'no user namespaces here'
	fi

	victim "$VICTIMS/stacks" smashed
	try stack -q --raw "$V"
	status 0 'a smashed stack'
	out 'pause[^ ]*'$'\n''  0x[0-9a-f]* stacks`smash\+' 'a smashed stack: as far as it makes sense'
	(($(wc -l <"$TAP_DIR/out") < 60))
	tap_result $? 'a smashed stack: no longer than it is'
	try stack -q --json "$V"
	[[ $(json 'print(d[0]["threads"][0]["truncated"])') == True ]]
	tap_result $? 'a smashed stack: said'

	victim "$VICTIMS/stacks" alt
	try stack -q "$V"
	out '#[0-9]+ +handle [^#]*#[0-9]+ +<signal handler called>.*#[0-9]+ +interrupted ' 'an alternate signal stack'

	victim "$VICTIMS/stacks" vfork
	TAP_VICTIMS+=("$(sed -n 's/^child //p' "$TAP_DIR/said")")
	try stack "$V"
	status 1 'a thread in vfork cannot be stopped'
	err 'did not stop within 1 s: 1 of its threads are not known' 'a thread in vfork: said'
	try stack -q --no-stop "$V"
	status 0 'a thread in vfork, without a stop'
	out '#[0-9]+ +fork_and_wait ' 'a thread in vfork: who called it'
	exec 9>&-
fi

# It ends while it is looked at: a sentence or a stack, and never more than a moment.
BAD=0
for i in {1..40}; do
	sleep 0.00$((i % 10)) &
	N=$!
	timeout 10 "$PGRAB" stack -q "$N" >"$TAP_DIR/out" 2>"$TAP_DIR/err"
	case $? in
	0) [[ -s $TAP_DIR/out ]] || BAD=$((BAD + 1)) ;;
	1) [[ $(wc -l <"$TAP_DIR/err") == 1 ]] || BAD=$((BAD + 1)) ;;
	*) BAD=$((BAD + 1)) ;;
	esac
	wait "$N"
done
((BAD == 0))
tap_result $? "it ends meanwhile: $BAD of 40 without a stack or a sentence"

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
