#!/usr/bin/env bash
# A scheduler and three agents, by the command line: workloads of every kind, exit codes, attempts, restart, scale,
# constraints, cordon and drain, output, events, and a scheduler that is killed.
# Needs a built tree (npm run setup). Exit code 0 when every check passed.
set -eu
source "$(dirname "${BASH_SOURCE[0]}")/walk-through.sh"

read -r port p1 p2 p3 p4 <<<"$(free_ports 5)"
scheduler=http://127.0.0.1:$port
export MORCH_ADDRESS=$scheduler

start_scheduler() { start_part scheduler scheduler --port "$port" --data-dir "$work/scheduler"; }
# start_agent NAME PORT ZONE
start_agent() {
  start_part "$1" agent --on-exit stop --name "$1" --port "$2" --data-dir "$work/$1" --scheduler "$scheduler" --label "zone=$3" \
    --join-token-file "$work/scheduler/join.token" --cpu-millis 1000 --memory-bytes 1GiB
}
serves() {
  request GET "$scheduler/livez"
  [ "$STATUS" = 200 ]
}
healthy_nodes() { tells "$scheduler/health" '$.nodes.healthy' "$1"; }
# workload ID EXPRESSION VALUE: what the scheduler says of it, as $.
workload() { tells "$scheduler/workloads/$1" "$2" "$3"; }
# look ID EXPRESSION: the same, printed.
look() {
  request GET "$scheduler/workloads/$1"
  json "$2"
}
# run ARGUMENTS...: morch; sets CODE and OUT, and ERR.
run() {
  CODE=0
  OUT=$(morch "$@" 2>"$work/err") || CODE=$?
  ERR=$(cat "$work/err")
}
# ends CODE: how the last run ended.
ends() {
  SEEN="expected exit code $1, found $CODE: ${OUT:0:300} ${ERR:0:300}"
  [ "$CODE" = "$1" ]
}

step 'a scheduler and three agents'
start_scheduler
must 'the scheduler serves' holds_within 15 serves
run nodes
check 'morch without a token: exit code 6' ends 6
use_token "$work/scheduler/admin.token"
start_agent n1 "$p1" a
start_agent n2 "$p2" b
start_agent n3 "$p3" c
must 'three nodes are healthy' holds_within 20 healthy_nodes 3
run nodes -q
check 'morch nodes lists them' equal "$OUT" $'n1\nn2\nn3'
run health
check 'morch health: exit code 0' ends 0
run check
check 'morch check probes them: exit code 0' ends 0

step 'a batch'
run submit "$repository/scripts/sample-workload.sh" 1 -q
check 'submit accepts the sample workload and prints its id' equal "$OUT" sample-workload
run wait sample-workload --timeout 30s
check 'wait ends with its exit code, 0' ends 0
check 'it is completed' workload sample-workload '$.status' completed
run logs sample-workload
check 'its output was kept' contains "$OUT" 'sample-workload.0: done'
run history sample-workload
check 'its history begins with its submission' contains "${OUT%%$'\n'*}" workload.submitted
check 'and ends with its completion' contains "${OUT##*$'\n'}" workload.completed

script code 'exit 42'
run submit "$work/code.sh" --restart never --wait --timeout 30s
check 'submit --wait ends with the code of the program, 42' ends 42
script crash 'kill -SEGV $$'
run submit "$work/crash.sh" --restart never --wait --timeout 30s
check 'and with 139 for SIGSEGV' ends 139
check 'which the instance tells' workload crash '[$.status, $.instances[0].exit.code, $.instances[0].exit.signal]' '["failed",null,"SIGSEGV"]'

script thrice 'echo "run $MORCH_RUN"; exit 7'
run submit "$work/thrice.sh" --wait --timeout 60s
check 'a batch that fails is started three times; its code is 7' ends 7
check 'then it is failed' workload thrice '[$.status, $.attempts]' '["failed",3]'
run logs thrice
check 'the output of all three runs is there' equal "$OUT" $'run 1\nrun 2\nrun 3'

