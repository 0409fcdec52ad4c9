'use strict';
/**
 * Recovery from a dead node: three agents, 30 service workloads of one `sleep` each; `kill -9` of one agent, its
 * shims and its workloads; the time until the node is `lost` and until all 30 run again on healthy nodes.
 *
 *   node bench/recovery.cjs [--runs 20] [--workloads 30] [--profile default|fast] [--json] [--keep]
 *
 * Each run has workloads of its own, as many on each node, and kills the next agent in turn; afterwards that agent is
 * started again and the cluster is whole before the next run. Times are seen by a client that polls every 20 ms,
 * and beside them stand the events' own.
 * Checked: none is lost, none runs twice at any time it is looked (by the mark in /proc/PID/environ), what ran on the
 * other nodes keeps pid and generation, what moved has the next generation, and the dead node's return changes nothing.
 * Control: the floor of what the policy allows: its time of refused connections since the last contact (4.0 s; fast: 1.0 s), and the
 * start of as many sleeps by child_process.spawn, measured in the same run.
 * --keep leaves the directory with the logs when something fails.
 */
const { performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');
const { Cluster } = require('./harness/cluster.cjs');
const { measureSpawns } = require('./harness/control.cjs');
const { openEvents } = require('./harness/http.cjs');
const { inLanes } = require('./harness/lanes.cjs');
const { ROOT } = require('./harness/part.cjs');
const { countBy } = require('./harness/processes.cjs');
const { runBench } = require('./harness/program.cjs');
const { percentile, showSpreads, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const POLL_MS = 20;
/** Between two looks at all processes while a recovery is under way. */
const LOOK_MS = 200;
const HEARTBEAT_MS = 1_000;
const RECOVERED_WITHIN_MS = 30_000;

runBench({
  file: __filename,
  numbers: { runs: 20, workloads: 30 },
  texts: { profile: 'default' },
  limitMs: ({ runs }) => 60_000 + runs * 60_000,
  main: measureRecovery,
});

async function measureRecovery({ numbers: { runs, workloads }, texts: { profile }, check, say }) {
  const { HEALTH_PROFILES } = require(`${ROOT}/dist/scheduler/core/healthPolicy.js`);
  const policyMs = HEALTH_PROFILES[profile].refusedVerdictMs;
  // A node that is killed in every third run is no flapping one.
  const cluster = await Cluster.start({ agents: 3, schedulerFlags: ['--profile', profile, '--flap-losses', '0'] });
  const events = await openEvents(cluster.scheduler);
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    const victim = cluster.agents[(run - 1) % 3].name;
    const claim = (isTrue, what) => check(isTrue, `run ${run}: ${what}`);
    const before = await submitAll(cluster, run, workloads);
    const moving = [...before.values()].filter(({ node }) => node === victim).length;
    const controlMs = await measureSpawns(moving, 'sleep', ['5']);
    // At another moment of the heartbeat's second in each run: how old the last contact is decides when the verdict is due.
    await sleep((HEARTBEAT_MS * run) / runs);
    const seen = await killAndWatch({ cluster, victim, expected: workloads, claim });
    const { after, lastContactAtMs } = await examine({ cluster, before, victim, claim });
    const told = await eventTimes(events.list, { victim, moving, since: seen.killedAtMs });
    const floorMs = policyMs + controlMs;
    const sample = {
      run,
      victim,
      moving,
      verdictSeenMs: seen.verdictMs,
      verdictEventMs: told.verdictAtMs - seen.killedAtMs,
      recoveredSeenMs: seen.recoveredMs,
      recoveredEventMs: told.lastStartAtMs - seen.killedAtMs,
      silentAtKillMs: seen.killedAtMs - lastContactAtMs,
      controlMs,
      ratioToFloor: (seen.killedAtMs + seen.recoveredMs - lastContactAtMs) / floorMs,
    };
    samples.push(sample);
    say(
      `run ${run}/${runs}: ${victim} killed with ${moving} workloads; lost after ${seconds(sample.verdictSeenMs)} s ` +
        `(event ${seconds(sample.verdictEventMs)}), all ${workloads} running after ${seconds(sample.recoveredSeenMs)} s ` +
        `(event ${seconds(sample.recoveredEventMs)}); ${sample.ratioToFloor.toFixed(3)} × the floor`,
    );
    await makeWhole({ cluster, victim, after, claim });
    events.list.length = 0;
  }
  const metrics = await cluster.request('GET', '/recovery/metrics');
  events.close();
  const left = await cluster.close();
  check(left === 0, `${left} processes were left after all parts had ended`);
  const { verdicts, falseVerdicts } = metrics;
  check(
    verdicts === runs && falseVerdicts === 0,
    `${verdicts} verdicts in ${runs} runs, ${falseVerdicts} of them false`,
  );
  return report({ samples, runs, workloads, policyMs, profile });
}

/** As many to each node, by cordoning the others meanwhile. @returns the instances by id, all running */
async function submitAll(cluster, run, count) {
  const names = cluster.agents.map(({ name }) => name);
  const ids = Array.from({ length: count }, (_, at) => `run${run}-${at}`);
  for (const [at, name] of names.entries()) {
    const others = names.filter((other) => other !== name);
    for (const other of others) await cluster.request('POST', `/nodes/${other}/cordon`);
    const own = ids.filter((_, index) => index % names.length === at);
    await inLanes(own, 10, (id) => cluster.submit({ id, kind: 'service', command: ['sleep', '100000'] }));
    await until(async () => (await runningOn(cluster)).filter((node) => node === name).length === own.length, {
      what: `${own.length} workloads run on ${name}`,
    });
    for (const other of others) await cluster.request('POST', `/nodes/${other}/uncordon`);
  }
  return cluster.instancesOnNodes();
}

/** @returns nodes of the running workloads, one for each */
async function runningOn(cluster) {
  return (await cluster.workloads()).filter(({ status }) => status === 'running').map(({ node }) => node);
}

async function killAndWatch({ cluster, victim, expected, claim }) {
  const look = makeLook(cluster, claim);
  const { killedAtMs, killedAt } = await cluster.killNode(victim);
  const times = { killedAtMs };
  const watched = { everyMs: POLL_MS, timeoutMs: RECOVERED_WITHIN_MS };
  await until(
    async () => {
      look();
      return (await cluster.request('GET', `/nodes/${victim}`)).status === 'lost';
    },
    { ...watched, what: `${victim} is lost` },
  );
  times.verdictMs = performance.now() - killedAt;
  await until(
    async () => {
      look();
      const [on, { nodes }] = await Promise.all([runningOn(cluster), cluster.request('GET', '/nodes')]);
      const healthy = new Set(nodes.filter(({ status }) => status === 'healthy').map(({ id }) => id));
      return on.length === expected && on.every((node) => healthy.has(node));
    },
    { ...watched, what: `${expected} workloads run on healthy nodes` },
  );
  times.recoveredMs = performance.now() - killedAt;
  return times;
}

/** @returns looks at the processes now and then, for one that runs twice */
function makeLook(cluster, claim) {
  let lookedAt = Number.NEGATIVE_INFINITY;
  return () => {
    if (performance.now() - lookedAt < LOOK_MS) return;
    lookedAt = performance.now();
    for (const [instance, count] of countBy(cluster.processes(), 'MORCH_INSTANCE')) {
      claim(count === 1, `${count} processes of ${instance} during the recovery`);
    }
  };
}

/** Checks what there is after a recovery. */
async function examine({ cluster, before, victim, claim }) {
  const processes = cluster.processes();
  const after = await cluster.instancesOnNodes();
  const copies = countBy(processes, 'MORCH_INSTANCE');
  for (const [id, was] of before) {
    const is = after.get(id);
    if (is === undefined) {
      claim(false, `${id} is lost`);
      continue;
    }
    claim(copies.get(id) === 1, `${copies.get(id) ?? 0} processes of ${id}`);
    claim(
      processes.some(({ pid, env }) => pid === is.pid && env.MORCH_NODE === is.node),
      `${id} is not pid ${is.pid}`,
    );
    if (was.node === victim) {
      const moved = is.node !== victim && is.generation === was.generation + 1 && is.run === 1;
      claim(moved, `${id} was to move with the next generation: ${JSON.stringify(is)}`);
    } else {
      const kept = is.pid === was.pid && is.generation === was.generation && is.run === was.run;
      claim(kept, `${id} was to be left alone: ${JSON.stringify({ was, is })}`);
    }
  }
  claim(copies.size === before.size, `processes of ${copies.size} instances instead of ${before.size}`);
  const shims = cluster.shims().length;
  claim(shims === before.size, `${shims} shims instead of ${before.size}`);
  const { recent } = await cluster.request('GET', '/recovery/metrics');
  const { timeline } = recent.find(({ instance, fromNode }) => before.has(instance) && fromNode === victim);
  return { after, lastContactAtMs: Date.parse(timeline.lastContactAt) };
}

/** When the scheduler itself says that it happened. */
async function eventTimes(events, { victim, moving, since }) {
  const later = (type) => events.filter((event) => event.type === type && Date.parse(event.at) >= since);
  const starts = () => later('instance.started');
  await until(() => starts().length >= moving, { what: 'the events of all starts are there' });
  const verdict = later('node.lost').find(({ node }) => node === victim);
  return {
    verdictAtMs: Date.parse(verdict?.at),
    lastStartAtMs: Math.max(...starts().map(({ at }) => Date.parse(at))),
  };
}

/** Starts the agent again, sees that nothing else changes by it, and takes the run's workloads away. */
async function makeWhole({ cluster, victim, after, claim }) {
  await cluster.startAgent(victim);
  await until(
    async () => {
      const { status, schedulable } = await cluster.request('GET', `/nodes/${victim}`);
      return status === 'healthy' && schedulable;
    },
    { what: `${victim} is healthy again` },
  );
  await sleep(LOOK_MS); // long enough for something wrong to show
  const now = await cluster.instancesOnNodes();
  const same = [...after].every(([id, { pid, node }]) => now.get(id)?.pid === pid && now.get(id)?.node === node);
  claim(same && now.size === after.size, `the return of ${victim} changed what runs`);
  const count = cluster.processes().length;
  claim(count === after.size, `${count} processes after the return of ${victim} instead of ${after.size}`);
  await cluster.purge();
}

function seconds(ms) {
  return (ms / 1e3).toFixed(3);
}

function report({ samples, runs, workloads, policyMs, profile }) {
  const of = (field, scale = 1e3) => spreadOf(samples.map((sample) => sample[field] / scale));
  const figures = {
    verdictSeenSeconds: of('verdictSeenMs'),
    verdictEventSeconds: of('verdictEventMs'),
    recoveredSeenSeconds: of('recoveredSeenMs'),
    recoveredEventSeconds: of('recoveredEventMs'),
    silentAtKillSeconds: of('silentAtKillMs'),
    afterVerdictSeconds: spreadOf(samples.map((sample) => (sample.recoveredSeenMs - sample.verdictSeenMs) / 1e3)),
    controlSeconds: of('controlMs'),
    ratioToFloor: of('ratioToFloor', 1),
  };
  const lines = [
    `Recovery: ${workloads} workloads on 3 nodes, one node killed with its workloads; profile ${profile}; ${runs} runs; median (min..max)`,
    ...showSpreads([
      ['kill to verdict, seen', figures.verdictSeenSeconds, 3, 's'],
      ['kill to verdict, event', figures.verdictEventSeconds, 3, 's'],
      [`kill to all ${workloads} running, seen`, figures.recoveredSeenSeconds, 3, 's'],
      [`kill to all ${workloads} running, event`, figures.recoveredEventSeconds, 3, 's'],
      ['verdict to all running', figures.afterVerdictSeconds, 3, 's'],
      ['last contact to kill', figures.silentAtKillSeconds, 3, 's'],
      [`control: spawn of the ${samples[0].moving} that move`, figures.controlSeconds, 3, 's'],
      ['last contact to all running / floor', figures.ratioToFloor, 3, `× (${policyMs / 1e3} s + control)`],
    ]),
  ];
  const p99 = (field) =>
    seconds(
      percentile(
        samples.map((sample) => sample[field]),
        99,
      ),
    );
  lines.push(
    `  99th percentiles, by events: verdict ${p99('verdictEventMs')} s, all running ${p99('recoveredEventMs')} s`,
  );
  return { json: { policySeconds: policyMs / 1e3, figures, samples }, lines };
}
