'use strict';
/** The controls that bench programs measure themselves against, in the same run. */
const { execFile, execFileSync, spawn } = require('node:child_process');
const { mkdirSync, renameSync, rmSync } = require('node:fs');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { promisify } = require('node:util');
const { HttpClient } = require('./http.cjs');
const { freePort } = require('./part.cjs');
const { statOf } = require('./processes.cjs');
const { onEnd } = require('./program.cjs');
const { until } = require('./until.cjs');

const C_WITHIN_MS = 300_000;

const BENCH = path.resolve(__dirname, '..');

/** @returns path of the program made from bench/<name>.c */
function buildC(name) {
  const directory = path.join(BENCH, 'build');
  const program = path.join(directory, name);
  mkdirSync(directory, { recursive: true });
  // Another run may be executing the one that is there.
  const fresh = `${program}.${process.pid}`;
  execFileSync('cc', ['-O2', '-pthread', '-Wall', '-Wextra', '-Werror', '-o', fresh, path.join(BENCH, `${name}.c`)]);
  renameSync(fresh, program);
  return program;
}

/** @returns what it prints */
async function runC(program, args) {
  const running = promisify(execFile)(program, args.map(String), { timeout: C_WITHIN_MS });
  const done = onEnd(() => running.child.kill('SIGKILL'));
  const { stdout } = await running;
  done();
  return stdout;
}

/** `count` sleeps by vfork and exec, then stopped, in C. @returns { startMs, stopMs } */
async function measureSleepsInC(program, count) {
  const stdout = await runC(program, [count]);
  const [startNs, stopNs] = stdout.trim().split(' ').map(Number);
  return { startMs: startNs / 1e6, stopMs: stopNs / 1e6 };
}

/** `count` sleeps by vfork and exec. @returns { pid, end }: of their parent; what ends them, and resolves when they are gone */
async function holdSleepsInC(program, count) {
  const child = spawn(program, [String(count), 'hold'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const done = onEnd(() => child.kill('SIGKILL'));
  const gone = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code}`)));
  });
  const end = async () => {
    child.stdin.end();
    await gone;
    done();
  };
  return { pid: child.pid, end };
}

/**
 * `count` times /bin/true by vfork, exec and wait in C, `concurrency` children at a time, from a parent of `rssMb`, by
 * `threads`. @returns { seconds, cpuSeconds }
 */
async function measureTruesInC(program, count, concurrency, { rssMb = 1, threads = 1 } = {}) {
  const { childrenCpuSeconds: before } = statOf(process.pid);
  const stdout = await runC(program, [count, concurrency, rssMb, threads, '/bin/true']);
  return { seconds: Number(stdout) / 1e9, cpuSeconds: statOf(process.pid).childrenCpuSeconds - before };
}

/** The records of `count` runs made durable in a `directory` made for it, by a C program. @returns { seconds } */
async function measureRecordsInC(program, directory, count, concurrency) {
  mkdirSync(directory);
  const stdout = await runC(program, [directory, count, concurrency]);
  rmSync(directory, { recursive: true });
  return { seconds: Number(stdout) / 1e9 };
}

/** `count` children at once by child_process.spawn, until the last one executes its program; they are killed and reaped since. */
async function measureSpawns(count, file, args) {
  const before = performance.now();
  const children = Array.from({ length: count }, () => spawn(file, args, { stdio: 'ignore', detached: true }));
  const kill = () => children.forEach((child) => void child.kill('SIGKILL'));
  const done = onEnd(kill);
  const gone = Promise.all(children.map((child) => new Promise((resolve) => child.once('exit', resolve))));
  await Promise.all(
    children.map(
      (child) =>
        new Promise((resolve, reject) => {
          child.once('spawn', resolve);
          child.once('error', reject);
        }),
    ),
  );
  const tookMs = performance.now() - before;
  kill();
  await gone;
  done();
  return tookMs;
}

/** A Node process that only serves: from its start to its first answer, looked for every 5 ms like a part's. @returns ms */
async function measureBareServer() {
  const port = await freePort();
  const before = performance.now();
  const code = `require('node:http').createServer((_, answer) => answer.end('ok')).listen(${port}, '127.0.0.1')`;
  const child = spawn(process.execPath, ['-e', code], { stdio: 'ignore' });
  const done = onEnd(() => child.kill('SIGKILL'));
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const client = new HttpClient(port);
  const asks = () => client.request('GET', '/livez', undefined, { timeoutMs: 1_000 }).catch(() => null);
  await until(async () => (await asks())?.status === 200, { what: 'a bare server answers', everyMs: 5 });
  const tookMs = performance.now() - before;
  client.close();
  child.kill('SIGKILL');
  await gone;
  done();
  return tookMs;
}

module.exports = {
  buildC,
  holdSleepsInC,
  measureBareServer,
  measureRecordsInC,
  measureSleepsInC,
  measureSpawns,
  measureTruesInC,
};
