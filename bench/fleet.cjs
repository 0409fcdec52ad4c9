'use strict';
/**
 * A scheduler with a large fleet: agents are simulated (bench/fleet/), the scheduler is real, its store durable, its tokens on.
 *
 *   node bench/fleet.cjs [--nodes 100] [--instances 2000] [--workloads 4] [--idle-seconds 10] [--hold-seconds 10]
 *                        [--runs 1] [--agents-per-process 2500] [--profile DIRECTORY] [--json] [--keep]
 *
 * All nodes join; then nothing happens for a while; then so many instances are submitted at once, and run; are kept for a
 * while; a tenth of the nodes dies at once, until all of theirs run elsewhere; they return. Each step has its time, the CPU time
 * of the scheduler and of the simulated agents, and how late the scheduler's event loop was at the most. The agents take their
 * share of the same cores.
 * Checked: no verdict on a node that lives, every instance lives once at the end, nothing was said that is not in the contract.
 * Control: a bare Node process that hears as many heartbeats, acknowledges them and asks as many probes, and does nothing else.
 * --profile writes a CPU profile of the scheduler for each step, and prints where the time went.
 */
const { fork } = require('node:child_process');
const { mkdirSync, readFileSync } = require('node:fs');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');
const { Fleet, nameOf } = require('./fleet/fleet.cjs');
const { Cluster } = require('./harness/cluster.cjs');
const { askInside, INSIDE } = require('./harness/inside.cjs');
const { inLanes } = require('./harness/lanes.cjs');
const { cpuSecondsOf, residentBytesOf } = require('./harness/processes.cjs');
const { showProfile } = require('./harness/profile.cjs');
const { onEnd, runBench } = require('./harness/program.cjs');
const { showTable, showSpreads, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const POLL_MS = 100;
const WITHIN_MS = 20 * 60_000;
const LOST_SHARE = 0.1;
const STEPS = ['join', 'idle', 'start', 'hold', 'lose', 'return'];

runBench({
  file: __filename,
  numbers: {
    nodes: 100,
    instances: 2_000,
    workloads: 4,
    'idle-seconds': 10,
    'hold-seconds': 10,
    'agents-per-process': 2_500,
    runs: 1,
  },
  texts: { profile: '' },
  limitMs: ({ runs, 'idle-seconds': idleSeconds, 'hold-seconds': holdSeconds }) =>
    runs * (45 * 60_000 + (2 * idleSeconds + holdSeconds) * 1_000),
  main: measure,
});

async function measure({ numbers, texts: { profile }, check, say }) {
  if (profile !== '') mkdirSync(profile, { recursive: true });
  const samples = [];
  for (let run = 1; run <= numbers.runs; run += 1) {
    samples.push(await measureOne({ ...numbers, profile, check, say }));
    say(`run ${run} of ${numbers.runs} done`);
  }
  return report(samples, numbers, profile);
}

async function measureOne({
  nodes,
  instances,
  workloads,
  'agents-per-process': perProcess,
  'idle-seconds': idleSeconds,
  'hold-seconds': holdSeconds,
  profile,
  check,
  say,
}) {
  const cluster = await Cluster.start({ agents: 0, schedulerPreload: INSIDE });
  const { scheduler } = cluster;
  const emptyBytes = residentBytesOf(scheduler.pid);
  const fleet = await Fleet.start({ nodes, processes: Math.ceil(nodes / perProcess) });
  const controlCpu = await measureControl(fleet, idleSeconds);
  say(`control: ${percent(controlCpu)} of a core`);
  const steps = {};
  const step = async (name, act) => {
    steps[name] = await watchStep(
      { cluster, fleet, profile: profile === '' ? null : path.join(profile, `${name}.cpuprofile`) },
      act,
    );
    say(`${name}: ${describeStep(steps[name])}`);
  };
  const falseVerdicts = async (expected, during) => {
    const { verdicts } = await cluster.request('GET', '/recovery/metrics');
    check(verdicts === expected, `${verdicts} verdicts instead of ${expected} after "${during}"`);
  };

  await step('join', async () => {
    await fleet.join({ port: scheduler.port, joinToken: readFileSync(cluster.joinTokenFile, 'utf8').trim() });
    await untilHealthy(cluster, nodes);
  });
  await step('idle', () => sleep(idleSeconds * 1_000));
  await falseVerdicts(0, 'idle');
  const ids = Array.from({ length: workloads }, (_, at) => `many-${at}`);
  await step('start', async () => {
    const submit = (id, at) => {
      const replicas = Math.floor(instances / workloads) + (at < instances % workloads ? 1 : 0);
      return cluster.submit({ id, kind: 'service', command: ['sleep', '1000000000'], replicas });
    };
    await inLanes([...ids.entries()], 4, ([at, id]) => submit(id, at));
    await untilRunning(cluster, fleet, instances);
  });
  await step('hold', () => sleep(holdSeconds * 1_000));
  await falseVerdicts(0, 'hold');
  const lost = Array.from(
    { length: Math.max(1, Math.floor(nodes * LOST_SHARE)) },
    (_, at) => at * Math.floor(1 / LOST_SHARE),
  );
  await step('lose', async () => {
    await fleet.fail('die', lost);
    await untilRunning(cluster, fleet, instances);
  });
  await step('return', async () => {
    await fleet.heal(lost);
    await untilHealthy(cluster, nodes);
  });
  await falseVerdicts(lost.length, 'return');
  await checkCopies({ cluster, fleet, instances, ids, check });
  const { detectionMs, recoveryMs } = await cluster.request('GET', '/recovery/metrics');
  const residentBytes = residentBytesOf(scheduler.pid);
  const fleetBytes = fleet.pids.reduce((sum, pid) => sum + residentBytesOf(pid), 0);
  const said = await fleet.close();
  check(said === '', `the simulated agents complain: ${said.slice(0, 500)}`);
  await cluster.close();
  return { steps, controlCpu, detectionMs, recoveryMs, emptyBytes, residentBytes, fleetBytes };
}

/** @returns CPU of a process that hears and asks as much, in shares of a core */
async function measureControl(fleet, seconds) {
  const child = fork(path.join(__dirname, 'fleet/bareListener.cjs'), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const done = onEnd(() => child.kill('SIGKILL'));
  const gone = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve, reject) => {
    child.once('message', resolve);
    child.once('exit', (code) => reject(new Error(`the control ended with ${code}`)));
    fleet.addresses().then((agents) => child.send({ agents }), reject);
  });
  const [cpuBefore, startedAt] = [cpuSecondsOf(child.pid), performance.now()];
  await sleep(seconds * 1_000);
  const share = (cpuSecondsOf(child.pid) - cpuBefore) / ((performance.now() - startedAt) / 1e3);
  child.kill('SIGKILL');
  await gone;
  done();
  return share;
}