step 'exit codes of mistakes'
run submit "$work/not-there.sh"
check 'a script that is not there: 4' ends 4
run describe nobody
check 'an unknown workload: 3' ends 3
run --address http://127.0.0.1:1 workloads
check 'no scheduler there: 5' ends 5
run submit --kind nonsense "$work/code.sh"
check 'a wrong flag: 4' ends 4
run submit --command sleep 300 --name code --env "WALK=$mark/live"
check 'the id of a workload that has ended may be used again' ends 0
run submit --command sleep 300 --name code
check 'that of a live one may not: 1' ends 1
run stop code
check 'stop: 0' ends 0
run wait code
check 'wait for what a user stopped: 143' ends 143

step 'the same Idempotency-Key, twice'
# Not on the node that is drained below: a drain waits for a batch.
on_n1='{"constraints":[{"label":"zone","op":"in","values":["a"]}]}'
body="{\"id\":\"once\",\"command\":[\"sleep\",\"300\"],\"env\":{\"WALK\":\"$mark/once\"},\"placement\":$on_n1}"
request POST "$scheduler/workloads" "$body" 'Idempotency-Key: walk'
first=$(json '$.uid')
check 'the first time: 201' answers 201
request POST "$scheduler/workloads" "$body" 'Idempotency-Key: walk'
check 'the second time: the same answer' answers 201 '$.uid' "$first"
check 'and one process' holds_within 5 are_marked 1 /once

step 'a service'
run submit --command sleep 300 --name web --kind service --replicas 3 --env "WALK=$mark/web"
run wait web --timeout 20s
check 'wait for a service ends when it runs' ends 0
check 'its instances are spread over the nodes' workload web '$.instances.map((i) => i.node).sort()' '["n1","n2","n3"]'
before=$(look web '$.instances.map((i) => i.pid)')
run restart web --timeout 30s
check 'restart waits until each has' ends 0
check 'each has a new generation' workload web '$.instances.map((i) => i.generation)' '[2,2,2]'
check 'and another process' workload web "\$.instances.some((i) => $before.includes(i.pid))" false
victim=$(look web '$.instances[0].pid')
kill -s KILL "$victim"
check 'a process that dies is started again in place' holds_within 10 workload web \
  '[$.instances[0].status, $.instances[0].generation, $.instances[0].run, $.instances[0].exit?.signal]' '["running",2,2,"SIGKILL"]'
run scale web 5 --timeout 20s
check 'scale up' ends 0
check 'five instances run' workload web '[$.counts.running, $.instances.length]' '[5,5]'
run scale web 2 --timeout 20s
check 'scale down' ends 0
check 'the highest indexes went' workload web '$.instances.map((i) => i.id)' '["web.0","web.1"]'
check 'with their processes' are_marked 2 /web

step 'a daemon'
run submit --command sleep 300 --name logd --kind daemon --env "WALK=$mark/logd"
run wait logd --timeout 20s
check 'one instance on every node' workload logd '$.instances.map((i) => i.id).sort()' '["logd.n1","logd.n2","logd.n3"]'
run scale logd 2
check 'it cannot be scaled: 1' ends 1

step 'constraints, and what cannot be placed'
run submit --command sleep 300 --name picky --constraint zone=b
check 'a constraint is followed' holds_within 5 workload picky '[$.status, $.node]' '["running","n2"]'
run stop picky
run submit --command sleep 300 --name afar --constraint zone=d --kind service
check 'no node fits: accepted all the same' ends 0
run wait afar --timeout 500ms
check 'wait gives up with 2' ends 2
check 'it is pending, with a reason' contains "$(look afar '$.instances[0].statusReason')" 'does not satisfy zone in (d)'
start_agent n4 "$p4" d
check 'it is placed when a node that fits joins' holds_within 20 workload afar '[$.status, $.node]' '["running","n4"]'
check 'and the daemon is on that node too' holds_within 10 workload logd '$.counts.running' 4
run submit --command sleep 300 --name big --memory 64GiB
check 'more memory than any node has: pending, with what is short' contains "$(look big '$.instances[0].statusReason')" 'MiB memory'
run stop big

