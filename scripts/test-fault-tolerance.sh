#!/usr/bin/env bash
# Failures, for real, with their times: a node that dies with all it runs; an agent killed for a while, restarted at
# once, told to end, and stopped for a while; the scheduler stopped for a while, and killed under submissions. Three
# agents, 30 processes.
# Needs a built tree (npm run setup). Exit code 0 when every check passed.
set -eu
source "$(dirname "${BASH_SOURCE[0]}")/walk-through.sh"

# What is promised, in ms, from the failure itself; on a machine that is not overloaded.
verdict_within=5000
recovered_within=15000
instances=30

read -r port p1 p2 p3 <<<"$(free_ports 4)"
scheduler=http://127.0.0.1:$port
export MORCH_ADDRESS=$scheduler
declare -A port_of=([n1]=$p1 [n2]=$p2 [n3]=$p3)

start_scheduler() { start_part scheduler scheduler --port "$port" --data-dir "$work/scheduler"; }
# start_agent NAME FLAGS...
start_agent() {
  local name=$1
  shift
  start_part "$name" agent --name "$name" --port "${port_of[$name]}" --data-dir "$work/$name" --scheduler "$scheduler" \
    --join-token-file "$work/scheduler/join.token" "$@"
}
serves() {
  request GET "$scheduler/livez"
  [ "$STATUS" = 200 ]
}
healthy_nodes() { tells "$scheduler/health" '$.nodes.healthy' "$1"; }
node_is() { tells "$scheduler/nodes/$1" '$.status' "$2"; }
running() { tells "$scheduler/workloads/$1" '[$.status, $.counts.running]' "[\"running\",$2]"; }
# metric EXPRESSION: of /recovery/metrics, as $.
metric() {
  request GET "$scheduler/recovery/metrics"
  json "$1"
}
verdicts_are() { equal "$(metric '$.verdicts')" "$1"; }
# on NODE: how many instances of the service the scheduler has there.
on() {
  request GET "$scheduler/workloads/web"
  json "\$.instances.filter((i) => i.node === '$1').length"
}

