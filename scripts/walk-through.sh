#!/usr/bin/env bash
# What the walk-throughs (test-agent.sh, test-integration.sh, test-fault-tolerance.sh) share: parts as child
# processes on free ports and in a temporary directory, HTTP, waiting on conditions, counting of checks.
# Sourced by them; does nothing by itself. Needs node and coreutils; curl is used where it is there.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
work=$(mktemp -d "${TMPDIR:-/tmp}/morch-walk.XXXXXX")
# In the environment of every workload, by which its processes are found whatever becomes of their parents.
mark=walk-$$-$RANDOM$RANDOM

declare -A pid_of=()
passed=0 failed=0
STATUS='' BODY=''

# The caller's settings must not decide the result.
while IFS= read -r variable; do
  case $variable in MORCH_* | NODE_OPTIONS) unset "$variable" ;; esac
done < <(compgen -e)
export NO_COLOR=1 NO_UPDATE_NOTIFIER=1
# Below $work, where only this user may go, are scripts and what they write.
export MORCH_RUN_AS=agent

give_up() {
  echo "$0: $*" >&2
  exit 1
}

command -v node >/dev/null || give_up 'node is not in PATH'
if [ ! -f "$repository/dist/cli/main.js" ] || [ ! -f "$repository/agent/native/build/Release/morch_native.node" ]; then
  give_up 'the tree is not built; run `npm run setup` first'
fi

morch() { node "$repository/dist/cli/main.js" "$@"; }

# ---- what is checked

step() { printf '\n== %s\n' "$*"; }

ok() {
  passed=$((passed + 1))
  printf 'ok      %s\n' "$1"
}

not_ok() {
  failed=$((failed + 1))
  printf 'FAILED  %s\n' "$1"
  [ $# -lt 2 ] || printf '        %s\n' "$2"
}

# check WHAT COMMAND...: passes when the command does.
check() {
  local what=$1
  shift
  if "$@"; then ok "$what"; else not_ok "$what" "${SEEN:-}"; fi
  SEEN=
}

# equal ACTUAL EXPECTED, at_most ACTUAL LIMIT, contains TEXT PART: for check; SEEN tells what was there instead.
equal() {
  SEEN="expected '$2', found '$1'"
  [ "$1" = "$2" ]
}
at_most() {
  SEEN="expected at most $2, found '$1'"
  [ "$1" -le "$2" ] 2>/dev/null
}
contains() {
  SEEN="expected '$2' in '${1:0:600}'"
  [[ $1 == *"$2"* ]]
}

# holds_within SECONDS COMMAND...: polls until the command succeeds.
holds_within() {
  local end=$((SECONDS + $1 + 1)) limit=$1
  shift
  until "$@"; do
    if [ "$SECONDS" -ge "$end" ]; then
      SEEN="not within $limit s${SEEN:+ ($SEEN)}: $*"
      return 1
    fi
    sleep 0.05
  done
}

# must WHAT COMMAND...: like check, but nothing after it makes sense when it fails.
must() {
  local what=$1
  shift
  if "$@"; then
    ok "$what"
    SEEN=
  else
    not_ok "$what" "${SEEN:-}"
    show_logs
    finish
  fi
}

finish() {
  [ "$failed" -eq 0 ] || show_logs
  printf '\n%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ] || exit 1
  exit 0
}

show_logs() {
  [ -z "${logs_shown:-}" ] || return 0
  logs_shown=1
  local log
  for log in "$work"/*.log; do
    [ ! -s "$log" ] || { printf '\n--- last lines of %s\n' "${log##*/}" && tail -n 15 "$log"; }
  done >&2
}

now_ms() { date +%s%3N; }

# ---- HTTP and JSON

# use_token FILE: from now on requests and commands send the token in it. Not by argv, which everybody can read.
use_token() {
  MORCH_TOKEN=$(<"$1")
  export MORCH_TOKEN
  (umask 077 && printf 'Authorization: Bearer %s\n' "$MORCH_TOKEN" >"$work/authorization")
}

