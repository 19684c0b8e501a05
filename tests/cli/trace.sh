#!/bin/bash
# SPDX-License-Identifier: MIT
# count, trace, time: what they print, whose status they pass on, and that nobody is harmed.
. "${0%/*}/tap.bash"

EXACT=$VICTIMS/exact
LIB=$VICTIMS/libexact_lib.so
REPORT=$TAP_DIR/report

# Entries of FUNCTION, as the victim says.
entries()
{
	awk -v f="$1" '$1 == f { print $2 }' "$REPORT"
}
returns()
{
	awk -v f="$1" '$1 == f { print $3 }' "$REPORT"
}
# The command's JSON, by jq's little brother.
json()
{
	python3 -c 'import json,sys
for line in open(sys.argv[1]):
    d = json.loads(line)
    '"$1" "$TAP_DIR/out"
}
have_python()
{
	command -v python3 >/dev/null
}
same()
{
	[[ $1 == "$2" ]]
	tap_result $? "${*:3} ($1, $2)"
}

BACKENDS=trap
try count -q --backend=kernel libc:malloc -- true
((STATUS == 0)) && BACKENDS+=' kernel'

for b in $BACKENDS; do
	# counts, of every kind
	try count -q --backend=$b exact:p_push exact:p_rec:return libexact_lib:lib_call -Z \
		-- "$EXACT" 2 50 "$LIB" "$REPORT"
	status 0 "$b: count"
	silent "$b: count -q"
	out "(^|"$'\n'") +$(entries p_push)  exact\`p_push"$'\n' "$b: entries"
	out " $(returns p_rec)  exact\`p_rec:return"$'\n' "$b: returns"
	out " $(entries lib_call)  libexact_lib\.so\`lib_call" "$b: of a library that is loaded later, thrice"
	try count -q --backend=$b --json 'exact:p_*' -- "$EXACT" 2 50 "$LIB" "$REPORT"
	out '\{"pid":[0-9]+,"module":"exact","function":"p_push","name":"entry","count":100,"stack":\[\]\}' \
		"$b: count --json"
	try count -q --backend=$b -k --json exact:p_push -- "$EXACT" 2 50 "$LIB" "$REPORT"
	out '"count":100,"stack":\["exact`p_push","exact`one_round\+0x[0-9a-f]+","exact`thread\+0x[0-9a-f]+"' \
		"$b: count -k --json"
	try count -q --backend=$b -k --folded exact:p_push -- "$EXACT" 2 50 "$LIB" "$REPORT"
	out ';exact`thread;exact`one_round;exact`p_push 100$' "$b: count --folded"

	# events
	try trace -q --backend=$b --json --args 10 exact:p_many exact:p_many:return -- \
		"$EXACT" 1 20 "$LIB" "$REPORT"
	status 0 "$b: trace"
	if have_python; then
		json 'assert d["function"] == "p_many" and d["module"] == "exact"
    assert d["name"] == "return" or d["args"][1:] == [hex(i) for i in range(1, 10)]
    assert d["name"] == "entry" or d["duration_ns"] > 0' >"$TAP_DIR/err" 2>&1
		tap_result $? "$b: arguments, and durations"
		same "$(wc -l <"$TAP_DIR/out")" 40 "$b: lines"
		try trace -q --backend=$b --chrome exact:p_rec exact:p_rec:return -- \
			"$EXACT" 1 20 "$LIB" "$REPORT"
		python3 -c 'import json,sys
