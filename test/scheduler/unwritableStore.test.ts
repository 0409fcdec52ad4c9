/** What becomes of copies that run while decisions on them cannot be made durable. */
import { FailingStore } from '../../scheduler/store/failing';
import { openMemoryStore } from '../../scheduler/store/memory';
import { until } from '../support/until';
import type { PlayedAgent } from './playedAgent';
import { PlayedCluster } from './playedCluster';

const SERVICE = { kind: 'service' as const, command: ['serve'] };
let store: FailingStore;
let cluster: PlayedCluster;
let home: PlayedAgent;
let other: PlayedAgent;

beforeEach(async () => {
  store = new FailingStore(openMemoryStore());
  cluster = await PlayedCluster.make(['n1', 'n2'], () => 0.5, store);
  await cluster.service.submit({ id: 'web', ...SERVICE });
  await until(() => instance()?.status === 'running', { what: 'it runs' });
  [home, other] = ['n1', 'n2']
    .map((id) => cluster.agents.get(id)!)
    .sort((one) => (one.node.id === instance().node ? -1 : 1)) as [PlayedAgent, PlayedAgent];
});
afterEach(async () => {
  expect(cluster.startedTwice()).toEqual([]);
  await cluster.close();
});

const instance = () => [...cluster.state.instances.values()][0]!;
const isFailing = () => !cluster.service.health().store.writable;
const tries = () => expect(cluster.service.setSecret('any', Buffer.from('x'))).rejects.toThrow(/be written/);
async function untilTriedAgain(times: number): Promise<void> {
  const write = jest.spyOn(store, 'write');
  await until(() => write.mock.calls.length >= times, { what: 'writing was tried again' });
  write.mockRestore();
}

it('a node that was lost and is back keeps what it runs, nothing having been placed that could not be written', async () => {
  store.failWrites();
  await tries();
  cluster.cutOff(home);
  cluster.verdict(home);
  await untilTriedAgain(1);
  cluster.bringBack(home);
  await until(() => instance().status === 'running', { what: 'it is taken back' });
  store.heal();
  await until(() => !isFailing(), { what: 'the store is written again' });
  expect(instance()).toMatchObject({ node: home.node.id, generation: 1, status: 'running' });
  expect(home.live).toHaveLength(1);
  expect(other.copies.size).toBe(0);
});

it('a copy is not stopped before its place elsewhere is durable', async () => {
  cluster.cutOff(home);
  store.failWrites();
  cluster.verdict(home);
  await until(isFailing, { what: 'the verdict, and where it is to run, could not be written' });
  expect(instance()).toMatchObject({ node: other.node.id, generation: 2 });
  cluster.bringBack(home);
  await untilTriedAgain(2);
  expect(home.live).toMatchObject([{ report: { status: 'running', generation: 1 } }]);
  store.heal();
  await until(() => instance().status === 'running', { what: 'it runs elsewhere' });
  await until(
    () => {
      home.settle();
      home.deliver();
      return home.live.length === 0;
    },
    { what: 'the copy that is not wanted any more is stopped' },
  );
});
