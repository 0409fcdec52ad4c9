import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';

import { until } from '../support/until';
import { openDescriptors, useWorkloads, type Workload } from './workloads';

const workloads = useWorkloads();
const { native } = workloads;

const BUSY = 'while :; do :; done';

async function sampleOf(handle: number) {
  const { processes } = await native.sample();
  const sample = processes.get(handle);
  expect(sample).toBeDefined();
  return sample!;
}

/** To a hundredth of a second. */
const uptime = (): string => readFileSync('/proc/uptime', 'utf8').split(' ')[0]!;

/** Kills the whole group, which is the tree here. */
async function end(...ended: Workload[]): Promise<void> {
  for (const { pid } of ended) process.kill(-pid, 'SIGKILL');
  await Promise.all(ended.map(({ exit }) => exit));
}

describe('sample of the node', () => {
  test('is as the kernel shows it', async () => {
    const sample = await native.sample();
    expect(sample.memoryTotalBytes).toBe(totalmem());
    expect(sample.memoryAvailableBytes).toBeGreaterThan(0);
    expect(sample.memoryAvailableBytes).toBeLessThan(sample.memoryTotalBytes);
    expect(sample.cpuCount).toBe(cpus().length);
    expect(sample.clockTicksPerSecond).toBe(100);
    expect(sample.loadAverage).toHaveLength(3);
    expect(sample.cpuTotalTicks).toBeGreaterThan(sample.cpuIdleTicks);
    await until(async () => (await native.sample()).cpuTotalTicks > sample.cpuTotalTicks, { what: 'time passes' });
  });
});

describe('sample of a tree', () => {
  test('shows CPU time and memory of the descendants, and nothing of the root', async () => {
    const [busyBelow, idleBelow, busyRoot] = [
      await workloads.sh(`(${BUSY}) & wait`),
      await workloads.sh('sleep 60 & wait'),
      await workloads.sh(BUSY),
    ];
    await until(async () => (await sampleOf(busyBelow.handle)).cpuTicks >= 20, { what: 'the loop used 200 ms' });
    const idle = await sampleOf(idleBelow.handle);
    expect(idle.cpuTicks).toBeLessThan(5);
    expect(idle.rssBytes).toBeGreaterThan(100_000);
    expect(await sampleOf(busyRoot.handle)).toMatchObject({ cpuTicks: 0, rssBytes: 0 });
    await end(busyBelow, idleBelow, busyRoot);
    expect((await native.sample()).processes.has(busyBelow.handle)).toBe(false);
  });

  test('sums over all generations, and keeps the time of descendants that ended', async () => {
    const workload = await workloads.sh(
      `(sh -c 'i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done'; echo over; sleep 60) & wait`,
    );
    await until(async () => (await sampleOf(workload.handle)).cpuTicks >= 20, { what: 'the grandchild used 200 ms' });
    await until(() => workload.stdout() === 'over\n', { what: 'the grandchild is gone' });
    expect((await sampleOf(workload.handle)).cpuTicks).toBeGreaterThanOrEqual(20);
    await end(workload);
  });

  test('never falls while descendants come and go', async () => {
    const burn = 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done';
    const workload = await workloads.sh(`while :; do (${burn}); (${burn}); done & while :; do (${burn}); done & wait`);
    let highest = 0;
    await until(
      async () => {
        const { cpuTicks } = await sampleOf(workload.handle);
        expect(cpuTicks).toBeGreaterThanOrEqual(highest);
        highest = cpuTicks;
        return highest >= 100;
      },
      { what: 'the tree used a second', timeoutMs: 20_000 },
    );
    await end(workload);
  });

  test('of few is a new one each time, whatever they do', async () => {
    const workload = await workloads.sh('sleep 60');
    await until(async () => (await sampleOf(workload.handle)).rssBytes > 0, { what: 'it is measured' });
    const looks = new Set<number>();
    for (let n = 0; n < 10; n += 1) {
      const before = (await sampleOf(workload.handle)).lookedAtTicks;
      await until(async () => (await sampleOf(workload.handle)).lookedAtTicks > before, { what: 'time passes' });
      looks.add((await native.sample()).cpuTotalTicks - (await sampleOf(workload.handle)).lookedAtTicks);
    }
    // The clock may have gone on by a tick between the two.
    expect(Math.max(...looks)).toBeLessThanOrEqual(2);
    await end(workload);
  });

  test('of what does nothing beside many is seldom a new one, and each time again once it does something', async () => {
    const others = await Promise.all(Array.from({ length: 127 }, () => workloads.sh('exec sleep 60')));
    const fifo = join(workloads.directory, 'go');
    const workload = await workloads.sh(`mkfifo '${fifo}'; echo made; (read x < '${fifo}'; ${BUSY}) & wait`);
    await until(() => workload.stdout() === 'made\n', { what: 'it waits' });
    const samplesInARow = async (count: number) => {
      const samples = [];
      while (samples.length < count) {
        const before = uptime();
        await until(() => uptime() !== before, { what: 'time passes' });
        samples.push(await sampleOf(workload.handle));
      }
      return samples;
    };
    const looksIn = (samples: { lookedAtTicks: number }[]) =>
      new Set(samples.map(({ lookedAtTicks }) => lookedAtTicks)).size;
    const idle = await samplesInARow(30);
    expect(looksIn(idle)).toBeLessThan(25);
    expect(looksIn(idle)).toBeGreaterThan(3);
    writeFileSync(fifo, 'x\n');
    const ticks = idle.at(-1)!.cpuTicks;
    await until(async () => (await sampleOf(workload.handle)).cpuTicks >= ticks + 10, { what: 'it is found at work' });
    await until(async () => looksIn(await samplesInARow(3)) === 3, {
      what: 'each time is a new look',
      timeoutMs: 10_000,
    });
    await end(workload, ...others);
  });

  test('finds children made by other threads than the main one', async () => {
    const thread = `require('node:child_process').spawn('sh', ['-c', '${BUSY}'])`;
    const script = `new (require('node:worker_threads').Worker)(${JSON.stringify(thread)}, { eval: true });
      setInterval(() => {}, 1000);`;
    const workload = await workloads.start([process.execPath, '-e', script]);
    await until(async () => (await sampleOf(workload.handle)).cpuTicks >= 60, {
      what: 'the child of the thread used 600 ms',
      timeoutMs: 10_000,
    });
    await end(workload);
  });

  test('is there for a process that is watched, too', async () => {
    const parent = await workloads.sh(`(${BUSY}) & (sleep 60; :) & echo $!; wait`);
    const pid = Number(await until(() => parent.stdout().trim(), { what: 'the subshells run' }));
    const handle = native.watch(pid, native.startTicksOf(pid)!)!;
    const exit = workloads.exitOf(handle);
    await until(async () => (await sampleOf(handle)).rssBytes > 100_000, { what: 'its sleep is measured' });
    await until(async () => (await sampleOf(parent.handle)).cpuTicks >= 20, { what: 'the loop used 200 ms' });
    expect((await sampleOf(handle)).cpuTicks).toBeLessThan(5);
    await end(parent);
    await exit;
  });

  test('keeps one descriptor for each process, however large its tree', async () => {
    await native.sample();
    const before = openDescriptors().length;
    const running = await Promise.all(Array.from({ length: 20 }, () => workloads.sh('sleep 60 & sleep 61 & wait')));
    expect((await native.sample()).processes.size).toBe(20);
    await until(() => openDescriptors().length === before + 20, { what: '20 more descriptors are open' });
    await end(...running);
    await until(() => openDescriptors().length === before, { what: 'none of them is open any more' });
  });
});
