#!/bin/bash
# SPDX-License-Identifier: MIT
# maps, libs, args, env, threads, syms, stack: what they print agrees with /proc, and the
# process is as it was.
. "${0%/*}/tap.bash"

background env -i A=b "C=tab"$'\t'"x" sleep 60
settle "$VICTIM" sleep
V=$VICTIM

try maps "$V"
status 0 maps
silent maps
[[ $(($(wc -l <"$TAP_DIR/out") - 1)) -eq $(wc -l <"/proc/$V/maps") ]]
tap_result $? 'maps: a line for each mapping, and the total'
out $'total +[0-9]+K in [0-9]+ mappings$' 'maps: the total'
out '0000[0-9a-f]{12} +[0-9]+K r-xp [0-9a-f]{8} /[^ ]*sleep' 'maps: the text of the program'

try libs "$V"
status 0 libs
for f in $(awk '$6 ~ /^\// && $2 ~ /x/ { print $6 }' "/proc/$V/maps" | sort -u); do
	out "$f" "libs: $f"
done
out '^0x[0-9a-f]{16} +0 /[^ ]*sleep' 'libs: the program first, namespace 0'

background bash -c 'exec -a "od"$'"'\\n'"'"d" sleep 60 2>/dev/null'
settle "$VICTIM" sleep
try args "$VICTIM"
status 0 args
out $'^argv\[0\]: od\\\\nd\nargv\[1\]: 60$' 'args: each on its line, a newline escaped'
try args "$V"
out $'^argv\[0\]: sleep\nargv\[1\]: 60$' 'args of sleep'
try env "$V"
status 0 env
out $'^A=b\nC=tab\\\\tx$' 'env: each on its line, a tab escaped'

try threads "$V"
status 0 threads
out "^ *$V sleeping +[a-z_]*nanosleep +sleep\$" 'threads: id, state, call, name'

try syms "$V"
status 0 syms
[[ $(grep -c '`' "$TAP_DIR/out") -gt 1000 ]]
tap_result $? 'syms: all of them'
out $'0x[0-9a-f]{16} +[0-9]+ [gw]F libc\.so\.6`malloc\n' 'syms: malloc is one'
check 'syms: none twice' eval '[[ -z $(sort "$TAP_DIR/out" | uniq -d) ]]'
try syms "$V" malloc
status 0 'syms NAME'
out '^0x[0-9a-f]{16} +[0-9]+ [gw]F [^`]*`malloc' 'syms NAME: the address'
ADDR=$(sed -n 's/^\(0x[0-9a-f]*\) .*libc\.so\.6`malloc$/\1/p' "$TAP_DIR/out")
try syms "$V" "$ADDR"
out 'libc\.so\.6`[a-z_]*malloc$' 'syms ADDRESS: back to the name'
try syms "$V" "$(printf '0x%x' $((ADDR + 4)))"
out 'libc\.so\.6`[a-z_]*malloc\+0x4$' 'syms ADDRESS: with the offset'
try syms "$V" 'libc`free' 'libc.so.6`free'
status 0 'syms OBJECT`NAME'
[[ $(wc -l <"$TAP_DIR/out") -eq 2 ]]
tap_result $? 'syms OBJECT`NAME: both spellings'
try syms "$V" 0x10
out '^0x10 0x10$' 'syms: an address outside of any object'
try syms "$V" no_such_symbol_anywhere malloc
status 1 'syms: a name that is not there'
sentence 'syms: a name that is not there'
out 'malloc' 'syms: the other is printed'

try cred "$V"
status 0 cred
out "^user   real $(id -u) effective $(id -u) saved $(id -u)"$'\n'"group  real $(id -g) " 'cred: ids'
out $'\n'"groups $(awk '/^Groups:/ { $1 = ""; print ($0 ~ /[0-9]/) ? substr($0, 2) : "-" }' "/proc/$V/status" | sed 's/ *$//')\$" 'cred: groups'

