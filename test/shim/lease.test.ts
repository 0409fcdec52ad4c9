import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import type { Fence, RunPlan } from '../../agent/processHost';
import { until } from '../support/until';
import { killQuietly, type Started, treeOf, useShims } from './shim';

const shims = useShims();
const SLACK_MS = 1_000;
const PAGE_BYTES = 4096;

const STUBBORN = 'trap "" TERM; while :; do sleep 1; done';

/** CLOCK_BOOTTIME, in steps of 10 ms. */
function bootMs(): number {
  return Math.round(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000);
}

interface Page {
  refreshedAtMs: number;
  endsAtMs: number;
  scheduler: boolean;
  term?: number;
}

let pages = 0;

function makePage({ refreshedAtMs, endsAtMs, scheduler, term = 0 }: Page): string {
  const path = join(shims.directory, `lease-${pages++}`);
  const bytes = Buffer.alloc(PAGE_BYTES);
  bytes.writeBigUInt64LE(1n, 0);
  bytes.writeBigUInt64LE(BigInt(refreshedAtMs), 8);
  bytes.writeBigUInt64LE(BigInt(endsAtMs), 16);
  bytes.writeBigUInt64LE(BigInt(scheduler), 24);
  bytes.writeBigUInt64LE(BigInt(term), 32);
  writeFileSync(path, bytes);
  return path;
}

function setWord(path: string, offset: number, value: number): void {
  const word = Buffer.alloc(8);
  word.writeBigUInt64LE(BigInt(value));
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, word, 0, 8, offset);
  closeSync(descriptor);
}

function endOf(path: string): number {
  return Number(readFileSync(path).readBigUInt64LE(16));
}

const agents: ChildProcess[] = [];

/** Stands for an agent: refreshes the page every 50 ms, and renews the lease. */
function refresh(path: string, leaseMs: number): ChildProcess {
  const program = `
    const fs = require('node:fs');
    const page = fs.openSync(process.argv[1], 'r+');
    const words = Buffer.alloc(16);
    setInterval(() => {
      const now = Math.round(Number(fs.readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000);
      words.writeBigUInt64LE(BigInt(now), 0);
      words.writeBigUInt64LE(BigInt(now + ${leaseMs}), 8);
      fs.writeSync(page, words, 0, 16, 8);
    }, 50);`;
  const agent = spawn(process.execPath, ['-e', program, path], { stdio: 'ignore' });
  agents.push(agent);
  return agent;
}

async function sleepUntil(atMs: number): Promise<void> {
  await until(() => bootMs() >= atMs, { what: 'the time has come', timeoutMs: 20_000 });
}

afterAll(() => {
  for (const agent of agents) if (agent.pid !== undefined) killQuietly(agent.pid);
});

function start(commands: string, lease: string, fence: Fence, graceMs = 300): Promise<Started> {
  return shims.sh(commands, { lease, plan: { fence, stop: { signal: 'SIGTERM', graceMs } } });
}

async function neverStarts(lease: string, plan: Partial<RunPlan>): Promise<void> {
  const trace = join(shims.directory, `trace-${pages++}`);
  const shim = shims.launch(['touch', trace], { lease, plan });
  expect(await shim.ended).toBe(2);
  expect(await shim.recorded('failed')).toMatchObject({ step: 'fence', errnoCode: 'ETIME' });
  expect(existsSync(trace)).toBe(false);
}

/** @returns when the shim left, in boot time */
async function leaving(shim: Started): Promise<number> {
  expect(await shim.ended).toBe(0);
  const atMs = bootMs();
  expect(treeOf(shim)).toEqual([]);
  return atMs;
}

