/** A scheduler whose store was damaged while it was down says so, and learns from its agents what the store has lost. */
import { readdir, readFile, truncate } from 'node:fs/promises';
import path from 'node:path';
import { morch } from '../cli/morch';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start(2);
}, 60_000);
afterEach(() => cluster.close(), 60_000);

it('keeps the files, loses no workload that runs, and starts none twice', async () => {
  await cluster.submit({ id: 'first', kind: 'service', command: ['sleep', '1000'], replicas: 2 });
  const first = await cluster.untilRunning('first', 2);
  const { dataDir } = cluster.scheduler;
  const store = path.join(dataDir, 'store');
  const log = path.join(store, (await readdir(store)).find((name) => name.endsWith('.log'))!);
  const { length } = await readFile(log);
  await cluster.submit({ id: 'second', kind: 'service', command: ['sleep', '1000'], replicas: 3 });
  const second = await cluster.untilRunning('second', 3);
  await end(cluster.scheduler.child, 'SIGKILL');
  // The second workload was acknowledged, and is not in the store any more.
  await truncate(log, length);

  await cluster.startScheduler();
  expect(await cluster.logOf('scheduler')).toMatch(/had been acknowledged.*the store was damaged; what could be read/);
  expect((await readdir(dataDir)).some((name) => name.startsWith('store.damaged-'))).toBe(true);
  expect((await cluster.request('GET', '/health')).body).toMatchObject({
    status: 'degraded',
    reasons: expect.arrayContaining([expect.stringContaining('damaged')]),
  });
  expect(await cluster.request('POST', '/workloads', { command: ['true'] })).toMatchObject({
    status: 503,
    body: { code: 'REBUILDING' },
  });
  await until(async () => (await cluster.request('GET', '/health')).body.status === 'healthy', {
    timeoutMs: 60_000,
    what: 'the scheduler knows what runs',
  });
  for (const [id, before] of [
    ['first', first],
    ['second', second],
  ] as const) {
    const after = await cluster.untilRunning(id, before.instances.length);
    expect(after.instances.map((i) => [i.id, i.pid, i.generation])).toEqual(
      before.instances.map((i) => [i.id, i.pid, i.generation]),
    );
  }
  expect(await cluster.workloadPids()).toHaveLength(5);

  // It is said once.
  await end(cluster.scheduler.child, 'SIGTERM');
  await cluster.startScheduler();
  expect((await cluster.logOf('scheduler')).match(/the store was damaged/g)).toHaveLength(1);
}, 120_000);

it('is not opened by a second scheduler', async () => {
  const { dataDir } = cluster.scheduler;
  const { exitCode, stderr } = await morch(['scheduler', '--data-dir', dataDir, '--port', '1']);
  expect(exitCode).toBe(4);
  expect(stderr).toMatch(/another process holds its lock.*--data-dir/);
  await cluster.submit({ id: 'one', command: ['true'] });
  await cluster.untilStatus('one', 'completed');
}, 60_000);
