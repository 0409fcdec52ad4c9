/** Nodes that are gone together are waited for; nodes that come and go get nothing new. */
import type { Health } from '../../contract/health';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
afterEach(() => cluster.close(), 60_000);

const SERVICE = { id: 'web', kind: 'service', command: ['sleep', '1000'], replicas: 6, stop: { graceMs: 300 } };
const signalAll = (signal: NodeJS.Signals) => {
  for (const { child } of cluster.agents.values()) child.kill(signal);
};
const health = async () => (await cluster.request<Health>('GET', '/health')).body;
const untilBraked = () =>
  until(async () => (await health()).reasons.some((reason) => reason.includes('the brake is on')), {
    what: 'the brake is on',
    timeoutMs: 15_000,
  });
const identities = async () =>
  (await cluster.untilRunning('web', 6)).instances.map(({ id, node, pid, generation }) => ({
    id,
    node,
    pid,
    generation,
  }));
const eventTypes = async () =>
  (await cluster.request<{ events: { type: string }[] }>('GET', '/workloads/web/history?limit=1000')).body.events.map(
    ({ type }) => type,
  );

test('when all nodes are gone at once nothing is moved, and what runs is taken back when they are heard', async () => {
  cluster = await Cluster.start(3, { schedulerArgs: { profile: 'fast' } });
  await cluster.submit(SERVICE);
  const before = await identities();
  signalAll('SIGSTOP');
  await untilBraked();
  for (const name of cluster.agents.keys()) await cluster.untilNode(name, 'lost');
  const held = await cluster.workload('web');
  expect(held.counts).toEqual({ recovering: 6 });
  await cluster.untilWorkload('web', 'says why', ({ instances }) =>
    instances.every((i) => i.statusReason?.includes('brake')),
  );
  signalAll('SIGCONT');
  expect(await identities()).toEqual(before);
  await until(async () => (await health()).status === 'healthy', { what: 'the brake is released', timeoutMs: 20_000 });
  expect((await eventTypes()).filter((type) => type === 'instance.placed')).toHaveLength(6);
}, 90_000);

test('the first of several that is back takes over nothing of the others before they had time to follow; then it does', async () => {
  cluster = await Cluster.start(2, { schedulerArgs: { profile: 'fast' } });
  await cluster.submit(SERVICE);
  await identities();
  signalAll('SIGSTOP');
  await untilBraked();
  for (const name of cluster.agents.keys()) await cluster.untilNode(name, 'lost');
  cluster.agents.get('n1')!.child.kill('SIGCONT');
  await cluster.untilWorkload(
    'web',
    'runs on n1',
    ({ counts, instances }) => counts.running === 6 && instances.every((i) => i.node === 'n1'),
  );
  cluster.agents.get('n2')!.child.kill('SIGCONT');
}, 90_000);

test('an operator releases it, and a restart of the scheduler does not', async () => {
  cluster = await Cluster.start(2, { schedulerArgs: { profile: 'fast' } });
  await cluster.submit(SERVICE);
  await identities();
  signalAll('SIGSTOP');
  await untilBraked();
  cluster.scheduler.child.kill('SIGKILL');
  await cluster.startScheduler();
  await untilBraked();
  expect((await cluster.request('POST', '/recovery/release')).body).toEqual({ released: ['brake'] });
  expect((await cluster.request('POST', '/recovery/release')).body).toEqual({ released: [] });
  await cluster.untilWorkload('web', 'waits for a node', ({ instances }) =>
    instances.every((i) => i.statusReason?.startsWith('no node')),
  );
  signalAll('SIGCONT');
  await cluster.untilRunning('web', 6);
}, 90_000);

test('a node that is lost again and again is quarantined: what it runs stays, and nothing new comes', async () => {
  const health = { flapLosses: 2, flapWindowMs: 60_000, quarantineMs: 60_000 };
  cluster = await Cluster.start(['n1', 'n2', 'n3'], { schedulerArgs: { profile: 'fast', health } });
  const { child } = cluster.agents.get('n1')!;
  for (const status of ['healthy', 'quarantined']) {
    child.kill('SIGSTOP');
    await cluster.untilNode('n1', 'lost');
    child.kill('SIGCONT');
    await cluster.untilNode('n1', status);
  }
  await cluster.submit(SERVICE);
  const { instances } = await cluster.untilRunning('web', 6);
  expect(instances.filter(({ node }) => node === 'n1')).toEqual([]);
  const { body } = await cluster.request('GET', '/nodes/n1');
  expect(body).toMatchObject({ schedulable: false, statusReason: expect.stringContaining('uncordon') });
  await cluster.request('POST', '/nodes/n1/uncordon');
  await cluster.untilNode('n1', 'healthy');
}, 90_000);

test('a quarantine outlasts a restart of the scheduler, and ends for a node that is trusted while it is away', async () => {
  const health = { flapLosses: 2, flapWindowMs: 60_000, quarantineMs: 60_000 };
  cluster = await Cluster.start(['n1', 'n2'], { schedulerArgs: { profile: 'fast', health } });
  const { child } = cluster.agents.get('n1')!;
  const restartScheduler = async () => {
    await end(cluster.scheduler.child, 'SIGKILL');
    await cluster.startScheduler();
  };
  child.kill('SIGSTOP');
  await cluster.untilNode('n1', 'lost');
  child.kill('SIGCONT');
  await cluster.untilNode('n1', 'healthy');
  await restartScheduler();
  await cluster.untilNode('n1', 'healthy');
  child.kill('SIGSTOP');
  await cluster.untilNode('n1', 'lost');
  child.kill('SIGCONT');
  await cluster.untilNode('n1', 'quarantined');
  await restartScheduler();
  await cluster.untilNode('n1', 'quarantined');
  child.kill('SIGSTOP');
  await cluster.untilNode('n1', 'lost');
  await cluster.request('POST', '/nodes/n1/uncordon');
  child.kill('SIGCONT');
  await cluster.untilNode('n1', 'healthy');
}, 90_000);