e = json.load(open(sys.argv[1]))["traceEvents"]
assert sum(x["ph"] == "B" for x in e) == sum(x["ph"] == "E" for x in e) == int(sys.argv[2])' \
			"$TAP_DIR/out" "$(entries p_rec)" 2>"$TAP_DIR/err"
		tap_result $? "$b: --chrome"
	else
		skip 'no python3'
	fi
	try trace -q --backend=$b exact:p_rec exact:p_rec:return -- "$EXACT" 1 4 "$LIB" "$REPORT"
	out $'->\x20exact`p_rec\\(0x1, [^\n]*\n[^\n]*   -> exact`p_rec\\(0x0,' "$b: calls are nested"
	out '<- exact`p_rec = 0x1 ' "$b: values"
	try time -q --backend=$b --json exact:p_rec -- "$EXACT" 2 50 "$LIB" "$REPORT"
	out "\"function\":\"p_rec\",\"count\":$(returns p_rec),\"sum_ns\":[0-9]+" "$b: time --json"
	try time -q --backend=$b exact:p_rec -- "$EXACT" 2 50 "$LIB" "$REPORT"
	out "count $(returns p_rec), sum [0-9]+, mean" "$b: time"

	# exec and children
	try count -q --backend=$b -Z exact:p_push -- env "$EXACT" 2 50 "$LIB" "$REPORT"
	out ' 100  exact`p_push' "$b: after exec"
	try count -q --backend=$b -Z exact:p_push -- sh -c "'$EXACT' 2 50 '$LIB' '$REPORT'; exit 3"
	status 3 "$b: children"
	no_out 'p_push' "$b: children run without probes"
	try count -q --backend=$b -Z -f exact:p_push -- sh -c "'$EXACT' 2 50 '$LIB' '$REPORT'; exit 3"
	status 3 "$b: -f"
	out ' 100  exact`p_push' "$b: -f: with them"
	try count -q --backend=$b -k -Z -f exact:p_push -- sh -c "'$EXACT' 2 50 '$LIB' '$REPORT'; exit 3"
	out 'exact`one_round' "$b: -f -k: stacks of a process that has gone"

	# a running process
	background sleep 60
	settle "$VICTIM" sleep
	try count -q --backend=$b -d 0.2 -p "$VICTIM" libc::entry
	status 0 "$b: every function of libc"
	check "$b: it sleeps on" is_state "$VICTIM" S
	check "$b: untraced" await untraced "$VICTIM"
	kill -KILL "$VICTIM"

	# a victim that hits faster than is read does not keep it from its end
	try count -q --backend=$b -k -Z -d 0.5 'exact:p_*:entry' -- "$EXACT" 4 1000000 "$LIB" "$TAP_DIR/endless"
	status 143 "$b: -d of a busy victim"

	# lines come while it runs
	background sh -c 'while :; do /bin/true; done'
	"$PGRAB" trace --backend=$b -q -Z -p "$VICTIM" -d 5 'libc:*fork*' >"$TAP_DIR/out" 2>"$TAP_DIR/err" &
	P=$!
	TAP_VICTIMS+=("$P")
	await grep -q -- '-> ' "$TAP_DIR/out"
	tap_result $? "$b: lines come while it runs"
	kill -TERM $P
	wait $P 2>/dev/null
	kill -KILL "$VICTIM"

	# ends
	"$PGRAB" count --backend=$b -q libc:nanosleep libc:clock_nanosleep -- sleep 30 \
		>"$TAP_DIR/out" 2>"$TAP_DIR/err" &
	P=$!
	sleeps() { grep -qs '^sleep$' "/proc/$(child)/comm"; }
	child() { tr ' ' '\n' <"/proc/$P/task/$P/children" | grep -m1 .; }
	await sleeps
	CHILD=$(child)
	TAP_VICTIMS+=("$CHILD" "$P")
	sleep 0.3
	kill -TERM $P
	wait $P
	STATUS=$? OUT=$(cat "$TAP_DIR/out") ERR=$(cat "$TAP_DIR/err")
	status 143 "$b: TERM ends the command too, its status is passed on"
	out 'in all$' "$b: TERM: the summary"
	check "$b: TERM: nobody is left" ended "$CHILD"
done

# statuses
try count -q libc:malloc -- sh -c 'exit 7'
status 7 'the status of the command'
try count -q libc:malloc -- sh -c 'kill -TERM $$'
status 143 'death by a signal'
try count libc:malloc -- /nonexistent
status 1 'no such command'
sentence 'no such command'
try count libc:malloc -p 999999999
status 1 'no such process'
try count -- true
status 2 'no probe'
try count libc:malloc
status 2 'no process'
try trace --args 11 libc:malloc -- true
status 2 '--args 11'
try time 'libc:malloc:10' -- true
status 2 'time: an offset takes no time'
try time -q -Z 'libc:a::b' -- true
status 0 'time: a name with colons'
try count --backend=magic libc:malloc -- true
status 2 'no such backend'

# what does not match
try count nosuch:malloc -- true
status 1 'nothing matches'
err '^pgrab: probe description nosuch:malloc does not match any probes$' 'nothing matches'
try count a.out:nosuch -- "$EXACT" 1 1 "$LIB" "$REPORT"
err "^pgrab: failed to lookup 'nosuch' in module 'a.out'" 'no such function'
check 'nothing of it has run' test ! -e "$REPORT.never"
try count -Z -q nosuch:malloc -- true
status 0 '-Z'

# files
try count -q -o "$TAP_DIR/counts" --pprof "$TAP_DIR/pprof" --speedscope "$TAP_DIR/scope" -k \
	exact:p_push -- "$EXACT" 1 10 "$LIB" "$REPORT"
status 0 '-o, --pprof, --speedscope'
no_out . '-o: nothing on stdout'
check '-o: the counts' grep -q ' 10  in all' "$TAP_DIR/counts"
check '--pprof: strings' grep -aq 'exact`one_round' "$TAP_DIR/pprof"
if have_python; then
	check '--speedscope' python3 -c 'import json,sys
d = json.load(open(sys.argv[1]))
assert sum(d["profiles"][0]["weights"]) == 10
assert any(f["name"] == "exact`p_push" for f in d["shared"]["frames"])' "$TAP_DIR/scope"
fi
try count -q -o /nonexistent/x libc:malloc -- true
status 1 '-o: no such directory'
try count -q libc:malloc -- echo hello
out '^hello'$'\n' "the command's own output"
finish
