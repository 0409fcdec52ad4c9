/** Secrets in the real control loop, with played agents. */
import { until } from '../../support/until';
import { PlayedCluster } from '../playedCluster';

const SPEC = { kind: 'service' as const, command: ['sleep', '1'], secrets: [{ name: 'db', file: 'db' }] };

let cluster: PlayedCluster;
beforeEach(async () => {
  cluster = await PlayedCluster.make(['n1', 'n2'], () => 0.5);
});
afterEach(() => cluster.close());

function play(): void {
  for (const agent of cluster.agents.values()) {
    agent.settle();
    agent.deliver();
  }
}

const untilWeb = (what: string, test: (w: ReturnType<PlayedCluster['service']['workload']>) => boolean) =>
  until(
    () => {
      play();
      return test(cluster.service.workload('web'));
    },
    { what: `web ${what}` },
  );

test('one event tells of all instances that wait for a secret, and all start when it is set', async () => {
  await cluster.service.submit({ id: 'web', ...SPEC, replicas: 20 });
  await untilWeb(
    'waits',
    ({ instances }) => instances!.filter((i) => i.statusReason?.startsWith('secret db is not')).length === 20,
  );
  expect(cluster.starts).toEqual([]);
  const told = () => cluster.events.filter(({ type }) => type === 'instance.unplaceable').length;
  // Events are told when they are durable.
  await until(() => told() > 0, { what: 'an event tells of it' });
  await cluster.service.setSecret('db', Buffer.from('x'));
  await untilWeb('runs', ({ counts }) => counts.running === 20);
  expect(told()).toBe(1);
  expect(cluster.service.workload('web').attempts).toBe(1);
});

test('what needs a secret does not hold up what needs none', async () => {
  await cluster.service.submit({ id: 'web', ...SPEC, replicas: 3 });
  await cluster.service.submit({ id: 'plain', kind: 'service', command: ['sleep', '1'] });
  await until(
    () => {
      play();
      return cluster.service.workload('plain').status === 'running';
    },
    { what: 'plain runs' },
  );
  expect(cluster.service.workload('web').counts).toEqual({ pending: 3 });
});

test('a spec that needs a secret that is not there costs one instance, until it is set', async () => {
  await cluster.service.submit({ id: 'web', kind: 'service', command: ['sleep', '1'], replicas: 3 });
  await untilWeb('runs', ({ counts }) => counts.running === 3);
  await cluster.service.apply('web', { ...SPEC, replicas: 3 });
  await untilWeb('waits', ({ counts }) => counts.pending === 1);
  for (let i = 0; i < 20; i += 1) play();
  expect(cluster.service.workload('web').counts).toEqual({ running: 2, pending: 1 });
  await cluster.service.setSecret('db', Buffer.from('x'));
  const generations = new Map(cluster.service.workload('web').instances!.map((i) => [i.id, i.generation]));
  await untilWeb(
    'is replaced',
    ({ counts, instances }) =>
      counts.running === 3 && instances!.every((i) => i.generation > 1 && i.generation >= generations.get(i.id)!),
  );
});

test('nothing in a view tells a value', async () => {
  await cluster.service.setSecret('db', Buffer.from('canary-value'));
  await cluster.service.submit({ id: 'web', ...SPEC });
  await untilWeb('runs', ({ counts }) => counts.running === 1);
  const { service, events } = cluster;
  const told = JSON.stringify([
    service.listSecrets({ limit: 10 }),
    service.workload('web'),
    service.healthSummary(),
    events,
  ]);
  for (const form of ['canary-value', Buffer.from('canary-value').toString('base64').slice(0, 12)]) {
    expect(told).not.toContain(form);
  }
});
