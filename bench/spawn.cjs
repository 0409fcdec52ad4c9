'use strict';
/**
 * Spawn to reaped: the addon, child_process.spawn, and a C loop of vfork, exec and wait, in one run, interleaved.
 * All start /bin/true from a parent of at least --rss-mb resident memory (80), one at a time and concurrently.
 *
 *   node bench/spawn.cjs [--json] [--runs 7] [--rss-mb 80] [--count 400] [--concurrency 32]
 *
 * Needs a built tree: dist/agent/native/index.js and the addon. The figures that mean something are the ratios.
 */
const { execFileSync, spawn } = require('node:child_process');
const { existsSync, mkdirSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const { performance } = require('node:perf_hooks');
const { parseArgs } = require('node:util');

const PROGRAM = '/bin/true';
const LOADER = join(__dirname, '../dist/agent/native/index.js');
const CONTROL_SOURCE = join(__dirname, 'spawn_control.c');
const CONTROL = join(__dirname, 'build/spawn_control');

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    runs: { type: 'string', default: '7' },
    'rss-mb': { type: 'string', default: '80' },
    count: { type: 'string', default: '400' },
    concurrency: { type: 'string', default: '32' },
  },
});
const runs = Number(values.runs);
const rssMb = Number(values['rss-mb']);
const count = Number(values.count);
const concurrency = Number(values.concurrency);

if (!existsSync(LOADER)) {
  console.error(`${LOADER} is missing; run \`npm run build\` first`);
  process.exit(1);
}
mkdirSync(join(__dirname, 'build'), { recursive: true });
execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', CONTROL, CONTROL_SOURCE]);

const ballast = [];
while (process.memoryUsage().rss < rssMb * 2 ** 20) ballast.push(Buffer.alloc(2 ** 20, 1));

const native = require(LOADER).loadNative();
const exited = new Map();
native.onExit((exits) => {
  for (const { handle } of exits) {
    exited.get(handle)();
    exited.delete(handle);
  }
});
const plan = {
  file: PROGRAM,
  argv: [PROGRAM],
  env: Object.entries(process.env).map(([name, value]) => `${name}=${value}`),
  cwd: '/',
  stdoutPath: '/dev/null',
  stderrPath: '/dev/null',
};

async function runAddon() {
  const { handle } = await native.spawn(plan);
  await new Promise((resolve) => exited.set(handle, resolve));
}

function runChildProcess() {
  return new Promise((resolve, reject) => {
    const child = spawn(PROGRAM, [], { stdio: 'ignore', detached: true, cwd: '/' });
    child.once('error', reject);
    child.once('exit', resolve);
  });
}

/** CPU time of this thread, which runs the event loop: first field of schedstat, in nanoseconds. */
function loopCpuUs() {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e3;
}

/** Runs `one` `count` times, at most `width` at once. @returns per spawn: elapsed time, and CPU time of the event loop's thread */
async function measure(one, width) {
  const cpuBefore = loopCpuUs();
  const before = performance.now();
  let left = count;
  const lane = async () => {
    while (left > 0) {
      left -= 1;
      await one();
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  const elapsedMs = performance.now() - before;
  return { usPerSpawn: (elapsedMs * 1e3) / count, loopUsPerSpawn: (loopCpuUs() - cpuBefore) / count };
}

/** What the call itself costs the caller: `count` starts asked for in one go, timed until the last call has returned. */
async function measureCall(call) {
  const before = performance.now();
  const pending = Array.from({ length: count }, call);
  const callUs = ((performance.now() - before) * 1e3) / count;
  await Promise.all(pending);
  return callUs;
}

/** The control is a process of its own; only it is measured, by itself. */
function measureControl(width) {
  const ns = Number(execFileSync(CONTROL, [count, width, rssMb, PROGRAM].map(String)).toString());
  return { usPerSpawn: ns / 1e3 / count, loopUsPerSpawn: 0 };
}

const subjects = {
  'addon, 1 at a time': () => measure(runAddon, 1),
  [`addon, ${concurrency} at once`]: () => measure(runAddon, concurrency),
  'child_process, 1 at a time': () => measure(runChildProcess, 1),
  [`child_process, ${concurrency} at once`]: () => measure(runChildProcess, concurrency),
  'C control, 1 at a time': () => measureControl(1),
  [`C control, ${concurrency} at once`]: () => measureControl(concurrency),
};

const sorted = (numbers) => [...numbers].sort((a, b) => a - b);
const median = (numbers) => sorted(numbers)[Math.floor(numbers.length / 2)];
const summary = (numbers) => ({ median: median(numbers), min: Math.min(...numbers), max: Math.max(...numbers) });

async function main() {
  const calls = { addon: [], child_process: [] };
  const samples = Object.fromEntries(Object.keys(subjects).map((name) => [name, []]));
  await measure(runAddon, concurrency); // warm-up: compiles, faults pages in
  for (let run = 0; run < runs; run += 1) {
    for (const [name, subject] of Object.entries(subjects)) samples[name].push(await subject());
    calls.addon.push(await measureCall(runAddon));
    calls.child_process.push(await measureCall(runChildProcess));
  }
  const results = Object.entries(samples).map(([name, list]) => {
    const control = samples[`C control, ${name.split(', ')[1]}`];
    return {
      name,
      usPerSpawn: summary(list.map(({ usPerSpawn }) => usPerSpawn)),
      startsPerSecond: 1e6 / median(list.map(({ usPerSpawn }) => usPerSpawn)),
      loopUsPerSpawn: name.startsWith('C ') ? null : summary(list.map(({ loopUsPerSpawn }) => loopUsPerSpawn)),
      // Of runs that stand next to each other, so that a slow moment of the machine weighs on both.
      timeRatioToControl: summary(list.map(({ usPerSpawn }, run) => usPerSpawn / control[run].usPerSpawn)),
    };
  });
  const callUs = Object.fromEntries(Object.entries(calls).map(([name, list]) => [name, summary(list)]));
  const conditions = {
    program: PROGRAM,
    runs,
    count,
    concurrency,
    parentRssMb: Math.round(process.memoryUsage().rss / 2 ** 20),
  };
  if (values.json) {
    console.log(JSON.stringify({ conditions, results, callUs }, null, 2));
    return;
  }
  console.log(
    `${PROGRAM}, spawn to reaped; ${runs} runs of ${count}, parent ${conditions.parentRssMb} MB; median (min..max)`,
  );
  const show = ({ median: m, min, max }, digits) =>
    `${m.toFixed(digits)} (${min.toFixed(digits)}..${max.toFixed(digits)})`;
  console.table(
    Object.fromEntries(
      results.map(({ name, usPerSpawn, startsPerSecond, loopUsPerSpawn, timeRatioToControl }) => [
        name,
        {
          'µs per spawn': show(usPerSpawn, 0),
          'starts/s': Math.round(startsPerSecond),
          'event loop CPU µs': loopUsPerSpawn === null ? '' : show(loopUsPerSpawn, 1),
          'time / C control': show(timeRatioToControl, 2),
        },
      ]),
    ),
  );
  for (const [name, us] of Object.entries(callUs)) {
    console.log(`the event loop is blocked by one call of ${name}: ${show(us, 1)} µs`);
  }
}

void main();
