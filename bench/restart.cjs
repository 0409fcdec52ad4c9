'use strict';
/**
 * A scheduler that dies while submissions come in: `kill -9` of it while 200 are under way, 20 at a time, each with an
 * Idempotency-Key; then it is started again. What it acknowledged must be there and run exactly once.
 *
 *   node bench/restart.cjs [--runs 5] [--submissions 200] [--json] [--keep]
 *
 * Each run has a cluster of its own: three agents, a service of 20 instances that ran before, and jobs without ids, so
 * that a submission taken in twice would run twice. The kill comes after a share of the acknowledgements that grows
 * from run to run. Jobs write "started" to a log file of their own and become a `sleep`.
 * Once all acknowledged ones run, every submission is sent again with its key: the same workload must be answered.
 * Checked: every acknowledged one is found and runs once (by the mark in /proc/PID/environ, and by the lines in its
 * log); none is doubled or lost; after the second sending all 200 run once; what ran before keeps pid and generation.
 * Control: a bare Node HTTP server, from its start to its first answer, in the same run.
 * --keep leaves the directory with the logs when something fails.
 */
const { mkdirSync, readFileSync } = require('node:fs');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { Cluster } = require('./harness/cluster.cjs');
const { measureBareServer } = require('./harness/control.cjs');
const { inLanes } = require('./harness/lanes.cjs');
const { countBy } = require('./harness/processes.cjs');
const { runBench } = require('./harness/program.cjs');
const { showSpreads, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const LANES = 20;
const RUNNING_BEFORE = 20;
const UP_WITHIN_MS = 60_000;
const JOB = 'echo started >> "$0"; exec sleep 100000';

runBench({
  file: __filename,
  numbers: { runs: 5, submissions: 200 },
  limitMs: ({ runs }) => 60_000 + runs * 180_000,
  main: measureRestarts,
});

async function measureRestarts({ numbers: { runs, submissions }, check, say }) {
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    const killAfter = Math.round((submissions * run) / (runs + 1));
    const claim = (isTrue, what) => check(isTrue, `run ${run}: ${what}`);
    const controlMs = await measureBareServer();
    const sample = { run, ...(await restartOnce({ submissions, killAfter, claim })), controlMs };
    samples.push(sample);
    say(
      `run ${run}/${runs}: ${sample.acknowledged} of ${submissions} acknowledged before the kill, ${sample.found} found, ` +
        `${sample.runningOnce} running once, ${sample.doubled} doubled, ${sample.lost} lost; serving after ` +
        `${sample.servingMs.toFixed(0)} ms, all acknowledged running after ${sample.runningMs.toFixed(0)} ms`,
    );
  }
  return report({ samples, runs, submissions });
}

async function restartOnce({ submissions, killAfter, claim }) {
  const cluster = await Cluster.start({ agents: 3 });
  const before = await startService(cluster);
  const jobs = makeJobs(cluster, submissions);
  await submitUntilKilled({ cluster, jobs, killAfter });
  const acknowledged = jobs.filter(({ id }) => id !== null);
  claim(
    acknowledged.length >= killAfter && acknowledged.length < submissions,
    'the kill came while submissions came in',
  );

  const startedAt = performance.now();
  await cluster.startScheduler();
  const servingMs = performance.now() - startedAt;
  await until(async () => areRunning(acknowledged, await cluster.workloads()), {
    what: 'all acknowledged submissions run',
    timeoutMs: UP_WITHIN_MS,
    everyMs: 20,
  });
  const runningMs = performance.now() - startedAt;
  const tally = await countJobs(acknowledged, cluster);
  const { found, runningOnce, doubled, lost } = tally;
  const all = acknowledged.length;
  claim(found === all && runningOnce === all && doubled === 0 && lost === 0, `of ${all}: ${JSON.stringify(tally)}`);

  const takenInUnheard = (await cluster.workloads()).length - 1 - acknowledged.length;
  await sendAgain({ cluster, jobs, claim });
  await until(async () => areRunning(jobs, await cluster.workloads()), { what: 'all submissions run' });
  const final = await countJobs(jobs, cluster);
  claim(final.runningOnce === submissions && final.doubled === 0, `sent again: ${JSON.stringify(final)}`);
  const known = (await cluster.workloads()).length;
  claim(known === submissions + 1, `${known} workloads instead of ${submissions + 1}`);
  await examineService({ cluster, before, claim });

  const left = await cluster.close();
  claim(left === 0, `${left} processes were left after all parts had ended`);
  return { acknowledged: all, ...tally, takenInUnheard, doubledLater: final.doubled, servingMs, runningMs };
}

async function startService(cluster) {
  await cluster.submit({ id: 'before', kind: 'service', command: ['sleep', '100000'], replicas: RUNNING_BEFORE });
  await until(async () => (await cluster.workloads())[0].counts.running === RUNNING_BEFORE, {
    what: 'the service runs',
  });
  return cluster.instancesOf('before');
}

