#!/bin/bash
# SPDX-License-Identifier: MIT
# Processes that cannot be had: one clear sentence, no harm; and doctor's reasons.
. "${0%/*}/tap.bash"

refused()
{
	local pid=$1 re=$2 what=$3 c
	for c in 'stack' 'watch -p'; do
		try $c "$pid"
		status 1 "$c: $what"
		sentence "$c: $what"
		err "$re" "$c: $what is the reason"
	done
	try doctor "$pid"
	status 1 "doctor: $what"
	out "^$pid: attach is not possible: [^"$'\n'"]*$re" "doctor: $what is the reason"
}

refused 4194305 'no such process' 'no such process'
[[ $(ps -o comm= -p 2 2>/dev/null) == kthreadd ]] && refused 2 'kernel thread' 'a kernel thread'

sh -c 'sleep 0.2 & echo $!; exec sleep 60' >"$TAP_DIR/zombie" 2>/dev/null &
TAP_VICTIMS+=($!)
await test -s "$TAP_DIR/zombie"
Z=$(cat "$TAP_DIR/zombie")
await is_state "$Z" Z
refused "$Z" 'zombie' 'a zombie'

# already traced: by a watch of our own
background sleep 60
V=$VICTIM
"$PGRAB" watch -p "$V" >"$TAP_DIR/watch" 2>&1 &
W=$!
TAP_VICTIMS+=("$W")
await grep -q dlopen "$TAP_DIR/watch"
T=$(tracer "$V")
refused "$V" "traced.* by [^"$'\n'"]*$T" 'already traced, by whom'
try maps "$V"
status 0 'one that is traced can be looked at'
kill -TERM "$W"
wait "$W" 2>/dev/null
check 'it lives on' await is_state "$V" S
try doctor "$V"
status 0 'doctor: possible'
out "^$V: attach is possible"$'\n' 'doctor: says so'
out 'keeper .*/pgrab-keeper, ' 'doctor: the keeper'
out 'breakpoints ' 'doctor: the protection'
out 'both killed ' 'doctor: and its limit'
out "pgrab's own +\(link maps, main\) (kept by the kernel|traps as well: )" 'doctor: who keeps ours'
check 'doctor left it alone' untraced "$V"
try doctor
status 0 'doctor of the machine'
out 'perf events +(not )?allowed' 'doctor: perf events'
out 'BPF +(not )?allowed' 'doctor: BPF'

# a file that is not executable is run's and watch's matter
try watch -- /etc/passwd
status 1 'watch: not executable'
sentence 'watch: not executable'

# somebody else's process
if ((EUID == 0)) && command -v setpriv >/dev/null; then
	as_nobody()
	{
		TAP_LAST="as nobody: pgrab $*"
		timeout -k 2 20 setpriv --reuid=65534 --regid=65534 --clear-groups \
			"$PGRAB" "$@" >"$TAP_DIR/out" 2>"$TAP_DIR/err" </dev/null
		STATUS=$? OUT=$(cat "$TAP_DIR/out") ERR=$(cat "$TAP_DIR/err")
	}
	as_nobody --version
	if ((STATUS == 0)); then
		as_nobody stack "$V"
		status 1 "stack: somebody else's"
		err 'belongs to|[Pp]ermission' "stack: somebody else's: why"
		as_nobody maps "$V"
		status 1 "maps: somebody else's"
		sentence "maps: somebody else's"
		as_nobody stop "$V"
		status 1 "stop: somebody else's"
		sentence "stop: somebody else's"
		check 'it runs on' is_state "$V" S
		as_nobody doctor "$V"
		status 1 "doctor: somebody else's"
		out "$V: attach is not possible: somebody else's process" 'doctor: whose'
		background setpriv --reuid=65534 --regid=65534 --clear-groups sleep 60
		settle "$VICTIM" sleep
		as_nobody doctor "$VICTIM"
		status 0 'doctor: our own, without privilege'
		as_nobody stack "$VICTIM"
		status 0 'stack: our own, without privilege'
		as_nobody run -- sh -c 'exit 4'
		status 4 'run without privilege'
	else
		skip 'the build directory is not open to others'
	fi
fi
# Too few descriptors: that is said, and nothing else is blamed. 12 are not enough for one victim.
for n in 5 8 12; do
	said=$( (ulimit -n "$n" && exec "$PGRAB" run -q -- /bin/true) 2>&1 )
	rc=$?
	check "run with $n descriptors fails" test "$rc" = 1
	check "run with $n descriptors says why" \
		test "$said" = "pgrab: failed to execute /bin/true: the descriptor table is full"
done

finish
