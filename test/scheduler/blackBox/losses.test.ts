/** Which losses leave a record, in a played cluster: the ways in which a scheduler comes to take an instance for lost. */
import type { BlackBoxRecord } from '../../../contract/blackBox';
import { type WorkloadInput, workloadInputSchema } from '../../../contract/workload';
import { until } from '../../support/until';
import type { PlayedAgent } from '../playedAgent';
import { PlayedCluster } from '../playedCluster';

/** Nothing is lost by chance, nothing fails, everything is answered at once: see PlayedAgent. */
const NO_CHANCE = () => 0.5;

let cluster: PlayedCluster;
let a: PlayedAgent;
beforeEach(async () => {
  cluster = await PlayedCluster.make(['a'], NO_CHANCE);
  a = cluster.agents.get('a')!;
});
afterEach(() => cluster.close());

async function run(id: string, more: Partial<WorkloadInput> = {}): Promise<void> {
  await cluster.service.submit(workloadInputSchema.parse({ id, kind: 'service', command: ['serve'], ...more }));
  await until(() => cluster.service.workload(id).status === 'running', { what: `${id} runs` });
  a.deliver();
}

const recordsOf = async (id: string): Promise<BlackBoxRecord[]> =>
  (await cluster.service.blackBoxRecords(id, undefined, { limit: 100 })).records;
const FIRST = { generation: 1, run: 1, node: 'a', pid: 1_001, attempts: 1 };

it('a verdict, for all that was there, whatever becomes of it', async () => {
  await run('moves');
  await run('fenced', { onDisconnect: 'stop' });
  await run('kept', { onDisconnect: 'keep' });
  await run('ends');
  a.hearsNothing = true;
  await cluster.service.stop('ends', false);
  cluster.kill(a);
  cluster.verdict(a);
  for (const id of ['moves', 'fenced', 'kept', 'ends']) {
    const [record, ...others] = await recordsOf(id);
    expect(record).toMatchObject({ instance: `${id}.0`, ...FIRST, reason: 'its node a is lost: no sign of life' });
    expect(others).toEqual([]);
  }
  // That the node is given up for good says no more of them.
  a.hearsNothing = false;
  cluster.loop.nodeGone(a.node, 'its node was forgotten');
  for (const id of ['moves', 'fenced', 'kept']) {
    expect(await recordsOf(id)).toMatchObject([{ reason: 'its node a is lost: no sign of life' }]);
  }
});

it('an agent that is back without it', async () => {
  await run('web');
  const { startedAt } = cluster.service.workload('web').instances![0]!;
  cluster.kill(a);
  a.loseEverything();
  cluster.bringBack(a);
  expect(await recordsOf('web')).toMatchObject([{ ...FIRST, startedAt, reason: 'its agent has no trace of it' }]);
});

it('a machine that was started anew', async () => {
  await run('web');
  cluster.kill(a);
  a.reboot();
  cluster.bringBack(a);
  expect(await recordsOf('web')).toMatchObject([FIRST]);
});

it.each(['replace', 'stop', 'keep'] as const)('another agent under its name (%s)', async (onDisconnect) => {
  await run('web', { onDisconnect });
  cluster.cutOff(a);
  cluster.takeOver(a, 'another');
  expect(await recordsOf('web')).toMatchObject([{ ...FIRST, reason: 'another agent is its node now' }]);
});

it('but none that ended in order, or was only away', async () => {
  await run('web');
  await run('job', { kind: 'batch', restart: { attempts: 1 } });
  cluster.kill(a);
  cluster.bringBack(a);
  await cluster.service.stop('web', false);
  await until(() => cluster.service.workload('web').status === 'stopping', { what: 'it is told to stop' });
  await until(
    () => {
      a.settle();
      a.deliver();
      return cluster.service.workload('web').status === 'stopped';
    },
    { what: 'it is stopped' },
  );
  a.step();
  a.deliver();
  expect(cluster.service.workload('job').status).toBe('failed');
  expect([await recordsOf('web'), await recordsOf('job')]).toEqual([[], []]);
});
