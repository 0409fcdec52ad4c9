#!/usr/bin/env bash
# An agent alone, by curl: starts, status, output, exits, stops, batches, bad input, and an end that leaves nothing.
# Needs a built tree (npm run setup). Exit code 0 when every check passed.
set -eu
source "$(dirname "${BASH_SOURCE[0]}")/walk-through.sh"

read -r port <<<"$(free_ports 1)"
agent=http://127.0.0.1:$port
env="\"env\":{\"WALK\":\"$mark\"}"

# start ID JSON-FIELDS: POST /start of instance ID.
start() { request POST "$agent/start" "{\"instanceId\":\"$1\",$env,$2}"; }
# process ID EXPRESSION VALUE: what /status says of it, as $.
process() { tells "$agent/status" "((\$) => $2)(\$.processes.find((p) => p.instanceId === '$1'))" "$3"; }
serves() {
  request GET "$agent/livez"
  [ "$STATUS" = 200 ]
}
output_of() {
  request GET "$agent/instances/$1/logs${2-}"
  printf '%s' "$BODY"
}

step 'the agent starts'
start_part agent agent --port "$port" --data-dir "$work/agent" --name alone
must 'it serves on its port' holds_within 15 serves
request GET "$agent/status"
check 'without its token: 401' answers 401 '$.code' UNAUTHENTICATED
use_token "$work/agent/agent.token"
request GET "$agent/readyz"
check 'it takes work' answers 200
request GET "$agent/status"
check 'its status names it' answers 200 '$.name' alone
check 'its status tells the CPUs of this machine' equal "$(json '$.system.cpuCount')" "$(node -p 'require("os").cpus().length')"
check 'it has no processes and no cluster' equal "$(json '[$.processes.length, $.clusterId]')" '[0,null]'

step 'a script'
script hello 'echo "to stdout from $MORCH_INSTANCE"; echo "to stderr" >&2; sleep 300'
start hello.0 "\"script\":\"$work/hello.sh\""
check 'POST /start answers 201' answers 201 '[$.instanceId, $.generation, $.run]' '["hello.0",1,1]'
pid=$(json '$.pid')
check 'the pid it answers is that process' contains "$(tr '\0' ' ' <"/proc/$pid/cmdline")" "$work/hello.sh"
check '/status says running, with that pid' process hello.0 '[$.status, $.pid]' "[\"running\",$pid]"
check 'it leads a process group of its own' equal "$(cut -d' ' -f5 "/proc/$pid/stat")" "$pid"
has_output() { contains "$(output_of hello.0)" 'to stderr'; }
check 'its output can be read' holds_within 5 has_output
check 'stdout by itself' equal "$(output_of hello.0 '?stream=stdout')" 'to stdout from hello.0'
check 'stderr by itself' equal "$(output_of hello.0 '?stream=stderr')" 'to stderr'
start hello.0 "\"script\":\"$work/hello.sh\""
check 'a second start under the same id is refused' answers 409 '$.code' INSTANCE_EXISTS
request POST "$agent/stop" '{"instanceId":"hello.0"}'
check 'POST /stop answers when it is gone' answers 200 '[$.status, $.exit.signal]' '["stopped","SIGTERM"]'
check 'no process of it is left' are_marked 0

step 'how programs end'
start code.0 '"command":["sh","-c","exit 42"],"restart":{"policy":"never"}'
check 'exit code 42: failed, code 42' holds_within 5 process code.0 '[$.status, $.exit?.code, $.exit?.signal]' '["failed",42,null]'
start crash.0 '"command":["sh","-c","kill -SEGV $$"],"restart":{"policy":"never"}'
check 'a crash: failed, SIGSEGV' holds_within 5 process crash.0 '[$.status, $.exit?.code, $.exit?.signal]' '["failed",null,"SIGSEGV"]'
start done.0 '"command":["true"]'
check 'exit code 0: completed' holds_within 5 process done.0 '[$.status, $.exit?.code]' '["completed",0]'
start again.0 '"command":["sh","-c","exit 1"],"restart":{"attempts":3,"backoffMs":50}'
check 'three attempts, then failed' holds_within 10 process again.0 '[$.status, $.run, $.attempts]' '["failed",3,3]'
start long.0 '"command":["sleep","300"],"maxRunMs":300,"restart":{"policy":"never"}'
check 'longer than maxRunMs: stopped and failed' holds_within 5 process long.0 '$.status' failed
start follow.0 '"command":["sh","-c","echo one; sleep 1; echo two"]'
check 'logs?follow ends with the workload' equal "$(output_of follow.0 '?follow=true')" $'one\ntwo'
check 'logs?tail=1 is the last line' equal "$(output_of follow.0 '?tail=1')" two