for c in maps libs args env cred threads syms; do
	untraced "$V" && is_state "$V" S
	tap_result $? "$c left it alone"
	try "$c" "$V" 4194305
	[[ $c == syms ]] || status 1 "$c: one is not there"
done
try maps "$V" 4194305 $$
status 1 'three, one is not there'
sentence 'three, one is not there'
out "^$V: sleep 60"$'\n' 'a heading for the first'
out $'\n'"$$: " 'and for the last'

try stack --raw "$V"
status 0 stack
err '^pgrab: 1 thread stopped [0-9]+\.[0-9]+ ms$' 'stack tells the pause'
out "^thread $V \"sleep\" sleeping"$'\n'"  0x[0-9a-f]{16} libc\.so\.6\`[a-z_]*nanosleep[^ ]*"$'(\n|$)' 'stack: header and frame'
check 'stack: untraced' untraced "$V"
check 'stack: it sleeps on' is_state "$V" S
try stack -q "$V"
silent 'stack -q'
try stack "$V" 4194305
status 1 'stack: one is not there'
out "thread $V" 'stack: the other is printed'
# victims whose frames are known: inner, middle, outer, main, whatever they are linked as
if [[ -n $VICTIMS ]]; then
	mkfifo "$TAP_DIR/fifo"
	exec 9<>"$TAP_DIR/fifo"
	for v in sleeper sleeper-nopie sleeper-static sleeper-static-pie; do
		"$VICTIMS/$v" <"$TAP_DIR/fifo" >"$TAP_DIR/said" 2>/dev/null 9>&- &
		TAP_VICTIMS+=($!)
		settle $! "$v"
		try stack --raw $!
		out "\`inner[^ ]*"$'\n'"[^"$'\n'"]*\`middle[^ ]*"$'\n'"[^"$'\n'"]*\`outer[^ ]*"$'\n'"[^"$'\n'"]*\`main" "stack of $v"
		try syms $! main
		out "^0x[0-9a-f]{16} +[0-9]+ gF $v\`main\$" "syms of $v"
		try libs $!
		out "0 /[^ ]*/$v"$'(\n|$)' "libs of $v: the program"
	done
	"$VICTIMS/names" <"$TAP_DIR/fifo" >"$TAP_DIR/said" 2>/dev/null 9>&- &
	TAP_VICTIMS+=($!)
	settle $! names
	try syms $! _RNvC3foo3bar
	out 'names`foo::bar$' 'syms: a readable name'
	A=$(awk '{ print $1 }' "$TAP_DIR/out")
	try syms $! "$A"
	out 'names`foo::bar$' 'syms ADDRESS: a readable name'
	try syms --no-demangle $! "$A" _RNvC3foo3bar
	out $'names`_RNvC3foo3bar\n.*names`_RNvC3foo3bar$' 'syms --no-demangle'
	"$VICTIMS/threads" <"$TAP_DIR/fifo" >"$TAP_DIR/said" 2>/dev/null 9>&- &
	TAP_VICTIMS+=($!)
	settle $! threads
	try threads $!
	MANY=$(wc -l <"$TAP_DIR/out")
	((MANY > 1 && MANY == $(ls "/proc/$!/task" | wc -l)))
	tap_result $? 'threads: all of them'
	try stack --raw $!
	status 0 'stack of many threads'
	[[ $(grep -c '^thread' "$TAP_DIR/out") -eq $MANY ]]
	tap_result $? 'stack: all of them'
	err "^pgrab: $MANY threads stopped" 'stack: how many stood'
	try stop $!
	status 0 'stop many threads'
	check 'all of them stand' eval '[[ -z $("$PGRAB" threads $! | grep -v " stopped ") ]]'
	exec 9>&-
fi

START=$SECONDS
sleep 3 &
N=$!
settle "$N" sleep
for i in 1 2 3 4 5; do
	"$PGRAB" stack "$N" >/dev/null 2>&1
done
wait "$N"
STATUS=$?
status 0 'a sleep that was looked at'
((SECONDS - START >= 2 && SECONDS - START <= 5))
tap_result $? 'is not cut short'
finish
