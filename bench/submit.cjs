'use strict';
/**
 * From submit to running: `morch submit scripts/sample-workload.sh 1` on a cluster of three agents until the workload
 * is running, and then `morch wait`, whose exit code must be 0; the same by a bare POST /workloads.
 *
 *   node bench/submit.cjs [--runs 20] [--json] [--keep]
 *
 * Running is seen by a client that polls every 5 ms and, beside it, as the instance's own startedAt, of whole
 * milliseconds. The script is busy for one to two seconds, by the phase of the clock's second it starts in: so of its
 * end only the time from its exit to the end of `morch wait` is measured.
 * Checked: every workload runs and completes, `morch submit` and `morch wait` end with 0.
 * Controls, in the same run, one after the other: the script by child_process.spawn, until it executes; a Node process
 * that does nothing, which is the part of `morch submit` that any Node program costs.
 * --keep leaves the directory with the logs when something fails.
 */
const { spawn } = require('node:child_process');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');
const { Cluster } = require('./harness/cluster.cjs');
const { measureSpawns } = require('./harness/control.cjs');
const { MORCH, ROOT } = require('./harness/part.cjs');
const { onEnd, runBench } = require('./harness/program.cjs');
const { showSpreads, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const SCRIPT = path.join(ROOT, 'scripts/sample-workload.sh');
const POLL_MS = 5;

runBench({
  file: __filename,
  numbers: { runs: 20 },
  limitMs: ({ runs }) => 60_000 + runs * 30_000,
  main: measureSubmits,
});

async function measureSubmits({ numbers: { runs }, check, say }) {
  const cluster = await Cluster.start({ agents: 3 });
  const samples = [];
  for (let run = 0; run <= runs; run += 1) {
    const claim = (isTrue, what) => check(isTrue, `run ${run}: ${what}`);
    const sample = {
      run,
      spawnMs: await measureSpawns(1, SCRIPT, ['1']),
      nodeMs: (await runNode(['-e', '0'])).tookMs,
      post: await postOnce(cluster),
      cli: await submitByCli(cluster, claim),
    };
    await cluster.purge();
    if (run === 0) continue; // fills caches, compiles
    samples.push(sample);
    const { spawnMs, nodeMs, post, cli } = sample;
    say(
      `run ${run}/${runs}: POST to running ${post.seenMs.toFixed(1)} ms, morch submit to running ${cli.seenMs.toFixed(0)} ms, ` +
        `exit to end of morch wait ${cli.waitMs.toFixed(0)} ms (exit code ${cli.exitCode}); ` +
        `spawn ${spawnMs.toFixed(1)} ms, node ${nodeMs.toFixed(0)} ms`,
    );
  }
  const left = await cluster.close();
  check(left === 0, `${left} processes were left after all parts had ended`);
  return report({ samples, runs });
}

/** The script is not waited for. */
async function postOnce(cluster) {
  const before = performance.now();
  const beforeMs = Date.now();
  const { id } = await cluster.submit({ script: SCRIPT, args: ['1'] });
  const answeredMs = performance.now() - before;
  const { startedAtMs, seenMs } = await untilRunning(cluster, id, before);
  await cluster.request('DELETE', `/workloads/${id}`);
  await until(async () => (await cluster.request('GET', `/workloads/${id}`)).status === 'stopped', {
    what: `${id} stops`,
  });
  return { answeredMs, startedMs: startedAtMs - beforeMs, seenMs };
}

async function submitByCli(cluster, claim) {
  // Early in a second the script has the longest run, so that `morch wait` is there before it ends.
  await sleep(1_000 - (Date.now() % 1_000));
  const before = performance.now();
  const beforeMs = Date.now();
  // The id is its first line, printed once it is accepted; it looks on a moment longer to say where it went.
  const { firstLine: id, ended } = await startMorch(cluster, ['submit', 'scripts/sample-workload.sh', '1']);
  if (id === '') throw new Error(`morch submit tells no id: ${(await ended).errors}`);
  const { startedAtMs, seenMs } = await untilRunning(cluster, id, before);
  const submit = await ended;
  claim(submit.exitCode === 0, `morch submit ended with ${submit.exitCode}: ${submit.errors}`);
  const wait = await runMorch(cluster, ['wait', id]);
  const waitedMs = Date.now();
  const { status, instances } = await cluster.request('GET', `/workloads/${id}`);
  claim(wait.exitCode === 0 && status === 'completed', `${id} is ${status}, morch wait ended with ${wait.exitCode}`);
  return {
    startedMs: startedAtMs - beforeMs,
    seenMs,
    returnedMs: submit.endedAt - before,
    waitMs: waitedMs - Date.parse(instances[0].exit?.at),
    exitCode: wait.exitCode,
  };
}

/** @param before performance.now() of the submission */
async function untilRunning(cluster, id, before) {
  const { instances } = await until(
    async () => {
      const workload = await cluster.request('GET', `/workloads/${id}`);
      return workload.status === 'running' && workload;
    },
    { what: `${id} runs`, everyMs: POLL_MS },
  );
  return { startedAtMs: Date.parse(instances[0].startedAt), seenMs: performance.now() - before };
}

async function runMorch(cluster, args) {
  return (await startMorch(cluster, args)).ended;
}

function startMorch({ address, scheduler }, args) {
  const tokenFile = path.join(scheduler.dataDir, 'admin.token');
  return startNode([MORCH, '--address', address, '--token-file', tokenFile, ...args]);
}

async function runNode(args) {
  const before = performance.now();
  const { endedAt } = await (await startNode(args)).ended;
  return { tookMs: endedAt - before };
}

/** @returns { firstLine, ended } once the first line of its output is there, or it has ended */
async function startNode(args) {
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  const done = onEnd(() => child.kill('SIGKILL'));
  let output = '';
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors += text;
  });
  const ended = new Promise((resolve, reject) => {
    let endedAt = 0;
    child.once('error', reject);
    child.once('exit', () => {
      endedAt = performance.now();
    });
    child.once('close', (exitCode) => {
      done();
      resolve({ exitCode, endedAt, errors });
    });
  });
  const line = new Promise((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      if (output.includes('\n')) resolve();
    });
  });
  await Promise.race([line, ended]);
  return { firstLine: output.split('\n')[0], ended };
}

