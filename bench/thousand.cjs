'use strict';
/**
 * A thousand instances: one service of `sleep` scaled from 0 to 1,000 on one agent, kept a while, then stopped.
 *
 *   node bench/thousand.cjs [--runs 7] [--instances 1000] [--agents 1] [--rest-seconds 40] [--idle-seconds 30]
 *                         [--json] [--keep]
 *
 * Measured: the scale request until all are reported running, and the stop until the workload is stopped and no
 * process is left, both polled every 20 ms; resident memory of each part before and with all of them; CPU time of each
 * part over the idle seconds, of one core, from /proc/PID/stat. They begin when it has rested from the start. Each run has a cluster of its own, warmed up by 30.
 * Checked: as many processes as instances, one each (by the mark in /proc/PID/environ), and shims; after the stop no process, no
 * zombie among the children of the parts, and no part with more open descriptors than before (sockets apart: a few
 * kept connections may have been added).
 * Control: a C program that starts as many sleeps by vfork and exec and stops them, in the same run, cluster idle.
 * --keep leaves the directory with the logs when something fails.
 */
const { performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');
const { Cluster } = require('./harness/cluster.cjs');
const { buildC, measureSleepsInC } = require('./harness/control.cjs');
const {
  countBy,
  cpuSecondsOf,
  descriptorsOf,
  residentBytesOf,
  threadsOf,
  zombiesOf,
} = require('./harness/processes.cjs');
const { runBench } = require('./harness/program.cjs');
const { median, showSpread, showSpreads, showTable, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const POLL_MS = 20;
const WITHIN_MS = 120_000;
const WARM_UP = 30;
const CONTROLS_PER_RUN = 3;
/** Kept connections to one part that may have been opened since the warm-up; a leak would be one for each instance. */
const SPARE_SOCKETS = 24;
const SETTLE_WITHIN_MS = 10_000;

runBench({
  file: __filename,
  numbers: { runs: 7, instances: 1_000, agents: 1, 'rest-seconds': 40, 'idle-seconds': 30 },
  limitMs: ({ runs, 'rest-seconds': restSeconds, 'idle-seconds': idleSeconds }) =>
    60_000 + runs * (360_000 + (restSeconds + idleSeconds) * 1_000),
  main: measureThousand,
});

async function measureThousand({ numbers, check, say }) {
  const { runs, instances } = numbers;
  const program = buildC('sleeps_control');
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    const claim = (isTrue, what) => check(isTrue, `run ${run}: ${what}`);
    const sample = { run, ...(await scaleOnce({ ...numbers, program, claim })) };
    samples.push(sample);
    say(
      `run ${run}/${runs}: ${instances} running after ${sample.startMs.toFixed(0)} ms (C ${sample.controlStartMs.toFixed(0)}), ` +
        `stopped after ${sample.stopMs.toFixed(0)} ms (C ${sample.controlStopMs.toFixed(0)}); left: ` +
        `${sample.processesLeft} processes, ${sample.zombiesLeft} zombies; ` +
        sample.parts.map(describePart).join('; '),
    );
  }
  return report({ samples, ...numbers });
}

async function scaleOnce({
  instances,
  agents,
  'rest-seconds': restSeconds,
  'idle-seconds': idleSeconds,
  program,
  claim,
}) {
  const cluster = await Cluster.start({ agents });
  await cluster.submit({ id: 'many', kind: 'service', command: ['sleep', '100000'], replicas: 0 });
  await scale(cluster, WARM_UP);
  await scale(cluster, 0);
  await until(() => cluster.processes().length + cluster.shims().length === 0, { what: 'the warm-up has ended' });
  const controls = [];
  for (let i = 0; i < CONTROLS_PER_RUN; i += 1) controls.push(await measureSleepsInC(program, instances));

  const before = inspect(cluster);
  const startMs = await scale(cluster, instances);
  examineRunning({ cluster, instances, claim });
  await sleep(restSeconds * 1_000);
  const cpuBefore = cpuOf(cluster);
  const idleFrom = performance.now();
  await sleep(idleSeconds * 1_000);
  const idleMs = performance.now() - idleFrom;
  const cpuAfter = cpuOf(cluster);
  const full = inspect(cluster);
  examineRunning({ cluster, instances, claim });

  const { stopMs, processesLeft } = await stopAll(cluster);
  const after = await settle(cluster, before);
  const zombiesLeft = zombiesOf(pidsOf(cluster)).length;
  claim(processesLeft === 0, `${processesLeft} processes were left when the workload was stopped`);
  claim(zombiesLeft === 0, `${zombiesLeft} zombies were left`);
  const parts = cluster.parts.map(({ name }, at) => ({
    name,
    residentBefore: before[at].residentBytes,
    residentFull: full[at].residentBytes,
    residentAfter: after[at].residentBytes,
    idleCpuPercent: ((cpuAfter[at] - cpuBefore[at]) / (idleMs / 1e3)) * 100,
    descriptorsBefore: before[at].descriptors,
    descriptorsFull: full[at].descriptors,
    descriptorsAfter: after[at].descriptors,
    threads: full[at].threads,
  }));
  for (const { name, descriptorsBefore: was, descriptorsAfter: is } of parts) {
    claim(isBack(is, was), `${name} had ${showDescriptors(was)} before and has ${showDescriptors(is)} after the stop`);
  }
  const left = await cluster.close();
  claim(left === 0, `${left} processes were left after all parts had ended`);
  const controlStartMs = median(controls.map((control) => control.startMs));
  const controlStopMs = median(controls.map((control) => control.stopMs));
  return { startMs, stopMs, controlStartMs, controlStopMs, processesLeft, zombiesLeft, parts };
}

/** @returns how long it took until so many were reported running, and no others */
async function scale(cluster, replicas) {
  const before = performance.now();
  await cluster.request('POST', '/workloads/many/scale', { replicas });
  let counts = {};
  await until(
    async () => {
      counts = (await cluster.workloads())[0].counts;
      const known = Object.values(counts).reduce((sum, n) => sum + n, 0);
      return known === replicas && (counts.running ?? 0) === replicas;
    },
    { what: `${replicas} run`, everyMs: POLL_MS, timeoutMs: WITHIN_MS, describe: () => JSON.stringify(counts) },
  );
  return performance.now() - before;
}

async function stopAll(cluster) {
  const before = performance.now();
  await cluster.request('DELETE', '/workloads/many');
  await until(async () => (await cluster.workloads())[0].status === 'stopped', {
    what: 'the workload is stopped',
    everyMs: POLL_MS,
    timeoutMs: WITHIN_MS,
  });
  return { stopMs: performance.now() - before, processesLeft: cluster.processes().length + cluster.shims().length };
}

function examineRunning({ cluster, instances, claim }) {
  const processes = cluster.processes();
  const copies = countBy(processes, 'MORCH_INSTANCE');
  const right = processes.length === instances && copies.size === instances;
  claim(right, `${processes.length} processes of ${copies.size} instances instead of ${instances}, one each`);
  const shims = cluster.shims().length;
  claim(shims === instances, `${shims} shims instead of ${instances}, one for each instance`);
}

function pidsOf(cluster) {
  return cluster.parts.map(({ pid }) => pid);
}

function cpuOf(cluster) {
  return pidsOf(cluster).map(cpuSecondsOf);
}

function inspect(cluster) {
  return pidsOf(cluster).map((pid) => ({
    residentBytes: residentBytesOf(pid),
    descriptors: descriptorsOf(pid),
    threads: threadsOf(pid),
  }));
}

/** Waits until no part has more descriptors than before, or in vain. @returns what they have then */
async function settle(cluster, before) {
  const areBack = () => inspect(cluster).every(({ descriptors }, at) => isBack(descriptors, before[at].descriptors));
  await until(areBack, { what: 'descriptors are back', timeoutMs: SETTLE_WITHIN_MS }).catch(() => {}); // the checks tell
  return inspect(cluster);
}

function isBack(is, was) {
  return is.others <= was.others && is.sockets <= was.sockets + SPARE_SOCKETS;
}

function showDescriptors({ sockets, others }) {
  return `${others} + ${sockets} descriptors`;
}

function mib(bytes) {
  return bytes / 2 ** 20;
}

function describePart({ name, residentBefore, residentFull, idleCpuPercent, descriptorsBefore, descriptorsAfter }) {
  const resident = `${mib(residentBefore).toFixed(0)} → ${mib(residentFull).toFixed(0)} MiB`;
  return `${name} ${resident}, ${idleCpuPercent.toFixed(1)} % CPU, ${showDescriptors(descriptorsBefore)} → ${showDescriptors(descriptorsAfter)}`;
}

function report({ samples, runs, instances, agents, 'rest-seconds': restSeconds, 'idle-seconds': idleSeconds }) {
  const of = (select) => spreadOf(samples.map(select));
  const ofParts = (select) => samples[0].parts.map(({ name }, at) => [name, of(({ parts }) => select(parts[at]))]);
  const figures = {
    startSeconds: of(({ startMs }) => startMs / 1e3),
    stopSeconds: of(({ stopMs }) => stopMs / 1e3),
    controlStartSeconds: of(({ controlStartMs }) => controlStartMs / 1e3),
    controlStopSeconds: of(({ controlStopMs }) => controlStopMs / 1e3),
    startToControl: of(({ startMs, controlStartMs }) => startMs / controlStartMs),
    stopToControl: of(({ stopMs, controlStopMs }) => stopMs / controlStopMs),
    agentsResidentMib: {
      before: of(({ parts }) => mib(sumOfAgents(parts, 'residentBefore'))),
      full: of(({ parts }) => mib(sumOfAgents(parts, 'residentFull'))),
      after: of(({ parts }) => mib(sumOfAgents(parts, 'residentAfter'))),
    },
    residentBeforeMib: Object.fromEntries(ofParts(({ residentBefore }) => mib(residentBefore))),
    residentFullMib: Object.fromEntries(ofParts(({ residentFull }) => mib(residentFull))),
    residentAfterMib: Object.fromEntries(ofParts(({ residentAfter }) => mib(residentAfter))),
    idleCpuPercent: Object.fromEntries(ofParts(({ idleCpuPercent }) => idleCpuPercent)),
    descriptorsFull: Object.fromEntries(ofParts(({ descriptorsFull: d }) => d.others + d.sockets)),
    descriptorsGrown: Object.fromEntries(
      ofParts((part) => part.descriptorsAfter.others - part.descriptorsBefore.others),
    ),
    socketsGrown: Object.fromEntries(ofParts((part) => part.descriptorsAfter.sockets - part.descriptorsBefore.sockets)),
    threads: Object.fromEntries(ofParts(({ threads }) => threads)),
    processesLeft: of(({ processesLeft }) => processesLeft),
    zombiesLeft: of(({ zombiesLeft }) => zombiesLeft),
  };
  const ofPart = ({ name }) => [
    name,
    showSpread(figures.residentBeforeMib[name], 0),
    showSpread(figures.residentFullMib[name], 0),
    showSpread(figures.residentAfterMib[name], 0),
    showSpread(figures.idleCpuPercent[name], 2),
    showSpread(figures.descriptorsFull[name], 0),
    showSpread(figures.descriptorsGrown[name], 0),
    showSpread(figures.socketsGrown[name], 0),
  ];
  const lines = [
    `${instances} instances of sleep, agents: ${agents}, one workload scaled from 0; ${runs} runs; median (min..max)`,
    ...showSpreads([
      ['scale to all reported running', figures.startSeconds, 2, 's'],
      ['control: vfork and exec in C', figures.controlStartSeconds, 2, 's'],
      ['start / control', figures.startToControl, 2, '×'],
      ['stop to reported stopped', figures.stopSeconds, 2, 's'],
      ['control: kill and wait in C', figures.controlStopSeconds, 2, 's'],
      ['stop / control', figures.stopToControl, 2, '×'],
      ['processes left', figures.processesLeft, 0, ''],
      ['zombies left', figures.zombiesLeft, 0, ''],
      ['agents together: resident, empty', figures.agentsResidentMib.before, 1, 'MiB'],
      ['agents together: resident, all running', figures.agentsResidentMib.full, 1, 'MiB'],
    ]),
    `  each part: resident MiB empty, with all, stopped; CPU of ${idleSeconds} idle s, ${restSeconds} s after the start, % of a core;`,
    '  descriptors with all;',
    '  more descriptors, and kept connections, after the stop than before',
    ...showTable([
      ['', 'MiB empty', 'with all', 'stopped', 'CPU %', 'descriptors', 'more after', 'connections'],
      ...samples[0].parts.map(ofPart),
    ]),
  ];
  return { json: { figures, samples }, lines };
}

/** The parts but the first, which is the scheduler. */
function sumOfAgents(parts, field) {
  return parts.slice(1).reduce((sum, part) => sum + part[field], 0);
}
