/** `morch dev` with the real scheduler, the real agents and real workloads. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { portTrouble } from '../../cli/dev/ports';
import type { Workload } from '../../contract/workload';
import { until } from '../support/until';
import { type Running, morch as run, startMorch } from './morch';

const AGENTS = 2;
const SECONDS = 1_000;
const folder = mkdtempSync(path.join(tmpdir(), 'morch-dev-'));
const running: Running[] = [];
let dirs = 0;

afterAll(async () => {
  for (const { child, ended } of running) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await ended;
  }
  rmSync(folder, { recursive: true });
});

async function freePort(): Promise<number> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 30_000);
    const ports = Array.from({ length: AGENTS + 1 }, (_, at) => first + at);
    const troubles = await Promise.all(ports.map((port) => portTrouble(port, '127.0.0.1')));
    if (troubles.every((trouble) => trouble === undefined)) return first;
  }
}

interface Dev extends Running {
  port: number;
  dataDir: string;
  pids: { scheduler: number; n1: number; n2: number };
  morch: (...args: string[]) => ReturnType<typeof run>;
}

/** Each has commands of its own, which find it by the context that it writes. */
const configHomeOf = (dataDir: string) => `${dataDir}-config`;

function startDev(port: number, dataDir: string, more: readonly string[] = []): Running {
  const args = ['dev', '--agents', String(AGENTS), '--port', String(port), '--data-dir', dataDir];
  const dev = startMorch([...args, ...more], {
    env: { MORCH_PORT: '1', MORCH_LABEL: 'not=for-the-children', XDG_CONFIG_HOME: configHomeOf(dataDir) },
  });
  running.push(dev);
  return dev;
}

async function devUp(...more: string[]): Promise<Dev> {
  const port = await freePort();
  dirs += 1;
  const dataDir = path.join(folder, String(dirs));
  const dev = startDev(port, dataDir, more);
  await until(() => dev.output.stdout.includes('morch dev is up') || dev.child.exitCode !== null, {
    timeoutMs: 30 * SECONDS,
    what: 'dev is up',
  });
  const pidOf = (name: string) => Number(new RegExp(`${name} .*pid (\\d+)`).exec(dev.output.stdout)?.[1]);
  const pids = { scheduler: pidOf('scheduler'), n1: pidOf('n1'), n2: pidOf('n2') };
  return {
    ...dev,
    port,
    dataDir,
    pids,
    morch: (...args) => run(args, { env: { XDG_CONFIG_HOME: configHomeOf(dataDir) } }),
  };
}

