'use strict';
/**
 * Short jobs: `/bin/true`, accepted, placed, run, reported and on the disk, per second, by a scheduler and one agent of ours and by
 * Slurm with one node, in turn in each run, on the same cores.
 *
 *   node bench/peersJobs.cjs [--runs 7] [--count 5000] [--peer-count 500] [--lanes 16] [--install] [--json] [--keep]
 *
 * One by one: a request, or a call of sbatch, for each job, --lanes at a time; as one: a workload of so many replicas, a job array of so
 * many tasks. Measured from the first request until the last is told as completed. Who submits takes its share of the cores; a
 * call of sbatch is a process, which is what Slurm has for it; the job array does without. Slurm does fewer (--peer-count), as it takes so
 * much longer; its rate does not gain by more. It is set up for many short jobs (bench/peers/slurm.cjs); it acknowledges a job before
 * that is on the disk, which ours does not. Neither runs what it is not asked for: no accounting, no limits.
 * Ours is asked without its limit of requests in a second (--rate-limit 0).
 * Checked: all complete. Slurm is skipped where it is not installed; with --install it is (bench/peers/install.cjs).
 * Control: a C loop of vfork, exec and wait, as many at once.
 */
const { performance } = require('node:perf_hooks');
const { Cluster } = require('./harness/cluster.cjs');
const { buildC, measureTruesInC } = require('./harness/control.cjs');
const { inLanes } = require('./harness/lanes.cjs');
const { runBench } = require('./harness/program.cjs');
const { showSpreads, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');
const { PEERS, preparePeers } = require('./peers/install.cjs');

const JOB = { kind: 'batch', command: ['/bin/true'], restart: { policy: 'never' } };
const WARM_UP = 50;
/** The answer costs the scheduler the more the more jobs there are. */
const POLL_MS = 100;
const WITHIN_MS = 300_000;

runBench({
  file: __filename,
  numbers: { runs: 7, count: 5_000, 'peer-count': 500, lanes: 16 },
  switches: ['install'],
  limitMs: ({ runs, count, 'peer-count': peerCount }) => 900_000 + runs * (120_000 + count * 40 + peerCount * 400),
  main: measureJobs,
});

async function measureJobs({ numbers, switches: { install }, check, say }) {
  const { ready, skipped } = preparePeers(['slurm'], { install, say });
  const { runs, count, 'peer-count': peerCount, lanes } = numbers;
  const program = buildC('spawn_control');
  const slurm = ready.slurm === undefined ? null : await PEERS.slurm.kind.open();
  await slurm?.submitOneByOne(WARM_UP, lanes);
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    const c = count / (await measureTruesInC(program, count, lanes)).seconds;
    const claim = (isTrue, what) => check(isTrue, `run ${run}: ${what}`);
    const ours = () => measureOurs({ count, lanes, claim });
    const theirs = async () => slurm && measureSlurm({ slurm, count: peerCount, lanes });
    // Each comes first in its turn.
    const [first, second] = run % 2 === 1 ? [ours, theirs] : [theirs, ours];
    const [one, other] = [await first(), await second()];
    const sample = { run, c, ...(run % 2 === 1 ? { morch: one, slurm: other } : { morch: other, slurm: one }) };
    samples.push(sample);
    const show = ({ oneByOne, asOne }) => `${oneByOne.toFixed(0)} and ${asOne.toFixed(0)} jobs/s`;
    say(`run ${run}/${runs}: one by one and as one: ${show(sample.morch)}; C ${c.toFixed(0)}/s`);
    if (slurm) say(`run ${run}/${runs}: Slurm ${show(sample.slurm)}`);
  }
  await slurm?.close();
  return report({ samples, ready, skipped, ...numbers });
}

