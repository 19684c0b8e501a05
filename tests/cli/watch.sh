#!/bin/bash
# SPDX-License-Identifier: MIT
# watch: events, formats, and how it ends.
. "${0%/*}/tap.bash"

# Each line a JSON object with the members that all have; times do not decrease.
valid_json()
{
	local re='^\{"time":([0-9]+\.[0-9]{9}),"pid":[0-9]+,"tid":[0-9]+,"event":"(create|exec|fork|exit|lost|dlopen|dlclose|thread-start|thread-exit|signal|stop|continue)"(,.*)?\}$'
	local line last=0
	while IFS= read -r line; do
		[[ $line =~ $re ]] || return 1
		[[ ! ${BASH_REMATCH[1]} < $last ]] || return 1
		last=${BASH_REMATCH[1]}
	done <"$TAP_DIR/out"
}

start_watch()
{
	: >"$TAP_DIR/out"
	: >"$TAP_DIR/err" # the last one's words must not be taken for its own
	"$PGRAB" watch "$@" >"$TAP_DIR/out" 2>"$TAP_DIR/err" </dev/null &
	WATCH=$!
	TAP_VICTIMS+=("$WATCH")
}
end_watch()
{
	wait "$WATCH" 2>/dev/null
	STATUS=$? OUT=$(cat "$TAP_DIR/out") ERR=$(cat "$TAP_DIR/err")
	TAP_LAST=watch
}
seen()
{
	grep -q "$1" "$TAP_DIR/out"
}

# a command
try watch --json -- sh -c 'exit 3'
status 0 'a command that fails is no failure of watch'
check 'every line is valid, times do not decrease' valid_json
out '"event":"dlopen","object":"/[^"]*libc\.so\.6","base":"0x[0-9a-f]+","lmid":0' 'libc is a dlopen event'
out '"event":"create","object":"/[^"]*sh"\}' 'the program is named'
out '"event":"exit","status":3\}$' 'the exit is last'
err '^pgrab: pid [0-9]+ exited with status 3$' 'the notice'
try watch -j -q -- true
silent '-q'
out '"event":"exit","status":0\}$' 'exit 0'
try watch -- true
err '^pgrab: pid [0-9]+ has exited$' 'the notice of exit 0'
out 'create +/[^ ]*true'$'\n' 'text: create'
out 'exit +status 0$' 'text: exit'
out 'dlopen +0x[0-9a-f]+ /[^ ]*libc' 'text: dlopen'
try watch --json -- sh -c 'kill -USR2 $$'
out '"event":"exit","signal":"SIGUSR2"\}$' 'death by a signal'
err '^pgrab: pid [0-9]+ terminated by SIGUSR2$' 'its notice'
try watch --json -- sh -c 'exec true'
out '"event":"exec","object":"/[^"]*true"' 'exec'
try watch --json -- sh -c '(exit 4); true'
out '"event":"fork","child":[0-9]+' 'fork'
try watch --json -- bash -c 'trap : USR1; kill -USR1 $$; exit 0'
out '"event":"signal","signal":"SIGUSR1"' 'a signal'
try watch -c 'echo one' -c 'echo two'
status 0 'two commands'
[[ $(grep -c ' exit ' "$TAP_DIR/out") -eq 2 ]]
tap_result $? 'two commands: two exits'
try watch --json -c "echo a'b"
status 0 '-c without a shell: a quote is a character'
printf '#!/bin/sh\nexit 0\n' >"$TAP_DIR/odd \"name\\"
cp "$(type -P true)" "$TAP_DIR/od\"d\\"$'\n\xff'
try watch --json -- "$TAP_DIR/od\"d\\"$'\n\xff'
status 0 'a program with an odd name'
check 'still a line for each event' valid_json
out 'od\\"d\\\\\\n\\ufffd"' 'its name is escaped'

# a process that runs already
background sleep 60
A=$VICTIM
start_watch --json -p "$A" -p "$A"
check '-p: its objects' await seen '"event":"dlopen"'
kill -STOP "$A"
check '-p: stop' await seen '"event":"stop","signal":"SIGSTOP"'
kill -CONT "$A"
check '-p: continue' await seen '"event":"continue"'
kill "$A"
end_watch
status 0 '-p X -p X ends'
check '-p: valid' valid_json
out '"event":"exit","signal":"SIGTERM"\}$' '-p: exit'
[[ $(grep -c '"exit"' "$TAP_DIR/out") -eq 1 ]]
tap_result $? '-p X -p X: one exit'

# INT and TERM release all
for s in INT TERM HUP; do
	background sleep 60
	A=$VICTIM
	start_watch -p "$A" -c 'sleep 61'
	check "$s: both are there" await eval '[[ $(grep -c "dlopen.*libc" "$TAP_DIR/out") -ge 2 ]]'
	C=$(grep -v " $A " "$TAP_DIR/out" | sed -n '1s/^[^ ]* *\([0-9]*\).*/\1/p')
	check "$s: the grabbed one is traced" eval '[[ $(tracer "$A") != 0 ]]'
	# A background job of a script without job control ignores INT; so does watch then.
	[[ $s == INT ]] && { kill -TERM "$WATCH"; s=TERM; } || kill -"$s" "$WATCH"
	end_watch
	status $((128 + $(kill -l "$s"))) "$s ends it"
	check "$s: the grabbed one runs on" await is_state "$A" S
	check "$s: untraced" untraced "$A"
	check "$s: the created one is gone" await ended "$C"
	kill "$A"
done
background sleep 60
A=$VICTIM
start_watch -p "$A"
await seen dlopen
kill -KILL "$WATCH"
end_watch
check 'KILL of watch: untraced' await untraced "$A"
check 'KILL of watch: it runs on' is_state "$A" S
kill -STOP "$A"
await is_state "$A" T
start_watch -p "$A"
await eval '[[ $(tracer "$A") != 0 ]]'
sleep 0.2
kill -TERM "$WATCH"
end_watch
check 'one that was stopped stays stopped' is_state "$A" T
check 'and is untraced' untraced "$A"
kill -CONT "$A"

# failures
try watch -p "$A" -- no-such-command-anywhere
status 1 'a command that is not there'
sentence 'a command that is not there'
check 'the other target runs on' await is_state "$A" S
check 'and is untraced' untraced "$A"
try watch -c "touch $TAP_DIR/touched" -p 4194305
status 1 'a process that is not there'
sentence 'a process that is not there'
check 'the created one did not run' test ! -e "$TAP_DIR/touched"

# the reader goes
background sleep 60
B=$VICTIM
timeout 10 "$PGRAB" watch -p "$B" 2>"$TAP_DIR/err" | head -n 1 >/dev/null
STATUS=${PIPESTATUS[0]} ERR=$(cat "$TAP_DIR/err")
status 1 'watch whose reader goes'
silent 'watch whose reader goes'
check 'the process runs on' await is_state "$B" S
check 'untraced' untraced "$B"
timeout 10 "$PGRAB" watch -p "$B" >/dev/full 2>"$TAP_DIR/err"
STATUS=$? ERR=$(cat "$TAP_DIR/err")
status 1 'watch on a full device'
sentence 'watch on a full device'
check 'the process runs on after that' await is_state "$B" S
finish