step 'stops take the whole tree'
script tree 'sleep 300 & sh -c "sleep 300 & exec sleep 300" & setsid sleep 300 & wait'
start tree.0 "\"script\":\"$work/tree.sh\""
check 'a script with children of its own, one in another session' holds_within 5 are_marked 5
request POST "$agent/stop" '{"instanceId":"tree.0"}'
check 'is stopped' answers 200 '$.status' stopped
check 'with every one of them' are_marked 0
script orphans 'sleep 300 & sleep 300 & exit 3'
start orphans.0 "\"script\":\"$work/orphans.sh\",\"restart\":{\"policy\":\"never\"}"
check 'a script that exits before its children: failed, code 3' holds_within 5 process orphans.0 '[$.status, $.exit?.code]' '["failed",3]'
check 'and they are stopped as well' are_marked 0
script deaf 'trap "" TERM; while :; do sleep 1; done'
start deaf.0 "\"script\":\"$work/deaf.sh\""
deaf_pid=$(json '$.pid')
is_deaf() { [ "$(($(sed -n 's/^SigIgn:\t/0x/p' "/proc/$deaf_pid/status") & 0x4000))" -ne 0 ]; }
holds_within 5 is_deaf || true
began=$(now_ms)
request POST "$agent/stop" "{\"pid\":$deaf_pid,\"graceMs\":300}"
check 'one that ignores SIGTERM, stopped by pid: SIGKILL after the grace' answers 200 '$.exit.signal' SIGKILL
check 'in a moment' at_most $(($(now_ms) - began)) 5000
request POST "$agent/stop" '{"instanceId":"deaf.0"}'
check 'a stop of what has ended tells how it ended' answers 200 '$.exit.signal' SIGKILL

step 'batches'
request POST "$agent/start" "{\"instances\":[
  {\"instanceId\":\"b.0\",$env,\"command\":[\"sleep\",\"300\"]},
  {\"instanceId\":\"b.1\",$env,\"script\":\"$work/not-there.sh\"},
  {\"instanceId\":\"b.2\",$env,\"command\":[\"sleep\",\"300\"]}]}"
check 'an answer or a problem for each' answers 200 '$.results.map((r) => r.instanceId ?? r.code)' '["b.0","START_FAILED","b.2"]'
check 'the two good ones run' are_marked 2
many=$(node -p 'JSON.stringify({ instances: Array.from({ length: 60 }, (_, i) => ({ instanceId: `many.${i}`, command: ["true"] })) })')
request POST "$agent/start" "$many"
check '60 at once are started' answers 200 '$.results.filter((r) => r.pid > 0).length' 60
all_done() { tells "$agent/status" '$.processes.filter((p) => p.instanceId.startsWith("many.") && p.status === "completed").length' 60; }
check 'and complete' holds_within 20 all_done
no_zombies() { equal "$(zombies_of "${pid_of[agent]}")" ''; }
check 'no zombie is left of them' holds_within 2 no_zombies

step 'what it refuses'
request POST "$agent/start" '{"script":'
check 'what is no JSON: 400' answers 400 '$.code' BAD_JSON
request POST "$agent/start" '{"script":"/bin/true","colour":"red"}'
check 'an unknown field: 400, and which' answers 400 '$.errors[0].pointer' /colour
request POST "$agent/start" '{"script":"/bin/true","command":["true"]}'
check 'both script and command: 400' answers 400
request POST "$agent/start" '{"script":"relative.sh"}'
check 'a path that is not absolute: 400' answers 400 '$.errors[0].pointer' /script
request POST "$agent/start" '{"command":["true"],"env":{"MORCH_RUN":"1"}}'
check 'a MORCH_ variable: 400' answers 400
request POST "$agent/start" '{"script":"/bin/true"}' 'Content-Type: text/plain'
check 'another content type: 415' answers 415
request POST "$agent/start" "{\"script\":\"$work/not-there.sh\"}"
check 'a script that is not there: 422 with the kernel'"'"'s word' answers 422 '[$.code, $.syscall, $.errnoCode]' '["START_FAILED","execve","ENOENT"]'
printf '#!/bin/sh\n' >"$work/no-run-bit.sh"
request POST "$agent/start" "{\"script\":\"$work/no-run-bit.sh\"}"
check 'a script without a run bit: 422, EACCES' answers 422 '$.errnoCode' EACCES
request POST "$agent/stop" "{\"pid\":$$}"
check 'a stop of a process that is not its own: 404' answers 404 '$.code' PROCESS_NOT_FOUND
request POST "$agent/stop" '{"instanceId":"nobody.0"}'
check 'a stop of an unknown instance: 404' answers 404 '$.code' INSTANCE_NOT_FOUND
request GET "$agent/nothing"
check 'an unknown route: 404' answers 404 '$.code' NOT_FOUND
request DELETE "$agent/start"
check 'a wrong method: 405' answers 405
request GET "$agent/status?processes=maybe"
check 'a wrong query: 400' answers 400
check 'after all that it still serves' serves

step 'kill -9 and a new start on the same data directory'
start last.0 "\"script\":\"$work/tree.sh\""
check 'with seven processes running' holds_within 5 are_marked 7
before=$(marked | sort)
kill_part agent
start_part agent agent --port "$port" --data-dir "$work/agent" --name alone
check 'it serves again' holds_within 15 serves
check 'no process was touched' equal "$(marked | sort)" "$before"
check 'and the run is as it was' process last.0 '[$.status, $.run]' '["running",1]'

step 'SIGTERM: the workloads stay'
signal agent TERM
check 'it ends' holds_within 15 is_gone "${pid_of[agent]}"
check 'what it ran goes on' equal "$(marked | sort)" "$before"
request GET "$agent/livez"
check 'its port is free' equal "$STATUS" 000

step 'SIGTERM with --on-exit stop'
start_part agent agent --port "$port" --data-dir "$work/agent" --name alone --on-exit stop
check 'it serves again' holds_within 15 serves
check 'no process was touched' equal "$(marked | sort)" "$before"
signal agent TERM
check 'SIGTERM ends it' holds_within 15 is_gone "${pid_of[agent]}"
check 'and everything it ran' are_marked 0

finish