/** @returns what a step took: times in seconds, rates in a second, CPU in shares of a core, memory in bytes */
async function watchStep({ cluster: { scheduler }, fleet, profile }, act) {
  await askInside(scheduler, 'watch', { profile: profile !== null });
  const countsBefore = await fleet.counts();
  const cpu = () => ({
    scheduler: cpuSecondsOf(scheduler.pid),
    fleet: fleet.pids.reduce((sum, pid) => sum + cpuSecondsOf(pid), 0),
  });
  const cpuBefore = cpu();
  const startedAt = performance.now();
  await act();
  const seconds = (performance.now() - startedAt) / 1e3;
  const cpuAfter = cpu();
  const counts = await fleet.counts();
  const loop = await askInside(scheduler, 'told', { file: profile });
  const rate = (name) => (counts[name] - countsBefore[name]) / seconds;
  return {
    seconds,
    schedulerCpu: (cpuAfter.scheduler - cpuBefore.scheduler) / seconds,
    fleetCpu: (cpuAfter.fleet - cpuBefore.fleet) / seconds,
    heartbeats: rate('heartbeats'),
    probes: rate('probes'),
    starts: counts.starts - countsBefore.starts,
    startCalls: counts.startCalls - countsBefore.startCalls,
    residentBytes: residentBytesOf(scheduler.pid),
    ...loop,
  };
}

async function untilHealthy(cluster, nodes) {
  let last;
  const areHealthy = async () => {
    last = (await cluster.request('GET', '/health')).nodes;
    return last.healthy === nodes;
  };
  await until(areHealthy, {
    what: `${nodes} nodes are healthy`,
    everyMs: POLL_MS,
    timeoutMs: WITHIN_MS,
    describe: () => JSON.stringify(last),
  });
}

/** The scheduler is asked only when the agents run them all, what died not counted: it is busy enough. */
async function untilRunning(cluster, fleet, instances) {
  const wait = { everyMs: POLL_MS, timeoutMs: WITHIN_MS };
  let running = 0;
  const describe = () => `there are ${running}`;
  const runThere = async () => {
    running = (await fleet.counts()).running;
    return running >= instances;
  };
  await until(runThere, { what: `agents run ${instances} instances`, describe, ...wait });
  const areReported = async () => {
    running = (await cluster.workloads()).reduce((sum, { counts }) => sum + (counts.running ?? 0), 0);
    return running === instances;
  };
  await until(areReported, { what: `${instances} instances are reported running`, describe, ...wait });
}

