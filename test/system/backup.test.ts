/** A cluster whose scheduler is lost, and made anew from a backup: what ran runs on, what was submitted is there. */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { morch } from '../cli/morch';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start(2);
}, 60_000);
afterEach(() => cluster.close(), 60_000);

it('is restored with the same workloads, processes and generations, and goes on', async () => {
  await cluster.submit({ id: 'web', kind: 'service', command: ['sleep', '1000'], replicas: 4 });
  await cluster.submit({ id: 'done', command: ['true'] });
  const before = await cluster.untilRunning('web', 4);
  await cluster.untilStatus('done', 'completed');
  const health = await cluster.request('GET', '/health');

  const file = path.join(cluster.directory, 'backup.ndjson');
  expect(await morch(['backup', '--file', file], { env: cluster.env })).toMatchObject({
    exitCode: 0,
    stdout: `${file}\n`,
  });
  // Not in the backup: the agents tell of it.
  await cluster.submit({ id: 'later', kind: 'service', command: ['sleep', '1000'] });
  const later = await cluster.untilRunning('later', 1);

  const { dataDir } = cluster.scheduler;
  const running = await morch(['restore', file, '--data-dir', dataDir, '--force']);
  expect(running).toMatchObject({ exitCode: 4, stderr: expect.stringContaining('still running') });
  await end(cluster.scheduler.child, 'SIGKILL');
  await rm(dataDir, { recursive: true });
  expect((await morch(['restore', file, '--data-dir', dataDir])).exitCode).toBe(0);

  await cluster.startScheduler();
  expect((await cluster.request('GET', '/health')).body).toMatchObject({
    status: 'degraded',
    clusterId: health.body.clusterId,
    reasons: expect.arrayContaining([expect.stringContaining('restored')]),
  });
  await until(async () => (await cluster.request('GET', '/health')).body.status === 'healthy', {
    timeoutMs: 60_000,
    what: 'the scheduler knows what runs',
  });
  for (const [id, known] of [
    ['web', before],
    ['later', later],
  ] as const) {
    const after = await cluster.untilRunning(id, known.instances.length);
    expect(after.instances.map((i) => [i.id, i.pid, i.generation])).toEqual(
      known.instances.map((i) => [i.id, i.pid, i.generation]),
    );
  }
  expect((await cluster.workload('done')).status).toBe('completed');
  expect((await cluster.history('done')).map(({ type }) => type)).toContain('workload.completed');
  expect(await cluster.workloadPids()).toHaveLength(5);
  await cluster.submit({ id: 'new', command: ['true'] });
  await cluster.untilStatus('new', 'completed');
}, 120_000);
