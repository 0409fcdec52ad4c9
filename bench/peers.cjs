'use strict';
/**
 * The same work by what else keeps processes running on one machine: a scheduler and one agent of ours, PM2, supervisord, in turn in
 * each run; and a C program, which only starts and stops them.
 *
 *   node bench/peers.cjs [--runs 7] [--instances 1000] [--restarts 20] [--idle-seconds 30] [--install] [--json] [--keep]
 *
 * Measured: so many `sleep` from one request until all are reported running, by each one's own account, and one request until they
 * are stopped; the memory of what keeps them running (PSS of all its processes, ours with a shim for each) and its CPU time while
 * nothing happens; then, of a few others, from `kill -9` of one until its successor has begun, one after the other.
 * Each is asked by a client that is connected before, has started some before, and is given what makes it faster: PM2 loads nothing
 * into what it starts and stops single processes, not trees; supervisord takes for running what has been executed, and is not polled.
 * Their logs are on, as ours are. Checked: as many processes as asked for, none after the stop.
 * A peer that is not installed is skipped; with --install it is installed first (bench/peers/install.cjs).
 * Control of the restarts: child_process.spawn of the same script, until it has begun.
 */
const { spawn } = require('node:child_process');
const { performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');
const { buildC, measureSleepsInC } = require('./harness/control.cjs');
const { cpuSecondsOf, killPid, memoryOf } = require('./harness/processes.cjs');
const { runBench } = require('./harness/program.cjs');
const { median, showSpread, showTable, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');
const { Beginnings } = require('./peers/beginnings.cjs');
const { PEERS, preparePeers } = require('./peers/install.cjs');
const { Morch } = require('./peers/morch.cjs');

const WARM_UP = 20;
/** Ours waits before it starts again what has run for less than a second; the others would count it against their limits. */
const LIVED_MS = 1_500;
const SETTLE_WITHIN_MS = 5_000;

runBench({
  file: __filename,
  numbers: { runs: 7, instances: 1_000, restarts: 20, 'idle-seconds': 30 },
  switches: ['install'],
  limitMs: ({ runs, instances, 'idle-seconds': idleSeconds }) =>
    900_000 + runs * (120_000 + instances * 300 + idleSeconds * 3_000),
  main: measurePeers,
});

async function measurePeers({ numbers, switches: { install }, check, say }) {
  const { ready, skipped } = preparePeers(['pm2', 'supervisord'], { install, say });
  const kinds = { morch: Morch, ...Object.fromEntries(Object.keys(ready).map((name) => [name, PEERS[name].kind])) };
  const program = buildC('sleeps_control');
  const beginnings = await Beginnings.open();
  const samples = [];
  for (let run = 1; run <= numbers.runs; run += 1) {
    const { startMs, stopMs } = await measureSleepsInC(program, numbers.instances);
    const sample = { run, c: { startMs, stopMs, restartMs: await measureBareStarts(beginnings, numbers.restarts) } };
    // Each comes first in its turn.
    const names = Object.keys(kinds);
    const turned = [...names.slice(run % names.length), ...names.slice(0, run % names.length)];
    for (const name of turned) {
      const claim = (isTrue, what) => check(isTrue, `run ${run}, ${kinds[name].label}: ${what}`);
      sample[name] = await measureOne({ ...numbers, kind: kinds[name], beginnings, claim });
      say(`run ${run}/${numbers.runs}: ${kinds[name].label}: ${describe(sample[name])} (C ${startMs.toFixed(0)} ms)`);
    }
    samples.push(sample);
  }
  return report({ samples, kinds, ready, skipped, ...numbers });
}

async function measureOne({ kind, instances, restarts, 'idle-seconds': idleSeconds, beginnings, claim }) {
  const command = ['/bin/sleep', '100000'];
  const supervisor = await kind.open([
    { name: 'warm', command, count: WARM_UP },
    { name: 'many', command, count: instances },
    { name: 'killed', command: [beginnings.script], count: restarts },
  ]);
  await supervisor.start('warm');
  await supervisor.stop('warm');

  const startMs = await timed(async () => {
    const running = await supervisor.start('many');
    claim(running === instances, `${running} of ${instances} run by its own account`);
  });
  await claimSo(supervisor, instances, claim);
  const parts = supervisor.parts();
  const pids = Object.values(parts).flat();
  const cpuBefore = sumOf(pids, cpuSecondsOf);
  const idleMs = await timed(() => sleep(idleSeconds * 1_000));
  const idleCpuPercent = ((sumOf(pids, cpuSecondsOf) - cpuBefore) / (idleMs / 1e3)) * 100;
  const partsMib = Object.fromEntries(Object.entries(parts).map(([name, own]) => [name, memoryMibOf(own)]));
  const memoryMib = memoryMibOf(pids);
  await claimSo(supervisor, instances, claim);
  const stopMs = await timed(() => supervisor.stop('many'));
  await claimSo(supervisor, 0, claim);

  const restartMs = await measureRestarts(supervisor, beginnings, restarts);
  await supervisor.destroy();
  return { startMs, stopMs, idleCpuPercent, partsMib, memoryMib, restartMs };
}

/** A little later than it says, as one of them may have forked and not yet executed. */
async function claimSo(supervisor, count, claim) {
  let there = 0;
  const look = () => {
    there = supervisor.processes().length;
    return there === count;
  };
  await until(look, { what: 'there are as many', timeoutMs: SETTLE_WITHIN_MS, everyMs: 100 }).catch(() => {}); // the check tells
  claim(there === count, `${there} processes instead of ${count}`);
}

/** @returns the median, from `kill -9` of one until its successor has begun, one after the other */
async function measureRestarts(supervisor, beginnings, count) {
  beginnings.clear();
  await supervisor.start('killed');
  await beginnings.untilThere(count);
  const pids = beginnings.pids();
  await sleep(LIVED_MS);
  const tookMs = [];
  for (const pid of pids) {
    beginnings.clear();
    const killedAt = performance.now();
    killPid(pid);
    tookMs.push((await beginnings.untilThere(1)) - killedAt);
  }
  await supervisor.stop('killed');
  return median(tookMs);
}

async function measureBareStarts(beginnings, count) {
  const tookMs = [];
  for (let i = 0; i < count; i += 1) {
    beginnings.clear();
    const calledAt = performance.now();
    const child = spawn(beginnings.script, { stdio: 'ignore' });
    const gone = new Promise((resolve) => child.once('exit', resolve));
    tookMs.push((await beginnings.untilThere(1)) - calledAt);
    child.kill('SIGKILL');
    await gone;
  }
  return median(tookMs);
}

function memoryMibOf(pids) {
  return sumOf(pids, (pid) => memoryOf(pid).proportional) / 2 ** 20;
}

async function timed(act) {
  const before = performance.now();
  await act();
  return performance.now() - before;
}

function sumOf(pids, read) {
  return pids.reduce((sum, pid) => sum + read(pid), 0);
}

function describe({ startMs, stopMs, idleCpuPercent, memoryMib, restartMs }) {
  return (
    `all running after ${startMs.toFixed(0)} ms, stopped after ${stopMs.toFixed(0)} ms, restart ${restartMs.toFixed(1)} ms, ` +
    `${memoryMib.toFixed(0)} MiB, ${idleCpuPercent.toFixed(2)} % CPU`
  );
}

function report({ samples, kinds, ready, skipped, runs, instances, restarts, 'idle-seconds': idleSeconds }) {
  const names = Object.keys(kinds);
  const peers = Object.keys(ready);
  const ofEach = (list, select) =>
    Object.fromEntries(list.map((name) => [name, spreadOf(samples.map((sample) => select(sample[name], sample)))]));
  const figures = {
    startMs: ofEach([...names, 'c'], (one) => one.startMs),
    stopMs: ofEach([...names, 'c'], (one) => one.stopMs),
    restartMs: ofEach([...names, 'c'], (one) => one.restartMs),
    memoryMib: ofEach(names, (one) => one.memoryMib),
    morchPartsMib: Object.fromEntries(
      Object.keys(samples[0].morch.partsMib).map((part) => [
        part,
        spreadOf(samples.map(({ morch }) => morch.partsMib[part])),
      ]),
    ),
    idleCpuPercent: ofEach(names, (one) => one.idleCpuPercent),
    timesFaster: {
      start: ofEach(peers, (one, { morch }) => one.startMs / morch.startMs),
      stop: ofEach(peers, (one, { morch }) => one.stopMs / morch.stopMs),
      restart: ofEach(peers, (one, { morch }) => one.restartMs / morch.restartMs),
    },
    toC: {
      start: ofEach(['c'], (c, { morch }) => morch.startMs / c.startMs).c,
      stop: ofEach(['c'], (c, { morch }) => morch.stopMs / c.stopMs).c,
      restart: ofEach(['c'], (c, { morch }) => morch.restartMs / c.restartMs).c,
    },
  };
  const show = (spread, digits) => (spread === undefined ? '' : showSpread(spread, digits));
  const row = (name, label) => [
    label,
    show(figures.startMs[name], 0),
    show(figures.stopMs[name], 0),
    show(figures.restartMs[name], 1),
    show(figures.memoryMib[name], 0),
    show(figures.idleCpuPercent[name], 2),
  ];
  const { start, stop, restart } = figures.timesFaster;
  const lines = [
    `${instances} sleeps, and ${restarts} restarts after kill -9; ${runs} runs; median (min..max); idle over ${idleSeconds} s`,
    ...showTable([
      ['', 'start ms', 'stop ms', 'restart ms', 'MiB', 'idle CPU %'],
      ...names.map((name) => row(name, name === 'morch' ? 'morch' : `${kinds[name].label} ${ready[name]}`)),
      row('c', 'control: C; restart: spawn'),
      ...peers.map((name) => [
        `${kinds[name].label} / morch`,
        show(start[name], 2),
        show(stop[name], 2),
        show(restart[name], 2),
        '',
        '',
      ]),
      ['morch / control', show(figures.toC.start, 2), show(figures.toC.stop, 2), show(figures.toC.restart, 2), '', ''],
    ]),
    `  of morch: ${Object.entries(figures.morchPartsMib)
      .map(([part, spread]) => `${part} ${showSpread(spread, 0)} MiB`)
      .join(', ')}`,
    ...Object.entries(skipped).map(([name, reason]) => `  ${PEERS[name].kind.label} skipped: ${reason}`),
  ];
  return { json: { figures, versions: ready, skipped, samples }, lines };
}
