#!/bin/bash
# SPDX-License-Identifier: MIT
# core: a file that gdb and the other commands open, and a process that runs on.
. "${0%/*}/tap.bash"

background env -i A=b "C=tab"$'\t'"x" sleep 60
settle "$VICTIM" sleep
V=$VICTIM
cd "$TAP_DIR" || exit 99

try core "$V"
status 0 core
out "^core\.$V\$" 'core: names the file'
err $'^pgrab: 1 thread stopped [0-9]+\.[0-9] ms\npgrab: core\.'"$V: [0-9.]+ MiB, [0-9.]+ MiB of them on disk\$" 'core: the pause and the size'
check 'core: untraced' untraced "$V"
check 'core: it sleeps on' is_state "$V" S
[[ $(stat -c %a "core.$V") == 600 ]]
tap_result $? 'core: mode 0600'
sum=$(cksum <"core.$V")
try core "$V"
status 1 'core: again'
sentence 'core: again'
err 'there is a file of that name' 'core: again: says why'
[[ $(cksum <"core.$V") == "$sum" ]]
tap_result $? 'core: the first is as it was'
try core -q -o all --all "$V"
status 0 'core --all'
silent 'core -q'
(($(stat -c %s all) > $(stat -c %s "core.$V")))
tap_result $? 'core --all: has more'
try core -o /dev/full/x "$V"
status 1 'core: no such directory'
sentence 'core: no such directory'
try core -o none 4194305
status 1 'core: no such process'
[[ ! -e none ]]
tap_result $? 'core: no such process, no file'
try core "$V" "$V"
status 2 'core: two processes'

# The same words about the core as about the process.
for c in libs args env syms; do
	try "$c" "$V"
	live=$OUT
	try "$c" "core.$V"
	status 0 "$c of a core"
	silent "$c of a core"
	[[ $OUT == "$live" ]]
	tap_result $? "$c of a core: as of the process"
done
try maps "$V"
live=$(sed 's/\[[a-z_]*\]$/-/' <<<"$OUT")
try maps "core.$V"
status 0 'maps of a core'
[[ $(sed 's/\[[a-z_]*\]$/-/' <<<"$OUT") == "$live" ]]
tap_result $? 'maps of a core: as of the process'
try cred "core.$V"
status 0 'cred of a core'
out "^user   real $(id -u) " 'cred of a core: the user'
try threads "core.$V"
status 0 'threads of a core'
out "^ *$V - +- +sleep\$" 'threads of a core: id and name'
try args "core.$V" "$V"
out "^core\.$V: $V: sleep 60"$'\n' 'a heading for each'
try stack -q --raw "$V"
live=$(grep '^  0x' <<<"$OUT")
try stack --raw "core.$V"
status 0 'stack of a core'
silent 'stack of a core'
out "^thread $V"$'\n' 'stack of a core: the thread'
[[ $live && $(grep '^  0x' <<<"$OUT") == "$live" ]]
tap_result $? 'stack of a core: the frames of the process'
try stack "$PGRAB"
status 1 'stack of a program'
sentence 'stack of a program'

head -c 20000 "core.$V" >cut
try libs cut
err '^pgrab: cut: it is cut short: [0-9]+ KiB are missing$' 'a core cut short: told'
head -c 2000 /dev/urandom >noise
try maps noise
status 1 'no core'
sentence 'no core'
try syms "$PGRAB" main
status 0 'syms of a program'
out '`main$' 'syms of a program: main'
try args "$PGRAB"
status 1 'args of a program'
sentence 'args of a program'

# gdb's own: it leaves out what is in files.
if command -v gcore >/dev/null; then
	timeout 60 gcore -o theirs "$V" >/dev/null 2>&1
	for c in libs args env syms; do
		try "$c" "$V"
		live=$OUT
		try "$c" "theirs.$V"
		status 0 "$c of gdb's core"
		[[ $OUT == "$live" ]]
		tap_result $? "$c of gdb's core: as of the process"
	done
else
	skip 'no gcore'
fi

# gdb: the same frames in every thread, live and in the core.
frames()
{
	timeout 60 gdb -nx -batch "$@" -ex 'thread apply all bt' 2>/dev/null </dev/null |
		sed -n '/^Thread /,$p' |
		sed -n 's/^\(#[0-9]*\) *\(0x[0-9a-f]* in \)\?\([A-Za-z_0-9]*\).*/\1 \3/p
			s/^Thread .*(\(LWP\|process\) \([0-9]*\).*/\2/p'
}
if [[ -n $VICTIMS ]] && command -v gdb >/dev/null; then
	mkfifo fifo
	exec 9<>fifo
	for v in sleeper sleeper-static-pie threads; do
		"$VICTIMS/$v" <fifo >said 2>/dev/null 9>&- &
		TAP_VICTIMS+=($!)
		settle $! "$v"
		try core -o "$v.core" $!
		status 0 "core of $v"
		live=$(frames -p $!)
		dead=$(frames "$VICTIMS/$v" "$v.core")
		[[ $live == *main* && $live == "$dead" ]]
		tap_result $? "gdb: the frames of $v" || diff <(echo "$live") <(echo "$dead")
		timeout 60 gdb -nx -batch "$VICTIMS/$v" "$v.core" -ex 'info auxv' -ex 'info proc mappings' -ex 'p $xmm0' \
			>gdb.out 2>&1 </dev/null
		OUT=$(<gdb.out)
		out 'AT_ENTRY' "gdb: auxiliary vector of $v"
		out "/$v"$'(\n|$)' "gdb: files of $v"
		out 'v4_int32' "gdb: floating point registers of $v"
		no_out 'rror|not a core|truncated' "gdb: no complaint about $v"
	done
else
	skip 'no gdb'
fi
finish