/** `id` and `uid` are those of the acknowledgement. */
function makeJobs(cluster, count) {
  const directory = path.join(cluster.directory, 'jobs');
  mkdirSync(directory);
  return Array.from({ length: count }, (_, at) => {
    const logFile = path.join(directory, `${at}.log`);
    return { name: `job-${at}`, key: `${cluster.mark}-${at}`, logFile, id: null, uid: null };
  });
}

function submitJob(cluster, { name, key, logFile }) {
  const spec = { command: ['sh', '-c', JOB, logFile], env: { BENCH_JOB: name } };
  return cluster.submit(spec, { headers: { 'idempotency-key': key } });
}

/** Resolves when the scheduler is reaped and every submission has its answer or its error. */
async function submitUntilKilled({ cluster, jobs, killAfter }) {
  let killed = null;
  let acknowledged = 0;
  await inLanes(jobs, LANES, async (job) => {
    try {
      const { id, uid } = await submitJob(cluster, job);
      Object.assign(job, { id, uid });
    } catch (error) {
      if (killed === null) throw error;
      return; // not acknowledged
    }
    acknowledged += 1;
    if (acknowledged === killAfter) killed = cluster.kill('scheduler');
  });
  await killed;
}

function areRunning(jobs, workloads) {
  const running = new Set(workloads.filter(({ status }) => status === 'running').map(({ id }) => id));
  return jobs.every(({ id }) => running.has(id));
}

/** By the scheduler's word, by processes and by the jobs' own logs. */
async function countJobs(jobs, cluster) {
  // A job is running from its exec on, a moment before its shell has written its line.
  const written = () => jobs.every(({ logFile }) => startsIn(logFile) > 0);
  await until(written, { what: 'all jobs have written', timeoutMs: 5_000 }).catch(() => {}); // the counts tell
  const workloads = await cluster.workloads();
  const processes = cluster.processes();
  const uids = new Set(workloads.map(({ uid }) => uid));
  const copies = countBy(processes, 'BENCH_JOB');
  const tally = { found: 0, runningOnce: 0, doubled: 0, lost: 0 };
  for (const { name, uid, logFile } of jobs) {
    const starts = startsIn(logFile);
    const now = copies.get(name) ?? 0;
    if (uids.has(uid)) tally.found += 1;
    if (now === 1 && starts === 1) tally.runningOnce += 1;
    if (now > 1 || starts > 1) tally.doubled += 1;
    if (now === 0) tally.lost += 1;
  }
  return tally;
}

function startsIn(logFile) {
  try {
    return readFileSync(logFile, 'utf8')
      .split('\n')
      .filter((line) => line === 'started').length;
  } catch (error) {
    if (error.code === 'ENOENT') return 0;
    throw error;
  }
}

async function sendAgain({ cluster, jobs, claim }) {
  await inLanes(jobs, LANES, async (job) => {
    const { id, uid } = await submitJob(cluster, job);
    claim(job.uid === null || job.uid === uid, `${job.name}, sent again with its key, became another workload`);
    Object.assign(job, { id, uid });
  });
}

async function examineService({ cluster, before, claim }) {
  const after = new Map((await cluster.instancesOf('before')).map((instance) => [instance.id, instance]));
  const processes = countBy(cluster.processes(), 'MORCH_INSTANCE');
  for (const was of before) {
    const is = after.get(was.id);
    const kept = is?.pid === was.pid && is.generation === was.generation && is.run === was.run;
    claim(kept && processes.get(was.id) === 1, `${was.id} was to be left alone: ${JSON.stringify({ was, is })}`);
  }
}

function report({ samples, runs, submissions }) {
  const of = (field) => spreadOf(samples.map((sample) => sample[field]));
  const sum = (field) => samples.reduce((total, sample) => total + sample[field], 0);
  const figures = {
    servingMs: of('servingMs'),
    runningMs: of('runningMs'),
    controlMs: of('controlMs'),
    servingToControl: spreadOf(samples.map(({ servingMs, controlMs }) => servingMs / controlMs)),
  };
  const totals = {
    submitted: runs * submissions,
    ...Object.fromEntries(
      ['acknowledged', 'found', 'runningOnce', 'doubled', 'lost', 'takenInUnheard', 'doubledLater'].map((field) => [
        field,
        sum(field),
      ]),
    ),
  };
  const lines = [
    `Restart: scheduler killed while ${submissions} submissions were under way, ${LANES} at a time; ${runs} runs; median (min..max)`,
    `  acknowledged before the kill ${totals.acknowledged}: found ${totals.found}, running once ${totals.runningOnce}, ` +
      `doubled ${totals.doubled}, lost ${totals.lost}`,
    `  taken in, but killed before the answer: ${totals.takenInUnheard}; all sent again with their keys: doubled ${totals.doubledLater}`,
    ...showSpreads([
      ['scheduler start to serving', figures.servingMs, 0, 'ms'],
      ['scheduler start to all acknowledged running', figures.runningMs, 0, 'ms'],
      ['control: a bare Node HTTP server, start to serving', figures.controlMs, 0, 'ms'],
      ['serving / control', figures.servingToControl, 2, '×'],
    ]),
  ];
  return { json: { totals, figures, samples }, lines };
}
