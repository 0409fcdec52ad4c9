'use strict';
/**
 * The scheduler's start with a large store: from the start of its process until it serves, which is the first 200 of /readyz and then of
 * GET /workloads.
 *
 *   node bench/schedulerStart.cjs [--runs 7] [--instances 100000] [--nodes 5000] [--json] [--keep]
 *
 * The store is written by the product's own code beforehand: workloads of 100 running instances each, on --nodes nodes, with as many
 * events as are kept. Each start is of a copy of it, by a kill -9 of the one before. The nodes' agents take connections and say nothing,
 * as a start waits for none.
 * Control, in turn with it: a Node process that opens the same LevelDB directory, reads and parses every record, keeps them and
 * serves: no checks, no indexes, nothing written. And a bare Node server, which is what any process takes.
 * Measured besides: CPU time of either until then (all threads), the scheduler's resident memory, and what an instance takes of it.
 * Checked: GET /health tells of all workloads, /metrics of all instances.
 */
const { spawn } = require('node:child_process');
const { cpSync, rmSync } = require('node:fs');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { Cluster } = require('./harness/cluster.cjs');
const { measureBareServer } = require('./harness/control.cjs');
const { enlist } = require('./harness/ending.cjs');
const { fillDataDir } = require('./harness/filledStore.cjs');
const { cpuSecondsOf, residentBytesOf } = require('./harness/processes.cjs');
const { onEnd, runBench } = require('./harness/program.cjs');
const { startSilentAgents } = require('./harness/silentAgents.cjs');
const { showSpreads, spreadOf } = require('./harness/statistics.cjs');

const REPLICAS = 100;

runBench({
  file: __filename,
  numbers: { runs: 7, instances: 100_000, nodes: 5_000 },
  limitMs: ({ runs, instances }) => 120_000 + instances / 5 + runs * (60_000 + instances / 5),
  main: measureStarts,
});

async function measureStarts({ numbers: { runs, instances, nodes }, check, say }) {
  const agents = await startSilentAgents();
  const workloads = Math.ceil(instances / REPLICAS);
  const { directory } = new Cluster();
  enlist({ directory, destroy: async () => agents.end() });
  const filled = path.join(directory, 'filled');
  say(`writing a store of ${workloads * REPLICAS} instances`);
  const { records } = await fillDataDir(filled, {
    nodes,
    nodePort: agents.port,
    workloads,
    replicas: REPLICAS,
  });
  const samples = [];
  for (let run = 0; run <= runs; run += 1) {
    const sample = {};
    const measures = [
      async () => {
        sample.ours = await measureScheduler(filled, { workloads, check });
      },
      async () => {
        sample.control = await measureReader(path.join(filled, 'store'));
      },
    ];
    if (run % 2 === 1) measures.reverse();
    for (const measure of measures) await measure();
    sample.bareMs = await measureBareServer();
    if (run === 0) continue; // fills the kernel's caches
    samples.push(sample);
    const { ours, control } = sample;
    say(
      `run ${run}/${runs}: ready ${(ours.readyMs / 1e3).toFixed(2)} s, list ${(ours.listMs / 1e3).toFixed(2)} s; reading alone ${(control.ms / 1e3).toFixed(2)} s`,
    );
  }
  return report({ samples, runs, records, instances: workloads * REPLICAS, nodes });
}

/** @returns { readyMs, listMs, cpuSeconds, residentBytes } */
async function measureScheduler(filled, { workloads, check }) {
  const cluster = new Cluster();
  enlist(cluster);
  cpSync(filled, path.join(cluster.directory, 'scheduler'), { recursive: true });
  const before = performance.now();
  await cluster.startScheduler({ route: '/readyz' });
  const readyMs = performance.now() - before;
  await cluster.request('GET', '/workloads');
  const listMs = performance.now() - before;
  const { pid } = cluster.scheduler;
  const sample = { readyMs, listMs, cpuSeconds: cpuSecondsOf(pid), residentBytes: residentBytesOf(pid) };
  const health = await cluster.request('GET', '/health', undefined, { timeoutMs: 60_000 });
  check(health.workloads.total === workloads, `${health.workloads.total} of ${workloads} workloads are there`);
  const metrics = await cluster.request('GET', '/metrics', undefined, { timeoutMs: 60_000 });
  const counted = [...metrics.matchAll(/^morch_instances\{.*\} (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
  check(counted === workloads * REPLICAS, `${counted} of ${workloads * REPLICAS} instances are there`);
  await cluster.destroy();
  rmSync(cluster.directory, { recursive: true });
  return sample;
}

/** @returns { ms, cpuSeconds } */
async function measureReader(store) {
  const copy = `${store}.read`;
  cpSync(store, copy, { recursive: true });
  const before = performance.now();
  const reader = path.join(__dirname, 'harness/bareReader.cjs');
  const child = spawn(process.execPath, [reader, copy], { stdio: ['ignore', 'pipe', 'inherit'] });
  const done = onEnd(() => child.kill('SIGKILL'));
  const gone = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    child.once('exit', (code) => reject(new Error(`the reader ended with ${code}`)));
  });
  const ms = performance.now() - before;
  const cpuSeconds = cpuSecondsOf(child.pid);
  child.kill('SIGKILL');
  await gone;
  done();
  rmSync(copy, { recursive: true });
  return { ms, cpuSeconds };
}

function report({ samples, runs, records, instances, nodes }) {
  const of = (select) => spreadOf(samples.map(select));
  const serving = ({ ours }) => Math.max(ours.readyMs, ours.listMs) / 1e3;
  const figures = {
    readySeconds: of(({ ours }) => ours.readyMs / 1e3),
    servingSeconds: of(serving),
    readingSeconds: of(({ control }) => control.ms / 1e3),
    ratio: of((sample) => serving(sample) / (sample.control.ms / 1e3)),
    bareSeconds: of(({ bareMs }) => bareMs / 1e3),
    cpuSeconds: of(({ ours }) => ours.cpuSeconds),
    readingCpuSeconds: of(({ control }) => control.cpuSeconds),
    residentMegabytes: of(({ ours }) => ours.residentBytes / 1e6),
    bytesPerInstance: of(({ ours }) => ours.residentBytes / instances),
  };
  const lines = [
    `Start with ${instances} instances on ${nodes} nodes, ${records} records; ${runs} runs; median (min..max)`,
    ...showSpreads([
      ['first 200 of /readyz', figures.readySeconds, 2, 's'],
      ['first 200 of GET /workloads', figures.servingSeconds, 2, 's'],
      ['opening LevelDB, reading and parsing as many', figures.readingSeconds, 2, 's'],
      ['start / reading', figures.ratio, 2, '×'],
      ['a bare Node server', figures.bareSeconds, 2, 's'],
      ['CPU time of the start, all threads', figures.cpuSeconds, 2, 's'],
      ['CPU time of the reading', figures.readingCpuSeconds, 2, 's'],
      ['resident memory', figures.residentMegabytes, 0, 'MB'],
      ['of an instance', figures.bytesPerInstance, 0, 'bytes'],
    ]),
  ];
  return { json: { figures, records, samples }, lines };
}