/** What lives on the agents is what the scheduler says that runs there. */
async function checkCopies({ cluster, fleet, instances, ids, check }) {
  const held = new Map();
  for (const [node, ones] of await fleet.live()) {
    for (const { instanceId, generation } of ones) {
      check(!held.has(instanceId), `${instanceId} lives on ${held.get(instanceId)} and on ${node}`);
      held.set(instanceId, `${node} ${generation}`);
    }
  }
  check(held.size === instances, `${held.size} instances live instead of ${instances}`);
  let wrong = 0;
  for (const id of ids) {
    for (const { id: instanceId, node, generation } of await cluster.instancesOf(id))
      if (held.get(instanceId) !== `${node} ${generation}`) wrong += 1;
  }
  check(wrong === 0, `${wrong} instances are not where the scheduler says`);
}

function describeStep({ seconds, schedulerCpu, fleetCpu, delayMax, turnCpuMax, residentBytes }) {
  return `${seconds.toFixed(2)} s; scheduler ${percent(schedulerCpu)} of a core, agents ${percent(fleetCpu)}; late by ${delayMax.toFixed(0)} ms at the most, a turn ${turnCpuMax.toFixed(0)} ms of CPU; ${mib(residentBytes)} MiB`;
}

function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

function mib(bytes) {
  return (bytes / 2 ** 20).toFixed(0);
}

function report(samples, { nodes, instances, workloads, runs }, profile) {
  const of = (select) => spreadOf(samples.map(select));
  const ofStep = (name, field) => of(({ steps }) => steps[name][field]);
  const figures = {
    instancesPerSecond: of(({ steps }) => instances / steps.start.seconds),
    startsPerRequest: of(({ steps }) => steps.start.starts / steps.start.startCalls),
    detectionMs: of(({ detectionMs }) => detectionMs.max),
    idleCpuPercent: of(({ steps }) => steps.idle.schedulerCpu * 100),
    holdCpuPercent: of(({ steps }) => steps.hold.schedulerCpu * 100),
    controlCpuPercent: of(({ controlCpu }) => controlCpu * 100),
    idleToControl: of(({ steps, controlCpu }) => steps.idle.schedulerCpu / controlCpu),
    recoverySeconds: ofStep('lose', 'seconds'),
    longestTurnMs: of(({ steps }) => Math.max(...STEPS.map((name) => steps[name].turnCpuMax))),
    bytesPerInstance: of(({ steps }) => (steps.hold.residentBytes - steps.idle.residentBytes) / instances),
    fleetMib: of(({ fleetBytes }) => fleetBytes / 2 ** 20),
    emptyMib: of(({ emptyBytes }) => emptyBytes / 2 ** 20),
  };
  const rows = STEPS.map((name) => {
    const show = (field, digits, factor = 1) => (ofStep(name, field).median * factor).toFixed(digits);
    return [
      name,
      show('seconds', 2),
      show('schedulerCpu', 1, 100),
      show('fleetCpu', 1, 100),
      show('heartbeats', 0),
      show('probes', 0),
      show('delayP99', 1),
      show('delayMax', 0),
      show('collectionMax', 0),
      show('turnCpuMax', 0),
      show('residentBytes', 0, 2 ** -20),
    ];
  });
  const profiles = profile === '' ? [] : STEPS.flatMap((name) => showProfile(path.join(profile, `${name}.cpuprofile`)));
  const lines = [
    `${nodes} simulated nodes (${nameOf(0)}…${nameOf(nodes - 1)}), ${instances} instances of ${workloads} workloads; ${runs} runs; median (min..max)`,
    ...showSpreads([
      ['idle: CPU of the scheduler', figures.idleCpuPercent, 1, '% of a core'],
      ['control: a process that only listens and asks', figures.controlCpuPercent, 1, '% of a core'],
      ['idle / control', figures.idleToControl, 2, '×'],
      ['with all instances: CPU of the scheduler', figures.holdCpuPercent, 1, '% of a core'],
      ['submitted to all reported running', figures.instancesPerSecond, 0, 'instances/s'],
      ['… starts in one request', figures.startsPerRequest, 1, ''],
      ['a tenth of the nodes dies: the last verdict', figures.detectionMs, 0, 'ms'],
      ['… until all run elsewhere', figures.recoverySeconds, 2, 's'],
      ['the longest turn of its event loop, without collections', figures.longestTurnMs, 0, 'ms of CPU'],
      ['resident memory of an instance', figures.bytesPerInstance, 0, 'bytes'],
      ['all simulated agents: resident', figures.fleetMib, 0, 'MiB'],
      ['the scheduler without nodes: resident', figures.emptyMib, 0, 'MiB'],
    ]),
    '  each step: seconds; CPU of scheduler and of all agents, % of a core; heartbeats and probes in a second; how late the',
    '  event loop was, ms; the longest garbage collection, and the most CPU time of its thread in one turn of the loop without',
    "  collections, ms; the scheduler's MiB at its end",
    ...showTable([
      ['', 's', 'CPU', 'agents', 'beats/s', 'probes/s', 'late p99', 'max', 'gc max', 'turn', 'MiB'],
      ...rows,
    ]),
    ...profiles,
  ];
  return { json: { figures, samples }, lines };
}
