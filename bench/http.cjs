'use strict';
/**
 * The scheduler's HTTP under load, against bare Express in the same run: durable submissions, and the list of 100,000 workloads.
 *
 *   node bench/http.cjs [--runs 7] [--seconds 4] [--connections 100] [--workloads 100000] [--rate 200] [--json] [--keep]
 *
 * Submissions: POST /workloads over --connections kept connections, each with its next request when it has an answer, for --seconds;
 * a run has a scheduler of its own, with everything on: token, rate limit, audit log, events, metrics, store; a 201 says
 * that the workload is on the disk. There are no nodes, so its instance waits; the control loop runs. The control is an app of Express 5
 * with `express.json` and the very zod schema, which keeps nothing. Both are warmed up by a second of it.
 * List: GET /workloads (100 of --workloads, written to the store beforehand) of one scheduler, over as many connections; the control is
 * bare Express with the same bytes prebuilt. Then --rate requests a second are offered to each, whatever becomes of
 * them: times count from when a request was due.
 * The load comes from a process of its own, on bare sockets. Ours and the control take turns; the ratios are of each run.
 * Checked: every POST is answered with 201, every GET with 200; of the last run's submissions as many are found after a kill -9.
 */
const { startBareExpress } = require('./harness/bareExpress.cjs');
const { Cluster } = require('./harness/cluster.cjs');
const { fillDataDir } = require('./harness/filledStore.cjs');
const { NUMBER, startLoad } = require('./harness/load.cjs');
const { cpuSecondsOf } = require('./harness/processes.cjs');
const { runBench } = require('./harness/program.cjs');
const { showSpreads, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const WARM_UP_SECONDS = 1;
const LIMIT = ['--rate-limit', '1000000'];
const SUBMITTED = JSON.stringify({
  id: `job-${NUMBER}`,
  command: ['/usr/bin/env', 'true'],
  env: { STAGE: 'production' },
  labels: { team: 'payments' },
  resources: { cpuMillis: 100, memoryBytes: 64 * 2 ** 20 },
});

runBench({
  file: __filename,
  numbers: { runs: 7, seconds: 4, connections: 100, workloads: 100_000, rate: 200 },
  limitMs: ({ runs, seconds, workloads }) => 120_000 + workloads * 2 + runs * (60_000 + seconds * 10_000),
  main: measureHttp,
});

async function measureHttp({ numbers, check, say }) {
  const express = await startBareExpress();
  const load = startLoad();
  const submissions = await measureSubmissions({ ...numbers, express, load, check, say });
  const lists = await measureLists({ ...numbers, express, load, check, say });
  load.end();
  express.end();
  return report(numbers, submissions, lists);
}

async function measureSubmissions({ runs, seconds, connections, express, load, check, say }) {
  const asked = { method: 'POST', path: '/workloads', body: SUBMITTED, connections };
  const samples = [];
  for (let run = 0; run <= runs; run += 1) {
    const cluster = await Cluster.start({ agents: 0, schedulerFlags: LIMIT });
    const { port, pid, token } = cluster.scheduler;
    const ours = { ...asked, port, pid, token };
    const control = { ...asked, port: express.port, pid: express.pid };
    const sample = {};
    for (const [name, server] of inTurn(run, { ours, control })) {
      const { answers } = await load.run({ ...server, seconds: WARM_UP_SECONDS });
      sample[name] = await measureLoad(load, { ...server, seconds, firstNumber: answers });
      sample[name].submitted = answers + sample[name].answers;
      checkStatuses(check, `POST to ${name}`, sample[name].statuses, 201);
    }
    if (run === runs) await checkFound(cluster, sample.ours.submitted, check);
    await cluster.destroy();
    if (run === 0) continue; // fills caches
    samples.push(sample);
    say(`submissions, run ${run}/${runs}: ${shown(sample)}`);
  }
  return samples;
}

/** After a kill -9 and a start: all that was acknowledged is there. */
async function checkFound(cluster, submitted, check) {
  await cluster.kill('scheduler');
  await cluster.startScheduler();
  const { workloads } = await cluster.request('GET', '/health');
  check(workloads.total === submitted, `${submitted} were acknowledged, and ${workloads.total} found after a kill -9`);
}

async function measureLists({ runs, seconds, connections, workloads, rate, express, load, check, say }) {
  const cluster = new Cluster();
  say(`writing a store of ${workloads} workloads`);
  cluster.schedulerFlags = LIMIT;
  await fillDataDir(`${cluster.directory}/scheduler`, { nodes: 0, workloads, replicas: 1, status: 'pending' });
  await cluster.startScheduler();
  await untilQuiet(cluster);
  const { port, pid, token } = cluster.scheduler;
  await express.prebuild(JSON.stringify(await cluster.request('GET', '/workloads')));
  const asked = { method: 'GET', path: '/workloads', connections };
  const ours = { ...asked, port, pid, token };
  const control = { ...asked, port: express.port, pid: express.pid };
  const samples = [];
  for (let run = 0; run <= runs; run += 1) {
    const sample = {};
    for (const [name, server] of inTurn(run, { ours, control })) {
      sample[name] = await measureLoad(load, { ...server, seconds });
      const offered = await load.run({ ...server, seconds, ratePerSecond: rate });
      sample[name].offeredP50Ms = offered.p50Ms;
      sample[name].offeredP99Ms = offered.p99Ms;
      checkStatuses(check, `GET of ${name}`, { ...sample[name].statuses, ...offered.statuses }, 200);
    }
    if (run === 0) continue;
    samples.push(sample);
    say(`list, run ${run}/${runs}: ${shown(sample)}; p99 ${sample.ours.offeredP99Ms.toFixed(1)} ms at ${rate}/s`);
  }
  await cluster.destroy();
  return samples;
}

/** Each of the instances has been told once that there is no node. */
async function untilQuiet(cluster) {
  let before = null;
  const isQuiet = async () => {
    const present = await cluster.request('GET', '/workloads?limit=1000');
    const isSame = JSON.stringify(present) === before;
    before = JSON.stringify(present);
    return isSame;
  };
  await until(isQuiet, { what: 'the scheduler has nothing to do', everyMs: 1_000, timeoutMs: 60_000 });
}

/** Whoever is first finds the machine in another state than whoever is second. */
function inTurn(run, servers) {
  const entries = Object.entries(servers);
  return run % 2 === 0 ? entries : entries.reverse();
}

async function measureLoad(load, { pid, ...job }) {
  const before = cpuSecondsOf(pid);
  const result = await load.run(job);
  return { ...result, cpuUs: ((cpuSecondsOf(pid) - before) / result.answers) * 1e6 };
}

function checkStatuses(check, what, statuses, expected) {
  check(Object.keys(statuses).join() === String(expected), `${what}: answered with ${JSON.stringify(statuses)}`);
}

function shown({ ours, control }) {
  const ratio = ours.perSecond / control.perSecond;
  return `${ours.perSecond.toFixed(0)}/s, bare Express ${control.perSecond.toFixed(0)}/s: ${ratio.toFixed(2)}`;
}

function report({ runs, seconds, connections, workloads, rate }, submissions, lists) {
  const figuresOf = (samples) => {
    const of = (select) => spreadOf(samples.map(select));
    return {
      perSecond: of(({ ours }) => ours.perSecond),
      controlPerSecond: of(({ control }) => control.perSecond),
      ratio: of(({ ours, control }) => ours.perSecond / control.perSecond),
      cpuUs: of(({ ours }) => ours.cpuUs),
      controlCpuUs: of(({ control }) => control.cpuUs),
      p99Ms: of(({ ours }) => ours.p99Ms),
      controlP99Ms: of(({ control }) => control.p99Ms),
    };
  };
  const offeredOf = (name, field) => spreadOf(lists.map((sample) => sample[name][field]));
  const list = {
    ...figuresOf(lists),
    offeredP50Ms: offeredOf('ours', 'offeredP50Ms'),
    offeredP99Ms: offeredOf('ours', 'offeredP99Ms'),
    controlOfferedP99Ms: offeredOf('control', 'offeredP99Ms'),
  };
  const figures = { submissions: figuresOf(submissions), list };
  const rowsOf = (what, of) => [
    [what, of.perSecond, 0, '/s'],
    ['  bare Express', of.controlPerSecond, 0, '/s'],
    ['  ratio', of.ratio, 2, '×'],
    ['  CPU time of one, all threads', of.cpuUs, 0, 'µs'],
    ['  of bare Express', of.controlCpuUs, 0, 'µs'],
    ['  p99', of.p99Ms, 1, 'ms'],
    ['  p99 of bare Express', of.controlP99Ms, 1, 'ms'],
  ];
  const lines = [
    `${connections} connections for ${seconds} s each; ${runs} runs; median (min..max)`,
    ...showSpreads([
      ...rowsOf('durable submissions', figures.submissions),
      ...rowsOf(`GET /workloads, 100 of ${workloads}`, list),
      [`  p50 at ${rate}/s offered`, list.offeredP50Ms, 1, 'ms'],
      ['  p99', list.offeredP99Ms, 1, 'ms'],
      ['  p99 of bare Express', list.controlOfferedP99Ms, 1, 'ms'],
    ]),
  ];
  return { json: { figures, samples: { submissions, lists } }, lines };
}
