/** Fenced copies on a node that has not answered, of which a scheduler without records cannot know. */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { isAlive } from '../support/agent';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

const LEASE_MS = 25_000;
let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start(2, { schedulerArgs: { profile: 'fast', health: { leaseMs: LEASE_MS } } });
}, 60_000);
afterEach(() => cluster.close(), 60_000);

test('their lease is waited out by a scheduler that is given a shorter one, though an operator does not wait', async () => {
  await cluster.submit({
    id: 'web',
    kind: 'service',
    command: ['sleep', '1000'],
    stop: { graceMs: 300 },
    onDisconnect: 'stop',
    replicas: 2,
  });
  const { instances } = await cluster.untilRunning('web', 2);
  const unseen = instances.find(({ node }) => node === 'n2')!;
  await end(cluster.scheduler.child, 'SIGKILL');
  const leaseEndsMs = performance.now() + LEASE_MS;
  cluster.agents.get('n2')!.child.kill('SIGSTOP');
  await rm(path.join(cluster.directory, 'scheduler'), { recursive: true });
  cluster.schedulerArgs = { profile: 'fast', health: { leaseMs: 3_000 } };
  await cluster.startScheduler();
  await until(async () => (await cluster.request('GET', '/workloads/web')).status === 200, {
    what: 'the workload is learnt from the other node',
    timeoutMs: 30_000,
  });
  const released = await cluster.request<{ released: string[] }>('POST', '/recovery/release');
  expect(released.body.released).toEqual(['rebuilding']);
  const held = await cluster.untilWorkload('web', 'is held', (w) =>
    w.instances.some(({ id, statusReason }) => id === unseen.id && statusReason?.includes('lease') === true),
  );
  expect(performance.now()).toBeLessThan(leaseEndsMs);
  expect(isAlive(unseen.pid!)).toBe(true);
  expect(held.instances.find(({ id }) => id === unseen.id)!.node).toBeNull();
  await cluster.untilRunning('web', 2, 60_000);
  expect(isAlive(unseen.pid!)).toBe(false);
}, 150_000);
