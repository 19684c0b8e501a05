#!/bin/bash
# SPDX-License-Identifier: MIT
# run: the command's status, the points, signals.
. "${0%/*}/tap.bash"

try run -- true
status 0 'true'
err '^pgrab: [0-9]+ parked at preinit$' 'the park is told'
try run -q -- true
silent '-q'
try run -- sh -c 'exit 3'
status 3 'exit 3'
try run -- sh -c 'exit 255'
status 255 'exit 255'
try run sh -c 'kill -SEGV $$'
status $((128 + 11)) 'SIGSEGV'
try run sh -c 'kill -KILL $$'
status $((128 + 9)) 'SIGKILL'
try run -- echo one two
out '^one two$' 'its output is there'
try run -- echo -q --help
out '^-q --help$' "its options are its own"
try run echo -q --help
out '^-q --help$' 'without -- too'

for p in exec preinit postinit main; do
	try run -x "evaltime=$p" -- sh -c 'echo here; exit 7'
	status 7 "evaltime=$p"
	out '^here$' "evaltime=$p: all of its output"
	err "^pgrab: [0-9]+ parked at $p\$" "evaltime=$p is told"
	try run "-xevaltime=$p" -- true
	status 0 "-xevaltime=$p"
done

# what a shell says of files that cannot be executed
try run -- no-such-command-anywhere
status 127 'not found in PATH'
sentence 'not found in PATH'
err 'no-such-command-anywhere' 'the file is named'
try run -- ./no/such/file
status 127 'not found'
try run -- /etc/passwd
status 126 'not executable'
sentence 'not executable'
try run -- /
status 126 'a directory'
echo 'not a program' >"$TAP_DIR/text"
chmod 755 "$TAP_DIR/text"
try run -- "$TAP_DIR/text"
status 126 'of no known format'
sentence 'of no known format'
env PATH=/nowhere "$PGRAB" run -q -- ls >/dev/null 2>&1
STATUS=$?
status 127 'not found in another PATH'

PGRAB_KEEPER=/no/such/keeper try run -- true
status 1 'no keeper'
sentence 'no keeper'
err 'keeper' 'no keeper is told'

# stdin, environment, directory
OUT=$(echo input | timeout 20 "$PGRAB" run -q -- cat)
out '^input$' 'its stdin'
OUT=$(X=y timeout 20 "$PGRAB" run -q -- sh -c 'echo $X')
out '^y$' 'its environment'
OUT=$(cd / && timeout 20 "$PGRAB" run -q -- pwd)
out '^/$' 'its directory'
OUT=$(timeout 20 "$PGRAB" run -q -- sh -c 'ls /proc/self/fd | wc -l')
OTHER=$(timeout 20 sh -c 'ls /proc/self/fd | wc -l')
[[ $OUT == "$OTHER" ]]
tap_result $? 'no descriptor of ours'
OUT=$(timeout 20 "$PGRAB" run -q -- grep -E '^Sig(Blk|Ign|Cgt):' /proc/self/status)
OTHER=$(timeout 20 grep -E '^Sig(Blk|Ign|Cgt):' /proc/self/status)
[[ $OUT == "$OTHER" ]]
tap_result $? 'its signal mask and dispositions are as without us'
OUT=$(trap '' PIPE; timeout 20 "$PGRAB" run -q -- grep -E '^SigIgn:' /proc/self/status)
OTHER=$(trap '' PIPE; timeout 20 grep -E '^SigIgn:' /proc/self/status)
[[ $OUT == "$OTHER" ]]
tap_result $? 'an ignored SIGPIPE stays ignored'
OUT=$(timeout 20 "$PGRAB" run -- true 2>&1 | cat)
out 'parked at' '$(pgrab …) ends: the keeper holds no pipe'

# signals
start_run()
{
	: >"$TAP_DIR/out"
	: >"$TAP_DIR/err" # the last one's words must not be taken for its own
	"$PGRAB" run "$@" >"$TAP_DIR/out" 2>"$TAP_DIR/err" </dev/null &
	RUN=$!
	TAP_VICTIMS+=("$RUN")
	await grep -q parked "$TAP_DIR/err"
	CHILD=$(sed -n 's/^pgrab: \([0-9]*\) parked.*/\1/p' "$TAP_DIR/err")
	settle "$CHILD" sleep
}
end_run()
{
	wait "$RUN"
	STATUS=$?
}

for s in TERM HUP USR1; do
	start_run -- sleep 30
	kill -"$s" "$RUN"
	end_run
	status $((128 + $(kill -l "$s"))) "SIG$s reaches the command"
	check "SIG$s: it is gone" ended "$CHILD"
done
start_run -- sh -c 'trap "exit 9" TERM; while :; do sleep 0.05; done'
sleep 0.2
kill -TERM "$RUN"
end_run
status 9 'a command that handles SIGTERM'

start_run -- sleep 30
kill -STOP "$CHILD"
check 'a command that is stopped stands' await is_state "$CHILD" Tt
sleep 0.2
check 'and stays so' is_state "$CHILD" Tt
kill -CONT "$CHILD"
check 'and runs on' await is_state "$CHILD" S
kill -TERM "$CHILD"
end_run
status $((128 + 15)) 'and its end is ours'

start_run -- sleep 30
kill -KILL "$RUN"
wait "$RUN" 2>/dev/null
check 'SIGKILL of pgrab ends the command' await ended "$CHILD"

# ^C on a terminal: the command takes it, pgrab has its status
if command -v script >/dev/null; then
	cat >"$TAP_DIR/int" <<-END
		#!/bin/bash
		"$PGRAB" run -q -- bash -c 'trap "sleep 0.2; exit 5" INT; kill -INT 0; sleep 5'
		echo "status \$?"
	END
	chmod 755 "$TAP_DIR/int"
	OUT=$(timeout 20 script -qec "bash -ic $TAP_DIR/int" /dev/null </dev/null 2>&1)
	out 'status 5' 'an INT of the whole group: pgrab outlives the command'
fi
finish
