# SPDX-License-Identifier: MIT
# TAP for the command's tests. Sourced; PGRAB is the program under test (else the one in PATH).
#
#   try ARG...           runs pgrab under a timeout: STATUS, OUT, ERR
#   status N WHAT        is it the exit status
#   out RE WHAT          does stdout match the (bash) regular expression; `no_out` for not
#   err RE WHAT          the same of stderr; `silent WHAT`: nothing on stderr
#   check WHAT COMMAND   does the command succeed
#   background COMMAND   starts a victim: its pid in VICTIM; killed at the end
#   finish               prints the plan; the exit status of the test
PGRAB=${PGRAB:-pgrab}
TAP_N=0
TAP_BAD=0
TAP_VICTIMS=()
TAP_DIR=$(mktemp -d "${TMPDIR:-/tmp}/pgrab-cli.XXXXXX") || exit 99
unset NO_COLOR
export LC_ALL=C

tap_cleanup()
{
	local pid
	for pid in "${TAP_VICTIMS[@]}"; do
		kill -KILL "$pid" 2>/dev/null
	done
	wait 2>/dev/null
	rm -rf "$TAP_DIR"
}
trap tap_cleanup EXIT

tap_result()
{
	local good=$1
	shift
	((TAP_N++))
	if ((good == 0)); then
		echo "ok $TAP_N - $*"
		return
	fi
	((TAP_BAD++))
	echo "not ok $TAP_N - $*"
	{
		echo "last command: ${TAP_LAST:-} -> ${STATUS:-}"
		echo "stdout: ${OUT:0:1500}"
		echo "stderr: ${ERR:0:1500}"
	} | sed 's/^/# /'
}

try()
{
	TAP_LAST="pgrab $*"
	timeout -k 2 "${TAP_TIMEOUT:-20}" "$PGRAB" "$@" >"$TAP_DIR/out" 2>"$TAP_DIR/err" </dev/null
	STATUS=$?
	OUT=$(tr -d '\0' <"$TAP_DIR/out")
	ERR=$(tr -d '\0' <"$TAP_DIR/err")
}

status()
{
	((STATUS == $1))
	tap_result $? "${*:2}: status $1"
}

out()
{
	[[ $OUT =~ $1 ]]
	tap_result $? "${*:2}"
}

no_out()
{
	[[ ! $OUT =~ $1 ]]
	tap_result $? "${*:2}"
}

err()
{
	[[ $ERR =~ $1 ]]
	tap_result $? "${*:2}"
}

silent()
{
	[[ -z $ERR ]]
	tap_result $? "$*: nothing on stderr"
}

# Exactly one line on stderr, and it is pgrab's.
sentence()
{
	[[ $(wc -l <"$TAP_DIR/err") -eq 1 && $ERR == "pgrab: "* ]]
	tap_result $? "$*: one sentence"
}

check()
{
	local what=$1
	shift
	"$@" >/dev/null 2>&1
	tap_result $? "$what"
}

skip()
{
	((TAP_N++))
	echo "ok $TAP_N - # SKIP $*"
}

background()
{
	"$@" </dev/null >/dev/null 2>&1 &
	VICTIM=$!
	TAP_VICTIMS+=("$VICTIM")
	settle "$VICTIM" "${1##*/}"
}

# Waits until a forked pid has exec'd NAME and sleeps.
settle()
{
	local i
	for ((i = 0; i < 200; i++)); do
		[[ $(cat "/proc/$1/comm" 2>/dev/null) == "${2:0:15}" && $(state "$1") == S ]] && return
		sleep 0.01
	done
}

# Waits until COMMAND succeeds, 5 s at most.
await()
{
	local i
	for ((i = 0; i < 250; i++)); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.02
	done
	return 1
}

# State letter of a process, nothing when it is gone.
state()
{
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return
	stat=${stat##*) }
	echo "${stat%% *}"
}

is_state()
{
	[[ $(state "$1") == [$2] ]]
}

# Gone, or a zombie that somebody else has to wait for.
ended()
{
	[[ ! -d /proc/$1 || $(state "$1") == Z ]]
}

tracer()
{
	sed -n 's/^TracerPid:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null
}

untraced()
{
	[[ $(tracer "$1") == 0 ]]
}

finish()
{
	echo "1..$TAP_N"
	exit $((TAP_BAD > 0))
}