describe('with onDisconnect: stop', () => {
  const fence: Fence = { kind: 'stop', leaseTerm: 0 };

  test('the tree is dead when the lease of a stopped agent ends, and not before', async () => {
    const lease = makePage({ refreshedAtMs: bootMs(), endsAtMs: bootMs() + 2_000, scheduler: true });
    const agent = refresh(lease, 1_500);
    const shim = await start(`setsid sh -c '${STUBBORN}' & ${STUBBORN}`, lease, fence);
    await sleepUntil(bootMs() + 3_000); // longer than any one lease
    expect(shim.process.exitCode).toBe(null);
    agent.kill('SIGSTOP');
    await until(() => / T /.test(readFileSync(`/proc/${agent.pid}/stat`, 'utf8')), { what: 'the agent is stopped' });
    const endsAtMs = endOf(lease);
    const leftAtMs = await leaving(shim);
    expect(leftAtMs).toBeGreaterThanOrEqual(endsAtMs - 10);
    expect(leftAtMs).toBeLessThan(endsAtMs + SLACK_MS);
  });

  test('the stop signal comes the grace before the end', async () => {
    const endsAtMs = bootMs() + 2_500;
    const lease = makePage({ refreshedAtMs: bootMs(), endsAtMs, scheduler: true });
    const told = 'trap "cut -d. -f1-2 /proc/uptime | cut -d\\" \\" -f1; exit 3" TERM; while :; do sleep 0.02; done';
    const shim = await start(told, lease, fence, 1_000);
    await leaving(shim);
    expect(await shim.recorded('exited')).toMatchObject({ code: 3 });
    const toldAtMs = Number(shim.output().toString()) * 1000;
    expect(toldAtMs).toBeGreaterThanOrEqual(endsAtMs - 1_000 - 10);
    expect(toldAtMs).toBeLessThan(endsAtMs - 1_000 + SLACK_MS);
  });

  test('a long grace is cut to the last 3 s of the lease', async () => {
    const endsAtMs = bootMs() + 3_600;
    const lease = makePage({ refreshedAtMs: bootMs(), endsAtMs, scheduler: true });
    const shim = await start('trap "echo told" TERM; while :; do sleep 0.02; done', lease, fence, 60_000);
    await until(() => shim.output().length > 0, { what: 'it is told' });
    expect(bootMs()).toBeGreaterThanOrEqual(endsAtMs - 3_000 - 10);
    const leftAtMs = await leaving(shim);
    expect(leftAtMs).toBeGreaterThanOrEqual(endsAtMs - 10);
    expect(leftAtMs).toBeLessThan(endsAtMs + SLACK_MS);
  });

  test('a stop under way ends with the lease, whatever its grace', async () => {
    const endsAtMs = bootMs() + 1_500;
    const lease = makePage({ refreshedAtMs: bootMs(), endsAtMs, scheduler: true });
    const shim = await start(STUBBORN, lease, fence, 300);
    shim.stop(60_000);
    const leftAtMs = await leaving(shim);
    expect(leftAtMs).toBeGreaterThanOrEqual(endsAtMs - 10);
    expect(leftAtMs).toBeLessThan(endsAtMs + SLACK_MS);
  });

  test('a page without a lease in force fences nothing, until it has one', async () => {
    const lease = makePage({ refreshedAtMs: 0, endsAtMs: 0, scheduler: true });
    const shim = await start(STUBBORN, lease, fence);
    await sleepUntil(bootMs() + 1_500);
    expect(shim.process.exitCode).toBe(null);
    const endsAtMs = bootMs() + 2_500;
    setWord(lease, 16, endsAtMs);
    const leftAtMs = await leaving(shim);
    expect(leftAtMs).toBeGreaterThanOrEqual(endsAtMs - 10);
    expect(leftAtMs).toBeLessThan(endsAtMs + SLACK_MS);
  });

  test('under a lease that is over, or another than that of its plan, nothing is started', async () => {
    await neverStarts(makePage({ refreshedAtMs: 0, endsAtMs: 1, scheduler: true }), { fence });
    const page = { refreshedAtMs: bootMs(), endsAtMs: bootMs() + 60_000, scheduler: true, term: 3 };
    await neverStarts(makePage(page), { fence: { kind: 'stop', leaseTerm: 2 } });
  });

  test('a lease that lapsed while the shim stood still ends the tree, though the next one is in force', async () => {
    const endsAtMs = bootMs() + 2_000;
    const lease = makePage({ refreshedAtMs: bootMs(), endsAtMs, scheduler: true, term: 5 });
    const shim = await start(STUBBORN, lease, { kind: 'stop', leaseTerm: 5 });
    process.kill(shim.process.pid!, 'SIGSTOP');
    await sleepUntil(endsAtMs + 100);
    setWord(lease, 32, 6);
    setWord(lease, 16, bootMs() + 60_000);
    process.kill(shim.process.pid!, 'SIGCONT');
    const leftAtMs = await leaving(shim);
    expect(leftAtMs).toBeLessThan(endsAtMs + 100 + SLACK_MS);
  });
});

describe('a start with a time', () => {
  test('is not made when that is over, whatever the fence', async () => {
    const lease = makePage({ refreshedAtMs: bootMs(), endsAtMs: 0, scheduler: true });
    await neverStarts(lease, { startUntilMs: bootMs() - 10 });
    await neverStarts(lease, { startUntilMs: bootMs() - 10, fence: { kind: 'replace', orphanAfterMs: 600_000 } });
  });

  test('is made before, and not ended by it', async () => {
    const startUntilMs = bootMs() + 2_000;
    const shim = await shims.sh('exec sleep 1000', { plan: { startUntilMs } });
    await sleepUntil(startUntilMs + 500);
    expect(shim.process.exitCode).toBe(null);
    shim.stop();
    await leaving(shim);
  });
});

describe('with onDisconnect: replace', () => {
  const fence: Fence = { kind: 'replace', orphanAfterMs: 1_000 };

  test('the tree is stopped when its agent has been absent for long, and not before', async () => {
    const lease = makePage({ refreshedAtMs: bootMs(), endsAtMs: 0, scheduler: true });
    const agent = refresh(lease, 0);
    const shim = await start('trap "exit 4" TERM; while :; do sleep 0.02; done', lease, fence);
    await sleepUntil(bootMs() + 2_000);
    expect(shim.process.exitCode).toBe(null);
    agent.kill('SIGSTOP');
    await until(() => / T /.test(readFileSync(`/proc/${agent.pid}/stat`, 'utf8')), { what: 'the agent is stopped' });
    const refreshedAtMs = Number(readFileSync(lease).readBigUInt64LE(8));
    const leftAtMs = await leaving(shim);
    expect(await shim.recorded('exited')).toMatchObject({ code: 4 });
    expect(leftAtMs).toBeGreaterThanOrEqual(refreshedAtMs + 1_000 - 10);
    expect(leftAtMs).toBeLessThan(refreshedAtMs + 1_000 + SLACK_MS);
  });

  test.each<[string, Page, Fence]>([
    ['without a scheduler', { refreshedAtMs: 1, endsAtMs: 0, scheduler: false }, fence],
    ['with orphanAfterMs 0', { refreshedAtMs: 1, endsAtMs: 0, scheduler: true }, { kind: 'replace', orphanAfterMs: 0 }],
    ['with onDisconnect: keep', { refreshedAtMs: 1, endsAtMs: 1, scheduler: true }, { kind: 'keep' }],
  ])('the tree lives on %s', async (_what, page, otherFence) => {
    const shim = await start('exec sleep 1000', makePage(page), otherFence);
    await sleepUntil(bootMs() + 2_500);
    expect(shim.process.exitCode).toBe(null);
    shim.stop();
    await leaving(shim);
  });
});