# request METHOD URL [BODY [HEADER...]]: sets STATUS (000: no connection) and BODY.
request() {
  local method=$1 url=$2 body=${3-} answer
  shift $(($# < 3 ? $# : 3))
  if command -v curl >/dev/null; then
    local arguments=(-sS -m 60 -X "$method" -w '\n%{http_code}') header
    [ -z "$body" ] || arguments+=(--data-binary "$body")
    [[ -z $body || "$*" == *Content-Type:* ]] || arguments+=(-H 'Content-Type: application/json')
    [ -z "${MORCH_TOKEN-}" ] || arguments+=(-H "@$work/authorization")
    for header in "$@"; do arguments+=(-H "$header"); done
    answer=$(curl "${arguments[@]}" "$url" 2>"$work/request.err") || true
  else
    answer=$(printf '%s' "$body" | node -e '
      const [method, url, ...headers] = process.argv.slice(1);
      const body = require("node:fs").readFileSync(0);
      fetch(url, {
        method,
        headers: {
          ...(body.length ? { "Content-Type": "application/json" } : {}),
          ...(process.env.MORCH_TOKEN ? { Authorization: `Bearer ${process.env.MORCH_TOKEN}` } : {}),
          ...Object.fromEntries(headers.map((h) => [h.slice(0, h.indexOf(":")), h.slice(h.indexOf(":") + 1).trim()])),
        },
        ...(body.length ? { body } : {}),
        signal: AbortSignal.timeout(60_000),
      }).then(async (a) => process.stdout.write(`${await a.text()}\n${a.status}`), () => process.stdout.write("\n000"));
    ' "$method" "$url" "$@")
  fi
  STATUS=${answer##*$'\n'}
  BODY=${answer%$'\n'*}
}

# json EXPRESSION [TEXT]: evaluates JavaScript with TEXT (default BODY), parsed, as $.
json() {
  printf '%s' "${2-$BODY}" | node -e '
    const $ = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
    const value = eval(process.argv[1]);
    console.log(typeof value === "object" ? JSON.stringify(value) : value);
  ' "$1" 2>/dev/null || echo undefined
}

# answers STATUS [EXPRESSION VALUE]: the last request's answer.
answers() {
  SEEN="expected $1, answered $STATUS: ${BODY:0:400}"
  [ "$STATUS" = "$1" ] || return 1
  [ $# -lt 2 ] || equal "$(json "$2")" "$3"
}

# tells URL EXPRESSION VALUE: asks anew and compares.
tells() {
  request GET "$1"
  equal "$(json "$2")" "$3"
}

# free_ports N: below the range the kernel takes ports of outgoing connections from.
free_ports() {
  node -e '
    const { createServer } = require("node:net");
    const take = () => new Promise((resolve) => {
      const port = 15_000 + Math.floor(Math.random() * 15_000);
      const server = createServer();
      server.on("error", () => resolve(take()));
      server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(port)));
    });
    (async () => {
      const ports = new Set();
      while (ports.size < Number(process.argv[1])) ports.add(await take());
      console.log([...ports].join(" "));
    })();
  ' "$1"
}

# ---- processes

# start_part NAME ARGUMENTS...: `morch ARGUMENTS` in the background; its output goes to NAME.log. Node itself is the
# child, not a shell around it, so that a signal reaches it.
start_part() {
  local name=$1
  shift
  node "$repository/dist/cli/main.js" "$@" >>"$work/$name.log" 2>&1 </dev/null &
  pid_of[$name]=$!
  # The shell is not to report how it ended.
  disown "$!"
}

is_running() { kill -0 "$1" 2>/dev/null; }
is_gone() { ! is_running "$1"; }

# signal NAME SIGNAL
signal() { kill -s "$2" "${pid_of[$1]}"; }

# kill_part NAME: kill -9, and waits until it is gone.
kill_part() {
  signal "$1" KILL
  holds_within 5 is_gone "${pid_of[$1]}"
}

# shims_of DIRECTORY: pids of the shims of agents whose data directory it is, or lies in it.
shims_of() {
  local file words
  for file in $(grep -lsaF morch-shim /proc/[0-9]*/cmdline); do
    mapfile -d '' -t words <"$file" 2>/dev/null || continue
    [ "${words[0]-}" = morch-shim ] || continue
    case ${words[1]-}/ in "$1"/*) file=${file#/proc/} && echo "${file%/cmdline}" ;; esac
  done
}

# kill_shims DIRECTORY: kill -9; their workloads' main processes die with them.
kill_shims() {
  local pid
  for pid in $(shims_of "$1"); do kill -s KILL "$pid" 2>/dev/null || true; done
}

# marked [TEXT]: pids whose environment holds the mark followed by TEXT; zombies have no environment.
marked() {
  local file
  for file in $(grep -lsaF "WALK=$mark${1-}" /proc/[0-9]*/environ); do
    file=${file#/proc/}
    echo "${file%/environ}"
  done
}
marked_count() { marked "${1-}" | wc -l | tr -d ' '; }
are_marked() { equal "$(marked_count "${2-}")" "$1"; }

# zombies_of PID: its children that have ended and were not waited for.
zombies_of() {
  local stat line
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } 2>/dev/null || continue
    line=${line##*) }
    case $line in "Z $1 "*) echo "$stat" ;; esac
  done
}

# Script file NAME with the given content, executable.
script() {
  printf '#!/bin/sh\n%s\n' "$2" >"$work/$1.sh"
  chmod +x "$work/$1.sh"
}

clean_up() {
  local status=$? name pid
  trap - EXIT INT TERM HUP
  set +e
  for name in "${!pid_of[@]}"; do
    kill -s CONT "${pid_of[$name]}" 2>/dev/null
    kill -s TERM "${pid_of[$name]}" 2>/dev/null
  done
  for name in "${!pid_of[@]}"; do
    holds_within 15 is_gone "${pid_of[$name]}" || kill -s KILL "${pid_of[$name]}" 2>/dev/null
  done
  kill_shims "$work"
  for pid in $(marked); do kill -s KILL "$pid" 2>/dev/null; done
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
