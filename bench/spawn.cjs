'use strict';
/**
 * What starting a program costs, from the call until it is reaped: through a shim, by the addon alone, by child_process.spawn, and
 * by a C loop of vfork, exec and wait; in one run, interleaved, one at a time and --concurrency at once.
 *
 *   node bench/spawn.cjs [--runs 7] [--count 400] [--concurrency 32] [--rss-mb 80] [--large-mb 500] [--json] [--keep]
 *
 * All start /bin/true from a parent of at least --rss-mb resident memory. Through a shim means: by the agent's host of shims, in this
 * process; until the shim is gone, with the exit on the disk (in the directory of temporary files), and the same with all its files in
 * memory (/dev/shm). The directories of the runs are made before. The addon alone starts the program where it would start
 * the shim. "Until it runs" is until the program has been executed and the caller knows it. How long one call holds up the event loop
 * is measured once more from a parent of --large-mb: it must not grow with the parent.
 * Checked: every one ends with 0.
 */
const { spawn } = require('node:child_process');
const { existsSync, mkdirSync, readFileSync, rmSync } = require('node:fs');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { buildC, measureTruesInC } = require('./harness/control.cjs');
const { enlist } = require('./harness/ending.cjs');
const { inLanes } = require('./harness/lanes.cjs');
const { makeDirectory, ROOT } = require('./harness/part.cjs');
const { killShims } = require('./harness/processes.cjs');
const { runBench } = require('./harness/program.cjs');
const { median, showSpread, showTable, spreadOf } = require('./harness/statistics.cjs');

const PROGRAM = '/bin/true';
const MEMORY = '/dev/shm';
const AGENT = path.join(ROOT, 'dist/agent');
const NOTHING = new Uint8Array(0);
/** Held for good. */
const ballast = [];

runBench({
  file: __filename,
  numbers: { runs: 7, count: 400, concurrency: 32, 'rss-mb': 80, 'large-mb': 500 },
  limitMs: ({ runs, count }) => 60_000 + runs * (10_000 + count * 200),
  main: measureStarts,
});

async function measureStarts({ numbers, check, say }) {
  const { runs, count, concurrency, 'rss-mb': rssMb, 'large-mb': largeMb } = numbers;
  const control = buildC('spawn_control');
  growTo(rssMb);
  const subjects = openSubjects(check);
  const widths = [...new Set([1, concurrency])];

  for (const subject of subjects) await measure(subject, Math.min(count, 100), concurrency); // compiles, faults pages in
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    for (const width of widths) {
      const { seconds } = await measureTruesInC(control, count, width, { rssMb });
      const controlUs = (seconds * 1e6) / count;
      samples.push({ run, name: 'C', width, usEach: controlUs, toControl: 1 });
      for (const subject of subjects) {
        const measured = await measure(subject, count, width);
        // Of measurements that stand next to each other, so that a slow moment of the machine weighs on both.
        samples.push({ run, name: subject.name, width, ...measured, toControl: measured.usEach / controlUs });
      }
    }
    for (const subject of subjects)
      samples.push({ run, name: subject.name, callUs: await measureCall(subject, count) });
    const last = samples.filter((sample) => sample.run === run && sample.width === 1);
    say(`run ${run}/${runs}: ${last.map(({ name, usEach }) => `${name} ${usEach.toFixed(0)} µs`).join(', ')}`);
  }
  const parentMb = residentMb();
  growTo(largeMb);
  for (let run = 1; run <= runs; run += 1) {
    for (const subject of subjects) {
      if (subject.growsWithParent) continue; // minutes of a loop that stands still
      samples.push({ run, name: subject.name, largeCallUs: await measureCall(subject, count) });
    }
  }
  return report({ samples, subjects, widths, runs, count, parentMb, largeMb: residentMb() });
}

function residentMb() {
  return Math.round(process.memoryUsage.rss() / 2 ** 20);
}

function growTo(mb) {
  while (residentMb() < mb) ballast.push(Buffer.alloc(2 ** 20, 1));
}