step 'cordon and drain'
run cordon n1
run submit --command sleep 300 --name elsewhere --kind service --replicas 6 --env "WALK=$mark/elsewhere"
run wait elsewhere --timeout 20s
check 'nothing new is placed on a cordoned node' workload elsewhere '$.instances.some((i) => i.node === "n1")' false
check 'what ran there stays' workload logd '$.instances.find((i) => i.id === "logd.n1").status' running
run uncordon n1
run drain n2 --timeout 30s
check 'drain ends when the node is empty' ends 0
request GET "$scheduler/nodes/n2"
check 'nothing is left on it' answers 200 '[$.drain, $.instanceCount]' '["drained",0]'
check 'its services run elsewhere' workload elsewhere '[$.counts.running, $.instances.some((i) => i.node === "n2")]' '[6,false]'
run uncordon n2
check 'uncordon brings the daemon back' holds_within 10 workload logd '$.counts.running' 4

step 'events'
start_part events events --since 0 -o json
has_event() { grep -q "\"type\":\"$1\"" "$work/events.log"; }
for type in scheduler.started node.joined workload.submitted instance.placed instance.started instance.exited \
  instance.backoff instance.unplaceable workload.completed workload.failed workload.stopped workload.scaled \
  workload.restarted node.cordoned node.drained; do
  check "$type" holds_within 10 has_event "$type"
done
signal events TERM
contiguous=$(node -p 'const seqs = require("fs").readFileSync(process.argv[1], "utf8").trim().split("\n").map((l) => JSON.parse(l).seq); seqs[0] === 1 && seqs.every((s, i) => s === i + 1)' "$work/events.log")
check 'their numbers are contiguous from 1' equal "$contiguous" true

step 'kill -9 of the scheduler'
pids() { node -e '
    const ids = process.argv.slice(2);
    const headers = { Authorization: `Bearer ${process.env.MORCH_TOKEN}` };
    Promise.all(ids.map((id) => fetch(`${process.argv[1]}/workloads/${id}`, { headers }).then((a) => a.json()))).then((all) =>
      console.log(all.flatMap((w) => w.instances.map((i) => `${i.id}/${i.generation}.${i.run}=${i.pid}`)).sort().join(" ")));
  ' "$scheduler" web logd elsewhere afar once; }
before=$(pids)
processes=$(marked_count)
request GET "$scheduler/health"
epoch=$(json '$.epoch')
kill_part scheduler
check 'the workloads go on without it' are_marked "$processes"
victim=$(marked /web | head -n 1)
kill -s KILL "$victim"
was_replaced() { is_gone "$victim" && are_marked "$processes"; }
check 'and one that dies meanwhile is started again by its agent' holds_within 10 was_replaced
start_scheduler
check 'it starts again on its data' holds_within 15 serves
check 'all nodes are healthy again' holds_within 15 healthy_nodes 4
check 'it is a new epoch' tells "$scheduler/health" '$.epoch' "$((epoch + 1))"
same_pids() {
  local now one differing=0
  now=" $(pids) "
  for one in $before; do [[ $now == *" $one "* ]] || differing=$((differing + 1)); done
  SEEN="before: $before; now: $now"
  [ "$differing" -eq 1 ]
}
check 'every other instance has the generation, run and process it had' holds_within 10 same_pids
check 'no process was started twice' are_marked "$processes"

step 'stop and purge'
run stop web --purge --timeout 20s
check 'stop --purge' ends 0
run describe web
check 'its record is gone: 3' ends 3
check 'and its processes' are_marked 0 /web

step 'the end'
for part in scheduler n1 n2 n3 n4; do signal "$part" TERM; done
ended() { for part in scheduler n1 n2 n3 n4; do is_gone "${pid_of[$part]}" || return 1; done; }
check 'scheduler and agents end on SIGTERM' holds_within 15 ended
check 'no process of a workload is left' are_marked 0

finish
