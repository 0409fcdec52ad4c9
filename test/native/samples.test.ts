import { cpus, totalmem } from 'node:os';

import { until } from '../support/until';
import { hasOnlyDescriptors, openDescriptors, useWorkloads } from './workloads';

const workloads = useWorkloads();
const { native } = workloads;

const BUSY = 'while :; do :; done';

async function sampleOf(handle: number) {
  const { processes } = await native.sample();
  const sample = processes.get(handle);
  expect(sample).toBeDefined();
  return sample!;
}

describe('sample', () => {
  test('shows the node as the kernel does', async () => {
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

  test('shows the CPU time of a busy workload and none of an idle one', async () => {
    const [busy, idle] = [await workloads.sh(BUSY), await workloads.start(['sleep', '60'])];
    await until(async () => (await sampleOf(busy.handle)).cpuTicks >= 20, { what: 'the loop used 200 ms' });
    const { cpuTicks, rssBytes } = await sampleOf(idle.handle);
    expect(cpuTicks).toBeLessThan(5);
    expect(rssBytes).toBeGreaterThan(100_000);
    for (const { handle } of [busy, idle]) native.signalGroup(handle, 9);
    await Promise.all([busy.exit, idle.exit]);
    const after = await native.sample();
    expect(after.processes.has(busy.handle)).toBe(false);
  });

  test('sums over the whole tree, and keeps the time of descendants that ended', async () => {
    const workload = await workloads.sh(
      `(sh -c 'i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done'; echo over; sleep 60) & wait`,
    );
    await until(async () => (await sampleOf(workload.handle)).cpuTicks >= 20, { what: 'the grandchild used 200 ms' });
    await until(() => workload.stdout() === 'over\n', { what: 'the grandchild is gone' });
    expect((await sampleOf(workload.handle)).cpuTicks).toBeGreaterThanOrEqual(20);
    native.signalGroup(workload.handle, 9);
    await workload.exit;
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
    native.signalGroup(workload.handle, 9);
    await workload.exit;
  });

  test('closes what it keeps open once a workload was reaped', async () => {
    await native.sample();
    const before = openDescriptors().length;
    const running = await Promise.all(Array.from({ length: 20 }, () => workloads.sh('sleep 60 & sleep 61 & wait')));
    expect((await native.sample()).processes.size).toBe(20);
    expect(openDescriptors().length).toBeGreaterThan(before);
    for (const { handle } of running) native.signalGroup(handle, 9);
    await Promise.all(running.map(({ exit }) => exit));
    await native.sample();
    await hasOnlyDescriptors(before);
  });
});

describe('findByNonce', () => {
  test('finds every process that inherited the environment, and only those', async () => {
    const [a, b, c] = await Promise.all(
      ['nonce-a', 'nonce-b', 'nonce-b-longer'].map((nonce) =>
        workloads.sh('sleep 60 & echo $!; wait', { env: ['PATH=/bin', `MORCH_NONCE=${nonce}`, 'LAST=1'] }),
      ),
    );
    const grandchild = Number(await until(() => a!.stdout().trim(), { what: 'the grandchild runs' }));
    // Between fork and exec the grandchild shows its parent's environment too, so it is found either way.
    const found = await native.findByNonce(['nonce-a', 'nonce-c', 'nonce']);
    expect(new Set(found.map(({ pid }) => pid))).toEqual(new Set([a!.pid, grandchild]));
    expect(found).toContainEqual({ pid: a!.pid, startTicks: a!.startTicks, nonce: 'nonce-a' });
    expect((await native.findByNonce(['nonce-b'])).map(({ pid }) => pid)).toContain(b!.pid);
    expect((await native.findByNonce(['nonce-b'])).map(({ pid }) => pid)).not.toContain(c!.pid);
    expect(await native.findByNonce([])).toEqual([]);
    for (const { handle } of [a!, b!, c!]) native.signalGroup(handle, 9);
    await Promise.all([a!.exit, b!.exit, c!.exit]);
  });
});