/** @returns each { name, growsWithParent, prepare(count): one(), discard() }; `one` resolves at the end, with the moment since which it ran */
function openSubjects(check) {
  if (!existsSync(AGENT)) throw new Error(`${AGENT} is missing; run \`npm run setup\` first`);
  const { loadNative } = require(path.join(AGENT, 'native/index.js'));
  const native = loadNative();
  // The addon has one listener; each host of shims wants to be it, and so does the addon's own subject.
  const listeners = [];
  native.onExit((exits) => listeners.forEach((listener) => void listener?.(exits)));
  const shared = { ...native, onExit: (listener) => void (listener !== null && listeners.push(listener)) };
  const claim = (name, code) => check(code === 0, `a program started by ${name} ended with ${code}`);
  return [
    shimSubject('shim', shared, makeDirectory(), claim),
    shimSubject('shim in memory', shared, makeDirectory(MEMORY), claim),
    addonSubject('addon alone', shared, claim),
    childProcessSubject('child_process', claim),
  ];
}

function shimSubject(name, native, directory, claim) {
  const { shimPath } = require(path.join(AGENT, 'native/index.js'));
  const { ShimHost } = require(path.join(AGENT, 'shim/host.js'));
  const silent = { warn() {}, error() {}, info() {}, debug() {} };
  const leasePath = path.join(directory, 'lease');
  const host = new ShimHost({
    native,
    cgroups: null,
    shimPath: shimPath(),
    dataDir: directory,
    leasePath,
    log: silent,
  });
  enlist({
    directory,
    async destroy() {
      host.close();
      await killShims(directory);
    },
  });
  let made = 1;
  const runs = path.join(directory, 'runs');
  return {
    name,
    prepare(count) {
      const plans = Array.from({ length: count }, (_, at) => planOf(made + at, path.join(runs, `${made + at}`)));
      made += count;
      for (const { stateDirectory, logs } of plans) {
        mkdirSync(stateDirectory, { recursive: true });
        mkdirSync(logs.directory);
      }
      return async () => {
        const run = await host.start(plans.pop());
        const ranAt = performance.now();
        claim(name, (await new Promise((tell) => run.whenExited(tell))).code);
        await run.gone;
        return ranAt;
      };
    },
    discard: () => rmSync(runs, { recursive: true }),
  };
}

/** As the agent makes it of the smallest workload. */
function planOf(number, directory) {
  return {
    key: `bench.0.${number}.1`,
    generation: number,
    run: 1,
    file: PROGRAM,
    argv: [PROGRAM],
    env: Object.fromEntries(Object.entries(process.env)),
    cwd: '/',
    privateCwd: false,
    stateDirectory: directory,
    nonce: `bench-${process.pid}-${number}`.padEnd(16, '-'),
    stop: { signal: 'SIGTERM', graceMs: 10_000 },
    logs: {
      directory: path.join(directory, 'logs'),
      firstStdout: 1,
      firstStderr: 1,
      maxBytes: 10 * 2 ** 20,
      files: 10,
    },
    fence: { kind: 'keep' },
    startUntilMs: null,
    handOverMs: 0,
    user: null,
    rlimits: [],
    umask: 0o022,
    nice: 0,
    noNewPrivileges: true,
    shell: false,
    cgroup: null,
  };
}

function addonSubject(name, native, claim) {
  const ends = new Map();
  native.onExit((exits) => {
    for (const { handle, code } of exits) ends.get(handle)?.(code);
  });
  const one = async () => {
    const { handle } = await native.spawn({ file: PROGRAM, argv: [PROGRAM], cwd: '/', input: NOTHING });
    const ranAt = performance.now();
    claim(name, await new Promise((resolve) => ends.set(handle, resolve)));
    ends.delete(handle);
    return ranAt;
  };
  return { name, prepare: () => one, discard() {} };
}

