'use strict';
/**
 * The first restart of a service whose process is killed: from the kill -9 until the program runs again, in its next run on the
 * same node; against a C loop of waitid, vfork and exec that keeps as many of the same program running.
 *
 *   node bench/restartInPlace.cjs [--runs 7] [--count 30] [--data-dir DIR] [--json] [--keep]
 *
 * --count services of one agent, with the default policy: the first restart of what has run for a second comes without a backoff. Each
 * is killed once, one after the other, when all have run for that long. The program says itself when it runs, first thing, on the clock that
 * the kill is taken from; so its own start, loader included, is in both times. Between end and start the agent makes the intent of
 * the next run durable, in --data-dir (default: the directory of temporary files); C does not.
 * Checked: each comes back with another pid, and the agent tells its second run.
 */
const { execFileSync, spawn } = require('node:child_process');
const { constants, openSync, realpathSync } = require('node:fs');
const { Socket } = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const { Agent } = require('./harness/agent.cjs');
const { buildC } = require('./harness/control.cjs');
const { enlist } = require('./harness/ending.cjs');
const { makeDirectory } = require('./harness/part.cjs');
const { onEnd, runBench } = require('./harness/program.cjs');
const { percentile, showSpreads, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

/** A run that has lasted so long is started again at once: contract/restartPolicy.ts. */
const FIRST_IS_FREE_AFTER_MS = 1_000;
const BETWEEN_MS = 20;

/** What the programs say of their starts, in their order. */
class Stamps {
  all = [];

  constructor(directory) {
    this.fifo = path.join(directory, 'stamps');
    execFileSync('mkfifo', [this.fifo]);
    // For writing too, so that it does not end when nobody has it open.
    this.socket = new Socket({ fd: openSync(this.fifo, constants.O_RDWR | constants.O_NONBLOCK), readable: true });
    let rest = '';
    this.socket.setEncoding('latin1').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        const [pid, atNs] = line.split(' ');
        this.all.push({ pid: Number(pid), atNs: BigInt(atNs) });
      }
    });
  }

  close() {
    this.socket.destroy();
  }
}

runBench({
  file: __filename,
  numbers: { runs: 7, count: 30 },
  texts: { 'data-dir': os.tmpdir() },
  limitMs: ({ runs, count }) => 60_000 + runs * (30_000 + count * 400),
  main: measureRestarts,
});

async function measureRestarts({ numbers, texts, check, say }) {
  const { runs, count } = numbers;
  const program = realpathSync(buildC('stamp'));
  const control = buildC('restart_control');
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    const claim = (isTrue, what) => check(isTrue, `run ${run}: ${what}`);
    const bareMs = await restartInC({ control, program, count });
    const oursMs = await restartByAgent({ program, count, parent: texts['data-dir'], claim });
    samples.push({ run, oursMs, bareMs });
    say(`run ${run}/${runs}: p50 ${percentile(oursMs, 50).toFixed(2)} ms, C ${percentile(bareMs, 50).toFixed(2)} ms`);
  }
  return report(samples, numbers);
}

async function restartByAgent({ program, count, parent, claim }) {
  const agent = await Agent.start({ parent });
  const stamps = new Stamps(agent.directory);
  await Promise.all(
    Array.from({ length: count }, (_, at) =>
      agent.start({ instanceId: `web.${at}`, kind: 'service', command: [program, stamps.fifo] }),
    ),
  );
  const times = await killEach(stamps, count);
  await until(async () => (await agent.instances()).every(({ status, run }) => status === 'running' && run === 2), {
    what: 'all are told to be in their second run',
  }).catch((error) => claim(false, error.message));
  stamps.close();
  claim((await agent.close()) === 0, 'processes were left after the agent had ended');
  return times;
}

async function restartInC({ control, program, count }) {
  const directory = makeDirectory();
  const stamps = new Stamps(directory);
  const child = spawn(control, [String(count), program, stamps.fifo], { stdio: 'ignore' });
  const done = onEnd(() => child.kill('SIGKILL'));
  enlist({ directory, destroy: async () => {} });
  const times = await killEach(stamps, count);
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
  done();
  stamps.close();
  return times;
}

/** @returns for each, ms from the kill until the next runs */
async function killEach(stamps, count) {
  await until(() => stamps.all.length === count, { what: 'all run', everyMs: 5 });
  await sleep(FIRST_IS_FREE_AFTER_MS + 100);
  const times = [];
  for (const { pid } of stamps.all.slice(0, count)) {
    const before = stamps.all.length;
    const killedAtNs = process.hrtime.bigint();
    process.kill(pid, 'SIGKILL');
    await until(() => stamps.all.length > before, { what: 'it runs again', everyMs: 1 });
    times.push(Number(stamps.all[before].atNs - killedAtNs) / 1e6);
    await sleep(BETWEEN_MS);
  }
  return times;
}

function report(samples, { runs, count }) {
  const of = (select) => spreadOf(samples.map(select));
  const figures = {
    p50Ms: of(({ oursMs }) => percentile(oursMs, 50)),
    p95Ms: of(({ oursMs }) => percentile(oursMs, 95)),
    controlP50Ms: of(({ bareMs }) => percentile(bareMs, 50)),
    controlP95Ms: of(({ bareMs }) => percentile(bareMs, 95)),
    toControl: of(({ oursMs, bareMs }) => percentile(oursMs, 50) / percentile(bareMs, 50)),
  };
  const lines = [
    `${count} services killed one after the other, each once, by one agent; ${runs} runs; median (min..max)`,
    ...showSpreads([
      ['kill -9 to running again, p50', figures.p50Ms, 2, 'ms'],
      ['p95', figures.p95Ms, 2, 'ms'],
      ['control: waitid, vfork, exec in C, p50', figures.controlP50Ms, 2, 'ms'],
      ['p95', figures.controlP95Ms, 2, 'ms'],
      ['agent / C, of p50', figures.toControl, 2, '×'],
    ]),
  ];
  return { json: { figures, samples }, lines };
}