/** On a cluster of its own, which has done some before. @returns jobs per second of both */
async function measureOurs({ count, lanes, claim }) {
  const cluster = await Cluster.start({ agents: 1, schedulerFlags: ['--rate-limit', '0'] });
  await submitOneByOne(cluster, 'warm', WARM_UP, lanes);
  await untilCompleted(cluster, WARM_UP);
  const oneByOne = await rateOf(count, async () => {
    await submitOneByOne(cluster, 'true', count, lanes);
    await untilCompleted(cluster, WARM_UP + count);
  });
  const asOne = await rateOf(count, async () => {
    await cluster.submit({ id: 'trues', ...JOB, replicas: count });
    await untilCompleted(cluster, WARM_UP + 2 * count);
  });
  const left = await cluster.close();
  claim(left === 0, `${left} processes were left after all parts had ended`);
  return { oneByOne, asOne };
}

async function submitOneByOne(cluster, name, count, lanes) {
  const ids = Array.from({ length: count }, (_, at) => `${name}-${at}`);
  await inLanes(ids, lanes, (id) => cluster.submit({ id, ...JOB }));
}

/** All that have ever been submitted, and none otherwise. */
async function untilCompleted(cluster, count) {
  let instances = {};
  const look = async () => {
    instances = (await cluster.request('GET', '/health/summary')).totals.instances;
    if (instances.failed > 0) throw new Error(`${instances.failed} jobs have failed`);
    return instances.completed === count;
  };
  const describe = () => JSON.stringify(instances);
  await until(look, { what: `${count} jobs have completed`, everyMs: POLL_MS, timeoutMs: WITHIN_MS, describe });
}

async function measureSlurm({ slurm, count, lanes }) {
  const oneByOne = await rateOf(count, () => slurm.submitOneByOne(count, lanes));
  const asOne = await rateOf(count, () => slurm.submitAsOne(count));
  return { oneByOne, asOne };
}

/** @returns per second */
async function rateOf(count, act) {
  const before = performance.now();
  await act();
  return (count / (performance.now() - before)) * 1e3;
}

function report({ samples, ready, skipped, runs, count, 'peer-count': peerCount, lanes }) {
  const of = (select) => spreadOf(samples.map(select));
  const ofSlurm = (select) => (ready.slurm === undefined ? null : of(select));
  const figures = {
    oneByOnePerSecond: of(({ morch }) => morch.oneByOne),
    asOnePerSecond: of(({ morch }) => morch.asOne),
    slurmOneByOnePerSecond: ofSlurm(({ slurm }) => slurm.oneByOne),
    slurmAsOnePerSecond: ofSlurm(({ slurm }) => slurm.asOne),
    controlPerSecond: of(({ c }) => c),
    oneByOneToSlurm: ofSlurm(({ morch, slurm }) => morch.oneByOne / slurm.oneByOne),
    asOneToSlurm: ofSlurm(({ morch, slurm }) => morch.asOne / slurm.asOne),
    oneByOneToControl: of(({ morch, c }) => morch.oneByOne / c),
    asOneToControl: of(({ morch, c }) => morch.asOne / c),
  };
  const lines = [
    `${count} × /bin/true, of Slurm ${peerCount}; one by one ${lanes} at a time; ${runs} runs; median (min..max)`,
    ...showSpreads(
      [
        ['one by one', figures.oneByOnePerSecond, 0, 'jobs/s'],
        [`Slurm ${ready.slurm}, one by one`, figures.slurmOneByOnePerSecond, 1, 'jobs/s'],
        ['one by one / Slurm', figures.oneByOneToSlurm, 1, '× the rate'],
        ['as one workload', figures.asOnePerSecond, 0, 'jobs/s'],
        [`Slurm ${ready.slurm}, as one job array`, figures.slurmAsOnePerSecond, 1, 'jobs/s'],
        ['as one / Slurm', figures.asOneToSlurm, 1, '× the rate'],
        [`control: vfork, exec, wait in C, ${lanes} at once`, figures.controlPerSecond, 0, 'per second'],
        ['one by one / control', figures.oneByOneToControl, 3, '× the rate'],
        ['as one / control', figures.asOneToControl, 3, '× the rate'],
      ].filter(([, spread]) => spread !== null),
    ),
    ...Object.values(skipped).map((reason) => `  Slurm skipped: ${reason}`),
  ];
  return { json: { figures, versions: ready, skipped, samples }, lines };
}
