#!/bin/bash
# SPDX-License-Identifier: MIT
# The bash completion: what it offers, and that it knows every command and option of --help.
. "${0%/*}/tap.bash"
. "${0%/*}/../../tools/completion/pgrab"

complete_words()
{
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	COMPREPLY=()
	_pgrab
	OUT=" ${COMPREPLY[*]} "
	TAP_LAST="complete $*"
}

complete_words pgrab ''
KNOWN=$OUT
for c in $("$PGRAB" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
	OUT=$KNOWN
	out " $c " "the command $c"
	complete_words pgrab "$c" -
	OFFERED=$OUT
	for o in $("$PGRAB" "$c" --help | grep -o '^  -[a-z-]\+\(, --[a-z]\+=\?\)\?' | tr -d ' ' | tr ',' '\n'); do
		OUT=$OFFERED
		out " ${o%=}=? " "$c: the option $o"
	done
done
complete_words pgrab stack ''
out " $$ " 'process ids'
complete_words pgrab run -x ev
out ' evaltime=main ' 'points'
complete_words pgrab run -x evaltime = m
out '^ main $' 'points, with the words broken at ='
complete_words pgrab watch -p 1 -- unam
out ' uname ' 'the command to create'
complete_words pgrab help wa
out '^ watch wait $' 'help'
finish
