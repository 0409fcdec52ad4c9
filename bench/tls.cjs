'use strict';
/**
 * What mutual TLS costs: two clusters of two agents side by side, one that speaks plain HTTP and one with `--tls`, whose
 * agents and scheduler know one another by certificates. The client speaks TLS to the second as well.
 *
 *   node bench/tls.cjs [--runs 10] [--starts 50] [--idle-seconds 30] [--json] [--keep]
 *
 * A run starts `sleep` by itself `--starts` times on each cluster in turn, POST to running (the instance's own startedAt; the
 * figure is the run's median), then a service of 100 at once, until all are running, with the CPU time that scheduler and
 * agents took for it. Before the runs both are left idle: what heartbeats and probes cost, a probe being a connection of its own.
 * Checked: everything runs; nothing is left.
 * Control: the plain cluster of the same run; the ratios are of each run, one cluster to the other.
 */
const { performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');
const { Cluster } = require('./harness/cluster.cjs');
const { runBench } = require('./harness/program.cjs');
const { cpuSecondsOf } = require('./harness/processes.cjs');
const { median, showSpreads, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const AT_ONCE = 100;
const POLL_MS = 5;

runBench({
  file: __filename,
  numbers: { runs: 10, starts: 50, 'idle-seconds': 30 },
  limitMs: ({ runs, starts, 'idle-seconds': idle }) => 120_000 + idle * 1_000 + runs * (60_000 + starts * 500),
  main: measureTls,
});

async function measureTls({ numbers: { runs, starts, 'idle-seconds': idleSeconds }, check, say }) {
  const clusters = {
    plain: await Cluster.start({ agents: 2 }),
    tls: await Cluster.start({ agents: 2, schedulerFlags: ['--tls'] }),
  };
  const names = Object.keys(clusters);
  const idleCpu = await idleCpuOf(clusters, idleSeconds);
  const samples = [];
  for (let run = 0; run <= runs; run += 1) {
    // Whoever is first finds the machine in another state than whoever is second.
    const order = run % 2 === 0 ? names : [...names].reverse();
    const sample = { run };
    const startMs = await startOneByOne(clusters, order, starts);
    for (const name of order) sample[name] = { startMs: startMs[name], ...(await startAtOnce(clusters[name])) };
    if (run === 0) continue; // fills caches, compiles
    samples.push(sample);
    const show = (name) =>
      `${name} ${sample[name].startMs.toFixed(1)} ms, ${AT_ONCE} at once ${sample[name].allMs.toFixed(0)} ms`;
    say(`run ${run}/${runs}: ${names.map(show).join('; ')}`);
  }
  for (const name of names) {
    const left = await clusters[name].close();
    check(left === 0, `${left} processes were left after all parts of the ${name} cluster had ended`);
  }
  return report({ samples, runs, starts, idleCpu, idleSeconds });
}

/** CPU time per second of each cluster's parts, both over the same time. */
async function idleCpuOf(clusters, seconds) {
  const names = Object.keys(clusters);
  const before = names.map((name) => cpuOf(clusters[name]));
  await sleep(seconds * 1_000);
  return Object.fromEntries(names.map((name, at) => [name, (cpuOf(clusters[name]) - before[at]) / seconds]));
}

/** In turn, start by start, so that what else the machine does meets both. @returns the median of each cluster's */
async function startOneByOne(clusters, order, starts) {
  const times = Object.fromEntries(order.map((name) => [name, []]));
  for (let n = 0; n < starts; n += 1) {
    for (const name of order) times[name].push(await startOne(clusters[name]));
  }
  for (const name of order) await clusters[name].purge();
  return Object.fromEntries(order.map((name) => [name, median(times[name])]));
}

/** @returns the time from the POST to the instance's start */
async function startOne(cluster) {
  const beforeMs = Date.now();
  const { id } = await cluster.submit({ command: ['sleep', '600'] });
  const workload = await until(
    async () => {
      const found = await cluster.request('GET', `/workloads/${id}`);
      return found.status === 'running' && found;
    },
    { what: `${id} runs`, everyMs: POLL_MS },
  );
  return Date.parse(workload.instances[0].startedAt) - beforeMs;
}

async function startAtOnce(cluster) {
  const cpuBefore = cpuOf(cluster);
  const before = performance.now();
  const { id } = await cluster.submit({ kind: 'service', command: ['sleep', '600'], replicas: AT_ONCE });
  const runAll = async () => (await cluster.request('GET', `/workloads/${id}`)).counts.running === AT_ONCE;
  await until(runAll, { what: `all ${AT_ONCE} run`, everyMs: POLL_MS });
  const sample = { allMs: performance.now() - before, cpuSeconds: cpuOf(cluster) - cpuBefore };
  await cluster.purge();
  return sample;
}

function cpuOf(cluster) {
  return cluster.parts.reduce((sum, { pid }) => sum + cpuSecondsOf(pid), 0);
}

function report({ samples, runs, starts, idleCpu, idleSeconds }) {
  const of = (select) => spreadOf(samples.map(select));
  const ratio = (field) => of(({ plain, tls }) => tls[field] / plain[field]);
  const figures = {
    plainStartMs: of(({ plain }) => plain.startMs),
    tlsStartMs: of(({ tls }) => tls.startMs),
    startRatio: ratio('startMs'),
    plainAllMs: of(({ plain }) => plain.allMs),
    tlsAllMs: of(({ tls }) => tls.allMs),
    allRatio: ratio('allMs'),
    cpuRatio: ratio('cpuSeconds'),
    idleCpuPercent: { plain: idleCpu.plain * 100, tls: idleCpu.tls * 100 },
  };
  const { plain, tls } = figures.idleCpuPercent;
  const lines = [
    `Starts of sleep on 2 agents, plain HTTP and mutual TLS; ${runs} runs of ${starts}; median (min..max)`,
    ...showSpreads([
      ['POST to start, plain', figures.plainStartMs, 1, 'ms'],
      ['POST to start, mutual TLS', figures.tlsStartMs, 1, 'ms'],
      ['mutual TLS / plain', figures.startRatio, 2, '×'],
      [`${AT_ONCE} at once, plain`, figures.plainAllMs, 0, 'ms'],
      [`${AT_ONCE} at once, mutual TLS`, figures.tlsAllMs, 0, 'ms'],
      [`${AT_ONCE} at once, mutual TLS / plain`, figures.allRatio, 2, '×'],
      ['CPU time of the parts for it, mutual TLS / plain', figures.cpuRatio, 2, '×'],
    ]),
    `  CPU of all parts, idle over ${idleSeconds} s: plain ${plain.toFixed(1)} %, mutual TLS ${tls.toFixed(1)} % of a core`,
  ];
  return { json: { figures, samples }, lines };
}