function childProcessSubject(name, claim) {
  const one = () =>
    new Promise((resolve, reject) => {
      const child = spawn(PROGRAM, [], { stdio: 'ignore', detached: true, cwd: '/' });
      let ranAt = 0;
      child.once('error', reject);
      child.once('spawn', () => {
        ranAt = performance.now();
      });
      child.once('exit', (code) => {
        claim(name, code);
        resolve(ranAt);
      });
    });
  return { name, growsWithParent: true, prepare: () => one, discard() {} };
}

/** CPU time of this thread, which runs the event loop: first field of schedstat, in nanoseconds. */
function loopCpuUs() {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e3;
}

/** `count` of them, `width` at a time. @returns microseconds each: in all, until it runs, and of the event loop's CPU */
async function measure(subject, count, width) {
  const one = subject.prepare(count);
  const untilRunsUs = [];
  const cpuBefore = loopCpuUs();
  const before = performance.now();
  await inLanes(Array(count).fill(null), width, async () => {
    const calledAt = performance.now();
    untilRunsUs.push(((await one()) - calledAt) * 1e3);
  });
  const usEach = ((performance.now() - before) * 1e3) / count;
  const loopUs = (loopCpuUs() - cpuBefore) / count;
  subject.discard();
  return { usEach, loopUs, untilRunsUs: median(untilRunsUs) };
}

/** What the call itself costs the caller, until it has returned: the median of `count`, asked for in one go. */
async function measureCall(subject, count) {
  const one = subject.prepare(count);
  const callsUs = [];
  const pending = Array.from({ length: count }, () => {
    const before = performance.now();
    const promise = one();
    callsUs.push((performance.now() - before) * 1e3);
    return promise;
  });
  await Promise.all(pending);
  subject.discard();
  return median(callsUs);
}

function report({ samples, subjects, widths, runs, count, parentMb, largeMb }) {
  const spreadsOf = (name, width) => {
    const own = samples.filter((sample) => sample.name === name && sample.width === width);
    const of = (key) => (own[0][key] === undefined ? null : spreadOf(own.map((sample) => sample[key])));
    return { usEach: of('usEach'), toControl: of('toControl'), untilRunsUs: of('untilRunsUs'), loopUs: of('loopUs') };
  };
  const names = [...subjects.map(({ name }) => name), 'C'];
  const rows = widths.flatMap((width) => names.map((name) => ({ name, width, ...spreadsOf(name, width) })));
  const callsOf = (key) =>
    Object.fromEntries(
      subjects.flatMap(({ name }) => {
        const calls = samples.filter((sample) => sample.name === name && sample[key] !== undefined);
        return calls.length === 0 ? [] : [[name, spreadOf(calls.map((sample) => sample[key]))]];
      }),
    );
  const [callUs, largeCallUs] = [callsOf('callUs'), callsOf('largeCallUs')];
  const show = (spread, digits) => (spread === null ? '' : showSpread(spread, digits));
  const lines = [
    `${PROGRAM}, call to reaped; ${runs} runs of ${count} each, parent ${parentMb} MB; median (min..max)`,
    ...showTable([
      ['', 'µs each', 'starts/s', 'time / C', 'µs until it runs', 'event loop µs'],
      ...rows.map(({ name, width, usEach, toControl, untilRunsUs, loopUs }) => [
        `${name}, ${width} at once`,
        show(usEach, 0),
        (1e6 / usEach.median).toFixed(0),
        show(toControl, 2),
        show(untilRunsUs, 0),
        show(loopUs, 0),
      ]),
    ]),
    `  how long one call holds up the event loop, p50 of each run, µs; parent ${parentMb} and ${largeMb} MB`,
    ...showTable(
      Object.entries(callUs).map(([name, us]) => {
        const large = largeCallUs[name];
        const ratio = large === undefined ? '' : `× ${(large.median / us.median).toFixed(2)}`;
        return [name, showSpread(us, 1), large === undefined ? '' : showSpread(large, 1), ratio];
      }),
    ),
  ];
  return { json: { rows, callUs, largeCallUs, parentMb, largeMb }, lines };
}
