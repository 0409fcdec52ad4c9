/** A change whose write fails is refused, and leaves nothing behind: neither now nor when the store can be written again. */
import { FailingStore } from '../../scheduler/store/failing';
import { openMemoryStore } from '../../scheduler/store/memory';
import { until } from '../support/until';
import { PlayedCluster } from './playedCluster';

const SERVICE = { kind: 'service' as const, command: ['sleep', '1'] };
let store: FailingStore;
let cluster: PlayedCluster;

beforeEach(async () => {
  store = new FailingStore(openMemoryStore());
  cluster = await PlayedCluster.make(['n1', 'n2'], () => 0.5, store);
  await cluster.service.setSecret('db', Buffer.from('first'));
  await cluster.service.submit({ id: 'web', ...SERVICE, replicas: 3 });
  await untilRunning('web', 3);
  await cluster.service.submit({ id: 'done', ...SERVICE });
  await untilRunning('done', 1);
  await cluster.service.stop('done', false);
  await until(
    () => {
      for (const agent of cluster.agents.values()) {
        agent.settle();
        agent.deliver();
      }
      // Told: durable.
      return cluster.events.some(({ type }) => type === 'workload.stopped');
    },
    { what: 'it is stopped' },
  );
});
afterEach(() => cluster.close());

const untilRunning = (id: string, replicas: number) =>
  until(() => cluster.service.workload(id).counts.running === replicas, { what: `${replicas} of ${id} run` });
const everything = () => ({
  // When it was updated is when its status was told, too.
  workloads: [...cluster.state.lists.workloadIds.after(null)].map((id) => ({
    ...cluster.service.workload(id),
    updatedAt: null,
  })),
  nodes: cluster.service.listNodes({ limit: 100 }).nodes,
  secrets: cluster.service.listSecrets({ limit: 100 }).secrets,
});

type Change = (service: PlayedCluster['service']) => Promise<unknown>;
const CHANGES: [what: string, change: Change][] = [
  ['a submission', (s) => s.submit({ id: 'new', ...SERVICE, replicas: 2 })],
  ['one with a key', (s) => s.submit({ id: 'new', ...SERVICE }, { key: 'k', bodyHash: 'h' })],
  ['one under the id of what has ended', (s) => s.submit({ id: 'done', ...SERVICE, replicas: 2 })],
  ['an applied spec', (s) => s.apply('new', SERVICE)],
  ['an applied change of the program', (s) => s.apply('web', { ...SERVICE, command: ['sleep', '2'], replicas: 3 })],
  ['an applied change of labels', (s) => s.apply('web', { ...SERVICE, replicas: 3, labels: { a: 'b' } })],
  ['a restart', (s) => s.restart('web')],
  ['a restart of what has ended', (s) => s.restart('done')],
  ['scaling up', (s) => s.scale('web', 5)],
  ['scaling down', (s) => s.scale('web', 1)],
  ['a stop', (s) => s.stop('web', false)],
  ['a removal', (s) => s.stop('done', true)],
  ['a secret', (s) => s.setSecret('new', Buffer.from('x'))],
  ['another value of a secret', (s) => s.setSecret('db', Buffer.from('second'))],
  ['the removal of a secret', (s) => s.removeSecret('db')],
];

test.each(CHANGES)(
  '%s',
  async (what, change) => {
    const before = everything();
    const [startsBefore, eventsBefore] = [cluster.starts.length, cluster.events.length];
    store.failWrites();
    await expect(change(cluster.service)).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' });
    expect(everything()).toEqual(before);
    store.heal();
    // The journal writes again by itself.
    const marker = async () => {
      await cluster.service.submit({ id: 'after', ...SERVICE });
      return true;
    };
    await until(() => marker().catch(() => false), { what: 'changes are taken again' });
    await untilRunning('after', 1);
    const { workloads, nodes, secrets } = everything();
    expect(secrets).toEqual(before.secrets);
    expect(workloads.filter(({ id }) => id !== 'after')).toEqual(before.workloads);
    expect(nodes.map(({ schedulable, drain }) => [schedulable, drain])).toEqual(
      before.nodes.map(({ schedulable, drain }) => [schedulable, drain]),
    );
    expect(cluster.starts).toHaveLength(startsBefore + 1);
    const later = cluster.events.slice(eventsBefore);
    expect(new Set(later.map(({ workload }) => workload))).toEqual(new Set(['after']));
    expect(cluster.events.map(({ seq }) => seq)).toEqual(cluster.events.map((_, at) => at + cluster.events[0]!.seq));
    if (what === 'one with a key') {
      const key = { key: 'k', bodyHash: 'h' };
      expect(await cluster.service.submit({ id: 'new', ...SERVICE }, key)).toMatchObject({ replayed: false });
    }
  },
  20_000,
);