function report({ samples, runs }) {
  const of = (select) => spreadOf(samples.map(select));
  const figures = {
    spawnMs: of(({ spawnMs }) => spawnMs),
    nodeMs: of(({ nodeMs }) => nodeMs),
    postAnsweredMs: of(({ post }) => post.answeredMs),
    postStartedMs: of(({ post }) => post.startedMs),
    postSeenMs: of(({ post }) => post.seenMs),
    postToSpawn: of(({ post, spawnMs }) => post.seenMs / spawnMs),
    cliStartedMs: of(({ cli }) => cli.startedMs),
    cliSeenMs: of(({ cli }) => cli.seenMs),
    cliReturnedMs: of(({ cli }) => cli.returnedMs),
    cliToControls: of(({ cli, nodeMs, spawnMs }) => cli.seenMs / (nodeMs + spawnMs)),
    exitToEndOfWaitMs: of(({ cli }) => cli.waitMs),
  };
  const completed = samples.filter(({ cli }) => cli.exitCode === 0).length;
  const lines = [
    `Submit of scripts/sample-workload.sh 1 on 3 agents; ${runs} runs; median (min..max)`,
    ...showSpreads([
      ['POST to its answer', figures.postAnsweredMs, 1, 'ms'],
      ['POST to running, seen', figures.postSeenMs, 1, 'ms'],
      ['POST to running, startedAt', figures.postStartedMs, 0, 'ms'],
      ['control: child_process.spawn of the script', figures.spawnMs, 1, 'ms'],
      ['POST to running / spawn', figures.postToSpawn, 2, '×'],
      ['morch submit to running, seen', figures.cliSeenMs, 0, 'ms'],
      ['morch submit to running, startedAt', figures.cliStartedMs, 0, 'ms'],
      ['morch submit to its end', figures.cliReturnedMs, 0, 'ms'],
      ['control: a Node process that does nothing', figures.nodeMs, 0, 'ms'],
      ['morch submit to running / (node + spawn)', figures.cliToControls, 2, '×'],
      ['exit of the script to end of morch wait', figures.exitToEndOfWaitMs, 0, 'ms'],
    ]),
    `  morch wait ended with 0 in ${completed} of ${runs} runs`,
  ];
  return { json: { completed, figures, samples }, lines };
}