# lost NODE FAILED_AT INSTANCES: waits for the verdict on the node and for all to run again; checks and prints the
# times, which come from the scheduler's own events.
lost() {
  local node=$1 failed_at=$2 on_it=$3 times verdict_ms recovered_ms replaced
  must "the verdict on $node" holds_within 10 node_is "$node" lost
  check 'all run again' holds_within 20 running web "$instances"
  times=$(node -e '
    const [url, node, failedAt] = process.argv.slice(1);
    const headers = { Authorization: `Bearer ${process.env.MORCH_TOKEN}` };
    fetch(`${url}/workloads/web/history?limit=1000`, { headers }).then((a) => a.json()).then(async ({ events }) => {
      const { recentVerdicts } = await (await fetch(`${url}/health/summary`, { headers })).json();
      const verdict = recentVerdicts.find((v) => v.node === node && Date.parse(v.at) >= failedAt);
      const started = events.filter((e) => e.type === "instance.started" && Date.parse(e.at) >= Date.parse(verdict.at));
      const last = Math.max(...started.map((e) => Date.parse(e.at)));
      console.log(Date.parse(verdict.at) - failedAt, last - failedAt, started.length);
    });
  ' "$scheduler" "$node" "$failed_at")
  read -r verdict_ms recovered_ms replaced <<<"$times"
  printf 'time    failure to verdict %d ms, to all running %d ms (%d instances)\n' "$verdict_ms" "$recovered_ms" "$replaced"
  check 'every instance of the node was started elsewhere, no other' equal "$replaced" "$on_it"
  check "verdict in less than $verdict_within ms" at_most "$verdict_ms" "$verdict_within"
  check "all running in less than $recovered_within ms" at_most "$recovered_ms" "$recovered_within"
}

step "a scheduler, three agents, $instances instances"
start_scheduler
must 'the scheduler serves' holds_within 15 serves
use_token "$work/scheduler/admin.token"
for name in n1 n2 n3; do start_agent "$name"; done
must 'three nodes are healthy' holds_within 20 healthy_nodes 3
morch submit --command sleep 600 --name web --kind service --replicas "$instances" --env "WALK=$mark/web" -q >/dev/null
must 'all instances run' holds_within 20 running web "$instances"
check 'as many processes' are_marked "$instances" /web

step 'death of a node: its agent and all that runs on it'
on_n3=$(on n3)
failed_at=$(now_ms)
kill_part n3
kill_shims "$work/n3"
check 'its workloads died with their shims' holds_within 2 are_marked "$((instances - on_n3))" /web
lost n3 "$failed_at" "$on_n3"
check 'there are as many processes as before' are_marked "$instances" /web
start_agent n3
check 'the agent started again: its node is healthy' holds_within 10 node_is n3 healthy
check 'and nothing was started twice' are_marked "$instances" /web
check 'metrics: 1 verdict, none of them false' equal "$(metric '[$.verdicts, $.falseVerdicts]')" '[1,0]'
check 'metrics: every recovery succeeded' equal "$(metric '[$.recoveries.succeeded, $.successRate]')" "[$on_n3,1]"

step 'kill -9 of an agent that is back within 4 s'
before=$(marked /web | sort)
kill_part n1
start_agent n1
check 'its node is healthy again' holds_within 10 node_is n1 healthy
check 'no process was touched' equal "$(marked /web | sort)" "$before"
check 'all instances run' running web "$instances"
check 'no verdict was given' verdicts_are 1

step 'SIGTERM of an agent: it leaves its workloads running'
signal n1 TERM
check 'the agent ends' holds_within 10 is_gone "${pid_of[n1]}"
start_agent n1 --on-exit stop
check 'started again, its node is healthy' holds_within 10 node_is n1 healthy
check 'no process was touched' equal "$(marked /web | sort)" "$before"
check 'no verdict was given' verdicts_are 1

step 'SIGTERM of an agent with --on-exit stop: it says so and stops its workloads'
on_n1=$(on n1)
ended_at=$(now_ms)
signal n1 TERM
moved() { equal "$(on n1)" 0 && running web "$instances"; }
check 'they are moved at once, with no verdict' holds_within 10 moved
check 'in less time than a verdict takes' at_most "$(($(now_ms) - ended_at))" 3500
printf 'time    %d instances moved in %d ms\n' "$on_n1" "$(($(now_ms) - ended_at))"
check 'the agent ends' holds_within 10 is_gone "${pid_of[n1]}"
start_agent n1
check 'started again, its node is healthy' holds_within 10 node_is n1 healthy
check 'no verdict was given' verdicts_are 1
check 'as many processes' are_marked "$instances" /web

step 'kill -9 of an agent that stays away'
on_n3=$(on n3)
failed_at=$(now_ms)
kill_part n3
lost n3 "$failed_at" "$on_n3"
check 'the old copies still run meanwhile' are_marked "$((instances + on_n3))" /web
start_agent n3
check 'the agent started again: the stale copies are stopped' holds_within 10 are_marked "$instances" /web
check 'its node is healthy' holds_within 10 node_is n3 healthy
check 'what was started elsewhere stays there' running web "$instances"

step 'SIGSTOP of an agent: it is silent, its workloads run on'
on_n2=$(on n2)
failed_at=$(now_ms)
signal n2 STOP
lost n2 "$failed_at" "$on_n2"
check 'the old copies still run meanwhile' are_marked "$((instances + on_n2))" /web
back_at=$(now_ms)
signal n2 CONT
check 'SIGCONT: the stale copies are stopped' holds_within 10 are_marked "$instances" /web
printf 'time    %d ms after SIGCONT\n' "$(($(now_ms) - back_at))"
check 'the node is healthy again' holds_within 10 node_is n2 healthy
check 'the verdict is counted as false: the agent was not dead' equal "$(metric '[$.verdicts, $.falseVerdicts]')" '[3,1]'
check 'what was started elsewhere stays there' running web "$instances"

step 'SIGSTOP of the scheduler for 6 s'
before=$(marked /web | sort)
signal scheduler STOP
sleep 6
signal scheduler CONT
check 'it serves again' holds_within 5 serves
check 'all nodes are healthy' holds_within 10 healthy_nodes 3
check 'it blamed itself: no verdict was given' verdicts_are 3
check 'no process was touched' equal "$(marked /web | sort)" "$before"

step 'kill -9 of the scheduler under submissions'
node -e '
  const [url, mark] = process.argv.slice(1);
  const acknowledged = [];
  const submit = async (i) => {
    const body = JSON.stringify({ id: `s${i}`, kind: "service", command: ["sleep", "600"], env: { WALK: `${mark}/s${i}.` } });
    const Authorization = `Bearer ${process.env.MORCH_TOKEN}`;
    const headers = { Authorization, "Content-Type": "application/json", "Idempotency-Key": `${mark}-${i}` };
    for (let attempt = 0; attempt < 200; attempt++) {
      const answer = await fetch(`${url}/workloads`, { method: "POST", headers, body }).catch(() => null);
      if (answer?.status === 201) {
        acknowledged.push(i);
        console.log(i);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    process.exitCode = 1;
  };
  (async () => {
    let next = 0;
    await Promise.all(Array.from({ length: 8 }, async () => { while (next < 120) await submit(next++); }));
  })();
' "$scheduler" "$mark" >"$work/acknowledged.log" 2>&1 &
pid_of[submitter]=$!
disown "$!"
some_acknowledged() { [ "$(wc -l <"$work/acknowledged.log")" -ge 20 ]; }
holds_within 15 some_acknowledged || true
kill_part scheduler
at_kill=$(wc -l <"$work/acknowledged.log")
printf '        killed after %d of 120 answers\n' "$at_kill"
check 'it was killed in the middle' at_most "$at_kill" 119
start_scheduler
check 'it serves again' holds_within 15 serves
check 'the submissions, repeated with their keys, all come through' holds_within 30 is_gone "${pid_of[submitter]}"
check 'each was acknowledged' equal "$(sort -u "$work/acknowledged.log" | wc -l | tr -d ' ')" 120
all_there() { tells "$scheduler/workloads?limit=1000&status=running" '$.workloads.filter((w) => /^s\d/.test(w.id)).length' 120; }
check 'each is there and runs' holds_within 30 all_there
check 'each as one process' holds_within 5 are_marked 120 /s
check 'and the service as before' equal "$(marked /web | sort)" "$before"
check 'no verdict was given' verdicts_are 3

step 'what morch recovery says'
morch recovery | head -n 12

step 'the end'
node -e '
  (async () => {
    const url = process.argv[1];
    const headers = { Authorization: `Bearer ${process.env.MORCH_TOKEN}` };
    const { workloads } = await (await fetch(`${url}/workloads?limit=1000`, { headers })).json();
    await Promise.all(workloads.map(({ id }) => fetch(`${url}/workloads/${id}`, { method: "DELETE", headers })));
  })();
' "$scheduler"
check 'stopped, no process of a workload is left' holds_within 20 are_marked 0
for part in scheduler n1 n2 n3; do signal "$part" TERM; done
ended() { for part in scheduler n1 n2 n3; do is_gone "${pid_of[$part]}" || return 1; done; }
check 'scheduler and agents end on SIGTERM' holds_within 20 ended
check 'no shim is left' equal "$(shims_of "$work")" ''

finish
