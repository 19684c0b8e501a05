#!/bin/bash
# SPDX-License-Identifier: MIT
# probes: what descriptions match, of processes, commands, cores and files; what is wrong.
. "${0%/*}/tap.bash"

background sleep 60
settle "$VICTIM" sleep
V=$VICTIM

try probes "$V" libc:malloc 'pid$target:libc.so.6:free:return'
status 0 probes
silent probes
out '^ +ID MODULE +FUNCTION +NAME +ADDRESS'$'\n' 'probes: a heading'
out $'\n +0 libc\.so\.6 +malloc +entry +0x[0-9a-f]+\n +1 libc\.so\.6 +free +return +0x[0-9a-f]+$' 'probes: two'
ADDR=$(awk '/malloc/ { print $5 }' "$TAP_DIR/out")
try syms "$V" "$ADDR"
out '`malloc$' 'probes: the address is right'
check 'probes: untraced' untraced "$V"
check 'probes: it sleeps on' is_state "$V" S

try probes --json "$V" libc:malloc
out "^\{\"pid\":$V,\"lmid\":0,\"path\":\"/[^\"]*/libc\.so\.6\",\"module\":\"libc\.so\.6\",\"function\":\"malloc\",\"name\":\"entry\",\"address\":\"$ADDR\"\}\$" 'probes --json'
try probes -j -p "$V" -p $$ libc:malloc
[[ $(wc -l <"$TAP_DIR/out") -eq 2 ]]
tap_result $? 'probes -p: of both'
try probes -p "$V" -p $$ libc:malloc
out "^$V: sleep 60"$'\n' 'probes -p: a heading for each'
try probes "pid$V" x
status 2 'probes: no process'
try probes -j "$V" "pid$V:libc:malloc:entry"
status 0 'probes: of this process'
try probes -j "$V" "pid$$:libc:malloc:entry"
status 1 'probes: of another process'
try probes -j -l LM0 "$V" libc:malloc
status 0 'probes -l LM0'
try probes -j -l 1 "$V" libc:malloc
status 1 'probes -l 1'
try probes -l LMx "$V" libc:malloc
status 2 'probes -l LMx'
try probes "$V" libc::entry
[[ $(wc -l <"$TAP_DIR/out") -gt 1000 ]]
tap_result $? 'probes: all of libc'
check 'probes: none twice' eval '[[ -z $(awk "{ print \$5 }" "$TAP_DIR/out" | sort | uniq -d) ]]'

# What is wrong, word for word.
wrong()
{
	try probes "$V" "$1"
	status 1 "probes $1"
	[[ $ERR == "pgrab: $2" && -z $OUT ]]
	tap_result $? "probes $1: $2"
}
wrong libc:nosuch "failed to lookup 'nosuch' in module 'libc'"
wrong libc:malloc:foo "'foo' is an invalid probe name"
wrong libc:malloc:fffff "offset 0xfffff outside of function 'malloc'"
wrong 'libc:no*such' 'probe description libc:no*such does not match any probes'
wrong nosuchlib:f 'probe description nosuchlib:f does not match any probes'
wrong 'LM7`libc:malloc' 'probe description LM7`libc:malloc does not match any probes'
wrong '' 'an empty probe description'
try probes "$V" libc:nosuch libc:malloc
status 1 'probes: one is wrong'
sentence 'probes: one is wrong'
out ' malloc ' 'probes: the other is printed'
try probes "$V"
status 2 'probes: no description'
try probes
status 2 'probes: nothing at all'

# A command: looked at before its code runs, then killed.
try probes -c "touch $TAP_DIR/touched" libc:malloc
status 0 'probes -c'
out $'\n +0 libc\.so\.6 +malloc' 'probes -c: its objects'
check 'probes -c: it has not run' eval '[[ ! -e $TAP_DIR/touched ]]'
try probes -c "$TAP_DIR/nosuch" libc:malloc
status 1 'probes -c: no such command'
try probes -c ' ' libc:malloc
status 2 'probes -c: an empty command'

# A core and a file.
try core -o "$TAP_DIR/core" "$V"
try probes -j "$TAP_DIR/core" libc:malloc
status 0 'probes of a core'
out "\"function\":\"malloc\",\"name\":\"entry\",\"address\":\"$ADDR\"" 'probes of a core: the same'
FILE=$(awk '$6 ~ /libc\.so/ { print $6; exit }' "/proc/$V/maps")
try probes -j "$FILE" a.out:malloc a.out:malloc:return
status 0 'probes of a file'
out '"lmid":0,.*"function":"malloc","name":"entry".*"name":"return"' 'probes of a file'

# Every function and every instruction of a static program, beside readelf's and objdump's.
if [[ -n $VICTIMS && $(uname -m) == x86_64 ]] && type -P readelf >/dev/null &&
	type -P objdump >/dev/null && type -P python3 >/dev/null; then
	for v in stacks-nofp sleeper-static; do
		DIFFERENT=$(timeout 60 "${0%/*}/probes_oracle.py" "$PGRAB" "$VICTIMS/$v" 2>&1 | head -20)
		TAP_LAST=$DIFFERENT
		[[ -z $DIFFERENT ]]
		tap_result $? "probes of $v: as readelf and objdump have them"
	done
else
	skip 'no readelf, objdump or python3'
fi
finish
