/** What would become of a node's instances without it, in a played cluster. */
import { type WorkloadInput, workloadInputSchema } from '../../contract/workload';
import { until } from '../support/until';
import { PlayedCluster } from './playedCluster';

/** Nothing is lost by chance, nothing fails, everything is answered at once: see PlayedAgent. */
const NO_CHANCE = () => 0.5;

let cluster: PlayedCluster;
beforeEach(async () => {
  cluster = await PlayedCluster.make(['a', 'b', 'c'], NO_CHANCE);
});
afterEach(() => cluster.close());

const cordon = (...ids: string[]) => {
  for (const [id, { node }] of cluster.agents) {
    node.cordoned = ids.includes(id);
    cluster.state.saveNode(node);
  }
};
/** All of them on a. */
async function submit(spec: WorkloadInput): Promise<void> {
  cordon('b', 'c');
  await cluster.service.submit(workloadInputSchema.parse({ kind: 'service', command: ['serve'], ...spec }));
  await until(() => cluster.service.workload(spec.id!).instances?.every(({ status }) => status === 'running'), {
    what: 'all run',
  });
  cordon();
}
const preview = () =>
  cluster.service.previewDrill('a').instances.map(({ instance, fate, toNode }) => [instance, fate, toNode]);

it('instances are spread over the other nodes, as they would be', async () => {
  await submit({ id: 'web', replicas: 4 });
  expect(preview()).toEqual([
    ['web.0', 'moves', 'b'],
    ['web.1', 'moves', 'c'],
    ['web.2', 'moves', 'b'],
    ['web.3', 'moves', 'c'],
  ]);
  expect(cluster.service.node('a').instanceCount).toBe(4);
});

it('what each takes is not there for the next', async () => {
  await submit({ id: 'big', replicas: 3, resources: { cpuMillis: 1_300, memoryBytes: 0 } });
  cordon('c');
  cluster.agents.get('b')!.node.capacity = { cpuMillis: 2_700, memoryBytes: 2 ** 30 };
  expect(preview()).toEqual([
    ['big.0', 'moves', 'b'],
    ['big.1', 'moves', 'b'],
    ['big.2', 'nowhere', null],
  ]);
  const { reason } = cluster.service.previewDrill('a').instances[2]!;
  expect(reason).toBe('no node fits (b: short of 1200m cpu; c: is cordoned)');
});

it('what is bound to its node waits for it, and what is being stopped ends', async () => {
  await submit({ id: 'kept', onDisconnect: 'keep' });
  await submit({ id: 'logd', kind: 'daemon' });
  cluster.agents.get('a')!.hearsNothing = true;
  await submit({ id: 'none', replicas: 0 });
  await cluster.service.stop('kept', false);
  expect(Object.fromEntries(preview().map(([instance, fate]) => [instance, fate]))).toMatchObject({
    'kept.0': 'ends',
    'logd.a': 'waits',
  });
});

it('an unknown node has none', () => {
  expect(() => cluster.service.previewDrill('d')).toThrow('There is no node d');
});