/** A zombie (an orphan whose new parent does not reap) is dead. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

const eventually = (condition: () => boolean | Promise<boolean>, what: string) =>
  until(condition, { timeoutMs: 20 * SECONDS, what });

async function workload({ morch }: Dev, id: string): Promise<Workload> {
  return JSON.parse((await morch('describe', id, '-o', 'json')).stdout) as Workload;
}

test('runs workloads, starts again what is killed, and stops all in order on Ctrl-C', async () => {
  const dev = await devUp();
  const { morch, pids, output, child, ended } = dev;
  expect(output.stdout).not.toContain('--address');
  expect(output.stderr).toContain('(2 of 2)');
  const sample = /submit (\S+)/.exec(output.stdout)?.[1] ?? '';
  expect(await morch('submit', sample, '1', '--name', 'sample', '--wait')).toMatchObject({ exitCode: 0 });
  expect((await morch('logs', 'sample')).stdout).toContain('sample.0: done');
  const failing = await morch('submit', '--attempts', '1', '--wait', '--command', '--', 'sh', '-c', 'exit 42');
  expect(failing).toMatchObject({ exitCode: 42 });
  const crashing = await morch('submit', '--attempts', '1', '--wait', '--command', '--', 'sh', '-c', 'kill -9 $$');
  expect(crashing).toMatchObject({ exitCode: 137 });
  const greedy = await morch('submit', '--wait', '--timeout', '300ms', '--cpu', '9999', '--command', 'true');
  expect(greedy).toMatchObject({ exitCode: 2 });

  // Says what it waits for: this one takes no notice of SIGTERM.
  const stubborn = ['--command', '--', 'sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done'];
  await morch('submit', '--name', 'stubborn', '--kind', 'service', '--grace', '3s', ...stubborn);
  const { pid, node } = await workload(dev, 'stubborn');
  expect(isAlive(pid ?? 0)).toBe(true);

  const other = node === 'n1' ? 'n2' : 'n1';
  process.kill(pids[other], 'SIGKILL');
  process.kill(pids.scheduler, 'SIGKILL');
  await eventually(() => output.stderr.includes(`${other} is started again`), 'the agent is started again');
  await eventually(() => output.stderr.includes('scheduler is started again'), 'the scheduler is started again');
  expect(output.stderr).toContain(`${other} (pid ${pids[other]}) died: SIGKILL`);
  await eventually(async () => (await morch('health')).exitCode === 0, 'all is healthy again');
  expect(await workload(dev, 'stubborn')).toMatchObject({ status: 'running', pid });

  const newScheduler = Number(/scheduler is started again \(pid (\d+)\)/.exec(output.stderr)?.[1]);
  child.kill('SIGINT');
  await eventually(() => output.stderr.includes('stopping the agents'), 'the agents are asked to stop');
  expect({ scheduler: isAlive(newScheduler), workload: isAlive(pid ?? 0) }).toEqual({
    scheduler: false,
    workload: true,
  });
  await eventually(() => {
    // Presses within half a second of the first count as one.
    child.kill('SIGINT');
    return /still waiting for .*n[12] \(pid \d+\)/.test(output.stderr);
  }, 'it says what it waits for');
  const { exitCode, stderr } = await ended;
  expect(exitCode).toBe(0);
  expect(stderr.indexOf('stopping the scheduler')).toBeLessThan(stderr.indexOf('stopping the agents'));
  expect([pid ?? 0, pids.n1, pids.n2, newScheduler].filter(isAlive)).toEqual([]);
}, 90_000);

test('leaves no process behind, not even when it is killed itself', async () => {
  const dev = await devUp();
  await dev.morch('submit', '--name', 'long', '--kind', 'service', '--command', '--', 'sleep', '1000');
  const { pid } = await workload(dev, 'long');
  const pids = [...Object.values(dev.pids), pid ?? 0];
  expect(pids.filter(isAlive)).toEqual(pids);
  dev.child.kill('SIGKILL');
  await eventually(() => pids.filter(isAlive).length === 0, 'all its processes are gone');
}, 60_000);

test('says which port is busy and how to choose another, and leaves nothing running', async () => {
  const port = await freePort();
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(port + 1, '127.0.0.1', resolve));
  const { exitCode, stdout, stderr } = await startDev(port, path.join(folder, 'busy')).ended;
  holder.close();
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  expect(stderr).toContain(`port ${port + 1}, meant for n1, is in use`);
  expect(stderr).toContain('--port');
  expect(await portTrouble(port, '127.0.0.1')).toBeUndefined();
});

test("a data directory in use is an error that tells the scheduler's own words", async () => {
  const dev = await devUp();
  const second = await startDev(await freePort(), dev.dataDir).ended;
  expect(second.exitCode).toBe(1);
  expect(second.stderr).toContain('morch scheduler: ');
  expect(second.stderr).toContain('--data-dir');
  dev.child.kill('SIGTERM');
  expect((await dev.ended).exitCode).toBe(0);
}, 60_000);

test('is found by commands without a word, unless they mean another cluster, and by nobody without its token', async () => {
  const dev = await devUp();
  const name = `dev-${dev.port}`;
  const address = `http://127.0.0.1:${dev.port}`;
  const shown = JSON.parse((await dev.morch('context', 'show', '-o', 'json')).stdout);
  expect(shown).toMatchObject({ address, source: `context ${name}` });
  expect(shown.tokens[0]).toContain(path.join(dev.dataDir, 'scheduler', 'admin.token'));
  expect((await dev.morch('context', 'list')).stdout).toMatch(new RegExp(`^\\* +${name} +${address}`, 'm'));
  expect((await dev.morch('nodes', '-q')).stdout).toBe('n1\nn2\n');
  expect((await fetch(`${address}/nodes`)).status).toBe(401);
  for (const at of [dev.port + 1, dev.port + 2]) {
    expect((await fetch(`http://127.0.0.1:${at}/status`)).status).toBe(401);
  }
  dev.child.kill('SIGTERM');
  await dev.ended;

  const config = path.join(configHomeOf(dev.dataDir), 'morch', 'config.yaml');
  writeFileSync(config, 'current: prod\ncontexts:\n  prod:\n    address: http://prod.example:5000\n');
  const again = startDev(dev.port, dev.dataDir);
  await eventually(() => again.output.stdout.includes('morch dev is up'), 'dev is up again');
  expect(again.output.stdout).toContain(`--address ${address}`);
  expect(readFileSync(config, 'utf8')).toContain('current: prod');
  expect((await dev.morch('--address', address, 'nodes', '-q')).stdout).toBe('n1\nn2\n');
}, 90_000);

test('with --no-auth asks nobody for a token, and says so', async () => {
  const dev = await devUp('--no-auth');
  expect((await fetch(`http://127.0.0.1:${dev.port}/nodes`)).status).toBe(200);
  expect((await fetch(`http://127.0.0.1:${dev.port + 1}/status`)).status).toBe(200);
  expect(readFileSync(path.join(dev.dataDir, 'logs', 'scheduler.log'), 'utf8')).toContain('--no-auth');
  expect((await dev.morch('nodes', '-q')).stdout).toBe('n1\nn2\n');
}, 60_000);
